"""Formulas as trees: one tree is evaluated, and written in text, LaTeX or MathML.

A tree is a number or a tuple ``(operator, *trees)``. ``("$", "W_1", 1, 2)`` is an entry of a quantity,
counted from 1, and ``("$", "W_1")`` the whole of it. Quantities are matrices, lists of rows: a column for x,
a_l, f_l and b_l, a row for a delta. One with a single entry counts as a number. Plain Python, without JAX.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Tree: TypeAlias = Any  # a number, or (operator, *trees)
Matrix: TypeAlias = list[list[float]]
Value: TypeAlias = float | Matrix


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


def _exponential(a: float) -> float:
    """e^a, inf where it is too large for a float."""
    return math.exp(a) if a < 709.7 else math.inf if a > 709.8 or a == math.inf else math.exp(min(a, 709.78))


def _quotient(a: float, b: float) -> float:
    """a / b; 0 / 0 is 0, since a term that y switches off is 0 whatever its denominator is."""
    return a / b if b else math.copysign(math.inf, a) if a else 0.0


def _sum(*terms: Value) -> Value:
    if all(isinstance(term, float) for term in terms):
        return sum(terms[1:], terms[0])
    stacked = zip(*map(rows_of, terms), strict=True)
    return [[sum(entries) for entries in zip(*rows, strict=True)] for rows in stacked]


def _scaled(c: float, value: Value) -> Value:
    return c * value if isinstance(value, float) else [[c * entry for entry in row] for row in value]


def matmul(*factors: Value) -> Value:
    """The product of matrices and numbers, from the left: a row stays a row."""
    out = factors[0]
    for factor in factors[1:]:
        if isinstance(out, float):
            out = _scaled(out, factor)
        elif isinstance(factor, float):
            out = _scaled(factor, out)
        else:
            columns = list(zip(*factor, strict=True))
            out = [
                [sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in out
            ]
    return number_if_single(out)


def rows_of(value: Value) -> Matrix:
    """The value as a list of rows."""
    return [[value]] if isinstance(value, float) else value


def number_if_single(value: Value) -> Value:
    """A matrix of one entry as that number."""
    return value[0][0] if not isinstance(value, float) and len(value) == len(value[0]) == 1 else value


def _diagonal(value: Value) -> Value:
    entries = _entries(value)
    n = range(len(entries))
    return number_if_single([[entries[i] if i == j else 0.0 for j in n] for i in n])


def _ratio(a: Value, b: Value) -> Value:
    """A number divided by a number; a matrix entry by entry."""
    if isinstance(a, float) and isinstance(b, float):
        return _quotient(a, b)
    return [[_quotient(entry, float(b)) for entry in row] for row in rows_of(a)]  # type: ignore[arg-type]


def _entries(value: Value) -> list[float]:
    return [entry for row in rows_of(value) for entry in row]


def _in_rows(value: Value, n: float) -> Value:
    """The entries of one row as n rows."""
    entries, n = _entries(value), int(n)
    d = len(entries) // n
    return number_if_single([entries[i * d : (i + 1) * d] for i in range(n)])


def _kronecker(a: Value, b: Value) -> Value:
    """Every entry of a times the whole of b, in its place."""
    return number_if_single(
        [[v * w for v in row for w in other] for row in rows_of(a) for other in rows_of(b)]
    )


def _one_hot(ids: Value, n: float) -> Value:
    """A row for each id, with a 1 at the id, which counts from 0."""
    return number_if_single([[float(id == v) for v in range(int(n))] for id in _entries(ids)])


def _transposed(value: Value) -> Value:
    return value if isinstance(value, float) else [list(column) for column in zip(*value, strict=True)]


def _logsumexp(value: Value) -> float:
    entries = [entry for row in rows_of(value) for entry in row]
    return max(entries) + math.log(sum(_exponential(entry - max(entries)) for entry in entries))


def _softmax(value: Value) -> Value:
    entries = [entry for row in rows_of(value) for entry in row]
    powers = [_exponential(entry - max(entries)) for entry in entries]
    return number_if_single([[power / sum(powers)] for power in powers])


def _logarithm(a: float) -> float:
    return math.log(a) if a > 0 else -math.inf


def _difference(a: Value, *others: Value) -> Value:
    return _sum(a, *(_scaled(-1.0, other) for other in others))


def _product(*factors: float) -> float:
    return math.prod(factors[1:], start=factors[0])


OPERATORS: dict[str, Callable[..., Value]] = {
    "+": _sum,
    "-": _difference,
    "neg": lambda a: _scaled(-1.0, a),
    "·": _product,
    "/": _ratio,
    "^": lambda a, n: a**n,
    "exp": _exponential,
    "ln": _logarithm,
    "yln": lambda y, p: y * _logarithm(p) if y else 0.0,
    "ln1p": math.log1p,
    "tanh": math.tanh,
    "abs": abs,
    "sqrt": math.sqrt,
    "Phi": lambda a: math.erfc(-a * math.sqrt(0.5)) / 2,
    "max": max,
    "min": min,
    ">": lambda a, b: float(a > b),
    ">=": lambda a, b: float(a >= b),
    "if": lambda condition, then, otherwise: then if condition else otherwise,
    "logsumexp": _logsumexp,
    "@": matmul,
    "T": _transposed,
    "diag": _diagonal,
    "softmax": _softmax,
    "eye": lambda n: number_if_single([[float(i == j) for j in range(int(n))] for i in range(int(n))]),
    "row": lambda *entries: number_if_single([list(entries)]),
    "column": lambda *entries: number_if_single([[entry] for entry in entries]),
    "entry": lambda a, i: _entries(a)[int(i) - 1],
    "sin": math.sin,
    "cos": math.cos,
    "vec": lambda a: number_if_single([_entries(a)]),
    "rows": _in_rows,
    "place": lambda a, t: number_if_single([[entry] for entry in rows_of(a)[int(t) - 1]]),
    "stack": lambda *rows: number_if_single([_entries(row) for row in rows]),
    "ones": lambda n: number_if_single([[1.0]] * int(n)),
    "kron": _kronecker,
    "onehot": _one_hot,
}
"""What each operator computes; ``"$"``, ``"each"`` and the numbers are in `evaluate`.

Of a sequence, a quantity has a row for each place: ``"vec"`` is all of them in one row, ``"rows"`` puts one
row back into so many, ``"place"`` is the row of one place as a column, ``"stack"`` makes rows of what each
place has.
"""


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
    return _entries(whole)[tree[2] - 1]


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
