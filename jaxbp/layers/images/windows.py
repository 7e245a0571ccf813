"""Windows that move over the places of an image or a series: their pads, their parts, and the way back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.operators import Identity, Kronecker, Operator, Routed
from jaxbp.typing import Array, Tensor

Padding = Literal["SAME", "VALID"] | int | Sequence[int | Sequence[int]]


@dataclass(frozen=True)
class Windows:
    """Windows over one or two axes of places, of f with axes (*n, *places, channels).

    Window p takes the places s p + d u - lo for each u of its kernel k, with stride s, dilation d and low
    padding lo. It spans K = (k - 1) d + 1 places.

    Args:
        name: of the layer, for messages.
        kernel: k along each axis.
        stride: s along each axis.
        dilation: d along each axis.
        padding: ``"SAME"``, ``"VALID"``, or (low, high) along each axis.
        whole: whether windows that move by their own size must leave no place out.
    """

    name: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    whole: bool = False

    @property
    def rank(self) -> int:
        """How many axes of places."""
        return len(self.kernel)

    @property
    def span(self) -> tuple[int, ...]:
        """K along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def offsets(self) -> list[tuple[int, ...]]:
        """Every u of the kernel, the last axis fastest."""
        return list(product(*map(range, self.kernel)))

    def places(self, f: Tensor, channels: int | None = None) -> tuple[int, ...]:
        """The sizes of the axes of places of f.

        Raises:
            ValueError: for f of fewer axes, of other channels, or smaller than a window.
        """
        axes = ", ".join(["*n", *"HW"[-self.rank :], "channels" if channels is None else str(channels)])
        if f.ndim <= self.rank or channels not in (None, f.shape[-1]):
            hint = ""
            if channels is not None and f.ndim > self.rank and f.shape[-self.rank - 1] == channels:
                hint = (
                    "the channels come last: jnp.moveaxis(f, -3, -1)" if self.rank == 2 else "they come last"
                )
            elif channels == 1 and f.ndim >= self.rank:
                hint = "f[..., None] gives it an axis of one channel"
            raise ValueError(errors.message(self.name, f"f of shape ({axes})", f"{f.shape}", hint))
        sizes = f.shape[-self.rank - 1 : -1]
        for H, K, (lo, hi) in zip(sizes, self.span, self.pads(sizes), strict=True):
            if H + lo + hi < K:
                hint = "a smaller kernel, or padding"
                got = f"{H} and padding {lo} and {hi}"
                expected = f"at least the {K} places of a window along each axis"
                raise ValueError(errors.message(self.name, expected, got, hint))
        return sizes

    def pads(self, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
        """(low, high) along each axis; with SAME there is a window for every s-th place."""
        if isinstance(self.padding, tuple):
            return list(self.padding)
        if self.padding == "VALID":
            return [(0, 0)] * self.rank
        totals = [
            max((-(-H // s) - 1) * s + K - H, 0)
            for H, s, K in zip(sizes, self.stride, self.span, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in totals]

    def out(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        along = zip(sizes, self.pads(sizes), self.span, self.stride, strict=True)
        return tuple((H + lo + hi - K) // s + 1 for H, (lo, hi), K, s in along)

    def parts(self, f: Tensor, fill: float = 0.0) -> list[Tensor]:
        """For each u the places s p + d u - lo of all windows p, (*n, *out, channels).

        Args:
            f: (*n, *places, channels).
            fill: what stands in the padding.
        """
        n, sizes = f.ndim - self.rank - 1, f.shape[-self.rank - 1 : -1]
        out, pads = self.out(sizes), self.pads(sizes)
        if any(map(any, pads)):
            f = jnp.pad(f, [(0, 0)] * n + pads + [(0, 0)], constant_values=fill)
        strides = (*(1,) * n, *self.stride, 1)

        def part(u: tuple[int, ...]) -> Tensor:
            begins = self._begins(u)
            ends = [b + s * (P - 1) + 1 for b, s, P in zip(begins, self.stride, out, strict=True)]
            return jax.lax.slice(f, [0] * n + begins + [0], [*f.shape[:n], *ends, f.shape[-1]], strides)

        return [part(u) for u in self.offsets]

    def routes(self, f: Tensor) -> Array:
        """The place that each window takes as its place u, (taps, windows); H W for one in the padding."""
        sizes = f.shape[-self.rank - 1 : -1]
        n = math.prod(sizes)
        numbered = jnp.arange(n).reshape(*sizes, 1)
        return jnp.stack([part.reshape(-1) for part in self.parts(numbered, fill=n)])

    def routed(self, f: Tensor, W: Array) -> Operator:
        """sum_u S_u ⊗ W[u] over the places of f, W (taps, groups, out, in): block Toeplitz."""
        J = Routed(self.routes(f), W, math.prod(f.shape[-self.rank - 1 : -1]))
        n = math.prod(f.shape[: -self.rank - 1])
        return J if n == 1 else Kronecker(Identity(n), J)

    def put_back(self, parts: Sequence[Tensor], sizes: tuple[int, ...]) -> Tensor:
        """The transpose of `parts`: each part added to the places that it was taken from."""
        n, along = parts[0].ndim - self.rank - 1, [(0, 0, 0)]
        out, pads = self.out(sizes), self.pads(sizes)
        total = None
        for u, part in zip(self.offsets, parts, strict=True):
            config = []
            for begin, (lo, _), H, P, s in zip(self._begins(u), pads, sizes, out, self.stride, strict=True):
                config.append((begin - lo, H - (begin - lo + s * (P - 1) + 1), s - 1))
            put = jax.lax.pad(part, jnp.zeros((), part.dtype), along * n + config + along)
            total = put if total is None else total + put
        assert total is not None
        return total

    def _begins(self, u: tuple[int, ...]) -> list[int]:
        """Where the first window has its place u, the padding counted."""
        return [d * v for d, v in zip(self.dilation, u, strict=True)]


def windows(
    name: str, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any, *, odd: bool = True
) -> Windows:
    """The windows of a layer, from what its user wrote.

    Args:
        name: of the layer.
        rank: 1 or 2 axes of places.
        kernel: its size, one number for all axes or one for each.
        stride: likewise.
        padding: ``"SAME"``, ``"VALID"``, a number for all sides, or for each axis a number or (low, high).
        dilation: as the kernel.
        odd: whether SAME asks for odd kernels, which alone have a place in their middle.

    Raises:
        TypeError: for what are no whole numbers.
        ValueError: for numbers out of range, as many as there are no axes, and even kernels with SAME.
    """
    ks, ss, ds = (
        _each(name, role, value, rank)
        for role, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation))
    )
    if isinstance(padding, str):
        arguments.option(name, "padding", padding, ("SAME", "VALID"))
        if padding == "SAME" and odd and any(k % 2 == 0 for k in ks):
            got, k = f"a kernel of {' x '.join(map(str, ks))}", next(k for k in ks if k % 2 == 0)
            hint = f"say on which side the place more is: padding=(({(k - 1) // 2}, {k // 2}),) * {rank}"
            raise ValueError(errors.message(name, 'an odd kernel with padding="SAME"', got, hint))
        return Windows(name, ks, ss, ds, padding)
    sides = list(padding) if isinstance(padding, tuple | list) else [padding] * rank
    if len(sides) != rank:
        expected = f'padding "SAME", "VALID", a number, or one entry for each of {rank} axes'
        raise ValueError(errors.message(name, expected, arguments.described(padding)))
    pads = []
    for side in sides:
        both = tuple(side) if isinstance(side, tuple | list) else (side, side)
        if len(both) != 2:
            expected = "padding (low, high) along each axis"
            raise ValueError(errors.message(name, expected, arguments.described(side)))
        low, high = (arguments.whole(name, "padding", v, low=0) for v in both)
        pads.append((low, high))
    return Windows(name, ks, ss, ds, tuple(pads))


def _each(name: str, role: str, value: Any, rank: int) -> tuple[int, ...]:
    """One number for each axis."""
    values = list(value) if isinstance(value, tuple | list) else [value] * rank
    if len(values) != rank:
        expected = f"{role}, a number or {rank} of them"
        raise ValueError(errors.message(name, expected, arguments.described(value)))
    return tuple(arguments.whole(name, role, v, low=1) for v in values)


def entered(
    name: str, f: Any, windows: Windows, channels: int | None = None
) -> tuple[Array, tuple[int, ...]]:
    """F as an array of floats, and the sizes of its places."""
    f = arguments.array(name, "f", f, floats=True)
    return f, windows.places(f, channels)
