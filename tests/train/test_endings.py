"""Runs that end badly: the exact iteration is named, and what was learned is kept and said."""

import os
import signal
import threading
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.train.interrupt import asked_to_stop
from tests.train.test_fit import EVALUATE, GRAD, NET, data, press_ctrl_c, run


def spike(at, factor=1e25):
    """The gradient of one iteration times ``factor``: finite, and its square is not."""

    def update(grads, count, params=None):
        return jax.tree.map(lambda g: g * jnp.where(count == at, factor, 1.0), grads), count + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


def spiked(at, factor=1e25):
    return optax.chain(spike(at, factor), optax.adam(0.01))


def mesh():
    return {"mesh": jax.make_mesh((jax.device_count(),), ("data",)), "batch_size": 8 * jax.device_count(),
            "train": data(26 * jax.device_count())}  # fmt: skip


SAID = "stopping after this epoch; press Ctrl-C again to abort"
HELD = {"validation": data(10, seed=2), "evaluate": EVALUATE}
ENGINES = {
    "resident": dict,
    "one batch": lambda: {"batch_size": 26},
    "stream": lambda: {"batch_size": 4, "memory_budget": 400},
    "mesh": mesh,
    "early stopping": lambda: {**HELD, "early_stopping": jaxbp.EarlyStopping(50)},
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", [0, 6, 13], ids=lambda at: f"iteration {at}")
def test_an_overflow_of_the_optimizer_is_located(engine, at):
    """Loss, gradient and parameters stay finite; Adam's second moment does not, and learns no more."""
    options = ENGINES[engine]()
    N, batch_size = len(options.get("train", data())[0]), options.get("batch_size", 8)
    q = -(-N // batch_size)
    with pytest.raises(jaxbp.DivergenceError) as caught:
        run(optimizer=spiked(at), epochs=20, **options)
    said, result = str(caught.value), caught.value.result
    assert f"epoch {at // q + 1}, iteration {at % q + 1} of {q}: expected a finite optimizer state" in said
    assert "got inf in [1][0].nu[1]['W']" in said
    assert result.step == at == result.opt_state[0]
    assert len(result.history["epoch"]) == at // q
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((result.params, result.opt_state)))


def test_a_network_of_a_sweep_whose_optimizer_overflows_is_marked():
    x, y = data()
    result = jaxbp.sweep(
        GRAD, NET.init, (x, y), optimizer=lambda factor: spiked(5, factor), seeds=2, epochs=12, batch_size=8,
        hyperparameters={"factor": [1.0, 1e25]}, key=jax.random.key(0), progress_bar=False,
    )  # fmt: skip
    assert result.diverged.tolist() == [False, False, True, True]
    assert np.isnan(result.history["loss"][2:, -1]).all()


def holding(first, then):
    """An optimizer whose state holds ``first`` and, after an iteration, ``then``."""
    kept = optax.GradientTransformation(
        lambda params: {"value": jnp.asarray(first), "n": jnp.int32(2**31 - 1)},
        lambda grads, state, params=None: (grads, state | {"value": jnp.asarray(then), "n": state["n"]}),
    )
    return optax.chain(kept, optax.sgd(0.1))


@pytest.mark.parametrize(
    "optimizer",
    [
        holding(np.float32(np.inf), np.float32(1)),  # the best value of a plateau
        holding(np.float32(np.inf), np.float32(np.inf)),
        holding(np.float32([np.nan, 1]), np.float32([np.nan, 2])),
        holding(np.int32(0), np.int32(-1)),
        optax.apply_if_finite(optax.adam(0.1), 3),
    ],
    ids=["inf first", "inf always", "NaN always", "integers", "apply_if_finite"],
)
@pytest.mark.parametrize("budget", [None, 400], ids=["resident", "stream"])
def test_a_state_that_may_hold_infinity_is_no_alarm(optimizer, budget):
    result = run(optimizer=optimizer, epochs=3, batch_size=4, memory_budget=budget)
    assert result.stopped == "finished"


@pytest.mark.soak
def test_the_norm_of_a_skipped_gradient_may_overflow():
    skip = lambda *a: optax.skip_large_updates(*a, max_squared_norm=1e20)  # noqa: E731

    def grad_fn(params, x, y):
        loss, grads = GRAD(params, x, y)
        return loss, jax.tree.map(lambda g: g * 1e25, grads)

    result = run(grad_fn, optimizer=optax.MultiSteps(optax.adam(0.1), 1, should_skip_update_fn=skip))
    assert np.isinf(result.opt_state.skip_state["norm_squared"])
    assert result.stopped == "finished"


@pytest.mark.soak
def test_one_entry_that_breaks_beside_one_that_was_infinite():
    first, then = np.float32([np.inf, 1]), np.float32([np.inf, np.nan])
    with pytest.raises(jaxbp.DivergenceError, match=r"iteration 1 of 4: .* got nan in \[0\]\['value'\]"):
        run(optimizer=holding(first, then))


def raising(epoch, error):
    def callback(record):
        if record["epoch"] == epoch:
            raise error

    return callback


@pytest.mark.parametrize("error", [KeyError("mine"), GeneratorExit(), SystemExit(3)], ids=repr)
def test_an_exception_in_a_callback_loses_nothing(error, tmp_path):
    checkpoints, straight = jaxbp.Checkpoints(tmp_path, every=10), run(epochs=9)
    with pytest.raises(type(error)) as caught:
        run(epochs=9, checkpoints=checkpoints, callbacks=[raising(7, error)])
    assert [file.name for file in tmp_path.glob("*.npz")] == ["epoch_000007.npz"]
    assert caught.value.result.history["epoch"].tolist() == [*range(1, 8)]
    (note,) = caught.value.__notes__
    assert note.startswith("fit: 7 epochs of this run are in this exception's .result; epoch 7 is kept in ")
    assert str(tmp_path) in note
    resumed = run(epochs=9, checkpoints=checkpoints)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, straight.params)
    error.__notes__.clear()


