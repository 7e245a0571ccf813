"""From a network and its parameters to places, with the names of what each takes and makes."""

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbp import errors
from jaxbp.layers import Layer, identity, softmax
from jaxbp.layers.composition.chain import numbered
from jaxbp.layers.composition.tied import opened
from jaxbp.observe.explanation.formulas.trees import parse
from jaxbp.observe.explanation.places import FLOAT64, Kind, Parameter, Place, Precision, Shape
from jaxbp.observe.explanation.steps.lines import NO_PHI
from jaxbp.operators import Dense, Diagonal, Identity, Kronecker
from jaxbp.typing import Array, Params

LARGEST = 1024
"""Entries of a quantity, beyond which its Jacobian is not written out."""


Way = tuple[Hashable, ...]  # to an array in the parameters of a network that has each array in all its places


class Part(NamedTuple):
    """One layer of a network.

    Args:
        l: its number.
        way: to its parameters within the network's.
        layer: the layer.
        params: its parameters, an array that is tied in all its places.
    """

    l: int
    way: Way
    layer: Layer
    params: Params


class Parts(NamedTuple):
    """A network taken apart; any other layer than a chain is a chain of one.

    Args:
        parts: its parts. Those of a tied network that is one part of a chain are counted on, as if they stood
            in the chain.
        ties: of each array that is left out of the network's own parameters, and of that in its place, the
            ways.
    """

    parts: tuple[Part, ...]
    ties: tuple[tuple[Way, Way], ...] = ()


def parts_of(net: Layer, params: Params) -> Parts:
    """The parts of a network with their parameters."""
    if net.tie:
        inner = parts_of(net.parts[0], opened(params, net.tie))
        return inner._replace(ties=(*inner.ties, net.tie))
    if net.form != "product":
        return Parts((Part(int(net.has_params), (), net, params),))
    parts: list[Part] = []
    ties: list[tuple[Way, Way]] = []
    last = 0
    for number, part in numbered(net.parts):
        inner = parts_of(part, params[number] if part.has_params else {})
        parts += [each._replace(l=last + each.l, way=(number, *each.way)) for each in inner.parts]
        ties += [((number, *leaf), (number, *to)) for leaf, to in inner.ties]
        last = parts[-1].l
    return Parts(tuple(parts), tuple(ties))


def counted_on(net: Layer, params: Params) -> str:
    """A sentence for each part of a chain whose own layers are counted as the chain's; else nothing."""
    inner: dict[Hashable, list[str]] = {}
    for part in parts_of(net, params).parts:
        if len(part.way) > 1 and part.layer.has_params:
            inner.setdefault(part.way[0], []).append(str(part.l))
    return "; ".join(
        f"layers {', '.join(layers)} are those within layer {number} of the network"
        for number, layers in inner.items()
    )


def place(net: Layer, params: Params, x: Array) -> tuple[Place, ...]:
    """Every map of the network with the names of what it takes and makes.

    Args:
        net: the network.
        params: its parameters.
        x: what it takes, for one example.

    Raises:
        ValueError: for sizes beyond `LARGEST`.
    """
    names: dict[Way, str] = {}
    tied: dict[Way, Way] = {}
    placed = _placed(net, params, x, Around(), names, tied)

    def array(way: Way) -> str:
        return array(tied[way]) if way in tied else names[way]

    return _shared(placed, {names[way]: array(way) for pair in tied.items() for way in pair})


def _shared(places: tuple[Place, ...], arrays: dict[str, str]) -> tuple[Place, ...]:
    """The places with a name of its own, primed, for each use of an array that has several."""
    return tuple(
        here._replace(
            parameters=tuple(
                own._replace(name=f"{own.name}'", array=arrays[own.name]) if own.name in arrays else own
                for own in here.parameters
            ),
            branch=_shared(here.branch, arrays),
            skip=_shared(here.skip, arrays),
        )
        for here in places
    )


