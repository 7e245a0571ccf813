"""Training on data that lie on the device: epochs by the group, as one program."""

import time
from functools import lru_cache
from typing import Any

import jax
import numpy as np
import optax

from jaxbp.train.layout import Layout
from jaxbp.train.loop import Evaluate, GradFn, State, compiler_options, make_epochs, make_locate, make_step
from jaxbp.train.plan import Plan, Ran

_EXAMPLES, _EPOCHS, _SECONDS = 2**16, 64, 0.1  # at most in a group: progress and Ctrl-C stay at hand


class Resident:
    """A training set on the device, and the program that runs its epochs.

    Args:
        plan: of the run.
        epochs: of the run, at most.
        state: the first, for its shapes.
    """

    def __init__(self, plan: Plan, epochs: int, state: State):
        self._group = max(1, min(epochs, _EPOCHS, _EXAMPLES // len(plan.train)))
        if plan.layout.processes > 1:
            self._group = 1  # how many run at a time is decided by the clock, and each process has its own
        self._count = 1
        self._order = lru_cache(2 * self._group)(plan.order)
        self._data = plan.layout.data(plan.train.x, plan.train.y)
        self._validation = plan.held_out()
        orders = np.broadcast_to(self._order(1), (self._group, self._order(1).size))
        arguments = (state, orders, np.int32(1), self._data, self._validation)
        started = time.perf_counter()
        self._run, self._locate = _compiled(plan, arguments)
        self.compile_seconds = time.perf_counter() - started

    def run(self, state: State, epoch: int, most: int) -> Ran:
        """Epoch number ``epoch`` and perhaps more after it, ``most`` in all."""
        started = time.perf_counter()
        count = min(self._count, most)
        orders = np.stack([self._order(epoch + min(e, count - 1)) for e in range(self._group)])
        after, *out = self._run(state, orders, np.int32(count), self._data, self._validation)
        for e in range(count, min(count + self._group, most)):
            self._order(epoch + e)  # those of the next run, while the device works
        losses, metrics, finite = jax.device_get(out)
        seconds = (time.perf_counter() - started) / count
        self._count = max(1, min(self._group, int(_SECONDS / seconds)))
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


def _compiled(plan: Plan, arguments: Any) -> tuple[Any, Any]:
    """The program of the epochs, and the function that locates a bad iteration.

    The last few are kept: the next run with the same functions and shapes has nothing to compile.
    """
    leaves, tree = jax.tree.flatten(jax.tree.map(_shape, arguments))
    functions = plan.grad_fn, plan.optimizer, plan.evaluate
    key = (*functions, plan.batch_size, plan.layout, tree, tuple(leaves))
    try:
        hash(key)
    except TypeError:  # a grad_fn that holds arrays
        return _compile.__wrapped__(*key)
    return _compile(*key)


@lru_cache(8)
def _compile(
    grad_fn: GradFn,
    optimizer: optax.GradientTransformation,
    evaluate: Evaluate | None,
    batch_size: int,
    layout: Layout,
    tree: Any,
    leaves: tuple[Any, ...],
) -> tuple[Any, Any]:
    step = make_step(grad_fn, optimizer)
    epochs = make_epochs(step, batch_size, evaluate, layout.take)
    arguments = jax.tree.unflatten(tree, leaves)
    where = layout.shardings(arguments[0], optimizer)
    run = jax.jit(epochs, out_shardings=where and (where, *3 * [layout.everywhere]))
    locate = jax.jit(make_locate(step, batch_size, layout.take))
    return run.lower(*arguments).compile(compiler_options()), locate


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = leaf.sharding if isinstance(leaf, jax.Array) and leaf.committed else None
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)  # type: ignore[no-untyped-call]
