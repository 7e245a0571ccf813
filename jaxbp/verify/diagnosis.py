"""Name what is wrong with a rule: try the mistakes that people make until one reproduces its result."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxbp.verify.compare import Comparison, basis_row
from jaxbp.verify.references import Point, Pullback, wide

CAUSES = (
    "sign", "factor", "transposed", "cotangent_transposed", "swapped", "zero", "missing_sum", "missing_term", "nan",
    "not_linear", "dtype", "shape", "primal", "wrong_point", "second_order", "vmap", "nondeterministic", "kink", "other",
)  # fmt: skip
MATRIX_LIMIT = 4096


class Diagnosis(NamedTuple):
    """A cause from the vocabulary and a sentence in the user's words."""

    cause: str
    sentence: str


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
        with np.errstate(all="ignore"):
            scale = np.max(np.where(np.isfinite(b), np.abs(b), 0), initial=0.0)
            return np.asarray(
                (np.abs(a - b) <= self.tolerance * (np.abs(b) + 1e-3 * scale)) | (np.isnan(a) & np.isnan(b))
            )

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two results agree everywhere."""
        return a.shape == b.shape and bool(self.alike(a, b).all())

    def pulled(self, inputs: list[Any], change: Callable[[Any], Any] = lambda c: c) -> np.ndarray:
        """The reference's result for this argument at other inputs or with changed cotangents."""
        assert self.reference is not None
        rows = []
        for s in self.comparison.samples:
            rows.append(wide(self.reference.call(inputs, [change(c) for c in s.cotangent])[1][self.argument]))
        return np.stack(rows)


def diagnose(
    argument: int, comparison: Comparison, at: Point, rule: Pullback, reference: Pullback | None
) -> Diagnosis:
    """The cause of the disagreement in one argument, by the first hypothesis that reproduces it."""
    entries = [e for e in comparison.wrong if e.argument == argument]
    if entries and all(e.outcome == "bad kink" for e in entries):
        return Diagnosis("kink", "at the kink the rule is outside the two one-sided slopes")
    if any(e.outcome == "nan" for e in entries):
        return Diagnosis("nan", "the rule is not finite where the derivative is (0 x inf or an overflow?)")
    evidence = Evidence(argument, comparison, at, rule, reference, max(1e-6, 10 * comparison.rtol))
    for hypothesis in (
        _multiple,
        _swapped,
        _turned,
        _partly,
        _slice,
        _elsewhere,
        _matrix,
        _by_row,
        _convicted,
    ):
        found = hypothesis(evidence)
        if found:
            return found
    return Diagnosis("other", "no simple mistake reproduces the rule's result")


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


def _ratio(got: np.ndarray, want: np.ndarray, tolerance: float) -> complex | None:
    """The constant k with got = k want, if there is one."""
    power = np.vdot(want, want)
    if not power or not np.isfinite(power):
        return None
    k = np.vdot(want, got) / power
    scale = np.max(np.abs(want)) * abs(k)
    fits = np.all(np.abs(got - k * want) <= tolerance * (np.abs(k * want) + 1e-3 * scale))
    return complex(k) if fits else None


def _named(k: complex, place: str, at: Point) -> Diagnosis:
    if abs(k) < 1e-12:
        return Diagnosis("zero", f"the rule is zero{place}")
    if abs(k + 1) < 1e-6:
        return Diagnosis("sign", f"rule = - reference{place}")
    return Diagnosis("factor", f"rule = {constant(k, at)} x reference{place}")


def _multiple(e: Evidence) -> Diagnosis | None:
    got, want = e.got, e.want
    if not got.any():
        return Diagnosis("zero", "the rule is zero")
    finite = np.isfinite(want) & np.isfinite(got)
    k = _ratio(got[finite], want[finite], e.tolerance)
    if k is not None and abs(k - 1) < 1e-9:
        return None  # Right wherever autodiff has a value; the differences convicted the rest.
    if k is None and np.iscomplexobj(want) and e.same(got, np.conj(want)):
        return Diagnosis("other", "rule = the complex conjugate of the reference")
    return _named(k, "", e.at) if k is not None else None


def _swapped(e: Evidence) -> Diagnosis | None:
    for b in range(len(e.at.inputs)):
        if b == e.argument or np.shape(e.at.inputs[b]) != np.shape(e.at.inputs[e.argument]):
            continue
        other = np.stack([s.reference[b] for s in e.comparison.samples])
        if e.same(e.got, other):
            return Diagnosis("swapped", f"this is the cotangent of argument {b}")
    return None


