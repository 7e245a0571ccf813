"""Contractions of a parameter Jacobian J, (N, C, P), one weight at a time and without forming it.

For a weight that multiplies, row c of example n is sum_t delta_{nct} f_{nt}^T over the T positions at
which it is used, T = 1 for a plain network. Then

    |J_nc|^2         = |delta|^2 |f|^2                          squared norms, trace of the NTK
    sum_n w J_nc     = (w delta)^T f                            means, clipped means
    sum_n J_nc^2     = (delta^2)^T f^2                          second moment, GGN diagonal
    J J^T            = (delta delta^T) .* (f f^T)               NTK
    J diag(s) J^T    = delta^2 . (s f^2)                        predictive variance

A block has here an axis N before all of its axes, and its deltas an axis C after that. Where a row id_t of a
table is taken at each position, row c of example n is sum_t e_{id_t} delta_{nct}: the deltas of equal ids are
added first, and T such sums take the place of the whole table. An array that is used in two places has the
sum of two blocks, so that its squared norms have the products of the two as well; one of n equal layers has a
block for each.

Sums over several positions do not factor so. There the squared norms and J J^T are found either by such
Gram matrices, of the order T^2, or by forming J in blocks, of the order d_out d_in, whichever takes
fewer FLOPs; the others form J for one example at a time.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any, cast

import jax
import jax.numpy as jnp

from jaxbp.layers.blocks import Added, Entrywise, Outer, Rows, Stacked
from jaxbp.typing import Array, Float

Block = Outer | Rows | Entrywise | Added | Stacked


def _parts(block: Added) -> tuple[Block, ...]:
    parts: Any = block.parts  # a bias is entrywise here
    return tuple(parts)


def _inside(block: Stacked) -> Block:
    inside: Any = block.block
    return cast(Block, inside)


def with_rows(block: Block, change: Callable[[Array], Array]) -> Block:
    """The block whose deltas, or whose J, are changed: (N, C, ...) to the same shape."""
    if isinstance(block, Entrywise):
        return Entrywise(change(block.J))
    if isinstance(block, Added):
        return Added(tuple(with_rows(part, change) for part in _parts(block)))
    if isinstance(block, Stacked):
        return Stacked(with_rows(_inside(block), change))
    return replace(block, delta=change(block.delta))


def _layers(block: Block) -> Block:
    """The block of each of n equal layers, n first: (n, N, C, ...)."""
    if isinstance(block, Entrywise):
        return Entrywise(jnp.moveaxis(block.J, 2, 0))
    if isinstance(block, Added):
        return Added(tuple(map(_layers, _parts(block))))
    if isinstance(block, Stacked):
        return Stacked(_layers(_inside(block)))
    delta = jnp.moveaxis(block.delta, 2, 0)
    if isinstance(block, Rows):
        return replace(block, delta=delta, id=jnp.moveaxis(block.id, 1, 0))
    return replace(block, delta=delta, f=jnp.moveaxis(block.f, 1, 0))


def _of_layers(fn: Callable[..., Array], *blocks: Block, by: tuple[Array, ...] = ()) -> Array:
    """``fn`` of the blocks of each layer, and of what ``by`` has for it; (n, ...)."""
    layers = [_layers(_inside(block)) for block in blocks if isinstance(block, Stacked)]
    of: Array = jax.vmap(fn)(*layers, *by)
    return of


def _inner(block: Block, other: Block) -> Float[Array, "N C"]:
    """The inner product of J_nc with K_nc, two uses of one array."""
    if isinstance(other, Rows):
        block, other = other, block
    if isinstance(block, Rows) and isinstance(other, Outer) and other.axes == (0, 1):
        ids = jnp.where(block.id < 0, block.shape[0], block.id)
        at_ids = jax.vmap(lambda delta, i: jnp.take(delta, i, -1, mode="fill", fill_value=0))(
            other.delta, ids
        )
        return jnp.einsum("ncst,nsd,nctd->nc", at_ids, other.f, block.delta)
    product = formed(block) * formed(other)
    return product.reshape(*product.shape[:2], -1).sum(-1)


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


def _by_id(delta: Array, ids: Array, V: int) -> tuple[Array, Array]:
    """The deltas of one example, (C, T, d), those of equal ids added, and the row of each sum, V for none."""
    T = len(ids)
    order = jnp.argsort(ids)
    ids = jnp.where((ids >= 0) & (ids < V), ids, V)[order]  # what is out of range has no row
    number = jnp.cumsum(jnp.concatenate([jnp.zeros(1, int), (ids[1:] != ids[:-1]).astype(int)]))
    kept = jnp.where(jnp.broadcast_to((ids < V)[None, :, None], delta.shape), delta[:, order], 0)
    added = jnp.zeros_like(delta).at[:, number].add(kept)
    return added, jnp.full(T, V).at[number].set(ids)


def _sums(block: Rows) -> tuple[Array, Array]:
    """`_by_id` of every example: (N, C, T, d) and (N, T)."""
    by_id: tuple[Array, Array] = jax.vmap(lambda delta, ids: _by_id(delta, ids, block.shape[0]))(
        block.delta, block.id
    )
    return by_id


def _into_table(block: Rows, ids: Array, delta: Array) -> Array:
    """Delta, (..., d), added to the rows ids, (...), of a table of zeros."""
    table = jnp.zeros(block.shape, delta.dtype)
    ids = jnp.where(ids < 0, block.shape[0], ids)  # from the end is out of range
    return table.at[ids].add(delta, mode="drop")


def formed(block: Block) -> Array:
    """J, (N, C, *shape)."""
    if isinstance(block, Added):
        return sum(map(formed, _parts(block)[1:]), formed(_parts(block)[0]))
    if isinstance(block, Stacked):
        return jnp.moveaxis(_of_layers(formed, block), 0, 2)
    if isinstance(block, Entrywise):
        return block.J
    if isinstance(block, Rows):

        def of_row(delta: Array, ids: Array) -> Array:
            return _into_table(block, ids, delta)

        tables: Array = jax.vmap(jax.vmap(of_row, in_axes=(0, None)))(block.delta, block.id)
        return tables
    if _one_position(block):
        delta, f = block.delta[:, :, 0, :, None], block.f[:, None, 0, None, :]
        shape = (*delta.shape[:3], f.shape[-1])
        return _weight_shaped(block, jnp.broadcast_to(delta, shape) * jnp.broadcast_to(f, shape))
    return _weight_shaped(block, jax.vmap(_form)(block.delta, block.f))


def with_norms(block: Block) -> tuple[Block, Float[Array, "N C"]]:
    """A block for a second sum, and |J_nc|^2.

    It is J itself where that has no more numbers than its factors: many positions, a small weight. Then J is
    formed once, one example after another, so that its norm is taken while J is at hand.
    """
    if jax.eval_shape(formed, block).size > sum(leaf.size for leaf in jax.tree.leaves(block)):
        return block, squared_norms(block)
    if not isinstance(block, Outer) or _one_position(block):
        J = Entrywise(formed(block))
        return J, squared_norms(J)

    def one(factors: tuple[Array, Array]) -> tuple[Array, Array]:
        J = _form(*factors)
        return J, (J**2).sum((1, 2))

    Js, norms = jax.lax.map(one, (block.delta, block.f))
    return Entrywise(_weight_shaped(block, Js)), norms


def squared_norms(block: Block) -> Float[Array, "N C"]:
    """|J_nc|^2."""
    if isinstance(block, Added):
        parts = _parts(block)
        own = sum(map(squared_norms, parts[1:]), squared_norms(parts[0]))
        return sum((2 * _inner(part, other) for part, other in combinations(parts, 2)), own)
    if isinstance(block, Stacked):
        return _of_layers(squared_norms, block).sum(0)
    if isinstance(block, Entrywise):
        return (block.J**2).reshape(*block.J.shape[:2], -1).sum(-1)
    if isinstance(block, Rows):
        return (_sums(block)[0] ** 2).sum((2, 3))
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
    if isinstance(block, Added):
        return sum((weighted_sum(part, w) for part in _parts(block)[1:]), weighted_sum(_parts(block)[0], w))
    if isinstance(block, Stacked):
        return _of_layers(lambda layer: weighted_sum(layer, w), block)
    if isinstance(block, Entrywise):
        return jnp.tensordot(w, block.J, 2)
    if isinstance(block, Rows):
        return _into_table(block, block.id, jnp.einsum("nc,nctd->ntd", w, block.delta))
    delta = jnp.einsum("nc,ncto->nto", w, block.delta)
    return _weight_shaped(block, jnp.tensordot(delta, block.f, ((0, 1), (0, 1))))


def product_sum(block: Block, other: Block) -> Array:
    """sum_nc J_nc K_nc entry by entry, like the parameter; K differs from J in its deltas only."""
    if isinstance(block, Added):
        return (formed(block) * formed(other)).sum((0, 1))
    if isinstance(block, Stacked):
        return _of_layers(product_sum, block, other)
    if isinstance(block, Entrywise):
        assert isinstance(other, Entrywise)
        return (block.J * other.J).sum((0, 1))
    if isinstance(block, Rows):
        assert isinstance(other, Rows)
        (sums, at), (others, _) = _sums(block), _sums(other)
        return _into_table(block, at, (sums * others).sum(1))
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
    if isinstance(block, Stacked) and isinstance(other, Stacked):
        return _of_layers(gram, block, other).sum(0)
    if isinstance(block, Entrywise | Added | Stacked) or isinstance(other, Entrywise | Added | Stacked):
        return _products(formed(block), formed(other))
    if isinstance(block, Rows) or isinstance(other, Rows):
        assert isinstance(block, Rows)
        assert isinstance(other, Rows)
        (sums, at), (others, at_others) = _sums(block), _sums(other)
        same = at[:, :, None, None] == at_others[None, None]
        by_delta = _products(sums, others, lead=3)
        return jnp.einsum("nctmks,ntms->ncmk", by_delta, same.astype(by_delta.dtype))
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
    if isinstance(block, Added):
        return jnp.tensordot(formed(block) ** 2, s, s.ndim)
    if isinstance(block, Stacked):
        return _of_layers(weighted_squares, block, by=(s,)).sum(0)
    if isinstance(block, Entrywise):
        return jnp.tensordot(block.J**2, s, s.ndim)
    if isinstance(block, Rows):
        sums, at = _sums(block)
        return jnp.einsum("nctd,ntd->nc", sums**2, jnp.take(s, at, axis=0, mode="fill", fill_value=0))
    s = _matrix_shaped(block, s)
    if _one_position(block):
        return jnp.einsum("nco,no->nc", block.delta[:, :, 0] ** 2, block.f[:, 0] ** 2 @ s.T)
    return jax.lax.map(lambda one: jnp.tensordot(_form(*one) ** 2, s, 2), (block.delta, block.f))
