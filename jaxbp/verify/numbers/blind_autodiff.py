"""Autodiff that sees no slope where there is one: what depends on an input through its bits or by tests."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.internals import COMPARISONS
from jaxbp.jaxprs.walk import primitives_in, subjaxprs
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import Point, Pullback, draw, is_float, wide
from jaxbp.verify.numbers.differences import Differences

LOOPS = (primitives.scan_p, primitives.while_p)
# What several entries add up to may be near zero by chance.
DIRECTIONS = 3


def misled(closed: Any, moving: list[int], body: Point, reference: Pullback) -> bool:
    """Whether autodiff of the primal ``closed`` gives another slope than differences that are sure of theirs.

    A root that is found by halving an interval depends on its input through comparisons alone: autodiff gives
    zero there, and a rule of zero agrees with it. Differences are asked where autodiff gives zero for all of
    an input and an output that depends on it, and everywhere when bits of floating numbers are taken apart
    or loops decide by comparisons.
    """
    on_purpose = "stop_gradient" in primitives_in(closed.jaxpr)
    blind = not (reference.iterative or on_purpose) and _blind(closed.jaxpr, False)
    rng = np.random.default_rng(11)
    full, everywhere = draw(body.outputs, rng), range(len(body.outputs))
    groups = [[k] for k in everywhere] if is_small(body.inputs) else [list(everywhere)]
    cts = [[c if k in group else jnp.zeros_like(c) for k, c in enumerate(full)] for group in groups]
    pulled = [[wide(g) for g in reference.call(body.inputs, ct)[1]] for ct in cts]
    asked = [
        (a, g)
        for a, i in enumerate(moving)
        for g, row in enumerate(pulled)
        if blind or (not row[a].any() and i in _reached(closed, groups[g]))
    ]
    arbiter = Differences(body, reference.epsilon)
    for a in sorted({a for a, _ in asked}) * DIRECTIONS:
        rows = [g for b, g in asked if b == a]
        direction = [np.zeros(np.shape(x)) for x in body.inputs]
        direction[a] = _sizes(body.inputs[a]) * rng.uniform(-1, 1, np.shape(body.inputs[a]))
        slope = arbiter.along(direction, 1.0, [cts[g] for g in rows])
        value, error = slope.best
        along = np.array([np.sum(np.real(pulled[g][a] * direction[a])) for g in rows])
        with np.errstate(all="ignore"):
            doubt = tolerances.SURE * np.maximum(abs(value), abs(along)) + abs(slope.right - slope.left)
            if (abs(value - along) > tolerances.COVER * error + doubt).any():
                return True
    return False


def _sizes(x: Any) -> np.ndarray:
    """A power of two near the size of each entry, of a usual one for those that have none."""
    size = np.abs(wide(x))
    good = np.isfinite(size) & (size > 0)
    usual = float(np.median(size[good])) if good.any() else 1.0
    return np.asarray(2.0 ** np.round(np.log2(np.where(good, size, usual))))


def _blind(jaxpr: Any, looping: bool) -> bool:
    """Whether bits of floating numbers are taken apart in it, or a loop compares such numbers."""
    for eqn in jaxpr.eqns:
        name, given = eqn.primitive.name, any(is_float(v.aval) for v in eqn.invars)
        bits = name == "bitcast_convert_type" and not is_float(eqn.outvars[0].aval)
        if given and (bits or name == "nextafter" or (looping and name in COMPARISONS)):
            return True
        inside = subjaxprs(eqn)[-1:] if eqn.primitive is primitives.while_p else subjaxprs(eqn)
        if any(_blind(inner, looping or eqn.primitive in LOOPS) for inner in inside):
            return True
    return False


def _reached(closed: Any, outputs: list[int]) -> set[int]:
    """The inputs that some of the floating outputs depend on, where that is not stopped on purpose."""
    jaxpr = flattened(closed).jaxpr
    floating = [v for v in jaxpr.outvars if is_float(v.aval)]
    needed = {floating[k] for k in outputs if isinstance(floating[k], core.Var)}
    for eqn in reversed(jaxpr.eqns):
        if needed & set(eqn.outvars) and eqn.primitive.name != "stop_gradient":
            needed |= {a for a in eqn.invars if isinstance(a, core.Var)}
    return {i for i, v in enumerate(jaxpr.invars) if v in needed}
