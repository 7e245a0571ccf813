"""Which inputs of a jaxpr have a way to its outputs, and of which sort: the derivative's, or another."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.internals import COMPARISONS, scan_parts
from jaxbp.jaxprs.values.places import inner_of

# An operand whose way to the results is closed: (equation, number of the operand) -> bool.
Closed = Callable[[Any, int], bool]
STOP = "stop_gradient"
STEPS = {"floor", "ceil", "round", "sign", "argmax", "argmin", "is_finite", *COMPARISONS}


def has_no_derivative(eqn: Any, operand: int) -> bool:
    """Whether an operation has no derivative by one of its operands: it is piecewise constant in it."""
    if eqn.primitive.name in STEPS or (eqn.primitive is primitives.cond_p and operand == 0):
        return True
    results = [getattr(v.aval, "dtype", None) for v in eqn.outvars]
    whole = all(d is None or not jnp.issubdtype(d, jnp.inexact) for d in results)
    given = getattr(eqn.invars[operand].aval, "dtype", None)
    return whole or given is None or not jnp.issubdtype(given, jnp.inexact)


def is_stopped(eqn: Any, operand: int) -> bool:
    """Whether `jax.lax.stop_gradient` closes the way, or there is no derivative."""
    return eqn.primitive.name == STOP or has_no_derivative(eqn, operand)


def reached(closed: Any, outputs: set[int], shut: Closed = lambda eqn, operand: False) -> set[int]:
    """The numbers of the inputs from which an open way leads to some of the outputs.

    Example:
        >>> import jax
        >>> f = lambda a, b, c: a * jax.lax.stop_gradient(b) + (c > 0)
        >>> closed = jax.make_jaxpr(f)(1.0, 2.0, 3.0)
        >>> reached(closed, {0}), reached(closed, {0}, has_no_derivative), reached(closed, {0}, is_stopped)
        ({0, 1, 2}, {0, 1}, {0})
    """
    jaxpr = closed.jaxpr
    needed = {jaxpr.outvars[i] for i in outputs if isinstance(jaxpr.outvars[i], core.Var)}
    for eqn in reversed(jaxpr.eqns):
        outs = {i for i, v in enumerate(eqn.outvars) if v in needed}
        if not outs:
            continue
        inner = inner_of(eqn)
        if not inner:
            numbers = set(range(len(eqn.invars)))
        elif eqn.primitive is primitives.scan_p:
            numbers = _through_scan(eqn, inner[0], outs, shut)
        elif eqn.primitive is primitives.cond_p:
            numbers = {0} | {i + 1 for b in inner for i in reached(b, outs, shut)}
        else:
            numbers = reached(inner[0], outs, shut)
        for i in numbers:
            leaf = not inner or (eqn.primitive is primitives.cond_p and i == 0)
            if isinstance(eqn.invars[i], core.Var) and not (leaf and shut(eqn, i)):
                needed.add(eqn.invars[i])
    return {i for i, v in enumerate(jaxpr.invars) if v in needed}


def _through_scan(eqn: Any, body: Any, outs: set[int], shut: Closed) -> set[int]:
    n, m = scan_parts(eqn)
    wanted = set(outs)
    while True:
        inputs = reached(body, wanted, shut)
        more = wanted | {i - n for i in inputs if n <= i < m}
        if more == wanted:
            return inputs | {n + i for i in outs if i < m - n}
        wanted = more
