"""`fit`: train any gradient function on arrays, an epoch at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any

import optax
from jax.sharding import Mesh

from jaxbp import arguments, errors
from jaxbp.data import Dataset
from jaxbp.data.batches import Batches, batches_of
from jaxbp.data.weights import ClassWeight
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.description import describe
from jaxbp.train.engines.by_parts import assert_in_parts, parts_of_arrays, parts_of_batches
from jaxbp.train.engines.choice import make_engine
from jaxbp.train.interrupt import asked_to_stop, ended, told
from jaxbp.train.plan import Plan
from jaxbp.train.programs.evaluate import measured
from jaxbp.train.programs.metrics import Metrics
from jaxbp.train.programs.step import Data, EvalParams, Evaluate, GradFn, Preprocess
from jaxbp.train.programs.update import Averaging, average_of
from jaxbp.train.progress import Record, progress
from jaxbp.train.result import EarlyStopping, Result
from jaxbp.train.run import Run, keep, warn_never_finite
from jaxbp.train.sharding import Layout
from jaxbp.train.start import assert_averages, assert_optimizer, assert_start, carrying
from jaxbp.train.validate import (
    EPOCHS,
    assert_alone,
    assert_callbacks,
    assert_counts,
    assert_inputs,
    assert_options,
    assert_outcome,
)
from jaxbp.typing import Params, Random


def fit(
    grad_fn: GradFn,
    params: Params,
    data: Data | Dataset | Batches | Any,
    *,
    optimizer: optax.GradientTransformation,
    key: Random,
    batch_size: int | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    validation: Data | Dataset | Batches | Any = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    metrics: Metrics | None = None,
    ema: float | None = None,
    eval_params: EvalParams | None = None,
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callable[[Record], bool | None]] = (),
    opt_state: Any = None,
    model_state: Any = None,
    mesh: Mesh | None = None,
    checkpoints: Checkpoints | None = None,
    memory_budget: int | None = None,
    preprocess: Preprocess | Any | None = None,
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
            it its own (dropout); for data with weights it has an argument ``weight``. With ``has_aux=True``
            it returns ((loss, aux), grads), where aux is {name: scalar} for the history, or the next
            ``model_state``, or (model_state, {name: scalar}).
        params: where to start; any pytree of floating-point arrays. It is left as it is. Or the `Result` of
            an earlier run, to go on from its end: ``epochs`` more with its parameters and optimizer state,
            and with the epoch numbers, orders and keys that come next. 5 epochs and 5 more are then the
            same bits as 10; an optimizer with a longer schedule goes on where the old one stopped. (After a
            DivergenceError the epoch that broke off begins anew.)
        data: (x, y), two arrays of N examples along their first axis, (x, y, weight), or a
            `jaxbp.data.Dataset`. Integer y are class labels. x and y may be trees of arrays, such as dicts.
            The weights say what each example counts, from 0 on: the loss of a batch is the weighted mean
            (see `jaxbp.losses.Loss`), and so is that of an epoch. All are checked once, on the host: see
            `jaxbp.data.assert_data`. Or what yields such batches: a generator function, perhaps of the epoch,
            a DataLoader, an iterator; see `jaxbp.Batches`. Their sizes and their order are then the source's,
            ``batch_size``, ``shuffle`` and ``key`` have no say in them. A run that goes on from a checkpoint
            asks a function for the next epoch, and a loader for another pass.
        optimizer: any optax optimizer, with its schedule. It gets the value of the loss, the gradient and the
            loss as a function of the parameters, if it wants them, as `optax.lbfgs` and
            `optax.contrib.reduce_on_plateau` do: those of one batch.
        key: for the order of the data, and for grad_fn's key.
        batch_size: examples an iteration, 1 to N; by default 32, or all where there are fewer.
        epochs: passes over the data, at most; 10 where iterations are not given.
        iterations: so many in all, at most; the result then has the loss of each. Every batch is whole, and
            may reach from one pass over the data into the next. An epoch, with its row of the history, is
            then ``evaluate_every`` of them, by default as many as a pass has.
        validation: (x, y) that are never trained on, for ``evaluate``; or (x, y, weight). Or the part of the
            data that is held out, between 0 and 1: the one that `jaxbp.split` draws, with ``shuffle=False``
            the last one. Or what yields batches, as for ``data``: all of them, for each evaluation.
        evaluate: ``(params, x, y) -> {name: scalar}``, run on ``validation`` after each epoch; in the
            history its names begin with ``val_``. For validation data with weights it has an argument
            ``weight``. See `make_evaluate`; with `jaxbp.value_and_grad` it is by default that of its network
            and loss.
        evaluate_every: evaluate after every so many epochs, at their numbers; of a run that is counted in
            iterations, after every so many of those and at its end.
        metrics: those of the training batches, for the history: names or functions as in `make_evaluate`.
            Each is the mean over the epoch's examples, at the parameters of their iterations, as the loss
            is. ``validation`` without ``evaluate`` is measured by them, too. grad_fn is then
            `jaxbp.value_and_grad`'s; one of your own returns its metrics beside the loss.
        ema: evaluate, keep as the best and return an average of the parameters in place of the trained ones:
            average := ema average + (1 - ema) params after each iteration, beginning at params. It lies in
            the optimizer's state.
        eval_params: ``(opt_state, params) -> params``, those that are evaluated, kept as the best and
            returned, where the optimizer tells, e.g. `optax.contrib.schedule_free_eval_params`.
        early_stopping: see `EarlyStopping`.
        callbacks: called after each epoch with a dict: the epoch's row of the history, and a copy of the
            parameters under ``"params"``, of the optimizer's state under ``"opt_state"``. One that returns
            True or raises StopIteration ends the run after this epoch, when the others were called too; of
            many processes it is enough that one does. A method ``at_start`` of one is called with such a dict
            of epoch 0, before the first epoch, a method ``at_end`` with the `Result`. See `jaxbp.watch`.
        opt_state: an optimizer state to begin with; by default a fresh one. It does not tell how many epochs
            lie behind: the run begins at epoch 1, and so as to repeat no order and no key it takes others
            than ``key`` alone would give. To go on where an earlier run ended, give its `Result` as params.
        model_state: what changes beside the parameters and has no gradient, such as Flax's batch_stats: a
            tree of arrays. grad_fn and evaluate take it as their fourth argument, and grad_fn returns the
            next (see there). It is kept with the parameters of its epoch. Over a mesh it lies whole on each
            device, and a mean over the batch is that over the parts of all devices. The state of this
            library's layers is carried unasked, from zeros, and ``make_evaluate(net.apply, loss)`` sees it.
        mesh: devices to train on together, from `jax.make_mesh`: its axis "data" divides each batch, an
            axis "model" the parameters (see `Layout`). With one process the batches are those of one
            device; with many, each gives its own examples, the same number, and everything else alike, and
            ``batch_size`` is that of all together.
        checkpoints: where to keep the run, see `Checkpoints`. A run that finds one in the folder goes on from
            it, bit for bit on the same devices: after an interruption, give the same command again; it may
            ask for more epochs, and with ``Checkpoints(accept=("optimizer", "schedule"))`` for a longer
            schedule. Other data (compared by a digest; of arrays above 256 MiB by 4,096 of their
            rows), another network, optimizer, schedule or start are named and refused, unless
            ``Checkpoints(accept=...)`` takes them. SIGTERM then ends a run as Ctrl-C does, and the last
            epoch is always kept, whatever ends the run.
        memory_budget: the bytes that x and y may take, on the host as on each device. Data that are larger,
            such as `jaxbp.data.open_idx` and ``np.load(file, mmap_mode="r")`` give, stream through in chunks,
            the next one gathered while the device trains on this one; the batches are the same. Validation
            data that are larger go through the network part by part, if `make_evaluate` made ``evaluate``;
            its outputs are kept and measured together. On top come, for each example, 16 bytes for its place
            in the order and 4 for a class label that is no int32, and validation data below the budget. None
            keeps all data on the device, but for a sparse x (of scipy) that would take more than 64 MiB
            there: it stays sparse, and its rows become dense batch by batch.
        preprocess: makes of x, as data and validation hold it, the x that grad_fn and evaluate take. With
            ``lambda x: x / 255`` uint8 pixels lie on host and device as they are, in a quarter of the bytes;
            it is applied to each mini-batch inside the compiled epoch. Or a fitted StandardScaler, or another
            transformer of scikit-learn that shifts and scales each feature.
        class_weight: what each example of a class counts, ``{label: weight}``, 1 for the others, or a number
            for each class, or ``"balanced"``; times weights of their own. Validation data have only those.
        shuffle: False takes the examples in the given order in every epoch, as `elman`'s ``carries`` needs.
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
            example, ``evaluate`` without ``validation`` or the reverse, a monitor that is no column of the
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
        >>> import jax, jax.numpy as jnp, jaxbp
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
    assert_counts(evaluate_every, iterations, epochs, validation is not None)
    if (ema := assert_averages("fit", ema, eval_params)) is not None:
        optimizer, eval_params = Averaging(optimizer, ema), average_of
    key, in_iterations = arguments.key("fit", key), iterations is not None
    start, key = assert_start(params, opt_state, optimizer, key, model_state, in_iterations)
    shuffle = arguments.flag("fit", "shuffle", shuffle)
    carries = getattr(grad_fn, "carries", False)
    grad_fn, evaluate = measured("fit", grad_fn, metrics, evaluate, validation is not None)
    layout = Layout.over(mesh)
    asked, batches, begun = epochs, batches_of(data), iter(())
    if batches is not None:
        refused = {
            "mesh": mesh, "checkpoints": batches.once and checkpoints, "memory_budget": memory_budget,
            "class_weight": class_weight, "iterations": iterations,
            "validation as a part": isinstance(validation, float) and validation,
        }  # fmt: skip
        assert_alone("fit", refused)
        data, begun = batches.begun()
        batch_size = 1
    held, held_begun = batches_of(validation), iter(())
    if held is not None:
        assert_alone("fit", {"checkpoints": held.once and checkpoints})
        assert_in_parts(evaluate)
        validation, held_begun = held.begun()
    train, held_out, batch_size, epochs, preprocess, budget, held_budget = assert_inputs(
        "fit", grad_fn, start.params, data, validation, evaluate, batch_size,
        EPOCHS if asked is None else asked,
        preprocess=preprocess, class_weight=class_weight, shuffle=shuffle,
        model_state=start.model_state or (None,) * carries,
        processes=layout.processes, memory_budget=memory_budget,
        whole=batches is None,
    )  # fmt: skip
    batch_size = batch_size if batches is None else len(train)
    layout.assert_batches(batch_size, len(train))
    if layout.mesh is not None and (on_host := getattr(evaluate, "on_host", [])):
        expected = "metrics that are compiled, where devices train together"
        raise ValueError(errors.message("fit", expected, ", ".join(on_host), "take them of the result"))
    plan = Plan(
        grad_fn,
        optimizer,
        evaluate,
        batch_size,
        key,
        train,
        held_out,
        layout,
        preprocess,
        shuffle,
        eval_params,
        batches=batches,
    )
    if held is not None and held_out is not None:
        plan = plan._replace(parts=parts_of_batches(held, held_begun, held_out, preprocess is not None))
    elif held_budget is not None and held_out is not None:
        plan = plan._replace(parts=parts_of_arrays(held_out, held_budget))
    plan, start = carrying("fit", plan, start) if carries else (plan, start)
    if iterations is not None:
        limit = iterations if asked is None else min(iterations, epochs * plan.iterations)
        plan = plan.counting(limit, evaluate_every, start.behind)
    elif evaluate_every is not None:
        plan = plan._replace(evaluate_every=evaluate_every)
    monitors = {"early_stopping": early_stopping, "checkpoints": checkpoints}
    waits = budget is not None or batches is not None
    assert_outcome("fit", plan, partial(start.state, optimizer, key), monitors, waits)
    one_by_one = bool(callbacks) or early_stopping is not None

    with layout.together(), checkpoints.prepare() if checkpoints else nullcontext():
        run = Run.started(start, plan, early_stopping)
        total = run.epoch + epochs if plan.counted is None else plan.counted.total
        config: dict[str, Any] = {}
        try:
            with (
                progress(total, progress_bar, "iteration" if in_iterations else "epoch") as show,
                asked_to_stop(checkpoints is not None, show) as interrupted,
                ThreadPoolExecutor(1, "jaxbp-stream") as pool,
                layout.together(),
            ):
                show("compiling")
                config = describe(plan, run.state, early_stopping) if checkpoints else {}
                run = run.resumed(checkpoints, config)
                if run.kept:
                    show(f"going on after epoch {run.kept}")
                plan = plan.going_on(run.epoch, int(run.state.step))
                last = total if plan.counted is None else plan.counted.epochs
                if run.left(last, checkpoints):
                    numbers = range(run.epoch + 1, last + 1)
                    engine = make_engine(plan, run.state, numbers, budget, pool, begun)
                    run = run._replace(compile_seconds=engine.compile_seconds)
                    told(callbacks, "at_start", run.beginning)
                    show(f"compiled in {engine.compile_seconds:.1f} s, training")
                while most := run.left(last, checkpoints):
                    if layout.any(interrupted()):
                        run = run._replace(stopped="interrupted")
                        break
                    before = run.epoch
                    run = run.after(engine.run(run.state, before + 1, 1 if one_by_one else most), plan)
                    for row in run.rows[before:]:
                        show(row)
                    if callbacks and layout.any(ended(callbacks, run.record)):
                        run = run._replace(stopped="callback")
                    if checkpoints and checkpoints.due(run.epoch):
                        run = run.saved(checkpoints, config)
                run = run.saved(checkpoints, config)  # the last epoch, wherever the run was ended
                told(callbacks, "at_end", run.result)
        except BaseException as error:
            keep(error, run, checkpoints, config, lambda run: run._replace(stopped="interrupted").result())
            raise
    result = run.result()
    warn_never_finite(result, early_stopping)
    return result
