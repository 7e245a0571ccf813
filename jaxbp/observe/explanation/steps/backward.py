"""Step 4, layer by layer from the output back: the lines of each kind of place."""

from collections.abc import Callable
from itertools import chain

from jaxbp.observe.explanation.formulas.trees import Tree, parse, plus, replaced, symbol, times
from jaxbp.observe.explanation.places import Place, by_layer, coarsest, factors, in_turn, maps
from jaxbp.observe.explanation.steps.lines import (
    Choices,
    Equation,
    Line,
    Made,
    Show,
    Step,
    When,
    ends,
    entry,
    formula_of,
    indices,
    intermediate,
    rows,
    weight,
)
from jaxbp.observe.explanation.steps.lookup import lookup_backward


def backward(tag: str, group: list[Place], choices: Choices) -> list[Step]:
    """The steps of one layer, from its output back; those of a block's branch and skip come between."""
    turns = reversed(in_turn(tag, group))
    return [step for where, places in turns for step in _backward(where, places, choices)]


def _backward(where: str, group: list[Place], choices: Choices) -> list[Step]:
    made: list[Made] = []
    after: list[Step] = []
    block = next((place for place in group if place.kind == "residual"), None)
    for place in reversed(group):
        made += [BACKWARD[p.kind](p, choices, when) for p, when in choices.alternatives(place)]
    if block:
        for places in (block.branch, block.skip):
            for inner_tag, inner_group in reversed(by_layer(places)):
                after += backward(inner_tag, inner_group, choices)
        after.append(_joined(where, block, choices))
    step = Step(
        title=f"4. backward, {where}",
        heading=tuple(chain.from_iterable(heading for heading, _, _ in made)),
        direct=tuple(chain.from_iterable(direct for _, direct, _ in made)),
        matrix=tuple(chain.from_iterable(matrix for _, _, matrix in made)),
        why=WHY_BACKWARD.get(
            group[0].kind, "A delta times the Jacobian of a map is the delta of what went into it."
        ),
        factors=tuple(
            (p.jacobian, when)
            for place in reversed(group)
            for p, when in choices.alternatives(place)
            if p in factors((p,)) and p.kind != "residual"
        ),
        precision=coarsest(group),
        delta=f"delta_{block.out}" if block else group[0].delta_into if group[0].ids is None else "",
    )
    return [step, *after] if step.matrix or step.direct else after


WHY_BACKWARD = {
    "dense": "A unit's delta goes to each weight in proportion to what came in, and back along each weight.",
    "residual": "A sum passes its delta on unchanged: to the branch and to the skip.",
    "lookup": "A row receives the deltas of all the places that picked it. An id has no delta: it is no "
    "number that one can change a little.",
}


def _dense_backward(place: Place, choices: Choices, when: When) -> Made:
    W, delta_a, delta_in = place.weights, place.delta_out, place.delta_into
    d_W, d_b = f"delta_{W}", f"delta_{place.bias}"
    m, n = place.shape_out[-1], place.shape_in[-1]
    units, columns, every = choices.chosen(m), choices.chosen(n), rows(place.shape_out, place.shape_out[0])
    into, delta = symbol(place.into), symbol(delta_a)
    direct = [
        Line(
            weight(place, d_W, i, j),
            plus([times(entry(delta_a, i, m, at), entry(place.into, j, n, at)) for at in every]),
        )
        for i in units
        for j in columns
    ]
    if place.bias:
        show: Show = "both" if place.at_places else "symbols"
        for i in units:
            direct.append(Line(entry(d_b, i, m), plus([entry(delta_a, i, m, at) for at in every]), show))
    direct += [
        Line(
            entry(delta_in, j, n, at),
            plus([times(entry(delta_a, i, m, at), weight(place, W, i, j)) for i in range(1, m + 1)]),
        )
        for at in rows(place.shape_in)
        for j in columns
    ]
    if place.at_places:
        return _dense_at_places(place, direct)
    outer, back = ("@", ("T", delta), ("T", into)), ("@", delta, symbol(W))
    bias = [Equation(symbol(d_b), delta, "; ")] if place.bias else []
    heading = [Equation(symbol(d_W), outer, "; "), *bias, Equation(symbol(delta_in), back, "; ")]
    quiet = [Line(symbol(d_b), delta, "quiet")] if place.bias else []
    return (
        heading,
        direct,
        [Line(symbol(d_W), outer, "numbers"), *quiet, Line(symbol(delta_in), back, "numbers")],
    )


