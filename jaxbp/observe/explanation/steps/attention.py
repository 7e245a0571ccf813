"""The lines of attention, for steps 1 and 4: each place takes from the others what it looks for."""

from collections.abc import Iterator
from typing import NamedTuple

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol, times
from jaxbp.observe.explanation.places import Place
from jaxbp.observe.explanation.steps.lines import FIRST, Choices, Equation, Line, Made, Show, When

WORDS = ("query", "key", "value")
"""What stands side by side in what comes in."""


class Head(NamedTuple):
    """One head: where its queries, keys and values stand among the columns of what comes in.

    Args:
        mark: of its quantities.
        shared: of the quantities of its keys and values, which several heads may have in common.
        query: the column before its first.
        key: of its keys.
        value: of its values.
        out: of what it makes.
        e: its columns.
        T: the places.
        causal: whether a place sees itself and those before it alone.
    """

    mark: str
    shared: str
    query: int
    key: int
    value: int
    out: int
    e: int
    T: int
    causal: bool

    def seen(self, t: int) -> range:
        """The places that place t looks at."""
        return range(1, (t if self.causal else self.T) + 1)

    def seen_by(self, s: int) -> range:
        """The places that look at place s."""
        return range(s if self.causal else 1, self.T + 1)


def heads(place: Place) -> list[Head]:
    """The heads; H queries stand first at each place, then G keys, then G values."""
    H, G = place.option("heads"), place.option("kv_heads") or place.option("heads")
    T, e = place.shape_out[0], place.shape_out[1] // H
    at = place.out.removeprefix("f_")
    made = []
    for h in range(H):
        g = h * G // H
        mark, shared = at + f"h{h + 1}" * (H > 1), at + f"h{g + 1}" * (G > 1)
        columns = (h * e, (H + g) * e, (H + G + g) * e, h * e)
        made.append(Head(mark, shared, *columns, e, T, place.option("causal")))
    return made


def attention_forward(place: Place, choices: Choices, when: When) -> Made:
    """S = Q K^T / sqrt(e), A = softmax(S) by rows, out = A V, for each head; the heads stand side by side."""
    direct: list[Line] = []
    matrix: list[Line] = []
    for head in heads(place):
        for t in range(1, min(head.T, FIRST) + 1):
            direct += _one_place(place, head, t, choices)
        columns = {"query": head.query, "key": head.key, "value": head.value}
        for word, first in columns.items():
            of = ("columns", symbol(place.into), first + 1, head.e)
            line = Line(symbol(_named(head, word)), of, "symbols")
            matrix += [line] if line not in matrix else []
        Q, K, S, A = (symbol(_named(head, word)) for word in ("query", "key", "S", "A"))
        matrix.append(Line(S, ("/", ("@", Q, ("T", K)), ("sqrt", head.e))))
        softmax = ("call", "causal_softmax" if head.causal else "softmax", S)
        matrix.append(Line(A, softmax, "symbols", ("attention", S, int(head.causal))))
    each = [("@", symbol(_named(h, "A")), symbol(_named(h, "value"))) for h in heads(place)]
    matrix.append(Line(symbol(place.out), each[0] if len(each) == 1 else ("beside", *each)))
    return [Equation(line.target, line.tree) for line in matrix], direct, matrix


def _named(head: Head, word: str) -> str:
    return f"{word}_{head.shared if word in ('key', 'value') else head.mark}"


def _one_place(place: Place, head: Head, t: int, choices: Choices) -> Iterator[Line]:
    """What place t looks at, how much, and what it takes."""
    S, A = _named(head, "S"), _named(head, "A")

    def into(t: int, first: int, j: int) -> Tree:
        return symbol(place.into, t, first + j)

    for s in head.seen(t):
        products = [times(into(t, head.query, j), into(s, head.key, j)) for j in range(1, head.e + 1)]
        yield Line(symbol(S, t, s), ("/", plus(products), ("sqrt", head.e)))
    scores = [symbol(S, t, s) for s in head.seen(t)]
    powers = [("exp", score) for score in scores]
    for s in head.seen(t):
        exact = ("entry", ("softmax", ("row", *scores)), s)
        yield Line(symbol(A, t, s), ("/", powers[s - 1], plus(powers)), compute=exact)
    for unit in choices.chosen(place.shape_out[1]):
        if 0 < (j := unit - head.out) <= head.e:
            taken = [times(symbol(A, t, s), into(s, head.value, j)) for s in head.seen(t)]
            yield Line(symbol(place.out, t, unit), plus(taken))


