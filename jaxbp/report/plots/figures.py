"""A figure, a heat map with its color bar, and where a picture goes."""

import math
import re
from itertools import cycle, product
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxbp import arguments, errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PictureFile = str | PathLike[str] | None
SIGNED, INK = "cividis", "gray_r"  # both are ordered from dark to bright, or back, in grey too
WRITTEN = 6  # rows and columns of a matrix whose numbers are written into it
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "x")


def figure(where: str, rows: int, columns: int, width: float, height: float) -> "tuple[Figure, Any]":
    """A figure with so many panels of this size in inches, (rows, columns) axes.

    Raises:
        ImportError: without matplotlib.
    """
    with errors.needs("matplotlib", "report", where):
        from matplotlib.figure import Figure
    made = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False)


def picture_file(where: str, path: Any) -> Path | None:
    """The path of a picture, whose suffix says the format; without one it would be written beside it."""
    if path is None:
        return None
    path = arguments.path(where, "path", path)
    if not path.suffix:
        expected = "path to name a picture, whose suffix says the format"
        raise ValueError(errors.message(where, expected, arguments.described(str(path)), "e.g. a.png"))
    return path


def written(made: "Figure", path: Path | None) -> "Figure":
    """The figure, which is in its file too."""
    if path is not None:
        made.savefig(path, dpi=150)
    return made


def heat_map(made: "Figure", axes: Any, matrix: Any, label: str, *, numbers: bool = True) -> None:
    """A matrix as colors, with a bar that says what they mean; a small one has its numbers written in it."""
    M = np.atleast_2d(np.asarray(matrix, float))
    most = float(np.nanmax(abs(M), initial=0)) or 1.0
    low = -most if (M < 0).any() else 0.0
    drawn = axes.imshow(M, cmap=SIGNED, vmin=low, vmax=most, aspect="auto", interpolation="nearest")
    made.colorbar(drawn, ax=axes, label=label, shrink=0.8)
    for which, d in zip((axes.xaxis, axes.yaxis), M.shape[::-1], strict=True):
        every = max(1, math.ceil(d / 8))
        which.set_ticks(range(0, d, every), [str(i + 1) for i in range(0, d, every)])
    if numbers and max(M.shape) <= WRITTEN:
        for i, j in np.ndindex(*M.shape):
            bright = (M[i, j] - low) / (most - low) > 0.6
            color = "black" if bright else "white"
            axes.text(j, i, f"{M[i, j]:.2g}", ha="center", va="center", color=color, fontsize=7)


def counted(axes: Any) -> None:
    """Whole numbers alone along x: half an epoch is none."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def lines() -> Any:
    """Styles of lines that differ in grey, one after the other."""
    return ({"linestyle": d, "marker": m, "markersize": 3.5} for m, d in cycle(product(MARKERS, DASHES)))


def plain(text: Any, letters: int = 24) -> str:
    r"""A name of a user's in a picture: no formula, and not longer than so many letters.

    Example:
        >>> plain("a $5 note"), plain("a" * 30, 5)
        ('a \\$5 note', 'aaaa…')
    """
    said = str(text)
    said = said if len(said) <= letters else said[: letters - 1] + "…"
    return said.replace("$", r"\$")


def in_tex(symbol: str) -> str:
    r"""A symbol as matplotlib typesets it.

    Example:
        >>> in_tex("delta_{a_1}"), in_tex("J_{f_1}(a_1)"), in_tex("delta_W_1")
        ('$\\delta_{a_1}$', '$J_{f_1}(a_1)$', '$\\delta_{W_1}$')
    """
    plain = re.fullmatch(r"delta_([A-Za-z]+(?:_[\w.']+)?)", symbol)
    return "$" + (rf"\delta_{{{plain[1]}}}" if plain else symbol.replace("delta", r"\delta")) + "$"
