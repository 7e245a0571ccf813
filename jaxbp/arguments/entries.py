"""The entries of an array of Python objects: what is a number is taken so, the first other one is named."""

import datetime
from numbers import Number
from typing import Any

import numpy as np

from jaxbp.arguments.words import described
from jaxbp.errors import message

_DATES = (np.datetime64, np.timedelta64, datetime.date, datetime.time, datetime.timedelta)


def index(position: Any) -> str:
    """A place in an array, as one writes it between brackets.

    Example:
        >>> index((3, 0))
        '3,0'
    """
    return ",".join(str(int(i)) for i in position)


def of_objects(where: str, name: str, values: np.ndarray, value: Any) -> np.ndarray:
    """The numbers in an array of Python objects.

    Args:
        where: the function that asks.
        name: of the argument.
        values: an array of dtype object.
        value: what it was made of.

    Raises:
        TypeError: for an entry that is no number: text, a date, a function.
        ValueError: for a missing one, and an int beyond 64 bits.

    Example:
        >>> of_objects("fit", "x", np.array([1, 2.5], object), [1, 2.5])
        array([1. , 2.5])
        >>> of_objects("fit", "x", np.array([1, np.datetime64("2020")], object), [])
        Traceback (most recent call last):
        ...
        TypeError: fit: expected numbers in x, got x[1] is a date; ...
    """
    if values.ndim == 0 and not isinstance(value, int | np.ndarray):
        hint = f"list({name})" if hasattr(value, "__iter__") and not isinstance(value, dict) else ""
        raise TypeError(message(where, f"{name} as an array of numbers", described(value), hint))
    for position, entry in zip(np.ndindex(values.shape), values.flat, strict=True):
        at = f"{name}[{index(position)}]"
        if _is_missing(entry):
            hint = "drop or fill these rows"
            raise ValueError(message(where, f"{name} without missing values", f"{at} is missing", hint))
        if isinstance(entry, str | bytes):
            hint = "code the words as numbers first"
            raise TypeError(
                message(where, f"numbers in {name}", f"{at} is the text {described(entry)}", hint)
            )
        if isinstance(entry, _DATES):
            hint = "take a difference in days or seconds as floats first"
            raise TypeError(message(where, f"numbers in {name}", f"{at} is a date", hint))
        if isinstance(entry, dict | set) or callable(entry):
            raise TypeError(message(where, f"numbers in {name}", f"{at} is {described(entry)}"))
        if isinstance(entry, int) and not -(2**63) <= entry < 2**64:
            raise ValueError(message(where, f"{name} to fit in 64 bits", f"{at} is {described(entry)}"))
    try:
        opened = np.asarray(values.tolist())
    except ValueError as error:  # entries that are arrays of several shapes
        raise TypeError(message(where, f"{name} as one rectangular array", f"{error}")) from error
    if opened.dtype == object:  # Fraction, Decimal
        try:
            return opened.astype(float)
        except (TypeError, ValueError) as error:
            got = f"{name}[0] is {described(opened.flat[0])}"
            raise TypeError(message(where, f"numbers in {name}", got)) from error
    return opened


def _is_missing(entry: Any) -> bool:
    """Whether an object stands for a value that is not there: None, pandas' NA and NaT; NaN is a number."""
    if entry is None:
        return True
    if isinstance(entry, Number | str | bytes) or hasattr(entry, "__len__") or hasattr(entry, "__array__"):
        return False
    try:
        return bool(entry != entry)
    except TypeError:  # NA != NA is NA, which is neither true nor false
        return True
