"""Metrics of a network on data it is not trained on."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxbp.train.step import Evaluate
from jaxbp.typing import Array, Params, Scalar


def make_evaluate(
    apply: Callable[[Params, Array], Array], loss: Callable[[Array, Array], Scalar]
) -> Evaluate:
    """Metrics of a network on a data set: its loss, and for integer labels its accuracy.

    Args:
        apply: ``(params, x) -> f`` of shape (*n, C), any JAX function.
        loss: ``(f, y) -> scalar``.

    Returns:
        ``evaluate(params, x, y) -> {"loss": ..., "accuracy": ...}``, the accuracy being the share of the
        examples whose largest f is at y, and NaN where f is NaN. Targets that are no labels have no accuracy.

    Example:
        >>> import jaxbp
        >>> evaluate = make_evaluate(lambda params, x: x, jaxbp.softmax_cross_entropy)
        >>> evaluate({}, jnp.array([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), jnp.array([1, 0, 0]))["accuracy"]
        Array(0.6666667, dtype=float32)
    """

    def evaluate(params: Params, x: Array, y: Array) -> dict[str, Scalar]:
        f = apply(params, x)
        metrics = {"loss": loss(f, y)}
        if jnp.issubdtype(y.dtype, jnp.integer) and y.shape == f.shape[:-1]:
            right = (f.argmax(-1) == y).astype(metrics["loss"].dtype)
            metrics["accuracy"] = jnp.where(jnp.isnan(f).any(-1), jnp.nan, right).mean()
        return metrics

    return evaluate
