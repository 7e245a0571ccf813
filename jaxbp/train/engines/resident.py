"""Training on data that lie on the device: epochs by the group, as one program."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from jaxbp.train.plan import Bad, EpochsRan, Plan
from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.programs.copies import copied
from jaxbp.train.programs.epoch_program import make_epochs, make_locate, mean_loss
from jaxbp.train.programs.finite import make_look
from jaxbp.train.programs.step import State, make_step
from jaxbp.train.sharding import once_each, own

# Upper bounds of what is run at a time, so that progress and Ctrl-C stay responsive.
_EXAMPLES, _EPOCHS, _SECONDS = 2**16, 64, 0.1


class Pace:
    """How many epochs are run at a time: short ones would wait for the host between them.

    Args:
        epochs: that are left, at most.
        N: examples of an epoch.
    """

    def __init__(self, epochs: int, N: int):
        self.most = max(1, min(epochs, _EPOCHS, _EXAMPLES // N))
        self.count = 1

    def took(self, seconds: float) -> None:
        """Learn from the seconds of an epoch."""
        self.count = max(1, min(self.most, int(_SECONDS / seconds)))


def stacked(order: Callable[[int], np.ndarray], epoch: int, count: int, room: int) -> np.ndarray:
    """The orders of ``count`` epochs from this one on, the last repeated to fill the room: (room, N)."""
    return np.stack([order(epoch + min(e, count - 1)) for e in range(room)])


class Resident:
    """An `Engine` whose training set lies on the device, and the programs that run its epochs.

    Whether all stayed finite is looked at once after those that run together: that costs an iteration
    nothing, and `make_locate` finds the iteration where it did not.

    Args:
        plan: of the run.
        epochs: the numbers of those that are left.
        state: the first, for its shapes.
    """

    def __init__(self, plan: Plan, epochs: range, state: State):
        self._plan = plan
        # How many run at a time is decided by the clock, and each process has its own.
        first, last = (plan.examples(epoch) for epoch in (epochs[0], epochs[-1]))
        self._pace = Pace(len(epochs) if plan.layout.processes == 1 else 1, first)
        # The last epoch of a run in iterations may be shorter than the others; it runs alone.
        self._room = {last: 1} | {first: self._pace.most}
        self._order = lru_cache(2 * self._pace.most)(plan.order)
        self._sizes = plan.sizes(self._order)
        self._validation = plan.held_out()
        self._spare = copied(state)
        data = plan.train.arrays
        shapes = jax.tree.map(plan.layout.like, data)
        self._programs = {}
        with ThreadPoolExecutor(1) as pool:
            copy = pool.submit(once_each, own, data)  # while the compiler works
            started = time.perf_counter()
            for examples in self._room:
                orders = np.zeros((self._room[examples], examples), np.int32)
                due = plan.due(range(len(orders)))
                arguments = (state, state, orders, np.int32(1), shapes, self._validation, due)
                self._programs[examples] = compiled(_compile, plan, arguments)
            self.compile_seconds = time.perf_counter() - started
        self._data = plan.layout.data(copy.result())

    def run(self, state: State, epoch: int, most: int) -> EpochsRan:
        """As `Engine` says; the given state is kept to locate an iteration that was not finite."""
        started = time.perf_counter()
        examples = self._plan.examples(epoch)
        room = self._room[examples]
        count = min(self._pace.count, most, room)
        if self._plan.examples(epoch + count - 1) != examples:
            count -= 1
        orders, due = stacked(self._order, epoch, count, room), self._plan.due(range(epoch, epoch + room))
        spare, self._spare = self._spare, state  # the program takes the buffers of the spare one
        run, _, look = self._programs[examples]
        after, *out = run(spare, state, orders, np.int32(count), self._data, self._validation, due)
        for e in range(count, min(count + self._pace.most, most)):
            self._order(epoch + e)  # those of the next run, while the device works
        rows, told, metrics = jax.device_get(out)
        finite = look(rows[0][:count], state, after)
        seconds = (time.perf_counter() - started) / count
        self._pace.took(seconds)
        ran = self._ran(after, epoch, count, (rows, told, metrics), seconds)
        return ran if finite else self._located(state, epoch, count, (rows, told, metrics), seconds)

    def _ran(self, state: State, epoch: int, count: int, told: Any, seconds: float) -> EpochsRan:
        """The first ``count`` epochs of what was told."""
        (losses, of_step), of_state, metrics = jax.tree.map(lambda v: v[:count], told)
        sizes = np.reshape([self._sizes(epoch + e) for e in range(count)], losses.shape)
        means = {name: mean_loss(column, sizes) for name, column in of_step.items()}
        return EpochsRan(
            state,
            mean_loss(losses, sizes),
            metrics,
            seconds,
            told=means | of_state,
            of_iterations=tuple(losses),
        )

    def _located(self, state: State, epoch: int, count: int, told: Any, seconds: float) -> EpochsRan:
        """What was run once more from ``state``, looked at after each iteration.

        Only the epochs before the bad one, so that their end can be kept, or up to the bad iteration of
        the first.
        """
        _, locate, _ = self._programs[self._plan.examples(epoch)]
        for e in range(count):
            before = state
            state, losses, bad, broken = locate(state, self._order(epoch + e), self._data)
            if bad >= 0 and e > 0:
                return self._ran(before, epoch, e, told, seconds)
            if bad >= 0:
                break
        else:  # this program rounded to the other side of an overflow
            bad = losses.size - 1
        found = Bad(np.asarray(losses), int(bad), np.asarray(broken))
        return self._ran(state, epoch, e, told, seconds)._replace(bad=found)


def _compile(plan: Plan, arguments: Any) -> tuple[Any, Any, Any]:
    """The program of the epochs, the function that locates a bad iteration, and the look for one."""
    layout, optimizer = plan.layout, plan.optimizer
    step = make_step(plan.grad_fn, optimizer, plan.preprocess, plan.restarts)
    epochs = make_epochs(step, plan.batch_size, plan.evaluate, layout.take, eval_params=plan.eval_params)
    where = layout.shardings(arguments[0])

    def into(spare: State, *arguments: Any) -> Any:
        return epochs(*arguments)

    run = jax.jit(
        into, out_shardings=where and (where, *3 * [layout.everywhere]), donate_argnums=0, keep_unused=True
    )
    locate = jax.jit(make_locate(step, plan.batch_size, layout.take))
    return compile_fast(run.lower(*arguments)), locate, make_look(layout.everywhere)
