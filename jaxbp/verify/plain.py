"""Hand-written derivatives that are plain functions, judged as rules."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax

from jaxbp.arguments import described
from jaxbp.errors import message
from jaxbp.verify.check import judge_call
from jaxbp.verify.clauses.declared import Intents
from jaxbp.verify.report import Report
from jaxbp.verify.sites.call import fitting, flatten_call, is_array


def check_vjp(
    primal: Callable[..., Any], vjp: Callable[..., Any], *args: Any, declare: Intents = None, order: int = 1
) -> Report:
    """Judge a hand-written VJP that is a plain function: ``vjp(*args, cotangent) -> cotangents of args``.

    Args:
        primal: the function.
        vjp: takes the arguments and then the cotangent of the output (a pytree like the output); returns a
            tuple with a cotangent for each argument (None for zero), or the cotangent itself when there
            is one argument.
        *args: the arguments at which to judge it.
        declare: as in :func:`check`.
        order: as in :func:`check`.

    Raises:
        TypeError, ValueError: as :func:`check`, also when the arguments do not fit the two functions.

    Example:
        >>> import jax.numpy as jnp
        >>> report = check_vjp(jnp.sin, lambda a, c: -c * jnp.cos(a), jnp.array([0.1, 0.2]))
        >>> report.findings[0].cause
        'sign'
    """
    _assert_arrays("check_vjp", fitting("check_vjp", primal, args, {}), primal, args)
    name = fitting("check_vjp", vjp, (*args, None), {})

    def backward(saved: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
        result = vjp(*saved, cotangent)
        return (result,) if len(saved) == 1 and not isinstance(result, tuple) else result

    rule = jax.custom_vjp(_named(primal, name, primal, vjp))
    rule.defvjp(_named(lambda *a: (primal(*a), a), name, primal), backward)
    return judge_call(
        "check_vjp", flatten_call("check_vjp", _named(rule, name, primal), args, {}), declare, order
    )


def check_jvp(
    primal: Callable[..., Any], jvp: Callable[..., Any], *args: Any, declare: Intents = None, order: int = 1
) -> Report:
    """Judge a hand-written JVP that is a plain function: ``jvp(primals, tangents) -> tangent of the output``.

    Args:
        primal: the function.
        jvp: takes the tuple of arguments and the tuple of their tangents.
        *args: the arguments at which to judge it.
        declare: as in :func:`check`.
        order: as in :func:`check`.

    Raises:
        TypeError, ValueError: as :func:`check`, also when the arguments do not fit the two functions.

    Example:
        >>> import jax.numpy as jnp
        >>> check_jvp(jnp.sin, lambda p, t: t[0] * jnp.cos(p[0]), jnp.array([0.1, 0.2])).ok
        True
    """
    _assert_arrays("check_jvp", fitting("check_jvp", primal, args, {}), primal, args)
    name = fitting("check_jvp", jvp, (args, args), {})
    rule = jax.custom_jvp(_named(primal, name, primal, jvp))
    rule.defjvp(lambda primals, tangents: (primal(*primals), jvp(primals, tangents)))
    return judge_call(
        "check_jvp", flatten_call("check_jvp", _named(rule, name, primal), args, {}), declare, order
    )


def _assert_arrays(where: str, name: str, rule: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Raise a TypeError for a rule that returns something else than numbers, which JAX does not run."""
    returned: list[Any] = []
    with suppress(Exception):  # a rule that raises is judged
        jax.eval_shape(lambda *a: returned.extend(jax.tree.leaves(rule(*a))), *args)
    for leaf in returned:
        if not is_array(leaf) and not isinstance(leaf, int):
            raise TypeError(message(where, f"{name} to return arrays", described(leaf)))


def _named(
    run: Callable[..., Any], name: str, primal: Callable[..., Any], place: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """``run`` by the name of the rule, with the arguments of its primal, and written where ``place`` is."""

    def f(*args: Any) -> Any:
        return run(*args)

    f.__name__ = name
    with suppress(TypeError, ValueError):  # some functions of C have no signature
        f.__signature__ = inspect.signature(primal)  # type: ignore[attr-defined]
    if place and hasattr(inspect.unwrap(place), "__code__"):
        f.__wrapped__ = place  # type: ignore[attr-defined]
    return f
