"""The table of names, and functions whose records remember how they were made."""

import functools
import inspect
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np

from jaxbp import arguments, errors

T = TypeVar("T")


class Recipe(NamedTuple):
    """How a record was made.

    Args:
        maker: the name of the function that made it.
        arguments: what that was given, by name, its defaults among them.
    """

    maker: str
    arguments: dict[str, Any]


class Entry(NamedTuple):
    """What a name stands for.

    Args:
        given: the thing as it was registered.
        used: the thing as it is used.
        makes: whether a description may call it.
    """

    given: Any
    used: Any
    makes: bool


TABLE: dict[str, Entry] = {}
NAMES: dict[int, str] = {}  # by the identity of what the table holds, and so keeps
_OWN: set[str] = set()  # the library's


@overload
def register(name: str) -> Callable[[T], T]: ...
@overload
def register(name: str, thing: T) -> T: ...
def register(name: str, thing: Any = None) -> Any:
    """Give a layer, a loss, an initializer, or a function that makes some of them, a name to be kept by.

    Networks with it can then be described (`Layer.to_dict`), pickled and saved (`save_run`). A process that
    reads them must have registered the same name before. A later registration replaces an earlier one.

    Args:
        name: as files will have it.
        thing: a `Layer` or `Loss`, which is known from then on, also in networks made before; or a function.
            Without it, ``register(name)`` is a decorator.

    Returns:
        The thing. In the place of a function one that does the same, and whose layers remember how they were
        made: use it, as a decorator does. Their arguments must be numbers, texts, lists, dicts, arrays,
        dtypes, and what is registered.

    Raises:
        TypeError: for a name that is no text, or a thing that is neither a record nor a function.
        ValueError: for the name of something in this library, or a thing that has another name.

    Example:
        >>> import jaxbp
        >>> @register("power")
        ... def power(n):
        ...     phi, slope = (lambda a: a**n), (lambda a: n * a ** (n - 1))
        ...     return jaxbp.elementwise(f"power {n}", phi, slope, saves="input")
        >>> net = jaxbp.chain(jaxbp.dense(2, 3), power(3))
        >>> net.to_dict()["with"]["parts"][1]
        {'make': 'power', 'with': {'n': 3}}
        >>> jaxbp.Layer.from_dict(net.to_dict())
        chain(dense(2, 3), power 3)
    """
    if not arguments.instance("register", "name", name, str, 'e.g. register("my_layer", make)'):
        raise ValueError(errors.message("register", "a name", "''"))
    if name in _OWN:
        raise ValueError(errors.message("register", "a name that this library has not", repr(name)))
    if thing is None:
        return functools.partial(register, name)
    if not (hasattr(thing, "recipe") or callable(thing)):
        hint = "e.g. a Layer, a Loss, or a function that makes one"
        raise TypeError(
            errors.message("register", "what is kept by a name", arguments.described(thing), hint)
        )
    if (known := NAMES.get(id(thing), name)) != name:
        hint = "a thing has one name"
        raise ValueError(errors.message("register", f"what has no name yet, for {name!r}", repr(known), hint))
    return _entered(name, thing, makes=not hasattr(thing, "recipe"))


@overload
def own(name: str) -> Callable[[T], T]: ...
@overload
def own(name: str, thing: T) -> T: ...
def own(name: str, thing: Any = None) -> Any:
    """`register` for what the library has; nobody else can take its name.

    As a decorator, for what makes layers and losses. Called with the thing, for what no description calls:
    layers, losses, and initializers, which would fill the memory where somebody asks for it.
    """
    _OWN.add(name)
    if thing is None:
        return functools.partial(_entered, name, makes=True)
    return _entered(name, thing, makes=False)


def _entered(name: str, thing: Any, *, makes: bool) -> Any:
    if old := TABLE.get(name):
        for known in (old.given, old.used):
            NAMES.pop(id(known), None)
    used = _remembering(name, thing) if makes and inspect.isfunction(thing) else thing
    TABLE[name] = Entry(thing, used, makes)
    NAMES[id(thing)] = NAMES[id(used)] = name
    return used


def _remembering(name: str, make: types.FunctionType) -> Callable[..., Any]:
    """The function, whose records remember the call."""
    signature = inspect.signature(make)

    def remembered(out: Any, args: Any, kwargs: Any) -> Any:
        if not hasattr(out, "recipe"):  # an array, of an initializer
            return out
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        record = replace(out)  # what it made may be somebody else's, too
        object.__setattr__(record, "recipe", Recipe(name, _copied(dict(bound.arguments))))
        return record

    def made(*args: Any, **kwargs: Any) -> Any:
        return remembered(make(*args, **kwargs), args, kwargs)

    # Doctest reads the docstrings of those functions whose globals are the module's; this one needs none.
    same = types.FunctionType(made.__code__, make.__globals__, make.__name__, None, made.__closure__)
    return functools.wraps(make)(same)


def _copied(value: Any) -> Any:
    """Lists and arrays as they are now, whatever is written into them later."""
    match value:
        case dict():
            return {key: _copied(item) for key, item in value.items()}
        case list() | tuple():
            return [_copied(item) for item in value] if type(value) in (list, tuple) else value
        case np.ndarray():
            return value.copy()
    return value


FORMAT = 1  # of a description


def within(path: str, key: str) -> str:
    """Where in a description an argument is."""
    return f"{path}.{key}"
