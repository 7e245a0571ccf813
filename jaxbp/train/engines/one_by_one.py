"""Training on batches that come one by one: the next is taken from its source while one is used."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jaxbp import errors
from jaxbp.data import Dataset, assert_data
from jaxbp.data.given import examples
from jaxbp.train.engines.stream import as_here, make_finish
from jaxbp.train.plan import Bad, EpochsRan, Plan
from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.programs.copies import copied
from jaxbp.train.programs.epoch_program import mean_loss
from jaxbp.train.programs.finite import Watched, make_watched
from jaxbp.train.programs.step import State, make_step


class OneByOne:
    """An `Engine` whose batches come from a source that nobody can ask again.

    That is why every iteration is looked at: after one that is not finite nothing changes any more.

    Args:
        plan: of the run.
        begun: the batches of the first epoch, of which some may have been looked at.
        state: the first, for its shapes.
        pool: with the one thread that takes batches from the source.
    """

    def __init__(self, plan: Plan, begun: Iterator[Any], state: State, pool: ThreadPoolExecutor):
        self._plan, self._pool, self._begun = plan, pool, {1: begun}
        self._taken = as_here(self._take)
        self._validation = plan.held_out()
        started = time.perf_counter()
        arguments = state, self._validation, plan.due(range(1))
        self._finish = compiled(_compile_finish, plan, arguments)
        self._like = jax.eval_shape(Watched.begun, state)
        self._programs: dict[Any, Any] = {}
        self._program(plan.train.arrays)
        self.compile_seconds = time.perf_counter() - started

    def run(self, state: State, epoch: int, most: int) -> EpochsRan:
        """One epoch, as `Engine` says."""
        assert self._plan.batches
        started, waited = time.perf_counter(), 0.0
        batches = self._begun.pop(epoch, None) or self._plan.batches.of(epoch)
        watched, rows = Watched.begun(copied(state)), list[Any]()
        sizes: list[float] = []
        ahead = self._pool.submit(self._taken, batches, epoch, 1)
        while True:
            asked = time.perf_counter()
            found = ahead.result()
            waited += time.perf_counter() - asked
            if found is None:
                break
            data, size = found
            ahead = self._pool.submit(self._taken, batches, epoch, len(rows) + 2)
            watched, row = self._program(data)(watched, *data)
            rows.append(row)
            sizes.append(size)
        steps = self._plan.batches.steps_per_epoch
        if len(rows) < (steps or 1):
            expected = f"{steps or 'some'} batches in epoch {epoch}"
            raise ValueError(errors.message("fit", expected, f"the source's end after {len(rows)}"))
        losses, of_step = jax.tree.map(lambda *column: np.stack(column), *jax.device_get(rows))
        due = self._plan.due([epoch])
        told, metrics = jax.device_get(self._finish(watched.state, self._validation, due))
        seconds = time.perf_counter() - started
        if (bad := int(watched.bad)) >= 0:
            at = Bad(losses, bad - int(state.step), np.asarray(watched.broken))
            return EpochsRan(watched.state, losses[:0], {}, seconds, at)
        told = {name: mean_loss(v, np.array(sizes)) for name, v in of_step.items()} | told
        told, metrics = ({name: np.asarray(v)[None] for name, v in part.items()} for part in (told, metrics))
        mean = mean_loss(losses[None], np.array(sizes))
        return EpochsRan(
            watched.state, mean, metrics, seconds, waited=waited / seconds, told=told, of_iterations=(losses,)
        )

    def _take(self, batches: Iterator[Any], epoch: int, number: int) -> tuple[Any, float] | None:
        """The next batch on the device, and what it counts; None after the last."""
        given = next(batches, batches)  # what a source cannot give: None would be a batch that is none
        if given is batches:
            return None
        raw = self._plan.preprocess is not None
        batch = batch_like(self._plan.train, given, raw, f"epoch {epoch}, batch {number}")
        size = len(batch) if batch.weight is None else batch.weight.sum(dtype=np.float64)
        return jax.device_put(batch.arrays), size

    def _program(self, data: Any) -> Any:
        """The program of an iteration on such a batch."""
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(data))
        if shapes not in self._programs:
            self._programs[shapes] = compiled(_compile_step, self._plan, (self._like, jax.device_put(data)))
        return self._programs[shapes]


def batch_like(first: Dataset, given: Any, raw: bool, where: str) -> Dataset:
    """A batch that is given, checked.

    Args:
        first: of its source, whose like it is.
        given: (x, y) or (x, y, weight).
        raw: as in `assert_data`.
        where: what messages call it.
    """
    batch = assert_data(*examples("fit", where, given), num_classes=first.num_classes, raw=raw, where=where)
    like, got = _kind_of(first), _kind_of(batch)
    if like != got:
        raise ValueError(errors.message("fit", f"batches as the first, {like}", f"{got} in {where}"))
    return batch


def _kind_of(batch: Dataset) -> Any:
    """The tree of a batch, the dtypes and shapes of an example."""
    return jax.tree.map(lambda v: f"{v.dtype} {v.shape[1:]}", batch.arrays)


def _compile_step(plan: Plan, arguments: Any) -> Any:
    watched, data = arguments
    step = make_watched(make_step(plan.grad_fn, plan.optimizer, plan.preprocess))
    return compile_fast(jax.jit(step, donate_argnums=0).lower(watched, *data))


def _compile_finish(plan: Plan, arguments: Any) -> Any:
    state, validation, due = arguments
    return compile_fast(jax.jit(make_finish(plan)).lower(state, validation, due))
