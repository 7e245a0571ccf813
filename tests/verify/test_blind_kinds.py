"""Kinds that the blind set showed: cousins of its cases that it does not hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbp.verify import check
from jaxbp.verify.causes import mistakes

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


def test_an_output_sent_back_the_way_of_another_is_swapped():
    """A sum and its tanh: both cotangents are added before the slope."""

    def both(x, y):
        return x + y, jnp.tanh(x + y)

    def back(a, y, c):
        slope = (c[0] + c[1]) * (1 - y[1] ** 2)
        return slope, slope

    for found in check(rule(both, back), *normal((3, 4), (3, 4))(np.float32)).wrong:
        assert (found.cause, "output 0 goes back as one of output 1" in found.sentence) == ("swapped", True)


def test_two_means_over_the_wrong_number_of_entries():
    """A group norm that divides both means, backwards, by the number of channels."""

    def norm(x):
        return (x - x.mean((1, 2), keepdims=True)) * jax.lax.rsqrt(x.var((1, 2), keepdims=True) + 1e-5)

    def back(a, y, c):
        s = jax.lax.rsqrt(a[0].var((1, 2), keepdims=True) + 1e-5)
        of_c, of_cy = (jnp.sum(m, (1, 2), keepdims=True) / 3 for m in (c, c * y))
        return (s * (c - of_c - y * of_cy),)

    (found,) = check(rule(norm, back), *normal((2, 3, 5))(np.float32)).wrong
    assert (found.cause, "taken 5 times, and so is another" in found.sentence) == ("factor", True), found


def test_a_tile_that_is_not_reached_is_a_missing_sum():
    def scaled(x, gain):
        return jnp.sum(jnp.tanh(x * gain[None]) ** 2)

    def back(a, y, c):
        t = jnp.tanh(a[0] * a[1][None])
        slope = c * 2 * t * (1 - t**2)
        return slope * a[1][None], jnp.sum((slope * a[0])[:-2], 0)

    (found,) = check(rule(scaled, back), *normal((8, 3), (3,))(np.float32)).wrong
    assert (found.cause, "slices 6 to 7 of 8 along axis 0" in found.sentence) == ("missing_sum", True), found


def test_rows_that_are_equal_are_in_another_order():
    """An output that is read twice gives two rows the same; the rule gives them to the wrong ones."""
    ids = jnp.array([0, 2, 1, 0, 1])
    f = rule(
        lambda x: jax.ops.segment_sum(x, ids, 3, indices_are_sorted=False),
        lambda a, y, c: (c[jnp.sort(ids)],),
    )
    (found,) = check(f, *normal((5, 2))(np.float32)).wrong
    assert (found.cause, "another order" in found.sentence) == ("misplaced", True), found


@pytest.mark.soak
def test_a_product_with_a_wrong_cotangent_has_its_mistake():
    """A recurrence by the decay of the wrong step: its cotangent is times that of the inputs."""

    def run(a, x):
        return jax.lax.scan(lambda h, ax: (ax[0] * h + ax[1],) * 2, 0 * x[0], (a, x))[1]

    def back(saved, h, c):
        before = jnp.concatenate([0 * h[:1], h[:-1]])
        d = jax.lax.scan(lambda d, ac: (ac[0] * d + ac[1],) * 2, 0 * c[0], (saved[0], c), reverse=True)[1]
        return d * before, d

    found = check(rule(run, back), *normal((6, 3), (6, 3), scale=0.5)(np.float32)).wrong
    assert [f.cause for f in found] == ["misplaced", "misplaced"], found
    assert any("a product with the cotangent" in f.sentence for f in found)


def test_a_derivative_at_minus_the_argument_is_at_the_wrong_point():
    f = rule(lambda x: jax.nn.softplus(x), lambda a, y, c: (c * jax.nn.sigmoid(-a[0]),))
    (found,) = check(f, *normal((5,))(np.float32)).wrong
    assert (found.cause, "minus argument 0" in found.sentence) == ("wrong_point", True), found


def test_a_step_that_matters_elsewhere_only_is_not_what_is_left_out(monkeypatch):
    """At ones the rule of the weights is 0, as without the product; at other numbers it is not."""
    alone = tuple(m for m in mistakes.MISTAKES if m.name == "without a step")
    monkeypatch.setattr(mistakes, "MISTAKES", alone)
    monkeypatch.setattr(mistakes, "_terms", lambda *args: {})

    def back(a, y, c):
        return c * a[1] * (jnp.abs(a[0]) < 0.9), c * a[0] * (jnp.abs(a[0]) < 0.9)

    f = rule(lambda x, w: jnp.clip(x, -0.9, 0.9) * w, back)
    said = [found.sentence for found in check(f, np.ones(5, np.float32), np.ones(5, np.float32)).wrong]
    assert said
    assert not any("without its mul" in sentence for sentence in said), said
