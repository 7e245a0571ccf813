"""From a description to what it stands for: calls of what is in the table, and nothing else."""

import inspect
import math
from collections import OrderedDict
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.recipes.table import FORMAT, TABLE, Entry, within


def from_dict(data: Any, where: str = "from_dict") -> Any:
    """What a description stands for.

    Args:
        data: from `to_dict`.
        where: what a message calls the place.

    Raises:
        ValueError: for another format or form, a name that is not registered, arguments that its function
            does not have or lacks.
        TypeError, ValueError: for what the function refuses.
    """
    if not isinstance(data, dict) or "format" not in data:
        got = f"a dict with {_listed(data)}" if isinstance(data, dict) else arguments.described(data)
        raise ValueError(errors.message(where, 'a description, {"format": 1, ...}', got))
    if data["format"] != FORMAT or isinstance(data["format"], bool):
        newer = isinstance(data["format"], int) and data["format"] > FORMAT
        hint = "a newer jaxbp wrote it: update jaxbp" if newer else ""
        got = f"{data['format']!r:.40}"
        raise ValueError(errors.message(where, f"a description of format {FORMAT}", f"format {got}", hint))
    try:
        return _read({key: value for key, value in data.items() if key != "format"}, where, "")
    except RecursionError:
        raise ValueError(errors.message(where, "a description", "one with too many levels")) from None


def _read(data: Any, where: str, path: str) -> Any:
    """What a value in a description stands for."""
    match data:
        case None | bool() | int() | str():
            return data
        case float() if math.isfinite(data):
            return data
        case list():
            return [_read(item, where, f"{path}[{i}]") for i, item in enumerate(data)]
        case {"name": str(name), **rest} if not rest:
            return _known(name, where, path).used
        case {"make": str(name), "with": dict(given), **rest} if not rest:
            return _made(name, given, where, path)
        case {"dict": dict(items), **rest} if not rest:
            return {key: _read(item, where, within(path, key)) for key, item in items.items()}
        case {"array": list() | int() | float() | bool() as items, "dtype": str(name), **rest} if not rest:
            try:
                return np.array(items).astype(jnp.dtype(name))
            except (TypeError, ValueError, OverflowError) as error:
                expected = f"an array of {name:.40}"
                raise ValueError(errors.message(_at(where, path), expected, f"{error}")) from error
        case {"dtype": str(name), **rest} if not rest:
            try:
                return jnp.dtype(name)
            except TypeError as error:
                raise ValueError(errors.message(_at(where, path), "a dtype", f"{name!r:.40}")) from error
    got = f"an object with {_listed(data)}" if isinstance(data, dict) else arguments.described(data)
    expected = 'a number, a text, a list, {"name": ...} or {"make": ..., "with": ...}'
    raise ValueError(errors.message(_at(where, path), expected, got))


def _known(name: str, where: str, path: str) -> Entry:
    if name not in TABLE:
        hint = f"jaxbp.register({name!r:.60}, ...) it as where it was saved, or update jaxbp"
        raise ValueError(errors.message(_at(where, path), "a name that is registered", f"{name!r:.60}", hint))
    return TABLE[name]


_OPEN: dict[Any, type] = {
    inspect.Parameter.VAR_POSITIONAL: list,
    inspect.Parameter.VAR_KEYWORD: dict,
}  # *args, **kwargs


def _made(name: str, given: dict[str, Any], where: str, path: str) -> Any:
    """What the function of this name makes of these arguments."""
    entry, here = _known(name, where, path), _at(where, path)
    if not entry.makes:
        raise ValueError(errors.message(here, f"{name} to be made of arguments", "a name that takes none"))
    make = entry.used
    signature = inspect.signature(make)
    taken = signature.parameters
    if unknown := [key for key in given if key not in taken]:
        hint = "another version of it may have written this: update jaxbp, or what registers it"
        expected = f"arguments of {name}: {', '.join(taken)}"
        raise ValueError(errors.message(here, expected, _listed(unknown), hint))
    needed = [key for key, p in taken.items() if p.default is p.empty and p.kind not in _OPEN]
    if lacking := [key for key in needed if key not in given]:
        raise ValueError(errors.message(here, f"{', '.join(lacking)} of {name}", _listed(given)))
    values = {key: _read(value, where, within(path, key)) for key, value in given.items()}
    for key, value in values.items():
        if (kind := _OPEN.get(taken[key].kind)) and not isinstance(value, kind):
            expected = f"{key} of {name} as a {kind.__name__}"
            raise ValueError(errors.message(here, expected, arguments.described(value)))
    bound = inspect.BoundArguments(signature, OrderedDict(values))
    with errors.within(here):
        return make(*bound.args, **bound.kwargs)


def _at(where: str, path: str) -> str:
    return f"{where}: {path.lstrip('.')}" if path else where


def _listed(names: Any) -> str:
    names = [f"{name!r:.40}" for name in names]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"
