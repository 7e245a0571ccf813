"""Judge one rule at the inputs that reached it: in float64 for its mathematics, then at the user's own precision."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.verify import contract
from jaxbp.verify.capture import Site
from jaxbp.verify.compare import DRAWS, Comparison, Entry, compare
from jaxbp.verify.declared import verify_intent
from jaxbp.verify.diagnosis import Diagnosis, constant, diagnose
from jaxbp.verify.paths import odd_term
from jaxbp.verify.references import (
    Point,
    Pullback,
    draw,
    epsilon,
    forward,
    jiggled,
    largest,
    point,
    reverse,
    wide,
)
from jaxbp.verify.report import Finding
from jaxbp.verify.rules import Rule, alone, body_of

BATCHED = {"custom_vmap_call", "pure_callback", "io_callback", "ffi_call", "pallas_call"}
TRACED = ("ClosedOver", "CustomVJPException", "UnexpectedTracerError")


class Judgement(NamedTuple):
    """The findings on one rule at one site, and the maps they rest on (for the look at another precision)."""

    findings: list[Finding]
    rule: Pullback | None = None
    reference: Pullback | None = None
    point: Point | None = None

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


def judge(site: Site, intent: str | None, order: int) -> Judgement:
    """The judgement of one rule at its captured inputs; inconclusive, with the reason, when judging fails."""
    try:
        return _judged(site, intent, order)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        return Judgement([finding(site.rule, site.context, "inconclusive", f"{type(error).__name__}: {text}")])


def _judged(site: Site, intent: str | None, order: int) -> Judgement:
    """All that is to be said of one rule at its captured inputs, at the precision of these inputs."""
    rule, held = site.rule, site.rule.consts
    rng = np.random.default_rng(0)

    def say(verdict: str, sentence: str, **fields: Any) -> Judgement:
        return Judgement([finding(rule, site.context, verdict, sentence, **fields)])

    at = point(alone(rule.eqn), site.inputs, held)
    body = point(body_of(rule.eqn), site.inputs, held)
    if not at.inputs or not at.outputs:
        return say("unreached", f"has no floating {'output' if at.inputs else 'input'} to differentiate")
    try:
        own = _pullback(at, rule)
        own.call(at.inputs, draw(at.outputs, rng))
    except Exception as error:
        return _failed(error, rule, site)
    reference = _reference(body)
    fault = _clauses(at, body, own, reference, rng)
    if fault and intent is None:
        return Judgement([_of_fault(rule, site, fault, own)], own, reference, at)
    seen = compare(body, own, reference, np.random.default_rng(1))
    if intent is not None:
        holds, cause, sentence = verify_intent(intent, seen.samples, max(1e-6, seen.rtol))
        verdict = "declared" if holds else "wrong"
        return Judgement(
            [finding(rule, site.context, verdict, sentence, cause=cause, compared=seen.compared)],
            own,
            reference,
            at,
        )
    if seen.wrong:
        return Judgement(_wrong(rule, site, seen, body, at, own, reference), own, reference, at)
    fault = _later_clauses(rule, site, at, body, own, reference, order)
    if fault:
        return Judgement([_of_fault(rule, site, fault, own)], own, reference, at)
    return Judgement([_passed(rule, site, seen, reference)], own, reference, at)


def _pullback(at: Point, rule: Rule) -> Pullback:
    """The rule's VJP; a custom_jvp that cannot be transposed is judged by its columns."""
    try:
        return reverse(at)
    except Exception:
        if rule.kind != "custom_jvp":
            raise
        try:
            return forward(at)
        except Exception:
            pass
        raise


def _reference(body: Point) -> Pullback | None:
    """Autodiff of the primal body, in reverse or forward mode, if it runs at all."""
    for mode in (reverse, forward):
        try:
            pull = mode(body)
            pull.call(body.inputs, [jnp.zeros(s.shape, s.dtype) for s in body.outputs])
            return pull
        except Exception:
            # A while loop has no reverse mode, a host callback none at all: differences remain.
            continue
    return None


def _failed(error: Exception, rule: Rule, site: Site) -> Judgement:
    """The finding when the rule does not run."""
    if type(error).__name__ in TRACED or "No constant handler" in str(error):
        sentence = "closes over a traced value, so it cannot be set alone; pass the value as an argument"
        return Judgement([finding(rule, site.context, "inconclusive", sentence, cause="closure")])
    fault = contract.raised(error, rule.name)
    if fault is None:
        text = " ".join(str(error).split())[:200]
        return Judgement(
            [finding(rule, site.context, "inconclusive", f"raises {type(error).__name__} on purpose: {text}")]
        )
    return Judgement([_of_fault(rule, site, fault, None)])


