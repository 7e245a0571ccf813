"""The notations of a formula: text, text with the rows of a matrix below each other, LaTeX and MathML."""

import html
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Notation(NamedTuple):
    """The pieces of a formula in one notation; each takes pieces that are already written."""

    name: Callable[[str, Sequence[int]], str]
    number: Callable[[str], str]
    matrix: Callable[[list[list[str]]], str]
    group: Callable[[str], str]
    infix: Callable[[list[tuple[str, str]]], str]  # (operator, operand) pairs, "" before the first
    fraction: Callable[[str, str], str]
    power: Callable[[str, str], str]
    call: Callable[[str, str, bool], str]  # function, argument, whether the argument is a single piece
    words: Callable[[str], str]
    fraction_groups: bool  # whether numerator and denominator need parentheses


def _text_infix(pairs: list[tuple[str, str]]) -> str:
    out = ""
    for operator, operand in pairs:
        if not operator or operator.strip() != operator or operator == "·":
            out += operator + operand
        else:
            out += f" {operator} {operand}" if out else operator + operand
    return out


def _text_name(name: str, index: Sequence[int]) -> str:
    return name.removesuffix(":new") + (f"[{','.join(map(str, index))}]" if index else "")


TEXT = Notation(
    name=_text_name,
    number=str,
    matrix=lambda rows: f"[{'; '.join(' '.join(row) for row in rows)}]",
    group=lambda inner: f"({inner})",
    infix=_text_infix,
    fraction=lambda a, b: f"{a} / {b}",
    power=lambda a, b: f"{a}^{b}",
    call=lambda function, arg, single: f"{function} {arg}" if single else f"{function}({arg})",
    words=str,
    fraction_groups=True,
)


def beside(*pieces: str) -> str:
    r"""Pieces of several lines side by side, each in the middle of the height.

    Example:
        >>> print(beside("x = ", "[1]\n[0]"))
        x = [1]
            [0]
    """
    blocks = [piece.split("\n") for piece in pieces]
    height = max(map(len, blocks))
    columns = []
    for block in blocks:
        above = (height - len(block)) // 2 if len(block) > 1 else (height - 1) // 2
        rows = [""] * above + block + [""] * (height - above - len(block))
        width = max(map(len, rows))
        columns.append([row.ljust(width) for row in rows])
    return "\n".join("".join(row).rstrip() for row in zip(*columns, strict=True))


