"""Findings of normalizations and masks: over the wrong axis, over one entry, of padding."""

from collections.abc import Iterator

import numpy as np

from jaxbp.jaxprs.internals import frames_of
from jaxbp.jaxprs.values.labels import A
from jaxbp.jaxprs.values.places import Key
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.record import Finding
from jaxbp.observe.diagnosis.softmax import LAYOUT, Softmax, masked, softmaxes

SHARE = 0.5
STILL = 1e-6  # a gradient below is none
STRAY = 0.05  # of an attention's row; what is hidden has less
BY_EXAMPLE = ("LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm")


def wrong_axis(m: Measured) -> Iterator[Finding]:
    """A softmax over the examples, or over another axis than its weights are summed over."""
    for soft in softmaxes(m):
        if not m.deltas.get(soft.node.out, np.zeros(1)).any():
            continue  # Behind stop_gradient, as codes that are balanced over the batch.
        axes, rank = m.axes.get(soft.exp, ()), soft.value.ndim
        over = rank + soft.axis
        batch = m.batch_axes(soft.exp)
        # A matrix of similarities has examples on both axes, and no axis of a parameter.
        classes = any(_of_parameter(m, axis) for axis in axes)
        if not soft.mixes and soft.node.name != "log" and batch == [over] and classes:
            evidence = f"it sums to 1 over the {soft.size} examples"
            yield Finding("wrong_axis", soft.node.label.text, soft.node.label.where, evidence)
            return
        judged = None if soft.mixes or soft.node.stepped else _judged(m, soft)
        if judged is not None and judged != over:
            evidence = f"it sums to 1 over axis {over}, and the labels choose along axis {judged}"
            yield Finding("wrong_axis", soft.node.label.text, soft.node.label.where, evidence)
            return
        if soft.mixes:
            other = _contracted(m, soft)
            if other is not None and other != over:
                evidence = f"its weights sum to 1 over axis {over}, and are summed over axis {other}"
                yield Finding("wrong_axis", soft.node.label.text, soft.node.label.where, evidence)
                return
    for node in m.nodes:
        if (
            node.name != "reduce_sum"
            or not node.learned
            or node.origins[0].key not in m.values
            or node.stepped
        ):
            continue
        examples = set(m.batch_axes(node.origins[0].key)) & set(node.place.eqn.params["axes"])
        layers = [f.function for f in frames_of(node.place.eqn) if f.function.startswith(BY_EXAMPLE)]
        if examples and layers:
            evidence = f"{layers[0].partition('.')[0]} takes its mean over the {m.size} examples"
            yield Finding("wrong_axis", node.label.text, node.label.where, evidence)
            return


def _of_parameter(m: Measured, axis: frozenset[tuple[int, int]]) -> bool:
    return any(k in m.call.static.differentiated for k, _ in axis)


def _judged(m: Measured, soft: Softmax) -> int | None:
    """The axis of probabilities, or of their logarithms, along which labels choose one, if they do."""
    passed = {*LAYOUT, "log", "add", "max", "min", "clamp", "neg"}

    def alone(node: Node, i: int) -> bool:
        return node.name in passed and sum(o.learned for o in node.origins) == 1

    for node in m.after(soft.node.out, alone):
        given = [i for i, o in enumerate(node.origins) if not o.learned and m.sources(o)]
        if not given or m.values[node.out].ndim < 1:
            continue
        if node.name == "mul":
            y, rank = m.operand(node, given[0]), soft.value.ndim
            if y is None or y.shape != soft.value.shape or (y < 0).any():
                continue
            chosen = [a for a in range(rank) if y.shape[a] > 1 and (np.abs(y.sum(a) - 1) < STILL).all()]
            if len(chosen) == 1:
                return chosen[0]
        elif node.name == "gather" and m.operand(node, 0).shape == soft.value.shape:  # type: ignore[union-attr]
            along = node.place.eqn.params["dimension_numbers"].start_index_map
            if len(along) == 1:
                return int(along[0])
    return None


def _contracted(m: Measured, soft: Softmax) -> int | None:
    """The axis, in the softmax's counting, that the product which reads it sums over."""
    at = {i: i for i in range(soft.value.ndim)}  # axis now -> axis of the softmax
    node, key = soft.node, soft.node.out
    for _ in range(6):
        readers = m.consumers.get(key, ())
        if len(readers) != 1:
            return None
        node, operand = readers[0]
        p = node.place.eqn.params
        if node.name == "dot_general":
            axes = p["dimension_numbers"][0][operand]
            return at.get(axes[0]) if len(axes) == 1 and not node.stepped else None
        if node.name == "reduce_sum":
            return at.get(p["axes"][0]) if len(p["axes"]) == 1 and not node.stepped else None
        if node.name == "transpose":
            at = {new: at[old] for new, old in enumerate(p["permutation"]) if old in at}
        elif node.name == "broadcast_in_dim":
            at = {new: at[old] for old, new in enumerate(p["broadcast_dimensions"]) if old in at}
        elif node.name not in ("convert_element_type", "copy", "mul", "select_n"):
            return None
        key = node.out
    return None


