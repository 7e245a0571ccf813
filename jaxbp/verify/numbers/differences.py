"""Difference quotients on a ladder of steps, extrapolated, with an estimate of their own error."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxbp.verify import tolerances
from jaxbp.verify.clock import tick
from jaxbp.verify.maps.pullback import Point, wide

# Powers of 4, so that x + h is exact for a step that is a power of two times a power of four.
LADDER = 2.0 ** -np.arange(3, 28, 2)
# At the last steps of the ladder a smooth function has nothing but its slope, and some roundings.
SMALL = 6


class Slope(NamedTuple):
    """Derivative along a direction: from both sides, from the right and from the left, each with its error.

    ``natural`` is the size that it has when the outputs that move change by themselves over one step.
    """

    central: np.ndarray
    central_error: np.ndarray
    right: np.ndarray
    right_error: np.ndarray
    left: np.ndarray
    left_error: np.ndarray
    natural: np.ndarray

    @property
    def kinked(self) -> np.ndarray:
        """Where the two one-sided slopes differ by more than their errors."""
        gap = np.abs(self.right - self.left)
        return np.asarray(np.isfinite(gap) & (gap > tolerances.COVER * (self.right_error + self.left_error)))

    @property
    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The slope and its error: central, or one-sided at the edge of a domain."""
        value, error = self.central, self.central_error
        for side, side_error in ((self.right, self.right_error), (self.left, self.left_error)):
            value = np.where(np.isfinite(error), value, side)
            error = np.where(np.isfinite(error), error, side_error)
        return value, error


class Differences:
    """Difference quotients of one function at one point; compiled once, used for many directions."""

    def __init__(self, at: Point, eps: float):
        self.at, self.eps = at, eps

        def moved(inputs: list[Any], direction: list[Any], t: Any) -> list[Any]:
            return at.fn(*(x + (t * v).astype(x.dtype) for x, v in zip(inputs, direction, strict=True)))

        self._step = moved

    @cached_property
    def _moved(self) -> Callable[..., list[Any]]:
        inputs = list(self.at.inputs)
        run = self.at.compiled(self._step, inputs, inputs, jnp.asarray(0.0))
        return lambda xs, vs, t: run(*xs, *vs, jnp.asarray(t))

    @cached_property
    def here(self) -> list[np.ndarray]:
        """The outputs at the point itself."""
        zero = [jnp.zeros_like(x) for x in self.at.inputs]
        return [wide(y) for y in self._moved(list(self.at.inputs), zero, 0.0)]

    def along(
        self, direction: Sequence[Any], step: float, weights: Sequence[Sequence[Any]] | None = None
    ) -> Slope:
        """The slope of every output entry, or of its sums weighted by each of ``weights``.

        Args:
            direction: one array for each input.
            step: the scale of the inputs in this direction; the steps are 2^-3 to 2^-27 of it.
            weights: cotangents; the slope of ``Re sum(c * y)`` is returned for each.
        """
        vector = [jnp.asarray(v, dtype=x.dtype) for v, x in zip(direction, self.at.inputs, strict=True)]
        contract = _contraction(weights, self.here)
        steps = LADDER * step
        moved = [np.zeros(y.shape, bool) for y in self.here]
        plus = np.stack([self._change(vector, h, contract, moved) for h in steps])
        minus = np.stack([self._change(vector, -h, contract, moved) for h in steps])
        # A far step shows what depends on this direction when near ones change no digit: away from zero,
        # because many functions are of one sign only.
        pairs = zip(vector, self.at.inputs, strict=True)
        inward = sum(np.sum(np.real(np.conj(wide(v)) * wide(x))) for v, x in pairs) < 0
        self._change(vector, -2 * step if inward else 2 * step, contract, moved)
        # Only the outputs that move bring rounding errors with them.
        size = self._size(moved, contract)
        h = steps[:, None]
        rounding = tolerances.ROUNDINGS * self.eps * size[None] / h
        with np.errstate(all="ignore"):
            central = _plateau((plus - minus) / (2 * h), (16, 256), rounding, h)
            right = _plateau(plus / h, (4, 16), rounding, h)
            left = _plateau(-minus / h, (4, 16), rounding, h)
        natural = np.maximum(size, np.max(np.where(np.isfinite(plus), abs(plus), 0), axis=0)) / step
        return Slope(*central, *right, *left, natural)

    def size_after(self, direction: Sequence[Any], t: float, weights: Sequence[Sequence[Any]]) -> np.ndarray:
        """The size of each weighted sum of those outputs that a step changes."""
        vector = [jnp.asarray(v, dtype=x.dtype) for v, x in zip(direction, self.at.inputs, strict=True)]
        contract, moved = _contraction(weights, self.here), [np.zeros(y.shape, bool) for y in self.here]
        self._change(vector, t, contract, moved)
        return self._size(moved, contract)

    def _size(self, moved: list[np.ndarray], contract: Callable[..., np.ndarray]) -> np.ndarray:
        finite = [np.flatnonzero(m & np.isfinite(y)) for m, y in zip(moved, self.here, strict=True)]
        parts = [(places, y.ravel()[places]) for places, y in zip(finite, self.here, strict=True)]
        return contract(parts, absolute=True)

    def _change(
        self, direction: list[Any], t: float, contract: Callable[..., np.ndarray], moved: list[np.ndarray]
    ) -> np.ndarray:
        """The change of the outputs after a step; ``moved`` collects where there is one."""
        tick()
        there = [wide(y).ravel() for y in self._moved(list(self.at.inputs), direction, t)]
        changes = []
        for mask, y, z in zip(moved, there, self.here, strict=True):
            # An output that stays at the same infinity has not changed; most of many do not change at all.
            places = np.flatnonzero(y != z.ravel())
            mask.reshape(-1)[places] = True
            with np.errstate(all="ignore"):
                changes.append((places, y[places] - z.ravel()[places]))
        return contract(changes)


