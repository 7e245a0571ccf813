"""What JAX keeps of a remat and of a shard_map, to run their bodies as they were run."""

from typing import Any


def remat_options(eqn: Any) -> dict[str, Any]:
    """How `jax.checkpoint` was called."""
    return {name: eqn.params[name] for name in ("policy", "prevent_cse")}


def out_specs_of(eqn: Any) -> tuple[Any, ...]:
    """How a shard_map puts its results together."""
    return tuple(eqn.params["out_specs"])


def varying_of(shape: Any) -> tuple[str, ...]:
    """The axes of the mesh along which what `jax.eval_shape` gives differs."""
    kind = getattr(shape, "manual_axis_type", None)
    return tuple(kind.varying) if kind is not None else ()
