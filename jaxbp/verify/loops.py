"""Loops that stop by a test of their values: how far the result still moves when they run on."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.verify.interpret import interpret, single
from jaxbp.verify.rules import as_closed, flattened, subjaxprs

# A loop that met its test at once says nothing of how far it is; so many steps are made in any case.
AT_LEAST = 16


def stops_by_test(jaxpr: Any) -> bool:
    """Whether a while loop in it, at any depth, stops when floating values pass a test."""
    return any(_tested(e) or any(map(stops_by_test, subjaxprs(e))) for e in jaxpr.eqns)


def run_on(closed: Any) -> Callable[..., list[Any]]:
    """``closed`` with every such loop run for as many steps again after it has stopped.

    What converges linearly then has the square of its relative error left: the change is the error.
    """
    flat = flattened(closed)

    def each(_: int, eqn: Any, inputs: list[Any]) -> Sequence[Any]:
        if _tested(eqn):
            return _twice(eqn, inputs)
        if any(map(stops_by_test, subjaxprs(eqn))):
            eqn = eqn.replace(params={k: _mapped(v) for k, v in eqn.params.items()})
        return single(eqn, flat.jaxpr.debug_info)(*inputs)

    return lambda *args: interpret(flat, args, each)


def _mapped(param: Any) -> Any:
    """The same parameter with the loops in its jaxprs run on."""
    if isinstance(param, tuple):
        return tuple(map(_mapped, param))
    if not isinstance(param, core.ClosedJaxpr) or not stops_by_test(param.jaxpr):
        return param
    return jax.make_jaxpr(run_on(param))(*param.in_avals)


def _twice(eqn: Any, inputs: list[Any]) -> list[Any]:
    p = eqn.params
    n, m = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    asked, held, state = inputs[:n], inputs[n:m], inputs[m:]
    test, body = core.jaxpr_as_fun(p["cond_jaxpr"]), run_on(p["body_jaxpr"])
    count, state = jax.lax.while_loop(
        lambda s: test(*asked, *s[1])[0], lambda s: (s[0] + 1, body(*held, *s[1])), (0, list(state))
    )
    return list(jax.lax.fori_loop(0, count + AT_LEAST, lambda _, s: body(*held, *s), state))


def _tested(eqn: Any) -> bool:
    """Whether the equation is a while loop whose test depends on floating values, at once or over steps."""
    if eqn.primitive is not primitives.while_p:
        return False
    p = eqn.params
    asked, held = p["cond_nconsts"], p["body_nconsts"]
    floating, places = _depends(p["cond_jaxpr"], {0})
    carried = {i - asked for i in places if i >= asked}
    while not floating:
        floating, places = _depends(p["body_jaxpr"], carried)
        more = carried | {i - held for i in places if i >= held}
        if more == carried:
            break
        carried = more
    return floating


def _depends(closed: Any, outputs: set[int]) -> tuple[bool, set[int]]:
    """Whether some outputs depend on a floating value, and on which inputs they depend."""
    jaxpr = flattened(as_closed(closed)).jaxpr
    needed = {jaxpr.outvars[i] for i in outputs if isinstance(jaxpr.outvars[i], core.Var)}
    for eqn in reversed(jaxpr.eqns):
        if needed & set(eqn.outvars):
            needed |= {a for a in eqn.invars if isinstance(a, core.Var)}
    floating = any(jax.numpy.issubdtype(v.aval.dtype, jax.numpy.inexact) for v in needed)
    return floating, {i for i, v in enumerate(jaxpr.invars) if v in needed}
