"""Steps 2 and 3 for each loss: mu, the loss and delta_f, directly and with matrices. Plain data."""

from collections.abc import Callable, Iterable

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol, times
from jaxbp.observe.explanation.steps.each_place import at_each_place
from jaxbp.observe.explanation.steps.lines import Choices, Equation, Line, Step, entry, shape
from jaxbp.observe.explanation.steps.parts import Output, Parts


def output_steps(out: Output, choices: Choices) -> tuple[Step, Step]:
    """The output and its delta, for the loss, and for each other loss that can be chosen."""
    names = choices.losses or (out.known,)
    f = symbol("f")
    aka = [symbol(name) for name in (out.f, out.alias) if name and name != "f"]
    head = [Equation(f, ("=", *aka) if len(aka) > 1 else aka[0])] if aka else []
    parts = []
    for name in names:
        when = ("loss", name) if choices.losses else None
        made = OUTPUTS.get(name, _own)(out, choices)
        parts.append((at_each_place(made, out._replace(known=name), choices) if out.places else made, when))
    return (
        Step(
            "2. output",
            (*head, *(equation._replace(when=when) for made, when in parts for equation in made.heading)),
            direct=tuple(
                line._replace(when=when)
                for made, when in parts
                for line in made.output
                if line.show != "quiet"
            ),
            matrix=(
                Line(f, symbol(out.f), "quiet"),
                *(
                    line._replace(when=when)
                    for made, when in parts
                    for line in made.output
                    if line.show == "quiet"
                ),
            ),
            why="The loss says in one number how far the prediction mu is from the target y.",
            both_ways=False,
        ),
        Step(
            "3. delta of the output",
            tuple(made.delta_heading._replace(when=when) for made, when in parts),
            shapes=parts[0][0].shapes if len(parts) == 1 else (),
            direct=tuple(line._replace(when=when) for made, when in parts for line in made.direct),
            matrix=tuple(line._replace(when=when) for made, when in parts for line in made.matrix),
            why="delta_f says how the loss changes with each output: here back-propagation begins.",
            delta=out.delta,
        ),
    )


def _total(terms: list[Tree], C: int, choices: Choices) -> list[Line]:
    """loss[i] = term i for several outputs, and their sum; for one output its line alone."""
    if C == 1:
        return [Line(symbol("loss"), terms[0], "numbers")]
    lines = [Line(symbol("loss", i), terms[i - 1], "numbers") for i in choices.chosen(C)]
    if len(lines) < C:
        return lines
    return [*lines, Line(symbol("loss"), plus([symbol("loss", i) for i in range(1, C + 1)]))]


def _over_outputs(tree: Callable[[Tree, Tree], Tree], left: str, C: int) -> Tree:
    """The loss for the heading: a sum over i where there are several outputs."""
    index = () if C == 1 else ("i",)
    inner = tree(symbol(left, *index), symbol("y", *index))
    return inner if C == 1 else ("sum", inner)


def _transposed(name: str, C: int) -> Tree:
    return symbol(name) if C == 1 else ("T", symbol(name))


def _minus_y(name: str, out: Output) -> Line:
    return Line(symbol(out.delta), ("-", _transposed(name, out.C), _transposed("y", out.C)),
                compute=("-", ("T", symbol(name)), ("T", symbol("y"))))  # fmt: skip


def _log_likelihood(p: Tree, y: Tree) -> Tree:
    """y ln p + (1 - y) ln(1 - p)."""
    return ("+", times(y, ("ln", p)), times(("-", 1, y), ("ln", ("-", 1, p))))


