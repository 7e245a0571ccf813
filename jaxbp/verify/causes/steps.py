"""The derivative of a function that lacks a step of the primal (a mask, a scale), or slices of a value."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.rules import beneath, written_at
from jaxbp.jaxprs.walk import evaluate, single
from jaxbp.verify.causes.evidence import Diagnosis, Evidence
from jaxbp.verify.maps.pullback import is_float, wide

STEPS_LIMIT = 200
SIZE_LIMIT = 1_000_000
# So many operations in a row may be left out.
IN_A_ROW = 3
Site = tuple[str, int, int]  # an operation, an axis of its result, and how long that is: all such at once
# What makes values of which a backward pass sums slices: tiles of a kernel, chunks, the rows of a batch.
SUMMED_BACK = ("dot_general", "conv_general_dilated", "broadcast_in_dim")
BROADCASTING = ("add", "sub", "mul", "div")


def without_a_step(e: Evidence) -> Diagnosis | None:
    """The rule of the primal without some operations in a row, whose values are those of the rule's own."""
    if e.reference is None or not e.finite:
        return None
    closed = flattened(e.at.traced(e.at.fn, *e.at.inputs))
    steps = _steps(closed)
    entries = int(np.size(e.at.inputs[e.argument]))
    if not 0 < len(steps) <= STEPS_LIMIT or len(steps) * entries * len(e.samples) > SIZE_LIMIT:
        return None

    def pulled(chosen: Any, ct: Any, given: Sequence[Any]) -> Any:
        def fn(x: Any) -> list[Any]:
            inputs = [x if k == e.argument else v for k, v in enumerate(given)]
            return _left_out(closed, steps, chosen, inputs)

        return jax.vjp(fn, given[e.argument])[1](ct)[0]

    def each(ct: Any) -> list[Any]:
        return [jax.lax.map(lambda chosen: pulled(chosen, ct, e.at.inputs), jnp.arange(len(steps)))]

    def holds(chosen: int) -> bool:
        """Whether it is so elsewhere too: a product with ones, say, could be left out here by chance."""
        elsewhere, ct = [_moved(x) for x in e.at.inputs], e.samples[0].cotangent
        got = wide(e.rule.call(elsewhere, ct)[1][e.argument])
        there = wide(jax.jit(pulled, static_argnums=0)(chosen, ct, elsewhere))
        return e.same(got, there) or not np.isfinite(got).all()

    run = jitted(each, e.at.inputs)
    found = np.stack([wide(run(s.cotangent)[0]) for s in e.samples], 1)
    for number, ((eqn, _), candidate) in enumerate(zip(steps, found, strict=True)):
        if np.isfinite(candidate).all() and e.explained_by(candidate) and holds(number):
            where = written_at(eqn)
            place = f" at {beneath(where)}" if where else ""
            sentence = f"the rule is that of the function without its {eqn.primitive.name}{place}"
            return Diagnosis("missing_term", sentence, True)
    return None


def _moved(x: Any) -> Any:
    """Other numbers, of the same signs."""
    if not is_float(x):
        return x
    by = 1 + np.random.default_rng(0).uniform(-0.6, 0.6, np.shape(x))
    return jnp.where(x == 0, by - 1, x * by).astype(x.dtype)


def _steps(closed: Any) -> list[tuple[Any, Any]]:
    """Operations, each with a value a few operations before it that could take the place of its result."""
    before: dict[Any, list[tuple[int, Any]]] = {}
    found = []
    for eqn in closed.jaxpr.eqns:
        if len(eqn.outvars) != 1:
            continue
        (out,) = eqn.outvars
        given = [v for v in eqn.invars if isinstance(v, core.Var) and is_float(v.aval)]
        earlier = dict.fromkeys(given, 1)
        for v in given:
            for distance, w in before.get(v, []):
                earlier.setdefault(w, distance + 1)
        before[out] = [(n, w) for w, n in earlier.items() if n < IN_A_ROW]
        found += [(eqn, w) for w in earlier if _kind(w) == _kind(out)]
    return found


def _kind(v: Any) -> tuple[Any, Any]:
    return v.aval.shape, v.aval.dtype


