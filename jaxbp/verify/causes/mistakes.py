"""Name what is wrong with a rule: try the mistakes that people make until one reproduces its result."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxbp.jaxprs.exception_origin import raise_own, told
from jaxbp.verify import tolerances
from jaxbp.verify.causes import jacobian, multiples, places, points, slopes, steps
from jaxbp.verify.causes.chain_terms import odd_terms, place
from jaxbp.verify.causes.evidence import Diagnosis, Evidence
from jaxbp.verify.causes.not_finite import origin
from jaxbp.verify.clock import OutOfTime
from jaxbp.verify.numbers.compare import Comparison
from jaxbp.verify.trial import Trial


class Mistake(NamedTuple):
    """A kind of mistake: how it is recognized, the causes that it gives, and when it is tried.

    First come those that explain a result alone, then the terms of the chain rule, then what is left to say.
    """

    name: str
    recognize: Callable[[Evidence], Diagnosis | None]
    gives: tuple[str, ...]
    when: Literal["first", "last"] = "first"


# In this order: a simple mistake comes before one that could imitate it.
# fmt: off
MISTAKES = (
    Mistake("multiple", multiples.multiple, ("zero", "sign", "factor", "lost_digits")),
    Mistake("conjugated", points.conjugated, ("conjugate", "missing_term")),
    Mistake("swapped", places.swapped, ("swapped",)),
    Mistake("turned", places.turned, ("transposed", "cotangent_transposed")),
    Mistake("partly", multiples.partly, ("zero", "sign", "factor")),
    Mistake("unmasked", slopes.unmasked, ("unmasked",)),
    Mistake("misplaced", places.misplaced, ("misplaced",)),
    Mistake("summed", places.summed, ("extra_sum", "missing_sum")),
    Mistake("summed before", places.summed_before, ("extra_sum",)),
    Mistake("by output", multiples.by_output, ("missing_term", "sign", "factor")),
    Mistake("one slice", jacobian.one_slice, ("missing_sum",)),
    Mistake("left out", points.left_out, ("missing_term",)),
    Mistake("other way", places.other_way, ("misplaced", "transposed")),
    Mistake("elsewhere", points.elsewhere, ("wrong_point",)),
    Mistake("by output entry", multiples.by_output_entry, ("sign", "missing_sum", "factor")),
    Mistake("overwritten", jacobian.overwritten, ("missing_sum", "missing_term")),
    Mistake("unchanged", slopes.unchanged, ("straight_through", "missing_term")),
    Mistake("matrix", jacobian.matrix, ("transposed", "missing_sum", "missing_term")),
    Mistake("by row", multiples.by_row, ("factor",)),
    Mistake("one of two", jacobian.one_of_two, ("missing_term",)),
    Mistake("convicted", multiples.convicted, ("zero", "sign", "factor")),
    Mistake("along", slopes.along, ("missing_term",)),
    Mistake("without slices", steps.without_slices, ("missing_sum",), "last"),
    Mistake("without a step", steps.without_a_step, ("missing_term",), "last"),
    Mistake("right total", places.right_total, ("misplaced",), "last"),
    Mistake("outside the span", jacobian.outside_the_span, ("missing_term",), "last"),
    Mistake("slope", slopes.slope, ("missing_term", "factor", "slope"), "last"),
    Mistake("approximate", slopes.approximate, ("approximate",), "last"),
)
# fmt: on


def diagnose(e: Evidence) -> Diagnosis:
    """The cause of the disagreement in one argument, by the first mistake that reproduces it."""
    entries = [x for x in e.comparison.wrong if x.argument == e.argument]
    if entries and all(x.outcome == "bad kink" for x in entries):
        return Diagnosis("kink", "at the kink the rule is outside the two one-sided slopes")
    if any(x.outcome == "nan" for x in entries):
        return _not_finite(e)
    return _first(e, "first") or Diagnosis("other", "", True)


def explained(e: Evidence) -> Diagnosis:
    """The same without the terms of the chain rule: for f as a whole."""
    said = diagnose(e)
    open_ = said.vague and said.cause == "other"
    return (_first(e, "last") or jacobian.what_is_known(e)) if open_ else said


def tolerance_of(seen: Comparison) -> float:
    """What a mistake's result may differ by from the rule's, relative to each entry."""
    return max(tolerances.REPRODUCED, tolerances.LOOSER * max(seen.rtol, seen.loose))


def _first(e: Evidence, when: str) -> Diagnosis | None:
    found = (m.recognize(e) for m in MISTAKES if m.when == when)
    return next((f for f in found if f), None)


def _not_finite(e: Evidence) -> Diagnosis:
    ct = next((s.cotangent for s in e.samples if not np.isfinite(s.rule[e.argument]).all()), None)
    made = origin(e.rule, e.at.inputs, ct) if ct is not None else ""
    by = f": {made} in its backward pass" if made else " (0 x inf or an overflow?)"
    return Diagnosis("nan", f"the rule is not finite where the derivative is{by}")


def causes(trial: Trial, seen: Comparison) -> dict[int, Diagnosis]:
    """What is wrong with each argument; the rule stays convicted where the search for it fails."""
    arguments = sorted({x.argument for x in seen.wrong})
    try:
        evidence = {a: _evidence(trial, seen, a) for a in arguments}
        found = {a: diagnose(e) for a, e in evidence.items()}
        vague = [a for a in arguments if found[a].vague]
        found |= _terms(trial, vague, seen) if vague and trial.reference else {}
        for a in arguments:
            if found[a].vague and found[a].cause == "other":
                found[a] = (
                    _follows(a, evidence, found) or _first(evidence[a], "last")
                    or jacobian.what_is_known(evidence[a])
                )  # fmt: skip
    except OutOfTime as over:
        return dict.fromkeys(arguments, Diagnosis("other", f"no cause was found: {over}"))
    except Exception as error:
        return dict.fromkeys(arguments, Diagnosis("other", told("no cause was found", error)))
    return found


def _evidence(trial: Trial, seen: Comparison, argument: int) -> Evidence:
    devices = trial.site.devices[trial.site.moving[argument]] if trial.site.devices else ()
    return Evidence(argument, seen, trial.plain, trial.own, trial.reference, tolerance_of(seen), devices)


def _terms(trial: Trial, arguments: Sequence[int], seen: Comparison) -> dict[int, Diagnosis]:
    """The diagnoses where one term of the chain rule explains the difference."""
    site, tolerance = trial.site, tolerances.LOOSER * max(tolerances.REPRODUCED, seen.loose)
    try:
        terms = odd_terms(site.rule.body, site.inputs, site.moving, arguments, seen.samples, tolerance)
    except Exception as error:
        raise_own(error)
        return {}  # Some bodies cannot be taken apart (callbacks); then the plain diagnosis stands.
    return {a: Diagnosis(t.cause, t.sentence.format(place=place(t.eqn))) for a, t in terms.items()}


def _follows(a: int, evidence: dict[int, Evidence], found: dict[int, Diagnosis]) -> Diagnosis | None:
    """The mistake of another argument, of whose cotangent this argument's is made: summed, or by a factor."""
    for b, e in evidence.items():
        if b == a or found[b].cause == "other" or not (e.finite and evidence[a].finite):
            continue
        shape = evidence[a].want.shape
        pairs = ((e.got, evidence[a].got), (e.want, evidence[a].want))
        sums = [(_summed(m, shape), own) for m, own in pairs]
        if all(m is not None and evidence[a].same(m, own) for m, own in sums):
            return Diagnosis(found[b].cause, f"the sum of the cotangent of argument {b}, with its mistake")
        for spread in _spread(e.want.shape, shape):
            got, want = (np.broadcast_to(m.reshape(spread), shape) for m in (e.got, e.want))
            # As fractions these are equal: what the rule gives for each is off by the same factor.
            if evidence[a].same(evidence[a].got * want, evidence[a].want * got):
                sentence = f"a product with the cotangent of argument {b}, with its mistake"
                return Diagnosis(found[b].cause, sentence)
    return None


def _spread(own: tuple[int, ...], like: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The shapes in which a result broadcasts to another, one row for each cotangent in both."""
    ones = (1,) * (len(like) - len(own))
    if own[1:] == like[1 : len(own)]:
        yield own + ones
    if ones and own[1:] == like[len(like) - len(own) + 1 :]:
        yield own[:1] + ones + own[1:]


def _summed(m: np.ndarray, shape: tuple[int, ...]) -> Any:
    """A result summed over the axes along which the argument was broadcast; None where that does not fit."""
    if m.ndim < len(shape):
        return None
    rest = m.sum(tuple(range(1, 1 + m.ndim - len(shape))))
    axes = tuple(k for k, (n, want) in enumerate(zip(rest.shape, shape, strict=True)) if want == 1 != n)
    rest = rest.sum(axes, keepdims=True)
    return rest if rest.shape == shape else None