class Around(NamedTuple):
    """Where a network stands that is part of another: the branch or the skip of a block.

    Args:
        tag: what stands before the number of a layer, ``"2."`` in a branch.
        into: the name of what it takes.
        way: to its parameters.
    """

    tag: str = ""
    into: str = "x"
    way: Way = ()


def _placed(
    net: Layer, params: Params, x: Array, around: Around, names: dict[Way, str], tied: dict[Way, Way]
) -> tuple[Place, ...]:
    """The places; ``names`` is filled with the name of each array by its way, ``tied`` with the ties."""
    tag, into, way = around
    parts, own_ties = parts_of(net, params)
    tied |= {(*way, *leaf): (*way, *to) for leaf, to in own_ties}
    groups = _measured(parts, x)
    placed: list[Place] = []
    # Inside a block the delta of what comes in has a name of its own: the block adds it to the skip's.
    delta = f"delta_x_{tag.rstrip('.')}" if tag else f"delta_{into}"
    for number, group in groups.items():
        own = f"{tag}{number}"
        bends = sum(kind != "same" and not each.layer.has_params for each, _, _, kind in group)
        bent = 0
        for (_, within, part, p), f, out, kind in group:
            bent += kind != "same" and not part.has_params
            primes = "'" * (bent % bends) if bends else ""
            name = into if kind == "same" else f"a_{own}" if part.has_params else f"f_{own}{primes}"
            plain, precision = _unwrapped(part)
            label = "" if plain.apply is identity.apply else plain.name
            made = Place(kind, own, into, name, delta, _shape(f), _shape(out), label, plain.formula)
            made = made._replace(options=_options(plain, kind), precision=precision)
            if is_ids(f):
                made = _looking_up(made, part, p, x)
            else:
                made = made._replace(diagonal=isinstance(_operator(plain, p, f), Diagonal))
            if kind == "residual":
                branch, skip = part.parts
                roles = {"branch": {}, "skip": {}} | p
                inner = f"{own}." if part.has_params else f"{own}f{bent}."
                at = (*way, *within)
                in_branch, in_skip = (
                    _placed(layer, roles[role], f, Around(inner + s, into, (*at, role)), names, tied)
                    for layer, role, s in ((branch, "branch", ""), (skip, "skip", "s"))
                )
                made = made._replace(branch=in_branch, skip=in_skip)
            else:
                made = made._replace(parameters=tuple(_parameters(p, own)))
                names |= {
                    (*way, *within, *keys): each.name
                    for (keys, _), each in zip(leaves(p), made.parameters, strict=True)
                }
            placed.append(made)
            if kind != "same":
                into, delta = name, f"delta_{name}"
        if not bends and group[0][0].layer.has_params:
            shape = _shape(group[-1][2])
            none = Place("none", own, into, f"f_{own}", delta, shape, shape)
            placed.append(none._replace(**NO_PHI._asdict()))
            into, delta = f"f_{own}", f"delta_f_{own}"
    return tuple(placed)


Measured = tuple[Part, Any, Any, Kind]  # a part, the shapes of f and out, its kind


def _measured(parts: tuple[Part, ...], x: Any) -> dict[int, list[Measured]]:
    """The parts of each layer, its weights and then its activations, with the shapes that they meet."""
    groups: dict[int, list[Measured]] = {}
    f = jax.eval_shape(jnp.asarray, x)
    for part in parts:
        l, _, layer, p = part
        with errors.within(f"explain: layer {l}"):
            out = jax.eval_shape(layer.apply, p, f)
        if max(f.size, out.size) > LARGEST:
            hint = "explain a smaller network, or look at every quantity with jaxbp.backprop"
            got = f"{max(f.size, out.size)} in layer {l}"
            raise ValueError(errors.message("explain", f"at most {LARGEST} entries in a layer", got, hint))
        groups.setdefault(l, []).append((part, f, out, _kind(layer, p, f, out)))
        f = out
    return groups


