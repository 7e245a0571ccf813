"""An explanation as JSON: the format of NET.json, which the page uses too.

    {"version": 1, "layers": [{"W": [[...]], "b": [...], "phi": "sigmoid"}], "loss": "binary_cross_entropy",
     "x": [...], "y": [...], "eta": 0.5, ...}

The rest is written by `explain` and never read: "trace", "mu", "loss_value", "deltas", "factors", "after" and
"differences". A layer without "phi" has none, one without "b" no bias; "phi" may be a list. A residual
block is ``{"branch": [layers], "skip": [layers], "phi": ...}``; its skip is the identity if left out.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxbp.observe.expressions import rows_of, symbol
from jaxbp.observe.places import Place, by_layer, maps

if TYPE_CHECKING:
    from jaxbp.observe.explanation import Explanation

WRITTEN = (
    "version",
    "net",
    "frozen",
    "trace",
    "mu",
    "loss_value",
    "deltas",
    "factors",
    "after",
    "differences",
)
"""The keys that `explain` writes and never reads."""


def to_dict(explanation: "Explanation") -> dict[str, Any]:
    """The explanation as plain numbers; a number that is not finite is a string.

    Example:
        >>> import jaxbp
        >>> params = {1: {"W": [[2.0]], "b": [0.0]}}
        >>> found = to_dict(jaxbp.explain(jaxbp.mlp([1, 1]), jaxbp.squared_error, params, 3, 5, eta=0.1))
        >>> found["deltas"]["W"], found["after"]["layers"]
        ([[[3.0]]], [{'W': [[1.7]], 'b': [-0.1], 'phi': 'identity'}])
    """
    values = explanation.values

    def matrix(name: str) -> Any:
        found = values.get(symbol(name))
        return None if found is None else [[finite(v) for v in row] for row in rows_of(found)]

    def flat(name: str) -> Any:
        rows = matrix(name)
        return None if rows is None else [v for row in rows for v in row]

    def number(name: str) -> Any:
        return matrix(name)[0][0]

    return contract(explanation, matrix, flat, number) | {
        "factors": [
            {"symbol": name, "matrix": rows_of(J), "product": rows_of(product)}
            for name, J, product in explanation.chain()
        ],
        "differences": {title: finite(worst) for title, (worst, _) in explanation.differences.items()},
    }


def finite(value: float) -> float | str:
    """The number, or its name where JSON has none."""
    return value if math.isfinite(value) else str(value)


Of = Callable[[str], Any]


def contract(
    e: "Explanation", matrix: Of, flat: Of, number: Of, phi: Callable[[Place], Any] = lambda place: place.name
) -> dict[str, Any]:
    """The format, filled by what the first three give for the name of a quantity: rows, entries, a number.

    ``phi`` gives what stands for an activation.
    """
    groups = [group for tag, group in by_layer(maps(e.places)) if tag != "0"]
    names = {"a": [group[0].out for group in groups], "f": [group[-1].out for group in groups]}
    names |= {letter: [f"{letter}_{group[0].tag}" for group in groups] for letter in ("W", "b")}

    def written(places: tuple[Place, ...], new: str = "") -> list[dict[str, Any]]:
        def of(group: list[Place]) -> dict[str, Any]:
            return _layer(
                group, lambda n: matrix(n + new), lambda n: flat(n + new), phi, lambda p: written(p, new)
            )

        return [of(group) for _, group in by_layer(places)]

    def each(get: Of, kind: str, prefix: str = "") -> list[Any]:
        return [get(prefix + name) for name in names[kind]]

    return {
        "version": 1,
        "net": e.title(),
        "layers": written(e.places),
        "loss": e.output.loss,
        "x": flat("x"),
        "y": flat("y"),
        "eta": number("eta"),
        "frozen": list(e.frozen),
        "trace": {"a": each(flat, "a"), "f": each(flat, "f")},
        "mu": flat("mu"),
        "loss_value": number("loss"),
        "deltas": {
            "a": each(flat, "a", "delta_"),
            "f": each(flat, "f", "delta_"),
            "W": each(matrix, "W", "delta_"),
            "b": each(flat, "b", "delta_"),
            "x": flat("delta_x"),
        },
        "after": {
            "layers": written(e.places, ":new"),
            "mu": flat("mu:new"),
            "loss_value": number("loss:new"),
        },
    }


def _layer(
    group: list[Place],
    matrix: Of,
    flat: Of,
    phi: Callable[[Place], Any],
    inner: Callable[[tuple[Place, ...]], list[dict[str, Any]]],
) -> dict[str, Any]:
    """One layer of the contract."""
    first, bends = group[0], group
    made: dict[str, Any] = {}
    if first.out.startswith("a_"):
        bends = group[1:]
        if first.kind == "dense":
            made = {"W": matrix(first.weights)} | ({"b": flat(first.bias)} if first.bias else {})
        elif first.kind == "residual":
            made = {"branch": inner(first.branch), "skip": inner(first.skip)}
        else:
            made = {"own": first.name} | {name: matrix(name) for _, name in first.parameters}
    names = [phi(place) for place in bends]
    return made | {"phi": names[0] if len(names) == 1 else names}
