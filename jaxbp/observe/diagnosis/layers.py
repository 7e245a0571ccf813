"""Findings in the layers: deltas that vanish, explode, or are lost."""

from collections.abc import Iterator
from itertools import chain, pairwise

import numpy as np

from jaxbp.jaxprs.values.labels import A
from jaxbp.jaxprs.values.places import Path
from jaxbp.observe.diagnosis.activations import is_relu
from jaxbp.observe.diagnosis.inputs import first_products
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.record import Finding
from jaxbp.observe.diagnosis.softmax import softmaxes

SHARE = 0.5
RATIO = 1e3
FORGOTTEN = 1e7  # in time gated cells forget by halves; below the rounding of float32 nothing is left
STEPS = 8
DEEP = 4  # layers, each of which doubles its values
CLIP = 0.3
GUARD = 1e-3  # so far from 0 or 1 a bound is a guard of probabilities
BESIDE = 100.0
PARTS = {"slice", "dynamic_slice", "gather", "split"}
TINY = {"div": 1e-6, "rsqrt": 1e-10}


def _norms(m: Measured) -> Iterator[tuple[str, Node, Node, float, float]]:
    """Norms of deltas at both ends: in depth, and over the uses of one weight."""
    products = [n for n in m.nodes if n.label.kind == A and n.out in m.deltas]
    uses: dict[str, list[Node]] = {}
    for node in products:
        if not node.stepped:
            uses.setdefault(node.label.module, []).append(node)
    for nodes in uses.values():
        if len(nodes) >= STEPS:
            ends = [float(np.linalg.norm(m.deltas[n.out])) for n in (nodes[0], nodes[-1])]
            yield "its first use", nodes[0], nodes[-1], ends[0], ends[1]
    reading = {n.place.path for n, _ in first_products(m)}
    first = [n for nodes in uses.values() if len(nodes) < STEPS for n in nodes]
    starts = [n for n in first if n.place.path in reading or _after_first(m, n, reading)]
    norms = {n.place.path: float(np.linalg.norm(m.deltas[n.out])) for n in starts}
    starts = [n for n in starts if norms[n.place.path] > 0]
    if len(starts) >= 2:
        # Heads side by side, each in its own unit, are the end together.
        read = {b.place.path for n in starts for b in m.before(n.out) if b is not n}
        last = [n for n in starts if n.place.path not in read]
        size = float(np.linalg.norm([norms[n.place.path] for n in last]))
        yield "the first layer", starts[0], last[-1], norms[starts[0].place.path], size


def _after_first(m: Measured, node: Node, reading: set[Path]) -> bool:
    return any(o.learned and not o.parameter for o in node.origins) or any(
        b.place.path in reading for b in m.before(node.out)
    )


def _in_time(m: Measured) -> Iterator[tuple[str, Node, Node, float, float]]:
    """Norms of deltas at both ends of a loop."""
    groups: dict[int, list[Node]] = {}
    for node in m.nodes:
        if node.label.kind in ("state", "named", "f") and node.out in m.deltas and len(node.place.axes) == 1:
            size = node.place.axes[0].size
            state = node.label.kind == "state" or node.out.path in _states(m)
            if state and node.place.axes[0].kind == "step" and size >= STEPS:
                groups.setdefault(id(node.place.around[-1]), []).append(node)
    for nodes in groups.values():
        squares = sum((m.deltas[n.out].reshape(len(m.deltas[n.out]), -1) ** 2).sum(1) for n in nodes)
        backwards = nodes[0].place.around[-1].params["reverse"]
        steps = np.sqrt(np.asarray(squares))[:: -1 if backwards else 1]
        there = np.flatnonzero(steps)
        if there.size and there[-1] >= STEPS - 1:
            yield "the first step", nodes[0], nodes[0], float(steps[0]), float(steps[there[-1]])


def _states(m: Measured) -> set[Path]:
    return {n.out.path for n in m.nodes if n.label.kind == "state"}


