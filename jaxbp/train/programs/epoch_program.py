"""Epochs as one compiled program: a scan over mini-batches, then the evaluation, for several epochs."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.train.programs.finite import Watched, make_watched
from jaxbp.train.programs.step import Data, EvalParams, Evaluate, Row, State, Step, make_metrics
from jaxbp.train.programs.update import told
from jaxbp.typing import Array, Random, Scalar

Take = Callable[[Array, Array], Array]  # (rows, indices of batches (k, batch)) -> the batches

GATHERED = 2**22  # bytes of batches at hand at a time, about what a cache holds


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
    step: Callable[..., tuple[Carry, Row]],
    batch_size: int,
    take: Take,
    gathered: int = GATHERED,
) -> Callable[[Carry, Array, Data], tuple[Carry, Any]]:
    """One epoch: (state, order, data) -> (state, rows of the iterations).

    Of the N = q batch_size + r examples in the given order come q iterations of batch_size, and if r > 0 a
    last one of r. From data larger than a cache several batches are gathered at a time: single ones would
    each wait for memory.
    """
    chunk = make_chunk(step)

    def epoch(state: Carry, order: Array, data: Data) -> tuple[Carry, Any]:
        q, rest = divmod(order.size, batch_size)
        batches = order[: q * batch_size].reshape(q, batch_size)
        example = sum(v.dtype.itemsize * v[:1].size for v in jax.tree.leaves(data))
        most = max(1, gathered // (batch_size * example)) if order.size * example > gathered else 1
        k, starts, firsts = cut(q, most)

        def body(state: Carry, at: tuple[Array, Array]) -> tuple[Carry, Any]:
            start, first = at
            rows = jax.lax.dynamic_slice_in_dim(batches, start, k)
            return chunk(state, first, *jax.tree.map(lambda v: take(v, rows), data))

        state, rows = jax.lax.scan(body, state, (jnp.asarray(starts), jnp.asarray(firsts)))
        rows = jax.tree.map(lambda v: jnp.append(v[:-1], v[-1, firsts[-1] :]), rows)
        if rest:
            short = jax.tree.map(lambda v: take(v, order[None, q * batch_size :])[0], data)
            state, last = step(state, *short)
            rows = jax.tree.map(jnp.append, rows, last)
        return state, rows

    return epoch


def make_epochs(
    step: Step,
    batch_size: int,
    evaluate: Evaluate | None,
    take: Take,
    gathered: int = GATHERED,
    eval_params: EvalParams | None = None,
) -> Callable[..., tuple[State, Any, dict[str, Array], dict[str, Array]]]:
    """Several epochs: (state, orders, count, data, validation, due) -> (state, rows, told, metrics).

    Short epochs would wait for the host between them. The first ``count`` of the orders (G, N) are run;
    as it is no part of the shapes, one program serves every count. The rows of the iterations are
    (G, iterations), what the optimizer's state tells and each of the metrics (G,); of them the first
    ``count`` mean something. ``due`` says which epochs are evaluated, (G,), None being all of them.
    """
    epoch = make_epoch(step, batch_size, take, gathered)
    metrics_of = evaluate and make_metrics(evaluate)

    @jax.jit  # traced once, for its shapes and for the loop
    def evaluated(
        state: State, order: Array, data: Data, validation: Data | None, due: Array | None
    ) -> tuple[State, Any, dict[str, Scalar], dict[str, Scalar]]:
        state, rows = epoch(state, order, data)
        metrics: dict[str, Scalar] = {}
        if metrics_of and validation:
            metrics = where_due(due, metrics_of, state.seen(eval_params), *validation)
        return state, rows, told(state.opt_state), metrics

    def epochs(
        state: State,
        orders: Array,
        count: Array,
        data: Data,
        validation: Data | None,
        due: Array | None = None,
    ) -> tuple[State, Any, dict[str, Array], dict[str, Array]]:
        def one(e: Any, state: State) -> Any:
            return evaluated(state, orders[e], data, validation, None if due is None else due[e])

        def body(e: Array, carry: tuple[State, Any]) -> tuple[State, Any]:
            state, columns = carry
            state, *row = one(e, state)
            return state, jax.tree.map(lambda column, value: column.at[e].set(value), columns, row)

        _, *row = jax.eval_shape(one, 0, state)
        columns = jax.tree.map(lambda v: jnp.zeros((len(orders), *v.shape), v.dtype), row)
        state, (rows, tells, metrics) = jax.lax.fori_loop(0, count, body, (state, columns))
        return state, rows, tells, metrics

    return epochs


def where_due(due: Array | None, evaluate: Callable[..., Any], *arguments: Any) -> Any:
    """``evaluate`` of these where it is due, always where that is None; else zeros, which mean nothing."""
    if due is None:
        return evaluate(*arguments)
    shapes = jax.eval_shape(evaluate, *arguments)

    def nothing(*arguments: Any) -> Any:
        return jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), shapes)

    def computed(*arguments: Any) -> Any:
        return jax.tree.map(jnp.asarray, evaluate(*arguments))

    return jax.lax.cond(due, computed, nothing, *arguments)


def mean_loss(losses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The mean loss of the examples: of their batches, the last axis, by what each of these counts."""
    return np.average(losses.astype(np.float64), axis=-1, weights=np.broadcast_to(sizes, losses.shape))


def make_chunk(step: Callable[..., tuple[Carry, Row]]) -> Callable[..., tuple[Carry, Any]]:
    """Batches that are at hand: (state, first, *data) -> (state, rows), the data of shape (k, batch, ...).

    The iterations are those of the batches ``first`` to k; the rows are (k,), with 0 before ``first``.
    """
    step = jax.jit(step)  # traced once, for its shapes and for the loop

    def chunk(state: Carry, first: Array, *data: Any) -> tuple[Carry, Any]:
        def body(i: Array, carry: tuple[Carry, Any]) -> tuple[Carry, Any]:
            state, rows = carry
            state, row = step(state, *jax.tree.map(lambda v: v[i], data))
            return state, jax.tree.map(lambda column, value: column.at[i].set(value), rows, row)

        _, row = jax.eval_shape(step, state, *jax.tree.map(lambda v: v[0], data))
        k = len(jax.tree.leaves(data)[0])
        rows = jax.tree.map(lambda v: jnp.zeros(k, v.dtype), row)
        return jax.lax.fori_loop(first, k, body, (state, rows))

    return chunk


def make_locate(
    step: Step, batch_size: int, take: Take
) -> Callable[[State, Array, Data], tuple[State, Array, Array, Array]]:
    """(state, order, data) -> (state, losses, first bad iteration or -1, what broke): a watched epoch."""
    epoch = make_epoch(make_watched(step), batch_size, take)

    def locate(state: State, order: Array, data: Data) -> tuple[State, Array, Array, Array]:
        first = state.step
        (state, bad, broken), (losses, _) = epoch(Watched.begun(state), order, data)
        return state, losses, jnp.where(bad < 0, bad, bad - first), broken

    return locate
