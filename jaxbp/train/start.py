"""Where a run begins: its optimizer, parameters and state, tried before anything is compiled."""

import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.arguments.arrays import held_dtype
from jaxbp.train.plan import Plan
from jaxbp.train.programs.evaluate import Evaluator
from jaxbp.train.programs.step import EvalParams, State
from jaxbp.train.result import Result
from jaxbp.typing import Params, Random


class Start(NamedTuple):
    """Where a run begins.

    Args:
        params: the parameters.
        opt_state: the optimizer's state, None for a fresh one.
        learned: the earlier result that the run goes on from, or None.
        model_state: (what grad_fn carries beside the parameters,), or () where there is none.
    """

    params: Params
    opt_state: Any
    learned: Result | None
    model_state: tuple[Any, ...] = ()

    @property
    def behind(self) -> tuple[int, int]:
        """The epochs and the iterations that lie behind."""
        learned = self.learned
        return (len(learned.history["epoch"]), learned.step) if learned is not None else (0, 0)

    def state(self, optimizer: optax.GradientTransformation, key: Random) -> State:
        """The first, in the buffers that were given.

        The optimizer's is one program: by itself each of its arrays of zeros would be one.
        """
        opt_state = jax.jit(optimizer.init)(self.params) if self.opt_state is None else self.opt_state
        step = jax.device_put(np.int32(self.behind[1]))
        return State(self.params, opt_state, key, step, self.model_state)


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


def assert_averages(where: str, ema: Any, eval_params: Any) -> float | None:
    """The ema; both are as `fit` says."""
    if eval_params is not None:
        arguments.function(where, "eval_params", eval_params, positional=2)
        if ema is not None:
            raise ValueError(errors.message(where, "ema or eval_params", "both", "leave one out"))
    return None if ema is None else arguments.number(where, "ema", ema, low=0, high=1, open_high=True)


def assert_eval_params(where: str, eval_params: EvalParams, state: State) -> None:
    """Raises a TypeError unless it gives a tree like the parameters of the state."""
    expected = "eval_params(opt_state, params) to return a tree like params"
    try:
        params = jax.eval_shape(eval_params, state.opt_state, state.params)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        got = f"{type(error).__name__}: {error}"
        hint = "e.g. optax.contrib.schedule_free_eval_params, of the state that schedule_free makes"
        raise TypeError(errors.message(where, expected, got, hint)) from error
    shapes = [jax.tree.map(lambda leaf: jnp.shape(leaf), tree) for tree in (params, state.params)]
    if shapes[0] != shapes[1]:
        raise TypeError(errors.message(where, expected, f"{shapes[0]} for {shapes[1]}"))


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
    params: Params | Result,
    opt_state: Any,
    optimizer: optax.GradientTransformation,
    key: Random,
    model_state: Any = None,
    counted: bool = False,
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
        if model_state is not None:
            got, hint = "an earlier result for params and model_state as well", "leave model_state out"
            raise ValueError(errors.message("fit", "one state to begin with", got, hint))
        if counted != (learned.losses is not None):
            units = ("epochs", "iterations")
            expected = f"an earlier result of a run counted in {units[counted]}"
            hint = f"go on with {units[not counted]}="
            raise ValueError(errors.message("fit", expected, f"one in {units[not counted]}", hint))
        params, opt_state, model_state = learned.last_params, learned.opt_state, learned.last_model_state
    params = assert_params("fit", params)
    opt_state = jax.tree.map(_native, opt_state)
    hint = "give that of an earlier result"
    if learned is not None:
        hint = "with another optimizer begin at the earlier result's params, fit(grad_fn, result.params, ...)"
    _assert_opt_state("fit", optimizer, params, opt_state, hint)
    if opt_state is not None and learned is None:
        leaves = [leaf for leaf in jax.tree.leaves((params, opt_state)) if _is_plain(leaf)]
        digest = 0
        for leaf in leaves:
            digest = zlib.crc32(np.asarray(leaf).tobytes(), digest)
        key = jax.random.fold_in(key, digest)
    return Start(params, opt_state, learned, assert_model_state("fit", model_state)), key


