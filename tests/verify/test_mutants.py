"""A checker that cannot fail proves nothing: break its parts one by one, and the suite must notice."""

import sys

import jax
import numpy as np
import pytest

from jaxbp.jaxprs import loops, walk, widest_dtype
from jaxbp.verify import check, judge, tolerances
from jaxbp.verify.causes import evidence, mistakes
from jaxbp.verify.clauses import contract, table
from jaxbp.verify.clauses import later as further
from jaxbp.verify.maps import pullback as references
from jaxbp.verify.numbers import arbiter, compare, differences
from jaxbp.verify.sites import capture, site

from .cases import CASES

checking = sys.modules[check.__module__]
BY_NAME = {c.name: c for c in CASES}


def judged(name):
    case = BY_NAME[name]
    with jax.enable_x64(True):
        report = check(case.f, *case.args(np.float64), declare=case.declare, order=case.order)
    causes = {f.cause for f in report.wrong}
    return report.verdict == case.verdict and (not case.causes or bool(causes & set(case.causes))), report


def unentered(eqn, inputs, *rest):
    yield from ()
    return walk.single(eqn, walk.subjaxprs(eqn)[0].debug_info)(*inputs)


def always(value):
    return lambda *args, **kwargs: value


def arbiter_convicts(at, differences, sample, masks, tolerances, slack, rtol):
    return [
        arbiter.Entry(a, i, sample.rule[a][i], sample.reference[a][i], 0.0, "wrong")
        for a, mask in enumerate(masks) for i in map(tuple, np.argwhere(mask))
    ]  # fmt: skip


def half_the_answers(fn):
    """A pullback whose reference is wrong by a factor of two."""

    def mode(at):
        pull = fn(at)
        return pull._replace(call=lambda x, c: (pull.call(x, c)[0], [2 * g for g in pull.call(x, c)[1]]))

    return mode


# What is broken, how, and a case whose judgement must then be another.
MUTANTS = [
    ("no arbiter, everything suspicious is wrong", (compare, "arbitrate", arbiter_convicts),
         "library relu at 0"),
    ("no arbiter at a NaN", (compare, "arbitrate", arbiter_convicts), "sinc at zero"),
    ("an arbiter that clears everyone", (arbiter, "_decide", always("cleared")), "sigmoid:sign"),
    ("no suspects", (compare, "_suspicious", lambda g, *rest: np.zeros(g.shape, bool)), "one entry of 200"),
    ("tolerance of ten percent", (compare, "relative_tolerance", always(0.1)), "tanh:1 percent"),
    ("noise from stepping over a kink counts", (tolerances, "STEPPED_OVER", np.inf), "clip at its bound"),
    ("kinks not seen", (differences.Slope, "kinked", property(lambda s: np.zeros(s.right.shape, bool))),
     "library relu at 0"),
    ("one-sided slopes not required of a kink", (compare, "joint_kinks", always([])),
         "maximum pays both at a tie"),
    ("no look at linearity", (contract, "linearity_fault", always(None)), "clipped far out unsaid"),
    ("no look at sums of cotangents", (contract, "sum_fault", always(None)),
         "small cotangents dropped beside large ones"),
    ("no look at the primal", (contract, "primal_fault", always(None)), "primal changed by fwd"),
    ("no second trace", (contract, "repeat_fault", always(None)), "random bwd"),
    ("no second order", (further, "second_order_fault", always(None)), "stop_gradient in bwd"),
    ("no dtype check", (contract, "dtype_fault", always(None)), "complex cotangent of a real input"),
    ("no names for causes", (judge, "causes", lambda trial, seen: {0: evidence.Diagnosis("other", "")}),
     "sigmoid:output form at input"),
    ("no terms of the chain rule", (mistakes, "odd_terms", always({})), "layer norm, both held fixed"),
    ("reference doubled", (references, "reverse", half_the_answers(references.reverse)), "square:no two"),
    ("branches not taken are judged right", (capture, "_cond", unentered), "cond: cell input's part zero"),
    ("declared without proof", (judge, "verify_intent", always((True, "", ""))),
         "straight through times two"),
    ("precision not taken out", (references, "widened", lambda closed: closed),
         "a mask in bfloat16, two percent"),
    ("constants taken as exact", (widest_dtype, "_constant", widest_dtype.raised), "a constant in half"),
    ("no look at the user's precision", (checking, "judge_precision", lambda site, exact: exact),
         "an output kept in float16"),
    ("only floating outputs compared", (contract, "rest_fault", always(None)),
         "places in another order under grad"),
    ("cotangents of the usual size only", (contract, "_range", always(10)), "cotangents limited to 1e7"),
    ("loops left too early", (loops, "AT_MOST", 2), "fourth root by steps"),
    ("an infinite slope is no excuse", (arbiter, "_endless", always(False)), "infinite slope"),
    ("transposes not seen", (checking, "transposes_in", always([])), "running sum, not its transpose"),
    ("f's own derivatives not seen", (checking, "differentiates", always(False)), "descent in a loop, sign"),
    ("equal inputs of JAX's rules apart", (site.Site, "twins", property(always({}))), "implicit root"),
    ("explained at large entries only", (evidence.Evidence, "explained_by", lambda e, c: e.same(e.got, c)),
         "the smallest output's sign"),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m[0])
