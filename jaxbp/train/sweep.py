"""`sweep`: many networks at once, over seeds and hyperparameters."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.data import Dataset
from jaxbp.data.weights import ClassWeight
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.engines.networks import Make, Net, Point
from jaxbp.train.interrupt import asked_to_stop
from jaxbp.train.plan import Plan
from jaxbp.train.programs.evaluate import measured
from jaxbp.train.programs.metrics import Metrics
from jaxbp.train.programs.step import Data, EvalParams, Evaluate, GradFn, Preprocess
from jaxbp.train.programs.update import average_of, averaging, updated
from jaxbp.train.result import EarlyStopping
from jaxbp.train.sharding import Layout
from jaxbp.train.start import (
    Start,
    assert_averages,
    assert_model_state,
    assert_optimizer,
    assert_params,
    carrying,
)
from jaxbp.train.sweeps.job import Job
from jaxbp.train.sweeps.points import BATCH_SIZE, Part, for_optimizer, given, is_list, parts_of, points_of
from jaxbp.train.sweeps.result import Sweep, joined
from jaxbp.train.validate import (
    assert_callbacks,
    assert_inputs,
    assert_options,
    assert_outcome,
)
from jaxbp.typing import Params, Random

_MOST = 2**20  # seeds that are counted from 0: more networks than fit anywhere


def sweep(
    grad_fn: GradFn,
    init: Callable[..., Params],
    data: Data | Dataset,
    *,
    optimizer: Make,
    hyperparameters: Mapping[str, Sequence[Any]],
    key: Random,
    seeds: int | Sequence[int] = 4,
    batch_size: int | None = None,
    epochs: int = 10,
    validation: Data | Dataset | None = None,
    evaluate: Evaluate | None = None,
    metrics: Metrics | None = None,
    ema: float | None = None,
    eval_params: EvalParams | None = None,
    model_state: Any = None,
    preprocess: Preprocess | Any | None = None,
    class_weight: ClassWeight | None = None,
    shuffle: bool = True,
    order: Literal["shared", "own"] = "shared",
    early_stopping: EarlyStopping | None = None,
    callbacks: Sequence[Callable[[dict[str, Any]], bool | None]] = (),
    checkpoints: Checkpoints | None = None,
    memory_budget: int | None = None,
    progress_bar: bool = True,
) -> Sweep:
    """Train a net for each seed at each point of a grid, all at once in one compiled program.

    Numbers that the optimizer takes are traced: all their points share the program. What shapes it, a width,
    the layers, the batch size, and what is no number, the name of a schedule, makes a program for each of
    its values; these run one after another.

    The net of seed s at point p is, to rounding, that of
    ``fit(grad_fn, init(fold_in(key, s)), data, optimizer=optimizer(**p), key=key)``. As all nets see the same
    batches, their first layers are one matrix product. With ``order="own"`` each seed has an order of its
    own, that of ``key=fold_in(key, s)``: the spread over seeds then includes that of the order, and it takes
    longer. A net that diverges leaves the others alone.

    On CPUs each core trains a group of the nets, small enough for its cache: operations of small networks
    are too short to be shared by cores.

    Args:
        grad_fn: as in `fit`.
        init: ``key -> params``, e.g. a layer's ``init``. grad_fn, init, evaluate and model_state get by name
            each hyperparameter that they have an argument for: ``init=lambda key, width: ...``.
        data: as in `fit`.
        optimizer: a function of the hyperparameters by name, e.g. ``optax.sgd``. They reach it traced, so
            that it may compute with them, not branch on them.
        hyperparameters: the values of each: numbers, text, tuples, functions; the points are their product.
            ``batch_size`` is the sweep's own; the others are the optimizer's where nobody else takes them.
        key: from which each net's own is derived, and for the order of the data.
        seeds: which, or how many, from 0 on.
        batch_size: as in `fit`.
        epochs: as in `fit`.
        validation: as in `fit`.
        evaluate: as in `fit`.
        metrics: as in `fit`.
        ema: as in `fit`.
        eval_params: as in `fit`.
        model_state: as in `fit`, the first of every net; or, as ``init``, a function of its key.
        preprocess: as in `fit`.
        class_weight: as in `fit`.
        shuffle: as in `fit`.
        order: whether the nets share one order of the data or each seed has its own.
        early_stopping: as in `fit`, for each net: its parameters are then those of its best epoch, and its
            history ends in NaN where it stopped. The others go on; the sweep ends with the last.
        callbacks: called after each epoch with a dict: ``epoch``, each metric as an array (nets,), ``points``
            and ``seeds``. One that returns True or raises StopIteration ends the sweep.
        checkpoints: as in `fit`: the same call goes on from the folder, bit for bit. Where there are several
            programs each has a folder of its own inside. A monitor is that of `fit` alone.
        memory_budget: bytes for the parameters and optimizer states on the device, by default a quarter of
            its memory where it tells. Nets that need more take turns, epoch by epoch, and wait on the host.
        progress_bar: show the epochs as they pass, with the median loss.

    Returns:
        A `Sweep`. Ctrl-C ends it after the epoch that the nets are in and returns what was learned so far;
        a second Ctrl-C aborts at once.

    Raises:
        ValueError, TypeError: as `fit` does.
        ValueError: for no seeds or no points, one that is there twice, or a memory_budget too small for one
            net.
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
    key = arguments.key("sweep", key)
    seeds, points = _seeds(seeds), points_of(hyperparameters)
    makes_state = model_state if callable(model_state) else None
    shaping = grad_fn, init, evaluate, makes_state
    parts = parts_of(points, shaping)
    arguments.option("sweep", "order", order, ("shared", "own"))
    memory_budget, progress_bar = assert_options(
        early_stopping, checkpoints, memory_budget, progress_bar, where="sweep"
    )
    callbacks = assert_callbacks(callbacks, "sweep")
    if (ema := assert_averages("sweep", ema, eval_params)) is not None:
        eval_params = average_of
    shuffle = arguments.flag("sweep", "shuffle", shuffle)
    if checkpoints is not None and checkpoints.monitor is not None:
        hint = "early_stopping= keeps the best epoch of each net"
        raise ValueError(errors.message("sweep", "checkpoints without a monitor", "one", hint))

    def made(part: Part) -> Job:
        fixed = part.fixed
        make = for_optimizer(optimizer, fixed, shaping)
        _assert_makes(make, part.points[0], points[0])
        first_init = given(init, fixed)
        arguments.function("sweep", "init", first_init, positional=1)
        keys = [jax.random.fold_in(key, seed) for seed in seeds]
        params = [assert_params("sweep", first_init(k)) for k in keys]
        makes = makes_state and given(makes_state, fixed)
        states = [assert_model_state("sweep", makes(k) if makes else model_state) for k in keys]
        asked = None if evaluate is None else given(evaluate, fixed)
        of_part = measured("sweep", given(grad_fn, fixed), metrics, asked, validation is not None)
        carries = getattr(of_part[0], "carries", False)
        train, held_out, size, most, scaled, *_ = assert_inputs(
            "sweep", of_part[0], params[0], data, validation, of_part[1],
            fixed.get(BATCH_SIZE, batch_size), epochs, preprocess=preprocess, class_weight=class_weight,
            shuffle=shuffle, model_state=states[0] or (None,) * carries,
        )  # fmt: skip
        _assert_traceable(make, part.points[0], params[0], fixed)
        make = make if ema is None else partial(averaging, make, ema)
        plan = Plan(
            of_part[0], make(**part.points[0]), of_part[1], size, key, train, held_out, Layout(), scaled,
            shuffle, eval_params,
        )  # fmt: skip
        start = Start(params[0], None, None, states[0])
        if carries:
            plan, start = carrying("sweep", plan, start)
            states = [state or start.model_state for state in states]
        follows = [key] * len(seeds) if order == "shared" else keys
        begins = list(zip(params, follows, states, strict=True))
        nets = [Net(p, own, point, state) for point in part.points for p, own, state in begins]
        first = partial(start.state, plan.optimizer, key)
        assert_outcome("sweep", plan, first, {"early_stopping": early_stopping}, False)
        return Job(part, plan, make, nets, first, most)

    jobs = [made(part) for part in parts]
    results: list[Sweep] = []
    places = [place * len(seeds) + s for job in jobs for place in job.part.places for s in range(len(seeds))]
    with asked_to_stop(checkpoints is not None) as interrupted:
        for i, job in enumerate(jobs):
            folder = checkpoints
            if checkpoints is not None and len(jobs) > 1:
                folder = replace(checkpoints, folder=Path(checkpoints.folder) / f"program_{i + 1}")
            told: dict[str, list[Any]] = {
                "points": [points[place] for place in job.part.places for _ in seeds],
                "seeds": seeds * len(job.part.places),
            }
            try:
                with folder.prepare() if folder else nullcontext():
                    options = (early_stopping, callbacks, folder, memory_budget, progress_bar, interrupted)
                    results.append(job.run(*options, told))
            except BaseException as error:  # of which the programs before it are a part, too
                if learned := [*results, *([error.result] if hasattr(error, "result") else [])]:
                    error.result = joined(learned, places)  # type: ignore[attr-defined]
                raise
            if results[-1].stopped in ("interrupted", "callback"):
                break
    return joined(results, places)


