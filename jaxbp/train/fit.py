"""`fit`: train any gradient function on arrays, an epoch at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import optax
from jax.sharding import Mesh

from jaxbp import arguments
from jaxbp.data import Dataset
from jaxbp.data.weights import ClassWeight
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.description import describe
from jaxbp.train.engines.resident import Resident
from jaxbp.train.engines.stream import Stream
from jaxbp.train.interrupt import asked_to_stop
from jaxbp.train.programs.step import Data, Evaluate, GradFn, Preprocess
from jaxbp.train.progress import Record, progress
from jaxbp.train.result import EarlyStopping, Result
from jaxbp.train.run import Engine, Plan, Run, keep, warn_never_finite
from jaxbp.train.sharding import Layout
from jaxbp.train.start import assert_optimizer, assert_start
from jaxbp.train.validate import (
    assert_callbacks,
    assert_inputs,
    assert_monitors,
    assert_options,
)
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
    callbacks: Sequence[Callable[[Record], bool | None]] = (),
    opt_state: Any = None,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    memory_budget: int | None = None,
    preprocess: Preprocess | None = None,
    class_weight: ClassWeight | None = None,
    shuffle: bool = True,
    progress_bar: bool = True,
) -> Result:
    """Mini-batch training: in each iteration, params += optimizer(grad of the loss of one batch).

    With ``optax.sgd(eta)`` that is the lecture's W := W - eta delta_W. An *iteration* is one update, an
    *epoch* one pass over the data, in a fresh random order unless ``shuffle=False``. ``batch_size=len(x)``
    is batch training, 1 is iterative training, anything between is mini-batch training. Where batch_size
    does not divide N, the epoch's last iteration takes the examples that are left; its loss is the mean of
    those.

    The whole epoch, evaluation included, is one program, compiled once for the run; data and state stay
    on the device. The same key gives the same result, bit for bit, on the same devices.

    Args:
        grad_fn: ``(params, x, y) -> (loss, grads)``: `jaxbp.value_and_grad` of a network, or
            `jax.value_and_grad` of any loss function. If it has an argument ``key``, each iteration gives
            it its own (dropout); for data with weights it has an argument ``weight``.
        params: where to start; any pytree of floating-point arrays. It is left as it is. Or the `Result` of
            an earlier run, to go on from its end: ``epochs`` more with its parameters and optimizer state,
            and with the epoch numbers, orders and keys that come next. 5 epochs and 5 more are then the
            same bits as 10. (After a DivergenceError the epoch that broke off begins anew.)
        data: (x, y), two arrays of N examples along their first axis, (x, y, weight), or a
            `jaxbp.data.Dataset`. Integer y are class labels. x and y may be trees of arrays, such as dicts.
            The weights say what each example counts, from 0 on: the loss of a batch is the weighted mean
            (see `jaxbp.losses.Loss`), and so is that of an epoch. All are checked once, on the host: see
            `jaxbp.data.assert_data`.
        optimizer: any optax optimizer, with its schedule.
        key: for the order of the data, and for grad_fn's key.
        batch_size: examples an iteration, 1 to N.
        epochs: passes over the data, at most.
        validation: (x, y) that are never trained on, for ``evaluate``; or (x, y, weight).
        evaluate: ``(params, x, y) -> {name: scalar}``, run on ``validation`` after each epoch; in the
            history its names begin with ``val_``. For validation data with weights it has an argument
            ``weight``. See `make_evaluate`.
        early_stopping: see `EarlyStopping`.
        callbacks: called after each epoch with a dict: the epoch's row of the history, and a copy of the
            parameters under ``"params"``, of the optimizer's state under ``"opt_state"``. One that returns
            True or raises StopIteration ends the run after this epoch, when the others were called too; of
            many processes it is enough that one does.
        opt_state: an optimizer state to begin with; by default a fresh one. It does not tell how many epochs
            lie behind: the run begins at epoch 1, and so as to repeat no order and no key it takes others
            than ``key`` alone would give. To go on where an earlier run ended, give its `Result` as params.
        mesh: devices to train on together, from `jax.make_mesh`: its axis "data" divides each batch, an
            axis "model" the parameters (see `Layout`). With one process the batches are those of one
            device; with many, each gives its own examples, the same number, and everything else alike, and
            ``batch_size`` is that of all together.
        checkpoints: where to keep the run, see `Checkpoints`. A run that finds one in the folder goes on from
            it, bit for bit on the same devices: after an interruption, give the same command again; it may
            ask for more epochs. Other data (compared by a digest; of arrays above 256 MiB by 4,096 of their
            rows), another network, optimizer, schedule or start are named and refused, unless
            ``Checkpoints(accept=...)`` takes them. SIGTERM then ends a run as Ctrl-C does, and the last
            epoch is always kept, whatever ends the run.
        memory_budget: the bytes that x and y may take, on the host as on each device. Data that are larger,
            such as `jaxbp.data.open_idx` and ``np.load(file, mmap_mode="r")`` give, stream through in chunks,
            the next one gathered while the device trains on this one; the batches are the same. On top come,
            for each example, 16 bytes for its place in the order and 4 for a class label that is no int32,
            and the validation data. None keeps all data on the device.
        preprocess: makes of x, as data and validation hold it, the x that grad_fn and evaluate take. With
            ``lambda x: x / 255`` uint8 pixels lie on host and device as they are, in a quarter of the bytes;
            it is applied to each mini-batch inside the compiled epoch.
        class_weight: what the examples of each class count, ``{label: weight}``, a number for each class or
            ``"balanced"``, times weights of their own. Validation data have only their own.
        shuffle: False takes the examples in the given order in every epoch.
        progress_bar: show the epochs as they pass.

    Returns:
        A `Result`. Ctrl-C ends the run after the epoch it is in and returns what was learned so far; a
        second Ctrl-C aborts. Of many processes it is enough that one is asked to stop. A warning names each
        metric that was NaN or infinite in every epoch; NaN is never the best of a monitor.

    Raises:
        TypeError, ValueError: before the first epoch, for any argument that is not as said above: data that
            cannot be trained on (see `jaxbp.data.assert_data`), parameters that are no finite floats, an
            optimizer that was not made, a grad_fn that does not return (scalar loss, tree like params), an
            evaluate that does not return {name: scalar}, a preprocess that gives no row of floats for each
            example, ``validation`` without ``evaluate`` or the reverse, a monitor that is no column of the
            history, a state of another optimizer, numbers out of range, a memory_budget below one batch.
        ValueError: for checkpoints of another run.
        OSError: where the checkpoints' folder cannot be written, or another run is using it.
        RuntimeError: where another process ended.
        DivergenceError: a FloatingPointError, when the loss, the updated parameters or the optimizer's state
            stop being finite. It names the epoch and the iteration (and the leaf of the state), and its
            ``result`` has the parameters from before it.
        Any exception that ends the run after an epoch, a callback's or a second Ctrl-C, has what was learned
            in an attribute ``result`` too, and a note that says what is kept where.

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
    memory_budget, progress_bar = assert_options(early_stopping, checkpoints, memory_budget, progress_bar)
    callbacks, optimizer = assert_callbacks(callbacks), assert_optimizer("fit", optimizer)
    start, key = assert_start(params, opt_state, optimizer, arguments.key("fit", key))
    layout = Layout.over(mesh)
    train, held_out, batch_size, epochs, streams = assert_inputs(
        "fit", grad_fn, start.params, data, validation, evaluate, batch_size, epochs,
        preprocess=preprocess, class_weight=class_weight, processes=layout.processes,
        memory_budget=memory_budget,
    )  # fmt: skip
    layout.assert_batches(batch_size, len(train))
    shuffle = arguments.flag("fit", "shuffle", shuffle)
    plan = Plan(grad_fn, optimizer, evaluate, batch_size, key, train, held_out, layout, preprocess, shuffle)
    monitors = {"early_stopping": early_stopping, "checkpoints": checkpoints}
    assert_monitors(monitors, plan, start.params, streams)
    one_by_one = bool(callbacks) or early_stopping is not None

    with layout.together(), checkpoints.prepare() if checkpoints else nullcontext():
        run = Run.started(*start, plan, early_stopping)
        epochs += run.epoch
        config: dict[str, Any] = {}
        try:
            with (
                progress(epochs, progress_bar) as show,
                asked_to_stop(checkpoints is not None, show) as interrupted,
                ThreadPoolExecutor(1, "jaxbp-stream") as pool,
                layout.together(),
            ):
                show("compiling")
                config = describe(plan, run.state.params, early_stopping) if checkpoints else {}
                run = run.resumed(checkpoints, config)
                if run.kept:
                    show(f"going on after epoch {run.kept}")
                engine = make_engine(plan, run, epochs, memory_budget if streams else None, pool)
                run = run._replace(compile_seconds=engine.compile_seconds)
                show(f"compiled in {engine.compile_seconds:.1f} s, training")
                while most := run.left(epochs, checkpoints):
                    if layout.any(interrupted()):
                        run = run._replace(stopped="interrupted")
                        break
                    before = run.epoch
                    run = run.after(engine.run(run.state, before + 1, 1 if one_by_one else most), plan)
                    for row in run.rows[before:]:
                        show(row)
                    if callbacks and layout.any(ended(callbacks, run)):
                        run = run._replace(stopped="callback")
                    if checkpoints and checkpoints.due(run.epoch):
                        run = run.saved(checkpoints, config)
                run = run.saved(checkpoints, config)  # the last epoch, wherever the run was ended
        except BaseException as error:
            keep(error, run, checkpoints, config)
            raise
    result = run.result()
    warn_never_finite(result, early_stopping)
    return result


def ended(callbacks: Sequence[Callable[[Record], Any]], run: Run) -> bool:
    """Call each with the last epoch; whether one of them ends the run."""
    answers = []
    for callback in callbacks:
        record = run.record()
        try:
            answer = callback(record)
        except StopIteration:
            answer = True
        answers.append(isinstance(answer, bool | np.bool_) and bool(answer))
    return any(answers)


def make_engine(
    plan: Plan, run: Run, epochs: int, memory_budget: int | None, pool: ThreadPoolExecutor
) -> Engine:
    """What runs the epochs that are left: on a stream where there is a budget, else on the device."""
    if memory_budget is None:
        return Resident(plan, epochs - run.epoch, run.state)
    return Stream(plan, range(run.epoch + 1, epochs + 1), memory_budget, run.state, pool)
