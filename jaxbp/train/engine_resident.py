"""Training on data that lie on the device: epochs by the group, as one program."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.sharding import own
from jaxbp.train.epoch_program import State, make_epochs, make_locate, make_step
from jaxbp.train.run import Pace, Plan, Ran, stacked


class Resident:
    """A training set on the device, and the program that runs its epochs.

    Args:
        plan: of the run.
        epochs: of the run, at most.
        state: the first, for its shapes.
    """

    def __init__(self, plan: Plan, epochs: int, state: State):
        # How many run at a time is decided by the clock, and each process has its own.
        self._pace = Pace(epochs if plan.layout.processes == 1 else 1, len(plan.train))
        self._group = self._pace.most
        self._order = lru_cache(2 * self._group)(plan.order)
        self._validation = plan.held_out()
        self._spare = jax.tree.map(jnp.copy, state)
        orders = stacked(self._order, 1, 1, self._group)
        x, y, like = plan.train.x, plan.train.y, plan.layout.like
        arguments = (state, state, orders, np.int32(1), (like(x), like(y)), self._validation)
        with ThreadPoolExecutor(1) as pool:
            copy = pool.submit(own, x)  # while the compiler works
            started = time.perf_counter()
            self._run, self._locate = compiled(_compile, plan, arguments)
            self.compile_seconds = time.perf_counter() - started
        self._data = plan.layout.data(copy.result(), copy.result() if y is x else y)

    def run(self, state: State, epoch: int, most: int) -> Ran:
        """Epoch number ``epoch`` and perhaps more after it, ``most`` in all.

        The state before the given one is gone then: the new one takes its place. That given stays, to
        locate an iteration that was not finite.
        """
        started = time.perf_counter()
        count = min(self._pace.count, most)
        orders = stacked(self._order, epoch, count, self._group)
        spare, self._spare = self._spare, state
        after, *out = self._run(spare, state, orders, np.int32(count), self._data, self._validation)
        for e in range(count, min(count + self._group, most)):
            self._order(epoch + e)  # those of the next run, while the device works
        losses, metrics, finite = jax.device_get(out)
        seconds = (time.perf_counter() - started) / count
        self._pace.took(seconds)
        ran = Ran(after, losses[:count], {name: v[:count] for name, v in metrics.items()}, seconds)
        return ran if finite else self._located(state, epoch, ran)

    def _located(self, state: State, epoch: int, ran: Ran) -> Ran:
        """What was run once more from ``state``, looked at after each iteration, up to the bad one."""
        for e in range(len(ran.losses)):
            state, losses, bad = self._locate(state, self._order(epoch + e), self._data)
            if bad >= 0:
                break
        else:  # this program rounded to the other side of an overflow
            bad = losses.size - 1
        metrics = {name: v[:e] for name, v in ran.metrics.items()}
        return Ran(state, ran.losses[:e], metrics, ran.seconds, (np.asarray(losses), int(bad)))


def _compile(plan: Plan, arguments: Any) -> tuple[Any, Any]:
    """The program of the epochs, and the function that locates a bad iteration."""
    layout, optimizer = plan.layout, plan.optimizer
    step = make_step(plan.grad_fn, optimizer, plan.preprocess)
    epochs = make_epochs(step, plan.batch_size, plan.evaluate, layout.take)
    where = layout.shardings(arguments[0], optimizer)

    def into(spare: State, *arguments: Any) -> Any:
        return epochs(*arguments)

    run = jax.jit(
        into, out_shardings=where and (where, *3 * [layout.everywhere]), donate_argnums=0, keep_unused=True
    )
    locate = jax.jit(make_locate(step, plan.batch_size, layout.take))
    return compile_fast(run.lower(*arguments)), locate
