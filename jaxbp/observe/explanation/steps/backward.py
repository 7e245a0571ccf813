"""Step 4, layer by layer from the output back: the lines of each kind of place."""

from collections.abc import Callable, Sequence
from itertools import chain

from jaxbp.observe.explanation.formulas.trees import Tree, parse, plus, replaced, symbol, times
from jaxbp.observe.explanation.places import Place, by_layer, factors, in_turn, is_identity, maps
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
    intermediate,
    weight,
)


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
            if not is_identity(p) and p.kind != "residual"
        ),
        delta=group[0].delta_into if not block else f"delta_{block.out}",
    )
    return [step, *after] if step.matrix or step.direct else after


WHY_BACKWARD = {
    "dense": "A unit's delta goes to each weight in proportion to what came in, and back along each weight.",
    "residual": "A sum passes its delta on unchanged: to the branch and to the skip.",
}


def _dense_backward(place: Place, choices: Choices, when: When) -> Made:
    W, delta_a, delta_in = place.weights, place.delta_out, place.delta_into
    d_W, d_b = f"delta_{W}", f"delta_{place.bias}"
    rows, columns = choices.chosen(place.d_out), choices.chosen(place.d_in)
    into, delta = symbol(place.into), symbol(delta_a)
    direct = [
        Line(
            weight(place, d_W, i, j), times(entry(delta_a, i, place.d_out), entry(place.into, j, place.d_in))
        )
        for i in rows
        for j in columns
    ]
    if place.bias:
        direct += [Line(entry(d_b, i, place.d_out), entry(delta_a, i, place.d_out), "symbols") for i in rows]
    direct += [
        Line(
            entry(delta_in, j, place.d_in),
            plus(
                [
                    times(entry(delta_a, i, place.d_out), weight(place, W, i, j))
                    for i in range(1, place.d_out + 1)
                ]
            ),
        )
        for j in columns
    ]
    outer, back = ("@", ("T", delta), ("T", into)), ("@", delta, symbol(W))
    bias = [Equation(symbol(d_b), delta, "; ")] if place.bias else []
    heading = [Equation(symbol(d_W), outer, "; "), *bias, Equation(symbol(delta_in), back, "; ")]
    quiet = [Line(symbol(d_b), delta, "quiet")] if place.bias else []
    return (
        heading,
        direct,
        [Line(symbol(d_W), outer, "numbers"), *quiet, Line(symbol(delta_in), back, "numbers")],
    )


def _through_jacobian(
    place: Place, J: Tree, compute: Tree, when: When, more: Sequence[Equation] = ()
) -> tuple[list[Equation], list[Line]]:
    """Heading and matrix lines of delta_into = delta_out J."""
    name, delta = symbol(place.jacobian), symbol(place.delta_out)
    product = ("@", delta, name)
    heading = [Equation(symbol(place.delta_into), product, ", " if J else "; ", when)]
    heading += [Equation(name, J, "; ", when)] if J else []
    return heading, [
        Line(name, J or name, "result", compute, when),
        Line(symbol(place.delta_into), ("@", delta, ("named", name)), "numbers", product, when),
    ]


def _phi_backward(place: Place, choices: Choices, when: When) -> Made:
    d, units = place.d_out, choices.chosen(place.d_out)
    if place.name == "identity":
        heading = [Equation(symbol(place.delta_into), symbol(place.delta_out), "; ", when)]
        passed = Line(symbol(place.delta_into), symbol(place.delta_out), "quiet", when=when)
        return heading, [], [Line(symbol(place.jacobian), ("eye", d), "quiet", when=when), passed]
    direct = []
    trees = parse(place.formula)
    for i in units:
        formula = formula_of(place, i)
        slope = formula.pop("slope", symbol(place.jacobian, i, i) if d > 1 else symbol(place.jacobian))
        direct += [
            Line(intermediate(place, name, i), tree, "quiet", when=when)
            for name, tree in formula.items()
            if name != "f"
        ]
        direct.append(
            Line(entry(place.delta_into, i, d), times(entry(place.delta_out, i, d), slope), when=when)
        )
    written, compute = None, symbol(place.jacobian)
    if "slope" in trees:
        whole = {"a": symbol(place.into), "f": symbol(place.out)}
        between = {name: symbol(f"{name}_{place.out.removeprefix('f_')}") for name in trees if name != "f"}
        written = ("diag", replaced(trees["slope"], between | whole))
        compute = ("diag", ("each", formula_of(place)["slope"], symbol(place.into)))
    heading, matrix = _through_jacobian(place, written, compute, when)
    return heading, direct, matrix


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

    def slope(i: int, j: int) -> Tree:
        return symbol(place.jacobian) if m == n == 1 else symbol(place.jacobian, i, j)

    direct = [
        Line(
            entry(place.delta_into, j, n),
            plus(
                [
                    times(entry(place.delta_out, i, m), slope(i, j))
                    for i in ([j] if place.diagonal else range(1, m + 1))
                ]
            ),
        )
        for j in choices.chosen(n)
    ]
    heading, matrix = _through_jacobian(place, None, symbol(place.jacobian), when)
    for own in place.parameters:
        delta = symbol(f"delta_{own.name}")
        by = symbol(f"J_{{{place.out}}}({own.name})")
        heading.append(Equation(delta, ("@", symbol(place.delta_out), by), "; "))
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
        Line(entry(place.delta_into, j, place.d_in), plus([entry(name, j, place.d_in) for name in names]))
        for j in choices.chosen(place.d_in)
    ]
    both = ("+", *(symbol(name) for name in names))
    J = ("+", *(_product_of(places, place.d_in, choices) for places in (place.skip, place.branch)))
    return Step(
        title=f"4. backward, into the block of {where}",
        heading=(
            Equation(symbol(place.delta_into), both),
            Equation(symbol(place.delta_into), ("@", symbol(place.delta_out), symbol(place.jacobian))),
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
    )


def _product_of(places: tuple[Place, ...], d: int, choices: Choices) -> Tree:
    """The Jacobian of a branch: the product of its factors, and of what a choice may make one; or I."""
    found = factors(places) if not choices.phis else reversed(maps(places))
    made = [symbol(place.jacobian) for place in found]
    return ("eye", d) if not made else made[0] if len(made) == 1 else ("@", *made)


BACKWARD: dict[str, Callable[[Place, Choices, When], Made]] = {
    "dense": _dense_backward,
    "phi": _phi_backward,
    "softmax": _softmax_backward,
    "residual": _residual_backward,
    "own": _own_backward,
}
