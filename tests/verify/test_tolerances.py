"""Every tolerance of the checker has a case that gets another answer when it is halved or doubled."""

import ast
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbp.verify import check, tolerances
from jaxbp.verify.numbers import arbiter, error_bounds
from jaxbp.verify.numbers.differences import Slope

from .case import rule

EPS = np.finfo(np.float64).eps
RNG = np.random.default_rng(0)
FEW = np.array([0.3, -0.8, 1.1, 0.7, -1.3, 0.2])
SIGNS = np.array([1, -1, 1, 1, -1, -1.0])


def told(f, *args, x64=True):
    """The verdict of f's first rule and its causes: what must change."""
    with jax.enable_x64(x64):
        report = check(f, *(np.asarray(a, np.float64 if x64 else np.float32) for a in args))
    return report.findings[0].verdict, *sorted({f.cause for f in report.wrong})


def sine(factor, x=FEW):
    """The sine with its slope times a factor."""
    return lambda: told(rule(jnp.sin, lambda a, y, c: (factor * c * jnp.cos(a[0]),)), x)


def parabola(slope, x):
    """(x - 1)^2 / 2, whose slope loses its digits near 1."""
    return lambda: told(rule(lambda x: (x - 1) ** 2 / 2, lambda a, y, c: (c * slope(a[0]),)), x)


def beyond_a_million(factor, more):
    """A rule that is another one of large cotangents."""

    def back(a, y, c):
        return (c * jnp.array([1.0, 0.0]) * (1 + factor * (abs(c) > 1e6))
                + c * jnp.array([0.0, more]) * (abs(c) > 1e6),)  # fmt: skip

    return lambda: told(rule(lambda x: jnp.sin(x[0]), back), np.zeros(2))


def beside_another(more):
    """A rule that is another one of large cotangents for an argument on which nothing depends."""

    def back(a, y, c):
        return c, c * more * (abs(c) > 1e6)

    return lambda: told(rule(lambda x, z: x + 0 * z, back), 0.3, 0.3)


def halving(loop):
    """The limit of y <- (y + a) / 2, with the derivative of the limit and not of the steps."""
    return lambda: told(rule(loop, lambda a, y, c: (c,)), 2.0)


def until_near(a):
    return jax.lax.while_loop(lambda y: jnp.abs(y - a) > 0.15 * a, lambda y: (y + a) / 2, 0 * a)


def two_steps(a):
    return jax.lax.fori_loop(0, 2, lambda _, y: (y + a) / 2, 0 * a)


def bits():
    """The modulus by taking the sign from the bits, unseen by autodiff, beside a slope that is seen."""

    def primal(x):
        whole = jax.lax.bitcast_convert_type(x, jnp.int64) & 0x7FFFFFFFFFFFFFFF
        return x + 1.5e-3 * jax.lax.bitcast_convert_type(whole, jnp.float64)

    return told(rule(primal, lambda a, y, c: (c,)), np.abs(FEW))


def swapped():
    """The slope of the other argument, but for a little in an entry that is nearly right."""
    a, b = np.array([1, 2, 3, 1e-3]), np.array([2, 1, 5, 1e-3 + 6e-8])
    more = np.array([0, 0, 0, 0.9e-9])
    f = rule(lambda x, y: x * a + y * b, lambda args, out, c: (c * (b + more), c * b))
    return told(f, FEW[:4], FEW[2:])


def linear(m, wrong):
    return lambda: told(rule(lambda x: m @ x, lambda a, y, c: (wrong.T @ c,)), np.ones(m.shape[1]))


def unmasked():
    """A few roundings of the largest entry in one that nothing depends on."""
    f = rule(lambda x: jnp.sin(x[:3]), lambda a, y, c: (jnp.append(c, 6 * EPS * c[0]),))
    return told(f, np.zeros(4))


def overflow():
    """A factor of 10 on the way, near the largest number of float32."""
    f = rule(lambda x: x * np.float32(3e38), lambda a, y, c: (c * 10 * np.float32(3e38) / 10,))
    return told(f, 1e-3, x64=False)


def far_beyond():
    """Whether many entries are convicted that only a later change of last digits reaches."""
    many = np.zeros(50_000)
    shaken = SimpleNamespace(shake=lambda seed, x, c: ([], [many + 1 + (0.2 if int(seed) else 1 / 120)]))
    sample = arbiter.Sample([], [many + 1], [many])
    return error_bounds.unexplained([many == 0], sample, [shaken], [many])[0].any()


