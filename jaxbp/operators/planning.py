"""What products of operators cost, and the order in which a chain of them is cheapest.

A `Form` is an operator without its numbers. `times` says what form the product of two has and what it
costs; it mirrors `algebra.multiply` line by line, and a test holds the two together. The form of a
product does not depend on the bracketing, so that dynamic programming over the segments of a chain
finds the cheapest bracketing exactly.

FLOPs are counted as the XLA compiler counts them, a multiplication and an addition as two.
"""

import math
from functools import reduce
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax

from jaxbp import errors
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

Order = Literal["optimal", "reverse", "forward"]
Tree = int | tuple[Any, Any]
"""A bracketing: the index of a factor, or a pair of bracketings."""


class Cost(NamedTuple):
    """What one product with a vector costs, and what the operator holds."""

    flops: int
    bytes: int


class Form(NamedTuple):
    """An operator without its numbers.

    Args:
        kind: the type, or ``"lazy"`` for those that are first settled, as `algebra` says.
        m: rows.
        n: columns.
        rank: of the low-rank part, r.
        vector: FLOPs of one product with a vector.
        settled: the form that a lazy operator takes when it must.
        settling: the FLOPs of that.
        parts: of a Kronecker product, the forms of A and B.
    """

    kind: Literal["identity", "scaled", "diagonal", "low rank", "dense", "lazy"]
    m: int
    n: int
    vector: int
    rank: int = 0
    settled: Any = None
    settling: int = 0
    parts: tuple[Any, ...] = ()


def dense(m: int, n: int) -> Form:
    """The form of a matrix."""
    return Form("dense", m, n, 2 * m * n)


def low_rank(n: int, r: int) -> Form:
    """The form of diag(d) + U V^T."""
    return Form("low rank", n, n, n * (2 + 4 * r), rank=r)


def form(J: Operator) -> Form:
    """The form of an operator."""
    m, n = J.shape
    match J:
        case Identity():
            return Form("identity", n, n, 0)
        case Scaled():
            return Form("scaled", n, n, n)
        case Diagonal():
            return Form("diagonal", n, n, n)
        case DiagonalPlusLowRank():
            return low_rank(n, J.rank)
        case Dense():
            return dense(m, n)
        case Kronecker(A, B):
            return _kronecker(form(A), form(B))
        case Linear(fn, at):
            vector = _linear_flops(fn, at)
            return Form("lazy", m, n, vector, settled=dense(m, n), settling=min(m, n) * vector)
        case Routed():  # its matrix is written down
            return Form("lazy", m, n, J.flops, settled=dense(m, n), settling=0)
        case Recurrent():
            return Form("lazy", m, n, J.flops, settled=dense(m, n), settling=min(m, n) * J.flops)
        case Sum(terms):
            forms = [form(term) for term in terms]
            vector = sum(f.vector for f in forms) + m * (len(forms) - 1)
            settled, settling = reduce(
                lambda so_far, term: _then(plus(so_far[0], term[0]), so_far[1] + term[1]),
                [settle_term(term) for term in terms],
            )
            return Form("lazy", m, n, vector, settled=settled, settling=settling)
        case Product(factors):
            forms = [form(factor) for factor in factors]
            tree, settling = cheapest(forms)
            settled, more = settle(result(forms, tree))
            vector = sum(f.vector for f in forms)
            return Form("lazy", m, n, vector, settled=settled, settling=settling + more)
    raise TypeError(errors.message("form", "an operator", repr(J)))


def cost(J: Operator) -> Cost:
    """The FLOPs of one J v or delta J, and the bytes that J holds.

    Example: softmax over 1000 classes, against its matrix.
        >>> import jax.numpy as jnp
        >>> mu = jnp.full((1000, 1), 1e-3)
        >>> cost(DiagonalPlusLowRank(mu[:, 0], -mu, mu)), cost(Dense(jnp.zeros((1000, 1000))))
        (Cost(flops=6000, bytes=12000), Cost(flops=2000000, bytes=4000000))
    """
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(J))
    return Cost(form(J).vector, held)


def _then(step: tuple[Form, int], flops: int) -> tuple[Form, int]:
    return step[0], step[1] + flops


