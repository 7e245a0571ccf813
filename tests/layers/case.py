"""A row of the table of layers: all that must hold of a layer is checked from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbp import Layer
from tests.cases import draw_inputs


def on(f, row):
    """A row beside every row of f."""
    return jnp.broadcast_to(row, f.shape)


@dataclass(frozen=True)
class Case:
    """A layer with one choice of its options.

    Args:
        layer: the layer.
        shape: of one example.
        plain: ``(params, f, **given) -> out``, the same map written another way, on rows (*n, *shape).
        ids: for a layer of integers, how many there are: f is drawn from 0..ids-1.
        given: ``(n, dtype) -> dict``, what it is given for leading axes n.
        couples: whether an example's output depends on the others: then there is no Jacobian and no
            gradient of one example.
    """

    layer: Layer
    shape: tuple[int, ...]
    plain: Callable[..., Any]
    ids: int = 0
    given: Callable[[tuple[int, ...], Any], dict[str, Any]] | None = None
    couples: bool = False

    def inputs(self, n: tuple[int, ...], dtype: Any) -> Any:
        """Examples with leading axes n, away from kinks at 0."""
        if self.ids:
            return jnp.asarray(np.random.default_rng(0).integers(0, self.ids, (*n, *self.shape)))
        return draw_inputs((*n, *self.shape), dtype)

    def named(self, n: tuple[int, ...], dtype: Any) -> dict[str, Any]:
        """The keyword ``given`` of a call, or none."""
        return {"given": self.given(n, dtype)} if self.given else {}
