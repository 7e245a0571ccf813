"""The lecture's steps for one example, as formulas: each "directly" and "matrix-based". Plain data.

A step holds lines, each a target and its formula: what is printed is what is computed. `steps` needs the
places of a network and the steps of its loss, no number.
"""

from collections.abc import Iterable, Sequence

from jaxbp.observe.explanation.formulas.trees import symbol
from jaxbp.observe.explanation.places import Place, by_layer
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
    layers = by_layer(places)
    there = [step for tag, group in layers[:-1] for step in forward(tag, group, choices)]
    there += [step for tag, group in layers[-1:] for step in forward(tag, group, choices, is_last=True)]
    back = [step for tag, group in reversed(layers) for step in backward(tag, group, choices)]
    return (*there, *loss, *back, _update(parameters))


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
    )
