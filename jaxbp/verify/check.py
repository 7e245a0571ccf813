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
from jaxbp.verify.judge import Judgement, fault_finding, finding, judge
from jaxbp.verify.maps.pullback import epsilon, is_float
from jaxbp.verify.own_precision import judge_precision
from jaxbp.verify.report import VERDICTS, Finding, Report
from jaxbp.verify.sites.call import Call, flatten_call
from jaxbp.verify.sites.capture import Passed, capture, trace
from jaxbp.verify.sites.host_arrays import met
from jaxbp.verify.sites.named_axes import bound, with_axes
from jaxbp.verify.sites.nested_derivatives import differentiates, uses
from jaxbp.verify.sites.site import Site
from jaxbp.verify.whole_function import assert_differentiable, judge_whole, obstacle


def check(
    f: Callable[..., Any], *args: Any, declare: Intents = None, order: int = 1, **kwargs: Any
) -> Report:
    """Judge every custom derivative rule that ``f(*args, **kwargs)`` uses: is its VJP that of its primal?

    ``f`` is any JAX function or model. Its rules are found through jit, scan, while, cond, remat and vmap;
    each is set alone at the inputs that reach it in this evaluation and compared, entry by entry, with
    autodiff of its own primal body and, where that is impossible or in doubt, with difference quotients.
    Rules inside a derivative that ``f`` takes itself are found by running ``f`` once more without jit;
    transposes given to ``linear_call`` are judged by the gradient of ``f`` as a whole.
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
            to be what was declared.
        order: 2 to judge also the derivative of each VJP.
        **kwargs: its keyword arguments.

    Returns:
        A Report; ``report.ok`` is False when any rule is wrong.

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
        checked = _Checked(call, declare, order, axes)
        return beneath_boundary(lambda: checked.report(closed, own))


class _Checked:
    """The judgements of one check while the passes run; a rule's gravest judgement stands."""

    def __init__(self, call: Call, declare: Intents, order: int, axes: Mapping[str, int]):
        self.call, self.declare, self.order, self.axes = call, declare, order, axes
        self.exact: list[tuple[str, Judgement]] = []
        self.by_rule: dict[int, tuple[Rule, list[Finding]]] = {}
        self.notes: list[str] = []
        self.kept: set[int] = set()
        self.last: dict[int, tuple[Site, Judgement, bool]] = {}
        self.replaceable = False

    def intent(self, rule: Rule) -> Intent | None:
        """What the caller declared of this rule."""
        if isinstance(self.declare, Mapping):
            return self.declare.get(rule.name)
        return None if rule.builtin else self.declare

    def _traced_back(self, site: Site, arrays: list[Any]) -> Site:
        """The site with its axes, and its inputs' names in f: an untouched argument is the same array."""
        names = {id(x): path for x, path in zip(arrays, self.call.paths, strict=True)}
        around = site.around
        return site._replace(
            origins=tuple(names.get(id(x), "") for x in site.inputs),
            around=lambda fn: around(bound(fn, self.axes)),
        )

    def _judge(self, site: Site) -> Judgement:
        """The judgement of one rule; what autodiff does not reproduce stays in f as a whole."""
        result = judge(site, self.intent(site.rule), self.order)
        closure = any(f.cause == "closure" for f in result.findings)
        if not (result.replaceable or closure):
            self.kept.add(id(site.rule.eqn))
        self.replaceable |= result.replaceable
        return result

    def report(self, closed: Any, own: list[Any]) -> Report:
        """Both passes, then f as a whole, then what f has differentiated itself."""
        exact = all(not is_float(x) or epsilon(x.dtype) < 1e-15 for x in own)
        precise = None if exact else self._exact_pass(met(closed, self.axes))
        visited = iter(self.exact)

        def visit(site: Site) -> None:
            site = self._traced_back(site, own)
            name, before = next(visited, ("", None))
            known = before is not None and before.rule is not None and name == site.rule.name
            # Else not judged in float64, or it only runs in the user's dtype.
            judged = before if before is not None and known else self._judge(site)
            if before and not before.rule and judged.rule:
                why = before.findings[0].sentence
                self.notes.append(f"{name} does not run in float64, so its own precision decides: {why}")
            result = judge_precision(site, judged) if judged.rule and judged.verdict != "wrong" else judged
            self._keep(site.rule, result.findings)
            if judged.last and result.verdict != "wrong":
                self.last.setdefault(id(site.rule.eqn), (site, judged, known and not exact))

        passed = capture(closed, own, visit)
        findings = [f for _, found in self.by_rule.values() for f in found]
        given = transposes_in(closed.jaxpr)
        if findings or passed or given:
            findings = self._whole(findings, passed, given, precise or (closed, own), precise is not None)
        findings = self._asked_last(findings) + self._unreached(passed)
        if differentiates(closed.jaxpr):
            findings += self._consumed()
        dtypes = {str(jnp.result_type(x)) for x in own if is_float(x)}
        precision = "float64" if exact else f"{'float64 and ' if precise else ''}{', '.join(sorted(dtypes))}"
        return Report(self.call.name, tuple(findings), precision, tuple(dict.fromkeys(self.notes)))

    def _asked_last(self, findings: list[Finding]) -> list[Finding]:
        """The findings, when the rules have been asked what nothing may be asked after."""
        for site, judged, raised in self.last.values():
            try:
                with jax.enable_x64(True) if raised else nullcontext():
                    fault = judged.last() if judged.last else None
            except Exception as error:
                self.notes.append(told(f"{site.rule.name} was not judged for one input at a time", error))
                continue
            if fault:
                before = self.by_rule[id(site.rule.eqn)][1]
                findings = [f for f in findings if all(f is not b for b in before)]
                findings.append(fault_finding(site._replace(refused=judged.refused), fault, judged.rule))
        return findings

    def _exact_pass(self, held: list[Any]) -> tuple[Any, list[Any]] | None:
        """Trace f again in float64 and judge there, while what its rules met as they are is ``held``."""

        def visit(site: Site) -> None:
            self.exact.append((site.rule.name, self._judge(self._traced_back(site, arrays))))

        with jax.enable_x64(True):
            arrays = self.call.arrays(exact=True)
            try:
                closed = trace(self.call.fn, arrays)
                capture(closed, arrays, visit)
            except Exception as error:
                self.notes.append(told("f does not run in float64, so its own precision decides", error))
                self.exact.clear()
                self.kept.clear()
                return None
        return closed, arrays

    def _consumed(self) -> list[Finding]:
        """The findings on rules inside the derivatives that f takes itself, each set alone."""
        found: list[Finding] = []
        try:
            used, whole = uses(self.call)
        except Exception as error:
            self.notes.append(told("f takes derivatives itself; what rules they use up was not seen", error))
            return []
        if not whole:
            self.notes.append("f takes derivatives itself, so often that it was not run to its end")
        for rule, args, kwargs in used:
            try:
                call = flatten_call("check", rule, args, kwargs)
                own = call.arrays(exact=False)
                closed, axes = with_axes(trace, call.fn, own)
                intent = self.intent(describe(rules_in(closed.jaxpr)[0]))
                judged = _Checked(call, intent, self.order, axes).report(closed, own).findings
                found += [replace(f, path=f"{f.path}/in a derivative that f takes".strip("/"))
                          for f in judged if f.verdict != "unreached"]  # fmt: skip
            except Exception as error:
                name = getattr(rule, "__name__", "a rule")
                self.notes.append(told(f"{name}, in a derivative that f takes, was not judged", error))
        return found

    def _keep(self, rule: Rule, found: list[Finding]) -> None:
        """Keep the gravest findings of a rule that is reached more than once; add up what was compared."""
        before = self.by_rule.get(id(rule.eqn), (rule, []))[1]
        total = sum(f.compared for f in before[:1]) + found[0].compared
        graver = not before or VERDICTS.index(found[0].verdict) < VERDICTS.index(before[0].verdict)
        kept = found if graver else before
        self.by_rule[id(rule.eqn)] = (rule, [replace(f, compared=total) for f in kept])

    def _whole(
        self,
        findings: list[Finding],
        passed: list[Passed],
        given: list[str],
        trace: tuple[Any, list[Any]],
        exact: bool,
    ) -> list[Finding]:
        """F's gradient as a whole: what lies between the rules, and what they alone leave open.

        Transposes that are ``given`` (linear_call) stay in f without its rules: differences judge them.
        """
        closures = [f for f in findings if f.cause == "closure"]
        hidden = any("not entered" in p.reason for p in passed)
        why = "a rule is wrong" if any(f.verdict == "wrong" for f in findings) else obstacle(*trace)
        if not why and not (self.replaceable or closures or hidden or given):
            why = "no rule in it can be replaced by autodiff of its primal"
        if given and self.kept:
            why = why or "a rule in it is no derivative"
        if why:
            left = f", and so neither was {' and '.join(given)}" if given else ""
            self.notes.append(f"the gradient of f as a whole was not judged: {why}{left}")
            return [replace(f, cause="") if f in closures else f for f in findings]
        with jax.enable_x64(True) if exact else nullcontext():
            result = judge_whole(self.call, *trace, self.axes, self.kept, bool(closures), bool(given))
        if result.verdict == "inconclusive" and not (closures or hidden or given):
            self.notes.append(result.sentence)
            return findings
        if closures:
            place = replace(result, rule=closures[0].rule, kind=closures[0].kind, where=closures[0].where,
                                    called=closures[0].called, path=closures[0].path)  # fmt: skip
            return [f for f in findings if f.cause != "closure"] + [place]
        return [*findings, result]

    def _unreached(self, passed: list[Passed]) -> list[Finding]:
        reasons = {id(p.rule.eqn): p for p in passed if id(p.rule.eqn) not in self.by_rule}
        return [finding(p.rule, (), "inconclusive" if "not entered" in p.reason else "unreached", p.reason)
                for p in reasons.values()]  # fmt: skip


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
