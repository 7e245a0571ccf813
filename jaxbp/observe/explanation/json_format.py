"""An explanation as JSON: the format of NET.json, which the page uses too.

    {"version": 1, "layers": [{"W": [[...]], "b": [...], "phi": "sigmoid"}], "loss": "binary_cross_entropy",
     "x": [...], "y": [...], "eta": 0.5, ...}

The rest is written by `explain` and never read: "trace", "mu", "loss_value", "deltas", "factors", "after" and
"differences". A layer without "phi" has none, one without "b" no bias; "phi" may be a list. What is
{"own": "name"} is a layer of the user's own, which no file can make again. A residual
block is ``{"branch": [layers], "skip": [layers], "phi": ...}``; its skip is the identity if left out.
``"tied": [["W_2", "W_1"]]`` says that W_2 is the array W_1: both have its numbers, and learn as one.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxbp.observe.explanation.formulas.trees import Tree, symbol
from jaxbp.observe.explanation.formulas.values import Value, rows_of
from jaxbp.observe.explanation.places import Place, by_layer, in_turn, maps, ties

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


class Content(NamedTuple):
    """What stands in the format for a quantity by its name, and for an activation.

    Args:
        rows: of a matrix.
        entries: of a vector.
        number: of a quantity with one entry.
        phi: of an activation.
    """

    rows: Callable[[str], Any]
    entries: Callable[[str], Any]
    number: Callable[[str], Any]
    phi: Callable[[Place], Any] = lambda place: place.name if place.registered else {"own": place.name}


def numbers(values: Mapping[Tree, Value]) -> Content:
    """Plain numbers; None for a quantity that is not there."""

    def rows(name: str) -> Any:
        found = values.get(symbol(name))
        return None if found is None else [[finite(v) for v in row] for row in rows_of(found)]

    def entries(name: str) -> Any:
        found = rows(name)
        return None if found is None else [v for row in found for v in row]

    return Content(rows, entries, lambda name: rows(name)[0][0])


def finite(value: float) -> float | str:
    """The number, or its name where JSON has none."""
    return value if math.isfinite(value) else str(value)


def filled(
    title: str, places: tuple[Place, ...], loss: str, frozen: tuple[str, ...], content: Content
) -> dict[str, Any]:
    """The format with the content in its places."""
    rows, entries, number, _ = content
    groups = [group for tag, group in by_layer(maps(places)) if tag != "0"]
    names = {"a": [group[0].out for group in groups], "f": [group[-1].out for group in groups]}
    names |= {letter: [f"{letter}_{group[0].tag}" for group in groups] for letter in ("W", "b")}

    tied = [list(pair) for pair in ties(places)]

    def each(get: Callable[[str], Any], kind: str, prefix: str = "") -> list[Any]:
        return [get(prefix + name) for name in names[kind]]

    return {
        "version": 1,
        "net": title,
        "layers": _layers(places, content),
        "loss": loss,
        "x": entries("x"),
        "y": entries("y"),
        "eta": number("eta"),
        **({"tied": tied} if tied else {}),
        "frozen": list(frozen),
        "trace": {"a": each(entries, "a"), "f": each(entries, "f")},
        "mu": entries("mu"),
        "loss_value": number("loss"),
        "deltas": {
            "a": each(entries, "a", "delta_"),
            "f": each(entries, "f", "delta_"),
            "W": each(rows, "W", "delta_"),
            "b": each(entries, "b", "delta_"),
            "x": entries("delta_x"),
        },
        "after": {
            "layers": _layers(places, content, ":new"),
            "mu": entries("mu:new"),
            "loss_value": number("loss:new"),
        },
    }


def _layers(places: tuple[Place, ...], content: Content, new: str = "") -> list[dict[str, Any]]:
    """The layers; ``new`` is what the names of the updated parameters end in."""
    layers = by_layer(places)
    return [_layer(turn, content, new) for tag, group in layers for _, turn in in_turn(tag, group)]


def _layer(group: list[Place], content: Content, new: str) -> dict[str, Any]:
    first, bends = group[0], group
    made: dict[str, Any] = {}
    if first.out.startswith("a_") or first.kind == "residual":
        bends = group[1:]
        if first.kind == "dense":
            get = {"W": content.rows, "b": content.entries}
            made = {own.path[0]: get[own.path[0]](own.array + new) for own in first.parameters}
        elif first.kind == "residual":
            made = {role: _layers(getattr(first, role), content, new) for role in ("branch", "skip")}
        else:
            own = {parameter.array for parameter in first.parameters}
            made = {"own": first.name} | {name: content.rows(name + new) for name in sorted(own)}
    names = [content.phi(place) for place in bends]
    return made | {"phi": names[0] if len(names) == 1 else names}
