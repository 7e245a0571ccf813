"""Judge one rule at the inputs that reached it, at the precision of these inputs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.exception_origin import is_own, raise_own, refusal, told
from jaxbp.jaxprs.internals import closes_over_tracer
from jaxbp.jaxprs.rules import Rule
from jaxbp.verify.causes.chain_terms import Term, odd_terms
from jaxbp.verify.causes.evidence import Diagnosis, constant
from jaxbp.verify.causes.mistakes import diagnose
from jaxbp.verify.clauses import contract
from jaxbp.verify.clauses.declared import Intent, verify_intent
from jaxbp.verify.clauses.later import later_fault, one_at_a_time
from jaxbp.verify.maps.pullback import (
    ClosedOver,
    Point,
    Pullback,
    autodiff,
    rule_pullback,
)
from jaxbp.verify.numbers.arbiter import Entry
from jaxbp.verify.numbers.blind_autodiff import misled
from jaxbp.verify.numbers.compare import DRAWS, Comparison, compare
from jaxbp.verify.numbers.tolerance import relative_tolerance
from jaxbp.verify.report import Finding
from jaxbp.verify.sites.site import Site


class Judgement(NamedTuple):
    """The findings on one rule at one site, and the maps they rest on (for the look at another precision).

    ``replaceable`` says that autodiff of the primal, in reverse mode, gives the rule's result everywhere;
    ``refused`` are the inputs that the rule does not differentiate; ``last`` is what may be asked of the rule
    only when all else has been, if anything.
    """

    findings: list[Finding]
    rule: Pullback | None = None
    reference: Pullback | None = None
    point: Point | None = None
    replaceable: bool = False
    refused: frozenset[int] = frozenset()
    last: Callable[[], contract.Fault | None] | None = None

    @property
    def verdict(self) -> str:
        """The verdict of the findings, which all have the same one."""
        return self.findings[0].verdict


def finding(rule: Rule, context: Sequence[str], verdict: str, sentence: str, **fields: Any) -> Finding:
    """A finding on ``rule`` with the place filled in."""
    return Finding(
        verdict=verdict, rule=rule.name, kind=rule.kind, where=rule.where, called=rule.called,
        path="/".join(p for p in (rule.path, *context) if p), sentence=sentence, **fields,
    )  # fmt: skip


def judge(site: Site, intent: Intent | None, order: int) -> Judgement:
    """The judgement of one rule at its captured inputs; inconclusive, with the reason, when judging fails."""
    try:
        return _judged(site._replace(wide=True), intent, order)
    except Exception as error:
        return Judgement([finding(site.rule, site.context, "inconclusive", told("not judged", error))])


def _judged(site: Site, intent: Intent | None, order: int) -> Judgement:
    """All that is to be said of one rule at its captured inputs, apart from their precision."""
    rule = site.rule
    rng = np.random.default_rng(0)
    at = site.ruled
    if not at.inputs or not at.outputs:
        sentence = f"has no floating {'output' if at.inputs else 'input'} to differentiate"
        return Judgement([finding(rule, site.context, "unreached", sentence)])
    try:
        site, own = started(site)
    except Exception as error:
        return failed(error, site)
    at, body = site.ruled, site.plain
    reference = autodiff(body)
    if reference and misled(rule.body, site.moving, body, reference):
        reference = None

    def judged(findings: list[Finding], alike: bool = False) -> Judgement:
        return Judgement(findings, own, reference, at, alike, site.refused)

    fault = _clauses(at, body, own, reference, rng) or contract.rest_fault(at, body, own.epsilon, rng)
    if fault is None and rule.kind == "custom_jvp" and not rule.builtin:
        fault = contract.tangent_fault(at, own.epsilon, rng)
    if fault and intent is None:
        return judged([fault_finding(site, fault, own)])
    seen = compare(body, own, reference, np.random.default_rng(1))
    if intent is not None:
        holds, cause, sentence = verify_intent(intent, seen.samples, max(1e-6, seen.rtol))
        verdict = "declared" if holds else "wrong"
        return judged([finding(rule, site.context, verdict, sentence, cause=cause, compared=seen.compared)])
    if seen.wrong:
        return judged(_wrong(rule, site, seen, body, at, own, reference))
    fault = later_fault(rule, at, body, own, order)
    if fault:
        return judged([fault_finding(site, fault, own)])
    alike = reference is not None and reference.reverse
    alike = alike and not (seen.kinks or seen.cleared or seen.unknown)
    perturbed = rule.kind == "custom_vjp" and rule.symbolic_zeros and len(at.inputs) > 1
    last = partial(one_at_a_time, at, body, reference) if perturbed else None
    return judged([_passed(rule, site, seen, reference)], alike)._replace(last=last)


def started(site: Site) -> tuple[Site, Pullback]:
    """The rule's pullback, run once; inputs that it refuses while it differentiates others are held."""
    try:
        at = site.ruled
        own = rule_pullback(at, site.rule.kind)
        own.call(at.inputs, [jnp.ones(s.shape, s.dtype) for s in at.outputs])
    except Exception:
        refused = frozenset() if site.refused else _refused(site)
        if not refused:
            raise
        return started(site._replace(refused=refused))
    return site, own