def _rows_below_each_other(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (" ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"[{line}]" for line in lines)


def _beside_infix(pairs: list[tuple[str, str]]) -> str:
    pieces: list[str] = []
    for operator, operand in pairs:
        tight = not operator or operator.strip() != operator or operator == "·" or not pieces
        pieces += [operator if tight else f" {operator} ", operand]
    return beside(*pieces)


ROWS = TEXT._replace(matrix=_rows_below_each_other, infix=_beside_infix)
"""Text with the rows of a matrix below each other."""


def anatomy(name: str) -> tuple[str, str, str, str]:
    """delta or J or nothing, the letter, its subscript, its primes.

    Example:
        >>> anatomy("delta_W_1"), anatomy("f_2'"), anatomy("mu")
        (('delta', 'W', '1', ''), ('', 'f', '2', "'"), ('', 'mu', '', ''))
    """
    found = re.fullmatch(r"(?:(delta)_)?([A-Za-z]+)(?:_([\w.]+))?('*)", name)
    return tuple(part or "" for part in found.groups()) if found else ("", name, "", "")  # type: ignore[return-value]


def _jacobian(name: str) -> tuple[str, str] | None:
    """Of what and at what a Jacobian is: J_{f_1}(a_1)."""
    found = re.fullmatch(r"J_\{?([^}()]+)\}?\(([^)]+)\)", name)
    return (found[1], found[2]) if found else None


def _latex_name(name: str, index: Sequence[int] = ()) -> str:
    name = name.removesuffix(":new")
    if pair := _jacobian(name):
        return f"J_{{{_latex_name(pair[0])}}}({_latex_name(pair[1])})"
    delta, letter, sub, primes = anatomy(name)
    letter = {"mu": r"\mu", "eta": r"\eta", "delta": r"\delta", "loss": r"\ell"}.get(
        letter, letter if len(letter) == 1 else rf"\mathrm{{{letter}}}"
    )
    out = letter + (f"_{{{sub}}}" if sub else "") + primes
    out = rf"\delta_{{{out}}}" if delta else out
    return out + (f"[{','.join(map(str, index))}]" if index else "")


_LATEX_OPERATORS = {"·": r"\cdot", " · ": r"\cdot", " ": r"\,", ">=": r"\ge", "=": "=", "⊗": r"\otimes"}


def _latex_matrix(rows: list[list[str]]) -> str:
    body = r" \\ ".join(" & ".join(row) for row in rows).replace("...", r"\cdots")
    return rf"\begin{{pmatrix}} {body} \end{{pmatrix}}"


LATEX = Notation(
    name=_latex_name,
    number=lambda text: re.sub(r"e([+-])0*(\d+)", lambda m: rf"\cdot 10^{{{m[1].strip('+')}{m[2]}}}", text),
    matrix=_latex_matrix,
    group=lambda inner: rf"\left({inner}\right)",
    infix=lambda pairs: " ".join(f"{_LATEX_OPERATORS.get(o, o)} {p}" if o else p for o, p in pairs),
    fraction=lambda a, b: rf"\frac{{{a}}}{{{b}}}",
    power=lambda a, b: f"{a}^{{{b}}}",
    call=lambda function, arg, single: (
        {"ln": r"\ln", "tanh": r"\tanh", "max": r"\max", "min": r"\min", "Phi": r"\Phi"}.get(
            function, rf"\mathrm{{{function}}}".replace("_", r"\_")
        )
        + (f" {arg}" if single else rf"\left({arg}\right)")
    ),
    words=lambda text: {"e": "e", "T": r"\top", "...": r"\cdots"}.get(text, rf"\text{{{text}}}"),
    fraction_groups=False,
)


def _mathml_name(name: str, index: Sequence[int] = ()) -> str:
    name = name.removesuffix(":new")
    if pair := _jacobian(name):
        of, at = map(_mathml_name, pair)
        return f"<mrow><msub><mi>J</mi>{of}</msub><mo>(</mo>{at}<mo>)</mo></mrow>"
    delta, letter, sub, primes = anatomy(name)
    letter = {"mu": "μ", "eta": "η", "delta": "δ"}.get(letter, html.escape(letter))
    out = f"<mi>{letter}</mi>" + (f"<mn>{sub}</mn>" if sub else "")
    out = f"<msub>{out}</msub>" if sub else out
    out = f'<mrow>{out}<mo lspace="0" rspace="0">{"′" * len(primes)}</mo></mrow>' if primes else out
    out = f"<msub><mi>δ</mi>{out}</msub>" if delta else out
    if not index:
        return out
    return f"<mrow>{out}<mo>[</mo><mn>{','.join(map(str, index))}</mn><mo>]</mo></mrow>"


_BRACKETS = "border-left:1.5px solid;border-right:1.5px solid;border-radius:6px"


def _mathml_matrix(rows: list[list[str]]) -> str:
    def cell(piece: str) -> str:
        return f"<mtd>{piece if piece.startswith('<') else f'<mo>{piece}</mo>'}</mtd>"

    table = "".join(f"<mtr>{''.join(map(cell, row))}</mtr>" for row in rows)
    return f'<mtable style="{_BRACKETS}">{table}</mtable>'


def _mathml_infix(pairs: list[tuple[str, str]]) -> str:
    def operator(o: str) -> str:
        return f"<mo>{html.escape(o.strip() or chr(0x2062)).replace('-', '−')}</mo>" if o else ""

    return f"<mrow>{''.join(operator(o) + piece for o, piece in pairs)}</mrow>"


MATHML = Notation(
    name=_mathml_name,
    number=lambda text: f"<mn>{text.replace('-', '−')}</mn>",
    matrix=_mathml_matrix,
    group=lambda inner: f"<mrow><mo>(</mo>{inner}<mo>)</mo></mrow>",
    infix=_mathml_infix,
    fraction=lambda a, b: f"<mfrac><mrow>{a}</mrow><mrow>{b}</mrow></mfrac>",
    power=lambda a, b: f"<msup><mrow>{a}</mrow><mrow>{b}</mrow></msup>",
    call=lambda function, arg, single: (
        f"<mrow><mi>{html.escape(function)}</mi>"
        + (f"<mo>⁡</mo>{arg}" if single else f"<mo>(</mo>{arg}<mo>)</mo>")
        + "</mrow>"
    ),
    words=lambda text: f"<mtext>{html.escape(text)}</mtext>",
    fraction_groups=False,
)