def attention_backward(place: Place, choices: Choices, when: When) -> Made:
    """delta_A = delta V^T, back through each row's softmax, and from S to the queries and the keys."""
    direct: list[Line] = []
    matrix: list[Line] = []
    parts: dict[tuple[str, str], list[Tree]] = {}
    delta = symbol(place.delta_out)
    for head in heads(place):
        direct += _to_scores(place, head)
        A, S = symbol(_named(head, "A")), symbol(f"delta_{_named(head, 'S')}")
        Q, K, V = (symbol(_named(head, word)) for word in ("query", "key", "value"))
        d_A, ones, root = symbol(f"delta_{_named(head, 'A')}"), ("ones", head.T), ("sqrt", head.e)
        own = ("columns", delta, head.out + 1, head.e) if len(heads(place)) > 1 else delta
        matrix.append(Line(d_A, ("@", own, ("T", V)), "numbers"))
        along = ("@", ("had", A, d_A), ones, ("T", ones))
        matrix.append(Line(S, ("had", A, ("-", d_A, along)), "numbers"))
        for word, tree in (
            ("query", ("/", ("@", S, K), root)),
            ("key", ("/", ("@", ("T", S), Q), root)),
            ("value", ("@", ("T", A), own)),
        ):
            parts.setdefault((word, _named(head, word)), []).append(tree)
    in_order = []
    for (_, name), trees in sorted(parts.items(), key=lambda part: WORDS.index(part[0][0])):
        in_order.append(symbol(f"delta_{name}"))
        matrix.append(Line(in_order[-1], plus(trees), "numbers"))
    matrix.append(Line(symbol(place.delta_into), ("beside", *in_order), "symbols"))
    for t in range(1, min(place.shape_in[0], FIRST) + 1):
        for unit in choices.chosen(place.shape_in[1]):
            direct.append(Line(symbol(place.delta_into, t, unit), _to_column(place, t, unit)))
    return [Equation(line.target, line.tree, "; ") for line in matrix], direct, matrix


def _to_scores(place: Place, head: Head) -> Iterator[Line]:
    """The deltas of A and of S, of all places: those that look at a place are later ones."""
    A, S, along = _named(head, "A"), _named(head, "S"), f"inner_{head.mark}"
    for t in range(1, head.T + 1):
        show: Show = "both" if t <= FIRST else "quiet"
        for s in head.seen(t):
            products = [
                times(symbol(place.delta_out, t, head.out + j), symbol(place.into, s, head.value + j))
                for j in range(1, head.e + 1)
            ]
            yield Line(symbol(f"delta_{A}", t, s), plus(products), show)
        each = [times(symbol(A, t, s), symbol(f"delta_{A}", t, s)) for s in head.seen(t)]
        yield Line(symbol(along, t), plus(each), show)
        for s in head.seen(t):
            less = ("-", symbol(f"delta_{A}", t, s), symbol(along, t))
            yield Line(symbol(f"delta_{S}", t, s), times(symbol(A, t, s), less), show)


def _to_column(place: Place, t: int, unit: int) -> Tree:
    """The delta of one entry of what came in: of a query, a key or a value."""
    terms: list[Tree] = []
    root: Tree = None
    for head in heads(place):
        delta_S, A = f"delta_{_named(head, 'S')}", _named(head, "A")
        if 0 < (j := unit - head.query) <= head.e:
            root = ("sqrt", head.e)
            keys = [(s, symbol(place.into, s, head.key + j)) for s in head.seen(t)]
            terms += [times(symbol(delta_S, t, s), key) for s, key in keys]
        elif 0 < (j := unit - head.key) <= head.e:
            root = ("sqrt", head.e)
            queries = [(by, symbol(place.into, by, head.query + j)) for by in head.seen_by(t)]
            terms += [times(symbol(delta_S, by, t), query) for by, query in queries]
        elif 0 < (j := unit - head.value) <= head.e:
            outs = [(by, symbol(place.delta_out, by, head.out + j)) for by in head.seen_by(t)]
            terms += [times(symbol(A, by, t), out) for by, out in outs]
    return plus(terms) if root is None else ("/", plus(terms), root)