def _refused(site: Site) -> frozenset[int]:
    """The inputs that the rule does not differentiate, where it does differentiate those before or after.

    The first choice that runs is taken at once: JAX keeps what it needs of a forward rule for the choice of
    inputs that ran last, and does not run it again for an earlier one.
    """
    everything = site.moving
    for count in range(len(everything) - 1, 0, -1):
        for kept in (everything[:count], everything[-count:]):
            refused = site.refused | (frozenset(everything) - frozenset(kept))
            try:
                rule_pullback(site._replace(refused=refused).ruled, site.rule.kind)
            except Exception as error:
                raise_own(error)
                continue
            return refused
    return frozenset()


def failed(error: Exception, site: Site) -> Judgement:
    """The finding when the rule does not run."""
    rule = site.rule
    if isinstance(error, ClosedOver) or closes_over_tracer(error):
        sentence = "closes over a traced value, so it cannot be set alone; pass the value as an argument"
        return Judgement([finding(rule, site.context, "inconclusive", sentence, cause="closure")])
    fault = None if is_own(error) else contract.raised(error, rule.name)
    if fault is None:
        return Judgement([finding(rule, site.context, "inconclusive", told(refusal(error), error))])
    return Judgement([fault_finding(site, fault, None)])


def _clauses(
    at: Point, body: Point, own: Pullback, reference: Pullback | None, rng: np.random.Generator
) -> contract.Fault | None:
    """The clauses that come before the comparison, because what they find would confuse it."""
    if own.host or (reference is None and own.primitives):
        fault = contract.repeat_fault(at, own, own, rng)
        if fault:
            return fault
    return contract.primal_fault(body, own, reference, own.epsilon, rng) or contract.linearity_fault(
        at, own, reference, rng
    )


def fault_finding(site: Site, fault: contract.Fault, own: Pullback | None) -> Finding:
    """The finding for a broken clause of the contract."""
    return finding(
        site.rule, site.context, "wrong", fault.sentence, cause=fault.cause,
        **_argument(site, fault.argument), index=fault.index, rule_value=fault.rule,
        reference_value=fault.reference,
        tolerance=relative_tolerance(own.epsilon) if own else None,
    )  # fmt: skip


def _argument(site: Site, k: int | None) -> dict[str, str]:
    """The names of the k-th differentiated input: the rule's own, and that of the argument of f."""
    if k is None:
        return {}
    i = site.moving[k]
    origin = site.origins[i] if site.origins else ""
    return {"argument": site.rule.arguments[i - site.rule.consts], "origin": origin}


