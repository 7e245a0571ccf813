"""Findings in the examples of a batch: some without influence, one that has it all."""

from collections.abc import Iterator

import numpy as np

from jaxbp.jaxprs.values.axes import rows_along
from jaxbp.jaxprs.values.labels import A
from jaxbp.jaxprs.values.user_lines import PRODUCTS
from jaxbp.observe.diagnosis.inputs import ENOUGH, is_binary
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.record import Finding

SHARE = 0.5
TOP = 0.9
LARGE = 10.0
FAR = 2.0  # times as far from the middle as any other example
CHOOSING = {"mul", "select_n", "slice", "split", "gather", "dynamic_slice", "dot_general", "squeeze"}


def ignored_examples(m: Measured) -> Iterator[Finding]:
    """Half of the examples or more lose their delta where they are weighed by 0, or left out."""
    if m.size < 4:
        return
    real = ~padding(m)
    for node in m.nodes:
        if node.name not in CHOOSING:
            continue
        if node.out not in m.deltas or node.stepped or not (m.deltas[node.out] != 0).any():
            continue
        for i, origin in enumerate(node.origins):
            key = origin.key
            if not origin.learned or origin.parameter or key not in m.deltas:
                continue
            others = [o for j, o in enumerate(node.origins) if j != i]
            if any(o.learned or any(is_binary(m, k) for k in m.sources(o)) for o in others):
                continue
            axes = m.batch_axes(key)
            if len(axes) != 1:
                continue
            lost = (rows_along(m.deltas[key], axes[0]) == 0).all(1)
            over = m.batch_axes(node.out)
            ahead = rows_along(m.deltas[node.out], over[0]) if len(over) == 1 else None
            still = lost & (ahead != 0).any(1) if ahead is not None else lost
            share = still[real].mean() if real.any() else 0.0
            if SHARE <= share < 1 and _reaches_no_layer(m, node, still):
                evidence = f"{still[real].sum()} of {real.sum()} examples do not reach the loss after it"
                yield Finding("ignored_examples", node.label.text, node.label.where, evidence)
                return


def padding(m: Measured) -> np.ndarray:
    """Which examples fill a batch up: all that they bring is 0."""
    given = [x for x in m.batch.values() if len(x) == m.size]
    empty = [(x.reshape(m.size, -1) == 0).all(1) for x in given]
    return np.all(empty, axis=0) if empty else np.zeros(m.size, bool)


def _reaches_no_layer(m: Measured, node: Node, lost: np.ndarray) -> bool:
    """Whether these examples have no delta in the last layer either, by another way.

    Nor in an earlier one where examples meet, as the nodes of a graph, whose labels are known of some only.
    """
    for before in m.before(node.out):
        axes = m.batch_axes(before.out) if before.label.kind == A and before.out in m.deltas else []
        if len(axes) == 1 and not before.stepped:
            if (rows_along(m.deltas[before.out], axes[0])[lost] != 0).any():
                return False
            if not _meet(m):
                return True
    return True


def _meet(m: Measured) -> bool:
    """Whether examples are added up into others: by a matrix over pairs of them, or by their numbers."""
    for node in m.nodes:
        if node.name == "dot_general":
            pairs = [m.batch[k] for o in node.origins if (k := m.is_input(o)) is not None]
            if any(x.shape[-2:] == (m.size, m.size) for x in pairs):
                return True
        if node.name == "scatter-add" and node.origins[2].learned and m.sources(node.origins[1]):
            return True
    return False


def dominated(m: Measured) -> Iterator[Finding]:
    """One example has nearly all of the gradient, and a large one."""
    if m.size < ENOUGH:
        return
    total, top, last = np.zeros(m.size), 0.0, None
    for node in m.nodes:
        if node.label.kind != A or node.out not in m.deltas or node.stepped:
            continue
        axes = m.batch_axes(node.out)
        if len(axes) != 1:
            continue
        deltas = rows_along(m.deltas[node.out], axes[0])
        size = np.ones(m.size)
        product = next((n for n in m.before(node.out) if n.name in PRODUCTS), None)
        for i, origin in enumerate(product.origins if product else ()):
            data = m.operand(product, i) if product else None
            if not origin.parameter and data is not None and m.size in data.shape:
                size = (rows_along(data, data.shape.index(m.size)) ** 2).sum(1)
        total += (deltas**2).sum(1) * size
        top, last = max(top, float(np.abs(deltas).max()) * m.size), node
    norms = np.sqrt(total)
    if (
        last is not None
        and np.isfinite(norms).all()
        and norms.sum() > 0
        and norms.max() > TOP * norms.sum()
        and top > LARGE
        and (_is_outlier(m, int(norms.argmax())) or not _has_own_scale(m, last))
    ):
        evidence = f"example {norms.argmax()} has {norms.max() / norms.sum():.1%} of the gradients' norms"
        yield Finding("dominated", last.label.text, last.label.where, evidence)


def _is_outlier(m: Measured, example: int) -> bool:
    """Whether something that is given of an example is far from that of all others, or of its logarithm."""
    for x in m.batch.values():
        if len(x) != m.size or not np.issubdtype(x.dtype, np.number):
            continue
        rows = x.reshape(m.size, -1).astype(float)
        for scale in (rows, np.log(np.abs(rows))) if (rows != 0).all() else (rows,):
            others = np.delete(scale, example, 0)
            middle = np.median(others, 0)
            if (np.abs(scale[example] - middle) > FAR * np.abs(others - middle).max(0)).any():
                return True
    return False


def _has_own_scale(m: Measured, last: Node) -> bool:
    """Whether errors are divided by a scale that the net gives: one that it is sure of weighs by design."""
    after = list(m.after(last.out))
    return any(n.name == "exp" or (n.name == "div" and n.origins[1].learned) for n in after)
