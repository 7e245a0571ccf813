"""One iteration, and the metrics after an epoch: what is traced, and what must come of it."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import errors
from jaxbp.arguments import described
from jaxbp.train.programs.update import updated
from jaxbp.typing import Array, Params, Random, Scalar

GradFn = Callable[..., tuple[Scalar, Params]]  # (params, x, y) -> (loss, grads), perhaps with key=, weight=
Evaluate = Callable[..., dict[str, Scalar]]  # (params, x, y) -> {name: scalar}, perhaps with weight=
Data = tuple[Any, ...]  # (x, y) or (x, y, weight), trees of arrays (N, ...)
Preprocess = Callable[[Array], Array]  # x as it is stored -> x as the network takes it
EvalParams = Callable[[Any, Params], Params]  # (opt_state, params) -> those that are evaluated
Row = tuple[Scalar, dict[str, Scalar]]  # of an iteration: its loss, and what else grad_fn tells


class State(NamedTuple):
    """What training changes.

    Args:
        params: the parameters.
        opt_state: the optimizer's.
        key: from which each iteration derives its own.
        step: the number of iterations done.
        model_state: (what grad_fn carries beside the parameters,), or () where there is none.
    """

    params: Params
    opt_state: Any
    key: Random
    step: Array
    model_state: tuple[Any, ...] = ()

    def seen(self, eval_params: EvalParams | None) -> tuple[Any, ...]:
        """What evaluations see: the parameters, and the model's state where there is one."""
        params = eval_params(self.opt_state, self.params) if eval_params else self.params
        return params, *self.model_state


Step = Callable[..., tuple[State, Row]]  # (state, x, y) or (state, x, y, weight) -> (state, row)


def make_step(
    grad_fn: GradFn,
    optimizer: optax.GradientTransformation,
    preprocess: Preprocess | None = None,
    restarts: tuple[int, int] | None = None,
) -> Step:
    """One iteration: a gradient on one mini-batch, and the update of the parameters.

    What grad_fn and the optimizer return is looked at while the step is traced, before the first epoch.
    ``restarts`` is as in `jaxbp.train.plan.Plan`.
    """
    wants_key = takes(grad_fn, "key")

    def step(state: State, x: Any, y: Any, *weight: Array) -> tuple[State, Row]:
        extra = {"key": jax.random.fold_in(state.key, state.step)} if wants_key else {}
        rows = preprocess(x) if preprocess else x
        before = state.model_state if restarts is None else begun_again(state, *restarts)

        def outcome(params: Params) -> Outcome:
            with traced("grad_fn"):
                returned = grad_fn(params, rows, y, *before, **extra, **by_name(*weight))
            return outcome_of(returned, params, before)

        found = outcome(state.params)
        with jax.named_scope("update"):
            updates, opt_state = updated(
                optimizer, lambda p: outcome(p)[:2], found.loss, found.grads, state.opt_state, state.params
            )
            params = optax.apply_updates(state.params, updates)
        after = State(params, opt_state, state.key, state.step + 1, found.model_state)
        return after, (found.loss, found.metrics)

    return step


def begun_again(state: State, first: int, every: int) -> tuple[Any, ...]:
    """The model's state, or zeros where the data begin again; the one that a run begins with is kept."""
    again = (state.step > 0) & ((state.step - first) % every == 0)
    return jax.tree.map(lambda leaf: jnp.where(again, jnp.zeros_like(leaf), leaf), state.model_state)


@contextmanager
def traced(name: str) -> Iterator[None]:
    """Says what it means where a function of the user's asks a traced array for its numbers."""
    try:
        yield
    except (
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
        jax.errors.ConcretizationTypeError,
    ) as error:
        got, hint = str(error).partition("\n")[0], "np.f(x), float(x) and if x: have no numbers to look at"
        raise TypeError(errors.message(name, "jax.numpy alone, for it is compiled", got, hint)) from error


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function that tells nothing of its arguments
        return False


def demands(function: Callable[..., Any], name: str) -> bool:
    """Whether a function cannot be called without an argument of this name."""
    if not takes(function, name):
        return False
    default = inspect.signature(function).parameters[name].default
    return default is inspect.Parameter.empty


def by_name(*weight: Array) -> dict[str, Array]:
    """The weights, if there are any, as what a function is called with."""
    return dict(zip(("weight",), weight, strict=False))


class Outcome(NamedTuple):
    """What grad_fn returned.

    Args:
        loss: of the batch.
        grads: a tree like params.
        model_state: the next, as in `State`.
        metrics: what else it tells for the history.
    """

    loss: Any
    grads: Params
    model_state: tuple[Any, ...]
    metrics: dict[str, Scalar]


