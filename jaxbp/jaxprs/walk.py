"""Evaluate a jaxpr one equation at a time, so that something may be done to each; what is in a jaxpr."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.jaxprs.internals import body, is_object

Each = Callable[[int, Any, list[Any]], Sequence[Any]]


def evaluate(closed: Any, args: Sequence[Any], each: Each) -> list[Any]:
    """The outputs of ``closed`` when ``each(number, eqn, inputs)`` gives the outputs of its equations.

    Example:
        >>> import jax
        >>> closed = jax.make_jaxpr(lambda x: 2 * jnp.sin(x))(0.5)
        >>> seen = []
        >>> def each(number, eqn, inputs):
        ...     seen.append(eqn.primitive.name)
        ...     return single(eqn, closed.jaxpr.debug_info)(*inputs)
        >>> [round(float(y), 4) for y in evaluate(closed, [0.5], each)], seen
        ([0.9589], ['sin', 'mul'])
    """
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


def subjaxprs(eqn: Any) -> list[Any]:
    """Every jaxpr that one equation holds: among its parameters, or inside a primitive that is an object."""
    if is_object(eqn):
        return [body(eqn).jaxpr]
    return list(core.jaxprs_in_params(eqn.params))


def dtypes_in(jaxpr: Any) -> set[Any]:
    """The inexact dtypes of every value that the jaxpr computes or reads, at any depth."""
    found = set()
    atoms: Sequence[Any] = [*jaxpr.invars, *jaxpr.constvars, *jaxpr.outvars]
    for eqn in jaxpr.eqns:
        atoms = [*atoms, *eqn.invars, *eqn.outvars]
        for inner in subjaxprs(eqn):
            found |= dtypes_in(inner)
    for atom in atoms:
        dtype = getattr(atom.aval, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jnp.inexact):
            found.add(jnp.dtype(dtype))
    return found


def primitives_in(jaxpr: Any) -> set[str]:
    """The names of every primitive in the jaxpr, at any depth."""
    found = {eqn.primitive.name for eqn in jaxpr.eqns}
    for eqn in jaxpr.eqns:
        for inner in subjaxprs(eqn):
            found |= primitives_in(inner)
    return found
