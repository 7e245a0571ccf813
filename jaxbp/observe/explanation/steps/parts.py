"""What a loss is for the steps: where it stands, and what it puts into steps 2 and 3. Plain data."""

from typing import NamedTuple

from jaxbp.observe.explanation.steps.lines import Equation, Line


class Output(NamedTuple):
    """Where the loss stands.

    Args:
        f: the name of the network's output, ``"f_2"``.
        alias: what the output is besides, ``"a_2"`` without an activation; "" otherwise.
        C: its entries, of one place.
        loss: how the loss prints.
        known: the key of its formulas in `OUTPUTS`; "" for a loss of the user's own.
        places: T, where there is an output at each place of a sequence; else 0.
        mean: whether the loss is the mean over the places, and not their sum.
    """

    f: str
    alias: str
    C: int
    loss: str
    known: str = ""
    places: int = 0
    mean: bool = True

    @property
    def delta(self) -> str:
        """delta_{f_L}."""
        return f"delta_{self.f}"


class Parts(NamedTuple):
    """What a loss puts into the two steps."""

    heading: tuple[Equation, ...]
    output: tuple[Line, ...]
    delta_heading: Equation
    shapes: tuple[str, ...]
    direct: tuple[Line, ...]
    matrix: tuple[Line, ...]
