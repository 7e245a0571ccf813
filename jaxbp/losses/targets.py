"""Targets as numbers, one for each output."""

from typing import Any

import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.typing import Rows, Targets


def pair(name: str, f: Any, y: Any) -> tuple[Rows, Targets]:
    """F and y as arrays of one shape."""
    f, y = arguments.array(name, "f", f, floats=True), arguments.array(name, "y", y)
    if jnp.issubdtype(y.dtype, jnp.complexfloating):
        raise TypeError(errors.message(name, "real y", arguments.described(y), "y.real"))
    if y.shape != f.shape:
        hint = "one target for each output"
        if y.shape == f.shape[:-1]:
            hint = "add the axis, y[..., None]" if y.shape else "write the row of one target, [y]"
        raise ValueError(errors.message(name, f"y of f's shape {f.shape}", f"shape {y.shape}", hint))
    return f, y
