"""Findings in the graph: parameters without a way to the loss, states that are detached."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend.core import primitives

from jaxbp.jaxprs.internals import scan_of, scan_parts
from jaxbp.jaxprs.values.flows import STOP, has_no_derivative, is_stopped, reached
from jaxbp.jaxprs.values.places import inner_of
from jaxbp.jaxprs.values.user_lines import FUNCTIONS, PRODUCTS
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.record import Finding

Use = tuple[str, frozenset[int]]  # a parameter, and its axes that a product sums over
TURNS = 3  # a state that is detached in fewer steps may be cut on purpose


def _without_gradient(m: Measured) -> dict[int, str]:
    """The parameters whose gradient is exactly 0, by number of the input."""
    numbers = m.call.static.differentiated
    names = {k: m.call.names[k] for k in numbers}
    return {k: n for k, n in names.items() if m.gradients[n].size and (m.gradients[n] == 0).all()}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def unused(m: Measured) -> Iterator[Finding]:
    """Parameters without any way to the loss."""
    used = reached(m.closed, {0})
    names = [n for k, n in _without_gradient(m).items() if k not in used]
    if names:
        yield Finding("unused", _listed(names), "", "there is no way from it to the loss")


def cut(m: Measured) -> Iterator[Finding]:
    """Parameters whose every way goes through an operation without a derivative."""
    used, soft = reached(m.closed, {0}), reached(m.closed, {0}, has_no_derivative)
    numbers = [k for k in _without_gradient(m) if k in used and k not in soft]
    if not numbers:
        return
    steps = [
        n for n in m.nodes for i, o in enumerate(n.origins)
        if has_no_derivative(n.place.eqn, i) and o.inputs & set(numbers) and _floats(n, i)
    ]  # fmt: skip
    at = steps[0] if steps else None
    operation = at.label.operation if at else "a whole number"
    evidence = f"every way to the loss goes through {operation}, which has no slope"
    names = [m.call.names[k] for k in numbers]
    yield Finding("cut", _listed(names), at.label.where if at else "", evidence)


def _floats(node: Node, i: int) -> bool:
    dtype = getattr(node.place.eqn.invars[i].aval, "dtype", np.dtype(int))
    return bool(np.issubdtype(dtype, np.floating))


def frozen(m: Measured) -> Iterator[str]:
    """A remark: parameters behind `jax.lax.stop_gradient`."""
    soft, smooth = reached(m.closed, {0}, has_no_derivative), reached(m.closed, {0}, is_stopped)
    names = [n for k, n in _without_gradient(m).items() if k in soft and k not in smooth]
    if names:
        yield f"behind stop_gradient, and so not changed: {_listed(names)}"


def detached_state(m: Measured) -> Iterator[Finding]:
    """The state of a loop whose only way to the next step is behind `jax.lax.stop_gradient`."""
    for eqn, learned in _scans(m):
        n, k = scan_parts(eqn)
        body = scan_of(eqn).body
        nested = any(inner_of(e) and e.primitive is primitives.scan_p for e in body.jaxpr.eqns)
        if scan_of(eqn).length < TURNS or nested:
            continue
        detached: list[int] = []
        attached: list[int] = []
        for i in range(k - n):
            if not np.issubdtype(getattr(body.in_avals[n + i], "dtype", np.dtype(int)), np.floating):
                continue
            open_, smooth = reached(body, {i}, has_no_derivative), reached(body, {i}, is_stopped)
            states = set(range(n, k))
            if open_ & states and learned:
                (attached if smooth & states else detached).append(i)
        if detached and not attached:
            where = next((x.label.where for x in m.nodes if eqn in x.place.around and x.name == STOP), "")
            evidence = f"none of its {scan_of(eqn).length} steps passes a delta on to the step before"
            yield Finding("detached_state", "the state of a scan", where, evidence)
            return
    yield from _unrolled(m)


def _scans(m: Measured) -> Iterator[tuple[Any, bool]]:
    seen = set()
    for node in m.nodes:
        for eqn in node.place.around:
            if eqn.primitive is primitives.scan_p and id(eqn) not in seen:
                seen.add(id(eqn))
                inside = [x for x in m.nodes if eqn in x.place.around]
                yield eqn, any(x.learned for x in inside)


def _unrolled(m: Measured) -> Iterator[Finding]:
    """A loop in Python: one weight in many products, nearly all of whose states are detached."""
    uses: Counter[Use] = Counter()
    stopped: dict[Use, list[Node]] = {}
    for node in m.nodes:
        use = _use(m, node)
        if use is not None:
            uses[use] += 1
            for stop in _stops_before(m, node):
                # A power iteration goes through its matrix forth and back: that is no state.
                made = next((u for b in m.before(stop.out) if (u := _use(m, b)) and u[0] == use[0]), None)
                if made in (None, use):
                    stopped.setdefault(use, []).append(stop)
    for use, stops in stopped.items():
        if uses[use] >= TURNS and len(stops) >= 0.7 * (uses[use] - 1):
            evidence = f"in {len(stops)} of {uses[use]} steps the state goes through stop_gradient"
            yield Finding("detached_state", f"the state before {use[0]}", stops[0].label.where, evidence)
            return


def _use(m: Measured, node: Node) -> Use | None:
    """The parameter of a product, and which of its axes are summed; None of anything else."""
    i = next((i for i, o in enumerate(node.origins) if o.parameter), None)
    if node.name not in PRODUCTS or i is None:
        return None
    origin = node.origins[i]
    summed = node.place.eqn.params["dimension_numbers"][0][i] if node.name == "dot_general" else ()
    axes = m.axes.get(origin.key) if origin.key is not None else None
    return origin.parameter, frozenset({a for s in summed for _, a in axes[s]} if axes else summed)


def _stops_before(m: Measured, product: Node) -> Iterator[Node]:
    """The stop_gradient, if any, right before a product's data, which depend on a parameter."""
    for origin in product.origins:
        key = None if origin.parameter else origin.key
        while key is not None and key.path in m.by_path:
            node = m.by_path[key.path]
            if node.name == STOP:
                if node.learned and node.label.operation not in FUNCTIONS:
                    yield node
                break
            if node.name not in (
                "reshape",
                "broadcast_in_dim",
                "squeeze",
                "concatenate",
                "convert_element_type",
            ):
                break
            key = next((o.key for o in node.origins if o.key is not None), None)
