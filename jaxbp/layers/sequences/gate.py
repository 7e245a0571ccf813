"""`gate`: one half of f lets the other through."""

import jax.numpy as jnp

from jaxbp import arguments, errors, recipes
from jaxbp.layers.activations import silu
from jaxbp.layers.layer import Layer, delta_of
from jaxbp.operators import Dense, Diagonal, Identity, Kronecker, Operator, Product
from jaxbp.typing import Array, Params, Random, Rows, Saved


@recipes.own("gate")
def gate(activation: Layer = silu) -> Layer:
    """m = phi(a) * g, where f = [a, g] side by side; SwiGLU with silu, GEGLU with gelu, GLU with sigmoid.

    f is (*n, 2 d), as ``dense(d_in, 2 * d)`` makes it, and m is (*n, d). Backward, a product switches:

        delta_a = (delta_m * g) phi'(a);  delta_g = delta_m * phi(a)

    Saves f, and computes phi(a) a second time: for a cheap phi.

    Args:
        activation: phi, a layer without parameters that works entry by entry.

    Returns:
        A layer from (*n, 2 d) to (*n, d).

    Raises:
        TypeError: for what is no layer; when applied to integers.
        ValueError: for a layer with parameters; when applied to an f whose last axis is odd.

    Example: silu(0) = 0 and its slope there is 1/2.
        >>> f, saved = gate().forward({}, jnp.array([0.0, 3.0]))
        >>> f, gate().backward({}, saved, jnp.ones(1))[1]
        (Array([0.], dtype=float32), Array([1.5, 0. ], dtype=float32))

    Source: Shazeer 2020, arXiv 2002.05202; Dauphin et al. 2017, arXiv 1612.08083.
    """
    arguments.instance("gate", "activation", activation, Layer, "e.g. jaxbp.silu")
    name = "gate" if activation is silu else f"gate({activation.name})"
    if activation.has_params:
        raise ValueError(errors.message("gate", "an activation without parameters", activation.name))

    def halves(f: Rows) -> tuple[Array, Array]:
        f = arguments.array(name, "f", f, floats=True)
        if f.ndim == 0 or f.shape[-1] % 2:
            hint = "dense(d_in, 2 * d) before it makes a and g"
            raise ValueError(
                errors.message(name, "f = [a, g] with an even last axis", f"shape {f.shape}", hint)
            )
        a, g = jnp.split(f, 2, -1)
        return a, g

    def apply(params: Params, f: Rows, *, key: Random | None = None) -> Rows:
        a, g = halves(f)
        return activation.apply({}, a) * g

    def forward(params: Params, f: Rows, *, key: Random | None = None) -> tuple[Rows, Saved]:
        return apply(params, f), arguments.array(name, "f", f, floats=True)

    def backward(params: Params, saved: Saved, delta_out: Rows) -> tuple[Params, Rows]:
        a, g = halves(saved)
        delta_m = delta_of(name, delta_out, g.shape)
        phi, kept = activation.forward({}, a)
        _, delta_a = activation.backward({}, kept, delta_m * g)
        return {}, jnp.concatenate([delta_a, delta_m * phi], -1)

    def jacobian(params: Params, f: Rows) -> Operator:
        a, g = halves(f)
        slopes = backward(params, f, jnp.ones_like(g))[1]  # diag(g phi'(a)) beside diag(phi(a))
        beside = Kronecker(Dense(jnp.ones((1, 2), f.dtype)), Identity(a.shape[-1]))
        rows = a.size // a.shape[-1]
        each = beside if rows == 1 else Kronecker(Identity(rows), beside)
        return Product((each, Diagonal(slopes.reshape(-1))))

    return Layer(name, apply, forward, backward, jacobian=jacobian, saves_input=True)
