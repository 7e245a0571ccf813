"""What an operator can do, and what makes a record of a class: frozen, a pytree, its fields checked once."""

# What the methods do is said once, in Operator.

from dataclasses import dataclass, field, fields
from functools import singledispatch
from typing import Any, TypeVar, dataclass_transform

import jax

from jaxbp import arguments, errors
from jaxbp.typing import Array, Float, Tensor

T_ = TypeVar("T_")


# The rules are written in terms of the records: `algebra` registers them here.
@singledispatch
def compose(A: Any, B: Any) -> "Operator":
    """A B."""
    raise TypeError(errors.message("A @ B", "two operators", f"a {type(A).__name__}"))


@singledispatch
def add(A: Any, B: Any) -> "Operator":
    """A + B."""
    raise TypeError(errors.message("A + B", "two operators", f"a {type(A).__name__}"))


@singledispatch
def settle(J: Any) -> "Operator":
    """J with its lazy parts multiplied out."""
    raise TypeError(errors.message("settle", "an operator", f"a {type(J).__name__}"))


class Operator:
    """What every operator can do; in meaning a matrix of shape (m, n).

    ``J @ v`` and ``delta @ J`` multiply arrays from the right and the left, ``A @ B`` and ``A + B``
    combine operators by the rules of `jaxbp.operators.algebra`, and ``J.T`` is the transpose. The types
    are pytrees, and pass through `jax.jit` and `jax.vmap`.
    """

    __array_ufunc__ = None  # numpy then leaves ``delta @ J`` to __rmatmul__

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n), the sizes of output and input."""
        raise NotImplementedError

    @property
    def T(self) -> "Operator":
        """The transpose, (n, m)."""
        raise NotImplementedError

    def push(self, V: Tensor) -> Tensor:
        """J V, forwards, for a vector (n,) or columns (n, k)."""
        raise NotImplementedError

    def pull(self, M: Tensor) -> Tensor:
        """M J, backwards, for a row (m,) or rows (k, m)."""
        return self.T.push(M.T).T

    def matrix(self) -> Float[Array, "m n"]:
        """J as a matrix, output index first."""
        return settle(self).matrix()

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            return compose(self, other)
        v = arguments.array(f"{self!r} @ v", "v", other)
        _check(f"{self!r} @ v", "v", "first", v.shape, 0, self.shape[1])
        return self.push(v)

    def __rmatmul__(self, other: Any) -> Tensor:
        delta = arguments.array(f"delta @ {self!r}", "delta", other)
        _check(f"delta @ {self!r}", "delta", "last", delta.shape, -1, self.shape[0])
        return self.pull(delta)

    def __add__(self, other: "Operator") -> "Operator":
        arguments.instance(f"{self!r} +", "what is added", other, Operator, "Dense(M) makes one of a matrix")
        return add(self, other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]}, {self.shape[1]})"


def _check(where: str, what: str, which: str, shape: tuple[int, ...], axis: int, size: int) -> None:
    if len(shape) not in (1, 2) or shape[axis] != size:
        expected = f"{what} with one or two axes, the {which} of {size}"
        raise ValueError(errors.message(where, expected, f"shape {shape}", "operators act on flat vectors"))


def static() -> Any:
    """A field that is structure, not data."""
    return field(metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def record(cls: type[T_]) -> type[T_]:
    """A frozen dataclass, and a pytree: then nothing is checked, for JAX fills it with other things."""
    rest = cls.__dict__.get("__post_init__")

    def enter(self: Any) -> None:
        for f in fields(self):
            _enter(self, f.name, f.type)
        if rest is not None:
            rest(self)

    cls.__post_init__ = enter  # type: ignore[attr-defined]
    made = dataclass(frozen=True, repr=False, eq=False)(cls)
    names = [f.name for f in fields(made) if not f.metadata.get("static")]  # type: ignore[arg-type]
    kept = [f.name for f in fields(made) if f.metadata.get("static")]  # type: ignore[arg-type]

    def flatten(J: T_) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        parts = [(jax.tree_util.GetAttrKey(name), getattr(J, name)) for name in names]
        return parts, tuple(getattr(J, name) for name in kept)

    def unflatten(static_values: tuple[Any, ...], values: Any) -> T_:
        J = object.__new__(made)
        for name, value in zip([*names, *kept], [*values, *static_values], strict=True):
            object.__setattr__(J, name, value)
        return J

    jax.tree_util.register_pytree_with_keys(made, flatten, unflatten)
    return made


def _enter(J: Any, name: str, kind: Any) -> None:
    """Check one field, by the type that it is declared with."""
    where, value = type(J).__name__, getattr(J, name)
    if kind is int:
        value = arguments.whole(where, name, value, low=0)
    elif kind is bool:
        value = arguments.flag(where, name, value)
    elif kind is Operator:
        arguments.instance(where, name, value, Operator, "Dense(M) makes one of a matrix")
    elif kind == tuple[Operator, ...]:
        value = tuple(arguments.instance(where, name, value, (list, tuple)))
        for i, part in enumerate(value):
            arguments.instance(where, f"{name}[{i}]", part, Operator, "Dense(M) makes one of a matrix")
        if not value:
            raise ValueError(errors.message(where, f"at least one operator in {name}", "none"))
    elif kind in (Array, Tensor):
        value = arguments.array(where, name, value, floats=not hasattr(value, "dtype"))
    else:
        arguments.function(where, name, value, positional=1)
    object.__setattr__(J, name, value)
