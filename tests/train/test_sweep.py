"""`sweep`: every net of it is the net of a single run."""

import itertools
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from tests.train.test_fit import EVALUATE, GRAD, NET, data

KEY = jax.random.key(7)
ADAM = {"learning_rate": [0.01, 0.05], "weight_decay": [0.0, 0.1]}


ONE_NET = 3 * 51 * 4 + 4  # bytes: 51 parameters, Adam's two moments and its count


def adamw(learning_rate, weight_decay):
    return optax.adamw(learning_rate, weight_decay=weight_decay)


def run(grad_fn=GRAD, init=NET.init, **options):
    options = {"optimizer": adamw, "hyperparameters": ADAM, "seeds": [3, 5], "epochs": 2} | options
    held = {"validation": data(10, seed=2), "evaluate": EVALUATE}
    held |= {"key": KEY, "batch_size": 8, "progress_bar": False}
    return jaxbp.sweep(grad_fn, init, data(), **held | options)


def single(seed, point, key, grad_fn=GRAD, init=NET.init, epochs=2, optimizer=adamw):
    return jaxbp.fit(
        grad_fn,
        init(jax.random.fold_in(KEY, seed)),
        data(),
        optimizer=optimizer(**point),
        key=key,
        batch_size=8,
        epochs=epochs,
        validation=data(10, seed=2),
        evaluate=EVALUATE,
        progress_bar=False,
    )


def assert_same(result, i, alone):
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=2e-5, atol=2e-6),
        result.params_of(i),
        alone.params,
    )
    assert set(result.history) == set(alone.history) - {"epoch", "seconds"}
    for name, column in result.history.items():
        np.testing.assert_allclose(column[i], alone.history[name], rtol=1e-5)


@pytest.mark.parametrize("order", ["shared", "own"])
def test_each_net_is_that_of_a_single_run(order):
    """Of two nets, one of each seed; in the other order the parameters differ."""
    result = run(order=order)
    grid = [dict(zip(ADAM, p, strict=True)) for p in itertools.product(*ADAM.values())]
    assert result.points == [point for point in grid for _ in range(2)]
    assert result.seeds == [3, 5] * 4
    for i in (1, 6):
        seed, own = result.seeds[i], jax.random.fold_in(KEY, result.seeds[i])
        right, wrong = (KEY, own) if order == "shared" else (own, KEY)
        assert_same(result, i, single(seed, result.points[i], right))
        with pytest.raises(AssertionError):
            assert_same(result, i, single(seed, result.points[i], wrong))


@pytest.mark.soak
def test_groups_by_memory_change_nothing():
    """Three of the eight fit: the others wait on the host."""
    whole, parts = run(), run(memory_budget=3 * ONE_NET)
    for name, column in whole.history.items():
        np.testing.assert_allclose(parts.history[name], column, rtol=1e-5)
    assert parts.params[1]["W"].shape == (8, *NET.init(KEY)[1]["W"].shape)
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=2e-5, atol=2e-6), parts.params, whole.params
    )


def test_it_is_traced_once_for_all_nets_and_groups():
    traces = []

    def counted(params, x, y):
        traces.append((params[1]["W"].shape, x.shape))
        return GRAD(params, x, y)

    run(counted, epochs=3, memory_budget=ONE_NET)
    assert {shape for _, shape in traces} == {(8, 4), (2, 4)}
    assert len(traces) <= 3  # both batches; the scan's body perhaps twice


@pytest.mark.soak
@pytest.mark.parametrize("order", ["shared", "own"])
def test_dropout_draws_as_in_a_single_run(order):
    net = jaxbp.chain(jaxbp.dense(4, 6), jaxbp.tanh, jaxbp.dropout(0.5), jaxbp.dense(6, 3))
    grad_fn = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)
    held = {"validation": None, "evaluate": None}
    result = run(grad_fn, net.init, order=order, seeds=2, hyperparameters={"learning_rate": [0.1]},
                 optimizer=optax.sgd, **held)  # fmt: skip
    key = KEY if order == "shared" else jax.random.fold_in(KEY, 1)
    alone = jaxbp.fit(grad_fn, net.init(jax.random.fold_in(KEY, 1)), data(), optimizer=optax.sgd(0.1),
                      key=key, batch_size=8, epochs=2, progress_bar=False)  # fmt: skip
    assert_same(result, 1, alone)


