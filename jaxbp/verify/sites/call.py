"""A user's function and arguments as a flat function of arrays; clear words for what cannot be checked."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message


class Call(NamedTuple):
    """``fn`` takes the array leaves of the arguments and returns the array leaves of the result."""

    name: str
    fn: Callable[..., list[Any]]
    leaves: list[Any]
    paths: list[str]

    def arrays(self, exact: bool) -> list[Any]:
        """The leaves as JAX arrays, the floating ones in float64 or complex128 when ``exact``."""
        return [_raised(x) if exact else jnp.asarray(x) for x in self.leaves]


def flatten_call(where: str, f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Call:
    """Split the arguments into arrays and everything else, which stays fixed.

    Raises:
        TypeError: when f is not callable, the arguments do not fit it, or none of them is floating.
        ValueError: when a floating argument holds a NaN.
    """
    name = fitting(where, f, args, kwargs)
    flat, tree = jax.tree_util.tree_flatten_with_path((tuple(args), dict(kwargs)))
    names = _names(f, args)
    flat = [(path, _taken(where, _path(path, names), x)) for path, x in flat]
    moving = [k for k, (_, x) in enumerate(flat) if is_array(x)]
    leaves = [flat[k][1] for k in moving]
    paths = [_path(flat[k][0], names) for k in moving]

    def fn(*values: Any) -> list[Any]:
        full = [x for _, x in flat]
        for k, value in zip(moving, values, strict=True):
            full[k] = value
        inner_args, inner_kwargs = jax.tree.unflatten(tree, full)
        outs = jax.tree.leaves(f(*inner_args, **inner_kwargs))
        for out in outs:
            if not is_array(out) and not isinstance(out, int):
                hint = "return arrays, or wrap f so that it does"
                raise TypeError(message(where, f"{name} to return arrays", f"a {type(out).__name__}", hint))
        return [jnp.asarray(out) for out in outs]

    if not any(_is_float(x) for x in leaves):
        kinds = sorted({str(jnp.result_type(x)) for x in leaves}) or ["no array"]
        hint = "derivatives are taken with respect to floating arguments"
        raise TypeError(message(where, f"a floating argument for {name}", ", ".join(kinds), hint))
    for path, x in zip(paths, leaves, strict=True):
        if _is_float(x) and np.isnan(np.asarray(x)).any():
            raise ValueError(message(where, "arguments without NaN", f"a NaN in {path}"))
    return Call(name, fn, leaves, paths)


def fitting(where: str, f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """The name of a function that can be called with these arguments.

    Raises:
        TypeError: when it is none, or they do not fit it.
    """
    if not callable(f) or isinstance(f, type):
        raise TypeError(message(where, "a function", arguments.described(f)))
    name: str = getattr(f, "__name__", type(f).__name__)
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return name
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        got = f"{len(args)} positional and {len(kwargs)} named ({error})"
        raise TypeError(message(where, f"arguments that fit {name}{signature}", got)) from None
    return name


def is_array(x: Any) -> bool:
    """Arrays and floating numbers move; Python integers, booleans and all else stay as they are."""
    return isinstance(x, jax.Array | np.ndarray | np.generic | float | complex) and not (
        isinstance(x, np.ndarray | np.generic)
        and x.dtype.kind in "OUSV"
        and not jnp.issubdtype(x.dtype, jnp.inexact)
    )


def _taken(where: str, path: str, x: Any) -> Any:
    """What holds numbers as an array of JAX or NumPy, through the door; all else stays as it is."""
    if isinstance(x, jax.Array):
        typed_key = jnp.issubdtype(x.dtype, jax.dtypes.extended)
        return x if typed_key else arguments.array(where, path, x)
    if isinstance(x, np.ndarray | np.generic):
        text = x.dtype.kind in "US"
        return x if text else arguments.array(where, path, x, host=True)
    if hasattr(x, "__jax_array__") or isinstance(x, type):
        return x
    holds = any(hasattr(x, name) for name in ("__array__", "__array_interface__", "toarray", "get_columns"))
    return arguments.array(where, path, x, host=True) if holds or isinstance(x, memoryview) else x


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))


def _raised(x: Any) -> Any:
    if not _is_float(x):
        return jnp.asarray(x)
    host = np.asarray(x)
    return jnp.asarray(host.astype(np.complex128 if host.dtype.kind == "c" else np.float64))


def _names(f: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """What f calls its positional arguments."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return [f"argument {i}" for i in range(len(args))]
    names: list[str] = []
    for p in signature.parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(len(args) - len(names))]
        elif p.kind is not p.KEYWORD_ONLY:
            names.append(p.name)
    return names


def _path(keys: Any, names: Sequence[str]) -> str:
    """The place of a leaf among the arguments: ``params['layer']['W']``."""
    side, first, *rest = keys
    name = names[first.idx] if side.idx == 0 else str(first.key)
    return name + jax.tree_util.keystr(tuple(rest))
