"""How a value is named in a message. No ``repr`` of a user's object is called: it may be long, or fail."""

import types
from typing import Any

import jax
import numpy as np

_SHOWN = 60  # characters of a text or a number before it is cut


def described(value: Any) -> str:
    """How a value is named in a message.

    Example:
        >>> described(0), described("MIN"), described(None), described([1, 2, 3])
        ('the int 0', "'MIN'", 'None', 'a list of 3')
        >>> described(np.zeros((3, 2), np.float32)), described(len), described(dict)
        ('float32 of shape (3, 2)', 'the function len', 'the class dict')
    """
    if value is None or isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, str | bytes):
        return _cut(repr(value[: _SHOWN + 1]))
    if isinstance(value, int | float | complex | np.number):
        return f"the {type(value).__name__} {_number(value)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, types.ModuleType):
        return f"the module {value.__name__}"
    if isinstance(value, np.ma.MaskedArray):
        return f"a masked array, {value.dtype} of shape {value.shape}"
    if isinstance(value, np.ndarray | jax.Array):
        return f"{value.dtype} of shape {value.shape}"
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return "a lambda" if name == "<lambda>" else f"the function {name}"
    kind = type(value).__name__
    kind = f"{'an' if kind[:1].lower() in tuple('aeiou') else 'a'} {kind}"
    if isinstance(shape := getattr(value, "shape", None), tuple):
        return f"{kind} of shape {shape}"
    return f"{kind} of {len(value)}" if type(value) in (list, tuple, dict, set, range) else kind


def _number(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:  # writing it out may take for ever
        return f"of {value.bit_length()} bits"
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
