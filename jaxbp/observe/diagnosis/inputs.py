"""Findings in the batch: constant, repeated or large inputs; labels of one class, or of none."""

import math
from collections.abc import Iterator

import numpy as np

from jaxbp.jaxprs.internals import COMPARISONS, frames_of
from jaxbp.jaxprs.values.axes import rows_along
from jaxbp.jaxprs.values.user_lines import LIBRARIES
from jaxbp.observe.diagnosis.activations import is_relu
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.record import Finding
from jaxbp.observe.diagnosis.softmax import LAYOUT

LOGISTIC = {"softplus", "logaddexp", "log_sigmoid"}
WRITTEN = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
ENOUGH = 8  # examples; in fewer, columns are constant and labels alike by chance
SHARE = 0.5
LARGE = 10.0
DENSE = 0.1  # data with more zeros than this are sparse, and their columns of zeros are by chance


def first_products(m: Measured) -> list[tuple[Node, int]]:
    """The products of data with a parameter, and which operand the data are."""
    found = []
    for node in m.nodes:
        if node.name not in ("dot_general", "conv_general_dilated"):
            continue
        learned = [o.learned for o in node.origins]
        if sorted(learned) == [False, True] and node.origins[learned.index(True)].parameter:
            found.append((node, learned.index(False)))
    return found


def data_inputs(m: Measured) -> dict[int, np.ndarray]:
    """The floating arrays of the batch that are multiplied by a parameter."""
    fed = {k for node, i in first_products(m) for k in m.sources(node.origins[i])}
    floats = {k: m.batch[k] for k in sorted(fed) if np.issubdtype(m.batch[k].dtype, np.floating)}
    return {k: x for k, x in floats.items() if x.ndim >= 2 and len(x) == m.size and np.isfinite(x).all()}


def looked_up(m: Measured) -> set[int]:
    """The whole numbers of the batch that choose rows of a parameter."""
    return {
        k
        for n in m.nodes
        if n.name == "gather" and n.origins[0].parameter
        for k in m.sources(n.origins[1])
        if np.issubdtype(m.batch[k].dtype, np.integer)
    }


def constant_input(m: Measured) -> Iterator[Finding]:
    """Columns that are the same for every example: not zeros in data that are sparse."""
    data = data_inputs(m)
    chosen = {k: m.batch[k] for k in sorted(looked_up(m)) if len(m.batch[k]) == m.size}
    # Positions and sorts of segments are rightly the same in each; all inputs together are not.
    if chosen and m.size >= ENOUGH and all((x == x[:1]).all() for x in (*data.values(), *chosen.values())):
        names = ", ".join(m.call.names[k] for k in (*data, *chosen))
        yield Finding("constant_input", names, "", f"it is the same in all {m.size} examples")
        return
    for k, x in data.items():
        columns = x.reshape(len(x), -1)
        constant = np.ptp(columns, axis=0) == 0
        if len(x) < ENOUGH or constant.mean() <= SHARE:
            continue
        moving = columns[:, ~constant]
        zeros = constant & (columns[0] == 0)
        sparse = moving.size and (x.ndim > 2 or (moving == 0).mean() > DENSE or _is_framed(zeros, constant))
        share = (constant & ~zeros).mean() if sparse else constant.mean()
        if share > SHARE:
            evidence = f"{share:.0%} of its columns are the same in all {len(x)} examples"
            yield Finding("constant_input", m.call.names[k], "", evidence)


def _is_framed(zeros: np.ndarray, constant: np.ndarray) -> bool:
    """Whether columns of zeros are the frame around square images that are laid out in a row."""
    side = math.isqrt(zeros.size)
    if side * side != zeros.size or (zeros != constant).any():
        return False
    inside = np.logical_not(zeros).reshape(side, side)
    rows, columns = inside.any(1), inside.any(0)
    touches = rows[0] or rows[-1] or columns[0] or columns[-1]
    return not touches and bool((inside == np.outer(rows, columns)).all())


def duplicate_input(m: Measured) -> Iterator[Finding]:
    """Columns that are copies of another one."""
    for k, x in data_inputs(m).items():
        if x.ndim != 2 or len(x) < ENOUGH or x.shape[1] < 2:
            continue
        rich = [len(np.unique(c)) > 2 or min(np.unique(c, return_counts=True)[1]) >= 4 for c in x.T]
        moving = (np.ptp(x, axis=0) > 0) & np.array(rich)
        _, where, counts = np.unique(x.T, axis=0, return_inverse=True, return_counts=True)
        share = ((counts[where.ravel()] > 1) & moving).mean()
        if share > SHARE:
            yield Finding("duplicate_input", m.call.names[k], "", f"{share:.0%} of its columns equal another")


