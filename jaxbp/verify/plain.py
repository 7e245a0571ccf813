"""Hand-written derivatives that are plain functions, judged as rules."""

from collections.abc import Callable
from typing import Any

import jax

from jaxbp.verify.arguments import fitting, flatten_call
from jaxbp.verify.check import Intents, judge_call
from jaxbp.verify.report import Report


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
    fitting("check_vjp", primal, args, {})
    name = fitting("check_vjp", vjp, (*args, None), {})

    def backward(saved: tuple[Any, ...], cotangent: Any) -> tuple[Any, ...]:
        result = vjp(*saved, cotangent)
        return (result,) if len(saved) == 1 and not isinstance(result, tuple) else result

    rule = jax.custom_vjp(_renamed(primal, name))
    rule.defvjp(lambda *a: (primal(*a), a), backward)
    return judge_call("check_vjp", flatten_call("check_vjp", _plain(rule, name), args, {}), declare, order)


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
    fitting("check_jvp", primal, args, {})
    name = fitting("check_jvp", jvp, (args, args), {})
    rule = jax.custom_jvp(_renamed(primal, name))
    rule.defjvp(lambda primals, tangents: (primal(*primals), jvp(primals, tangents)))
    return judge_call("check_jvp", flatten_call("check_jvp", _plain(rule, name), args, {}), declare, order)


def _renamed(f: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``f`` under the name of its rule, so that the report names the rule."""

    def primal(*args: Any) -> Any:
        return f(*args)

    primal.__name__ = name
    return primal


def _plain(rule: Callable[..., Any], name: str) -> Callable[..., Any]:
    def f(*args: Any) -> Any:
        return rule(*args)

    f.__name__ = name
    return f
