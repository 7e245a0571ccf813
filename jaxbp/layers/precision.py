"""Mixed precision: a layer that computes in fewer bits than its parameters have."""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxbp import arguments, errors, recipes
from jaxbp.layers.composition import chain, residual
from jaxbp.layers.layer import Layer
from jaxbp.typing import Array, Params, Random, Saved


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
    if layer.parts:
        parts = [mixed_precision(part, dtype) for part in layer.parts]
        return chain(*parts) if layer.form == "product" else residual(*parts)

    name = f"{layer.name} in {dtype}"

    def apply(params: Params, f: Array, *, key: Random | None = None) -> Array:
        f = arguments.array(name, "f", f, floats=True)
        return layer.apply(params, f.astype(dtype), key=key).astype(f.dtype)

    def forward(params: Params, f: Array, *, key: Random | None = None) -> tuple[Array, Saved]:
        f = arguments.array(name, "f", f, floats=True)
        out, saved = layer.forward(params, f.astype(dtype), key=key)
        return out.astype(f.dtype), saved

    def backward(params: Params, saved: Saved, delta_out: Array) -> tuple[Params, Array]:
        delta_out = arguments.array(name, "delta_out", delta_out, floats=True)
        delta_params, delta_f = layer.backward(params, saved, delta_out.astype(dtype))
        return delta_params, delta_f.astype(delta_out.dtype)

    return Layer(name, apply, forward, backward, layer.init, function=layer.function, means=layer.means)


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
