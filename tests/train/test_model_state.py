"""State beside the parameters: Flax's own loop, Equinox and NNX, and everything that a run does with it."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.train.programs.epoch_program import epoch_order
from tests.cases import draw_params
from tests.train.processes import ROOT
from tests.train.test_fit import GRAD, NET, data, run
from tests.train.test_going_on import assert_same

KEY, ETA = jax.random.key(1), 0.1


def normalized(params, x, y, state):
    """A layer of batch normalization by hand before the net: ((loss, (state, metrics)), grads)."""
    mean, var = x.mean(0, keepdims=True), x.var(0, keepdims=True)

    def loss(params):
        f = NET.apply(params, (x - mean) / jnp.sqrt(var + 1e-3))
        return jaxbp.softmax_cross_entropy(f, y), (f.argmax(-1) == y).mean()

    (value, accuracy), grads = jax.value_and_grad(loss, has_aux=True)(params)
    after = {"mean": 0.9 * state["mean"] + 0.1 * mean, "var": 0.9 * state["var"] + 0.1 * var,
             "count": state["count"] + 1}  # fmt: skip
    return (value, (after, {"accuracy": accuracy})), grads


def evaluate(params, x, y, state):
    f = NET.apply(params, (x - state["mean"]) / jnp.sqrt(state["var"] + 1e-3))
    return {"loss": jaxbp.softmax_cross_entropy(f, y), "seen": state["count"]}


def begun():
    return {"mean": jnp.zeros((1, 4)), "var": jnp.ones((1, 4)), "count": jnp.int32(0)}


STATE = {"grad_fn": normalized, "model_state": begun(), "validation": data(10, seed=2), "evaluate": evaluate}
WAYS = {
    "resident": {},
    "stream": {"batch_size": 4, "memory_budget": 400},
    "early stopping": {"early_stopping": jaxbp.EarlyStopping(9, "val_loss", mode="max")},
    "ema": {"ema": 0.8},
}


def assert_same_states(result, expected):
    assert_same(result, expected)
    for part in ("model_state", "last_model_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(result, part), getattr(expected, part))


def test_the_state_is_that_of_a_plain_loop():
    x, y = data()
    params, state = draw_params(NET, "float32"), begun()
    accuracies = []
    for epoch in (1, 2):
        order, right = epoch_order(KEY, epoch, 26), 0.0
        for start in range(0, 26, 8):
            batch = order[start : start + 8]
            (_, (state, told)), grads = normalized(params, x[batch], y[batch], state)
            params = jax.tree.map(lambda p, g: p - ETA * g, params, grads)
            right += float(told["accuracy"]) * len(batch)
        accuracies.append(right / 26)
    result = run(**STATE, epochs=2)
    close = {"rtol": 1e-4, "atol": 1e-5}
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, **close), result.params, params)
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, **close), result.model_state, state)
    np.testing.assert_allclose(result.history["accuracy"], accuracies, rtol=1e-6)
    assert result.history["val_seen"].tolist() == [4, 8]
    expected = evaluate(result.params, *STATE["validation"], result.model_state)["loss"]
    assert result.history["val_loss"][-1] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "way", ["resident", *(pytest.param(w, marks=pytest.mark.soak) for w in WAYS if w != "resident")]
)
def test_it_is_carried_kept_and_taken_up_again(way, tmp_path):
    options = STATE | WAYS[way]
    seen = []
    whole = run(epochs=4, callbacks=[seen.append], **options)
    jax.tree.map(np.testing.assert_array_equal, seen[whole.best_epoch - 1]["model_state"], whole.model_state)
    assert whole.model_state["count"] == whole.best_epoch * -(-26 // options.get("batch_size", 8))
    kept = options | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(epochs=2, **kept)
    assert_same_states(run(epochs=4, **kept), whole)
    if way == "early stopping":
        assert whole.best_epoch < 4
    half = run(epochs=2, **options)
    goes_on = {name: value for name, value in options.items() if name != "model_state"}
    assert_same_states(run(epochs=2, **goes_on | {"params": half}), whole)


def test_over_a_mesh_it_is_that_of_one_device():
    mesh = jax.make_mesh((1,), ("data",))
    one, other = run(**STATE, epochs=2), run(**STATE, epochs=2, mesh=mesh)
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-5), one.model_state, other.model_state)


FOUR = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
from tests.train.test_model_state import STATE, jax, np, run

one = run(**STATE, epochs=2, ema=0.8)
for shape, axes in (((4,), ("data",)), ((2, 2), ("data", "model"))):
    other = run(**STATE, epochs=2, ema=0.8, mesh=jax.make_mesh(shape, axes))
    for part in ("params", "last_params", "model_state", "opt_state"):
        jax.tree.map(
            lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5),
            getattr(one, part), getattr(other, part),
        )
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(other.model_state))
"""


