"""Tables as plain text and as HTML, and an array in few words, for how results print."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

SHOWN = 8  # entries of an array that are still written out


def as_text(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """Columns aligned by spaces.

    Example:
        >>> print(as_text(["delta", "shape"], [["delta_W_1", "(2, 3)"]], "one row"))
        one row
        delta      shape
        delta_W_1  (2, 3)
    """
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join([*([title] if title else []), *(line.rstrip() for line in lines)])


def as_html(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """An HTML table with every value escaped.

    Example:
        >>> as_html(["a < b"], [["1"]])
        '<table><tr><th>a &lt; b</th></tr><tr><td>1</td></tr></table>'
    """

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return f"<table>{caption}{line(header, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


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
        return " ".join(f"{value:.4g}" for value in values)
    return f"norm {np.linalg.norm(values):.4g}, {values.min():.4g} to {values.max():.4g}"
