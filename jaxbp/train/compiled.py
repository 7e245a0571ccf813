"""Compiled programs outlive their run: the next with the same functions and shapes has nothing to compile."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import jax

from jaxbp.train.leaves import sharding
from jaxbp.train.plan import Plan

Programs = TypeVar("Programs")


def compiled(make: Callable[..., Programs], plan: Plan, arguments: Any) -> Programs:
    """``make(grad_fn, optimizer, evaluate, batch_size, layout, arguments)``; the last few results are kept.

    Args:
        make: compiles programs for arguments of these shapes, which are all that it is given of them.
        plan: of the run.
        arguments: a tree of arrays.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(_shape, arguments))
    functions = plan.grad_fn, plan.optimizer, plan.evaluate
    settings = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    key = (make, functions, plan.batch_size, plan.layout, settings, tree, tuple(leaves))
    try:
        hash(key)
    except TypeError:  # a grad_fn that holds arrays
        return _kept.__wrapped__(*key)
    return _kept(*key)


@lru_cache(16)
def _kept(
    make: Any, functions: Any, batch_size: int, layout: Any, settings: Any, tree: Any, leaves: Any
) -> Any:
    return make(*functions, batch_size, layout, jax.tree.unflatten(tree, leaves))


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding(leaf))  # type: ignore[no-untyped-call]
