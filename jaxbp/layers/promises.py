"""What a layer's rules promise to return, looked at where they return it: a user's rule may break it."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.typing import Params

T = TypeVar("T", bound=Callable[..., Any])


def kept(where: str, rule: T, *, of_params: bool) -> T:
    """The rule, which raises if it does not return a pair, or no gradient for each parameter.

    Args:
        where: the layer and which of its rules it is, ``"square: backward"``.
        rule: forward or backward.
        of_params: whether the first of the pair is the gradient of the parameters, the rule's first argument.

    Example:
        >>> rule = kept("scale: backward", lambda params, saved, delta: ({"g": delta}, delta), of_params=True)
        >>> rule({"g": jnp.ones(2)}, (), jnp.ones((3, 2)))
        Traceback (most recent call last):
        ...
        ValueError: scale: backward: expected delta_g of the parameter's shape (2,), got (3, 2);
        sum it over the leading axes *n
    """
    pair = "(delta_params, delta_f)" if of_params else "(out, saved)"

    @wraps(rule)
    def looked_at(params: Params, *args: Any, **named: Any) -> Any:
        returned = rule(params, *args, **named)
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise TypeError(errors.message(where, f"{pair} in return", arguments.described(returned)))
        if of_params:
            _assert_like(where, params, returned[0])
        return returned

    return looked_at  # type: ignore[return-value]


def _assert_like(where: str, params: Params, delta_params: Any) -> None:
    """Raises unless there is a gradient of the same shape for each parameter that is an array."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    if not all(hasattr(leaf, "shape") for _, leaf in paths):  # numbers that are written out
        return
    known: Any = jax.tree.structure(params)
    if known != jax.tree.structure(delta_params):
        wanted, got = (_names(tree) for tree in (params, delta_params))
        raise ValueError(errors.message(where, f"a gradient for each parameter, {wanted}", got))
    for (path, leaf), delta in zip(paths, jax.tree.leaves(delta_params), strict=True):
        if jnp.shape(delta) != leaf.shape:
            name = "_".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)
            expected = f"delta_{name} of the parameter's shape {leaf.shape}"
            hint = "sum it over the leading axes *n" if jnp.ndim(delta) > leaf.ndim else ""
            raise ValueError(errors.message(where, expected, f"{jnp.shape(delta)}", hint))


def _names(tree: Any) -> str:
    if not isinstance(tree, dict):
        return arguments.described(tree)
    return f"{{{', '.join(map(str, tree))}}}"