def vanishing(m: Measured) -> Iterator[Finding]:
    """The delta at the start is a thousandth of that at the end, or less; in time, next to nothing."""
    for ratio, ends in ((RATIO, _norms(m)), (FORGOTTEN, _in_time(m))):
        for what, node, _, first, last in ends:
            small = last > 0 and first < last / ratio and np.isfinite(last)
            if small and not (ratio == RATIO and _is_beside(m, node, first)):
                evidence = f"the delta of {what} has {first / last:.2g} of the norm at the last"
                yield Finding("vanishing", node.label.text, node.label.where, evidence)
                return


def _is_beside(m: Measured, product: Node, delta: float) -> bool:
    """Whether the data that a product reads whole have their delta by another way: it is a branch."""
    given: set[int] = set()
    for origin in product.origins:
        if not origin.learned and not any(b.name in PARTS for b in m.before(origin.key)):
            given |= m.sources(origin)
    return any(np.linalg.norm(d) > BESIDE * delta for k, d in m.batch_deltas.items() if k in given)


def exploding(m: Measured) -> Iterator[Finding]:
    """The delta at the start is a thousand times that at the end, or values grow as much on the way."""
    for what, node, _, first, last in chain(_norms(m), _in_time(m)):
        if last > 0 and first > last * RATIO and np.isfinite(first):
            evidence = f"the delta of {what} has {first / last:.2g} times the norm at the last"
            yield Finding("exploding", node.label.text, node.label.where, evidence)
            return
    # At a last layer that is sure for it, and wrong, deltas can be 0: what grows is seen on the way there.
    products = _chain(m)
    sizes = [_size_read(m, n) for n in products[1:]]
    doubles = all(b > 2 * a for a, b in pairwise(sizes))
    if len(sizes) >= DEEP and doubles and sizes[-1] > RATIO * sizes[0] > 0:
        label, grown = products[-2].label, sizes[-1] / sizes[0]
        evidence = f"the values of {len(sizes)} layers grow to {grown:.2g} times those of the first"
        yield Finding("exploding", label.text, label.where, evidence)


def _size_read(m: Measured, product: Node) -> float:
    """The root mean square of the data that a product reads: a norm before it undoes what grew."""
    data = [m.operand(product, i) for i, o in enumerate(product.origins) if o.learned and not o.parameter]
    return max((float(np.sqrt(np.mean(x**2))) for x in data if x is not None and x.size), default=0.0)


def _chain(m: Measured) -> list[Node]:
    """The longest row of products, each of which feeds the next: no heads side by side."""
    longest: list[Node] = []
    ending: dict[Path, list[Node]] = {}
    for node in m.nodes:
        if node.label.kind != A or not node.learned or node.stepped or node.out not in m.deltas:
            continue
        before = [ending[b.place.path] for b in m.before(node.out) if b.place.path in ending]
        row = [*max(before, key=len, default=[]), node]
        ending[node.place.path] = row
        longest = max(longest, row, key=len)
    return longest


def clipped(m: Measured) -> Iterator[Finding]:
    """A bound on a value, by which most of its delta is lost."""
    for node in m.nodes:
        if node.name not in ("max", "min", "clamp") or is_relu(m, node) or node.out not in m.deltas:
            continue
        free = [i for i, o in enumerate(node.origins) if o.learned]
        if len(free) != 1 or not node.place.eqn.outvars[0].aval.ndim:
            continue
        key = node.origins[free[0]].key
        if key not in m.deltas or m.deltas[key].shape != m.deltas[node.out].shape:
            continue
        inside, outside, bound = m.deltas[key], m.deltas[node.out], m.value(node)
        at_bound = bound != m.operand(node, free[0])
        # A guard of a logarithm of probabilities costs nothing where the net is sure and right.
        guard = np.minimum(bound, 1 - bound)
        idle = (guard > 0) & (guard < GUARD) & (np.abs(outside) * guard * max(m.size, 1) < GUARD**0.5)
        lost = float(((inside == 0) & (outside != 0) & ~idle).mean())
        if lost > CLIP and float((at_bound & (inside == 0)).mean()) > CLIP:
            evidence = f"{lost:.0%} of its entries are at the bound, and their delta is lost"
            yield Finding("clipped", node.label.text, node.label.where, evidence)
            return