@pytest.mark.soak
def test_over_four_devices_it_is_that_of_one():
    """The mean over a batch is that over the parts of all devices; averages lie as their parameters."""
    subprocess.run([sys.executable, "-c", FOUR], cwd=ROOT, timeout=400, check=True)


@pytest.mark.soak
def test_a_state_that_overflows_is_named():
    def overflowing(params, x, y, state):
        (value, (after, told)), grads = normalized(params, x, y, state)
        var = jnp.where(after["count"] == 6, jnp.inf, after["var"])
        return (value, (after | {"var": var}, told)), grads

    with pytest.raises(
        jaxbp.DivergenceError, match=r"finite model state, got inf in model_state\['var'\]"
    ) as caught:
        run(**STATE | {"grad_fn": overflowing})
    assert caught.value.result.last_model_state["count"] == 5


@pytest.mark.soak
def test_metrics_alone_need_no_state():
    def grad_fn(params, x, y):
        loss, grads = GRAD(params, x, y)
        return (loss, {"gradient_norm": optax.tree.norm(grads), "half": 0.5}), grads

    result, plain = run(grad_fn), run()
    assert list(result.history) == ["epoch", "seconds", "loss", "gradient_norm", "half"]
    assert (result.history["half"] == 0.5).all()
    assert (result.history["gradient_norm"] > 0).all()
    np.testing.assert_array_equal(result.history["loss"], plain.history["loss"])
    streamed = run(grad_fn, batch_size=4, memory_budget=400)
    resident = run(grad_fn, batch_size=4)
    np.testing.assert_allclose(streamed.history["gradient_norm"], resident.history["gradient_norm"])


def with_aux(aux):
    def grad_fn(params, x, y, *state):
        loss, grads = GRAD(params, x, y)
        return (loss, aux), grads

    return grad_fn


def alone(params, x, y, state):
    return GRAD(params, x, y)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"grad_fn": with_aux(jnp.ones(3))}, r"an aux \{name: scalar\}, for the history, got float32"),
        ({"grad_fn": with_aux({"f": jnp.ones(3)})}, "got 'f': float32 of shape"),
        ({"grad_fn": with_aux({"seconds": 1.0})}, "names that the history lacks, got 'seconds'"),
        ({"grad_fn": with_aux({"val_loss": 1.0})}, "names that the history lacks, got 'val_loss'"),
        ({"grad_fn": alone, "model_state": begun()}, r"\(\(loss, model_state\), grads\), for fit was given"),
        ({"grad_fn": with_aux({"mean": 0}), "model_state": begun()}, "a model_state of one structure, got"),
        ({"grad_fn": with_aux(begun() | {"mean": jnp.zeros((1, 5))}), "model_state": begun()},
         r"got float32 of shape \(1, 5\) after float32 of shape \(1, 4\) in \['mean'\]"),
        ({"model_state": begun()}, r"\(params, x, y\), got a fourth argument; value_and_grad"),
        ({"grad_fn": alone}, "model_state="),
        ({"grad_fn": alone, "model_state": {"f": jnp.tanh}}, r"model_state\['f'\] as an array, got"),
        ({**STATE, "evaluate": lambda params, x, y: {}}, "evaluate to take 4 arguments"),
        ({**STATE, "params": "a result"}, "for params and model_state as well"),
    ],
)  # fmt: skip
def test_states_that_cannot_be(options, says):
    if options.get("params") == "a result":
        options = options | {"params": run(**STATE, epochs=1)}
    with pytest.raises((TypeError, ValueError), match=says):
        run(**options)


