"""What a step, or an epoch, changes of the parameters."""

from typing import Any, NamedTuple

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
    found = paired("updates", before, after)
    kept = jax.tree.map(np.asarray, of_all([(new, new - old) for _, old, new in found]))
    return {name: Update(*pair) for (name, _, _), pair in zip(found, kept, strict=True)}


def paired(where: str, before: Params, after: Params) -> list[tuple[str, Any, Any]]:
    """The path of each parameter, what it was before, and after.

    Raises:
        ValueError: where the two are not of one structure, or of other shapes.
        TypeError: for parameters that are no floating-point numbers.
    """
    before, after = (arguments.params(where, p) for p in (before, after))
    was, now = (str(jax.tree.structure(p)) for p in (before, after))
    if was != now:
        raise ValueError(message(where, f"after to have the structure of before, {was}", now))
    leaves, _ = jax.tree_util.tree_flatten_with_path(after)
    old = jax.tree.leaves(before)
    found = [(joined(parts_of(p)) or "params", b, a) for (p, a), b in zip(leaves, old, strict=True)]
    if wrong := [f"{n}: {np.shape(b)} and {np.shape(a)}" for n, b, a in found if np.shape(a) != np.shape(b)]:
        raise ValueError(message(where, "parameters of the same shapes", ", ".join(wrong)))
    return found