def _wrong(
    rule: Rule,
    site: Site,
    seen: Comparison,
    body: Point,
    at: Point,
    own: Pullback,
    reference: Pullback | None,
) -> list[Finding]:
    """One finding for each argument that disagrees, with its cause."""
    rng = np.random.default_rng(6)
    fault = contract.linearity_fault(at, own, reference, rng, seen.samples[DRAWS - 1].cotangent)
    if fault is None:
        again = rule_pullback(at, rule.kind)
        fault = None if again.text == own.text else contract.repeat_fault(at, own, again, rng)
    if fault:
        return [fault_finding(site, fault, own)]
    found = []
    causes = _causes(site, sorted({e.argument for e in seen.wrong}), seen, body, own, reference)
    for a, said in causes.items():
        worst = max((e for e in seen.wrong if e.argument == a), key=_excess)
        found.append(finding(
            rule, site.context, "wrong", said.sentence, cause=said.cause, **_argument(site, a),
            index=worst.index, rule_value=_plain(worst.rule), reference_value=_plain(worst.reference),
            tolerance=worst.tolerance, compared=seen.compared,
        ))  # fmt: skip
    return found


def _causes(
    site: Site,
    arguments: Sequence[int],
    seen: Comparison,
    body: Point,
    own: Pullback,
    reference: Pullback | None,
) -> dict[int, Diagnosis]:
    """What is wrong with each argument; the rule stays convicted where the search for it fails."""
    try:
        found = {a: diagnose(a, seen, body, own, reference) for a in arguments}
        vague = [a for a in arguments if found[a].vague]
        return found | (_terms(site, vague, seen, body) if vague and reference else {})
    except Exception as error:
        return dict.fromkeys(arguments, Diagnosis("other", told("no cause was found", error)))


def _terms(site: Site, arguments: Sequence[int], seen: Comparison, body: Point) -> dict[int, Diagnosis]:
    """The diagnoses where one term of the chain rule explains the difference."""
    tolerance = max(1e-5, 10 * seen.loose)
    try:
        terms = odd_terms(site.rule.body, site.inputs, site.moving, arguments, seen.samples, tolerance)
    except Exception as error:
        raise_own(error)
        return {}  # Some bodies cannot be taken apart (callbacks); then the plain diagnosis stands.
    return {a: _worded(term, body) for a, term in terms.items()}


def _worded(term: Term, body: Point) -> Diagnosis:
    place = f"through {term.primitive}" + (f" at {term.where}" if term.where else "")
    if term.turned:
        return Diagnosis("transposed", f"what flows back {place} is transposed")
    if abs(term.factor) < 1e-4:
        return Diagnosis("missing_term", f"the term {place} is left out")
    if abs(term.factor + 1) < 1e-4:
        return Diagnosis("sign", f"the term {place} has the wrong sign")
    return Diagnosis("factor", f"the term {place} is taken {constant(term.factor, body)} times")


def _excess(e: Entry) -> float:
    gap = abs(e.rule - e.reference)
    return float(gap) if np.isfinite(gap) else float("inf")


def _plain(x: complex) -> complex | float:
    return float(np.real(x)) if np.isrealobj(x) else complex(x)


def _passed(rule: Rule, site: Site, seen: Comparison, reference: Pullback | None) -> Finding:
    """The finding for a rule with nothing wrong in it."""
    if seen.kinks:
        e = seen.kinks[0]
        sentence = "takes a slope between the one-sided ones at a kink"
        return finding(
            rule, site.context, "kink", sentence, cause="kink", **_argument(site, e.argument),
            index=e.index, rule_value=_plain(e.rule), reference_value=_plain(e.reference),
            tolerance=e.tolerance, compared=seen.compared,
        )  # fmt: skip
    if seen.unknown and not seen.cleared:
        sentence = "neither autodiff of the primal nor differences give a derivative here"
        return finding(rule, site.context, "inconclusive", sentence, compared=seen.compared)
    by = "autodiff of its primal" if reference else "difference quotients"
    if seen.cleared and reference:
        by += ", and with difference quotients where that is doubtful"
    return finding(
        rule, site.context, "right", f"agrees with {by}", tolerance=seen.rtol, compared=seen.compared
    )
