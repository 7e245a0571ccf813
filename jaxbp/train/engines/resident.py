"""Training on data that lie on the device: epochs by the group, as one program."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.programs.epoch_program import make_epochs, make_locate, mean_loss
from jaxbp.train.programs.step import State, make_step
from jaxbp.train.run import Bad, EpochsRan, Plan
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
    """An `Engine` whose training set lies on the device, and the program that runs its epochs.

    Args:
        plan: of the run.
        epochs: how many are left, at most.
        state: the first, for its shapes.
    """

    def __init__(self, plan: Plan, epochs: int, state: State):
        self._plan = plan
        # How many run at a time is decided by the clock, and each process has its own.
        self._pace = Pace(epochs if plan.layout.processes == 1 else 1, len(plan.train))
        self._group = self._pace.most
        self._order = lru_cache(2 * self._group)(plan.order)
        self._sizes = plan.sizes(self._order)
        self._validation = plan.held_out()
        self._spare = jax.tree.map(jnp.copy, state)
        orders = stacked(self._order, 1, 1, self._group)
        data = plan.train.arrays
        shapes = jax.tree.map(plan.layout.like, data)
        arguments = (state, state, orders, np.int32(1), shapes, self._validation)
        with ThreadPoolExecutor(1) as pool:
            copy = pool.submit(once_each, own, data)  # while the compiler works
            started = time.perf_counter()
            self._run, self._locate = compiled(_compile, plan, arguments)
            self.compile_seconds = time.perf_counter() - started
        self._data = plan.layout.data(copy.result())

    def run(self, state: State, epoch: int, most: int) -> EpochsRan:
        """As `Engine` says; the given state is kept to locate an iteration that was not finite."""
        started = time.perf_counter()
        count = min(self._pace.count, most)
        orders = stacked(self._order, epoch, count, self._group)
        spare, self._spare = self._spare, state  # the program takes the buffers of the spare one
        after, *out = self._run(spare, state, orders, np.int32(count), self._data, self._validation)
        for e in range(count, min(count + self._group, most)):
            self._order(epoch + e)  # those of the next run, while the device works
        losses, metrics, finite = jax.device_get(out)
        seconds = (time.perf_counter() - started) / count
        self._pace.took(seconds)
        metrics = {name: v[:count] for name, v in metrics.items()}
        if finite:
            return EpochsRan(after, self._means(losses[:count], epoch), metrics, seconds)
        return self._located(state, epoch, EpochsRan(state, losses[:count], metrics, seconds))

    def _located(self, state: State, epoch: int, ran: EpochsRan) -> EpochsRan:
        """What was run once more from ``state``, looked at after each iteration.

        Only the epochs before the bad one, so that their end can be kept, or up to the bad iteration of
        the first.
        """
        for e in range(len(ran.losses)):
            before = state
            state, losses, bad, broken = self._locate(state, self._order(epoch + e), self._data)
            if bad >= 0 and e > 0:
                metrics = {name: v[:e] for name, v in ran.metrics.items()}
                return EpochsRan(before, self._means(ran.losses[:e], epoch), metrics, ran.seconds)
            if bad >= 0:
                break
        else:  # this program rounded to the other side of an overflow
            bad = losses.size - 1
        metrics = {name: v[:e] for name, v in ran.metrics.items()}
        found = Bad(np.asarray(losses), int(bad), np.asarray(broken))
        return EpochsRan(state, self._means(ran.losses[:e], epoch), metrics, ran.seconds, found)

    def _means(self, losses: np.ndarray, epoch: int) -> np.ndarray:
        """Of the epochs from this one on, (epochs, iterations), the mean loss of each."""
        sizes = [self._sizes(epoch + e) for e in range(len(losses))]
        return mean_loss(losses, np.reshape(sizes, losses.shape))


def _compile(plan: Plan, arguments: Any) -> tuple[Any, Any]:
    """The program of the epochs, and the function that locates a bad iteration."""
    layout, optimizer = plan.layout, plan.optimizer
    step = make_step(plan.grad_fn, optimizer, plan.preprocess)
    epochs = make_epochs(step, plan.batch_size, plan.evaluate, layout.take)
    where = layout.shardings(arguments[0])

    def into(spare: State, *arguments: Any) -> Any:
        return epochs(*arguments)

    run = jax.jit(
        into, out_shardings=where and (where, *3 * [layout.everywhere]), donate_argnums=0, keep_unused=True
    )
    locate = jax.jit(make_locate(step, plan.batch_size, layout.take))
    return compile_fast(run.lower(*arguments)), locate
