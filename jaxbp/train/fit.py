"""`fit`: train any gradient function on arrays, an epoch at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxbp import errors
from jaxbp.data import Dataset
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.validate import arrays, assert_inputs
from jaxbp.train.interrupt import asked_to_stop
from jaxbp.train.sharding import Layout
from jaxbp.train.epoch_program import Data, Evaluate, GradFn, Preprocess, State, mean_loss
from jaxbp.train.run import Plan
from jaxbp.train.progress import Record, progress
from jaxbp.train.engine_resident import Resident
from jaxbp.train.result import Best, DivergenceError, EarlyStopping, Result, Stopped
from jaxbp.train.engine_stream import Stream
from jaxbp.typing import Params, Random


def fit(
    grad_fn: GradFn,
    params: Params,
    data: Data | Dataset,
    *,
    optimizer: optax.GradientTransformation,
    key: Random,
    batch_size: int = 32,
    epochs: int = 10,
    validation: Data | Dataset | None = None,
    evaluate: Evaluate | None = None,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callable[[Record], None]] = (),
    opt_state: Any = None,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    memory_budget: int | None = None,
    preprocess: Preprocess | None = None,
    progress_bar: bool = True,
) -> Result:
    """Mini-batch training: in each iteration, params += optimizer(grad of the loss of one batch).

    With ``optax.sgd(eta)`` that is the lecture's W := W - eta delta_W. An *iteration* is one update, an
    *epoch* one pass over the data in a fresh random order. ``batch_size=len(x)`` is batch training, 1 is
    iterative training, anything between is mini-batch training. Where batch_size does not divide N, the
    epoch's last iteration takes the examples that are left; its loss is the mean of those.

    The whole epoch, evaluation included, is one program, compiled once for the run; data and state stay
    on the device. The same key gives the same result, bit for bit, on the same devices.

    Args:
        grad_fn: ``(params, x, y) -> (loss, grads)``: `jaxbp.value_and_grad` of a network, or
            `jax.value_and_grad` of any loss function. If it has an argument ``key``, each iteration gives
            it its own (dropout).
        params: where to start; any pytree of arrays. It is left as it is.
        data: (x, y), two arrays of N examples along their first axis, or a `jaxbp.data.Dataset`. Integer
            y are class labels. They are checked once, on the host: see `jaxbp.data.assert_data`.
        optimizer: any optax optimiser, with its schedule.
        key: for the order of the data, and for grad_fn's key.
        batch_size: examples an iteration, 1 to N.
        epochs: passes over the data, at most.
        validation: (x, y) that are never trained on, for ``evaluate``.
        evaluate: ``(params, x, y) -> {name: scalar}``, run on ``validation`` after each epoch; in the
            history its names begin with ``val_``. See `make_evaluate`.
        early_stopping: see `EarlyStopping`.
        callbacks: called after each epoch with a dict: the epoch's row of the history, and a copy of the
            parameters under ``"params"``.
        opt_state: the state to continue with, from an earlier `Result`; by default a fresh one.
        mesh: devices to train on together, from `jax.make_mesh`: its axis "data" divides each batch, an
            axis "model" the parameters (see `Layout`). With one process the batches are those of one
            device; with many, each gives its own examples, the same number, and everything else alike, and
            ``batch_size`` is that of all together.
        checkpoints: where to keep the run, see `Checkpoints`. A run that finds one in the folder goes on from
            it, bit for bit on the same devices: after an interruption, give the same command again. SIGTERM
            then ends a run as Ctrl-C does, and the last epoch is always kept.
        memory_budget: the bytes that x and y may take, on the host as on each device. Data that are larger,
            such as `jaxbp.data.open_idx` and ``np.load(file, mmap_mode="r")`` give, stream through in chunks,
            the next one gathered while the device trains on this one; the batches are the same. On top come,
            for each example, 16 bytes for its place in the order and 4 for a class label that is no int32,
            and the validation data. None keeps all data on the device.
        preprocess: makes of x, as data and validation hold it, the x that grad_fn and evaluate take. With
            ``lambda x: x / 255`` uint8 pixels lie on host and device as they are, in a quarter of the bytes;
            it is applied to each mini-batch inside the compiled epoch.
        progress_bar: show the epochs as they pass.

    Returns:
        A `Result`. Ctrl-C ends the run after the epoch it is in and returns what was learned so far; a
        second Ctrl-C aborts at once. Of many processes it is enough that one is asked to stop.

    Raises:
        ValueError, TypeError: for data that cannot be trained on (see `jaxbp.data.assert_data`).
        ValueError: for checkpoints of a run with another batch_size, key, number of examples or parameters.
        ValueError: for a batch_size or epochs out of range, ``validation`` without ``evaluate`` or the
            reverse, or a monitor that is no column of the history.
        ValueError: for a memory_budget that not even single batches fit in.
        TypeError: for a grad_fn that does not return a scalar loss and a tree like params, or a preprocess
            that gives no row of floats for each example.
        RuntimeError: where another process ended.
        DivergenceError: a FloatingPointError, when the loss or the updated parameters stop being finite. It
            names the epoch and the iteration, and its ``result`` has the parameters from before it.

    Example: a line through (0, 1), (1, 3), (2, 5).
        >>> import jaxbp
        >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[1.0], [3.0], [5.0]])
        >>> net = jaxbp.dense(1, 1)
        >>> grad_fn = jaxbp.value_and_grad(net, jaxbp.squared_error)
        >>> result = fit(grad_fn, net.init(jax.random.key(0)), (x, y), optimizer=optax.sgd(0.3),
        ...              key=jax.random.key(1), batch_size=3, epochs=200, progress_bar=False)
        >>> print(result.params["W"].round(3), result.params["b"].round(3))
        [[2.]] [1.]

    Source: the lecture, "batch, mini-batch, iterative training" and "iteration, epoch".
    """
    engine: Stream | Resident
    streams = memory_budget is not None and _bytes(data) > memory_budget
    layout = Layout.over(mesh)
    train, held_out = assert_inputs(
        "fit", grad_fn, params, data, validation, evaluate, batch_size, epochs,
        preprocess=preprocess, processes=layout.processes, narrow=not streams,
    )  # fmt: skip
    N = len(train) * layout.processes
    layout.assert_batches(batch_size, len(train))

    with (
        progress(epochs, progress_bar) as show,
        asked_to_stop(checkpoints is not None) as interrupted,
        ThreadPoolExecutor(1, "jaxbp-stream") as pool,
        layout.together(),
    ):
        show("compiling")
        state = layout.state(_start(params, optimizer, opt_state, key), optimizer)
        best = Best(early_stopping)
        rows: list[Record] = []
        config = _config(batch_size, N, key, early_stopping)
        if checkpoints and (found := checkpoints.latest(_kept(state, best), config=config)):
            (state, best.params), meta = found
            best.value, best.epoch = meta["best_value"], meta["best_epoch"]
            rows = meta["rows"]
            show(f"going on after epoch {len(rows)}")
        plan = Plan(grad_fn, optimizer, evaluate, batch_size, key, train, held_out, layout, preprocess)
        for name, asking in (("early_stopping", early_stopping), ("checkpoints", checkpoints)):
            if asking and asking.monitor is not None:
                _assert_monitor(name, asking.monitor, plan, state.params, streams)
        if memory_budget is not None and streams:
            engine = Stream(plan, range(len(rows) + 1, epochs + 1), memory_budget, state, pool)
        else:
            engine = Resident(plan, epochs, state)
        show(f"compiled in {engine.compile_seconds:.1f} s, training")

        saved = len(rows)

        def save() -> None:
            nonlocal saved
            if checkpoints and len(rows) > saved:
                meta = {"config": config, "rows": rows, "best_value": best.value, "best_epoch": best.epoch}
                value = rows[-1][checkpoints.monitor] if checkpoints.monitor else None
                checkpoints.save(len(rows), _kept(state, best), meta, value)
                saved = len(rows)

        stopped: Stopped = "early" if rows and best.gave_up(len(rows)) else "finished"
        bad = None
        one_by_one = bool(callbacks) or early_stopping is not None
        while len(rows) < epochs and stopped == "finished":
            if layout.any(interrupted()):
                stopped = "interrupted"
                break
            left = epochs - len(rows)
            if checkpoints:
                left = min(left, checkpoints.every - len(rows) % checkpoints.every)
            ran = engine.run(state, len(rows) + 1, 1 if one_by_one else left)
            state, bad = ran.state, ran.bad
            for e, losses in enumerate(ran.losses):
                loss = mean_loss(losses, batch_size, N).item()
                row = {"epoch": len(rows) + 1, "seconds": ran.seconds, "loss": loss}
                row |= {} if ran.waited is None else {"waited": ran.waited}
                rows.append(row | {f"val_{name}": values[e].item() for name, values in ran.metrics.items()})
                show(rows[-1])
            if bad is not None:
                stopped = "diverged"
                break
            best.see(rows[-1], state.params)
            for callback in callbacks:  # a copy: what a state lies in is used again
                callback(rows[-1] | {"params": jax.tree.map(jnp.copy, state.params)})
            if best.gave_up(len(rows)):
                stopped = "early"
            if checkpoints and checkpoints.due(len(rows)):
                save()
        if bad is None:
            save()  # the last epoch, wherever the run was ended

    columns = rows[-1] if rows else ("epoch", "seconds", "loss")
    history = {  # the part of the run before a checkpoint may have streamed or not
        name: np.array([row[name] for row in rows]) for name in columns if all(name in row for row in rows)
    }
    kept = best.params if early_stopping and rows else state.params
    best_epoch = best.epoch if early_stopping else len(rows)
    result = Result(kept, state.opt_state, history, stopped, best_epoch, engine.compile_seconds)
    if bad is not None:
        raise _divergence(*bad, result)
    return result


def _divergence(losses: np.ndarray, iteration: int, result: Result) -> DivergenceError:
    """The error that names where the epoch with these losses stopped being finite."""
    bad_loss = not np.isfinite(losses[iteration])
    where = f"fit, epoch {len(result.history['epoch']) + 1}, iteration {iteration + 1} of {len(losses)}"
    expected = f"a finite {'loss' if bad_loss else 'gradient'}"
    got = str(losses[iteration]) if bad_loss else "one with NaN or infinity"
    hint = "the parameters from before it are in this error's .result; try a lower learning rate"
    return DivergenceError(errors.message(where, expected, got, hint), result)


def _start(params: Params, optimizer: optax.GradientTransformation, opt_state: Any, key: Random) -> State:
    """The first state, in buffers of its own: the caller may donate the given ones before it is used."""

    def own(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)

    params = own(params)
    opt_state = optimizer.init(params) if opt_state is None else opt_state
    return State(params, own(opt_state), own(key), jnp.int32(0))


def _assert_monitor(name: str, monitor: str, plan: Plan, params: Params, streams: bool) -> None:
    """Raises a ValueError if the monitor will be no column of the history."""
    metrics: dict[str, Any] = {}
    if plan.evaluate is not None:
        evaluate = plan.evaluate
        metrics = jax.eval_shape(lambda params: evaluate(params, *plan.held_out()), params)
    columns = ["epoch", "seconds", "loss", *["waited"] * streams, *(f"val_{metric}" for metric in metrics)]
    if monitor not in columns:
        expected = f"monitor to be one of {', '.join(columns)}"
        raise ValueError(errors.message(name, expected, repr(monitor)))


def _kept(state: State, best: Best) -> tuple[State, Params]:
    """The arrays of a checkpoint."""
    if best.stopping is None:
        return state, None
    return state, state.params if best.params is None else best.params


def _config(batch_size: int, N: int, key: Random, early_stopping: EarlyStopping | None) -> dict[str, Any]:
    """What must not change between the parts of one run; more epochs may be asked for."""
    numbers = np.asarray(jax.random.key_data(key)).tolist()
    stopping = None if early_stopping is None else early_stopping._asdict()
    return {"batch_size": batch_size, "examples": N, "key": numbers, "early_stopping": stopping}


def _bytes(data: Data | Dataset) -> int:
    x, y = arrays(data)
    return np.asarray(x).nbytes + (0 if y is x else np.asarray(y).nbytes)
