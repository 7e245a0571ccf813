"""What a step is made of: lines, each a target and its formula, and a heading. Plain data."""

from typing import Literal, NamedTuple

from jaxbp.observe.explanation.formulas.trees import Tree, parse, replaced, symbol
from jaxbp.observe.explanation.places import FLOAT64, IDENTITY, Kind, Place, Precision, Shape

Show = Literal["both", "numbers", "symbols", "result", "quiet"]
When = tuple[str, str] | None
Index = tuple[int, ...]

FIRST = 8
"""Units of each layer, and places of a sequence, that are written out if none are chosen."""


class Line(NamedTuple):
    """target = formula.

    Args:
        target: the quantity, or one entry of it.
        tree: the formula as it is written.
        show: what stands between the target and the result: the formula in symbols, with numbers, both or
            neither; ``"quiet"`` is not printed.
        compute: the formula as it is computed, where that keeps more digits; None if it is ``tree``.
        when: the choice for which the line holds, ``("phi_1", "sigmoid")``; None for every one.
    """

    target: Tree
    tree: Tree
    show: Show = "both"
    compute: Tree = None
    when: When = None

    @property
    def computed(self) -> Tree:
        """The formula to evaluate."""
        return self.tree if self.compute is None else self.compute


class Equation(NamedTuple):
    """Part of a step's heading, left = right, and what separates it from the next."""

    left: Tree
    right: Tree
    then: str = ", "
    when: When = None


class Step(NamedTuple):
    """One step.

    Args:
        title: ``1. forward, layer 1``.
        heading: the formulas of the step.
        shapes: the quantities and their shapes, as text.
        direct: component by component.
        matrix: with matrices.
        why: one sentence.
        factors: of a backward step, the names of the Jacobians that it puts at the right of the product.
        delta: of a backward step, the name of the product of all so far, from the loss to here.
        changes: quantities whose value before and after stands at the end of the step.
        both_ways: whether it is done in two ways that are compared.
        precision: in which numbers the matrices are computed; the direct way is in float64.
    """

    title: str
    heading: tuple[Equation, ...]
    shapes: tuple[str, ...] = ()
    direct: tuple[Line, ...] = ()
    matrix: tuple[Line, ...] = ()
    why: str = ""
    factors: tuple[tuple[str, When], ...] = ()
    delta: str = ""
    changes: tuple[str, ...] = ()
    both_ways: bool = True
    precision: Precision = FLOAT64


class Phi(NamedTuple):
    """An activation that can be chosen.

    Args:
        kind: of its place.
        name: how it prints.
        formula: of a place of the kind ``"phi"``.
    """

    kind: Kind
    name: str
    formula: str = ""


NO_PHI = Phi("none", "identity", IDENTITY)
"""What stands where a layer has no activation."""


class Choices(NamedTuple):
    """What can be chosen and is written out, besides what the network has: activations by name, losses.

    Args:
        phis: activations by the word that chooses them.
        losses: names of losses.
        units: the units of each layer that are written out; None for the first `FIRST`.
        layers: the layers whose steps are written out; None for all.
    """

    phis: dict[str, Phi] = {}  # noqa: RUF012  a default that nobody changes
    losses: tuple[str, ...] = ()
    units: tuple[int, ...] | None = None
    layers: tuple[int, ...] | None = None

    def places(self, places: tuple[Place, ...]) -> tuple[Place, ...]:
        """Those whose steps are written out."""
        tags = None if self.layers is None else set(map(str, self.layers))
        return tuple(place for place in places if tags is None or place.tag in tags)

    def chosen(self, d: int) -> list[int]:
        """The entries of a row of d entries that are written out."""
        if self.units is None:
            return list(range(1, min(d, FIRST) + 1))
        return [i for i in self.units if i <= d]

    def entries(self, shape: Shape) -> list[Index]:
        """The entries of a quantity that are written out; at each place those of a row."""
        return [index(at, i, shape[-1]) for at in rows(shape) for i in self.chosen(shape[-1])]

    def alternatives(self, place: Place) -> list[tuple[Place, When]]:
        """The place as it is, and with every other activation."""
        if not self.phis or not can_bend(place):
            return [(place, None)]
        return [
            (place._replace(**phi._asdict()), (place.chooses, word))
            for word, phi in self.phis.items()
            if phi.kind != "softmax" or len(place.shape_out) == 1  # of which there is one row
        ]


def can_bend(place: Place) -> bool:
    """Whether it is an activation, or where one may stand."""
    return place.kind in ("phi", "none", "softmax")


def rows(shape: Shape, most: int = FIRST) -> list[Index]:
    """How the indices of a quantity's rows begin: with the place, of a sequence; else with nothing."""
    return [()] if len(shape) == 1 else [(t,) for t in range(1, min(shape[0], most) + 1)]


def index(at: Index, i: int, d: int) -> Index:
    """Of the i-th of d entries of a row; an entry that is alone needs none."""
    return (*at, i) if at or d > 1 else ()


def indices(shape: Shape) -> list[Index]:
    """Of every entry, in their order."""
    return [index(at, i, shape[-1]) for at in rows(shape, shape[0]) for i in range(1, shape[-1] + 1)]


def entry(name: str, i: int, d: int, at: Index = ()) -> Tree:
    """The i-th of d entries, of the row at a place of a sequence; one that is alone needs no index."""
    return symbol(name, *index(at, i, d))


def weight(place: Place, name: str, i: int, j: int) -> Tree:
    """An entry of a quantity of W's shape; one that is alone needs no index."""
    alone = place.shape_in[-1] == place.shape_out[-1] == 1
    return symbol(name) if alone else symbol(name, i, j)


def shape(name: str, *sizes: int) -> str:
    """W_1 (2, 2)."""
    return f"{name} ({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"


Made = tuple[list[Equation], list[Line], list[Line]]
"""What a place puts into a step: heading, direct and matrix lines."""


def ends(place: Place) -> tuple[str, str]:
    """What the skip and the branch of a block make."""
    skip, branch = (
        (place.into, *(inner.out for inner in places))[-1] for places in (place.skip, place.branch)
    )
    return skip, branch


def formula_of(place: Place, i: Index | None = None) -> dict[str, Tree]:
    """The assignments of an activation, at entry i; without i in terms of a alone."""
    trees = parse(place.formula)
    known: dict[str, Tree] = {}
    written: dict[str, Tree] = {}
    if i is not None:
        known["a"] = symbol(place.into, *i)
    for name, tree in trees.items():
        written[name] = replaced(tree, known)
        if i is None:
            known[name] = written[name]
        else:
            made = place.out if name == "f" else f"{name}_{place.out.removeprefix('f_')}"
            known[name] = symbol(made, *i)
    return written


def intermediate(place: Place, name: str, i: Index) -> Tree:
    """A name that an activation's formula gives to a part of it, s_1[2]."""
    return symbol(f"{name}_{place.out.removeprefix('f_')}", *i)