def unscaled(m: Measured) -> Iterator[Finding]:
    """The data of a first product and its result are both large."""
    for node, i in first_products(m):
        data = m.operand(node, i)
        if data is None or node.stepped or not np.isfinite(data).all():
            continue
        inputs = m.sources(node.origins[i])
        result = m.value(node)
        given, made = (float(np.sqrt(np.mean(np.abs(x[np.isfinite(x)]) ** 2))) for x in (data, result))
        rows = np.abs(rows_along(data, 0)) if data.ndim else np.abs(data).reshape(1, 1)
        usual = float(np.median(np.sqrt(np.mean(rows**2, axis=1))))
        normed = any(n.name == "rsqrt" and n.label.module == node.label.module for n in m.nodes)
        if inputs and min(given, usual, made) > LARGE and not normed:
            names = ", ".join(m.call.names[k] for k in sorted(inputs))
            evidence = f"{names} has the root mean square {given:.3g} there, and the product {made:.3g}"
            yield Finding("unscaled", node.label.text, node.label.where, evidence)
            return


def labels(m: Measured) -> dict[int, np.ndarray]:
    """The arrays of the batch that are no data: one number or one row of classes for each example."""
    fed = {k for node, i in first_products(m) for k in m.sources(node.origins[i])} | looked_up(m)
    return {
        k: x for k, x in m.batch.items()
        if k not in fed and len(x) == m.size and np.isfinite(x).all()
    }  # fmt: skip


def one_class(m: Measured) -> Iterator[Finding]:
    """All labels of the batch are of one class."""
    for k, y in labels(m).items():
        if len(y) < ENOUGH:
            continue
        whole = np.issubdtype(y.dtype, np.integer) or y.dtype == bool
        flat = y.reshape(len(y), -1)
        rows = flat.shape[1] > 1 and np.isin(flat, (0, 1)).all() and (flat.sum(1) == 1).all()
        if flat.shape[1] == 1 and (flat == flat[0]).all():
            if not whole and not (flat[0, 0] in (0, 1) and is_binary(m, k)):
                continue
            if whole and not is_class(m, k):
                continue
            yield Finding("one_class", m.call.names[k], "", f"all {len(y)} labels are {flat[0, 0]:g}")
        elif rows and (flat == flat[0]).all() and not whole:
            yield Finding(
                "one_class", m.call.names[k], "", f"all {len(y)} rows name class {flat[0].argmax()}"
            )
        elif flat.shape[1] > 1 and (flat == flat[0, 0]).all():
            chosen = whole and any(True for n in m.nodes for _ in _classes(m, n, k))
            if chosen or (not whole and flat[0, 0] in (0, 1) and is_binary(m, k)):
                evidence = f"all {flat.size} labels of {len(y)} examples are {flat[0, 0]:g}"
                yield Finding("one_class", m.call.names[k], "", evidence)


def is_class(m: Measured, k: int) -> bool:
    """Whether whole numbers choose among results of the net, or are compared with the classes."""
    return any(
        (n.name == "gather" and k in m.sources(n.origins[1]) and n.origins[0].learned)
        or (
            n.name in ("eq", "convert_element_type")
            and k in m.sources(n.origins[0]) | m.sources(n.origins[-1])
        )
        for n in m.nodes
    )


def is_binary(m: Measured, k: int) -> bool:
    """Whether 1 - y is taken of it, or a loss of logits reads it: a binary cross-entropy."""

    def of(node: Node, i: int) -> bool:
        return m.is_input(node.origins[i]) == k

    for node in m.nodes:
        first = node.literal(0) if node.name == "sub" else None
        if first is not None and float(first) == 1.0 and of(node, 1):
            return True
        named = "binary_cross_entropy" in node.label.operation
        if named and any(of(node, i) for i in range(len(node.origins))):
            return True
    return False


