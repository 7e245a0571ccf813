"""What a run is given, tried before anything is compiled."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.data import Dataset, assert_batch_size, assert_data
from jaxbp.data.checks import held_dtype
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.result import EarlyStopping, Result
from jaxbp.train.run import Plan
from jaxbp.train.step import Data, Evaluate, GradFn, Preprocess, make_metrics, takes_key
from jaxbp.typing import Params, Random


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


class Start(NamedTuple):
    """Where a run begins.

    Args:
        params: the parameters.
        opt_state: the optimizer's state, None for a fresh one.
        learned: the earlier result that the run goes on from, or None.
    """

    params: Params
    opt_state: Any
    learned: Result | None


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
    raw, C = preprocess is not None, data.num_classes if isinstance(data, Dataset) else None
    C = _num_classes(where, grad_fn, params, x, preprocess) or C
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


def assert_optimizer(where: str, optimizer: Any) -> optax.GradientTransformation:
    """The optimizer, if it is one.

    Raises:
        TypeError: for a function that makes one, its name, a number or anything else.
    """
    if all(callable(getattr(optimizer, part, None)) for part in ("init", "update")) and not isinstance(
        optimizer, type
    ):
        return optimizer
    hint = "e.g. optax.adam(1e-3)"
    name = optimizer.lower() if isinstance(optimizer, str) else getattr(optimizer, "__name__", "")
    if callable(getattr(optax, name or " ", None)):
        hint = f"make it, e.g. optax.{name}({'1e-3' if 'adam' in name else '0.1'})"
    elif isinstance(optimizer, int | float) and not isinstance(optimizer, bool):
        hint = f"e.g. optax.sgd({optimizer})"
    raise TypeError(errors.message(where, "an optax optimizer", described(optimizer), hint))


def assert_params(where: str, params: Params) -> Params:
    """The parameters, as arrays.

    Raises:
        TypeError: for a leaf that is no floating-point array, and for modules of other libraries.
        ValueError: for none at all, or one that is not finite.
    """
    made_by = {base.__module__.partition(".")[0]: base for base in type(params).__mro__}
    names = {f"{base.__module__}.{base.__qualname__}" for base in type(params).__mro__}
    if any(name.startswith("flax.nnx.") and name.endswith(".Module") for name in names):
        hint = (
            "part it first, graph, params, rest = nnx.split(model, nnx.Param, ...), and nnx.merge in grad_fn"
        )
        raise TypeError(errors.message(where, "params, a pytree of arrays", described(params), hint))
    try:
        params = arguments.params(where, params)
    except TypeError as error:
        hint = ""
        if "flax" in made_by:
            hint = "; graph, params, rest = nnx.split(model, nnx.Param, ...) parts off the parameters"
        elif "equinox" in made_by:
            hint = "; params, static = eqx.partition(model, eqx.is_inexact_array) parts off the arrays"
        if hint and hint.split("(")[0].split()[-1] not in str(error):
            raise TypeError(f"{error}{hint}") from None
        raise
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise ValueError(errors.message(where, "at least one parameter", "none: there is nothing to learn"))
    for path, leaf in leaves:
        if leaf.is_fully_addressable and not np.isfinite(np.asarray(leaf)).all():
            got = f"NaN or infinity in {jax.tree_util.keystr(path) or 'params'}"
            raise ValueError(errors.message(where, "finite parameters", got, "initialize them anew"))
    return params


def assert_start(
    params: Params | Result, opt_state: Any, optimizer: optax.GradientTransformation, key: Random
) -> tuple[Start, Random]:
    """Where the run begins, and the key of its orders and iterations.

    With an opt_state alone nothing tells how many epochs lie behind. So as to repeat none of their orders and
    keys the run has a key of its own, derived from the given one and the arrays that it begins with.
    """
    learned = params if isinstance(params, Result) else None
    if learned is not None:
        if opt_state is not None:
            got = "an earlier result for params and opt_state as well"
            raise ValueError(errors.message("fit", "one state to begin with", got, "leave opt_state out"))
        params, opt_state = learned.last_params, learned.opt_state
    params = assert_params("fit", params)
    _assert_opt_state("fit", optimizer, params, opt_state)
    if opt_state is not None and learned is None:
        leaves = [leaf for leaf in jax.tree.leaves((params, opt_state)) if _is_plain(leaf)]
        digest = 0
        for leaf in leaves:
            digest = zlib.crc32(np.asarray(leaf).tobytes(), digest)
        key = jax.random.fold_in(key, digest)
    return Start(params, opt_state, learned), key


def _is_plain(leaf: Any) -> bool:
    """Whether this process has all the numbers of a leaf."""
    if not isinstance(leaf, jax.Array):
        return True
    return leaf.is_fully_addressable and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _assert_opt_state(
    where: str, optimizer: optax.GradientTransformation, params: Params, opt_state: Any
) -> None:
    """Raises unless the state, if one is given, is that of the optimizer.

    Raises:
        TypeError: for an optimizer that does not begin with these parameters.
        ValueError: for a state of another optimizer or other parameters.
    """
    try:
        fresh = jax.eval_shape(optimizer.init, params)
    except (TypeError, ValueError, AttributeError) as error:
        expected = "an optimizer whose init takes these parameters"
        raise TypeError(errors.message(where, expected, f"{type(error).__name__}: {error}")) from error
    if opt_state is None:
        return
    expected, hint = "an opt_state of this optimizer and these parameters", "give that of an earlier result"
    if isinstance(opt_state, Result):
        raise TypeError(
            errors.message(where, expected, "a Result", "give it for params, fit(grad_fn, result, data, ...)")
        )
    trees = [jax.tree.structure(tree) for tree in (opt_state, fresh)]
    if len(set(trees)) > 1:
        raise ValueError(errors.message(where, expected, f"{trees[0]} for {trees[1]}", hint))
    for (path, leaf), given in zip(
        jax.tree_util.tree_leaves_with_path(fresh), jax.tree.leaves(opt_state), strict=True
    ):
        kinds = [f"{jnp.result_type(v)} of shape {jnp.shape(v)}" for v in (given, leaf)]
        if kinds[0] != kinds[1]:
            got = f"{kinds[0]} for {kinds[1]} in {jax.tree_util.keystr(path)}"
            raise ValueError(errors.message(where, expected, got, hint))


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
        held = jax.eval_shape(preprocess, held)
        if not jnp.issubdtype(held.dtype, jnp.inexact) or held.shape[:1] != x.shape[:1]:
            expected = "preprocess to give a row of floats for each example"
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
