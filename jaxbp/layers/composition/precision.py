"""Mixed precision: a layer that computes in fewer bits than its parameters have."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxbp import arguments, errors, recipes
from jaxbp.layers.composition.chain import chain
from jaxbp.layers.composition.residual import residual
from jaxbp.layers.composition.tied import tied
from jaxbp.layers.layer import Layer, handed
from jaxbp.typing import Array, Given, Params, Random, Saved


@recipes.own("mixed_precision")
def mixed_precision(layer: Layer, dtype: DTypeLike = jnp.bfloat16) -> Layer:
    """The same map computed in ``dtype``; input, output, parameters and their deltas keep their own.

    f is rounded to ``dtype``, and so are W and b where they are used; what is saved for the backward pass
    takes half the memory in bfloat16. delta_W and delta_b are summed over the examples in the dtype of W
    and b, so that the optimiser sees float32 alone; the output is cast back, so that a loss after it is
    computed and averaged in float32. Chains and residual blocks are converted part by part and keep
    their structure and parameters.

    A gradient keeps about as many digits as ``dtype`` has: in bfloat16 its error against float64 is 0.6 % for
    one hidden gelu layer of 256, 3 % for 16, and several times that with relu, whose slope jumps
    (``python -m experiments.94_precision``). float16 has a digit more, but what is below 6e-8 becomes 0 in
    it: scale the loss.

    Args:
        layer: any layer; `dense` computes in the dtype of its input. A layer of your own must do so
            too to gain anything.
        dtype: a floating dtype, bfloat16 by default.

    Raises:
        TypeError: for a dtype that is not floating.

    Example:
        >>> from jaxbp.layers import dense
        >>> layer = mixed_precision(dense(2, 1))
        >>> params = {"W": jnp.array([[1.0, 1 / 3]]), "b": jnp.zeros(1)}
        >>> layer.apply(params, jnp.array([1.0, 1.0]))
        Array([1.3359375], dtype=float32)
        >>> layer.backward(params, layer.forward(params, jnp.array([1.0, 3.0]))[1], jnp.ones(1))[0]["W"]
        Array([[1., 3.]], dtype=float32)

    Source: Micikevicius et al. 2018, mixed precision training; Kalamkar et al. 2019 for bfloat16.
    """
    hint = (
        "a module of another library has its own way" if not callable(layer) else "call it to make the layer"
    )
    arguments.instance("mixed_precision", "layer", layer, Layer, hint)
    dtype = _floating(dtype)
    if layer.tie is not None:
        return tied(mixed_precision(layer.parts[0], dtype), *layer.tie)
    if layer.parts:
        parts = [mixed_precision(part, dtype) for part in layer.parts]
        return chain(*parts) if layer.form == "product" else residual(*parts)

    name = f"{layer.name} in {dtype}"

    def entered(params: Params, f: Array) -> tuple[Array, DTypeLike]:
        """What the layer computes of, and the dtype of the output; ids stay what they are."""
        ids = layer.has_params and jnp.issubdtype(getattr(f, "dtype", float), jnp.integer)
        f = arguments.array(name, "f", f, floats=not ids)
        return (f, jnp.result_type(*jax.tree.leaves(params))) if ids else (f.astype(dtype), f.dtype)

    def apply(params: Params, f: Array, *, key: Random | None = None, given: Given | None = None) -> Array:
        f, kept = entered(params, f)
        return layer.apply(params, f, key=key, **handed(layer, given)).astype(kept)

    def forward(
        params: Params, f: Array, *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Array, Saved]:
        f, kept = entered(params, f)
        out, saved = layer.forward(params, f, key=key, **handed(layer, given))
        return out.astype(kept), saved

    def by(rule: Any, params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Any]:
        delta_out = arguments.array(name, "delta_out", delta_out, floats=True)
        of_params, delta_f = rule(params, saved, delta_out.astype(dtype))
        return of_params, None if delta_f is None else delta_f.astype(delta_out.dtype)

    def backward(params: Params, saved: Saved, delta_out: Array) -> tuple[Params, Array]:
        return by(layer.backward, params, saved, delta_out)

    def factors(params: Params, saved: Saved, delta_out: Array) -> tuple[Any, Array]:
        blocks, delta_f = by(layer.factors, params, saved, delta_out)
        wide = delta_out.dtype  # the blocks are contracted in it
        return jax.tree.map(lambda v: v.astype(wide) if v.dtype == dtype else v, blocks), delta_f

    return Layer(
        name,
        apply,
        forward,
        backward,
        layer.init,
        function=layer.function,
        means=layer.means,
        given=layer.given,
        state=layer.state,
        factors=layer.factors and factors,
    )


def _floating(dtype: DTypeLike) -> np.dtype:
    """A floating dtype that JAX has, from a dtype or its name."""
    where, hint = "mixed_precision", "e.g. jnp.bfloat16"
    try:
        found = jnp.dtype(dtype) if dtype is not None else None
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating) or found == np.longdouble:
        got = arguments.described(dtype) if found is None else f"{found}"
        raise TypeError(errors.message(where, "a floating dtype", got, hint))
    return found
