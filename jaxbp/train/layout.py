"""Where data and state lie: on one device, or over a mesh of devices, in one process or many."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbp import errors
from jaxbp.train.loop import State, epoch_order
from jaxbp.typing import Array, Random

DATA, MODEL = "data", "model"


@dataclass(frozen=True)
class Layout:
    """One device where mesh is None, or the devices of a mesh with an axis "data" and perhaps "model".

    Each batch is cut over "data"; each device along it holds all the examples of its process, so that
    gathering a batch moves nothing between devices, and one process trains on the same batches
    whatever the number of its devices. Parameters lie on every device; with an axis "model", those whose first axis
    (the outputs of W and b) it divides are cut along it. Parameters that the caller has already laid out over the mesh
    stay as they are.

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
        if DATA not in mesh.axis_names or not {DATA, MODEL}.issuperset(mesh.axis_names):
            hint = 'e.g. jax.make_mesh((jax.device_count(),), ("data",))'
            raise ValueError(
                errors.message("fit", 'a mesh with axes "data" and perhaps "model"', f"{mesh.axis_names}", hint)
            )
        along = np.moveaxis(mesh.devices, mesh.axis_names.index(DATA), 0).reshape(mesh.shape[DATA], -1)
        owners = [tuple(sorted({device.process_index for device in part})) for part in along]
        blocks = [owner for owner, _ in groupby(owners)]
        if owners != [block for block in blocks for _ in range(len(owners) // len(blocks))] or any(
            len(block) > 1 for block in blocks
        ):
            expected = 'an equal run of parts of "data" for each process'
            hint = "order the devices by process_index"
            raise ValueError(errors.message("fit", expected, f"processes {owners}", hint))
        return cls(Mesh(mesh.devices, mesh.axis_names))  # axes of type Auto: XLA places what is between

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

    def data(self, arrays: Sequence[np.ndarray]) -> tuple[Array, ...]:
        """The examples on the device, or on every device along "data"; an array given twice goes there once."""
        placed: dict[int, Array] = {}
        for array in arrays:
            if id(array) not in placed:
                placed[id(array)] = self._rows(array)
        return tuple(placed[id(array)] for array in arrays)

    def _rows(self, array: np.ndarray) -> Array:
        if self.mesh is None:
            return jnp.asarray(array)
        sharding = NamedSharding(self.mesh, P(DATA))
        here = [d for d in self.mesh.devices.flat if d.process_index == jax.process_index()]
        shape = (self.shards * len(array), *array.shape[1:])
        copies = [jax.device_put(array, device) for device in here]
        return jax.make_array_from_single_device_arrays(shape, sharding, copies)

    def take(self, rows: Array, batch: Array) -> Array:
        """The rows of a batch; on a mesh each device takes its part of the batch from what it holds."""

        def local(rows: Array, batch: Array) -> Array:
            return rows.at[batch].get(mode="promise_in_bounds")

        if self.mesh is None:
            return local(rows, batch)
        # A last batch that the devices cannot share is the same on each of them.
        part = P(DATA) if batch.size % self.shards == 0 else P()
        return jax.shard_map(
            local, mesh=self.mesh, in_specs=(P(DATA), part), out_specs=part, check_vma=False
        )(rows, batch)

    def order(self, key: Random, epoch: int, N: int, batch_size: int) -> np.ndarray:
        """The order of an epoch: of each batch, every process draws its part from its own N examples."""
        orders = [epoch_order(key, epoch, N, process) for process in range(self.processes)]
        full = N - N % (batch_size // self.processes)
        batches = [order[:full].reshape(-1, batch_size // self.processes) for order in orders]
        return np.concatenate([np.concatenate(batches, axis=1).ravel(), *(order[full:] for order in orders)])

    @property
    def everywhere(self) -> NamedSharding | None:
        """The sharding of what every device holds whole, the same in every process."""
        return None if self.mesh is None else NamedSharding(self.mesh, P())

    def state(self, state: State, optimizer: optax.GradientTransformation) -> State:
        """The state where it belongs."""
        return jax.device_put(state, self.shardings(state, optimizer))

    def shardings(self, state: State, optimizer: optax.GradientTransformation) -> State | None:
        """The sharding of every array of the state; the optimiser's follow their parameters."""
        whole = self.everywhere
        if whole is None:
            return None
        of_params = jax.tree.map(self._of_parameter, state.params)
        of_opt = optax.tree_utils.tree_map_params(
            optimizer, lambda _, sharding: sharding, state.opt_state, of_params, transform_non_params=lambda _: whole
        )
        return State(of_params, of_opt, whole, whole)

    def _of_parameter(self, leaf: Array) -> NamedSharding:
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and sharding.mesh.devices.tolist() == self.mesh.devices.tolist():
            return NamedSharding(self.mesh, sharding.spec)
        parts = self.mesh.shape.get(MODEL, 1)
        cut = parts > 1 and leaf.ndim > 0 and leaf.shape[0] % parts == 0
        return NamedSharding(self.mesh, P(MODEL) if cut else P())
