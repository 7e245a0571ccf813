"""Compile traced functions, each mathematics once."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import wraps
from hashlib import sha256
from threading import Lock
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.jaxprs.internals import as_closed

T = TypeVar("T")

SMALL = 50_000
REMEMBERED = 64


def fingerprint(closed: Any) -> str:
    """Text that is equal for two traces only when they compute the same: equations and constants."""
    digest = sha256(str(closed.jaxpr).encode())
    for constant in _constants(closed):
        digest.update(np.asarray(constant).tobytes() if not _is_key(constant) else str(constant).encode())
    return digest.hexdigest()


def _constants(closed: Any) -> list[Any]:
    inner = [
        p for e in closed.jaxpr.eqns for v in e.params.values() for p in (v if isinstance(v, tuple) else (v,))
    ]
    found = list(closed.consts)
    for p in inner:
        if isinstance(p, core.ClosedJaxpr | core.Jaxpr):
            found += _constants(as_closed(p))
    return found


def _is_key(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jax.dtypes.extended))


def _holds_functions(jaxpr: Any) -> bool:
    """Whether a Python function (a callback, a batching rule) is in it, which text cannot tell."""
    for eqn in jaxpr.eqns:
        if any(callable(p) and not isinstance(p, type) for p in eqn.params.values()):
            return True
        if any(map(_holds_functions, core.jaxprs_in_params(eqn.params))):
            return True
    return False


_COMPILED: OrderedDict[tuple[str, bool], Callable[..., list[Any]]] = OrderedDict()
_LOCK = Lock()


def compiled(closed: Any, text: str, inputs: Sequence[Any]) -> Callable[..., list[Any]]:
    """The traced function, compiled; the same mathematics is compiled once however many rules share it."""
    run = jitted(core.jaxpr_as_fun(closed), inputs)
    if not is_small(closed.consts) or _holds_functions(closed.jaxpr):
        return run
    key = (text, bool(jax.config.jax_enable_x64))  # type: ignore[attr-defined]
    with _LOCK:
        run = _COMPILED.pop(key, run)
        _COMPILED[key] = run
        if len(_COMPILED) > REMEMBERED:
            _COMPILED.popitem(last=False)
    return run


def jitted(fn: Callable[..., list[Any]], inputs: Sequence[Any]) -> Callable[..., list[Any]]:
    """Small arrays cost more to compile for than to compute with, so their code is not optimised."""
    options = {"xla_backend_optimization_level": 0} if is_small(inputs) else {}
    return jax.jit(fn, compiler_options=options)


def is_small(inputs: Sequence[Any]) -> bool:
    """Whether it costs more to compile for the arrays than to compute with them."""
    return sum(int(np.size(x)) for x in inputs) < SMALL


def at_once(f: Callable[..., Any], static: tuple[Any, ...], args: tuple[Any, ...]) -> Any:
    """f(*static, *args) as one program: a first call is one compilation, not one for each operation.

    Within another program, or where something static has no hash to keep it by, f is called as it is.

    Args:
        f: a pure function that is defined once.
        static: its first arguments, which are no arrays.
        args: trees of arrays.
    """
    leaves = jax.tree.leaves(args)
    here = jnp.zeros(())  # traced within a program, even where what f is given is not
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (here, *leaves)) or not _has_hash(static):
        return f(*static, *args)
    key = (f, len(static), is_small(leaves))
    if key not in _AT_ONCE:
        options = {"xla_backend_optimization_level": 0} if key[2] else {}
        numbers = tuple(range(len(static)))
        _AT_ONCE[key] = jax.jit(f, static_argnums=numbers, compiler_options=options)
    return _AT_ONCE[key](*static, *args)


def one_program(method: Callable[..., T]) -> Callable[..., T]:
    """A method of pytrees alone, which runs `at_once`."""

    @wraps(method)
    def run(*args: Any) -> Any:
        return at_once(method, (), args)

    return run


_AT_ONCE: dict[tuple[Callable[..., Any], int, bool], Callable[..., Any]] = {}


def _has_hash(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
