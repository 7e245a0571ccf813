"""`sweep`: many networks at once, over seeds and the optimizer's hyperparameters."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.data import Dataset
from jaxbp.data.weights import ClassWeight
from jaxbp.train.engines.networks import Group, Groups, Make, Net
from jaxbp.train.interrupt import asked_to_stop
from jaxbp.train.programs.step import Data, Evaluate, GradFn, Preprocess
from jaxbp.train.progress import progress
from jaxbp.train.run import EpochsRan, Plan
from jaxbp.train.sharding import Layout
from jaxbp.train.start import assert_optimizer, assert_params
from jaxbp.train.sweep_result import Point, Sweep
from jaxbp.train.validate import assert_inputs
from jaxbp.typing import Params, Random

_MOST = 2**20  # seeds that are counted from 0: more networks than fit anywhere


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
    class_weight: ClassWeight | None = None,
    shuffle: bool = True,
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
        class_weight: as in `fit`.
        shuffle: as in `fit`.
        order: whether the nets share one order of the data or each seed has its own.
        memory_budget: bytes for the parameters and optimizer states on the device, by default a quarter of
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
    arguments.function("sweep", "init", init, positional=1)
    key = arguments.key("sweep", key)
    seeds, points = _seeds(seeds), _points(hyperparameters)
    _assert_makes(optimizer, points[0])
    arguments.option("sweep", "order", order, ("shared", "own"))
    progress_bar = arguments.flag("sweep", "progress_bar", progress_bar)
    if memory_budget is not None:
        memory_budget = arguments.whole("sweep", "memory_budget", memory_budget, low=1)
    keys = [jax.random.fold_in(key, seed) for seed in seeds]
    params = [assert_params("sweep", init(k)) for k in keys]
    train, held_out, batch_size, epochs, _ = assert_inputs(
        "sweep", grad_fn, params[0], data, validation, evaluate, batch_size, epochs,
        preprocess=preprocess, class_weight=class_weight,
    )  # fmt: skip
    _assert_traceable(optimizer, points[0], params[0])
    first = optimizer(**points[0])
    shuffle = arguments.flag("sweep", "shuffle", shuffle)
    plan = Plan(grad_fn, first, evaluate, batch_size, key, train, held_out, Layout(), preprocess, shuffle)
    follows = [key] * len(seeds) if order == "shared" else keys
    nets = [Net(p, own, point) for point in points for p, own in zip(params, follows, strict=True)]

    with progress(epochs, progress_bar) as show, asked_to_stop(False, show) as interrupted:
        show("compiling")
        engine = Groups(nets, plan, optimizer, epochs, memory_budget)
        run = SweepRun(engine.begun, {"loss": np.zeros((len(nets), 0))}, np.zeros((len(nets), 0), bool))
        show(f"compiled in {engine.compile_seconds:.1f} s, training {len(nets)} nets")
        while run.epoch < epochs and not interrupted():
            run = run.after(engine.run(run.state, run.epoch + 1, epochs - run.epoch))
            show({"epoch": run.epoch, "loss": float(np.median(run.history["loss"][:, -1]))})

    return Sweep(
        engine.params(run.state),
        seeds * len(points),
        [net.point for net in nets],
        {name: np.where(run.lost, np.nan, column) for name, column in run.history.items()},
        "finished" if run.epoch == epochs else "interrupted",
        run.seconds,
        engine.compile_seconds,
    )


class SweepRun(NamedTuple):
    """The parts of a sweep that change, as they are after an epoch.

    Args:
        state: of the groups.
        history: a column for each metric, (nets, epochs).
        lost: whether a network had diverged by then, (nets, epochs).
        seconds: the time spent training.
    """

    state: tuple[Group, ...]
    history: dict[str, np.ndarray]
    lost: np.ndarray
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The number of epochs that lie behind."""
        return self.lost.shape[1]

    def after(self, ran: EpochsRan) -> "SweepRun":
        """This sweep after these epochs; a network that diverged stays so."""
        rows = {"loss": ran.losses} | {f"val_{name}": column for name, column in ran.metrics.items()}
        history = {
            name: np.append(self.history.get(name, column[:, :0]), column, axis=1)
            for name, column in rows.items()
        }
        bad = ~np.isfinite(ran.losses)
        if ran.finite is not None:  # the parameters and the optimizer's state after the last update
            bad[:, -1] |= ~ran.finite
        lost = np.logical_or.accumulate(np.append(self.lost, bad, axis=1), axis=1)
        return SweepRun(ran.state, history, lost, self.seconds + ran.seconds * ran.losses.shape[1])


