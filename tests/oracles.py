"""What the hand-written rules are held against, and how close they must come."""

import jax
import jax.numpy as jnp
import numpy as np


def tolerance(dtype) -> float:
    """100 roundings of the dtype: 2.2e-14 in float64, 1.2e-5 in float32."""
    return 100 * float(jnp.finfo(dtype).eps)


def worst(found, wanted, floor: float = 0.0) -> float:
    """The largest difference between two trees, each leaf relative to its own largest entry.

    Or relative to ``floor`` of the largest of all: a leaf that is 0, as the delta of a bias ahead of a norm,
    is a sum that cancels, and has the rounding of what is added.
    """
    assert jax.tree.structure(found) == jax.tree.structure(wanted)

    def size(v):
        return np.abs(np.asarray(v, np.float64)).max(initial=0.0)

    least = floor * max(map(size, jax.tree.leaves(wanted)), default=0.0)

    def leaf(u, v):
        u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
        assert u.shape == v.shape, f"shapes {u.shape} and {v.shape}"
        scale = max(size(v), least)
        return np.abs(u - v).max(initial=0.0) / (scale or 1.0)

    return max(jax.tree.leaves(jax.tree.map(leaf, found, wanted)), default=0.0)


def assert_close(found, wanted, dtype) -> None:
    for u, v in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert u.dtype == v.dtype, f"{u.dtype} and {v.dtype}"
    difference = worst(found, wanted)
    assert difference <= tolerance(dtype), f"worst relative difference {difference:.2e}"


def differences(fn, x, h: float = 1e-3):
    """d fn / d x of a scalar function by 5-point differences, the entry's own at a time; float64."""
    x = np.asarray(x, np.float64)
    steps = (h * np.eye(x.size)).reshape(-1, *x.shape)
    at = jax.jit(jax.vmap(fn))
    slope = (at(x - 2 * steps) - 8 * at(x - steps) + 8 * at(x + steps) - at(x + 2 * steps)) / (12 * h)
    return np.asarray(slope).reshape(x.shape)
