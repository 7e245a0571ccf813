"""The networks of a sweep in groups: the program of `fit` under vmap, and a thread for each core."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import errors
from jaxbp.train.engines.resident import Pace, stacked
from jaxbp.train.engines.stream import as_here
from jaxbp.train.plan import EpochsRan, Plan
from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.programs.copies import copied
from jaxbp.train.programs.epoch_program import GATHERED, make_epochs, mean_loss
from jaxbp.train.programs.finite import all_finite, stays_finite
from jaxbp.train.programs.step import State, make_step
from jaxbp.train.start import is_key
from jaxbp.typing import Array, Params, Random

Point = dict[str, Any]  # the hyperparameters of a network, by name
Make = Callable[..., optax.GradientTransformation]

_CACHED = 2**22  # bytes of parameters that a core trains at a time; with twice as many it is slower


class Net(NamedTuple):
    """One network of a sweep.

    Args:
        params: its first.
        key: as in `fit`; nets with the same key follow the same order.
        point: its hyperparameters.
        model_state: its first, as in `State`.
    """

    params: Params
    key: Random
    point: Point
    model_state: tuple[Any, ...] = ()

    @property
    def number(self) -> bytes:
        """The key as what can be compared."""
        return np.asarray(jax.random.key_data(self.key)).tobytes()


Group = tuple[State, dict[str, Array]]  # the states of its networks and their points, stacked
Seen = Any  # what is evaluated of them: the parameters, or these and the models' states


class Groups:
    """An `Engine` of the networks of a sweep, and the program that runs epochs of a group of them.

    Its state is a tuple of a `Group` each.

    Args:
        nets: all of them.
        plan: of the run, with the optimizer of the first net.
        make: the optimizer of a point.
        epochs: of the run, at most.
        memory_budget: as in `sweep`.
    """

    def __init__(
        self,
        nets: Sequence[Net],
        plan: Plan,
        make: Make,
        epochs: int,
        memory_budget: int | None,
    ):
        self._plan, self._pace, self._N = plan, Pace(epochs, len(plan.train)), len(nets)
        room = 2 * self._pace.most
        self._order = {net.number: lru_cache(room)(plan._replace(key=net.key).order) for net in nets}
        self._lanes, size, self._waits = _shares(len(nets), nets[0], plan.optimizer, memory_budget)
        # The last net fills the last group up: all are of one shape.
        numbers = np.minimum(np.arange(-(-len(nets) // size) * size), len(nets) - 1)
        self._nets = [[nets[i] for i in group] for group in numbers.reshape(-1, size)]
        self._held = plan.layout.data(plan.train.arrays), plan.held_out()
        self._sizes = {number: plan.sizes(order) for number, order in self._order.items()}
        self.begun = tuple(_start(group, make) for group in self._nets)

        arguments = (*self.begun[0], self._orders(self._nets[0], 1, 1), np.int32(1), *self._held)
        started = time.perf_counter()
        self._program = compiled(_compile, plan._replace(optimizer=make), arguments)
        self.compile_seconds = time.perf_counter() - started

    def run(self, state: tuple[Group, ...], epoch: int, most: int) -> EpochsRan:
        """As `Engine` says, but the given state is gone."""
        count = min(self._pace.count, most)
        started = time.perf_counter()
        with ThreadPoolExecutor(self._lanes) as pool:
            run = as_here(lambda g: self._run(g, state[g], epoch, count))
            groups, *ran = zip(*pool.map(run, range(len(state))), strict=True)
        seconds = (time.perf_counter() - started) / count
        self._pace.took(seconds)
        losses, told, metrics, finite = (
            jax.tree.map(lambda *parts: np.concatenate(parts)[: self._N], *part) for part in ran
        )
        return EpochsRan(groups, losses, metrics, seconds, finite=finite, told=told)

    def _run(self, g: int, group: Group, epoch: int, count: int) -> tuple[Group, Any, Any, Any, Any]:
        state, point = group
        orders = self._orders(self._nets[g], epoch, count)
        state, *out = self._program(state, point, orders, np.int32(count), *self._held)
        (losses, of_step), of_state, metrics, finite = jax.device_get(out)
        if self._waits:
            state = jax.device_get(state)
        sizes = [
            [self._sizes[net.number](epoch + e) for e in range(count)]
            for net in (self._nets[g] if len(self._order) > 1 else self._nets[g][:1])
        ]
        means = {name: mean_loss(v[:, :count], np.array(sizes)) for name, v in of_step.items()}
        told = means | {name: column[:, :count] for name, column in of_state.items()}
        losses = mean_loss(losses[:, :count], np.array(sizes))
        metrics = {name: column[:, :count] for name, column in metrics.items()}
        return (state, point), losses, told, metrics, finite

    def _orders(self, nets: Sequence[Net], epoch: int, count: int) -> np.ndarray:
        """What `stacked` gives, once for all nets or for each."""
        shared = len(self._order) == 1
        orders = [
            stacked(self._order[net.number], epoch, count, self._pace.most)
            for net in (nets[:1] if shared else nets)
        ]
        return orders[0] if shared else np.stack(orders)

    @property
    def N(self) -> int:
        """How many nets."""
        return self._N

    def copies(self, state: tuple[Group, ...]) -> tuple[Seen, ...]:
        """What is evaluated, by group: the next epochs take the buffers of the state."""
        return tuple(self._away(copied(self._seen(states))) for states, _ in state)

    def chosen(
        self, which: np.ndarray, state: tuple[Group, ...], others: tuple[Seen, ...]
    ) -> tuple[Seen, ...]:
        """By group, what is evaluated of these nets, (nets,), and of the others what ``others`` has."""
        if not which.any():
            return others
        size = len(self._nets[0])
        masks = which[np.minimum(np.arange(size * len(state)), self._N - 1)].reshape(-1, size)
        return tuple(
            self._away(_chosen(mask, self._seen(states), other))
            for mask, (states, _), other in zip(masks, state, others, strict=True)
        )

    def _seen(self, states: State) -> Seen:
        seen = jax.vmap(lambda state: state.seen(self._plan.eval_params))(states)
        return seen if states.model_state else seen[0]

    def _away(self, seen: Seen) -> Seen:
        """On the host, where that is where nets wait."""
        return jax.device_get(seen) if self._waits else seen

    def stacked(self, seen: tuple[Seen, ...]) -> tuple[Any, ...]:
        """The parameters of all nets, and perhaps their models' states, on the host."""

        def joined(*leaves: Any) -> Any:
            whole: Any = jnp if is_key(leaves[0]) else np
            return whole.concatenate(leaves)[: self._N]

        found = jax.tree.map(joined, *jax.device_get(list(seen)))
        return found if self.begun[0][0].model_state else (found,)


