"""`check_network`: every delta of a network by its hand-written rules, by jax.grad and by Jacobians."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxbp.backprop import backprop
from jaxbp.layers.composition import numbered
from jaxbp.layers.layer import Layer
from jaxbp.losses import Loss
from jaxbp.tables import as_html, as_text
from jaxbp.typing import Array, Params, Targets

TOLERANCE = 4096 * float(np.finfo(np.float64).eps)


class Row(NamedTuple):
    """One delta: its name and shape, and its largest difference to each reference, relative to its scale."""

    delta: str
    shape: tuple[int, ...]
    grad: float
    jacobians: float

    @property
    def ok(self) -> bool:
        """Whether both differences are within the tolerance."""
        return max(self.grad, self.jacobians) <= TOLERANCE


class NetworkReport(NamedTuple):
    """A row for every delta_W_l, delta_b_l and for delta_x; ``ok`` if all of them agree."""

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
        return ("delta", "shape", "hand - jax.grad", "hand - jax.jacrev chain", "equal")

    def cells(self) -> Iterator[tuple[str, ...]]:
        """The rows as text."""
        for row in self.rows:
            shape = " x ".join(map(str, row.shape))
            yield row.delta, shape, f"{row.grad:.1e}", f"{row.jacobians:.1e}", "yes" if row.ok else "NO"

    @property
    def title(self) -> str:
        """What was compared."""
        return f"{self.net}: largest relative differences over {self.examples} examples, float64"

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
    is compared with `jax.grad` of the plain ``net.apply``, and with the lecture's chain as it stands on
    the board: for each example a row delta, multiplied by one Jacobian matrix of `jax.jacrev` after the
    other. A residual block is one factor of that chain. Equal means within 4096 roundings (9.1e-13) of the
    delta's largest entry.

    Args:
        net: any network.
        loss: its loss.
        params: where to check; random ones are the best.
        x: a few examples, (*n, d_0). The Jacobians of the parameters are large: 8 are plenty.
        y: their targets.

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
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        rows_x, rows_y = jnp.asarray(x, jnp.float64), jnp.asarray(y)
        n = jax.eval_shape(net.apply, params, rows_x).ndim - 1
        rows_x, rows_y = (v.reshape(-1, *v.shape[n:]) for v in (rows_x, rows_y))  # one axis of examples

        @jax.jit
        def deltas(params: Params, x: Array, y: Targets) -> tuple[Any, Any, Any]:
            by_hand = backprop(net, loss, params, x, y).deltas
            by_grad = jax.grad(lambda p, x: loss(net.apply(p, x), y), argnums=(0, 1))(params, x)
            return (by_hand.params, by_hand.x), by_grad, _by_jacobians(net, loss, params, x, y)

        by_hand, by_grad, by_jacobians = jax.device_get(deltas(params, rows_x, rows_y))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    leaves = (jax.tree.leaves(tree) for tree in (by_hand, by_grad, by_jacobians))
    rows = tuple(
        Row(name, hand.shape, _difference(hand, grad), _difference(hand, jacobians))
        for name, hand, grad, jacobians in zip([*map(_name, paths), "delta_x"], *leaves, strict=True)
    )
    return NetworkReport(net.name, len(rows_x), rows)


def _by_jacobians(net: Layer, loss: Loss, params: Params, x: Array, y: Targets) -> tuple[Params, Array]:
    """(delta_params, delta_x) of a batch: for each example its row delta times one Jacobian after another."""
    parts = net.parts if net.form == "product" else (net,)
    nested = params if net.form == "product" else {1: params}

    def example(x: Array, y: Array) -> tuple[Params, Array]:
        inputs = [x]
        for l, part in numbered(parts):
            inputs.append(part.apply(nested[l] if part.has_params else {}, inputs[-1]))
        delta = jax.jacrev(loss)(inputs[-1], y)
        delta_params = {}
        for (l, part), f in reversed(list(zip(numbered(parts), inputs[:-1], strict=True))):
            p = nested[l] if part.has_params else {}
            J_params, J_f = jax.jacrev(part.apply, argnums=(0, 1))(p, f)
            if part.has_params:
                delta_params[l] = jax.tree.map(lambda J, d=delta: jnp.tensordot(d, J, d.ndim), J_params)
            delta = jnp.tensordot(delta, J_f, delta.ndim)
        return (delta_params if net.form == "product" else delta_params.get(1, {})), delta

    # Each example has its own row; the batch's mean or sum is that of the loss.
    divisor = len(x) if loss.reduction == "mean" else 1
    delta_params, delta_x = jax.vmap(example)(x, y)
    return jax.tree.map(lambda d: d.sum(0) / divisor, delta_params), delta_x / divisor


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest entry wanted."""
    scale = float(np.abs(wanted).max(initial=0.0))
    return float(np.abs(found - wanted).max(initial=0.0)) / (scale or 1.0)


def _name(path: tuple[Any, ...]) -> str:
    """delta_W_2 for the path [2]['W'], delta_W_2.branch.1 for one in a residual block."""
    *layer, leaf = (str(key.key) for key in path)
    return f"delta_{leaf}" + (f"_{'.'.join(layer)}" if layer else "")
