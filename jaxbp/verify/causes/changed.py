"""A computation whose values are as they were, and whose derivative is changed at single operations."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.internals import as_closed, scan_of, scan_parts
from jaxbp.jaxprs.loops import scanned
from jaxbp.jaxprs.walk import evaluate, single
from jaxbp.verify.maps.pullback import is_float


def is_square(shape: Sequence[int]) -> bool:
    """Whether the last two axes are equally long."""
    return len(shape) > 1 and shape[-1] == shape[-2]


def changed(closed: Any, changes: dict[Any, Any], inputs: Sequence[Any]) -> list[Any]:
    """The outputs, with derivatives changed: a weight for each (equation, value), and whether it is turned.

    With None for the value, what a loop hands to its next step is turned; with a number, the derivative is
    that of the identity in that input, with a word that of the branch (or the operand) that was not taken.
    """

    def along(eqn: Any, v: Any, value: Any) -> Any:
        change = changes.get((id(eqn), v)) if isinstance(v, core.Var) else None
        if change is None:
            return value
        weight, turned = change
        still = jax.lax.stop_gradient(value)
        # Where the value is infinite the difference below would be NaN.
        gap = jnp.where(jnp.isfinite(still), value - still, 0)
        if is_square(gap.shape):
            gap = jnp.where(turned, jnp.swapaxes(gap, -1, -2), gap)
        return (still + weight * gap).astype(value.dtype)

    def each(_: int, eqn: Any, values: list[Any]) -> Sequence[Any]:
        values = [along(eqn, v, value) for v, value in zip(eqn.invars, values, strict=True)]
        if eqn.primitive is not primitives.scan_p:
            outs = single(eqn, closed.jaxpr.debug_info)(*values)
            others = [*range(len(values)), "other"] if len(outs) == 1 else []
            for key in others:
                if (id(eqn), key) in changes:
                    instead = _instead(eqn, key, values)
                    still = jax.lax.stop_gradient(outs[0] - instead)
                    outs = [jnp.where(changes[id(eqn), key], still + instead, outs[0])]
            return outs

        def step(*args: Any) -> list[Any]:
            return changed(scan_of(eqn).body, changes, args)

        if (id(eqn), None) in changes:
            step = _turned(step, range(*scan_parts(eqn)))
        return scanned(eqn, values, step)

    return evaluate(as_closed(closed), inputs, each)


def _instead(eqn: Any, key: int | str, values: list[Any]) -> Any:
    """The value whose derivative an operation is given in the place of its own."""
    if isinstance(key, int):
        return values[key]
    if eqn.primitive.name == "select_n":
        return jnp.where(values[0], values[1], values[2])
    return jnp.minimum(*values) if eqn.primitive.name == "max" else jnp.maximum(*values)


def _turned(step: Callable[..., list[Any]], places: range) -> Callable[..., list[Any]]:
    """A step of a loop whose state flows back by the transpose of the operator that belongs there."""

    def other(*args: Any) -> list[Any]:
        state = [k for k in places if is_float(args[k])]
        still = [jax.lax.stop_gradient(a) for a in args]
        outs = step(*(still[k] if k in state else a for k, a in enumerate(args)))

        def own(*values: Any) -> list[Any]:
            full = dict(zip(state, values, strict=True))
            there = step(*(full.get(k, a) for k, a in enumerate(still)))
            return [there[k - places.start] for k in state]

        # Linear in the state, and its pullback is the step's pushforward.
        back = jax.vjp(own, *(still[k] for k in state))[1]([args[k] for k in state])
        for k, b in zip(state, back, strict=True):
            outs[k - places.start] += b - jax.lax.stop_gradient(b)
        return outs

    return other
