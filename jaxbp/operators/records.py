"""The types of a structured Jacobian: what each holds, and what it does to vectors from either side.

Every operator is a matrix of shape (m, n) in meaning, on flattened vectors, output index first:

| type                | meaning          | holds        | used for                                  |
|---------------------|------------------|--------------|-------------------------------------------|
| Identity            | I                | nothing      | skips, reshapes                           |
| Scaled              | c I              | c            | a constant gain                           |
| Diagonal            | diag(d)          | n            | elementwise activations                   |
| DiagonalPlusLowRank | diag(d) + U V^T  | n (1 + 2 r)  | softmax, residual blocks with a bottleneck|
| Dense               | M                | m n          | W                                         |
| Kronecker           | A ⊗ B            | A and B      | I ⊗ W over positions, delta ⊗ f           |
| Linear              | J_fn(at)         | the point    | anything, matrix-free                     |
| Sum                 | A + B + ...      | its terms    | residual blocks                           |
| Product             | A B ...          | its factors  | chains                                    |

All are for one example: `jax.vmap` makes the batch. How they combine is in `algebra`, what that costs
in `planning`.
"""

# ruff: noqa: D102
# What the methods do is said once, in Operator.

from dataclasses import dataclass, field, fields
from functools import singledispatch
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp

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


def _on(d: Array, V: Array) -> Array:
    """D beside the first axis of V."""
    return jnp.broadcast_to(d.reshape(-1, *(1,) * (V.ndim - 1)), V.shape)


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


@record
class Identity(Operator):
    """I of size n; it multiplies nothing.

    Example:
        >>> Identity(3) @ Diagonal(jnp.ones(3))
        Diagonal(3, 3)
    """

    n: int = static()

    @property
    def shape(self) -> tuple[int, int]:
        return self.n, self.n

    @property
    def T(self) -> Operator:
        return self

    def push(self, V: Tensor) -> Tensor:
        return V

    def matrix(self) -> Float[Array, "n n"]:
        return jnp.eye(self.n)


@record
class Scaled(Operator):
    """c I of size n, c a scalar array."""

    c: Array
    n: int = static()

    @property
    def shape(self) -> tuple[int, int]:
        return self.n, self.n

    @property
    def T(self) -> Operator:
        return self

    def push(self, V: Tensor) -> Tensor:
        return self.c * V

    def matrix(self) -> Float[Array, "n n"]:
        return jnp.diag(jnp.full(self.n, self.c))


@record
class Diagonal(Operator):
    """diag(d), the Jacobian of whatever acts entry by entry.

    Example:
        >>> jnp.ones(2) @ Diagonal(jnp.array([2.0, 3.0]))
        Array([2., 3.], dtype=float32)
    """

    d: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.d.size, self.d.size

    @property
    def T(self) -> Operator:
        return self

    def push(self, V: Tensor) -> Tensor:
        return _on(self.d, V) * V

    def pull(self, M: Tensor) -> Tensor:
        return M * jnp.broadcast_to(self.d, M.shape)

    def matrix(self) -> Float[Array, "n n"]:
        return jnp.diag(self.d)


@record
class DiagonalPlusLowRank(Operator):
    """diag(d) + U V^T with U and V of shape (n, r).

    Example: softmax, diag(mu) - mu mu^T.
        >>> mu = jnp.array([0.5, 0.25, 0.25])
        >>> DiagonalPlusLowRank(mu, -mu[:, None], mu[:, None]).matrix()
        Array([[ 0.25  , -0.125 , -0.125 ],
               [-0.125 ,  0.1875, -0.0625],
               [-0.125 , -0.0625,  0.1875]], dtype=float32)
    """

    d: Array
    U: Array
    V: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.d.size, self.d.size

    @property
    def rank(self) -> int:
        """The r of U and V."""
        return self.U.shape[-1]

    @property
    def T(self) -> Operator:
        return DiagonalPlusLowRank(self.d, self.V, self.U)

    def push(self, V: Tensor) -> Tensor:
        return _on(self.d, V) * V + _times(self.U, _times(self.V.T, V))

    def pull(self, M: Tensor) -> Tensor:
        return M * jnp.broadcast_to(self.d, M.shape) + _times(_times(M, self.U), self.V.T)

    def matrix(self) -> Float[Array, "n n"]:
        return jnp.diag(self.d) + _times(self.U, self.V.T)


def _times(A: Array, B: Array) -> Array:
    """A B; with one inner index an outer product, which compilers fuse where they would not a matmul."""
    if A.ndim == B.ndim == 2 and A.shape[1] == 1:
        return jnp.broadcast_to(A, (A.shape[0], B.shape[1])) * jnp.broadcast_to(B, (A.shape[0], B.shape[1]))
    return A @ B


@record
class Dense(Operator):
    """A matrix without structure, of shape (m, n).

    Example:
        >>> (Dense(jnp.ones((2, 3))) @ Diagonal(jnp.array([1.0, 2.0, 3.0]))).matrix()
        Array([[1., 2., 3.],
               [1., 2., 3.]], dtype=float32)
    """

    M: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.M.shape[0], self.M.shape[1]

    @property
    def T(self) -> Operator:
        return Dense(self.M.T)

    def push(self, V: Tensor) -> Tensor:
        return self.M @ V

    def pull(self, M: Tensor) -> Tensor:
        return M @ self.M

    def matrix(self) -> Float[Array, "m n"]:
        return self.M