def _dense_at_places(place: Place, direct: list[Line]) -> Made:
    """The same with a row for each place of a sequence: the sums over the places are products, too."""
    delta, into, W = symbol(place.delta_out), symbol(place.into), symbol(place.weights)
    of_W, of_b = ("@", ("T", delta), into), ("@", ("T", ("ones", place.shape_out[0])), delta)
    back, J = ("@", delta, W), ("kron", ("eye", place.shape_out[0]), W)
    d_W, d_in = symbol(f"delta_{place.weights}"), symbol(place.delta_into)
    heading, matrix = [Equation(d_W, of_W, "; ")], [Line(d_W, of_W, "numbers")]
    if place.bias:
        d_b = symbol(f"delta_{place.bias}")
        heading.append(Equation(d_b, of_b, "; "))
        matrix.append(Line(d_b, of_b, "numbers"))
    heading += [Equation(d_in, back, "; "), Equation(symbol(place.jacobian), J, "; ")]
    matrix += [Line(d_in, back, "numbers"), Line(symbol(place.jacobian), J, "quiet")]
    return heading, direct, matrix


def _through_jacobian(
    place: Place, J: Tree, compute: Tree, when: When
) -> tuple[list[Equation], list[Line]]:
    """Heading and matrix lines of delta_into = delta_out J; of a sequence with all its places in one row."""
    name, delta = symbol(place.jacobian), symbol(place.delta_out)

    def product(J: Tree) -> Tree:
        row = ("@", ("vec", delta) if len(place.shape_out) == 2 else delta, J)
        return ("rows", row, place.shape_in[0]) if len(place.shape_in) == 2 else row

    heading = [Equation(symbol(place.delta_into), product(name), ", " if J else "; ", when)]
    heading += [Equation(name, J, "; ", when)] if J else []
    return heading, [
        Line(name, J or name, "result", compute, when),
        Line(symbol(place.delta_into), product(("named", name)), "numbers", product(name), when),
    ]


def _phi_backward(place: Place, choices: Choices, when: When) -> Made:
    direct = []
    trees = parse(place.formula)
    numbers = {index: k for k, index in enumerate(indices(place.shape_out), 1)}  # of J's rows and columns
    for i in choices.entries(place.shape_out):
        formula, k = formula_of(place, i), numbers[i]
        slope = formula.pop("slope", symbol(place.jacobian, *((k, k) if place.d_out > 1 else ())))
        direct += [
            Line(intermediate(place, name, i), tree, "quiet", when=when)
            for name, tree in formula.items()
            if name != "f"
        ]
        direct.append(
            Line(symbol(place.delta_into, *i), times(symbol(place.delta_out, *i), slope), when=when)
        )
    written, compute = None, symbol(place.jacobian)
    if "slope" in trees:
        whole = {"a": symbol(place.into), "f": symbol(place.out)}
        between = {name: symbol(f"{name}_{place.out.removeprefix('f_')}") for name in trees if name != "f"}
        written = ("diag", replaced(trees["slope"], between | whole))
        compute = ("diag", ("each", formula_of(place)["slope"], symbol(place.into)))
    heading, matrix = _through_jacobian(place, written, compute, when)
    return heading, direct, matrix


def _none_backward(place: Place, choices: Choices, when: When) -> Made:
    into, out = symbol(place.delta_into), symbol(place.delta_out)
    J = Line(symbol(place.jacobian), ("eye", place.d_out), "quiet", when=when)
    return [Equation(into, out, "; ", when)], [], [J, Line(into, out, "quiet", when=when)]


def _flat_backward(place: Place, choices: Choices, when: When) -> Made:
    into, back = symbol(place.delta_into), ("rows", symbol(place.delta_out), place.shape_in[0])
    direct = [
        Line(symbol(place.delta_into, *j), symbol(place.delta_out, *i), "symbols")
        for i, j in zip(indices(place.shape_out), choices.entries(place.shape_in), strict=False)
    ]
    return [Equation(into, back, "; ")], direct, [Line(into, back, "numbers")]


