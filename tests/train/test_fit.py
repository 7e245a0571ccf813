"""`fit` against a loop in NumPy and its promises: one compilation, the same bits, nothing lost."""

import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.data import Dataset
from jaxbp.train import program_cache
from jaxbp.train.programs.epoch_program import epoch_order
from tests.cases import draw, draw_params

NET = jaxbp.mlp([4, 6, 3], jaxbp.tanh)
GRAD = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy)
EVALUATE = jaxbp.make_evaluate(NET.apply, jaxbp.softmax_cross_entropy)


def data(N=26, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, N)
    x = rng.standard_normal((N, 4)) + 2 * np.eye(3, 4)[y]
    return x.astype(np.float32), y.astype(np.int32)


def run(grad_fn=GRAD, params=None, train=None, **options):
    options = {"optimizer": optax.sgd(0.1), "batch_size": 8, "epochs": 3, "key": jax.random.key(1)} | options
    params = draw_params(NET, "float32") if params is None else params
    return jaxbp.fit(grad_fn, params, data() if train is None else train, progress_bar=False, **options)


@pytest.mark.parametrize("batch_size", [1, 8, 13, 26], ids=lambda b: f"batch {b}")
def test_it_is_mini_batch_gradient_descent(batch_size, x64):
    """The same run in a plain loop: every example once an epoch, the short batch last."""
    x, y = (v.astype(t) for v, t in zip(data(), ("float64", "int32"), strict=True))
    key, eta, params = jax.random.key(5), 0.3, draw_params(NET, "float64")
    result = run(params=params, train=(x, y), batch_size=batch_size, optimizer=optax.sgd(eta), key=key)
    step = jax.jit(jax.value_and_grad(lambda p, x, y: jaxbp.softmax_cross_entropy(NET.apply(p, x), y)))
    for epoch in range(3):
        order, total = epoch_order(key, epoch + 1, len(x)), 0.0
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            loss, grads = step(params, x[batch], y[batch])
            params = jax.tree.map(lambda p, g: p - eta * g, params, grads)
            total += float(loss) * len(batch)
        assert result.history["loss"][epoch] == pytest.approx(total / len(x), rel=1e-12)
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-11, atol=1e-13), result.params, params)


@pytest.mark.jax_release
def test_it_is_traced_and_compiled_once():
    traces = []

    def counted(params, x, y):
        traces.append(x.shape)
        return GRAD(params, x, y)

    run(counted, epochs=1)
    once = list(traces)
    traces.clear()
    run(counted, epochs=20, optimizer=optax.adam(optax.cosine_decay_schedule(0.1, 80)))
    assert traces == once
    assert set(once) == {(8, 4), (2, 4)}  # the batch, and what is left of 26


def test_the_same_key_gives_the_same_bits_and_another_does_not():
    first, again, other = (run(key=jax.random.key(k)) for k in (3, 3, 4))
    same = jax.tree.map(lambda u, v: (u == v).all().item(), first.params, again.params)
    assert jax.tree.all(same)
    assert (first.history["loss"] == again.history["loss"]).all()
    assert (first.history["loss"] != other.history["loss"]).any()


def test_any_gradient_function_and_any_tree():
    def loss(params, x, y):
        w, b = params
        return ((x @ w + jnp.broadcast_to(b, x.shape[:1]) - y) ** 2).mean()

    x = draw((40, 2), "float32")
    y = x @ jnp.array([1.0, -2.0]) + 3.0
    result = run(
        jax.value_and_grad(loss),
        [jnp.zeros(2), 0.0],
        (x, y),
        optimizer=optax.adam(0.1),
        epochs=200,
        batch_size=10,
    )
    assert result.params[0].tolist() == pytest.approx([1, -2], abs=1e-3)
    assert result.params[1].item() == pytest.approx(3, abs=1e-3)


def test_the_given_parameters_stay_usable():
    params = draw_params(NET, "float32")
    before = jax.tree.map(np.array, params)
    run(params=params)
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_a_key_reaches_the_gradient_function_anew_each_iteration():
    keys = []

    def grad_fn(params, x, y, *, key):
        jax.debug.callback(lambda k: keys.append(tuple(k.tolist())), jax.random.key_data(key))
        return GRAD(params, x, y)

    run(grad_fn, epochs=2)
    jax.effects_barrier()
    assert len(keys) == len(set(keys)) == 8