# Values of each output at some of its entries, and the numbers of these.
Parts = Sequence[tuple[Any, np.ndarray]]


def _contraction(
    weights: Sequence[Sequence[Any]] | None, outputs: Sequence[np.ndarray]
) -> Callable[..., np.ndarray]:
    """Sums of the outputs weighted by cotangents; without weights, every entry of every output."""

    def each(parts: Parts, absolute: bool = False) -> np.ndarray:
        flat = [np.zeros(y.size, y.dtype) for y in outputs]
        for full, (places, y) in zip(flat, parts, strict=True):
            full[places] = y
        joined = np.concatenate([np.zeros(0), *flat])
        return np.abs(joined) if absolute else joined

    hosts = [[wide(c).ravel() for c in cs] for cs in weights or ()]

    def summed(parts: Parts, absolute: bool = False) -> np.ndarray:
        def term(c: np.ndarray, y: np.ndarray) -> float:
            # A zero weight takes an entry out, also when the entry is not finite.
            product = abs(c) * abs(y) if absolute else np.real(np.where(c == 0, 0, c * y))
            return float(np.sum(product))

        with np.errstate(all="ignore"):
            terms = ([term(c[at], y) for c, (at, y) in zip(cs, parts, strict=True)] for cs in hosts)
            return np.array([sum(each) for each in terms])

    return each if weights is None else summed


def _plateau(
    quotients: np.ndarray, orders: tuple[int, int], rounding: np.ndarray, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Richardson's extrapolation twice, at the step where neighbours agree best; (value, error).

    A function that is not smooth at small steps (a search that stops at a tolerance) moves there by something
    else than its slope: by as much its values may be off at every step.
    """
    value, error = _extrapolated(quotients, orders, rounding)
    with np.errstate(all="ignore"):
        off = np.abs(quotients[-SMALL:] - value)
    off = np.where(np.isfinite(off), off, 0)
    # The quotients of a slope come nearer as the steps become smaller, those of jumps go away.
    away = np.max(off[SMALL // 2 :], axis=0) > np.max(off[: SMALL // 2], axis=0)
    rough = np.where(away, np.max(off * h[-SMALL:], axis=0), 0)
    rough = np.where(rough > tolerances.COVER * rounding[0] * h[0], rough, 0)
    return _extrapolated(quotients, orders, rounding + rough / h) if rough.any() else (value, error)


def _extrapolated(
    quotients: np.ndarray, orders: tuple[int, int], rounding: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    rows = quotients
    for order in orders:
        rows = (order * rows[1:] - rows[:-1]) / (order - 1)
    errors = np.abs(rows[1:] - rows[:-1]) + rounding[len(quotients) - len(rows) + 1 :]
    errors = np.where(np.isfinite(errors), errors, np.inf)
    best = np.argmin(errors, axis=0)
    columns = np.arange(rows.shape[1])
    return rows[1:][best, columns], errors[best, columns]


def unit(at: Point, argument: int, index: tuple[int, ...], value: complex = 1.0) -> list[np.ndarray]:
    """The direction in which only one entry of one input moves."""
    direction = [np.zeros(np.shape(x), complex if np.iscomplexobj(x) else float) for x in at.inputs]
    direction[argument][index] = value
    return direction


def step_at(x: Any, index: tuple[int, ...]) -> float:
    """A power of two near the entry's own size; for a zero, near the usual size in its array."""
    host = np.abs(wide(x))
    size = host[index]
    if not np.isfinite(size) or size == 0:
        others = host[np.isfinite(host) & (host > 0)]
        size = float(np.median(others)) if others.size else 1.0
    return float(2.0 ** np.round(np.log2(size)))
