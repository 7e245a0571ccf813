"""Shaped aliases for annotations: `*n` is any number of leading axes, one example being n = ()."""

from typing import Any, TypeAlias

from jaxtyping import Array, Float, Int, Key, Shaped

Params: TypeAlias = Any  # a pytree of arrays; nested dicts for this library's layers
Saved: TypeAlias = Any  # what a layer's backward pass needs from its forward pass
Given: TypeAlias = dict[str, Any]  # masks, positions, state: what layers are given beside f
Random: TypeAlias = Key[Array, ""]

Rows: TypeAlias = Float[Array, "*n d"]  # examples as rows; the layers' f and a, and their deltas
Tensor: TypeAlias = Float[Array, "..."]
Losses: TypeAlias = Float[Array, "*n"]
Scalar: TypeAlias = Float[Array, ""]
Targets: TypeAlias = Shaped[Array, "*n"] | Shaped[Array, "*n C"]

__all__ = [
    "Array",
    "Float",
    "Given",
    "Int",
    "Losses",
    "Params",
    "Random",
    "Rows",
    "Saved",
    "Scalar",
    "Targets",
    "Tensor",
]
