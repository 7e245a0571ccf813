"""What a run is, in entries that a checkpoint compares: data, gradient function, optimizer, numbers."""

import functools
import hashlib
import inspect
from dataclasses import asdict, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxbp.arguments.arrays import held_dtype
from jaxbp.train.plan import Plan
from jaxbp.train.program_cache import compiled
from jaxbp.train.programs.step import State, by_name, outcome_of, takes
from jaxbp.train.programs.update import Averaging, updated
from jaxbp.train.result import EarlyStopping
from jaxbp.typing import Array, Params

_WHOLE = 2**28  # bytes: an array up to this size is read whole, of a larger one some rows
_ROWS = 4096
_BLOCK = 2**22  # bytes of rows that are read together
_DIGITS = 3  # of a probe: what differs by rounding, on another machine, is the same
_STEPS = 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000


def describe(plan: Plan, state: State, early_stopping: EarlyStopping | None) -> dict[str, Any]:
    """What must not change between the parts of one run, as JSON holds it; more epochs may be asked for.

    Args:
        plan: of the run.
        state: where it starts.
        early_stopping: as in `fit`.

    Returns:
        A dict of these entries.

        * ``batch_size``, ``examples``, ``key``, ``early_stopping``, ``x64``: as they are; where they
          are used ``shuffle``, ``ema``, ``evaluate_every``, and ``counted`` in iterations.
        * ``validation``: a digest of the data held out, where there are any; as ``data``.
        * ``data``: a digest of x, y and weights (those of classes among them), in the dtypes that the device
          holds. Of an array larger than 256 MiB its shape, its dtype and 4,096 rows spread evenly over it
          are read; of `Batches` the dtypes and the shapes of an example.
        * ``start``: the size of the first parameters, to three digits.
        * ``network``: `jaxbp.value_and_grad`'s layers and loss. Of other functions the name, and the loss and
          the size of the gradient at a probe, to three digits.
        * ``preprocess``: the size of what it makes of a probe, to three digits.
        * ``optimizer``: the sizes of its first two updates for fixed gradients, and of the largest that it
          makes at steps up to 10^6, to three digits.
        * ``schedule``: the sizes of the updates at these steps, as parts of the largest.
    """
    first = jax.tree.map(lambda v: v[:1], plan.train.arrays)
    params = state.params
    network, preprocessed, updates = compiled(_probed, plan, (params, state.model_state, first))
    largest = max(updates)
    entries = {
        "batch_size": plan.batch_size,
        "examples": plan.N,
        "key": np.asarray(jax.random.key_data(plan.key)).tolist(),
        "early_stopping": early_stopping and _used(asdict(early_stopping)),
        "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
        "data": _digest_of_data(plan),
        "start": _rounded(jax.jit(_size)(params)),
        "network": network,
        "preprocess": preprocessed,
        "optimizer": [_rounded(size) for size in (*updates[:2], largest)],
        # In decimal places: what is left at the end of a schedule is the rounding of a cosine.
        "schedule": [round(size / largest, _DIGITS) if largest else 0.0 for size in updates[2:]],
        "shuffle": plan.shuffle,
        "ema": plan.optimizer.decay if isinstance(plan.optimizer, Averaging) else None,
        "evaluate_every": plan.evaluate_every,
        "counted": plan.counted is not None,
        "validation": plan.validation and _digest(plan.validation.arrays).hexdigest(),
    }
    return _used(entries)


# Entries that came later stand in a config only where they are used: the folders of older runs stay good.
_LATER = {
    "min_delta": 0.0,
    "start_from_epoch": 1,
    "shuffle": True,
    "ema": None,
    "evaluate_every": 1,
    "counted": False,
    "validation": None,
}


def _used(entries: dict[str, Any]) -> dict[str, Any]:
    """The entries without the later ones that have their default."""
    return {name: value for name, value in entries.items() if name not in _LATER or value != _LATER[name]}


def _digest_of_data(plan: Plan) -> str:
    """Of the examples of all processes; of `Batches` no more than what an example is like."""
    if plan.batches is not None:
        return "batches: " + ", ".join(f"{v.dtype} {v.shape[1:]}" for v in jax.tree.leaves(plan.train.arrays))
    digest = _digest(plan.train.arrays)
    if plan.layout.processes == 1:
        return digest.hexdigest()
    mine = np.frombuffer(digest.digest(), np.uint8)
    return hashlib.blake2b(multihost_utils.process_allgather(mine).tobytes(), digest_size=16).hexdigest()