def _turned(e: Evidence) -> Diagnosis | None:
    got, want = e.got, e.want
    square = want.ndim >= 3 and want.shape[-1] == want.shape[-2]
    if square and e.same(got, np.swapaxes(want, -1, -2)):
        return Diagnosis("transposed", "rule = the transpose of the reference")
    outs = [tuple(s.shape) for s in e.at.outputs]
    if e.reference and outs and all(len(s) >= 2 and s[-1] == s[-2] for s in outs):
        turned = e.pulled(e.at.inputs, lambda c: jnp.swapaxes(c, -1, -2))
        if e.same(got, turned):
            return Diagnosis("cotangent_transposed", "the rule's result is that of the transposed cotangent")
        if square and e.same(got, np.swapaxes(turned, -1, -2)):
            return Diagnosis("transposed", "cotangent and result are transposed")
    return None


def _partly(e: Evidence) -> Diagnosis | None:
    """Right on most entries, and a constant multiple on the rest, whatever the cotangent."""
    got, want = e.got, e.want
    bad = ~e.alike(got, want)
    rows = bad.any(0)
    if not rows.any() or rows.all() or np.size(rows) < 3:
        return None
    kept = bad & np.isfinite(want) & np.isfinite(got)
    if not kept.any():
        return None
    k = _ratio(got[kept], want[kept], e.tolerance)
    if k is None:
        return None
    return _named(k, f" on {int(rows.sum())} of {rows.size} entries", e.at)


def _convicted(e: Evidence) -> Diagnosis | None:
    """One constant multiple on the entries that were convicted, however small they are beside the others."""
    entries = [x for x in e.comparison.wrong if x.argument == e.argument]
    if len(entries) < 3:
        return None
    got, want = np.array([x.rule for x in entries]), np.array([x.reference for x in entries])
    with np.errstate(all="ignore"):
        ratio = got / want
    if not np.isfinite(ratio).all() or np.max(np.abs(ratio - ratio[0])) > e.tolerance * max(
        1.0, abs(ratio[0])
    ):
        return None
    return _named(complex(ratio[0]), " on the entries that differ", e.at)


def _slice(e: Evidence) -> Diagnosis | None:
    """A sum over an axis of the output of which the rule kept one term."""
    if e.reference is None or len(e.at.outputs) != 1:
        return None
    shape = e.at.outputs[0].shape
    for axis, n in enumerate(shape):
        for k in (0, n - 1) if n > 1 else ():
            mask = np.zeros(shape)
            mask[(slice(None),) * axis + (k,)] = 1
            kept = e.pulled(e.at.inputs, partial(_masked, mask))
            if e.same(e.got, kept) and not e.same(kept, e.want):
                return Diagnosis("missing_sum", f"only slice {k} of axis {axis} is summed")
    return None


def _masked(mask: np.ndarray, c: Any) -> Any:
    return (c * mask).astype(c.dtype)


FORMS: dict[str, Callable[[Any], Any]] = {
    "y(1-y)": lambda y: y * (1 - y),
    "1-y^2": lambda y: 1 - y * y,
    "y": lambda y: y,
    "1/(2y)": lambda y: 0.5 / y,
    "-y^2": lambda y: -y * y,
    "1-exp(-y)": lambda y: 1 - np.exp(-y),
    "1+y^2": lambda y: 1 + y * y,
    "-y^3/2": lambda y: -0.5 * y**3,
    "2y": lambda y: 2 * y,
}


def _elsewhere(e: Evidence) -> Diagnosis | None:
    """The derivative at another point, or the derivative of the output form applied to the input."""
    if e.reference is None:
        return None
    x = wide(e.at.inputs[e.argument])
    for i, held in enumerate(e.at.inputs):
        if i != e.argument and held.size:
            for value, word in ((1, "factor"), (0, "term")):
                inputs = [jnp.full_like(v, value) if k == i else v for k, v in enumerate(e.at.inputs)]
                if e.same(e.got, e.pulled(inputs)):
                    sentence = f"the {word} from argument {i} is left out (it is taken as {value})"
                    return Diagnosis("missing_term", sentence)
    outs = [wide(y) for y in e.at.fn(*e.at.inputs)]
    for inputs, what in _points(e, outs):
        if e.same(e.got, e.pulled(inputs)):
            return Diagnosis("wrong_point", f"the derivative is evaluated at {what}")
    same = [y for y in outs if y.shape == x.shape]
    if not same or len(e.at.outputs) != 1:
        return None
    y = same[0]
    cts = np.stack([wide(s.cotangent[0]) for s in e.comparison.samples])
    with np.errstate(all="ignore"):
        for name, form in FORMS.items():
            if e.same(cts * form(y), e.want) and e.same(e.got, cts * form(x)):
                return Diagnosis(
                    "wrong_point", f"the derivative of the output form {name} was applied to the input"
                )

        def softmax(y: np.ndarray) -> np.ndarray:
            return np.asarray(y * (cts - np.sum(cts * y, -1, keepdims=True)))

        if y.ndim and e.same(softmax(y), e.want) and e.same(e.got, softmax(x)):
            return Diagnosis("wrong_point", "the output form y (c - sum(c y)) was applied to the input")
    return None


