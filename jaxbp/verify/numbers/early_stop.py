"""Iterations that stop after a fixed number of steps: what that leaves open of a derivative."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.exception_origin import raise_own
from jaxbp.jaxprs.loops import longer, repeats
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import Point, Pullback, autodiff, wide

Open = Callable[[Sequence[Any]], list[float]]


def open_by_stopping(
    at: Point, on: Callable[[int], Point | None], own: Pullback, reference: Pullback | None
) -> Open | None:
    """What the end of loops of equal steps leaves open, as a function of the cotangent; None if nothing.

    A fixed number of Newton steps ends near the root, and the derivative of these steps near that of the
    root, which an implicit rule gives: each is as good as the other. So it is asked what becomes of both when
    the loops run on, if that moves the values by little, and further steps by less. ``on`` gives the function
    at ``at`` with so many times the steps.
    """
    further = on(2)
    if further is None or reference is None or not arrives(at, further, on(4)):
        return None
    there = autodiff(further)
    if there is None:
        return None
    beyond = _pulled_on(own) if repeats(own.traced.jaxpr) else None

    def opened(ct: Sequence[Any]) -> list[float]:
        parts = [(reference.call(at.inputs, ct)[1], there.call(at.inputs, ct)[1])]
        if beyond:
            parts.append((own.call(at.inputs, ct)[1], beyond(at.inputs, ct)))
        moved = [[_largest(wide(a) - wide(b)) for a, b in zip(*pair, strict=True)] for pair in parts]
        return [tolerances.UNSETTLED * sum(each) for each in zip(*moved, strict=True)]

    return opened


def arrives(at: Point, further: Point, beyond: Point | None) -> bool:
    """Whether the values of an iteration come to a limit: little moves, and then less."""
    try:
        values = [[wide(y) for y in p.fn(*p.inputs)] for p in (at, further, beyond) if p]
    except Exception as error:
        raise_own(error)
        return False
    moved = 0.0
    for first, second, third in zip(*values, strict=True):
        one, two, size = _largest(second - first), _largest(third - second), _largest(third)
        still = tolerances.SHRINKS * one + tolerances.NOTHING * size
        if not (np.isfinite(one) and one <= tolerances.STRAYED * size and two <= still):
            return False
        moved = max(moved, one)
    return moved > 0


def _pulled_on(own: Pullback) -> Callable[..., list[Any]]:
    run = longer(own.traced, 2)

    def pulled(inputs: Sequence[Any], ct: Sequence[Any]) -> list[Any]:
        return jitted(run, inputs)(*inputs, *ct)[own.outputs :]

    return pulled


def _largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(x), initial=0.0))