def _compile(plan: Plan, arguments: Any) -> Any:
    """The program of the epochs; ``plan.optimizer`` is a function of the point."""

    def one(state: State, point: dict[str, Array], orders: Array, *rest: Any) -> Any:
        step = make_step(plan.grad_fn, plan.optimizer(**point), plan.preprocess, plan.restarts)
        epochs = make_epochs(
            step, plan.batch_size, plan.evaluate, plan.layout.take, gathered, plan.eval_params
        )
        after, *out = epochs(state, orders, *rest)
        return after, *out, all_finite(out[0][0]) & stays_finite(state, after)

    shared = arguments[2].ndim == 2  # (epochs, N), not (nets, epochs, N)
    gathered = GATHERED if shared else GATHERED // len(arguments[2])
    program = jax.jit(
        jax.vmap(one, in_axes=(0, 0, None if shared else 0, None, None, None)), donate_argnums=0
    )
    return compile_fast(program.lower(*arguments))


@jax.jit
def _chosen(which: Array, these: Seen, others: Seen) -> Seen:
    """Of these where it is so, else of the others, along the first axis."""
    return jax.tree.map(
        lambda new, old: jnp.where(which.reshape(-1, *[1] * (new.ndim - 1)), new, old), these, others
    )


def _start(nets: Sequence[Net], make: Make) -> tuple[State, dict[str, Array]]:
    """The first states of these nets, and their points, stacked."""
    points = {name: jnp.stack([jnp.asarray(net.point[name]) for net in nets]) for name in nets[0].point}
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(net.params for net in nets))
    opt_state = jax.vmap(lambda params, point: make(**point).init(params))(params, points)
    keys = jnp.stack([net.key for net in nets])
    model_state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(net.model_state for net in nets))
    state = State(params, opt_state, keys, jnp.zeros(len(nets), jnp.int32), model_state)
    # An optimizer may begin with the parameters themselves, and the program takes each buffer once.
    return copied(state), points


def _shares(
    N: int, net: Net, optimizer: optax.GradientTransformation, budget: int | None
) -> tuple[int, int, bool]:
    """How many groups train at a time, the nets of a group, and whether some wait on the host meanwhile.

    Raises:
        ValueError: for a budget too small for one net.
    """
    of_params = _bytes(net.params)
    of_net = _bytes((net.params, jax.eval_shape(optimizer.init, net.params), net.model_state))
    on_cpu = jax.default_backend() == "cpu"
    if budget is None:
        told = jax.local_devices()[0].memory_stats() or {}
        budget = told.get("bytes_limit", 4 * N * of_net) // 4
    at_once = min(N, budget // of_net)
    if at_once < 1:
        expected = f"memory_budget of at least {of_net} bytes, one net"
        raise ValueError(errors.message("sweep", expected, f"{budget}"))
    lanes = min(at_once, _cores()) if on_cpu else 1
    size = min(at_once // lanes, max(1, _CACHED // of_params) if on_cpu else N)
    rounds = -(-N // (lanes * size))
    return lanes, -(-N // (lanes * rounds)), at_once < N


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
