"""What scales arrays of any shape, where no table says what their columns are, and scikit-learn's as one."""

import warnings
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.typing import Array

_FAR = 2.0**100  # beside which every shift rounds away, and a power of two, so that no scale is rounded


class Scaling(NamedTuple):
    """z = (x - shift) / scale for each feature: what a run's folder keeps of a fitted scaler.

    Calling it with an array scales the array; its float dtype is kept, other numbers become float32.

    Args:
        shift: what is subtracted, (...): the shape of one example.
        scale: what it is divided by, same shape, never 0.

    Example:
        >>> Scaling(np.array([2.0, 5.0]), np.array([0.5, 1.0]))(np.array([[1.0, 5.0], [3.0, 4.0]]))
        array([[-2.,  0.],
               [ 2., -1.]])
    """

    shift: np.ndarray
    scale: np.ndarray

    def __call__(self, x: Any) -> np.ndarray:
        """(x - shift) / scale on the host, computed in float64; the shape stays."""
        x = arguments.array("scaling", "x", x, host=True)
        self._assert_fits(x)
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
        return ((x - self.shift) / self.scale).astype(dtype)

    def traced(self, x: Array) -> Array:
        """The same inside of a compiled function, computed in the floats of x, or in float32."""
        self._assert_fits(x)
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
        return (x - self.shift.astype(x.dtype)[None]) / self.scale.astype(x.dtype)[None]

    def _assert_fits(self, x: Any) -> None:
        """Raises unless x are real examples of one shape with shift."""
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            raise TypeError(message("scaling", "real numbers", arguments.described(x), "x.real"))
        if x.shape[1:] != self.shift.shape:
            expected = f"examples of shape {self.shift.shape}, as it was made from"
            raise ValueError(message("scaling", expected, f"examples of shape {x.shape[1:]}"))


def scaling_of(where: str, preprocess: Any) -> Any:
    """The `Scaling` that a fitted transformer of scikit-learn does; anything else as it is.

    A transformer is known by what it can do: ``transform``, and ``inverse_transform``, which tells shift and
    scale. StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler and pipelines of them are such.

    Args:
        where: the function that was called.
        preprocess: its argument.

    Raises:
        ValueError: for a transformer that is not fitted, or does something else to an example.

    Example:
        >>> from sklearn.preprocessing import MinMaxScaler
        >>> scaling_of("fit", MinMaxScaler().fit([[0.0, 5.0], [4.0, 6.0]]))
        Scaling(shift=array([0., 5.]), scale=array([4., 1.]))
    """
    if callable(preprocess) or not hasattr(preprocess, "transform"):
        return preprocess
    if (d := getattr(preprocess, "n_features_in_", None)) is None:
        got = arguments.described(preprocess)
        raise ValueError(message(where, "a fitted preprocess", got, "call its fit(x) on the training data"))
    expected = "preprocess to shift and scale each feature by itself, as a fitted StandardScaler does"
    hint = "give fit and predict what its transform(x) returns"
    z = np.random.default_rng(0).uniform(-2, 2, (8, d))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # it may know its features by name
            shift, far = (
                np.asarray(preprocess.inverse_transform(np.full((1, d), v)), float)[0] for v in (0, _FAR)
            )
            scale = (far - shift) / _FAR
            x = np.asarray(preprocess.inverse_transform(z), float)
            given = np.asarray(preprocess.transform(x), float)
            rounding = abs(shift) * 1e-14 + abs(scale) * 1e-6
            straight = x.shape == given.shape and (abs(x - (shift + scale * z)) <= rounding).all()
            back = straight and (abs(given - z) * abs(scale) <= rounding).all()
    except Exception as error:  # whatever a transformer raises that does other things
        got = f"{arguments.described(preprocess)}: {str(error).partition(chr(10))[0]}"
        raise ValueError(message(where, expected, got, hint)) from error
    if not back or not np.isfinite((shift, scale)).all() or not scale.all():
        raise ValueError(message(where, expected, arguments.described(preprocess), hint))
    return Scaling(shift, scale)


def for_programs(where: str, preprocess: Any) -> Any:
    """A preprocess as compiled functions call it: as `scaling_of`, a `Scaling` by what it does there."""
    found = scaling_of(where, preprocess)
    return found.traced if isinstance(found, Scaling) else found