def test_a_net_that_diverges_leaves_the_others_alone():
    net = jaxbp.dense(4, 3)
    x = data()[0]
    options = {"optimizer": optax.sgd, "key": KEY, "batch_size": 8, "epochs": 40, "progress_bar": False}
    grad_fn = jaxbp.value_and_grad(net, jaxbp.squared_error)
    result = jaxbp.sweep(
        grad_fn, net.init, (x, x[:, :3]), seeds=2, hyperparameters={"learning_rate": [0.1, 100.0]}, **options
    )
    assert result.diverged.tolist() == [False, False, True, True]
    with pytest.raises(jaxbp.DivergenceError) as caught:
        jaxbp.fit(grad_fn, net.init(jax.random.fold_in(KEY, 0)), (x, x[:, :3]),
                  **options | {"optimizer": optax.sgd(100.0)})  # fmt: skip
    before = caught.value.result.history["loss"]
    np.testing.assert_allclose(result.history["loss"][2, : len(before)], before, rtol=1e-3)
    assert np.isnan(result.history["loss"][2, len(before) :]).all()
    assert np.isfinite(result.history["loss"][:2]).all()
    assert result.best() in (0, 1)
    good, bad = result.to_dict()["points"]
    assert (good["diverged"], bad["diverged"], bad["nets"]) == (0, 2, 2)
    assert good["loss"]["median"] == pytest.approx(result.history["loss"][:2, -1].mean())
    assert "2 of 2" in repr(result)


def test_the_best_and_the_summary():
    result = run()
    last = result.history["val_accuracy"][:, -1]
    assert last[result.best("val_accuracy", "max")] == last.max()
    assert result.best() == result.history["val_loss"][:, -1].argmin()
    low = result.history["loss"][:2, -1]
    first = json.loads(json.dumps(result.to_dict()))["points"][0]
    assert first["loss"] == {"median": pytest.approx(low.mean()), "min": low.min(), "max": low.max()}
    assert repr(result).splitlines()[1].split() == [*ADAM, "diverged", *result.history]
    assert result._repr_html_().count("<tr>") == 5
    with pytest.raises(ValueError, match="monitor 'loss', 'val_accuracy' or 'val_loss', got 'f1'"):
        result.best("f1")
    with pytest.raises(ValueError, match=r"at_best: expected name 'loss', .* got 'f1'"):
        result.at_best("f1")


def test_what_is_held_out_is_evaluated_by_the_networks_and_loss_of_grad_fn():
    own, given = run(epochs=1, evaluate=None), run(epochs=1)
    np.testing.assert_array_equal(own.history["val_accuracy"], given.history["val_accuracy"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seeds": 0}, "at least one seed and one point, got no seed"),
        ({"hyperparameters": {"learning_rate": []}}, "got no point, for learning_rate has no value"),
        ({"memory_budget": ONE_NET - 1}, f"sweep: expected memory_budget of at least {ONE_NET} bytes"),
        ({"order": "none"}, "order 'shared' or 'own', got 'none'"),
        ({"evaluate": None, "grad_fn": lambda p, x, y: GRAD(p, x, y)}, "validation and evaluate together"),
        ({"epochs": 0}, "epochs a whole number of at least 1"),
    ],
)
def test_calls_that_cannot_be(options, says):
    with pytest.raises(ValueError, match=says):
        run(**options)


@pytest.mark.soak
def test_hyperparameters_keep_the_dtype_of_the_net():
    """As Python numbers do: bfloat16 parameters and moments stay so."""
    init = lambda key: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), NET.init(key))  # noqa: E731
    result = run(init=init, epochs=1)
    assert {leaf.dtype for leaf in jax.tree.leaves(result.params)} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"hyperparameters": {"learning_rate": 0.1}},
            r"numbers for learning_rate, e.g. \[0.1, 0.01\], got the float 0.1",
        ),
        (
            {"optimizer": optax.sgd(0.1)},
            "a function that makes the optimizer, got .*optax.sgd, without",
        ),
        (
            {"optimizer": optax.sgd, "hyperparameters": {"learning_rate": ["high"]}},
            "an optimizer for learning_rate 'high', got ",
        ),
        (
            {"optimizer": lambda on: optax.sgd(0.1 if on else 0.2), "hyperparameters": {"on": [True, False]}},
            "an optimizer that computes with on, got one that branches on it",
        ),
    ],
)
def test_hyperparameters_that_cannot_be(options, says):
    with pytest.raises(TypeError, match=says):
        run(**options)


