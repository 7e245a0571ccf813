"""The lines of Elman's cell and of the LSTM, for steps 1 and 4: place after place, and back through time."""

from collections.abc import Iterator

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol, times
from jaxbp.observe.explanation.places import Place
from jaxbp.observe.explanation.steps.lines import FIRST, Choices, Equation, Line, Made, Show, When

GATES = ("gatei", "gatef", "gateg", "gateo")
"""Of an LSTM, in the order of the rows of W: what comes in, what is kept, what is new, what is shown."""

SIGMOID: Tree = ("/", 1, ("+", 1, ("exp", ("neg", symbol("a")))))
SIGMOID_SLOPE: Tree = ("·", symbol("a"), ("-", 1, symbol("a")))  # in terms of the sigmoid itself
TANH_SLOPE: Tree = ("-", 1, ("^", symbol("a"), 2))  # in terms of the tanh itself


def recurrence_forward(place: Place, choices: Choices, when: When) -> Made:
    """pre = x W^T + before R^T + 1 b^T, a row of before being the out of the place before; then the cell."""
    (T, h), out = place.shape_out, symbol(place.out)
    W, R, b = (symbol(place.table(leaf).name) for leaf in "WRb")
    into = symbol(place.into)
    pre, before = symbol(_named(place, "pre")), symbol(_named(place, "before"))
    earlier = ("stack", ("row", *[0] * h), *(_at(out, t) for t in range(1, T)))
    matrix = [
        Line(before, ("call", "shifted", out), "symbols", earlier),
        Line(pre, ("+", ("@", into, ("T", W)), ("@", before, ("T", R)), ("@", ("ones", T), ("T", b)))),
    ]
    if _is_lstm(place):
        matrix += _cells(place)
    else:
        matrix.append(Line(out, ("call", "tanh", pre), "symbols", ("each", ("tanh", symbol("a")), pre)))
    direct = [line for t in range(1, min(T, FIRST) + 1) for line in _one_place(place, t, choices)]
    return [Equation(line.target, line.tree) for line in matrix if len(line.target) == 2], direct, matrix


def _cells(place: Place) -> Iterator[Line]:
    """The gates of all places at once, and the cell place after place."""
    (T, h), out, pre = place.shape_out, symbol(place.out), symbol(_named(place, "pre"))
    i, f, g, o = (symbol(_named(place, gate)) for gate in GATES)
    for k, gate in enumerate((i, f, g, o)):
        bend, columns = ("tanh" if gate is g else "sigmoid"), ("columns", pre, k * h + 1, h)
        formula = ("tanh", symbol("a")) if gate is g else SIGMOID
        yield Line(gate, ("call", bend, columns), "symbols", ("each", formula, columns))
    cell = symbol(_named(place, "cell"))
    made: list[Tree] = []
    for t in range(1, T + 1):
        fresh = ("had", _at(i, t), _at(g, t))
        made.append(("+", ("had", _at(f, t), made[-1]), fresh) if made else fresh)
    total = ("+", ("had", f, ("call", "shifted", cell)), ("had", i, g))
    yield Line(cell, total, "symbols", ("stack", *made))
    shown = ("had", o, ("each", ("tanh", symbol("a")), cell))
    yield Line(out, ("had", o, ("call", "tanh", cell)), "symbols", shown)


def _one_place(place: Place, t: int, choices: Choices) -> Iterator[Line]:
    """What each unit receives at place t, and what it makes of it."""
    h = place.shape_out[1]
    pre, cell = _named(place, "pre"), _named(place, "cell")
    for j in choices.chosen(h):
        if not _is_lstm(place):
            yield Line(symbol(pre, t, j), _received(place, t, j))
            yield Line(symbol(place.out, t, j), ("tanh", symbol(pre, t, j)))
            continue
        i, f, g, o = (symbol(_named(place, gate), t, j) for gate in GATES)
        for k, gate in enumerate((i, f, g, o)):
            a = symbol(pre, t, k * h + j)
            yield Line(a, _received(place, t, k * h + j))
            yield Line(gate, ("tanh", a) if gate is g else ("/", 1, ("+", 1, ("exp", ("neg", a)))))
        kept = [times(f, symbol(cell, t - 1, j))] if t > 1 else []
        yield Line(symbol(cell, t, j), plus([*kept, times(i, g)]))
        yield Line(symbol(place.out, t, j), times(o, ("tanh", symbol(cell, t, j))))


