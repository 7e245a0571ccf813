"""Contractions of a parameter Jacobian J, (N, C, P), one weight at a time and without forming it.

For a weight that multiplies, row c of example n is sum_t delta_{nct} f_{nt}^T over the T positions at
which it is used, T = 1 for a plain network. Then

    |J_nc|^2         = |delta|^2 |f|^2                          squared norms, trace of the NTK
    sum_n w J_nc     = (w delta)^T f                            means, clipped means
    sum_n J_nc^2     = (delta^2)^T f^2                          second moment, GGN diagonal
    J J^T            = (delta delta^T) .* (f f^T)               NTK
    J diag(s) J^T    = delta^2 . (s f^2)                        predictive variance

Sums over several positions do not factor so. There the squared norms and J J^T are found either by such
Gram matrices, of the order T^2, or by forming J in blocks, of the order d_out d_in, whichever takes
fewer FLOPs; the others form J for one example at a time.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxbp.typing import Array, Float


class Outer(NamedTuple):
    """The Jacobian by a weight that multiplies.

    Args:
        delta: (N, C, T, d_out).
        f: (N, T, d_in).
        axes: the weight's axes in the order of d_out, d_in.
        shape: of the weight.
    """

    delta: Float[Array, "N C T d_out"]
    f: Float[Array, "N T d_in"]
    axes: tuple[int, ...]
    shape: tuple[int, ...]


class Entrywise(NamedTuple):
    """The Jacobian by any other parameter, formed: (N, C, *shape)."""

    J: Float[Array, "N C ..."]


Block = Outer | Entrywise


def _weight_shaped(block: Outer, M: Array) -> Array:
    """(..., d_out, d_in) in the layout of the weight."""
    lead = M.shape[:-2]
    M = M.reshape(*lead, *(block.shape[axis] for axis in block.axes))
    places = [len(lead) + block.axes.index(axis) for axis in range(len(block.shape))]
    return M.transpose(*range(len(lead)), *places)


def _matrix_shaped(block: Outer, s: Array) -> Array:
    """A tensor like the weight as (d_out, d_in)."""
    return s.transpose(block.axes).reshape(block.delta.shape[-1], block.f.shape[-1])


def _one_position(block: Outer) -> bool:
    return block.delta.shape[2] == 1


def _form(delta: Array, f: Array) -> Array:
    """(C, d_out, d_in) of one example."""
    return jnp.einsum("cto,ti->coi", delta, f)


def formed(block: Block) -> Array:
    """J, (N, C, *shape)."""
    if isinstance(block, Entrywise):
        return block.J
    if _one_position(block):
        delta, f = block.delta[:, :, 0, :, None], block.f[:, None, 0, None, :]
        shape = (*delta.shape[:3], f.shape[-1])
        return _weight_shaped(block, jnp.broadcast_to(delta, shape) * jnp.broadcast_to(f, shape))
    return _weight_shaped(block, jax.vmap(_form)(block.delta, block.f))


def squared_norms(block: Block) -> Float[Array, "N C"]:
    """|J_nc|^2."""
    if isinstance(block, Entrywise):
        return (block.J**2).reshape(*block.J.shape[:2], -1).sum(-1)
    delta, f = block.delta, block.f
    if _one_position(block):
        return (delta**2).sum((2, 3)) * (f**2).sum((1, 2))[:, None]
    _, C, T, d_out = delta.shape
    d_in = f.shape[-1]
    if T**2 * (C * d_out + d_in) < C * T * d_out * d_in:
        grams = jnp.einsum("ncto,ncso->ncts", delta, delta)
        return jnp.einsum("ncts,nts->nc", grams, jnp.einsum("nti,nsi->nts", f, f))
    return jax.lax.map(lambda one: (_form(*one) ** 2).sum((1, 2)), (delta, f))


def weighted_sum(block: Block, w: Float[Array, "N C"]) -> Array:
    """sum_nc w_nc J_nc, like the parameter."""
    if isinstance(block, Entrywise):
        return jnp.tensordot(w, block.J, 2)
    delta = jnp.einsum("nc,ncto->nto", w, block.delta)
    return _weight_shaped(block, jnp.tensordot(delta, block.f, ((0, 1), (0, 1))))


def product_sum(block: Block, other: Block) -> Array:
    """sum_nc J_nc K_nc entry by entry, like the parameter; K differs from J in its deltas only."""
    if isinstance(block, Entrywise):
        assert isinstance(other, Entrywise)
        return (block.J * other.J).sum((0, 1))
    assert isinstance(other, Outer)
    if _one_position(block):
        delta = (block.delta * other.delta).sum((1, 2))
        return _weight_shaped(block, delta.T @ block.f[:, 0] ** 2)

    def add(so_far: Array, one: tuple[Array, Array, Array]) -> tuple[Array, None]:
        delta, other_delta, f = one
        return so_far + (_form(delta, f) * _form(other_delta, f)).sum(0), None

    start = jnp.zeros((block.delta.shape[-1], block.f.shape[-1]), block.delta.dtype)
    return _weight_shaped(block, jax.lax.scan(add, start, (block.delta, other.delta, block.f))[0])


def gram(block: Block, other: Block) -> Float[Array, "N C M C"]:
    """J K^T, every row of J with every row of the Jacobian K of M examples, perhaps the same ones."""
    if isinstance(block, Entrywise) or isinstance(other, Entrywise):
        return _products(formed(block), formed(other))
    (N, C, T, d_out), (M, _, S, _) = block.delta.shape, other.delta.shape
    d_in = block.f.shape[-1]
    if T * S * (d_out * C**2 + d_in) <= d_out * d_in * (C**2 + C * (T / M + S / N) / 2):
        by_delta = _products(block.delta, other.delta, lead=3)
        by_f = _products(block.f, other.f)
        if T == S == 1:
            shape = (N, C, M, C)
            return by_delta.reshape(shape) * jnp.broadcast_to(by_f.reshape(N, 1, M, 1), shape)
        return jnp.einsum("nctmks,ntms->ncmk", by_delta, by_f)
    rows, others = (jax.vmap(_form)(part.delta, part.f) for part in (block, other))
    return _products(rows, others)


def _products(rows: Array, others: Array, lead: int = 2) -> Array:
    """The inner product of every row of one array with every row of the other, numbered by ``lead`` axes."""
    by_row = [v.reshape(math.prod(v.shape[:lead]), -1) for v in (rows, others)]
    return (by_row[0] @ by_row[1].T).reshape(rows.shape[:lead] + others.shape[:lead])


def weighted_squares(block: Block, s: Array) -> Float[Array, "N C"]:
    """sum_p J_ncp^2 s_p, for s like the parameter."""
    if isinstance(block, Entrywise):
        return jnp.tensordot(block.J**2, s, s.ndim)
    s = _matrix_shaped(block, s)
    if _one_position(block):
        return jnp.einsum("nco,no->nc", block.delta[:, :, 0] ** 2, block.f[:, 0] ** 2 @ s.T)
    return jax.lax.map(lambda one: jnp.tensordot(_form(*one) ** 2, s, 2), (block.delta, block.f))
