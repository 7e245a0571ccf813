"""What a run is given, tried before anything is compiled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.data import Dataset, assert_batch_size, assert_data
from jaxbp.data.checks import held_dtype
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.programs.step import (
    Data,
    Evaluate,
    GradFn,
    Preprocess,
    make_metrics,
    takes_key,
    traced,
)
from jaxbp.train.result import EarlyStopping
from jaxbp.train.run import Plan
from jaxbp.typing import Params


class Inputs(NamedTuple):
    """What `fit` and `sweep` both take, checked.

    Args:
        train: the examples of this process.
        validation: those held out, or None.
        batch_size: over all processes.
        epochs: at least 1.
        streams: whether the training data exceed the memory_budget.
    """

    train: Dataset
    validation: Dataset | None
    batch_size: int
    epochs: int
    streams: bool


def assert_inputs(
    where: str,
    grad_fn: GradFn,
    params: Params,
    data: Data | Dataset,
    validation: Data | Dataset | None,
    evaluate: Evaluate | None,
    batch_size: int,
    epochs: int,
    *,
    preprocess: Preprocess | None,
    processes: int = 1,
    memory_budget: int | None = None,
) -> Inputs:
    """These arguments, if they are as `fit` says.

    ``where`` is the function that was called, ``processes`` says how many give data.
    """
    epochs = arguments.whole(where, "epochs", epochs, low=1)
    assert_grad_fn(where, grad_fn)
    if preprocess is not None:
        arguments.function(where, "preprocess", preprocess, positional=1)
    if evaluate is not None:
        arguments.function(where, "evaluate", evaluate, positional=3)
    x, y = arrays(where, "data", data)
    if validation is not None:
        held_x, held_y = arrays(where, "validation", validation)
    if (validation is None) != (evaluate is None):
        given = "evaluate" if validation is None else "validation"
        hint = "e.g. evaluate=jaxbp.make_evaluate(net.apply, loss)"
        raise ValueError(errors.message(where, "validation and evaluate together", f"only {given}", hint))
    raw, told = preprocess is not None, data.num_classes if isinstance(data, Dataset) else None
    C = _num_classes(where, grad_fn, params, x, preprocess) or told
    if told not in (C, None):
        got, hint = f"a Dataset of {told}", "make the network's output, or num_classes, the other's size"
        raise ValueError(errors.message(where, f"data of the network's {C} classes", got, hint))
    nbytes = x.nbytes + (0 if y is x else y.nbytes)
    streams = memory_budget is not None and nbytes > memory_budget
    train = assert_data(x, y, num_classes=C, narrow=not streams, raw=raw)
    held_out = None
    if validation is not None:
        C = train.num_classes
        held_out = assert_data(held_x, held_y, num_classes=C, raw=raw, where="validation")
    if hasattr(grad_fn, "assert_targets"):
        for name, part in (("data", train), ("validation", held_out)):
            if part is not None:
                grad_fn.assert_targets(part.y, where=name)
    batch_size = arguments.whole(where, "batch_size", batch_size)
    assert_batch_size(batch_size, len(train) * processes, where=where)
    return Inputs(train, held_out, batch_size, epochs, streams)


def arrays(where: str, name: str, data: Any) -> tuple[Any, Any]:
    """x and y of data.

    Raises:
        TypeError: for what is neither a Dataset nor a pair.
    """
    if isinstance(data, Dataset):
        return data.x, data.y
    if isinstance(data, tuple | list) and len(data) == 2:
        for part, value in zip("xy", data, strict=True):
            if isinstance(value, Mapping):
                joined = f"np.concatenate(list({part}.values()), axis=1)"
                hint = f"join its arrays, {joined}, and part them in grad_fn"
                raise TypeError(errors.message(where, f"{part} as one array", described(value), hint))
        x, y = data
        rows = arguments.array(name, "x", x, host=True)
        return rows, rows if y is x else arguments.array(name, "y", y, host=True)
    hint = "give both arrays, or a jaxbp.data.Dataset"
    got = f"{len(data)} arrays" if isinstance(data, tuple | list) else described(data)
    if isinstance(data, int | float) and name == "validation":
        hint = "part the data first, train, validation = jaxbp.split(data, 0.2)"
    elif isinstance(data, Mapping):
        hint = "give its arrays, (data['x'], data['y'])"
    elif hasattr(data, "__iter__") and not hasattr(data, "shape") and not isinstance(data, tuple | list):
        hint = (
            "give whole arrays, or memory maps with memory_budget=; preprocess= changes batches on the device"
        )
    elif hasattr(data, "shape"):
        hint = "give (x, y); an autoencoder trains on (x, x)"
    raise TypeError(errors.message(where, f"{name} (x, y) or a Dataset", got, hint))


def assert_grad_fn(where: str, grad_fn: Any) -> None:
    """Raises a TypeError unless it can be called with (params, x, y), and perhaps ``key``."""
    keys = ("key",) if callable(grad_fn) and takes_key(grad_fn) else ()
    try:
        arguments.function(where, "grad_fn", grad_fn, positional=3, keywords=keys)
    except TypeError as error:
        hint = "e.g. jaxbp.value_and_grad(net, loss) or jax.value_and_grad(loss_fn)"
        if callable(grad_fn):
            hint = "(params, x, y), and an argument for a random key must be called key"
        raise TypeError(f"{error}; {hint}") from None


def assert_callbacks(callbacks: Any) -> list[Callable[[Any], Any]]:
    """The callbacks, each of which takes the record of an epoch."""
    if not isinstance(callbacks, Sequence | Iterator) or isinstance(callbacks, str | bytes):
        expected, hint = "callbacks, a list of functions of an epoch's record", ""
        if callable(callbacks):
            hint = "put it in a list, callbacks=[...]"
        raise TypeError(errors.message("fit", expected, described(callbacks), hint))
    return [
        arguments.function("fit", f"callback {i}", callback, positional=1)
        for i, callback in enumerate(callbacks)
    ]


def assert_options(
    early_stopping: Any, checkpoints: Any, memory_budget: Any, progress_bar: Any
) -> tuple[int | None, bool]:
    """The memory_budget and progress_bar; all of these are of their kinds."""
    if early_stopping is not None:
        patience = early_stopping if type(early_stopping) is int else 5
        hint = f"e.g. jaxbp.EarlyStopping({patience})"
        arguments.instance("fit", "early_stopping", early_stopping, EarlyStopping, hint)
    if checkpoints is not None:
        hint = 'e.g. jaxbp.Checkpoints("runs/first")'
        arguments.instance("fit", "checkpoints", checkpoints, Checkpoints, hint)
    if memory_budget is not None:
        memory_budget = arguments.whole("fit", "memory_budget", memory_budget, low=1)
    return memory_budget, arguments.flag("fit", "progress_bar", progress_bar)


def assert_monitors(askers: Mapping[str, Any], plan: Plan, params: Params, streams: bool) -> None:
    """Raises a ValueError if the ``monitor`` of one of them will be no column of the history."""
    monitors = {name: asker.monitor for name, asker in askers.items() if asker and asker.monitor is not None}
    if not monitors:
        return
    metrics: dict[str, Any] = {}
    held_out = plan.validation
    if plan.evaluate is not None and held_out is not None:
        evaluate = make_metrics(plan.evaluate)
        x, y = _held(held_out.x), _held(held_out.y)
        x = jax.eval_shape(plan.preprocess, x) if plan.preprocess else x
        metrics = jax.eval_shape(evaluate, params, x, y)
    columns = ["epoch", "seconds", "loss", *["waited"] * streams, *(f"val_{metric}" for metric in metrics)]
    for name, monitor in monitors.items():
        if monitor not in columns:
            expected = f"monitor to be one of {', '.join(columns)}"
            raise ValueError(errors.message(name, expected, repr(monitor)))


def _held(array: np.ndarray) -> jax.ShapeDtypeStruct:
    """An array of examples as the device will hold it."""
    return jax.ShapeDtypeStruct(array.shape, held_dtype(array.dtype))  # type: ignore[no-untyped-call]


def _num_classes(
    where: str, grad_fn: GradFn, params: Params, x: np.ndarray, preprocess: Preprocess | None
) -> int | None:
    """C where the network tells it, through `jaxbp.value_and_grad`."""
    held = _held(x)
    if preprocess is not None:
        expected = "preprocess to give a row of floats for each example"

        def changed(x: Any) -> Any:
            with traced("preprocess"):
                rows = preprocess(x)
            if not isinstance(rows, jax.Array | np.ndarray):
                raise TypeError(errors.message(where, expected, described(rows), "e.g. lambda x: x / 255"))
            return rows

        held = jax.eval_shape(changed, held)
        if not jnp.issubdtype(held.dtype, jnp.inexact) or held.shape[:1] != x.shape[:1]:
            raise TypeError(
                errors.message(where, expected, f"{held.dtype} {held.shape}", "e.g. lambda x: x / 255")
            )
    if not hasattr(grad_fn, "num_classes"):
        return None
    try:
        return grad_fn.num_classes(params, held)
    except ValueError as error:
        if len(held.shape) > 2 and "reshape" not in str(error):
            hint = "; flatten the examples, x.reshape(len(x), -1), or begin the network with jaxbp.flatten"
            raise ValueError(f"{error}{hint}") from error
        raise