def carrying(where: str, plan: Plan, start: Start) -> tuple[Plan, Start]:
    """The plan of a grad_fn that says it ``carries`` state from batch to batch, and the start with the first.

    Args:
        where: the function that was called.
        plan: whose grad_fn has what `jaxbp.backprop.ValueAndGrad` has.
        start: perhaps with a state of the user's or of an earlier result; else it begins as zeros.

    Raises:
        ValueError: for a state of the rows of a batch, where the same row of the next batch does not go on
            where they ended: in a random order, in batches of several sizes, or as they come.
    """

    def batch(leaf: Any) -> jax.ShapeDtypeStruct:
        dtype = held_dtype(leaf.dtype)
        return jax.ShapeDtypeStruct((plan.batch_size, *leaf.shape[1:]), dtype)  # type: ignore[no-untyped-call]

    x = jax.tree.map(batch, plan.train.x)
    x = jax.eval_shape(plan.preprocess, x) if plan.preprocess else x
    grad_fn, zeros = plan.grad_fn.carrying(start.params, x)  # type: ignore[attr-defined]
    if plan.grad_fn.carries_rows(start.params, x):  # type: ignore[attr-defined]
        plan = _in_order(where, plan, start)
    return plan._replace(grad_fn=grad_fn), start._replace(model_state=start.model_state or (zeros,))


def _in_order(where: str, plan: Plan, start: Start) -> Plan:
    """The plan of a carry: it begins again with the data, and what is evaluated begins from nothing."""
    net = plan.grad_fn.net.name  # type: ignore[attr-defined]
    expected = f"rows that go on in the same row of the next batch, for {net} carries a state from one to it"
    hint = "jaxbp.data.streams(ids, batch_size, places) has data in that order; carries=False needs none"
    got = ""
    if plan.batches is not None:
        got = "batches that come one by one"
    elif plan.shuffle:
        got, hint = "shuffle=True, a random order", f"shuffle=False, and {hint}"
    elif plan.N % plan.batch_size:
        got = f"{plan.N} examples in batches of {plan.batch_size}, the last of them of fewer rows"
    if got:
        raise ValueError(errors.message(where, expected, got, hint))
    evaluate = plan.evaluate
    if isinstance(evaluate, Evaluator):
        evaluate = replace(evaluate, stateful=False)
    return plan._replace(restarts=(start.behind[1], plan.iterations), evaluate=evaluate)


def assert_model_state(where: str, model_state: Any) -> tuple[Any, ...]:
    """(the state as arrays,), or () for None.

    Raises:
        TypeError: for a leaf that is neither an array nor a number.
    """
    if model_state is None:
        return ()

    def as_array(path: Any, leaf: Any) -> Any:
        name = f"model_state{jax.tree_util.keystr(path)}"
        if isinstance(leaf, jax.Array) and is_key(leaf):
            return leaf
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float):
            hint = "what is no array belongs in grad_fn"
            raise TypeError(errors.message(where, f"{name} as an array", described(leaf), hint))
        return jnp.asarray(arguments.array(where, name, leaf))

    return (jax.tree_util.tree_map_with_path(as_array, model_state),)


def _native(leaf: Any) -> Any:
    """A leaf of NumPy's in the machine's byte order; a deleted one of JAX's is refused."""
    numbers = isinstance(leaf, np.ndarray) or (isinstance(leaf, jax.Array) and not is_key(leaf))
    return arguments.array("fit", "opt_state", leaf) if numbers else leaf


def is_key(leaf: Any) -> bool:
    """Whether an array is of random keys, of which NumPy has none."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_plain(leaf: Any) -> bool:
    """Whether this process has all the numbers of a leaf."""
    if not isinstance(leaf, jax.Array):
        return True
    return leaf.is_fully_addressable and not is_key(leaf)


def _assert_opt_state(
    where: str, optimizer: optax.GradientTransformation, params: Params, opt_state: Any, hint: str
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
    expected = "an opt_state of this optimizer and these parameters"
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