def _points(e: Evidence, outs: list[np.ndarray]) -> Iterator[tuple[list[Any], str]]:
    """Other places where a derivative may have been taken by mistake."""
    inputs = e.at.inputs
    for i, x in enumerate(inputs):

        def at(value: Any, i: int = i, x: Any = x) -> list[Any]:
            return [jnp.asarray(value, dtype=x.dtype) if k == i else v for k, v in enumerate(inputs)]

        for y in outs:
            if y.shape == np.shape(x) and np.iscomplexobj(y) <= np.iscomplexobj(x):
                yield at(y), "the output instead of the input"
        for k, z in enumerate(inputs):
            if k > i and np.shape(z) == np.shape(x) and z.dtype == x.dtype:
                exchanged = list(inputs)
                exchanged[i], exchanged[k] = z, x
                yield exchanged, f"arguments {i} and {k} exchanged"
            if k != i and np.shape(z) == np.shape(x) and z.dtype == x.dtype:
                yield at(z), f"argument {k} in place of argument {i}"


def matrices(e: Evidence) -> tuple[np.ndarray, np.ndarray] | None:
    """The Jacobians (outputs x entries of this argument) of rule and reference, when small."""
    rows = sum(int(np.prod(s.shape)) for s in e.at.outputs)
    columns = int(np.size(e.at.inputs[e.argument]))
    if e.reference is None or rows * columns > MATRIX_LIMIT or rows > 256:
        return None
    pairs = [
        [wide(m.call(e.at.inputs, basis_row(e.at, j))[1][e.argument]).ravel() for j in range(rows)]
        for m in (e.rule, e.reference)
    ]
    return np.array(pairs[0]), np.array(pairs[1])


def _matrix(e: Evidence) -> Diagnosis | None:
    """Mistakes that show only in the whole Jacobian."""
    pair = matrices(e)
    if pair is None or not all(np.isfinite(m).all() for m in pair):
        return None
    got, want = pair
    if got.shape[0] == got.shape[1] and not e.same(want, want.T):
        k = _ratio(got, want.T, e.tolerance)
        if k is not None:
            factor = "" if abs(k - 1) < 1e-6 else f"{constant(k, e.at)} x "
            return Diagnosis("transposed", f"the rule applies {factor}the transposed operator")
    kept = e.alike(got, want)
    partial = kept | (np.abs(got) <= 1e-12 * np.max(np.abs(want)))
    if partial.all():
        dropped = ~kept
        rows = [bool((~kept[j] | (want[j] == 0)).all()) for j in range(len(got)) if dropped[j].any()]
        if all(rows):
            return Diagnosis(
                "missing_sum", f"the contributions of {len(rows)} of {len(got)} outputs are left out"
            )
        return Diagnosis("missing_term", "entries of the Jacobian that should count are left out")
    rest = got - want
    scale = np.linalg.norm(want)
    if len(rest) > 2 and scale:
        # An absent term is a residual of lower rank than what it was left out of.
        ranks = [int(np.linalg.matrix_rank(m, tol=1e-6 * scale)) for m in (rest, want, got)]
        if 3 * ranks[0] < min(ranks[1:]):
            return Diagnosis("missing_term", f"rule and reference differ by a term of rank {ranks[0]}")
    return None


def _by_row(e: Evidence) -> Diagnosis | None:
    """A factor that is constant along the last axis and differs between rows; or a constant shift."""
    got, want = e.got, e.want
    if want.ndim < 2 or want.shape[-1] < 3 or not np.isfinite(got).all() or not np.isfinite(want).all():
        return None
    pairs = zip(got.reshape(-1, want.shape[-1]), want.reshape(-1, want.shape[-1]), strict=True)
    constants = [_ratio(g, w, e.tolerance) for g, w in pairs if w.any() or g.any()]
    if constants and want.ndim > 2 and all(k is not None for k in constants):
        return Diagnosis("factor", "rule = k x reference with a k that differs from row to row")
    rest = got - want
    if not e.same(rest, 0 * rest) and e.same(rest, rest[..., :1] + 0 * rest):
        return Diagnosis("missing_term", "rule and reference differ by a constant along the last axis")
    return None
