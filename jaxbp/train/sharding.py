"""Where data and state lie: on one device, or over a mesh of devices, in one process or many."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbp import errors
from jaxbp.arguments import instance
from jaxbp.arguments.sparse import SparseRows
from jaxbp.train.programs.epoch_program import epoch_order
from jaxbp.train.programs.step import State
from jaxbp.typing import Array, Random

DATA, MODEL = "data", "model"
_ALIGNMENT = 64  # bytes


@dataclass(frozen=True)
class Layout:
    """One device where mesh is None, or the devices of a mesh with an axis "data" and perhaps "model".

    Each batch is cut over "data"; each device along it holds all the examples of its process, so that
    gathering a batch moves nothing between devices, and a process trains on the same batches whatever
    the number of its devices. Parameters lie on every device; an axis "model" cuts those whose first axis,
    the outputs of W and b, it divides. Parameters that the caller has laid out over the mesh stay so.

    Args:
        mesh: as `jax.make_mesh` makes it.
    """

    mesh: Mesh | None = None

    @classmethod
    def over(cls, mesh: Mesh | None) -> "Layout":
        """The layout of a mesh, whose axes are checked.

        Raises:
            ValueError: for a mesh without an axis "data", with axes of other names, or whose "data" axis does
                not give each process a part of its own.
        """
        if mesh is None:
            return cls()
        instance("fit", "mesh", mesh, Mesh, 'e.g. jax.make_mesh((jax.device_count(),), ("data",))')
        if DATA not in mesh.axis_names or not {DATA, MODEL}.issuperset(mesh.axis_names):
            expected = 'a mesh with axes "data" and perhaps "model"'
            hint = 'e.g. jax.make_mesh((jax.device_count(),), ("data",))'
            raise ValueError(errors.message("fit", expected, f"{mesh.axis_names}", hint))
        along = np.moveaxis(mesh.devices, mesh.axis_names.index(DATA), 0).reshape(mesh.shape[DATA], -1)
        owners = [tuple(sorted({device.process_index for device in part})) for part in along]
        blocks = [owner for owner, _ in groupby(owners)]
        if owners != [block for block in blocks for _ in range(len(owners) // len(blocks))] or any(
            len(block) > 1 for block in blocks
        ):
            expected = 'an equal run of parts of "data" for each process'
            hint = "order the devices by process_index"
            raise ValueError(errors.message("fit", expected, f"processes {owners}", hint))
        # Use Auto axes: XLA chooses the sharding of intermediates.
        return cls(Mesh(mesh.devices, mesh.axis_names))

    @property
    def shards(self) -> int:
        """The number of parts that a batch is cut into."""
        return 1 if self.mesh is None else self.mesh.shape[DATA]

    @property
    def processes(self) -> int:
        """The number of processes that give data."""
        return 1 if self.mesh is None else len({d.process_index for d in self.mesh.devices.flat})

    def assert_batches(self, batch_size: int, N: int) -> None:
        """Raises a ValueError unless every batch of this process's N examples can be cut over "data"."""
        if batch_size % self.shards:
            raise ValueError(
                errors.message(
                    "fit", f'a batch_size that the {self.shards} parts of "data" divide', f"{batch_size}"
                )
            )
        rest = N * self.processes % batch_size
        if self.processes > 1 and rest % self.shards:
            raise ValueError(
                errors.message(
                    "fit",
                    f'a last batch that the {self.shards} parts of "data" divide',
                    f"{N} examples in each of {self.processes} processes, which leave {rest}",
                    "leave some examples out or choose another batch_size",
                )
            )

    def like(self, array: np.ndarray) -> jax.ShapeDtypeStruct:
        """What `data` makes of an array of examples."""
        shape = (self.shards * len(array), *array.shape[1:])
        place = None if self.mesh is None else _sharding(self.mesh, DATA)
        return jax.ShapeDtypeStruct(shape, array.dtype, sharding=place)  # type: ignore[no-untyped-call]

    def data(self, examples: Any) -> Any:
        """The examples on the device, or on each along "data"."""
        return once_each(self._rows, examples)

    def _rows(self, array: np.ndarray) -> Array:
        if self.mesh is None:
            return jax.device_put(array)
        here = [d for d in self.mesh.devices.flat if d.process_index == jax.process_index()]
        shape = (self.shards * len(array), *array.shape[1:])
        copies = [jax.device_put(array, device) for device in here]
        return jax.make_array_from_single_device_arrays(shape, _sharding(self.mesh, DATA), copies)

    def take(self, rows: Array, batches: Array) -> Array:
        """The rows of batches (k, batch); on a mesh each device takes its part of each from what it holds."""

        def local(rows: Array, batches: Array) -> Array:
            return rows.at[batches].get(mode="promise_in_bounds")

        part = self.batches(batches.shape[1])
        if self.mesh is None or part is None:
            return local(rows, batches)
        specs = (_sharding(self.mesh, DATA).spec, part.spec)
        return jax.shard_map(local, mesh=self.mesh, in_specs=specs, out_specs=part.spec, check_vma=False)(
            rows, batches
        )

    def order(self, key: Random | None, epoch: int, N: int, batch_size: int) -> np.ndarray:
        """The order of an epoch, without a key the given one.

        Of each batch, every process draws its part from its own N examples.
        """
        return self._batched(self.orders(key, epoch, N), batch_size)

    def orders(self, key: Random | None, epoch: int, N: int) -> list[np.ndarray]:
        """The order of each process's N examples in an epoch."""
        given = np.arange(N, dtype=np.int32)
        return [given if key is None else epoch_order(key, epoch, N, p) for p in range(self.processes)]

    def stretch(
        self,
        passes: Callable[[int], list[np.ndarray]],
        N: int,
        begin: int,
        end: int,
        batch_size: int,
    ) -> np.ndarray:
        """What batches take from place ``begin`` to ``end`` of the passes after one another.

        ``passes`` gives the `orders` of a pass, numbered from 1; the places are those of each process.
        """
        numbers = range(begin // N + 1, -(-end // N) + 1)
        after = [np.concatenate(of_process) for of_process in zip(*map(passes, numbers), strict=True)]
        start = begin - begin // N * N
        return self._batched([order[start : start + end - begin] for order in after], batch_size)

    def _batched(self, of_process: list[np.ndarray], batch_size: int) -> np.ndarray:
        """What each process has for its N examples, (N,), in the order in which batches take them."""
        part = batch_size // self.processes
        full = len(of_process[0]) - len(of_process[0]) % part
        batches = np.concatenate([own[:full].reshape(-1, part) for own in of_process], axis=1)
        return np.concatenate([batches.ravel(), *(own[full:] for own in of_process)])

    def batch_weights(self, weight: np.ndarray, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        """``order -> (iterations,)``, the sum of the weights in each batch.

        All processes call it at the same time; ``weight`` is this one's, (N, ...).
        """
        own = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.float64)
        of_all = own[None] if self.processes == 1 else multihost_utils.process_allgather(own)

        def weights_of(order: np.ndarray) -> np.ndarray:
            N = len(order) // self.processes
            process = self._batched([np.full(N, p) for p in range(self.processes)], batch_size)
            return np.add.reduceat(of_all[process, order], np.arange(0, len(order), batch_size))

        return weights_of

    def gather(self, array: np.ndarray | SparseRows, rows: np.ndarray, out: np.ndarray) -> Array:
        """The batches of these rows (k, batch), taken on the host; each device gets its part of each.

        On one device they are written to ``out``, of their shape, and a CPU takes them as they lie there.
        """
        sharding = self.batches(rows.shape[1])
        if sharding is None:
            if array.dtype == out.dtype and isinstance(array, np.ndarray):
                np.take(array, rows, axis=0, out=out, mode="clip")  # "raise" would need a copy
            else:
                for batch, part in zip(rows, out, strict=True):
                    part[...] = array[batch]
            return jax.device_put(out)

        def local(index: Any) -> np.ndarray:
            part = rows[(index or ())[:2]]
            taken = np.take(array, part, axis=0) if isinstance(array, np.ndarray) else array[part]
            return taken.astype(out.dtype, copy=False)

        return jax.make_array_from_callback(out.shape, sharding, local)

    def batches(self, size: int) -> NamedSharding | None:
        """The sharding of batches (k, size, ...); those that the devices cannot share are whole on each."""
        if self.mesh is None:
            return None
        cut = size % self.shards == 0
        return NamedSharding(self.mesh, P(None, DATA if cut else None))  # type: ignore[no-untyped-call]

    def any(self, here: bool) -> bool:
        """Whether it is so in any process; all of them ask at the same time."""
        if self.mesh is None or self.processes == 1:
            return here
        said = np.full(self.shards // self.processes, here)
        cut = _sharding(self.mesh, DATA)
        flags = jax.make_array_from_process_local_data(cut, said)  # type: ignore[no-untyped-call]
        return bool(jax.jit(jnp.any, out_shardings=self.everywhere)(flags))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Says what it means where one of many processes is missing in a computation."""
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            of_the_wire = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
            if self.processes == 1 or not of_the_wire:
                raise
            expected = f"{self.processes} processes to compute together"
            hint = "did one of them end? Start all again; with checkpoints they go on from the newest"
            raise RuntimeError(errors.message("fit", expected, str(error), hint)) from error

    @property
    def everywhere(self) -> NamedSharding | None:
        """The sharding of what every device holds whole, the same in every process."""
        return None if self.mesh is None else _sharding(self.mesh)

    def state(self, state: State) -> State:
        """The state where it belongs."""
        if self.mesh is None:
            return state
        return jax.tree.map(_put, state, self.shardings(state))

    def shardings(self, state: State) -> Any:
        """A State of the shardings of its arrays, the optimizer's as their parameters', or None."""
        if self.mesh is None:
            return None
        whole = _sharding(self.mesh)
        of_params = jax.tree.map(partial(_of_parameter, self.mesh), state.params)
        given = {path: (leaf.shape, _of_parameter(self.mesh, leaf))
                 for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)}  # fmt: skip

        def like_its_parameter(path: tuple[Any, ...], leaf: Array) -> NamedSharding:
            # What an optimizer keeps for a parameter lies at that parameter's path, below a field of its own.
            ends = (given.get(path[i:]) for i in range(len(path) + 1))
            return next((place for shape, place in filter(None, ends) if shape == leaf.shape), whole)

        of_optimizer = jax.tree_util.tree_map_with_path(like_its_parameter, state.opt_state)
        of_model = jax.tree.map(lambda leaf: whole, state.model_state)
        return State(of_params, of_optimizer, whole, whole, of_model)  # type: ignore[arg-type]


def place_of(leaf: Any) -> jax.sharding.Sharding | None:
    """Where a leaf must lie; None for those of NumPy and those that JAX may move as it needs."""
    if isinstance(leaf, jax.ShapeDtypeStruct) or (isinstance(leaf, jax.Array) and leaf.committed):
        return leaf.sharding
    return None


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Room that begins where XLA wants its arrays to begin, or else a CPU would copy them."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def once_each(place: Callable[[np.ndarray], Any], tree: Any) -> Any:
    """``place`` of each array of a tree; called once for one that is there twice, as in an autoencoder."""
    placed: dict[int, Any] = {}
    for leaf in jax.tree.leaves(tree):
        if id(leaf) not in placed:
            placed[id(leaf)] = place(leaf)
    return jax.tree.map(lambda leaf: placed[id(leaf)], tree)


def own(array: np.ndarray) -> np.ndarray:
    """A copy that a CPU takes as it lies: NumPy makes it, with large pages, in a third of the time of JAX."""
    if jax.default_backend() != "cpu" or not array.flags.writeable:
        return array
    copy = aligned(array.shape, array.dtype)
    np.copyto(copy, array)
    return copy


def _sharding(mesh: Mesh, *axes: str) -> NamedSharding:
    return NamedSharding(mesh, P(*axes))  # type: ignore[no-untyped-call]


def _put(leaf: Array, sharding: NamedSharding) -> Array:
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.device_put(leaf, sharding)
    data = jax.device_put(jax.random.key_data(leaf), sharding)  # it takes no key to other processes
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))


def _of_parameter(mesh: Mesh, leaf: Array) -> NamedSharding:
    given = getattr(leaf, "sharding", None)
    if isinstance(given, NamedSharding) and given.mesh.devices.tolist() == mesh.devices.tolist():
        return NamedSharding(mesh, given.spec)
    parts = mesh.shape.get(MODEL, 1)
    cut = parts > 1 and leaf.ndim > 0 and leaf.shape[0] % parts == 0
    return _sharding(mesh, MODEL) if cut else _sharding(mesh)
