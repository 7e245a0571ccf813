"""The rule of attention, on queries q, keys k and values v: whole, and in blocks of queries.

    S = c q k^T,  P = softmax(S) over the keys that a query sees,  o = P v            c = e^(-1/2)

    delta_v = P^T delta_o;  delta_S = P * (delta_o v^T - D),  D_t = delta_o,t . o_t
    delta_q = c delta_S k;  delta_k = c delta_S^T q

It is a dense layer whose weights P are activations, followed backwards by the rule of softmax: D is the
sum over P * delta_P that softmax takes away, found without P. With dropout o = M P v, M being 0 or
1 / (1 - rate): delta_v = (M P)^T delta_o and delta_S = P * (M delta_o v^T - D), with the same D.

Queries are (*n, G, R, T, e) and keys and values (*n, G, S, e): R queries look at each of the G heads of keys.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxbp.typing import Array, Tensor

Seen = Callable[[Array], Array | None]  # for rows of queries: whether each sees each key, None for all
Kept = Callable[[Array], Array | None]  # for rows of queries: M, None without dropout


class Heads(NamedTuple):
    """Queries (*n, G, R, T, e), keys and values (*n, G, S, e)."""

    q: Tensor
    k: Tensor
    v: Tensor


def scores(q: Tensor, k: Tensor, seen: Array | None) -> Tensor:
    """S = c q k^T, (*n, G, R, T, S), in 32 bits at least; -inf where a key is not seen."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    c = 1 / math.sqrt(q.shape[-1])
    S = c * jnp.einsum("...grte,...gse->...grts", q, k, preferred_element_type=wide)
    return S if seen is None else jnp.where(seen, S, -jnp.inf)


def probabilities(S: Tensor) -> tuple[Tensor, Tensor]:
    """P = softmax(S), and lse, the logarithm of what it is divided by, (*n, G, R, T, 1).

    A query that sees no key has P = 0, not 0 / 0, and lse = 0.
    """
    top = jax.lax.stop_gradient(S.max(-1, keepdims=True, initial=-jnp.inf))
    top = jnp.where(jnp.isfinite(top), top, 0)
    P = jnp.exp(S - top)
    total = P.sum(-1, keepdims=True)
    total = jnp.where(total == 0, 1, total)
    return P / total, top + jnp.log(total)


def taken(P: Tensor, v: Tensor, kept: Array | None) -> Tensor:
    """o = M P v."""
    P = P if kept is None else P * kept
    return jnp.einsum("...grts,...gse->...grte", P.astype(v.dtype), v)


def deltas(heads: Heads, P: Tensor, D: Tensor, kept: Array | None, delta_o: Tensor) -> Heads:
    """delta_q, delta_k and delta_v, in 32 bits at least."""
    q, k, v = heads
    wide, c = P.dtype, 1 / math.sqrt(q.shape[-1])
    M_P = (P if kept is None else P * kept).astype(v.dtype)
    delta_v = jnp.einsum("...grts,...grte->...gse", M_P, delta_o, preferred_element_type=wide)
    delta_P = jnp.einsum("...grte,...gse->...grts", delta_o, v, preferred_element_type=wide)
    delta_S = (c * P * ((delta_P if kept is None else delta_P * kept) - D)).astype(q.dtype)
    delta_q = jnp.einsum("...grts,...gse->...grte", delta_S, k, preferred_element_type=wide)
    delta_k = jnp.einsum("...grts,...grte->...gse", delta_S, q, preferred_element_type=wide)
    return Heads(delta_q, delta_k, delta_v)


def inner(delta_o: Tensor, o: Tensor, wide: jnp.dtype) -> Tensor:
    """D_t = delta_o,t . o_t, (*n, G, R, T, 1)."""
    return (delta_o.astype(wide) * o.astype(wide)).sum(-1, keepdims=True)


