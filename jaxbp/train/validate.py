"""What a run is given, tried before anything is compiled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.arguments.arrays import held_dtype
from jaxbp.arguments.sparse import SparseRows
from jaxbp.arguments.trees import is_tree
from jaxbp.data import Dataset, assert_batch_size, assert_data, split
from jaxbp.data.given import SPARSE, dense, examples
from jaxbp.data.scaling import for_programs
from jaxbp.data.weights import ClassWeight, weighted_by_class
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.plan import Plan
from jaxbp.train.programs.evaluate import Evaluator
from jaxbp.train.programs.step import (
    Evaluate,
    GradFn,
    Preprocess,
    State,
    demands,
    make_metrics,
    make_step,
    takes,
    traced,
)
from jaxbp.train.programs.update import told
from jaxbp.train.result import EarlyStopping
from jaxbp.train.start import assert_eval_params
from jaxbp.typing import Params

EPOCHS = 10  # where nobody says how many, nor how many iterations
BATCH = 32  # examples, where nobody says


class Inputs(NamedTuple):
    """What `fit` and `sweep` both take, checked.

    Args:
        train: the examples of this process.
        validation: those held out, or None.
        batch_size: over all processes.
        epochs: at least 1.
        preprocess: as a program takes it.
        budget: the memory_budget where the training data exceed it, and stream; else None.
        held_budget: the same of the validation data, where they may come part by part.
    """

    train: Dataset
    validation: Dataset | None
    batch_size: int
    epochs: int
    preprocess: Preprocess | None
    budget: int | None
    held_budget: int | None


def assert_inputs(
    where: str,
    grad_fn: GradFn,
    params: Params,
    data: Any,
    validation: Any,
    evaluate: Evaluate | None,
    batch_size: int | None,
    epochs: int,
    *,
    preprocess: Preprocess | Any | None,
    class_weight: ClassWeight | None = None,
    shuffle: bool = True,
    model_state: tuple[Any, ...] = (),
    processes: int = 1,
    memory_budget: int | None = None,
    whole: bool = True,
) -> Inputs:
    """These arguments, if they are as `fit` says.

    ``where`` is the function that was called, ``processes`` says how many give data; they are the ``whole``
    data, or the first of many batches.
    """
    epochs = arguments.whole(where, "epochs", epochs, low=1)
    assert_grad_fn(where, grad_fn, 3 + len(model_state))
    if preprocess is not None:
        preprocess = for_programs(where, preprocess)
        arguments.function(where, "preprocess", preprocess, positional=1)
    if evaluate is not None:
        weight = ["weight"] * (callable(evaluate) and takes(evaluate, "weight"))
        arguments.function(where, "evaluate", evaluate, positional=3 + len(model_state), keywords=weight)
        if isinstance(evaluate, type):
            hint = "give a function of (params, x, y), e.g. jaxbp.make_evaluate(net.apply, loss)"
            raise TypeError(errors.message(where, "evaluate to be a function", described(evaluate), hint))
    x, y, weight = examples(where, "data", data)
    part = validation if isinstance(validation, float | np.floating) else None
    if validation is not None and part is None:
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
    if not whole and C is None and jnp.issubdtype(jax.tree.leaves(y)[0].dtype, jnp.integer):
        C = np.iinfo(np.int32).max  # of the classes that one batch has nobody can tell how many there are

    def exceeded(arrays: Any, may: bool = where == "fit") -> int | None:
        """The budget, where these arrays exceed it and ``may`` stay on the host."""
        leaves = {id(leaf): leaf for leaf in jax.tree.leaves(arrays)}.values()
        sparse = any(isinstance(leaf, SparseRows) for leaf in leaves)
        budget = memory_budget or (SPARSE if sparse else None)
        return budget if may and budget and sum(leaf.nbytes for leaf in leaves) > budget else None

    budget = exceeded((x, y, weight))
    streams = budget is not None
    x = x if streams else jax.tree.map(dense, x)
    train, held_out = assert_data(x, y, weight, num_classes=C, narrow=not streams, raw=raw), None
    if part is not None:
        if processes > 1 or (streams and shuffle):
            expected = "validation data, or shuffle=False, where data stream or many processes give them"
            raise ValueError(errors.message(where, expected, f"a part, {part}", "jaxbp.split parts them"))
        part = arguments.number(where, "validation", part, low=0, high=1, open_low=True, open_high=True)
        train, held_out = split(train, part, shuffle=shuffle)
    if class_weight is not None:
        if processes > 1 and isinstance(class_weight, str):
            expected = "class_weight as numbers, for each of many processes sees its own share of the data"
            raise ValueError(errors.message(where, expected, repr(class_weight)))
        train = replace(train, weight=weighted_by_class(where, train, class_weight))
    in_parts = where == "fit" and isinstance(evaluate, Evaluator)
    if validation is not None and part is None:
        stays = exceeded(held, in_parts) is not None
        held = held if stays else (jax.tree.map(dense, held[0]), *held[1:])
        C = train.num_classes
        held_out = assert_data(*held, num_classes=C, narrow=not stays, raw=raw, where="validation")
    held_budget = exceeded(held_out.arrays, in_parts) if held_out is not None else None
    if held_out is not None and held_budget is None:
        held_out = replace(held_out, x=jax.tree.map(dense, held_out.x))
    for name, function, of in (("data", grad_fn, train), ("validation", evaluate, held_out)):
        if function and of:
            _assert_weighted(where, name, function, of.weight is not None)
    for name, of in (("data", train), ("validation", held_out)):
        if of is not None and hasattr(grad_fn, "assert_targets"):
            grad_fn.assert_targets(of.y, where=name)
        if of is not None and hasattr(grad_fn, "assert_ids") and preprocess is None:
            grad_fn.assert_ids(params, of.x, where=name)
    n = len(train) * processes
    batch_size = min(n, BATCH) if batch_size is None else arguments.whole(where, "batch_size", batch_size)
    assert_batch_size(batch_size, n, where=where)
    return Inputs(train, held_out, batch_size, epochs, preprocess, budget, held_budget)


def _assert_weighted(where: str, name: str, function: Callable[..., Any], weighted: bool) -> None:
    """Raises a TypeError unless what sees these data has an argument ``weight`` for theirs, if they have."""
    what, got = "a grad_fn" if name == "data" else "an evaluate", described(function)
    if weighted and not takes(function, "weight"):
        expected = f"{what} that takes weights, for {name} has them"
        hint = "give it an argument weight: (params, x, y, weight), and the weighted mean of the losses"
        raise TypeError(errors.message(where, expected, got, hint))
    if not weighted and demands(function, "weight"):
        expected = f"{name} (x, y, weight), for {what} asks for weights"
        raise TypeError(errors.message(where, expected, f"(x, y) and {got}", "or write weight=None in it"))


def assert_alone(where: str, others: Mapping[str, Any]) -> None:
    """Raises a ValueError for arguments that nobody can follow on batches that come one by one."""
    if given := ", ".join(name for name, value in others.items() if value):
        hint = "give whole arrays, or a source that can begin again, and weights within the batches"
        raise ValueError(errors.message(where, "batches from a source without the others", given, hint))


def assert_grad_fn(where: str, grad_fn: Any, positional: int) -> None:
    """Raises a TypeError unless it takes (params, x, y), perhaps the model_state, ``key`` and ``weight``."""
    if any(grad_fn is itself for itself in (jax.value_and_grad, jax.grad)):
        expected, hint = "grad_fn of (params, x, y)", "call it: jax.value_and_grad(loss_fn)"
        raise TypeError(errors.message(where, expected, f"jax.{grad_fn.__name__} itself", hint))
    keys = [name for name in ("key", "weight") if callable(grad_fn) and takes(grad_fn, name)]
    try:
        arguments.function(where, "grad_fn", grad_fn, positional=positional, keywords=keys)
    except TypeError as error:
        hint = "e.g. jaxbp.value_and_grad(net, loss) or jax.value_and_grad(loss_fn)"
        if callable(grad_fn):
            taken = "(params, x, y, model_state)" if positional == 4 else "(params, x, y)"
            hint = f"{taken}, and an argument for a random key must be called key"
            hint += "; what changes beside the parameters begins as model_state=" * (positional == 3)
        raise TypeError(f"{error}; {hint}") from None


def assert_callbacks(callbacks: Any, where: str = "fit") -> list[Callable[[Any], Any]]:
    """The callbacks, each of which takes the record of an epoch."""
    if not isinstance(callbacks, Sequence | Iterator) or isinstance(callbacks, str | bytes):
        expected, hint = "callbacks, a list of functions of an epoch's record", ""
        if callable(callbacks):
            hint = "put it in a list, callbacks=[...]"
        raise TypeError(errors.message(where, expected, described(callbacks), hint))
    return [
        arguments.function(where, f"callback {i}", callback, positional=1)
        for i, callback in enumerate(callbacks)
    ]


def assert_options(
    early_stopping: Any, checkpoints: Any, memory_budget: Any, progress_bar: Any, where: str = "fit"
) -> tuple[int | None, bool]:
    """The memory_budget and progress_bar; all of these are of their kinds."""
    if early_stopping is not None:
        patience = early_stopping if type(early_stopping) is int else 5
        hint = f"e.g. jaxbp.EarlyStopping({patience})"
        arguments.instance(where, "early_stopping", early_stopping, EarlyStopping, hint)
    if checkpoints is not None:
        hint = 'e.g. jaxbp.Checkpoints("runs/first")'
        arguments.instance(where, "checkpoints", checkpoints, Checkpoints, hint)
    if memory_budget is not None:
        memory_budget = arguments.whole(where, "memory_budget", memory_budget, low=1)
    return memory_budget, arguments.flag(where, "progress_bar", progress_bar)


def assert_counts(evaluate_every: Any, iterations: Any, epochs: Any, evaluates: bool) -> None:
    """Raises a TypeError or ValueError unless these are as `fit` says, which ``evaluates`` something."""
    for name, value in (("evaluate_every", evaluate_every), ("iterations", iterations)):
        if value is not None:
            arguments.whole("fit", name, value, low=1)
    if iterations is not None or evaluate_every is None:
        return
    if evaluate_every > (most := epochs or EPOCHS):
        got, hint = f"{evaluate_every}, which none of them is", "nothing would be evaluated"
        raise ValueError(errors.message("fit", f"evaluate_every at most the {most} epochs", got, hint))
    if not evaluates:
        expected = "evaluate_every beside validation, or beside iterations, whose rows it counts"
        raise ValueError(errors.message("fit", expected, f"{evaluate_every} alone"))


def assert_outcome(
    where: str, plan: Plan, first: Callable[[], State], askers: Mapping[str, Any], streams: bool
) -> None:
    """Raises for an eval_params that gives no parameters, and a monitor that is no column of the history.

    Args:
        where: the function that was called.
        plan: of the run.
        first: makes its first state.
        askers: by name, what may have a ``monitor``.
        streams: whether the data do.
    """
    monitors = {name: asker.monitor for name, asker in askers.items() if asker and asker.monitor is not None}
    if plan.eval_params is None and not monitors:
        return
    state = jax.eval_shape(first)
    if plan.eval_params is not None:
        assert_eval_params(where, plan.eval_params, state)
    columns = _columns(plan, state, streams) if monitors else []
    for name, monitor in monitors.items():
        if monitor not in columns:
            expected = f"monitor to be one of {', '.join(columns)}"
            raise ValueError(errors.message(name, expected, repr(monitor)))


def _columns(plan: Plan, state: State, streams: bool) -> list[str]:
    """The names of the history's columns."""
    metrics: dict[str, Any] = {}
    held_out = plan.validation
    if plan.evaluate is not None and held_out is not None:
        evaluate = make_metrics(plan.evaluate)
        x, *others = jax.tree.map(_held, held_out.arrays)
        x = jax.eval_shape(plan.preprocess, x) if plan.preprocess else x
        seen = jax.eval_shape(lambda state: state.seen(plan.eval_params), state)
        metrics = jax.eval_shape(evaluate, seen, x, *others)
    step = make_step(plan.grad_fn, plan.optimizer, plan.preprocess, plan.restarts)
    batch = jax.tree.map(lambda v: _held(v[: plan.batch_size]), plan.train.arrays)
    _, (_, of_step) = jax.eval_shape(step, state, *batch)
    first = ["epoch", "seconds", "loss", *["iteration"] * (plan.counted is not None), *["waited"] * streams]
    return [*first, *of_step, *jax.eval_shape(told, state.opt_state), *(f"val_{name}" for name in metrics)]


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
        joined = f"np.concatenate({'list(x.values())' if isinstance(held, dict) else 'x'}, axis=1)"
        hint = f"join its arrays, {joined}, or give a grad_fn of your own, jax.value_and_grad(loss_fn)"
        raise TypeError(errors.message(where, "x as one array", described(held), hint))
    try:
        return grad_fn.num_classes(params, held)
    except ValueError as error:
        if len(held.shape) > 2 and "reshape" not in str(error):
            hint = "; flatten the examples, x.reshape(len(x), -1), or begin the network with jaxbp.flatten"
            raise ValueError(f"{error}{hint}") from error
        raise
