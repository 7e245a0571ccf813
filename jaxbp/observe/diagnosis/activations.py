"""Activations, however they are written."""

from jaxbp.jaxprs.values.user_lines import PRODUCTS
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.softmax import LAYOUT


def squash(m: Measured, node: Node) -> str:
    """The word logistic or tanh, where it is one of them, logistic also as 1 / (1 + exp(-x)); else ``""``."""
    if node.name in ("logistic", "tanh"):
        return node.name
    below = m.behind(node.origins[1].key) if node.name == "div" else None
    if below is None or below.name != "add":
        return ""
    terms = [m.behind(o.key) for o in below.origins]
    exps = [t.out for t in terms if t is not None and t.name == "exp"]
    over = node.origins[0].key
    return "logistic" if exps and _is(m, below, 1.0) and (over in exps or _is(m, node, 1.0)) else ""


def _is(m: Measured, node: Node, number: float) -> bool:
    """Whether an operand is this constant in every entry."""
    found = [x for i in (0, 1) if not node.origins[i].inputs and (x := m.operand(node, i)) is not None]
    return any((x == number).all() for x in found)


def hidden(m: Measured, node: Node) -> bool:
    """Whether a product with a parameter, or one of two values, reads what is made of a value."""
    return any(n.name in PRODUCTS for n in m.after(node.out))


def is_relu(m: Measured, node: Node) -> bool:
    """Whether it is max(x, 0): by a rule, as it stands, as where(x > 0, x, 0) or as x (x > 0)."""
    rule = node.name.startswith("custom_jvp") and node.label.operation == "relu"
    if rule or node.name in ("select_n", "mul"):
        return rule or _chosen_by_sign(m, node)
    zero = any(
        (v := node.literal(i)) is not None and v.shape == () and v == 0 for i in range(len(node.origins))
    )
    return node.name == "max" and zero and not node.label.operation.startswith("clip")


def _chosen_by_sign(m: Measured, node: Node) -> bool:
    """Whether a value is taken where it is above 0, and 0 elsewhere; elu holds the mirror image."""
    for i, origin in enumerate(node.origins):
        comparison = m.behind(origin.key)
        if comparison is None or comparison.name not in ("gt", "ge", "lt", "le"):
            continue
        zero = next((j for j in (0, 1) if is_zero(m, comparison, j)), None)
        if zero is None:
            continue
        value = comparison.origins[1 - zero].key
        above = (comparison.name in ("gt", "ge")) == (zero == 1)
        if node.name == "mul":
            return above and value is not None and node.origins[1 - i].key == value
        here, there = (2, 1) if above else (1, 2)  # what is taken where the comparison holds is last
        same = value is not None and node.origins[here].key == value
        return i == 0 and same and is_zero(m, node, there)
    return False


def is_zero(m: Measured, node: Node, i: int) -> bool:
    """Whether an operand is 0, and no value that happens to be."""
    x = m.operand(node, i)
    return x is not None and not x.any() and not node.origins[i].inputs


def gates_itself(m: Measured, node: Node) -> bool:
    """Whether a value is multiplied by what is made of it, as in gelu and silu, which are not flat there."""
    own, left = set(), [o.key for o in node.origins]
    while left:
        key = left.pop()
        if key is None or key in own:
            continue
        own.add(key)
        before = m.by_path.get(key.path)
        if before is not None and before.name not in PRODUCTS:
            left += [o.key for o in before.origins]
    through = {"add", "mul", "sub", *LAYOUT}
    readers = m.after(node.out, lambda n, i: n.name in through and sum(o.learned for o in n.origins) == 1)
    return any(n.name == "mul" and any(o.key in own for o in n.origins) for n in readers)