def test_the_suite_notices(mutant, monkeypatch):
    _, (place, name, value), case = mutant
    before, report = judged(case)
    assert before, str(report)
    monkeypatch.setattr(place, name, value)
    after, report = judged(case)
    assert not after, str(report)


# A case that each clause alone convicts.
CLAUSES = {
    "repeatable": "host callback that draws",
    "primal": "primal changed by fwd",
    "other outputs": "places in another order under grad",
    "linear": "clipped far out unsaid",
    "linear tangent": "tangent squared",
    "batched": "batching rule, wrong",
    "eager": "another result without jit",
    "weak types": "weakly typed under grad",
    "second order": "stop_gradient in bwd",
    "one input": "residual left out, wrong for one input alone",
}
# A case whose word each mistake alone finds.
MISTAKES = {
    "multiple": "square:no two",
    "conjugated": "square, another convention",
    "swapped": "product:swapped",
    "turned": "matmul, wrong side",
    "by row": "rows weighed in the rule alone",
    "partly": "sine, sign wrong far out",
    "one slice": "bias of a hundred rows, the first alone",
    "left out": "the frequency taken as 1",
    "matrix": "low rank update not pulled back",
    "unmasked": "the other triangle",
    "misplaced": "pad, off by one",
    "summed": "cotangents of all examples summed",
    "summed before": "cotangents averaged before the slope",
    "by output": "last state twice",
    "other way": "convolution, kernel not flipped",
    "elsewhere": "sigmoid:output form at input",
    "by output entry": "weights of a quadrature forgotten",
    "overwritten": "repeated tokens",
    "unchanged": "signs, straight through near zero",
    "one of two": "inverse, not symmetrised",
    "convicted": "the smallest output's sign",
    "along": "saturated",
    "without slices": "fused loss, the last chunk lost",
    "without a step": "scores without their mask",
    "right total": "pooled maximum, spread like a mean",
    "outside the span": "pseudoinverse without its residual",
    "slope": "atan:no square",
    "approximate": "layer norm, another epsilon",
}


def test_every_clause_and_every_mistake_has_a_case():
    assert CLAUSES.keys() == {c.name for c in table.CLAUSES}
    assert MISTAKES.keys() == {m.name for m in mistakes.MISTAKES}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.soak] * (k % 3 > 0))
                                  for k, n in enumerate(CLAUSES)])  # fmt: skip
def test_without_a_clause_its_case_passes(name, monkeypatch):
    before, report = judged(CLAUSES[name])
    assert before, str(report)
    monkeypatch.setattr(table, "CLAUSES", tuple(c for c in table.CLAUSES if c.name != name))
    after, report = judged(CLAUSES[name])
    assert not after, str(report)


@pytest.mark.soak
@pytest.mark.parametrize("name", MISTAKES)
def test_without_a_mistake_its_case_has_no_such_word(name, monkeypatch):
    before, report = judged(MISTAKES[name])
    assert before, str(report)
    said = {f.cause for f in report.wrong}
    monkeypatch.setattr(mistakes, "MISTAKES", tuple(m for m in mistakes.MISTAKES if m.name != name))
    assert {f.cause for f in judged(MISTAKES[name])[1].wrong} != said


def test_what_cancels_is_held_still(monkeypatch):
    """The term that is left out is then named by its operation."""
    case = "softmax less its maximum, without its mean"
    assert "the term through" in judged(case)[1].wrong[0].sentence
    monkeypatch.setattr(tolerances, "NOTHING", -1.0)
    assert "the term through" not in judged(case)[1].wrong[0].sentence


def test_skipping_scan_loses_the_rule(monkeypatch):
    monkeypatch.setattr(capture, "_scan", unentered)
    assert not judged("scan: cell right")[1].findings
    assert judged("scan: cell input's part zero")[1].ok