def _clauses(
    at: Point, body: Point, own: Pullback, reference: Pullback | None, rng: np.random.Generator
) -> contract.Fault | None:
    """The clauses that come before the comparison, because what they find would confuse it."""
    if own.host or (reference is None and own.primitives):
        fault = contract.repeat_fault(at, own, own, rng)
        if fault:
            return fault
    return contract.primal_fault(body, own, reference, rng) or contract.linearity_fault(
        at, own, reference, rng
    )


def _later_clauses(
    rule: Rule, site: Site, at: Point, body: Point, own: Pullback, reference: Pullback | None, order: int
) -> contract.Fault | None:
    """The clauses that matter only for a rule whose values are right."""
    if own.primitives & BATCHED:
        try:
            fault = contract.batching_fault(at, own, np.random.default_rng(2))
        except Exception:
            fault = None  # A callback without a batching rule refuses vmap aloud; that deceives nobody.
        if fault:
            return fault
    if rule.symbolic_zeros and len(at.inputs) > 1:
        fault = _one_at_a_time(at, body, reference)
        if fault:
            return fault
    return second_order_fault(at, body) if order > 1 else None


def _one_at_a_time(at: Point, body: Point, reference: Pullback | None) -> contract.Fault | None:
    """A rule that is told which inputs are perturbed must be right for each one alone."""
    for a in range(len(at.inputs)):

        def only(p: Point, a: int = a) -> Point:
            return Point(
                lambda x: p.fn(*(x if i == a else v for i, v in enumerate(p.inputs))),
                [p.inputs[a]],
                p.outputs,
            )

        seen = compare(
            only(body),
            reverse(only(at)),
            reverse(only(body)) if reference else None,
            np.random.default_rng(3),
        )
        if seen.wrong:
            e = seen.wrong[0]
            sentence = "wrong when only this input is perturbed (symbolic zeros)"
            return contract.Fault("other", a, sentence, e.index, e.rule, e.reference)
    return None


def second_order_fault(at: Point, body: Point) -> contract.Fault | None:
    """Differentiate the VJP itself: a ``stop_gradient`` in the backward rule shows only here."""
    ct = draw(at.outputs, np.random.default_rng(4))

    def pulled(p: Point) -> Point:
        def fn(*inputs: Any) -> list[Any]:
            return list(jax.vjp(p.fn, *inputs)[1](ct))

        return Point(fn, p.inputs, list(jax.eval_shape(fn, *p.inputs)))

    try:
        reference = reverse(pulled(body))
    except Exception:
        return None
    try:
        own = reverse(pulled(at))
    except Exception as error:
        fault = contract.raised(error, "the rule under a second derivative")
        return fault and contract.Fault("second_order", None, fault.sentence)
    seen = compare(pulled(body), own, reference, np.random.default_rng(5))
    if not seen.wrong:
        return None
    e = seen.wrong[0]
    return contract.Fault(
        "second_order", e.argument, "the derivative of the VJP differs", e.index, e.rule, e.reference
    )


def _of_fault(rule: Rule, site: Site, fault: contract.Fault, own: Pullback | None) -> Finding:
    return finding(
        rule, site.context, "wrong", fault.sentence, cause=fault.cause, argument=_argument(rule, site, fault.argument),
        index=fault.index, rule_value=fault.rule, reference_value=fault.reference,
        tolerance=float(np.sqrt(own.epsilon)) if own else None,
    )  # fmt: skip


