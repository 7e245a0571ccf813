"""A page that shows back-propagation and recomputes it: one file, which loads nothing.

The page's script evaluates and writes the very lines that `explain` prints: they are put into it as trees.
"""

from typing import Any

from jaxbp import errors
from jaxbp.observe import Explanation
from jaxbp.observe.explanation.formulas.trees import parse
from jaxbp.observe.explanation.json_format import Content
from jaxbp.observe.explanation.json_reading import ACTIVATIONS, LOSSES
from jaxbp.observe.explanation.places import FLOAT64, Place, all_places, maps
from jaxbp.observe.explanation.record import in_json_format
from jaxbp.observe.explanation.steps.lecture import steps
from jaxbp.observe.explanation.steps.lines import NO_PHI, Choices, Line, Phi, Step, When, can_bend
from jaxbp.observe.explanation.steps.outputs import output_steps
from jaxbp.report.page.template import as_json, read, rendered, verbatim

LIMIT = 500_000
"""Bytes of a page."""


def write_page(explanation: Explanation) -> str:
    """The page as HTML.

    Raises:
        ImportError: without jinja2.
        ValueError: for a layer or a loss without a formula, and for a network too large for a page.

    Example:
        >>> import jaxbp
        >>> params = {1: {"W": [[1.0, -1.0]], "b": [0.5]}}
        >>> page = write_page(jaxbp.explain(jaxbp.mlp([2, 1]), jaxbp.squared_error, params, [1, 0], 2))
        >>> page[:15], "http:" in page.replace("http://www.w3.org/", "")
        ('<!doctype html>', False)
    """
    _assert_formulas(explanation)
    page = rendered(
        "page.html",
        title=explanation.title(),
        end=explanation.chain_end,
        style=verbatim(read("page.css")),
        script=verbatim(read("page.js")),
        data=verbatim(as_json(explanation.to_dict())),
        program=verbatim(as_json(program(explanation))),
    )
    if len(page.encode()) > LIMIT:
        sizes = [place.d_out for place in all_places(explanation.places)]
        got = f"{len(page.encode()) / 1e6:.1f} MB for layers of up to {max(sizes)} units"
        hint = "a page is for a network that one can read; jaxbp.explain prints larger ones in part"
        raise ValueError(errors.message("page", f"at most {LIMIT / 1e6:g} MB", got, hint))
    return page


def _assert_formulas(explanation: Explanation) -> None:
    """The page can only recompute what has a formula."""
    for place in all_places(explanation.places):
        trees = parse(place.formula)
        if place.precision != FLOAT64:
            got, hint = f"{place.name} in {place.precision.name}", "explain the layer without mixed_precision"
            raise ValueError(errors.message("page", "layers in float64, in which it recomputes", got, hint))
        if place.kind == "own" or (place.kind == "phi" and "slope" not in trees):
            hint = 'give it one: formula="f = ...; slope = ..."'
            raise ValueError(errors.message("page", "layers with a formula and its slope", place.name, hint))
    if not explanation.output.known:
        hint = "explain prints it in the terminal"
        raise ValueError(errors.message("page", f"one of {', '.join(LOSSES)}", explanation.output.loss, hint))


def program(explanation: Explanation) -> dict[str, Any]:
    """The steps with every activation and loss that one can choose, and the names of what the page shows."""
    places = maps(explanation.places)
    bends = [place for place in all_places(places) if can_bend(place)]
    phis = _activations(bends)
    words = {phi: word for word, phi in phis.items()}
    chosen = {place.chooses: words[_phi(place)] for place in bends}
    choices = Choices(phis, tuple(LOSSES), units=tuple(range(1, 1025)))
    options = {place.chooses: [when[1] for _, when in choices.alternatives(place) if when] for place in bends}
    written = steps(places, output_steps(explanation.output, choices), explanation.updated, choices)
    return {
        "steps": [_step(step, {place.jacobian for place in places}) for step in written],
        "choices": chosen | {"loss": explanation.output.known},
        "options": options | {"loss": list(LOSSES)},
        "parameters": explanation.parameters(),
        "boxes": list(_boxes(places)),
        "output": explanation.output.f,
        "delta": explanation.output.delta,
        "template": in_json_format(
            explanation,
            Content(
                rows=lambda name: {"$rows": name},
                entries=lambda name: {"$flat": name},
                number=lambda name: {"$number": name},
                phi=lambda place: {"$choice": place.chooses} if place in bends else place.name,
            ),
        ),
        "matrices": [own.name for place in all_places(places) for own in place.parameters if own.is_matrix]
        + ["y"] * bool(explanation.output.places),
        "ids": any(place.ids is not None for place in places),
        "places": explanation.output.places,
        "digits": explanation.digits,
    }


def _phi(place: Place) -> Phi:
    return Phi(place.kind, place.name, place.formula)


def _activations(bends: list[Place]) -> dict[str, Phi]:
    """Those of the library by their names, and the network's own, whose names may be the same."""
    known = {name: Phi("phi", layer.name, layer.formula) for name, layer in ACTIVATIONS.items()}
    known |= {"identity": NO_PHI, "softmax": Phi("softmax", "softmax")}
    for phi in map(_phi, bends):
        if phi not in known.values():
            word = phi.name
            while word in known:
                word += " of the network"
            known[word] = phi
    return known


def _boxes(places: tuple[Place, ...]) -> Any:
    """What stands in the row of boxes: the name, and the choice of an activation."""
    for place in places:
        if place.kind == "residual":
            yield from _boxes(maps(place.branch))
            yield from _boxes(maps(place.skip))
        for own in place.parameters:
            if own.own_name == own.array:
                yield {"name": own.array, "kind": "parameter"}
            if own.is_use:
                yield {"name": own.name, "kind": "value", "choose": None}
        yield {"name": place.out, "kind": "value", "choose": place.chooses if can_bend(place) else None}


def _step(step: Step, chain: set[str]) -> dict[str, Any]:
    """The step; each of its Jacobians says whether it is a factor of the network's chain."""
    return {
        "title": step.title,
        "heading": [[e.left, e.right, e.then, e.when] for e in step.heading],
        "shapes": step.shapes,
        "direct": [_line(line) for line in step.direct],
        "matrix": [_line(line) for line in step.matrix],
        "why": step.why,
        "factors": [(name, when, name in chain) for name, when in step.factors],
        "delta": step.delta,
        "changes": step.changes,
        "both": step.both_ways,
    }


def _line(line: Line) -> tuple[Any, Any, str, Any, When]:
    return (line.target, line.tree, line.show, line.compute, line.when)
