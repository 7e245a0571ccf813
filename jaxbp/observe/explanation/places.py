"""A network as a list of places: which map stands where, what goes into it and what it makes, by name.

A place names its quantities as the lecture does: layer l makes a_l from f_{l-1}, its activation f_l from a_l.
The layers of a residual block's branch are l.1, l.2, ..., those of its skip l.s1, l.s2, .... Plain data.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from math import prod
from typing import Any, Literal, NamedTuple

IDENTITY = "f = a; slope = 1"
"""The formula of no activation."""

Kind = Literal["dense", "lookup", "phi", "none", "softmax", "same", "flat", "residual", "own"]
Shape = tuple[int, ...]


class Precision(NamedTuple):
    """In which numbers a layer computes.

    Args:
        name: of the dtype.
        eps: from 1 to the next number.
    """

    name: str
    eps: float


FLOAT64 = Precision("float64", sys.float_info.epsilon)
"""Of plain Python, and of a layer that is not told otherwise."""


class Parameter(NamedTuple):
    """An array that a place has, or one use of an array that stands in several places.

    Args:
        path: the way to it within the parameters of the place's layer.
        name: ``"W_1"``; of one use of several, ``"W_1'"``.
        array: the array's name: that of its first place, by which the network's parameters have it.
        shape: of the array.
    """

    path: tuple[str, ...]
    name: str
    array: str
    shape: Shape = ()

    @property
    def is_use(self) -> bool:
        """Whether it is one use of several."""
        return self.name != self.array

    @property
    def is_matrix(self) -> bool:
        """Whether an entry of it has two indices."""
        return len(self.shape) == 2

    @property
    def own_name(self) -> str:
        """The name that the array would have if it were used here alone."""
        return self.name.removesuffix("'")


class Place(NamedTuple):
    """One map of the network, out = map(into).

    Args:
        kind: ``"dense"``; ``"lookup"``, which takes rows of a table; ``"phi"``, an activation with a formula;
            ``"none"``, which names what a layer without an activation makes; ``"softmax"``; ``"same"``, which
            changes no entry; ``"flat"``, the rows of all places as one; ``"residual"``; ``"own"``, of which
            only the numbers are known.
        tag: the layer, ``"2"``, or ``"2.1"`` within the branch of block 2.
        into: the name of what it takes, ``"x"`` or ``"f_1"``.
        out: the name of what it makes.
        delta_into: the name of the delta that it passes back.
        shape_in: of ``into``: (d,), or (T, d) at T places of a sequence, a row for each.
        shape_out: of ``out``.
        name: how an activation or a layer of the user's own prints.
        formula: as the layer gives it.
        parameters: of its layer.
        diagonal: whether the Jacobian is known to be diagonal.
        branch: of a residual block.
        skip: of a residual block; without places it is the identity.
        ids: the whole numbers that it looks up, which have no delta; None where it takes other numbers.
        options: what a layer of a known kind was made with.
        precision: in which numbers the layer's own rules compute.
    """

    kind: Kind
    tag: str
    into: str
    out: str
    delta_into: str
    shape_in: Shape
    shape_out: Shape
    name: str = ""
    formula: str = ""
    parameters: tuple[Parameter, ...] = ()
    diagonal: bool = False
    branch: tuple["Place", ...] = ()
    skip: tuple["Place", ...] = ()
    ids: tuple[int, ...] | None = None
    options: tuple[tuple[str, Any], ...] = ()
    precision: Precision = FLOAT64

    @property
    def d_in(self) -> int:
        """The entries of ``into``."""
        return prod(self.shape_in)

    @property
    def d_out(self) -> int:
        """The entries of ``out``."""
        return prod(self.shape_out)

    @property
    def at_places(self) -> bool:
        """Whether it makes a row for each place of a sequence of what it takes."""
        return len(self.shape_in) == len(self.shape_out) == 2

    @property
    def jacobian(self) -> str:
        """The name of its Jacobian, J_{f_1}(a_1); that of a dense layer is W itself, but for a sequence."""
        is_W = self.kind == "dense" and not self.at_places
        return self.weights if is_W else f"J_{{{self.out}}}({self.into})"

    @property
    def delta_out(self) -> str:
        """The name of the delta that comes to it."""
        return f"delta_{self.out}"

    @property
    def weights(self) -> str:
        """W_l of a dense layer; W_l', where W_l has other uses."""
        return self._called("W") or f"W_{self.tag}"

    @property
    def bias(self) -> str | None:
        """b_l, if there is one."""
        return self._called("b")

    def option(self, name: str) -> Any:
        """What its layer was made with by this name."""
        return dict(self.options)[name]

    def table(self, leaf: str) -> Parameter:
        """The parameter of this word."""
        return next(own for own in self.parameters if own.path == (leaf,))

    def _called(self, leaf: str) -> str | None:
        return next((own.name for own in self.parameters if own.path == (leaf,)), None)

    @property
    def chooses(self) -> str:
        """The name of the choice of an activation, phi_1."""
        return "phi" + self.out.removeprefix("f")


def by_layer(places: tuple[Place, ...]) -> list[tuple[str, list[Place]]]:
    """The places of each layer: its weights, then its activations; those that change nothing are left out."""
    return [(tag, list(group)) for tag, group in groupby(maps(places), lambda place: place.tag)]


