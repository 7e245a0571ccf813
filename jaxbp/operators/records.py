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
| Routed              | sum S_u ⊗ W[u]   | places and W | convolutions, pools                       |
| Recurrent           | a cell, T times  | W, R, slopes | recurrence                                |
| Sum                 | A + B + ...      | its terms    | residual blocks                           |
| Product             | A B ...          | its factors  | chains                                    |

All are for one example: `jax.vmap` makes the batch. How they combine is in `algebra`, what that costs
in `planning`.
"""

# ruff: noqa: D102
# What the methods do is said once, in Operator.

import jax.numpy as jnp

from jaxbp.operators.operator import Operator, record, static
from jaxbp.typing import Array, Float, Tensor


def _on(d: Array, V: Array) -> Array:
    """D beside the first axis of V."""
    return jnp.broadcast_to(d.reshape(-1, *(1,) * (V.ndim - 1)), V.shape)


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
