"""The lines of the gated recurrent unit, for steps 1 and 4: what is kept of earlier, and what is new."""

from collections.abc import Iterator

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol, times
from jaxbp.observe.explanation.places import Place
from jaxbp.observe.explanation.steps.lines import FIRST, Choices, Equation, Line, Made, Show, When

SIGMOID: Tree = ("/", 1, ("+", 1, ("exp", ("neg", symbol("a")))))
KEPT: Tree = ("-", 1, symbol("a"))


def gru_forward(place: Place, choices: Choices, when: When) -> Made:
    """recalled = before R^T + [0 0 c]; r, z of pre + recalled; new = tanh(pre + r recalled); then out."""
    (T, h), out, into = place.shape_out, symbol(place.out), symbol(place.into)
    W, R, b, c = (symbol(place.table(leaf).name) for leaf in "WRbc")
    pre, before, recalled = (symbol(_named(place, word)) for word in ("pre", "before", "recalled"))
    r, z, new = (symbol(_named(place, word)) for word in ("gater", "gatez", "new"))
    earlier = ("stack", ("row", *[0] * h), *(("place", out, t) for t in range(1, T)))
    ones = ("ones", T)
    back = ("@", before, ("T", R))
    part = [("columns", pre, k * h + 1, h) for k in range(3)]
    held = [("columns", recalled, k * h + 1, h) for k in range(3)]
    zeros = ("stack", *[("row", *[0] * (2 * h))] * T)
    only_c = ("call", "beside", 0, 0, ("T", c))
    with_c = ("beside", zeros, ("@", ones, ("T", c)))
    inner = ("+", part[2], ("had", r, held[2]))
    total = ("+", ("had", ("-", 1, z), new), ("had", z, before))
    kept = ("+", ("had", ("each", KEPT, z), new), ("had", z, before))
    matrix = [
        Line(before, ("call", "shifted", out), "symbols", earlier),
        Line(recalled, ("+", back, ("@", ones, only_c)), "symbols", ("+", back, with_c)),
        Line(pre, ("+", ("@", into, ("T", W)), ("@", ones, ("T", b)))),
        *(
            Line(gate, ("call", "sigmoid", a), "symbols", ("each", SIGMOID, a))
            for gate, a in ((r, ("+", part[0], held[0])), (z, ("+", part[1], held[1])))
        ),
        Line(new, ("call", "tanh", inner), "symbols", ("each", ("tanh", symbol("a")), inner)),
        Line(out, total, "symbols", kept),
    ]
    direct = [
        line
        for t in range(1, min(T, FIRST) + 1)
        for j in choices.chosen(h)
        for line in _one_unit(place, t, j)
    ]
    return [Equation(line.target, line.tree) for line in matrix], direct, matrix


def _one_unit(place: Place, t: int, j: int) -> Iterator[Line]:
    """What a unit receives at place t and recalls of the place before, and what it makes of them."""
    (_, d), (_, h) = place.shape_in, place.shape_out
    W, R, b, c = (place.table(leaf).name for leaf in "WRbc")
    pre, recalled = _named(place, "pre"), _named(place, "recalled")
    r, z, new = (symbol(_named(place, word), t, j) for word in ("gater", "gatez", "new"))
    for k in range(3):
        row = k * h + j
        came = [times(symbol(W, row, i), symbol(place.into, t, i)) for i in range(1, d + 1)]
        yield Line(symbol(pre, t, row), plus([*came, symbol(b, row)]))
        earlier = [times(symbol(R, row, i), symbol(place.out, t - 1, i)) for i in range(1, h + 1)]
        bias = [symbol(c, j) if h > 1 else symbol(c)] if k == 2 else []
        yield Line(symbol(recalled, t, row), plus([*(earlier if t > 1 else []), *bias] or [0]))
        a, q = symbol(pre, t, row), symbol(recalled, t, row)
        if k < 2:
            yield Line((r, z)[k], ("/", 1, ("+", 1, ("exp", ("neg", ("+", a, q))))))
        else:
            yield Line(new, ("tanh", ("+", a, times(r, q))))
    kept = [times(z, symbol(place.out, t - 1, j))] if t > 1 else []
    yield Line(symbol(place.out, t, j), plus([times(("-", 1, z), new), *kept]))


