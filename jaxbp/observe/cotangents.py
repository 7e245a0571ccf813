"""The delta of every intermediate value of any scalar function, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.jaxprs.inline import opened
from jaxbp.jaxprs.internals import KINDS
from jaxbp.jaxprs.loops import goes_through_while, unrolled
from jaxbp.jaxprs.values.labels import Label, survey
from jaxbp.jaxprs.values.places import BRANCH, DEVICE, OUT, Key, Place, Run, places_in, run
from jaxbp.jaxprs.values.user_lines import FUNCTIONS
from jaxbp.jaxprs.walk import subjaxprs
from jaxbp.observe.call import Call, Static, flat_call, scalar
from jaxbp.observe.deltas import REDUCTIONS, Cotangents, Tap, reduced
from jaxbp.typing import Array, Scalar

WHERE = "cotangents"
SHOWN = 12  # labels in an error


class _Loop(Exception):  # noqa: N818 -- a word to the caller
    """A while loop whose steps must be counted first."""


def cotangents(
    f: Callable[..., Scalar],
    pattern: str | Sequence[str] | None = None,
    *,
    reduce: str | Sequence[str] | None = None,
    argnums: int | Sequence[int] = 0,
) -> Callable[..., Cotangents]:
    """The function of f's arguments that gives delta_v = d f / d v for every intermediate value v.

    Deltas, values, loss and gradient come from one compiled program, through jit, vmap, remat, scan (a
    delta for each step), cond, shard_map and derivatives that f takes itself. A value is called by the
    parameter that its last product multiplies by: ``layers.2 a`` is a product with its bias,
    ``layers.2/relu f`` an activation after it, ``rnn/h [step]`` a loop's state, at every step; networks of
    this library have the lecture's a_1, f_1. Without a pattern these, and what `name` names, are given.

    A delta has the shape of its value, with an axis of the steps of each loop in front, and on a mesh one of
    the devices: there each device has a delta of its own. A value used twice has the sum of both uses.
    Rules (custom_vjp, custom_jvp) are one operation: inside a rule there is no delta. A while loop is
    unrolled at these arguments, where its steps can be counted.

    Args:
        f: returns one floating number.
        pattern: which values: labels with ``*`` and ``?`` (with or without ``[step]``); ``"*"`` is all.
        reduce: keeps of each delta only "norm" (Euclidean), "max" (of absolute values), "zeros" (the share of
            entries that are 0), or several of them; memory is then that of the number of values.
        argnums: the arguments to differentiate by, whose leaves are the parameters.

    Returns:
        A function of f's arguments.

    Raises:
        TypeError: when f is called: f returns more or less than one floating number, or a parameter is not
            floating.
        ValueError: when f is called: nothing floating is computed, the pattern matches nothing, or a while
            loop within a loop or a branch cannot be unrolled. At once: an unknown reduction.

    Example:
        >>> def loss(params, x, y):
        ...     h = jnp.tanh(params["hidden"]["W"] @ x + params["hidden"]["b"])
        ...     return jnp.sum((params["out"]["W"] @ h - y) ** 2)
        >>> params = {"hidden": {"W": jnp.ones((2, 2)), "b": jnp.zeros(2)}, "out": {"W": jnp.ones((1, 2))}}
        >>> seen = cotangents(loss)(params, jnp.array([0.1, 0.2]), jnp.ones(1))
        >>> [tap.label for tap in seen.taps]
        ['hidden a', 'hidden/tanh f', 'out a']
        >>> seen.deltas["hidden a"].round(4), (10 * seen.values["hidden a"]).round()
        (Array([-0.7639, -0.7639], dtype=float32), Array([3., 3.], dtype=float32))
        >>> cotangents(loss, "out a", reduce="norm")(params, jnp.ones(2), jnp.ones(1)).deltas
        {'out a': {'norm': Array(1.8561103, dtype=float32)}}

    Source: the lecture, back-propagation by errors; https://doi.org/10.1038/323533a0
    """
    arguments.function(WHERE, "f", f)
    patterns = None if pattern is None else (pattern,) if isinstance(pattern, str) else tuple(pattern)
    for p in patterns or ():
        arguments.instance(WHERE, "pattern", p, str)
    kept = () if reduce is None else (reduce,) if isinstance(reduce, str) else tuple(reduce)
    for word in kept:
        arguments.option(WHERE, "reduce", word, tuple(REDUCTIONS))
    numbers = argnums if isinstance(argnums, int) else tuple(argnums)

    @partial(jax.jit, static_argnums=(1, 2))
    def program(arrays: Any, static: Static, parts: Any) -> Cotangents:
        return _program(scalar(WHERE, f, static), arrays, static, parts, patterns, kept)

    def seen(*args: Any, **kwargs: Any) -> Cotangents:
        call = flat_call(WHERE, f, args, kwargs, numbers)
        try:
            return _ordered(program(call.arrays, call.static, call.parts))
        except _Loop:
            steps = _unrolled(scalar(WHERE, f, call.static), call)
        once = jax.jit(lambda arrays: _program(steps, arrays, call.static, call.parts, patterns, kept))
        return _ordered(once(call.arrays))

    return seen


def _ordered(found: Cotangents) -> Cotangents:
    """The same, in the order of the taps: what comes out of jit is in that of the alphabet."""
    texts = [tap.label for tap in found.taps]

    def column(of: dict[str, Any]) -> dict[str, Any]:
        return {text: of[text] for text in texts if text in of}

    return replace(found, deltas=column(found.deltas), values=column(found.values), taken=column(found.taken))


def _unrolled(fn: Callable[..., Any], call: Call) -> Callable[..., Any]:
    if any(isinstance(x, jax.core.Tracer) for x in call.arrays):
        hint = "call cotangents outside of jit, so that its steps can be counted, or write lax.scan"
        raise ValueError(message(WHERE, "loops of known length", "a while loop under a transformation", hint))
    closed = unrolled(opened(jax.make_jaxpr(fn)(*call.arrays)), [jnp.asarray(x) for x in call.arrays])
    return lambda *arrays: core.jaxpr_as_fun(closed)(*arrays)[0]


def _program(
    fn: Callable[..., Any],
    arrays: Sequence[Any],
    static: Static,
    parts: Sequence[Any],
    patterns: tuple[str, ...] | None,
    kept: tuple[str, ...],
) -> Cotangents:
    """One pass, traced: the loss, its gradient and what is seen on the way."""
    closed = jax.make_jaxpr(fn)(*arrays)
    if goes_through_while(opened(closed)):
        raise _Loop
    places = {place.path: place for place in places_in(closed)}
    labels = survey(closed, list(places.values()), parts).labels
    chosen = _chosen(labels, places, patterns)
    branches = {Key(path, BRANCH, 0) for key in chosen for path, _ in places[key.path].branches}
    move, seen = (partial(_reducing, kept), branches) if kept else (jnp.add, branches | set(chosen))
    how = Run(move, frozenset(seen))
    probes = {key: _probe(places[key.path], key, kept) for key in chosen}
    arrays = [jnp.asarray(x) for x in arrays]

    def of(learned: Sequence[Array], probes: Mapping[Key, Array]) -> tuple[Array, dict[Key, Array]]:
        full = list(arrays)
        for k, value in zip(static.differentiated, learned, strict=True):
            full[k] = value
        outs, values = run(closed, full, probes, how)
        return outs[0], values

    try:
        loss, pull, values = jax.vjp(of, [arrays[k] for k in static.differentiated], probes, has_aux=True)
        grads, deltas = pull(jnp.ones_like(loss))
    except ValueError as error:
        if "while_loop" not in str(error):
            raise
        hint = "write lax.scan, or fori_loop of a known length, in its place"
        got = "a while loop within a loop or a branch, which has no reverse mode"
        raise ValueError(message(WHERE, "loops that can be unrolled", got, hint)) from error
    ordered = {labels[key].text: key for key in chosen}
    taken = {}
    for text, key in ordered.items():
        conds = [(Key(path, BRANCH, 0), which) for path, which in places[key.path].branches]
        if conds and all(cond in values for cond, _ in conds):
            taken[text] = jnp.stack([values[cond] == which for cond, which in conds]).all(0)
    return Cotangents(
        loss,
        static.gradients(grads),
        {text: _kept(deltas[key], places[key.path], key, kept) for text, key in ordered.items()},
        {} if kept else {text: values[key] for text, key in ordered.items()},
        taken,
        tuple(_tap(labels[key], places[key.path], key) for key in chosen),
        tuple(_notes(places, labels)),
    )


def _chosen(
    labels: Mapping[Key, Label], places: Mapping[Any, Place], patterns: tuple[str, ...] | None
) -> list[Key]:
    """The values that are looked at, in order."""
    floating = {}
    for key, label in labels.items():
        atom = places[key.path].eqn.outvars[key.number]
        if jnp.issubdtype(atom.aval.dtype, jnp.floating):
            floating[key] = label
    if not floating:
        got = "no floating intermediate value"
        raise ValueError(message(WHERE, "f to compute something", got, "f returns an argument"))
    if patterns is None:
        layers = [key for key, label in floating.items() if label.kind]
        return layers or list(floating)
    texts = {key: (label.text, label.text.partition(" [")[0]) for key, label in floating.items()}
    found = [k for k, t in texts.items() if any(fnmatchcase(x, _escaped(p)) for p in patterns for x in t)]
    if not found:
        words = [x.text for x in floating.values() if x.kind] or [x.text for x in floating.values()]
        there = ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
        got = " or ".join(map(repr, patterns))
        hint = f"there are {there}; '*' is all"
        raise ValueError(message(WHERE, "a pattern that matches a label", got, hint))
    return found


def _escaped(pattern: str) -> str:
    """Brackets mean themselves."""
    return pattern.replace("[", "[[]")


def _probe(place: Place, key: Key, kept: tuple[str, ...]) -> Array:
    """What is added, or what a reduction comes back as the derivative of."""
    atom = place.eqn.outvars[key.number]
    if not kept:
        return jnp.zeros(place.shape_of(atom), atom.aval.dtype)
    axes = [a.size for a in place.axes_of(atom)]
    return jnp.zeros((*axes, len(kept)), _wide(atom.aval.dtype))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _reducing(kept: tuple[str, ...], x: Array, probe: Array) -> Array:
    """``x``, of whose cotangent the probe's is a reduction: no cotangent is kept."""
    return x


