"""What a run is given, tried before anything is compiled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.arguments.trees import host_arrays, is_tree
from jaxbp.data import Dataset, assert_batch_size, assert_data
from jaxbp.data.checks import held_dtype
from jaxbp.data.weights import ClassWeight, weighted_by_class
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.programs.step import (
    Data,
    Evaluate,
    GradFn,
    Preprocess,
    make_metrics,
    takes,
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
    class_weight: ClassWeight | None = None,
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
        if isinstance(evaluate, type):
            hint = "give a function of (params, x, y), e.g. jaxbp.make_evaluate(net.apply, loss)"
            raise TypeError(errors.message(where, "evaluate to be a function", described(evaluate), hint))
    x, y, weight = examples(where, "data", data)
    if validation is not None:
        held = examples(where, "validation", validation)
    if (validation is None) != (evaluate is None):
        given = "evaluate" if validation is None else "validation"
        hint = "e.g. evaluate=jaxbp.make_evaluate(net.apply, loss)"
        raise ValueError(errors.message(where, "validation and evaluate together", f"only {given}", hint))
    raw, told = preprocess is not None, data.num_classes if isinstance(data, Dataset) else None
    C = _num_classes(where, grad_fn, params, x, preprocess) or told
    if told not in (C, None):
        got, hint = f"a Dataset of {told}", "make the network's output, or num_classes, the other's size"
        raise ValueError(errors.message(where, f"data of the network's {C} classes", got, hint))
    nbytes = sum({id(leaf): leaf.nbytes for leaf in jax.tree.leaves((x, y, weight))}.values())
    streams = memory_budget is not None and nbytes > memory_budget
    train = assert_data(x, y, weight, num_classes=C, narrow=not streams, raw=raw)
    if class_weight is not None:
        if processes > 1 and isinstance(class_weight, str):
            expected = "class_weight as numbers, for each of many processes sees its own share of the data"
            raise ValueError(errors.message(where, expected, repr(class_weight)))
        train = replace(train, weight=weighted_by_class(where, train, class_weight))
    held_out = None
    if validation is not None:
        held_out = assert_data(*held, num_classes=train.num_classes, raw=raw, where="validation")
    for name, function, part in (("data", grad_fn, train), ("validation", evaluate, held_out)):
        if function and part and part.weight is not None and not takes(function, "weight"):
            what = "a grad_fn" if name == "data" else "an evaluate"
            expected = f"{what} that takes weights, for {name} has them"
            hint = "give it an argument weight: (params, x, y, weight), and the weighted mean of the losses"
            raise TypeError(errors.message(where, expected, described(function), hint))
    if hasattr(grad_fn, "assert_targets"):
        for name, part in (("data", train), ("validation", held_out)):
            if part is not None:
                grad_fn.assert_targets(part.y, where=name)
    batch_size = arguments.whole(where, "batch_size", batch_size)
    assert_batch_size(batch_size, len(train) * processes, where=where)
    return Inputs(train, held_out, batch_size, epochs, streams)


def examples(where: str, name: str, data: Any) -> tuple[Any, Any, Any]:
    """x, y and weight of data, the last perhaps None.

    Raises:
        TypeError: for what is neither a Dataset nor a pair nor three.
    """
    if isinstance(data, Dataset):
        return data.x, data.y, data.weight
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        x, y, weight = (*data, None)[:3]
        if weight is not None and (weight is x or weight is y):
            got = f"{'x' if weight is x else 'y'} twice"
            raise ValueError(errors.message(where, f"{name} (x, y, weight)", got, "give (x, y)"))
        rows = host_arrays(name, "x", x)
        targets = rows if y is x else host_arrays(name, "y", y)
        for part, tree in (("x", rows), ("y", targets)):
            if not jax.tree.leaves(tree):
                raise ValueError(errors.message(name, f"arrays in {part}", described(tree)))
        return rows, targets, None if weight is None else arguments.array(name, "weight", weight, host=True)
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
    keys = [name for name in ("key", "weight") if callable(grad_fn) and takes(grad_fn, name)]
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
        x, *others = jax.tree.map(_held, held_out.arrays)
        x = jax.eval_shape(plan.preprocess, x) if plan.preprocess else x
        metrics = jax.eval_shape(evaluate, params, x, *others)
    columns = ["epoch", "seconds", "loss", *["waited"] * streams, *(f"val_{metric}" for metric in metrics)]
    for name, monitor in monitors.items():
        if monitor not in columns:
            expected = f"monitor to be one of {', '.join(columns)}"
            raise ValueError(errors.message(name, expected, repr(monitor)))


def _held(array: np.ndarray) -> jax.ShapeDtypeStruct:
    """An array of examples as the device will hold it."""
    return jax.ShapeDtypeStruct(array.shape, held_dtype(array.dtype))  # type: ignore[no-untyped-call]


def _num_classes(
    where: str, grad_fn: GradFn, params: Params, x: Any, preprocess: Preprocess | None
) -> int | None:
    """C where the network tells it, through `jaxbp.value_and_grad`."""
    held = jax.tree.map(_held, x)
    if preprocess is not None:
        expected = "preprocess to give a row of floats for each example"

        def changed(x: Any) -> Any:
            with traced("preprocess"):
                rows = preprocess(x)
            if not (is_tree(x) and is_tree(rows)) and not isinstance(rows, jax.Array | np.ndarray):
                raise TypeError(errors.message(where, expected, described(rows), "e.g. lambda x: x / 255"))
            return rows

        N, held = len(jax.tree.leaves(x)[0]), jax.eval_shape(changed, held)
        for leaf in jax.tree.leaves(held):
            # A tree may have whole numbers for an embedding beside its floats.
            if not (is_tree(held) or jnp.issubdtype(leaf.dtype, jnp.inexact)) or leaf.shape[:1] != (N,):
                got = f"{leaf.dtype} {leaf.shape}"
                raise TypeError(errors.message(where, expected, got, "e.g. lambda x: x / 255"))
    if not hasattr(grad_fn, "num_classes"):
        return None
    if is_tree(held):
        joined = "np.concatenate(list(x.values()), axis=1)"
        hint = f"join its arrays, {joined}, or give a grad_fn of your own, jax.value_and_grad(loss_fn)"
        raise TypeError(errors.message(where, "x as one array", described(held), hint))
    try:
        return grad_fn.num_classes(params, held)
    except ValueError as error:
        if len(held.shape) > 2 and "reshape" not in str(error):
            hint = "; flatten the examples, x.reshape(len(x), -1), or begin the network with jaxbp.flatten"
            raise ValueError(f"{error}{hint}") from error
        raise