def gru_backward(place: Place, choices: Choices, when: When) -> Made:
    """From the last place to the first: a delta comes by what was recalled and by what was kept."""
    (T, h), (_, d) = place.shape_out, place.shape_in
    W, R, b, c = (place.table(leaf).name for leaf in "WRbc")
    d_pre, d_recalled = (f"delta_{_named(place, word)}" for word in ("pre", "recalled"))
    direct: list[Line] = []
    matrix: list[Line] = []
    for t in range(T, 0, -1):
        direct += [line for j in choices.chosen(h) for line in _back(place, t, j)]
        matrix += _back_in_rows(place, t)
    places = range(1, T + 1)
    for row in choices.chosen(3 * h):
        for j in choices.chosen(d):
            of_W = [times(symbol(d_pre, t, row), symbol(place.into, t, j)) for t in places]
            direct.append(Line(symbol(f"delta_{W}", row, j), plus(of_W)))
        for j in choices.chosen(h):
            of_R = [times(symbol(d_recalled, t, row), symbol(place.out, t - 1, j)) for t in places[1:]]
            direct.append(Line(symbol(f"delta_{R}", row, j), plus(of_R or [0])))
        direct.append(Line(symbol(f"delta_{b}", row), plus([symbol(d_pre, t, row) for t in places])))
    for j in choices.chosen(h):
        of_c = plus([symbol(d_recalled, t, 2 * h + j) for t in places])
        direct.append(Line(symbol(f"delta_{c}", j) if h > 1 else symbol(f"delta_{c}"), of_c))
    for t in places[:FIRST]:
        for j in choices.chosen(d):
            back = [times(symbol(d_pre, t, row), symbol(W, row, j)) for row in range(1, 3 * h + 1)]
            direct.append(Line(symbol(place.delta_into, t, j), plus(back)))
    ahead, before = ("T", ("ones", T)), symbol(_named(place, "before"))
    stacked = [
        Line(symbol(name), ("call", "stack", *each), "symbols", ("stack", *each))
        for name in (d_pre, d_recalled)
        for each in [[symbol(f"{name}t{t}") for t in places]]
    ]
    sums = [
        Line(symbol(f"delta_{W}"), ("@", ("T", symbol(d_pre)), symbol(place.into)), "numbers"),
        Line(symbol(f"delta_{R}"), ("@", ("T", symbol(d_recalled)), before), "numbers"),
        Line(symbol(f"delta_{b}"), ("@", ahead, symbol(d_pre)), "numbers"),
        Line(symbol(f"delta_{c}"), ("@", ahead, ("columns", symbol(d_recalled), 2 * h + 1, h)), "symbols"),
        Line(symbol(place.delta_into), ("@", symbol(d_pre), symbol(W)), "numbers"),
    ]
    return [Equation(line.target, line.tree, "; ") for line in sums], direct, [*matrix, *stacked, *sums]


def _back(place: Place, t: int, j: int) -> Iterator[Line]:
    """The deltas of one unit at one place."""
    T, h = place.shape_out
    d_pre, d_recalled = (f"delta_{_named(place, word)}" for word in ("pre", "recalled"))
    hidden, R, z_ = _named(place, "delta_hidden"), place.table("R").name, _named(place, "gatez")
    show: Show = "both" if t <= FIRST else "quiet"
    r, z, new = (symbol(_named(place, word), t, j) for word in ("gater", "gatez", "new"))
    delta, q = symbol(hidden, t, j), symbol(_named(place, "recalled"), t, 2 * h + j)
    later = [times(symbol(d_recalled, t + 1, row), symbol(R, row, j)) for row in range(1, 3 * h + 1)]
    later.append(times(symbol(hidden, t + 1, j), symbol(z_, t + 1, j)))
    yield Line(delta, plus([symbol(place.delta_out, t, j), *(later if t < T else [])]), show)
    of_new, of_r, of_z = (symbol(d_pre, t, k * h + j) for k in (2, 0, 1))
    yield Line(of_new, times(delta, ("-", 1, z), ("-", 1, ("^", new, 2))), show)
    yield Line(of_r, times(of_new, q, r, ("-", 1, r)), show)
    more = ("-", symbol(place.out, t - 1, j), new) if t > 1 else ("neg", new)
    yield Line(of_z, times(delta, more, z, ("-", 1, z)), show)
    for k, tree in enumerate((of_r, of_z, times(of_new, r))):
        yield Line(symbol(d_recalled, t, k * h + j), tree, show)


def _back_in_rows(place: Place, t: int) -> Iterator[Line]:
    """The same, a row of deltas at a time."""
    (T, h), R = place.shape_out, symbol(place.table("R").name)
    hidden, d_pre, d_recalled = (f"delta_{_named(place, word)}t" for word in ("hidden", "pre", "recalled"))

    def row(word: str, t: int) -> Tree:
        return ("T", ("place", symbol(_named(place, word)), t))

    later = [("@", symbol(f"{d_recalled}{t + 1}"), R)] if t < T else []
    kept = [("had", symbol(f"{hidden}{t + 1}"), row("gatez", t + 1))] if t < T else []
    says = [("had", symbol(f"{hidden}{t + 1}"), symbol(_named(place, "gatez"), t + 1))] if t < T else []
    delta, out = symbol(f"{hidden}{t}"), ("T", ("place", symbol(place.delta_out), t))
    written = plus([symbol(place.delta_out, t), *later, *says])
    yield Line(delta, written, "symbols", plus([out, *later, *kept]))
    r, z, new, q = row("gater", t), row("gatez", t), row("new", t), row("recalled", t)
    slopes = [("each", ("·", symbol("a"), KEPT), gate) for gate in (r, z)]
    of_new = ("had", ("had", delta, ("each", KEPT, z)), ("each", ("-", 1, ("^", symbol("a"), 2)), new))
    of_r = ("had", ("had", of_new, ("columns", q, 2 * h + 1, h)), slopes[0])
    of_z = ("had", ("had", delta, ("-", row("before", t), new)), slopes[1])
    r_, z_, new_, before_ = (symbol(_named(place, word), t) for word in ("gater", "gatez", "new", "before"))
    says_new = ("had", delta, ("-", 1, z_), ("-", 1, ("had", new_, new_)))
    q_ = ("columns", symbol(_named(place, "recalled"), t), 2 * h + 1, h)
    says_z = ("had", delta, ("-", before_, new_), z_, ("-", 1, z_))
    says_r = (*says_new, q_, r_, ("-", 1, r_))
    written = ("call", "beside", says_r, says_z, says_new)
    yield Line(symbol(f"{d_pre}{t}"), written, "symbols", ("beside", of_r, of_z, of_new))
    three = [("columns", symbol(f"{d_pre}{t}"), k * h + 1, h) for k in range(3)]
    written, made = (("beside", *three[:2], ("had", three[2], gate)) for gate in (r_, r))
    yield Line(symbol(f"{d_recalled}{t}"), written, "symbols", made)


def _named(place: Place, word: str) -> str:
    return f"{word}_{place.tag}"
