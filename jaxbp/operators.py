"""Jacobians as linear operators."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxbp.typing import Array, Float, Tensor


class Linear(NamedTuple):
    """J_fn(at), matrix-free: ``push`` is J v by forward mode, ``pull`` is delta J by reverse mode.

    The layers whose Jacobian has no structure worth naming give this one. Shapes are those of one
    example; `jax.vmap` makes the batch.

    Args:
        fn: a function of one array to one array.
        at: the point x of J_fn(x).

    Example:
        >>> import jax.numpy as jnp
        >>> J = Linear(lambda x: jnp.stack([x[0] * x[1], x[1]]), jnp.array([2.0, 3.0]))
        >>> J.matrix()
        Array([[3., 2.],
               [0., 1.]], dtype=float32)
        >>> J.pull(jnp.array([1.0, 1.0]))
        Array([3., 3.], dtype=float32)

    Source: the lecture's chain rule, J_f(x) in R^{n x d}.
    """

    fn: Callable[[Array], Array]
    at: Tensor

    def push(self, v: Tensor) -> Tensor:
        """J v, of the shape of fn(at)."""
        return jax.jvp(self.fn, (self.at,), (v,))[1]

    def pull(self, delta: Tensor) -> Tensor:
        """Delta J, of the shape of at."""
        return jax.vjp(self.fn, self.at)[1](delta)[0]

    def matrix(self) -> Float[Array, "d_out d_in"]:
        """J as a matrix, output index first."""
        return jax.jacrev(self.fn)(self.at).reshape(-1, self.at.size)
