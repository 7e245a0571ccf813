"""Convolutions over the places of a series or an image, with their two transposes by hand."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from jaxbp import arguments, errors, recipes
from jaxbp.layers.blocks import Block, Entrywise, Outer, Summed
from jaxbp.layers.images.kernels import kernels
from jaxbp.layers.images.windows import Padding, Windows, entered, windows
from jaxbp.layers.initializers import Initializer, glorot_uniform, zeros
from jaxbp.layers.layer import Layer, delta_of
from jaxbp.operators import Dense, Identity, Kronecker, Operator
from jaxbp.typing import Array, Params, Random, Saved, Tensor


@recipes.own("conv1d")
def conv1d(
    c_in: int,
    c_out: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: Padding = "VALID",
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    init: Initializer = glorot_uniform,
    bias_init: Initializer = zeros,
) -> Layer:
    """a[p] = b + sum_u W[u] f[s p + d u - lo] over the places of a series, f (*n, T, c_in).

    Everything is said at `conv2d`, of which this is the case of one axis: W is (c_out, c_in / groups, k).

    Example: a difference, and the two ways back.
        >>> layer = conv1d(1, 1, 2, bias=False)
        >>> params = {"W": jnp.array([[[-1.0, 1.0]]])}
        >>> a, saved = layer.forward(params, jnp.array([[1.0], [4.0], [9.0]]))
        >>> a[:, 0]
        Array([3., 5.], dtype=float32)
        >>> delta_params, delta_f = layer.backward(params, saved, jnp.array([[1.0], [0.0]]))
        >>> delta_params["W"][0, 0], delta_f[:, 0]
        (Array([1., 4.], dtype=float32), Array([-1.,  1.,  0.], dtype=float32))

    Source: Dumoulin and Visin 2016, arXiv 1603.07285.
    """
    name = f"conv1d({c_in}, {c_out}, {kernel})"
    over = windows(name, 1, kernel, stride, padding, dilation)
    return _convolution(name, over, c_in, c_out, groups, bias, init, bias_init)


@recipes.own("conv2d")
def conv2d(
    c_in: int,
    c_out: int,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    init: Initializer = glorot_uniform,
    bias_init: Initializer = zeros,
) -> Layer:
    """a[p] = b + sum_u W[u] f[s p + d u - lo] over the places of an image, f (*n, H, W, c_in).

    Its parameters are ``{"W": (c_out, c_in / groups, k_H, k_W), "b": (c_out,)}``, W[u] being the matrix of
    tap u: a dense layer whose rows are shifted, so that the lecture's steps stand as they are. The kernel is
    not flipped, as in every library of the field. Backward,

        delta_W[u] = sum_p delta_a[p] f[s p + d u - lo]^T       summed over the leading axes, too
        delta_f[q] = sum over p, u with s p + d u - lo = q of W[u]^T delta_a[p]
        delta_b    = sum_p delta_a[p]

    Both are convolutions again: delta_f of delta_a, with s - 1 zeros between its places, by the flipped
    kernel; delta_W of f by delta_a. Saves f. It computes in the dtype of f; delta_W and delta_b are summed in
    that of W and b. Its Jacobian is sum_u S_u ⊗ W[u], S_u the 0/1 matrix of tap u: block Toeplitz, held as
    places and W (`jaxbp.operators.Routed`); I ⊗ W for a kernel of one place.

    Args:
        c_in: channels of f, which come last.
        c_out: channels of a.
        kernel: k, a number or one for each axis.
        stride: s, likewise.
        padding: ``"VALID"`` without; ``"SAME"``, so that there are H / s places, rounded up; a number of
            zeros on every side; or for each axis a number or (low, high).
        dilation: d, likewise.
        groups: c_in and c_out are parted into so many groups, and each sees its own only. For one channel a
            group `depthwise2d` is several times as fast on CPUs.
        bias: whether there is a b.
        init: the initializer of W, which sees the taps as so many inputs more.
        bias_init: the initializer of b.

    Returns:
        A layer from (*n, H, W, c_in) to (*n, H', W', c_out), H' = (H + lo + hi - (k - 1) d - 1) // s + 1.

    Raises:
        TypeError: for what are no whole numbers; when applied to integers.
        ValueError: for numbers below 1, groups that do not divide c_in and c_out, an even kernel with SAME;
            when applied to f of other channels, or smaller than the kernel, and to W or b of another shape.

    Example: the sum of each 2 x 2 places.
        >>> layer = conv2d(1, 1, 2, bias=False)
        >>> a = layer.apply({"W": jnp.ones((1, 1, 2, 2))}, jnp.arange(9.0).reshape(3, 3, 1))
        >>> a[..., 0]
        Array([[ 8., 12.],
               [20., 24.]], dtype=float32)

    Source: LeCun et al. 1998; Dumoulin and Visin 2016, arXiv 1603.07285; Sedghi et al. 2018, arXiv
    1805.10408, for the Jacobian.
    """
    shown = tuple(kernel) if isinstance(kernel, list) else kernel
    name = f"conv2d({c_in}, {c_out}, {shown})"
    over = windows(name, 2, kernel, stride, padding, dilation)
    return _convolution(name, over, c_in, c_out, groups, bias, init, bias_init)


def _convolution(
    name: str,
    over: Windows,
    c_in: int,
    c_out: int,
    groups: int,
    bias: bool,
    init: Initializer,
    bias_init: Initializer,
) -> Layer:
    """The layer of `conv1d` and `conv2d`."""
    sizes = {"c_in": c_in, "c_out": c_out, "groups": groups}
    c_in, c_out, groups = (arguments.whole(name, role, v, low=1) for role, v in sizes.items())
    for role, c in (("c_in", c_in), ("c_out", c_out)):
        if c % groups:
            raise ValueError(errors.message(name, f"groups that divide {role}, {c}", f"{groups}"))
    bias = arguments.flag(name, "bias", bias)
    shape = (c_out, c_in // groups, *over.kernel)
    initialize, taken = kernels(name, shape, bias, init, bias_init)
    rank, letters = over.rank, "HW"[-over.rank :]
    # XLA's fast kernels on CPUs know no other order of axes within a loop, and a training run is one: there a
    # 3 x 3 convolution of 64 channels is 46 times as fast as autodiff's (experiments/98_image_layers.py).
    in_order = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    def images(f: Tensor) -> Tensor:
        """One leading axis in place of n."""
        return f.reshape(-1, *f.shape[-rank - 1 :])

    def taps_first(W: Array) -> Array:
        """(c_out, c_in, *k) as (*k, c_in, c_out)."""
        return jnp.moveaxis(W, (0, 1), (-1, -2))

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        params, (f, places) = taken(params), entered(name, f, over, c_in)
        a = lax.conv_general_dilated(
            images(f),
            taps_first(params["W"].astype(f.dtype)),
            over.stride,
            over.pads(places),
            rhs_dilation=over.dilation,
            dimension_numbers=in_order,
            feature_group_count=groups,
        )
        a = a.reshape(*f.shape[: -rank - 1], *a.shape[1:])
        return a + jnp.broadcast_to(params["b"].astype(f.dtype), a.shape) if bias else a

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f, _ = entered(name, f, over, c_in)
        return apply(params, f), f

    def delta_W(f: Tensor, delta_a: Tensor, dtype: jnp.dtype) -> Array:
        """The convolution of f by delta_a, in which examples are summed over as channels are."""
        spans = over_along(f)
        out = lax.conv_general_dilated(
            images(f).swapaxes(0, -1),
            jnp.moveaxis(images(delta_a), 0, -2),
            over.dilation,
            [(lo, K - 1 + s * (P - 1) + 1 - H - lo) for H, P, K, s, lo in spans],
            rhs_dilation=over.stride,
            dimension_numbers=in_order,
            batch_group_count=groups,
            preferred_element_type=dtype,
        )
        return jnp.moveaxis(out, -1, 0)

    def delta_f(W: Array, f: Tensor, delta_a: Tensor) -> Tensor:
        """The convolution of delta_a, zeros between its places, by the flipped kernel."""
        spans = over_along(f)
        out_in = W.reshape(groups, c_out // groups, c_in // groups, *over.kernel).swapaxes(1, 2)
        flipped = jnp.flip(out_in.reshape(c_in, c_out // groups, *over.kernel), range(2, 2 + rank))
        out = lax.conv_general_dilated(
            images(delta_a),
            taps_first(flipped.astype(delta_a.dtype)),
            (1,) * rank,
            [(K - 1 - lo, H + lo - (s * (P - 1) + 1)) for H, P, K, s, lo in spans],
            lhs_dilation=over.stride,
            rhs_dilation=over.dilation,
            dimension_numbers=in_order,
            feature_group_count=groups,
        )
        return out.reshape(f.shape)

    def over_along(f: Tensor) -> list[tuple[int, int, int, int, int]]:
        """Along each axis: the places of f and of a, the span of a window, its stride, the low padding."""
        places = over.places(f)
        lows = [lo for lo, _ in over.pads(places)]
        return list(zip(places, over.out(places), over.span, over.stride, lows, strict=True))

    def matched(f: Tensor, delta_a: Tensor) -> Tensor:
        return delta_of(name, delta_a, (*f.shape[: -rank - 1], *over.out(over.places(f)), c_out))

    def backward(params: Params, saved: Saved, delta_a: Tensor) -> tuple[Params, Tensor]:
        params, (f, _) = taken(params), entered(name, saved, over, c_in)
        delta_a, W = matched(f, delta_a), params["W"]
        delta_params = {"W": delta_W(f, delta_a, W.dtype)}
        if bias:
            delta_params["b"] = delta_a.sum(range(delta_a.ndim - 1), dtype=params["b"].dtype)
        return delta_params, delta_f(W, f, delta_a)

    def factors(params: Params, saved: Saved, delta_a: Tensor) -> tuple[dict[str, Block], Tensor]:
        f, delta_rows = saved, delta_a.reshape(-1, c_out)
        T, d_in = len(delta_rows), math.prod(shape[1:])
        blocks: dict[str, Block] = {}
        # In factors a window's places stand beside each other: only where these are less than W.
        if groups == 1 and T * (c_out + d_in) < c_out * d_in:
            patches = jnp.stack([part.reshape(T, c_in) for part in over.parts(f)], axis=-1)
            blocks["W"] = Outer(delta_rows, patches.reshape(T, d_in), tuple(range(2 + rank)), shape)
        else:
            blocks["W"] = Entrywise(delta_W(f, delta_a, delta_a.dtype))
        if bias:
            blocks["b"] = Summed(delta_rows)
        return blocks, delta_f(params["W"], f, delta_a)

    def jacobian(params: Params, f: Tensor) -> Operator:
        params, (f, places) = taken(params), entered(name, f, over, c_in)
        if groups == 1 and {*over.span, *over.stride} == {1} and over.out(places) == places:
            M = Dense(params["W"].reshape(c_out, c_in).astype(f.dtype))
            return M if f.size == c_in else Kronecker(Identity(f.size // c_in), M)
        W = params["W"].astype(f.dtype).reshape(groups, c_out // groups, c_in // groups, -1)
        return over.routed(f, jnp.moveaxis(W, -1, 0))

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
