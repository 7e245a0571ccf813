"""Evaluate a jaxpr one equation at a time, so that something may be done to each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend import core

Each = Callable[[int, Any, list[Any]], Sequence[Any]]


def interpret(closed: Any, args: Sequence[Any], each: Each) -> list[Any]:
    """The outputs of ``closed`` when ``each(number, eqn, inputs)`` gives the outputs of its equations."""
    jaxpr = closed.jaxpr
    env: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return literal(atom) if isinstance(atom, core.Literal) else env[atom]

    for number, eqn in enumerate(jaxpr.eqns):
        outs = each(number, eqn, [read(a) for a in eqn.invars])
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(a) for a in jaxpr.outvars]


def literal(atom: Any) -> Any:
    """The value of a literal as an array of its own dtype."""
    return np.asarray(atom.val, atom.aval.dtype)


def single(eqn: Any, info: Any) -> Callable[..., list[Any]]:
    """One equation as a function of its inputs; ``info`` is the debug_info of a jaxpr around it."""
    invars = [core.Var(a.aval) for a in eqn.invars]
    outvars = [core.Var(a.aval) for a in eqn.outvars]
    one = eqn.replace(invars=invars, outvars=outvars)
    jaxpr = core.Jaxpr((), invars, outvars, [one], eqn.effects, info.with_unknown_names())
    return core.jaxpr_as_fun(core.ClosedJaxpr(jaxpr, ()))
