"""Copies of arrays, for programs that take the buffers of what they are given."""

from typing import Any

import jax
import jax.numpy as jnp


def copied(tree: Any) -> Any:
    """The arrays of a tree in buffers of their own.

    The runtime copies them: a program that copies would be compiled for each shape, which takes longer in a
    short run than the copies of all epochs. What other processes have a part of needs one, and so do keys on
    several devices, of which `jax.device_put` copies the first.
    """

    def own(leaf: Any) -> Any:
        here = isinstance(leaf, jax.Array) and leaf.is_fully_addressable
        if not here or (jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) and len(leaf.devices()) > 1):
            return jnp.array(leaf, copy=True)
        return jax.device_put(leaf, may_alias=False)

    return jax.tree.map(own, tree)