class Blocks(NamedTuple):
    """How queries are taken: so many at a time, and whether those of a block see later keys.

    Args:
        size: queries in a block.
        causal: whether keys after a block's last query are left out.
    """

    size: int
    causal: bool

    def parts(self, T: int) -> list[tuple[slice, int]]:
        """The blocks of each loop, and how many keys they look at.

        Where keys are left out there are up to 4 loops, of half of the products of one. Each has two blocks
        at least: a compiler opens a loop of one, and merges what is to be found again.
        """
        blocks = -(-T // self.size)
        loops = max(1, min(4, blocks // 2)) if self.causal else 1
        ends = [blocks * (i + 1) // loops for i in range(loops)]
        return [
            (slice(begin, end), min(end * self.size, T)) for begin, end in zip([0, *ends], ends, strict=False)
        ]


def in_blocks(heads: Heads, seen: Seen, kept: Kept, blocks: Blocks) -> tuple[Tensor, Tensor]:
    """O and lse, a block of queries at a time, so that S and P are never whole."""
    xs = (_rows(heads.q, blocks.size), _cut(heads.q, blocks.size))
    outs = []
    for part, keys in blocks.parts(heads.q.shape[-2]):
        k, v = heads.k[..., :keys, :], heads.v[..., :keys, :]

        def one(
            _: None, at: tuple[Array, Tensor], k: Tensor = k, v: Tensor = v, keys: int = keys
        ) -> tuple[None, tuple[Tensor, Tensor]]:
            rows, q = at
            P, lse = probabilities(scores(q, k, _first(keys, seen(rows))))
            return None, (taken(P, v, _first(keys, kept(rows))), lse)

        outs.append(jax.lax.scan(one, None, jax.tree.map(lambda x, part=part: x[part], xs))[1])
    o, lse = (jnp.concatenate(pieces) for pieces in zip(*outs, strict=True))
    return _joined(o, heads.q.shape[-2]), _joined(lse, heads.q.shape[-2])


def deltas_in_blocks(
    heads: Heads, o: Tensor, lse: Tensor, seen: Seen, kept: Kept, blocks: Blocks, delta_o: Tensor
) -> Heads:
    """The deltas, a block of queries at a time: P is found again from q, k and lse.

    The loop keeps a compiler from merging this P with that of the forward pass, which it would then save.
    """
    wide, delta_q = lse.dtype, []
    xs = (
        _rows(heads.q, blocks.size),
        *(_cut(a, blocks.size) for a in (heads.q, lse, inner(delta_o, o, wide), delta_o)),
    )
    so_far = jnp.zeros((*heads.k.shape[:-2], 0, heads.k.shape[-1]), wide)
    sums = (so_far, so_far)
    for part, keys in blocks.parts(heads.q.shape[-2]):
        k, v = heads.k[..., :keys, :], heads.v[..., :keys, :]

        def one(
            sums: tuple[Tensor, Tensor],
            at: tuple[Array, ...],
            k: Tensor = k,
            v: Tensor = v,
            keys: int = keys,
        ) -> tuple[tuple[Tensor, Tensor], Tensor]:
            rows, q, lse, D, delta_o = at
            P = jnp.exp(scores(q, k, _first(keys, seen(rows))) - lse)
            delta = deltas(Heads(q, k, v), P, D, _first(keys, kept(rows)), delta_o)
            return (sums[0] + delta.k, sums[1] + delta.v), delta.q

        sums = (_filled(sums[0], keys), _filled(sums[1], keys))
        sums, of_queries = jax.lax.scan(one, sums, jax.tree.map(lambda x, part=part: x[part], xs))
        delta_q.append(of_queries)
    return Heads(_joined(jnp.concatenate(delta_q), heads.q.shape[-2]), *sums)


def _first(keys: int, of_keys: Array | None) -> Array | None:
    """What there is of the first keys; an axis of one is that of all."""
    return None if of_keys is None else of_keys[..., :keys]


def _filled(sums: Tensor, keys: int) -> Tensor:
    """Sums of so many keys, 0 for those that no query saw as yet."""
    return jnp.pad(sums, [(0, 0)] * (sums.ndim - 2) + [(0, keys - sums.shape[-2]), (0, 0)])


def _rows(q: Tensor, block: int) -> Array:
    """The numbers of the queries in each block, (blocks, block)."""
    return jnp.arange(-(-q.shape[-2] // block) * block).reshape(-1, block)


def _cut(queries: Tensor, block: int) -> Tensor:
    """(*n, G, R, T, e) as (blocks, *n, G, R, block, e), the last filled up with zeros: their deltas are 0."""
    *lead, T, e = queries.shape
    blocks = -(-T // block)
    filled = jnp.pad(queries, [(0, 0)] * len(lead) + [(0, blocks * block - T), (0, 0)])
    return jnp.moveaxis(filled.reshape(*lead, blocks, block, e), len(lead), 0)


def _joined(blocks: Tensor, T: int) -> Tensor:
    """(blocks, *n, G, R, block, e) as (*n, G, R, T, e)."""
    together = jnp.moveaxis(blocks, 0, -3)
    return together.reshape(*together.shape[:-3], -1, together.shape[-1])[..., :T, :]
