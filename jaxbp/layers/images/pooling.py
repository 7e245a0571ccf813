"""Pooling: the largest or the mean of each window, and the mean of all places."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxbp import arguments, errors, recipes
from jaxbp.layers.images.windows import Padding, Windows, entered, windows
from jaxbp.layers.layer import Layer, delta_of
from jaxbp.operators import Dense, Identity, Kronecker, Operator, Routed
from jaxbp.typing import Array, Params, Random, Saved, Tensor

Size = int | Sequence[int]


@recipes.own("max_pool1d")
def max_pool1d(window: int, *, stride: int | None = None, padding: Padding = "VALID") -> Layer:
    """The largest f of each window over the places of a series, f (*n, T, c); see `max_pool2d`.

    Example:
        >>> out, saved = max_pool1d(2).forward({}, jnp.array([[1.0], [3.0], [2.0], [2.0]]))
        >>> out[:, 0]
        Array([3., 2.], dtype=float32)
        >>> max_pool1d(2).backward({}, saved, jnp.array([[5.0], [7.0]]))[1][:, 0]
        Array([0., 5., 7., 0.], dtype=float32)
    """
    return _max_pool(_pool("max_pool1d", 1, window, stride, padding))


@recipes.own("max_pool2d")
def max_pool2d(window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> Layer:
    """out[p] = max_u f[s p + u - lo], the largest of each window over an image (*n, H, W, c), by channel.

    Backward, delta_out[p] goes to the first of the largest places of its window, delta_f[i[p]] +=
    delta_out[p]: the slope at a tie is that of the first, as in `jax.lax.reduce_window`. Saves the index i
    of that place in its window, in one byte, in place of f in four. Its Jacobian has a single 1 in each row.
    NaN is larger than every number.

    Args:
        window: k, at most 256 places in all.
        stride: s, by default the window, so that no two overlap; given, it may leave the last places out.
        padding: as in `conv2d`; what is added is never the largest.

    Returns:
        A layer from (*n, H, W, c) to (*n, H', W', c), H' = (H + lo + hi - k) // s + 1.

    Raises:
        TypeError: for what are no whole numbers; when applied to integers.
        ValueError: for numbers out of range, windows that lie in the padding alone; without a stride, when
            applied to f whose places the windows do not divide.

    Example:
        >>> f = jnp.array([[1.0, 2.0], [4.0, 3.0]])[..., None]
        >>> out, saved = max_pool2d(2).forward({}, f)
        >>> out.item(), saved[0].item()
        (4.0, 2)

    Source: LeCun et al. 1998; Dumoulin and Visin 2016, arXiv 1603.07285.
    """
    return _max_pool(_pool("max_pool2d", 2, window, stride, padding))


@recipes.own("avg_pool1d")
def avg_pool1d(window: int, *, stride: int | None = None) -> Layer:
    """The mean of each window over the places of a series, f (*n, T, c); see `avg_pool2d`.

    Example:
        >>> avg_pool1d(2).apply({}, jnp.array([[1.0], [3.0], [2.0], [2.0]]))[:, 0]
        Array([2., 2.], dtype=float32)
    """
    return _avg_pool(_pool("avg_pool1d", 1, window, stride, "VALID"))


@recipes.own("avg_pool2d")
def avg_pool2d(window: Size, *, stride: Size | None = None) -> Layer:
    """out[p] = 1/k^2 sum_u f[s p + u], the mean of each window over an image (*n, H, W, c), by channel.

    Backward, each place of a window gets delta_out[p] / k^2. Saves nothing but the shape.

    Args:
        window: k.
        stride: s, by default the window.

    Raises:
        TypeError, ValueError: as `max_pool2d`, which has padding besides.

    Example:
        >>> avg_pool2d(2).apply({}, jnp.array([[1.0, 2.0], [4.0, 5.0]])[..., None]).item()
        3.0
    """
    return _avg_pool(_pool("avg_pool2d", 2, window, stride, "VALID"))


@recipes.own("global_avg_pool")
def global_avg_pool(places: int = 2) -> Layer:
    """out = the mean of f over all places, (*n, H, W, c) to (*n, c).

    Backward, each place gets delta_out / (H W). Its Jacobian is 1^T / (H W) ⊗ I.

    Args:
        places: how many axes of places an example has: 2 for images, 1 for series.

    Raises:
        TypeError: for what is no whole number.
        ValueError: for places below 1; when applied to f of fewer axes.

    Example:
        >>> global_avg_pool(1).apply({}, jnp.array([[1.0, 10.0], [3.0, 30.0]]))
        Array([ 2., 20.], dtype=float32)

    Source: Lin et al. 2013, arXiv 1312.4400.
    """
    name = f"global_avg_pool({places})"
    places = arguments.whole("global_avg_pool", "places", places, low=1)
    axes = tuple(range(-places - 1, -1))

    def taken(f: Tensor) -> Tensor:
        f = arguments.array(name, "f", f, floats=True)
        if f.ndim <= places or not math.prod(f.shape[-places - 1 : -1]):
            expected = f"f of shape (*n, {places} axes of places, channels)"
            raise ValueError(errors.message(name, expected, f"{f.shape}"))
        return f

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        return taken(f).mean(axes)

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f = taken(f)
        return f.mean(axes), _like(f)

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        shape = saved.shape[1:]  # of f
        delta_out = delta_of(name, delta_out, (*shape[: -places - 1], shape[-1]))
        shared = jnp.expand_dims(delta_out / math.prod(shape[-places - 1 : -1]), axes)
        return {}, jnp.broadcast_to(shared, shape)

    def jacobian(params: Params, f: Tensor) -> Operator:
        f = taken(f)
        n, c, HW = math.prod(f.shape[: -places - 1]), f.shape[-1], math.prod(f.shape[-places - 1 : -1])
        mean = Kronecker(Dense(jnp.full((1, HW), 1 / HW, f.dtype)), Identity(c))
        return mean if n == 1 else Kronecker(Identity(n), mean)

    return Layer(name, apply, forward, backward, jacobian=jacobian, means="mean")


def _pool(kind: str, rank: int, window: Size, stride: Size | None, padding: Padding) -> Windows:
    """The windows of a pooling layer."""
    shown = tuple(window) if isinstance(window, list) else window
    name = f"{kind}({shown})"
    over = windows(name, rank, window, window if stride is None else stride, padding, 1, odd=False)
    if math.prod(over.kernel) > 256:
        hint = "global_avg_pool is of all places"
        raise ValueError(
            errors.message(name, "at most 256 places in a window", f"{math.prod(over.kernel)}", hint)
        )
    if isinstance(over.padding, tuple):
        for k, pads in zip(over.kernel, over.padding, strict=True):
            if max(pads) >= k:
                expected = f"padding below the window, {k}: one in the padding alone has no places"
                raise ValueError(errors.message(name, expected, f"{max(pads)}"))
    return replace(over, whole=stride is None)


def _taken(over: Windows, f: Tensor) -> tuple[Array, tuple[int, ...]]:
    """F and the sizes of its places; windows by default leave none of them out."""
    f, places = entered(over.name, f, over)
    if over.whole and over.padding == "VALID":
        for axis, (H, k) in enumerate(zip(places, over.kernel, strict=True)):
            if H % k:
                expected = f"places along axis {axis} that windows of {k} divide"
                hint = f"crop {H % k}, pad {k - H % k}, or give a stride, with which the rest is left out"
                raise ValueError(errors.message(over.name, expected, f"{H}", hint))
    return f, places


def _like(f: Tensor) -> Array:
    """The shape of f, in an array of no size: (0, *f's)."""
    return jnp.zeros((0, *f.shape), f.dtype)


def _reduced(over: Windows, f: Tensor, first: float, by: Callable[[Array, Array], Array]) -> Tensor:
    """Every window of f reduced by XLA's own."""
    n, places = f.ndim - over.rank - 1, f.shape[-over.rank - 1 : -1]
    one, none = [1], [(0, 0)]
    return lax.reduce_window(
        f,
        np.asarray(first, f.dtype),  # a constant, by which JAX sees which reduction it is
        by,
        one * n + [*over.kernel, 1],
        one * n + [*over.stride, 1],
        none * n + over.pads(places) + none,
    )


def _apart(over: Windows, places: tuple[int, ...]) -> bool:
    """Whether the windows neither overlap nor leave places out."""
    left = (H % k for H, k in zip(places, over.kernel, strict=True))
    return over.stride == over.kernel and not any(map(any, over.pads(places))) and not any(left)


def _spread(over: Windows, rows_of: Tensor, n: int) -> Tensor:
    """Each window's entry at every of its places, (*n, H', k, W', k, c), where windows are apart."""
    shape = list(rows_of.shape[:n])
    for axis, k in enumerate(over.kernel):
        rows_of = jnp.expand_dims(rows_of, n + 2 * axis + 1)
        shape += [rows_of.shape[n + 2 * axis], k]
    return jnp.broadcast_to(rows_of, (*shape, rows_of.shape[-1]))


def _max_pool(over: Windows) -> Layer:
    name = over.name

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        f, _ = _taken(over, f)
        return _reduced(over, f, -math.inf, lax.max)

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f, _ = _taken(over, f)
        largest, *others = over.parts(f, fill=-math.inf)
        at = jnp.zeros(largest.shape, jnp.uint8)
        for u, part in enumerate(others, 1):
            larger = (part > largest) | jnp.isnan(part)
            largest, at = jnp.where(larger, part, largest), jnp.where(larger, jnp.uint8(u), at)
        return largest, (at, _like(f))

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        at, shape = saved[0], saved[1].shape[1:]  # of f
        delta_out = delta_of(name, delta_out, at.shape)
        n, places = len(shape) - over.rank - 1, shape[-over.rank - 1 : -1]
        if not _apart(over, places):
            masked = [jnp.where(at == jnp.uint8(u), delta_out, 0) for u in range(len(over.offsets))]
            return {}, over.put_back(masked, places)
        at, delta = _spread(over, at, n), _spread(over, delta_out, n)
        number = jnp.zeros(at.shape, jnp.uint8)  # of each place in its window
        for axis, k in enumerate(over.kernel):
            number = number * jnp.uint8(k) + lax.broadcasted_iota(jnp.uint8, at.shape, n + 2 * axis + 1)
        return {}, jnp.where(at == number, delta, 0).reshape(shape)

    def jacobian(params: Params, f: Tensor) -> Operator:
        _, (at, _) = forward(params, f)
        c, rank = at.shape[-1], over.rank
        at = at.reshape(-1, math.prod(at.shape[-rank - 1 : -1]), c)
        routes, places = over.routes(f), math.prod(f.shape[-rank - 1 : -1])
        place = jnp.take_along_axis(routes[:, None, :, None], at[None].astype(int), 0)[0]
        place = place + places * jnp.arange(len(at)).reshape(-1, 1, 1)
        entry = place * c + jnp.arange(c).reshape(1, 1, -1)  # of f, flattened
        return Routed(entry.reshape(1, -1), jnp.ones((1, 1, 1, 1), f.dtype), f.size)

    return Layer(name, apply, forward, backward, jacobian=jacobian, means="max")


def _avg_pool(over: Windows) -> Layer:
    name, k = over.name, math.prod(over.kernel)

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        f, _ = _taken(over, f)
        return _reduced(over, f, 0.0, lax.add) / k

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f, _ = _taken(over, f)
        return _reduced(over, f, 0.0, lax.add) / k, _like(f)

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        shape = saved.shape[1:]  # of f
        n, places = len(shape) - over.rank - 1, shape[-over.rank - 1 : -1]
        share = delta_of(name, delta_out, (*shape[:n], *over.out(places), shape[-1])) / k
        if _apart(over, places):
            return {}, _spread(over, share, n).reshape(shape)
        return {}, over.put_back([share] * k, places)

    def jacobian(params: Params, f: Tensor) -> Operator:
        f, _ = _taken(over, f)
        means = over.routed(f[..., :1], jnp.full((k, 1, 1, 1), 1 / k, f.dtype))
        return Kronecker(means, Identity(f.shape[-1]))

    return Layer(name, apply, forward, backward, jacobian=jacobian, means="mean")