def half_known():
    """What is said of a NaN where autodiff has none either, and differences know the slope to 7 percent."""
    one, off = np.ones(1), np.array([0.007])
    return arbiter._decide(np.nan, np.nan, Slope(one, off, one, off, one, off, one), 0.0, 0.0, 1e-8)


ROWS = RNG.standard_normal((7, 7)) + 3 * np.eye(7)
PAIR = RNG.standard_normal((7, 2)) @ RNG.standard_normal((2, 7))
MIXED = np.diag(FEW**3 + 2) + 3e-8 * np.eye(6, k=1)
NEARLY_FLAT = np.append(FEW[:5], np.pi / 2 - 1e-6)
WRONG, RIGHT = ("wrong", "factor"), ("right",)

# For each tolerance the case, what is told of it, the change, and what is told then.
CASES = {
    "DIGITS": (sine(1 + 1e-7), ("wrong", "lost_digits"), 0.5, RIGHT),
    "ITERATED_DIGITS": (beyond_a_million(1e-3, 0.0), ("wrong", "not_linear"), 0.5, RIGHT),
    "ROUNDINGS": (unmasked, ("wrong", "missing_term"), 2, RIGHT),
    "NOISE": (parabola(lambda x: (x - 1) + 90 * EPS, 1 + 1e-8), WRONG, 2, RIGHT),
    "COVER": (parabola(lambda x: ((x - 1) + 1e3) - 1e3 + 15e3 * EPS, 1 + 1e-8), WRONG, 2, RIGHT),
    "BEYOND": (far_beyond, True, 2, False),
    "STEPPED_OVER": (parabola(lambda x: 1.1 * (x - 1), 1 + 428 * EPS), WRONG, 2, RIGHT),
    "UNEQUAL": (beyond_a_million(0.0, 1500 * EPS), ("wrong", "not_linear"), 2, RIGHT),
    "CANCELLED": (beside_another(15 * EPS), ("wrong", "not_linear"), 2, RIGHT),
    "OVERFLOW": (overflow, RIGHT, 2, ("wrong", "nan")),
    "STRAYED": (halving(until_near), WRONG, 2, RIGHT),
    "SHRINKS": (halving(two_steps), RIGHT, 0.5, WRONG),
    "UNSETTLED": (halving(two_steps), RIGHT, 0.5, WRONG),
    "SURE": (bits, WRONG, 2, RIGHT),
    "SETTLED": (half_known, "nan", 0.5, "unknown"),
    "REPRODUCED": (
        sine(-1 + 1.5e-6 * np.resize([1, -1], 64), np.full(64, 0.3)),
        ("wrong", "missing_term"), 2, ("wrong", "sign"),
    ),
    "SMALL_ENTRY": (sine(np.append(-np.ones(5), -1 + 1e-3), NEARLY_FLAT), WRONG, 2, ("wrong", "sign")),
    "LOOSER": (linear(np.eye(6), MIXED), ("wrong", "slope"), 0.5, ("wrong", "other")),
    "LEFT": (swapped, ("wrong", "slope"), 2, ("wrong", "swapped")),
    "SAME": (sine(-1 - 1.5e-6), WRONG, 2, ("wrong", "sign")),
    "NOTHING": (sine(1.5e-9), WRONG, 2, ("wrong", "zero")),
    "LOW_RANK": (linear(ROWS, ROWS + PAIR), ("wrong", "missing_term"), 2, ("wrong", "other")),
    "NEARLY_CONSTANT": (sine(1.5 * (1 + 1.5e-3 * SIGNS)), ("wrong", "slope"), 2, WRONG),
    "ROUGHLY": (sine(1 + 0.04 * SIGNS), ("wrong", "slope"), 2, ("wrong", "approximate")),
}  # fmt: skip


def test_every_tolerance_has_a_case():
    assert CASES.keys() == {name for name in vars(tolerances) if name.isupper()}


@pytest.mark.parametrize("name", CASES)
def test_halved_or_doubled_a_tolerance_changes_an_answer(name, monkeypatch):
    case, usual, times, changed = CASES[name]
    assert case() == usual
    monkeypatch.setattr(tolerances, name, times * getattr(tolerances, name))
    assert case() == changed


def test_no_tolerance_stands_elsewhere():
    """But for what tells one dtype from another: no small number in the code of the checker."""
    folder = Path(tolerances.__file__).parent
    found = {
        (path.stem, node.value)
        for path in folder.rglob("*.py") if path.stem not in ("tolerances", "table")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < node.value < 0.04
    }  # fmt: skip
    assert found == {("check", 1e-15), ("contract", 1e-4), ("contract", 1e-10)}