def _digest(arrays: Any) -> Any:
    """Of examples as the device holds them; a large array is read in parts."""
    digest = hashlib.blake2b(digest_size=16)
    for array in {id(v): v for v in jax.tree.leaves(arrays)}.values():
        held = held_dtype(array.dtype)
        digest.update(f"{held} {array.shape};".encode())
        some = array.nbytes > _WHOLE
        rows = np.linspace(0, len(array) - 1, _ROWS, dtype=int) if some else np.arange(len(array))
        size = max(1, _BLOCK // max(1, array[:1].nbytes))
        for start in range(0, len(rows), size):
            block = array[rows[start : start + size]] if some else array[start : start + size]
            digest.update(block.astype(held, copy=False).tobytes())
    return digest


def _probed(plan: Plan, arguments: Any) -> tuple[str, float | None, list[float]]:
    """What the functions of a plan do to probes: ``network``, ``preprocess``, and `_updates`."""
    params, model_state, examples = arguments
    x, y, *weight = jax.tree.map(
        lambda v: _probe((plan.batch_size, *v.shape[1:]), held_dtype(v.dtype)), examples
    )
    preprocessed = None
    if plan.preprocess is not None:
        x = jax.jit(plan.preprocess)(x)
        preprocessed = _rounded(_size(x))
    updates = _updates(plan.optimizer, params)
    if is_dataclass(plan.grad_fn) and " at 0x" not in (written := repr(plan.grad_fn)):
        return written, preprocessed, updates
    extra = {"key": jax.random.key(0)} if takes(plan.grad_fn, "key") else {}

    @jax.jit
    def probe(x: Any, y: Any, *weight: Array) -> tuple[Array, Array]:
        probed = _like(params)
        carried = jax.tree.map(_probe_like, model_state)
        returned = plan.grad_fn(probed, x, y, *carried, **extra, **by_name(*weight))
        loss, grads, _, _ = outcome_of(returned, probed, carried)
        return loss, _size(grads)

    loss, size = (_rounded(value) for value in probe(x, y, *weight))
    return f"{_name(plan.grad_fn)}: loss {loss}, gradient {size} at a probe", preprocessed, updates


def _name(function: Any) -> str:
    """Its qualified name, which is the same in every process."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return getattr(function, "__qualname__", type(function).__qualname__)


def _updates(optimizer: Any, params: Params) -> list[float]:
    """The sizes of an optimizer's first two updates for fixed gradients, and of those at later steps."""

    def later(leaf: Array, step: Array) -> Array:
        """A count of iterations as it is at a later step."""
        counts = leaf.shape == () and jnp.issubdtype(leaf.dtype, jnp.integer)
        return leaf + step.astype(leaf.dtype) if counts else leaf

    @jax.jit
    def sizes(step: Array) -> tuple[Array, Array]:
        probed, grads, others = (_like(params, phase) for phase in (0.0, 1.0, 2.0))
        state = jax.tree.map(lambda leaf: later(jnp.asarray(leaf), step), optimizer.init(probed))
        value, _ = _bowl(probed)
        first, state = updated(optimizer, _bowl, value, grads, state, probed)
        second, _ = updated(optimizer, _bowl, value, others, state, probed)
        return _size(first), _size(second)

    found = [[float(size) for size in sizes(jnp.int32(step))] for step in (0, *_STEPS)]
    return [*found[0], *(second for _, second in found[1:])]


def _bowl(params: Params) -> tuple[Array, Params]:
    """Half the square of the norm, and its gradient: the loss, for optimizers that want one."""
    return sum((jnp.square(leaf).sum() for leaf in jax.tree.leaves(params)), jnp.zeros(())) / 2, params


def _probe_like(leaf: Any) -> Any:
    """A leaf of a model's state: numbers between 0 and 1, which variances may be; keys and counts as new."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.zeros(leaf.shape, leaf.dtype)
    return _probe(leaf.shape, leaf.dtype)


def _like(tree: Any, phase: float = 0.0) -> Any:
    """Fixed numbers in the place of a tree's, of both signs, none of them round."""
    leaves, structure = jax.tree.flatten(tree)
    made = [
        (0.3 * jnp.cos(1.7 * jnp.arange(leaf.size) + phase + i)).reshape(leaf.shape).astype(leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, made)


def _probe(shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Fixed numbers; where they are whole ones, zeros and ones, which any classes have."""
    numbers = np.arange(int(np.prod(shape)))
    values = 0.5 + 0.4 * np.cos(1.3 * numbers) if jnp.issubdtype(dtype, jnp.inexact) else numbers % 2
    return jnp.asarray(values.reshape(shape).astype(dtype))


def _size(tree: Any) -> Array:
    """The norm of a tree's numbers, each with a weight of its own: it changes where two trade places."""
    total = jnp.zeros((), jnp.float32)
    for i, leaf in enumerate(jax.tree.leaves(tree)):
        weights = 1.5 + jnp.cos(0.9 * jnp.arange(leaf.size) + 2 * i).reshape(leaf.shape)
        total += (weights * jnp.square(jnp.abs(leaf).astype(jnp.float32))).sum()
    return jnp.sqrt(total)


def _rounded(value: Any) -> float:
    return float(f"{float(value):.{_DIGITS - 1}e}")
