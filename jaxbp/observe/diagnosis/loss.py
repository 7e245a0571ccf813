"""Findings between the output and the loss: shapes that broadcast, sums, weights, ranges, squashing twice."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxbp.jaxprs.internals import frames_of
from jaxbp.observe.diagnosis.activations import is_zero, squash
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.record import Finding
from jaxbp.observe.diagnosis.softmax import LAYOUT, softmaxes

SHARE = 0.5
MANY = 16  # examples of a sum that is a fault: the step of a smaller one is not far from that of a mean
# Where an activation ends, by the function that is called or the primitive that it is.
RANGES = {
    "logistic": (0.0, 1.0), "softmax": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0), "soft_sign": (-1.0, 1.0), "sin": (-1.0, 1.0), "cos": (-1.0, 1.0),
    "relu": (0.0, np.inf), "relu6": (0.0, 6.0), "softplus": (0.0, np.inf), "squareplus": (0.0, np.inf),
    "exp": (0.0, np.inf), "abs": (0.0, np.inf), "square": (0.0, np.inf), "elu": (-1.0, np.inf),
}  # fmt: skip
FROM_ZERO = {"max": "relu", "logaddexp": "softplus"}  # of a value and 0
THROUGH = {*LAYOUT, "neg", "slice", "gather"}
JOINT = {"cholesky", "triangular_solve", "lu", "eigh"}  # of all examples together: no sum of their losses
COMBINING = {"sub", "add", "mul", "div", "max", "min", "pow"}


def broadcast(m: Measured) -> Iterator[Finding]:
    """Predictions of one shape against targets of another: every example meets every target."""
    for node in m.nodes:
        if node.name not in COMBINING or len(node.origins) != 2 or node.stepped or m.size < 2:
            continue
        learned = [o.learned for o in node.origins]
        if sorted(learned) != [False, True] or node.literal(learned.index(False)) is not None:
            continue
        if len(m.batch_axes(node.out)) != 2:
            continue
        sides = [m.batch_axes(o.key) if o.key in m.values else [] for o in node.origins]
        shapes = [tuple(a.aval.shape) for a in node.place.eqn.invars]
        given = m.is_input(node.origins[learned.index(False)])
        other = learned.index(False)
        if not sides[other] and given is not None:
            sides[other] = [a for a, size in enumerate(shapes[other]) if size == m.size][-1:]
        if len(sides[0]) == len(sides[1]) == 1 and sides[0] != sides[1]:
            evidence = (
                f"{' against '.join(map(str, _own_shapes(m, node, shapes)))} make {np.shape(m.value(node))}"
            )
            yield Finding("broadcast", node.label.text, node.label.where, evidence)
            return


def _own_shapes(m: Measured, node: Node, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The shapes before they were broadcast."""
    found = []
    for origin, shape in zip(node.origins, shapes, strict=True):
        given = m.is_input(origin)
        found.append(m.batch[given].shape if given is not None else tuple(shape))
    return found


def reduction(m: Measured) -> Iterator[Finding]:
    """The loss is a sum over the batch: the delta of the sum is not a part of 1."""
    if m.size < MANY:
        return
    sums = []
    for node in m.nodes:
        if not node.learned or node.out not in m.deltas or m.deltas[node.out].size != 1 or node.stepped:
            continue
        large = abs(float(m.deltas[node.out].ravel()[0])) >= SHARE
        if large and node.origins[0].key in m.values:
            over = set(m.batch_axes(node.origins[0].key, merged=True)) & set(_summed(node))
            joint = over and any(b.name in JOINT for b in m.before(node.out))
            own = _is_own_sum(node) or _is_weighted_mean(m, node)
            if over and not joint and not own and _is_loss(m, node):
                evidence = f"the losses of {m.size} examples are summed, not averaged"
                yield Finding("reduction", node.label.text, node.label.where, evidence)
                return
        if node.name == "add" and large and all(o.learned or o.key is None for o in node.origins):
            sums.append(node)
    chains = [n for n in sums if n.label.where == (sums[-1].label.where if sums else "")]
    if len(chains) >= m.size - 2:
        evidence = f"the losses of {m.size} examples are added one by one, not averaged"
        yield Finding("reduction", chains[-1].label.text, chains[-1].label.where, evidence)


def _summed(node: Node) -> tuple[int, ...]:
    """The axes of its first operand that are summed: by a sum, or by a product of two values."""
    params = node.place.eqn.params
    if node.name == "dot_general" and not any(o.parameter for o in node.origins):
        return tuple(params["dimension_numbers"][0][0])
    return tuple(params["axes"]) if node.name == "reduce_sum" else ()


