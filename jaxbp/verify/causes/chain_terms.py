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
from jaxbp.jaxprs.internals import scan_of, scan_parts
from jaxbp.jaxprs.loops import unrolled
from jaxbp.jaxprs.rules import beneath, written_at
from jaxbp.jaxprs.widest_dtype import raised, widened
from jaxbp.verify import tolerances
from jaxbp.verify.causes.changed import changed, is_square
from jaxbp.verify.maps.pullback import is_float, wide

EDGE_LIMIT = 200
# Entries of all the derivatives together.
SIZE_LIMIT = 10_000_000
SAMPLES = 4
# Of so many candidates the first that fits is taken: the edges of one path carry the same.
NEAREST = 8
# So many times a term is taken in every step of a loop, besides not at all.
LOOPED = (-1.0, 0.5, 2.0)
# Operations on single entries (or along one axis) whose derivative is more than a sign.
CURVED = {
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "clamp", "cos", "cosh", "cumprod",
    "cumsum", "digamma", "div", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "integer_pow", "lgamma",
    "log", "log1p", "logistic", "mul", "pow", "rev", "rsqrt", "sin", "sinh", "sqrt", "square", "tan",
    "tanh",
}  # fmt: skip


class Edge(NamedTuple):
    """The use of a value by an operation, in the step of a loop or not."""

    eqn: Any
    value: Any
    looped: bool


class Choice(NamedTuple):
    """Another derivative of one operation: that of the identity, or that of another of its branches."""

    eqn: Any
    value: int | str
    words: str


