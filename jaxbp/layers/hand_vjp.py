"""A layer's plain function with its hand-written backward pass as its derivative rule."""

from collections.abc import Callable

import jax

from jaxbp import arguments
from jaxbp.layers.layer import NO_LAYER, Layer, taken
from jaxbp.typing import Array, Params, Random, Saved


def with_hand_vjp(net: Layer) -> Callable[..., Array]:
    """``net.apply`` as a `jax.custom_vjp`, so that `jax.grad` around it runs the hand-written rule.

    Reverse mode only, as with every `jax.custom_vjp`; ``net.apply`` stays plain and has forward mode.

    Returns:
        ``apply(params, f, *, key=None) -> out``.

    Example:
        >>> import jax, jax.numpy as jnp, jaxbp
        >>> apply = with_hand_vjp(jaxbp.sigmoid)
        >>> jax.grad(lambda f: apply({}, f).sum())(jnp.zeros(2))
        Array([0.25, 0.25], dtype=float32)
    """
    arguments.instance("with_hand_vjp", "net", net, Layer, NO_LAYER)

    @jax.custom_vjp
    def apply(params: Params, f: Array, key: Random | None) -> Array:
        return net.apply(params, f, key=key)

    def fwd(params: Params, f: Array, key: Random | None) -> tuple[Array, Saved]:
        out, saved = net.forward(params, f, key=key)
        return out, (params, saved)

    def bwd(residuals: Saved, delta_out: Array) -> tuple[Params, Array, None]:
        params, saved = residuals
        return *net.backward(params, saved, delta_out), None

    apply.defvjp(fwd, bwd)

    def checked(params: Params, f: Array, *, key: Random | None = None) -> Array:
        return apply(*taken("with_hand_vjp", net, params, f, key))

    return checked
