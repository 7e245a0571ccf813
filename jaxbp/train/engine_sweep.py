"""The networks of a sweep in groups: the program of `fit` under vmap, and a thread for each core."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import errors
from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.epoch_program import GATHERED, State, make_epochs, make_step, mean_loss
from jaxbp.train.run import Plan, stacked
from jaxbp.train.sweep_result import Point
from jaxbp.train.engine_stream import as_here
from jaxbp.typing import Array, Params, Random

Make = Callable[..., optax.GradientTransformation]

_CACHED = 2**22  # bytes of parameters that a core trains at a time; with twice as many it is slower


class Net(NamedTuple):
    """One network of a sweep.

    Args:
        params: its first.
        key: as in `fit`.
        order: the order of each epoch.
        point: its hyperparameters.
    """

    params: Params
    key: Random
    order: Callable[[int], np.ndarray]
    point: Point


class Groups:
    """The networks of a sweep on the device, and the program that runs epochs of a group of them.

    Args:
        nets: all of them.
        plan: of the run, with the optimiser of the first net.
        make: the optimiser of a point.
        most: how many epochs are run at a time, at most.
        memory_budget: as in `sweep`.
    """

    def __init__(
        self,
        nets: Sequence[Net],
        plan: Plan,
        make: Make,
        most: int,
        memory_budget: int | None,
    ):
        self._plan, self._most, self._N = plan, most, len(nets)
        self._shared = len({net.order for net in nets}) == 1
        self._lanes, size, self._waits = _shares(len(nets), nets[0].params, plan.optimizer, memory_budget)
        # The last net fills the last group up: all are of one shape.
        numbers = np.minimum(np.arange(-(-len(nets) // size) * size), len(nets) - 1)
        self._nets = [[nets[i] for i in group] for group in numbers.reshape(-1, size)]
        self._begun = [_start(group, make) for group in self._nets]
        self._held = plan.layout.data(plan.train.x, plan.train.y), plan.held_out()

        arguments = (*self._begun[0], self._orders(self._nets[0], 1, 1), np.int32(1), *self._held)
        made = plan._replace(optimizer=make)
        self._program = compiled(_compile, made, arguments)

    def run(self, epoch: int, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """``count`` epochs from this one on: each metric (N, count), and whether a net is finite, (N,)."""
        with ThreadPoolExecutor(self._lanes) as pool:
            run = as_here(lambda g: self._run(g, epoch, count))
            ran = list(pool.map(run, range(len(self._nets))))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: self._N], *ran)

    def _run(self, g: int, epoch: int, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        state, point = self._begun[g]
        orders = self._orders(self._nets[g], epoch, count)
        state, *out = self._program(state, point, orders, np.int32(count), *self._held)
        losses, metrics, finite = jax.device_get(out)
        if self._waits:
            params, opt_state = jax.device_get((state.params, state.opt_state))
            state = state._replace(params=params, opt_state=opt_state)
        self._begun[g] = state, point
        rows = {"loss": mean_loss(losses, self._plan.batch_size, len(self._plan.train))}
        rows |= {f"val_{name}": column for name, column in metrics.items()}
        return {name: column[:, :count] for name, column in rows.items()}, finite

    def _orders(self, nets: Sequence[Net], epoch: int, count: int) -> np.ndarray:
        """What `stacked` gives, once for all nets or for each."""
        if self._shared:
            return stacked(nets[0].order, epoch, count, self._most)
        return np.stack([stacked(net.order, epoch, count, self._most) for net in nets])

    def params(self) -> Params:
        """Of all nets, stacked, on the host."""
        stacked = [jax.device_get(state.params) for state, _ in self._begun]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: self._N], *stacked)


def _compile(plan: Plan, arguments: Any) -> Any:
    """The program of the epochs; ``plan.optimizer`` is a function of the point."""

    def one(state: State, point: dict[str, Array], orders: Array, *rest: Any) -> Any:
        step = make_step(plan.grad_fn, plan.optimizer(**point), plan.preprocess)
        epochs = make_epochs(step, plan.batch_size, plan.evaluate, plan.layout.take, gathered)
        return epochs(state, orders, *rest)

    shared = arguments[2].ndim == 2  # (epochs, N), not (nets, epochs, N)
    gathered = GATHERED if shared else GATHERED // len(arguments[2])
    program = jax.jit(
        jax.vmap(one, in_axes=(0, 0, None if shared else 0, None, None, None)), donate_argnums=0
    )
    return compile_fast(program.lower(*arguments))


def _start(nets: Sequence[Net], make: Make) -> tuple[State, dict[str, Array]]:
    """The first states of these nets, and their points, stacked."""
    points = {name: jnp.stack([jnp.asarray(net.point[name]) for net in nets]) for name in nets[0].point}
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(net.params for net in nets))
    opt_state = jax.vmap(lambda params, point: make(**point).init(params))(params, points)
    keys = jnp.stack([net.key for net in nets])
    return State(params, opt_state, keys, jnp.zeros(len(nets), jnp.int32)), points


def _shares(
    N: int, params: Params, optimizer: optax.GradientTransformation, budget: int | None
) -> tuple[int, int, bool]:
    """How many groups train at a time, the nets of a group, and whether some wait on the host meanwhile.

    Raises:
        ValueError: for a budget too small for one net.
    """
    of_params, of_net = _bytes(params), _bytes((params, jax.eval_shape(optimizer.init, params)))
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
