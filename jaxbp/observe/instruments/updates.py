"""What a step, or an epoch, changes of the parameters."""

from typing import NamedTuple

import jax
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.jaxprs.values.labels import joined, parts_of
from jaxbp.observe.instruments.statistics import Statistics, of_all
from jaxbp.typing import Params


class Update(NamedTuple):
    """What was changed of one parameter.

    Args:
        weight: the statistics of the parameter after it.
        update: those of the difference.
    """

    weight: Statistics
    update: Statistics

    @property
    def ratio(self) -> float:
        """norm(update) / norm(weight): for one step about 1e-3 is usual; 0 where nothing moved."""
        moved, norm = float(self.update.norm), float(self.weight.norm)
        return moved / norm if norm else float("inf") if moved else 0.0


def updates(before: Params, after: Params) -> dict[str, Update]:
    """The statistics of each parameter and of ``after - before``, by the parameter's path.

    Args:
        before: a pytree of floating arrays.
        after: one of the same structure.

    Raises:
        ValueError: where the two are not of one structure.
        TypeError: for parameters that are no floating-point numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> moved = updates({"W": jnp.array([3.0, 4.0])}, {"W": jnp.array([3.0, 4.5])})
        >>> round(moved["W"].ratio, 4), float(moved["W"].update.zeros)
        (0.0925, 0.5)

    Source: https://cs231n.github.io/neural-networks-3/#ratio
    """
    before, after = (arguments.params("updates", p) for p in (before, after))
    old_tree, new_tree = (str(jax.tree.structure(p)) for p in (before, after))
    if old_tree != new_tree:
        raise ValueError(message("updates", f"after to have the structure of before, {old_tree}", new_tree))
    leaves, _ = jax.tree_util.tree_flatten_with_path(after)
    names = [joined(parts_of(path)) or "params" for path, _ in leaves]
    old, new = jax.tree.leaves(before), [leaf for _, leaf in leaves]
    shapes = [(np.shape(a), np.shape(b)) for a, b in zip(old, new, strict=True)]
    if wrong := [f"{n}: {a} and {b}" for n, (a, b) in zip(names, shapes, strict=True) if a != b]:
        raise ValueError(message("updates", "parameters of the same shapes", ", ".join(wrong)))
    found = jax.tree.map(np.asarray, of_all([(b, b - a) for a, b in zip(old, new, strict=True)]))
    return {name: Update(*pair) for name, pair in zip(names, found, strict=True)}
