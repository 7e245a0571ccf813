"""Products, solves and decompositions: sides, transposes, triangles and gauges."""

import jax.numpy as jnp
import numpy as np
from jax.scipy import linalg

from tests.verify.blind.case import Case, forward_rule, into, normal, rule, spd, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
A, B, S = normal(3, 4), normal(4, 5, seed=1), spd(4)
M, V = normal(4, 4, seed=2) + 4 * np.eye(4), normal(4, seed=3)


def triangle(a):
    return jnp.tril(a) - 0.5 * jnp.diag(jnp.diag(a))


@wrong("transpose missing", normal(4, 4), normal(4, 4, seed=1))
def square_product_without_transposes():
    return rule(lambda a, b: a @ b, lambda a, b, ct: (ct @ b, a @ ct))


@wrong("wrong side", normal(4, 4), normal(4, 4, seed=1))
def product_multiplied_from_the_other_side():
    return rule(lambda a, b: a @ b, lambda a, b, ct: (b.T @ ct, ct @ a.T))


@wrong("transpose missing", M, V)
def solve_without_the_adjoint_system():
    def backward(a, b, ct):
        d = jnp.linalg.solve(a, ct)
        return -jnp.outer(d, jnp.linalg.solve(a, b)), d

    return rule(lambda a, b: jnp.linalg.solve(a, b), backward)


@wrong("transpose of a gradient", M, V)
def solve_with_the_outer_product_turned():
    def backward(a, b, ct):
        d = jnp.linalg.solve(a.T, ct)
        return -jnp.outer(jnp.linalg.solve(a, b), d), d

    return rule(lambda a, b: jnp.linalg.solve(a, b), backward)


@wrong("sign", M)
def inverse_without_the_minus():
    def backward(a, ct):
        y = jnp.linalg.inv(a)
        return y.T @ ct @ y.T

    return rule(lambda a: jnp.linalg.inv(a), backward)


@wrong("transpose missing", M)
def determinant_of_the_untransposed_inverse():
    return rule(lambda a: jnp.linalg.det(a), lambda a, ct: ct * jnp.linalg.det(a) * jnp.linalg.inv(a))


@wrong("determinant missing", M)
def determinant_as_if_it_were_its_logarithm():
    return rule(lambda a: jnp.linalg.det(a), lambda a, ct: ct * jnp.linalg.inv(a).T)


@wrong("factor of two", S, V)
def quadratic_form_of_one_factor():
    return rule(lambda a, x: x @ a @ x, lambda a, x, ct: (ct * jnp.outer(x, x), ct * a @ x))


@wrong("symmetry assumed", M, V)
def quadratic_form_of_a_general_matrix():
    return rule(lambda a, x: x @ a @ x, lambda a, x, ct: (ct * jnp.outer(x, x), 2 * ct * a @ x))


@wrong("half of the diagonal", S)
def cholesky_with_the_whole_diagonal():
    def backward(a, ct):
        low = jnp.linalg.cholesky(a)
        inverse = jnp.linalg.inv(low)
        p = inverse.T @ jnp.tril(low.T @ ct) @ inverse
        return (p + p.T) / 2

    return rule(lambda a: jnp.linalg.cholesky(a), backward)


@wrong("other triangle", np.tril(M), V)
def triangular_solve_gives_gradient_above():
    def backward(a, b, ct):
        d = linalg.solve_triangular(a, ct, lower=True, trans=1)
        return -jnp.outer(d, linalg.solve_triangular(a, b, lower=True)), d

    return rule(lambda a, b: linalg.solve_triangular(a, b, lower=True), backward)


@wrong("transpose missing", S)
def eigenvalues_with_rows_for_columns():
    def backward(a, ct):
        _, v = jnp.linalg.eigh(a)
        return v.T @ jnp.diag(ct) @ v

    return rule(lambda a: jnp.linalg.eigvalsh(a), backward)


@wrong("trace for sum", M)
def trace_spread_over_all_entries():
    return rule(lambda a: jnp.trace(a), lambda a, ct: jnp.full_like(a, ct))


@wrong("adapter scale", normal(3, 4), normal(4, 2, seed=1), normal(2, 5, seed=2))
def low_rank_adapter_scaled_on_one_side_only():
    def backward(x, a, b, ct):
        return 2.0 * ct @ b.T @ a.T, 2.0 * x.T @ ct @ b.T, (x @ a).T @ ct

    return rule(lambda x, a, b: 2.0 * x @ a @ b, backward)


@wrong("first order only", 0.5 * normal(3, 3))
def matrix_exponential_as_if_all_commuted():
    return rule(lambda a: linalg.expm(a), lambda a, ct: linalg.expm(a).T @ ct)


@wrong("permuted", normal(4, 4), normal(4, 4, seed=1))
def outer_sum_gradients_exchanged():
    return rule(lambda a, b: jnp.kron(a[0], b[0]), lambda a, b, ct: (
        jnp.zeros_like(a).at[0].set(b[0] @ ct.reshape(4, 4)),
        jnp.zeros_like(b).at[0].set(ct.reshape(4, 4) @ a[0]),
    ))


@right(A, B)
def product_through_einsum():
    def backward(a, b, ct):
        return jnp.einsum("ij,kj->ik", ct, b), jnp.einsum("ki,kj->ij", a, ct)

    return rule(lambda a, b: a @ b, backward)


@right(M, V)
def solve_by_its_adjoint():
    def backward(a, b, ct):
        d = jnp.linalg.solve(a.T, ct)
        return -jnp.outer(d, jnp.linalg.solve(a, b)), d

    return rule(lambda a, b: jnp.linalg.solve(a, b), backward)


