"""How operators combine. The product A B of two types:

| A, then B        | Identity | Scaled | Diagonal | DiagonalPlusLowRank | Dense | lazy             |
|------------------|----------|--------|----------|---------------------|-------|------------------|
| Identity         | B        | B      | B        | B                   | B     | B                |
| Scaled, Diagonal | A        | D      | D        | low rank            | Dense | settle B         |
| low rank         | A        | low r. | low r.   | low rank: r + r'    | Dense | settle B         |
| Dense            | A        | Dense  | Dense    | Dense               | Dense | rows, or settle B|
| lazy             | A        | settle A           | settle A | columns, or settle A| settle |

Low rank means below n / 2: beyond, the result is Dense. The lazy types are Kronecker, Linear, Routed,
Recurrent, Sum and Product; two Kronecker products whose parts meet multiply part by part. Whether a lazy
operator meets a matrix vector by vector, which is how a residual block I + J distributes, M (I + J) =
M + M J, or is settled into a matrix first, is decided by `planning`'s count of FLOPs.
"""

from functools import reduce

import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.operators import operator, planning
from jaxbp.operators.composites import Kronecker, Linear, Product, Sum
from jaxbp.operators.operator import Operator
from jaxbp.operators.places import Recurrent, Routed
from jaxbp.operators.records import (
    Dense,
    Diagonal,
    DiagonalPlusLowRank,
    Identity,
    Scaled,
)
from jaxbp.typing import Array

_LAZY = (Kronecker, Linear, Routed, Recurrent, Sum, Product)
_DIAGONAL = (Identity, Scaled, Diagonal)


@operator.compose.register(Operator)
def compose(A: Operator, B: Operator) -> Operator:
    """A B: multiplied where the result keeps a structure, a lazy `Product` where either is lazy.

    Raises:
        ValueError: where A's input is not B's output.

    Example:
        >>> compose(Diagonal(jnp.ones(2)), Dense(jnp.ones((2, 3)))), compose(Identity(2), Identity(2))
        (Dense(2, 3), Identity(2, 2))
    """
    _assert_operators("A @ B", A, B)
    planning.check_composes([repr(A), repr(B)], [A, B])
    if isinstance(A, Identity) or isinstance(B, Identity):
        return multiply(A, B)
    if isinstance(A, _LAZY) or isinstance(B, _LAZY):
        both = (J.factors if isinstance(J, Product) else (J,) for J in (A, B))
        return Product(tuple(factor for factors in both for factor in factors))
    return multiply(A, B)


def _assert_operators(where: str, *factors: Operator) -> None:
    for i, J in enumerate(factors):
        arguments.instance(where, f"factor {i}", J, Operator, "Dense(M) makes one of a matrix")
    if not factors:
        raise ValueError(errors.message(where, "at least one operator", "none"))


def multiply(A: Operator, B: Operator) -> Operator:
    """A B, by the table above; mirrored by `planning.times`."""
    match A, B:
        case Identity(), _:
            return B
        case _, Identity():
            return A
        case Kronecker(), Kronecker() if A.A.shape[1] == B.A.shape[0]:
            return Kronecker(multiply(A.A, B.A), multiply(A.B, B.B))
        case (Dense(), J) | (J, Dense()) if isinstance(J, _LAZY):
            if not planning.applies(planning.form(A), planning.form(B)):
                return multiply(settle(A), settle(B))
            return Dense(B.pull(A.M) if isinstance(A, Dense) else A.push(B.matrix()))
        case _ if isinstance(A, _LAZY) or isinstance(B, _LAZY):
            return multiply(settle(A), settle(B))
        case Scaled(), Scaled():
            return Scaled(A.c * B.c, A.n)
        case ((Scaled() | Diagonal()), (Scaled() | Diagonal())):
            return Diagonal(A.push(_diagonal(B)))
        case ((Scaled() | Diagonal()), DiagonalPlusLowRank(d, U, V)):
            return DiagonalPlusLowRank(A.push(d), A.push(U), V)
        case DiagonalPlusLowRank(d, U, V), (Scaled() | Diagonal()):
            return DiagonalPlusLowRank(B.push(d), U, B.push(V))
        case DiagonalPlusLowRank(), DiagonalPlusLowRank() if planning.keeps_rank(A.rank + B.rank, A.d.size):
            # (D + U V^T)(D' + U' V'^T) = D D' + U (D' V)^T + (D U' + U V^T U') V'^T
            U = jnp.concatenate([A.U, A.push(B.U)], axis=1)
            V = jnp.concatenate([Diagonal(B.d).push(A.V), B.V], axis=1)
            return DiagonalPlusLowRank(A.d * B.d, U, V)
        case Dense(M), _:
            return Dense(B.pull(M))
        case _:
            return Dense(A.push(B.matrix()))