def _kronecker(a: Form, b: Form) -> Form:
    m, n = a.m * b.m, a.n * b.n
    vector = a.n * b.vector + b.m * a.vector
    return Form("lazy", m, n, vector, settled=dense(m, n), settling=m * n, parts=(a, b))


def bottleneck(J: Operator) -> int | None:
    """Where to cut a square product into U V^T of a rank below n / 2; None where there is no such cut."""
    m, n = J.shape
    if not isinstance(J, Product) or m != n:
        return None
    rank, cut = min((factor.shape[0], i) for i, factor in enumerate(J.factors))
    return cut if keeps_rank(rank, n) else None


def keeps_rank(rank: int, n: int) -> bool:
    """Whether diag(d) + U V^T of this rank is smaller than the matrix."""
    return 2 * rank < n


def settle_term(term: Operator) -> tuple[Form, int]:
    """The form of a term of a sum once it must be added, and the FLOPs."""
    cut = bottleneck(term)
    if cut is None:
        return settle(form(term))
    assert isinstance(term, Product)
    U, V = form(Product(term.factors[:cut])), form(Product(term.factors[cut:]))
    return low_rank(U.m, V.m), U.settling + V.settling


def settle(a: Form) -> tuple[Form, int]:
    """What a lazy form becomes, and the FLOPs of that."""
    return (a.settled, a.settling) if a.kind == "lazy" else (a, 0)


_DIAGONAL = ("identity", "scaled", "diagonal")


def plus(a: Form, b: Form) -> tuple[Form, int]:
    """The form of A + B for settled forms, and its FLOPs; mirrors `algebra.add`."""
    n = a.n
    if a.kind in _DIAGONAL and b.kind in _DIAGONAL:
        return Form("diagonal", n, n, n), n
    if "dense" not in (a.kind, b.kind) and (keeps_rank(a.rank + b.rank, n) or not (a.rank and b.rank)):
        return low_rank(n, a.rank + b.rank), n
    dense_forming = sum(f.n**2 * (2 * f.rank + 1) for f in (a, b) if f.kind == "low rank")
    return dense(a.m, n), a.m * n + dense_forming


def times(a: Form, b: Form) -> tuple[Form, int]:
    """The form of A B, and its FLOPs; mirrors `algebra.multiply`."""
    n = a.n
    match a.kind, b.kind:
        case ("identity", _):
            return b, 0
        case (_, "identity"):
            return a, 0
        case ("lazy", "lazy") if _conform(a, b):
            (A, A_flops), (B, B_flops) = (times(x, y) for x, y in zip(a.parts, b.parts, strict=True))
            return _kronecker(A, B), A_flops + B_flops
        case ("dense", "lazy") | ("lazy", "dense"):
            directly = (dense(a.m, b.n), a.m * b.vector if a.kind == "dense" else b.n * a.vector)
            return directly if applies(a, b) else _settled_times(a, b)
        case ("lazy", _) | (_, "lazy"):
            return _settled_times(a, b)
        case ("scaled", "scaled"):
            return a, 1
        case ("scaled" | "diagonal", "scaled" | "diagonal"):
            return Form("diagonal", n, n, n), n
        case ("scaled" | "diagonal", "low rank") | ("low rank", "scaled" | "diagonal"):
            return low_rank(n, a.rank + b.rank), n * (1 + a.rank + b.rank)
        case ("low rank", "low rank") if keeps_rank(a.rank + b.rank, n):
            return low_rank(n, a.rank + b.rank), n + b.rank * a.vector + n * a.rank
        case ("low rank", "low rank"):
            return dense(n, n), n**2 * (2 * b.rank + 1) + n * a.vector
        case ("dense", _):
            return dense(a.m, b.n), a.m * b.vector
        case _:
            return dense(a.m, b.n), b.n * a.vector


def _conform(a: Form, b: Form) -> bool:
    return bool(a.parts and b.parts) and a.parts[0].n == b.parts[0].m


def _settled_times(a: Form, b: Form) -> tuple[Form, int]:
    (A, A_flops), (B, B_flops) = settle(a), settle(b)
    product, flops = times(A, B)
    return product, flops + A_flops + B_flops


