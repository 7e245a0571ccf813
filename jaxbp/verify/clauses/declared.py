"""Rules that are not the derivative on purpose: check that they are what the caller declared."""

from collections.abc import Mapping, Sequence, Set

import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.verify.causes.evidence import alike, ratio_of
from jaxbp.verify.numbers.arbiter import Sample

INTENTS = ("straight_through", "reversal", "scaled", "clipped", "stop")
WITH_CONSTANT = ("reversal", "scaled")

# A word, or a word with its constant: ("scaled", 0.5).
Intent = str | tuple[str, float]
Intents = Intent | Mapping[str, Intent] | None


def check_intents(where: str, declare: Intents) -> None:
    """Say what ``declare`` may be, where it is anything else: a word, a word with its constant, or a mapping.

    Raises:
        TypeError: for a constant that is no number.
        ValueError: for anything else.
    """
    every = [] if declare is None else [("", declare)]
    for name, intent in declare.items() if isinstance(declare, Mapping) else every:
        shown = repr(intent) if isinstance(intent, str | tuple) else arguments.described(intent)
        got = f"{name!r}: {shown}" if name else shown
        word, *constant = (intent,) if not isinstance(intent, tuple) else intent or ("",)
        if not isinstance(word, str) or word not in INTENTS:
            hint = 'a word holds for every rule of f; {"name of a rule": word} for that one'
            raise ValueError(message(where, f"declare to name one of {', '.join(INTENTS)}", got, hint))
        if not isinstance(intent, tuple):
            continue
        if word not in WITH_CONSTANT or len(constant) != 1:
            hint = f"{' and '.join(WITH_CONSTANT)} take one number: ('scaled', 0.5)"
            raise ValueError(message(where, "an intent with its constant", got, hint))
        arguments.number(where, f"the constant of {word}", constant[0])


def check_names(where: str, f: str, declare: Intents, named: Set[str]) -> None:
    """Say that ``declare`` names a rule that ``f`` does not have, or that it has none.

    Raises:
        ValueError: when that is so.
    """
    without = [] if named or not declare else [declare]
    for name in declare if isinstance(declare, Mapping) else without:
        if name not in named:
            rules = f"its rules are {', '.join(sorted(named)) or 'none'}"
            raise ValueError(message(where, f"declare to name a rule in {f}", repr(name), rules))


def verify_intent(intent: Intent, samples: Sequence[Sample], rtol: float) -> tuple[bool, str, str]:
    """Whether the samples of a rule are what was declared: (holds, cause when not, sentence).

    straight_through: the cotangent passes unchanged to the first input, or through a 0/1 mask; the other
    inputs get their derivative or nothing. reversal: ``-k`` times the derivative, k > 0. scaled: ``k``
    times it, for one constant k. Both k may be stated. clipped: the derivative of a cotangent, limited in
    each entry or by its norm. stop: zero.
    """
    judge = {
        "straight_through": _straight,
        "reversal": _multiple,
        "scaled": _multiple,
        "clipped": _clipped,
        "stop": _stop,
    }
    word, *stated = (intent,) if isinstance(intent, str) else intent
    holds, cause, sentence = judge[word](samples, rtol)
    if not holds:
        return False, cause, f"declared {word}, but {sentence}"
    if word in WITH_CONSTANT:
        k = float(np.real(_constant(samples, rtol) or 0))
        if word == "reversal" and k > 0:
            return False, "sign", f"declared reversal, but the rule is +{k:.6g} x the derivative"
        want = -stated[0] if word == "reversal" and stated else stated[0] if stated else k
        if abs(k - want) > rtol * abs(want):
            return False, "factor", f"declared {want:.6g} x the derivative, but the rule is {k:.6g} x it"
    return True, cause, sentence


def _straight(samples: Sequence[Sample], rtol: float) -> tuple[bool, str, str]:
    for s in samples:
        cts = [
            np.asarray(c).astype(g.dtype) for c in s.cotangent for g in s.rule[:1] if np.shape(c) == g.shape
        ]
        if not cts:
            return False, "shape", "no output has the shape of the first input"
        got, ct = s.rule[0], cts[0]
        on = got != 0
        if not alike(got[on], ct[on], rtol).all():
            with np.errstate(all="ignore"):
                ratio = (got / ct)[on]
            if np.ptp(np.real(ratio)) <= rtol * abs(ratio[0]):
                cause = "sign" if np.real(ratio[0]) == -1 else "factor"
                return False, cause, f"the rule is {np.real(ratio[0]):.6g} x the cotangent"
            return False, "not_as_declared", "the rule is not the cotangent"
        rest = zip(s.rule[1:], s.reference[1:], strict=True)
        if not all(not g.any() or alike(g, w, rtol).all() for g, w in rest):
            return False, "not_as_declared", "another input gets neither its derivative nor zero"
    if all(not s.rule[0].any() for s in samples):
        return False, "zero", "the rule is zero"
    return True, "", "the cotangent passes straight through, as declared"


def _constant(samples: Sequence[Sample], rtol: float) -> complex | None:
    """The constant k in rule = k x reference, if there is one."""
    got = np.concatenate([g.ravel() for s in samples for g in s.rule])
    return ratio_of(got, np.concatenate([w.ravel() for s in samples for w in s.reference]), rtol)


def _multiple(samples: Sequence[Sample], rtol: float) -> tuple[bool, str, str]:
    k = _constant(samples, rtol)
    if k is None or abs(k.imag) > rtol * abs(k):
        return False, "not_as_declared", "the rule is not a constant times the derivative"
    if k == 0:
        return False, "zero", "the rule is zero"
    return True, "", f"the rule is {k.real:.6g} x the derivative, as declared"


def _clipped(samples: Sequence[Sample], rtol: float) -> tuple[bool, str, str]:
    for s in samples:
        for got, want in zip(s.rule, s.reference, strict=True):
            with np.errstate(all="ignore"):
                shrink = np.where(want == 0, np.where(got == 0, 1, np.nan), got / want)
            if not np.all((shrink >= -rtol) & (shrink <= 1 + rtol)):
                cause = "sign" if np.all(shrink < 0) else "factor"
                return False, cause, "the rule is not the derivative made smaller"
            untouched = np.abs(shrink - 1) <= rtol
            bounds = np.abs(got[~untouched])
            entrywise = bounds.size == 0 or np.all(np.abs(got[untouched]) <= bounds.min() * (1 + rtol))
            by_norm = np.ptp(shrink) <= rtol if shrink.size else True
            if not (entrywise or by_norm):
                return False, "not_as_declared", "the rule limits neither the entries nor the norm"
    return True, "", "the rule is the derivative, limited, as declared"


def _stop(samples: Sequence[Sample], rtol: float) -> tuple[bool, str, str]:
    largest = max((float(np.max(np.abs(g), initial=0.0)) for s in samples for g in s.rule), default=0.0)
    if largest > 0 or not np.isfinite(largest):
        return False, "not_as_declared", f"the rule passes up to {largest:.6g}"
    return True, "", "the rule stops the cotangent, as declared"
