"""Compare a rule with its references entry by entry; whatever looks wrong goes before the differences."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import (
    Point,
    Pullback,
    basis,
    draw,
    wide,
)
from jaxbp.verify.numbers.arbiter import CONVICTS, Entry, Sample, arbitrate, joint_kinks
from jaxbp.verify.numbers.differences import Differences, step_at, unit
from jaxbp.verify.numbers.error_bounds import (
    agree,
    jiggled,
    relative_tolerance,
    unexplained,
    unsettled,
)

DRAWS = 3
# So many cotangents that give a wrong result are looked into.
TRIED = 3
BASIS_LIMIT = 32
DENSE_LIMIT = 96


class Comparison(NamedTuple):
    """What a comparison saw; ``loose`` is the part of the largest entry that loops leave open."""

    samples: list[Sample]
    wrong: list[Entry]
    kinks: list[Entry]
    cleared: list[Entry]
    unknown: int
    compared: int
    rtol: float
    loose: float = 0.0


def cotangents(at: Point, rng: np.random.Generator) -> list[list[Any]]:
    """The cotangents to try: a few normal draws, the last over five decades; the basis where it is small."""
    draws = [draw(at.outputs, rng, uneven=k == DRAWS - 1) for k in range(DRAWS)]
    if sum(int(np.prod(s.shape)) for s in at.outputs) == 1:
        return basis(at.outputs, 1) + draws  # The numbers that are shown are then the derivative itself.
    return draws + (basis(at.outputs, BASIS_LIMIT) if is_small(at.inputs) else [])


def compare(
    at: Point,
    rule: Pullback,
    reference: Pullback | None,
    rng: np.random.Generator,
    cts: Sequence[list[Any]] | None = None,
    opened: Callable[[Sequence[Any]], list[float]] | None = None,
) -> Comparison:
    """Judge ``rule`` against ``reference`` at a point, entry by entry (for ``cts``, else all ``cotangents``).

    An entry passes when ``|rule - ref| <= sqrt(eps) |ref| + 64 noise + slack``, where noise is what a random
    change in the last digit of inputs and cotangent does to the reference, and slack what loops that stop
    by a test leave open. The tolerance does not depend on how many entries there are. Entries that do not
    pass are tried against the rounding of every single operation; those that remain, or have no finite
    reference, are decided by difference quotients. ``opened`` says what loops of equal steps leave open.
    """
    maps = [m for m in (rule, reference) if m]
    eps = max(m.epsilon for m in maps)
    rtol = relative_tolerance(eps)
    cts = cotangents(at, rng) if cts is None else cts
    arbiter = Differences(at, eps)
    samples: list[Sample] = []
    suspects: list[tuple[Sample, list[np.ndarray], list[np.ndarray], list[np.ndarray]]] = []
    open_to, tried = 0.0, TRIED if is_small(at.inputs) else 1
    numeric = None if reference else _jacobian(at, arbiter)
    for number, ct in enumerate(cts):
        if len(suspects) == tried and not is_small(at.inputs) and number < len(cts) - 1:
            continue  # The last, an uneven one, is asked for a cause; more of many entries say no more.
        got = [wide(g) for g in rule.call(at.inputs, ct)[1]]
        want, noise = _expected(at, reference, numeric, ct)
        samples.append(Sample(ct, got, want))
        loose, quarter = unsettled(maps, at.inputs, ct, want)
        rtol = max(rtol, quarter)
        if opened:
            loose = [s + n for s, n in zip(loose, opened(ct), strict=True)]
        if opened or any(m.iterative for m in maps):
            sizes = [np.max(np.abs(w), initial=0.0, where=np.isfinite(w)) for w in want]
            parts = [np.max(s, initial=0.0) / n for s, n in zip(loose, sizes, strict=True) if n]
            open_to = max([open_to, *parts])
        if len(suspects) == tried:
            continue
        slack = [s + tolerances.NOISE * max(m.tiny for m in maps) for s in loose]
        masks = [_suspicious(*row, rtol, eps) for row in zip(got, want, noise, slack, strict=True)]
        if reference and any(m.any() for m in masks):
            noise = _noise(at, reference, ct, want, eps, rng)
            masks = [_suspicious(*row, rtol, eps) for row in zip(got, want, noise, slack, strict=True)]
        if any(m.any() for m in masks):
            masks = unexplained(masks, samples[-1], maps, at.inputs)
            if any(m.any() for m in masks):
                allowed = [
                    rtol * np.abs(np.nan_to_num(w)) + n + s
                    for w, n, s in zip(want, noise, slack, strict=True)
                ]
                suspects.append((samples[-1], masks, allowed, slack))
    verdicts = [e for suspect in suspects for e in arbitrate(at, arbiter, *suspect, rtol)]
    kinks = [e for e in verdicts if e.outcome == "kink"]
    bad = [e for e in verdicts if e.outcome in CONVICTS]
    if kinks and not bad:
        bad = joint_kinks(at, arbiter, rule, kinks, rtol)
    compared = sum(int(np.size(x)) for x in at.inputs) * len(samples)
    unknown = sum(e.outcome == "unknown" for e in verdicts)
    cleared = [e for e in verdicts if e.outcome == "cleared"]
    return Comparison(samples, bad, kinks, cleared, unknown, compared, rtol, open_to)


def _suspicious(
    got: np.ndarray, want: np.ndarray, noise: np.ndarray, slack: np.ndarray, rtol: float, eps: float
) -> np.ndarray:
    """Where the two differ by more than the tolerance, or the reference says nothing.

    Noise as large as the entry itself comes from a kink that the change stepped over, or from a problem
    so ill-conditioned that the reference is worth little: neither may hide a difference here, unless it is
    a few roundings of the largest entry. Such an entry is a zero that rounding has filled, in the reference
    or, where that is exactly 0, in the rule.
    """
    if agree(got, want, rtol):
        return np.broadcast_to(False, got.shape)
    with np.errstate(all="ignore"):
        largest = np.max(np.abs(want), initial=0.0, where=np.isfinite(want))
        size = np.where(want == 0, largest, np.abs(want))
        limit = np.minimum(noise, tolerances.NOISE * eps * largest)
        quiet = np.where(noise <= tolerances.STEPPED_OVER * size, noise, limit)
        quiet = np.where(want == 0, np.maximum(quiet, tolerances.ROUNDINGS * eps * largest), quiet)
        same = np.abs(got - want) <= rtol * np.abs(want) + quiet + slack
        opposite = np.isinf(got) & np.isinf(want) & (got != want)
    return np.asarray(~(same | (got == want)) | opposite)


def _expected(
    at: Point,
    reference: Pullback | None,
    numeric: tuple[Any, Any] | None,
    ct: list[Any],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The reference cotangents and the error that they come with, if they are difference quotients."""
    if reference is None and numeric is not None:
        return _contracted(at, numeric, ct)
    if reference is None:
        want = [np.full(np.shape(x), np.nan) for x in at.inputs]
    else:
        want = [wide(g) for g in reference.call(at.inputs, ct)[1]]
    return want, [np.broadcast_to(0.0, w.shape) for w in want]


