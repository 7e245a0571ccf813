"""Doors for what is no number: keys, words, records, functions, parameters, paths."""

import difflib
import errno
import inspect
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.arguments.arrays import array
from jaxbp.arguments.words import described
from jaxbp.errors import message
from jaxbp.typing import Params, Random

T = TypeVar("T")


def option(where: str, name: str, value: Any, options: Collection[str]) -> str:
    """One of some words, written exactly so.

    Raises:
        TypeError: for what is no text.
        ValueError: for another word.

    Example:
        >>> option("EarlyStopping", "mode", "MIN", ("min", "max"))
        Traceback (most recent call last):
        ...
        ValueError: EarlyStopping: expected mode 'min' or 'max', got 'MIN'; did you mean 'min'?
    """
    if isinstance(value, str) and value in options:
        return str(value)
    *some, last = map(repr, options)
    expected = f"{name} {', '.join(some)} or {last}" if some else f"{name} {last}"
    if not isinstance(value, str):
        raise TypeError(message(where, expected, described(value)))
    folded = {word.casefold(): word for word in options}
    near = difflib.get_close_matches(value.strip().casefold(), folded, 1)
    near = near or [w for w in folded if w and value.strip().casefold().startswith(w)]
    hint = f"did you mean {folded[near[0]]!r}?" if near else ""
    raise ValueError(message(where, expected, described(value), hint))


def key(where: str, value: Any) -> Random:
    """One key of `jax.random`: typed, or raw as `jax.random.PRNGKey` makes it.

    Raises:
        TypeError: for a number, several keys, or anything else.

    Example:
        >>> key("fit", 0)
        Traceback (most recent call last):
        ...
        TypeError: fit: expected a key, got the int 0; try jax.random.key(0)
    """
    if isinstance(value, jax.Array | np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer) and value.is_deleted():
            raise ValueError(
                message(where, "a key", "a key that was deleted", "split one before it is used up")
            )
        typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        threefry = jax.config.jax_default_prng_impl == "threefry2x32"  # type: ignore[attr-defined]
        one = () if typed else (2,) if threefry else (4,)
        words = typed or (value.dtype.kind, value.dtype.itemsize) == ("u", 4)
        if words and value.shape == one:
            return value if isinstance(value, jax.Array) else jnp.asarray(value.astype(np.uint32))
        if words and value.shape[-len(one) or len(value.shape) :] == one:
            got = f"{value.shape[0]} keys" if value.shape else described(value)
            raise TypeError(message(where, "one key", got, "take one of them, keys[0]"))
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    hint = f"try jax.random.key({value})" if whole and 0 <= value < 2**63 else "make one by jax.random.key(0)"
    raise TypeError(message(where, "a key", described(value), hint))


def instance(where: str, name: str, value: T, kind: type | tuple[type, ...], hint: str = "") -> T:
    """A value of one of some classes.

    Raises:
        TypeError: for a value of another class.

    Example:
        >>> instance("chain", "part 0", len, str, "call it")
        Traceback (most recent call last):
        ...
        TypeError: chain: expected part 0 to be a str, got the function len; call it
    """
    if isinstance(value, kind):
        return value
    names = [k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,))]
    article = "an" if names[0][:1].lower() in tuple("aeiou") else "a"
    raise TypeError(message(where, f"{name} to be {article} {' or '.join(names)}", described(value), hint))


def function(
    where: str,
    name: str,
    value: T,
    *,
    positional: int | None = None,
    keywords: Sequence[str] = (),
) -> T:
    """Something that can be called, with so many positional arguments and these keywords.

    What has no signature to be read (some built-in functions) passes, and so do the classes of dtypes:
    ``jnp.float32`` converts.

    Raises:
        TypeError: for what cannot be called so, for coroutine and generator functions, and for other classes.

    Example:
        >>> function("fit", "evaluate", lambda params: {}, positional=3)
        Traceback (most recent call last):
        ...
        TypeError: fit: expected evaluate to take 3 arguments, got a lambda (params)
    """
    if not callable(value):
        raise TypeError(message(where, f"{name} to be a function", described(value)))
    for lazy, is_so in (("coroutine", inspect.iscoroutinefunction), ("generator", _makes_generators)):
        if is_so(value):
            got, hint = f"the {lazy} function {getattr(value, '__name__', '')}", "its call would run nothing"
            raise TypeError(message(where, f"{name} to be a plain function", got, hint))
    if isinstance(value, type) and not hasattr(value, "dtype"):
        hint = "its call would make an object, and compute nothing: give a function, or an object that is one"
        raise TypeError(message(where, f"{name} to be a function", described(value), hint))
    if positional is None and not keywords:
        return value
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return value
    if positional is None:
        positional = sum(
            p.default is p.empty
            and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            and p.name not in keywords
            for p in signature.parameters.values()
        )
    try:
        signature.bind(*[None] * positional, **dict.fromkeys(keywords))
    except TypeError:
        expected = f"{name} to take {positional} argument{'s' * (positional != 1)}"
        expected += f" and {', '.join(f'{k}=' for k in keywords)}" if keywords else ""
        written = str(signature.replace(return_annotation=signature.empty))
        written = written if len(written) <= 80 else written[:80] + "..."
        raise TypeError(message(where, expected, f"{described(value)} {written}")) from None
    return value


