"""Kinds that the blind set showed: cousins of its cases that it does not hold."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.verify import check

from .case import normal, rule


def weights(c):
    return jnp.arange(1.0, 4.0, dtype=c.dtype)


def test_a_solver_of_a_few_steps_is_judged_at_its_limit():
    """Differences of what stops early are no reference; a wrong adjoint is still found."""

    def richardson(matvec, b):
        return jax.lax.fori_loop(0, 6, lambda i, x: x + b - matvec(x), b)

    def solve(scale):
        def f(a):
            b = jnp.array([0.3, -1.0, 2.0], a.dtype)
            return jax.lax.custom_linear_solve(
                lambda x: a @ x, b, richardson, lambda vec_mat, c: scale * richardson(vec_mat, c)
            )

        return f

    a = jnp.array([[1.3, 0.1, 0.0], [-0.1, 0.8, 0.1], [0.0, 0.2, 1.2]])
    assert check(solve(1.0), a).ok
    assert not check(solve(1.1), a).ok


def test_entries_in_another_layout_are_misplaced():
    f = rule(lambda x: x.T * 2, lambda a, y, c: (2 * c.reshape(a[0].shape),))
    (found,) = check(f, *normal((3, 4))(np.float32)).wrong
    assert (found.cause, "read as one row" in found.sentence) == ("misplaced", True), found


def test_a_cotangent_summed_before_the_rule_is_an_extra_sum():
    f = rule(lambda x: jnp.sin(x), lambda a, y, c: (jnp.mean(c, 1, keepdims=True) * jnp.cos(a[0]),))
    (found,) = check(f, *normal((3, 4))(np.float32)).wrong
    assert (found.cause, "averaged over axis 1" in found.sentence) == ("extra_sum", True), found


def test_a_sum_of_all_entries_given_to_each_is_an_extra_sum():
    f = rule(lambda x: x * weights(x), lambda a, y, c: (jnp.full_like(a[0], jnp.sum(c * weights(c))),))
    (found,) = check(f, *normal((3,))(np.float32)).wrong
    assert (found.cause, "every entry" in found.sentence) == ("extra_sum", True), found
