"""What the four steps of back-propagation yield, by the lecture's symbols."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.tables import DIGITS, LIMIT, Printed, as_html, as_text, given, numbers
from jaxbp.typing import Array, Params, Rows, Saved, Scalar


class Trace(NamedTuple):
    """Step 1: what the forward pass computed.

    Args:
        f: f[0] is what layer 1 receives: x, through the stateless layers before it if there are any
            (`flatten`); f[l] is phi_l(a_l), and f[L] the output.
        a: a[l] for l = 1..L, the result of the l-th layer with parameters, before its activation.
        blocks: for each l that is a residual block, the trace of its branch.
        saved: what each part's backward pass needs.
        state: what the pass leaves for the next one, by l; None of a network without state.
    """

    f: dict[int, Array]
    a: dict[int, Array]
    blocks: dict[int, "Trace"]
    saved: tuple[Saved, ...]
    state: Any = None

    @property
    def out(self) -> Array:
        """f_L."""
        return self.f[max(self.f)]

    def quantities(self) -> Iterator[tuple[str, Array]]:
        """Every a_l and f_l with its symbol, in the order in which they are computed."""
        yield "f_0", self.f[0]
        for l in range(1, max(self.f) + 1):
            yield from ((f"a_{l}", self.a[l]), (f"f_{l}", self.f[l]))

    def table(self, limit: int = LIMIT, digits: int = DIGITS) -> Printed:
        """Every a_l and f_l with its shape and numbers, as `Backprop.table`."""
        return _table("Trace.table", list(self.quantities()), limit, digits)

    def __repr__(self) -> str:
        return self.table().text

    def _repr_html_(self) -> str:
        return self.table().html


class Deltas(NamedTuple):
    """Step 4: d loss / d v for every v, each of v's shape.

    Args:
        f: delta_{f_l} for l = 0..L, from 1 on where layer 1 takes integers.
        a: delta_{a_l} for l = 1..L.
        params: delta_{W_l} and delta_{b_l}, a tree like the parameters.
        x: delta_x. It is f[0], but for stateless layers before the first weights. None for integers.
        blocks: for each l that is a residual block, the deltas inside its branch.
    """

    f: dict[int, Array]
    a: dict[int, Array]
    params: Params
    x: Any
    blocks: dict[int, "Deltas"]

    def quantities(self) -> Iterator[tuple[str, Array]]:
        """Every delta with its symbol, from the output back; delta_x once, where it is delta_{f_0}."""
        L = max(self.f)
        yield f"delta_f_{L}", self.f[L]
        for l in range(L, 0, -1):
            yield f"delta_a_{l}", self.a[l]
            bare = self.params if 1 not in self.params else {}  # a bare layer is L = 1
            params = self.params.get(l, bare)
            for path, delta in jax.tree_util.tree_leaves_with_path(params):
                *block, leaf = (str(key.key) for key in path)
                yield f"delta_{leaf}_{'.'.join([str(l), *block])}", delta
            if l - 1 in self.f and (l > 1 or not _same(self.f[0], self.x)):
                yield f"delta_f_{l - 1}", self.f[l - 1]
        if self.x is not None:
            yield "delta_x", self.x

    def table(self, limit: int = LIMIT, digits: int = DIGITS) -> Printed:
        """Every delta with its shape and numbers, as `Backprop.table`."""
        return _table("Deltas.table", list(self.quantities()), limit, digits)

    def __repr__(self) -> str:
        return self.table().text

    def _repr_html_(self) -> str:
        return self.table().html


@jax.tree_util.register_static
@dataclass(frozen=True)
class Formulas:
    """How each quantity is computed, by its symbol; no part of the numbers."""

    by_symbol: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, symbol: str) -> str:
        return dict(self.by_symbol).get(symbol, "")


class Backprop(NamedTuple):
    """All four steps: the loss, the prediction mu, the trace and the deltas; and how each is computed."""

    loss: Scalar
    mu: Rows
    trace: Trace
    deltas: Deltas
    formulas: Formulas = Formulas()

    def quantities(self) -> Iterator[tuple[str, Array]]:
        """Every quantity with its symbol, in the order in which the four steps compute them."""
        yield from self.trace.quantities()
        yield from (("mu", self.mu), ("loss", self.loss))
        yield from self.deltas.quantities()

    def table(self, limit: int = LIMIT, digits: int = DIGITS) -> Printed:
        """Every quantity with its formula, shape and numbers, matrices by their rows.

        Args:
            limit: rows and columns of a matrix that is written out; of a larger one its norm and its range.
            digits: of each number.

        Raises:
            TypeError, ValueError: for a limit that is no whole number above 0, or digits not in 1 to 17.
        """
        rows = list(self.quantities())
        return _table("Backprop.table", rows, limit, digits, self.formulas)

    def __repr__(self) -> str:
        return self.table().text

    def _repr_html_(self) -> str:
        return self.table().html

    def to_dict(self) -> dict[str, Any]:
        """Every quantity by its symbol, as plain Python numbers."""
        return {name: jax.device_get(value).tolist() for name, value in self.quantities()}


def _table(
    where: str, rows: list[tuple[str, Array]], limit: int, digits: int, formulas: Formulas = Formulas()
) -> Printed:
    """Symbol, formula where there are any, shape and numbers."""
    limit, digits = given(where, limit, digits)
    cells = [(name, formulas[name], str(jnp.shape(v)), numbers(v, limit, digits)) for name, v in rows]
    header: tuple[str, ...] = ("", "is", "shape", "value")
    if not formulas.by_symbol:
        header, cells = header[:1] + header[2:], [cell[:1] + cell[2:] for cell in cells]  # type: ignore[misc]
    return Printed(as_text(header, cells), as_html(header, cells))


def _same(one: Array, other: Array) -> bool:
    """Whether two arrays are one, or have the same numbers."""
    if one is other:
        return True
    if isinstance(one, jax.core.Tracer) or isinstance(other, jax.core.Tracer):
        return False
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
