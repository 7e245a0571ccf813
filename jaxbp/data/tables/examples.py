"""What the columns of a table are suspected of where nothing scales them: values that become equal."""

from collections.abc import Mapping

import numpy as np

from jaxbp.arguments.arrays import held_dtype
from jaxbp.errors import message

_ROWS = 4096  # that are looked at


def assert_distinct(columns: Mapping[str, np.ndarray], where: str) -> None:
    """Raises a ValueError for a column most of whose values become equal in the floats that JAX holds."""
    held = held_dtype(np.dtype(float))
    for name, values in columns.items():
        ordered = np.sort(values[:_ROWS][~np.isnan(values[:_ROWS])])
        with np.errstate(over="ignore", invalid="ignore"):
            apart, still = np.diff(ordered) > 0, np.diff(ordered.astype(held)) > 0
        if 2 * still.sum() < apart.sum():
            i = np.flatnonzero(apart & ~still)[0]
            pair = " and ".join(np.format_float_positional(v, trim="-") for v in ordered[i : i + 2])
            hint = "scale='standard' keeps them apart, or subtract the smallest value first"
            got = f"{pair} in {name!r}, equal as {held}"
            raise ValueError(message(where, f"values that stay apart in {held}, which JAX holds", got, hint))
