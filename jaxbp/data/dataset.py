"""A data set on the host: the record, and its split into parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxbp import arguments
from jaxbp.arguments.sparse import SparseRows
from jaxbp.arguments.trees import host_arrays
from jaxbp.errors import message

if TYPE_CHECKING:
    from jaxbp.data.tables.schema import Schema


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """N examples: rows x (N, ...) and, for each, a class label or a target y (N, ...).

    Integer y are class labels 0..num_classes-1 (num_classes is then never None). Float y with
    num_classes None are regression targets; float y with num_classes are rows of class
    probabilities, one-hot among them. The arrays are NumPy arrays on the host. Where a network has
    several inputs or targets, x or y is a tree of arrays with one first axis, e.g. a dict of them by name.

    Args:
        x: inputs, (N, ...).
        y: class labels or targets, (N, ...).
        num_classes: C, or None for regression and for a tree of y.
        name: what messages call this data set.
        weight: what each example counts, (N, ...), from 0 on; None where all count the same.
        schema: what x and y were made by, where they are those of a table.

    Raises:
        TypeError: for x, y or weight that hold no numbers, a num_classes that is no whole number, a name
            that is no text.
        ValueError: for arrays of two lengths, or a num_classes below 1 or beyond int32.

    Example:
        >>> import numpy as np
        >>> data = Dataset(np.zeros((4, 3), np.float32), np.array([0, 1, 1, 0], np.int32), 2, "toy")
        >>> data
        toy: 4 examples, x (4, 3) float32, y (4,) int32, 2 classes
        >>> len(data), data.y[:2].tolist()
        (4, [0, 1])
    """

    x: Any
    y: Any
    num_classes: int | None = None
    name: str = "data"
    weight: np.ndarray | None = None
    schema: "Schema | None" = None

    def __post_init__(self) -> None:
        where = arguments.instance("Dataset", "name", self.name, str)
        for field in ("x", "y", "weight"):
            values = getattr(self, field)
            if values is not None and (type(values) is not np.ndarray or not _holds_numbers(values)):
                object.__setattr__(self, field, host_arrays(where, field, values))
        if self.num_classes is not None:
            most = np.iinfo(np.int32).max  # of the labels
            C = arguments.whole(where, "num_classes", self.num_classes, low=1, high=most)
            object.__setattr__(self, "num_classes", C)
        lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(self.arrays)}
        if len(lengths) != 1 or () in lengths:
            expected = "as many labels or targets as examples"
            x, y = jax.tree.map(lambda leaf: leaf.shape, (self.x, self.y))
            got = f"x of shape {x} and y of shape {y}"
            if self.weight is not None:
                expected, got = f"{expected}, and as many weights", f"{got}, weight of {self.weight.shape}"
            raise ValueError(message(where, expected, got))

    @property
    def arrays(self) -> tuple[Any, ...]:
        """(x, y), or (x, y, weight)."""
        return (self.x, self.y) if self.weight is None else (self.x, self.y, self.weight)

    def __len__(self) -> int:
        """N, the number of examples."""
        return len(jax.tree.leaves(self.y)[0])

    def __repr__(self) -> str:
        kind = "targets" if self.num_classes is None else f"{self.num_classes} classes"
        parts = ", ".join(
            f"{part}{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}"
            for part, tree in zip(("x", "y", "weight"), self.arrays, strict=False)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        )
        return f"{self.name}: {len(self)} examples, {parts}, {kind}"

    def rows(self, which: np.ndarray) -> "Dataset":
        """The data set of these of its examples, by their numbers from 0.

        Raises:
            TypeError, ValueError: for what is no list of whole numbers below N.
        """
        which = arguments.array("Dataset.rows", "which", which, host=True)
        if which.ndim != 1 or (which.size and which.dtype.kind not in "iu"):
            got = arguments.described(which)
            raise TypeError(message("Dataset.rows", "whole numbers of shape (k,)", got))
        if which.size and (which.min() < 0 or which.max() >= len(self)):
            got = f"{which.min()} to {which.max()}"
            raise ValueError(message("Dataset.rows", f"numbers of examples, 0 to {len(self) - 1}", got))
        which = which.astype(np.intp, copy=False)  # an empty list is one of floats
        parts = {"x": self.x, "y": self.y, "weight": self.weight}
        return replace(self, **jax.tree.map(lambda leaf: _taken(leaf, which), parts))


def _taken(leaf: Any, which: np.ndarray) -> Any:
    return leaf.take(which) if isinstance(leaf, SparseRows) else leaf[which]


def _holds_numbers(values: np.ndarray) -> bool:
    """Whether they are numbers that JAX has: it knows no floats of more than 64 bits."""
    return values.dtype.kind in "biufc" and values.dtype not in (np.longdouble, np.clongdouble)


def split(
    data: Dataset,
    sizes: float | Sequence[float] | Sequence[int],
    *,
    seed: int = 0,
    shuffle: bool = True,
    stratify: bool = False,
) -> tuple[Dataset, ...]:
    """Shuffle the examples by ``seed`` and cut them into parts; no example is lost or doubled.

    With ``shuffle=False`` they stay in their order: of a time series the last part is held out.

    With ``stratify`` every part holds the classes in the proportions of the whole, to within an
    example or two for each class: the examples of a class are spread evenly over the shuffled order,
    each class from a random phase, before the cut.

    Args:
        data: N examples.
        sizes: fractions that sum to 1, or whole numbers that sum to N; a single fraction f means
            (1 - f, f), a training part and a held-out part.
        seed: the same seed gives the same parts.
        shuffle: False cuts the examples in the order they have.
        stratify: keep the proportions of the classes; y must be integer labels, shape (N,).

    Returns:
        One Dataset for each size, in order.

    Raises:
        ValueError: a size below 0, sizes that do not sum to 1 or N, a part that would be empty, or
            ``stratify`` without integer labels of shape (N,), or without ``shuffle``.

    Example:
        >>> import numpy as np
        >>> data = Dataset(np.arange(10.0)[:, None], np.repeat([0, 1], 5), 2, "toy")
        >>> train, test = split(data, 0.4, stratify=True)
        >>> np.bincount(train.y).tolist(), np.bincount(test.y).tolist()
        ([3, 3], [2, 2])
        >>> [len(part) for part in split(data, (5, 3, 2))]
        [5, 3, 2]
        >>> split(data, 0.2, shuffle=False)[1].x[:, 0].tolist()
        [8.0, 9.0]
    """
    arguments.instance("split", "data", data, Dataset, "load(...) or assert_data(x, y) makes one")
    seed = arguments.whole("split", "seed", seed, low=0)
    shuffle, stratify = (
        arguments.flag("split", "shuffle", shuffle),
        arguments.flag("split", "stratify", stratify),
    )
    if stratify and not shuffle:
        expected, got = "shuffle=True to stratify", "shuffle=False, which keeps the order"
        raise ValueError(message(f"split of {data.name}", expected, got))
    n = len(data)
    counts = _part_sizes(n, sizes, data.name)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n) if shuffle else np.arange(n)
    if stratify:
        labels = data.y
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(
                message(
                    f"split of {data.name}",
                    "integer labels of shape (N,) to stratify by",
                    f"y {arguments.described(labels)}",
                    "leave stratify=False",
                )
            )
        position = np.empty(n)
        for c in np.unique(labels):
            members = order[labels[order] == c]
            position[members] = (np.arange(len(members)) + rng.uniform()) / len(members)
        order = order[np.argsort(position[order], kind="stable")]
    parts = np.split(order, np.cumsum(counts)[:-1])
    if stratify:  # within a part the classes would come in turn
        parts = [rng.permutation(rows) for rows in parts]
    return tuple(data.rows(rows) for rows in parts)


def _part_sizes(n: int, sizes: float | Sequence[float] | Sequence[int], name: str) -> np.ndarray:
    """Whole numbers of examples for each part; the rounding of fractions sums to n."""
    where = f"split of {name}"
    if isinstance(sizes, float | np.floating):
        sizes = [1 - float(sizes), float(sizes)]
    wanted = arguments.array(where, "sizes", sizes, host=True)
    got = f"{wanted.tolist()}"
    if wanted.ndim != 1 or wanted.size == 0 or wanted.dtype.kind not in "iuf" or not (wanted >= 0).all():
        raise ValueError(message(where, "a fraction, fractions or whole numbers, none below 0", got))
    if wanted.dtype.kind == "f":
        if not np.isclose(wanted.sum(), 1):
            raise ValueError(
                message(where, "fractions that sum to 1", f"{got}, which sum to {wanted.sum():g}")
            )
        wanted = np.diff(np.rint(np.cumsum(wanted) * n).astype(int), prepend=0)
    if wanted.sum() != n:
        raise ValueError(message(where, f"sizes that sum to N = {n}", f"{got}, which sum to {wanted.sum()}"))
    if (wanted == 0).any():
        raise ValueError(
            message(where, "at least 1 example in every part", f"parts of {wanted.tolist()} examples")
        )
    return wanted
