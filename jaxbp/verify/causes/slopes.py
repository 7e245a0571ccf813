"""Entry by entry: the cotangent passed on, slopes where nothing depends, factors of single entries."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.walk import evaluate, single
from jaxbp.verify import tolerances
from jaxbp.verify.causes.evidence import Diagnosis, Evidence, agrees, constant, few_of, ratio_on
from jaxbp.verify.maps.pullback import is_float, wide

VALUES_LIMIT = 200
POWERS = (1, -1, 2, -2, 0.5, -0.5)


def unchanged(e: Evidence) -> Diagnosis | None:
    """The cotangent comes back as it is, or a multiple of it: a slope is left out, perhaps on purpose."""
    for k, c in enumerate(e.cotangents):
        for passed, how in _spread(c, e.want):
            on = (e.got != 0).any(0)
            if not on.any() or not (passed.any(0) & on).any():
                continue
            times = ratio_on(on, e.got, passed, e.tolerance)
            if times is None or abs(times) < tolerances.NOTHING or abs(times.imag) > tolerances.NOTHING:
                continue
            which = "the cotangent" if len(e.cotangents) == 1 else f"the cotangent of output {k}"
            said = which if abs(times - 1) < tolerances.SAME else f"{constant(times)} x {which}"
            masked = "" if on.all() else f" (on {int(on.sum())} of {on.size} entries)"
            if not e.want.any():
                same = abs(times - 1) < tolerances.SAME and not how
                hint = "; if that is on purpose, declare='straight_through'" if same else ""
                sentence = f"{said} comes back{how}{masked}, though the derivative is zero{hint}"
                return Diagnosis("straight_through", sentence)
            if on.all() and abs(times - 1) < tolerances.SAME:
                hint = "; if that is on purpose, declare='straight_through'" if not how else ""
                sentence = f"{said} comes back{how or ' unchanged'}: the slope is left out{hint}"
                return Diagnosis("missing_term", sentence, True)
    return None


def _spread(c: np.ndarray, like: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """The cotangents in the shape of the argument: as they are, or spread over an axis that was reduced."""
    if c.shape == like.shape:
        yield c, ""
        return
    lost = like.ndim - c.ndim
    for axis in range(1, like.ndim) if lost == 1 else ():
        if c.shape == like.shape[:axis] + like.shape[axis + 1 :]:
            yield np.broadcast_to(np.expand_dims(c, axis), like.shape), " in every entry"
    if lost > 1 and c.ndim == 1:
        yield np.broadcast_to(c.reshape(-1, *[1] * lost), like.shape), " in every entry"


def unmasked(e: Evidence) -> Diagnosis | None:
    """Right where the outputs depend on the argument, and not zero where nothing does."""
    zero = (e.want == 0).all(0)
    if not zero.any() or zero.all() or not e.finite:
        return None
    bad = e.differs & zero
    if not bad.any() or (e.differs & ~zero).any():
        return None
    rows = np.flatnonzero(bad.reshape(len(bad), -1).all(1)) if bad.ndim else np.zeros(0, int)
    whole = len(rows) and bad.sum() == rows.size * bad[0].size
    where = f"{bad.sum()} of {bad.size} entries"
    if whole:
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        where = f"{len(rows)} of {len(bad)} {'rows' if bad.ndim > 1 else 'entries'} ({shown})"
    sentence = f"the rule is not zero on {where}, on which nothing depends; right on the others"
    return Diagnosis("unmasked", sentence)


def along(e: Evidence) -> Diagnosis | None:
    """Rule and reference differ by a multiple of something known: cotangent, ones, an input, an output."""
    want = e.want
    if not e.finite or want.ndim < 2 or want[0].size < 3:
        return None
    rest, bad = e.rest, e.differs
    for c in e.cotangents:
        if c.shape == want.shape and bad.sum() * len(want) > 2:
            k = ratio_on(bad, rest, c, e.tolerance)
            if k is not None and abs(k) > tolerances.NOTHING:
                where = "" if bad.all() else f" on the {int(bad.sum())} of {bad.size} entries that differ"
                more = f"{'+' if k.real > 0 else '-'} {constant(abs(k))} x the cotangent"
                return Diagnosis("missing_term", f"the rule is the reference {more}{where}", True)
    known = {"ones": np.ones(want.shape[1:])}
    known |= {f"argument {i}": wide(x) for i, x in enumerate(e.at.inputs)}
    known |= {f"output {k}": y for k, y in enumerate(e.outputs)}
    if want.shape[-1] < 3 or e.same(rest, np.broadcast_to(0.0, rest.shape)):
        return None
    for name, v in known.items():
        if v.shape != want.shape[1:] or not np.isfinite(v).all():
            continue
        for count in dict.fromkeys([want.shape[-1], v.size]):
            # Along the last axis or in all entries: rows of that many.
            rows, each = rest.reshape(len(rest), -1, count), v.reshape(-1, count)
            with np.errstate(all="ignore"):
                part = np.einsum("kri,ri->kr", rows, np.conj(each)) / np.einsum("ri,ri->r", each, each.conj())
            # What is along it must be all of the difference, and not of one entry only.
            if np.isfinite(part).all() and e.same(rows, part[..., None] * each) and np.count_nonzero(v) > 2:
                word = "a constant" if name == "ones" else f"a multiple of {name}"
                over = "along the last axis" if count == want.shape[-1] else "in all entries"
                return Diagnosis("missing_term", f"rule and reference differ by {word} {over}", True)
    return None


def slope(e: Evidence) -> Diagnosis | None:
    """Each entry has a factor of its own, whatever the cotangent; what that is, if a value shows it."""
    few_samples = len(e.want) < 3 and is_small(e.at.inputs)
    if not e.finite or few_samples:
        return None
    bad, places = e.differs, np.flatnonzero(e.differs)
    few = few_of(places)
    if few and _factors(e, places[few]) is None:
        return None
    k = _factors(e, places)
    if k is None:
        return None
    for name, v in _values(e, bad.shape):
        name, v = (f"|{name}|", np.abs(v)) if np.iscomplexobj(v) else (name, v)
        if few and not _relation(k[few], v.ravel()[places[few]], e.tolerance):
            continue
        found = _relation(k, v.ravel()[places], e.tolerance)
        if found:
            return Diagnosis(found[0], found[1].format(name), True)
    if sum(int(np.prod(s.shape)) for s in e.at.outputs) < 2:
        return None  # With one number as the output, every difference is a factor of each entry.
    where = "" if bad.all() else f", on {int(bad.sum())} of {bad.size} entries"
    nearly = k.size > 1 and np.ptp(k) <= tolerances.NEARLY_CONSTANT * np.abs(k).min()
    if nearly and np.abs(k - 1).min() > tolerances.ROUGHLY:
        return Diagnosis("factor", f"rule = about {k.mean():.3g} x reference{where}", True)
    if (np.abs(k - 1) < tolerances.ROUGHLY).all():
        return None
    worst = int(np.argmax(np.abs(e.rest).max(0).ravel()[places]))
    at = [int(i) for i in np.unravel_index(places[worst], bad.shape)]
    sentence = (
        f"each entry is its reference x a factor of its own, whatever the cotangent{where} "
        f"({k[worst]:.4g} at {at}): sums and places are right, a slope is not"
    )
    return Diagnosis("slope", sentence, True)


def _factors(e: Evidence, places: np.ndarray) -> np.ndarray | None:
    """What the reference is to be multiplied by at some entries, whatever the cotangent; None if nothing."""
    got, want = (m.reshape(len(m), -1)[:, places] for m in (e.got, e.want))
    power = np.sum(np.abs(want) ** 2, 0)
    if not power.all():
        return None
    k = np.asarray(np.real(np.sum(got * np.conj(want), 0) / power))
    return k if agrees(got, k * want, tolerances.LOOSER * e.tolerance) else None


def approximate(e: Evidence) -> Diagnosis | None:
    """Right to some digits only."""
    if not e.finite:
        return None
    size = np.abs(e.want).max(tuple(range(1, e.want.ndim)), keepdims=True)
    off = np.abs(e.rest).max(tuple(range(1, e.want.ndim)), keepdims=True)
    if not (off <= tolerances.ROUGHLY * size).all() or not size.any():
        return None
    part = float(np.max(off[size > 0] / size[size > 0]))
    sentence = f"right to {part:.1e} of the largest entry, and no nearer"
    return Diagnosis("approximate", f"{sentence}: another constant, or an approximation?", True)


def _values(e: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Values of the argument's shape: inputs, outputs, and what the primal computes on the way."""
    for i, x in enumerate(e.at.inputs):
        if np.shape(x) == shape:
            yield f"argument {i}", wide(x)
    for k, y in enumerate(e.outputs):
        if y.shape == shape:
            yield f"output {k}", y
    for i, x in enumerate(e.at.inputs):
        if i != e.argument and np.shape(x) == () and shape:
            yield f"argument {i}", np.broadcast_to(wide(x), shape)
    closed = flattened(jax.make_jaxpr(e.at.fn)(*e.at.inputs))
    if len(closed.jaxpr.eqns) > VALUES_LIMIT:
        return
    found: list[tuple[str, np.ndarray]] = []

    def each(_: int, eqn: object, inputs: list[jnp.ndarray]) -> list[jnp.ndarray]:
        outs = single(eqn, closed.jaxpr.debug_info)(*inputs)
        for y in outs:
            if hasattr(y, "shape") and y.shape == shape and is_float(y) and not jnp.iscomplexobj(y):
                found.append((f"the result of {eqn.primitive.name}", wide(y)))  # type: ignore[attr-defined]
        return outs

    evaluate(closed, e.at.inputs, each)
    yield from found


