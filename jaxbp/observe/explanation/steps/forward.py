"""Step 1, layer by layer: the lines of each kind of place."""

from collections.abc import Callable
from itertools import chain

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol, times
from jaxbp.observe.explanation.places import Place, by_layer, coarsest, in_turn, is_identity
from jaxbp.observe.explanation.steps.lines import (
    Choices,
    Equation,
    Line,
    Made,
    Step,
    When,
    ends,
    entry,
    formula_of,
    indices,
    intermediate,
    rows,
    shape,
    weight,
)
from jaxbp.observe.explanation.steps.lookup import lookup_forward


def forward(tag: str, group: list[Place], choices: Choices, *, is_last: bool = False) -> list[Step]:
    """The steps of one layer; those of a block's branch and skip come before its own.

    That f_L is a_L, of a last layer without an activation, is said with the output.
    """
    turns = in_turn(tag, group)
    return [
        step
        for i, (where, places) in enumerate(turns, 1)
        for step in _forward(where, places, choices, is_last=is_last and i == len(turns))
    ]


def _forward(where: str, group: list[Place], choices: Choices, *, is_last: bool) -> list[Step]:
    inner = [
        step
        for place in group
        for places in (place.branch, place.skip)
        for inner_tag, inner_group in by_layer(places)
        for step in forward(inner_tag, inner_group, choices)
    ]
    chosen = [alternative for place in group for alternative in choices.alternatives(place)]
    made = [FORWARD[place.kind](place, choices, when) for place, when in chosen]
    said = [not (is_last and is_identity(place)) for place, _ in chosen]
    headings = [heading for (heading, _, _), here in zip(made, said, strict=True) if here]
    first, last = group[0], group[-1]
    of = [shape(own.name, *own.shape) for own in first.parameters if own.path in (("W",), ("E",), ("P",))]
    alias = " = x" if first.into == "x" and first.tag == "1" and first.ids is None else ""
    into = shape(f"{'f_0' if alias else first.into}{alias}", *first.shape_in)
    made_by = [shape(place.out, *place.shape_out) for place in group if not is_identity(place)]
    outs = list(dict.fromkeys(made_by))
    step = Step(
        title=f"1. forward, {where}",
        heading=tuple(chain.from_iterable(headings)),
        shapes=(*of, into, *outs),
        direct=tuple(chain.from_iterable(direct for _, direct, _ in made)),
        matrix=tuple(chain.from_iterable(matrix for _, _, matrix in made)),
        why=WHY_FORWARD.get(first.kind, f"{last.out} is what the layer makes of {first.into}."),
        precision=coarsest(group),
    )
    return [*inner, step] if any(made_of for made_of in (step.matrix, step.direct)) else inner


WHY_FORWARD = {
    "dense": "Each unit adds up what it receives, weighted, and its activation bends the sum.",
    "residual": "The block adds what its branch has made of the input to the input itself.",
    "lookup": "Each id picks its row of the table: id 0 the first row, id 1 the second.",
}


def _dense_forward(place: Place, choices: Choices, when: When) -> Made:
    W, b, d, m = place.weights, place.bias, place.shape_in[-1], place.shape_out[-1]
    into = "f_0" if place.into == "x" else place.into

    def total(products: Tree, bias: Tree) -> Tree:
        return ("+", *(products[1:] if products[0] == "+" else (products,)), bias) if b else products

    direct = [
        Line(
            entry(place.out, i, m, at),
            total(
                plus([times(weight(place, W, i, j), entry(place.into, j, d, at)) for j in range(1, d + 1)]),
                entry(b or "", i, m),
            ),
        )
        for at in rows(place.shape_out)
        for i in choices.chosen(m)
    ]
    if place.at_places:  # a row for each place
        every = total(
            ("@", symbol(place.into), ("T", symbol(W))),
            ("@", ("ones", place.shape_out[0]), ("T", symbol(b or ""))),
        )
        return [Equation(symbol(place.out), every)], direct, [Line(symbol(place.out), every)]
    product = ("@", symbol(W), symbol(place.into))
    named = ("@", symbol(W), symbol(into))
    heading = [Equation(symbol(place.out), total(named, symbol(b or "")))]
    return heading, direct, [Line(symbol(place.out), total(product, symbol(b or "")))]


def _phi_forward(place: Place, choices: Choices, when: When) -> Made:
    a, f = symbol(place.into), symbol(place.out)
    direct = []
    for i in choices.entries(place.shape_out):
        for name, tree in formula_of(place, i).items():
            if name == "f":
                direct.append(Line(symbol(place.out, *i), tree, when=when))
                break
            direct.append(Line(intermediate(place, name, i), tree, when=when))
    called = ("call", place.name, a)
    matrix = [Line(f, called, "symbols", ("each", formula_of(place)["f"], a), when)]
    return [Equation(f, called, when=when)], direct, matrix


def _none_forward(place: Place, choices: Choices, when: When) -> Made:
    a, f = symbol(place.into), symbol(place.out)
    return [Equation(f, a, when=when)], [], [Line(f, a, "quiet", when=when)]


def _flat_forward(place: Place, choices: Choices, when: When) -> Made:
    out, row = symbol(place.out), ("T", ("vec", symbol(place.into)))
    direct = [
        Line(symbol(place.out, *i), symbol(place.into, *j), "symbols")
        for i, j in zip(choices.entries(place.shape_out), indices(place.shape_in), strict=False)
    ]
    return [Equation(out, row)], direct, [Line(out, row)]


def _softmax_forward(place: Place, choices: Choices, when: When) -> Made:
    a, f, d = symbol(place.into), symbol(place.out), place.d_out
    powers = [("exp", entry(place.into, j, d)) for j in range(1, d + 1)]
    direct = [
        Line(
            entry(place.out, i, d),
            ("/", powers[i - 1], plus(powers)),
            compute=("entry", ("softmax", a), i),
            when=when,
        )
        for i in choices.chosen(d)
    ]
    called = ("call", "softmax", a)
    return [Equation(f, called, when=when)], direct, [Line(f, called, "symbols", ("softmax", a), when)]


def _residual_forward(place: Place, choices: Choices, when: When) -> Made:
    skip, branch = ends(place)
    direct = [
        Line(
            symbol(place.out, *i),
            plus([symbol(skip, *i), symbol(branch, *i)]),
        )
        for i in choices.entries(place.shape_out)
    ]
    both = ("+", symbol(skip), symbol(branch))
    return [Equation(symbol(place.out), both)], direct, [Line(symbol(place.out), both)]


def _own_forward(place: Place, choices: Choices, when: When) -> Made:
    out, called = symbol(place.out), ("call", place.name, symbol(place.into))
    heading = [Equation(out, called)]
    if place.formula:
        heading.append(Equation(("call", place.name, symbol("a")), ("words", place.formula)))
    return heading, [], [Line(out, called, "symbols", compute=out)]


FORWARD: dict[str, Callable[[Place, Choices, When], Made]] = {
    "dense": _dense_forward,
    "lookup": lookup_forward,
    "phi": _phi_forward,
    "none": _none_forward,
    "flat": _flat_forward,
    "softmax": _softmax_forward,
    "residual": _residual_forward,
    "own": _own_forward,
}