def _left_out(closed: Any, steps: list[tuple[Any, Any]], chosen: Any, inputs: list[Any]) -> list[Any]:
    """The floating outputs, with the chosen operation's result replaced by the earlier value."""
    values = dict(zip(closed.jaxpr.invars, inputs, strict=True))

    def each(_: int, eqn: Any, given: list[Any]) -> list[Any]:
        values.update((v, x) for v, x in zip(eqn.invars, given, strict=True) if isinstance(v, core.Var))
        outs = list(single(eqn, closed.jaxpr.debug_info)(*given))
        for number, (step, earlier) in enumerate(steps):
            if step is eqn:
                outs = [jnp.where(chosen == number, values[earlier], outs[0])]
        return outs

    return [y for y in evaluate(closed, inputs, each) if is_float(y)]


def without_slices(e: Evidence) -> Diagnosis | None:
    """Some slices of a value on the way contribute nothing: the last tile, a chunk that is cut."""
    if e.reference is None or not e.finite:
        return None
    closed = flattened(e.at.traced(e.at.fn, *e.at.inputs))
    sites: dict[Site, Any] = {}
    for eqn in closed.jaxpr.eqns:
        shapes = {v.aval.shape for v in (*eqn.invars, *eqn.outvars)}
        spread = eqn.primitive.name in BROADCASTING and len(shapes) > 1
        if (spread or eqn.primitive.name in SUMMED_BACK) and is_float(eqn.outvars[0].aval):
            for axis, n in enumerate(eqn.outvars[0].aval.shape):
                sites.setdefault((eqn.primitive.name, axis, n), eqn)
    slices = [(number, k) for number, (_, _, n) in enumerate(sites) if n > 2 for k in range(n)]
    entries = int(np.size(e.at.inputs[e.argument]))
    if not slices or len(sites) > STEPS_LIMIT or len(slices) * entries * len(e.samples) > SIZE_LIMIT:
        return None

    def pulled(chosen: Any, ct: Any) -> Any:
        def fn(x: Any) -> list[Any]:
            inputs = [x if k == e.argument else v for k, v in enumerate(e.at.inputs)]
            return _still(closed, list(sites), chosen, inputs)

        return jax.vjp(fn, e.at.inputs[e.argument])[1](ct)[0]

    def each(ct: Any) -> list[Any]:
        return [jax.lax.map(lambda chosen: pulled(chosen, ct), jnp.asarray(slices))]

    run = jitted(each, e.at.inputs)
    without = np.stack([wide(run(s.cotangent)[0]) for s in e.samples], 1)
    parts = (e.want[None] - without).reshape(len(slices), -1)
    for number, ((name, axis, n), eqn) in enumerate(sites.items()):
        own = parts[[k for k, (owner, _) in enumerate(slices) if owner == number]]
        if not own.any() or not np.isfinite(own).all():
            continue
        for lost in _lost(n):
            if e.explained_by(e.want - own[lost].sum(0).reshape(e.want.shape)):
                where = written_at(eqn)
                place = f" at {beneath(where)}" if where else ""
                which = f"slice {lost[0]}" if len(lost) == 1 else f"slices {lost[0]} to {lost[-1]}"
                whose = f"along axis {axis} of {name}{place}"
                return Diagnosis("missing_sum", f"what {which} of {n} {whose} contributes is left out")
    return None


def _lost(n: int) -> Iterator[list[int]]:
    """The slices that a loop may miss: a single one, or up to half of them at an end."""
    yield from ([k] for k in range(n))
    for few in range(2, n // 2 + 1):
        yield list(range(n - few, n))
        yield list(range(few))


def _still(closed: Any, sites: list[Site], chosen: Any, inputs: list[Any]) -> list[Any]:
    """The floating outputs, with no derivative through the chosen slice of the chosen values."""

    def each(_: int, eqn: Any, given: list[Any]) -> list[Any]:
        outs = list(single(eqn, closed.jaxpr.debug_info)(*given))
        for axis, n in enumerate(eqn.outvars[0].aval.shape if len(outs) == 1 else ()):
            if (site := (eqn.primitive.name, axis, n)) in sites:
                here = (chosen[0] == sites.index(site)) & (jnp.arange(n) == chosen[1])
                here = jnp.expand_dims(here, [k for k in range(outs[0].ndim) if k != axis])
                outs = [jnp.where(here, jax.lax.stop_gradient(outs[0]), outs[0])]
        return outs

    return [y for y in evaluate(closed, inputs, each) if is_float(y)]
