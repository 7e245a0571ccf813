"""A network as a table: its layers with their activations, and the shapes and numbers of their parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxbp import arguments, tables
from jaxbp.errors import message
from jaxbp.layers.composition.chain import numbered
from jaxbp.layers.entrance import NO_LAYER
from jaxbp.layers.layer import Layer, count_parameters
from jaxbp.tables import DIGITS, LIMIT, Printed, as_html, as_text, numbers
from jaxbp.typing import Params


def summary(net: Layer, params: Params = None, *, limit: int = LIMIT, digits: int = DIGITS) -> Printed:
    """The layers of a network, their parameters with shapes and counts, and with ``params`` their numbers.

    Args:
        net: any layer.
        params: its parameters; without them only their shapes are shown.
        limit: rows and columns of a matrix that is written out; of a larger one its norm and its range.
        digits: of each number.

    Returns:
        What prints as a table in a terminal and a notebook.

    Raises:
        TypeError: for what is no layer, or a limit or digits that are no whole number.
        ValueError: for parameters of other names or shapes than the network's, and digits not in 1 to 17.

    Example:
        >>> import jaxbp
        >>> net = jaxbp.mlp([2, 3, 1], jaxbp.tanh)
        >>> summary(net)
        l      layer        parameters           count
        1      dense(2, 3)  W_1 (3, 2), b_1 (3)      9
               tanh
        2      dense(3, 1)  W_2 (1, 3), b_2 (1)      4
        total                                       13
        >>> summary(jaxbp.mlp([2, 1]), {1: {"W": [[0.5, -1.0]], "b": [2.0]}})
        l      layer        parameters           count  value
        1      dense(2, 1)  W_1 (1, 2), b_1 (1)      3  W_1 = 0.5 -1
                                                        b_1 = 2
        total                                        3

    Source: the lecture, multi-layer perceptron.
    """
    arguments.instance("summary", "net", net, Layer, NO_LAYER)
    limit, digits = tables.given("summary", limit, digits)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    if params is not None:
        params = arguments.params("summary", params)
        _assert_like("summary", params, shapes)
    parts, by_layer = (net.parts, shapes) if net.form == "product" else ((net,), {1: shapes})
    given = params if net.form == "product" else {1: params}
    rows = []
    for l, part in numbered(parts):
        leaves = _leaves(by_layer[l], l) if part.has_params else []
        sizes = ", ".join(f"{name} ({', '.join(map(str, leaf.shape))})" for name, leaf in leaves)
        count = str(count_parameters(by_layer[l])) if leaves else ""
        values = "" if params is None or not leaves else _values(_leaves(given[l], l), limit, digits)
        rows.append((str(l) if part.has_params else "", part.name, sizes, count, values))
    rows.append(("total", "", "", f"{count_parameters(shapes):,}", ""))
    width = max(len("count"), *(len(row[3]) for row in rows))
    rows = [(*row[:3], row[3].rjust(width), row[4]) for row in rows]
    header: tuple[str, ...] = ("l", "layer", "parameters", "count".rjust(width), "value")
    shown = slice(None) if params is not None else slice(4)
    cells = [row[shown] for row in rows]
    return Printed(as_text(header[shown], cells), as_html(header[shown], cells))


def _assert_like(where: str, params: Params, shapes: Any) -> None:
    """Raise a ValueError unless the parameters have the names and shapes of the network's."""
    wanted, got = (
        {
            jax.tree_util.keystr(path): tuple(leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(t)
        }
        for t in (shapes, params)
    )
    for name in wanted | got:
        if wanted.get(name) != got.get(name):
            expected = f"params{name} of shape {wanted[name]}" if name in wanted else "no more parameters"
            found = f"{got[name]} in params{name}" if name in got else "none"
            hint = "W is (out, in): transpose it" if wanted.get(name) == got.get(name, ())[::-1] else ""
            raise ValueError(message(where, expected, found, hint))


def _leaves(params: Any, l: int) -> list[tuple[str, Any]]:
    """The parameters of layer l with their symbols: W_1, and branch.1.W of a block as W_2.branch.1."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *block, name = (str(getattr(key, "key", getattr(key, "idx", key))) for key in path)
        found.append((f"{name}_{'.'.join([str(l), *block])}", leaf))
    return found


def _values(leaves: list[tuple[str, Any]], limit: int, digits: int) -> str:
    """Each parameter with its rows, the first beside its name."""
    lines = []
    for name, leaf in leaves:
        first, *rest = numbers(jnp.asarray(leaf), limit, digits).split("\n")
        lines += [f"{name} = {first}", *(" " * len(f"{name} = ") + line for line in rest)]
    return "\n".join(lines)