def test_without_a_folder_the_exception_has_what_was_learned():
    with pytest.raises(KeyError) as caught:
        run(epochs=9, callbacks=[raising(4, KeyError())])
    result = caught.value.result
    assert (result.stopped, len(result.history["epoch"])) == ("interrupted", 4)
    jax.tree.map(np.testing.assert_array_equal, result.params, run(epochs=4).params)


def test_an_exception_before_the_first_epoch_says_nothing_of_a_result():
    with pytest.raises(ValueError, match="batch_size") as caught:
        run(batch_size=99)
    assert not hasattr(caught.value, "result")
    assert not hasattr(caught.value, "__notes__")


def test_a_second_ctrl_c_has_what_was_learned(tmp_path):
    presses = [press_ctrl_c, press_ctrl_c]
    with pytest.raises(KeyboardInterrupt) as caught:
        run(epochs=50, callbacks=presses, checkpoints=jaxbp.Checkpoints(tmp_path, every=9))
    assert len(caught.value.result.history["epoch"]) == 2
    assert [file.name for file in tmp_path.glob("*.npz")] == ["epoch_000002.npz"]


def test_a_full_disk_leaves_the_last_good_epoch_and_the_result(tmp_path, monkeypatch):
    checkpoints, save = jaxbp.Checkpoints(tmp_path), jaxbp.Checkpoints.save

    def full(self, epoch, *rest):
        if epoch > 3:
            raise OSError(28, "No space left on device")
        save(self, epoch, *rest)

    monkeypatch.setattr(jaxbp.Checkpoints, "save", full)
    with pytest.raises(OSError, match="No space left") as caught:
        run(epochs=9, checkpoints=checkpoints)
    assert len(caught.value.result.history["epoch"]) == 4
    assert "epoch 3 is kept in" in caught.value.__notes__[0]
    monkeypatch.undo()
    resumed = run(epochs=9, checkpoints=checkpoints)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, run(epochs=9).params)


@pytest.mark.soak
def test_a_diverged_run_keeps_its_last_epoch(tmp_path):
    """The error has the state before the bad iteration, the folder that of the last whole epoch."""
    checkpoints = jaxbp.Checkpoints(tmp_path, every=50)
    with pytest.raises(jaxbp.DivergenceError) as caught:
        run(optimizer=spiked(4 * 5 + 2), epochs=30, checkpoints=checkpoints)
    assert [file.name for file in tmp_path.glob("*.npz")] == ["epoch_000005.npz"]
    assert "epoch 5 is kept in" in caught.value.__notes__[0]
    assert caught.value.result.step == 22
    wider = jaxbp.Checkpoints(tmp_path, accept=("optimizer", "schedule"))
    with pytest.warns(UserWarning, match="as accept= says"):
        result = run(optimizer=spiked(10**6), epochs=7, checkpoints=wider)
    jax.tree.map(np.testing.assert_array_equal, result.params, run(optimizer=spiked(10**6), epochs=7).params)


