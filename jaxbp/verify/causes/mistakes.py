"""Name what is wrong with a rule: try the mistakes that people make until one reproduces its result."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbp.verify.causes.chain_terms import is_square
from jaxbp.verify.causes.evidence import Diagnosis, Evidence, constant, named, ratio_of
from jaxbp.verify.causes.output_form import output_form
from jaxbp.verify.maps.pullback import Point, Pullback, basis_row, wide
from jaxbp.verify.numbers.compare import Comparison

MATRIX_LIMIT = 4096


def multiple(e: Evidence) -> Diagnosis | None:
    """One constant times the reference: zero, a sign, a factor."""
    got, want = e.got, e.want
    if not got.any():
        return Diagnosis("zero", "the rule is zero")
    finite = np.isfinite(want) & np.isfinite(got)
    k = ratio_of(got[finite], want[finite], e.tolerance)
    if k is not None and abs(k - 1) < 1e-9:
        return None  # Right wherever autodiff has a value; the differences convicted the rest.
    if k is None and np.iscomplexobj(want) and e.explained_by(np.conj(want)):
        return Diagnosis("other", "rule = the complex conjugate of the reference")
    return named(k, "", e.at) if k is not None else None


def swapped(e: Evidence) -> Diagnosis | None:
    """The cotangent of another argument."""
    for b in range(len(e.at.inputs)):
        if b == e.argument or np.shape(e.at.inputs[b]) != np.shape(e.at.inputs[e.argument]):
            continue
        other = np.stack([s.reference[b] for s in e.comparison.samples])
        if e.explained_by(other):
            return Diagnosis("swapped", f"this is the cotangent of argument {b}")
    return None


def turned(e: Evidence) -> Diagnosis | None:
    """A transpose of the result or of the cotangent."""
    want = e.want
    square = is_square(want.shape[1:])
    if square and e.explained_by(np.swapaxes(want, -1, -2)):
        return Diagnosis("transposed", "rule = the transpose of the reference")
    outs = [tuple(s.shape) for s in e.at.outputs]
    if e.reference and outs and all(map(is_square, outs)):
        turned = e.pulled(e.at.inputs, lambda c: jnp.swapaxes(c, -1, -2))
        if e.explained_by(turned):
            return Diagnosis("cotangent_transposed", "the rule's result is that of the transposed cotangent")
        if square and e.explained_by(np.swapaxes(turned, -1, -2)):
            return Diagnosis("transposed", "cotangent and result are transposed")
    return None


def partly(e: Evidence) -> Diagnosis | None:
    """Right on most entries, and a constant multiple on the rest, whatever the cotangent."""
    got, want = e.got, e.want
    bad = ~e.alike(got, want)
    rows = bad.any(0)
    if not rows.any() or rows.all() or np.size(rows) < 3:
        return None
    kept = bad & np.isfinite(want) & np.isfinite(got)
    if not kept.any():
        return None
    k = ratio_of(got[kept], want[kept], e.tolerance)
    if k is None:
        return None
    return named(k, f" on {int(rows.sum())} of {rows.size} entries", e.at)


def convicted(e: Evidence) -> Diagnosis | None:
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
    return named(complex(ratio[0]), " on the entries that differ", e.at)


def one_slice(e: Evidence) -> Diagnosis | None:
    """A sum over an axis of the output of which the rule kept one term."""
    if e.reference is None or len(e.at.outputs) != 1:
        return None
    shape = e.at.outputs[0].shape
    for axis, n in enumerate(shape):
        for k in (0, n - 1) if n > 1 else ():
            mask = np.zeros(shape)
            mask[(slice(None),) * axis + (k,)] = 1
            kept = e.pulled(e.at.inputs, partial(_masked, mask))
            if e.explained_by(kept) and not e.same(kept, e.want):
                return Diagnosis("missing_sum", f"only slice {k} of axis {axis} is summed")
    return None


def _masked(mask: np.ndarray, c: Any) -> Any:
    return (c * mask).astype(c.dtype)


def elsewhere(e: Evidence) -> Diagnosis | None:
    """The derivative at another point, or the derivative of the output form applied to the input."""
    if e.reference is None:
        return None
    for i, held in enumerate(e.at.inputs):
        if i != e.argument and held.size:
            for value, word in ((1, "factor"), (0, "term")):
                inputs = [jnp.full_like(v, value) if k == i else v for k, v in enumerate(e.at.inputs)]
                if e.explained_by(e.pulled(inputs)):
                    sentence = f"the {word} from argument {i} is left out (it is taken as {value})"
                    return Diagnosis("missing_term", sentence)
    outs = [wide(y) for y in e.at.fn(*e.at.inputs)]
    for i, held in enumerate(e.at.inputs):
        if is_square(held.shape):
            inputs = [jnp.swapaxes(v, -1, -2) if k == i else v for k, v in enumerate(e.at.inputs)]
            if e.explained_by(e.pulled(inputs)):
                return Diagnosis("transposed", f"the transpose of argument {i} is used in the place of it")
    for inputs, what in _points(e, outs):
        if e.explained_by(e.pulled(inputs)):
            return Diagnosis("wrong_point", f"the derivative is evaluated at {what}")
    return output_form(e, outs)


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
        [wide(m.call(e.at.inputs, basis_row(e.at.outputs, j))[1][e.argument]).ravel() for j in range(rows)]
        for m in (e.rule, e.reference)
    ]
    return np.array(pairs[0]), np.array(pairs[1])


def matrix(e: Evidence) -> Diagnosis | None:
    """Mistakes that show only in the whole Jacobian."""
    pair = matrices(e)
    if pair is None or not all(np.isfinite(m).all() for m in pair):
        return None
    got, want = pair
    if got.shape[0] == got.shape[1] and not e.same(want, want.T):
        k = ratio_of(got, want.T, e.tolerance)
        if k is not None:
            factor = "" if abs(k - 1) < 1e-6 else f"{constant(k, e.at)} x "
            return Diagnosis("transposed", f"the rule applies {factor}the transposed operator")
        with np.errstate(all="ignore"):
            ratio = got / want.T
        # D M in the place of D M^T, of an implicit function: the transposed operator between D and 1 / D.
        if (
            len(got) > 1
            and e.same(np.diag(ratio), 1.0 + 0 * np.diag(ratio))
            and e.same(ratio, np.outer(ratio[:, 0], ratio[0]))
        ):
            return Diagnosis("transposed", "the rule applies the transposed operator between two scales")
    kept = e.alike(got, want)
    partial = kept | (np.abs(got) <= 1e-12 * np.max(np.abs(want)))
    if partial.all():
        rows = [bool((~kept[j] | (want[j] == 0)).all()) for j in range(len(got)) if not kept[j].all()]
        if not rows:
            return None  # What is wrong is too small beside the rest to show in the whole Jacobian.
        if all(rows):
            return Diagnosis("missing_sum", f"what {len(rows)} of {len(got)} outputs contribute is left out")
        return Diagnosis("missing_term", "entries of the Jacobian that should count are left out")
    rest = got - want
    scale = np.linalg.norm(want)
    if len(rest) > 2 and scale:
        # An absent term is a residual of lower rank than what it was left out of.
        ranks = [int(np.linalg.matrix_rank(m, tol=1e-6 * scale)) for m in (rest, want, got)]
        if 3 * ranks[0] < min(ranks[1:]):
            return Diagnosis("missing_term", f"rule and reference differ by a term of rank {ranks[0]}")
    return None


def by_row(e: Evidence) -> Diagnosis | None:
    """A factor that is constant along the last axis and differs between rows; or a constant shift."""
    got, want = e.got, e.want
    if want.ndim < 2 or want.shape[-1] < 3 or not np.isfinite(got).all() or not np.isfinite(want).all():
        return None
    pairs = zip(got.reshape(-1, want.shape[-1]), want.reshape(-1, want.shape[-1]), strict=True)
    constants = [ratio_of(g, w, e.tolerance) for g, w in pairs if w.any() or g.any()]
    if constants and want.ndim > 2 and all(k is not None for k in constants):
        return Diagnosis("factor", "rule = k x reference with a k that differs from row to row", True)
    rest = got - want
    if not e.same(rest, 0 * rest) and e.same(rest, rest[..., :1] + 0 * rest):
        return Diagnosis("missing_term", "rule and reference differ by a constant along the last axis")
    return None


def one_of_two(e: Evidence) -> Diagnosis | None:
    """Of two terms that are transposes of each other (of X X^T, of a Lyapunov equation) one, or one twice."""
    others = []
    if all(is_square(s.shape) for s in e.at.outputs):
        others.append((e.pulled(e.at.inputs, partial(jnp.swapaxes, axis1=-1, axis2=-2), e.rule), "cotangent"))
    if is_square(e.want.shape[1:]):
        others.append((np.swapaxes(e.got, -1, -2), "result"))
    for other, what in others:
        for times, word in ((1, "is left out"), (2, "is taken for the same")):
            if e.explained_by(times * e.want - other):
                return Diagnosis("missing_term", f"the same term of the transposed {what} {word}")
    return None


def at_right_angles(e: Evidence) -> Diagnosis | None:
    """A term at right angles to all others: what a projection takes away, the residual of least squares."""
    got, want = (m.reshape(len(m), *[1] * (m.ndim == 2), *m.shape[1:]) for m in (e.got, e.want))
    if want[0].size < 3 or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return None
    rng = np.random.default_rng(0)
    for kept, word in ((got, "left out"), (want, "too many")):
        for turned in (False, True):
            left, right = (np.swapaxes(m, -1, -2) if turned else m for m in (kept, got - want))
            # Of all columns of the term a random combination stands for each.
            column = np.swapaxes(right.conj(), -1, -2) @ rng.standard_normal((right.shape[-2], 1))
            size = np.linalg.norm(left, axis=(-2, -1)) * np.linalg.norm(column, axis=(-2, -1))
            overlap, least = np.linalg.norm(left @ column, axis=(-2, -1)), e.tolerance * np.max(size)
            if (size > least).sum() >= 3 and (overlap <= e.tolerance * np.maximum(size, least)).all():
                return Diagnosis("missing_term", f"a term at right angles to the rest is {word}")
    return None


CAUSES = (
    "sign", "factor", "transposed", "cotangent_transposed", "swapped", "zero", "missing_sum", "missing_term",
    "nan", "not_linear", "dtype", "shape", "primal", "wrong_point", "second_order", "vmap",
    "nondeterministic", "kink", "other",
)  # fmt: skip
# In this order: a simple mistake comes before one that could imitate it.
MISTAKES = (
    multiple, swapped, turned, partly, one_slice, elsewhere, matrix, by_row, one_of_two, convicted,
    at_right_angles,
)  # fmt: skip


def diagnose(
    argument: int, comparison: Comparison, at: Point, rule: Pullback, reference: Pullback | None
) -> Diagnosis:
    """The cause of the disagreement in one argument, by the first hypothesis that reproduces it."""
    entries = [e for e in comparison.wrong if e.argument == argument]
    if entries and all(e.outcome == "bad kink" for e in entries):
        return Diagnosis("kink", "at the kink the rule is outside the two one-sided slopes")
    if any(e.outcome == "nan" for e in entries):
        return Diagnosis("nan", "the rule is not finite where the derivative is (0 x inf or an overflow?)")
    tolerance = max(1e-6, 10 * max(comparison.rtol, comparison.loose))
    evidence = Evidence(argument, comparison, at, rule, reference, tolerance)
    for hypothesis in MISTAKES:
        found = hypothesis(evidence)
        if found:
            return found._replace(vague=found.vague or found.cause in ("other", "missing_term"))
    return Diagnosis("other", "no simple mistake reproduces the rule's result", True)
