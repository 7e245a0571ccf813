"""From a network and its parameters to numbers: forward and back by the hand-written rules."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxbp.layers import Layer
from jaxbp.layers.composition.tied import added, put
from jaxbp.observe.explanation.formulas.trees import Value, symbol
from jaxbp.observe.explanation.network import Way, leaves, parts_of
from jaxbp.observe.explanation.places import Parameter, Place
from jaxbp.typing import Array, Params

Values = dict[str, Array]


def walk(
    places: tuple[Place, ...], net: Layer, params: Params, x: Array, values: Values
) -> tuple[Array, Callable[[Array], tuple[Params, Array]]]:
    """Forward through the network, and the way back, by its hand-written rules; both fill ``values`` by name.

    Args:
        places: from `place`.
        net: the network.
        params: its parameters.
        x: one example.
        values: filled with a_l, f_l, every Jacobian and the parameters; by the way back with every delta.

    Returns:
        (f_L, back), where ``back(delta_f)`` is (delta_params, delta_x).
    """
    parts, ties = parts_of(net, params)
    left, f = iter(places), x
    backs: list[tuple[Way | None, Callable[[Array], tuple[Params, Array]]]] = []
    for _, way, part, p in parts:
        here = next(left)
        if here.kind == "none":  # of a layer that has no activation
            backs.append((None, _renamed(here, f, values)))
            here = next(left)
        f, back = _through(here, part, p, f, values)
        backs.append((way if part.has_params else None, back))
    for here in left:
        backs.append((None, _renamed(here, f, values)))

    def all_back(delta: Array) -> tuple[Params, Array]:
        deltas: Params = {}
        for way, back in reversed(backs):
            delta_p, delta = back(delta)
            if way is not None:
                deltas = put(deltas, way, delta_p)
        for tie in ties:
            deltas = added(deltas, tie)
        return deltas, delta

    return f, all_back


def _renamed(here: Place, f: Array, values: Values) -> Callable[[Array], tuple[Params, Array]]:
    values[here.out] = f

    def back(delta: Array) -> tuple[Params, Array]:
        values[here.delta_out] = values[here.delta_into] = delta
        return {}, delta

    return back


def _through(
    here: Place, part: Layer, params: Params, f: Array, values: Values
) -> tuple[Array, Callable[[Array], tuple[Params, Array]]]:
    """One part, by its own rules."""
    out, saved = part.forward(params, f)
    if here.kind == "same":
        return out, lambda delta: part.backward(params, saved, delta)
    values[here.out] = out
    if here.ids is None:
        values[here.jacobian] = part.jacobian(params, f).matrix()
    for own, leaf in _named(here, params):
        values[own.name] = values[own.array] = leaf
        if here.kind == "own":
            values[f"J_{{{here.out}}}({own.name})"] = jax.jacrev(_by_parameter(part, params, f))(
                leaf, own.path
            ).reshape(out.size, leaf.size)
    ends: list[Callable[[Array], tuple[Params, Array]]] = []
    if here.kind == "residual":
        for layer, places, role in zip(part.parts, (here.branch, here.skip), ("branch", "skip"), strict=True):
            ends.append(walk(places, layer, params.get(role, {}), f, values)[1])

    def back(delta: Array) -> tuple[Params, Array]:
        values[here.delta_out] = delta
        for end in ends:
            end(delta)
        delta_params, delta_in = part.backward(params, saved, delta)
        for own, leaf in _named(here, delta_params):
            values[f"delta_{own.name}"] = leaf
        if here.ids is None:
            values[here.delta_into] = delta_in
        return delta_params, delta_in

    return out, back


def _named(here: Place, params: Params) -> Iterator[tuple[Parameter, Array]]:
    """The place's parameters with their arrays; those of a block belong to the places within it."""
    return zip(here.parameters, jax.tree.leaves(params) if here.parameters else (), strict=True)


def _by_parameter(part: Layer, params: Params, f: Array) -> Callable[[Array, tuple[str, ...]], Array]:
    """What the part makes of f, as a function of the parameter at a path."""

    def apply(leaf: Array, path: tuple[str, ...]) -> Array:
        ways = (tuple(map(str, keys)) for keys, _ in leaves(params))
        old, form = jax.tree.flatten(params)
        new = [leaf if way == path else array for way, array in zip(ways, old, strict=True)]
        return part.apply(jax.tree.unflatten(form, new), f)

    return apply


def plain(values: Values) -> dict[Any, Value]:
    """The values as plain floats by symbol: a delta as a row, a matrix as it is, the rest as columns."""
    made: dict[Any, Value] = {}
    for name, value in values.items():
        array = np.asarray(value, np.float64)
        if array.ndim == 2:
            rows = array
        else:
            rows = array.reshape(1, -1) if name.startswith(("delta_", "dloss_")) else array.reshape(-1, 1)
        made[symbol(name)] = rows.tolist()
    return made