@pytest.mark.soak
def test_dropout_trains_differently_by_key_only():
    net = jaxbp.chain(jaxbp.dense(4, 16), jaxbp.relu, jaxbp.dropout(0.5), jaxbp.dense(16, 3))
    params = draw_params(net, "float32")
    grad_fn = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)
    one, same, other = (
        run(grad_fn, params, key=jax.random.key(k)).history["loss"].tolist() for k in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.jax_release
def test_history_has_a_row_for_each_epoch_and_prints():
    result = run(validation=data(10, seed=2), evaluate=EVALUATE, epochs=4)
    assert list(result.history) == ["epoch", "seconds", "loss", "val_accuracy", "val_loss"]
    assert all(column.shape == (4,) for column in result.history.values())
    x, y = data(10, seed=2)
    last = jax.jit(EVALUATE)(result.params, x, y)
    assert result.history["val_accuracy"][-1] == last["accuracy"]
    assert result.history["val_loss"][-1] == pytest.approx(float(last["loss"]), rel=1e-6)
    assert repr(result).startswith("finished after 4 epochs")
    assert result.to_dict()["history"]["epoch"] == [1, 2, 3, 4]
    assert result._repr_html_().count("<tr>") == 5


def test_continuing_is_the_same_as_not_stopping():
    """With momentum, parameters and optimiser state carry the run; the order comes from the key."""
    optimizer, params = optax.sgd(0.1, momentum=0.9), draw_params(NET, "float32")
    options = {"optimizer": optimizer, "batch_size": 26, "epochs": 2}
    half = run(params=params, **options)
    whole = run(params=half.params, opt_state=half.opt_state, **options)
    straight = run(params=params, **options | {"epochs": 4})
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5), whole.params, straight.params
    )


def test_early_stopping_keeps_the_best():
    seen = {}
    stopping = jaxbp.EarlyStopping(patience=3, monitor="val_accuracy", mode="max")
    result = run(
        validation=data(40, seed=2),
        evaluate=EVALUATE,
        epochs=60,
        early_stopping=stopping,
        callbacks=[lambda record: seen.update({record["epoch"]: record})],
    )
    accuracy = result.history["val_accuracy"]
    assert result.stopped == "early"
    assert result.best_epoch == int(accuracy.argmax()) + 1 == len(accuracy) - 3
    jax.tree.map(np.testing.assert_array_equal, result.params, seen[result.best_epoch]["params"])


def test_callbacks_get_a_plain_dict():
    records = []
    result = run(callbacks=[records.append])
    assert [type(record) for record in records] == [dict] * 3
    assert [record["loss"] for record in records] == result.history["loss"].tolist()
    assert not records[0]["params"][1]["W"].is_deleted()


