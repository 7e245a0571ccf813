"""Training on data larger than the memory they may take: chunks of batches, the next while one is used."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import errors
from jaxbp.train.loop import (
    Data,
    State,
    all_finite,
    compiler_options,
    make_chunk,
    make_step,
    make_watched,
)
from jaxbp.train.plan import Plan, Ran
from jaxbp.typing import Array, Params

_CHUNK = 2**26  # bytes at most: the first chunk of an epoch is waited for


class Chunk(NamedTuple):
    """Batches of one size: the rows of their examples, (k, size), new from ``first`` on."""

    rows: np.ndarray
    first: int


def chunks(order: np.ndarray, batch_size: int, most: int) -> list[Chunk]:
    """The batches of an epoch in chunks of one shape, ``most`` batches at most, and then the short batch.

    That all have one shape makes them one program; so the last begins with batches that were there before.

    Example:
        >>> [(rows.tolist(), first) for rows, first in chunks(np.arange(7), 2, 2)]
        [([[0, 1], [2, 3]], 0), ([[2, 3], [4, 5]], 1), ([[6]], 0)]
    """
    q, rest = divmod(order.size, batch_size)
    k = -(-q // -(-q // most))
    batches = order[: q * batch_size].reshape(q, batch_size)
    starts = range(0, q, k)
    cut = [Chunk(batches[min(start, q - k) :][:k], start - min(start, q - k)) for start in starts]
    return cut + [Chunk(order[q * batch_size :][None], 0)] * (rest > 0)


class Stream:
    """A training set on the host, perhaps in a file, and the programs that run its epochs chunk by chunk.

    While the device trains on one chunk, a thread gathers the next and puts it there.

    Args:
        plan: of the run.
        memory_budget: as in `fit`.
        state: the first, for its shapes.
    """

    def __init__(self, plan: Plan, memory_budget: int, state: State):
        train, layout, evaluate = plan.train, plan.layout, plan.evaluate
        arrays = [train.x] if train.y is train.x else [train.x, train.y]
        self._arrays = [(v, np.dtype(jax.dtypes.canonicalize_dtype(v.dtype))) for v in arrays]
        self._plan = plan
        self._most = _most(self._arrays, plan.batch_size, memory_budget)
        # JAX's settings belong to a thread: those of this one are kept for the one that gathers.
        self._x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
        self._device = jax.config.jax_default_device  # type: ignore[attr-defined]

        self._validation = plan.held_out()
        step = make_step(plan.grad_fn, plan.optimizer)
        self._watched = jax.jit(make_chunk(make_watched(step)))

        def finish(params: Params, validation: Data | None) -> tuple[dict[str, Array], Array]:
            return evaluate(params, *validation) if evaluate and validation else {}, all_finite(params)

        started = time.perf_counter()
        where = layout.shardings(state, plan.optimizer)
        run = jax.jit(make_chunk(step), out_shardings=where and (where, layout.everywhere))
        self._programs = {
            shape: run.lower(state, np.int32(0), *self._gather(chunk)).compile(compiler_options())
            for shape, chunk in {chunk.rows.shape: chunk for chunk in self._chunks(1)}.items()
        }
        finished = jax.jit(finish, out_shardings=layout.everywhere)
        self._finish = finished.lower(state.params, self._validation).compile(compiler_options())
        self.compile_seconds = time.perf_counter() - started

    def run(self, state: State, epoch: int, most: int) -> Ran:
        """Epoch number ``epoch``."""
        started, waited, before, parts = time.perf_counter(), 0.0, state, []
        with self._gathered(epoch) as gathered:
            for chunk, data, seconds in gathered:
                state, losses = self._programs[chunk.rows.shape](state, np.int32(chunk.first), *data)
                parts.append(np.asarray(losses)[chunk.first :])  # waits for the device
                waited += seconds
        losses = np.concatenate(parts)
        metrics, finite = jax.device_get(self._finish(state.params, self._validation))
        seconds = time.perf_counter() - started
        if not (finite and np.isfinite(losses).all()):
            return self._located(before, epoch, seconds)
        metrics = {name: np.asarray(v)[None] for name, v in metrics.items()}
        return Ran(state, losses[None], metrics, seconds, None, waited / seconds)

    def _located(self, state: State, epoch: int, seconds: float) -> Ran:
        """The epoch once more from ``state``, looked at after each iteration, up to the bad one."""
        first, parts = int(state.step), []
        watched = state, jnp.full_like(state.step, -1)
        with self._gathered(epoch) as gathered:
            for chunk, data, _ in gathered:
                watched, losses = self._watched(watched, np.int32(chunk.first), *data)
                parts.append(np.asarray(losses)[chunk.first :])
        losses, bad = np.concatenate(parts), int(watched[1])
        # Where none is bad, this program rounded to the other side of an overflow.
        iteration = losses.size - 1 if bad < 0 else bad - first
        return Ran(watched[0], losses[None][:0], {}, seconds, (losses, iteration))

    @contextmanager
    def _gathered(self, epoch: int) -> Iterator[Iterator[tuple[Chunk, list[Array], float]]]:
        """The chunks of an epoch, their data, and the seconds that each was waited for."""

        def gathered(pool: ThreadPoolExecutor) -> Iterator[tuple[Chunk, list[Array], float]]:
            started = time.perf_counter()
            parts = self._chunks(epoch)
            ahead = pool.submit(self._gather, parts[0])
            for chunk, following in zip(parts, [*parts[1:], None], strict=True):
                data = ahead.result()
                seconds = time.perf_counter() - started
                if following is not None:
                    ahead = pool.submit(self._gather, following)
                yield chunk, data, seconds
                started = time.perf_counter()

        with ThreadPoolExecutor(1, "jaxbp-stream") as pool:
            yield gathered(pool)

    def _chunks(self, epoch: int) -> list[Chunk]:
        return chunks(self._plan.order(epoch), self._plan.batch_size, self._most)

    def _gather(self, chunk: Chunk) -> list[Array]:
        """The chunk on the device: x and y, or one array where they are the same."""
        with jax.enable_x64(self._x64), jax.default_device(self._device):
            data = [self._plan.layout.gather(array, chunk.rows, dtype) for array, dtype in self._arrays]
            return jax.block_until_ready(data * (3 - len(data)))  # type: ignore[no-untyped-call]


def _most(arrays: list[tuple[np.ndarray, np.dtype]], batch_size: int, memory_budget: int) -> int:
    """How many batches a chunk may have.

    At the same time there are the chunk in use, the next one, and the rows that it is made from, before
    and after they are narrowed.
    """
    held = sum(dtype.itemsize * (array[:1].size) for array, dtype in arrays)
    stored = sum(array[:1].nbytes for array, _ in arrays)
    narrows = any(array.dtype != dtype for array, dtype in arrays)
    batch = batch_size * (stored + (3 if narrows else 2) * held)
    if batch > memory_budget:
        raise ValueError(
            errors.message(
                "fit",
                f"a memory_budget of at least {batch} bytes, which batches of {batch_size} need",
                f"{memory_budget}",
                "give more, or choose a smaller batch_size",
            )
        )
    return max(1, min(memory_budget, _CHUNK) // batch)
