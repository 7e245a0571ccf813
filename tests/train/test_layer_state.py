"""Batch statistics of this library's layers through `fit`: carried, evaluated by, kept, over a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from tests.oracles import assert_close

NET = jaxbp.chain(
    jaxbp.dense(3, 4, bias=False),
    jaxbp.batch_norm(4, momentum=0.8),
    jaxbp.tanh,
    jaxbp.dense(4, 2),
)
LOSS = jaxbp.softmax_cross_entropy
rng = np.random.default_rng(0)
X = (rng.normal(size=(48, 3)) * [1, 5, 0.2] + [3, -2, 0]).astype(np.float32)
Y = (X[:, 0] > 3).astype(np.int32)
EVALUATE = jaxbp.make_evaluate(NET.apply, LOSS)
PARAMS = NET.init(jax.random.key(0))


def fit(params=PARAMS, grad_fn=None, **options):
    settings = {"epochs": 3, "batch_size": 16, "validation": (X[:20], Y[:20]), "evaluate": EVALUATE}
    optimizer, key = optax.sgd(0.1), jax.random.key(1)
    grad_fn = grad_fn or jaxbp.value_and_grad(NET, LOSS)
    return jaxbp.fit(
        grad_fn, params, (X, Y), optimizer=optimizer, key=key, progress_bar=False, **settings | options
    )


@pytest.fixture(scope="module")
def plain():
    return fit()


def test_fit_carries_the_state_and_evaluates_by_it(plain):
    """The same, step by step, with what autodiff says of the plain network."""
    grad_fn, state = jaxbp.value_and_grad(NET, LOSS).carrying(PARAMS, jnp.asarray(X[:16]))
    result = fit(shuffle=False, epochs=2)
    params = PARAMS

    @jax.jit
    def step(params, state, x, y):
        (_, state), _ = grad_fn(params, x, y, state)
        grads = jax.grad(lambda p: LOSS(NET.apply(p, x), y))(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), state

    for _ in range(2):
        for i in range(0, 48, 16):
            params, state = step(params, state, X[i : i + 16], Y[i : i + 16])
    limit = 1e-4  # some hundreds of roundings, after six steps in programs that fuse otherwise
    for found, wanted in ((result.params, params), (result.model_state, state)):
        for u, v in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(u, v, rtol=limit, atol=limit * np.abs(v).max())
    evaluated = jaxbp.fixed(NET, {"state": result.model_state})
    loss = LOSS(evaluated.apply(result.params, X[:20]), jnp.asarray(Y[:20]))
    assert result.history["val_loss"][-1] == pytest.approx(float(loss), rel=1e-5)
    by_batch = LOSS(NET.apply(result.params, X[:20]), jnp.asarray(Y[:20]))
    assert abs(float(by_batch) - float(loss)) > 1e-3


@pytest.mark.soak
def test_a_run_goes_on_with_its_state(plain, tmp_path):
    again = fit(fit(epochs=1), epochs=2)
    kept = jaxbp.Checkpoints(tmp_path)
    fit(epochs=1, checkpoints=kept)
    resumed = fit(epochs=3, checkpoints=kept)
    for other in (again, resumed):
        for u, v in zip(jax.tree.leaves(other.model_state), jax.tree.leaves(plain.model_state), strict=True):
            assert (np.asarray(u) == np.asarray(v)).all()


def test_over_a_mesh_the_statistics_are_the_whole_batch_s(plain):
    mesh = jax.make_mesh((2,), ("data",))
    other = fit(mesh=mesh)
    assert_close(jax.device_get(other.model_state), jax.device_get(plain.model_state), "float32")


def test_metrics_and_pixels_beside_the_state():
    bytes_of = np.round((X - X.min()) / np.ptp(X) * 255).astype(np.uint8)
    result = jaxbp.fit(
        jaxbp.value_and_grad(NET, LOSS), PARAMS, (bytes_of, Y), optimizer=optax.sgd(0.1), epochs=2,
        key=jax.random.key(1), metrics=["accuracy"], validation=0.25, preprocess=lambda x: x / 255,
        progress_bar=False,
    )  # fmt: skip
    assert {"accuracy", "val_accuracy"} <= set(result.history)
    assert float(result.model_state[2]["weight"]) == pytest.approx(1 - 0.8**4)


def test_a_trained_network_with_its_state_is_kept(plain, tmp_path):
    net = jaxbp.fixed(NET, {"state": plain.model_state})
    run = jaxbp.Trained(net, plain.params, LOSS)
    jaxbp.save_run(tmp_path / "run", run)
    again = jaxbp.load_run(tmp_path / "run")
    assert (again.predict(X) == run.predict(X)).all()
    assert run.evaluate(X[:20], Y[:20]).metrics["loss"] == pytest.approx(
        plain.history["val_loss"][-1], rel=1e-5
    )
