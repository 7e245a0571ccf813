"""One epoch as one compiled program: a scan over mini-batches, then the evaluation."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbp import errors
from jaxbp.typing import Array, Params, Random, Scalar

GradFn = Callable[..., tuple[Scalar, Params]]  # (params, x, y) -> (loss, grads), perhaps with key=
Evaluate = Callable[[Params, Array, Array], dict[str, Scalar]]
Data = tuple[Array, Array]


class State(NamedTuple):
    """What training changes.

    Args:
        params: the parameters.
        opt_state: the optimiser's.
        key: from which each iteration derives its own.
        step: the number of iterations done.
        bad_step: the first iteration whose loss or gradient was not finite, -1 while there is none.
            From it on nothing is updated any more, so that the parameters are those before it.
    """

    params: Params
    opt_state: Any
    key: Random
    step: Array
    bad_step: Array


def make_step(
    grad_fn: GradFn, optimizer: optax.GradientTransformation
) -> Callable[[State, Array, Array], tuple[State, Scalar]]:
    """One iteration: a gradient on one mini-batch, and the update of the parameters if it is finite."""
    wants_key = "key" in inspect.signature(grad_fn).parameters

    def step(state: State, x: Array, y: Array) -> tuple[State, Scalar]:
        extra = {"key": jax.random.fold_in(state.key, state.step)} if wants_key else {}
        loss, grads = grad_fn(state.params, x, y, **extra)
        trees = {jax.tree.structure(grads), jax.tree.structure(state.params)}
        if jnp.shape(loss) != () or len(trees) > 1:
            raise TypeError(
                errors.message(
                    "fit",
                    "grad_fn(params, x, y) to return a scalar loss and a tree like params",
                    f"shape {jnp.shape(loss)} and {jax.tree.structure(grads)}",
                    "e.g. jaxbp.value_and_grad(net, loss) or jax.value_and_grad(loss_fn)",
                )
            )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(grads, squared=True))
        go = finite & (state.bad_step < 0)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(go, new, old), (params, opt_state), (state.params, state.opt_state)
        )
        bad_step = jnp.where(finite | (state.bad_step >= 0), state.bad_step, state.step)
        return State(params, opt_state, state.key, state.step + 1, bad_step), loss

    return step


def make_epoch(
    grad_fn: GradFn, optimizer: optax.GradientTransformation, batch_size: int, evaluate: Evaluate | None
) -> Callable[[State, Array, Data, Data | None], tuple[State, Array, dict[str, Scalar]]]:
    """One epoch: (state, order, data, validation) -> (state, losses of the iterations, metrics).

    The N = q batch_size + r examples are gathered batch by batch in the given order: q iterations of
    batch_size, and if r > 0 a last one of r.
    """
    step = make_step(grad_fn, optimizer)

    def epoch(
        state: State, order: Array, data: Data, validation: Data | None
    ) -> tuple[State, Array, dict[str, Scalar]]:
        def iteration(state: State, batch: Array) -> tuple[State, Scalar]:
            return step(state, *(v.at[batch].get(mode="promise_in_bounds") for v in data))

        full = order.size - order.size % batch_size
        state, losses = jax.lax.scan(iteration, state, order[:full].reshape(-1, batch_size))
        if full < order.size:
            state, last = iteration(state, order[full:])
            losses = jnp.append(losses, last)
        metrics = evaluate(state.params, *validation) if evaluate and validation else {}
        return state, losses, metrics

    return epoch


def make_evaluate(
    apply: Callable[[Params, Array], Array], loss: Callable[[Array, Array], Scalar]
) -> Evaluate:
    """Metrics of a network on a data set: its loss, and for integer labels its accuracy.

    Args:
        apply: ``(params, x) -> f`` of shape (*n, C), any JAX function.
        loss: ``(f, y) -> scalar``.

    Returns:
        ``evaluate(params, x, y) -> {"loss": ..., "accuracy": ...}``, the accuracy being the share of the
        examples whose largest f is at y, and NaN where f is NaN. Targets that are no labels have no accuracy.

    Example:
        >>> import jaxbp
        >>> evaluate = make_evaluate(lambda params, x: x, jaxbp.softmax_cross_entropy)
        >>> evaluate({}, jnp.array([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), jnp.array([1, 0, 0]))["accuracy"]
        Array(0.6666667, dtype=float32)
    """

    def evaluate(params: Params, x: Array, y: Array) -> dict[str, Scalar]:
        f = apply(params, x)
        metrics = {"loss": loss(f, y)}
        if jnp.issubdtype(y.dtype, jnp.integer) and y.shape == f.shape[:-1]:
            right = (f.argmax(-1) == y).astype(metrics["loss"].dtype)
            metrics["accuracy"] = jnp.where(jnp.isnan(f).any(-1), jnp.nan, right).mean()
        return metrics

    return evaluate
