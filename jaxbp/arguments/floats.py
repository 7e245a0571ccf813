"""Floats, where floats are meant: what is one, what may be taken as one, and the sentence for the rest."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.arguments.search import find
from jaxbp.arguments.words import described
from jaxbp.errors import message
from jaxbp.typing import Array


def as_floats(where: str, name: str, value: Any) -> Array:
    """Inputs as the floats that they mean: whole numbers are taken so, as x = (1, 0) is on the board.

    Not taken are bytes, which are an image's and want to be scaled, yes and no, and complex numbers.

    Args:
        where: the function that asks.
        name: of the argument.
        value: an array that was let in by `array`; one that is traced has no values to look at.

    Raises:
        TypeError: for those.
        ValueError: for a whole number that the float does not hold, such as 2**24 + 1 in 32 bits.

    Example:
        >>> as_floats("backprop", "x", jnp.array([1, 0]))
        Array([1., 0.], dtype=float32)
        >>> as_floats("backprop", "x", jnp.array([255], jnp.uint8))
        Traceback (most recent call last):
        ...
        TypeError: backprop: expected floating-point x, got uint8 of shape (1,); ... x / 255, ...
    """
    dtype = value.dtype
    if not jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.uint8:
        assert_floating(where, name, value)
        return value
    held: Any = jnp.result_type(float)
    seen = not isinstance(value, jax.core.Tracer) and getattr(value, "is_fully_addressable", True)
    values = np.asarray(value) if seen else np.zeros(0, int)
    if bad := find(values, lambda rows: rows.astype(held).astype(np.float64) != rows):
        got = f"{name}[{bad.place}] = {values[bad.first]}; {bad.number} such"
        hint = "rescale them, or write floats"
        raise ValueError(message(where, f"whole numbers in {name} that {held} holds", got, hint))
    floats: Array = value.astype(held)
    return floats


def assert_floating(where: str, name: str, value: Any) -> None:
    """Raise a TypeError for an array of anything but floats, with what to write."""
    if jnp.issubdtype(value.dtype, jnp.floating):
        return
    hint = f"{name}.astype(float)"
    if value.dtype == np.uint8:
        hint = f"for bytes {name} / 255, else {hint}"
    elif jnp.issubdtype(value.dtype, jnp.complexfloating):
        hint = f"{name}.real, or both parts as two numbers"
    elif jnp.issubdtype(value.dtype, jnp.integer):
        hint += ", or write 1.0 for 1"
    raise TypeError(message(where, f"floating-point {name}", described(value), hint))
