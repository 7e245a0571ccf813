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
from jaxbp.typing import Array, Params, Random, Scalar

GradFn = Callable[..., tuple[Scalar, Params]]  # (params, x, y) -> (loss, grads), perhaps with key=, weight=
Evaluate = Callable[..., dict[str, Scalar]]  # (params, x, y) -> {name: scalar}, perhaps with weight=
Data = tuple[Any, ...]  # (x, y) or (x, y, weight), trees of arrays (N, ...)
Preprocess = Callable[[Array], Array]  # x as it is stored -> x as the network takes it


class State(NamedTuple):
    """What training changes.

    Args:
        params: the parameters.
        opt_state: the optimizer's.
        key: from which each iteration derives its own.
        step: the number of iterations done.
    """

    params: Params
    opt_state: Any
    key: Random
    step: Array


Step = Callable[..., tuple[State, Scalar]]  # (state, x, y) or (state, x, y, weight) -> (state, loss)


def make_step(
    grad_fn: GradFn, optimizer: optax.GradientTransformation, preprocess: Preprocess | None = None
) -> Step:
    """One iteration: a gradient on one mini-batch, and the update of the parameters.

    What grad_fn and the optimizer return is looked at while the step is traced, before the first epoch.
    """
    wants_key = takes(grad_fn, "key")

    def step(state: State, x: Any, y: Any, *weight: Array) -> tuple[State, Scalar]:
        extra = {"key": jax.random.fold_in(state.key, state.step)} if wants_key else {}
        rows = preprocess(x) if preprocess else x
        with traced("grad_fn"):
            returned = grad_fn(state.params, rows, y, **extra, **by_name(*weight))
        loss, grads = loss_and_grads(returned, state.params)
        with jax.named_scope("update"):
            updates, opt_state = updated(optimizer, grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        return State(params, opt_state, state.key, state.step + 1), loss

    return step


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


def updated(
    optimizer: optax.GradientTransformation, grads: Params, opt_state: Any, params: Params
) -> tuple[Params, Any]:
    """What the optimizer adds to the parameters, and its next state.

    Raises:
        TypeError: for an optimizer whose update needs more, such as the value of the loss, or returns
            something else.
    """
    try:
        returned = optimizer.update(grads, opt_state, params)
    except TypeError as error:
        expected = "an optimizer that updates from gradients, state and parameters alone"
        hint = "e.g. optax.adam(1e-3); fit gives update no value, no value_fn and no other argument"
        raise TypeError(errors.message("fit", expected, f"{error}", hint)) from error
    expected = "an optimizer whose update returns (updates like params, state)"
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(errors.message("fit", expected, described(returned)))
    trees = [jax.tree.structure(tree) for tree in (returned[0], params)]
    if len(set(trees)) > 1:
        raise TypeError(errors.message("fit", expected, f"updates {trees[0]} for params {trees[1]}"))
    return returned


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function that tells nothing of its arguments
        return False


def by_name(*weight: Array) -> dict[str, Array]:
    """The weights, if there are any, as what a function is called with."""
    return dict(zip(("weight",), weight, strict=False))


def loss_and_grads(returned: Any, params: Params) -> tuple[Any, Params]:
    """What grad_fn returned.

    Raises:
        TypeError: unless it is a scalar loss and a tree like params.
    """
    where, expected = "grad_fn", "(params, x, y) to return a scalar loss and a tree like params"
    hint = "e.g. jaxbp.value_and_grad(net, loss) or jax.value_and_grad(loss_fn)"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        got = described(returned) + " alone" * isinstance(returned, jax.Array)
        raise TypeError(errors.message(where, expected, got, hint))
    loss, grads = returned
    if isinstance(loss, tuple | list):
        where, expected = "grad_fn returned ((loss, aux), grads)", "(loss, grads)"
        hint = "leave has_aux=True out; what changes beside the parameters has no place in fit"
        raise TypeError(errors.message(where, expected, described(loss) + " for the loss", hint))
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
        if jnp.shape(grad) != leaf.shape:
            got = f"{described(grad)} for {jax.tree_util.keystr(path)} of shape {leaf.shape}"
            raise TypeError(errors.message(where, expected, got, hint))
    return loss, grads


def make_metrics(evaluate: Evaluate) -> Evaluate:
    """``evaluate``, whose metrics are looked at while it is traced, before the first epoch.

    Raises:
        TypeError: on tracing, unless it returns a dict of names and real scalars.
    """

    def metrics(params: Params, x: Any, y: Any, *weight: Array) -> dict[str, Scalar]:
        with traced("evaluate"):
            returned = evaluate(params, x, y, **by_name(*weight))
        expected = "evaluate(params, x, y) to return {name: scalar}"
        hint = "e.g. evaluate=jaxbp.make_evaluate(net.apply, loss)"
        if not isinstance(returned, dict):
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