def is_sign(m: Measured, k: int) -> bool:
    """Whether the sign of a score times it is judged: by max(0, 1 - y s), by log(1 + exp(-y s))."""
    for node in m.nodes:
        learned = [o.learned for o in node.origins]
        if node.name != "mul" or sorted(learned) != [False, True]:
            continue
        if m.is_input(node.origins[learned.index(False)]) != k:
            continue
        for reader in m.after(node.out, _is_margin):
            below = next((m.behind(o.key) for o in reader.origins if o.learned), None)
            margin = below is not None and below.name in ("sub", "add")
            if (margin and is_relu(m, reader)) or reader.label.operation in LOGISTIC:
                return True
    return False


def _is_cast(m: Measured, k: int) -> bool:
    """Whether it becomes whole numbers that choose among results of the net."""
    made = [n for n in m.nodes if n.name == "convert_element_type" and m.is_input(n.origins[0]) == k]
    whole = any(np.issubdtype(m.values[n.out].dtype, np.integer) for n in made)
    chosen = (n for n in m.nodes if n.name == "gather" and k in m.sources(n.origins[1]))
    return whole and any(n.origins[0].learned for n in chosen)


def _is_margin(node: Node, i: int) -> bool:
    """Whether a value goes on but for its sign and a constant."""
    other = [o for j, o in enumerate(node.origins) if j != i]
    constant = not any(o.inputs for o in other)
    return node.name in {*LAYOUT, "neg"} or (node.name in ("sub", "add", "mul") and constant)


def label_range(m: Measured) -> Iterator[Finding]:
    """Labels that no output stands for."""
    for k, y in labels(m).items():
        name = m.call.names[k]
        if np.issubdtype(y.dtype, np.integer) and not is_sign(m, k):
            guarded = any(
                n.name in COMPARISONS and any(n.literal(i) is not None for i in (0, 1))
                and any(m.is_input(o) == k for o in n.origins) and _by_the_user(n)
                for n in m.nodes
            )  # fmt: skip
            classes = [c for n in m.nodes for c in _classes(m, n, k)]
            if classes and not guarded and (y.min() < 0 or y.max() >= min(classes)):
                evidence = f"labels run from {y.min()} to {y.max()}, outputs from 0 to {min(classes) - 1}"
                yield Finding("label_range", name, "", evidence)
        elif np.issubdtype(y.dtype, np.floating) and _is_cast(m, k) and (y != np.trunc(y)).mean() > SHARE:
            evidence = f"as whole numbers {(y != np.trunc(y)).mean():.0%} of the labels are others"
            yield Finding("label_range", name, "", evidence)
        elif is_sign(m, k) and np.isin(y, (0, 1)).all() and (y == 0).any():
            evidence = "a loss of a label times a score has labels 0 and 1, not -1 and 1"
            yield Finding("label_range", name, "", evidence)
        elif is_binary(m, k) and np.issubdtype(y.dtype, np.floating) and (y.min() < 0 or y.max() > 1):
            evidence = f"a binary cross-entropy has labels from {y.min():g} to {y.max():g}, not 0 to 1"
            yield Finding("label_range", name, "", evidence)


def _by_the_user(node: Node) -> bool:
    """Whether the user compared a label with a number, and not what indexes by it."""
    inward = []
    for frame in frames_of(node.place.eqn):
        if not frame.file.startswith(LIBRARIES):
            break
        inward.append(frame.function)
    # What an index does with negative numbers is a comparison within _getitem.
    outermost = next((name for name in reversed(inward) if not name.endswith(".op")), "")
    return outermost.startswith("_operator_") or node.label.operation in WRITTEN


def _classes(m: Measured, node: Node, k: int) -> Iterator[int]:
    """How many classes there are where labels choose one: of an axis that is indexed, or of one-hot rows."""
    if node.name == "gather" and k in m.sources(node.origins[1]) and node.origins[0].learned:
        numbers = node.place.eqn.params["dimension_numbers"]
        shape = node.place.eqn.invars[0].aval.shape
        sizes = [shape[d] for d in numbers.start_index_map if shape[d] != m.size]
        yield from sizes[-1:]
    if node.name == "eq" and k in m.sources(node.origins[0]) | m.sources(node.origins[1]):
        for i in (0, 1):
            other = m.operand(node, i)
            last = None if other is None or other.ndim < 2 else other.reshape(-1, other.shape[-1])
            if (
                last is not None
                and not m.sources(node.origins[i])
                and (last[0] == np.arange(len(last[0]))).all()
            ):
                yield len(last[0])
