"""Norms of one example: over the entries of a row, or over groups of channels at all places."""

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors, recipes
from jaxbp.layers.blocks import Block, Entrywise
from jaxbp.layers.dense import assert_size
from jaxbp.layers.layer import Layer, arrays_of, delta_of
from jaxbp.operators import DiagonalPlusLowRank, Operator
from jaxbp.typing import Array, Params, Random, Saved, Tensor


@recipes.own("layer_norm")
def layer_norm(d: int, *, bias: bool = True, eps: float = 1e-5) -> Layer:
    """out = g h + b with h = (f - mean) r, r = 1 / sqrt(variance + eps), over the d entries of each row.

    Its parameters are ``{"g": (d,), "b": (d,)}``, 1 and 0 at first. Backward, with u = g delta_out,

        delta_f = r (u - mean(u) - h mean(u h))       delta_g = sum_n delta_out h,  delta_b = sum_n delta_out

    The two terms take from delta what the norm took from f, the directions 1 and h. eps is part of r, so that
    this is exact. The mean is taken off first: mean(f^2) - mean^2 would cancel. Saves h and r; both are
    computed in float32 at least. The Jacobian of a row is r diag(g) (I - 1 1^T / d - h h^T / d): diagonal
    plus rank 2.

    Args:
        d: the size of a row.
        bias: whether there is a b.
        eps: added to the variance.

    Returns:
        A layer from (*n, d) to (*n, d).

    Raises:
        TypeError: for what are no numbers; when applied to integers.
        ValueError: for d below 1, eps below 0; when applied to f, g or b of another shape.

    Example:
        >>> layer = layer_norm(4, eps=0.0)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.array([0.0, 0.0, 2.0, 2.0]))
        Array([-1., -1.,  1.,  1.], dtype=float32)

    Source: Ba et al. 2016, arXiv 1607.06450; the rule, Xu et al. 2019, arXiv 1911.07013.
    """
    name = f"layer_norm({d})"
    return _norm(name, d, 0, 1, centered=True, bias=arguments.flag(name, "bias", bias), eps=eps)


@recipes.own("rms_norm")
def rms_norm(d: int, *, eps: float = 1e-6) -> Layer:
    """out = g h with h = f r, r = 1 / sqrt(mean(f^2) + eps), over the d entries of each row.

    `layer_norm` without the mean and b: backward, with u = g delta_out, delta_f = r (u - h mean(u h)) and
    delta_g = sum_n delta_out h. The Jacobian of a row is r diag(g) (I - h h^T / d).

    Args:
        d: the size of a row.
        eps: added to the mean of squares.

    Returns:
        A layer from (*n, d) to (*n, d), with parameters ``{"g": (d,)}``.

    Raises:
        TypeError, ValueError: as `layer_norm`.

    Example:
        >>> layer = rms_norm(2, eps=0.0)
        >>> layer.apply({"g": jnp.array([1.0, 2.0])}, jnp.array([1.0, 7.0]))
        Array([0.2, 2.8], dtype=float32)

    Source: Zhang and Sennrich 2019, arXiv 1910.07467.
    """
    return _norm(f"rms_norm({d})", d, 0, 1, centered=False, bias=False, eps=eps)


@recipes.own("group_norm")
def group_norm(d: int, groups: int, *, places: int = 2, eps: float = 1e-5) -> Layer:
    """`layer_norm` over each group of channels, at all places of an example: f (*n, H, W, d).

    out = g h + b, with mean and variance over the d / groups channels and the H W places of a group; backward
    the same rule, its means over the same entries. Its parameters are ``{"g": (d,), "b": (d,)}``, one for
    each channel. The Jacobian is diagonal plus rank 2 for each group.

    Args:
        d: the channels, which come last.
        groups: how many the channels are parted into; d of them is instance normalization.
        places: how many axes of places an example has: 2 for images, 1 for series, 0 for rows.
        eps: added to the variance.

    Returns:
        A layer from (*n, H, W, d) to (*n, H, W, d).

    Raises:
        TypeError: for what are no numbers; when applied to integers.
        ValueError: for groups that do not divide d; else as `layer_norm`.

    Example:
        >>> layer = group_norm(4, 2, places=0, eps=0.0)
        >>> layer.apply(layer.init(jax.random.key(0)), jnp.array([0.0, 2.0, 5.0, 3.0]))
        Array([-1.,  1.,  1., -1.], dtype=float32)

    Source: Wu and He 2018, arXiv 1803.08494.
    """
    name = f"group_norm({d}, {groups})"
    places = arguments.whole(name, "places", places, low=0)
    return _norm(name, d, places, groups, centered=True, bias=True, eps=eps)


