"""Compare a rule with its references entry by entry; whatever looks wrong goes before the differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbp.verify.differences import COVER, Differences, Slope, step_at, unit
from jaxbp.verify.references import (
    Point,
    Pullback,
    basis,
    draw,
    is_small,
    jiggled,
    relative_tolerance,
    smallest,
    wide,
)

DRAWS = 3
BASIS_LIMIT = 32
# Rounding moves an entry by some multiple of what two random changes of the last digit did to it.
NOISE_FACTOR = 64
EXAMINED = 8
STEPPED_OVER = 0.1
DENSE_LIMIT = 96


class Sample(NamedTuple):
    """One cotangent and what the two maps made of it (arrays on the host)."""

    cotangent: list[Any]
    rule: list[np.ndarray]
    reference: list[np.ndarray]


@dataclass(frozen=True)
class Entry:
    """One entry of one input cotangent and what was found there."""

    argument: int
    index: tuple[int, ...]
    rule: complex
    reference: complex
    tolerance: float
    outcome: str


class Comparison(NamedTuple):
    """What a comparison saw: samples, judged entries, how many entries, and which arguments disagree."""

    samples: list[Sample]
    wrong: list[Entry]
    kinks: list[Entry]
    cleared: list[Entry]
    unknown: int
    compared: int
    rtol: float


def cotangents(at: Point, rng: np.random.Generator) -> list[list[Any]]:
    """The cotangents to try: the basis where it is small, and a few normal draws."""
    return [draw(at.outputs, rng) for _ in range(DRAWS)] + basis(at.outputs, BASIS_LIMIT)


def compare(at: Point, rule: Pullback, reference: Pullback | None, rng: np.random.Generator) -> Comparison:
    """Judge ``rule`` against ``reference`` at a point, entry by entry.

    An entry passes when ``|rule - ref| <= sqrt(eps) |ref| + 64 noise``, where noise is what a random
    change in the last digit of inputs and cotangent does to the reference. The tolerance does not
    depend on how many entries there are. Entries that do not pass, or have no finite reference, are
    decided by difference quotients.
    """
    eps = max(rule.epsilon, reference.epsilon if reference else 0.0)
    iterative = rule.iterative or (reference is not None and reference.iterative)
    rtol = relative_tolerance(eps, iterative)
    cts = cotangents(at, rng)
    arbiter = Differences(at, eps)
    samples, suspects = [], []
    numeric = None if reference else _jacobian(at, arbiter)
    for ct in cts:
        got = [wide(g) for g in rule.call(at.inputs, ct)[1]]
        want, noise = _expected(at, reference, numeric, ct, eps, rng)
        samples.append(Sample(ct, got, want))
        # Where loops stop by a test, an entry is known to a part of the largest one, not of itself.
        floors = [
            relative_tolerance(eps) * np.max(np.abs(w), initial=0.0, where=np.isfinite(w)) for w in want
        ]
        floor = floors if iterative else [0.0] * len(want)
        masks = [
            _suspicious(g, w, n, rtol, f, eps) for g, w, n, f in zip(got, want, noise, floor, strict=True)
        ]
        tolerances = [rtol * np.abs(np.nan_to_num(w)) + n for w, n in zip(want, noise, strict=True)]
        if any(m.any() for m in masks):
            suspects.append((samples[-1], masks, tolerances))
    verdicts = [e for s, masks, tols in suspects[:3] for e in _arbitrate(at, arbiter, s, masks, tols, rtol)]
    kinks = [e for e in verdicts if e.outcome == "kink"]
    bad = [e for e in verdicts if e.outcome in ("wrong", "nan", "bad kink")]
    if kinks and not bad:
        bad = _joint_kinks(at, arbiter, rule, kinks, rtol)
    compared = sum(int(np.size(x)) for x in at.inputs) * len(cts)
    unknown = sum(e.outcome == "unknown" for e in verdicts)
    cleared = [e for e in verdicts if e.outcome == "cleared"]
    return Comparison(samples, bad, kinks, cleared, unknown, compared, rtol)


def _suspicious(
    got: np.ndarray, want: np.ndarray, noise: np.ndarray, rtol: float, floor: float, eps: float
) -> np.ndarray:
    """Where the two differ by more than the tolerance, or the reference says nothing.

    Noise as large as the entry itself comes from a kink that the change stepped over, or from a problem
    so ill-conditioned that the reference is worth little: neither may hide a difference here, unless it is
    a few roundings of the largest entry. Such an entry is a zero that rounding has filled, in the reference
    or, where that is exactly 0, in the rule.
    """
    with np.errstate(all="ignore"):
        largest = np.max(np.abs(want), initial=0.0, where=np.isfinite(want))
        size = np.where(want == 0, largest, np.abs(want))
        quiet = np.where(noise <= STEPPED_OVER * size, noise, np.minimum(noise, 64 * eps * largest))
        quiet = np.where(want == 0, np.maximum(quiet, 4 * eps * largest), quiet)
        same = np.abs(got - want) <= rtol * np.abs(want) + quiet + floor + np.finfo(float).tiny
    return np.asarray(~(same | (got == want)))


def _expected(
    at: Point,
    reference: Pullback | None,
    numeric: tuple[Any, Any] | None,
    ct: list[Any],
    eps: float,
    rng: np.random.Generator,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The reference cotangents and, for each entry, how far rounding may move them."""
    if reference is None:
        if numeric is None:
            blank = [np.full(np.shape(x), np.nan) for x in at.inputs]
            return blank, [np.zeros(np.shape(x)) for x in at.inputs]
        return _contracted(at, numeric, ct)
    want = [wide(g) for g in reference.call(at.inputs, ct)[1]]
    tiny = smallest(at.inputs[0].dtype)
    noise = [np.full(w.shape, 4 * tiny) for w in want]
    # One change is enough where there are many entries to be moved by it: their noise is alike.
    for _ in range(2 if is_small(at.inputs) else 1):
        there = reference.call(jiggled(at.inputs, eps, rng), jiggled(ct, eps, rng))[1]
        with np.errstate(all="ignore"):
            moved = [np.abs(wide(t) - w) for t, w in zip(there, want, strict=True)]
        noise = [
            np.fmax(n, np.where(np.isfinite(m), NOISE_FACTOR * m, 0))
            for n, m in zip(noise, moved, strict=True)
        ]
    return want, noise


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