def _seeds(seeds: Any) -> list[int]:
    """Which seeds: those given, or as many from 0 on.

    Raises:
        TypeError: for what is neither a whole number nor several.
        ValueError: for none, more than fit anywhere, or one below 0.
    """
    if is_list(seeds):
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
    if len(set(found)) < len(found):
        raise ValueError(errors.message("sweep", "seeds that differ", f"{described(seeds)} with one again"))
    return found


def _assert_makes(optimizer: Any, point: Point, names: Iterable[str]) -> None:
    """Raises a TypeError unless it makes an optimizer from the point; ``names`` are all hyperparameters."""
    if not callable(optimizer):
        expected, hint = "a function that makes the optimizer", "e.g. optimizer=optax.sgd, without its rate"
        raise TypeError(errors.message("sweep", expected, described(optimizer), hint))
    try:
        inspect.signature(optimizer).bind(**point)
    except TypeError as error:
        expected = f"an optimizer that takes the hyperparameters {', '.join(names)}"
        made = getattr(optimizer, "func", optimizer)  # below the values that are fixed
        raise TypeError(errors.message("sweep", expected, f"{described(made)}: {error}")) from error
    except ValueError:  # it tells nothing of its arguments
        return


def _assert_traceable(optimizer: Make, point: Point, params: Params, fixed: Point) -> None:
    """Raises a TypeError if what is made is no optimizer, or if making it branches on a hyperparameter."""

    def update(point: Point, params: Params) -> Any:
        made = assert_optimizer("sweep", optimizer(**point))
        state = made.init(params)
        bowl = lambda params: (jnp.zeros(()), params)  # noqa: E731
        return updated(made, bowl, jnp.zeros(()), params, state, params) if fixed else state

    try:
        jax.eval_shape(update, point, params)
    except jax.errors.ConcretizationTypeError as error:
        expected = f"an optimizer that computes with {', '.join(point)}"
        hint = "fix that value, e.g. functools.partial(optax.sgd, nesterov=True)"
        raise TypeError(errors.message("sweep", expected, "one that branches on it", hint)) from error
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        if not fixed:
            raise
        values = ", ".join(f"{name} {described(value)}" for name, value in fixed.items())
        got = f"{type(error).__name__}: {error}"
        raise TypeError(errors.message("sweep", f"an optimizer for {values}", got)) from error