@pytest.mark.soak
def test_flax_batch_statistics_are_those_of_its_own_loop():
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(8)(x))
            x = nn.Dropout(0.2, deterministic=not train)(nn.relu(x))
            return nn.Dense(3)(x)

    net, (x, y) = Net(), data()
    variables = net.init(jax.random.key(0), x[:2], False)

    def loss(params, x, y, stats, key):
        f, new = net.apply(
            {"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return jaxbp.softmax_cross_entropy(f, y), new["batch_stats"]

    grad_fn = jax.value_and_grad(loss, has_aux=True)

    def evaluate(params, x, y, stats):
        f = net.apply({"params": params, "batch_stats": stats}, x, False)
        return {"accuracy": (f.argmax(-1) == y).mean()}

    params, stats, step = variables["params"], variables["batch_stats"], 0
    for epoch in (1, 2):
        order = epoch_order(KEY, epoch, 26)
        for start in range(0, 26, 8):
            batch, key = order[start : start + 8], jax.random.fold_in(KEY, step)
            (_, stats), grads = jax.jit(grad_fn)(params, x[batch], y[batch], stats, key)
            params, step = jax.tree.map(lambda p, g: p - ETA * g, params, grads), step + 1
    result = run(
        grad_fn, variables["params"], epochs=2, model_state=variables["batch_stats"],
        validation=data(10, seed=2), evaluate=evaluate,
    )  # fmt: skip
    close = {"rtol": 1e-4, "atol": 1e-5}
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, **close), result.params, params)
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, **close), result.model_state, stats)


@pytest.mark.soak
def test_nnx_with_batch_norm_and_dropout(tmp_path):
    """What is no parameter, keys and counts of the random streams among it, is the state."""
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(4, 8, rngs=rngs), nnx.BatchNorm(8, momentum=0.5, rngs=rngs)
            self.drop, self.last = nnx.Dropout(0.2, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(self.drop(jax.nn.relu(self.norm(self.first(x)))))

    graph, params, rest = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)

    def loss(params, x, y, rest):
        model = nnx.merge(graph, params, rest, copy=True)
        model.train()
        value = jaxbp.softmax_cross_entropy(model(x), y)
        return value, nnx.split(model, nnx.Param, ...)[2]

    def evaluate(params, x, y, rest):
        model = nnx.merge(graph, params, rest, copy=True)
        model.eval()
        return {"accuracy": (model(x).argmax(-1) == y).mean()}

    options = {"grad_fn": jax.value_and_grad(loss, has_aux=True), "params": params, "model_state": rest,
               "validation": data(10, seed=2), "evaluate": evaluate}  # fmt: skip
    whole = run(epochs=4, **options)
    mean = jax.tree.leaves(whole.model_state["norm"]["mean"])[0]
    assert (mean != 0).all()
    kept = options | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(epochs=2, **kept)
    again = run(epochs=4, **kept)
    jax.tree.map(np.testing.assert_array_equal, again.params, whole.params)


@pytest.mark.soak
def test_equinox_with_state():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        first: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        last: eqx.nn.Linear

        def __init__(self, key):
            self.first, self.last = eqx.nn.Linear(4, 8, key=key), eqx.nn.Linear(8, 3, key=key)
            self.norm = eqx.nn.BatchNorm(8, axis_name="batch", momentum=0.5, mode="batch")

        def __call__(self, x, state):
            x, state = self.norm(self.first(x), state)
            return self.last(jax.nn.relu(x)), state

    model, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params, x, y, state):
        net = jax.vmap(eqx.combine(params, static), axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        f, state = net(x, state)
        return jaxbp.softmax_cross_entropy(f, y), state

    def evaluate(params, x, y, state):
        net = eqx.nn.inference_mode(eqx.combine(params, static))
        f, _ = jax.vmap(net, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
        return {"accuracy": (f.argmax(-1) == y).mean()}

    result = run(
        jax.value_and_grad(loss, has_aux=True), params, epochs=8, optimizer=optax.adam(0.03),
        model_state=state, validation=data(10, seed=2), evaluate=evaluate,
    )  # fmt: skip
    assert result.history["loss"][-1] < 0.8 * result.history["loss"][0]
    expected = evaluate(result.params, *data(10, seed=2), result.model_state)["accuracy"]
    assert result.history["val_accuracy"][-1] == pytest.approx(float(expected))
    changed = jax.tree.map(lambda u, v: bool((u != v).any()), result.model_state, state)
    assert any(jax.tree.leaves(changed))