def press_ctrl_c(record):
    if record["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_returns_what_was_learned():
    handler = signal.getsignal(signal.SIGINT)
    result = run(epochs=50, callbacks=[press_ctrl_c])
    assert result.stopped == "interrupted"
    assert result.history["epoch"].tolist() == [1, 2]
    jax.tree.map(np.testing.assert_array_equal, result.params, run(epochs=2).params)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_aborts():
    with pytest.raises(KeyboardInterrupt):
        run(epochs=50, callbacks=[press_ctrl_c, press_ctrl_c])


def test_it_runs_in_a_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    assert results[0].stopped == "finished"


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_divergence_names_the_iteration_and_keeps_the_parameters(what):
    """The sixth iteration, epoch 2 iteration 2 of 4, is poisoned; the update counts the iterations."""
    counter = {"net": draw_params(NET, "float32"), "t": jnp.float32(0)}

    def grad_fn(params, x, y):
        loss, grads = GRAD(params["net"], x, y)
        poison = jnp.where(params["t"] == 5, jnp.nan, 0.0)
        if what == "loss":
            loss = loss + poison
        else:
            grads = jax.tree.map(lambda g: g + poison, grads)
        return loss, {"net": grads, "t": jnp.float32(-1)}

    with pytest.raises(
        FloatingPointError, match=rf"epoch 2, iteration 2 of 4: expected a finite {what}"
    ) as caught:
        run(grad_fn, counter, optimizer=optax.sgd(1.0), epochs=5)
    result = caught.value.result
    assert result.stopped == "diverged"
    assert result.history["epoch"].tolist() == [1]
    assert result.params["t"] == 5
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


@pytest.mark.soak
def test_a_run_that_really_diverges():
    net = jaxbp.dense(4, 1)
    x, _ = data()
    with pytest.raises(jaxbp.DivergenceError, match="try a lower learning rate"):
        run(
            jaxbp.value_and_grad(net, jaxbp.squared_error),
            draw_params(net, "float32"),
            (x, x[:, :1]),
            optimizer=optax.sgd(100.0),
            epochs=50,
        )


x, y = data()
BAD = {
    "label 3": ((x, np.where(np.arange(26) == 7, 3, y)), ValueError, r"\(3 classes\), got labels\[7\] is 3"),
    "label -1": ((x, np.where(np.arange(26) == 7, -1, y)), ValueError, r"labels\[7\] is -1"),
    "float labels": ((x, y.astype(np.float32)), TypeError, "class labels must be integers"),
    "no probabilities": ((x, np.ones((26, 3), np.float32)), ValueError, "sums to 3"),
    "NaN": ((np.where(np.arange(26)[:, None] == 3, np.nan, x), y), ValueError, r"x\[3,0\] is NaN; 4 non"),
    "too large for float32": ((x.astype(np.float64) * 1e300, y), ValueError, "which JAX holds float64 in"),
    "wraps in int32": ((x, y.astype(np.int64) + 2**40), ValueError, "becomes"),
    "bytes": ((np.zeros((26, 4), np.uint8), y), TypeError, "uint8"),
    "lengths": ((x, y[:20]), ValueError, "26 x and 20 y"),
    "empty": ((x[:0], y[:0]), ValueError, "empty"),
    "features": ((x[:, :3], y), ValueError, r"last axis 4, got shape \(26, 3\)"),
    "other targets": ((x, np.zeros((26, 2), np.float32)), TypeError, "rows of 3 class"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_data_that_cannot_be_trained_on(case):
    train, error, says = BAD[case]
    with pytest.raises(error, match=says):
        run(train=train)
    if case != "lengths":
        with pytest.raises(error, match=says):
            run(validation=train, evaluate=EVALUATE)


def test_gapped_labels_where_nobody_knows_the_classes():
    loss = lambda p, x, y: jaxbp.softmax_cross_entropy(NET.apply(p, x), y)  # noqa: E731
    train = (x, np.where(y == 1, 0, y))
    with pytest.raises(ValueError, match=r"labels are \{0,2\}; pass num_classes or remap"):
        run(jax.value_and_grad(loss), train=train)
    assert run(jax.value_and_grad(loss), train=Dataset(*train, num_classes=3)).stopped == "finished"


def test_targets_that_would_broadcast():
    net = jaxbp.dense(4, 1)
    grad_fn = jaxbp.value_and_grad(net, jaxbp.squared_error)
    with pytest.raises(ValueError, match=r"y of f's shape \(8, 1\), got shape \(8,\); add the axis"):
        run(grad_fn, draw_params(net, "float32"), (x, x[:, 0]))


def test_what_is_held_out_is_evaluated_by_the_network_and_loss_of_grad_fn():
    own = run(epochs=2, validation=data(9))
    given = run(epochs=2, validation=data(9), evaluate=EVALUATE)
    assert own.history.keys() == given.history.keys() > {"val_loss", "val_accuracy"}
    for name in ("val_loss", "val_accuracy"):
        np.testing.assert_array_equal(own.history[name], given.history[name])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"batch_size": 64}, ValueError, "batch_size 64 > 26 examples"),
        ({"batch_size": 0}, ValueError, "batch_size 0"),
        ({"epochs": 0}, ValueError, "epochs a whole number of at least 1, got"),
        ({"evaluate": EVALUATE}, ValueError, "validation and evaluate together, got only evaluate"),
        ({"validation": data(), "grad_fn": lambda p, x, y: GRAD(p, x, y)}, ValueError,
         "got only validation; e.g. evaluate=jaxbp.make_evaluate"),
        ({"early_stopping": jaxbp.EarlyStopping(3)}, ValueError, "monitor to be one of .* got 'val_loss'"),
        ({"checkpoints": jaxbp.Checkpoints("none", monitor="val_loss")}, ValueError,
         "checkpoints: expected monitor to be one of epoch, seconds, loss, got 'val_loss'"),
        ({"grad_fn": lambda p, x, y: (x.sum(0), p)}, TypeError,
         r"a scalar loss .* got a loss that is float32 of shape \(4,\)"),
        ({"grad_fn": lambda p, x, y: (x.sum(), p[1])}, TypeError, "a tree like params"),
    ],
)  # fmt: skip
def test_calls_that_cannot_be(options, error, says):
    with pytest.raises(error, match=says):
        run(**options)