def applies(a: Form, b: Form) -> bool:
    """Of a dense and a lazy form, whether to apply the lazy one vector by vector rather than settle it."""
    vectors = a.m * b.vector if a.kind == "dense" else b.n * a.vector
    return vectors <= _settled_times(a, b)[1]


def cheapest(forms: list[Form]) -> tuple[Tree, int]:
    """The bracketing of the product of forms with the fewest FLOPs, and these; O(k^3) for k factors.

    Source: the matrix chain algorithm, Cormen et al., over structured costs.
    """
    k = len(forms)
    best: dict[tuple[int, int], tuple[int, Tree, Form]] = {(i, i): (0, i, forms[i]) for i in range(k)}
    for length in range(2, k + 1):
        for i in range(k - length + 1):
            j = i + length - 1
            options = []
            # Of equally cheap ones the nearest to reverse: its results come out row by row, ready to use.
            for s in reversed(range(i, j)):
                (left_flops, left, a), (right_flops, right, b) = best[i, s], best[s + 1, j]
                product, flops = times(a, b)
                options.append((left_flops + right_flops + flops, (left, right), product))
            best[i, j] = min(options, key=lambda option: option[0])
    flops, tree, _ = best[0, k - 1]
    return tree, flops


def bracketing(forms: list[Form], order: Order) -> Tree:
    """The bracketing of an order: reverse is ((A B) C), forward is (A (B C)), optimal the cheapest."""
    if order not in ("optimal", "reverse", "forward"):
        expected = 'order to be "optimal", "reverse" or "forward"'
        raise ValueError(errors.message("the product of a chain", expected, repr(order)))
    k = len(forms)
    if order == "optimal":
        return cheapest(forms)[0]
    if order == "reverse":
        return reduce(lambda left, i: (left, i), range(1, k), 0)  # type: ignore[return-value,arg-type]
    return reduce(lambda right, i: (i, right), range(k - 2, -1, -1), k - 1)  # type: ignore[return-value,arg-type]


def result(forms: list[Form], tree: Tree) -> Form:
    """The form of the product in this bracketing."""
    return evaluate(forms, tree)[0]


def evaluate(forms: list[Form], tree: Tree) -> tuple[Form, int]:
    """The form of the product in this bracketing, and its FLOPs."""
    if isinstance(tree, int):
        return forms[tree], 0
    (a, a_flops), (b, b_flops) = (evaluate(forms, side) for side in tree)
    product, flops = times(a, b)
    return product, flops + a_flops + b_flops


def check_composes(names: list[str], factors: list[Operator]) -> None:
    """Each factor's input is the next one's output."""
    for (left, A), (right, B) in pairwise(zip(names, factors, strict=True)):
        if A.shape[1] != B.shape[0]:
            expected = f"{left} of shape {A.shape} to meet a factor of {A.shape[1]} rows"
            raise ValueError(
                errors.message("a product of Jacobians", expected, f"{right} of shape {B.shape}")
            )


def _linear_flops(fn: Any, at: Any) -> int:
    """The FLOPs of J_fn(at) v, from the jaxpr of the linearised function."""
    zeros = jax.eval_shape(lambda: jax.numpy.zeros(at.shape, at.dtype))
    push = jax.make_jaxpr(lambda at, v: jax.jvp(fn, (at,), (v,))[1])(at, zeros)
    primal = jax.make_jaxpr(fn)(at)
    return max(_jaxpr_flops(push.jaxpr) - _jaxpr_flops(primal.jaxpr), at.size)


def _jaxpr_flops(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        inner = [p for p in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_jaxpr) if _is_jaxpr(p)]
        size = sum(math.prod(var.aval.shape) for var in eqn.outvars)
        if inner:
            total += eqn.params.get("length", 1) * sum(_jaxpr_flops(getattr(p, "jaxpr", p)) for p in inner)
        elif eqn.primitive.name == "dot_general":
            contracted = eqn.params["dimension_numbers"][0][0]
            total += 2 * size * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            kernel, numbers = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"]
            total += 2 * size * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
        else:
            total += size
    return total


def _is_jaxpr(p: Any) -> bool:
    return hasattr(p, "eqns")
