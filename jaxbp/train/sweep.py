"""`sweep`: many networks at once, over seeds and the optimiser's hyperparameters."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from numbers import Real
from typing import Literal

import jax
import numpy as np

from jaxbp import errors
from jaxbp.data import Dataset
from jaxbp.train.engine_sweep import Groups, Make, Net
from jaxbp.train.validate import assert_inputs
from jaxbp.train.interrupt import asked_to_stop
from jaxbp.train.sharding import Layout
from jaxbp.train.epoch_program import Data, Evaluate, GradFn, Preprocess
from jaxbp.train.run import Pace, Plan
from jaxbp.train.progress import progress
from jaxbp.train.sweep_result import Point, Sweep
from jaxbp.typing import Params, Random


def sweep(
    grad_fn: GradFn,
    init: Callable[[Random], Params],
    data: Data | Dataset,
    *,
    optimizer: Make,
    hyperparameters: Mapping[str, Sequence[float]],
    key: Random,
    seeds: int | Sequence[int] = 4,
    batch_size: int = 32,
    epochs: int = 10,
    validation: Data | Dataset | None = None,
    evaluate: Evaluate | None = None,
    preprocess: Preprocess | None = None,
    order: Literal["shared", "own"] = "shared",
    memory_budget: int | None = None,
    progress_bar: bool = True,
) -> Sweep:
    """Train a net for each seed at each point of a grid, all at once in one compiled program.

    The net of seed s at point p is, to rounding, that of
    ``fit(grad_fn, init(fold_in(key, s)), data, optimizer=optimizer(**p), key=key)``. As all nets see the same
    batches, their first layers are one matrix product. With ``order="own"`` each seed has an order of its
    own, that of ``key=fold_in(key, s)``: the spread over seeds then includes that of the order, and it takes
    longer. A net that diverges leaves the others alone.

    On CPUs each core trains a group of the nets, small enough for its cache: operations of small networks
    are too short to be shared by cores.

    Args:
        grad_fn: as in `fit`.
        init: ``key -> params``, e.g. a layer's ``init``.
        data: as in `fit`.
        optimizer: a function of the hyperparameters by name, e.g. ``optax.sgd``. They reach it traced, so
            that it may compute with them, not branch on them.
        hyperparameters: the values of each; the points are their product.
        key: from which each net's own is derived, and for the order of the data.
        seeds: which, or how many, from 0 on.
        batch_size: as in `fit`.
        epochs: as in `fit`.
        validation: as in `fit`.
        evaluate: as in `fit`.
        preprocess: as in `fit`.
        order: whether the nets share one order of the data or each seed has its own.
        memory_budget: bytes for the parameters and optimiser states on the device, by default a quarter of
            its memory where it tells. Nets that need more take turns, epoch by epoch, and wait on the host.
        progress_bar: show the epochs as they pass, with the median loss.

    Returns:
        A `Sweep`. Ctrl-C ends it after the epoch that the nets are in and returns what was learned so far;
        a second Ctrl-C aborts at once.

    Raises:
        ValueError, TypeError: as `fit` does.
        ValueError: for no seeds or no points, or a memory_budget too small for one net.
        TypeError: for an optimizer that is made already, and for hyperparameters that are not numbers or that
            ``optimizer`` branches on.

    Example: a line through (0, 1), (1, 3), (2, 5), at a good learning rate, a small and a large one.
        >>> import jax.numpy as jnp, jaxbp, optax
        >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[1.0], [3.0], [5.0]])
        >>> net = jaxbp.dense(1, 1)
        >>> result = sweep(jaxbp.value_and_grad(net, jaxbp.squared_error), net.init, (x, y),
        ...                optimizer=optax.sgd, hyperparameters={"learning_rate": [0.3, 0.001, 9.0]},
        ...                key=jax.random.key(1), seeds=2, batch_size=3, epochs=200, progress_bar=False)
        >>> result.diverged.tolist(), result.points[result.best()]
        ([False, False, False, False, True, True], {'learning_rate': 0.3})
        >>> print(result.params_of(result.best())["W"].round(3))
        [[2.]]
    """
    if not callable(optimizer):
        expected, hint = "a function that makes the optimizer", "e.g. optimizer=optax.sgd, without its rate"
        raise TypeError(errors.message("sweep", expected, type(optimizer).__name__, hint))
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    points = _points(hyperparameters)
    if not seeds or not points:
        got = f"{len(seeds)} seeds, {len(points)} points"
        raise ValueError(errors.message("sweep", "at least one seed and one point", got))
    if order not in ("shared", "own"):
        raise ValueError(errors.message("sweep", "order 'shared' or 'own'", repr(order)))
    keys = [jax.random.fold_in(key, seed) for seed in seeds]
    params = [init(k) for k in keys]
    train, held_out = assert_inputs(
        "sweep", grad_fn, params[0], data, validation, evaluate, batch_size, epochs, preprocess=preprocess
    )
    _assert_traceable(optimizer, points[0], params[0])
    first = optimizer(**points[0])
    plan = Plan(grad_fn, first, evaluate, batch_size, key, train, held_out, Layout(), preprocess)
    pace = Pace(epochs, len(train))
    kept = lru_cache(2 * pace.most)  # of an order, for all the nets that follow it
    if order == "shared":
        follows = [(key, kept(plan.order))] * len(seeds)
    else:
        follows = [(k, kept(plan._replace(key=k).order)) for k in keys]
    nets = [Net(p, *own, point) for point in points for p, own in zip(params, follows, strict=True)]

    with progress(epochs, progress_bar) as show, asked_to_stop(False) as interrupted:
        show("compiling")
        started = time.perf_counter()
        groups = Groups(nets, plan, optimizer, pace.most, memory_budget)
        compile_seconds = time.perf_counter() - started
        show(f"compiled in {compile_seconds:.1f} s, training {len(nets)} nets")
        started = time.perf_counter()
        history, finite = {"loss": np.zeros((len(nets), 0))}, np.ones(len(nets), bool)
        while (done := history["loss"].shape[1]) < epochs and not interrupted():
            count = min(pace.count, epochs - done)
            before = time.perf_counter()
            rows, finite = groups.run(done + 1, count)
            pace.took((time.perf_counter() - before) / count)
            history = {
                name: np.append(history.get(name, column[:, :0]), column, axis=1)
                for name, column in rows.items()
            }
            show({"epoch": done + count, "loss": float(np.median(rows["loss"][:, -1]))})
        seconds = time.perf_counter() - started

    lost = np.logical_or.accumulate(~np.isfinite(history["loss"]), axis=1)
    lost[:, -1:] |= ~finite[:, None]  # the last update
    return Sweep(
        groups.params(),
        seeds * len(points),
        [net.point for net in nets],
        {name: np.where(lost, np.nan, column) for name, column in history.items()},
        "finished" if done == epochs else "interrupted",
        seconds,
        compile_seconds,
    )


def _points(hyperparameters: Mapping[str, Sequence[float]]) -> list[Point]:
    """The product of the values, as dicts.

    Raises:
        TypeError: for values that are no sequence of numbers.
    """
    for name, values in hyperparameters.items():
        if not isinstance(values, Iterable) or not all(isinstance(v, Real | np.generic) for v in values):
            expected = f"numbers for {name}, e.g. [0.1, 0.01]"
            raise TypeError(errors.message("sweep", expected, repr(values)))
    return [dict(zip(hyperparameters, p, strict=True)) for p in product(*hyperparameters.values())]


def _assert_traceable(optimizer: Make, point: Point, params: Params) -> None:
    """Raises a TypeError if the optimiser branches on a hyperparameter."""
    try:
        jax.eval_shape(lambda point: optimizer(**point).init(params), point)
    except jax.errors.ConcretizationTypeError as error:
        expected = f"an optimizer that computes with {', '.join(point)}"
        hint = "fix that value, e.g. functools.partial(optax.sgd, nesterov=True)"
        raise TypeError(errors.message("sweep", expected, "one that branches on it", hint)) from error