def _binary_cross_entropy(out: Output, choices: Choices) -> Parts:
    C, f, mu = out.C, symbol("f"), symbol("mu")

    def stable(i: int) -> Tree:
        """max(f, 0) - y f + ln(1 + e^-|f|): no digit is lost where mu is nearly 0 or 1."""
        f_i = entry("f", i, C)
        tail = ("ln1p", ("exp", ("neg", ("abs", f_i))))
        return ("-", ("+", ("max", f_i, 0), tail), times(entry("y", i, C), f_i))

    sigmoid = [("/", 1, ("+", 1, ("exp", ("neg", entry("f", i, C))))) for i in range(1, C + 1)]
    mus = [Line(entry("mu", i, C), sigmoid[i - 1]) for i in choices.chosen(C)]
    terms = [("neg", _log_likelihood(entry("mu", i, C), entry("y", i, C))) for i in range(1, C + 1)]
    losses = _computed(_total(terms, C, choices), stable)
    direct = []
    for i in choices.chosen(C):
        y, p = entry("y", i, C), entry("mu", i, C)
        direct.append(Line(entry("delta_mu", i, C), ("-", ("/", ("-", 1, y), ("-", 1, p)), ("/", y, p))))
    for i in choices.chosen(C):
        p = entry("mu", i, C)
        tree = ("·", entry("delta_mu", i, C), times(p, ("-", 1, p)))
        direct.append(Line(entry(out.delta, i, C), tree))
    return Parts(
        heading=(
            Equation(mu, ("call", "sigmoid", f)),
            Equation(symbol("loss"), ("neg", _over_outputs(_log_likelihood, "mu", C))),
        ),
        output=(
            *mus,
            *losses,
            Line(mu, mu, "quiet", ("column", *sigmoid)),
            Line(symbol("loss"), symbol("loss"), "quiet", plus([stable(i) for i in range(1, C + 1)])),
        ),
        delta_heading=_product(out),
        shapes=(shape("delta_mu", 1, C), shape("J_mu(f)", C, C)),
        direct=tuple(direct),
        matrix=(_minus_y("mu", out),),
    )


def _computed(lines: Iterable[Line], term: Callable[[int], Tree]) -> list[Line]:
    """The lines of the loss, each computed by its term."""
    return [
        line._replace(compute=term(line.target[2] if len(line.target) > 2 else 1))
        if line.show == "numbers"
        else line
        for line in lines
    ]


def _product(out: Output) -> Equation:
    return Equation(symbol(out.delta), ("@", symbol("delta_mu"), symbol("J_mu(f)")))


def _on_probabilities(out: Output, choices: Choices) -> Parts:
    C, f = out.C, symbol("f")

    def delta(p: Tree, y: Tree) -> Tree:
        return ("-", ("/", ("-", 1, y), ("-", 1, p)), ("/", y, p))

    def term(p: Tree, y: Tree) -> Tree:
        return ("neg", _log_likelihood(p, y))

    def switched(i: int) -> Tree:
        """The term in which what y switches off is 0."""
        p, y = entry("f", i, C), entry("y", i, C)
        return ("neg", ("+", ("yln", y, p), ("yln", ("-", 1, y), ("-", 1, p))))

    terms = [term(entry("f", i, C), entry("y", i, C)) for i in range(1, C + 1)]
    deltas = [delta(entry("f", i, C), entry("y", i, C)) for i in range(1, C + 1)]
    total = plus([switched(i) for i in range(1, C + 1)])
    whole = [Line(symbol("mu"), f, "quiet"), Line(symbol("loss"), symbol("loss"), "quiet", total)]
    return Parts(
        heading=(
            Equation(symbol("mu"), f),
            Equation(symbol("loss"), ("neg", _over_outputs(_log_likelihood, "f", C))),
        ),
        output=(*_computed(_total(terms, C, choices), switched), *whole),
        delta_heading=Equation(
            symbol(f"{out.delta}"),
            delta(symbol("f", *(("i",) if C > 1 else ())), symbol("y", *(("i",) if C > 1 else ()))),
        ),
        shapes=(shape(out.delta, 1, C),),
        direct=tuple(Line(entry(out.delta, i, C), deltas[i - 1]) for i in choices.chosen(C)),
        matrix=(Line(symbol(out.delta), symbol(out.delta), "result", ("row", *deltas)),),
    )