def test_accuracy_refuses_nan():
    x, y = jnp.array([[jnp.nan, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
    evaluate = jaxbp.make_evaluate(lambda p, x: x, lambda f, y: f.sum())
    assert jnp.isnan(evaluate({}, x, y)["accuracy"])


SHOWN = {"optimizer": optax.sgd(0.1), "epochs": 2, "batch_size": 8, "key": jax.random.key(0)}


def test_progress_is_seen_before_the_first_epoch(capsys):
    jaxbp.fit(GRAD, draw_params(NET, "float32"), data(), **SHOWN)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["compiling", "compiled", "epoch", "epoch"]


@pytest.mark.soak
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path):
    """The interrupted run is given again as it was; parameters, state and history are the same bits."""
    options = {
        "optimizer": optax.adam(0.05),
        "epochs": 7,
        "validation": data(10, seed=2),
        "evaluate": EVALUATE,
        "early_stopping": jaxbp.EarlyStopping(patience=7),
    }
    straight = run(**options)
    checkpoints = jaxbp.Checkpoints(tmp_path, every=2, keep=2)
    cut = run(checkpoints=checkpoints, callbacks=[press_ctrl_c_at(3)], **options)
    assert (cut.stopped, len(cut.history["loss"])) == ("interrupted", 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch_000002.npz", "epoch_000003.npz"]
    resumed = run(checkpoints=checkpoints, **options)
    for part in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(resumed, part), getattr(straight, part))
    for column in ("epoch", "loss", "val_loss", "val_accuracy"):
        np.testing.assert_array_equal(resumed.history[column], straight.history[column])
    assert (resumed.best_epoch, resumed.stopped) == (straight.best_epoch, "finished")
    again = run(checkpoints=checkpoints, **options)  # there is nothing left to do
    jax.tree.map(np.testing.assert_array_equal, again.params, straight.params)


def press_ctrl_c_at(epoch):
    return lambda record: record["epoch"] == epoch and os.kill(os.getpid(), signal.SIGINT)


def test_checkpoints_of_another_run_are_refused(tmp_path):
    checkpoints = jaxbp.Checkpoints(tmp_path)
    run(checkpoints=checkpoints)
    with pytest.raises(ValueError, match="batch_size was 8, is 13"):
        run(checkpoints=checkpoints, batch_size=13)


def test_short_epochs_run_together_and_give_the_same_bits():
    """With callbacks epochs run one by one; the history and the parameters are the same."""
    together, one_by_one = run(epochs=40), run(epochs=40, callbacks=[lambda record: None])
    jax.tree.map(np.testing.assert_array_equal, together.params, one_by_one.params)
    np.testing.assert_array_equal(together.history["loss"], one_by_one.history["loss"])


def test_the_next_run_with_the_same_functions_compiles_nothing():
    traces = []

    def counted(params, x, y):
        traces.append(x.shape)
        return GRAD(params, x, y)

    optimizer = optax.sgd(0.1)
    run(counted, optimizer=optimizer)
    once = len(traces)
    run(counted, optimizer=optimizer, key=jax.random.key(9))
    assert len(traces) == once


def test_a_compiler_option_that_is_gone_costs_only_speed(monkeypatch):
    """They are no part of XLA's stable interface."""
    expected = run()
    monkeypatch.setattr(program_cache, "_OPTIONS", {"xla_cpu_of_another_version": True})
    again = run(lambda params, x, y: GRAD(params, x, y))
    np.testing.assert_allclose(again.history["loss"], expected.history["loss"], rtol=1e-6)


def test_a_run_that_stopped_early_is_not_taken_up_again(tmp_path):
    options = {
        "validation": data(40, seed=2),
        "evaluate": EVALUATE,
        "epochs": 60,
        "early_stopping": jaxbp.EarlyStopping(patience=2, monitor="val_accuracy", mode="max"),
        "checkpoints": jaxbp.Checkpoints(tmp_path, every=50),
    }
    first, again = run(**options), run(**options)
    assert first.stopped == again.stopped == "early"
    np.testing.assert_array_equal(first.history["loss"], again.history["loss"])


@pytest.mark.parametrize(
    ("preprocess", "got"),
    [(lambda x: x - 128, r"uint8 \(26, 4\)"), (lambda x: x[:-1] / 255, r"float32 \(25, 4\)")],
    ids=["integers", "fewer rows"],
)
def test_a_preprocess_that_gives_no_rows_of_floats_is_refused(preprocess, got):
    pixels, y = np.zeros((26, 4), np.uint8), data()[1]
    with pytest.raises(
        TypeError, match=f"preprocess to give a row of floats for each example, got {got}; e.g. lambda"
    ):
        run(train=(pixels, y), preprocess=preprocess)
