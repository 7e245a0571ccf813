"""The lines of a norm, for steps 1 and 4: each row, less its mean, divided by how far it spreads."""

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol, times
from jaxbp.observe.explanation.places import Place
from jaxbp.observe.explanation.steps.lines import Choices, Equation, Line, Made, When, entry, index, rows


def norm_forward(place: Place, choices: Choices, when: When) -> Made:
    """out = g normed + b, normed = (f - mean) scale, scale = 1 / sqrt(var + eps), for each row."""
    d, eps, centered = place.shape_out[-1], place.option("eps"), place.option("centered")
    mean, var, scale, normed = (f"{word}_{place.tag}" for word in ("mean", "var", "scale", "normed"))
    g, b = place.table("g").name, place.bias
    direct: list[Line] = []
    for at in rows(place.shape_out):
        f = [entry(place.into, i, d, at) for i in range(1, d + 1)]
        if centered:
            direct.append(Line(symbol(mean, *at), ("/", plus(f), d)))
            f = [("-", each, symbol(mean, *at)) for each in f]
        direct.append(Line(symbol(var, *at), ("/", plus([("^", each, 2) for each in f]), d)))
        spread = ("/", 1, ("sqrt", ("+", symbol(var, *at), eps)))
        direct.append(Line(symbol(scale, *at), spread))
        for i in choices.chosen(d):
            n, out = entry(normed, i, d, at), times(entry(g, i, d), entry(normed, i, d, at))
            direct.append(Line(n, times(f[i - 1], symbol(scale, *at))))
            direct.append(Line(entry(place.out, i, d, at), ("+", out, entry(b, i, d)) if b else out))
    into, ones = _in_rows(place, place.into), ("ones", d)
    centered_rows = ("-", into, ("@", symbol(mean), ("T", ones))) if centered else into
    squares = ("/", ("@", ("had", centered_rows, centered_rows), ones), d)
    one_over = ("/", 1, ("sqrt", ("+", symbol(var), eps)))
    each = ("each", ("/", 1, ("sqrt", ("+", symbol("a"), eps))), symbol(var))
    total: Tree = ("@", symbol(normed), ("diag", symbol(g)))
    if b:
        row = ("T", symbol(b))
        total = ("+", total, ("@", ("ones", place.shape_out[0]), row) if _is_sequence(place) else row)
    total = total if _is_sequence(place) else ("T", total)
    of_mean = [Line(symbol(mean), ("/", ("@", into, ones), d))] if centered else []
    matrix = [
        *of_mean,
        Line(symbol(var), squares),
        Line(symbol(scale), one_over, "symbols", each),
        Line(symbol(normed), ("@", ("diag", symbol(scale)), centered_rows)),
        Line(symbol(place.out), total),
    ]
    return [Equation(line.target, line.tree) for line in matrix], direct, matrix


def norm_backward(place: Place, choices: Choices, when: When) -> Made:
    """delta_f = scale (delta_normed - its mean - normed mean(delta_normed normed)), for each row."""
    d, centered = place.shape_out[-1], place.option("centered")
    scale, normed = f"scale_{place.tag}", f"normed_{place.tag}"
    delta, along, level = (f"delta_{normed}", f"along_{place.tag}", f"level_{place.tag}")
    g, b, out = place.table("g").name, place.bias, place.delta_out
    every, units = rows(place.shape_out, place.shape_out[0]), choices.chosen(d)
    direct: list[Line] = []
    for at in rows(place.shape_out):
        of = [symbol(delta, *index(at, i, d)) for i in range(1, d + 1)]
        n = [entry(normed, i, d, at) for i in range(1, d + 1)]
        for i in range(1, d + 1):
            tree = times(entry(out, i, d, at), entry(g, i, d))
            direct.append(Line(of[i - 1], tree, "both" if i in units else "quiet"))
        if centered:
            direct.append(Line(symbol(level, *at), ("/", plus(of), d)))
        product = plus([times(a, c) for a, c in zip(of, n, strict=True)])
        direct.append(Line(symbol(along, *at), ("/", product, d)))
        for j in units:
            less = [symbol(level, *at)] if centered else []
            inner = ("-", of[j - 1], *less, times(n[j - 1], symbol(along, *at)))
            direct.append(Line(entry(place.delta_into, j, d, at), times(symbol(scale, *at), inner)))
    for i in units:
        of_g = [times(entry(out, i, d, at), entry(normed, i, d, at)) for at in every]
        direct.append(Line(entry(f"delta_{g}", i, d), plus(of_g)))
        if b:
            direct.append(Line(entry(f"delta_{b}", i, d), plus([entry(out, i, d, at) for at in every])))
    ones, ahead = ("ones", d), ("T", ("ones", len(every)))
    less = [("@", symbol(level), ("T", ones))] if centered else []
    inner = ("-", symbol(delta), *less, ("@", ("diag", symbol(along)), symbol(normed)))
    rows_back = ("@", ("diag", symbol(scale)), inner)
    of_level = [Line(symbol(level), ("/", ("@", symbol(delta), ones), d), "numbers")] if centered else []
    of_b = [Line(symbol(f"delta_{b}"), ("@", ahead, symbol(out)), "numbers")] if b else []
    matrix = [
        Line(symbol(delta), ("@", symbol(out), ("diag", symbol(g))), "numbers"),
        *of_level,
        Line(symbol(along), ("/", ("@", ("had", symbol(delta), symbol(normed)), ones), d), "numbers"),
        Line(symbol(place.delta_into), rows_back, "numbers"),
        Line(symbol(f"delta_{g}"), ("@", ahead, ("had", symbol(out), symbol(normed))), "numbers"),
        *of_b,
    ]
    return [Equation(line.target, line.tree, "; ") for line in matrix], direct, matrix


def _is_sequence(place: Place) -> bool:
    return len(place.shape_out) == 2


def _in_rows(place: Place, name: str) -> Tree:
    """The quantity with a row for each place; a column is one row."""
    return symbol(name) if _is_sequence(place) else ("T", symbol(name))
