"""Squeeze and scale: each channel times what a small network makes of the means of all."""

import math

import jax.numpy as jnp

from jaxbp import arguments, errors, recipes
from jaxbp.layers.activations import relu, sigmoid
from jaxbp.layers.composition.chain import chain
from jaxbp.layers.dense import dense
from jaxbp.layers.images.pooling import global_avg_pool
from jaxbp.layers.layer import Layer, delta_of
from jaxbp.operators import Dense, Diagonal, Identity, Kronecker, Operator, Product, Sum
from jaxbp.typing import Array, Params, Random, Saved, Tensor


@recipes.own("squeeze_scale")
def squeeze_scale(c: int, hidden: int, *, places: int = 2) -> Layer:
    """out[p] = s * f[p] with s = sigmoid(W_2 relu(W_1 mean_p(f) + b_1) + b_2), one s for each channel.

    s is the `chain` of `global_avg_pool`, `dense` and the two activations, and its parameters are the
    layer's, ``{1: {"W": (hidden, c), "b": (hidden,)}, 2: {"W": (c, hidden), "b": (c,)}}``. Backward, f is in
    the product twice:

        delta_s = sum_p delta_out[p] * f[p]       delta_f = s * delta_out + delta_s J_s(f)

    Saves f, s and what the chain saves. The Jacobian is diag(s) + diag(f) (1 ⊗ I) J_s(f).

    Args:
        c: the channels, which come last.
        hidden: the size between the two dense layers, a fraction of c.
        places: how many axes of places an example has: 2 for images, 1 for series.

    Returns:
        A layer from (*n, H, W, c) to (*n, H, W, c).

    Raises:
        TypeError: for what are no whole numbers; when applied to integers.
        ValueError: for sizes below 1; when applied to f of another shape, or other parameters.

    Example: W_1 and W_2 are 0, so that s = sigmoid(0) = 1/2.
        >>> layer = squeeze_scale(2, 1, places=1)
        >>> params = {1: {"W": jnp.zeros((1, 2)), "b": jnp.zeros(1)},
        ...           2: {"W": jnp.zeros((2, 1)), "b": jnp.zeros(2)}}
        >>> layer.apply(params, jnp.array([[2.0, 4.0], [6.0, 8.0]]))
        Array([[1., 2.],
               [3., 4.]], dtype=float32)

    Source: Hu et al. 2017, arXiv 1709.01507.
    """
    name = f"squeeze_scale({c}, {hidden})"
    c, hidden = (arguments.whole(name, role, v, low=1) for role, v in (("c", c), ("hidden", hidden)))
    scale = chain(global_avg_pool(places), dense(c, hidden), relu, dense(hidden, c), sigmoid)
    axes = tuple(range(-places - 1, -1))

    def taken(f: Tensor) -> Array:
        f = arguments.array(name, "f", f, floats=True)
        if f.ndim <= places or f.shape[-1] != c:
            expected = f"f of shape (*n, {places} axes of places, {c})"
            raise ValueError(errors.message(name, expected, f"{f.shape}"))
        return f

    def everywhere(s: Tensor, f: Tensor) -> Tensor:
        return jnp.broadcast_to(jnp.expand_dims(s, axes), f.shape)

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        f = taken(f)
        return everywhere(scale.apply(params, f), f) * f

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f = taken(f)
        s, saved = scale.forward(params, f)
        return everywhere(s, f) * f, (f, s, saved)

    def by(rule: str, params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        f, s, of_scale = saved
        delta_out = delta_of(name, delta_out, f.shape)
        of_params, delta_f = getattr(scale, rule)(params, of_scale, (delta_out * f).sum(axes))
        return of_params, everywhere(s, f) * delta_out + delta_f

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        return by("backward", params, saved, delta_out)

    def factors(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        return by("factors", params, saved, delta_out)

    def jacobian(params: Params, f: Tensor) -> Operator:
        f = taken(f)
        n, HW = math.prod(f.shape[: -places - 1]), math.prod(f.shape[-places - 1 : -1])
        spread = Kronecker(Dense(jnp.ones((HW, 1), f.dtype)), Identity(c))
        through = Product((Diagonal(f.reshape(-1)), spread if n == 1 else Kronecker(Identity(n), spread)))
        s = everywhere(scale.apply(params, f), f)
        return Sum((Diagonal(s.reshape(-1)), Product((through, scale.jacobian(params, f)))))

    return Layer(
        name, apply, forward, backward, scale.init, jacobian, means="diag(s) + diag(f) J_s", factors=factors
    )
