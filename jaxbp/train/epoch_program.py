"""Epochs as one compiled program: a scan over mini-batches, then the evaluation, for several epochs."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import errors
from jaxbp.arguments import described
from jaxbp.typing import Array, Params, Random, Scalar

GradFn = Callable[..., tuple[Scalar, Params]]  # (params, x, y) -> (loss, grads), perhaps with key=
Evaluate = Callable[[Params, Array, Array], dict[str, Scalar]]
Data = tuple[Array, Array]
Preprocess = Callable[[Array], Array]  # x as it is stored -> x as the network takes it
Take = Callable[[Array, Array], Array]  # (rows, indices of batches (k, batch)) -> the batches

GATHERED = 2**22  # bytes of batches at hand at a time, about what a cache holds


class State(NamedTuple):
    """What training changes.

    Args:
        params: the parameters.
        opt_state: the optimiser's.
        key: from which each iteration derives its own.
        step: the number of iterations done.
    """

    params: Params
    opt_state: Any
    key: Random
    step: Array


Step = Callable[[State, Array, Array], tuple[State, Scalar]]
Carry = TypeVar("Carry")


def epoch_order(key: Random, epoch: int, N: int, process: int = 0) -> np.ndarray:
    """The order of the N examples in an epoch, a function of nothing else: it needs no state to resume.

    It is drawn on the host, where it costs a fraction of what `jax.random.permutation` takes.

    Example:
        >>> epoch_order(jax.random.key(0), 1, 5).tolist(), epoch_order(jax.random.key(0), 2, 5).tolist()
        ([2, 0, 4, 3, 1], [1, 2, 3, 4, 0])
    """
    seed = [*np.asarray(jax.random.key_data(key)).ravel().tolist(), process, epoch]
    return np.random.default_rng(seed).permutation(N).astype(np.int32)


def make_step(
    grad_fn: GradFn, optimizer: optax.GradientTransformation, preprocess: Preprocess | None = None
) -> Step:
    """One iteration: a gradient on one mini-batch, and the update of the parameters.

    What grad_fn and the optimizer return is looked at while the step is traced, before the first epoch.
    """
    wants_key = takes_key(grad_fn)

    def step(state: State, x: Array, y: Array) -> tuple[State, Scalar]:
        extra = {"key": jax.random.fold_in(state.key, state.step)} if wants_key else {}
        returned = grad_fn(state.params, preprocess(x) if preprocess else x, y, **extra)
        loss, grads = loss_and_grads(returned, state.params)
        with jax.named_scope("update"):
            try:
                updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            except TypeError as error:
                expected = "an optimizer that updates from gradients, state and parameters alone"
                hint = "e.g. optax.adam(1e-3); fit gives update no value, no value_fn and no other argument"
                raise TypeError(errors.message("fit", expected, f"{error}", hint)) from error
            params = optax.apply_updates(state.params, updates)
        return State(params, opt_state, state.key, state.step + 1), loss

    return step


def takes_key(grad_fn: GradFn) -> bool:
    """Whether grad_fn has an argument ``key``."""
    try:
        return "key" in inspect.signature(grad_fn).parameters
    except (TypeError, ValueError):  # a function that tells nothing of its arguments
        return False


def loss_and_grads(returned: Any, params: Params) -> tuple[Scalar, Params]:
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
    if trees[0] != trees[1]:
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

    def metrics(params: Params, x: Array, y: Array) -> dict[str, Scalar]:
        returned = evaluate(params, x, y)
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


def all_finite(tree: Any) -> Array:
    """Whether no entry of the tree is NaN or infinite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def watched_leaves(opt_state: Any) -> list[tuple[str, Any]]:
    """The float leaves of an optimizer's state, which must not overflow, and the names of their paths.

    The norm of a gradient that `optax.MultiSteps` skips may overflow: that is why it was skipped.

    Example:
        >>> [name for name, _ in watched_leaves(optax.adam(0.1).init({"w": jnp.zeros(2)}))]
        ["[0].mu['w']", "[0].nu['w']"]
    """
    return [
        (jax.tree_util.keystr(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(opt_state)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        and not any(getattr(key, "name", "") == "skip_state" for key in path)
    ]


def broke(before: Any, after: Any) -> Array:
    """What each of the `watched_leaves` of the optimizer's state became: NaN or infinity, or 0 while sound.

    An entry that was not finite before has broken nothing: some states begin with infinity.
    """
    found = [jnp.zeros(0)]
    for (_, old), (_, new) in zip(watched_leaves(before), watched_leaves(after), strict=True):
        lost = jnp.isfinite(old) & ~jnp.isfinite(new)
        worst = jnp.max(jnp.where(lost, jnp.real(new), -jnp.inf), initial=-jnp.inf)
        found.append(jnp.where(lost.any(), worst, 0).astype(float)[None])
    return jnp.concatenate(found)


def sound(before: Any, after: Any) -> Array:
    """Whether no entry of the optimizer's state stopped being finite."""
    pairs = zip(watched_leaves(before), watched_leaves(after), strict=True)
    kept = [(jnp.isfinite(new) | ~jnp.isfinite(old)).all() for (_, old), (_, new) in pairs]
    return jnp.stack([jnp.bool_(True), *kept]).all()


def cut(q: int, most: int) -> tuple[int, list[int], list[int]]:
    """q batches in chunks of one size k, at most ``most``: k, where each starts, the first new batch in it.

    That all have one shape makes them one program. Where k does not divide q, the last chunk begins with
    batches that were there before.

    Example:
        >>> cut(5, 2)
        (2, [0, 2, 3], [0, 0, 1])
    """
    k = -(-q // -(-q // most))
    begins = range(0, q, k)
    starts = [min(begin, q - k) for begin in begins]
    return k, starts, [begin - start for begin, start in zip(begins, starts, strict=True)]


def make_epoch(
    step: Callable[[Carry, Array, Array], tuple[Carry, Scalar]],
    batch_size: int,
    take: Take,
    gathered: int = GATHERED,
) -> Callable[[Carry, Array, Data], tuple[Carry, Array]]:
    """One epoch: (state, order, data) -> (state, losses of the iterations).

    Of the N = q batch_size + r examples in the given order come q iterations of batch_size, and if r > 0 a
    last one of r. From data larger than a cache several batches are gathered at a time: single ones would
    each wait for memory.
    """
    chunk = make_chunk(step)

    def epoch(state: Carry, order: Array, data: Data) -> tuple[Carry, Array]:
        q, rest = divmod(order.size, batch_size)
        batches = order[: q * batch_size].reshape(q, batch_size)
        example = sum(v.dtype.itemsize * v[:1].size for v in data)
        most = max(1, gathered // (batch_size * example)) if order.size * example > gathered else 1
        k, starts, firsts = cut(q, most)

        def body(state: Carry, at: tuple[Array, Array]) -> tuple[Carry, Array]:
            start, first = at
            rows = jax.lax.dynamic_slice_in_dim(batches, start, k)
            return chunk(state, first, *(take(v, rows) for v in data))

        state, losses = jax.lax.scan(body, state, (jnp.asarray(starts), jnp.asarray(firsts)))
        losses = jnp.append(losses[:-1], losses[-1, firsts[-1] :])
        if rest:
            x, y = (take(v, order[None, q * batch_size :])[0] for v in data)
            state, last = step(state, x, y)
            losses = jnp.append(losses, last)
        return state, losses

    return epoch


def make_epochs(
    step: Step, batch_size: int, evaluate: Evaluate | None, take: Take, gathered: int = GATHERED
) -> Callable[[State, Array, Array, Data, Data | None], tuple[State, Array, dict[str, Array], Array]]:
    """Several epochs: (state, orders, count, data, validation) -> (state, losses, metrics, finite).

    Short epochs would wait for the host between them. The first ``count`` of the orders (G, N) are run;
    as it is no part of the shapes, one program serves every count. losses is (G, iterations), each of the
    metrics (G,); of them the first ``count`` rows mean something. ``finite`` says that these losses
    and the last parameters are, and that no entry of the optimizer's state stopped being so: looked at once
    at the end, it costs an iteration nothing, and `locate` finds the iteration when it is False.
    """
    epoch = make_epoch(step, batch_size, take, gathered)
    metrics_of = evaluate and make_metrics(evaluate)

    @jax.jit  # traced once, for its shapes and for the loop
    def evaluated(
        state: State, order: Array, data: Data, validation: Data | None
    ) -> tuple[State, Array, dict[str, Scalar]]:
        state, losses = epoch(state, order, data)
        return state, losses, metrics_of(state.params, *validation) if metrics_of and validation else {}

    def epochs(
        state: State, orders: Array, count: Array, data: Data, validation: Data | None
    ) -> tuple[State, Array, dict[str, Array], Array]:
        def body(e: Array, carry: tuple[State, Any]) -> tuple[State, Any]:
            state, rows = carry
            state, *row = evaluated(state, orders[e], data, validation)
            return state, jax.tree.map(lambda column, value: column.at[e].set(value), rows, row)

        _, *row = jax.eval_shape(evaluated, state, orders[0], data, validation)
        rows = jax.tree.map(lambda v: jnp.zeros((len(orders), *v.shape), v.dtype), row)
        before = state.opt_state
        state, (losses, metrics) = jax.lax.fori_loop(0, count, body, (state, rows))
        finite = all_finite((losses, state.params)) & sound(before, state.opt_state)
        return state, losses, metrics, finite

    return epochs


def mean_loss(losses: np.ndarray, batch_size: int, N: int) -> np.ndarray:
    """The mean loss of N examples from the losses of their batches, the last axis; the last may be short."""
    sizes = np.full(losses.shape[-1], batch_size)
    sizes[-1] = N - batch_size * (len(sizes) - 1)
    return np.average(losses.astype(np.float64), axis=-1, weights=sizes)


def make_chunk(
    step: Callable[[Carry, Array, Array], tuple[Carry, Scalar]],
) -> Callable[[Carry, Array, Array, Array], tuple[Carry, Array]]:
    """Batches that are at hand: (state, first, x, y) -> (state, losses), x and y of shape (k, batch, ...).

    The iterations are those of the batches ``first`` to k; losses is (k,), with 0 before ``first``.
    """
    step = jax.jit(step)  # traced once, for its shapes and for the loop

    def chunk(state: Carry, first: Array, x: Array, y: Array) -> tuple[Carry, Array]:
        def body(i: Array, carry: tuple[Carry, Array]) -> tuple[Carry, Array]:
            state, losses = carry
            state, loss = step(state, x[i], y[i])
            return state, losses.at[i].set(loss)

        _, loss = jax.eval_shape(step, state, x[0], y[0])
        return jax.lax.fori_loop(first, len(x), body, (state, jnp.zeros(len(x), loss.dtype)))

    return chunk


class Watched(NamedTuple):
    """What a watched step carries.

    Args:
        state: that before the first bad iteration.
        bad: the number of that iteration, or -1.
        broken: what `broke` says of it.
    """

    state: State
    bad: Array
    broken: Array

    @classmethod
    def begun(cls, state: State) -> "Watched":
        """Before the first step."""
        return cls(state, jnp.full_like(state.step, -1), jnp.zeros_like(broke(state.opt_state, state.opt_state)))


def make_watched(step: Step) -> Callable[[Watched, Array, Array], tuple[Watched, Scalar]]:
    """The step that looks at what it did.

    An iteration is bad if its loss or the parameters it leaves are not finite, or if the optimizer's state
    stopped being so. From there on nothing is updated any more, so that the state is the one before it.
    """

    def watched(carry: Watched, x: Array, y: Array) -> tuple[Watched, Scalar]:
        before, bad, broken = carry
        after, loss = step(before, x, y)
        finite = all_finite((loss, after.params))
        lost = broke(before.opt_state, after.opt_state)
        good = finite & jnp.isfinite(lost).all()
        go, first = good & (bad < 0), ~good & (bad < 0)
        state = jax.tree.map(lambda new, old: jnp.where(go, new, old), after, before)
        bad = jnp.where(first, before.step, bad)
        return Watched(state, bad, jnp.where(first & finite, lost, broken)), loss

    return watched


def make_locate(
    step: Step, batch_size: int, take: Take
) -> Callable[[State, Array, Data], tuple[State, Array, Array, Array]]:
    """(state, order, data) -> (state, losses, first bad iteration or -1, what broke): a watched epoch."""
    epoch = make_epoch(make_watched(step), batch_size, take)

    def locate(state: State, order: Array, data: Data) -> tuple[State, Array, Array, Array]:
        first = state.step
        (state, bad, broken), losses = epoch(Watched.begun(state), order, data)
        return state, losses, jnp.where(bad < 0, bad, bad - first), broken

    return locate