def outcome_of(returned: Any, params: Params, model_state: tuple[Any, ...]) -> Outcome:
    """What grad_fn returned, if it is as `jaxbp.fit` says.

    Raises:
        TypeError: unless it is a scalar loss, perhaps with an aux, and a tree like params, of real floats.
    """
    where, expected = "grad_fn", "(params, x, y) to return a scalar loss and a tree like params"
    hint = "e.g. jaxbp.value_and_grad(net, loss) or jax.value_and_grad(loss_fn)"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        got = described(returned) + " alone" * isinstance(returned, jax.Array)
        raise TypeError(errors.message(where, expected, got, hint))
    loss, grads = returned
    state = model_state
    metrics: dict[str, Scalar] = {}
    if isinstance(loss, tuple | list) and len(loss) == 2:
        loss, aux = loss
        state, metrics = _of_aux(aux, model_state)
    elif model_state:
        expected = "((loss, model_state), grads), for fit was given a model_state"
        hint = "e.g. jax.value_and_grad(loss_fn, has_aux=True)"
        raise TypeError(errors.message(where, expected, f"({described(loss)}, grads)", hint))
    if not isinstance(loss, jax.Array | np.ndarray | np.generic | float) or jnp.shape(loss) != ():
        raise TypeError(errors.message(where, expected, f"a loss that is {described(loss)}", hint))
    if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        raise TypeError(errors.message(where, expected, f"a loss of dtype {jnp.result_type(loss)}", hint))
    trees = [jax.tree.structure(tree) for tree in (grads, params)]
    if len(set(trees)) > 1:
        raise TypeError(errors.message(where, expected, f"{trees[0]} for params {trees[1]}", hint))
    for (path, leaf), grad in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(grads), strict=True
    ):
        if jnp.shape(grad) != leaf.shape or not jnp.issubdtype(jnp.result_type(grad), jnp.floating):
            got = f"{described(grad)} for {jax.tree_util.keystr(path)} of shape {leaf.shape}"
            raise TypeError(errors.message(where, expected, got, hint))
    return Outcome(loss, grads, state, metrics)


def _of_aux(aux: Any, model_state: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Scalar]]:
    """The next model's state and the metrics of an aux: the state, metrics, or (state, metrics)."""
    where = "grad_fn returned ((loss, aux), grads)"
    if not model_state:
        hint = "what else changes beside the parameters begins as fit(..., model_state=)"
        return (), _metrics(where, "an aux {name: scalar}, for the history", aux, hint)
    metrics: dict[str, Scalar] = {}
    hint = "aux is the next model_state, or (model_state, {name: scalar})"
    if not _alike(aux, model_state[0]) and isinstance(aux, tuple | list) and len(aux) == 2:
        aux, told = aux
        metrics = _metrics(where, "metrics {name: scalar} beside the model_state", told, hint)
    if not _alike(aux, model_state[0]):
        got = f"{jax.tree.structure(aux)} after {jax.tree.structure(model_state[0])}"
        raise TypeError(errors.message(where, "a model_state of one structure", got, hint))
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(model_state[0]), jax.tree.leaves(aux), strict=True
    ):
        kinds = [f"{jnp.result_type(leaf)} of shape {jnp.shape(leaf)}" for leaf in (new, old)]
        if kinds[0] != kinds[1]:
            got = f"{kinds[0]} after {kinds[1]} in {jax.tree_util.keystr(path) or 'it'}"
            raise TypeError(errors.message(where, "a model_state of the same shapes and dtypes", got))
    return (aux,), metrics


def _alike(one: Any, other: Any) -> bool:
    return len({jax.tree.structure(tree) for tree in (one, other)}) == 1


# Names that a row of the history, or the record of a callback, has already.
TAKEN = ("epoch", "iteration", "seconds", "loss", "waited", "params", "opt_state", "model_state")


def _metrics(where: str, expected: str, told: Any, hint: str) -> dict[str, Scalar]:
    """Metrics by name, if they are.

    Raises:
        TypeError: for anything else.
        ValueError: for names that the history has already.
    """
    if not isinstance(told, dict) or not all(isinstance(name, str) for name in told):
        raise TypeError(errors.message(where, expected, described(told), hint))
    for name, value in told.items():
        number = isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float)
        if not number or jnp.shape(value) != () or jnp.iscomplexobj(value):
            raise TypeError(errors.message(where, expected, f"{name!r}: {described(value)}", hint))
        if name in TAKEN or name.startswith("val_"):
            raise ValueError(errors.message(where, "names that the history lacks", repr(name)))
    return {name: jnp.asarray(value) for name, value in told.items()}


def make_metrics(evaluate: Evaluate) -> Evaluate:
    """``evaluate`` of what `State.seen` gives; its metrics are looked at while it is traced.

    Raises:
        TypeError: on tracing, unless it returns a dict of names and real scalars.
    """

    def metrics(seen: tuple[Any, ...], x: Any, y: Any, *weight: Array) -> dict[str, Scalar]:
        params, *model_state = seen
        with traced("evaluate"):
            returned = evaluate(params, x, y, *model_state, **by_name(*weight))
        expected = "evaluate(params, x, y) to return {name: scalar}"
        hint = "e.g. evaluate=jaxbp.make_evaluate(net.apply, loss)"
        if not isinstance(returned, dict) or not returned:
            raise TypeError(errors.message("fit", expected, described(returned), hint))
        for name, value in returned.items():
            number = isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float)
            if not isinstance(name, str) or not number or jnp.shape(value) != ():
                hint = "a metric is one number; return the entries of an array under names of their own"
                raise TypeError(errors.message("fit", expected, f"{name!r}: {described(value)}", hint))
            if jnp.issubdtype(jnp.result_type(value), jnp.complexfloating):
                raise TypeError(errors.message("fit", expected, f"{name!r}: {described(value)}", hint))
        return returned

    return metrics