def _relation(k: np.ndarray, v: np.ndarray, tolerance: float) -> tuple[str, str] | None:
    """What the factors are in terms of a value, as a cause and a sentence: a power, a + b v, 1 over that."""
    if k.size < 3 or not np.isfinite(v).all():
        return None
    if np.ptp(v) <= tolerance * np.abs(v).max():
        return None
    near = tolerances.LOOSER * tolerance
    with np.errstate(all="ignore"):
        for p in POWERS:
            for base, word in ((v, "{}"), (np.abs(v), "|{}|")):
                c = k / base**p
                if np.isfinite(c).all() and c[0] and (np.abs(c - c[0]) <= near * np.abs(c[0])).all():
                    times = "" if abs(c[0] - 1) < tolerances.SAME else f"{constant(complex(c[0]))} x "
                    power = word if abs(p) == 1 else f"{word}^{abs(p):g}"
                    if p > 0:
                        return "factor", f"rule = {times}{power} x reference: that factor is too many"
                    return "missing_term", f"rule = {times}reference / {power}: that factor is left out"
        if k.size < 4:
            return None
        for target, over in ((1 / k, True), (k, False)):
            if not np.isfinite(target).all() or np.ptp(target) <= tolerance * np.abs(target).max():
                continue
            b, a = np.polyfit(v, target, 1)
            least = tolerances.SMALL_ENTRY * np.abs(target).max()
            if (np.abs(a + b * v - target) <= near * np.maximum(np.abs(target), least)).all():
                sum_ = f"({a:.4g} {'+' if b > 0 else '-'} {abs(b):.4g} x {{}})"
                if over:
                    return "missing_term", f"rule = reference / {sum_}: that factor is left out"
                return "factor", f"rule = {sum_} x reference"
    return None
