"""Compiled programs outlive their run: the next with the same functions and shapes has nothing to compile."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import jax

from jaxbp.train.checkpoints.leaves import sharding
from jaxbp.train.plan import Plan

Programs = TypeVar("Programs")


def compiled(make: Callable[[Plan, Any], Programs], plan: Plan, arguments: Any) -> Programs:
    """``make(plan, arguments)``; the last few results are kept.

    Args:
        make: compiles programs, given a plan without key and data, and the shapes of arguments.
        plan: of the run.
        arguments: a tree of arrays.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(_shape, arguments))
    bare = plan._replace(key=None, train=None, validation=None)  # type: ignore[arg-type]
    settings = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    key = (make, bare, tree, tuple(leaves), settings)
    try:
        hash(key)
    except TypeError:  # a grad_fn that holds arrays
        return _kept.__wrapped__(*key)
    return _kept(*key)


@lru_cache(16)
def _kept(make: Any, plan: Any, tree: Any, leaves: Any, settings: Any) -> Any:
    return make(plan, jax.tree.unflatten(tree, leaves))


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding(leaf))  # type: ignore[no-untyped-call]
