"""The one validation pass on the host: what would fail silently on the device is refused here."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.arguments.arrays import held_dtype as held_dtype
from jaxbp.arguments.search import blocks, find
from jaxbp.arguments.sparse import SparseRows
from jaxbp.arguments.trees import each, is_tree
from jaxbp.data.dataset import Dataset
from jaxbp.data.distinct import assert_distinct
from jaxbp.data.weights import assert_weights
from jaxbp.errors import message

_SHOWN = 5  # rows or labels that a message lists before it says how many there are


def assert_data(
    x: Any,
    y: Any,
    weight: Any = None,
    *,
    num_classes: int | None = None,
    narrow: bool = True,
    raw: bool = False,
    where: str = "data",
) -> Dataset:
    """Return x and y as the device will hold them, or raise: one pass, once for each data set.

    The dtype of y decides what it means. INTEGER y are class labels, any shape (N, ...), each in
    0..num_classes-1; where num_classes is None it is inferred as max(y) + 1 and every class must then
    occur. FLOAT y with num_classes None are targets of any shape, y = x (an autoencoder) among them;
    float y with num_classes are rows of class probabilities (N, ..., num_classes), one-hot among
    them. Where float64 or int64 become 32 bits (JAX's default), the narrowed arrays come back, and a
    value that would turn to inf or wrap is refused. Cost: about one read of x.

    x and y may be trees of arrays, with one first axis N; what the integers in a tree of y mean, nobody
    tells, and they may be any.

    Args:
        x: inputs, a NumPy or JAX array (N, ...), float (int32 or int64 for token-like inputs).
        y: labels or targets, (N, ...).
        weight: what each example counts, (N, ...), from 0 on, or a mask of booleans; None for 1. Targets of
            an example that weighs 0 may be anything, NaN and labels of no class among them, and become 0.
        num_classes: C; give it where a set may lack a class (a test set, a small sample).
        narrow: False leaves floats that JAX holds otherwise as they are, once they are known to fit: the
            arrays may be memory maps that nobody wants to copy.
        raw: x may be of any type of number, such as uint8 pixels: something will make floats of it.
        where: what messages call the data, for instance "test data".

    Returns:
        A Dataset named ``where``; labels are int32.

    Raises:
        TypeError: x or y has a dtype that does arithmetic wrongly or not at all (uint8 pixels, bool,
            text, ragged lists), or labels are floats where num_classes asks for classes.
        ValueError: no example, lengths that differ, a label outside 0..C-1, classes that do not
            occur with num_classes None, NaN or inf, probabilities that do not sum to 1, a value
            that changes to inf or wraps in 32 bits, or weights below 0 or all 0.

    Example:
        >>> import numpy as np
        >>> assert_data(np.zeros((3, 2), np.float32), np.array([0, 2, 1]))
        data: 3 examples, x (3, 2) float32, y (3,) int32, 3 classes
        >>> assert_data(np.zeros((3, 2), np.float32), np.array([0, 10, 1]), num_classes=10)
        Traceback (most recent call last):
        ...
        ValueError: data: expected labels 0-9 (10 classes), got labels[1] is 10; 1 bad label; first rows 1;...
    """
    if num_classes is not None:
        num_classes = arguments.whole(where, "num_classes", num_classes, low=1)
    narrow, raw = arguments.flag(where, "narrow", narrow), arguments.flag(where, "raw", raw)
    given = each("x", x, lambda name, leaf: _as_array(leaf, name, narrow, where))
    y = given if y is x else each("y", y, lambda name, leaf: _as_array(leaf, name, narrow, where))
    weight = None if weight is None else _as_array(weight, "weight", narrow, where)
    _assert_one_length(given, y, weight, where)

    def taken(name: str, leaf: np.ndarray) -> np.ndarray:
        leaf = leaf if raw else _assert_input_dtype(leaf, name, where)
        return _held(leaf, name, narrow, where, apart=narrow or not raw)  # else it is scaled in 64 bits first

    x = each("x", given, taken)
    y = x if y is given else y  # an autoencoder's lie in memory once
    if weight is not None:
        weight = _as_weights(weight, where)
        y = jax.tree.map(lambda leaf: _without(leaf, weight, num_classes), y)
    if is_tree(y):
        y = each("y", y, lambda name, leaf: _target(leaf, name, narrow, where))
        return Dataset(x, y, None, where, weight)
    y = _target(y, "y", narrow, where)
    if jnp.issubdtype(y.dtype, jnp.integer):
        return Dataset(x, y, _label_classes(y, num_classes, where), where, weight)
    if num_classes is not None:
        _assert_probabilities(y, num_classes, where)
    return Dataset(x, y, num_classes, where, weight)


def assert_batch_size(batch_size: int, n: int, *, where: str = "fit") -> None:
    """1 <= batch_size <= n: a larger batch would leave zero steps in an epoch and nothing learned.

    Args:
        batch_size: examples for each update.
        n: examples in the set.
        where: what the message calls the place.

    Raises:
        ValueError: batch_size is not a whole number in 1..n.

    Example:
        >>> assert_batch_size(64, 10)
        Traceback (most recent call last):
        ...
        ValueError: fit: expected a whole batch_size in 1..10, got batch_size 64 > 10 examples; ...
    """
    n = arguments.whole(where, "n", n, low=1)
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if whole and 1 <= batch_size <= n:
        return
    got = (
        f"batch_size {batch_size} > {n} examples" if whole and batch_size > n else f"batch_size {batch_size}"
    )
    raise ValueError(
        message(where, f"a whole batch_size in 1..{n}", got, f"batch_size={n} is batch training, 1 iterative")
    )


def _as_array(values: Any, name: str, narrow: bool, where: str) -> np.ndarray:
    """Values on the host with a leading axis N, zero-copy where NumPy can."""
    if isinstance(values, SparseRows):
        return values  # type: ignore[return-value]
    foreign = type(values) in (np.ndarray, np.memmap) and not values.dtype.isnative
    if foreign and not narrow and values.dtype.kind in "iufc":
        array = np.asarray(values)  # a memory map in the other byte order stays one; its rows are converted
    else:
        array = arguments.array(where, name, values, host=True)
    if array.ndim == 0:
        raise ValueError(
            message(where, f"{name} with a leading axis N, one row for each example", "a scalar")
        )
    return array


def _assert_one_length(x: Any, y: Any, weight: Any, where: str) -> None:
    """Raise unless every array has as many examples, at least one."""
    lengths: dict[str, int] = {}
    for name, tree in (("x", x), ("y", y), ("weight", weight)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            lengths[name + jax.tree_util.keystr(path)] = len(leaf)
    (first, N), *others = lengths.items()
    for name, length in others:
        if length != N:
            expected, got = "as many labels or targets as examples", f"{N} {first} and {length} {name}"
            raise ValueError(message(where, expected, got))
    if N == 0 or any(leaf.size == 0 for leaf in jax.tree.leaves(x)):
        shapes = jax.tree.map(lambda leaf: leaf.shape, x)
        raise ValueError(message(where, "at least 1 example", f"an empty set: x of shape {shapes}"))


def _as_weights(weight: np.ndarray, where: str) -> np.ndarray:
    """Weights as floats of JAX's, none below 0, one above."""
    assert_weights(where, weight)
    inexact = jnp.issubdtype(weight.dtype, jnp.inexact)
    held = weight.astype(held_dtype(weight.dtype if inexact else np.dtype(float)), copy=False)
    if not held.any():
        got = f"0 for every example in {held.dtype}" if weight.any() else "0 for every example"
        raise ValueError(message(where, "weights of which one is above 0", got))
    return held


def _without(y: np.ndarray, weight: np.ndarray, num_classes: int | None) -> np.ndarray:
    """Y, where targets that count nothing are such as any other could be."""
    off = weight == 0
    if y.shape[: off.ndim] != off.shape or not off.any():
        return y
    some = y[off]
    if jnp.issubdtype(y.dtype, jnp.integer):
        bad, fill = (some < 0).any() or some.max() > y[~off].max(), 0.0
    else:
        rows = num_classes is not None and y.ndim > off.ndim
        bad, fill = rows or not np.isfinite(some).all(), 1 / y.shape[-1] if rows else 0.0
    if bad:
        y = y.copy()
        y[off] = fill
    return y


def _target(y: np.ndarray, name: str, narrow: bool, where: str) -> np.ndarray:
    """Labels as int32, or float targets, as JAX holds them."""
    if jnp.issubdtype(y.dtype, jnp.integer):
        name = "labels" if name == "y" else name
        return _held(y, name, True, where).astype(np.int32, copy=False)
    if jnp.issubdtype(y.dtype, jnp.inexact):
        return _held(y, name, narrow, where)
    hint = "y.astype(np.int32) makes labels, y.astype(np.float32) targets"
    got = f"{name} of dtype {y.dtype}"
    raise TypeError(message(where, "integer class labels or float targets", got, hint))


def _assert_input_dtype(x: np.ndarray, name: str, where: str) -> np.ndarray:
    """Refuse small and unsigned integers: their arithmetic wraps (uint8: 0 - 1 = 255)."""
    if jnp.issubdtype(x.dtype, jnp.inexact) or x.dtype.name in ("int32", "int64"):
        return x
    got = f"{name} of dtype {x.dtype}"
    if x.dtype.kind in "iu":
        got = f"{name} is {x.dtype} {x.min()}-{x.max()}, whose arithmetic wraps"
    hint = f"scale it: {name}.astype(np.float32)"
    if x.dtype == np.uint8:
        hint += " / 255, or fit(..., preprocess=lambda x: x / 255)"
    raise TypeError(message(where, f"float {name}", got, hint))


def _held(array: np.ndarray, name: str, narrow: bool, where: str, *, apart: bool = True) -> np.ndarray:
    """The array in the dtype that JAX holds it in; finite before and after, and no integer wraps.

    Numbers that are to stay ``apart`` do.
    """
    if isinstance(array, SparseRows):  # its entries were looked at, and its rows are converted one by one
        return array
    inexact = jnp.issubdtype(array.dtype, jnp.inexact)
    if inexact and (bad := find(array, lambda rows: ~np.isfinite(rows))):
        value = array[bad.first]
        raise ValueError(
            message(
                where,
                f"finite {name}",
                f"{name}[{bad.place}] is {'NaN' if np.isnan(value) else value}; {bad.number} "
                f"non-finite value{'s' * (bad.number > 1)} in {bad.rows} row{'s' * (bad.rows > 1)}",
                "drop or fill these rows",
            )
        )
    held = held_dtype(array.dtype)
    if inexact and apart:
        _assert_apart(array, name, where)
    return array if held == array.dtype or not narrow else array.astype(held)


def _assert_apart(array: np.ndarray, name: str, where: str) -> None:
    """Raises a ValueError for a column of floats whose values become equal where JAX holds them."""

    def named(j: int) -> str:
        at = np.unravel_index(j, array.shape[1:])
        return f"{name}[:, {', '.join(map(str, at))}]" if at else name

    hint = f"scale it, ({name} - {name}.mean(axis=0)) / {name}.std(axis=0)"
    assert_distinct(where, array, named, f"{hint}, or write {name}.astype(np.float32) if that is meant")


def _label_classes(labels: np.ndarray, num_classes: int | None, where: str) -> int:
    """C, given or inferred; every label is in 0..C-1, and with C inferred every class occurs."""
    top = int(labels.max()) + 1
    classes = top if num_classes is None else num_classes
    if bad := find(labels, lambda rows: (rows < 0) | (rows >= classes)):
        listed = ", ".join(map(str, bad.listed)) + (", ..." if bad.rows > _SHOWN else "")
        expected = f"labels 0-{classes - 1} ({classes} classes)" if classes > 0 else "labels from 0"
        hint = "remap the labels to 0..C-1, or give the right num_classes; float y are targets"
        if labels[bad.first] < 0:  # -1 and -100 mark what is not labeled
            hint += "; what shall not count weighs 0 in data (x, y, weight)"
        raise ValueError(
            message(
                where,
                expected,
                f"labels[{bad.place}] is {labels[bad.first]}; "
                f"{bad.number} bad label{'s' * (bad.number > 1)}; first rows {listed}",
                hint,
            )
        )
    if num_classes is None and len(present := _present(labels)) < classes:
        listed = ",".join(str(c) for c in present[: 2 * _SHOWN]) + (
            ",..." if len(present) > 2 * _SHOWN else ""
        )
        raise ValueError(
            message(
                where,
                f"every class 0-{classes - 1} to occur, since num_classes is inferred",
                f"labels are {{{listed}}}",
                "pass num_classes or remap; if these are regression targets, make y float",
            )
        )
    return classes


def _present(labels: np.ndarray) -> list[int]:
    """The classes that occur."""
    return sorted(set[int]().union(*(np.unique(block).tolist() for _, block in blocks(labels))))


def _assert_probabilities(y: np.ndarray, num_classes: int, where: str) -> None:
    """Float y beside num_classes are rows of probabilities, else truncated labels."""
    if y.ndim < 2 or y.shape[-1] != num_classes:
        raise TypeError(
            message(
                where,
                f"integer class labels, or rows of {num_classes} class probabilities",
                f"labels are {y.dtype}, shape {y.shape}; class labels must be integers",
                "y.astype(np.int32), or num_classes=None for regression targets",
            )
        )

    def is_bad(rows: np.ndarray) -> np.ndarray:
        total = rows.sum(axis=-1, dtype=np.float64)
        # Wide enough for rows stored in half precision, far below the error of a wrong row.
        return (rows < 0).any(axis=-1) | (np.abs(total - 1) > 1e-2)

    if bad := find(y, is_bad):
        row = y[bad.first]
        raise ValueError(
            message(
                where,
                "class probabilities: none below 0, each row summing to 1",
                f"y[{bad.place}] sums to {row.sum(dtype=np.float64):g} with smallest entry "
                f"{row.min():g}; {bad.number} bad row{'s' * (bad.number > 1)}",
            )
        )