def tiny_denominator(m: Measured) -> Iterator[Finding]:
    """Most entries are divided by next to nothing, and deltas are large for it."""
    for node in m.nodes:
        if node.name not in TINY or not node.learned or node.out not in m.deltas:
            continue
        below = m.operand(node, len(node.origins) - 1)
        if below is None or not np.isfinite(m.value(node)).all():
            continue
        share = float((np.abs(below) < TINY[node.name]).mean())
        keys = [o.key for o in node.origins if o.learned and o.key in m.deltas]
        back = max((np.abs(m.deltas[k]).max() for k in keys if m.deltas[k].size), default=0.0)
        ahead = np.abs(m.deltas[node.out]).max() if m.deltas[node.out].size else 0.0
        top = max((np.abs(g).max() for g in m.gradients.values() if g.size), default=0.0)
        if share > SHARE and ahead > 0 and back > RATIO * ahead and top > RATIO:
            evidence = f"{share:.0%} of its denominators are below {np.abs(below).max():.1g}"
            yield Finding("tiny_denominator", node.label.text, node.label.where, evidence)
            return


def underflow(m: Measured) -> Iterator[Finding]:
    """Numbers too small for the dtype, without which some parameters have no gradient."""
    if not any(g.size and (g == 0).all() for g in m.gradients.values()):
        return
    soft = {s.exp.path for s in softmaxes(m)}
    for node in m.nodes:
        if not node.learned or node.out.path in soft or node.out not in m.deltas:
            continue
        value = m.value(node)
        operands = [x for i in range(len(node.origins)) if (x := m.operand(node, i)) is not None]
        lost, dtype = 0.0, node.place.eqn.outvars[0].aval.dtype
        if node.name in ("exp", "exp2"):
            lost = float(((value == 0) & (operands[0] > -1e8)).mean())
        elif node.name == "reduce_prod":
            lost = float((value == 0).mean()) * bool((operands[0] != 0).all())
        elif node.name == "convert_element_type":
            lost = float(((value == 0) & (operands[0] != 0)).mean()) if value.size else 0.0
        elif node.name in ("mul", "div", "integer_pow", "square", "pow") and value.shape:
            whole = [
                np.broadcast_to(x, value.shape) != 0 for x in operands if np.issubdtype(x.dtype, np.floating)
            ]
            lost = float(((value == 0) & np.all(whole, 0)).mean())
        back = _lost_backward(m, node, operands)
        if max(lost, back) > SHARE:
            way = "results are" if lost >= back else "deltas become"
            evidence = f"{max(lost, back):.0%} of its {way} 0 in {dtype}"
            yield Finding("underflow", node.label.text, node.label.where, evidence)
            return


def _lost_backward(m: Measured, node: Node, operands: list[np.ndarray]) -> float:
    """The share of deltas that are 0 behind a product of numbers that are not."""
    if node.name not in ("mul", "div", "integer_pow", "square") or not m.deltas[node.out].size:
        return 0.0
    for i, origin in enumerate(node.origins):
        key = origin.key
        consumers = m.consumers.get(key, ()) if key is not None else ()
        if not origin.learned or key not in m.deltas or len(consumers) != 1:
            continue
        if m.deltas[key].shape != m.deltas[node.out].shape:
            continue
        others = [
            np.broadcast_to(x, m.deltas[key].shape)
            for j, x in enumerate(operands)
            if j != i or len(operands) == 1
        ]
        whole = np.all([m.deltas[node.out] != 0, *[x != 0 for x in others]], axis=0)
        return float((whole & (m.deltas[key] == 0)).mean())
    return 0.0
