"""The statistics of every value and delta of one pass."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbp import tables
from jaxbp.observe.cotangents import cotangents
from jaxbp.observe.deltas import Tap
from jaxbp.observe.instruments.statistics import Statistics, of_all
from jaxbp.typing import Scalar


class Flow(NamedTuple):
    """What flows through a model, forward and back, for one batch.

    Args:
        loss: f at the arguments.
        values: the statistics of each value, by the labels of `jaxbp.cotangents`, in their order.
        deltas: those of its delta.
        taps: what else is known of each value.
    """

    loss: float
    values: dict[str, Statistics]
    deltas: dict[str, Statistics]
    taps: tuple[Tap, ...]

    def __repr__(self) -> str:
        """A table."""
        rows = [
            (label, f"{self.values[label].norm:.3g}", f"{self.values[label].zeros:.0%}",
             f"{delta.norm:.3g}", f"{delta.zeros:.0%}")
            for label, delta in self.deltas.items()
        ]  # fmt: skip
        header = ("layer", "norm of value", "zeros", "norm of delta", "zeros")
        return tables.as_text(header, rows, f"loss {self.loss:.4g}")


def flow(f: Callable[..., Scalar], pattern: str | Sequence[str] | None = None) -> Callable[..., Flow]:
    """The function of f's arguments that gives norm, maximum, zeros and histogram of each value and delta.

    Args:
        f: returns one floating number.
        pattern: which values, as in `jaxbp.cotangents`; by default the layers.

    Returns:
        A function of f's arguments, compiled once for arguments of one shape.

    Raises:
        TypeError, ValueError: as `jaxbp.cotangents`.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda params, x: jnp.sum(jnp.tanh(x @ params["W"]) ** 2)
        >>> flow(f)({"W": jnp.array([[0.5], [0.0]])}, jnp.array([[1.0, 2.0]]))
        loss 0.2136
        layer     norm of value  zeros  norm of delta  zeros
        W a       0.5            0%     0.727          0%
        W/tanh f  0.462          0%     0.924          0%

    Source: https://proceedings.mlr.press/v9/glorot10a.html, figures 2 and 7
    """
    seen = cotangents(f, pattern)

    def measured(*args: Any, **kwargs: Any) -> Flow:
        found = seen(*args, **kwargs)
        values, deltas = of_all((found.values, found.deltas))
        order = [tap.label for tap in found.taps]
        return Flow(float(found.loss), _held(values, order), _held(deltas, order), found.taps)

    return measured


def _held(found: dict[str, Statistics], order: Sequence[str]) -> dict[str, Statistics]:
    """The same on the host, in the order of the layers."""
    return {label: jax.tree.map(np.asarray, found[label]) for label in order}
