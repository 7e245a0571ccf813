"""Every operator and every product of operators against the same on plain matrices."""

import itertools
from functools import reduce

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax.tree_util import Partial

from jaxbp.operators import (
    Dense,
    Diagonal,
    DiagonalPlusLowRank,
    Identity,
    Kronecker,
    Linear,
    Product,
    Recurrent,
    Routed,
    Scaled,
    Sum,
    add,
    algebra,
    compose,
    cost,
    planning,
    product,
    settle,
)


def normal(rng, *shape):
    return jnp.asarray(rng.normal(size=shape))


def _tanh_of(W, x):
    return jnp.tanh(W @ x)


SIZES = (1, 3, 6)  # few, so that compiled operations are found again; 6 holds a low rank of 1 and of 2


def make(kind, m, n, rng):
    """An operator of a kind, m by n; a square kind where m != n becomes a matrix."""
    match kind:
        case "identity" if m == n:
            return Identity(n)
        case "scaled" if m == n:
            return Scaled(normal(rng), n)
        case "diagonal" if m == n:
            return Diagonal(normal(rng, n))
        case "rank 1" | "rank 2" if m == n:
            return DiagonalPlusLowRank(normal(rng, n), *(normal(rng, n, int(kind[-1])) for _ in range(2)))
        case "kronecker" if m % 3 == 0 and n % 3 == 0:
            return Kronecker(Diagonal(normal(rng, 3)), Dense(normal(rng, m // 3, n // 3)))
        case "routed" if m % 3 == 0 and n % 3 == 0:
            at = jnp.asarray(rng.integers(0, 4, (2, 3)))  # 3 stands for the padding
            return Routed(at, normal(rng, 2, 1, m // 3, n // 3), 3)
        case "recurrent" if m % 3 == 0 and n % 3 == 0:
            h = m // 3  # three places, two gates, a state of two parts
            W, R = normal(rng, 2 * h, n // 3), normal(rng, 2 * h, h)
            return Recurrent(W, R, *(normal(rng, 3, 2, 2, h) for _ in range(3)))
        case "linear":
            return Linear(Partial(_tanh_of, normal(rng, m, n)), normal(rng, n))
        case "sum":
            skip = Identity(n) if m == n else Dense(normal(rng, m, n))
            return Sum((skip, Product((Dense(normal(rng, m, 1)), Dense(normal(rng, 1, n))))))
        case "product":
            return Product((Dense(normal(rng, m, 3)), Diagonal(normal(rng, 3)), Dense(normal(rng, 3, n))))
        case "transposed":
            return Linear(Partial(_tanh_of, normal(rng, n, m)), normal(rng, m)).T
        case _:
            return Dense(normal(rng, m, n))


KINDS = ["identity", "scaled", "diagonal", "rank 1", "rank 2", "dense", "linear", "transposed", "kronecker"]
KINDS += ["sum", "product", "routed", "recurrent"]


def numbers(J):
    """The matrix, column by column from push: the definition of what J means."""
    return np.stack([np.asarray(J.push(e)) for e in jnp.eye(J.shape[1])], axis=1)


def close(result, reference):
    np.testing.assert_allclose(result, reference, rtol=0, atol=1e-12 * max(1, np.abs(reference).max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "n"), [(6, 6), (3, 6)])
def test_each_operator_is_its_matrix_from_both_sides(kind, m, n, x64):
    rng = np.random.default_rng(0)
    J = make(kind, m, n, rng)
    M = numbers(J)
    v, V, delta, rows = (normal(rng, *shape) for shape in ((n,), (n, 2), (m,), (2, m)))
    assert J.shape == M.shape == (m, n)
    close(J.matrix(), M)
    close(settle(J).matrix(), M)
    close(J.T.matrix(), M.T)
    close(J @ v, M @ v)
    close(J @ V, M @ V)
    close(delta @ J, delta @ M)
    close(rows @ J, rows @ M)
    close(np.asarray(delta) @ J, delta @ M)
    close((J + Dense(jnp.asarray(M))).matrix(), 2 * M)


@pytest.mark.parametrize("kind", KINDS)
def test_operators_pass_through_jit_and_vmap(kind, x64):
    rng = np.random.default_rng(0)
    J = make(kind, 6, 6, rng)
    v = normal(rng, 6)
    close(jax.jit(lambda J, v: J @ v)(J, v), J @ v)
    close(jax.jit(lambda J: J.T)(J).matrix(), J.matrix().T)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), J)
    if jax.tree.leaves(J):
        close(jax.vmap(lambda J: J.matrix())(batch)[0], J.matrix())


@pytest.mark.parametrize(("left", "right"), list(itertools.product(KINDS, KINDS)))
def test_products_and_sums_of_two(left, right, x64):
    rng = np.random.default_rng(1)
    A, B = make(left, 6, 6, rng), make(right, 6, 6, rng)
    multiplied = algebra.multiply(A, B)
    close(multiplied.matrix(), A.matrix() @ B.matrix())
    close(compose(A, B).matrix(), A.matrix() @ B.matrix())
    close(add(A, B).matrix(), A.matrix() + B.matrix())
    # The plan's table says what the product is.
    planned, _ = planning.times(planning.form(A), planning.form(B))
    assert planned == planning.form(multiplied)


def test_structure_is_kept():
    rng = np.random.default_rng(0)
    D, S, W, low = (make(kind, 6, 6, rng) for kind in ("diagonal", "scaled", "dense", "rank 1"))
    block = Sum((Identity(6), Product((Dense(normal(rng, 6, 2)), Dense(normal(rng, 2, 6))))))
    kept = {
        (D, D): Diagonal,
        (S, S): Scaled,
        (S, D): Diagonal,
        (D, low): DiagonalPlusLowRank,
        (low, low): DiagonalPlusLowRank,
        (D, W): Dense,
        (D, block): DiagonalPlusLowRank,
        (make("kronecker", 6, 6, rng),) * 2: Kronecker,
    }
    for (A, B), expected in kept.items():
        assert type(algebra.multiply(A, B)) is expected, (A, B)
    assert algebra.multiply(low, low).rank == 2
    assert settle(block).rank == 2
    assert type(algebra.multiply(algebra.multiply(low, low), low)) is Dense  # rank 3 of 6 saves nothing
    assert Identity(6) @ W is W


chains = st.tuples(
    st.lists(st.sampled_from(KINDS), min_size=2, max_size=6),
    st.lists(st.sampled_from(SIZES), min_size=7, max_size=7),
    st.sampled_from(["optimal", "reverse", "forward"]),
    st.integers(0, 2**16),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(chains)
def test_random_compositions(drawn):
    assert_composition(*drawn)


@pytest.mark.soak
@settings(max_examples=500, deadline=None, derandomize=True)
@given(chains)
def test_500_random_compositions(drawn):
    assert_composition(*drawn)


def assert_composition(kinds, sizes, order, seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        factors = tuple(make(kind, m, n, rng) for kind, m, n in zip(kinds, sizes, sizes[1:], strict=False))
        reference = reduce(np.matmul, [np.asarray(J.matrix()) for J in factors])
        scale = np.prod([max(1, np.linalg.norm(J.matrix())) for J in factors])
        whole = product(factors, order)
        np.testing.assert_allclose(whole.matrix(), reference, rtol=0, atol=1e-12 * scale)
        delta = normal(rng, sizes[0])
        np.testing.assert_allclose(Product(factors).pull(delta), delta @ reference, atol=1e-12 * scale)


def all_bracketings(i, j):
    """Every way to multiply factors i..j."""
    if i == j:
        yield i
    for s in range(i, j):
        yield from itertools.product(all_bracketings(i, s), all_bracketings(s + 1, j))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=8),
    st.lists(st.sampled_from([1, 2, 3, 6, 12, 30]), min_size=9, max_size=9),
)
def test_the_plan_is_the_cheapest_of_all_bracketings(kinds, sizes):
    rng = np.random.default_rng(0)
    forms = [
        planning.form(make(kind, m, n, rng)) for kind, m, n in zip(kinds, sizes, sizes[1:], strict=False)
    ]
    # A product's form does not depend on the bracketing: what makes dynamic programming exact.
    results = {planning.evaluate(forms, tree) for tree in all_bracketings(0, len(forms) - 1)}
    tree, flops = planning.cheapest(forms)
    assert len({(form.kind, form.m, form.n, form.rank) for form, _ in results}) == 1
    assert flops == min(flops for _, flops in results)
    assert planning.evaluate(forms, tree)[1] == flops
    for order in ("reverse", "forward"):
        assert flops <= planning.evaluate(forms, planning.bracketing(forms, order))[1]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("dense", "dense"),
        ("diagonal", "dense"),
        ("rank 1", "dense"),
        ("dense", "rank 2"),
        ("rank 1", "rank 1"),
    ],
)
def test_the_planned_flops_are_the_compilers(left, right):
    rng = np.random.default_rng(0)
    A, B = make(left, 60, 60, rng), make(right, 60, 60, rng)
    compiled = jax.jit(lambda A, B: jax.tree.leaves(algebra.multiply(A, B))).lower(A, B).compile()
    planned = planning.times(planning.form(A), planning.form(B))[1]
    assert 0.8 < compiled.cost_analysis()["flops"] / planned < 1.25


def test_cost():
    assert cost(Identity(100)) == (0, 0)
    assert cost(Dense(jnp.ones((10, 20), jnp.float32))) == (400, 800)
    assert cost(Linear(Partial(_tanh_of, jnp.ones((10, 20))), jnp.ones(20))).flops == pytest.approx(
        400, rel=0.1
    )
    scanned = Linear(
        lambda x: jax.lax.scan(lambda h, _: (jnp.ones((9, 9)) @ h, None), x, length=5)[0], jnp.ones(9)
    )
    assert cost(scanned).flops == pytest.approx(5 * 162, rel=0.2)


def test_bad_use():
    A, B = Dense(jnp.ones((2, 3))), Dense(jnp.ones((4, 2)))
    with pytest.raises(
        ValueError, match=r"Dense\(2, 3\) of shape \(2, 3\) to meet a factor of 3 rows, got Dense\(4, 2\)"
    ):
        A @ B
    with pytest.raises(ValueError, match="v with one or two axes, the first of 3, got shape"):
        A @ jnp.ones(2)
    with pytest.raises(ValueError, match="delta with one or two axes, the last of 2, got shape"):
        jnp.ones(3) @ A
    with pytest.raises(ValueError, match=r"two Jacobians of shape \(2, 3\), got B of shape \(4, 2\)"):
        A + B
    with pytest.raises(ValueError, match="order 'optimal', 'reverse' or 'forward'"):
        product((A,), "sideways")


def broken_low_rank(A, B):
    return DiagonalPlusLowRank(A.d * B.d, A.push(B.U), B.V)  # forgets U (D' V)^T


def broken_transpose(self):
    return DiagonalPlusLowRank(self.d, self.U, self.V)


def broken_pull(self, M):
    return self.push(M.T).T


MUTANTS = {
    "forgotten low-rank term": (algebra, "multiply", broken_low_rank, ("rank 1", "rank 1")),
    "low rank not transposed": (DiagonalPlusLowRank, "T", property(broken_transpose), ("rank 1",)),
    "dense pulled as pushed": (Dense, "pull", broken_pull, ("dense",)),
    "residual without its skip": (Sum, "push", lambda self, V: self.terms[1].push(V), ("sum",)),
    "product in the wrong order": (
        Product,
        "push",
        lambda self, V: reduce(lambda V, J: J.push(V), self.factors, V),
        ("product",),
    ),
    "two taps of one place not added": (
        Routed,
        "pull",
        lambda self, M: jnp.stack([row @ self.T.matrix() for row in jnp.atleast_2d(M)]).reshape(-1)[:6],
        ("routed",),
    ),
    "the state forgotten from place to place": (
        Recurrent,
        "push",
        lambda self, V: Recurrent(self.W, self.R, self.by_u, self.by_q, 0 * self.by_s).pull(
            jnp.eye(self.shape[0])
        )
        @ V,
        ("recurrent",),
    ),
    "Kronecker swapped": (
        Kronecker,
        "matrix",
        lambda self: jnp.kron(self.B.matrix(), self.A.matrix()),
        ("kronecker",),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_rule_is_caught(mutant, x64, monkeypatch):
    owner, name, rule, kinds = MUTANTS[mutant]
    monkeypatch.setattr(owner, name, rule)
    if len(kinds) == 2:
        with pytest.raises((AssertionError, TypeError)):
            test_products_and_sums_of_two(*kinds, None)
    else:
        with pytest.raises((AssertionError, TypeError)):
            test_each_operator_is_its_matrix_from_both_sides(*kinds, 6, 6, None)
