"""The clauses that every right rule keeps besides being the derivative; a clause is one entry."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.jaxprs.exception_origin import raise_own
from jaxbp.jaxprs.internals import BATCHED
from jaxbp.verify.clauses import contract, later
from jaxbp.verify.clauses.contract import Fault
from jaxbp.verify.trial import Trial

# When a clause is asked, beside the comparison with autodiff: what a rule computes besides the derivative
# (a declaration does not excuse that), what would confuse the comparison, what matters for right rules only,
# and what nothing may be asked after.
Stage = Literal["values", "before", "after", "last"]


class Clause(NamedTuple):
    """What holds for every right rule, when that is asked, of which rules, and what breaks it.

    Of a rule that raises when it is asked a ``waived`` clause, nothing is said.
    """

    name: str
    claim: str
    stage: Stage
    applies: Callable[[Trial], bool]
    fault: Callable[[Trial, np.random.Generator], Fault | None]
    waived: bool = False


def _always(t: Trial) -> bool:
    return True


def _may_vary(t: Trial) -> bool:
    return t.own.host or (t.reference is None and bool(t.own.primitives))


def _batched(t: Trial) -> bool:
    return bool(t.own.primitives & BATCHED)


def _cheap(t: Trial) -> bool:
    # A library's own rules are judged by their values; each further clause compiles them once more.
    return _batched(t) or (not t.rule.builtin and is_small(t.ruled.inputs))


def _own_jvp(t: Trial) -> bool:
    return t.rule.kind == "custom_jvp" and not t.rule.builtin


def _told_of_zeros(t: Trial) -> bool:
    return t.rule.kind == "custom_vjp" and t.rule.symbolic_zeros and len(t.ruled.inputs) > 1


# fmt: off
CLAUSES = (
    Clause("repeatable", "the same inputs and cotangent give the same result", "values", _may_vary,
           lambda t, rng: contract.repeat_fault(t.ruled, t.own, t.own, rng)),
    Clause("primal", "under grad the value is that of the primal", "values", _always,
           lambda t, rng: contract.primal_fault(t.plain, t.own, t.reference, t.own.epsilon, rng)),
    Clause("other outputs", "outputs that are no floats are those of the primal", "values", _always,
           lambda t, rng: contract.rest_fault(t.ruled, t.plain, t.own.epsilon, rng)),
    Clause("linear", "a multiple of the cotangent gives that multiple, and zero gives zero", "before",
           _always, lambda t, rng: contract.linearity_fault(t.ruled, t.own, t.reference, rng)),
    Clause("linear tangent", "a multiple of the tangent gives that multiple", "before", _own_jvp,
           lambda t, rng: contract.tangent_fault(t.ruled, t.own.epsilon, rng)),
    Clause("batched", "vmap of the rule is the rule of each example", "after", _batched,
           lambda t, rng: later.batching_fault(t.ruled, t.native, rng), waived=True),
    Clause("eager", "the rule gives the same with and without jit", "after", _cheap,
           lambda t, rng: later.eager_fault(t.ruled, t.native, rng), waived=True),
    Clause("weak types", "outputs are weakly typed under grad where they are without", "after", _cheap,
           lambda t, rng: later.weak_fault(t.ruled, t.plain)),
    Clause("second order", "the derivative of the VJP is that of the primal's VJP", "after",
           lambda t: t.order > 1, lambda t, rng: later.second_order_fault(t.ruled, t.plain)),
    Clause("one input", "told that one input alone is perturbed, the rule is right", "last", _told_of_zeros,
           lambda t, rng: later.one_at_a_time(t.ruled, t.plain, t.reference)),
)
# fmt: on


def asked(t: Trial, stage: Stage) -> list[Clause]:
    """The clauses of a stage that apply to a trial."""
    return [c for c in CLAUSES if c.stage == stage and c.applies(t)]


def broken(t: Trial, stage: Stage) -> Fault | None:
    """The first clause of a stage that a rule breaks."""
    for clause in asked(t, stage):
        try:
            fault = clause.fault(t, np.random.default_rng(CLAUSES.index(clause)))
        except Exception as error:
            if not clause.waived:
                raise
            raise_own(error)
            fault = None  # What refuses vmap aloud (a callback without a batching rule) deceives nobody.
        if fault:
            return fault
    return None
