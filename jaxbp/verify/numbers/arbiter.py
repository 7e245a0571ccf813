"""The arbiter: what difference quotients say of the entries that look wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import Point, Pullback, basis_row, wide
from jaxbp.verify.numbers.differences import Differences, Slope, step_at, unit

EXAMINED = 8
ENOUGH = 3
HUGE = 2**20  # entries of one argument, of which one that is wrong is enough
OUTPUTS = 4096
# What is found at an entry that convicts a rule.
CONVICTS = ("wrong", "nan", "bad kink")


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


def arbitrate(
    at: Point,
    arbiter: Differences,
    sample: Sample,
    masks: list[np.ndarray],
    allowed: list[np.ndarray],
    slack: list[np.ndarray],
    rtol: float,
) -> list[Entry]:
    """Ask the differences about the most suspicious entries of a sample; if large, until some are wrong."""
    found: list[Entry] = []
    for a, mask in enumerate(masks):
        enough = np.inf if is_small(at.inputs) else ENOUGH if mask.size < HUGE else 1
        for index in _selected(sample.rule[a], sample.reference[a], allowed[a], mask):
            got, want = sample.rule[a][index], sample.reference[a][index]
            outcome = "unknown"
            if not np.isfinite(wide(at.inputs[a])[index]):
                # What is infinite cannot be moved: autodiff alone decides there.
                outcome = "unknown" if not np.isfinite(want) else "wrong" if np.isfinite(got) else "nan"
                found.append(Entry(a, index, got, want, float(allowed[a][index]), outcome))
                continue
            for part in (
                (1.0, 1.0j) if np.iscomplexobj(sample.rule[a]) and np.iscomplexobj(at.inputs[a]) else (1.0,)
            ):
                step = step_at(at.inputs[a], index)
                slope = arbiter.along(unit(at, a, index, part), step, [sample.cotangent])
                outcome = _decide(
                    np.real(got * part), np.real(want * part), slope, float(allowed[a][index]),
                    float(slack[a][index]), rtol,
                )  # fmt: skip
                blank = outcome == "nan" and np.isnan(got) and np.isnan(want)
                if blank and _endless(at, arbiter, a, index, step):
                    outcome = "cleared"
                if not np.isfinite(want) and part == 1:
                    want = slope.best[0][0]
                if outcome != "cleared":
                    break
            found.append(Entry(a, index, got, want, float(allowed[a][index]), outcome))
            if sum(e.argument == a and e.outcome in CONVICTS for e in found) >= enough:
                break
    return found


def _endless(at: Point, arbiter: Differences, a: int, index: tuple[int, ...], step: float) -> bool:
    """Whether some output has no finite slope here: then 0 x inf is no mistake of the rule's."""
    if sum(int(np.prod(s.shape)) for s in at.outputs) > OUTPUTS:
        return False
    slope = arbiter.along(unit(at, a, index), step)
    value, error = slope.best
    settled = error <= tolerances.SETTLED * np.maximum(np.abs(value), slope.natural)
    return not bool(np.all(settled | slope.kinked))


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
            _largest(np.where(blank, -1.0, gap)),
            _largest(np.where(blank | ~np.isfinite(ratio), -1.0, ratio)),
            np.flatnonzero(blank)[:EXAMINED],
            np.flatnonzero(blank)[-EXAMINED:],
            np.flatnonzero(~np.isfinite(np.ravel(got)[places]))[:EXAMINED],
        ]
    )
    return [
        tuple(int(i) for i in np.unravel_index(places[k], mask.shape)) for k in dict.fromkeys(rank.tolist())
    ]


def _largest(values: np.ndarray) -> np.ndarray:
    """The numbers of the largest values, the largest first; not all of many are put in order."""
    kept = np.arange(values.size)
    if values.size > EXAMINED:
        kept = np.flatnonzero(values >= np.partition(values, -EXAMINED)[-EXAMINED])
    return kept[np.argsort(values[kept])[::-1][:EXAMINED]]


def _decide(got: float, want: float, slope: Slope, noise: float, slack: float, rtol: float) -> str:
    """What the differences say of one entry: cleared, kink, bad kink, nan, wrong or unknown."""
    value, error = float(slope.best[0][0]), tolerances.COVER * float(slope.best[1][0])
    size = max(abs(value), abs(got) if np.isfinite(got) else 0.0)
    if slope.kinked[0] and np.isfinite(got):
        low, high = sorted((float(slope.left[0]), float(slope.right[0])))
        slack += tolerances.COVER * float(slope.left_error[0] + slope.right_error[0]) + rtol * size
        return "kink" if low - slack <= got <= high + slack else "bad kink"
    useful = np.isfinite(error) and error <= tolerances.SURE * max(size, float(slope.natural[0]))
    settled = bool(error <= tolerances.SETTLED * max(size, float(slope.natural[0])))
    if np.isinf(got) and np.isinf(want):
        return "wrong"  # of the other sign
    if not np.isfinite(got):
        return "nan" if settled or slope.kinked[0] or np.isfinite(want) else "unknown"
    apart = abs(got - value) > error + slack + rtol * size
    if np.isfinite(want):
        return (
            "wrong" if (apart if useful else abs(got - want) > noise) else "cleared" if useful else "unknown"
        )
    if np.isfinite(error) and apart:
        return "wrong"
    return "cleared" if settled else "unknown"


def joint_kinks(
    at: Point, arbiter: Differences, rule: Pullback, kinks: Sequence[Entry], rtol: float
) -> list[Entry]:
    """Kinks that hang together (ties of a maximum) must also agree when their entries move together."""
    outputs = sum(int(np.prod(s.shape)) for s in at.outputs)
    if outputs > OUTPUTS or len({(e.argument, e.index) for e in kinks}) < 2:
        return []
    direction = [np.zeros(np.shape(x), complex if np.iscomplexobj(x) else float) for x in at.inputs]
    for e in kinks:
        direction[e.argument][e.index] = 1.0
    slope = arbiter.along(direction, min(step_at(at.inputs[e.argument], e.index) for e in kinks))
    moved = np.flatnonzero((abs(slope.right) + abs(slope.left)) > 0)[:EXAMINED]
    found = []
    for j in moved:
        hot = basis_row(at.outputs, int(j))
        pulled = [wide(g) for g in rule.call(at.inputs, hot)[1]]
        got = float(sum(np.sum(np.real(g * v)) for g, v in zip(pulled, direction, strict=True)))
        low, high = sorted((float(slope.left[j]), float(slope.right[j])))
        error = float(slope.left_error[j] + slope.right_error[j])
        slack = tolerances.COVER * error + rtol * max(abs(low), abs(high))
        if not low - slack <= got <= high + slack:
            first = kinks[0]
            found.append(
                Entry(first.argument, first.index, got, high if got > high else low, slack, "bad kink")
            )
    return found
