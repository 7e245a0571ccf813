"""A scalar function of anything as a flat function of arrays, and which of these are parameters."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.jaxprs.values.labels import joined, parts_of


class Static(NamedTuple):
    """What of the arguments is no array; two calls with equal ones share a compiled program.

    Args:
        tree: the structure of all arguments.
        fixed: the leaves that stay as they are, with their numbers.
        differentiated: the numbers, among the arrays, of those to differentiate by.
        argnums: as in `jax.grad`.
    """

    tree: Any
    fixed: tuple[tuple[int, Any], ...]
    differentiated: tuple[int, ...]
    argnums: int | tuple[int, ...]

    def whole(self, arrays: Sequence[Any]) -> Any:
        """The arguments with these arrays in them."""
        fixed, moving = dict(self.fixed), iter(arrays)
        leaves = [fixed[k] if k in fixed else next(moving) for k in range(self.tree.num_leaves)]
        return jax.tree.unflatten(self.tree, leaves)

    def gradients(self, grads: Sequence[Any]) -> Any:
        """The gradients as trees like the arguments; None where something is no array."""
        places = [k for k in range(self.tree.num_leaves) if k not in dict(self.fixed)]
        found = {places[k]: g for k, g in zip(self.differentiated, grads, strict=True)}
        args, _ = jax.tree.unflatten(self.tree, [found.get(k) for k in range(self.tree.num_leaves)])
        return args[self.argnums] if isinstance(self.argnums, int) else tuple(args[k] for k in self.argnums)


class Call(NamedTuple):
    """The arrays of a call; what else it has; and for each array the parts of its path as a parameter.

    The parts are None for what is no parameter. ``names`` are the paths of all, with the argument's name.
    """

    arrays: list[Any]
    static: Static
    parts: tuple[tuple[Any, ...] | None, ...]
    names: tuple[str, ...]


def flat_call(
    where: str,
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    argnums: int | Sequence[int],
) -> Call:
    """Split the arguments into arrays and everything else.

    Raises:
        TypeError: where f cannot be called so, or an argument to differentiate by has arrays that are not
            floating, or none.
        ValueError: where argnums names no argument.
    """
    arguments.function(where, "f", f, positional=len(args), keywords=tuple(kwargs))
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for k in numbers:
        arguments.whole(where, "argnums", k, low=-len(args), high=len(args) - 1)
    numbers = tuple(k % len(args) for k in numbers)
    called = _argument_names(f, args)
    flat, tree = jax.tree_util.tree_flatten_with_path((tuple(args), dict(kwargs)))
    arrays: list[Any] = []
    fixed: list[tuple[int, Any]] = []
    parts: list[tuple[Any, ...] | None] = []
    names: list[str] = []
    differentiated: list[int] = []
    for k, (path, leaf) in enumerate(flat):
        side, first, *rest = path
        name = called[first.idx] if side.idx == 0 else str(first.key)
        words = parts_of(tuple(rest))
        wanted = side.idx == 0 and first.idx in numbers
        if not _moves(leaf):
            fixed.append((k, leaf))
            continue
        if not isinstance(leaf, float) and not is_key(leaf):
            leaf = arguments.array(where, joined([name, *words]), leaf)
        dtype = leaf.dtype if is_key(leaf) else jnp.result_type(leaf)
        if wanted and not jnp.issubdtype(dtype, jnp.floating):
            got = f"{dtype} at {joined([name, *words])}"
            hint = "derivatives are taken by floating arrays; give the others in another argument"
            raise TypeError(message(where, f"parameters in {name} that are floating", got, hint))
        if wanted:
            differentiated.append(len(arrays))
        names.append(joined([name, *words]))
        in_words = words if words and len(numbers) == 1 else [name, *words]
        parts.append(tuple(in_words) if wanted else None)
        arrays.append(leaf)
    if not differentiated:
        got = ", ".join(arguments.described(args[k]) for k in numbers)
        raise TypeError(message(where, f"floating arrays in argument {numbers[0]} of f", got))
    given = argnums if isinstance(argnums, int) else numbers
    static = Static(tree, tuple(fixed), tuple(differentiated), given)
    return Call(arrays, static, tuple(parts), tuple(names))


def scalar(where: str, f: Callable[..., Any], static: Static) -> Callable[..., Any]:
    """F as a function of the arrays, which returns one floating number.

    The function raises a TypeError where f returns anything else.
    """

    def fn(*arrays: Any) -> Any:
        args, kwargs = static.whole(arrays)
        return number(where, f(*args, **kwargs))

    return fn


def number(where: str, out: Any) -> Any:
    """What a loss returned, one floating number.

    Raises:
        TypeError: where it is anything else.
    """
    if isinstance(out, tuple | list | dict):
        hint = "give f without what it returns besides: lambda *args: f(*args)[0]"
        raise TypeError(message(where, "f to return one number", arguments.described(out), hint))
    if not (hasattr(out, "dtype") or isinstance(out, int | float)):
        raise TypeError(message(where, "f to return one floating number", arguments.described(out)))
    shape, dtype = jnp.shape(out), jnp.result_type(out)
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        hint = "a delta is a derivative of one number; try .mean() or .sum()" if shape else ""
        got = f"{dtype} of shape {shape}"
        raise TypeError(message(where, "f to return one floating number", got, hint))
    return out


def is_key(leaf: Any) -> bool:
    """Whether it is an array of typed keys, which are no numbers."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _moves(leaf: Any) -> bool:
    """Arrays and floating numbers are traced; Python's integers, text and functions stay as they are."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float) and not (
        isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind in "OUS"
    )


def _argument_names(f: Callable[..., Any], args: Sequence[Any]) -> list[str]:
    """What f calls its positional arguments."""
    try:
        found = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        found = ()  # type: ignore[assignment]
    names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in found if p.kind is p.VAR_POSITIONAL), "argument")
    return [*names[: len(args)], *(f"{rest}{i}" for i in range(len(args) - len(names)))]
