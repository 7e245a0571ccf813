"""Roots, fixed points, linear solvers and integrators: the derivative of the solution, not of the steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import linear_call

from tests.verify.blind.case import Case, forward_rule, into, normal, rule, spd, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
A, S, B = normal(3, 3) + 4 * np.eye(3), spd(3), normal(3, seed=4)
W = 0.3 * normal(3, 3, seed=6)


def newton(f, x, steps=40):
    return jax.lax.fori_loop(0, steps, lambda i, x: x - f(x) / jax.jvp(f, (x,), (jnp.ones_like(x),))[1], x)


def root_of_cubic(tangent):
    def solve(c):
        return jax.lax.custom_root(lambda x: x**3 + x - c, jnp.ones_like(c), newton, tangent)

    return solve


def fixed_point(w, b):
    return jax.lax.fori_loop(0, 100, lambda i, z: jnp.tanh(w @ z + b), jnp.zeros_like(b))


def conjugate_gradients(steps):
    def solve(matvec, b):
        def step(i, state):
            x, r, p = state
            ap = matvec(p)
            rr = jnp.vdot(r, r)
            alpha = jnp.where(rr > 0, rr / jnp.where(rr > 0, jnp.vdot(p, ap), 1), 0)
            new = r - alpha * ap
            beta = jnp.where(rr > 0, jnp.vdot(new, new) / jnp.where(rr > 0, rr, 1), 0)
            return x + alpha * p, new, new + beta * p

        return jax.lax.fori_loop(0, steps, step, (jnp.zeros_like(b), b, b))[0]

    return solve


def dense_solve(matvec, b):
    return jnp.linalg.solve(jax.jacobian(matvec)(b), b)


def scalar_divide(g, y):
    return y / g(jnp.ones_like(y))


@wrong("factor", uniform(3))
def root_with_a_halved_tangent_solve():
    return root_of_cubic(lambda g, y: 0.5 * scalar_divide(g, y))


@wrong("sign", uniform(3))
def root_with_the_sign_of_the_implicit_theorem_lost():
    solve = root_of_cubic(scalar_divide)
    return rule(lambda c: solve(c), lambda c, ct: -ct / (3 * solve(c) ** 2 + 1))


@wrong("inverse for solve", uniform(3))
def root_multiplied_instead_of_divided():
    return root_of_cubic(lambda g, y: g(y))


@wrong("transpose missing", A, B)
def linear_solve_called_symmetric():
    return lambda a, b: jax.lax.custom_linear_solve(
        lambda x: a @ x, b, dense_solve, transpose_solve=lambda vec_mat, c: jnp.linalg.solve(a, c)
    )


@wrong("identity for the adjoint", A, B)
def linear_solve_whose_adjoint_does_not_solve():
    return lambda a, b: jax.lax.custom_linear_solve(lambda x: a @ x, b, dense_solve, lambda vm, c: c / 4)


@wrong("transpose missing", normal(3))
def linear_call_with_the_same_matrix():
    return lambda x: linear_call(lambda a, x: a @ x, lambda a, ct: a @ ct, jnp.asarray(A, x.dtype), x)


@wrong("scale missing", normal(3))
def linear_call_without_its_scale():
    return lambda x: linear_call(lambda r, x: 3.0 * x, lambda r, ct: ct, (), x)


@wrong("one step", W, B)
def fixed_point_differentiated_through_one_step():
    def backward(w, b, ct):
        z = fixed_point(w, b)
        return jax.vjp(lambda w, b: jnp.tanh(w @ z + b), w, b)[1](ct)

    return rule(fixed_point, backward)


@wrong("transpose missing", W, B)
def fixed_point_adjoint_with_the_untransposed_jacobian():
    def backward(w, b, ct):
        z = fixed_point(w, b)
        j = jax.jacobian(lambda z: jnp.tanh(w @ z + b))(z)
        u = jnp.linalg.solve(jnp.eye(3) - j, ct)
        return jax.vjp(lambda w, b: jnp.tanh(w @ z + b), w, b)[1](u)

    return rule(fixed_point, backward)


@wrong("sign of the jacobian", W, B)
def fixed_point_adjoint_with_a_plus():
    def backward(w, b, ct):
        z = fixed_point(w, b)
        j = jax.jacobian(lambda z: jnp.tanh(w @ z + b))(z)
        u = jnp.linalg.solve((jnp.eye(3) + j).T, ct)
        return jax.vjp(lambda w, b: jnp.tanh(w @ z + b), w, b)[1](u)

    return rule(fixed_point, backward)


@wrong("parameter forgotten", W, B)
def fixed_point_whose_matrix_has_no_gradient():
    def backward(w, b, ct):
        z = fixed_point(w, b)
        j = jax.jacobian(lambda z: jnp.tanh(w @ z + b))(z)
        u = jnp.linalg.solve((jnp.eye(3) - j).T, ct)
        return jnp.zeros_like(w), jax.vjp(lambda b: jnp.tanh(w @ z + b), b)[1](u)[0]

    return rule(fixed_point, backward)


@wrong("final time missing", normal(3), np.array(0.7))
def integrator_without_a_gradient_for_the_time():
    def backward(y, t, ct):
        return ct * jnp.exp(-t), jnp.zeros_like(t)

    return rule(lambda y, t: y * jnp.exp(-t), backward)


@wrong("sign of time", normal(3), np.array(0.7))
def adjoint_integrated_without_turning_time():
    def backward(y, t, ct):
        return ct * jnp.exp(-t), jnp.sum(ct * y * jnp.exp(-t))

    return rule(lambda y, t: y * jnp.exp(-t), backward)


@wrong("sum over the path missing", normal(3), np.array(0.5))
def parameter_gradient_of_the_last_step_only():
    def euler(y, k):
        return jax.lax.fori_loop(0, 10, lambda i, y: y - 0.1 * k * y, y)

    def backward(y, k, ct):
        return ct * (1 - 0.1 * k) ** 10, jnp.sum(-ct * 0.1 * y * (1 - 0.1 * k) ** 9)

    return rule(euler, backward)


@right(uniform(3))
def root_by_custom_root():
    return root_of_cubic(scalar_divide)


@right(uniform(3))
def root_by_bisection_with_the_implicit_theorem():
    def bisect(c):
        def halve(i, ends):
            low, high = ends
            mid = (low + high) / 2
            up = mid**3 + mid < c
            return jnp.where(up, mid, low), jnp.where(up, high, mid)

        return sum(jax.lax.fori_loop(0, 60, halve, (jnp.zeros_like(c), 2 * jnp.ones_like(c)))) / 2

    return rule(bisect, lambda c, ct: ct / (3 * bisect(c) ** 2 + 1))


@right(A, B)
def linear_solve_with_its_transpose():
    return lambda a, b: jax.lax.custom_linear_solve(
        lambda x: a @ x, b, dense_solve, transpose_solve=dense_solve
    )


@right(S, B, true=lambda s, b: jnp.linalg.solve((s + s.T) / 2, b))
def conjugate_gradients_called_symmetric():
    def f(s, b):
        s = (s + s.T) / 2
        return jax.lax.custom_linear_solve(lambda x: s @ x, b, conjugate_gradients(6), symmetric=True)

    return f


@right(S, B, true=lambda s, b: jnp.linalg.solve(s @ s.T, b))
def conjugate_gradients_of_jax():
    def f(s, b):
        return jax.scipy.sparse.linalg.cg(lambda x: s @ (s.T @ x), b, tol=1e-10, maxiter=60)[0]

    return f


@right(spd(12, seed=3), normal(12), rough=2e-2, true=lambda s, b: jnp.linalg.solve((s + s.T) / 2, b))
def conjugate_gradients_stopped_early():  # the adjoint is right to what the stopping left
    def f(s, b):
        s = (s + s.T) / 2
        return jax.lax.custom_linear_solve(lambda x: s @ x, b, conjugate_gradients(6), symmetric=True)

    return f


@right(uniform(3), rough=2e-2, true=lambda c: newton(lambda x: x**3 + x - c, jnp.ones_like(c)))
def root_stopped_after_three_steps():
    def solve(c):
        return jax.lax.custom_root(
            lambda x: x**3 + x - c, jnp.ones_like(c), partial(newton, steps=3), scalar_divide
        )

    return solve


@right(W, B)
def fixed_point_by_the_implicit_theorem():
    def backward(w, b, ct):
        z = fixed_point(w, b)
        j = jax.jacobian(lambda z: jnp.tanh(w @ z + b))(z)
        u = jnp.linalg.solve((jnp.eye(3) - j).T, ct)
        return jax.vjp(lambda w, b: jnp.tanh(w @ z + b), w, b)[1](u)

    return rule(fixed_point, backward)


@right(W, B)
def fixed_point_whose_adjoint_is_iterated():
    def backward(w, b, ct):
        z = fixed_point(w, b)
        _, pull = jax.vjp(lambda z: jnp.tanh(w @ z + b), z)
        u = jax.lax.fori_loop(0, 100, lambda i, u: ct + pull(u)[0], ct)
        return jax.vjp(lambda w, b: jnp.tanh(w @ z + b), w, b)[1](u)

    return rule(fixed_point, backward)


@right(normal(3))
def linear_call_with_its_transpose():
    return lambda x: linear_call(lambda a, x: a @ x, lambda a, ct: a.T @ ct, jnp.asarray(A, x.dtype), x)


@right(uniform(3))  # right in f: the start is a constant, its gradient goes nowhere
def square_root_from_a_start_that_f_does_not_vary():
    def root(a, start):
        return jax.lax.fori_loop(0, 30, lambda i, y: 0.5 * (y + a / y), start)

    f = rule(root, lambda a, start, ct: (ct / (2 * root(a, start)), ct))
    return lambda a: f(a, jnp.ones_like(a))


@right(normal(3), np.array(0.7))
def flow_with_its_time():
    def backward(y, t, ct):
        return ct * jnp.exp(-t), -jnp.sum(ct * y * jnp.exp(-t))

    return rule(lambda y, t: y * jnp.exp(-t), backward)


@right(normal(3), np.array(0.5))
def euler_with_the_closed_sum_over_its_path():
    def euler(y, k):
        return jax.lax.fori_loop(0, 10, lambda i, y: y - 0.1 * k * y, y)

    def backward(y, k, ct):
        return ct * (1 - 0.1 * k) ** 10, -jnp.sum(ct * y) * (1 - 0.1 * k) ** 9

    return rule(euler, backward)


@right(uniform(4), uniform(4, seed=2))
def transport_of_two_masses_by_sinkhorn():
    cost = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0))) / 2

    def potentials(a, b):
        def step(i, fg):
            _, g = fg
            f = jnp.log(a) - jax.nn.logsumexp(g[None, :] - cost, 1)
            return f, jnp.log(b) - jax.nn.logsumexp(f[:, None] - cost, 0)

        return jax.lax.fori_loop(0, 300, step, (jnp.zeros_like(a), jnp.zeros_like(b)))

    def value(a, b):  # the dual value: its gradient is the potentials (envelope theorem)
        a, b = a / jnp.sum(a), b / jnp.sum(b)
        f, g = potentials(a, b)
        return jnp.sum(f * a) + jnp.sum(g * b)

    def backward(a, b, ct):
        p, q = a / jnp.sum(a), b / jnp.sum(b)
        f, g = potentials(p, q)
        return ct * (f - jnp.sum(f * p)) / jnp.sum(a), ct * (g - jnp.sum(g * q)) / jnp.sum(b)

    return rule(value, backward)


@right(np.array([0.1, 0.5, 0.9]))
def inverse_distribution_by_its_density():
    def quantile(p):
        return jax.scipy.special.ndtri(p)

    return forward_rule(quantile, lambda p, dp: dp * jnp.sqrt(2 * jnp.pi) * jnp.exp(quantile(p) ** 2 / 2))
