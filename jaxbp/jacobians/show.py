"""How a chain of Jacobians prints: in a terminal and in a notebook."""

import html as html_escape
from typing import Any, NamedTuple

import numpy as np

_SMALL = 12  # rows and columns of a matrix that is printed number by number


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


def text(head: str, rows: tuple[Row, ...], running: list[tuple[str, Any]]) -> str:
    """The factors with their numbers, and the running product (if any) from the output back to x."""
    lines = [head, ""]
    for row in rows:
        lines += [line(row), *_indented(_numbers(row))]
        if row.branch is not None:
            inner_head, inner = row.branch
            lines += _indented([f"where J_branch is {inner_head}"])
            lines += _indented([line(factor) for factor in inner], 8)
    if running:
        lines += ["", "running product, from the output back to x"]
    for symbol, matrix in running:
        lines += [f"  {symbol}  {matrix.shape[0]} x {matrix.shape[1]}", *_indented(_array_lines(matrix))]
    return "\n".join(lines)


def line(row: Row) -> str:
    """Symbol, meaning, shape and type of one factor."""
    return f"  {row.symbol} = {row.means}  {row.shape[0]} x {row.shape[1]}  {row.kind}"


def html(caption: str, rows: tuple[Row, ...]) -> str:
    """A table: a row for each factor."""
    head = "<tr><th>factor</th><th>is</th><th>shape</th><th>type</th><th>numbers</th></tr>"
    lines = []
    for row in rows:
        cells = [row.symbol, row.means, f"{row.shape[0]} x {row.shape[1]}", row.kind]
        cells = [html_escape.escape(cell) for cell in cells]
        numbers = html_escape.escape("\n".join(_numbers(row)))
        lines.append(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + f"<td><pre>{numbers}</pre></td></tr>"
        )
    return f"<table><caption>{html_escape.escape(caption)}</caption>{head}{''.join(lines)}</table>"


def _numbers(row: Row) -> list[str]:
    return [] if row.matrix is None else _array_lines(row.matrix)


def _array_lines(matrix: Any) -> list[str]:
    M = np.asarray(matrix)
    if max(M.shape) > _SMALL:
        return [f"norm {np.linalg.norm(M):.4g}, entries from {M.min():.4g} to {M.max():.4g}"]
    return np.array2string(M, precision=4, suppress_small=True, max_line_width=120).splitlines()


def _indented(lines: list[str], by: int = 4) -> list[str]:
    return [" " * by + line for line in lines]