def in_turn(tag: str, group: list[Place]) -> list[tuple[str, list[Place]]]:
    """A layer's places, cut before each block, for what goes into a block is there before its branch; named.

    Example:
        >>> dense = Place("dense", "1", "x", "a_1", "delta_x", (2,), (2,))
        >>> block = Place("residual", "1", "a_1", "f_1", "delta_a_1", (2,), (2,))
        >>> [(where, len(places)) for where, places in in_turn("1", [dense, block])]
        [('layer 1', 1), ('layer 1, block f_1', 1)]
    """
    where = f"layer {tag}" if tag != "0" else "before layer 1"
    cuts = [i for i, place in enumerate(group) if i and place.kind == "residual"]
    return [
        (f"{where}, block {group[i].out}" if i else where, group[i:j])
        for i, j in pairwise((0, *cuts, len(group)))
    ]


def maps(places: tuple[Place, ...]) -> tuple[Place, ...]:
    """The places that have a name for what they make."""
    return tuple(place for place in places if place.kind != "same")


def factors(places: tuple[Place, ...]) -> list[Place]:
    """The places whose Jacobians are the factors of the chain, output first, without those that are I.

    The chain ends where ids are looked up: there is no derivative by an id.
    """
    return [
        place
        for place in reversed(places)
        if not is_identity(place) and place.kind != "flat" and place.ids is None
    ]


def is_identity(place: Place) -> bool:
    """Whether it changes no entry."""
    return place.kind in ("same", "none")


def all_places(places: tuple[Place, ...]) -> list[Place]:
    """The places and those within blocks, each block after its branch and skip."""
    return [
        inner
        for place in maps(places)
        for inner in (*all_places(place.branch), *all_places(place.skip), place)
    ]


def arrays(places: tuple[Place, ...]) -> dict[str, list[Parameter]]:
    """Every array of the parameters by its name, with its uses: one, or several where arrays are tied.

    Of several the first is that in its own place, by which the network's parameters have it.
    """
    uses = [own for place in all_places(places) for own in place.parameters]
    return {
        first.array: [first, *(own for own in uses if own.array == first.array and own is not first)]
        for first in uses
        if first.own_name == first.array
    }


def shared(places: tuple[Place, ...]) -> dict[str, list[Parameter]]:
    """The arrays that are used in several places."""
    return {name: uses for name, uses in arrays(places).items() if len(uses) > 1}


def ties_in_words(places: tuple[Place, ...]) -> str:
    """W_2 = W_1, W_3 = W_1; nothing where no array is shared."""
    return ", ".join(f"{name} = {array}" for name, array in ties(places))


def ties(places: tuple[Place, ...]) -> Iterator[tuple[str, str]]:
    """The name that the array of another place takes, and the name of that array: ("W_2", "W_1")."""
    for name, uses in shared(places).items():
        yield from ((use.own_name, name) for use in uses[1:])


def as_they_are(places: tuple[Place, ...]) -> dict[str, list[str]]:
    """The names of the layers that are not written out: of those that change nothing, and of the user's own.

    Example:
        >>> as_they_are((Place("same", "1", "a_1", "a_1", "delta_a_1", (2,), (2,), "dropout(0.5)"),))
        {'same': ['dropout(0.5)'], 'own': []}
    """
    blocks = [inner for place in places for inner in (place.branch, place.skip) if inner]
    own: dict[str, list[str]] = {
        kind: [place.name for place in places if place.kind == kind and place.name]
        for kind in ("same", "own")
    }
    for found in map(as_they_are, blocks):
        own = {kind: own[kind] + found[kind] for kind in own}
    return {kind: list(dict.fromkeys(names)) for kind, names in own.items()}


def in_words(places: tuple[Place, ...]) -> str:
    """The network as one would write it, mlp([2, 2, 1], sigmoid) where it is one.

    Example:
        >>> dense = Place("dense", "1", "x", "a_1", "delta_x", (2,), (1,))
        >>> in_words((dense, Place("phi", "1", "a_1", "f_1", "delta_a_1", (1,), (1,), "sigmoid")))
        'mlp([2, 1], output=sigmoid)'
    """
    return ", ".join(filter(None, (_untied(places), ties_in_words(places))))


def _untied(places: tuple[Place, ...]) -> str:
    layers = by_layer(places)
    phis = [group[1].name for _, group in layers if len(group) == 2]
    plain = all(
        group[0].kind == "dense" and not group[0].at_places and len(group) == 2 and is_float64(group)
        for _, group in layers
    )
    if (
        not layers
        or not plain
        or len(set(phis[:-1])) > 1
        or any(group[1].kind == "own" for _, group in layers)
    ):
        return f"chain({', '.join(_in_words(place) for place in places if not is_identity(place))})"
    sizes = [layers[0][1][0].d_in, *(group[0].d_out for _, group in layers)]
    output = f", output={phis[-1]}" if layers[-1][1][1].kind != "none" else ""
    return f"mlp({sizes}{''.join(f', {phi}' for phi in phis[:1] if len(phis) > 1)}{output})"


def _in_words(place: Place) -> str:
    if place.kind == "residual":
        branch = ", ".join(_in_words(inner) for inner in place.branch if not is_identity(inner))
        skip = ", ".join(_in_words(inner) for inner in place.skip if not is_identity(inner))
        return f"residual({branch}{f'; skip {skip}' if skip else ''})"
    (*_, d_in), (*_, d_out) = place.shape_in, place.shape_out
    name = f"dense({d_in}, {d_out})" if place.kind == "dense" else place.name
    return name if is_float64([place]) else f"{name} in {place.precision.name}"


def is_float64(group: Iterable[Place]) -> bool:
    """Whether no layer of them computes in other numbers."""
    return coarsest(group) == FLOAT64


def coarsest(group: Iterable[Place]) -> Precision:
    """Of the numbers in which they compute those that are the farthest apart."""
    return max((place.precision for place in group), key=lambda precision: precision.eps, default=FLOAT64)
