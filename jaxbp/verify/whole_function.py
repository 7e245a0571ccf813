"""The gradient of f as a whole against f with its rules taken out."""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxbp.errors import message
from jaxbp.jaxprs.exception_origin import brief, raise_own, told
from jaxbp.jaxprs.inline import without_rules
from jaxbp.jaxprs.internals import CALLS
from jaxbp.jaxprs.rules import is_rule
from jaxbp.jaxprs.walk import subjaxprs
from jaxbp.verify.causes.mistakes import diagnose
from jaxbp.verify.maps.pullback import Point, Pullback, draw, is_float, point, reverse
from jaxbp.verify.numbers.compare import Comparison, compare
from jaxbp.verify.report import Finding
from jaxbp.verify.sites.call import Call
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


def obstacle(closed: Any, inputs: list[Any]) -> str:
    """Why f is not judged as a whole; empty when it can be."""
    if _is_one_rule(closed.jaxpr):
        return "f is one rule"
    entries = sum(int(np.size(x)) for x in inputs)
    if entries > WHOLE_LIMIT:
        return f"{entries:,} entries are more than {WHOLE_LIMIT:,}"
    return ""


def _is_one_rule(jaxpr: Any) -> bool:
    if len(jaxpr.eqns) != 1:
        return False
    (eqn,) = jaxpr.eqns
    return is_rule(eqn) or (eqn.primitive in CALLS and _is_one_rule(subjaxprs(eqn)[0]))


def judge_whole(
    call: Call,
    closed: Any,
    inputs: list[Any],
    axes: Mapping[str, int],
    kept: Set[int],
    live: bool,
    numeric: bool,
) -> Finding:
    """One finding for f: its gradient with rules against its gradient without, but for those ``kept``.

    When ``numeric``, difference quotients take the place of autodiff.

    It reaches what the rules alone leave open: what is between them, the steps of a loop between the first
    and the last, rules inside operations that are not entered and, with ``live``, rules that close over
    traced values. Those run only while f itself is traced, and only for arguments that they do not close
    over, so f is then differentiated by one argument at a time.
    """
    ruled, plain = (bound(core.jaxpr_as_fun(c), axes) for c in (closed, without_rules(closed, kept)))
    if not live:
        try:
            moving = [p for p, x in zip(call.paths, inputs, strict=True) if is_float(x)]
            return _finding(call, moving, *_compared(ruled, plain, inputs, numeric))
        except Exception as error:
            return _open(call, told("its gradient as a whole cannot be taken", error))
    judged, refused, names = [], [], []
    for k, x in enumerate(inputs):
        if is_float(x):
            try:
                judged.append(_compared(_only(call.fn, inputs, k), _only(plain, inputs, k), [x], numeric))
                names.append(call.paths[k])
            except Exception as error:
                refused.append(told(call.paths[k], error))
    if not judged:
        return _open(call, f"closes over traced values and cannot be differentiated: {'; '.join(refused)}")
    worst = max(range(len(judged)), key=lambda k: len(judged[k][0].wrong))
    found = _finding(call, [names[worst]], *judged[worst])
    return replace(found, sentence=f"{found.sentence}, by {', '.join(names)}") if refused else found


def _only(fn: Any, inputs: list[Any], k: int) -> Any:
    """``fn`` of its k-th input alone."""
    return lambda x: fn(*(x if i == k else v for i, v in enumerate(inputs)))


def _compared(
    ruled: Any, plain: Any, inputs: list[Any], numeric: bool
) -> tuple[Comparison, Point, Pullback, Pullback | None]:
    at, body = point(ruled, inputs, wide=True), point(plain, inputs, wide=True)
    own, reference = reverse(at), None if numeric else reverse(body)
    rng = np.random.default_rng(8)
    cts = [draw(at.outputs, rng) for _ in range(DRAWS)]
    return compare(body, own, reference, rng, cts), body, own, reference


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
    said = diagnose(worst.argument, seen, body, own, reference)
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
