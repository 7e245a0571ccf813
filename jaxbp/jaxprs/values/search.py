"""The first operation that makes a NaN or an infinity, on the way forward or on the way back: the search."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.inline import without_rules
from jaxbp.jaxprs.internals import SHARD_MAP, body, scan_of
from jaxbp.jaxprs.rules import beneath
from jaxbp.jaxprs.values.labels import Survey, survey
from jaxbp.jaxprs.values.nonfinite import (
    Found,
    Nonfinite,
    Traced,
    described,
    floating,
    given,
    values_of,
)
from jaxbp.jaxprs.values.places import IN, OUT, STEP, Key, Place, Run, places_in, run


def first_forward(traced: Traced, reaches: Sequence[str] = ()) -> Nonfinite | None:
    """The first operation that makes what is not finite in the outputs; None where they all are.

    An infinity that turns into a NaN later is the first, unless it was meant: a constant.
    """
    places = places_in(traced.closed)
    keys = [key for place in places for key in floating(place)]
    flags, outs = values_of(traced, keys)
    broken = [np.asarray(out) for out in outs if jnp.issubdtype(out.dtype, jnp.floating)]
    if all(np.isfinite(out).all() for out in broken):
        return None
    came = given(traced, reaches)
    if came is not None:
        return came
    kind = 0 if any(np.isnan(out).any() for out in broken) else 1
    first = _first(places, keys, lambda key: flags[key][..., kind], forward=True)
    if first is None:
        return None
    named = survey(traced.closed, places, traced.parts)
    origin = _came_from(first, flags, named, {p.path: p for p in places})
    found = described(traced, origin or first, named, reaches, first if origin else None)
    return _entered(traced, origin or first, found) if found.sort == "rule" else found


def _entered(traced: Traced, at: Found, found: Nonfinite) -> Nonfinite:
    """What breaks inside of a rule whose results are not finite: its body at these operands."""
    keys = [Key(at.place.path, IN, i) for i, v in enumerate(at.place.eqn.invars) if isinstance(v, core.Var)]
    seen = {key: x[at.spot] for key, x in values_of(traced, keys, whole=True)[0].items()}
    arrays = [
        jnp.asarray(seen.get(Key(at.place.path, IN, i), getattr(v, "val", None)))
        for i, v in enumerate(at.place.eqn.invars)
    ]
    nothing = [None] * len(arrays)
    inner = first_forward(Traced(without_rules(body(at.place.eqn)), arrays, [""] * len(arrays), nothing))
    if inner is None:
        return found
    place = f" ({beneath(inner.where)})" if inner.where else ""
    trap = f"{found.trap}, {inner.operation}{place}: {inner.trap}"
    return found._replace(trap=trap, sort=inner.sort, hint=inner.hint)


def first_backward(traced: Traced, differentiated: Sequence[int]) -> Nonfinite | None:
    """The first operation, from the loss on, whose pullback makes deltas that are not finite of finite ones.

    Each use of a value is judged apart. None where loss and gradients are finite, or the loss is not.
    """
    places = places_in(traced.closed)
    keys = [key for place in places for key in floating(place)]
    by_path = {place.path: place for place in places}
    arrays = [jnp.asarray(x) for x in traced.arrays]

    def deltas(wanted: Sequence[Key], whole: bool, *arrays: Any) -> Any:
        def of(learned: Any, probes: Any) -> Any:
            full = list(arrays)
            for k, value in zip(differentiated, learned, strict=True):
                full[k] = value
            return run(traced.closed, full, probes, Run(jnp.add if whole else _marking, frozenset()))[0][0]

        probes = {}
        for key in wanted:
            atom = _atom(by_path[key.path], key)
            axes = [a.size for a in by_path[key.path].axes_of(atom)]
            probes[key] = jnp.zeros([*axes, *(atom.aval.shape if whole else ())],
                                    atom.aval.dtype if whole else jnp.float32)  # fmt: skip
        return jax.grad(of, argnums=(0, 1))([arrays[k] for k in differentiated], probes)

    grads, marks = jitted(partial(deltas, keys, False), arrays)(*arrays)
    names = [traced.names[k] for k in differentiated]
    reaches = [n for n, g in zip(names, grads, strict=True) if not np.isfinite(np.asarray(g)).all()]
    if not reaches:
        return None
    first = _first(places, keys, lambda key: np.asarray(marks[key]) != 0, forward=False)
    if first is None:
        return None
    _, whole = jitted(partial(deltas, floating(first.place), True), arrays)(*arrays)
    there = {key: np.asarray(d)[first.spot] for key, d in whole.items()}
    named = survey(traced.closed, places, traced.parts)
    return described(traced, first, named, reaches, None, there)


@jax.custom_vjp
def _marking(x: Any, probe: Any) -> Any:
    """``x``, of whose cotangent the probe's says whether it is not finite."""
    return x


