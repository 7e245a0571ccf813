"""The last layer and the loss chunk by chunk, so that the logits of all examples are never there at once."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.layers.composition.chain import chain
from jaxbp.layers.composition.tied import added, opened
from jaxbp.layers.layer import Layer
from jaxbp.losses.loss import Loss, weights
from jaxbp.typing import Array, Params, Rows, Saved, Scalar, Targets


def loss_and_gradient(
    net: Layer,
    loss: Loss,
    chunks: int,
    params: Params,
    x: Array,
    y: Targets,
    weight: Array | None,
    named: dict[str, Any],
) -> tuple[Scalar, Params, Saved]:
    """The loss of a network and its gradient, the last layer and the loss in ``chunks`` chunks.

    Args:
        net: a `chain`, `tied` or not, see `parted`.
        loss: of its outputs.
        chunks: how many; at most one for each row.
        params: of the network.
        x: examples.
        y: targets.
        weight: of the rows that the last layer takes.
        named: key and given, for forward.

    Returns:
        loss, delta_params, and what the parts save, None for the last.
    """
    own = params if net.tie is None else opened(params, net.tie)
    body, head = parted(net)
    L = max(own)
    of_body = {l: p for l, p in own.items() if l < L}
    f, saved = body.forward(of_body, x, **named)
    with jax.named_scope("loss"), errors.within("value_and_grad"):
        value, of_head, delta_f = head_and_loss(head, loss, chunks, own[L], f, y, weight)
    delta_params = body.backward(of_body, saved, delta_f)[0] | {L: of_head}
    return value, delta_params if net.tie is None else added(delta_params, net.tie), (*saved, None)


def parted(net: Layer) -> tuple[Layer, Layer]:
    """The network before its last layer, and the last layer.

    Raises:
        ValueError: for a network that is no `chain` of two layers with parameters at least, or whose last
            part is without parameters, or has state.
    """
    net = net if net.tie is None else net.parts[0]
    parts = net.parts if net.form == "product" else ()
    if sum(part.has_params for part in parts) < 2 or not parts[-1].has_params or parts[-1].state is not None:
        expected = "a chain that ends in a layer with parameters, to take in chunks"
        raise ValueError(errors.message("value_and_grad", expected, net.name, "chunks=1"))
    return chain(*parts[:-1]), parts[-1]


def head_and_loss(
    head: Layer, loss: Loss, chunks: int, params: Params, f: Rows, y: Targets, weight: Array | None
) -> tuple[Scalar, Params, Rows]:
    """The loss of head(f), its delta by the head's parameters, and delta_f, in ``chunks`` chunks of rows.

    The loss is the last function there is: its delta needs no second pass. So a chunk's logits, their delta,
    and what it gives to delta_W and delta_f are found in one go, and forgotten.

    Args:
        head: a layer that takes each row by itself, such as `dense`.
        loss: of the head's outputs.
        chunks: how many; at most one for each row.
        params: of the head.
        f: (*n, d).
        y: targets, (*n,) or (*n, C).
        weight: of the rows, as `Loss` takes them.

    Returns:
        loss, delta_params, delta_f.

    Example: the same numbers as at once.
        >>> from jaxbp.layers import dense
        >>> from jaxbp.losses import squared_error
        >>> params, f = {"W": jnp.array([[2.0]])}, jnp.array([[1.0], [2.0]])
        >>> head_and_loss(dense(1, 1, bias=False), squared_error, 2, params, f, jnp.zeros((2, 1)), None)
        (Array(5., dtype=float32), {'W': Array([[5.]], dtype=float32)}, Array([[2.],
               [4.]], dtype=float32))

    Source: reverse mode of the last function in one go; Hsu et al. 2024, arXiv 2410.10989.
    """
    n, d = f.shape[:-1], f.shape[-1]
    y = arguments.array(loss.name, "y", y)
    if y.shape[: len(n)] != n:
        raise ValueError(errors.message(loss.name, f"targets with leading axes {n}", f"shape {y.shape}"))
    weight = jnp.ones(n, f.dtype) if weight is None else weights(loss.name, weight, n).astype(f.dtype)
    total = weight.sum() if loss.reduction == "mean" else 1
    share, summed = weight / jnp.where(total == 0, 1, total), loss.sum
    many = math.prod(n)
    chunks = min(chunks, max(many, 1))  # an empty one is none
    size = -(-many // chunks)

    def cut(rows: Array, inner: tuple[int, ...]) -> Array:
        """Rows in chunks, the last filled up with rows that weigh 0."""
        flat = rows.reshape(many, *inner)
        filled = jnp.pad(flat, [(0, chunks * size - many), *[(0, 0)] * len(inner)])
        return filled.reshape(chunks, size, *inner)

    def one(so_far: tuple[Scalar, Params], at: Any) -> tuple[tuple[Scalar, Params], Rows]:
        value, delta_params = so_far
        f, y, share = at
        out, saved = head.forward(params, f)
        more, delta_f = head.backward(params, saved, summed.delta(out, y, share))
        return (value + summed(out, y, share), jax.tree.map(jnp.add, delta_params, more)), delta_f

    start = jnp.zeros((), f.dtype), jax.tree.map(jnp.zeros_like, params)
    xs = cut(f, (d,)), cut(y, y.shape[len(n) :]), cut(share, ())
    (value, delta_params), delta_f = jax.lax.scan(one, start, xs)
    return value, delta_params, delta_f.reshape(-1, d)[:many].reshape(f.shape)
