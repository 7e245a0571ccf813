"""Tables as plain text and as HTML, and an array in few words, for how results print."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import jax
import numpy as np

from jaxbp import arguments

SHOWN = 8  # entries of an array that are still written out in a line
LIMIT = 12  # rows and columns of a matrix that is still written out
DIGITS = 4


@dataclass(frozen=True, repr=False)
class Printed:
    """What is shown of something: text in a terminal, HTML in a notebook."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def given(where: str, limit: int, digits: int) -> tuple[int, int]:
    """How much is shown, as a user says it.

    Raises:
        TypeError, ValueError: for a limit that is no whole number of at least 1, or digits not in 1 to 17.
    """
    most = 17  # all that a float64 has
    return (
        arguments.whole(where, "limit", limit, low=1),
        arguments.whole(where, "digits", digits, low=1, high=most),
    )


def as_text(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    r"""Columns aligned by spaces; the lines of a cell stand below each other.

    Example:
        >>> print(as_text(["delta", "value"], [["delta_W_1", "1 2\n3 4"], ["delta_b_1", "1 3"]], "two rows"))
        two rows
        delta      value
        delta_W_1  1 2
                   3 4
        delta_b_1  1 3
    """
    table = [[cell.split("\n") for cell in row] for row in [header, *rows]]
    widths = [max(len(line) for cell in column for line in cell) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(line.ljust(width) for line, width in zip(across, widths, strict=True)).rstrip()
        for row in table
        for across in zip_longest(*row, fillvalue="")
    ]
    return "\n".join([*([title] if title else []), *lines])


def as_html(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """An HTML table with every value escaped; a cell of several lines keeps its columns.

    Example:
        >>> as_html(["a < b"], [["1"]])
        '<table><tr><th>a &lt; b</th></tr><tr><td>1</td></tr></table>'
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in cells) + "</tr>"

    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return f"<table>{caption}{line(header, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _cell(text: str) -> str:
    escaped = html.escape(text)
    return f'<pre style="margin:0">{escaped}</pre>' if "\n" in text else escaped


def numbers(array: Any, limit: int = LIMIT, digits: int = DIGITS) -> str:
    """A matrix as its rows, a line for each; of a larger one the norm and the range.

    Args:
        array: of any shape; one of more than two axes is written as `in_words` writes it.
        limit: rows and columns that are still written out.
        digits: of each number.

    Example:
        >>> print(numbers(np.array([[0.5, -1.25], [10.0, 0.0]])))
        0.5  -1.25
         10      0
        >>> numbers(np.ones((3, 3)), limit=2)
        'norm 3, 1 to 1'
    """
    if isinstance(array, jax.core.Tracer):
        return "traced"
    values = np.asarray(array)
    if values.ndim > 2 or max(values.shape, default=1) > limit or not values.size:
        return in_words(values) if values.size else "empty"
    rows = [[f"{value + 0:.{digits}g}" for value in row.tolist()] for row in np.atleast_2d(values)]  # no -0
    if len(rows) == 1:
        return " ".join(rows[0])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )


def in_words(array: Any) -> str:
    """The entries of a small array, the norm and the range of a large one.

    Example:
        >>> in_words(np.array([[0.5, -1.25]])), in_words(np.ones((10, 10)))
        ('0.5 -1.25', 'norm 10, 1 to 1')
    """
    if isinstance(array, jax.core.Tracer):
        return "traced"
    values = np.asarray(array, np.float64).ravel()
    if values.size <= SHOWN:
        return " ".join(f"{value + 0:.4g}" for value in values)
    return f"norm {np.linalg.norm(values):.4g}, {values.min():.4g} to {values.max():.4g}"
