"""How a chain of Jacobians prints: in a terminal and in a notebook."""

import html as html_escape
import re
from typing import Any, NamedTuple

from jaxbp.tables import DIGITS, LIMIT, numbers


class Row(NamedTuple):
    """What is printed of one factor.

    Args:
        symbol: J_{a_2}(f_1).
        means: what it is in the network.
        shape: (m, n).
        kind: the type of its operator.
        matrix: its numbers, (m, n), where there are any.
        branch: of a residual block the head of its branch and the rows of it.
    """

    symbol: str
    means: str
    shape: tuple[int, int]
    kind: str
    matrix: Any = None
    branch: "tuple[str, tuple[Row, ...]] | None" = None


Running = list[tuple[str, Any]]  # symbol and matrix of the product so far


def text(head: str, rows: tuple[Row, ...], running: Running, limit: int = LIMIT, digits: int = DIGITS) -> str:
    """The factors with their numbers, and the running product (if any) from the output back to x."""
    lines = [head, ""]
    for row in rows:
        lines += [line(row), *_indented(_numbers(row, limit, digits))]
        if row.branch is not None:
            inner_head, inner = row.branch
            lines += _indented([f"where J_branch is {inner_head}"])
            lines += _indented([line(factor) for factor in inner], 8)
    if running:
        lines += ["", "running product, from the output back to x"]
    for symbol, matrix in running:
        lines += [
            f"  {symbol}  {matrix.shape[0]} x {matrix.shape[1]}",
            *_indented(numbers(matrix, limit, digits).split("\n")),
        ]
    return "\n".join(lines)


def line(row: Row) -> str:
    """Symbol, meaning, shape and type of one factor."""
    return f"  {row.symbol} = {row.means}  {row.shape[0]} x {row.shape[1]}  {row.kind}"


def html(
    caption: str, rows: tuple[Row, ...], running: Running, limit: int = LIMIT, digits: int = DIGITS
) -> str:
    """A table with a row for each factor, and one for each product so far, from the output back to x."""
    head = "<tr><th>factor</th><th>is</th><th>shape</th><th>type</th><th>numbers</th></tr>"
    lines = [
        _line(row.symbol, row.means, row.shape, row.kind, "\n".join(_numbers(row, limit, digits)))
        for row in rows
    ]
    if running:
        lines.append('<tr><th colspan="5">running product, from the output back to x</th></tr>')
    for symbol, matrix in running:
        lines.append(_line(symbol, "", matrix.shape, "", numbers(matrix, limit, digits)))
    return f"<table><caption>{_typeset(caption)}</caption>{head}{''.join(lines)}</table>"


def _line(symbol: str, means: str, shape: tuple[int, ...], kind: str, matrix: str) -> str:
    """A row of the table."""
    size, written = f"{shape[0]} x {shape[1]}", html_escape.escape(matrix)
    cells = [_typeset(symbol), html_escape.escape(means), size, html_escape.escape(kind)]
    cells.append(f'<pre style="margin:0">{written}</pre>')
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _typeset(symbol: str) -> str:
    """A symbol with its subscripts below the line.

    Example:
        >>> _typeset("J_{a_2}(f_1)"), _typeset("delta_{f_1}")
        ('J<sub>a<sub>2</sub></sub>(f<sub>1</sub>)', 'δ<sub>f<sub>1</sub></sub>')
    """
    escaped = re.sub(r"\bdelta\b|\bdelta(?=_)", "δ", html_escape.escape(symbol))
    inner = re.sub(r"_([\w.]+)", r"<sub>\1</sub>", escaped)
    return re.sub(r"_\{([^}]*)\}", r"<sub>\1</sub>", inner)


def _numbers(row: Row, limit: int, digits: int) -> list[str]:
    return [] if row.matrix is None else numbers(row.matrix, limit, digits).split("\n")


def _indented(lines: list[str], by: int = 4) -> list[str]:
    return [" " * by + line for line in lines]