@pytest.mark.soak
def test_ctrl_c_returns_what_was_learned():
    presses = iter([signal.SIGINT])

    def press():
        for number in presses:
            signal.raise_signal(number)

    def interrupting(params, x, y):
        jax.debug.callback(press)
        return EVALUATE(params, x, y)

    result = run(epochs=200, evaluate=interrupting, order="own")
    epochs = result.history["loss"].shape[1]
    assert (result.stopped, 1 <= epochs < 200) == ("interrupted", True)
    whole = run(epochs=epochs, order="own")
    for name, column in whole.history.items():
        np.testing.assert_allclose(result.history[name], column, rtol=1e-5)


def test_float64_stays_so_in_every_thread():
    """Of two nets one waits on the host, and comes back in the thread that trains it."""
    with jax.enable_x64(True):
        init = lambda key: jax.tree.map(lambda leaf: leaf.astype("float64"), NET.init(key))  # noqa: E731
        x, y = data()
        options = {"optimizer": optax.sgd, "key": KEY, "batch_size": 8, "epochs": 2, "progress_bar": False}
        whole, parts = (
            jaxbp.sweep(GRAD, init, (x.astype("float64"), y), seeds=2, memory_budget=budget,
                        hyperparameters={"learning_rate": [0.1]}, **options)
            for budget in (None, 51 * 8)
        )  # fmt: skip
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-14), parts.params, whole.params)
    assert {leaf.dtype for leaf in jax.tree.leaves(parts.params)} == {np.dtype("float64")}


def test_a_wrong_batch_size_is_said_of_the_sweep():
    with pytest.raises(ValueError, match=r"^sweep: expected a whole batch_size"):
        run(batch_size=10**6)


STOPPING = jaxbp.EarlyStopping(2, "val_loss", min_delta=1e-3, start_from_epoch=2)
FAST = {"learning_rate": [0.05, 0.9], "weight_decay": [0.0]}


@pytest.mark.soak
def test_each_net_stops_early_as_a_single_run_does():
    """Its parameters are those of its best epoch, its history ends in NaN; the sweep ends with the last."""
    result = run(epochs=30, hyperparameters=FAST, early_stopping=STOPPING)
    for i in (2,):
        alone = jaxbp.fit(
            GRAD, NET.init(jax.random.fold_in(KEY, result.seeds[i])), data(),
            key=KEY, batch_size=8, epochs=30,
            optimizer=adamw(**result.points[i]), validation=data(10, seed=2), evaluate=EVALUATE,
            early_stopping=STOPPING, progress_bar=False,
        )  # fmt: skip
        ran = len(alone.history["epoch"])
        assert result.best_epochs[i] == alone.best_epoch
        np.testing.assert_allclose(result.history["val_loss"][i, :ran], alone.history["val_loss"], rtol=1e-3)
        assert np.isnan(result.history["val_loss"][i, ran:]).all()
        jax.tree.map(
            lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-3, atol=1e-4),
            result.params_of(i), alone.params,
        )  # fmt: skip
    best = result.history["val_loss"][np.arange(4), result.best_epochs - 1]
    assert result.best() == best.argmin()
    np.testing.assert_array_equal(result.at_best("val_loss"), best)
    assert not result.diverged.any()
    assert (result.stopped == "early") == (result.history["loss"].shape[1] < 30)


def assert_same_sweep(result, expected):
    jax.tree.map(np.testing.assert_array_equal, result.params, expected.params)
    for name, column in expected.history.items():
        np.testing.assert_array_equal(result.history[name], column)
    np.testing.assert_array_equal(result.best_epochs, expected.best_epochs)


