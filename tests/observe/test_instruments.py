"""Instruments: pure functions for any model, and the reason why a run learned nothing."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.observe import flow, noise_scale, nothing_learned, singular_values, statistics, updates
from jaxbp.observe.instruments.statistics import EXPONENTS


@pytest.fixture(scope="module")
def net():
    """A relu net on two classes: loss of (params, x, y), parameters, batch."""
    rng = np.random.default_rng(0)
    mlp = jaxbp.mlp([3, 8, 2], jaxbp.relu)
    x = jnp.asarray(rng.normal(size=(40, 3)), jnp.float32)
    y = (x[:, 0] > 0).astype(jnp.int32)

    def f(params, x, y):
        return jaxbp.softmax_cross_entropy(mlp.apply(params, x), y)

    return f, mlp.init(jax.random.key(1)), (x, y)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_statistics_are_those_of_numpy(scale):
    x = np.random.default_rng(0).normal(size=(7, 5)) * scale
    x[0] = 0
    found = statistics(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found.norm, np.linalg.norm(x), rtol=1e-5)
    np.testing.assert_allclose(found.max, np.abs(x).max(), rtol=1e-6)
    assert float(found.zeros) == pytest.approx(5 / 35)
    assert float(found.histogram.sum()) == pytest.approx(30 / 35)
    counted = np.clip(np.floor(np.log2(np.abs(x[1:]))), EXPONENTS[0], EXPONENTS[-1])
    where = np.asarray(EXPONENTS)[np.flatnonzero(found.histogram)]
    assert set(where) == set(counted.ravel().astype(int))


def test_statistics_of_what_is_not_finite_say_so():
    found = statistics(jnp.array([1.0, jnp.inf, jnp.nan, 0.0]))
    assert not found.finite
    assert float(found.histogram.sum()) == 0.25
    assert statistics(jnp.zeros((0, 3))).finite


def test_the_flow_has_the_norms_of_the_deltas(net):
    f, params, batch = net
    seen, found = jaxbp.cotangents(f)(params, *batch), flow(f)(params, *batch)
    assert list(found.deltas) == [tap.label for tap in seen.taps]
    for label, delta in found.deltas.items():
        np.testing.assert_allclose(delta.norm, np.linalg.norm(seen[label]), rtol=1e-5)
        np.testing.assert_allclose(found.values[label].zeros, np.mean(seen.values[label] == 0), rtol=1e-5)


def test_updates_go_by_the_paths_of_the_parameters():
    model = eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(0))
    params = eqx.filter(model, eqx.is_inexact_array)
    moved = updates(params, jax.tree.map(lambda w: 1.5 * w, params))
    assert {name: round(update.ratio, 4) for name, update in moved.items()} == dict.fromkeys(
        ("layers.0/weight", "layers.0/bias", "layers.1/weight", "layers.1/bias"), 0.3333
    )
    assert updates({"w": jnp.zeros(2)}, {"w": jnp.zeros(2)})["w"].ratio == 0
    with pytest.raises(ValueError, match="updates: expected after to have the structure of before"):
        updates({"w": jnp.zeros(2)}, {"v": jnp.zeros(2)})
    with pytest.raises(ValueError, match="updates: expected parameters of the same shapes, got w"):
        updates({"w": jnp.zeros(2)}, {"w": jnp.zeros(3)})


def test_singular_values_are_those_of_the_matrix():
    W = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for matrix in (W, W.T):
        found = singular_values(lambda x, W: W @ x, jnp.zeros(matrix.shape[1]), matrix)
        np.testing.assert_allclose(found, np.linalg.svd(W, compute_uv=False), rtol=1e-5)
    with pytest.raises(ValueError, match="a Jacobian of at most"):
        singular_values(lambda x: x, jnp.zeros(2000))
    with pytest.raises(TypeError, match="to be a floating array, got"):
        singular_values(lambda x: (x, x), jnp.zeros(2))


@pytest.mark.soak
def test_the_noise_scale_is_that_of_per_example(net):
    f, params, (x, y) = net
    mlp = jaxbp.mlp([3, 8, 2], jaxbp.relu)
    expected = jaxbp.per_example(mlp, jaxbp.softmax_cross_entropy, params, x, y).noise_scale()
    assert noise_scale(f, params, x, y) == pytest.approx(float(expected), rel=1e-4)
    with pytest.raises(ValueError, match="noise_scale: expected f to be the mean over the examples"):
        noise_scale(lambda p, x, y: len(x) * f(p, x, y), params, x, y)


def test_a_noise_scale_needs_examples(net):
    f, params, (x, y) = net
    with pytest.raises(ValueError, match="the same examples, two or more"):
        noise_scale(f, params, x[:1], y[:1])


def trained(f, params, batch, rate=0.5, steps=30):
    step = jax.jit(lambda p: jax.tree.map(lambda w, g: w - rate * g, p, jax.grad(f)(p, *batch)))
    for _ in range(steps):
        params = step(params)
    return params


def test_a_net_that_learned_is_not_accused(net):
    f, params, batch = net
    after = trained(f, params, batch)
    assert nothing_learned(f, params, after, *batch) == ""
    # It was good before, and hardly changed.
    slightly = jax.tree.map(lambda w: w + 1e-6, after)
    assert nothing_learned(f, after, slightly, *batch) == ""


def test_what_did_not_move_is_said(net):
    f, params, batch = net
    assert "no parameter moved" in nothing_learned(f, params, params, *batch)
    slightly = jax.tree.map(lambda w: w * (1 + 1e-6), params)  # zero biases stay
    assert "; 1/b, 2/b did not move" in nothing_learned(f, params, slightly, *batch)


def test_dead_units_and_class_frequencies_are_said(net):
    f, params, (x, y) = net
    rare = y.at[::2].set(0)
    share = float(rare.mean())
    dead = params | {1: params[1] | {"b": jnp.full(8, -100.0)}}
    dead |= {2: {"W": params[2]["W"], "b": jnp.log(jnp.array([1 - share, share]))}}
    said = nothing_learned(f, params, dead, x, rare)
    assert "with those of other examples it is the same; it is at the level of the class frequencies" in said
    assert "dead: f_1: 100% of its units are 0" in said


def test_updates_that_are_too_large_are_said(net):
    f, params, (x, y) = net
    after = jax.tree.map(lambda w: 1e9 * w, params)
    assert "too large, try a lower learning rate" in nothing_learned(f, params, after, x, jnp.roll(y, 1))


def test_without_targets_only_the_loss_is_looked_at():
    def f(params, x):
        return jnp.mean((x @ params["W"] - x) ** 2)

    params = {"W": jnp.eye(3) / 2}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
    assert nothing_learned(f, params, {"W": jnp.eye(3)}, x) == ""
    assert nothing_learned(f, params, {"W": 0.499 * jnp.eye(3)}, x).startswith("nothing was learned: loss")