def _norm(name: str, d: int, places: int, groups: int, *, centered: bool, bias: bool, eps: float) -> Layer:
    """The norm over groups of the last axis and the axes of places before it."""
    d, groups = arguments.whole(name, "d", d, low=1), arguments.whole(name, "groups", groups, low=1)
    if d % groups:
        raise ValueError(errors.message(name, f"groups that divide d, {d}", f"{groups}"))
    assert_size(name, "g", (d,))
    eps = arguments.number(name, "eps", eps, low=0)
    shapes = {"g": (d,), "b": (d,)} if bias else {"g": (d,)}
    inner = 1 if groups == 1 else 2  # axes of channels: over one of length 1 XLA takes twice as long
    axes = (*range(-places - inner, -inner), -1)  # of (*n, *places, groups, d / groups)

    def initialize(key: Random) -> Params:
        arguments.key(f"{name}.init", key)
        return {symbol: jnp.ones(d) if symbol == "g" else jnp.zeros(d) for symbol in shapes}

    def taken(f: Tensor, symbol: str = "f") -> Tensor:
        f = arguments.array(name, symbol, f, floats=True)
        if f.ndim <= places or f.shape[-1] != d:
            expected = f"{symbol} of shape (*n, {f'{places} axes of places, ' * bool(places)}{d})"
            raise ValueError(errors.message(name, expected, f"{f.shape}"))
        return f

    def grouped(f: Tensor) -> Tensor:
        return f if inner == 1 else f.reshape(*f.shape[:-1], groups, d // groups)

    def mean(f: Tensor) -> Tensor:
        return jnp.broadcast_to(f.mean(axes, keepdims=True), f.shape)

    def normalized(f: Tensor) -> tuple[Tensor, Tensor]:
        """H, grouped, and r, one for each group."""
        wide = grouped(f.astype(jnp.promote_types(f.dtype, jnp.float32)))
        wide = wide - mean(wide) if centered else wide
        r = jax.lax.rsqrt((wide**2).mean(axes, keepdims=True) + eps)
        return (wide * jnp.broadcast_to(r, wide.shape)).astype(f.dtype), r

    def on(f: Tensor, row: Array) -> Tensor:
        return jnp.broadcast_to(row.astype(f.dtype), f.shape)

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        params, f = arrays_of(name, params, shapes), taken(f)
        h, r = normalized(f)
        out = h.reshape(f.shape) * on(f, params["g"])
        return out + on(f, params["b"]) if bias else out, (h, r)

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        return forward(params, f)[0]

    def of_f(params: Params, saved: Saved, delta_out: Tensor) -> Tensor:
        h, r = saved
        u = grouped(delta_out * on(delta_out, params["g"]))
        delta = u - mean(u) if centered else u
        delta = delta - h * mean(u * h)
        return (delta * jnp.broadcast_to(r, h.shape)).astype(delta_out.dtype).reshape(delta_out.shape)

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        params, h = arrays_of(name, params, shapes), saved[0]
        delta_out = delta_of(name, delta_out, (*h.shape[:-inner], d))
        every = range(delta_out.ndim - 1)
        delta_params = {"g": (delta_out * h.reshape(delta_out.shape)).sum(every, dtype=params["g"].dtype)}
        if bias:
            delta_params["b"] = delta_out.sum(every, dtype=params["b"].dtype)
        return delta_params, of_f(params, saved, delta_out)

    def factors(params: Params, saved: Saved, delta_out: Tensor) -> tuple[dict[str, Block], Tensor]:
        delta_params, delta_f = backward(params, saved, delta_out)
        return {symbol: Entrywise(J) for symbol, J in delta_params.items()}, delta_f

    def jacobian(params: Params, f: Tensor) -> Operator:
        params, f = arrays_of(name, params, shapes), taken(f)
        h, r = normalized(f)
        scale = (jnp.broadcast_to(r, h.shape).reshape(f.shape) * on(f, params["g"])).reshape(-1)
        numbers = jnp.arange(r.size).reshape(r.shape)  # of the group that an entry is in
        inside = jax.nn.one_hot(jnp.broadcast_to(numbers, h.shape).reshape(-1), r.size, dtype=f.dtype)
        of_h = inside * jnp.broadcast_to(h.reshape(-1, 1), inside.shape)
        removed = jnp.concatenate([inside, of_h], axis=1) if centered else of_h
        share = jnp.broadcast_to((-scale * r.size / f.size)[:, None], removed.shape)
        return DiagonalPlusLowRank(scale, share * removed, removed)

    return Layer(
        name,
        apply,
        forward,
        backward,
        initialize,
        jacobian,
        means="r diag(g) (I - 1 1^T/d - h h^T/d)" if centered else "r diag(g) (I - h h^T/d)",
        factors=factors,
    )
