"""A network from NET.json, the first part of `json_format`; what is wrong is named by its key."""

import json
import sys
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from jaxbp import arguments, errors, layers, losses
from jaxbp.arguments.texts import lines_of
from jaxbp.layers import Layer, chain, dense, make_leaky_relu, residual
from jaxbp.layers.composition.tied import without
from jaxbp.losses import Loss
from jaxbp.observe.explanation.json_format import WRITTEN
from jaxbp.observe.explanation.steps.outputs import OUTPUTS
from jaxbp.typing import Params

ACTIVATIONS: dict[str, Layer] = {
    name: getattr(layers, name)
    for name in (
        "identity", "sigmoid", "tanh", "relu", "leaky_relu", "softplus", "gelu", "gelu_exact", "silu",
        "softmax",
    )
}  # fmt: skip
"""The activations of NET.json and the page, by name."""

LOSSES: dict[str, Loss] = {name: getattr(losses, name) for name in OUTPUTS}
"""The losses of NET.json and the page, whose formulas are written out, by name."""


_DEEPEST = 10  # blocks within blocks: each costs every function that walks a network a few calls


class Network(NamedTuple):
    """What a NET.json says."""

    net: Layer
    loss: Loss
    params: Params
    x: list[float]
    y: list[float]
    eta: float


def read_network(path: Path) -> Network:
    """The network of a NET.json.

    Raises:
        ValueError: for a file that is no JSON, with its line; for a key that is there twice; for a value
            that is missing or of another kind, with its line and its key.
        OSError: for a file that cannot be read.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        got = f"{error.strerror or error}".lower()
        raise type(error)(errors.message(str(path), "a file that can be read", got)) from None
    data = arguments.json_of(str(path), text)
    try:
        return from_dict(data)
    except ValueError as error:
        line = lines_of(text.decode()).get(str(error).partition(": expected ")[0])
        raise ValueError(f"{path}{f', line {line}' if line else ''}: {error}") from None


def from_dict(data: Any) -> Network:
    """The network of the contract's first part.

    Raises:
        ValueError: it names the key, ``layers[1].W``, counted from 1.
    """
    given = _object("the file", data, {"layers", "loss", "x", "y"}, {"eta", "tied", *WRITTEN})
    if given.get("version", 1) != 1:
        raise ValueError(errors.message("version", "1", repr(given["version"])))
    net, params = _network("layers", given["layers"])
    for i, pair in enumerate(_list("tied", given.get("tied", []), "a list"), 1):
        net, params = _tied(f"tied[{i}]", pair, net, params)
    return Network(
        net,
        _named("loss", given["loss"], LOSSES),
        params,
        _numbers("x", given["x"]),
        _numbers("y", given["y"]),
        _number("eta", given.get("eta", 0.1)),
    )


def _network(where: str, given: Any, depth: int = 0) -> tuple[Layer, Params]:
    if depth > _DEEPEST:
        raise ValueError(errors.message(where, f"blocks at most {_DEEPEST} deep", "one more"))
    parts: list[Layer] = []
    params: dict[int, Params] = {}
    for l, layer in enumerate(_list(where, given, "a list of layers"), 1):
        key = f"{where}[{l}]"
        keys = _object(key, layer, set(), {"W", "b", "phi", "branch", "skip"})
        if "W" in keys:
            W = _matrix(f"{key}.W", keys["W"])
            b = _numbers(f"{key}.b", keys["b"]) if "b" in keys else None
            if b is not None and len(b) != len(W):
                raise ValueError(
                    errors.message(f"{key}.b", f"{len(W)} numbers, one for each row of W", f"{len(b)}")
                )
            parts.append(dense(len(W[0]), len(W), bias=b is not None))
            params[len(params) + 1] = {"W": W} | ({} if b is None else {"b": b})
        elif "branch" in keys:
            branch, p = _network(f"{key}.branch", keys["branch"], depth + 1)
            skip, q = _network(f"{key}.skip", keys.get("skip", []), depth + 1)
            parts.append(residual(branch, skip if skip.parts else layers.identity))
            made = ({"branch": p} if p else {}) | ({"skip": q} if q else {})
            if made:
                params[len(params) + 1] = made
        elif "phi" not in keys:
            raise ValueError(errors.message(key, '"W", "branch" or "phi"', _short(layer)))
        phis = keys.get("phi", "identity")
        parts += [_activation(f"{key}.phi", phi) for phi in (phis if isinstance(phis, list) else [phis])]
    return chain(*(part for part in parts if part is not layers.identity)), params


def _tied(where: str, pair: Any, net: Layer, params: Params) -> tuple[Layer, Params]:
    """The network in which the first array of the pair is the second, and has no numbers of its own."""
    expected = 'two names of arrays, ["W_2", "W_1"]'
    names = [name for name in _list(where, pair, expected) if isinstance(name, str)]
    if len(names) != 2 or len(pair) != 2:
        raise ValueError(errors.message(where, expected, _short(pair)))
    leaf, to = (_way(f"{where}[{i}]", name, params) for i, name in enumerate(names, 1))
    try:
        made = layers.tied(net, leaf, to)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if _at(params, leaf) != _at(params, to):
        hint = f"write the same in both places, or leave {_short(pair)} out"
        raise ValueError(errors.message(where, f"the numbers of {names[1]} in {names[0]}", "others", hint))
    return made, without(params, leaf)


def _way(where: str, name: str, params: Params) -> tuple[Any, ...]:
    """The way to an array in a network's parameters by its name: W_2.s1 is params[2]["skip"][1]["W"]."""
    leaf, _, tag = name.partition("_")
    first, *rest = tag.split(".")
    way: list[Any] = [first]
    for number in rest:
        way += ["skip" if number.startswith("s") else "branch", number.removeprefix("s")]
    way = [int(word) if word.isdecimal() else word for word in way]
    at = params
    for word in (*way, leaf):
        if not isinstance(at, dict) or word not in at:
            raise ValueError(errors.message(where, "the name of an array, such as W_2", _short(name)))
        at = at[word]
    return (*way, leaf)


