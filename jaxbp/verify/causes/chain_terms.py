"""Which term of the chain rule is missing: the derivative along single edges of the computation."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.extend.core import primitives

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.internals import as_closed, scan_of, scan_parts
from jaxbp.jaxprs.loops import scanned, unrolled
from jaxbp.jaxprs.rules import written_at
from jaxbp.jaxprs.walk import evaluate, single
from jaxbp.jaxprs.widest_dtype import raised, widened
from jaxbp.verify.maps.pullback import is_float, wide

EDGE_LIMIT = 200
# Entries of all the derivatives together.
SIZE_LIMIT = 10_000_000
SAMPLES = 4
# Of so many candidates the first that fits is taken: the edges of one path carry the same.
NEAREST = 8
# An edge whose loss changes no more of the derivative than this part carries nothing in all.
IDLE = 1e-9


class Edge(NamedTuple):
    """The use of a value by an operation."""

    eqn: Any
    value: Any


class Term(NamedTuple):
    """A part of the derivative that the rule took ``factor`` times instead of once, or ``turned``."""

    factor: float
    primitive: str
    where: str
    turned: bool = False


def odd_terms(
    primal: Any,
    inputs: Sequence[Any],
    moving: Sequence[int],
    arguments: Sequence[int],
    samples: Sequence[Any],
    tolerance: float,
) -> dict[int, Term]:
    """For each argument the one term of its derivative (or two, left out together) that explains the rule.

    The primal body is evaluated with a weight on each edge between two operations, in all steps of a loop at
    once; a weight scales the derivative that flows along the edge and leaves the value alone. What the
    derivative loses when a weight becomes zero is the contribution of that edge. Where a square matrix
    flows, or from one step of a loop to the next, the transposed operator may have been applied instead.
    """
    inputs = [raised(x) for x in inputs]
    xs = [inputs[moving[a]] for a in arguments]
    body = unrolled(flattened(widened(primal)), inputs)
    edges = _edges(body)
    square = [k for k, e in enumerate(edges) if is_square(e.value.aval.shape)]
    samples, rows = samples[:SAMPLES], 1 + len(edges) + len(square)
    if not 1 < len(edges) <= EDGE_LIMIT or rows * len(samples) * sum(x.size for x in xs) > SIZE_LIMIT:
        return {}

    def pull(changes: dict[Any, Any], cts: Sequence[Any]) -> Any:
        def f(*values: Any) -> list[Any]:
            full = list(inputs)
            for a, value in zip(arguments, values, strict=True):
                full[moving[a]] = value
            return [y for y in _changed(body, changes, full) if is_float(y)]

        return jax.vjp(f, *xs)[1](list(cts))

    def each(table: Any, cts: Sequence[Any]) -> Any:
        keys = [(id(e.eqn), e.value) for e in edges]
        return jax.lax.map(lambda row: pull(dict(zip(keys, zip(*row, strict=True), strict=True)), cts), table)

    def results(run: Callable[..., Any], count: int, *table: Any) -> list[np.ndarray]:
        """For each argument ``count`` rows, all samples side by side."""
        found = [[wide(y).reshape(count, -1) for y in run(*table, s.cotangent)] for s in samples]
        return [np.concatenate(parts, 1) for parts in zip(*found, strict=True)]

    # The first row keeps every edge, each further one drops one, the last ones turn one.
    one = np.eye(len(edges))
    dropped = np.concatenate([np.zeros((1, len(edges))), one, 0 * one[square]])
    turned = jnp.asarray(np.concatenate([np.zeros((1 + len(edges), len(edges))), one[square]]), bool)
    run = jitted(each, inputs)

    def looked(still: np.ndarray) -> list[np.ndarray]:
        """What becomes of the derivatives, with some edges held still."""
        return results(run, rows, (jnp.asarray((1 - dropped) * (1 - still), xs[0].real.dtype), turned))

    @cache
    def steps_turned(k: int) -> list[np.ndarray]:
        return results(jitted(partial(pull, {(id(loops[k]), None): True}), inputs), 1)

    loops, found, first = _scans(body), {}, looked(np.zeros(len(edges)))
    for k, a in enumerate(arguments):
        gap = np.concatenate([(s.rule[a] - s.reference[a]).ravel() for s in samples])
        term, right = _explain(first[k], gap, edges, square, tolerance), first[k][0]
        # What flows along them cancels (the maximum that a softmax subtracts): people leave it out at once.
        lost = np.linalg.norm(right - first[k][1 : len(edges) + 1], axis=1)
        idle = lost <= IDLE * np.linalg.norm(right)
        if term is None and idle.any():
            again = looked(idle.astype(float))[k]
            if _near(right, again[0], 1e-6):
                term = _explain(again, gap, edges, square, tolerance)
        for n, loop in enumerate(loops):
            if term is None and _near(gap, steps_turned(n)[k][0] - right, tolerance):
                term = Term(1.0, *_place(loop), turned=True)
        if term:
            found[a] = term
    return found


def _edges(closed: Any) -> list[Edge]:
    """Every use of a floating value, also in the steps of loops."""
    found = []
    for eqn in closed.jaxpr.eqns:
        used = dict.fromkeys(v for v in eqn.invars if isinstance(v, core.Var) and is_float(v.aval))
        found += [Edge(eqn, v) for v in used]
        if eqn.primitive is primitives.scan_p:
            found += _edges(scan_of(eqn).body)
    return found


def _scans(closed: Any) -> list[Any]:
    """Every loop that hands a floating state from step to step."""
    found = []
    for eqn in closed.jaxpr.eqns:
        if eqn.primitive is primitives.scan_p:
            state = eqn.invars[slice(*scan_parts(eqn))]
            found += [eqn] * any(is_float(v.aval) for v in state) + _scans(scan_of(eqn).body)
    return found


def _explain(
    values: np.ndarray, rest: np.ndarray, edges: list[Edge], square: list[int], tolerance: float
) -> Term | None:
    """The edges whose parts ``rest`` leaves out, the one of which it holds a multiple, or the one turned."""
    if not np.isfinite(values).all() or not np.isfinite(rest).all() or rest.size < 3:
        return None
    parts = values[0] - values[1 : len(edges) + 1]
    power = np.real(parts @ parts.conj().T)
    size, own, along = np.linalg.norm(rest) ** 2, np.diag(power), parts.conj() @ rest
    # The squared distances when one edge is left out, or two.
    one = size + 2 * np.real(along) + own
    two = one[:, None] + one[None] - size + 2 * power
    # Two edges in a row carry the same term: dropping it twice is another mistake.
    two[np.abs(power) >= (1 - 1e-9) * np.sqrt(np.outer(own, own))] = np.inf
    # Terms left out come first: half of x * x with the other sign looks the same as all of it left out.
    for distances in (one, two):
        nearest = np.argsort(distances, axis=None)[:NEAREST]
        for k in sorted(nearest[np.isfinite(distances.flat[nearest])]):
            chosen = np.unravel_index(k, distances.shape)
            if _near(rest, -parts[list(chosen)].sum(0), tolerance):
                return Term(0.0, *_place(edges[min(chosen)].eqn))
    with np.errstate(all="ignore"):
        factors = np.where(own > 0, along / own, 0)
        distances = size - np.abs(factors) ** 2 * own
    for k in sorted(np.argsort(distances)[:NEAREST]):
        if _near(rest, factors[k] * parts[k], tolerance):
            return Term(float(np.real(1 + factors[k])), *_place(edges[k].eqn))
    for k, there in zip(square, values[len(edges) + 1 :], strict=True):
        if _near(rest, there - values[0], tolerance):
            return Term(1.0, *_place(edges[k].eqn), turned=True)
    return None


def _near(rest: np.ndarray, change: np.ndarray, tolerance: float) -> bool:
    return bool(np.linalg.norm(rest - change) <= tolerance * np.linalg.norm(rest))


def is_square(shape: Sequence[int]) -> bool:
    """Whether the last two axes are equally long."""
    return len(shape) > 1 and shape[-1] == shape[-2]


def _place(eqn: Any) -> tuple[str, str]:
    return eqn.primitive.name, written_at(eqn)


def _changed(closed: Any, changes: dict[Any, Any], inputs: Sequence[Any]) -> list[Any]:
    """The outputs, with derivatives changed: a weight for each (equation, value), and whether it is turned.

    With None for the value, what a loop hands to its next step is turned.
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
            return single(eqn, closed.jaxpr.debug_info)(*values)

        def step(*args: Any) -> list[Any]:
            return _changed(scan_of(eqn).body, changes, args)

        if (id(eqn), None) in changes:
            step = _turned(step, range(*scan_parts(eqn)))
        return scanned(eqn, values, step)

    return evaluate(as_closed(closed), inputs, each)


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