def _received(place: Place, t: int, r: int) -> Tree:
    W, R, b = (place.table(leaf).name for leaf in "WRb")
    came = [times(symbol(W, r, j), symbol(place.into, t, j)) for j in range(1, place.shape_in[1] + 1)]
    earlier = [times(symbol(R, r, j), symbol(place.out, t - 1, j)) for j in range(1, place.shape_out[1] + 1)]
    bias = symbol(b, r) if place.table("b").shape != (1,) else symbol(b)
    return plus([*came, *(earlier if t > 1 else []), bias])


def recurrence_backward(place: Place, choices: Choices, when: When) -> Made:
    """delta_pre from the last place to the first, for what a place makes goes on to the next; then sums."""
    (T, h), rows, d_pre = place.shape_out, place.table("W").shape[0], f"delta_{_named(place, 'pre')}"
    W, R, b = (place.table(leaf).name for leaf in "WRb")
    direct: list[Line] = []
    matrix: list[Line] = []
    for t in range(T, 0, -1):
        direct += _back_directly(place, t, choices)
        matrix += _back_in_rows(place, t)
    for r in choices.chosen(rows):
        for j in choices.chosen(place.shape_in[1]):
            of_W = [times(symbol(d_pre, t, r), symbol(place.into, t, j)) for t in range(1, T + 1)]
            direct.append(Line(symbol(f"delta_{W}", r, j), plus(of_W)))
        for j in choices.chosen(h):
            of_R = [times(symbol(d_pre, t, r), symbol(place.out, t - 1, j)) for t in range(2, T + 1)]
            direct.append(Line(symbol(f"delta_{R}", r, j), plus(of_R or [0])))
        direct.append(Line(symbol(f"delta_{b}", r), plus([symbol(d_pre, t, r) for t in range(1, T + 1)])))
    for t in range(1, min(T, FIRST) + 1):
        for j in choices.chosen(place.shape_in[1]):
            back = [times(symbol(d_pre, t, r), symbol(W, r, j)) for r in range(1, rows + 1)]
            direct.append(Line(symbol(place.delta_into, t, j), plus(back)))
    delta, before = symbol(d_pre), symbol(_named(place, "before"))
    each = [symbol(f"{d_pre}t{t}") for t in range(1, T + 1)]
    sums = [
        Line(delta, ("call", "stack", *each), "symbols", ("stack", *each)),
        Line(symbol(f"delta_{W}"), ("@", ("T", delta), symbol(place.into)), "numbers"),
        Line(symbol(f"delta_{R}"), ("@", ("T", delta), before), "numbers"),
        Line(symbol(f"delta_{b}"), ("@", ("T", ("ones", T)), delta), "numbers"),
        Line(symbol(place.delta_into), ("@", delta, symbol(W)), "numbers"),
    ]
    return [Equation(line.target, line.tree, "; ") for line in sums[1:]], direct, [*matrix, *sums]


def _back_directly(place: Place, t: int, choices: Choices) -> Iterator[Line]:
    """The deltas of one place, unit by unit."""
    (T, h), rows = place.shape_out, place.table("W").shape[0]
    d_pre, R = f"delta_{_named(place, 'pre')}", place.table("R").name
    hidden, d_cell, cell = (_named(place, word) for word in ("delta_hidden", "delta_cell", "cell"))
    show: Show = "both" if t <= FIRST else "quiet"
    for j in choices.chosen(h):
        later = [times(symbol(d_pre, t + 1, r), symbol(R, r, j)) for r in range(1, rows + 1)]
        delta = symbol(hidden, t, j)
        yield Line(delta, plus([symbol(place.delta_out, t, j), *(later if t < T else [])]), show)
        if not _is_lstm(place):
            slope = ("-", 1, ("^", symbol(place.out, t, j), 2))
            yield Line(symbol(d_pre, t, j), times(delta, slope), show)
            continue
        i, f, g, o = (symbol(_named(place, gate), t, j) for gate in GATES)
        own, bent = symbol(d_cell, t, j), ("tanh", symbol(cell, t, j))
        kept = times(symbol(d_cell, t + 1, j), symbol(_named(place, "gatef"), t + 1, j))
        here = times(delta, o, ("-", 1, ("^", bent, 2)))
        yield Line(own, plus([*([kept] if t < T else []), here]), show)
        before = symbol(cell, t - 1, j)
        by_gate = (
            times(own, g, i, ("-", 1, i)),
            times(own, before, f, ("-", 1, f)) if t > 1 else 0,
            times(own, i, ("-", 1, ("^", g, 2))),
            times(delta, bent, o, ("-", 1, o)),
        )
        for k, tree in enumerate(by_gate):
            yield Line(symbol(d_pre, t, k * h + j), tree, show)


