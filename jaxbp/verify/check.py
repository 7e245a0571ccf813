"""``check``: every derivative rule in any JAX function, judged where it is used."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.jaxprs.exception_origin import is_own, told
from jaxbp.jaxprs.internals import beneath_boundary
from jaxbp.jaxprs.rules import Rule, describe, rules_in, transposes_in
from jaxbp.verify.clauses.declared import Intent, Intents, check_intents, check_names
from jaxbp.verify.clauses.table import asked, broken
from jaxbp.verify.in_f import Ruled, judge_in_f
from jaxbp.verify.judge import Judgement, fault_finding, finding, judge
from jaxbp.verify.maps.pullback import epsilon, is_float
from jaxbp.verify.own_precision import judge_precision
from jaxbp.verify.report import Finding, Report, gravity
from jaxbp.verify.sites.call import Call, flatten_call
from jaxbp.verify.sites.capture import Skipped, Traced, trace
from jaxbp.verify.sites.host_arrays import met
from jaxbp.verify.sites.named_axes import with_axes
from jaxbp.verify.sites.nested_derivatives import Use, differentiates, uses
from jaxbp.verify.sites.site import Site
from jaxbp.verify.whole_function import assert_differentiable


def check(
    f: Callable[..., Any], *args: Any, declare: Intents = None, order: int = 1, **kwargs: Any
) -> Report:
    """Judge every custom derivative rule that ``f(*args, **kwargs)`` uses: is its VJP that of its primal?

    ``f`` is any JAX function or model. Its rules are found through jit, scan, while, cond, remat and vmap;
    each is set alone at the inputs that reach it in this evaluation and compared, entry by entry, with
    autodiff of its own primal body and, where that is impossible or in doubt, with difference quotients.
    Rules inside a derivative that ``f`` takes itself are found by running ``f`` once more without jit;
    transposes given to ``linear_call`` are judged by the gradient of ``f`` as a whole. That is judged in any
    case: a rule that is wrong alone while it is right is called ``right in f``.
    The mathematics is judged in float64, in a second trace of ``f`` with casts to coarser dtypes taken out;
    the rule as it runs then only has to keep up with it, at the precision of its primal. Tolerances follow
    from the dtype, ``sqrt(eps)`` relative to each entry plus what rounding does to it, and never grow with
    the size of the arrays.

    Args:
        f: the function; it must return arrays.
        *args: its arguments; arrays and floats are differentiated, all else stays fixed.
        declare: rules that are not the derivative on purpose: one of straight_through, reversal,
            scaled, clipped, stop for all of f's own rules, or a mapping from the name of a rule to one.
            ``("scaled", k)`` and ``("reversal", k)`` state the constant too. A declared rule is checked
            to be what was declared; its value and all but its derivative are judged like any other's.
        order: 2 to judge also the derivative of each VJP.
        **kwargs: its keyword arguments.

    Returns:
        A Report; ``report.ok`` is False when any rule is wrong, ``report.strictly_ok`` also when one is right
        in f only.

    Raises:
        TypeError: when the arguments do not fit f, no argument or result is floating, or f has neither rules
            nor a derivative.
        ValueError: when an argument holds a NaN, or ``declare`` names no rule or no known intent.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> @jax.custom_vjp
        ... def sigmoid(a):
        ...     return 1 / (1 + jnp.exp(-a))
        >>> def forward(a):
        ...     return sigmoid(a), a
        >>> def backward(a, delta):
        ...     return (delta * a * (1 - a),)
        >>> sigmoid.defvjp(forward, backward)
        >>> finding = check(sigmoid, jnp.array([0.5, 1.0, 2.0])).findings[0]
        >>> finding.verdict, finding.cause
        ('wrong', 'wrong_point')
        >>> finding.sentence
        'the derivative of the output form y(1-y) was applied to the input'

    Source:
        Autodiff of the primal as reference: the VJP is unique where the primal is differentiable.
        Difference quotients: Richardson extrapolation, step chosen on the plateau of the error.
    """
    return judge_call("check", flatten_call("check", f, args, kwargs), declare, order)


def judge_call(where: str, call: Call, declare: Intents, order: int) -> Report:
    """Judge every rule of a call; the errors are worded as those of the function ``where``."""
    order = arguments.whole(where, "order", order, low=1, high=2)
    check_intents(where, declare)
    with np.errstate(all="ignore"):
        own = call.arrays(exact=False)
        try:
            closed, axes = with_axes(trace, call.fn, own)
        except Exception as error:
            if not is_own(error):
                error.add_note(f"{where}: this was raised by {call.name} itself while it was traced")
            raise
        if not any(is_float(a) for a in closed.out_avals):
            got = ", ".join(a.str_short() for a in closed.out_avals) or "nothing"
            raise TypeError(message(where, f"{call.name} to return a floating array", got))
        named = {describe(e).name for e in rules_in(closed.jaxpr)}
        if not differentiates(closed.jaxpr):
            check_names(where, call.name, declare, named)
        if not named and not differentiates(closed.jaxpr):
            beneath_boundary(lambda: assert_differentiable(where, call, closed, own))
        checked = _Check(Traced(call, closed, own, axes), declare, order)
        return beneath_boundary(checked.report)


class _Check:
    """The judgements of one check while the passes run; a rule's gravest judgement stands."""

    def __init__(self, traced: Traced, declare: Intents, order: int):
        self.own, self.declare, self.order = traced, declare, order
        self.rules: dict[int, Ruled] = {}
        self.last: list[tuple[Ruled, Judgement, bool]] = []
        self.notes: list[str] = []

    def report(self) -> Report:
        """Both passes, then f as a whole, then what f has differentiated itself."""
        own = self.own
        exact = all(not is_float(x) or epsilon(x.dtype) < 1e-15 for x in own.arrays)
        precise, before = (None, {}) if exact else self._exact_pass(met(own.closed, own.axes))
        skipped: list[Skipped] = []
        for site in own.sites():
            if isinstance(site, Skipped):
                skipped.append(site)
            else:
                self._both(site, before.get(site.key), precise is not None)
        self._batched()
        whole: list[Finding] = []
        given = transposes_in(own.closed.jaxpr)
        if self.rules or skipped or given:
            whole, notes = judge_in_f(list(self.rules.values()), skipped, given, precise or own)
            self.notes += notes
        self._asked_last()
        findings = [f for r in self.rules.values() for f in r.findings] + whole
        findings += self._unreached(skipped)
        if differentiates(own.closed.jaxpr):
            findings += self._consumed()
        dtypes = {str(jnp.result_type(x)) for x in own.arrays if is_float(x)}
        precision = "float64" if exact else f"{'float64 and ' if precise else ''}{', '.join(sorted(dtypes))}"
        return Report(own.call.name, tuple(findings), precision, tuple(dict.fromkeys(self.notes)))

    def _intent(self, rule: Rule) -> Intent | None:
        """What the caller declared of this rule."""
        if isinstance(self.declare, Mapping):
            return self.declare.get(rule.name)
        return None if rule.builtin else self.declare

    def _exact_pass(self, held: list[Any]) -> tuple[Traced | None, dict[Any, tuple[Rule, Judgement]]]:
        """Trace f in float64 and judge its rules there, while what they met as they are is ``held``."""
        call = self.own.call
        with jax.enable_x64(True):
            arrays = call.arrays(exact=True)
            try:
                precise = Traced(call, trace(call.fn, arrays), arrays, self.own.axes, wide=True)
                judged = {
                    site.key: (site.rule, judge(site, self._intent(site.rule), self.order))
                    for site in precise.sites() if isinstance(site, Site)
                }  # fmt: skip
            except Exception as error:
                self.notes.append(told("f does not run in float64, so its own precision decides", error))
                return None, {}
        return precise, judged

    def _both(self, site: Site, before: tuple[Rule, Judgement] | None, wide: bool) -> None:
        """Judge a rule as the user runs it; its mathematics was judged ``before``, if it runs in float64."""
        twin, judged = before or (site.rule, Judgement([]))
        known = judged.trial is not None and twin.name == site.rule.name
        if not known:
            why = judged.findings[0].sentence if judged.findings else ""
            judged = judge(site, self._intent(site.rule), self.order)
            if why and judged.trial:
                name = site.rule.name
                self.notes.append(f"{name} does not run in float64, so its own precision decides: {why}")
        look = judged.trial is not None and judged.verdict != "wrong"
        result = judge_precision(site, judged) if look else judged
        new = Ruled(site.rule, result.findings, result, id(twin.eqn), judged.replaceable)
        kept = self._kept(new)
        if judged.trial and asked(judged.trial, "last") and result.verdict != "wrong":
            self.last.append((kept, judged, known and wide))

    def _kept(self, new: Ruled) -> Ruled:
        """Keep the gravest findings of a rule that is reached more than once; add up what was compared."""
        old = self.rules.setdefault(id(new.rule.eqn), new)
        total = new.findings[0].compared + (old.findings[0].compared if old is not new else 0)
        if gravity(new.verdict) < gravity(old.verdict):
            old.findings, old.judged = new.findings, new.judged
        old.reproduced &= new.reproduced
        old.findings = [replace(f, compared=total) for f in old.findings]
        return old

    def _asked_last(self) -> None:
        """Ask the rules what nothing may be asked after."""
        for ruled, judged, raised in self.last:
            assert judged.trial is not None
            if ruled.verdict == "wrong":
                continue
            try:
                with jax.enable_x64(True) if raised else nullcontext():
                    fault = broken(judged.trial, "last")
            except Exception as error:
                self.notes.append(told(f"{ruled.rule.name} was not judged for one input at a time", error))
                continue
            if fault:
                ruled.findings = [fault_finding(judged.trial.site, fault, judged.trial.own)]

    def _batched(self) -> None:
        """Ask rules that are wrong under vmap whether they are right for an example alone."""
        wrong = [r for r in self.rules.values() if r.judged.pardonable and "vmap(" in r.rule.path]
        if not wrong:
            return
        try:
            used, _ = uses(self.own.call)
        except Exception as error:
            self.notes.append(told("what rules do without vmap was not seen", error))
            return
        for r in wrong:
            for use in used:
                report = self._alone(use, "without vmap", r.rule)
                if report and all(f.cause == "vmap" for f in report.wrong):
                    sentence = "right for an example alone and wrong under vmap: a batching rule is at fault"
                    r.findings = [replace(f, cause="vmap", sentence=sentence) for f in r.findings[:1]]

    def _alone(self, use: Use, place: str, only: Rule | None = None) -> Report | None:
        """The report on a rule at the arguments that f gives it; None where it is another than ``only``.

        None, and a note, where it does not run alone: it may ask for an axis that only f binds.
        """
        try:
            call = flatten_call("check", *use)
            arrays = call.arrays(exact=False)
            closed, axes = with_axes(trace, call.fn, arrays)
            rule = describe(rules_in(closed.jaxpr)[0])
            if only and (rule.name, rule.where) != (only.name, only.where):
                return None
            return _Check(Traced(call, closed, arrays, axes), self._intent(rule), self.order).report()
        except Exception as error:
            name = getattr(use.rule, "__name__", "a rule")
            self.notes.append(told(f"{name}, {place}, was not judged", error))
            return None

    def _consumed(self) -> list[Finding]:
        """The findings on rules inside the derivatives that f takes itself, each set alone."""
        found: list[Finding] = []
        try:
            used, whole = uses(self.own.call)
        except Exception as error:
            self.notes.append(told("f takes derivatives itself; what rules they use up was not seen", error))
            return []
        if not whole:
            self.notes.append("f takes derivatives itself, so often that it was not run to its end")
        for use in used:
            report = self._alone(use, "in a derivative that f takes")
            found += [replace(f, path=f"{f.path}/in a derivative that f takes".strip("/"))
                      for f in (report.findings if report else ()) if f.verdict != "unreached"]  # fmt: skip
        return found

    def _unreached(self, skipped: list[Skipped]) -> list[Finding]:
        reasons = {id(s.rule.eqn): s for s in skipped if id(s.rule.eqn) not in self.rules}
        return [finding(s.rule, (), "inconclusive" if s.hidden else "unreached", s.reason)
                for s in reasons.values()]  # fmt: skip


def assert_rules(
    f: Callable[..., Any], *args: Any, declare: Intents = None, order: int = 1, **kwargs: Any
) -> None:
    """Raise AssertionError with the report as its message when any rule in ``f(*args, **kwargs)`` is wrong.

    Args and errors are those of :func:`check`.

    Raises:
        AssertionError: when ``check`` finds a wrong rule.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> assert_rules(jax.nn.relu, jnp.array([-1.0, 2.0]))
    """
    report = judge_call("assert_rules", flatten_call("assert_rules", f, args, kwargs), declare, order)
    if not report.ok:
        raise AssertionError(str(report))
