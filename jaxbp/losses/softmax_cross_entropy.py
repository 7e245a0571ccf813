"""The cross-entropy of classes, on logits."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors, recipes
from jaxbp.losses.loss import Loss
from jaxbp.typing import Losses, Rows, Targets


@recipes.own("softmax_cross_entropy")
def make_softmax_cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """-y^T log S(f) on logits f; delta_f = mu - y with mu = S(f), `jax.nn.softmax`.

    y is one label in 0..C-1 for each example (integers, (*n,)), or its one-hot row or probabilities
    (*n, C) that add to 1. The value is taken from `jax.nn.log_softmax`, so that logits of 1e4 are exact. An
    integer label outside 0..C-1 gives NaN, never another class.

    Args:
        label_smoothing: eps in [0, 1]; y becomes (1 - eps) y + eps / C.

    Raises:
        TypeError: for labels that are no integers.
        ValueError: for y of another shape, or eps outside [0, 1].

    Example:
        >>> softmax_cross_entropy(jnp.array([0.0, 1e4]), jnp.array(0))
        Array(10000., dtype=float32)
        >>> softmax_cross_entropy.delta(jnp.array([0.0, 1e4]), jnp.array(0))
        Array([-1.,  1.], dtype=float32)
        >>> make_softmax_cross_entropy(0.5).delta(jnp.zeros(4), jnp.array(0))
        Array([-0.375,  0.125,  0.125,  0.125], dtype=float32)

    Source: the lecture, steps 2 and 3: l = -y^T log mu, delta_f = mu^T - y^T. Label smoothing: Szegedy et
    al. 2016.
    """
    name = "softmax_cross_entropy"
    label_smoothing = arguments.number(name, "label_smoothing", label_smoothing, low=0, high=1)

    def rows(f: Rows, y: Targets) -> tuple[Rows, Rows]:
        """F, and y as rows: one-hot (a row of NaN where a label is out of range), smoothed."""
        f = arguments.array(name, "f", f, floats=True)
        if f.ndim == 0 or not f.shape[-1]:
            raise ValueError(errors.message(name, "f of shape (*n, C), C at least 1", f"shape {f.shape}"))
        y, C = arguments.array(name, "y", y, fill=-1), f.shape[-1]
        if y.shape == f.shape[:-1]:
            if not jnp.issubdtype(y.dtype, jnp.integer):
                raise TypeError(
                    errors.message(
                        name, "integer class labels", f"labels that are {y.dtype}", "y.astype(int)"
                    )
                )
            known = (y >= 0) & (y < C)
            y = jnp.where(known[..., None], jax.nn.one_hot(y, C, dtype=f.dtype), jnp.nan)
        elif y.shape != f.shape:
            expected = f"labels of shape {f.shape[:-1]} or rows of shape {f.shape}"
            hint = "drop the axis, y[..., 0]" if y.shape == (*f.shape[:-1], 1) else ""
            raise ValueError(errors.message(name, expected, f"shape {y.shape}", hint))
        elif jnp.issubdtype(y.dtype, jnp.complexfloating):
            raise TypeError(errors.message(name, "rows of probabilities", arguments.described(y)))
        y = y.astype(f.dtype)
        return f, (1 - label_smoothing) * y + label_smoothing / C if label_smoothing else y

    def values(f: Rows, y: Targets) -> Losses:
        f, y = rows(f, y)
        log_mu = jax.nn.log_softmax(f, axis=-1)
        return -jnp.where(y == 0, 0, y * log_mu).sum(-1)  # 0 log 0 = 0, for masked logits of -inf

    def deltas(f: Rows, y: Targets) -> Rows:
        labels, (f, y) = np.ndim(y) < np.ndim(f), rows(f, y)
        mu = jax.nn.softmax(f, axis=-1)
        # The one-hot row of a label adds to 1; probabilities do so only nearly in float32.
        return mu - y if labels else mu * y.sum(-1, keepdims=True) - y

    suffix = f"(label_smoothing={label_smoothing})" if label_smoothing else ""
    doc = f"""-y^T log S(f) on logits f{suffix and ", with y smoothed"}; delta_f = mu - y with mu = S(f).

    y is a label in 0..C-1 for each example, or a row of probabilities. `make_softmax_cross_entropy` has the
    details, and label smoothing.

    Example:
        >>> jaxbp.{name}.delta(jnp.array([0.0, 0.0]), jnp.array(0))
        Array([-0.5,  0.5], dtype=float32)
    """
    return Loss(name + suffix, values, deltas, mu=jax.nn.softmax, targets="classes", doc=doc)


softmax_cross_entropy = make_softmax_cross_entropy()
