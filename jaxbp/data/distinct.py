"""Numbers that become equal in the floats that JAX holds: seconds since 1970, identifiers, far offsets."""

from collections.abc import Callable

import numpy as np

from jaxbp.arguments.arrays import held_dtype
from jaxbp.errors import message

_ROWS, _ENTRIES = 4096, 2**20  # that are looked at, at most
_ROUNDING = 2.0**-36  # what numbers of 64 bits differ by, relative to their size, when they are meant equal


def assert_distinct(where: str, values: np.ndarray, named: Callable[[int], str], hint: str) -> None:
    """Raises a ValueError for a column most of whose values become equal in the floats that JAX holds.

    Args:
        where: what the message begins with.
        values: (N, ...), a column for each entry of an example; NaN is looked past.
        named: what the message calls a column, by its number.
        hint: what to do about it.

    Example:
        >>> assert_distinct("fit", 1.7e9 + np.arange(60.0), lambda j: "x", "subtract the least")
        Traceback (most recent call last):
        ...
        ValueError: fit: expected values that stay apart in float32, which JAX holds, got 1700000000 and
        1700000001 in x, equal as float32; subtract the least
    """
    held = held_dtype(values.dtype)
    d = int(np.prod(values.shape[1:]))
    if held == values.dtype or not values.size:
        return
    rows = max(2, min(_ROWS, _ENTRIES // d))
    ordered = np.sort(np.asarray(values[:rows]).reshape(-1, d), axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.diff(ordered, axis=0) > np.abs(ordered[1:]) * _ROUNDING
        still = apart & (np.diff(ordered.astype(held), axis=0) > 0)
    lost = 2 * still.sum(axis=0) < apart.sum(axis=0)
    if lost.any():
        j = int(lost.argmax())
        i = np.flatnonzero(apart[:, j] & ~still[:, j])[0]
        pair = " and ".join(np.format_float_positional(v, trim="-") for v in ordered[i : i + 2, j])
        got = f"{pair} in {named(j)}, equal as {held}"
        raise ValueError(message(where, f"values that stay apart in {held}, which JAX holds", got, hint))
