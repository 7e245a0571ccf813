"""Mistakes that show in single rows and columns of the Jacobian, or in the whole of a small one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.verify import tolerances
from jaxbp.verify.causes.changed import is_square
from jaxbp.verify.causes.evidence import Diagnosis, Evidence, constant, ratio_of, reason
from jaxbp.verify.maps.pullback import wide

# So many entries of an argument, and outputs that they contribute to, are looked at where all are too many.
COLUMNS = 4
CONTRIBUTIONS = 64


def matrix(e: Evidence) -> Diagnosis | None:
    """Mistakes that show only in the whole Jacobian."""
    if e.jacobians is None:
        return None
    got, want = e.jacobians
    if got.shape[0] == got.shape[1] and not e.same(want, want.T):
        k = ratio_of(got, want.T, e.tolerance)
        if k is not None:
            factor = "" if abs(k - 1) < tolerances.SAME else f"{constant(k)} x "
            sentence = f"the rule applies {factor}the transposed operator{reason(k, e.at)}"
            return Diagnosis("transposed", sentence)
        with np.errstate(all="ignore"):
            ratio = got / want.T
        # D M in the place of D M^T, of an implicit function: the transposed operator between D and 1 / D.
        if (
            len(got) > 1
            and e.same(np.diag(ratio), 1.0 + 0 * np.diag(ratio))
            and e.same(ratio, np.outer(ratio[:, 0], ratio[0]))
        ):
            return Diagnosis("transposed", "the rule applies the transposed operator between two scales")
    found = _partial(e, got, want)
    if found:
        return found
    rest = got - want
    scale = np.linalg.norm(want)
    if len(rest) > 2 and scale:
        # An absent term is a residual of lower rank than what it was left out of.
        ranks = [int(np.linalg.matrix_rank(m, tol=tolerances.REPRODUCED * scale)) for m in (rest, want, got)]
        if tolerances.LOW_RANK * ranks[0] < min(ranks[1:]):
            sentence = f"rule and reference differ by a term of rank {ranks[0]}"
            return Diagnosis("missing_term", sentence, True)
    return None


def _partial(e: Evidence, got: np.ndarray, want: np.ndarray, of: str = "") -> Diagnosis | None:
    """Whether entries of a Jacobian (or of some columns of it) are kept as they are or left out."""
    kept = e.alike(got, want)
    partial = kept | (np.abs(got) <= tolerances.NOTHING * np.max(np.abs(want)))
    if not partial.all():
        return None
    rows = [bool((~kept[j] | (want[j] == 0)).all()) for j in range(len(got)) if not kept[j].all()]
    if not rows:
        return None  # What is wrong is too small beside the rest to show in the Jacobian.
    if all(rows):
        sentence = f"what {len(rows)} of {len(got)} outputs contribute{of} is left out"
        return Diagnosis("missing_sum", sentence)
    return Diagnosis("missing_term", "entries of the Jacobian that should count are left out", True)


def overwritten(e: Evidence) -> Diagnosis | None:
    """At any size: of the contributions to single entries of the argument some are left out."""
    if e.jacobians is not None or e.reference is None or not e.at.outputs:
        return None
    worst = sorted((x for x in e.comparison.wrong if x.argument == e.argument),
                   key=lambda x: -abs(x.rule - x.reference))  # fmt: skip
    for index in list(dict.fromkeys(x.index for x in worst))[:COLUMNS]:
        column = _column(e, index)
        rows = np.flatnonzero(np.abs(column) > tolerances.NOTHING * np.abs(column).max(initial=0.0))
        if not 1 < len(rows) <= CONTRIBUTIONS:
            continue
        place = int(np.ravel_multi_index(index, np.shape(e.at.inputs[e.argument]))) if index else 0
        got = e.rows(e.rule, rows)[:, place]
        found = _partial(e, got[:, None], column[rows][:, None], f" to [{', '.join(map(str, index))}]")
        if found:
            return found
    return None


def _column(e: Evidence, index: tuple[int, ...]) -> np.ndarray:
    """What one entry of the argument contributes to every output, by forward mode."""
    tangents = [jnp.zeros_like(x) for x in e.at.inputs]
    tangents[e.argument] = tangents[e.argument].at[index].set(1)
    outs = jax.jvp(e.at.fn, tuple(e.at.inputs), tuple(tangents))[1]
    return np.concatenate([wide(y).ravel() for y in outs])


def one_slice(e: Evidence) -> Diagnosis | None:
    """A sum over an axis of the output of which the rule kept one term."""
    if e.reference is None or len(e.at.outputs) != 1:
        return None
    shape = e.at.outputs[0].shape
    for axis, n in enumerate(shape):
        for k in (0, n - 1) if n > 1 else ():
            mask = np.zeros(shape)
            mask[(slice(None),) * axis + (k,)] = 1
            if e.gives(e.at.inputs, partial(_masked, mask)) and e.apart.any():
                return Diagnosis("missing_sum", f"only slice {k} of axis {axis} is summed")
    return None


def _masked(mask: np.ndarray, c: jnp.ndarray) -> jnp.ndarray:
    return (c * mask).astype(c.dtype)


def one_of_two(e: Evidence) -> Diagnosis | None:
    """Of two terms that are transposes of each other (of X X^T, of a Lyapunov equation) one, or one twice."""
    if is_square(e.want.shape[1:]) and e.explained_by(2 * e.want - np.swapaxes(e.got, -1, -2)):
        hint = "its symmetric part (rule + transpose) / 2 is the reference"
        return Diagnosis("missing_term", f"the rule's result is not symmetric; {hint}")
    others = []
    if all(is_square(s.shape) for s in e.at.outputs):
        turn = partial(jnp.swapaxes, axis1=-1, axis2=-2)
        others.append((e.pulled(e.at.inputs, turn, e.rule), "cotangent"))
    if is_square(e.want.shape[1:]):
        others.append((np.swapaxes(e.got, -1, -2), "result"))
    for other, what in others:
        for times, word in ((1, "is left out"), (2, "is taken for the same")):
            if e.explained_by(times * e.want - other):
                return Diagnosis("missing_term", f"the same term of the transposed {what} {word}")
    return None


def outside_the_span(e: Evidence) -> Diagnosis | None:
    """All of the difference lies outside the span of the rest: what a projection takes away, a residual."""
    got, want, rest = (
        m.reshape(len(m), *[1] * (m.ndim == 2), *m.shape[1:]) for m in (e.got, e.want, e.rest)
    )
    if want[0].size < 3 or not e.finite:
        return None
    rng, least_samples = np.random.default_rng(0), 3 if is_small(e.at.inputs) else 2
    for kept, word in ((got, "leaves out"), (want, "adds")):
        for turned in (False, True) if want.shape[-2] > 1 else (False,):
            left, right = (np.swapaxes(m, -1, -2) if turned else m for m in (kept, rest))
            # Of all columns of the term a random combination stands for each.
            column = np.swapaxes(_conjugate(right), -1, -2) @ rng.standard_normal((right.shape[-2], 1))
            size = _norms(left) * _norms(column)
            overlap, least = _norms(left @ column), e.tolerance * np.max(size)
            enough = (size > least).sum() >= least_samples
            if enough and (overlap <= e.tolerance * np.maximum(size, least)).all():
                whose = "its own result" if kept is got else "the right result"
                sentence = f"the rule {word} what lies outside the span of {whose}: a residual, a projection?"
                return Diagnosis("missing_term", sentence, True)
    return None


def _conjugate(m: np.ndarray) -> np.ndarray:
    return m.conj() if np.iscomplexobj(m) else m


def _norms(m: np.ndarray) -> np.ndarray:
    """The norm of each matrix, without a copy of it."""
    return np.asarray(np.sqrt(np.einsum("...ij,...ij->...", m, _conjugate(m)).real))


def what_is_known(e: Evidence) -> Diagnosis:
    """No mistake fits: where the difference lies, and what it depends on."""
    bad, total = e.differs, e.differs.size
    parts = []
    if 0 < bad.sum() < total:
        axes = range(bad.ndim)
        spans = [np.flatnonzero(bad.any(tuple(j for j in axes if j != i))) for i in axes]
        box = ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]} to {s[-1]}" for s in spans)
        parts.append(f"{int(bad.sum())} of {total} entries differ, within [{box}]")
    elif total > 1:
        parts.append(f"all of {total} entries differ")
    if total > 1 and e.finite and (np.ptp(e.got.reshape(len(e.got), -1), 1) == 0).all():
        parts.append("the rule gives the same in every entry")
    if e.jacobians is not None:
        got, want = e.jacobians
        rows = int((~e.alike(got, want)).any(1).sum())
        if rows < len(got):
            parts.append(f"what {len(got) - rows} of {len(got)} outputs contribute is right")
        scale = np.linalg.norm(want)
        if min(want.shape) > 1 and scale:
            rank = np.linalg.matrix_rank(got - want, tol=tolerances.REPRODUCED * scale)
            parts.append(f"the difference has rank {rank} of {min(want.shape)}")
    if e.reference and e.finite:
        more = []
        for i, x in enumerate(e.at.inputs):
            inputs = [2 * v if k == i else v for k, v in enumerate(e.at.inputs)]
            k = ratio_of(e.gap(inputs), e.gap(e.at.inputs), e.tolerance) if np.size(x) else None
            if k is not None and abs(k) > tolerances.NOTHING and abs(k - 1) > tolerances.SAME:
                more.append(f"{constant(k)} times as large for 2 x argument {i}")
        parts += [f"it is {' and '.join(more)}"] if more else []
    return Diagnosis("other", f"no known mistake gives the rule's result: {'; '.join(parts)}", True)