def size_one(m: Measured) -> Iterator[Finding]:
    """A normalization over one entry: its result is a constant, and what is before it learns nothing."""
    flat = [n for n, g in m.gradients.items() if g.size and np.abs(g).max() < STILL]
    if not flat:
        return
    for soft in softmaxes(m):
        if soft.size == 1 and not soft.mixes and soft.node.name != "log":
            yield Finding(
                "size_one", soft.node.label.text, soft.node.label.where, "a softmax of one entry is 1"
            )
            return
    for node in m.nodes:
        if node.name != "sub" or not node.learned or node.out not in m.deltas or m.value(node).size < 2:
            continue
        value, given = m.value(node), m.operand(node, 0)
        if (value != 0).any() or given is None or not (given != 0).any():
            continue
        for before in _layout_before(m, node.origins[1].key):
            if before.name == "reduce_sum":
                shape = before.place.eqn.invars[0].aval.shape
                if all(shape[a] == 1 for a in before.place.eqn.params["axes"]):
                    evidence = "an entry minus the mean of itself is 0"
                    yield Finding("size_one", node.label.text, node.label.where, evidence)
                    return


def _layout_before(m: Measured, key: Key | None) -> Iterator[Node]:
    while key is not None and key.path in m.by_path:
        node = m.by_path[key.path]
        yield node
        if node.name not in {*LAYOUT, "div", "mul"}:
            return
        key = next((o.key for o in node.origins if o.key is not None), None)


def mask(m: Measured) -> Iterator[Finding]:
    """A mask that lets nothing through, or padding only."""
    for soft in softmaxes(m):
        if soft.logits is not None and soft.mixes and soft.size > 1:
            nothing = masked(soft.logits).all(soft.axis) & (np.ptp(soft.logits, axis=soft.axis) < 1e8)
            if nothing.mean() > SHARE:
                evidence = f"in {nothing.mean():.0%} of its rows every score is masked"
                yield Finding("mask", soft.node.label.text, soft.node.label.where, evidence)
                return
    for k, padding in _paddings(m):
        real = ~padding
        for node in m.nodes:
            shape = m.values[node.out].shape if node.out in m.values else ()
            if node.label.kind != A or node.stepped or node.out not in m.deltas or shape[:2] != real.shape:
                continue
            moved = (m.deltas[node.out] != 0).reshape(*real.shape, -1).any(-1)
            if moved[padding].mean() >= SHARE and moved[real].mean() <= 0.05:
                evidence = f"{m.call.names[k]} lets the padding through, and holds back the rest"
                yield Finding("mask", node.label.text, node.label.where, evidence)
                return
        for soft, onto in _attentions(m, padding):
            if onto.mean() > 0.95:
                evidence = f"{onto.mean():.0%} of the attention is on padding"
                yield Finding("mask", soft.node.label.text, soft.node.label.where, evidence)
                return
    for k, marks in _marks(m):
        for (soft, onto), (_, off) in zip(_attentions(m, marks), _attentions(m, ~marks), strict=True):
            # Whichever of 0 and 1 it hides, no row of the attention has much of both where it works.
            if _is_masked_by(m, soft, k) and (np.minimum(onto, off).min(1) > STRAY).mean() > SHARE:
                evidence = f"{m.call.names[k]} meets its scores, and hides neither its 0 nor its 1"
                yield Finding("mask", soft.node.label.text, soft.node.label.where, evidence)
                return


def _attentions(m: Measured, places: np.ndarray) -> Iterator[tuple[Softmax, np.ndarray]]:
    """The attentions over places of each example, and how much of each of their rows is on these.

    A row for each example that has some of these places and some others.
    """
    there = places.any(1) & ~places.all(1)
    for soft in softmaxes(m):
        shape = soft.value.shape
        if there.any() and soft.mixes and soft.axis == -1 and (shape[0], shape[-1]) == places.shape:
            weights = soft.value.reshape(len(places), -1, shape[-1])
            yield soft, (weights * places[:, None]).sum(-1)[there]


def _is_masked_by(m: Measured, soft: Softmax, k: int) -> bool:
    """Whether an array of 0 and 1 meets the scores of an attention after their product."""
    left = [soft.exp]
    while left:
        node = m.by_path.get(left.pop().path)
        if node is None or node.name in ("dot_general", "gather"):
            continue
        if any(not o.learned and k in o.inputs for o in node.origins):
            return True
        left += [o.key for o in node.origins if o.learned and o.key is not None]
    return False


def _marks(m: Measured) -> Iterator[tuple[int, np.ndarray]]:
    """The arrays of 0 and 1 that mark one end of each example."""
    for k, x in m.batch.items():
        if x.ndim == 2 and x.shape[0] == m.size and np.isin(x, (0, 1)).all() and _at_one_end(x != 0):
            yield k, x != 0


def _at_one_end(places: np.ndarray) -> bool:
    changes = (places[:, 1:] != places[:, :-1]).sum(1)
    return bool(places.any() and not places.all() and (changes <= 1).all())


def _paddings(m: Measured) -> Iterator[tuple[int, np.ndarray]]:
    """The arrays of the batch that mark padding or have it at their ends, and where it is."""
    marked = dict(_marks(m))
    for k, x in m.batch.items():
        if x.ndim < 2 or x.shape[0] != m.size or x.shape[1] < 2:
            continue
        others = [y for j, y in m.batch.items() if j != k and y.shape[:2] == x.shape[:2]]
        for y in others if k in marked else [x]:
            empty = (y.reshape(*x.shape[:2], -1) == 0).all(-1)
            same = k not in marked or (empty == ~marked[k]).all() or (empty == marked[k]).all()
            if _at_one_end(empty) and same:
                yield k, empty
                break
