"""Why an operation makes a NaN or an infinity: what its operands were, by name.

A trap is one entry of a table: the operations that it happens to, when, its name, and what to try.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Arrays = Sequence[np.ndarray]


# By what programs tell traps apart: an operation that has no number there, an infinity that was there before,
# more than the dtype holds, an index outside of its array, a rule of one's own, what came with an argument.
Sort = Literal["number", "infinite", "overflow", "index", "rule", "given"]


class Trap(NamedTuple):
    """A way to lose a number.

    Args:
        name: in words.
        operations: the primitives, or functions of a library, that it happens to; empty for any.
        there: whether the operands are so.
        hint: what to try.
        sort: by what programs tell it from others.
    """

    name: str
    operations: frozenset[str]
    there: Callable[[Arrays], bool]
    hint: str
    sort: Sort = "number"


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


def _zero(x: np.ndarray) -> bool:
    return bool((x == 0).any())


def _infinite(x: np.ndarray) -> bool:
    return bool(np.isinf(x).any())


LOGS, ROOTS = _of("log", "log2"), _of("sqrt", "rsqrt", "cbrt")
SINGULAR = _of("lu", "triangular_solve", "custom_linear_solve", "solve", "inv", "det", "slogdet")
DIVISION, GATHER = _of("div", "rem"), _of("gather", "dynamic_slice")
BELOW = "add a small number below the fraction, or put a where inside and outside of it"
INSIDE = "put a where inside of {} as well as outside, or add a small number to its operand"

FORWARD = (
    Trap("0 / 0", DIVISION, lambda x: bool(((x[0] == 0) & (x[1] == 0)).any()), BELOW),
    Trap("inf / inf", DIVISION, lambda x: _infinite(x[0]) and _infinite(x[1]),
         "subtract the maximum before exp, as jax.nn.softmax does"),
    Trap("division by 0", DIVISION, lambda x: _zero(x[1]), BELOW),
    Trap("log of a negative number", LOGS, lambda x: bool((x[0] < 0).any()), "keep its operand above 0"),
    Trap("log at 0", LOGS, lambda x: _zero(x[0]), "add a small number, or use a function of the logits"),
    Trap("log1p at -1 or below", _of("log1p"), lambda x: bool((x[0] <= -1).any()), "keep it above -1"),
    Trap("root of a negative number", ROOTS, lambda x: bool((x[0] < 0).any()), "keep its operand above 0"),
    Trap("rsqrt at 0", _of("rsqrt"), lambda x: _zero(x[0]), "add a small number to its operand"),
    Trap("power of a negative number", _of("pow"),
         lambda x: len(x) == 2 and bool(((x[0] < 0) & (x[1] != np.round(x[1]))).any()), "keep it above 0"),
    Trap("power of 0", _of("pow", "integer_pow"), lambda x: _zero(x[0]), "keep its operand above 0"),
    Trap("outside of its domain", _of("asin", "acos", "atanh", "acosh", "erf_inv", "lgamma", "digamma"),
         lambda x: True, "clip its operand"),
    Trap("a matrix that is not positive definite", _of("cholesky"), lambda x: True,
         "add a small multiple of the identity"),
    Trap("a singular matrix", SINGULAR, lambda x: True, "add a small multiple of the identity"),
    Trap("inf - inf", _of("sub", "add", "add_any", "reduce_sum", "cumsum"), lambda x: any(map(_infinite, x)),
         "is a row of the mask empty? Use a large finite number in place of inf", "infinite"),
    Trap("0 * inf", _of("mul", "dot_general", "conv_general_dilated"), lambda x: any(map(_infinite, x)),
         "keep the infinite operand finite", "infinite"),
    Trap("an index outside of the array", GATHER, lambda x: True,
         "labels and ids count from 0 to size - 1", "index"),
)  # fmt: skip
NO_NUMBER = Trap("a slope that is no number", frozenset(), lambda x: True, "look at its slope there")
OVERFLOW = Trap("overflow of {}", frozenset(), lambda x: True, "scale the inputs, or compute in logarithms",
                "overflow")  # fmt: skip
RULE = Trap("{}", frozenset(), lambda x: True, "jaxbp.check judges its rule", "rule")

BACKWARD = (
    Trap("slope of log at 0", LOGS, lambda x: _zero(x[0]), INSIDE),
    Trap("slope of a root at 0", ROOTS | _of("norm"), lambda x: _zero(x[0]), INSIDE),
    Trap("slope of a power at 0", _of("pow", "integer_pow"), lambda x: _zero(x[0]), INSIDE),
    Trap("slope of a division by 0", DIVISION, lambda x: _zero(x[1]), INSIDE),
    Trap("slope at the border of its domain",
         _of("asin", "acos", "atanh", "acosh", "log1p", "erf_inv"), lambda x: True, "clip its operand"),
    Trap("slope of log at 0", _of("xlogy"), lambda x: _zero(x[1]), INSIDE),
    Trap("slope of an angle at the origin", _of("atan2"), lambda x: bool(((x[0] == 0) & (x[1] == 0)).any()),
         INSIDE),
    Trap("slope at equal eigenvalues", _of("eigh", "eig"), lambda x: True,
         "use what does not depend on the choice of vectors, or break the tie"),
    Trap("slope at equal singular values, or at one of 0", _of("svd"), lambda x: True,
         "use what does not depend on the choice of vectors, or break the tie"),
    Trap("slope of a singular matrix", SINGULAR | {"cholesky"}, lambda x: True,
         "add a small multiple of the identity"),
    Trap("0 * inf", frozenset(), lambda x: any(map(_infinite, x)), "keep the infinite operand finite",
         "infinite"),
)  # fmt: skip


def trap_of(table: Sequence[Trap], operation: str, operands: Arrays) -> Trap | None:
    """The first entry that fits.

    Example:
        >>> trap_of(FORWARD, "div", [np.zeros(2), np.array([0.0, 1.0])]).name
        '0 / 0'
    """
    for trap in table:
        fits = not trap.operations or operation in trap.operations
        if fits and operands and trap.there(operands):
            return trap
    return None
