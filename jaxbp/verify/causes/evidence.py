"""What a diagnosis has to go on: the results of rule and reference for one argument."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxbp.verify.maps.pullback import Point, Pullback, wide
from jaxbp.verify.numbers.compare import Comparison


class Diagnosis(NamedTuple):
    """A cause from the vocabulary and a sentence in the user's words; what is ``vague`` may be replaced."""

    cause: str
    sentence: str
    vague: bool = False


class Evidence(NamedTuple):
    """What is known of one argument: its results and the maps that made them."""

    argument: int
    comparison: Comparison
    at: Point
    rule: Pullback
    reference: Pullback | None
    tolerance: float

    @property
    def got(self) -> np.ndarray:
        """The rule's result for this argument, one row for each cotangent."""
        return np.stack([s.rule[self.argument] for s in self.comparison.samples])

    @property
    def want(self) -> np.ndarray:
        """The reference for this argument, one row for each cotangent."""
        return np.stack([s.reference[self.argument] for s in self.comparison.samples])

    def alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Where two results agree to the tolerance of a diagnosis."""
        return alike(a, b, self.tolerance)

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two results agree everywhere."""
        return a.shape == b.shape and bool(self.alike(a, b).all())

    def explained_by(self, candidate: np.ndarray) -> bool:
        """Whether a mistake's result is the rule's, also where the rule differs most from the reference.

        An entry far smaller than the others may be the only wrong one.
        """
        got, want = self.got, self.want
        if not self.same(got, candidate):
            return False
        entries = [x for x in self.comparison.wrong if x.argument == self.argument]
        for index in {x.index for x in entries if np.isfinite([x.rule, x.reference]).all()}:
            at: Any = (slice(None), *index)
            with np.errstate(all="ignore"):
                left, gap = np.abs(got[at] - candidate[at]), np.abs(got[at] - want[at])
            if np.isfinite(gap).all() and np.max(left) > 0.01 * np.max(gap):
                return False
        return True

    def pulled(
        self, inputs: list[Any], change: Callable[[Any], Any] = lambda c: c, by: Pullback | None = None
    ) -> np.ndarray:
        """The reference's result (or that of another map) at other inputs or with changed cotangents."""
        pull = by or self.reference
        assert pull is not None
        cts = [[change(c) for c in s.cotangent] for s in self.comparison.samples]
        return np.stack([wide(pull.call(inputs, c)[1][self.argument]) for c in cts])


def constant(k: complex, at: Point) -> str:
    """A constant in words: ``1/12 = 1/N with N = 3 x 4``, ``2``, ``-1``."""
    real = float(np.real(k))
    if abs(np.imag(k)) > 1e-6 * abs(k):
        return f"{k:.6g}"
    for shape in dict.fromkeys(
        [tuple(np.shape(x)) for x in at.inputs] + [tuple(s.shape) for s in at.outputs]
    ):
        sizes = {f"the length of axis {i} of {shape}": n for i, n in enumerate(shape) if n > 1}
        if len(shape) > 1:
            sizes[f"the number of entries of {shape}"] = int(np.prod(shape))
        for name, n in sizes.items():
            for value, word in ((1 / n, "1/N"), (float(n), "N")):
                if abs(real - value) <= 1e-6 * value:
                    return f"{real:.6g} = {word}, N = {n} {name}"
    return f"{real:.6g}"


def alike(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    """Where two results agree to a part of each entry and a thousandth of that of the largest."""
    with np.errstate(all="ignore"):
        scale = np.max(np.where(np.isfinite(b), np.abs(b), 0), initial=0.0)
        near = np.abs(a - b) <= tolerance * (np.abs(b) + 1e-3 * scale)
        return np.asarray(near | (np.isnan(a) & np.isnan(b)))


def ratio_of(got: np.ndarray, want: np.ndarray, tolerance: float) -> complex | None:
    """The constant k with got = k want, if there is one."""
    power = np.vdot(want, want)
    if not power or not np.isfinite(power):
        return None
    k = np.vdot(want, got) / power
    return complex(k) if alike(got, k * want, tolerance).all() else None


def named(k: complex, place: str, at: Point) -> Diagnosis:
    """The word for a constant multiple: zero, sign or factor."""
    if abs(k) < 1e-12:
        return Diagnosis("zero", f"the rule is zero{place}")
    if abs(k + 1) < 1e-6:
        return Diagnosis("sign", f"rule = - reference{place}")
    return Diagnosis("factor", f"rule = {constant(k, at)} x reference{place}")
