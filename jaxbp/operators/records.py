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

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxbp import errors
from jaxbp.typing import Array, Float, Tensor

if TYPE_CHECKING:
    from types import ModuleType

T_ = TypeVar("T_")


def _algebra() -> "ModuleType":
    """The rules. They are written in terms of the records, hence cannot be imported before them."""
    from jaxbp.operators import algebra

    return algebra


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
        result: Array = _algebra().settle(self).matrix()
        return result

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            return _algebra().compose(self, other)
        _check(f"{self!r} @ v", "v", "first", jnp.shape(other), 0, self.shape[1])
        return self.push(jnp.asarray(other))

    def __rmatmul__(self, other: Any) -> Tensor:
        _check(f"delta @ {self!r}", "delta", "last", jnp.shape(other), -1, self.shape[0])
        return self.pull(jnp.asarray(other))

    def __add__(self, other: "Operator") -> "Operator":
        result: Operator = _algebra().add(self, other)
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shape[0]}, {self.shape[1]})"


def _check(where: str, what: str, which: str, shape: tuple[int, ...], axis: int, size: int) -> None:
    if len(shape) not in (1, 2) or shape[axis] != size:
        expected = f"{what} with one or two axes, the {which} of {size}"
        raise ValueError(errors.message(where, expected, f"shape {shape}", "operators act on flat vectors"))


def _on(d: Array, V: Array) -> Array:
    """D beside the first axis of V."""
    return jnp.broadcast_to(d.reshape(-1, *(1,) * (V.ndim - 1)), V.shape)


def _static() -> Any:
    """A field that is structure, not data."""
    return field(metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(_static,))
def _record(cls: type[T_]) -> type[T_]:
    return jax.tree_util.register_dataclass(dataclass(frozen=True, repr=False, eq=False)(cls))


@_record
class Identity(Operator):
    """I of size n; it multiplies nothing.

    Example:
        >>> Identity(3) @ Diagonal(jnp.ones(3))
        Diagonal(3, 3)
    """

    n: int = _static()

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


@_record
class Scaled(Operator):
    """c I of size n, c a scalar array."""

    c: Array
    n: int = _static()

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


@_record
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


@_record
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


@_record
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


@_record
class Kronecker(Operator):
    """A ⊗ B: on V of shape (A's n, B's n), flattened by rows, the map V -> A V B^T.

    I ⊗ W is one W shared by all positions of a sequence. I ⊗ f^T is d a / d W of a = W f, and delta ⊗ f^T
    what is left of it after a row delta: parameter Jacobians, which are never multiplied out.

    Example: a = W f by W, for f = (1, 2) and two outputs.
        >>> Kronecker(Identity(2), Dense(jnp.array([[1.0, 2.0]]))).matrix()
        Array([[1., 2., 0., 0.],
               [0., 0., 1., 2.]], dtype=float32)
    """

    A: Operator
    B: Operator

    @property
    def shape(self) -> tuple[int, int]:
        (m, n), (p, q) = self.A.shape, self.B.shape
        return m * p, n * q

    @property
    def T(self) -> Operator:
        return Kronecker(self.A.T, self.B.T)

    def push(self, V: Tensor) -> Tensor:
        if V.ndim == 2:
            return jax.vmap(self.push, in_axes=-1, out_axes=-1)(V)
        V = V.reshape(self.A.shape[1], self.B.shape[1])
        return self.A.push(self.B.push(V.T).T).reshape(-1)

    def matrix(self) -> Float[Array, "m n"]:
        return jnp.kron(self.A.matrix(), self.B.matrix())


@_record
class Linear(Operator):
    """J_fn(at), matrix-free: push is forward mode, pull is reverse mode.

    The layers whose Jacobian has no structure worth naming give this one.

    Args:
        fn: a function of one array to one array. To pass through `jax.jit`, make it a
            `jax.tree_util.Partial` of a named function and its arrays.
        at: the point x of J_fn(x); it and the result may have any shape, and are flattened by rows.
        transposed: whether this is J^T.

    Example:
        >>> J = Linear(lambda x: jnp.stack([x[0] * x[1], x[1]]), jnp.array([2.0, 3.0]))
        >>> J.matrix()
        Array([[3., 2.],
               [0., 1.]], dtype=float32)
        >>> jnp.array([1.0, 1.0]) @ J
        Array([3., 3.], dtype=float32)

    Source: the lecture's chain rule, J_f(x) in R^{n x d}.
    """

    fn: Callable[[Array], Array]
    at: Tensor
    transposed: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        if callable(self.fn) and not isinstance(self.fn, Partial):
            # A pytree, so that the record is one.
            object.__setattr__(self, "fn", Partial(self.fn))  # type: ignore[no-untyped-call]

    @property
    def shape(self) -> tuple[int, int]:
        sizes = jax.eval_shape(self.fn, self.at).size, self.at.size
        return (sizes[1], sizes[0]) if self.transposed else sizes

    @property
    def T(self) -> Operator:
        return Linear(self.fn, self.at, not self.transposed)

    def push(self, V: Tensor) -> Tensor:
        if self.transposed:
            return Linear(self.fn, self.at).pull(V.T).T
        push = jax.linearize(self.fn, self.at)[1]

        def column(v: Array) -> Array:
            return push(v.reshape(self.at.shape)).reshape(-1)

        return column(V) if V.ndim == 1 else jax.vmap(column, in_axes=-1, out_axes=-1)(V)

    def pull(self, M: Tensor) -> Tensor:
        if self.transposed:
            return Linear(self.fn, self.at).push(M.T).T
        out, pull = jax.vjp(self.fn, self.at)

        def row(delta: Array) -> Array:
            return pull(delta.reshape(out.shape))[0].reshape(-1)

        return row(M) if M.ndim == 1 else jax.vmap(row)(M)

    def matrix(self) -> Float[Array, "m n"]:
        m, n = self.shape
        dtype = self.at.dtype
        return self.pull(jnp.eye(m, dtype=dtype)) if m <= n else self.push(jnp.eye(n, dtype=dtype))


@_record
class Sum(Operator):
    """A + B + ..., distributed over what it meets rather than added up.

    Example: the residual block x + W x, whose Jacobian is I + W.
        >>> J = Sum((Identity(2), Dense(jnp.array([[1.0, 2.0], [3.0, 4.0]]))))
        >>> J.matrix()
        Array([[2., 2.],
               [3., 5.]], dtype=float32)
    """

    terms: tuple[Operator, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.terms[0].shape

    @property
    def T(self) -> Operator:
        return Sum(tuple(term.T for term in self.terms))

    def push(self, V: Tensor) -> Tensor:
        return sum((term.push(V) for term in self.terms[1:]), self.terms[0].push(V))

    def pull(self, M: Tensor) -> Tensor:
        return sum((term.pull(M) for term in self.terms[1:]), self.terms[0].pull(M))


@_record
class Product(Operator):
    """A B ..., factor by factor on a vector; ``matrix`` multiplies in the cheapest order.

    Example:
        >>> W = Dense(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> Product((W, Diagonal(jnp.array([1.0, 0.0])), W)) @ jnp.array([1.0, 1.0])
        Array([3., 9.], dtype=float32)
    """

    factors: tuple[Operator, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.factors[0].shape[0], self.factors[-1].shape[1]

    @property
    def T(self) -> Operator:
        return Product(tuple(factor.T for factor in reversed(self.factors)))

    def push(self, V: Tensor) -> Tensor:
        for factor in reversed(self.factors):
            V = factor.push(V)
        return V

    def pull(self, M: Tensor) -> Tensor:
        for factor in self.factors:
            M = factor.pull(M)
        return M
