"""The convolution of each channel by itself, as a sum of shifted products."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxbp import arguments, recipes
from jaxbp.layers.blocks import Block, Entrywise
from jaxbp.layers.images.kernels import kernels
from jaxbp.layers.images.windows import Padding, Windows, entered, windows
from jaxbp.layers.initializers import Initializer, glorot_uniform, zeros
from jaxbp.layers.layer import Layer, delta_of
from jaxbp.operators import Operator
from jaxbp.typing import Array, Params, Random, Saved, Tensor


@recipes.own("depthwise1d")
def depthwise1d(
    c: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: Padding = "VALID",
    dilation: int = 1,
    bias: bool = True,
    init: Initializer = glorot_uniform,
    bias_init: Initializer = zeros,
) -> Layer:
    """a[p] = b + sum_u W[u] * f[s p + d u - lo] over a series (*n, T, c), each channel by itself.

    Everything is said at `depthwise2d`, of which this is the case of one axis: W is (c, k).

    Example:
        >>> layer = depthwise1d(2, 2, bias=False)
        >>> params = {"W": jnp.array([[1.0, 0.0], [0.0, 1.0]])}
        >>> layer.apply(params, jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]))
        Array([[ 1., 20.],
               [ 2., 30.]], dtype=float32)
    """
    over = windows(f"depthwise1d({c}, {kernel})", 1, kernel, stride, padding, dilation)
    return _depthwise(over, c, bias, init, bias_init)


@recipes.own("depthwise2d")
def depthwise2d(
    c: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    init: Initializer = glorot_uniform,
    bias_init: Initializer = zeros,
) -> Layer:
    """a[p] = b + sum_u W[u] * f[s p + d u - lo] over an image (*n, H, W, c), each channel by itself.

    The map of `conv2d` with one channel a group, as products of shifted images: a compiler for CPUs computes
    the grouped delta_W as that of all channels with all. Its parameters are ``{"W": (c, k_H, k_W), "b":
    (c,)}``, W[u] a number for each channel. Backward, delta_W[u] = sum_p delta_a[p] * f[s p + d u - lo], over
    the leading axes too, delta_f[q] = sum over p, u with s p + d u - lo = q of W[u] * delta_a[p], and
    delta_b = sum_p delta_a[p]. Saves f.

    Args:
        c: channels of f and of a, which come last.
        kernel: k, a number or one for each axis.
        stride: s, likewise.
        padding: as in `conv2d`.
        dilation: d, as the kernel.
        bias: whether there is a b.
        init: the initializer of W, which sees the taps as the inputs of c outputs.
        bias_init: the initializer of b.

    Returns:
        A layer from (*n, H, W, c) to (*n, H', W', c).

    Raises:
        TypeError, ValueError: as `conv2d`.

    Example:
        >>> layer = depthwise2d(1, (1, 2), bias=False)
        >>> layer.apply({"W": jnp.array([[[-1.0, 1.0]]])}, jnp.array([[[1.0], [4.0], [9.0]]]))[..., 0]
        Array([[3., 5.]], dtype=float32)

    Source: Chollet 2017, arXiv 1610.02357.
    """
    shown = tuple(kernel) if isinstance(kernel, list) else kernel
    over = windows(f"depthwise2d({c}, {shown})", 2, kernel, stride, padding, dilation)
    return _depthwise(over, c, bias, init, bias_init)


def _depthwise(over: Windows, c: int, bias: bool, init: Initializer, bias_init: Initializer) -> Layer:
    """The layer of `depthwise1d` and `depthwise2d`."""
    name = over.name
    c, bias = arguments.whole(name, "c", c, low=1), arguments.flag(name, "bias", bias)
    shape, taps = (c, *over.kernel), math.prod(over.kernel)
    initialize, taken = kernels(name, shape, bias, init, bias_init)

    def on(part: Tensor, W: Array) -> list[Tensor]:
        """W[u] at every place, for each u."""
        return [jnp.broadcast_to(column, part.shape) for column in W.reshape(c, taps).T.astype(part.dtype)]

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        params, (f, _) = taken(params), entered(name, f, over, c)
        parts = over.parts(f)
        products = [part * w for part, w in zip(parts, on(parts[0], params["W"]), strict=True)]
        a = sum(products[1:], products[0])
        return a + jnp.broadcast_to(params["b"].astype(f.dtype), a.shape) if bias else a

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f, _ = entered(name, f, over, c)
        return apply(params, f), f

    def backward(params: Params, saved: Saved, delta_a: Tensor) -> tuple[Params, Tensor]:
        params, (f, places) = taken(params), entered(name, saved, over, c)
        n, W = f.ndim - over.rank - 1, params["W"]
        delta_a = delta_of(name, delta_a, (*f.shape[:n], *over.out(places), c))
        sums = [(delta_a * part).sum(range(delta_a.ndim - 1), dtype=W.dtype) for part in over.parts(f)]
        delta_params = {"W": jnp.stack(sums, axis=-1).reshape(shape)}
        if bias:
            delta_params["b"] = delta_a.sum(range(delta_a.ndim - 1), dtype=params["b"].dtype)
        delta_f = over.put_back([delta_a * w for w in on(delta_a, W)], places)
        return delta_params, delta_f

    def factors(params: Params, saved: Saved, delta_a: Tensor) -> tuple[dict[str, Block], Tensor]:
        delta_params, delta_f = backward(params, saved, delta_a)
        return {symbol: Entrywise(J) for symbol, J in delta_params.items()}, delta_f

    def jacobian(params: Params, f: Tensor) -> Operator:
        params, (f, _) = taken(params), entered(name, f, over, c)
        return over.routed(f, params["W"].astype(f.dtype).reshape(c, taps).T[..., None, None])

    return Layer(
        name,
        apply,
        forward,
        backward,
        initialize,
        jacobian,
        saves_input=True,
        means="conv W_{l}",
        factors=factors,
    )
