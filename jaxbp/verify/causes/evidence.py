"""What a diagnosis has to go on: the results of rule and reference for one argument."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import Point, Pullback, basis_row, wide
from jaxbp.verify.numbers.arbiter import Sample
from jaxbp.verify.numbers.compare import Comparison, numeric_jacobian

# A Jacobian of so many entries is looked at whole.
MATRIX_LIMIT = 4096
ROWS_LIMIT = 256
FEW = 4096  # entries of a large array, in which most differences show
SHORT = 8  # Of an axis of so many entries none is left out then.


class Diagnosis(NamedTuple):
    """A cause from the table and a sentence in the user's words; what is ``vague`` may be replaced."""

    cause: str
    sentence: str
    vague: bool = False


@dataclass(frozen=True)
class Evidence:
    """What is known of one argument: its results and the maps that made them.

    ``devices`` are the axes of a mesh that its leading axis runs over, with their lengths.
    """

    argument: int
    comparison: Comparison
    at: Point
    rule: Pullback
    reference: Pullback | None
    tolerance: float
    devices: tuple[tuple[str, int], ...] = ()

    @cached_property
    def samples(self) -> list[Sample]:
        """What was tried; of large arrays an even cotangent and an uneven one, which say as much as more."""
        every = self.comparison.samples
        return every if is_small(self.at.inputs) else [every[0], every[-1]]

    @cached_property
    def got(self) -> np.ndarray:
        """The rule's result for this argument, one row for each cotangent."""
        return np.stack([s.rule[self.argument] for s in self.samples])

    @cached_property
    def want(self) -> np.ndarray:
        """The reference for this argument, one row for each cotangent."""
        return np.stack([s.reference[self.argument] for s in self.samples])

    @cached_property
    def finite(self) -> bool:
        """Whether both are finite everywhere."""
        return bool(np.isfinite(self.got).all() and np.isfinite(self.want).all())

    @cached_property
    def rest(self) -> np.ndarray:
        """The rule's result without the reference."""
        return self.got - self.want

    @cached_property
    def apart(self) -> np.ndarray:
        """Where the two differ, one row for each cotangent."""
        return ~self.alike(self.got, self.want)

    @cached_property
    def differs(self) -> np.ndarray:
        """Where the two differ, for any cotangent: of the shape of the argument."""
        return np.asarray(self.apart.any(0))

    @cached_property
    def cotangents(self) -> list[np.ndarray]:
        """For each output, its cotangents, one row for each sample."""
        samples = [s.cotangent for s in self.samples]
        return [np.stack([wide(c) for c in cs]) for cs in zip(*samples, strict=True)]

    @cached_property
    def outputs(self) -> list[np.ndarray]:
        """The outputs of the primal."""
        return [wide(y) for y in self.at.fn(*self.at.inputs)]

    @cached_property
    def jacobians(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The Jacobians (outputs x entries of this argument) of rule and reference, when small."""
        rows = sum(int(np.prod(s.shape)) for s in self.at.outputs)
        columns = int(np.size(self.at.inputs[self.argument]))
        if rows * columns > MATRIX_LIMIT or rows > ROWS_LIMIT:
            return None
        got = self.rows(self.rule, range(rows))
        want = self.rows(self.reference, range(rows)) if self.reference else self._numeric(columns)
        if want is None or not (np.isfinite(got).all() and np.isfinite(want).all()):
            return None
        return got, want

    def _numeric(self, columns: int) -> np.ndarray | None:
        found = numeric_jacobian(self.at, self.rule.epsilon)
        if found is None:
            return None
        before = sum(int(np.size(x)) for x in self.at.inputs[: self.argument])
        return np.asarray(found[before : before + columns].T)

    def rows(self, m: Pullback, numbers: Iterable[int]) -> np.ndarray:
        """Rows of a map's Jacobian: what single output entries give to this argument."""
        hot = [basis_row(self.at.outputs, int(j)) for j in numbers]
        return np.array([wide(m.call(self.at.inputs, c)[1][self.argument]).ravel() for c in hot])

    def alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Where two results agree to the tolerance of a diagnosis."""
        return alike(a, b, self.tolerance)

    def near(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether some entries of two results are as near as they would be if all agreed."""
        return bool(_alike(a, b, self.tolerance, 2 * self._scale).all())

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two results agree everywhere."""
        return a.shape == b.shape and agrees(a, b, self.tolerance)

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
            if np.isfinite(gap).all() and np.max(left) > tolerances.LEFT * np.max(gap):
                return False
        return True

    def pulled(
        self,
        inputs: Sequence[Any],
        change: Callable[[Any], Any] = lambda c: c,
        by: Pullback | None = None,
        only: int | None = None,
    ) -> np.ndarray:
        """The reference's result (or that of another map) at other inputs or with changed cotangents.

        With ``only``, the cotangents of all outputs but that one are zero.
        """
        pull = by or self.reference
        assert pull is not None
        return np.stack([self._pulled(pull, inputs, s, change, only) for s in self.samples])

    def gives(
        self,
        inputs: Sequence[Any],
        change: Callable[[Any], Any] = lambda c: c,
        result: Callable[[np.ndarray], np.ndarray] = lambda r: r,
    ) -> bool:
        """Whether the reference at other inputs, with changed cotangents or a changed result, is the rule's.

        Of large arrays a few entries for the first cotangent show that of most that are not.
        """
        assert self.reference is not None
        rows: list[np.ndarray] = []
        for got, sample in zip(self.got, self.samples, strict=True):
            row = result(self._pulled(self.reference, inputs, sample, change))
            few = few_of(row)
            if row.shape != got.shape or (few and not self.near(got[few], row[few])):
                return False
            rows.append(row)
        return self.explained_by(np.stack(rows))

    def gap(self, inputs: Sequence[Any]) -> np.ndarray:
        """Rule without reference at other inputs; of large arrays, for one cotangent."""
        assert self.reference is not None
        some = self.samples[: None if is_small(inputs) else 1]
        maps = self.rule, self.reference
        rule, right = (np.stack([self._pulled(m, inputs, s, lambda c: c) for s in some]) for m in maps)
        return rule - right

    @cached_property
    def _scale(self) -> float:
        return max(largest(self.got), largest(self.want))

    def _pulled(
        self,
        pull: Pullback,
        inputs: Sequence[Any],
        sample: Sample,
        change: Callable[[Any], Any],
        only: int | None = None,
    ) -> np.ndarray:
        ct = [change(c) if only in (None, k) else 0 * c for k, c in enumerate(sample.cotangent)]
        return wide(pull.call(inputs, ct)[1][self.argument])


def constant(k: complex) -> str:
    """A constant with as many digits as help: ``2``, ``-1``, ``0.0833333``."""
    return f"{k:.6g}" if abs(np.imag(k)) > tolerances.SAME * abs(k) else f"{float(np.real(k)):.6g}"


def reason(k: complex, at: Point) -> str:
    """Where a constant may come from: `` (2 = the length of axis 0 of (2, 3))``; empty when nowhere."""
    real = float(np.real(k))
    shapes = [tuple(np.shape(x)) for x in at.inputs] + [tuple(s.shape) for s in at.outputs]
    for shape in dict.fromkeys(shapes):
        sizes = {f"the length of axis {i} of {shape}": n for i, n in enumerate(shape) if n > 1}
        if len(shape) > 1:
            sizes[f"the number of entries of {shape}"] = int(np.prod(shape))
        for name, n in sizes.items():
            for value, word in ((1 / n, f"1/{n}, {n} is {name}"), (float(n), f"{n} = {name}")):
                if abs(real - value) <= tolerances.SAME * value:
                    return f" ({word})"
    return ""


def alike(a: np.ndarray, b: np.ndarray, tolerance: float) -> np.ndarray:
    """Where two results agree to a part of each entry and a thousandth of that of the largest."""
    return _alike(a, b, tolerance, largest(b))


def agrees(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    """Whether two results are `alike` everywhere; most that are not show it in a few entries."""
    scale, few = largest(b), few_of(a)
    if few and not _alike(a[few], b[few], tolerance, scale).all():
        return False
    return bool(_alike(a, b, tolerance, scale).all())


def few_of(a: np.ndarray) -> tuple[slice, ...]:
    """Where some thousand entries of a large array are, far from each other; empty for one that is small."""
    long = sum(n > SHORT for n in a.shape)
    if a.size <= 4 * FEW or not long:
        return ()
    step = int((a.size / FEW) ** (1 / long)) + 1
    return tuple(slice(None, None, step if n > SHORT else 1) for n in a.shape)


def largest(b: np.ndarray) -> float:
    """The size of the largest finite entry."""
    if b.size and not np.iscomplexobj(b):
        most = max(float(b.max()), -float(b.min()))  # without a copy
        if np.isfinite(most):
            return most
    return float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))


def _alike(a: np.ndarray, b: np.ndarray, tolerance: float, scale: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= tolerance * (np.abs(b) + tolerances.SMALL_ENTRY * scale)
        return np.asarray(near | (np.isnan(a) & np.isnan(b)))


def ratio_of(got: np.ndarray, want: np.ndarray, tolerance: float) -> complex | None:
    """The constant k with got = k want, if there is one."""
    power = np.vdot(want, want)
    if not power or not np.isfinite(power):
        return None
    k, few = np.vdot(want, got) / power, few_of(got)
    if few and not _alike(got[few], k * want[few], tolerance, abs(k) * largest(want)).all():
        return None
    return complex(k) if agrees(got, k * want, tolerance) else None


def ratio_on(on: np.ndarray, got: np.ndarray, want: np.ndarray, tolerance: float) -> complex | None:
    """The same where ``on``, of arrays whose last axes are its own; a few entries show that there is none."""
    if on.all():
        return ratio_of(got, want, tolerance)
    places = np.flatnonzero(on)
    got, want = (m.reshape(-1, on.size) for m in (got, want))
    few = few_of(places)
    if few and ratio_of(got[:, places[few]], want[:, places[few]], tolerances.LOOSER * tolerance) is None:
        return None
    return ratio_of(got[:, places], want[:, places], tolerance)


def named(k: complex, place: str, at: Point) -> Diagnosis:
    """The word for a constant multiple: zero, sign, factor, or no more than lost digits."""
    if abs(k) < tolerances.NOTHING:
        return Diagnosis("zero", f"the rule is zero{place}")
    if abs(k + 1) < tolerances.SAME:
        return Diagnosis("sign", f"rule = - reference{place}")
    if abs(k - 1) < tolerances.SAME:
        sentence = f"right but for its last digits{place}, off by {abs(k - 1):.1e} of the derivative"
        return Diagnosis("lost_digits", f"{sentence}: lost between nearly equal numbers?")
    return Diagnosis("factor", f"rule = {constant(k)} x reference{place}{reason(k, at)}")
