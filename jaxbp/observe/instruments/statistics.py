"""What is kept of an array: its norm, its largest entry, its zeros, and a histogram by powers of two."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.typing import Array, Float, Scalar

# The powers of two that entries are counted by; smaller and larger ones are counted at the ends.
EXPONENTS = tuple(range(-48, 16))


class Statistics(NamedTuple):
    """What is kept of an array.

    Args:
        norm: Euclidean.
        max: of absolute values.
        zeros: the share of entries that are 0.
        histogram: the share of entries with 2^k <= abs(entry) < 2^(k+1), for k = -48, ..., 15; smaller and
            larger ones are counted at the ends, zeros and what is not finite not at all.
    """

    norm: Scalar
    max: Scalar
    zeros: Scalar
    histogram: Float[Array, " 64"]

    @property
    def finite(self) -> bool:
        """Whether every entry was."""
        return bool(np.isfinite(self.norm))


def statistics(x: Array) -> Statistics:
    """The norm of x, its largest entry, the share of its zeros, and its histogram.

    Args:
        x: an array of numbers.

    Raises:
        TypeError, ValueError: for what is no such array.

    Example:
        >>> found = statistics(jnp.array([3.0, -4.0, 0.0, 0.0]))
        >>> float(found.norm), float(found.max), float(found.zeros)
        (5.0, 4.0, 0.5)
        >>> {EXPONENTS[i]: float(found.histogram[i]) for i in found.histogram.nonzero()[0]}
        {1: 0.25, 2: 0.25}
    """
    x = arguments.array("statistics", "x", x)
    wide = jnp.abs(x.astype(jnp.promote_types(x.dtype, jnp.float32))).ravel()
    power = jnp.clip(jnp.frexp(wide)[1] - 1, EXPONENTS[0], EXPONENTS[-1]) - EXPONENTS[0]
    there = (wide != 0) & jnp.isfinite(wide)
    counts = jnp.zeros(len(EXPONENTS), wide.dtype).at[power].add(there.astype(wide.dtype))
    size = max(wide.size, 1)
    # The norm of numbers as they are would overflow where their squares do.
    scale = jnp.max(wide, initial=0)
    unit = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    norm = unit * jnp.linalg.norm(wide / unit)
    return Statistics(norm, scale, jnp.sum(wide == 0) / size, counts / size)


@jax.jit
def of_all(arrays: Any) -> Any:
    """The statistics of each array of a tree, in one program."""
    return jax.tree.map(statistics, arrays)
