"""The two units against NumPy loops, jax.grad, closed forms, a published trace and Novikoff's bound."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbp.units import (
    Unit,
    fit_linear_unit,
    fit_perceptron,
    linear_unit_error,
    linear_unit_step,
    margin,
    novikoff_bound,
    perceptron,
    perceptron_step,
)
from jaxbp.units.perceptron_rule import _cancel_exactly

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
OR, XOR = np.array([-1.0, 1.0, 1.0, 1.0]), np.array([-1.0, 1.0, 1.0, -1.0])
ROWS = [(), (3,), (2, 3)]


def sign(a):
    return 1.0 if a > 0 else -1.0


def reference_fit(output, x, t, eta, epochs, batch_size):
    """The delta rule in plain loops: the weights and the mistakes after every epoch."""
    w, w_0, path, mistakes = np.zeros(x.shape[1]), 0.0, [], []
    for _ in range(epochs):
        wrong = 0
        for start in range(0, len(x), batch_size):
            move, move_0 = np.zeros_like(w), 0.0
            for row, target in zip(x[start : start + batch_size], t[start : start + batch_size], strict=True):
                miss = target - output(sum(w[i] * row[i] for i in range(len(w))) + w_0)
                wrong += miss != 0
                move, move_0 = move + miss * row, move_0 + miss
            w, w_0 = w + eta * move, w_0 + eta * move_0
        path.append(np.append(w, w_0))
        mistakes.append(wrong)
    return np.array(path), np.array(mistakes)


def drawn(rng, n, dtype):
    unit = Unit(jnp.asarray(rng.normal(size=4), dtype), jnp.asarray(rng.normal(), dtype))
    return unit, jnp.asarray(rng.normal(size=(*n, 4)), dtype), rng


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", ROWS)
def test_steps_equal_the_rule_written_as_a_loop(x64, n, dtype, compile_):
    unit, x, rng = drawn(np.random.default_rng(0), n, dtype)
    w, rows = np.asarray(unit.w, np.float64), np.asarray(x, np.float64).reshape(-1, 4)
    for step, output in ((perceptron_step, sign), (linear_unit_step, float)):
        t = rng.choice([-1.0, 1.0], size=n).astype(dtype)
        miss = [
            target - output(row @ w + float(unit.w_0)) for row, target in zip(rows, np.ravel(t), strict=True)
        ]
        new = compile_(step)(unit, x, jnp.asarray(t), eta=0.3)
        tolerance = 30 * np.finfo(dtype).eps
        assert new.w.dtype == new.w_0.dtype == dtype
        expected = w + 0.3 * sum(m * row for m, row in zip(miss, rows, strict=True))
        np.testing.assert_allclose(new.w, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(new.w_0, unit.w_0 + 0.3 * sum(miss), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", ROWS)
def test_linear_unit_step_descends_the_gradient_of_plain_E(x64, n):
    unit, x, rng = drawn(np.random.default_rng(1), n, np.float64)
    t = jnp.asarray(rng.normal(size=n))
    plain = jax.grad(lambda u: 0.5 * jnp.sum((t - (jnp.tensordot(x, u.w, 1) + u.w_0)) ** 2))(unit)
    new = linear_unit_step(unit, x, t, eta=0.7)
    np.testing.assert_allclose(unit.w - new.w, 0.7 * plain.w, rtol=1e-12)
    np.testing.assert_allclose(unit.w_0 - new.w_0, 0.7 * plain.w_0, rtol=1e-12)
    by_grad = jax.grad(linear_unit_error)(unit, x, t)
    np.testing.assert_allclose(by_grad.w, plain.w, rtol=1e-12)


def test_exactly_zero_does_not_fire():
    assert float(perceptron(Unit(jnp.zeros(2), jnp.array(0.0)), jnp.ones(2))) == -1


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
def test_fits_equal_plain_loops_with_a_partial_last_batch(x64, batch_size):
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(10, 3)), rng.choice([-1.0, 1.0], size=10)
    path, mistakes = reference_fit(sign, x, t, 0.5, 6, batch_size)
    found = fit_perceptron(x, t, eta=0.5, epochs=6, batch_size=batch_size)
    assert found.mistakes.tolist() == mistakes[: len(found.mistakes)].tolist()
    np.testing.assert_allclose(np.append(found.unit.w, found.unit.w_0), path[-1], rtol=1e-12)

    path, _ = reference_fit(float, x, t, 0.01, 6, batch_size)
    line = fit_linear_unit(x, t, eta=0.01, epochs=6, batch_size=batch_size)
    np.testing.assert_allclose(np.append(line.unit.w, line.unit.w_0), path[-1], rtol=1e-12)
    errors = [0.5 * np.sum((t - x @ p[:-1] - p[-1]) ** 2) for p in [np.zeros(4), *path]]
    np.testing.assert_allclose(line.errors, errors, rtol=1e-12)


def test_cornell_trace_of_or():
    """The trace of http://www.cs.cornell.edu/courses/cs472/2004fa/Materials/perceptron-example.txt.

    Its unit fires at w·x >= 0, has targets 0 and 1, and a bias input of -1. Mirrored, that is the
    lecture's unit exactly: with weights (-w_1, -w_2) and bias w_3, "does not fire at 0" becomes "fires
    only above 0"; targets t become 1 - 2t, whose differences are twice as large, so eta is halved.
    """
    published = [(0, 0, 0.5), (0, 0.5, 0), (0, 0.5, 0), (0, 0.5, 0), (0, 0.5, 0.5), (0, 0.5, 0.5)]
    rest = [(0.5, 0.5, 0), (0.5, 0.5, 0), (0.5, 0.5, 0.5)]  # recomputed in float64
    mirrored = 1 - 2 * np.array([0, 1, 1, 1])
    unit = Unit(jnp.zeros(2), jnp.array(0.0))
    for i, expected in enumerate(published + rest):
        unit = perceptron_step(unit, CORNERS[i % 4], mirrored[i % 4], eta=0.25)
        assert (-float(unit.w[0]), -float(unit.w[1]), float(unit.w_0)) == expected
    found = fit_perceptron(CORNERS, mirrored, eta=0.25)
    assert found.converged
    assert len(found.mistakes) == 4  # the clean epoch included
    assert (-found.unit.w).tolist() == [0.5, 0.5]
    assert float(found.unit.w_0) == 0.5


@pytest.mark.soak
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 12]), st.booleans(), st.floats(0.01, 10))
def test_mistakes_stay_within_novikoffs_bound(seed, batch_size, shuffled, eta):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(12, 2)).astype(np.float32)
    plane = Unit(jnp.asarray(rng.normal(size=2), jnp.float32), jnp.asarray(rng.normal() / 3, jnp.float32))
    t = np.asarray(perceptron(plane, x))
    gamma = margin(plane, x, t)
    key = jax.random.key(seed % 1000) if shuffled else None
    found = fit_perceptron(x, t, eta=eta, epochs=60, batch_size=batch_size, key=key)
    assert found.mistakes.sum() <= batch_size * novikoff_bound(plane, x, t)
    assert found.cancelling is None  # separable data have no proof that they are not
    assert found.margin_bound >= gamma * (1 - 1e-12)
    if found.converged:
        assert (np.asarray(perceptron(found.unit, x)) == t).all()
    else:  # 60 epochs of at least one mistake each
        assert batch_size * novikoff_bound(plane, x, t) > 60


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
@pytest.mark.parametrize("eta", [0.1, 0.5])
def test_xor_is_proved_inseparable(batch_size, eta):
    found = fit_perceptron(CORNERS, XOR, eta=eta, batch_size=batch_size)
    assert not found.converged
    m = found.cancelling
    assert m is not None
    assert m.min() >= 0
    assert m.any()
    assert (m * XOR).sum() == 0
    assert (m * XOR @ CORNERS == 0).all()
    assert found.margin_bound == 0
    assert found.verdict.startswith("not linearly separable: the weights after epoch")


def test_shuffled_xor_is_proved_too(key):
    assert fit_perceptron(CORNERS, XOR, key=key).cancelling is not None


def test_inseparable_without_a_repeat_is_said_with_a_margin(x64):
    x = np.random.default_rng(3).normal(size=(40, 2))
    t = np.where(np.arange(40) % 2, 1.0, -1.0)
    found = fit_perceptron(x, t, epochs=50)
    assert found.cancelling is None
    assert f"no unit separates these data with a margin above {found.margin_bound:.3g}" in found.verdict
    assert 0 < found.margin_bound < 0.1


def test_the_proof_tolerates_no_rounding():
    assert _cancel_exactly(np.array([1, 2]), np.array([[2.0, -1.0], [-1.0, 0.5]]))
    assert not _cancel_exactly(np.array([1, 1, 1]), np.array([[1e16], [1.0], [-1e16]]))
    # 3 * 0.1 rounds to 0.30000000000000004, the value subtracted here, but is not equal to it.
    assert not _cancel_exactly(np.array([3, 1]), np.array([[0.1], [-(3 * 0.1)]]))
    assert not _cancel_exactly(np.array([0, 0]), np.ones((2, 1)))


def test_margin_refuses_what_has_none():
    unit = Unit(jnp.array([1.0, 0.0]), jnp.array(0.0))
    with pytest.raises(ValueError, match=r"t of shape \(4,\), got .* and t \(4, 1\)"):
        margin(unit, CORNERS, OR[:, None])
    with pytest.raises(ValueError, match=r"not all zeros .* got \|\(w_0, w\)\| = 0 and"):
        margin(Unit(jnp.zeros(2), jnp.array(0.0)), CORNERS, OR)


def test_novikoff_needs_a_separating_unit():
    with pytest.raises(ValueError, match="novikoff_bound: expected a unit that separates the data"):
        novikoff_bound(Unit(jnp.array([1.0, 0.0]), jnp.array(0.0)), CORNERS, OR)


@pytest.mark.parametrize("batch_size", [None, 4, 1])
def test_linear_unit_reaches_least_squares(x64, batch_size):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(10, 2))
    t = x @ [2.0, -1.0] + 0.5 + (0.1 * rng.normal(size=10) if batch_size is None else 0)
    best = np.linalg.lstsq(np.column_stack([x, np.ones(10)]), t, rcond=None)[0]
    found = fit_linear_unit(x, t, eta=0.08, epochs=400, batch_size=batch_size)
    np.testing.assert_allclose(np.append(found.unit.w, found.unit.w_0), best, rtol=1e-9)
    assert not found.diverged


@pytest.mark.parametrize("n", [6, 2])  # more and fewer examples than weights
def test_batch_form_diverges_exactly_above_its_bound(x64, n):
    rng = np.random.default_rng(5)
    x, t = rng.normal(size=(n, 3)), rng.normal(size=n)
    bound = fit_linear_unit(x, t, eta=1e-3, epochs=1).eta_bound
    below = fit_linear_unit(x, t, eta=0.99 * bound, epochs=400)
    above = fit_linear_unit(x, t, eta=1.01 * bound, epochs=400)
    assert not below.diverged
    assert (np.diff(below.errors) <= 1e-12).all()
    assert above.diverged
    assert above.errors[-1] > 2 * above.errors[0]
    assert f"not below 2 / lambda_max(X^T X) = {bound:.3g}" in above.verdict


@pytest.mark.parametrize("batch_size", [1, 3])
def test_smaller_batches_stay_stable_below_their_bound(x64, batch_size, key):
    rng = np.random.default_rng(6)
    x, t = rng.normal(size=(9, 2)), rng.normal(size=9)
    bound = fit_linear_unit(x, t, eta=1e-3, epochs=1, batch_size=batch_size).eta_bound
    below = fit_linear_unit(x, t, eta=0.99 * bound, epochs=300, batch_size=batch_size, key=key)
    assert below.errors.max() < 100 * below.errors[0]
    assert fit_linear_unit(x, t, eta=4 * bound, epochs=300, batch_size=batch_size, key=key).diverged


def test_after_a_divergence_the_best_unit_is_returned():
    x, t = np.array([[1.0], [2.0]]), np.array([1.0, 2.0])
    start = Unit(jnp.array([1.0]), jnp.array(0.1))
    found = fit_linear_unit(x, t, eta=5.0, epochs=100, unit=start)
    assert not np.isfinite(found.errors[-1])
    assert found.diverged
    assert "the unit is that of epoch 0" in found.verdict
    np.testing.assert_array_equal(found.unit.w, start.w)


def test_the_key_decides_the_order(key):
    x, t = CORNERS, [0.3, 1.0, -2.0, 0.5]
    first, same, other = (
        fit_linear_unit(x, t, eta=0.1, epochs=5, batch_size=1, key=k) for k in (key, key, jax.random.key(1))
    )
    assert first.errors.tobytes() == same.errors.tobytes()
    assert first.errors.tobytes() != other.errors.tobytes()


def test_results_show_their_verdict():
    for found in (fit_perceptron(CORNERS, XOR), fit_linear_unit(CORNERS, XOR, eta=0.1)):
        assert repr(found) == found.verdict
        assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["w"] == found.unit.w.tolist()
    assert "&gt; 0" in fit_perceptron(CORNERS, XOR)._repr_html_()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"t": [0, 1, 1, 1]}, r"every t -1 or 1, got t with values \[0.0, 1.0\]; 2 \* t - 1"),
        ({"t": OR[:, None]}, r"t \(N,\), N and d at least 1, got x \(4, 2\) and t \(4, 1\)"),
        ({"x": CORNERS[0]}, r"got x \(2,\)"),
        ({"x": CORNERS[:0], "t": OR[:0]}, r"got x \(0, 2\)"),
        ({"x": CORNERS * np.nan}, "finite float32 values, got NaN or inf in x or t"),
        ({"eta": 0.0}, "eta a number above 0, got 0.0"),
        ({"epochs": 0}, "epochs a whole number of at least 1, got 0"),
        ({"batch_size": 5}, r"batch_size a whole number in \[1, 4\], got 5"),
        ({"batch_size": 0}, r"batch_size a whole number in \[1, 4\], got 0"),
        ({"eta": 2e38}, "weights that stay finite, got eta 2e[+]38; lower eta"),
    ],
)
def test_bad_input_is_refused(change, said):
    given = {"x": CORNERS, "t": OR} | change
    with pytest.raises(ValueError, match=f"^fit_perceptron: expected .*{said}"):
        fit_perceptron(**given)


def test_steps_refuse_shapes_that_would_broadcast():
    unit = Unit(jnp.zeros(2), jnp.array(0.0))
    with pytest.raises(ValueError, match=r"expected x with last axis 2, got shape \(4, 3\)"):
        perceptron_step(unit, np.ones((4, 3)), np.ones(4), eta=1.0)
    with pytest.raises(ValueError, match=r"t of shape \(4,\), one target for each row, got shape \(4, 1\)"):
        linear_unit_step(unit, np.ones((4, 2)), np.ones((4, 1)), eta=1.0)


@pytest.mark.parametrize("look", [margin, novikoff_bound])
@pytest.mark.parametrize(("x", "t"), [([[2.0 + 1j], [-3.0]], [1, -1]), ([[2.0], [-3.0]], [1j, -1])])
def test_what_looks_at_a_unit_drops_no_imaginary_part(look, x, t):
    with pytest.raises(TypeError, match=r"expected real [xt], got complex"):
        look(Unit(jnp.array([0.6]), jnp.array(0.8)), np.array(x), np.array(t))
