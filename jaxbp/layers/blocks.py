"""The gradient of one example by one parameter, in factors: what `Layer.factors` gives for each parameter."""

from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxbp.typing import Array, Float, Int


def _static() -> tuple[int, ...]:
    """A field that is structure, not data."""
    kept: tuple[int, ...] = field(metadata={"static": True})
    return kept


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outer:
    """sum_t delta_t^T f_t: the gradient by a weight that multiplies, at T positions of one example.

    Args:
        delta: (T, d_out).
        f: (T, d_in).
        axes: the weight's axes in the order of d_out, d_in.
        shape: of the weight.
    """

    delta: Float[Array, "T d_out"]
    f: Float[Array, "T d_in"]
    axes: tuple[int, ...] = _static()
    shape: tuple[int, ...] = _static()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """sum_t e_{id_t} delta_t: the gradient by a table of which row id_t is taken at position t.

    Args:
        delta: (T, d).
        id: (T,), a row of the table each; what is out of range counts nothing.
        shape: of the table, (V, d).
    """

    delta: Float[Array, "T d"]
    id: Int[Array, " T"]
    shape: tuple[int, ...] = _static()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Summed:
    """sum_t delta_t: the gradient by a bias, held as the delta that its weight's block has already.

    Args:
        delta: (T, *shape), the parameter's shape at T positions; best the very array that `Outer` has.
    """

    delta: Float[Array, "T ..."]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Entrywise:
    """The gradient itself, for what has no smaller factors.

    Args:
        J: of the parameter's shape.
    """

    J: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Added:
    """The gradient by an array that is used in several places, the sum of its gradients there.

    Args:
        parts: the block of each place, all of one shape.
    """

    parts: tuple["Block", ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stacked:
    """The gradients by the arrays of n equal layers, which are one parameter with a leading axis n.

    Args:
        block: of all layers, each of its arrays with a leading axis n.
    """

    block: "Block"


Block: TypeAlias = Outer | Rows | Summed | Entrywise | Added | Stacked


def together(block: Block, other: Block) -> Block:
    """The gradient by one array that is used as both say; of one kind they are one block."""
    match block, other:
        case Outer(), Outer() if block.axes == other.axes:
            delta, f = (jnp.concatenate(pair) for pair in ((block.delta, other.delta), (block.f, other.f)))
            return Outer(delta, f, block.axes, block.shape)
        case Summed(), Summed():
            return Summed(jnp.concatenate([block.delta, other.delta]))
        case Entrywise(), Entrywise():
            return Entrywise(block.J + other.J)
    return Added((block, other))