@pytest.mark.parametrize(
    "budget", [None, pytest.param(2 * ONE_NET, marks=pytest.mark.soak)], ids=["at once", "in turns"]
)
def test_a_sweep_goes_on_from_its_folder(budget, tmp_path):
    options = {"epochs": 4, "early_stopping": STOPPING, "memory_budget": budget, "hyperparameters": FAST}
    seen = []

    def stop(record):
        seen.append(record)
        return record["epoch"] == 2

    kept = options | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    first = run(callbacks=[stop], **kept)
    assert first.stopped == "callback"
    assert [record["epoch"] for record in seen] == [1, 2]
    np.testing.assert_array_equal(seen[1]["val_loss"], first.history["val_loss"][:, 1])
    assert seen[0]["points"] == first.points
    assert_same_sweep(run(**kept), run(**options))
    with pytest.raises(ValueError, match="expected the config of the run"):
        run(**kept | {"seeds": [3, 6]})


def scheduled(learning_rate, schedule):
    rates = {"constant": learning_rate, "cosine": optax.cosine_decay_schedule(learning_rate, 20)}
    return optax.sgd(rates[schedule])


@pytest.mark.soak
def test_shapes_batch_sizes_and_schedules_by_name_are_programs_of_their_own(tmp_path):
    """Every net is that of a single run; the points come in the order of the grid."""

    def of(width):
        return jaxbp.mlp([4, width, 3], jaxbp.tanh)

    def grad_fn(params, x, y, *, width):
        return jaxbp.value_and_grad(of(width), jaxbp.softmax_cross_entropy)(params, x, y)

    def evaluate(params, x, y, *, width):
        return jaxbp.make_evaluate(of(width).apply, jaxbp.softmax_cross_entropy)(params, x, y)

    grid = {"learning_rate": [0.1, 0.2], "width": [5, 3], "batch_size": [13], "schedule": ["cosine"]}
    options = {"optimizer": scheduled, "hyperparameters": grid, "seeds": [3], "evaluate": evaluate}
    result = run(grad_fn, lambda key, width: of(width).init(key), **options)
    assert result.points == [dict(zip(grid, p, strict=True)) for p in itertools.product(*grid.values())]
    assert isinstance(result.params, list)
    for i in (3,):
        point = result.points[i]
        net = of(point["width"])
        alone = jaxbp.fit(
            jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy), net.init(jax.random.fold_in(KEY, 3)),
            data(), optimizer=scheduled(point["learning_rate"], "cosine"), key=KEY, epochs=2,
            batch_size=point["batch_size"], validation=data(10, seed=2), progress_bar=False,
            evaluate=jaxbp.make_evaluate(net.apply, jaxbp.softmax_cross_entropy),
        )  # fmt: skip
        assert_same(result, i, alone)
    assert "cosine" in repr(result)
    assert len(json.loads(json.dumps(result.to_dict()))["points"]) == 4


@pytest.mark.soak
def test_yes_and_no_are_programs_of_their_own():
    values = {"learning_rate": [0.1], "momentum": [0.9], "nesterov": [False, np.True_]}
    result = run(hyperparameters=values, optimizer=optax.sgd, seeds=1, epochs=1)
    assert [point["nesterov"] for point in result.points] == [False, True]
    for i, point in enumerate(result.points):
        assert_same(result, i, single(0, point, KEY, epochs=1, optimizer=optax.sgd))


def test_a_frame_has_a_row_for_each_net(monkeypatch):
    pandas = pytest.importorskip("pandas")
    result = run(epochs=1, hyperparameters=FAST)
    frame = result.to_frame()
    assert list(frame) == [*FAST, "seed", "diverged", "epoch", *result.history]
    assert frame["val_loss"].tolist() == result.history["val_loss"][:, -1].tolist()
    assert isinstance(frame, pandas.DataFrame)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame: expected pandas, got none installed"):
        result.to_frame()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"checkpoints": jaxbp.Checkpoints("none", monitor="val_loss")}, "checkpoints without a monitor"),
        ({"early_stopping": jaxbp.EarlyStopping(2, "val_f1")}, "monitor to be one of"),
        ({"hyperparameters": {"learning_rate": [0.1], "decay": [1]}}, "takes the hyperparameters"),
        ({"hyperparameters": {1: [0.1]}}, "hyperparameters by their names, got the int 1"),
        ({"hyperparameters": {"batch_size": [8, 99], "learning_rate": [0.1], "weight_decay": [0.0]}},
         "batch_size 99 > 26 examples"),
        ({"callbacks": print}, "callbacks, a list of functions"),
    ],
)  # fmt: skip
def test_sweeps_that_cannot_be(options, says):
    with pytest.raises((TypeError, ValueError), match=says):
        run(**options)
