"""The gradient of f as a whole against f with its rules taken out."""

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxbp.errors import message
from jaxbp.jaxprs.exception_origin import brief, is_own, raise_own, refusal, told
from jaxbp.jaxprs.inline import without_rules
from jaxbp.jaxprs.internals import CALLS
from jaxbp.jaxprs.loops import longer, repeats
from jaxbp.jaxprs.messages import closes_over_tracer
from jaxbp.jaxprs.rules import is_rule
from jaxbp.jaxprs.walk import subjaxprs
from jaxbp.verify.causes.evidence import Evidence
from jaxbp.verify.causes.mistakes import explained, tolerance_of
from jaxbp.verify.maps.pullback import Point, Pullback, draw, is_float, point, reverse
from jaxbp.verify.numbers.compare import Comparison, compare
from jaxbp.verify.numbers.early_stop import arrives, open_by_stopping
from jaxbp.verify.report import Finding
from jaxbp.verify.sites.call import Call
from jaxbp.verify.sites.capture import Traced
from jaxbp.verify.sites.named_axes import bound

WHOLE_LIMIT = 5_000_000
DRAWS = 2


def assert_differentiable(where: str, call: Call, closed: Any, inputs: list[Any]) -> None:
    """Tell whoever gives a function without rules that has no derivative, in forward mode either.

    Raises:
        TypeError: when that is so.
    """
    at = point(core.jaxpr_as_fun(closed), inputs)
    try:
        jax.eval_shape(lambda *x: jax.jvp(at.fn, x, x), *at.inputs)
    except Exception as error:
        raise_own(error)
        hint = "give what has no derivative a custom_vjp or a custom_jvp"
        expected = f"{call.name} to be differentiable"
        raise TypeError(message(where, expected, brief(error), hint)) from error


def obstacle(traced: Traced, live: bool) -> str:
    """Why f is not judged as a whole; empty when it can be. What runs in f alone, ``live``, must be."""
    if _is_one_rule(traced.closed.jaxpr) and not live:
        return "f is one rule"
    entries = sum(int(np.size(x)) for x in traced.arrays)
    if entries > WHOLE_LIMIT:
        return f"{entries:,} entries are more than {WHOLE_LIMIT:,}"
    return ""


def _is_one_rule(jaxpr: Any) -> bool:
    if len(jaxpr.eqns) != 1:
        return False
    (eqn,) = jaxpr.eqns
    return is_rule(eqn) or (eqn.primitive in CALLS and _is_one_rule(subjaxprs(eqn)[0]))


def judge_whole(
    traced: Traced, kept: Set[int], live: bool, numeric: bool, alone: Set[int] | None = None
) -> Finding:
    """One finding for f: its gradient with rules against its gradient without, but for those ``kept``.

    When ``numeric``, difference quotients take the place of autodiff. When some rules are to be judged
    ``alone``, f has those and the kept ones only.

    It reaches what the rules alone leave open: what is between them, the steps of a loop between the first
    and the last, rules inside operations that are not entered and, with ``live``, rules that close over
    traced values. Those run only while f itself is traced, and only for arguments that they do not close
    over, so f is then differentiated by one argument at a time.
    """
    call, closed, inputs = traced.call, traced.closed, traced.arrays
    some = closed if alone is None else without_rules(closed, kept | alone)
    ruled, plain = (bound(core.jaxpr_as_fun(c), traced.axes) for c in (some, without_rules(closed, kept)))
    moving = [k for k, x in enumerate(inputs) if is_float(x)]

    def further(times: int, rules: bool = False) -> Point | None:
        body = some if rules else without_rules(closed, kept)
        if not repeats(body.jaxpr):
            return None
        return point(bound(longer(body, times), traced.axes), inputs, wide=True)

    if not live:
        try:
            names = [call.paths[k] for k in moving]
            return _finding(call, names, *_compared(ruled, plain, inputs, numeric, further))
        except Exception as error:
            return _refused(traced, plain, [error]) or _open(
                call, told("its gradient as a whole cannot be taken", error)
            )
    judged, errors = {}, {}
    for k in moving:
        try:
            one, other = _only(call.fn, inputs, k), _only(plain, inputs, k)
            judged[call.paths[k]] = _compared(one, other, inputs[k : k + 1], numeric)
        except Exception as error:
            errors[call.paths[k]] = error
    if not judged:
        refused = "; ".join(told(name, error) for name, error in errors.items())
        return _refused(traced, plain, list(errors.values())) or _open(
            call, f"closes over traced values and cannot be differentiated: {refused}"
        )
    worst = max(judged, key=lambda name: len(judged[name][0].wrong))
    found = _finding(call, [worst], *judged[worst])
    return replace(found, sentence=f"{found.sentence}, by {', '.join(judged)}") if errors else found