def _makes_generators(value: Any) -> bool:
    return inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value)


def params(where: str, value: Params) -> Params:
    """A pytree of parameters: its leaves are floating-point arrays, JAX's where they were not.

    A list of Python numbers stands for an array, and a Python float for one of shape ().

    Raises:
        TypeError: for a leaf that is no floating-point array; the message has its path.
        ValueError: for a leaf with masked or missing values, or one that was deleted.

    Example:
        >>> params("value_and_grad", {1: {"W": jnp.ones((2, 2), int)}})
        Traceback (most recent call last):
        ...
        TypeError: value_and_grad: expected floating-point parameters, got [1]['W'] int32; ...
    """
    try:
        leaves, tree = jax.tree_util.tree_flatten_with_path(value, is_leaf=_is_list_of_numbers)
    except ValueError as error:  # dict keys of several types
        raise TypeError(message(where, "parameters whose keys can be sorted", described(value))) from error
    return jax.tree.unflatten(tree, [_leaf(where, path, leaf) for path, leaf in leaves])


def _leaf(where: str, path: Any, leaf: Any) -> Any:
    """One leaf of the parameters as an array."""
    at = jax.tree_util.keystr(path) or "params"
    is_array = isinstance(leaf, jax.Array | np.ndarray | np.generic)
    if is_array and not jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype != object:
        last = getattr(path[-1], "key", getattr(path[-1], "name", "leaf")) if path else "params"
        complex_ = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        number = jnp.issubdtype(leaf.dtype, jnp.integer) or leaf.dtype == bool
        hint = f"split {last} into its real and imaginary part" if complex_ else ""
        hint = f"try jnp.asarray({last}, float)" if number else hint
        raise TypeError(message(where, "floating-point parameters", f"{at} {leaf.dtype}", hint))
    if isinstance(leaf, float) or is_array or _is_list_of_numbers(leaf):
        return array(where, f"params{at}" if path else at, leaf, floats=True)
    hint = ""
    if callable(leaf):
        hint = "keep functions out of the parameters, as eqx.partition(model, eqx.is_inexact_array) does"
    elif isinstance(leaf, int) and not isinstance(leaf, bool):
        hint = f"write {leaf}.0"
    raise TypeError(message(where, "floating-point parameters", f"{at} {described(leaf)}", hint))


def _is_list_of_numbers(value: Any) -> bool:
    """Whether a value is an array written as a list: [0.5, 1], [[1, 2], [3, 4]]."""
    if type(value) not in (list, tuple) or not value:
        return False
    return all(type(v) in (int, float) or _is_list_of_numbers(v) for v in value)


def path(where: str, name: str, value: Any) -> Path:
    """A path of the file system.

    Raises:
        TypeError: for what is neither text nor an `os.PathLike` of text: bytes, None, an open file.
        ValueError: for the empty text, one with a NUL character, or longer than the system takes it.

    Example:
        >>> path("load", "path", None)
        Traceback (most recent call last):
        ...
        TypeError: load: expected path a file's or folder's path as text, got None
    """
    expected = f"{name} a file's or folder's path as text"
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        hint = ""
        if isinstance(value, bytes):
            hint = "decode it, os.fsdecode(path)"
        elif isinstance(open_name := getattr(value, "name", None), str):
            hint = f"give its name, {open_name!r}"
        raise TypeError(message(where, expected, described(value), hint))
    if not text or "\0" in text:
        raise ValueError(message(where, expected, described(text) if text else "''"))
    for some in (text, *Path(text).parts):  # each part, for the folders above it may not be there yet
        try:
            os.lstat(some)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                got = f"{len(text)} characters, {described(text)}"
                raise ValueError(message(where, f"{name} as short as the system takes it", got)) from None
    return Path(text)
