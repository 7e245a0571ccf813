"""What an optimizer of optax is given and gives: the update, what its state tells, averaged parameters."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbp import errors
from jaxbp.arguments import described
from jaxbp.typing import Params, Scalar

ValueAndGrads = Callable[[Params], tuple[Scalar, Params]]


def updated(
    optimizer: optax.GradientTransformation,
    value_and_grads: ValueAndGrads,
    value: Scalar,
    grads: Params,
    opt_state: Any,
    params: Params,
) -> tuple[Params, Any]:
    """What the optimizer adds to the parameters, and its next state.

    Beside gradients, state and parameters it gets what optax's optimizers ask for: ``value`` and ``grad``,
    those of this batch, and ``value_fn``, the loss of this batch as a function of the parameters; where it
    names them, ``obj_fn``, the same function, and ``grad_fn(params, i)``, its gradient.

    Raises:
        TypeError: for an optimizer whose update needs more, or returns something else.
    """
    if isinstance(optimizer, Averaging):
        given = (value_and_grads, value, grads, opt_state.inner, params)
        updates, inner = updated(optimizer.optimizer, *given)
        return updates, Averaged(inner, optimizer.next(opt_state.average, params, updates))
    value_fn = make_value_fn(value_and_grads)
    known = {"value": value, "grad": grads, "value_fn": value_fn}
    by_name = {"obj_fn": value_fn, "grad_fn": lambda params, i: value_and_grads(params)[1]}
    taken = _taken(optimizer.update, known, by_name)
    try:
        returned = optimizer.update(grads, opt_state, params, **taken)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        names = ", ".join(known | by_name)
        expected = f"an optimizer whose update takes gradients, state, parameters, perhaps {names}"
        raise TypeError(errors.message("fit", expected, f"{error}", "e.g. optax.adam(1e-3)")) from error
    _assert_returned(returned, opt_state, params)
    return returned


def _assert_returned(returned: Any, opt_state: Any, params: Params) -> None:
    """Raises a TypeError unless that is (updates like params, the next state), which an iteration can take.

    An update is a real float of its parameter's shape: another is broadcast or cut without a word. A state of
    other shapes or dtypes than the one before it makes no loop.
    """
    expected = "an optimizer whose update returns (updates like params, state)"
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(errors.message("fit", expected, described(returned)))
    trees = [jax.tree.structure(tree) for tree in (returned[0], params)]
    if len(set(trees)) > 1:
        raise TypeError(errors.message("fit", expected, f"updates {trees[0]} for params {trees[1]}"))
    trees = [jax.tree.structure(tree) for tree in (returned[1], opt_state)]
    if len(set(trees)) > 1:
        expected = "an optimizer whose state stays of one structure"
        hint = "optax.snapshot in place of optax.monitor" if "MonitorState" in str(trees[0]) else ""
        raise TypeError(errors.message("fit", expected, f"{trees[0]} after {trees[1]}", hint))
    updates, after = returned
    expected = "an optimizer whose updates are floats of the parameters' shapes"
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), update in zip(leaves, jax.tree.leaves(updates), strict=True):
        if jnp.shape(update) != leaf.shape or not jnp.issubdtype(jnp.result_type(update), jnp.floating):
            got = f"{described(update)} for {jax.tree_util.keystr(path)} of shape {leaf.shape}"
            raise TypeError(errors.message("fit", expected, got))
    expected = "an optimizer whose state stays of one shape and dtype"
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(opt_state), jax.tree.leaves(after), strict=True
    ):
        kinds = [f"{jnp.result_type(leaf)} of shape {jnp.shape(leaf)}" for leaf in (new, old)]
        if kinds[0] != kinds[1] and not getattr(old, "weak_type", True):
            got = f"{kinds[0]} after {kinds[1]} in {jax.tree_util.keystr(path) or 'it'}"
            raise TypeError(errors.message("fit", expected, got))


def make_value_fn(value_and_grads: ValueAndGrads) -> Callable[[Params], Scalar]:
    """The loss as a function of the parameters, whose derivative is the gradient that grad_fn returns.

    Line searches differentiate it, forward or backward, and so never differentiate a backward pass.
    """

    @jax.custom_jvp
    def value_fn(params: Params) -> Scalar:
        return value_and_grads(params)[0]

    @value_fn.defjvp
    def _(primals: tuple[Params], tangents: tuple[Params]) -> tuple[Scalar, Scalar]:
        value, grads = value_and_grads(*primals)
        along = jax.tree.map(lambda grad, tangent: jnp.vdot(grad, tangent), grads, tangents[0])
        return value, jax.tree.reduce(jnp.add, along).astype(value.dtype)

    return value_fn


def _taken(
    update: Callable[..., Any], known: Mapping[str, Any], by_name: Mapping[str, Any]
) -> dict[str, Any]:
    """What of these arguments ``update`` takes, those of ``by_name`` only if it names them.

    A line search hands on to value_fn whatever else it gets.
    """
    try:
        parameters = inspect.signature(update).parameters
    except (TypeError, ValueError):  # a function that tells nothing of its arguments
        return {}
    any_known = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    found = {name: value for name, value in {**known, **by_name}.items() if name in parameters}
    return {**known, **found} if any_known else found


def told(opt_state: Any) -> dict[str, Scalar]:
    """What an optimizer's state tells for the history, by the names of the columns.

    ``learning_rate`` of `optax.inject_hyperparams`; each number that `optax.snapshot` measures, by its name;
    ``plateau_scale``, by which `optax.contrib.reduce_on_plateau` multiplies the updates. A second of the same
    name is ``learning_rate_2``.

    Example:
        >>> optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
        >>> told(optimizer.init({"w": jnp.zeros(2)}))
        {'learning_rate': Array(0.5, dtype=float32)}
    """
    found: dict[str, Scalar] = {}
    for name, value in _tellers(opt_state):
        if jnp.shape(value) == () and not jnp.issubdtype(jnp.result_type(value), jnp.complexfloating):
            same = sum(other == name or other.startswith(f"{name}_") for other in found)
            found[f"{name}_{same + 1}" if name in found else name] = jnp.asarray(value)
    return found


_Hyperparams = optax.InjectHyperparamsState | optax.InjectStatefulHyperparamsState
_TELLERS: tuple[tuple[Any, Callable[[Any], Mapping[str, Any]]], ...] = (
    (_Hyperparams, lambda s: {n: v for n, v in s.hyperparams.items() if n == "learning_rate"}),
    (optax.SnapshotState, lambda s: s.measurement),
    (optax.contrib.ReduceLROnPlateauState, lambda s: {"plateau_scale": s.scale}),
)


def _tellers(tree: Any) -> Iterator[tuple[str, Any]]:
    """The names and values of every state in a tree that tells some, the outer ones first."""
    for kind, tells in _TELLERS:
        if isinstance(tree, kind):
            yield from tells(tree).items()
    parts = jax.tree.leaves(tree, is_leaf=lambda node: node is not tree)
    for part in parts:
        if part is not tree and not isinstance(part, jax.Array):
            yield from _tellers(part)


class Averaged(NamedTuple):
    """The state of an `Averaging`.

    Args:
        inner: of the optimizer that trains.
        average: of the parameters, in at least float32.
    """

    inner: Any
    average: Params


@dataclass(frozen=True)
class Averaging:
    """An optimizer that also keeps average := decay average + (1 - decay) params, beginning at params.

    Args:
        optimizer: what trains.
        decay: 0 is no average, 1 would stay at the first parameters.
    """

    optimizer: optax.GradientTransformation
    decay: float

    def init(self, params: Params) -> Averaged:
        """The first state."""
        return Averaged(self.optimizer.init(params), jax.tree.map(_wide, params))

    def next(self, average: Params, params: Params, updates: Params) -> Params:
        """The average with the parameters that these updates lead to."""
        return jax.tree.map(
            lambda old, new: self.decay * old + (1 - self.decay) * new.astype(old.dtype),
            average,
            optax.apply_updates(params, updates),
        )


def averaging(make: Callable[..., optax.GradientTransformation], decay: float, **point: Any) -> Averaging:
    """The `Averaging` of what ``make`` makes of these hyperparameters."""
    return Averaging(make(**point), decay)


def average_of(opt_state: Averaged, params: Params) -> Params:
    """The average, in the dtypes of the parameters."""
    return jax.tree.map(lambda old, leaf: old.astype(leaf.dtype), opt_state.average, params)


def _wide(leaf: Any) -> Any:
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