@operator.add.register(Operator)
def add(A: Operator, B: Operator) -> Operator:
    """A + B: diagonal, low-rank and dense parts join; with anything lazy it stays a `Sum`.

    Raises:
        ValueError: for two different shapes.

    Example:
        >>> add(Identity(2), Diagonal(jnp.ones(2))), add(Identity(2), Dense(jnp.ones((2, 2))))
        (Diagonal(2, 2), Dense(2, 2))
    """
    _assert_operators("A + B", A, B)
    if A.shape != B.shape:
        raise ValueError(
            errors.message("A + B", f"two Jacobians of shape {A.shape}", f"B of shape {B.shape}")
        )
    if isinstance(A, _LAZY) or isinstance(B, _LAZY):
        both = (J.terms if isinstance(J, Sum) else (J,) for J in (A, B))
        return Sum(tuple(term for terms in both for term in terms))
    match A, B:
        case ((Identity() | Scaled() | Diagonal()), (Identity() | Scaled() | Diagonal())):
            return Diagonal(_diagonal(A) + _diagonal(B))
        case ((Identity() | Scaled() | Diagonal()), DiagonalPlusLowRank(d, U, V)):
            return DiagonalPlusLowRank(_diagonal(A) + d, U, V)
        case DiagonalPlusLowRank(), (Identity() | Scaled() | Diagonal()):
            return add(B, A)
        case DiagonalPlusLowRank(), DiagonalPlusLowRank() if planning.keeps_rank(A.rank + B.rank, A.d.size):
            U, V = jnp.concatenate([A.U, B.U], axis=1), jnp.concatenate([A.V, B.V], axis=1)
            return DiagonalPlusLowRank(A.d + B.d, U, V)
        case _:
            return Dense(A.matrix() + B.matrix())


def _diagonal(J: Operator) -> Array:
    match J:
        case Diagonal(d):
            return d
        case Scaled(c, n):
            return jnp.full(n, c)
        case _:
            return jnp.ones(J.shape[0])


@operator.settle.register(Operator)
def settle(J: Operator) -> Operator:
    """A lazy operator as the smallest type that is not; any other as it is.

    A sum keeps a term that passes through fewer than n / 2 units as U V^T, so that a residual block with
    a bottleneck stays DiagonalPlusLowRank.
    """
    match J:
        case Product(factors):
            return settle(product(factors))
        case Sum(terms):
            return reduce(add, [_settle_term(term) for term in terms])
        case Kronecker() | Linear() | Routed() | Recurrent():
            return Dense(J.matrix())
        case _:
            return J


def _settle_term(term: Operator) -> Operator:
    cut = planning.bottleneck(term)
    if cut is None:
        return settle(term)
    assert isinstance(term, Product)
    U, V = product(term.factors[:cut]).matrix(), product(term.factors[cut:]).matrix()
    return DiagonalPlusLowRank(jnp.zeros(U.shape[0], U.dtype), U, V.T)


def product(factors: tuple[Operator, ...], order: planning.Order = "optimal") -> Operator:
    """The product of a chain of operators, multiplied out in an order.

    Args:
        factors: as they are written, the one that acts last first.
        order: ``"reverse"`` ((A B) C), as back-propagation goes; ``"forward"`` (A (B C)); ``"optimal"``
            the bracketing with the fewest FLOPs.

    Raises:
        ValueError: where two neighbours do not meet, or for another order.

    Example: a narrow middle is where the product is cut.
        >>> A, B = Dense(jnp.ones((4, 2))), Dense(jnp.ones((2, 4)))
        >>> product((A, B, A, B)).matrix()[0]
        Array([16., 16., 16., 16.], dtype=float32)
    """
    _assert_operators("product", *arguments.instance("product", "factors", factors, (tuple, list)))
    arguments.option("product", "order", order, ("optimal", "reverse", "forward"))
    planning.check_composes([repr(J) for J in factors], list(factors))
    tree = planning.bracketing([planning.form(J) for J in factors], order)

    def multiplied(tree: planning.Tree) -> Operator:
        return factors[tree] if isinstance(tree, int) else multiply(*map(multiplied, tree))

    return multiplied(tree)
