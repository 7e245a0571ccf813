"""Host arrays that rules close over: JAX gives each the dtype of the mode in which it first meets it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxbp.jaxprs.exception_origin import raise_own
from jaxbp.jaxprs.internals import consts_of
from jaxbp.jaxprs.rules import alone, describe, rules_in
from jaxbp.verify.maps.pullback import is_float
from jaxbp.verify.sites.named_axes import bound


def met(closed: Any, axes: Mapping[str, int]) -> list[Any]:
    """The derivatives of the user's rules in ``closed``, traced as they run now.

    While they are kept, JAX remembers the host arrays in them by the dtypes that they have now: what float64
    made of them would else stay in the user's own program, also when float64 is off again.
    """
    traced: dict[Any, Any] = {}
    for eqn in rules_in(closed.jaxpr):
        rule = describe(eqn)
        avals = [v.aval for v in eqn.invars]
        key = (rule.name, rule.where, *map(str, avals))
        if not rule.builtin and key not in traced:
            try:
                traced[key] = jax.make_jaxpr(_pulled(eqn, bound(alone(eqn), axes)))(*avals)
            except Exception as error:
                raise_own(error)
                traced[key] = None  # Why it does not run is told where it is judged.
    return list(traced.values())


def _pulled(eqn: Any, fn: Callable[..., Any]) -> Any:
    """The VJP of a rule, by all of its inputs that it may differentiate, as a function of its inputs."""
    moving = [i for i, v in enumerate(eqn.invars) if i >= consts_of(eqn) and is_float(v.aval)]
    kept = [k for k, v in enumerate(eqn.outvars) if is_float(v.aval)]

    def pulled(*inputs: Any) -> list[Any]:
        def moved(*values: Any) -> list[Any]:
            full = dict(zip(moving, values, strict=True))
            outs = fn(*(full.get(i, x) for i, x in enumerate(inputs)))
            return [outs[k] for k in kept]

        outs, pull = jax.vjp(moved, *(inputs[i] for i in moving))
        return list(pull(outs))

    return pulled
