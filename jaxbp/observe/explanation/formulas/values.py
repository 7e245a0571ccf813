"""What formulas are computed of: numbers and matrices as lists of rows, and what each operator makes of them.

Plain Python, without JAX.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

Matrix: TypeAlias = list[list[float]]
Value: TypeAlias = float | Matrix


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
    entries = entries_of(value)
    n = range(len(entries))
    return number_if_single([[entries[i] if i == j else 0.0 for j in n] for i in n])


def _ratio(a: Value, b: Value) -> Value:
    """A number divided by a number; a matrix entry by entry."""
    if isinstance(a, float) and isinstance(b, float):
        return _quotient(a, b)
    return [[_quotient(entry, float(b)) for entry in row] for row in rows_of(a)]  # type: ignore[arg-type]


def entries_of(value: Value) -> list[float]:
    """All entries, row after row."""
    return [entry for row in rows_of(value) for entry in row]


def _in_rows(value: Value, n: float) -> Value:
    """The entries of one row as n rows."""
    entries, n = entries_of(value), int(n)
    d = len(entries) // n
    return number_if_single([entries[i * d : (i + 1) * d] for i in range(n)])


def _kronecker(a: Value, b: Value) -> Value:
    """Every entry of a times the whole of b, in its place."""
    return number_if_single(
        [[v * w for v in row for w in other] for row in rows_of(a) for other in rows_of(b)]
    )


def _entrywise(a: Value, b: Value) -> Value:
    """a ∘ b, entry times entry."""
    pairs = zip(rows_of(a), rows_of(b), strict=True)
    return number_if_single([[v * w for v, w in zip(*rows, strict=True)] for rows in pairs])


def _attention(S: Value, causal: float) -> Value:
    """The softmax of each row; row t of its first t entries, where no place sees a later one."""
    rows = rows_of(S)
    seen = [row[: t + 1] if causal else row for t, row in enumerate(rows)]
    weights = [entries_of(_softmax([[v] for v in row])) for row in seen]
    return number_if_single([w + [0.0] * (len(rows[0]) - len(w)) for w in weights])


def _one_hot(ids: Value, n: float) -> Value:
    """A row for each id, with a 1 at the id, which counts from 0."""
    return number_if_single([[float(id == v) for v in range(int(n))] for id in entries_of(ids)])


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
    "entry": lambda a, i: entries_of(a)[int(i) - 1],
    "sin": math.sin,
    "cos": math.cos,
    "vec": lambda a: number_if_single([entries_of(a)]),
    "rows": _in_rows,
    "place": lambda a, t: number_if_single([[entry] for entry in rows_of(a)[int(t) - 1]]),
    "stack": lambda *rows: number_if_single([entries_of(row) for row in rows]),
    "ones": lambda n: number_if_single([[1.0]] * int(n)),
    "kron": _kronecker,
    "onehot": _one_hot,
    "had": _entrywise,
    "columns": lambda a, first, n: number_if_single(
        [row[int(first) - 1 : int(first + n) - 1] for row in rows_of(a)]
    ),
    "beside": lambda *blocks: number_if_single(
        [[v for row in rows for v in row] for rows in zip(*map(rows_of, blocks), strict=True)]
    ),
    "attention": _attention,
}
"""What each operator computes; ``"$"``, ``"each"`` and the numbers are in `trees.evaluate`.

Of a sequence, a quantity has a row for each place: ``"vec"`` is all of them in one row, ``"rows"`` puts one
row back into so many, ``"place"`` is the row of one place as a column, ``"stack"`` makes rows of what each
place has.
"""