def _reduced(kept: tuple[str, ...], _: None, delta: Array) -> tuple[Array, Array]:
    return delta, reduced(kept, delta.astype(_wide(delta.dtype)))


def _wide(dtype: Any) -> Any:
    """In which numbers a delta is reduced: float32 at the least."""
    return jnp.promote_types(dtype, jnp.float32)


_reducing.defvjp(lambda kept, x, probe: (x, None), _reduced)


def _kept(delta: Array, place: Place, key: Key, kept: tuple[str, ...]) -> Any:
    """A delta as it is, or its reductions, those of all devices made one."""
    if not kept:
        return delta
    axes = [a.kind for a in place.axes_of(place.eqn.outvars[key.number])]
    numbers = {}
    for i, word in enumerate(kept):
        number = delta[..., i]
        if DEVICE in axes:
            number = REDUCTIONS[word].over(number, axis=axes.index(DEVICE))
        numbers[word] = REDUCTIONS[word].last(number)
    return numbers


def _tap(label: Label, place: Place, key: Key) -> Tap:
    atom = place.eqn.outvars[key.number]
    axes = tuple(a.kind for a in place.axes_of(atom))
    return Tap(label.text, label.kind, label.operation, label.where, place.shape_of(atom), axes)


def _notes(places: Mapping[Any, Place], labels: Mapping[Key, Label]) -> list[str]:
    """What was not entered, and why."""
    notes = []
    for path, place in places.items():
        inside = sum(len(inner.eqns) for inner in subjaxprs(place.eqn))
        label = labels.get(Key(path, OUT, 0))
        if not inside or label is None or label.operation in FUNCTIONS:
            continue
        why = (
            "its rule gives the derivative of the whole" if place.eqn.primitive in KINDS
            else f"{place.eqn.primitive.name} is run as a whole"
        )  # fmt: skip
        at = f" at {label.where.rpartition('/')[2]}" if label.where else ""
        notes.append(f"{label.text}{at}: {inside} operations inside have no delta: {why}")
    return notes