def _seeds(seeds: Any) -> list[int]:
    """Which seeds: those given, or as many from 0 on.

    Raises:
        TypeError: for what is neither a whole number nor several.
        ValueError: for none, more than fit anywhere, or one below 0.
    """
    if _is_list(seeds):
        most = 2**32 - 1  # of jax.random.fold_in
        found = [
            arguments.whole("sweep", f"seed {i}", seed, low=0, high=most) for i, seed in enumerate(seeds)
        ]
    else:
        count = arguments.whole("sweep", "seeds", seeds)
        if count > _MOST:
            raise ValueError(errors.message("sweep", f"at most {_MOST} seeds", described(count)))
        found = list(range(count))
    if not found:
        raise ValueError(errors.message("sweep", "at least one seed and one point", "no seed"))
    return found


def _points(hyperparameters: Any) -> list[Point]:
    """The product of the values, as dicts.

    Raises:
        TypeError: for what is no dict of sequences of numbers.
        ValueError: for no point, or a value that is not finite.
    """
    if not isinstance(hyperparameters, Mapping):
        expected, hint = "hyperparameters, a dict of lists of numbers", 'e.g. {"learning_rate": [0.1, 0.01]}'
        raise TypeError(errors.message("sweep", expected, described(hyperparameters), hint))
    values = {}
    for name, given in hyperparameters.items():
        if not _is_list(given):
            expected = f"numbers for {name}, e.g. [0.1, 0.01]"
            raise TypeError(errors.message("sweep", expected, described(given)))
        values[name] = [_number(f"{name}, value {i}", value) for i, value in enumerate(given)]
    points = [dict(zip(values, p, strict=True)) for p in product(*values.values())]
    if not points:
        raise ValueError(errors.message("sweep", "at least one seed and one point", "no point"))
    return points


def _is_list(value: Any) -> bool:
    """Whether it is something like a list; an array of shape () and text are not."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | bytes)
        and getattr(value, "shape", 1) != ()
    )


def _number(name: str, value: Any) -> Any:
    """A hyperparameter's value; bools are numbers here, of a switch."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    number = arguments.number("sweep", name, value)
    return value if isinstance(value, int) else number


def _assert_makes(optimizer: Any, point: Point) -> None:
    """Raises a TypeError unless it is a function that makes an optimizer from the point."""
    if not callable(optimizer):
        expected, hint = "a function that makes the optimizer", "e.g. optimizer=optax.sgd, without its rate"
        raise TypeError(errors.message("sweep", expected, described(optimizer), hint))
    try:
        inspect.signature(optimizer).bind(**point)
    except TypeError as error:
        expected = f"an optimizer that takes the hyperparameters {', '.join(point)}"
        raise TypeError(errors.message("sweep", expected, f"{described(optimizer)}: {error}")) from error
    except ValueError:  # it tells nothing of its arguments
        return


def _assert_traceable(optimizer: Make, point: Point, params: Params) -> None:
    """Raises a TypeError if what is made is no optimizer, or if making it branches on a hyperparameter."""

    def init(point: Point) -> Any:
        return assert_optimizer("sweep", optimizer(**point)).init(params)

    try:
        jax.eval_shape(init, point)
    except jax.errors.ConcretizationTypeError as error:
        expected = f"an optimizer that computes with {', '.join(point)}"
        hint = "fix that value, e.g. functools.partial(optax.sgd, nesterov=True)"
        raise TypeError(errors.message("sweep", expected, "one that branches on it", hint)) from error
