"""What a file is suspected of before training: labels that are none, one class, a column that blurs."""

import numpy as np

from jaxbp.data.checks import assert_data, held_dtype
from jaxbp.data.dataset import Dataset
from jaxbp.errors import message

_CLASSES = 100  # whole numbers with gaps are classes that lack some up to here, and beyond targets
_ROWS = 4096  # that are looked at for values that become equal


def as_examples(x: np.ndarray, y: np.ndarray, *, raw: bool, where: str) -> Dataset:
    """`assert_data` for the training part of a file, of which nobody has said what its columns are.

    Raises:
        ValueError: labels that are all the same, or so many whole numbers with gaps that they look like
            targets; a column most of whose values become equal in the float32 that JAX holds it in; and
            what `assert_data` refuses.
    """
    if y.dtype.kind in "iu" and y.size > 1:
        _assert_classes(y, where)
    if x.dtype.kind == "f" and x.ndim == 2 and len(x) > 1:
        _assert_distinct(x, where)
    return assert_data(x, y, raw=raw, where=where)


def _assert_classes(y: np.ndarray, where: str) -> None:
    present = np.unique(y)
    low, high = present[0].item(), present[-1].item()
    if len(present) == 1:
        hint = "if another column is the label, give label="
        raise ValueError(message(where, "at least 2 classes", f"label {low} in all {len(y)} examples", hint))
    if len(present) > _CLASSES and (low < 0 or high >= len(present)):
        got = f"{len(present)} distinct whole numbers from {low} to {high}"
        hint = "this looks like regression: make y float, as read_csv(..., regression=True) does"
        raise ValueError(message(where, "class labels 0, 1, 2, ...", got, hint))


def _assert_distinct(x: np.ndarray, where: str) -> None:
    held = held_dtype(x.dtype)
    rows = x[:_ROWS]
    with np.errstate(over="ignore", invalid="ignore"):
        changed = np.flatnonzero((rows.astype(held) != rows).any(axis=0))
        ordered = np.sort(rows[:, changed], axis=0)
        apart, still = np.diff(ordered, axis=0) > 0, np.diff(ordered.astype(held), axis=0) > 0
    blurred = np.flatnonzero(2 * still.sum(axis=0) < apart.sum(axis=0))
    if blurred.size and np.isfinite(ordered[:, blurred[0]]).all():
        j = blurred[0]
        i = np.flatnonzero(apart[:, j] & ~still[:, j])[0]
        pair = " and ".join(np.format_float_positional(v, trim="-") for v in ordered[i : i + 2, j])
        hint = "subtract the smallest value first (times: count from the first one), or leave the column out"
        got = f"{pair} in input column {changed[j] + 1}, equal as {held}"
        raise ValueError(message(where, f"values that stay apart in {held}, which JAX holds", got, hint))