def _back_in_rows(place: Place, t: int) -> Iterator[Line]:
    """The same, a row of deltas at a time."""
    (T, h), R = place.shape_out, symbol(place.table("R").name)
    hidden, d_cell = (f"{_named(place, word)}t{t}" for word in ("delta_hidden", "delta_cell"))
    d_pre = f"delta_{_named(place, 'pre')}t"
    later = [("@", symbol(f"{d_pre}{t + 1}"), R)] if t < T else []
    delta, row = symbol(hidden), ("T", _at(symbol(place.delta_out), t))
    written = symbol(place.delta_out, t)
    yield Line(delta, plus([written, *later]), "symbols", plus([row, *later]))

    def slope(formula: Tree, of: Tree) -> Tree:
        return ("each", formula, of)

    if not _is_lstm(place):
        out = ("T", _at(symbol(place.out), t))
        written = ("had", delta, ("call", "tanh'", symbol(_named(place, "pre"), t)))
        yield Line(symbol(f"{d_pre}{t}"), written, "symbols", ("had", delta, slope(TANH_SLOPE, out)))
        return
    i, f, g, o = (("T", _at(symbol(_named(place, gate)), t)) for gate in GATES)
    cell = symbol(_named(place, "cell"))
    bent = ("each", ("tanh", symbol("a")), ("T", _at(cell, t)))
    own, name = symbol(d_cell), _named(place, "cell")
    after = ("T", _at(symbol(_named(place, "gatef")), t + 1))
    kept = [("had", symbol(f"{_named(place, 'delta_cell')}t{t + 1}"), after)] if t < T else []
    says = [("had", kept[0][1], symbol(_named(place, "gatef"), t + 1))] if t < T else []
    shown = ("had", delta, symbol(_named(place, "gateo"), t), ("call", "tanh'", symbol(name, t)))
    here = ("had", ("had", delta, o), slope(TANH_SLOPE, bent))
    yield Line(own, plus([*says, shown]), "symbols", plus([*kept, here]))
    before = ("T", _at(cell, t - 1)) if t > 1 else ("row", *[0] * h)
    made = (
        ("had", ("had", own, g), slope(SIGMOID_SLOPE, i)),
        ("had", ("had", own, before), slope(SIGMOID_SLOPE, f)),
        ("had", ("had", own, i), slope(TANH_SLOPE, g)),
        ("had", ("had", delta, bent), slope(SIGMOID_SLOPE, o)),
    )
    i, f, g, o = (symbol(_named(place, gate), t) for gate in GATES)
    rule: list[Tree] = [
        ("had", own, g, i, ("-", 1, i)),
        ("had", own, symbol(name, t - 1), f, ("-", 1, f)) if t > 1 else 0,
        ("had", own, i, ("-", 1, ("had", g, g))),
        ("had", delta, ("call", "tanh", symbol(name, t)), o, ("-", 1, o)),
    ]
    yield Line(symbol(f"{d_pre}{t}"), ("call", "beside", *rule), "symbols", ("beside", *made))


def _named(place: Place, word: str) -> str:
    return f"{word}_{place.tag}"


def _at(whole: Tree, t: int) -> Tree:
    return ("place", whole, t)


def _is_lstm(place: Place) -> bool:
    return bool(place.option("gates"))