def test_ctrl_c_is_acknowledged_while_the_device_works():
    """The main thread waits for the device, where Python's own handlers do not run."""
    said = []
    slow = jax.jit(lambda x: jax.pure_callback(lambda x: time.sleep(1.5) or x, x, x))

    def tell(text):
        said.append(text)

    with asked_to_stop(False, tell) as asked:
        press = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        press.start()
        threading.Timer(1.0, lambda: said.append("the device still works")).start()
        np.asarray(slow(jnp.float32(1)))
        assert asked()
    time.sleep(0.1)
    assert said == [SAID, "the device still works"]


def test_the_acknowledgement_is_shown(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich.progress", None)
    x, y = data()
    options = {"optimizer": optax.sgd(0.1), "epochs": 9, "batch_size": 8, "key": jax.random.key(0)}

    def press_and_wait(record):
        press_ctrl_c(record)
        time.sleep(0.2)

    result = jaxbp.fit(GRAD, NET.init(jax.random.key(0)), (x, y), callbacks=[press_and_wait], **options)
    assert result.stopped == "interrupted"
    assert SAID in capsys.readouterr().err.splitlines()


def test_a_metric_that_is_never_a_number_is_said():
    def evaluate(params, x, y):
        return EVALUATE(params, x, y) | {"f1": jnp.nan}

    options = {"validation": data(10), "evaluate": evaluate}
    with pytest.warns(UserWarning, match="expected val_f1 to be a number in some epoch, got NaN in all 3"):
        run(**options)
    stopping = jaxbp.EarlyStopping(2, "val_f1", "min")
    with pytest.warns(UserWarning, match="no epoch was the best, the parameters are the last"):
        result = run(early_stopping=stopping, epochs=9, **options)
    assert (result.stopped, result.best_epoch) == ("early", 2)


@pytest.mark.parametrize(
    ("early", "late", "said"),
    [("inf", "inf", "inf"), ("-inf", "-inf", "-inf"), ("nan", "inf", "NaN or inf"), ("inf", "1", "")],
)
def test_a_metric_that_is_never_finite_is_said(early, late, said):
    def evaluate(params, x, y):
        return {"m": jnp.where(jnp.round(params["t"]) <= 4, float(early), float(late))}

    def grad_fn(params, x, y):
        loss, grads = GRAD(params["net"], x, y)
        return loss, {"net": grads, "t": jnp.float32(-10)}

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run(
            grad_fn, {"net": NET.init(jax.random.key(0)), "t": jnp.float32(0)}, epochs=3, evaluate=evaluate,
            validation=data(10), early_stopping=jaxbp.EarlyStopping(5, "val_m", "min"),
        )  # fmt: skip
    found = [str(warning.message) for warning in seen if "val_m" in str(warning.message)]
    assert [f"got {said} in all" in text for text in found] == [True] * bool(said), found


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_never_the_best(mode):
    """NaN in the first epoch, and in one in the middle."""
    seen = []

    def evaluate(params, x, y):
        step = jnp.round(params["t"])
        return {"m": jnp.where((step == 4) | (step == 12), jnp.nan, step % 20)}

    def grad_fn(params, x, y):
        loss, grads = GRAD(params["net"], x, y)
        return loss, {"net": grads, "t": jnp.float32(-10)}

    result = run(
        grad_fn, {"net": NET.init(jax.random.key(0)), "t": jnp.float32(0)}, epochs=8, evaluate=evaluate,
        validation=data(10), early_stopping=jaxbp.EarlyStopping(20, "val_m", mode), callbacks=[seen.append],
    )  # fmt: skip
    column = result.history["val_m"]
    assert np.isnan(column[[0, 2]]).all()
    assert result.best_epoch == (np.nanargmin if mode == "min" else np.nanargmax)(column) + 1
    jax.tree.map(np.testing.assert_array_equal, result.params, seen[result.best_epoch - 1]["params"])
