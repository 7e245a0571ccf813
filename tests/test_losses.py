"""Every loss's delta against jax.grad of its value, its value against NumPy, and its errors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from tests.cases import LEADING, LOSSES, draw_outputs, draw_targets, half
from tests.oracles import assert_close, differences


def assert_delta_holds(case, n, dtype, *, mode="eager"):
    loss, shape = case.loss, (*n, 4)
    f, y = draw_outputs(case.f, shape, dtype), draw_targets(case.y, shape, dtype)

    def both(f):
        return (loss(f, y), loss.delta(f, y)), jax.value_and_grad(loss)(f, y)

    by_hand, by_jax = {"eager": both, "jit": jax.jit(both)}[mode](f)
    assert_close(by_hand, by_jax, dtype)


@pytest.mark.parametrize(("n", "dtype", "mode"), half(LEADING, ("float32", "float64"), ("eager", "jit")))
@pytest.mark.parametrize("case", LOSSES)
def test_delta_equals_jax(case, n, dtype, mode):
    with jax.enable_x64(dtype == "float64"):
        assert_delta_holds(LOSSES[case], n, dtype, mode=mode)


@pytest.mark.parametrize("case", LOSSES)
def test_vmap_gives_each_example_s_own(case, x64):
    """Mapped over examples there is no batch to average over: values and deltas themselves."""
    case = LOSSES[case]
    f, y = draw_outputs(case.f, (5, 4), "float64"), draw_targets(case.y, (5, 4), "float64")
    assert_close(jax.vmap(case.loss)(f, y), case.loss.values(f, y), "float64")
    assert_close(jax.vmap(case.loss.delta)(f, y), case.loss.deltas(f, y), "float64")


@pytest.mark.parametrize("case", LOSSES)
def test_delta_equals_differences(case, x64):
    case = LOSSES[case]
    f, y = draw_outputs(case.f, (2, 4), "float64"), draw_targets(case.y, (2, 4), "float64")
    wanted = differences(lambda f: case.loss(f, y), f)
    assert np.abs(case.loss.delta(f, y) - wanted).max() <= 1e-8 * np.abs(wanted).max()


def in_numpy(name, f, y):
    """The losses as they are on the board, one number at a time."""
    total = 0.0
    for f_n, y_n in zip(f.reshape(-1, f.shape[-1]), y.reshape(-1, f.shape[-1]), strict=True):
        if name == "squared_error":
            total += sum((f_i - y_i) ** 2 for f_i, y_i in zip(f_n, y_n, strict=True)) / 2
        else:
            mu = (
                np.exp(f_n) / np.exp(f_n).sum() if name == "softmax_cross_entropy" else 1 / (1 + np.exp(-f_n))
            )
            total -= sum(y_i * np.log(mu_i) for y_i, mu_i in zip(y_n, mu, strict=True))
            if name == "binary_cross_entropy":
                total -= sum((1 - y_i) * np.log(1 - mu_i) for y_i, mu_i in zip(y_n, mu, strict=True))
    return total


@pytest.mark.parametrize(
    ("name", "targets"),
    [("squared_error", "real"), ("binary_cross_entropy", "binary"), ("softmax_cross_entropy", "simplex")],
)
def test_values_are_the_lecture_s(name, targets, x64):
    loss = getattr(jaxbp, name)
    f, y = draw_outputs("any", (2, 3, 4), "float64"), draw_targets(targets, (2, 3, 4), "float64")
    total = in_numpy(name, np.asarray(f), np.asarray(y))
    assert loss.sum(f, y) == pytest.approx(total, rel=1e-13)
    assert loss(f, y) == pytest.approx(total / 6, rel=1e-13)


def test_labels_and_one_hot_rows_are_the_same():
    f, y = draw_outputs("any", (6, 4), "float32"), draw_targets("label", (6, 4), "float32")
    loss, rows = jaxbp.softmax_cross_entropy, jax.nn.one_hot(y, 4)
    assert loss(f, y) == loss(f, rows)
    assert (loss.delta(f, y) == loss.delta(f, rows)).all()


def test_the_two_forms_of_binary_cross_entropy_agree_through_a_sigmoid(x64):
    a, y = draw_outputs("any", (3, 2), "float64"), draw_targets("binary", (3, 2), "float64")
    f, saved = jaxbp.sigmoid.forward({}, a)
    on_f = jaxbp.binary_cross_entropy_on_probabilities
    assert_close(on_f(f, y), jaxbp.binary_cross_entropy(a, y), "float64")
    delta_a = jaxbp.sigmoid.backward({}, saved, on_f.delta(f, y))[1]
    assert_close(delta_a, jaxbp.binary_cross_entropy.delta(a, y), "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stable_at_logits_of_1e4(dtype):
    with jax.enable_x64(dtype == "float64"):
        f = jnp.asarray([0.0, 1e4], dtype)
        assert jaxbp.softmax_cross_entropy(f, jnp.array(0)) == 1e4
        assert jaxbp.softmax_cross_entropy.delta(f, jnp.array(0)).tolist() == [-1, 1]
        assert jaxbp.binary_cross_entropy(f[1:], jnp.zeros(1, dtype)) == 1e4
        assert jaxbp.binary_cross_entropy.delta(-f, jnp.ones(2, dtype)).tolist() == [-0.5, -1]


def test_masked_logits_cost_nothing():
    f = jnp.array([0.0, -jnp.inf, 0.0])
    for y in (jnp.array(0), jnp.array([1.0, 0.0, 0.0])):
        assert jaxbp.softmax_cross_entropy(f, y) == pytest.approx(np.log(2))
        assert jaxbp.softmax_cross_entropy.delta(f, y).tolist() == [-0.5, 0, 0.5]


def test_a_sure_and_right_probability_has_a_finite_delta():
    f = y = jnp.array([0.0, 1.0])
    loss = jaxbp.binary_cross_entropy_on_probabilities
    assert loss(f, y) == 0
    assert loss.delta(f, y).tolist() == [1, -1]


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_out_of_range_is_never_another_class(label):
    f, y = jnp.zeros((2, 4)), jnp.array([1, label])
    assert jnp.isnan(jaxbp.softmax_cross_entropy.values(f, y)).tolist() == [False, True]
    assert jnp.isnan(jaxbp.softmax_cross_entropy.delta(f, y)).all(-1).tolist() == [False, True]


CE, BCE = jaxbp.softmax_cross_entropy, jaxbp.binary_cross_entropy


@pytest.mark.parametrize(
    ("loss", "f", "y", "error", "says"),
    [
        (jaxbp.squared_error, (3, 1), jnp.zeros(3), ValueError, r"\(3, 1\), got shape \(3,\); add the axis"),
        (BCE, (3, 2), jnp.zeros((3, 1)), ValueError, r"\(3, 2\), got shape \(3, 1\)"),
        (CE, (3, 2), jnp.zeros(3), TypeError, "integer class labels, got .* float32"),
        (CE, (3, 2), jnp.zeros((3, 1), int), ValueError, r"got shape \(3, 1\); drop the axis, y\[..., 0\]"),
        (CE, (3, 2), jnp.zeros(2, int), ValueError, r"labels of shape \(3,\) or rows"),
    ],
)
def test_targets_that_do_not_fit(loss, f, y, error, says):
    with pytest.raises(error, match=says):
        loss(jnp.zeros(f), y)
    with pytest.raises(error, match=says):
        jax.jit(loss.delta)(jnp.zeros(f), y)


def test_label_smoothing_out_of_range():
    with pytest.raises(ValueError, match=r"label_smoothing in \[0, 1\], got 1.5"):
        jaxbp.make_softmax_cross_entropy(1.5)


MUTANTS = {
    "squared_error: factor 2": ("squared_error", lambda f, y: 2 * (f - y)),
    "squared_error: error instead of delta": ("squared_error", lambda f, y: y - f),
    "binary_cross_entropy: f - y": ("binary_cross_entropy", lambda f, y: f - y),
    "on_probabilities: f - y": ("on_probabilities", lambda f, y: f - y),
    "on_probabilities: one term": ("on_probabilities", lambda f, y: -y / f),
    "softmax_cross_entropy: -y / mu": ("softmax_cross_entropy, rows", lambda f, y: -y / jax.nn.softmax(f)),
    "softmax_cross_entropy: mu": ("softmax_cross_entropy, rows", lambda f, y: jax.nn.softmax(f)),
    "softmax over the batch": ("softmax_cross_entropy, rows", lambda f, y: jax.nn.softmax(f, axis=0) - y),
    "smoothing forgotten": ("smoothed, rows", lambda f, y: jax.nn.softmax(f) - y),
    "mean in the rule and in Loss": ("squared_error", lambda f, y: (f - y) / len(f)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MUTANTS)
def test_the_delta_tests_catch(name, dtype):
    case, deltas = MUTANTS[name]
    case = replace(LOSSES[case], loss=replace(LOSSES[case].loss, deltas=deltas))
    with jax.enable_x64(dtype == "float64"), pytest.raises(AssertionError):
        assert_delta_holds(case, (3,), dtype)
