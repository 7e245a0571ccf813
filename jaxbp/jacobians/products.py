"""What the factors of a chain are multiplied out, output first: each product one program."""

from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from jaxbp import operators
from jaxbp.jaxprs.compile_once import at_once, one_program
from jaxbp.operators import Operator
from jaxbp.typing import Array, Float

Factors = tuple[Operator, ...]


@one_program
def matrix(J: Operator) -> Array:
    """One factor, written out."""
    return J.matrix()


def product(factors: Factors, order: Any) -> Array:
    """All of them, in this order of `jaxbp.operators.product`."""
    multiplied: Array = at_once(_product, (order,), (factors,))
    return multiplied


def _product(order: Any, factors: Factors) -> Array:
    return operators.product(factors, order).matrix()


@one_program
def running(factors: Factors) -> list[Array]:
    """The product up to each factor."""
    products = accumulate(factors, lambda product, J: operators.product((product, J), "reverse"))
    return [product.matrix() for product in products]


@one_program
def product_by_scan(factors: Factors) -> Array:
    """All of them, by neighbours."""
    return _prefixes(factors)[-1][: factors[0].shape[0], : factors[-1].shape[1]]


@one_program
def rows(factors: Factors, delta: Array) -> list[Array]:
    """Delta behind each factor, flat: one after another."""
    return list(accumulate(factors, lambda row, J: J.pull(row), initial=delta.reshape(-1)))[1:]


@one_program
def rows_by_scan(factors: Factors, delta: Array) -> list[Array]:
    """The same, from all prefixes of the product at once."""
    m = factors[0].shape[0]
    found = [delta.reshape(-1) @ prefix[:m] for prefix in _prefixes(factors)]
    return [row[: J.shape[1]] for row, J in zip(found, factors, strict=True)]


def _prefixes(factors: Factors) -> Float[Array, "k d d"]:
    """J_k, J_k J_{k-1}, ..., by an associative scan; each padded with zeros to one square size d.

    Source: Wang et al. 2019, "BPPSA", arXiv 1907.10134.
    """
    matrices = [J.matrix() for J in factors]
    d = max(size for M in matrices for size in M.shape)
    stacked = jnp.stack([jnp.pad(M, ((0, d - M.shape[0]), (0, d - M.shape[1]))) for M in matrices])
    products: Array = jax.lax.associative_scan(jnp.matmul, stacked)
    return products
