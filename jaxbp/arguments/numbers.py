"""Doors for numbers and flags: exact types, so that True is no number and 2.0 no count."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.arguments.words import described
from jaxbp.errors import message


def number(
    where: str,
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    finite: bool = True,
) -> float:
    """A finite number between two bounds, as a float.

    Args:
        where: the function that asks.
        name: of the argument.
        value: a Python or NumPy number, or an array of shape ().
        low: the least, or None.
        high: the largest, or None.
        open_low: whether ``low`` itself is too small.
        open_high: whether ``high`` itself is too large.
        finite: whether NaN and inf are refused. A measured value may be one, a setting may not.

    Raises:
        TypeError: for what is no real number (text, True, complex, several numbers, a traced value).
        ValueError: for NaN, inf, a number outside the bounds, or one too large for a float.

    Example:
        >>> number("dropout", "rate", np.float32(0.5), low=0, high=1, open_high=True)
        0.5
        >>> number("dropout", "rate", 1, low=0, high=1, open_high=True)
        Traceback (most recent call last):
        ...
        ValueError: dropout: expected rate in [0, 1), got 1
    """
    bounds = _bounds(low, high, open_low, open_high)
    scalar = _scalar(where, name, value, bounds or "a number")
    if not isinstance(scalar, int | float | np.integer | np.floating | Fraction | Decimal):
        raise TypeError(message(where, f"{name} {bounds or 'a number'}", described(value), _unquoted(value)))
    try:
        result = float(scalar)
    except OverflowError:
        result = math.inf
    inside = (low is None or (result > low if open_low else result >= low)) and (
        high is None or (result < high if open_high else result <= high)
    )
    held = math.isfinite(result) or (not finite and isinstance(scalar, float | np.floating))
    if not (held and inside):
        raise ValueError(message(where, f"{name} {bounds or 'a finite number'}", _outside(scalar)))
    return result


def whole(where: str, name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """A whole number between two bounds (both taken), as an int.

    Args:
        where: the function that asks.
        name: of the argument.
        value: a Python or NumPy integer, or an integer array of shape ().
        low: the least, or None.
        high: the largest, or None.

    Raises:
        TypeError: for what is no integer: 2.0, True, text.
        ValueError: for an integer outside the bounds.

    Example:
        >>> whole("fit", "epochs", np.int64(2), low=1)
        2
        >>> whole("fit", "epochs", 2.0, low=1)
        Traceback (most recent call last):
        ...
        TypeError: fit: expected epochs a whole number of at least 1, got the float 2.0; write 2
    """
    bounds = _bounds(low, high).removeprefix("a number ")
    expected = f"{name} a whole number{' ' * bool(bounds)}{bounds}"
    scalar = _scalar(where, name, value, expected.removeprefix(f"{name} "))
    if not isinstance(scalar, int | np.integer):
        is_whole = isinstance(scalar, float | np.floating) and float(scalar).is_integer()
        hint = f"write {int(scalar)}" if is_whole else _unquoted(value)
        raise TypeError(message(where, expected, described(value), hint))
    result = int(scalar)
    if (low is not None and result < low) or (high is not None and result > high):
        raise ValueError(message(where, expected, _outside(result)))
    return result


def flag(where: str, name: str, value: Any) -> bool:
    """True or False, and nothing that is only true or false in effect.

    Raises:
        TypeError: for anything else: 0, "no", None.

    Example:
        >>> flag("dense", "bias", "no")
        Traceback (most recent call last):
        ...
        TypeError: dense: expected bias True or False, got 'no'
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(message(where, f"{name} True or False", described(value)))
    return bool(value)


def _scalar(where: str, name: str, value: Any, expected: str) -> Any:
    """The one entry of an array of shape (); other values as they are, but bools, which are refused."""
    if isinstance(value, jax.core.Tracer):
        hint = "it decides what is compiled: make it static, or close over it"
        raise TypeError(message(where, f"{name} {expected}", "a traced value", hint))
    if isinstance(value, np.ndarray | jax.Array) and value.shape == () and not _masked(value):
        if isinstance(value, jax.Array) and value.is_deleted():
            raise ValueError(message(where, f"{name} {expected}", "an array that was deleted"))
        if value.dtype == object or jnp.issubdtype(value.dtype, jnp.number):
            value = np.asarray(value).item()
    if isinstance(value, bool | np.bool_):
        raise TypeError(message(where, f"{name} {expected}", described(value)))
    if isinstance(value, np.generic) and jnp.issubdtype(value.dtype, jnp.floating):
        return float(value)  # bfloat16 is no floating to NumPy
    return value


def _outside(value: Any) -> str:
    """A number that is of the right type, without its type."""
    return described(value).removeprefix(f"the {type(value).__name__} ").removeprefix("of ")


def _masked(value: Any) -> bool:
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any())


def _unquoted(value: Any) -> str:
    return "write it without quotes" if isinstance(value, str | bytes) else ""


def _bounds(low: float | None, high: float | None, open_low: bool = False, open_high: bool = False) -> str:
    """In words, as in "rate in [0, 1)"; "" for none."""
    if low is not None and high is not None:
        return f"in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    if low is not None:
        return f"a number {'above' if open_low else 'of at least'} {low:g}"
    if high is not None:
        return f"a number {'below' if open_high else 'of at most'} {high:g}"
    return ""