def _at(params: Params, way: tuple[Any, ...]) -> Any:
    return reduce(lambda tree, word: tree[word], way, params)


def _list(where: str, given: Any, expected: str) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(errors.message(where, expected, _short(given)))
    return given


def _activation(where: str, name: Any) -> Layer:
    """The activation of that name; ``leaky_relu(0.2)`` says its slope."""
    if isinstance(name, str) and name.startswith("leaky_relu(") and name.endswith(")"):
        try:
            return make_leaky_relu(arguments.json_of(where, name[len("leaky_relu(") : -1]))
        except ValueError:
            pass
    return _named(where, name, ACTIVATIONS)


def _named(where: str, name: Any, known: dict[str, Any]) -> Any:
    if not isinstance(name, str) or name not in known:
        raise ValueError(errors.message(where, f"one of {', '.join(known)}", _short(name)))
    return known[name]


def _object(where: str, given: Any, needed: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(errors.message(where, "an object, {...}", _short(given)))
    for key in sorted(needed - given.keys()):
        raise ValueError(errors.message(where, f'the key "{key}"', f"only {', '.join(given) or 'none'}"))
    for key in given.keys() - needed - optional:
        raise ValueError(
            errors.message(where, f"the keys {', '.join(sorted(needed | optional))}", f'"{key}"')
        )
    return given


def _number(where: str, given: Any) -> float:
    most = sys.float_info.max
    if isinstance(given, bool) or not isinstance(given, int | float) or not -most <= given <= most:
        raise ValueError(errors.message(where, "a finite number", _short(given)))
    return float(given)


def _numbers(where: str, given: Any) -> list[float]:
    if not isinstance(given, list) or not given:
        raise ValueError(errors.message(where, "a list of numbers, [...]", _short(given)))
    return [_number(f"{where}[{i}]", value) for i, value in enumerate(given, 1)]


def _matrix(where: str, given: Any) -> list[list[float]]:
    if not isinstance(given, list) or not given:
        raise ValueError(
            errors.message(where, "a list of rows, [[...], ...], a row for each unit", _short(given))
        )
    rows = [_numbers(f"{where}[{i}]", row) for i, row in enumerate(given, 1)]
    for i, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            got = f"{len(row)} in row {i}"
            raise ValueError(errors.message(where, f"{len(rows[0])} numbers in each row", got))
    return rows


def _short(given: Any) -> str:
    return json.dumps(given)[:60]
