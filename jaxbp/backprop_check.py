"""`check_network`: every delta of a network by its hand-written rules, by jax.grad and by Jacobians."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxbp import arguments
from jaxbp.backprop import backprop
from jaxbp.jacobians.given import assert_apart
from jaxbp.layers.composition.chain import numbered
from jaxbp.layers.entrance import inputs_of
from jaxbp.layers.layer import Layer
from jaxbp.losses import Loss
from jaxbp.tables import as_html, as_text
from jaxbp.typing import Array, Params, Targets
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import point
from jaxbp.verify.numbers.differences import Differences

TOLERANCE = 4096 * float(np.finfo(np.float64).eps)


class Row(NamedTuple):
    """One delta: its name and shape, and its largest difference to each reference, relative to its scale.

    Args:
        delta: its name.
        shape: its shape.
        grad: to `jax.grad` of the plain network.
        jacobians: to the chain of Jacobian matrices by `jax.jacrev`.
        rules: to the chain of the layers' own structured Jacobians.
        differences: to the difference quotient of the loss in one random direction.
        error: what that quotient says of its own error.
    """

    delta: str
    shape: tuple[int, ...]
    grad: float
    jacobians: float
    rules: float
    differences: float
    error: float

    @property
    def ok(self) -> bool:
        """Whether all of them are within the tolerance, the quotient within its own error."""
        exact = max(self.grad, self.jacobians, self.rules) <= TOLERANCE
        return exact and self.differences <= TOLERANCE + self.error


class NetworkReport(NamedTuple):
    """A row for every delta_W_l, delta_b_l and for delta_x; ``ok`` if all of them agree.

    Args:
        net: its name.
        examples: how many rows the output had; of a text, its positions.
        rows: one for each delta.
    """

    net: str
    examples: int
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether every row is."""
        return all(row.ok for row in self.rows)

    @property
    def header(self) -> tuple[str, ...]:
        """The columns of the table."""
        return ("delta", "shape", "jax.grad", "jacrev", "rules", "quotient", "equal")

    def cells(self) -> Iterator[tuple[str, ...]]:
        """The rows as text."""
        for row in self.rows:
            shape = " x ".join(map(str, row.shape))
            numbers = (f"{v:.1e}" for v in (row.grad, row.jacobians, row.rules, row.differences))
            yield row.delta, shape, *numbers, "yes" if row.ok else "NO"

    @property
    def title(self) -> str:
        """What was compared."""
        return f"{self.net}: hand-written deltas against four references, {self.examples} examples, float64"

    def __repr__(self) -> str:
        return as_text(self.header, self.cells(), self.title)

    def _repr_html_(self) -> str:
        return as_html(self.header, self.cells(), self.title)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain Python values, for JSON."""
        rows = [row._asdict() | {"ok": row.ok} for row in self.rows]
        return {"net": self.net, "examples": self.examples, "ok": self.ok, "rows": rows}


def check_network(net: Layer, loss: Loss, params: Params, x: ArrayLike, y: ArrayLike) -> NetworkReport:
    """Whether the hand-written deltas of a network equal jax.grad's and the Jacobian chain's.

    All in float64, whatever the program runs in. Every delta_{W_l}, delta_{b_l} and delta_x of `backprop`
    is compared with four references: `jax.grad` of the plain ``net.apply``; the lecture's chain as it stands
    on the board, for each example a row delta multiplied by one Jacobian matrix of `jax.jacrev` after the
    other, a residual block being one factor; the same chain of the layers' own structured Jacobians; and
    the difference quotient of the loss in a random direction. Equal means within 4096 roundings (9.1e-13)
    of the delta's largest entry, for the quotient within its own error besides.

    Args:
        net: any network.
        loss: its loss.
        params: where to check; random ones are the best.
        x: a few examples, (N, ...), or one whose output is a single row. The Jacobians of the parameters are
            large: 8 are plenty. Of integers, such as the ids of a text, there is no delta_x.
        y: their targets.

    Raises:
        ValueError: for a network that normalizes the examples of a batch together, which have no Jacobians of
            their own: `fixed` makes that of evaluation, and `check` judges `with_hand_vjp` of any.

    Returns:
        A `NetworkReport` with ``ok``, ``rows`` and a table.

    Example:
        >>> import jaxbp
        >>> net = jaxbp.mlp([2, 3, 2], jaxbp.tanh)
        >>> report = check_network(net, jaxbp.softmax_cross_entropy, net.init(jax.random.key(0)),
        ...                        jnp.array([[1.0, 0.0], [0.5, 2.0]]), jnp.array([0, 1]))
        >>> report.ok, [row.delta for row in report.rows]
        (True, ['delta_W_1', 'delta_b_1', 'delta_W_2', 'delta_b_2', 'delta_x'])

    Source: the lecture, "the four steps" and the chain rule J_{f o g}(x) = J_f(g(x)) J_g(x).
    """
    where = "check_network"
    arguments.instance(where, "net", net, Layer, "check takes any function")
    arguments.instance(where, "loss", loss, Loss, "check takes any function")
    assert_apart(where, net)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: p.astype(jnp.float64), arguments.params(where, params))
        x, y = inputs_of(where, net, params, x), arguments.array(where, "y", y)
        ids = jnp.issubdtype(x.dtype, jnp.integer)
        x = x if ids else x.astype(jnp.float64)
        out = jax.eval_shape(net.apply, params, x)
        examples = math.prod(out.shape[:-1])
        if x.ndim < 2 or out.ndim < 2:  # one example; else the first axis counts them
            x, y = x[None], y[None]
        of = (0,) if ids else (0, 1)

        @jax.jit
        def deltas(params: Params, x: Array, y: Targets) -> tuple[Any, ...]:
            by_hand = backprop(net, loss, params, x, y).deltas
            by_grad = jax.grad(lambda p, x: loss(net.apply(p, x), y), argnums=of)(params, x)
            ways = [_by(way, net, loss, params, x, y) for way in (_by_matrices, _by_operators)]
            return (by_hand.params, by_hand.x), by_grad, *ways

        trees = jax.device_get(deltas(params, x, y))
        hand, *references = (jax.tree.leaves(tree) for tree in trees)
        quotients = list(_by_differences(net, loss, params, x, y, hand))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    rows = tuple(
        Row(name, delta.shape, *(_difference(delta, other) for other in others), *quotient)
        for name, delta, *others, quotient in zip(
            [*map(_name, paths), *["delta_x"] * (not ids)], hand, *references, quotients, strict=True
        )
    )
    return NetworkReport(net.name, examples, rows)


Way = Callable[[Layer, Params, Array, Array], tuple[Params, Array | None]]


def _by(way: Way, net: Layer, loss: Loss, params: Params, x: Array, y: Array) -> tuple[Params, Array]:
    """(delta_params, delta_x) of a batch: each example's row delta, pulled through one part after another."""
    parts, nested = (net.parts, params) if net.form == "product" else ((net,), {1: params})

    def example(x: Array, y: Array) -> tuple[Params, Array]:
        inputs = [x]
        for l, part in numbered(parts):
            inputs.append(part.apply(nested[l] if part.has_params else {}, inputs[-1]))
        delta = jax.jacrev(loss)(inputs[-1], y)
        delta_params = {}
        for (l, part), f in reversed(list(zip(numbered(parts), inputs[:-1], strict=True))):
            delta_p, delta = way(part, nested[l] if part.has_params else {}, f, delta)
            if part.has_params:
                delta_params[l] = delta_p
        return (delta_params if net.form == "product" else delta_params.get(1, {})), delta

    # Each example has its own row; the batch's mean or sum is that of the loss.
    divisor = len(x) if loss.reduction == "mean" else 1
    delta_params, delta_x = jax.vmap(example)(x, y)
    delta_params = jax.tree.map(lambda d: d.sum(0) / divisor, delta_params)
    return delta_params, jax.tree.map(lambda d: d / divisor, delta_x)


