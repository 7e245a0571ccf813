"""Results that are a multiple of the right ones: everywhere, in places, by row, by output."""

import numpy as np

from jaxbp.verify import tolerances
from jaxbp.verify.causes.evidence import Diagnosis, Evidence, constant, named, ratio_of, ratio_on
from jaxbp.verify.maps.pullback import basis_row, wide

# Fibres of an output along which a factor is looked for, and outputs that are looked at entry by entry.
FIBRE_LIMIT = 512
ENTRY_LIMIT = 256


def multiple(e: Evidence) -> Diagnosis | None:
    """One constant times the reference: zero, a sign, a factor."""
    got, want = e.got, e.want
    if not got.any():
        return Diagnosis("zero", "the rule is zero")
    finite = ... if e.finite else np.isfinite(want) & np.isfinite(got)
    k = ratio_of(got[finite], want[finite], e.tolerance)
    if k is None or abs(k - 1) < tolerances.NOTHING:
        return None  # Right wherever autodiff has a value; the differences convicted the rest.
    # The reference is the cotangent itself: then the multiple is that of the identity.
    declared = {"sign": "'reversal'", "factor": f"('scaled', {constant(k)})"}
    said = named(k, "", e.at)
    passed = any(c.shape == want.shape and e.same(c, want) for c in e.cotangents)
    if passed and said.cause in declared:
        hint = f"; if that is on purpose, declare={declared[said.cause]}"
        return said._replace(sentence=f"{said.sentence}, which is the cotangent{hint}")
    return said


def partly(e: Evidence) -> Diagnosis | None:
    """Right on most entries, and a constant multiple on the rest, whatever the cotangent."""
    got, want = e.got, e.want
    rows = e.differs
    if not rows.any() or rows.all() or np.size(rows) < 3:
        return None
    kept = e.apart if e.finite else e.apart & np.isfinite(want) & np.isfinite(got)
    if not kept.any():
        return None
    k = ratio_on(kept, got, want, e.tolerance)
    if k is None:
        return None
    return named(k, f" on {int(rows.sum())} of {rows.size} entries", e.at)


def convicted(e: Evidence) -> Diagnosis | None:
    """One constant multiple on the entries that were convicted, however small they are beside the others."""
    entries = [x for x in e.comparison.wrong if x.argument == e.argument]
    if len(entries) < 3 or e.differs.sum() > len(entries):
        return None  # Of more than those, three that differ alike say nothing.
    got, want = np.array([x.rule for x in entries]), np.array([x.reference for x in entries])
    with np.errstate(all="ignore"):
        ratio = got / want
    if not np.isfinite(ratio).all() or np.max(np.abs(ratio - ratio[0])) > e.tolerance * max(
        1.0, abs(ratio[0])
    ):
        return None
    return named(complex(ratio[0]), " on the entries that differ", e.at)


def by_row(e: Evidence) -> Diagnosis | None:
    """A factor that is constant along the last axis and differs between rows."""
    got, want = e.got, e.want
    if want.ndim < 3 or want.shape[-1] < 3 or not e.finite:
        return None
    pairs = zip(got.reshape(-1, want.shape[-1]), want.reshape(-1, want.shape[-1]), strict=True)
    constants = [ratio_of(g, w, e.tolerance) for g, w in pairs if w.any() or g.any()]
    if constants and all(k is not None for k in constants):
        return Diagnosis("factor", "rule = k x reference with a k that differs from row to row", True)
    return None


def by_output(e: Evidence) -> Diagnosis | None:
    """What comes from one of several outputs is left out, or taken several times."""
    count = len(e.at.outputs)
    if e.reference is None or not 1 < count <= 16 or not e.finite:
        return None
    parts = [e.pulled(e.at.inputs, only=k) for k in range(count)]
    live = [k for k, part in enumerate(parts) if part.any()]
    flat = np.stack([parts[k].ravel() for k in live], 1)
    factors = np.linalg.lstsq(flat, e.got.ravel(), rcond=None)[0] if live else np.zeros(0)
    factors = np.where(np.abs(factors) < tolerances.NOTHING, 0, factors)
    if not live or not e.explained_by((flat @ factors).reshape(e.got.shape)):
        return None
    odd = {k: f for k, f in zip(live, factors, strict=True) if abs(f - 1) > tolerances.SAME}
    ignored = [str(k) for k, f in odd.items() if f == 0]
    if ignored and len(ignored) == len(odd):
        return Diagnosis("missing_term", f"the cotangent of output {' and '.join(ignored)} is ignored")
    words = [f"output {k} {constant(f)} times" for k, f in odd.items()]
    cause = "sign" if all(abs(f + 1) < tolerances.SAME for f in odd.values()) else "factor"
    return Diagnosis(cause, f"what comes from {', from '.join(words)}") if odd else None


def by_output_entry(e: Evidence) -> Diagnosis | None:
    """A factor for each entry of the output: along one of its axes, or entry by entry where it is small."""
    if e.reference is None or len(e.at.outputs) != 1 or not e.finite:
        return None
    shape = tuple(e.at.outputs[0].shape)
    for axis, n in enumerate(shape):
        if 2 < n <= FIBRE_LIMIT:
            at = np.ravel_multi_index(np.ogrid[tuple(slice(0, m if k == axis else 1) for k, m in
                                                     enumerate(shape))], shape)  # fmt: skip
            k = _factors(e, at.ravel())
            found = k is not None and _weighed(e, k.reshape(at.shape), f"along axis {axis} of the output")
            if found:
                return found
    size = int(np.prod(shape))
    k = _factors(e, np.arange(size)) if 2 < size <= ENTRY_LIMIT else None
    return None if k is None else _weighed(e, k.reshape(shape), "for each entry of the output") or None


def _factors(e: Evidence, numbers: np.ndarray) -> np.ndarray | None:
    """For each output entry the k with row of rule = k x row of reference."""
    assert e.reference is not None
    found, together = np.ones(len(numbers)), False
    for n, j in enumerate(numbers):
        hot = basis_row(e.at.outputs, int(j))
        got, want = (wide(m.call(e.at.inputs, hot)[1][e.argument]) for m in (e.rule, e.reference))
        together = together or bool(np.count_nonzero(want) > 1)
        if want.any() or got.any():
            k = ratio_of(got, want, e.tolerance)
            if k is None or abs(k.imag) > tolerances.NOTHING:
                return None
            found[n] = k.real
    # Where an output depends on one entry alone, it is the entry that has the factor.
    return found if together else None


def _weighed(e: Evidence, k: np.ndarray, where: str) -> Diagnosis | None:
    if not e.gives(e.at.inputs, lambda c: (c * k).astype(c.dtype)):
        return None
    flat = k.ravel()
    shown = ", ".join(f"{x:.4g}" for x in flat[:5]) + (f", ..., {flat[-1]:.4g}" if flat.size > 5 else "")
    odd = flat[np.abs(flat - 1) > tolerances.SAME]
    words = {"sign": np.abs(odd + 1), "missing_sum": np.abs(odd)}
    cause = next((word for word, gap in words.items() if (gap < tolerances.SAME).all()), "factor")
    return Diagnosis(cause, f"rule = k x reference with a k {where}: {shown}")
