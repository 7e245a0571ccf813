"""A layer whose hand-written rule `jax.grad` runs."""

from collections.abc import Callable

import jax

from jaxbp import arguments
from jaxbp.layers.entrance import NO_LAYER, taken
from jaxbp.layers.layer import Layer, handed
from jaxbp.typing import Array, Given, Params, Random, Saved


def with_hand_vjp(net: Layer) -> Callable[..., Array]:
    """``net.apply`` as a `jax.custom_vjp`, so that `jax.grad` around it runs the hand-written rule.

    Reverse mode only, as with every `jax.custom_vjp`; ``net.apply`` stays plain and has forward mode.

    Returns:
        ``apply(params, f, *, key=None, given=None) -> out``; no derivative by what is given.

    Example:
        >>> import jax, jax.numpy as jnp, jaxbp
        >>> apply = with_hand_vjp(jaxbp.sigmoid)
        >>> jax.grad(lambda f: apply({}, f).sum())(jnp.zeros(2))
        Array([0.25, 0.25], dtype=float32)
    """
    arguments.instance("with_hand_vjp", "net", net, Layer, NO_LAYER)

    def checked(params: Params, f: Array, *, key: Random | None = None, given: Given | None = None) -> Array:
        params, f, key = taken("with_hand_vjp", net, params, f, key, given)
        arrays, static = _parted(given)

        @jax.custom_vjp
        def apply(params: Params, f: Array, key: Random | None, arrays: Given) -> Array:
            constants = jax.lax.stop_gradient(arrays)  # of the plain map as of the rule
            return net.apply(params, f, key=key, **handed(net, constants | static))

        def fwd(params: Params, f: Array, key: Random | None, arrays: Given) -> tuple[Array, Saved]:
            out, saved = net.forward(params, f, key=key, **handed(net, arrays | static))
            return out, (params, saved)

        def bwd(residuals: Saved, delta_out: Array) -> tuple[Params, Array, None, None]:
            params, saved = residuals
            return *net.backward(params, saved, delta_out), None, None

        apply.defvjp(fwd, bwd)
        out: Array = apply(params, f, key, arrays)
        return out

    return checked


def _parted(given: Given | None) -> tuple[Given, Given]:
    """What is given as arrays, and the words and flags beside them, which no program may trace."""
    items = (given or {}).items()
    words = {name: value for name, value in items if isinstance(value, bool | str)}
    return {name: value for name, value in items if name not in words}, words
