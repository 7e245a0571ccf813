"""Which term of the chain rule is missing: the derivative along single edges of the computation."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.verify.compiling import jitted
from jaxbp.verify.interpret import interpret, single
from jaxbp.verify.references import is_float, wide
from jaxbp.verify.rules import LIBRARY, flattened
from jaxbp.verify.widened import raised, widened

EDGE_LIMIT = 80


class Term(NamedTuple):
    """A part of the derivative that the rule took ``factor`` times instead of once, or ``turned``."""

    factor: float
    primitive: str
    where: str
    turned: bool = False


def odd_term(
    eqn: Any,
    inputs: Sequence[Any],
    moving: Sequence[int],
    argument: int,
    samples: Sequence[Any],
    tolerance: float,
) -> Term | None:
    """The one term of the derivative (or two, left out together) that explains rule - reference.

    The primal body is evaluated with a weight on each edge between two operations; a weight scales the
    derivative that flows along the edge and leaves the value alone. What the derivative loses when a
    weight becomes zero is the contribution of that edge. Where a square matrix flows, it may also have
    been transposed on its way back.
    """
    body = flattened(widened(eqn.params["call_jaxpr"]))
    inputs = [raised(x) for x in inputs]
    edges = list(dict.fromkeys(
        (n, v) for n, e in enumerate(body.jaxpr.eqns) for v in e.invars
        if isinstance(v, core.Var) and is_float(v.aval)
    ))  # fmt: skip
    if not 1 < len(edges) <= EDGE_LIMIT:
        return None
    shapes = [getattr(v.aval, "shape", ()) for _, v in edges]
    square = [k for k, shape in enumerate(shapes) if is_square(shape)]

    def pull(weights: Any, turns: Any, cts: Sequence[Any]) -> Any:
        def f(x: Any) -> list[Any]:
            full = list(inputs)
            full[moving[argument]] = x
            return [y for y in _weighted(body, edges, weights, turns, full) if is_float(y)]

        return jax.vjp(f, inputs[moving[argument]])[1](list(cts))[0]

    # The first row keeps every edge, each further one drops one, the last ones turn one.
    one = np.eye(len(edges))
    dropped = np.concatenate([np.zeros((1, len(edges))), one, 0 * one[square]])
    turned = np.concatenate([np.zeros((1 + len(edges), len(edges))), one[square]])
    table = jnp.asarray(1 - dropped, inputs[moving[argument]].real.dtype), jnp.asarray(turned, bool)
    rows = jitted(lambda cts: jax.lax.map(lambda row: pull(row[0], row[1], cts), table), inputs)
    changes, rest = [], []
    for s in samples[:4]:
        values = wide(rows(s.cotangent))
        changes.append((values[1:] - values[0]).reshape(len(values) - 1, -1))
        rest.append((s.rule[argument] - s.reference[argument]).ravel())
    every, gap = np.concatenate(changes, 1), np.concatenate(rest)
    found = _explain(-every[: len(edges)], gap, body, edges, tolerance)
    for k, change in zip(square, every[len(edges) :], strict=True):
        if found is None and np.linalg.norm(gap - change) <= tolerance * np.linalg.norm(gap):
            found = Term(1.0, *_place(body.jaxpr.eqns[edges[k][0]]), turned=True)
    return found


def _explain(
    parts: np.ndarray, rest: np.ndarray, body: Any, edges: list[tuple[int, Any]], tolerance: float
) -> Term | None:
    if not np.isfinite(parts).all() or not np.isfinite(rest).all() or rest.size < 3:
        return None
    size = np.linalg.norm(rest)

    def explains(change: np.ndarray) -> bool:
        return bool(np.linalg.norm(rest - change) <= tolerance * size)

    # Terms left out come first: half of x * x with the other sign looks the same as all of it left out.
    for count in (1, 2):
        for chosen in (c for c in combinations(range(len(parts)), count) if not _parallel(parts[list(c)])):
            # Two edges in a row carry the same term: dropping it twice is another mistake.
            if explains(-sum(parts[k] for k in chosen)):
                return Term(0.0, *_place(body.jaxpr.eqns[edges[chosen[0]][0]]))
    for part, (n, _) in zip(parts, edges, strict=True):
        power = np.vdot(part, part)
        if power > 0:
            k = np.vdot(part, rest) / power
            if explains(k * part):
                return Term(float(np.real(1 + k)), *_place(body.jaxpr.eqns[n]))
    return None


def is_square(shape: Sequence[int]) -> bool:
    """Whether the last two axes are equally long."""
    return len(shape) > 1 and shape[-1] == shape[-2]


def _parallel(parts: np.ndarray) -> bool:
    """Whether two contributions are multiples of each other."""
    if len(parts) < 2:
        return False
    product = np.linalg.norm(parts[0]) * np.linalg.norm(parts[1])
    return bool(abs(np.vdot(parts[0], parts[1])) >= (1 - 1e-9) * product)


def _place(eqn: Any) -> tuple[str, str]:
    frames = eqn.source_info.traceback.frames if eqn.source_info.traceback is not None else ()
    own = next((f for f in frames if not f.file_name.startswith(LIBRARY)), None)
    return eqn.primitive.name, f"{own.file_name}:{own.line_num}" if own else ""


def _weighted(
    body: Any, edges: list[tuple[int, Any]], weights: Any, turns: Any, inputs: Sequence[Any]
) -> list[Any]:
    """The outputs of the body, with each edge's derivative scaled by its weight or transposed."""
    number = {edge: k for k, edge in enumerate(edges)}

    def each(n: int, eqn: Any, values: list[Any]) -> Sequence[Any]:
        for p, (v, value) in enumerate(zip(eqn.invars, values, strict=True)):
            if isinstance(v, core.Var) and (n, v) in number:
                k = number[n, v]
                still = jax.lax.stop_gradient(value)
                # Where the value is infinite the difference below would be NaN.
                gap = jnp.where(jnp.isfinite(still), value - still, 0)
                if is_square(gap.shape):
                    gap = jnp.where(turns[k], jnp.swapaxes(gap, -1, -2), gap)
                values[p] = (still + weights[k] * gap).astype(value.dtype)
        return single(eqn, body.jaxpr.debug_info)(*values)

    return interpret(body, inputs, each)
