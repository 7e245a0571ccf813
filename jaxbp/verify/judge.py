"""Judge one rule at the inputs that reached it, at the precision of these inputs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxbp.jaxprs.exception_origin import is_own, refusal, told
from jaxbp.jaxprs.messages import closes_over_tracer, says_container
from jaxbp.jaxprs.rules import Rule
from jaxbp.verify import tolerances
from jaxbp.verify.causes.mistakes import causes
from jaxbp.verify.clauses import contract
from jaxbp.verify.clauses.declared import Intent, verify_intent
from jaxbp.verify.clauses.table import broken
from jaxbp.verify.clock import OutOfTime, one_rule
from jaxbp.verify.maps.pullback import ClosedOver, Pullback, rule_pullback
from jaxbp.verify.numbers.arbiter import Entry
from jaxbp.verify.numbers.compare import DRAWS, Comparison, compare
from jaxbp.verify.numbers.early_stop import open_by_stopping
from jaxbp.verify.numbers.error_bounds import relative_tolerance
from jaxbp.verify.report import Finding
from jaxbp.verify.sites.site import Site
from jaxbp.verify.trial import Trial, begun


class Judgement(NamedTuple):
    """The findings on one rule at one site, and the trial they rest on, where it could begin.

    ``replaceable`` says that autodiff of the primal, in reverse mode, gives the rule's result everywhere;
    ``pardonable`` that nothing but the derivative is wrong, so that f's may be right all the same; ``live``
    that the rule runs only while f itself is run.
    """

    findings: list[Finding]
    trial: Trial | None = None
    replaceable: bool = False
    pardonable: bool = False
    live: bool = False

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
        with one_rule():
            return _judged(site._replace(wide=True), intent, order)
    except OutOfTime as over:
        return Judgement([finding(site.rule, site.context, "inconclusive", str(over))])
    except Exception as error:
        return Judgement([finding(site.rule, site.context, "inconclusive", told("not judged", error))])


def _judged(site: Site, intent: Intent | None, order: int) -> Judgement:
    """All that is to be said of one rule at its captured inputs, apart from their precision."""
    at = site.ruled
    if not at.inputs or not at.outputs:
        sentence = f"has no floating {'output' if at.inputs else 'input'} to differentiate"
        return Judgement([finding(site.rule, site.context, "unreached", sentence)])
    try:
        trial = begun(site, order)
    except Exception as error:
        return failed(error, site)
    fault = broken(trial, "values") or (None if intent else broken(trial, "before"))
    if fault:
        return Judgement([fault_finding(trial.site, fault, trial.own)], trial)
    seen = _compared(trial)
    if intent:
        return Judgement([_declared(trial, intent, seen)], trial)
    if seen.wrong:
        return _wrong(trial, seen)
    fault = broken(trial, "after")
    if fault:
        return Judgement([fault_finding(trial.site, fault, trial.own)], trial)
    alike = trial.reference is not None and trial.reference.reverse
    alike = alike and not (seen.kinks or seen.cleared or seen.unknown)
    return Judgement([_passed(trial, seen)], trial, replaceable=alike)


def _compared(trial: Trial) -> Comparison:
    """The comparison with the reference, once more where loops that stop early leave something open."""
    maps = trial.plain, trial.own, trial.reference
    seen = compare(*maps, np.random.default_rng(1))
    opened = open_by_stopping(trial.plain, trial.site.longer, *maps[1:]) if seen.wrong else None
    return compare(*maps, np.random.default_rng(1), opened=opened) if opened else seen


def _declared(trial: Trial, intent: Intent, seen: Comparison) -> Finding:
    """The finding on a rule that was declared. That excuses its derivative, and nothing else."""
    holds, cause, sentence = verify_intent(intent, seen.samples, max(tolerances.REPRODUCED, seen.rtol))
    fault = broken(replace(trial, order=1), "after") if holds else None
    if fault:
        return fault_finding(trial.site, fault, trial.own)
    verdict = "declared" if holds else "wrong"
    site = trial.site
    return finding(site.rule, site.context, verdict, sentence, cause=cause, compared=seen.compared)


def failed(error: Exception, site: Site) -> Judgement:
    """The finding when the rule does not run."""
    text = " ".join(str(error).split())
    live = ""
    if isinstance(error, ClosedOver) or closes_over_tracer(error):
        live = "closes over a traced value, so it cannot be set alone; pass the value as an argument"
    elif says_container(text):
        live = "returns its value in another container under grad, so JAX does not run it where it is traced"
    if live:
        return Judgement([finding(site.rule, site.context, "inconclusive", live)], live=True)
    fault = None if is_own(error) else contract.raised(error, site.rule.name)
    if fault is None:
        return Judgement([finding(site.rule, site.context, "inconclusive", told(refusal(error), error))])
    return Judgement([fault_finding(site, fault, None)])


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


def _wrong(trial: Trial, seen: Comparison) -> Judgement:
    """One finding for each argument that disagrees, with its cause."""
    site, own, rng = trial.site, trial.own, np.random.default_rng(6)
    fault = contract.sum_fault(trial.ruled, own, seen.samples[:DRAWS][-2:])
    if fault is None:
        again = rule_pullback(trial.ruled, site.rule.kind)
        fault = None if again.text == own.text else contract.repeat_fault(trial.ruled, own, again, rng)
    if fault:
        return Judgement([fault_finding(site, fault, own)], trial)
    found = []
    for a, said in causes(trial, seen).items():
        worst = max((e for e in seen.wrong if e.argument == a), key=_excess)
        found.append(finding(
            site.rule, site.context, "wrong", said.sentence, cause=said.cause, **_argument(site, a),
            index=worst.index, rule_value=_plain(worst.rule), reference_value=_plain(worst.reference),
            tolerance=worst.tolerance, compared=seen.compared,
        ))  # fmt: skip
    return Judgement(found, trial, pardonable=True)


def _excess(e: Entry) -> float:
    gap = abs(e.rule - e.reference)
    return float(gap) if np.isfinite(gap) else float("inf")


def _plain(x: complex) -> complex | float:
    return float(np.real(x)) if np.isrealobj(x) else complex(x)


def _passed(trial: Trial, seen: Comparison) -> Finding:
    """The finding for a rule with nothing wrong in it."""
    site, rule, reference = trial.site, trial.rule, trial.reference
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
