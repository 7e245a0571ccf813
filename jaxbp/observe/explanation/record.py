"""What `explain` returns: plain numbers and the steps that made them, and how they print, without JAX."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jaxbp import arguments
from jaxbp.observe.explanation import json_format, picture
from jaxbp.observe.explanation.formulas.notations import LATEX, MATHML, ROWS, TEXT, Notation, beside
from jaxbp.observe.explanation.formulas.trees import (
    Tree,
    Value,
    evaluate,
    matmul,
    number_if_single,
    rows_of,
    symbol,
)
from jaxbp.observe.explanation.formulas.writer import Writer, different
from jaxbp.observe.explanation.notes import notes
from jaxbp.observe.explanation.places import FLOAT64, Place, all_places, arrays, factors, in_words, maps
from jaxbp.observe.explanation.steps.lines import Choices, Line, Step
from jaxbp.observe.explanation.steps.parts import Output
from jaxbp.observe.explanation.two_ways import directly

WIDE = 110  # a longer line has the rows of its matrices below each other
COLUMN, LONG = 71, 60  # where the shapes stand in a step's heading, unless it is long
DIGITS = 17  # tell any two numbers of float64 apart
DOTS = "........"  # in place of a number on a worksheet


@dataclass(frozen=True, repr=False)
class Explanation:
    """Back-propagation for one example, every formula and every number; from `explain`.

    Args:
        places: the maps of the network.
        output: where the loss stands.
        steps: the lecture's steps as formulas.
        values: every quantity by its symbol, as rows of plain floats.
        differences: for each step that is done in two ways their largest difference, and the largest number.
        updated: the parameters that the gradient step changes, and whether each is a vector.
        frozen: those that it leaves as they are, by the last word of their path.
        choices: what is written out.
        digits: significant digits.
        note: which example it is, of several.
    """

    places: tuple[Place, ...]
    output: Output
    steps: tuple[Step, ...]
    values: Mapping[Tree, Value]
    differences: Mapping[str, tuple[float, float]]
    updated: tuple[tuple[str, bool], ...] = ()
    frozen: tuple[str, ...] = ()
    choices: Choices = field(default_factory=Choices)
    digits: int = 6
    note: str = ""

    def with_digits(self, digits: int) -> "Explanation":
        """The same with more or fewer significant digits."""
        return replace(self, digits=arguments.whole("with_digits", "digits", digits, low=1, high=DIGITS))

    @property
    def largest_difference(self) -> float:
        """Of the two ways, over all steps, in units of eps times the largest number of the step.

        Eps is of the numbers in which the step's matrices are computed.
        """
        return max((self._in_eps(step) for step in self.steps if step.title in self.differences), default=0.0)

    def _in_eps(self, step: Step) -> float:
        worst, scale = self.differences[step.title]
        return worst / (step.precision.eps * scale) if worst else 0.0

    def __repr__(self) -> str:
        return self.text()

    def text(self, width: int = WIDE) -> str:
        """The steps as text; a line that is longer has the rows of its matrices below each other."""
        return "\n".join(self._text(arguments.whole("text", "width", width, low=1), blank=False))

    def worksheet(self, width: int = WIDE) -> str:
        """The steps with dots in place of every computed number, and the answers at the end."""
        width = arguments.whole("worksheet", "width", width, low=1)
        return "\n".join([*self._text(width, blank=True), "", "Answers", *self._answers()])

    def jacobians(self) -> str:
        """Every Jacobian of the chain, and the running product from the loss back to x."""
        numbers = self._numbers(TEXT)
        lines = [f"the chain of Jacobians, from the loss back to {self.chain_end}, and the product so far"]
        for name, matrix, product in self.chain():
            lines += [f"  {name} = {numbers.value(matrix)}", f"    product {numbers.value(product)}"]
        return "\n".join(lines)

    @property
    def chain_end(self) -> str:
        """Where the chain of Jacobians ends: at x, or at the rows that ids have picked."""
        return next((place.out for place in self.places if place.ids is not None), "x")

    def chain(self) -> Iterator[tuple[str, Value, Value]]:
        """(name, Jacobian, product so far), from the delta of the output to x."""
        product = evaluate(("vec", symbol(self.output.delta)), self.values)
        yield self.output.delta, product, product
        for place in factors(maps(self.places)):
            matrix = number_if_single(self.values[symbol(place.jacobian)])
            product = matmul(product, matrix)
            yield place.jacobian, matrix, product

    def markdown(self) -> str:
        """The steps as Markdown, with the formulas in LaTeX."""
        return "\n\n".join(self._markdown())

    def svg(self) -> str:
        """The network as a picture: values forward, deltas back."""
        return picture.svg(self.title(), self.places, self.output, self.values, self.digits)

    def _repr_html_(self) -> str:
        return self.svg() + "".join(self._html())

    def to_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON; one that is not finite is a string. See `json_format`.

        Example:
            >>> import jaxbp
            >>> params = {1: {"W": [[2.0]], "b": [0.0]}}
            >>> explanation = jaxbp.explain(jaxbp.mlp([1, 1]), jaxbp.squared_error, params, 3, 5, eta=0.1)
            >>> found = explanation.to_dict()
            >>> found["deltas"]["W"], found["after"]["layers"]
            ([[[3.0]]], [{'W': [[1.7]], 'b': [-0.1], 'phi': 'identity'}])
        """
        return in_json_format(self, json_format.numbers(self.values)) | {
            "factors": [
                {"symbol": name, "matrix": rows_of(J), "product": rows_of(product)}
                for name, J, product in self.chain()
            ],
            "differences": {
                title: json_format.finite(worst) for title, (worst, _) in self.differences.items()
            },
        }

    def difference(self, step: Step) -> str:
        """The largest difference of the two ways; 0 up to 4 eps times the largest number of the step.

        Of matrices in fewer bits than float64 it is given in their eps.
        """
        arguments.instance("difference", "step", step, Step, "one of explanation.steps")
        arguments.option("difference", "the step's title", step.title, self.differences)
        worst, _ = self.differences[step.title]
        if step.precision != FLOAT64 and worst:
            name = step.precision.name
            return f"{worst:.2g}, of the largest number {self._in_eps(step):.2g} eps of {name}"
        return "0" if self._in_eps(step) <= 4 else f"{worst:.2g}"

    def _numbers(self, notation: Notation, step: Step | None = None) -> Writer:
        """Writes numbers: the record's, or those that the direct way of the step makes."""
        return Writer(notation, self.digits, directly(step, self.values) if step else self.values)

    def parameters(self) -> list[str]:
        """The names of the parameters, in order."""
        return list(arrays(self.places))

    def title(self) -> str:
        """The network and its loss in words."""
        return f"{in_words(maps(self.places))}, {self.output.loss}"

    def _heading(self, step: Step, notation: Notation) -> list[str]:
        """The formulas of a step, each with what separates it from the next."""
        symbols = Writer(notation)
        if step.changes:
            eta = symbols.equation(symbols(symbol("eta")), self._numbers(notation)(symbol("eta")))
            sides = (symbols(side) for side in step.heading[0][:2])
            return [notation.infix([("", next(sides)), (":=", next(sides))]) + ", ", eta]
        equations = [(symbols.equation(symbols(e.left), symbols(e.right)), e.then) for e in step.heading]
        return [text + ("" if i + 1 == len(equations) else then) for i, (text, then) in enumerate(equations)]

    def _ways(self, step: Step, notation: Notation, blank: bool) -> Iterator[tuple[str, list[list[str]]]]:
        """("directly", lines) and ("matrix-based", lines), each line by its sides.

        Of a step that is done in one way it is ("", lines).
        """
        own, numbers = self._numbers(notation, step), self._numbers(notation)
        ways = [("directly", step.direct, own), ("matrix-based", step.matrix, numbers)]
        if not step.both_ways:
            ways = [("", (*step.direct, *step.matrix), own)]
        for way, lines, numbers in ways:
            written = [self._sides(line, numbers, blank) for line in lines if line.show != "quiet"]
            if step.changes:
                written.append([", ".join(self._change(name, numbers, blank) for name in step.changes)])
            if written:
                yield way, written

    def _sides(self, line: Line, numbers: Writer, blank: bool) -> list[str]:
        """target, formula in symbols, with numbers, result."""
        symbols = numbers._replace(values=None)
        sides = [symbols(line.target)]
        if line.show in ("both", "symbols") or (blank and line.show == "numbers"):
            sides.append(symbols(line.tree))
        if blank:
            return [*sides, symbols.notation.words(DOTS)]
        if line.show in ("both", "numbers"):
            sides.append(numbers(line.tree))
        return [*sides, numbers(line.target)]

    def _change(self, name: str, numbers: Writer, blank: bool) -> str:
        words = numbers.notation.words
        before, after = (words(DOTS) if blank else numbers(symbol(name + new)) for new in ("", ":new"))
        name = numbers._replace(values=None)(symbol(name))
        pieces = [("", name), (" ", before), ("->", after)]
        return numbers.notation.infix(pieces)

    def _given(self, notation: Notation) -> tuple[list[str], list[str]]:
        """x, y and eta, and the parameters, with their values."""
        symbols, numbers = Writer(notation), self._numbers(notation)

        def named(name: str) -> str:
            return symbols.equation(symbols(symbol(name)), numbers(symbol(name)))

        return [named(name) for name in ("x", "y", "eta")], [named(name) for name in self.parameters()]

    def _text(self, width: int, blank: bool) -> Iterator[str]:
        given, parameters = self._given(TEXT)
        yield f"explain: {self.title()}; {', '.join(given)}"
        line = "  ".join(parameters)
        if len(line) > width:
            layers = [
                [own.array for own in place.parameters if own.own_name == own.array]
                for place in all_places(self.places)
            ]
            tall = iter(self._given(ROWS)[1])
            line = "\n".join(beside(*(f"{next(tall)}  " for _ in names)) for names in layers if names)
        yield from (" " * 9 + row for row in line.splitlines())
        yield from (" " * 9 + note for note in notes(self.places, self.choices, self.note))
        for step in self.steps:
            heading = f"{step.title}: {''.join(self._heading(step, TEXT))}"
            padded = heading.ljust(COLUMN) if len(heading) < LONG else heading + " " * 10
            yield ""
            yield padded + ", ".join(step.shapes) if step.shapes else heading
            below = dict(self._ways(step, ROWS, blank))
            for way, lines in self._ways(step, TEXT, blank):
                if way:
                    yield f"   {way}"
                for sides, rows in zip(lines, below[way], strict=True):
                    line = Writer(TEXT).equation(*sides)
                    line = Writer(ROWS).equation(*rows) if len(line) > width else line
                    yield from (f"     {row}" for row in line.split("\n"))
            if step.both_ways and step.direct and not blank:
                yield f"   difference {self.difference(step)}"

    def _answers(self) -> Iterator[str]:
        for step in self.steps:
            yield f"  {step.title}"
            for _, lines in self._ways(step, TEXT, blank=False):
                yield from (
                    f"    {Writer(TEXT).equation(*dict.fromkeys((sides[0], sides[-1])))}" for sides in lines
                )

    def _markdown(self) -> Iterator[str]:
        def display(formulas: list[str]) -> str:
            return f"$$\n{', '.join(formulas)}\n$$"

        given, parameters = self._given(LATEX)
        yield f"## {self.title()}"
        yield from (display(formulas) for formulas in (given, parameters) if formulas)
        yield from notes(self.places, self.choices, self.note)
        for step in self.steps:
            yield f"### {step.title}"
            yield f"$$\n{' '.join(self._heading(step, LATEX))}\n$$"
            if step.shapes:
                yield f"Shapes: {', '.join(step.shapes)}"
            for way, lines in self._ways(step, LATEX, blank=False):
                aligned = (" ".join((sides[0], *("&= " * (i == 0) + ("= " * (i > 0)) + side
                           for i, side in enumerate(different(sides)[1:])))) for sides in lines)  # fmt: skip
                newline = " \\\\\n"
                yield (
                    f"{way}\n\n" if way else ""
                ) + f"$$\n\\begin{{aligned}}\n{newline.join(aligned)}\n\\end{{aligned}}\n$$"
            if step.both_ways and step.direct:
                yield f"difference {self.difference(step)}"

    def _html(self) -> Iterator[str]:
        def math_of(formula: str) -> str:
            return f'<div style="margin: .4em 0"><math>{formula}</math></div>'

        given, parameters = self._given(MATHML)
        yield f"<h3>{html.escape(self.title())}</h3>"
        yield from (math_of("<mo>,</mo>".join(formulas)) for formulas in (given, parameters) if formulas)
        yield from (f"<p>{html.escape(note)}</p>" for note in notes(self.places, self.choices, self.note))
        for step in self.steps:
            yield f"<h4>{html.escape(step.title)}</h4>"
            yield math_of("".join(_separated(piece) for piece in self._heading(step, MATHML)))
            yield f"<p>{html.escape(', '.join(step.shapes))}</p>" if step.shapes else ""
            for way, lines in self._ways(step, MATHML, blank=False):
                yield f"<p><em>{way}</em></p>" if way else ""
                yield from (math_of(Writer(MATHML).equation(*sides)) for sides in lines)
            if step.both_ways and step.direct:
                yield f"<p>difference {self.difference(step)}</p>"


def _separated(piece: str) -> str:
    """A formula and the comma or semicolon after it."""
    formula, end = (piece[:-2], piece[-2:]) if piece.endswith((", ", "; ")) else (piece, "")
    return formula + (f'<mo rspace="1em">{end.strip()}</mo>' if end else "")


def in_json_format(explained: Explanation, content: json_format.Content) -> dict[str, Any]:
    """NET.json and what `explain` adds to it, with this content in its places."""
    return json_format.filled(
        explained.title(), explained.places, explained.output.loss, explained.frozen, content
    )
