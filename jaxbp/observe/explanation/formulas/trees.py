"""Formulas as trees: one tree is evaluated, and written in text, LaTeX or MathML.

A tree is a number or a tuple ``(operator, *trees)``. ``("$", "W_1", 1, 2)`` is an entry of a quantity,
counted from 1, and ``("$", "W_1")`` the whole of it. Quantities are matrices, lists of rows: a column for x,
a_l, f_l and b_l, a row for a delta. One with a single entry counts as a number. Plain Python, without JAX.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from jaxbp.observe.explanation.formulas.values import OPERATORS, Value, entries_of, number_if_single, rows_of

Tree: TypeAlias = Any  # a number, or (operator, *trees)


def symbol(name: str, *index: int | str) -> Tree:
    """A quantity, or one of its entries, counted from 1; in a heading an index may be a letter."""
    return ("$", name, *index)


def plus(terms: Sequence[Tree]) -> Tree:
    """t_1 + t_2 + ..., which for a single term is that term."""
    return terms[0] if len(terms) == 1 else ("+", *terms)


def times(*factors: Tree) -> Tree:
    """t_1 t_2 ..., products within it written out."""
    flat = [g for f in factors for g in (f[1:] if isinstance(f, tuple) and f[0] == "·" else (f,))]
    return ("·", *flat)


def evaluate(tree: Tree, values: Mapping[Tree, Value]) -> Value:
    """The number, or the matrix, that a tree stands for.

    Args:
        tree: the formula. ``("each", formula, a)`` puts every entry of a for ``("$", "a")`` in the formula.
        values: quantities by their symbol. An entry is looked up by itself first, ``("$", "x", 1)``, then in
            the whole, ``("$", "x")``.

    Example: 0.5 * 1 + 0.1.
        >>> tree = ("+", ("·", ("$", "W", 1, 2), ("$", "x", 1)), ("$", "b"))
        >>> evaluate(tree, {("$", "W"): [[2.0, 0.5]], ("$", "x"): [[1.0]], ("$", "b"): [[0.1]]})
        0.6
    """
    if not isinstance(tree, tuple):
        return float(tree)
    operator, *args = tree
    if operator == "$":
        return _looked_up(tree, values)
    if operator == "each":
        formula, a = args
        rows = rows_of(evaluate(a, values))
        made: Any = [[evaluate(formula, {symbol("a"): v}) for v in row] for row in rows]
        return number_if_single(made)
    return OPERATORS[operator](*(evaluate(arg, values) for arg in args))


def _looked_up(tree: Tree, values: Mapping[Tree, Value]) -> Value:
    if tree in values:
        return number_if_single(values[tree])
    whole = rows_of(values[tree[:2]])
    if len(tree) == 4:
        return whole[tree[2] - 1][tree[3] - 1]
    return entries_of(whole)[tree[2] - 1]


def replaced(tree: Tree, by: Mapping[str, Tree]) -> Tree:
    """The tree with the quantities of these names replaced.

    Example:
        >>> replaced(("neg", ("$", "a")), {"a": ("$", "a_1", 2)})
        ('neg', ('$', 'a_1', 2))
    """
    if not isinstance(tree, tuple):
        return tree
    if tree[0] == "$":
        return by.get(tree[1], tree)
    return (tree[0], *(replaced(arg, by) for arg in tree[1:]))


def has_function(tree: Tree) -> bool:
    """Whether e, ln or another function occurs in it: what one does not add up at a glance."""
    if not isinstance(tree, tuple) or tree[0] == "$":
        return False
    return tree[0] in FUNCTIONS or any(map(has_function, tree[1:]))


FUNCTIONS = ("exp", "ln", "tanh", "abs", "sqrt", "Phi", "max", "min")
"""Functions that a layer's formula may call, by their names here."""

_CALLS = {"exp": "exp", "log": "ln", "ln": "ln"} | {name: name for name in FUNCTIONS}
_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "·", ast.Div: "/", ast.Pow: "^"}
_COMPARE = {ast.Gt: ">", ast.GtE: ">="}


def parse(formula: str) -> dict[str, Tree]:
    """The assignments of a layer's formula, in their order; {} for a text that is no such formula.

    Args:
        formula: Python assignments, separated by ``;``. A single expression is ``f``.

    Example:
        >>> parse("f = max(a, 0); slope = 1 if a > 0 else 0")
        {'f': ('max', ('$', 'a'), 0), 'slope': ('if', ('>', ('$', 'a'), 0), 1, 0)}
        >>> parse("a / (1 + abs(a))")
        {'f': ('/', ('$', 'a'), ('+', 1, ('abs', ('$', 'a'))))}
    """
    try:
        statements = ast.parse(formula.strip()).body
        trees: dict[str, Tree] = {}
        for statement in statements:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    trees[name] = _tree(value, {"a", *trees})
                case ast.Expr(value=value) if len(statements) == 1:
                    trees["f"] = _tree(value, {"a"})
                case _:
                    return {}
    except (SyntaxError, KeyError):
        return {}
    return trees if "f" in trees else {}


def _tree(node: ast.expr, known: set[str]) -> Tree:
    """The tree of a Python expression; a KeyError for what a formula cannot hold."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name) if name in known:
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ("neg", _tree(operand, known))
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _tree(left, known), _tree(right, known)
            kind = _BINARY[type(op)]
            return times(a, b) if kind == "·" else (kind, a, b)
        case ast.IfExp(
            test=ast.Compare(left=left, ops=[op], comparators=[right]), body=then, orelse=otherwise
        ):
            condition = (_COMPARE[type(op)], _tree(left, known), _tree(right, known))
            return ("if", condition, _tree(then, known), _tree(otherwise, known))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return (_CALLS[name], *(_tree(arg, known) for arg in args))
    raise KeyError(type(node).__name__)
