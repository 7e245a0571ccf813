"""Metrics of a network on data it is not trained on."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.arguments.trees import is_tree
from jaxbp.losses import weights
from jaxbp.train.programs.step import Evaluate, takes
from jaxbp.typing import Array, Params, Scalar


def make_evaluate(apply: Callable[[Params, Array], Array], loss: Callable[..., Scalar]) -> Evaluate:
    """Metrics of a network on a data set: its loss, and for class labels its accuracy.

    Args:
        apply: ``(params, x) -> f`` of shape (*n, C), any JAX function.
        loss: ``(f, y) -> scalar``.

    Returns:
        ``evaluate(params, x, y, weight=None) -> {"loss": ..., "accuracy": ...}``, the accuracy being the
        share of the examples whose largest f is at y, and NaN where f is NaN. Of a row of probabilities, for
        a `Loss` of classes, the label is where it is largest. Targets that are no labels have no accuracy.
        With weights, (*n,), both are weighted means; ``loss`` then takes them as its argument ``weight``.

    Example:
        >>> import jaxbp
        >>> evaluate = make_evaluate(lambda params, x: x, jaxbp.softmax_cross_entropy)
        >>> evaluate({}, jnp.array([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), jnp.array([1, 0, 0]))["accuracy"]
        Array(0.6666667, dtype=float32)
    """
    arguments.function("make_evaluate", "apply", apply, positional=2)
    arguments.function("make_evaluate", "loss", loss, positional=2)

    def evaluate(params: Params, x: Any, y: Any, weight: Array | None = None) -> dict[str, Scalar]:
        x, y = _taken("x", x), _taken("y", y)
        params = jax.tree.map(lambda leaf: _taken("params", leaf) if _is_numpy(leaf) else leaf, params)
        f = apply(params, x)
        if weight is not None and not takes(loss, "weight"):
            expected = "a loss with an argument weight, for data with weights"
            raise TypeError(errors.message("evaluate", expected, arguments.described(loss)))
        value = loss(f, y) if weight is None else loss(f, y, weight=weight)
        if not (hasattr(value, "dtype") or isinstance(value, float)) or jnp.shape(value) != ():
            got = arguments.described(value)
            raise TypeError(errors.message("evaluate", "loss(f, y) to return a number", got))
        metrics = {"loss": jnp.asarray(value)}
        shape = getattr(y, "shape", None)
        rows = getattr(loss, "targets", "") == "classes" and shape == f.shape
        if rows or (shape == f.shape[:-1] and jnp.issubdtype(y.dtype, jnp.integer)):
            right = (f.argmax(-1) == (y.argmax(-1) if rows else y)).astype(metrics["loss"].dtype)
            right = jnp.where(jnp.isnan(f).any(-1), jnp.nan, right)
            metrics["accuracy"] = right.mean() if weight is None else _weighted_mean(right, weight)
        return metrics

    return evaluate


def _weighted_mean(values: Array, weight: Any) -> Scalar:
    """Sum w v / sum w, over the examples that count."""
    weight = weights("evaluate", weight, values.shape)
    total = jnp.where(weight == 0, 0, weight * values).sum()
    return (total / jnp.where(weight.any(), weight.sum(), 1)).astype(values.dtype)


def _taken(name: str, value: Any) -> Any:
    """An array, or a tree of arrays as it is: only ``apply`` and ``loss`` know what that means."""
    return value if is_tree(value) else arguments.array("evaluate", name, value)


def _is_numpy(leaf: Any) -> bool:
    """An array that a compiled ``apply`` would misread in another byte order."""
    return isinstance(leaf, np.ndarray)