class Term(NamedTuple):
    """A mistake in one operation: the cause, and the sentence with ``{place}`` for where it stands."""

    cause: str
    sentence: str
    eqn: Any


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
    flows, or from one step of a loop to the next, the transposed operator may have been applied instead; an
    operation may have been given the slope 1, or that of the branch that was not taken.
    """
    inputs = [raised(x) for x in inputs]
    xs = [inputs[moving[a]] for a in arguments]
    body = unrolled(flattened(widened(primal)), inputs)
    edges, choices = _edges(body, False), _choices(body)
    square = [k for k, e in enumerate(edges) if is_square(e.value.aval.shape)]
    looped = [(k, w) for k, e in enumerate(edges) if e.looped for w in LOOPED]
    samples, rows = samples[:SAMPLES], 1 + len(edges) + len(square) + len(looped) + len(choices)
    if not 1 < len(edges) <= EDGE_LIMIT or rows * len(samples) * sum(x.size for x in xs) > SIZE_LIMIT:
        return {}

    def pull(changes: dict[Any, Any], cts: Sequence[Any]) -> Any:
        def f(*values: Any) -> list[Any]:
            full = list(inputs)
            for a, value in zip(arguments, values, strict=True):
                full[moving[a]] = value
            return [y for y in changed(body, changes, full) if is_float(y)]

        return jax.vjp(f, *xs)[1](list(cts))

    def each(table: Any, cts: Sequence[Any]) -> Any:
        keys = [(id(e.eqn), e.value) for e in edges]
        others = [(id(c.eqn), c.value) for c in choices]

        def one(row: Any) -> Any:
            weights, turned, chosen = row
            changes = dict(zip(keys, zip(weights, turned, strict=True), strict=True))
            return pull(changes | dict(zip(others, chosen, strict=True)), cts)

        return jax.lax.map(one, table)

    def results(run: Callable[..., Any], count: int, *table: Any) -> list[np.ndarray]:
        """For each argument ``count`` rows, all samples side by side."""
        found = [[wide(y).reshape(count, -1) for y in run(*table, s.cotangent)] for s in samples]
        return [np.concatenate(parts, 1) for parts in zip(*found, strict=True)]

    # The first row keeps every edge, each further one drops one, then some turn one, weigh one in a loop,
    # and take another choice.
    one, count = np.eye(len(edges)), len(edges)
    weights, turns = np.ones((rows, count)), np.zeros((rows, count), bool)
    weights[1 : count + 1] -= one
    turns[count + 1 : count + 1 + len(square)] = one[square]
    for row, (k, w) in enumerate(looped, count + 1 + len(square)):
        weights[row, k] = w
    chosen = np.zeros((rows, len(choices)), bool)
    chosen[rows - len(choices) :] = np.eye(len(choices))
    run = jitted(each, inputs)

    def looked(still: np.ndarray) -> list[np.ndarray]:
        """What becomes of the derivatives, with some edges held still."""
        kept = jnp.asarray(weights * (1 - still), xs[0].real.dtype)
        return results(run, rows, (kept, jnp.asarray(turns), jnp.asarray(chosen)))

    @cache
    def steps_turned(k: int) -> list[np.ndarray]:
        return results(jitted(partial(pull, {(id(loops[k]), None): True}), inputs), 1)

    names = [
        *(Term("transposed", "what flows back {place} is transposed", edges[k].eqn) for k in square),
        *(Term(*_times(w, tolerance), edges[k].eqn) for k, w in looped),
        *(Term("missing_term", c.words, c.eqn) for c in choices),
    ]
    loops, found, first = _scans(body), {}, looked(np.zeros(len(edges)))
    for k, a in enumerate(arguments):
        gap = np.concatenate([(s.rule[a] - s.reference[a]).ravel() for s in samples])
        term, right = _explain(first[k], gap, edges, names, tolerance), first[k][0]
        # What flows along them cancels (the maximum that a softmax subtracts): people leave it out at once.
        lost = np.linalg.norm(right - first[k][1 : len(edges) + 1], axis=1)
        idle = lost <= tolerances.NOTHING * np.linalg.norm(right)
        if term is None and idle.any():
            again = looked(idle.astype(float))[k]
            if _near(right, again[0], tolerances.REPRODUCED):
                term = _explain(again, gap, edges, names, tolerance)
        for n, loop in enumerate(loops):
            if term is None and _near(gap, steps_turned(n)[k][0] - right, tolerance):
                term = Term("transposed", "what flows back {place} is transposed", loop)
        if term:
            found[a] = term
    return found


def _times(k: complex, tolerance: float) -> tuple[str, str]:
    """The cause and the sentence for a term that is taken ``k`` times instead of once."""
    if abs(k) < tolerance:
        return "missing_term", "the term {place} is left out"
    if abs(k + 1) < tolerance:
        return "sign", "the term {place} has the wrong sign"
    return "factor", f"the term {{place}} is taken {np.real(k):.6g} times"


def _edges(closed: Any, looped: bool) -> list[Edge]:
    """Every use of a floating value, also in the steps of loops."""
    found = []
    for eqn in closed.jaxpr.eqns:
        used = dict.fromkeys(v for v in eqn.invars if isinstance(v, core.Var) and is_float(v.aval))
        found += [Edge(eqn, v, looped) for v in used]
        if eqn.primitive is primitives.scan_p:
            found += _edges(scan_of(eqn).body, True)
    return found


def _choices(closed: Any) -> list[Choice]:
    """Other derivatives that an operation may have been given, also in the steps of loops."""
    found = []
    for eqn in closed.jaxpr.eqns:
        name = eqn.primitive.name
        if name == "select_n" and len(eqn.invars) == 3:
            found.append(Choice(eqn, "other", "the rule is that of the other branch {place}"))
            branch = "the rule is that of branch {} everywhere {{place}}"
            found += [Choice(eqn, 1 + k, branch.format(k)) for k in range(2)]
        elif name in ("max", "min"):
            found.append(Choice(eqn, "other", "the rule is that of the other side {place}"))
        if name in CURVED or name in ("max", "min"):
            out: Any = eqn.outvars[0].aval
            for k, v in enumerate(eqn.invars):
                if isinstance(v, core.Var) and is_float(v.aval) and _shape(v) == out.shape:
                    found.append(Choice(eqn, k, "the slope {place} is left out (taken as 1)"))
        if eqn.primitive is primitives.scan_p:
            found += _choices(scan_of(eqn).body)
    return found


def _shape(v: Any) -> Any:
    return v.aval.shape


def _scans(closed: Any) -> list[Any]:
    """Every loop that hands a floating state from step to step."""
    found = []
    for eqn in closed.jaxpr.eqns:
        if eqn.primitive is primitives.scan_p:
            state = eqn.invars[slice(*scan_parts(eqn))]
            found += [eqn] * any(is_float(v.aval) for v in state) + _scans(scan_of(eqn).body)
    return found


def _explain(
    values: np.ndarray, rest: np.ndarray, edges: list[Edge], names: list[Term], tolerance: float
) -> Term | None:
    """The edges whose parts ``rest`` leaves out, the one of which it holds a multiple, or another change."""
    if not np.isfinite(rest).all() or rest.size < 3:
        return None
    values = np.where(np.isfinite(values).all(1, keepdims=True), values, values[:1])
    parts = values[0] - values[1 : len(edges) + 1]
    power = np.real(parts @ parts.conj().T)
    size, own, along = np.linalg.norm(rest) ** 2, np.diag(power), parts.conj() @ rest
    # The squared distances when one edge is left out, or two, or one left out and another taken twice.
    one = size + 2 * np.real(along) + own
    two = one[:, None] + one[None] - size + 2 * power
    # Two edges in a row carry the same term: dropping it twice is another mistake.
    same = np.abs(power) >= (1 - tolerances.NOTHING) * np.sqrt(np.outer(own, own))
    two[same] = np.inf
    # Terms left out come first: half of x * x with the other sign looks the same as all of it left out.
    for distances in (one, two):
        nearest = np.argsort(distances, axis=None)[:NEAREST]
        for k in sorted(nearest[np.isfinite(distances.flat[nearest])]):
            chosen = np.unravel_index(k, distances.shape)
            if _near(rest, -parts[list(chosen)].sum(0), tolerance):
                return Term(*_times(0, tolerance), edges[min(chosen)].eqn)
    with np.errstate(all="ignore"):
        factors = np.where(own > 0, along / own, 0)
        distances = size - np.abs(factors) ** 2 * own
    for k in sorted(np.argsort(distances)[:NEAREST]):
        if _near(rest, factors[k] * parts[k], tolerance):
            return Term(*_times(1 + factors[k], tolerances.LOOSER * tolerance), edges[k].eqn)
    for there, term in zip(values[len(edges) + 1 :], names, strict=True):
        if _near(rest, there - values[0], tolerance):
            return term
    # One wrong number divides two means.
    with np.errstate(all="ignore"):
        both = own[:, None] + own[None] + 2 * power
        share = np.where(both > 0, (along[:, None] + along[None]) / both, 0)
        apart = size - np.abs(share) ** 2 * both
    apart[same] = np.inf
    for k in np.argsort(apart, axis=None)[:NEAREST]:
        chosen = np.unravel_index(k, apart.shape)
        if np.isfinite(apart.flat[k]) and _near(rest, share.flat[k] * parts[list(chosen)].sum(0), tolerance):
            cause, sentence = _times(1 + share.flat[k], tolerances.LOOSER * tolerance)
            return Term(cause, f"{sentence}, and so is another", edges[min(chosen)].eqn)
    minus = np.real(along)
    twice = size + own[:, None] + own[None] - 2 * minus[:, None] + 2 * minus[None] - 2 * power
    twice[same] = np.inf
    for k in np.argsort(twice, axis=None)[:1]:
        more, less = np.unravel_index(k, twice.shape)
        if np.isfinite(twice.flat[k]) and _near(rest, parts[more] - parts[less], tolerance):
            sentence = "the term {place} is left out, another is taken twice"
            return Term("missing_term", sentence, edges[less].eqn)
    return None


def _near(rest: np.ndarray, change: np.ndarray, tolerance: float) -> bool:
    return bool(np.linalg.norm(rest - change) <= tolerance * np.linalg.norm(rest))


def place(eqn: Any) -> str:
    """An operation in words, with the line of the user's that it comes from."""
    where = written_at(eqn)
    return f"through {eqn.primitive.name}" + (f" at {beneath(where)}" if where else "")