def _noise(
    at: Point,
    reference: Pullback,
    ct: list[Any],
    want: list[np.ndarray],
    eps: float,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """How far rounding may move each entry of the reference."""
    noise = [np.zeros(w.shape) for w in want]
    # One change is enough where there are many entries to be moved by it: their noise is alike.
    for _ in range(2 if is_small(at.inputs) else 1):
        there = reference.call(jiggled(at.inputs, eps, rng), jiggled(ct, eps, rng))[1]
        with np.errstate(all="ignore"):
            moved = [np.abs(wide(t) - w) for t, w in zip(there, want, strict=True)]
        noise = [
            np.fmax(n, np.where(np.isfinite(m), tolerances.NOISE * m, 0))
            for n, m in zip(noise, moved, strict=True)
        ]
    return noise


def _jacobian(at: Point, arbiter: Differences) -> tuple[Any, Any] | None:
    """The whole Jacobian by differences, and its error, where the inputs are few; kinks are NaN."""
    size = sum(int(np.size(x)) for x in at.inputs)
    outputs = sum(int(np.prod(s.shape)) for s in at.outputs)
    if size > DENSE_LIMIT or outputs > 4096 or any(map(_is_complex, [*at.inputs, *at.outputs])):
        return None
    columns = []
    for a, x in enumerate(at.inputs):
        for index in np.ndindex(np.shape(x)):
            s = arbiter.along(unit(at, a, index), step_at(x, index))
            value, error = s.best
            columns.append((np.where(s.kinked, np.nan, value), error))
    return np.array([c[0] for c in columns]), np.array([c[1] for c in columns])


def numeric_jacobian(at: Point, eps: float) -> np.ndarray | None:
    """The Jacobian (entries of all inputs x outputs) by differences, where the inputs are few."""
    found = _jacobian(at, Differences(at, eps))
    return None if found is None else np.asarray(found[0])


def _is_complex(x: Any) -> bool:
    return bool(jax.numpy.issubdtype(x.dtype, jax.numpy.complexfloating))


def _contracted(
    at: Point, numeric: tuple[Any, Any], ct: list[Any]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    c = np.concatenate([np.ravel(wide(x)) for x in ct])
    value, error = numeric[0] @ c, tolerances.COVER * numeric[1] @ abs(c)
    cuts = np.cumsum([int(np.size(x)) for x in at.inputs])[:-1]
    shapes = [np.shape(x) for x in at.inputs]
    split = [[p.reshape(s) for p, s in zip(np.split(v, cuts), shapes, strict=True)] for v in (value, error)]
    return split[0], split[1]