_marking.defvjp(
    lambda x, probe: (x, None), lambda _, d: (d, jnp.any(~jnp.isfinite(d)).astype(jnp.float32))
)  # fmt: skip


def _atom(place: Place, key: Key) -> Any:
    return (place.eqn.invars if key.side == IN else place.eqn.outvars)[key.number]


def _first(
    places: Sequence[Place], keys: Sequence[Key], bad: Callable[[Key], Any], forward: bool
) -> Found | None:
    """The first place, as they run, where what goes out is bad while nothing bad goes in; back, the last."""
    groups: dict[Any, list[Key]] = {}
    for key in keys:
        groups.setdefault(key.path, []).append(key)
    found: list[tuple[Any, Found]] = []
    source, result = (IN, OUT) if forward else (OUT, IN)
    for place in places:
        inside = [bad(k) for k in groups.get(place.path, ()) if k.side == source]
        outside = [bad(k) for k in groups.get(place.path, ()) if k.side == result]
        if not outside:
            continue
        makes = np.any(np.broadcast_arrays(*outside), axis=0)
        if inside:
            makes = makes & ~np.any(np.broadcast_arrays(*inside), axis=0)
        for index in map(tuple, np.argwhere(makes)):
            found.append((_time(place, index), Found(place, index)))
    return (min if forward else max)(found, key=lambda entry: entry[0])[1] if found else None


def _time(place: Place, index: tuple[int, ...]) -> tuple[int, ...]:
    """When a place runs: its path, with the steps of the loops in between."""
    when: list[int] = []
    at = 0
    # An axis of devices that a value does not differ over is not there: all its entries run at once.
    axes = place.axes if len(place.axes) == len(index) else tuple(a for a in place.axes if a.kind == STEP)
    for axis, i in zip(axes, index, strict=True):
        when += place.path[at : axis.depth]
        at = axis.depth
        eqn = place.around[axis.depth // 2]
        if axis.kind == STEP:
            when.append(scan_of(eqn).length - 1 - i if scan_of(eqn).backwards else i)
        else:
            assert eqn.primitive.name == SHARD_MAP
            when.append(0)
    return (*when, *place.path[at:])


def _came_from(
    found: Found, flags: Mapping[Key, np.ndarray], named: Survey, places: Mapping[Any, Place]
) -> Found | None:
    """The operation that made the infinity which ``found`` makes a NaN of; None where none did."""
    origin, at = None, found
    while True:
        operands = named.operands[at.place.path]
        infinite = [
            o.key for i, o in enumerate(operands)
            if o.key is not None and Key(at.place.path, IN, i) in flags
            and flags[Key(at.place.path, IN, i)][at.spot][1]
        ]  # fmt: skip
        if not infinite or infinite[0].path not in places:
            return origin
        place = places[infinite[0].path]
        if len(place.axes) != len(at.spot):
            return origin
        at = Found(place, at.spot)
        inside = [
            flags[k][at.spot][1]
            for i in range(len(place.eqn.invars))
            if (k := Key(place.path, IN, i)) in flags
        ]
        if not any(inside):
            return at
