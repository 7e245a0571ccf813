"""Dropout: the one layer that draws at random."""

import jax
import jax.numpy as jnp

from jaxbp import arguments, recipes
from jaxbp.layers.activations import identity
from jaxbp.layers.layer import Layer, delta_of, rows
from jaxbp.typing import Params, Random, Saved, Tensor


@recipes.own("dropout")
def dropout(rate: float) -> Layer:
    """Each entry of f zeroed with probability ``rate``, the others divided by 1 - rate.

    The identity unless a key is given, so evaluation needs no switch. Saves the mask.

    Args:
        rate: the probability of zeroing, 0 <= rate < 1.

    Raises:
        TypeError: for a rate that is no number.
        ValueError: for a rate outside [0, 1).

    Example:
        >>> dropout(0.5).apply({}, jnp.ones(6), key=jax.random.key(0))
        Array([0., 0., 2., 2., 0., 2.], dtype=float32)
        >>> dropout(0.5).apply({}, jnp.ones(3))
        Array([1., 1., 1.], dtype=float32)

    Source: Srivastava et al. 2014, in its inverted form.
    """
    rate = arguments.number("dropout", "rate", rate, low=0, high=1, open_high=True)
    name = f"dropout({rate:g})"

    def masked(keep: Saved, f: Tensor) -> Tensor:
        return f if keep is None else jnp.where(keep, f / (1 - rate), 0)

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f = arguments.array(name, "f", f, floats=True)
        key = None if key is None else arguments.key(name, key)
        keep = None if key is None else jax.random.bernoulli(key, 1 - rate, f.shape)
        return masked(keep, f), keep

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        return forward(params, f, key=key)[0]

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        delta_out = rows(name, delta_out, "delta_out")
        if saved is not None:
            delta_out = delta_of(name, delta_out, saved.shape)
        return {}, masked(saved, delta_out)

    # The chain is that of the network without a key, where dropout is the identity.
    return Layer(name, apply, forward, backward, jacobian=identity.jacobian, means="I")