def _is_complex(x: Any) -> bool:
    return bool(jax.numpy.issubdtype(x.dtype, jax.numpy.complexfloating))


def _contracted(
    at: Point, numeric: tuple[Any, Any], ct: list[Any]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    c = np.concatenate([np.ravel(wide(x)) for x in ct])
    value, error = numeric[0] @ c, COVER * numeric[1] @ abs(c)
    cuts = np.cumsum([int(np.size(x)) for x in at.inputs])[:-1]
    shapes = [np.shape(x) for x in at.inputs]
    split = [[p.reshape(s) for p, s in zip(np.split(v, cuts), shapes, strict=True)] for v in (value, error)]
    return split[0], split[1]


def _arbitrate(
    at: Point,
    arbiter: Differences,
    sample: Sample,
    masks: list[np.ndarray],
    tolerances: list[np.ndarray],
    rtol: float,
) -> list[Entry]:
    """Ask the differences about the most suspicious entries of one sample."""
    found = []
    for a, mask in enumerate(masks):
        for index in _selected(sample.rule[a], sample.reference[a], tolerances[a], mask):
            got, want = sample.rule[a][index], sample.reference[a][index]
            outcome = "unknown"
            if not np.isfinite(wide(at.inputs[a])[index]):
                # What is infinite cannot be moved: autodiff alone decides there.
                outcome = "unknown" if not np.isfinite(want) else "wrong" if np.isfinite(got) else "nan"
                found.append(Entry(a, index, got, want, float(tolerances[a][index]), outcome))
                continue
            for part in (
                (1.0, 1.0j) if np.iscomplexobj(sample.rule[a]) and np.iscomplexobj(at.inputs[a]) else (1.0,)
            ):
                step = step_at(at.inputs[a], index)
                slope = arbiter.along(unit(at, a, index, part), step, [sample.cotangent])
                noise = float(tolerances[a][index])
                outcome = _decide(np.real(got * part), np.real(want * part), slope, noise, rtol)
                if not np.isfinite(want) and part == 1:
                    want = slope.best[0][0]
                if outcome != "cleared":
                    break
            found.append(Entry(a, index, got, want, float(tolerances[a][index]), outcome))
    return found


def _selected(
    got: np.ndarray, want: np.ndarray, tolerance: np.ndarray, mask: np.ndarray
) -> list[tuple[int, ...]]:
    """A few suspects: the largest differences, the largest beside their tolerance, those without a number."""
    places = np.flatnonzero(mask)
    with np.errstate(all="ignore"):
        gap = np.abs(got - want).ravel()[places]
        ratio = gap / np.ravel(tolerance)[places]
    blank = ~np.isfinite(gap)
    rank = np.concatenate(
        [
            np.argsort(np.where(blank, -1.0, gap))[::-1][:EXAMINED],
            np.argsort(np.where(blank | ~np.isfinite(ratio), -1.0, ratio))[::-1][:EXAMINED],
            np.flatnonzero(blank)[:EXAMINED],
            np.flatnonzero(blank)[-EXAMINED:],
            np.flatnonzero(~np.isfinite(np.ravel(got)[places]))[:EXAMINED],
        ]
    )
    return [
        tuple(int(i) for i in np.unravel_index(places[k], mask.shape)) for k in dict.fromkeys(rank.tolist())
    ]


def _decide(got: float, want: float, slope: Slope, noise: float, rtol: float) -> str:
    """What the differences say of one entry: cleared, kink, bad kink, nan, wrong or unknown."""
    value, error = float(slope.best[0][0]), COVER * float(slope.best[1][0])
    size = max(abs(value), abs(got) if np.isfinite(got) else 0.0)
    if slope.kinked[0] and np.isfinite(got):
        low, high = sorted((float(slope.left[0]), float(slope.right[0])))
        slack = COVER * float(slope.left_error[0] + slope.right_error[0]) + 1e-6 * (high - low) + rtol * size
        return "kink" if low - slack <= got <= high + slack else "bad kink"
    useful = np.isfinite(error) and error <= 1e-3 * max(size, float(slope.natural[0]))
    settled = bool(error <= 0.1 * max(size, float(slope.natural[0])))
    if not np.isfinite(got):
        return "nan" if settled or slope.kinked[0] or np.isfinite(want) else "unknown"
    apart = abs(got - value) > error + rtol * size
    if np.isfinite(want):
        return (
            "wrong" if (apart if useful else abs(got - want) > noise) else "cleared" if useful else "unknown"
        )
    if np.isfinite(error) and apart:
        return "wrong"
    return "cleared" if settled else "unknown"


def _joint_kinks(
    at: Point, arbiter: Differences, rule: Pullback, kinks: Sequence[Entry], rtol: float
) -> list[Entry]:
    """Kinks that hang together (ties of a maximum) must also agree when their entries move together."""
    outputs = sum(int(np.prod(s.shape)) for s in at.outputs)
    if outputs > 4096 or len({(e.argument, e.index) for e in kinks}) < 2:
        return []
    direction = [np.zeros(np.shape(x), complex if np.iscomplexobj(x) else float) for x in at.inputs]
    for e in kinks:
        direction[e.argument][e.index] = 1.0
    slope = arbiter.along(direction, min(step_at(at.inputs[e.argument], e.index) for e in kinks))
    moved = np.flatnonzero((abs(slope.right) + abs(slope.left)) > 0)[:EXAMINED]
    found = []
    for j in moved:
        hot = basis_row(at, int(j))
        pulled = [wide(g) for g in rule.call(at.inputs, hot)[1]]
        got = float(sum(np.sum(np.real(g * v)) for g, v in zip(pulled, direction, strict=True)))
        low, high = sorted((float(slope.left[j]), float(slope.right[j])))
        slack = (
            COVER * float(slope.left_error[j] + slope.right_error[j])
            + 1e-6 * (high - low)
            + rtol * max(abs(low), abs(high))
        )
        if not low - slack <= got <= high + slack:
            first = kinks[0]
            found.append(
                Entry(first.argument, first.index, got, high if got > high else low, slack, "bad kink")
            )
    return found


def basis_row(at: Point, j: int) -> list[Any]:
    """The one-hot cotangent of the j-th output entry."""
    row = []
    for s in at.outputs:
        size = int(np.prod(s.shape))
        hot = np.zeros(size)
        if 0 <= j < size:
            hot[j] = 1
        row.append(jax.numpy.asarray(hot.reshape(s.shape), dtype=s.dtype))
        j -= size
    return row
