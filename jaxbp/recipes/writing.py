"""From a record to its description."""

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.recipes.table import FORMAT, NAMES, Recipe, within


def to_dict(thing: Any, where: str = "to_dict") -> dict[str, Any]:
    """The description of a record: strict JSON, from which `from_dict` makes the same.

    Args:
        thing: a layer, a loss, or another record of the table.
        where: what a message calls the place.

    Raises:
        ValueError: for what is not registered, and arguments that no description holds; it says where in the
            network they are, and how to register them.
    """
    return {"format": FORMAT, **_written(thing, where, "")}


def _written(value: Any, where: str, path: str) -> Any:
    """A value as JSON holds it; ``path`` says where in the description it is."""
    match value:
        case None | bool() | str():
            return value
        case int() if type(value) is int:
            return value
        case float() if type(value) is float and math.isfinite(value):
            return value
        case np.generic() if value.dtype.kind in "biuf":
            return _written(value.item(), where, path)
        case _ if id(value) in NAMES:
            return {"name": NAMES[id(value)]}
        case _ if isinstance(recipe := getattr(value, "recipe", None), Recipe):
            return _call(recipe.maker, recipe.arguments, where, path)
        case _ if id(type(value)) in NAMES:
            return _call(NAMES[id(type(value))], _fields(value), where, path)
        case list() | tuple() if type(value) in (list, tuple):
            return [_written(item, where, f"{path}[{i}]") for i, item in enumerate(value)]
        case dict() if all(isinstance(key, str) for key in value):
            return {"dict": {key: _written(item, where, within(path, key)) for key, item in value.items()}}
        case np.ndarray() | jax.Array() if jnp.issubdtype(value.dtype, jnp.number) or value.dtype == bool:
            array = np.asarray(value)
            wide = array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array
            return {"array": _written(wide.tolist(), where, path), "dtype": str(array.dtype)}
    if not isinstance(value, float) and (dtype := _dtype(value)) is not None:
        return {"dtype": dtype}
    raise ValueError(errors.message(where, *_refused(value, path)))


def _call(maker: str, given: Mapping[str, Any], where: str, path: str) -> dict[str, Any]:
    return {
        "make": maker,
        "with": {key: _written(value, where, within(path, key)) for key, value in given.items()},
    }


def _fields(record: Any) -> dict[str, Any]:
    """The fields of a record whose class is registered, by which it is made again."""
    return {name: getattr(record, name) for name in inspect.signature(type(record)).parameters}


def _dtype(value: Any) -> str | None:
    """The name of a dtype, NumPy's or JAX's."""
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return str(np.dtype(value))
    dtype = getattr(value, "dtype", None)  # of jnp.bfloat16
    return str(dtype) if callable(value) and isinstance(dtype, np.dtype) else None


def _refused(value: Any, path: str) -> tuple[str, str, str]:
    """What was expected of a value that cannot be written, what it is, and what to do."""
    at = f", {path.lstrip('.')}" if path else ""
    if hasattr(value, "recipe") or callable(value):
        shown = f"{value!r:.60}" if hasattr(value, "recipe") else arguments.described(value)
        word = re.match(r"\w+", shown if hasattr(value, "recipe") else getattr(value, "__name__", ""))
        name = word[0] if word else "a_name"
        hint = f"jaxbp.register({name!r}, it) gives it a name, @jaxbp.register({name!r}) its maker"
        return "only layers, losses and functions that are registered", f"{shown}{at}", hint
    expected = "only numbers, texts, lists, dicts and arrays"
    return expected, f"{arguments.described(value)}{at}", "a description is strict JSON"