def _squared_error(out: Output, choices: Choices) -> Parts:
    C, f = out.C, symbol("f")

    def term(p: Tree, y: Tree) -> Tree:
        return ("/", ("^", ("-", p, y), 2), 2)

    terms = [term(entry("f", i, C), entry("y", i, C)) for i in range(1, C + 1)]
    whole = [Line(symbol("mu"), f, "quiet"), Line(symbol("loss"), symbol("loss"), "quiet", plus(terms))]
    direct = [
        Line(entry(out.delta, i, C), ("-", entry("f", i, C), entry("y", i, C))) for i in choices.chosen(C)
    ]
    return Parts(
        heading=(Equation(symbol("mu"), f), Equation(symbol("loss"), _over_outputs(term, "f", C))),
        output=(*_total(terms, C, choices), *whole),
        delta_heading=Equation(symbol(out.delta), _minus_y("f", out).tree),
        shapes=(shape(out.delta, 1, C),),
        direct=tuple(direct),
        matrix=(_minus_y("f", out),),
    )


def _softmax_cross_entropy(out: Output, choices: Choices) -> Parts:
    C, f, mu = out.C, symbol("f"), symbol("mu")
    powers = [("exp", entry("f", j, C)) for j in range(1, C + 1)]
    mus = [
        Line(entry("mu", i, C), ("/", powers[i - 1], plus(powers)), compute=("entry", ("softmax", f), i))
        for i in choices.chosen(C)
    ]
    likelihood = plus([times(entry("y", i, C), ("ln", entry("mu", i, C))) for i in range(1, C + 1)])
    whole = plus([entry("y", i, C) for i in range(1, C + 1)])  # 1, unless someone is typing a y in the page
    log_mu = [("-", entry("f", i, C), ("logsumexp", f)) for i in range(1, C + 1)]
    value = ("neg", plus([times(entry("y", i, C), log_mu[i - 1]) for i in range(1, C + 1)]))
    shown = choices.chosen(C)
    direct = [
        Line(
            entry("delta_mu", i, C),
            ("neg", ("/", entry("y", i, C), entry("mu", i, C))),
            "both" if i in shown else "quiet",
        )
        for i in range(1, C + 1)
    ]
    for j in shown:
        through = [
            times(entry("delta_mu", i, C), entry("mu", i, C), _softmax_slope(i, j, C))
            for i in range(1, C + 1)
        ]
        direct.append(Line(entry(out.delta, j, C), plus(through)))
    return Parts(
        heading=(
            Equation(mu, ("call", "softmax", f)),
            Equation(symbol("loss"), ("neg", ("@", _transposed("y", C), ("ln", mu)))),
        ),
        output=(
            *mus,
            Line(symbol("loss"), ("neg", likelihood), "numbers", value),
            Line(mu, mu, "quiet", ("softmax", f)),
            Line(symbol("loss"), symbol("loss"), "quiet", value),
        ),
        delta_heading=_product(out),
        shapes=(shape("delta_mu", 1, C), shape("J_mu(f)", C, C)),
        direct=tuple(direct),
        matrix=(_minus_y("mu", out)._replace(compute=("-", ("@", whole, ("T", mu)), ("T", symbol("y")))),),
    )


def _softmax_slope(i: int, j: int, C: int) -> Tree:
    """(1[i = j] - mu_j), of J_mu(f)[i,j] = mu_i (1[i = j] - mu_j)."""
    return ("-", 1, entry("mu", j, C)) if i == j else ("neg", entry("mu", j, C))


def _own(out: Output, choices: Choices) -> Parts:
    """A loss of the user's own: its numbers are known, its formula is not."""
    C, loss, delta = out.C, symbol("loss"), symbol(out.delta)
    called = ("call", out.loss, symbol("f"), symbol("y"))
    direct = [
        Line(entry(out.delta, i, C), entry(f"d{out.loss}/df", i, C), "symbols") for i in choices.chosen(C)
    ]
    return Parts(
        heading=(Equation(loss, called),),
        output=(Line(loss, called, "symbols", loss),),
        delta_heading=Equation(delta, symbol(f"d{out.loss}/df")),
        shapes=(shape(out.delta, 1, C),),
        direct=tuple(direct),
        matrix=(Line(delta, delta, "result"),),
    )


OUTPUTS: dict[str, Callable[[Output, Choices], Parts]] = {
    "squared_error": _squared_error,
    "binary_cross_entropy": _binary_cross_entropy,
    "binary_cross_entropy_on_probabilities": _on_probabilities,
    "softmax_cross_entropy": _softmax_cross_entropy,
}
"""The losses whose formulas are known, by their names in NET.json."""
