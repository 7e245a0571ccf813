"""Compiled programs outlive their run: the next with the same functions and shapes has nothing to compile."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import jax

from jaxbp.errors import message
from jaxbp.train.plan import Plan
from jaxbp.train.sharding import place_of

Programs = TypeVar("Programs")

# On CPUs. With AVX-512, vectors of its full width make the divisions and roots of Adam 1.2 times faster on
# small networks; XLA prefers half of it, and CPUs without it have no wider ones to choose. The analysis of
# regions finds that the weights need no copy in each iteration, 3 % of one where they are large.
_OPTIONS: dict[str, str | bool] = {
    "xla_cpu_prefer_vector_width": "512",
    "xla_cpu_copy_insertion_use_region_analysis": True,
}


def compiled(make: Callable[[Plan, Any], Programs], plan: Plan, arguments: Any) -> Programs:
    """``make(plan, arguments)``; the last few results are kept.

    Args:
        make: compiles programs, given a plan without key and data, and the shapes of arguments.
        plan: of the run.
        arguments: a tree of arrays.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(_shape, arguments))
    data = {"train": None, "validation": None, "batches": None, "parts": None}
    bare = plan._replace(key=None, counted=None, **data)  # type: ignore[arg-type]
    settings = jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    key = (make, bare, tree, tuple(leaves), settings)
    try:
        hash(key)
    except TypeError:  # a grad_fn that holds arrays
        return _kept.__wrapped__(*key)
    return _kept(*key)


def compile_fast(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compile with the options that make these programs faster, for them alone."""
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        expected, hint = "jit, for epochs are compiled programs", "without it call grad_fn by hand"
        raise ValueError(message("fit", expected, "jax_disable_jit", hint))
    if jax.default_backend() != "cpu":
        return lowered.compile()
    try:
        return lowered.compile(_OPTIONS)
    except jax.errors.JaxRuntimeError:  # an XLA that has no such option any more
        return lowered.compile()


@lru_cache(16)
def _kept(make: Any, plan: Any, tree: Any, leaves: Any, settings: Any) -> Any:
    return make(plan, jax.tree.unflatten(tree, leaves))


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place_of(leaf))  # type: ignore[no-untyped-call]