def _is_own_sum(node: Node) -> bool:
    """Whether it is a loss of this library, which says that it is a sum."""
    return any("/jaxbp/losses" in f.file for f in frames_of(node.place.eqn))


def _is_weighted_mean(m: Measured, node: Node) -> bool:
    """Whether what is summed is multiplied by weights that sum to 1."""
    product = m.behind(node.origins[0].key) if node.name == "reduce_sum" else node
    if product is None or product.name not in ("mul", "dot_general"):
        return False
    sides = [x for i in range(2) if (x := m.operand(product, i)) is not None and x.size >= m.size]
    return any((x >= 0).all() and abs(x.sum() - 1) < 1e-3 for x in sides)


def _is_loss(m: Measured, node: Node) -> bool:
    """Whether nothing but sums and factors is between a value and the loss."""
    return all(
        n.name in {*LAYOUT, "add", "sub", "mul", "neg", "div", "reduce_sum"} for n in m.after(node.out)
    )


def output_range(m: Measured) -> Iterator[Finding]:
    """Targets that the last activation cannot reach."""
    for node in m.nodes:
        if node.name != "sub" or not node.learned or node.stepped:
            continue
        for i in (0, 1):
            given = m.is_input(node.origins[1 - i])
            bounds = _bounds(m, node.origins[i].key)
            if given is None or bounds is None or m.batch[given].dtype == bool:
                continue
            y = m.batch[given].astype(float)
            share = float(((y < bounds[1]) | (y > bounds[2])).mean())
            if share > SHARE:
                name, low, high = bounds
                evidence = f"{share:.0%} of the targets are outside of {low:g} .. {high:g}, where {name} ends"
                yield Finding("output_range", m.call.names[given], node.label.where, evidence)
                return


def _bounds(m: Measured, key: object) -> tuple[str, float, float] | None:
    """The range of the activation that a value is the result of."""
    while key is not None and key.path in m.by_path:  # type: ignore[attr-defined]
        node = m.by_path[key.path]  # type: ignore[attr-defined]
        name = node.label.operation if node.label.operation in RANGES else squash(m, node) or node.name
        if name in FROM_ZERO and any(is_zero(m, node, i) for i in range(len(node.origins))):
            name = FROM_ZERO[name]
        if any(s.node is node and not s.log for s in softmaxes(m)):
            name = "softmax"
        if name in RANGES and node.learned and node.name != "sub":
            return (name, *RANGES[name])
        if node.name not in LAYOUT:
            return None
        key = node.origins[0].key
    return None


def double_squash(m: Measured) -> Iterator[Finding]:
    """A softmax of a softmax, or a loss of logits that is given probabilities."""
    for soft in softmaxes(m):
        x = soft.logits
        if x is None or soft.size < 2 or soft.mixes:
            continue
        sums = x.sum(soft.axis)
        if (x >= 0).all() and (x <= 1).all() and (np.abs(sums - 1) < 1e-4).all() and _is_soft(m, soft.source):
            yield Finding("double_squash", soft.node.label.text, soft.node.label.where, "its logits sum to 1")
            return
        if soft.source is not None and squash(m, soft.source) == "logistic" and soft.source.learned:
            yield Finding(
                "double_squash", soft.node.label.text, soft.node.label.where, "its logits are of a sigmoid"
            )
            return
    for node in m.nodes:
        if not node.learned or not node.place.eqn.outvars[0].aval.shape or squash(m, node) != "logistic":
            continue
        for reader in m.after(node.out, lambda n, i: n.name in THROUGH):
            rule = reader.name.startswith("custom_jvp") and reader.label.operation in (
                "logaddexp", "softplus", "log_sigmoid", "sigmoid_binary_cross_entropy", "binary_cross_entropy"
            )  # fmt: skip
            if (
                reader.name == "logistic"
                or rule
                or (reader.name in ("exp", "log1p") and _is_softplus(m, reader))
            ):
                evidence = f"{reader.label.operation} reads a sigmoid's output as a logit"
                yield Finding("double_squash", node.label.text, reader.label.where, evidence)
                return


def _is_soft(m: Measured, source: Node | None) -> bool:
    """Whether the logits are themselves a softmax's result."""
    return source is not None and any(
        s.node is n and not s.log for n in m.before(source.out) for s in softmaxes(m)
        if n is source or source.name in LAYOUT
    )  # fmt: skip


def _is_softplus(m: Measured, reader: Node) -> bool:
    """Whether exp is that of log(1 + exp(.))."""
    return any(
        n.name in ("log1p", "log") for n in m.after(reader.out, lambda n, i: n.name in {*LAYOUT, "add"})
    )
