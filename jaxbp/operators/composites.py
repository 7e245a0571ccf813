"""The operators that are made of others, or of a function: Kronecker, Linear, Sum and Product."""

# ruff: noqa: D102
# What the methods do is said once, in Operator.

from collections.abc import Callable
from dataclasses import field

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxbp.operators.operator import Operator, record
from jaxbp.typing import Array, Float, Tensor


@record
class Kronecker(Operator):
    """A ⊗ B: on V of shape (A's n, B's n), flattened by rows, the map V -> A V B^T.

    I ⊗ W is one W shared by all positions of a sequence. I ⊗ f^T is d a / d W of a = W f, and delta ⊗ f^T
    what is left of it after a row delta: parameter Jacobians, which are never multiplied out.

    Example: a = W f by W, for f = (1, 2) and two outputs.
        >>> from jaxbp.operators import Dense, Identity
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


@record
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


@record
class Sum(Operator):
    """A + B + ..., distributed over what it meets rather than added up.

    Example: the residual block x + W x, whose Jacobian is I + W.
        >>> from jaxbp.operators import Dense, Identity
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


@record
class Product(Operator):
    """A B ..., factor by factor on a vector; ``matrix`` multiplies in the cheapest order.

    Example:
        >>> from jaxbp.operators import Dense, Diagonal
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
