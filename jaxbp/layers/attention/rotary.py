"""Rotary positions: a query and a key are turned by an angle that grows with their place."""

import jax.numpy as jnp

from jaxbp.typing import Array, Int, Tensor


def turned(heads: Tensor, positions: Int[Array, "..."], base: float, *, back: bool = False) -> Tensor:
    """R_t of each head: its entries j and j + e/2 are a point, turned by t base^(-2j/e).

    R_t is orthogonal and R_t^T R_s = R_(s-t), so that q_t' . k_s' depends on s - t alone. A delta goes
    backwards through it by the inverse, the same turn the other way.

    Args:
        heads: (*n, T, h, e), e even.
        positions: t of each place, (T,) or (*n, T).
        base: how slowly the last pair turns; 10,000 in the paper.
        back: turn the other way.

    Example: a quarter of a turn for the one pair of a head of 2.
        >>> turned(jnp.ones((1, 1, 2)), jnp.array([jnp.pi / 2]), 1e4).round(3)
        Array([[[-1.,  1.]]], dtype=float32)

    Source: Su et al. 2021, arXiv 2104.09864; halves in place of neighbours, as in GPT-NeoX.
    """
    half = heads.shape[-1] // 2
    wide = jnp.promote_types(heads.dtype, jnp.float32)
    speeds = base ** (-jnp.arange(half, dtype=wide) / half)
    positions = positions.reshape((1,) * (heads.ndim - 2 - positions.ndim) + positions.shape)
    angles = positions[..., None, None].astype(wide) * speeds.reshape((1,) * (heads.ndim - 1) + (half,))
    cos, sin = jnp.cos(angles), jnp.sin(-angles if back else angles)
    x, y = heads[..., :half].astype(wide), heads[..., half:].astype(wide)
    return jnp.concatenate([x * cos - y * sin, y * cos + x * sin], -1).astype(heads.dtype)
