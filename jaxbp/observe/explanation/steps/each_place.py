"""Steps 2 and 3 where there is an output at each place of a sequence: the lines of one place, at each."""

from typing import Any

from jaxbp.observe.explanation.formulas.trees import Tree, plus, symbol
from jaxbp.observe.explanation.steps.lines import FIRST, Choices, Equation, Line
from jaxbp.observe.explanation.steps.parts import Output, Parts


def at_each_place(one: Parts, out: Output, choices: Choices) -> Parts:
    """The parts of a loss for T outputs, from those for one: the loss is the mean over places, or the sum.

    Args:
        one: of a single output.
        out: where the loss stands.
        choices: what is written out.
    """
    T, loss = out.places, symbol("loss")
    shown = range(1, min(T, FIRST) + 1)
    direct = tuple(_scaled(_line(line, out, t), out) for t in shown for line in one.direct)
    if not out.known:  # of which only the numbers are known
        return one._replace(direct=direct)
    quiet = [line for line in one.output if line.show == "quiet"]
    lines = [line for line in one.output if line.show != "quiet"]
    output = [_line(line, out, t) for t in shown for line in lines]
    total = plus([symbol("loss", t) for t in range(1, T + 1)])
    whole = T <= FIRST and any(line.target == loss for line in lines)
    output.append(Line(loss, _shared(total, out)) if whole else Line(loss, loss, "result"))
    for line in quiet:
        each = [_at(line.computed, out, t) for t in range(1, T + 1)]
        tree = _shared(plus(each), out) if line.target == loss else ("stack", *each)
        output.append(Line(line.target, line.target, "quiet", tree))
    (of_delta,) = one.matrix
    delta = _at(one.delta_heading.right, out, "t")
    stacked = ("stack", *(_at(of_delta.computed, out, t) for t in range(1, T + 1)))
    return Parts(
        heading=(
            *(Equation(_at(e.left, out, "t"), _at(e.right, out, "t"), e.then) for e in one.heading),
            Equation(loss, _shared(("sum", symbol("loss", "t"), "t"), out)),
        ),
        output=tuple(output),
        delta_heading=Equation(_at(one.delta_heading.left, out, "t"), _from_y(delta, out)),
        shapes=one.shapes,
        direct=direct,
        matrix=(of_delta._replace(tree=_shared(_whole(of_delta.tree), out), compute=_shared(stacked, out)),),
    )


def _shared(tree: Tree, out: Output) -> Tree:
    """The tree divided by the number of places, where the loss is a mean."""
    return ("/", tree, out.places) if out.mean else tree


def _names(out: Output) -> tuple[str, ...]:
    return ("f", "mu", "y", "delta_mu", "loss", out.delta, f"d{out.loss}/df")


def _at(tree: Tree, out: Output, t: Any) -> Tree:
    """The tree at place t: an entry by its place and number, a whole quantity by its row."""
    if not isinstance(tree, tuple):
        return tree
    if tree[0] != "$":
        return (tree[0], *(_at(arg, out, t) for arg in tree[1:]))
    if tree[1] not in _names(out):
        return tree
    if len(tree) > 2 or tree[1] == "loss" or t == "t":
        return symbol(tree[1], t, *tree[2:])
    return symbol(tree[1], t, 1) if out.C == 1 else ("place", tree, t)


def _line(line: Line, out: Output, t: int) -> Line:
    compute = None if line.compute is None else _at(line.compute, out, t)
    return line._replace(target=_at(line.target, out, t), tree=_at(line.tree, out, t), compute=compute)


def _scaled(line: Line, out: Output) -> Line:
    return line._replace(tree=_from_y(line.tree, out))


def _from_y(tree: Tree, out: Output) -> Tree:
    """What begins the way back, at y, has its share of the loss; the rest follows from it."""
    return _shared(tree, out) if _mentions(tree, "y") else tree


def _mentions(tree: Tree, name: str) -> bool:
    return isinstance(tree, tuple) and (tree[:2] == ("$", name) or any(_mentions(a, name) for a in tree[1:]))


def _whole(tree: Tree) -> Tree:
    """Of all places at once no row has to be transposed: each quantity has a row for each place."""
    if not isinstance(tree, tuple):
        return tree
    return _whole(tree[1]) if tree[0] == "T" else (tree[0], *map(_whole, tree[1:]))
