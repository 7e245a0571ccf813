"""How a formula is written: in symbols or with the numbers put in, in any notation.

With numbers, a bracket that one adds up at a glance, ``(1 - f)``, is written as its number, and so is a power
of e. A negative number is put in parentheses wherever a sign or a factor stands before it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from jaxbp.observe.explanation.formulas.notations import Notation
from jaxbp.observe.explanation.formulas.trees import Tree, Value, evaluate, has_function

SHOWN = 8  # rows and columns of a matrix, and terms of a sum, that are written out
_ATOM, _PRODUCT, _SUM = 2, 1, 0  # how tightly a piece holds together


class Writer(NamedTuple):
    """Writes trees in one notation.

    Args:
        notation: `TEXT`, `LATEX` or `MATHML`.
        digits: significant digits of a number.
        values: the quantities, to write their numbers; None writes symbols.
    """

    notation: Notation
    digits: int = 6
    values: Mapping[Tree, Value] | None = None

    def __call__(self, tree: Tree) -> str:
        """The formula."""
        return self._written(tree)[0]

    def value(self, value: Value) -> str:
        """A number, or a matrix by its rows: [0.5 -0.4; 0.3 0.8]."""
        if isinstance(value, float | int):
            return self.notation.number(number(value, self.digits))
        left_out = [None] * len(value[0])
        rows = [
            [self.notation.number(number(v, self.digits)) if v is not None else "..." for v in _cut(row)]
            for row in (left_out if row is None else row for row in _cut(value))
        ]
        return self.notation.matrix(rows)

    def equation(self, *sides: str) -> str:
        """side = side = ..., without those that repeat the one before."""
        return self.notation.infix([("=" if i else "", side) for i, side in enumerate(different(sides))])

    def _number(self, value: Value) -> tuple[str, int]:
        negative = isinstance(value, float | int) and value < 0
        return self.value(value), _SUM if negative else _ATOM

    def _written(self, tree: Tree) -> tuple[str, int]:
        """The piece, and how tightly it holds together."""
        if not isinstance(tree, tuple):
            return self._number(float(tree))
        operator, *args = tree
        if operator == "$":
            if self.values is not None:
                return self._number(evaluate(tree, self.values))
            return self.notation.name(args[0], args[1:]), _ATOM
        if self.values is not None and operator in ("exp", "if", "T", "diag", "vec", "ones"):
            return self._number(evaluate(tree, self.values))
        return _PIECES[operator](self, *args) if operator in _PIECES else self._call(operator, *args)

    def _bound(self, tree: Tree, rank: int) -> str:
        """The piece for a place that needs this rank: as one number, or in parentheses, if it is looser."""
        written, own = self._written(tree)
        if own >= rank:
            return written
        if self.values is not None and isinstance(tree, tuple) and not has_function(tree):
            written, own = self._number(evaluate(tree, self.values))
        return written if own >= rank else self.notation.group(written)

    def _call(self, function: str, *args: Tree) -> tuple[str, int]:
        if self.values is None:
            pieces = [self._written(arg) for arg in args]
        else:
            pieces = [self._number(evaluate(arg, self.values)) for arg in args]
        single = function in ("ln", "tanh") and pieces[0][1] == _ATOM
        return self.notation.call(function, ", ".join(piece for piece, _ in pieces), single), _PRODUCT

    def _sum(self, *terms: Tree) -> tuple[str, int]:
        pairs = []
        for term in _cut(terms):
            if term is None:
                pairs.append(("+", self.notation.words("...")))
            else:
                pairs.append(("+" if pairs else "", self._bound(term, _PRODUCT) if pairs else self(term)))
        return self.notation.infix(pairs), _SUM

    def _difference(self, first: Tree, *others: Tree) -> tuple[str, int]:
        pairs = [("", self(first)), *(("-", self._bound(other, _PRODUCT)) for other in others)]
        return self.notation.infix(pairs), _SUM

    def _minus(self, tree: Tree) -> tuple[str, int]:
        if self.values is not None and self._written(tree)[0] == self.value(0.0):
            return self._number(0.0)
        return self.notation.infix([("-", self._bound(tree, _PRODUCT))]), _SUM

    def _product(self, *factors: Tree) -> tuple[str, int]:
        # A product that stands as a factor is set off by a dot in symbols: delta_mu · mu (1 - mu).
        inner = any(isinstance(f, tuple) and f[0] == "·" for f in factors)
        operator = "·" if self.values is not None else " · " if inner else " "
        pieces = [self._bound(factor, _PRODUCT) if inner else self._factor(factor) for factor in factors]
        return self.notation.infix(
            [(operator if i else "", piece) for i, piece in enumerate(pieces)]
        ), _PRODUCT

    def _factor(self, tree: Tree) -> str:
        return self._bound(
            tree, _PRODUCT if isinstance(tree, tuple) and tree[0] in ("ln", "tanh", "Phi") else _ATOM
        )

    def _juxtaposed(self, first: Tree, *others: Tree) -> tuple[str, int]:
        pairs = [("", self(first)), *((" ", self._bound(other, _ATOM)) for other in others)]
        return self.notation.infix(pairs), _PRODUCT

    def _fraction(self, a: Tree, b: Tree) -> tuple[str, int]:
        if self.values is not None and evaluate(a, self.values) == 0:
            return self._number(0.0)
        groups = self.notation.fraction_groups
        top = self._bound(a, _PRODUCT) if groups or self.values is not None else self(a)
        bottom = self._bound(b, _ATOM) if groups else self(b)
        return self.notation.fraction(top, bottom), _PRODUCT

    def _power(self, base: Tree, exponent: Tree) -> tuple[str, int]:
        return self.notation.power(self._bound(base, _ATOM), self(exponent)), _ATOM

    def _exponential(self, exponent: Tree) -> tuple[str, int]:
        written, rank = self._written(exponent)
        simple = rank == _ATOM or (
            isinstance(exponent, tuple) and exponent[0] == "neg" and " " not in written
        )
        power = written if simple or not self.notation.fraction_groups else self.notation.group(written)
        return self.notation.power(self.notation.words("e"), power), _ATOM

    def _choice(self, condition: Tree, then: Tree, otherwise: Tree) -> tuple[str, int]:
        relation, a, b = condition
        test = self.notation.infix([("", self(a)), (relation, self(b))])
        parts = [
            self(then),
            self.notation.words(" if "),
            test,
            self.notation.words(" else "),
            self(otherwise),
        ]
        return "".join(parts), _SUM

    def _transposed(self, tree: Tree) -> tuple[str, int]:
        return self.notation.power(self._bound(tree, _ATOM), self.notation.words("T")), _ATOM

    def _called(self, function: str, *args: Tree) -> tuple[str, int]:
        return self.notation.call(function, ", ".join(self(arg) for arg in args), False), _PRODUCT

    def _over_all(self, tree: Tree, index: str = "i") -> tuple[str, int]:
        return self.notation.call(
            f"sum_{index}", self._bound(tree, _PRODUCT), self._written(tree)[1] > _SUM
        ), _PRODUCT

    def _same(self, *sides: Tree) -> tuple[str, int]:
        return self.notation.infix([("=" if i else "", self(side)) for i, side in enumerate(sides)]), _SUM

    def _words(self, text: str) -> tuple[str, int]:
        return self.notation.words(text), _ATOM

    def _in_one_row(self, tree: Tree) -> tuple[str, int]:
        return self.notation.call("vec", self(tree), False), _ATOM

    def _in_rows(self, tree: Tree, n: int) -> tuple[str, int]:
        return self.notation.call("rows", self(tree), False), _ATOM

    def _ones(self, n: int) -> tuple[str, int]:
        return self.notation.number("1"), _ATOM

    def _kronecker(self, a: Tree, b: Tree) -> tuple[str, int]:
        return self.notation.infix([("", self._bound(a, _ATOM)), ("⊗", self._bound(b, _ATOM))]), _PRODUCT

    def _identity(self, n: int) -> tuple[str, int]:
        return self.notation.name("I", ()), _ATOM

    def _named(self, tree: Tree) -> tuple[str, int]:
        """A quantity that keeps its symbol among numbers."""
        return self._replace(values=None)._written(tree)


_PIECES: dict[str, Callable[..., tuple[str, int]]] = {
    "+": Writer._sum,
    "-": Writer._difference,
    "neg": Writer._minus,
    "·": Writer._product,
    "@": Writer._juxtaposed,
    "/": Writer._fraction,
    "^": Writer._power,
    "exp": Writer._exponential,
    "if": Writer._choice,
    "T": Writer._transposed,
    "named": Writer._named,
    "call": Writer._called,
    "sum": Writer._over_all,
    "=": Writer._same,
    "words": Writer._words,
    "eye": Writer._identity,
    "vec": Writer._in_one_row,
    "rows": Writer._in_rows,
    "ones": Writer._ones,
    "kron": Writer._kronecker,
}
"""The operators that have a notation of their own; others are written as a function of their arguments."""


def different(sides: Sequence[str]) -> list[str]:
    """The sides of an equation without those that repeat the one before."""
    return [side for i, side in enumerate(sides) if i == 0 or side != sides[i - 1]]


def number(value: float, digits: int) -> str:
    """A number with so many significant digits; -0 is 0.

    Example:
        >>> number(-0.0726103767, 6), number(-0.0, 6)
        ('-0.0726104', '0')
    """
    return f"{value + 0.0:.{digits}g}"


def _cut(items: Sequence) -> list:
    """The items; of many the first ones and the last, and None for those between."""
    return [*items[: SHOWN - 1], None, items[-1]] if len(items) > SHOWN + 1 else list(items)
