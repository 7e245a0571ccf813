"""What `fit` carries, averages and measures, in a `sweep`: each net of it is still that of a single run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from tests.train.test_fit import NET, data

KEY = jax.random.key(7)
LOSS = jaxbp.softmax_cross_entropy
GRAD = jaxbp.value_and_grad(NET, LOSS)
NORMED = jaxbp.chain(jaxbp.dense(4, 6, bias=False), jaxbp.batch_norm(6), jaxbp.tanh, jaxbp.dense(6, 3))
STOPPING = jaxbp.EarlyStopping(1, "val_loss")
SEEDS = (3, 5)


def swept(grad_fn, init, **options):
    given = {"optimizer": optax.sgd, "hyperparameters": {"learning_rate": [0.05, 0.5]}, "seeds": SEEDS,
             "key": KEY, "batch_size": 8, "epochs": 3, "validation": data(10, seed=2)}  # fmt: skip
    return jaxbp.sweep(grad_fn, init, data(), progress_bar=False, **given | options)


def numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def assert_net_of_a_single_run(result, i, grad_fn, init, optimizer=optax.sgd, **options):
    """Parameters, state and the whole history."""
    given = {"key": KEY, "batch_size": 8, "epochs": 3, "validation": data(10, seed=2), "progress_bar": False}
    key = jax.random.fold_in(KEY, result.seeds[i])
    if callable(options.get("model_state")):
        options["model_state"] = options["model_state"](key)
    alone = jaxbp.fit(grad_fn, init(key), data(), optimizer=optimizer(**result.points[i]), **given | options)
    assert set(result.history) == set(alone.history) - {"epoch", "seconds"}
    for name, column in alone.history.items():
        if name in result.history:
            np.testing.assert_allclose(result.history[name][i, : len(column)], column, rtol=1e-4)
    found, wanted = ((r.params_of(i), r.model_state_of(i)) if r is result else (r.params, r.model_state)
                     for r in (result, alone))  # fmt: skip
    found, wanted = jax.tree.map(numbers, (found, wanted))
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5), found, wanted)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    return alone


def test_batch_statistics_of_layers_are_carried(tmp_path):
    """Each net has its own; its parameters and statistics are those of its best epoch; a folder goes on."""
    grad_fn = jaxbp.value_and_grad(NORMED, LOSS)
    options = {"early_stopping": STOPPING, "epochs": 4}
    result = swept(grad_fn, NORMED.init, **options)
    assert_net_of_a_single_run(result, 2, grad_fn, NORMED.init, **options)
    means = result.model_state[2]["mean"]
    assert means.shape == (4, 6)
    assert not np.allclose(means[0], means[1])
    kept = options | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    swept(grad_fn, NORMED.init, callbacks=[lambda record: record["epoch"] == 2], **kept)
    again = swept(grad_fn, NORMED.init, **kept)
    jax.tree.map(
        np.testing.assert_array_equal,
        (again.params, again.model_state, again.history),
        (result.params, result.model_state, result.history),
    )


def of_user(params, x, y, state):
    """A loss with a running count of the examples and a key of its own, as NNX has them."""

    def loss(params):
        f = NET.apply(params, x + 0.01 * jax.random.normal(state["key"], x.shape))
        return LOSS(f, y), {"seen": state["seen"] + len(x), "key": jax.random.split(state["key"])[0]}

    return jax.value_and_grad(loss, has_aux=True)(params)


def told(params, x, y, state):
    return {"loss": LOSS(NET.apply(params, x), y), "seen": state["seen"] / 1}


@pytest.mark.soak
@pytest.mark.parametrize(
    "budget", [None, pytest.param(1000, marks=pytest.mark.soak)], ids=["at once", "in turns"]
)
def test_a_state_of_the_user_begins_alike_or_by_the_key(budget):
    def first(key):
        return {"seen": jnp.int32(0), "key": jax.random.fold_in(key, 1)}

    options = {"model_state": first, "evaluate": told}
    result = swept(of_user, NET.init, memory_budget=budget, **options)
    assert result.history["val_seen"].tolist() == [[26, 52, 78]] * 4
    if budget is None:
        assert_net_of_a_single_run(result, 1, of_user, NET.init, **options)
        alike = swept(of_user, NET.init, **options | {"model_state": first(KEY)})
        assert alike.model_state["seen"].tolist() == [78] * 4


@pytest.mark.soak
def test_nets_of_different_shapes_have_states_of_different_shapes():
    def of(width):
        return jaxbp.chain(jaxbp.dense(4, width), jaxbp.batch_norm(width), jaxbp.dense(width, 3))

    def grad_fn(params, x, y, state, *, width):
        return jaxbp.value_and_grad(of(width), LOSS, has_state=True)(params, x, y, state)

    def evaluate(params, x, y, state, *, width):
        return jaxbp.make_evaluate(of(width).apply, LOSS)(params, x, y, state)

    def zeros(key, width):
        grad_fn = jaxbp.value_and_grad(of(width), LOSS)
        return grad_fn.carrying(of(width).init(key), jnp.zeros((8, 4)))[1]

    grid = {"learning_rate": [0.1], "width": [2, 5]}
    options = {"model_state": zeros, "evaluate": evaluate, "seeds": [3], "epochs": 1}
    result = swept(grad_fn, lambda key, width: of(width).init(key), hyperparameters=grid, **options)
    assert [result.model_state_of(i)[2]["mean"].shape for i in (0, 1)] == [(2,), (5,)]


def free(learning_rate):
    return optax.contrib.schedule_free_sgd(learning_rate)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (optax.sgd, {"ema": 0.9, "metrics": ["accuracy", "f1_macro"]}),
        (free, {"eval_params": optax.contrib.schedule_free_eval_params, "early_stopping": STOPPING}),
    ],
    ids=["ema and metrics", "eval_params"],
)
def test_averages_and_metrics_are_those_of_fit(optimizer, options):
    result = swept(GRAD, NET.init, optimizer=optimizer, **options)
    alone = assert_net_of_a_single_run(result, 3, GRAD, NET.init, optimizer, **options)
    assert result.model_state is None
    assert result.model_state_of(1) is None
    with pytest.raises(AssertionError):  # they are not the trained ones
        jax.tree.map(np.testing.assert_allclose, result.params_of(3), alone.last_params)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ema": 0.9, "eval_params": lambda state, params: params}, "sweep: expected ema or eval_params"),
        ({"ema": 1}, r"sweep: expected ema in \[0, 1\)"),
        ({"eval_params": lambda state, params: None}, r"sweep: expected eval_params\(opt_state, params\) to"),
        ({"model_state": {"a": "text"}}, "sweep: expected model_state.* as an array, got 'text'"),
        ({"model_state": 1.0}, r"expected \(params, x, y\), got a fourth argument"),
        ({"metrics": ["f1_macro"], "validation": None}, "metrics of batches"),
    ],
)  # fmt: skip
def test_sweeps_that_cannot_be(options, says):
    with pytest.raises((TypeError, ValueError), match=says):
        swept(GRAD, NET.init, **options)
