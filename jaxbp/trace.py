"""What the four steps of back-propagation yield, by the lecture's symbols."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from jaxbp.tables import as_html, as_text, in_words
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


class Backprop(NamedTuple):
    """All four steps: the loss, the prediction mu, the trace and the deltas."""

    loss: Scalar
    mu: Rows
    trace: Trace
    deltas: Deltas

    def quantities(self) -> Iterator[tuple[str, Array]]:
        """Every quantity with its symbol, in the order in which the four steps compute them."""
        trace, deltas = self.trace, self.deltas
        L = max(trace.f)
        yield "f_0", trace.f[0]
        for l in range(1, L + 1):
            yield from ((f"a_{l}", trace.a[l]), (f"f_{l}", trace.f[l]))
        yield from (("mu", self.mu), ("loss", self.loss), (f"delta_f_{L}", deltas.f[L]))
        for l in range(L, 0, -1):
            yield f"delta_a_{l}", deltas.a[l]
            bare = deltas.params if 1 not in deltas.params else {}  # a bare layer is L = 1
            params = deltas.params.get(l, bare)
            for path, delta in jax.tree_util.tree_leaves_with_path(params):
                *block, leaf = (str(key.key) for key in path)
                yield f"delta_{leaf}_{'.'.join([str(l), *block])}", delta
            if l - 1 in deltas.f:
                yield f"delta_f_{l - 1}", deltas.f[l - 1]
        if deltas.x is not None:
            yield "delta_x", deltas.x

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        for name, value in self.quantities():
            yield name, str(value.shape), in_words(value)

    def __repr__(self) -> str:
        return as_text(("", "shape", "value"), self._rows())

    def _repr_html_(self) -> str:
        return as_html(("", "shape", "value"), self._rows())

    def to_dict(self) -> dict[str, Any]:
        """Every quantity by its symbol, as plain Python numbers."""
        return {name: jax.device_get(value).tolist() for name, value in self.quantities()}