def _argument(rule: Rule, site: Site, k: int | None) -> str:
    """The name of the k-th floating argument."""
    if k is None:
        return ""
    moving = [
        i for i, x in enumerate(site.inputs) if i >= rule.consts and jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    return rule.arguments[moving[k] - rule.consts]


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
    fault = contract.linearity_fault(at, own, reference, rng, thorough=True)
    if fault is None:
        again = _pullback(at, rule)
        fault = None if again.text == own.text else contract.repeat_fault(at, own, again, rng)
    if fault:
        return [_of_fault(rule, site, fault, own)]
    found = []
    for a in sorted({e.argument for e in seen.wrong}):
        worst = max((e for e in seen.wrong if e.argument == a), key=_excess)
        said = diagnose(a, seen, body, own, reference)
        if said.cause in ("other", "missing_term") and reference is not None:
            said = _term(rule, site, a, seen, body) or said
        found.append(finding(
            rule, site.context, "wrong", said.sentence, cause=said.cause, argument=_argument(rule, site, a),
            index=worst.index, rule_value=_plain(worst.rule), reference_value=_plain(worst.reference),
            tolerance=worst.tolerance, compared=seen.compared,
        ))  # fmt: skip
    return found


def _term(rule: Rule, site: Site, a: int, seen: Comparison, body: Point) -> Diagnosis | None:
    """The diagnosis when one term of the chain rule explains the difference."""
    try:
        term = odd_term(rule.eqn, site.inputs, rule.consts, a, seen.samples, 1e-5)
    except Exception:
        return None  # Some bodies cannot be taken apart (callbacks); then the plain diagnosis stands.
    if term is None:
        return None
    place = f"through {term.primitive}" + (f" at {term.where}" if term.where else "")
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
        return finding(rule, site.context, "kink", sentence, cause="kink", argument=_argument(rule, site, e.argument),
                       index=e.index, rule_value=_plain(e.rule), reference_value=_plain(e.reference),
                       tolerance=e.tolerance, compared=seen.compared)  # fmt: skip
    if seen.unknown and not seen.cleared:
        sentence = "neither autodiff of the primal nor differences give a derivative here"
        return finding(rule, site.context, "inconclusive", sentence, compared=seen.compared)
    by = "autodiff of its primal" if reference else "difference quotients"
    if seen.cleared and reference:
        by += ", and with difference quotients where that is doubtful"
    return finding(
        rule, site.context, "right", f"agrees with {by}", tolerance=seen.rtol, compared=seen.compared
    )


def judge_precision(site: Site, exact: Judgement) -> Judgement:
    """Compare a rule at the user's precision with the same rule, already judged, in float64.

    Only gross faults can be told here: a wrong dtype, an overflow to NaN, digits lost that autodiff
    of the primal keeps.
    """
    assert exact.rule is not None
    at = point(alone(site.rule.eqn), site.inputs, site.rule.consts)
    try:
        own = _pullback(at, site.rule)
        own.call(at.inputs, draw(at.outputs, np.random.default_rng(0)))
    except Exception as error:
        return _failed(error, site.rule, site)
    fault = contract.dtype_fault(at, own)
    if fault is None:
        for ct in [draw(at.outputs, np.random.default_rng(k)) for k in range(DRAWS)]:
            fault = fault or _imprecise(at, own, exact, ct, site)
    if fault is None:
        return exact
    return Judgement([_of_fault(site.rule, site, fault, own)])


def _imprecise(
    at: Point, own: Pullback, exact: Judgement, ct: list[Any], site: Site
) -> contract.Fault | None:
    assert exact.rule is not None
    eps = max(own.epsilon, *(epsilon(x.dtype) for x in at.inputs))
    got = [wide(g) for g in own.call(at.inputs, ct)[1]]
    rng = np.random.default_rng(7)
    with jax.enable_x64(True):
        up = [jnp.asarray(wide(x)) for x in at.inputs]
        c = [jnp.asarray(wide(x)) for x in ct]
        truth = [wide(g) for g in exact.rule.call(up, c)[1]]
        near = [wide(g) for g in exact.rule.call(jiggled(up, eps, rng), jiggled(c, eps, rng))[1]]
    suspect = []
    limit = largest(at.inputs[0].dtype)
    for g, t, n in zip(got, truth, near, strict=True):
        with np.errstate(all="ignore"):
            scale = np.max(np.where(np.isfinite(t), np.abs(t), 0), initial=0.0)
            allowed = np.sqrt(eps) * np.abs(t) + 64 * (np.nan_to_num(np.abs(n - t)) + eps * scale)
            suspect.append(np.isfinite(t) & (np.abs(t) < 0.1 * limit) & ~(np.abs(g - t) <= allowed))
    if not any(s.any() for s in suspect):
        return None
    reference = _reference(point(body_of(site.rule.eqn), site.inputs, site.rule.consts))
    if reference is None:
        return None
    plain_out, plain = reference.call(at.inputs, ct)
    if not all(np.isfinite(wide(y)).all() for y in plain_out):
        return None
    for a, (s, g, t, p) in enumerate(zip(suspect, got, truth, map(wide, plain), strict=True)):
        with np.errstate(all="ignore"):
            # What plain autodiff loses at this precision, a rule may lose too.
            s = (
                s
                & np.isfinite(p)
                & ~(np.abs(g - t) <= 16 * np.max(np.abs(p - t), initial=0.0, where=np.isfinite(p - t)))
            )
        if s.any():
            index = tuple(int(i) for i in np.argwhere(s)[0])
            cause = "other" if np.isfinite(g[index]) else "nan"
            dtype = jnp.dtype(at.inputs[a].dtype).name
            return contract.Fault(
                cause, a, f"right in float64, but not in {dtype}", index, g[index], t[index]
            )
    return None
