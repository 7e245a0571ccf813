"""Training on data larger than the memory they may take: chunks of batches, the next while one is used."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np

from jaxbp import errors
from jaxbp.arguments.arrays import held_dtype
from jaxbp.train.plan import Bad, EpochsRan, Plan
from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.programs.epoch_program import cut, make_chunk, mean_loss, where_due
from jaxbp.train.programs.finite import Watched, make_look, make_watched
from jaxbp.train.programs.step import Data, State, make_metrics, make_step
from jaxbp.train.programs.update import told
from jaxbp.train.sharding import aligned
from jaxbp.typing import Array

P = ParamSpec("P")
T = TypeVar("T")

ENOUGH = 2**26  # bytes: larger chunks are no faster, and the first is waited for


class Chunk(NamedTuple):
    """Batches of one size: the rows of their examples, (k, size), new from ``first`` on."""

    rows: np.ndarray
    first: int


def chunks(order: np.ndarray, batch_size: int, most: int) -> list[Chunk]:
    """The batches of an epoch in chunks of one shape, ``most`` batches at most, and then the short batch.

    Example:
        >>> [(rows.tolist(), first) for rows, first in chunks(np.arange(7), 2, 2)]
        [([[0, 1], [2, 3]], 0), ([[2, 3], [4, 5]], 1), ([[6]], 0)]
    """
    q, rest = divmod(order.size, batch_size)
    k, starts, firsts = cut(q, most)
    batches = order[: q * batch_size].reshape(q, batch_size)
    whole = [Chunk(batches[start : start + k], first) for start, first in zip(starts, firsts, strict=True)]
    return whole + [Chunk(order[q * batch_size :][None], 0)] * (rest > 0)


class Stream:
    """An `Engine` whose training set lies on the host, perhaps in a file, and goes to the device in chunks.

    While the device trains on one chunk, a thread gathers the next and puts it there; the first of an epoch
    comes during the last of the epoch before.

    Args:
        plan: of the run.
        epochs: their numbers.
        memory_budget: as in `fit`.
        state: the first, for its shapes.
        pool: with the one thread that gathers.
    """

    def __init__(self, plan: Plan, epochs: range, memory_budget: int, state: State, pool: ThreadPoolExecutor):
        leaves, self._tree = jax.tree.flatten(plan.train.arrays)
        arrays = {id(v): v for v in leaves}  # once, where y is x too
        self._places = [list(arrays).index(id(v)) for v in leaves]
        self._arrays = [(v, held_dtype(v.dtype)) for v in arrays.values()]
        self._plan, self._epochs, self._pool, self._sizes = plan, epochs, pool, plan.sizes(plan.order)
        self._most = _most(self._arrays, plan.batch_size // plan.layout.processes, memory_budget)
        self._gathered = as_here(self._gather)
        # The last epoch of a run in iterations may be shorter than the others.
        shaped = [np.arange(plan.examples(e)) for e in (epochs[0], epochs[-1])]
        parts = [chunk for order in shaped for chunk in chunks(order, plan.batch_size, self._most)]
        shapes = list({chunk.rows.shape: self._shapes(chunk.rows.shape) for chunk in parts}.values())
        size = max(chunk.rows.size for chunk in parts)
        self._room = [[aligned((size, *v.shape[1:]), dtype) for v, dtype in self._arrays] for _ in range(2)]
        self._begin(epochs.start)
        self._validation = plan.held_out()
        started = time.perf_counter()
        arguments = state, shapes, self._validation, plan.due(range(1))
        self._programs, self._watched, self._finish, self._look = compiled(_compile, plan, arguments)
        self.compile_seconds = time.perf_counter() - started

    def run(self, state: State, epoch: int, most: int) -> EpochsRan:
        """One epoch, as `Engine` says: the one after that of the last call."""
        started, waited, before, parts = time.perf_counter(), 0.0, state, []
        for _ in range(self._length(epoch)):
            chunk, data, seconds = self._next()
            state, rows = self._programs[chunk.rows.shape](state, np.int32(chunk.first), *data)
            del data  # so that only the program holds it
            rows = jax.device_get(rows)  # waits for the device
            parts.append(jax.tree.map(lambda v, first=chunk.first: v[first:], rows))
            waited += seconds
        losses, of_step = jax.tree.map(lambda *columns: np.concatenate(columns), *parts)
        due = self._plan.due([epoch])
        told, metrics = jax.device_get(self._finish(state, self._validation, due))
        finite = self._look(losses, before, state)
        seconds = time.perf_counter() - started
        if not finite:
            return self._located(before, epoch, seconds)
        sizes = self._sizes(epoch)
        told = {name: mean_loss(v, sizes) for name, v in of_step.items()} | told
        told, metrics = ({name: np.asarray(v)[None] for name, v in part.items()} for part in (told, metrics))
        mean = mean_loss(losses[None], sizes)
        return EpochsRan(
            state, mean, metrics, seconds, waited=waited / seconds, told=told, of_iterations=(losses,)
        )

    def _located(self, state: State, epoch: int, seconds: float) -> EpochsRan:
        """The epoch once more from ``state``, looked at after each iteration, up to the bad one."""
        first, parts = int(state.step), []
        watched = Watched.begun(state)
        self._begin(epoch)
        for _ in range(self._length(epoch)):
            chunk, data, _ = self._next()
            watched, (losses, _) = self._watched(watched, np.int32(chunk.first), *data)
            del data
            parts.append(np.asarray(losses)[chunk.first :])
        losses, bad = np.concatenate(parts), int(watched.bad)
        # Where none is bad, this program rounded to the other side of an overflow.
        iteration = losses.size - 1 if bad < 0 else bad - first
        found = Bad(losses, iteration, np.asarray(watched.broken))
        return EpochsRan(watched.state, losses[:0], {}, seconds, found)

    def _length(self, epoch: int) -> int:
        """How many chunks an epoch has."""
        return len(chunks(np.arange(self._plan.examples(epoch)), self._plan.batch_size, self._most))

    def _begin(self, epoch: int) -> None:
        """Gather the first chunk of an epoch; `_next` goes on from there."""
        plan, epochs = self._plan, range(epoch, self._epochs.stop)
        self._chunks = (c for e in epochs for c in chunks(plan.order(e), plan.batch_size, self._most))
        self._ahead = self._pool.submit(self._gathered, self._chunks)

    def _next(self) -> tuple[Chunk, Data, float]:
        """A chunk, its data on the device, and the seconds that it was waited for."""
        started = time.perf_counter()
        chunk, data = self._ahead.result()
        seconds = time.perf_counter() - started
        self._ahead = self._pool.submit(self._gathered, self._chunks)
        return chunk, data, seconds

    def _gather(self, parts: Iterator[Chunk]) -> tuple[Chunk, Data]:
        # Raises StopIteration in the worker after the last chunk; that future is never read.
        chunk = next(parts)
        self._room.reverse()
        data = [
            self._plan.layout.gather(array, chunk.rows, _part(room, chunk.rows.shape))
            for (array, _), room in zip(self._arrays, self._room[0], strict=True)
        ]
        return chunk, jax.block_until_ready(self._data(data))  # type: ignore[no-untyped-call]

    def _shapes(self, rows: tuple[int, ...]) -> Data:
        """What `_gather` will give."""
        struct = partial(jax.ShapeDtypeStruct, sharding=self._plan.layout.batches(rows[1]))
        return self._data([struct((*rows, *v.shape[1:]), dtype) for v, dtype in self._arrays])

    def _data(self, arrays: list[Any]) -> Data:
        """The arrays in the tree of the examples."""
        data: Data = jax.tree.unflatten(self._tree, [arrays[i] for i in self._places])
        return data


def _part(room: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """Its first examples, in the batches of a chunk."""
    return room[: math.prod(rows)].reshape(*rows, *room.shape[1:])


def make_finish(plan: Plan) -> Callable[[State, Data | None, Array | None], Any]:
    """The end of an epoch: (state, validation, due) -> (told, metrics)."""
    metrics_of = plan.evaluate and make_metrics(plan.evaluate)

    def finish(state: State, validation: Data | None, due: Array | None) -> Any:
        metrics: dict[str, Array] = {}
        if metrics_of and validation:
            once = None if due is None else due[0]
            metrics = where_due(once, metrics_of, state.seen(plan.eval_params), *validation)
        return told(state.opt_state), metrics

    return finish


def _compile(plan: Plan, arguments: Any) -> tuple[dict[tuple[int, ...], Any], Any, Any, Any]:
    """The programs of chunks by the shape of their rows, of a watched one and of an epoch's end; the look."""
    state, data, validation, due = arguments
    layout, finish = plan.layout, make_finish(plan)
    step = make_step(plan.grad_fn, plan.optimizer, plan.preprocess, plan.restarts)
    where = layout.shardings(state)
    run = jax.jit(make_chunk(step), out_shardings=where and (where, layout.everywhere))
    by_rows = {jax.tree.leaves(chunk)[0].shape[:2]: chunk for chunk in data}
    programs = {rows: compile_fast(run.lower(state, np.int32(0), *chunk)) for rows, chunk in by_rows.items()}
    finished = jax.jit(finish, out_shardings=layout.everywhere).lower(state, validation, due)
    watched = jax.jit(make_chunk(make_watched(step)))
    return programs, watched, compile_fast(finished), make_look(layout.everywhere)


def _most(arrays: list[tuple[np.ndarray, np.dtype]], batch_size: int, memory_budget: int) -> int:
    """How many batches a chunk may have; there are two chunks, and a batch in the dtype it is stored in.

    ``batch_size`` is what this process gives to one.
    """
    batch = 2 * batch_size * sum(dtype.itemsize * array[:1].size for array, dtype in arrays)
    spare = batch_size * sum(array[:1].nbytes for array, dtype in arrays if array.dtype != dtype)
    if batch + spare > memory_budget:
        raise ValueError(
            errors.message(
                "fit",
                f"a memory_budget of at least {batch + spare} bytes, which batches of {batch_size} need",
                f"{memory_budget}",
                "give more, or choose a smaller batch_size",
            )
        )
    return max(1, (min(memory_budget, ENOUGH) - spare) // batch)


def as_here(fn: Callable[P, T]) -> Callable[P, T]:
    """``fn`` for another thread, with the settings that JAX has in this one: they belong to a thread."""
    x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    device = jax.config.jax_default_device  # type: ignore[attr-defined]

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.enable_x64(x64), jax.default_device(device):
            return fn(*args, **kwargs)

    return run
