"""The sentences above the steps: which example it is, what is left out, and how to choose."""

from collections.abc import Iterator

from jaxbp.observe.explanation.places import FLOAT64, Place, all_places, as_they_are, ties_in_words
from jaxbp.observe.explanation.steps.lines import FIRST, Choices


def notes(places: tuple[Place, ...], choices: Choices, first: str) -> Iterator[str]:
    """What has to be known to read the steps.

    Args:
        places: of the network.
        choices: what is written out.
        first: which example it is, of several.
    """
    if first:
        yield first
    for place in places:
        if place.kind == "lookup":
            yield f"an id counts from 0, a row of {place.table('E').name} from 1: id 0 picks row 1"
    layers = as_they_are(places)
    if layers["same"]:
        yield f"changes no number here: {', '.join(layers['same'])}"
    if same := ties_in_words(places):
        yield f"one array in several places, a prime for each use: {same}"
    if layers["own"]:
        yield f"by its numbers and its Jacobian, not component by component: {', '.join(layers['own'])}"
    shapes = [shape for place in all_places(places) for shape in (place.shape_in, place.shape_out)]
    sizes = [shape[-1] for shape in shapes]
    for precision in dict.fromkeys(place.precision for place in all_places(places)):
        if precision != FLOAT64:
            yield (
                f"matrix-based in {precision.name} where a layer computes in it, directly in float64; "
                f"an eps of {precision.name} is {precision.eps:.2g}"
            )
    if choices.layers is not None:
        yield f"written out: layers {', '.join(map(str, choices.layers))}"
    if choices.units is not None:
        yield f"written out: units {', '.join(map(str, choices.units))}"
    elif max(sizes, default=1) > FIRST:
        yield f"written out: units 1 to {FIRST} of each layer; units=[3, 7], layers=[1] choose others"
    if max((shape[0] for shape in shapes if len(shape) == 2), default=1) > FIRST:
        yield f"written out: places 1 to {FIRST} of each sequence"
