"""From a network and its parameters to places and numbers: what `explain` needs JAX for."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import errors
from jaxbp.layers import Layer, softmax
from jaxbp.layers.composition.chain import numbered
from jaxbp.observe.explanation.formulas.trees import Value, parse, symbol
from jaxbp.observe.explanation.places import IDENTITY, Kind, Place
from jaxbp.operators import Dense, Diagonal, Identity
from jaxbp.typing import Array, Params

LARGEST = 1024
"""Entries of a quantity, beyond which its Jacobian is not written out."""


def parts_of(net: Layer, params: Params) -> tuple[tuple[Layer, ...], Params]:
    """The parts of a chain and their parameters by l; any other layer is a chain of one."""
    return (net.parts, params) if net.form == "product" else ((net,), {1: params})


def place(net: Layer, params: Params, x: Array, tag: str = "", into: str = "x") -> tuple[Place, ...]:
    """Every map of the network with the names of what it takes and makes.

    Args:
        net: the network, or the branch or the skip of a block.
        params: its parameters.
        x: what it takes, for one example.
        tag: what stands before the number of a layer: "" for the network, ``"2."`` for a branch.
        into: the name of x.

    Raises:
        ValueError: for sizes beyond `LARGEST`.
    """
    groups = _measured(net, params, x)
    placed: list[Place] = []
    # Inside a block the delta of what comes in has a name of its own: the block adds it to the skip's.
    delta = f"delta_x_{tag.rstrip('.')}" if tag else f"delta_{into}"
    for number, group in groups.items():
        own = f"{tag}{number}"
        bends = sum(kind != "same" and not part.has_params for part, _, _, _, kind in group)
        bent = 0
        for part, p, f, out, kind in group:
            bent += kind != "same" and not part.has_params
            primes = "'" * (bent % bends) if bends else ""
            name = into if kind == "same" else f"a_{own}" if part.has_params else f"f_{own}{primes}"
            made = Place(kind, own, into, name, delta, f.size, out.size, part.name, part.formula)
            made = made._replace(diagonal=isinstance(_operator(part, p, f), Diagonal))
            if kind == "residual":
                branch, skip = part.parts
                roles = {"branch": {}, "skip": {}} | p
                inner = f"{own}." if part.has_params else f"{own}f{bent}."
                made = made._replace(
                    branch=place(branch, roles["branch"], f, inner, into),
                    skip=place(skip, roles["skip"], f, f"{inner}s", into),
                )
            else:
                made = made._replace(parameters=tuple(_parameters(p, own)))
            placed.append(made)
            if kind != "same":
                into, delta = name, f"delta_{name}"
        if not bends and group[0][0].has_params:
            size = group[-1][3].size
            placed.append(Place("phi", own, into, f"f_{own}", delta, size, size, "identity", IDENTITY))
            into, delta = f"f_{own}", f"delta_f_{own}"
    return tuple(placed)


Measured = tuple[Layer, Params, Any, Any, Kind]  # a part, its parameters, the shapes of f and out, its kind


def _measured(net: Layer, params: Params, x: Any) -> dict[int, list[Measured]]:
    """The parts of each layer, its weights and then its activations, with the shapes that they meet."""
    parts, params = parts_of(net, params)
    groups: dict[int, list[Measured]] = {}
    f = jax.eval_shape(jnp.asarray, x)
    for l, part in numbered(parts):
        p = params[l] if part.has_params else {}
        with errors.within(f"explain: layer {l}"):
            out = jax.eval_shape(part.apply, p, f)
        if max(f.size, out.size) > LARGEST:
            hint = "explain a smaller network, or look at every quantity with jaxbp.backprop"
            got = f"{max(f.size, out.size)} in layer {l}"
            raise ValueError(errors.message("explain", f"at most {LARGEST} entries in a layer", got, hint))
        groups.setdefault(l, []).append((part, p, f, out, _kind(part, p, f)))
        f = out
    return groups


def _operator(part: Layer, params: Params, f: Any) -> Any:
    """The form of the part's Jacobian, without its numbers."""
    return jax.eval_shape(part.jacobian, params, f) if part.form != "sum" else None


def _kind(part: Layer, params: Params, f: Any) -> Kind:
    """What the part is, by what it computes: its name only prints."""
    if part.form == "sum":
        return "residual"
    J = _operator(part, params, f)
    if isinstance(J, Dense) and isinstance(params, dict) and "W" in params and params.keys() <= {"W", "b"}:
        return "dense"
    if isinstance(J, Identity) and not part.has_params:
        return "same"
    if part.apply is softmax.apply:
        return "softmax"
    return "phi" if parse(part.formula) else "own"


def _parameters(params: Params, tag: str) -> Iterator[tuple[tuple[str, ...], str]]:
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        *within, leaf = _words(path)
        yield (*within, leaf), f"{leaf}_{'.'.join([tag, *within])}"  # W_2.1, as in a block


def _words(path: Any) -> tuple[str, ...]:
    """The keys of a path in a tree of parameters."""
    return tuple(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


Values = dict[str, Array]
Back = Callable[[Array], Array]


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
    parts, params = parts_of(net, params)
    left, f = iter(places), x
    backs: list[tuple[int | None, Callable[[Array], tuple[Params, Array]]]] = []
    for number, part in numbered(parts):
        here = next(left)
        if here.name == "identity" and here.kind == "phi":  # of a layer that has no activation
            backs.append((None, _renamed(here, f, values)))
            here = next(left)
        p = params[number] if part.has_params else {}
        out, back = _through(here, part, p, f, values)
        backs.append((number if part.has_params else None, back))
        f = out
    for here in left:
        backs.append((None, _renamed(here, f, values)))

    def all_back(delta: Array) -> tuple[Params, Array]:
        deltas = {}
        for number, back in reversed(backs):
            delta_p, delta = back(delta)
            if number is not None:
                deltas[number] = delta_p
        return (deltas if net.form == "product" else deltas.get(1, {})), delta

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
    values[here.jacobian] = part.jacobian(params, f).matrix()
    for (path, name), leaf in _named(here, params):
        values[name] = leaf
        if here.kind == "own":
            values[f"J_{{{here.out}}}({name})"] = jax.jacrev(_by_parameter(part, params, f))(
                leaf, path
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
        for (_, name), leaf in _named(here, delta_params):
            values[f"delta_{name}"] = leaf
        values[here.delta_into] = delta_in
        return delta_params, delta_in

    return out, back


def _named(here: Place, params: Params) -> Iterator[tuple[tuple[tuple[str, ...], str], Array]]:
    """The place's parameters with their paths and names; those of a block belong to the places within it."""
    return zip(here.parameters, jax.tree.leaves(params) if here.parameters else (), strict=True)


def _by_parameter(part: Layer, params: Params, f: Array) -> Callable[[Array, tuple[str, ...]], Array]:
    """What the part makes of f, as a function of the parameter at a path."""

    def apply(leaf: Array, path: tuple[str, ...]) -> Array:
        def put(at: Any, old: Array) -> Array:
            return leaf if _words(at) == path else old

        return part.apply(jax.tree_util.tree_map_with_path(put, params), f)

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
