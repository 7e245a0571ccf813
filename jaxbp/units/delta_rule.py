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

from jaxbp import arguments
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
    unit = parameters("unit", unit)
    x = numbers("unit", "x", x, unit.w.dtype)
    if x.ndim == 0 or x.shape[-1:] != unit.w.shape:
        raise ValueError(message("unit", f"x with last axis {unit.w.shape[0]}", f"shape {x.shape}"))
    return x @ unit.w + unit.w_0


def parameters(where: str, unit: Any, dtype: Any = None) -> Unit:
    """The unit with w (d,) and w_0 () as arrays of floats, of one dtype if it is given."""
    arguments.instance(where, "unit", unit, Unit, "Unit(w, w_0) makes one")
    w, w_0 = (
        arguments.array(where, name, v, floats=True) for name, v in zip(Unit._fields, unit, strict=True)
    )
    if w.ndim != 1 or w_0.ndim != 0:
        raise ValueError(message(where, "w of shape (d,) and w_0 of shape ()", f"{w.shape} and {w_0.shape}"))
    return Unit(w, w_0) if dtype is None else Unit(w.astype(dtype), w_0.astype(dtype))


def numbers(where: str, name: str, values: Any, dtype: Any) -> Array:
    """X or t as floats of a dtype; whole numbers are taken, as on the board."""
    array = arguments.array(where, name, values)
    _assert_real(where, name, array)
    return array.astype(dtype)


def on_host(where: str, name: str, values: Any) -> np.ndarray:
    """X or t as float64 on the host."""
    array = arguments.array(where, name, values, host=True)
    _assert_real(where, name, array)
    return array.astype(np.float64)


def _assert_real(where: str, name: str, array: Any) -> None:
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(message(where, f"real {name}", arguments.described(array), f"{name}.real"))


Output = Callable[[Unit, Array], Array]


def missed(output: Output, unit: Unit, x: Any, t: Any) -> Array:
    """Return t - o for every row; t must have the rows of o, or (N, 1) would broadcast to (N, N)."""
    o = output(unit, x)
    t = numbers("unit", "t", t, o.dtype)
    if t.shape != o.shape:
        raise ValueError(
            message("unit", f"t of shape {o.shape}, one target for each row", f"shape {t.shape}")
        )
    return t - o


def step(output: Output, unit: Unit, x: Any, t: Any, eta: float | Array) -> Unit:
    """The delta rule on rows."""
    unit = parameters("unit", unit)
    if not isinstance(eta, jax.core.Tracer):
        eta = arguments.number("unit", "eta", eta)
    return move(unit, missed(output, unit, x, t), numbers("unit", "x", x, unit.w.dtype), eta)


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


class Given(NamedTuple):
    """What a fit was given, checked: x (N, d) and t (N,) as finite floats, and the unit to start from."""

    x: Array
    t: Array
    eta: float
    epochs: int
    batch_size: int
    key: PRNGKeyArray | None
    unit: Unit


def checked(
    where: str, x: Any, t: Any, eta: Any, epochs: Any, batch_size: Any, key: Any, unit: Unit | None
) -> Given:
    """The arguments of a fit; a batch_size of None is N."""
    x = arguments.array(where, "x", x)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.zeros(()).dtype
    x, t = numbers(where, "x", x, dtype), numbers(where, "t", t, dtype)
    if x.ndim != 2 or x.size == 0 or t.shape != x.shape[:1]:
        raise ValueError(
            message(where, "x (N, d) and t (N,), N and d at least 1", f"x {x.shape} and t {t.shape}")
        )
    if not bool(jnp.isfinite(x).all() & jnp.isfinite(t).all()):
        raise ValueError(message(where, f"finite {x.dtype} values", "NaN or inf in x or t"))
    eta = arguments.number(where, "eta", eta, low=0, open_low=True)
    epochs = arguments.whole(where, "epochs", epochs, low=1)
    if batch_size is not None:
        batch_size = arguments.whole(where, "batch_size", batch_size, low=1, high=len(x))
    key = None if key is None else arguments.key(where, key)
    start = Unit(jnp.zeros(x.shape[1], dtype), jnp.zeros((), dtype))
    unit = start if unit is None else parameters(where, unit, dtype)
    if unit.w.shape != start.w.shape:
        raise ValueError(message(where, f"a unit with w of shape {start.w.shape}", f"{unit.w.shape}"))
    if not bool(jnp.isfinite(unit.w).all() & jnp.isfinite(unit.w_0)):
        raise ValueError(message(where, "a unit to start from that is finite", "NaN or inf in w or w_0"))
    return Given(x, t, eta, epochs, len(x) if batch_size is None else batch_size, key, unit)


def plain(value: Any) -> Any:
    """Numbers and arrays as JSON has them: lists, and None for what is not finite."""
    if isinstance(value, np.ndarray | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, list):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def augmented(x: Any) -> np.ndarray:
    """Rows (1, x_i), float64 on the host: the bias as a weight of a constant input."""
    x = on_host("unit", "x", x)
    if x.ndim != 2:
        raise ValueError(message("unit", "x (N, d)", f"shape {x.shape}"))
    return np.column_stack([np.ones(len(x)), x])


def weights_row(unit: Unit) -> np.ndarray:
    """(w_0, w), float64 on the host, the order of the columns of ``augmented``."""
    return np.concatenate([[np.float64(unit.w_0)], np.asarray(unit.w, np.float64)])
