"""The lines of a lookup in a table, for steps 1 and 4: an id picks a row, and the row receives its deltas."""

from collections.abc import Iterator
from typing import NamedTuple

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol
from jaxbp.observe.explanation.places import Parameter, Place
from jaxbp.observe.explanation.steps.lines import Choices, Equation, Line, Made, When, entry, rows

LARGEST = 9
"""Rows and columns of a Jacobian by the table that is written out: with more the numbers would have gaps."""


def lookup_forward(place: Place, choices: Choices, when: When) -> Made:
    """a = O E, the rows of E that the ids pick; O has a 1 in each row, at the id. Positions are added."""
    out, E, picks = symbol(place.out), place.table("E"), symbol(f"O_{place.tag}")
    d, written, positions = place.shape_out[-1], rows(place.shape_out), _positions(place)
    direct = list(_waves(place)) if _added(place) == "sinusoidal" else []
    for at, v in zip(written, _picks(place), strict=False):
        for j in choices.chosen(d):
            terms = [_of_table(E, v, j), *(symbol(positions.name, *at, j) for _ in positions.terms)]
            direct.append(Line(entry(place.out, j, d, at), plus(terms)))
    called = ("call", "one_hot", symbol(place.into))
    total = plus([("@", picks, symbol(E.name)), *positions.terms])
    total = total if len(place.shape_out) == 2 else ("T", total)  # the row of a single id, as a column
    ids = ("onehot", symbol(place.into), E.shape[0])
    matrix = [Line(picks, called, "symbols", ids), *positions.lines, Line(out, total)]
    in_words = plus([symbol(E.name, "x"), *(symbol(positions.name, "t") for _ in positions.terms)])
    heading = [Equation(out, ("=", in_words, total)), Equation(picks, called), *positions.heading]
    return heading, direct, matrix


def lookup_backward(place: Place, choices: Choices, when: When) -> Made:
    """delta_E = O^T delta_a, the deltas added into the rows that were picked."""
    E, picks, delta = place.table("E"), symbol(f"O_{place.tag}"), symbol(place.delta_out)
    (V, d), name = E.shape, f"delta_{E.name}"
    places = list(zip(rows(place.shape_out, len(place.ids or ())), _picks(place), strict=True))
    direct = [
        Line(
            _of_table(E._replace(name=name), v, j),
            plus([entry(place.delta_out, j, d, at) for at, picked in places if picked == v] or [0]),
        )
        for v in _written(place, V)
        for j in choices.chosen(d)
    ]
    back, by = ("@", ("T", picks), delta), ("kron", picks, ("eye", d))
    J = symbol(f"J_{{{place.out}}}({E.name})")
    heading = [Equation(symbol(name), back, "; "), Equation(J, by, "; ")]
    matrix = [Line(symbol(name), back, "numbers")]
    if place.d_out <= LARGEST and V * d <= LARGEST:
        matrix.append(Line(J, by))
    if _added(place) == "learned":
        P = place.table("P")
        whole = place.shape_out[0] == P.shape[0]
        tree = delta if whole else ("@", ("T", symbol(f"Q_{place.tag}")), delta)
        heading.append(Equation(symbol(f"delta_{P.name}"), tree, "; "))
        matrix.append(Line(symbol(f"delta_{P.name}"), tree, "symbols" if whole else "numbers"))
        direct += [
            Line(symbol(f"delta_{P.name}", *at, j), symbol(place.delta_out, *at, j), "symbols")
            for at in rows(place.shape_out)
            for j in choices.chosen(d)
        ]
    return heading, direct, matrix


class Added(NamedTuple):
    """What a lookup adds at each place.

    Args:
        name: of the matrix with a row for each place.
        terms: what is added, one or nothing.
        heading: what has to be said of it.
        lines: that make it.
    """

    name: str = ""
    terms: tuple[Tree, ...] = ()
    heading: tuple[Equation, ...] = ()
    lines: tuple[Line, ...] = ()


def _positions(place: Place) -> Added:
    T = place.shape_out[0]
    if _added(place) == "sinusoidal":
        P = f"P_{place.tag}"
        row = ("row", *(line.tree for line in _waves(place)))
        return Added(P, (symbol(P),), lines=(Line(symbol(P), symbol(P), "result", ("rows", row, T)),))
    if _added(place) == "learned":
        P, most = (own := place.table("P")).name, own.shape[0]
        if most == T:
            return Added(P, (symbol(P),))
        picks, called = symbol(f"Q_{place.tag}"), ("call", "one_hot", ("words", f"0 to {T - 1}"))
        made = Line(picks, called, "symbols", ("onehot", ("row", *range(T)), most))
        return Added(P, (("@", picks, symbol(P)),), (Equation(picks, called),), (made,))
    return Added()


def _added(place: Place) -> str:
    positions = place.option("positions")
    return "none" if positions is None else "sinusoidal" if isinstance(positions, str) else "learned"


def _waves(place: Place) -> Iterator[Line]:
    """P[t,j], a sine in the odd columns and a cosine in the even ones, slower from pair to pair."""
    T, d = place.shape_out
    for t in range(T):
        for j in range(d):
            angle = ("/", t, ("^", 10_000, j // 2 * 2 / d))
            yield Line(symbol(f"P_{place.tag}", t + 1, j + 1), ("cos" if j % 2 else "sin", angle))


def _of_table(E: Parameter, v: int, j: int) -> Tree:
    """An entry of the table; one that is alone needs no index."""
    return symbol(E.name) if E.shape == (1, 1) else symbol(E.name, v, j)


def _picks(place: Place) -> list[int]:
    """The rows that are picked, counted from 1, one for each place."""
    return [id + 1 for id in place.ids or ()]


def _written(place: Place, V: int) -> list[int]:
    """The rows of the table that are written out: all of a small one, else those that were picked."""
    return list(range(1, V + 1)) if V <= LARGEST else sorted(set(_picks(place)))[:LARGEST]
