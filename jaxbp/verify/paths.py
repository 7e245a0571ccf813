"""Which term of the chain rule is missing: the derivative along single edges of the computation."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.verify.interpret import interpret, single
from jaxbp.verify.references import is_float, wide
from jaxbp.verify.rules import LIBRARY, flattened

EDGE_LIMIT = 80


class Term(NamedTuple):
    """A part of the derivative that the rule took ``factor`` times instead of once."""

    factor: float
    primitive: str
    where: str


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
    weight becomes zero is the contribution of that edge.
    """
    body = flattened(eqn.params["call_jaxpr"])
    edges = [
        (n, p) for n, e in enumerate(body.jaxpr.eqns) for p, v in enumerate(e.invars)
        if isinstance(v, core.Var) and is_float(v.aval)
    ]  # fmt: skip
    if not 1 < len(edges) <= EDGE_LIMIT:
        return None

    def pull(weights: Any, cts: Sequence[Any]) -> Any:
        def f(x: Any) -> list[Any]:
            full = list(inputs)
            full[moving[argument]] = x
            return [y for y in _weighted(body, edges, weights, full) if is_float(y)]

        return jax.vjp(f, inputs[moving[argument]])[1](list(cts))[0]

    # The first row keeps every edge, each further one drops one.
    table = jnp.asarray(1 - np.eye(len(edges) + 1)[:, 1:], inputs[moving[argument]].real.dtype)
    rows = jax.jit(lambda cts: jax.lax.map(lambda w: pull(w, cts), table))
    lost, rest = [], []
    for s in samples[:4]:
        values = wide(rows(s.cotangent))
        lost.append((values[0] - values[1:]).reshape(len(edges), -1))
        rest.append((s.rule[argument] - s.reference[argument]).ravel())
    return _explain(np.concatenate(lost, 1), np.concatenate(rest), body, edges, tolerance)


def _explain(
    parts: np.ndarray, rest: np.ndarray, body: Any, edges: list[tuple[int, int]], tolerance: float
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


def _weighted(body: Any, edges: list[tuple[int, int]], weights: Any, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of the body, with each edge's derivative scaled by its weight."""
    number = {edge: k for k, edge in enumerate(edges)}

    def each(n: int, eqn: Any, values: list[Any]) -> Sequence[Any]:
        for p, value in enumerate(values):
            if (n, p) in number:
                still = jax.lax.stop_gradient(value)
                # Where the value is infinite the difference below would be NaN.
                gap = jnp.where(jnp.isfinite(still), value - still, 0)
                values[p] = (still + weights[number[n, p]] * gap).astype(value.dtype)
        return single(eqn, body.jaxpr.debug_info)(*values)

    return interpret(body, inputs, each)
