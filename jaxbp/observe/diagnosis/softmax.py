"""The normalizations exp / sum exp in a function, however they are written, and what reads them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxbp.jaxprs.values.places import Key
from jaxbp.observe.diagnosis.measured import Measured, Node

MASKED = -1e8  # scores below are those of masked places
LAYOUT = {"broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "copy", "stop_gradient"}


class Softmax(NamedTuple):
    """One of them.

    Args:
        node: what leaves it: the division, the difference of a logarithm, or the logarithm alone.
        exp: the exponential.
        value: probabilities, with the axes of loops in front.
        axis: that they are normalized over, counted from the end.
        logits: what it is taken of.
        source: the operation that gave the logits.
        log: whether it is a log_softmax.
        mixes: whether a product of two values reads it.
    """

    node: Node
    exp: Key
    value: np.ndarray
    axis: int
    logits: np.ndarray | None
    source: Node | None
    log: bool
    mixes: bool

    @property
    def size(self) -> int:
        """How many entries are normalized together."""
        return int(self.value.shape[self.axis])


def masked(logits: np.ndarray) -> np.ndarray:
    """Which scores are those of masked places."""
    return logits < MASKED


def softmaxes(m: Measured) -> list[Softmax]:
    """All of them that depend on a parameter."""
    if "softmaxes" not in m.__dict__:
        m.__dict__["softmaxes"] = list(_find(m))
    found: list[Softmax] = m.__dict__["softmaxes"]
    return found


def _find(m: Measured) -> Iterator[Softmax]:
    for node in m.nodes:
        if node.name != "exp" or not node.learned or node.out not in m.deltas:
            continue
        for total, _ in m.consumers.get(node.out, ()):
            axes: tuple[int, ...] = total.place.eqn.params["axes"] if total.name == "reduce_sum" else ()
            if len(axes) != 1:
                continue
            leaving = _leaving(m, node, total)
            if leaving is None:
                continue
            out, log = leaving
            exps = m.value(node)
            axis = axes[0] - node.place.eqn.outvars[0].aval.ndim
            with np.errstate(all="ignore"):
                value = exps / exps.sum(axis, keepdims=True)
            logits, source = _logits(m, node)
            yield Softmax(out, node.out, value, axis, logits, source, log, not log and _mixes(m, out))


def _leaving(m: Measured, exp: Node, total: Node) -> tuple[Node, bool] | None:
    """The division by the sum, the difference with its logarithm, or that logarithm; None for other sums."""
    alone = None
    for node in m.after(total.out, lambda n, i: n.name in LAYOUT or n.name in ("log", "add", "max", "abs")):
        if node.name == "div" and any(o.key == exp.out for o in node.origins[:1]):
            return node, False
        if node.name == "sub" and any(b.name == "log" for b in m.before(node.origins[1].key)):
            return node, True
        alone = alone or (node if node.name == "log" else None)
    return (alone, True) if alone else None


def _logits(m: Measured, exp: Node) -> tuple[np.ndarray | None, Node | None]:
    """What the maximum was subtracted of."""
    before = m.by_path.get(exp.origins[0].key.path) if exp.origins[0].key else None
    if before is not None and before.name == "sub":
        of = before.origins[0].key
        return m.operand(before, 0), m.by_path.get(of.path) if of else None
    return m.operand(exp, 0), before


def _mixes(m: Measured, node: Node) -> bool:
    """Whether its result weighs other values: in a product, or multiplied with more entries and summed."""
    passed = {*LAYOUT, "transpose", "mul", "select_n"}
    for n in m.after(node.out, lambda n, i: n.name in passed):
        if n.name == "dot_general" and not any(o.parameter for o in n.origins):
            return True
        larger = n.name == "mul" and m.value(n).size > m.value(node).size
        if larger and any(r.name == "reduce_sum" for r, _ in m.consumers.get(n.out, ())):
            return True
    return False
