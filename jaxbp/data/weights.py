"""What each example counts: weights that can be averaged by, and weights of classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxbp import arguments
from jaxbp.arguments.search import find
from jaxbp.data.dataset import Dataset
from jaxbp.errors import message

ClassWeight = Mapping[int, float] | Sequence[float] | Literal["balanced"]


def assert_weights(where: str, weight: np.ndarray) -> None:
    """Raise unless weights are finite numbers from 0 on.

    Raises:
        TypeError: for complex numbers.
        ValueError: for a weight below 0, NaN or infinite; the message names the first.

    Example:
        >>> assert_weights("fit", np.array([1.0, -2.0]))
        Traceback (most recent call last):
        ...
        ValueError: fit: expected weights from 0 on, got weight[1] is -2.0
    """
    if weight.dtype.kind == "c":
        raise TypeError(message(where, "real weights", arguments.described(weight), "weight.real"))
    if weight.size and (bad := find(weight, lambda rows: ~(np.isfinite(rows) & (rows >= 0)))):
        place = f"[{bad.place}]" if bad.place else ""
        raise ValueError(message(where, "weights from 0 on", f"weight{place} is {weight[bad.first]}"))


def weighted_by_class(where: str, data: Dataset, class_weight: ClassWeight) -> np.ndarray:
    """The weight of each example, its own times that of its class.

    A row of class probabilities has the mean of the classes' weights by these. ``"balanced"`` gives every
    class that occurs the same sum of weights, N / (C n_c) for each of the n_c examples of one of C classes,
    as scikit-learn's word does; examples with weights are counted by them.

    Args:
        where: the function that was called.
        data: integer labels (N, ...), rows of class probabilities (N, ..., C), or 0.0 and 1.0 as the targets
            of one output, (N,) or (N, 1).
        class_weight: ``{label: weight}``, where other labels weigh 1; a number for each class; or
            ``"balanced"``.

    Returns:
        (N, ...), the axes of labels.

    Raises:
        TypeError: for what is none of these, and targets that have no class.
        ValueError: for a class that is not there, a weight below 0, or nothing that weighs anything.

    Example:
        >>> data = Dataset(np.zeros((4, 1)), np.array([0, 0, 0, 1], np.int32), 2)
        >>> weighted_by_class("fit", data, "balanced").round(3)
        array([0.667, 0.667, 0.667, 2.   ], dtype=float32)
        >>> weighted_by_class("fit", data, {1: 19}).tolist()
        [1.0, 1.0, 1.0, 19.0]

    Source: King and Zeng 2001, "Logistic regression in rare events data", for the balance.
    """
    y = _classes(where, data)
    own = np.ones(len(data), np.float32) if data.weight is None else data.weight
    labels = y.dtype.kind in "iu"
    C = data.num_classes or 2
    own = np.broadcast_to(own.reshape(own.shape + (1,) * ((y.ndim if labels else y.ndim - 1) - own.ndim)),
                          y.shape if labels else y.shape[:-1])  # fmt: skip
    if isinstance(class_weight, str):
        arguments.option(where, "class_weight", class_weight, ("balanced",))
        counts = (
            np.bincount(y.ravel(), own.ravel(), C) if labels else np.tensordot(own, y.astype(float), own.ndim)
        )
        there = counts > 0
        of_class = np.where(there, counts.sum() / (there.sum() * np.where(there, counts, 1)), 0)
    else:
        of_class = _by_class(where, class_weight, C)
    weight = (own * (of_class[y] if labels else y @ of_class)).astype(np.float32)
    if not weight.any():
        raise ValueError(message(where, "a class_weight above 0 for a class that occurs", "0 for all"))
    return weight


def _classes(where: str, data: Dataset) -> np.ndarray:
    """Labels, or rows of class probabilities."""
    y = data.y
    if isinstance(y, np.ndarray):
        if data.num_classes is not None:
            return y
        if y.shape in ((len(y),), (len(y), 1)) and not find(y, lambda rows: (rows != 0) & (rows != 1)):
            return y.reshape(-1).astype(np.int32)
    got = f"targets {arguments.described(y)}" if isinstance(y, np.ndarray) else "a tree of targets"
    hint = "give weights of the examples, data=(x, y, weight)"
    raise TypeError(message(where, "class labels beside class_weight", got, hint))


def _by_class(where: str, class_weight: Any, C: int) -> np.ndarray:
    """The weight of each of C classes."""
    of_class = np.ones(C)
    if isinstance(class_weight, Mapping):
        for label, value in class_weight.items():
            c = arguments.whole(where, "a label in class_weight", label, low=0, high=C - 1)
            of_class[c] = arguments.number(where, f"class_weight[{c}]", value, low=0)
        return of_class
    if isinstance(class_weight, Sequence | np.ndarray) or hasattr(class_weight, "shape"):
        given = arguments.array(where, "class_weight", class_weight, host=True)
        if given.shape != (C,):
            raise ValueError(message(where, f"a class_weight for each of {C} classes", f"{given.shape}"))
        assert_weights(f"{where}, class_weight", given)
        return given.astype(float)
    expected = 'class_weight {label: weight}, a number for each class, or "balanced"'
    raise TypeError(message(where, expected, arguments.described(class_weight)))
