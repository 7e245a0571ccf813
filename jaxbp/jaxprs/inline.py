"""Write rules, jit and remat out in the place where they are called."""

from collections.abc import Callable, Set
from typing import Any

import jax
from jax.extend import core

from jaxbp.jaxprs.internals import CALLS, LIBRARY, as_closed, body, name_and_place
from jaxbp.jaxprs.rules import has_rules, is_rule


def without_rules(closed: Any, kept: Set[int] = frozenset()) -> Any:
    """The same computation with every rule replaced by its primal body, but for equations ``kept`` by id."""
    return _inlined(closed, lambda eqn: is_rule(eqn) and id(eqn) not in kept, has_rules)


def flattened(closed: Any) -> Any:
    """The computation as one list of equations: rules, jit and remat are written out."""
    return _inlined(closed, lambda eqn: is_rule(eqn) or eqn.primitive in CALLS, lambda eqn: True)


def opened(closed: Any) -> Any:
    """The same computation with jit and remat written out, and its rules as they were."""
    return _inlined(closed, lambda eqn: eqn.primitive in CALLS, lambda eqn: True)


def _inlined(closed: Any, dissolve: Callable[[Any], bool], touch: Callable[[Any], bool]) -> Any:
    """Write the bodies of the equations that ``dissolve`` names in their place."""
    if not any(touch(eqn) for eqn in closed.jaxpr.eqns):
        return closed
    eqns: list[Any] = []
    constants: list[Any] = list(closed.consts)
    constvars = [core.Var(v.aval) for v in closed.jaxpr.constvars]

    def write(jaxpr: Any, env: dict[Any, Any]) -> list[Any]:
        def read(atom: Any) -> Any:
            return atom if isinstance(atom, core.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(a) for a in eqn.invars]
            if dissolve(eqn):
                made = body(eqn)
                held = [core.Var(v.aval) for v in made.jaxpr.constvars]
                constvars.extend(held)
                constants.extend(made.consts)
                if name_and_place(made.jaxpr.debug_info)[1].startswith(LIBRARY):
                    # What JAX wrote comes from the line where the user called it.
                    made = core.ClosedJaxpr(_from(made.jaxpr, eqn), made.consts)
                inner = dict(zip([*made.jaxpr.constvars, *made.jaxpr.invars], [*held, *inputs], strict=True))
                env.update(zip(eqn.outvars, write(made.jaxpr, inner), strict=True))
            else:
                outputs = [core.Var(v.aval) for v in eqn.outvars]
                env.update(zip(eqn.outvars, outputs, strict=True))
                params = (
                    {k: _mapped(v, dissolve, touch) for k, v in eqn.params.items()}
                    if touch(eqn)
                    else eqn.params
                )
                eqns.append(eqn.replace(invars=inputs, outvars=outputs, params=params))
        return [read(a) for a in jaxpr.outvars]

    invars = [core.Var(v.aval) for v in closed.jaxpr.invars]
    env = dict(zip([*closed.jaxpr.constvars, *closed.jaxpr.invars], [*constvars, *invars], strict=True))
    outvars = write(closed.jaxpr, env)
    old = closed.jaxpr
    return core.ClosedJaxpr(
        core.Jaxpr(constvars, invars, outvars, eqns, old.effects, old.debug_info.with_unknown_names()),
        constants,
    )


def _from(jaxpr: Any, call: Any) -> Any:
    """The same equations, come from where another one does."""
    return jaxpr.replace(eqns=[e.replace(source_info=call.source_info) for e in jaxpr.eqns])


def _mapped(param: Any, dissolve: Callable[[Any], bool], touch: Callable[[Any], bool]) -> Any:
    """The same parameter of an equation with the jaxprs in it inlined."""
    if isinstance(param, core.ClosedJaxpr):
        return _inlined(param, dissolve, touch)
    if isinstance(param, core.Jaxpr):
        inner = _inlined(as_closed(param), dissolve, touch)
        # An open jaxpr cannot carry new constants; bodies that hold some stay as they were.
        return param if inner.consts else inner.jaxpr
    if isinstance(param, tuple) and any(isinstance(p, (core.Jaxpr, core.ClosedJaxpr)) for p in param):
        return jax.tree.map(lambda p: _mapped(p, dissolve, touch), param)
    return param


def body_of(eqn: Any) -> Callable[..., list[Any]]:
    """The primal of a rule as plain JAX: a function of the equation's inputs, with nested rules removed."""
    return core.jaxpr_as_fun(without_rules(body(eqn)))
