"""The lecture's steps for one example, as formulas: each "directly" and "matrix-based". Plain data.

A step holds lines, each a target and its formula: what is printed is what is computed. `steps` needs the
places of a network and the steps of its loss, no number.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from jaxbp.observe.explanation.formulas.trees import plus, symbol
from jaxbp.observe.explanation.places import Parameter, Place, arrays, by_layer, shared
from jaxbp.observe.explanation.steps.backward import backward
from jaxbp.observe.explanation.steps.forward import forward
from jaxbp.observe.explanation.steps.lines import Choices, Equation, Line, Step


def steps(
    places: tuple[Place, ...],
    loss: Sequence[Step],
    parameters: Iterable[tuple[str, bool]],
    choices: Choices,
) -> tuple[Step, ...]:
    """Forward, output, delta of the output, backward, one step of gradient descent.

    Args:
        places: of the network.
        loss: the two steps of the loss.
        parameters: the names of those that the gradient step changes, and whether each is a vector.
        choices: what is written out.
    """
    last = [tag for tag, _ in by_layer(places)][-1:]
    layers = by_layer(choices.places(places))
    there = [
        step for tag, group in layers for step in forward(tag, group, choices, is_last=[tag] == last)
    ]
    back = [step for tag, group in reversed(layers) for step in backward(tag, group, choices)]
    copied = [_copied(name, uses) for name, uses in shared(places).items()]
    added = [_added(name, uses, choices) for name, uses in shared(places).items()]
    own = arrays(choices.places(places))
    changed = [(name, is_vector) for name, is_vector in parameters if name in own]
    return (*copied, *there, *loss, *back, *added, _update(changed))


def _copied(name: str, uses: Sequence[Parameter]) -> Step:
    """An array in several places, going forward: each use has a copy."""
    return Step(
        title=f"1. forward, {name} in {len(uses)} places",
        heading=tuple(Equation(symbol(use.name), symbol(name)) for use in uses),
        matrix=tuple(Line(symbol(use.name), symbol(name), "symbols") for use in uses),
        why=f"One array is used {len(uses)} times. Each use has a name, so that each can have its delta.",
    )


def _added(name: str, uses: Sequence[Parameter], choices: Choices) -> Step:
    """The same going backward: the deltas of the uses are added."""
    total = plus([symbol(f"delta_{use.name}") for use in uses])
    direct = [
        Line(
            symbol(f"delta_{name}", *index), plus([symbol(f"delta_{use.name}", *index) for use in uses])
        )
        for index in _indices(uses[0].shape, choices)
    ]
    return Step(
        title=f"4. backward, the uses of {name}",
        heading=(Equation(symbol(f"delta_{name}"), total),),
        direct=tuple(direct),
        matrix=(Line(symbol(f"delta_{name}"), total, "numbers"),),
        why="Where a value is used twice, the deltas of both uses are added.",
    )


def _indices(shape: Sequence[int], choices: Choices) -> Iterator[tuple[int, ...]]:
    """Of the entries that are written out; an array with one entry needs none."""
    if max(shape, default=1) == 1:
        return iter([()])
    return product(*(choices.chosen(d) for d in shape)) if len(shape) <= 2 else iter(())


def _update(parameters: Iterable[tuple[str, bool]]) -> Step:
    lines = []
    for name, is_vector in parameters:
        delta = symbol(f"delta_{name}")
        delta = ("T", delta) if is_vector else delta
        lines.append(Line(symbol(f"{name}:new"), ("-", symbol(name), ("@", symbol("eta"), delta)), "numbers"))
    return Step(
        title="5. one step of gradient descent",
        heading=(Equation(symbol("w"), ("-", symbol("w"), ("@", symbol("eta"), symbol("delta_w")))),),
        matrix=tuple(lines),
        why="The loss falls fastest against its gradient; eta says how far the step goes.",
        changes=("mu", "loss"),
        both_ways=False,
    )
