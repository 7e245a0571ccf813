"""Comparing numbers with what a publication prints of them."""

from decimal import Decimal

import numpy as np


def agrees(actual, printed, decimals=None):
    """Whether every number, float64, is the printed one: within half a unit of its last printed digit.

    The numbers come as text, since a float forgets its digits; lines are rows. ``decimals`` is for arrays
    printed by a program that trims trailing zeros: NumPy rounds to 8 decimals, so its 4.8 says 4.80000000.
    Some sources print all the digits that float64 has. No sum can be asked to be nearer than its own
    rounding, hence the floor of 4 eps, on the larger of the number and 1 (the size of what is summed).
    """
    rows = [line.split() for line in printed.strip().splitlines()]
    numbers = [Decimal(number) for row in rows for number in row]
    actual = np.asarray(actual)
    assert actual.dtype == np.float64
    assert actual.size == len(numbers), f"{actual.shape} against {len(numbers)} printed numbers"
    if len(rows) > 1:
        assert actual.shape == (len(rows), len(rows[0]))
    expected = np.array(numbers, float)
    places = np.array([decimals or -number.as_tuple().exponent for number in numbers])
    rounding = 4 * np.finfo(float).eps * np.maximum(1, abs(expected))
    return bool((abs(actual.ravel() - expected) <= np.maximum(0.5 * 10.0**-places, rounding)).all())


def cut(actual, decimals):
    """The number with its further digits cut off instead of rounded, as some sources print it."""
    return np.trunc(np.asarray(actual) * 10.0**decimals) / 10.0**decimals