def _refused(traced: Traced, plain: Callable[..., Any], errors: list[Exception]) -> Finding | None:
    """The finding when f has no gradient by any of its arguments, in the user's hands either."""
    call, inputs = traced.call, traced.arrays
    raised: list[Exception] = []
    without = 0
    moving = [k for k, x in enumerate(inputs) if is_float(x)]
    for k in moving:
        try:
            outs, pull = jax.vjp(_only(call.fn, inputs, k), inputs[k])
            pull([np.ones(y.shape, y.dtype) if is_float(y) else np.zeros(y.shape, jax.dtypes.float0)
                  for y in outs])  # fmt: skip
        except Exception as error:
            raised.append(error)
            without += not _runs(lambda x, k=k: jax.jvp(_only(plain, inputs, k), (x,), (x,)), inputs[k])
    if len(raised) < len(moving) or any(is_own(e) or refusal(e).startswith("raises") for e in raised):
        return None
    if any(closes_over_tracer(e) for e in raised):
        hint = "give arrays to the rule as arguments of it, not among nondiff_argnums or closed over"
    elif without == len(moving):
        hint = "give what has no derivative a custom_vjp or a custom_jvp"
    else:
        return None  # A while loop, say, has no reverse mode: that is not the rules'.
    by = call.paths[moving[0]] if len(moving) == 1 else f"any of its {len(moving)} arguments"
    why = brief(raised[0]).partition(". ")[0]
    sentence = f"{hint}: jax.grad of {call.name} by {by} raises {why}"
    return replace(_blank(call), verdict="wrong", cause="raises", sentence=sentence)


def _runs(fn: Callable[..., Any], x: Any) -> bool:
    try:
        jax.eval_shape(fn, x)
    except Exception:
        return False
    return True


def _only(fn: Any, inputs: list[Any], k: int) -> Any:
    """``fn`` of its k-th input alone."""
    return lambda x: fn(*(x if i == k else v for i, v in enumerate(inputs)))


def _compared(
    ruled: Any, plain: Any, inputs: list[Any], numeric: bool, on: Callable[..., Point | None] | None = None
) -> tuple[Comparison, Point, Pullback, Pullback | None]:
    at, body = point(ruled, inputs, wide=True), point(plain, inputs, wide=True)
    own, reference = reverse(at), None if numeric else reverse(body)
    rng = np.random.default_rng(8)
    cts = [draw(at.outputs, rng) for _ in range(DRAWS)]
    seen = compare(body, own, reference, rng, cts)
    opened = open_by_stopping(body, on, own, reference) if seen.wrong and on else None
    if opened:
        seen = compare(body, own, reference, np.random.default_rng(8), cts, opened)
    if seen.wrong and on and numeric:
        # Differences of a solver that stops early are no reference: both are run on, to where they arrive.
        here, limit, ruled_there = on(2), on(4), on(4, True)
        if here and limit and ruled_there and arrives(body, here, limit):
            body, own = limit, reverse(ruled_there)
            seen = compare(body, own, None, np.random.default_rng(8), cts)
    return seen, body, own, reference


def _finding(
    call: Call, names: list[str], seen: Comparison, body: Point, own: Pullback, reference: Pullback | None
) -> Finding:
    if not seen.wrong and seen.unknown and not seen.cleared:
        return _open(call, "neither autodiff nor differences give its gradient as a whole")
    if not seen.wrong:
        by = "autodiff without rules" if reference else "difference quotients"
        sentence = f"the gradient as a whole agrees with {by}"
        verdict = "kink" if seen.kinks else "right"
        return replace(
            _blank(call), verdict=verdict, sentence=sentence, compared=seen.compared, tolerance=seen.rtol
        )
    worst = max(seen.wrong, key=lambda e: abs(e.rule - e.reference))
    said = explained(Evidence(worst.argument, seen, body, own, reference, tolerance_of(seen)))
    return replace(
        _blank(call), verdict="wrong", cause=said.cause, sentence=f"the gradient as a whole: {said.sentence}",
        argument=names[worst.argument], index=worst.index,
        rule_value=worst.rule, reference_value=worst.reference, tolerance=worst.tolerance,
        compared=seen.compared,
    )  # fmt: skip


def _open(call: Call, sentence: str) -> Finding:
    return replace(_blank(call), verdict="inconclusive", sentence=sentence)


def _blank(call: Call) -> Finding:
    return Finding("right", call.name, "function", "", "", "", "")

