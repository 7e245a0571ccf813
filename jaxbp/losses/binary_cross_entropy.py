"""The cross-entropy of yes and no, on logits and on probabilities."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlog1py, xlogy

from jaxbp import recipes
from jaxbp.losses.loss import Loss
from jaxbp.losses.targets import pair
from jaxbp.typing import Array, Losses, Rows, Targets


def _bce_values(f: Rows, y: Targets) -> Losses:
    f, y = pair("binary_cross_entropy", f, y)
    # -y log sigmoid(f) - (1 - y) log(1 - sigmoid(f)), without ever forming the sigmoid.
    return (jax.nn.softplus(f) - y * f).sum(-1)


def _bce_deltas(f: Rows, y: Targets) -> Rows:
    f, y = pair("binary_cross_entropy", f, y)
    return jax.nn.sigmoid(f) - y


binary_cross_entropy = Loss(
    "binary_cross_entropy",
    _bce_values,
    _bce_deltas,
    mu=jax.nn.sigmoid,
    targets="unit interval",
    doc="""-sum_i y_i log mu_i + (1 - y_i) log(1 - mu_i) on logits f, with mu = sigmoid(f); delta_f = mu - y.

    y has f's shape and lies in [0, 1]: yes is 1, no is 0.

    Example:
        >>> jaxbp.binary_cross_entropy.delta(jnp.array([0.0]), jnp.array([1.0]))
        Array([-0.5], dtype=float32)
    """,
)


def _bce_on_probabilities_values(f: Rows, y: Targets) -> Losses:
    f, y = pair("binary_cross_entropy_on_probabilities", f, y)
    # At 0 log 0 the slope is 0, and not the 0 / 0 of the logarithm.
    on = xlogy(y, jnp.where((y == 0) & (f == 0), 1, f))
    off = xlog1py(1 - y, jnp.where((y == 1) & (f == 1), 0, -f))
    return -(on + off).sum(-1)


def _bce_on_probabilities_deltas(f: Rows, y: Targets) -> Rows:
    f, y = pair("binary_cross_entropy_on_probabilities", f, y)

    def ratio(p: Array, q: Array) -> Array:
        return jnp.where(p == 0, 0, p / jnp.where(p == 0, 1, q))

    return ratio(1 - y, 1 - f) - ratio(y, f)


binary_cross_entropy_on_probabilities = Loss(
    "binary_cross_entropy_on_probabilities",
    _bce_on_probabilities_values,
    _bce_on_probabilities_deltas,
    mu=lambda f: f,
    targets="unit interval",
    doc="""-sum_i y_i log f_i + (1 - y_i) log(1 - f_i) of probabilities f, a sigmoid's outputs.

    delta_f = (1 - y) / (1 - f) - y / f. For the exercise on the board; it saturates, so train on logits, with
    `binary_cross_entropy`.
    """,
)

recipes.own("binary_cross_entropy", binary_cross_entropy)
recipes.own("binary_cross_entropy_on_probabilities", binary_cross_entropy_on_probabilities)