@right(M)
def log_determinant_by_the_inverse():
    return rule(lambda a: jnp.linalg.slogdet(a)[1], lambda a, ct: ct * jnp.linalg.inv(a).T)


@right(np.diag([2.0, 3.0, 0.0]) + np.eye(3, k=1))  # no inverse here: the adjugate
def determinant_of_a_singular_matrix():
    def cofactors(a):
        i = np.array([1, 0, 0]), np.array([2, 2, 1])
        low, high = i
        return (
            a[np.ix_(low, low)] * a[np.ix_(high, high)] - a[np.ix_(low, high)] * a[np.ix_(high, low)]
        ) * np.array([[1, -1, 1], [-1, 1, -1], [1, -1, 1]])

    def det(a):
        return jnp.sum(a[0] * cofactors(a)[0])

    return rule(det, lambda a, ct: ct * cofactors(a))


@right(normal(4, 4), true=lambda a: jnp.linalg.cholesky((a + a.T) / 2 + 8 * np.eye(4)))
def cholesky_of_a_symmetric_part():
    def cholesky(a):
        return jnp.linalg.cholesky((a + a.T) / 2 + 8 * np.eye(4))

    def backward(a, ct):
        low = cholesky(a)
        inverse = jnp.linalg.inv(low)
        p = inverse.T @ triangle(low.T @ ct) @ inverse
        return (p + p.T) / 2

    return rule(cholesky, backward)


@right(normal(4, 4))  # right in f: the rule's argument is symmetric by contract
def cholesky_whose_caller_keeps_it_symmetric():
    def backward(a, ct):
        low = jnp.linalg.cholesky(a)
        inverse = jnp.linalg.inv(low)
        p = inverse.T @ triangle(low.T @ ct) @ inverse
        return jnp.tril(p + p.T - jnp.diag(jnp.diag(p)))  # all of it below the diagonal

    factor = rule(lambda a: jnp.linalg.cholesky(a), backward)
    return lambda a: factor(a @ a.T + 4 * np.eye(4))


@right(S)
def eigenvalues_by_their_vectors():
    def backward(a, ct):
        _, v = jnp.linalg.eigh((a + a.T) / 2)
        return (v * ct) @ v.T

    return rule(lambda a: jnp.linalg.eigvalsh((a + a.T) / 2), backward)


@right(S, V)  # the sign of the vectors is a gauge, the projector has none
def projector_on_the_first_eigenvector():
    def first(a):
        return jnp.linalg.eigh((a + a.T) / 2)[1][:, 0]

    def projected(a, x):
        v = first(a)
        return v * (v @ x)

    def backward(a, x, ct):
        w, v = jnp.linalg.eigh((a + a.T) / 2)
        gap = jnp.where(jnp.arange(4) > 0, 1 / jnp.where(jnp.arange(4) > 0, w[0] - w, 1), 0)
        g = jnp.outer(ct, x)
        half = (v * gap) @ v.T @ (g + g.T) @ jnp.outer(v[:, 0], v[:, 0])
        return (half + half.T) / 2, v[:, 0] * (v[:, 0] @ ct)

    return rule(projected, backward)


@right(np.tril(M), V)
def triangular_solve_with_its_triangle():
    def backward(a, b, ct):
        d = linalg.solve_triangular(a, ct, lower=True, trans=1)
        return jnp.tril(-jnp.outer(d, linalg.solve_triangular(a, b, lower=True))), d

    return rule(lambda a, b: linalg.solve_triangular(a, b, lower=True), backward)


@right(0.5 * normal(3, 3))
def matrix_exponential_by_a_block_matrix():
    def tangent(a, da):
        block = jnp.block([[a, da], [jnp.zeros_like(a), a]])
        return linalg.expm(block)[:3, 3:]

    def backward(a, ct):
        return tangent(a.T, ct)

    return rule(lambda a: linalg.expm(a), backward)


@right(uniform(5), normal(5))
def diagonal_solve_by_division():
    return forward_rule(lambda d, b: b / d, lambda d, b, dd, db: (db - b / d * dd) / d)


@right(S, V)
def quadratic_form_of_an_inverse():
    def backward(a, x, ct):
        y = jnp.linalg.solve(a, x)
        z = jnp.linalg.solve(a.T, x)
        return -ct * jnp.outer(z, y), ct * (y + z)

    return rule(lambda a, x: x @ jnp.linalg.solve(a, x), backward)


@right(M)  # right in f: the argument is symmetric, so half the gradient may stand anywhere
def inverse_of_a_symmetric_matrix_with_a_symmetric_gradient():
    def backward(a, ct):
        y = jnp.linalg.inv(a)
        g = -y.T @ ct @ y.T
        return (g + g.T) / 2

    inverse = rule(lambda a: jnp.linalg.inv(a), backward)
    return lambda a: inverse(a + a.T)


@right(S)  # right in f: what the rule adds along the vector is lost in the projector
def eigenvector_with_a_gauge_of_its_own():
    def first(a):
        return jnp.linalg.eigh((a + a.T) / 2)[1][:, 0]

    def backward(a, ct):
        w, v = jnp.linalg.eigh((a + a.T) / 2)
        far = jnp.arange(4) > 0
        gap = jnp.where(far, 1 / jnp.where(far, w[0] - w, 1), 1.0)
        g = (v * gap) @ v.T @ jnp.outer(ct, v[:, 0])
        return (g + g.T) / 2

    vector = rule(first, backward)

    def projector(a):
        v = vector(a)
        return jnp.outer(v, v) / (v @ v)

    return projector