def _operator(part: Layer, params: Params, f: Any) -> Any:
    """The form of the part's Jacobian, without its numbers."""
    return jax.eval_shape(part.jacobian, params, f) if part.form != "sum" else None


def _kind(part: Layer, params: Params, f: Any, out: Any) -> Kind:
    """What the part is, by what it computes: its name only prints."""
    part, _ = _unwrapped(part)
    if is_ids(f):
        return _known(part, f)
    if part.form == "sum":
        return "residual"
    J = _operator(part, params, f)
    weights = isinstance(params, dict) and "W" in params and params.keys() <= {"W", "b"}
    at_each = isinstance(J, Kronecker) and isinstance(J.A, Identity) and isinstance(J.B, Dense)
    if weights and (isinstance(J, Dense) or (at_each and f.ndim == 2)):
        return "dense"
    if isinstance(J, Identity) and not part.has_params:
        return "same" if _shape(f) == _shape(out) else "flat" if len(_shape(out)) == 1 else "own"
    if part.apply is softmax.apply and f.ndim == 1:
        return "softmax"
    return "phi" if parse(part.formula) else _known(part, f)


def _unwrapped(part: Layer) -> tuple[Layer, Precision]:
    """The layer whose formulas are written out, and in which numbers its rules compute."""
    if part.recipe is None or part.recipe.maker != "mixed_precision":
        return part, FLOAT64
    dtype = jnp.dtype(part.recipe.arguments["dtype"])
    return part.recipe.arguments["layer"], Precision(dtype.name, float(jnp.finfo(dtype).eps))  # type: ignore[no-untyped-call]


KNOWN: dict[str, tuple[Kind, tuple[str, ...]]] = {"embedding": ("lookup", ("positions",))}
"""The layers whose steps are written out, by the library's function that makes them, and what it is given."""


def _known(part: Layer, f: Any) -> Kind:
    return KNOWN[part.recipe.maker][0] if part.recipe and part.recipe.maker in KNOWN else "own"


def _options(part: Layer, kind: Kind) -> tuple[tuple[str, Any], ...]:
    """What a layer of a known kind was made with."""
    if part.recipe is None or kind == "own" or part.recipe.maker not in KNOWN:
        return ()
    return tuple((name, part.recipe.arguments[name]) for name in KNOWN[part.recipe.maker][1])


def is_ids(f: Any) -> bool:
    """Whether they are whole numbers, which are looked up."""
    return bool(jnp.issubdtype(f.dtype, jnp.integer))


def _shape(f: Any) -> Shape:
    """Of what is written down: a row for each place of a sequence; else all entries as one column."""
    return tuple(f.shape) if f.ndim == 2 else (f.size,)


def _looking_up(made: Place, part: Layer, params: Params, ids: Array) -> Place:
    """The place of a layer that takes ids, with the ids.

    Raises:
        ValueError: for an id that is not in the layer's table.
    """
    if part.form == "sum":
        got, hint = f"ids into {made.name}", "a block adds what comes in, and ids are not to be added"
        raise TypeError(errors.message("explain", "numbers that have a derivative", got, hint))
    with errors.within("explain"):
        part.apply(params, ids)  # which looks for itself, at ids that have a value
    return made._replace(delta_into="", ids=tuple(int(id) for id in ids.reshape(-1)))


def _parameters(params: Params, tag: str) -> Iterator[Parameter]:
    for keys, array in leaves(params):
        *within, leaf = map(str, keys)
        name = f"{leaf}_{'.'.join([tag, *within])}"  # W_2.1, as in a block
        yield Parameter((*within, leaf), name, name, array.shape)


def leaves(params: Params) -> Iterator[tuple[Way, Any]]:
    """The arrays of a tree of parameters with their ways."""
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        yield tuple(getattr(key, "key", getattr(key, "idx", key)) for key in path), array