def _by_matrices(part: Layer, p: Params, f: Array, delta: Array) -> tuple[Params, Array | None]:
    """Row delta times the Jacobian matrices of `jax.jacrev`."""

    def times(J: Array) -> Array:
        return jnp.tensordot(delta, J, delta.ndim)

    if jnp.issubdtype(f.dtype, jnp.integer):
        return jax.tree.map(times, jax.jacrev(part.apply)(p, f)), None
    J_params, J_f = jax.jacrev(part.apply, argnums=(0, 1))(p, f)
    return jax.tree.map(times, J_params), times(J_f)


def _by_operators(part: Layer, p: Params, f: Array, delta: Array) -> tuple[Params, Array | None]:
    """Row delta times the layer's own Jacobian; for the parameters, by autodiff of this part alone."""
    delta_p = jax.vjp(lambda p: part.apply(p, f), p)[1](delta)[0]
    if jnp.issubdtype(f.dtype, jnp.integer):
        return delta_p, None
    return delta_p, (delta.reshape(-1) @ part.jacobian(p, f)).reshape(f.shape)


def _by_differences(
    net: Layer, loss: Loss, params: Params, x: Array, y: Array, deltas: list[np.ndarray]
) -> Iterator[tuple[float, float]]:
    """For each delta, its product with a random direction against the loss's slope there, and the error."""
    # x stays as it is where it is made of integers: then there is no delta for it.
    leaves, tree = jax.tree.flatten((params, x))
    moved = leaves[: len(deltas)]

    def value(*moved: Array) -> list[Array]:
        p, x = jax.tree.unflatten(tree, [*moved, *leaves[len(deltas) :]])
        return [loss(net.apply(p, x), y)]

    quotient = Differences(point(value, moved), float(np.finfo(np.float64).eps))
    rng = np.random.default_rng(0)
    for k, delta in enumerate(deltas):
        direction = [np.zeros(leaf.shape) for leaf in moved]
        direction[k] = rng.standard_normal(delta.shape) / max(1.0, np.sqrt(delta.size))
        slope = quotient.along(direction, 1.0)
        scale = float(np.linalg.norm(delta) * np.linalg.norm(direction[k])) or 1.0
        gap = abs(slope.central.item() - float((delta * direction[k]).sum()))
        yield gap / scale, tolerances.COVER * slope.central_error.item() / scale


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest entry wanted."""
    scale = float(np.abs(wanted).max(initial=0.0))
    return float(np.abs(found - wanted).max(initial=0.0)) / (scale or 1.0)


def _name(path: tuple[Any, ...]) -> str:
    """delta_W_2 for the path [2]['W'], delta_W_2.branch.1 for one in a residual block."""
    *layer, leaf = (str(key.key) for key in path)
    return f"delta_{leaf}" + (f"_{'.'.join(layer)}" if layer else "")