def _softmax_backward(place: Place, choices: Choices, when: When) -> Made:
    d, f = place.d_out, symbol(place.out)
    total = symbol(f"s_{place.out.removeprefix('f_')}")
    terms = [times(entry(place.delta_out, j, d), entry(place.out, j, d)) for j in range(1, d + 1)]
    direct = [Line(total, plus(terms), when=when)]
    for i in choices.chosen(d):
        tree = times(entry(place.out, i, d), ("-", entry(place.delta_out, i, d), total))
        direct.append(Line(entry(place.delta_into, i, d), tree, when=when))
    J = ("-", ("diag", f), ("@", f, ("T", f)))
    heading, matrix = _through_jacobian(place, J, J, when)
    return heading, direct, matrix


def _own_backward(place: Place, choices: Choices, when: When) -> Made:
    m, n = place.d_out, place.d_in
    outs = list(enumerate(indices(place.shape_out), 1))
    numbers = {index: k for k, index in enumerate(indices(place.shape_in), 1)}  # of J's columns

    def slope(i: int, j: int) -> Tree:
        return symbol(place.jacobian) if m == n == 1 else symbol(place.jacobian, i, j)

    direct: list[Line] = []
    heading: list[Equation] = []
    matrix: list[Line] = []
    if place.ids is None:
        direct = [
            Line(
                symbol(place.delta_into, *index),
                plus(
                    [
                        times(symbol(place.delta_out, *out), slope(i, numbers[index]))
                        for i, out in (outs if not place.diagonal else [outs[numbers[index] - 1]])
                    ]
                ),
            )
            for index in choices.entries(place.shape_in)
        ]
        heading, matrix = _through_jacobian(place, None, symbol(place.jacobian), when)
    for own in place.parameters:
        delta = symbol(f"delta_{own.name}")
        by = symbol(f"J_{{{place.out}}}({own.name})")
        row = symbol(place.delta_out)
        row = ("vec", row) if len(place.shape_out) == 2 else row
        heading.append(Equation(delta, ("@", row, by), "; "))
        matrix.append(Line(delta, delta, "result"))
    return heading, direct, matrix


def _residual_backward(place: Place, choices: Choices, when: When) -> Made:
    """Both ends receive the delta of the sum; what comes out at their beginnings is added in `_joined`."""
    passed = [symbol(f"delta_{name}") for name in ends(place) if name != place.into]
    delta = symbol(place.delta_out)
    heading = [Equation(end, delta, "; ") for end in passed]
    return heading, [], [Line(end, delta, "symbols") for end in passed]


def _joined(where: str, place: Place, choices: Choices) -> Step:
    """delta_into of a block: what comes back through the skip and through the branch, added."""
    inner = [maps(places) for places in (place.skip, place.branch)]
    names = [places[0].delta_into if places else place.delta_out for places in inner]
    direct = [
        Line(symbol(place.delta_into, *index), plus([symbol(name, *index) for name in names]))
        for index in choices.entries(place.shape_in)
    ]
    both = ("+", *(symbol(name) for name in names))
    through, _ = _through_jacobian(place, None, None, None)
    J = ("+", *(_product_of(places, place.d_in, choices) for places in (place.skip, place.branch)))
    return Step(
        title=f"4. backward, into the block of {where}",
        heading=(
            Equation(symbol(place.delta_into), both),
            through[0],
            Equation(symbol(place.jacobian), J),
        ),
        direct=tuple(direct),
        matrix=(
            Line(symbol(place.jacobian), J, "symbols"),
            Line(symbol(place.delta_into), both, "numbers"),
        ),
        why="Where a value is used twice, the deltas of both uses are added.",
        factors=((place.jacobian, None),),
        delta=place.delta_into,
        precision=coarsest((place, *place.branch, *place.skip)),
    )


def _product_of(places: tuple[Place, ...], d: int, choices: Choices) -> Tree:
    """The Jacobian of a branch: the product of its factors, and of what a choice may make one; or I."""
    found = factors(places) if not choices.phis else reversed(maps(places))
    made = [symbol(place.jacobian) for place in found]
    return ("eye", d) if not made else made[0] if len(made) == 1 else ("@", *made)


BACKWARD: dict[str, Callable[[Place, Choices, When], Made]] = {
    "dense": _dense_backward,
    "lookup": lookup_backward,
    "phi": _phi_backward,
    "none": _none_backward,
    "flat": _flat_backward,
    "softmax": _softmax_backward,
    "residual": _residual_backward,
    "own": _own_backward,
}
