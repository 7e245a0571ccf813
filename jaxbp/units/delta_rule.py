"""What both units share: the rule w += eta sum (t - o) x on rows, and its compiled epochs."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, PRNGKeyArray

from jaxbp.errors import message


class Unit(NamedTuple):
    """One unit's parameters.

    Args:
        w: weights, (d,).
        w_0: the bias, the weight of a constant input 1, ().
    """

    w: Float[Array, " d"]
    w_0: Float[Array, ""]


def linear_unit(unit: Unit, x: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """The linear unit, o = w·x + w_0.

    Args:
        unit: w (d,) and w_0 ().
        x: inputs, (*n, d).

    Returns:
        Outputs, (*n,).

    Raises:
        ValueError: x does not have d as its last axis.

    Example:
        >>> float(linear_unit(Unit(jnp.array([2.0, 1.0]), jnp.array(0.5)), jnp.array([1.0, 3.0])))
        5.5

    Source: lecture, the linear unit.
    """
    x = jnp.asarray(x, unit.w.dtype)
    if x.ndim == 0 or x.shape[-1:] != unit.w.shape:
        raise ValueError(message("unit", f"x with last axis {unit.w.shape[0]}", f"shape {x.shape}"))
    return x @ unit.w + unit.w_0


Output = Callable[[Unit, Array], Array]


def missed(output: Output, unit: Unit, x: Any, t: Any) -> Array:
    """Return t - o for every row; t must have the rows of o, or (N, 1) would broadcast to (N, N)."""
    o = output(unit, x)
    t = jnp.asarray(t, o.dtype)
    if t.shape != o.shape:
        raise ValueError(
            message("unit", f"t of shape {o.shape}, one target for each row", f"shape {t.shape}")
        )
    return t - o


def step(output: Output, unit: Unit, x: Any, t: Any, eta: float | Array) -> Unit:
    """The delta rule on rows."""
    return move(unit, missed(output, unit, x, t), jnp.asarray(x, unit.w.dtype), eta)


def move(unit: Unit, miss: Array, x: Array, eta: float | Array) -> Unit:
    """Update w += eta sum_n miss x, w_0 += eta sum_n miss."""
    eta = jnp.asarray(eta, unit.w.dtype)
    return Unit(unit.w + eta * jnp.einsum("...,...i->i", miss, x), unit.w_0 + eta * jnp.sum(miss))


@partial(jax.jit, static_argnames=("output", "record", "batch_size", "epochs"))
def train(
    output: Output,
    record: Callable[[Unit, Array, Array, Array], tuple[Unit, Array]],
    unit: Unit,
    x: Array,
    t: Array,
    eta: float,
    key: PRNGKeyArray | None,
    batch_size: int,
    epochs: int,
) -> tuple[Unit, tuple[Unit, Array]]:
    """All epochs in one compiled loop: the last unit, and the record of every epoch."""
    n = len(x)

    def batch(unit: Unit, rows: Array) -> tuple[Unit, Array]:
        # Row n fills up the last batch: it reads the last example and does not count.
        inputs = x.at[rows].get(mode="clip")
        miss = jnp.where(rows < n, missed(output, unit, inputs, t.at[rows].get(mode="clip")), 0)
        return move(unit, miss, inputs, eta), miss

    def epoch(unit: Unit, key: PRNGKeyArray | None) -> tuple[Unit, tuple[Unit, Array]]:
        order = jnp.arange(n) if key is None else jax.random.permutation(key, n)
        rows = jnp.concatenate([order, jnp.full(-n % batch_size, n)]).reshape(-1, batch_size)
        unit, miss = lax.scan(batch, unit, rows)
        return unit, record(unit, jnp.zeros(n, x.dtype).at[rows].set(miss, mode="drop"), x, t)

    return lax.scan(epoch, unit, None if key is None else jax.random.split(key, epochs), length=epochs)


def checked(
    where: str, x: Any, t: Any, eta: float, epochs: int, batch_size: int | None, unit: Unit | None
) -> tuple[Array, Array, Unit]:
    """Return x (N, d) and t (N,) as finite floats, and the unit to start from."""
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    t = jnp.asarray(t, x.dtype)
    if x.ndim != 2 or x.size == 0 or t.shape != x.shape[:1]:
        raise ValueError(
            message(where, "x (N, d) and t (N,), N and d at least 1", f"x {x.shape} and t {t.shape}")
        )
    if not bool(jnp.isfinite(x).all() & jnp.isfinite(t).all()):
        raise ValueError(message(where, f"finite {x.dtype} values", "NaN or inf in x or t"))
    if not (
        0 < eta < math.inf and epochs >= 1 and 1 <= (len(x) if batch_size is None else batch_size) <= len(x)
    ):
        raise ValueError(
            message(
                where,
                f"eta above 0, epochs at least 1, batch_size in 1..{len(x)}",
                f"eta {eta}, epochs {epochs}, batch_size {batch_size}",
            )
        )
    if unit is None:
        unit = Unit(jnp.zeros(x.shape[1], x.dtype), jnp.zeros((), x.dtype))
    return x, t, Unit(jnp.asarray(unit.w, x.dtype), jnp.asarray(unit.w_0, x.dtype))


def augmented(x: Any) -> np.ndarray:
    """Rows (1, x_i), float64 on the host: the bias as a weight of a constant input."""
    x = np.asarray(x, np.float64)
    return np.column_stack([np.ones(len(x)), x])


def weights_row(unit: Unit) -> np.ndarray:
    """(w_0, w), float64 on the host, the order of the columns of ``augmented``."""
    return np.concatenate([[np.float64(unit.w_0)], np.asarray(unit.w, np.float64)])
