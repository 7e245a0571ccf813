"""The scaling of arrays of any shape by the training set, where no table says what their columns are."""

from dataclasses import replace
from typing import NamedTuple, overload

import numpy as np

from jaxbp import arguments
from jaxbp.data.dataset import Dataset
from jaxbp.errors import message


class Scaling(NamedTuple):
    """z = (x - shift) / scale for each feature; made from the training set, applied to any set.

    Calling it with an array scales the array (its dtype is kept); with a Dataset, its x.

    Args:
        shift: what is subtracted, (...): the shape of one example.
        scale: what it is divided by, same shape, never 0.
    """

    shift: np.ndarray
    scale: np.ndarray

    @overload
    def __call__(self, data: Dataset) -> Dataset: ...
    @overload
    def __call__(self, data: np.ndarray) -> np.ndarray: ...
    def __call__(self, data: Dataset | np.ndarray) -> Dataset | np.ndarray:
        """(data - shift) / scale; the shape and the float dtype stay."""
        if isinstance(data, Dataset):
            return replace(data, x=self(data.x))
        x = arguments.array("scaling", "x", data, host=True)
        if x.dtype.kind == "c":
            raise TypeError(message("scaling", "real numbers", arguments.described(x), "x.real"))
        if x.shape[1:] != self.shift.shape:
            raise ValueError(
                message(
                    "scaling",
                    f"examples of shape {self.shift.shape}, as it was made from",
                    f"examples of shape {x.shape[1:]}",
                )
            )
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        return ((x - self.shift) / self.scale).astype(dtype)


def make_standardiser(x: np.ndarray) -> Scaling:
    """Scaling by shift = mean, scale = standard deviation (divisor N) of each feature.

    Make it once from the training set and apply it to every other set: statistics of the test set
    would leak into training. A constant feature gets scale 1, so it becomes 0 and not NaN. The
    statistics are taken in float64.

    Args:
        x: training inputs, (N, ...).

    Returns:
        A Scaling whose arrays have the shape of one example.

    Raises:
        ValueError: x is empty or has values that are not finite.

    Example:
        >>> import numpy as np
        >>> train = np.array([[1.0, 5.0], [3.0, 5.0]])
        >>> scaling = make_standardiser(train)
        >>> scaling(train).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
        >>> scaling(np.array([[4.0, 6.0]])).tolist()
        [[2.0, 1.0]]
    """
    x = _finite(x, "make_standardiser")
    constant = x.max(axis=0) == x.min(axis=0)
    # The mean of equal floats can round away from them; a constant feature must become exactly 0.
    mean = np.where(constant, x[0], x.mean(axis=0, dtype=np.float64))
    return Scaling(mean, np.where(constant, 1.0, x.std(axis=0, dtype=np.float64)))


def make_min_max_scaler(x: np.ndarray) -> Scaling:
    """Scaling by shift = min, scale = max - min of each feature: the training set fills [0, 1].

    Other sets may leave [0, 1] a little. A constant feature gets scale 1, so it becomes 0.

    Args:
        x: training inputs, (N, ...).

    Returns:
        A Scaling whose arrays have the shape of one example.

    Raises:
        ValueError: x is empty or has values that are not finite.

    Example:
        >>> import numpy as np
        >>> make_min_max_scaler(np.array([[0.0], [4.0]]))(np.array([[1.0], [5.0]])).tolist()
        [[0.25], [1.25]]
    """
    x = _finite(x, "make_min_max_scaler")
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    return Scaling(low, np.where(high == low, 1.0, high - low))


def _finite(x: np.ndarray, where: str) -> np.ndarray:
    """Return x as an array of at least one example and finite values only."""
    x = arguments.array(where, "x", x, host=True)
    if x.dtype.kind not in "iuf":
        raise TypeError(message(where, "real numbers in x", arguments.described(x)))
    if x.ndim == 0 or x.size == 0:
        raise ValueError(message(where, "at least one example", f"x of shape {x.shape}"))
    if not np.isfinite(x).all():
        raise ValueError(message(where, "finite x", f"{int((~np.isfinite(x)).sum())} values that are not"))
    return x
