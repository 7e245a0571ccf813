"""What a person would ask at a run that learned nothing: one line, with the reason where it is certain."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from jaxbp.data import Dataset
from jaxbp.layers import Layer
from jaxbp.typing import Params

_APART = 1000.0  # times: what one learning rate cannot serve
_SEEN = 1000  # examples that are looked at for dead units


def unscaled(x: np.ndarray) -> str:
    """A sentence about columns whose spreads are too far apart to be learned together, or ``""``.

    Example:
        >>> unscaled(np.array([[0.1, 20_000.0], [0.3, 90_000.0]]))
        'input columns differ in scale: column 2 spreads over 7e+04, column 1 over 0.2; --scale standard
        brings them together, or little will be learned'
    """
    if x.ndim != 2:
        return ""
    spread = x.max(axis=0).astype(np.float64) - x.min(axis=0)
    varying = np.flatnonzero(spread)
    if not varying.size:
        return ""
    high, low = (varying[pick(spread[varying])] for pick in (np.argmax, np.argmin))
    if spread[high] < _APART * spread[low]:
        return ""
    return (
        f"input columns differ in scale: column {high + 1} spreads over {spread[high]:.3g}, column {low + 1} "
        f"over {spread[low]:.3g}; --scale standard brings them together, or little will be learned"
    )


def nothing_learned(
    net: Layer, start: Params, params: Params, data: Dataset, before: dict[str, Any], after: dict[str, Any]
) -> str:
    """A sentence about a run whose test loss is no better than before it, or than that of a guess, or ``""``.

    Args:
        net: what was trained.
        start: its parameters before.
        params: its parameters after.
        data: what it was trained on.
        before: the metrics of the test data at ``start``.
        after: the same at ``params``.
    """
    loss, first = float(after["loss"]), float(before["loss"])
    guess = math.log(data.num_classes or 1)
    equal = abs(loss - guess) < 0.01 * guess
    if not equal and loss < 0.99 * first:
        return ""
    said = f"nothing was learned: test loss {loss:.4g}, before training {first:.4g}"
    if all(map(np.array_equal, jax.tree.leaves(start), jax.tree.leaves(params))):
        return f"{said}; no parameter moved, every update was 0 or too small for its dtype"
    if loss > 10 * first:
        return f"{said}; the updates are too large, try a lower learning rate"
    if dead := _dead(net, params, data.x[:_SEEN]):
        return f"{said}; all units of f_{dead} are 0 for every example, so that no delta passes them"
    if equal:
        return f"{said}; it is ln {data.num_classes}, as if every class had the same probability"
    return said


def _dead(net: Layer, params: Params, x: np.ndarray) -> int:
    """The first level of hidden units that answers to no example, 0 if there is none."""
    trace = jaxbp.forward(net, params, jnp.asarray(x))
    hidden = list(trace.f.items())[1:-1]
    return next((int(l) for l, f in hidden if not np.asarray(f).any()), 0)
