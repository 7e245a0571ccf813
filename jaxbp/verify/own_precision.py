"""The look at the user's own precision: does a rule whose mathematics is right survive there?"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.jaxprs.exception_origin import told
from jaxbp.jaxprs.inline import without_rules
from jaxbp.jaxprs.walk import dtypes_in
from jaxbp.verify import tolerances
from jaxbp.verify.causes.not_finite import origin
from jaxbp.verify.clauses import contract
from jaxbp.verify.clock import OutOfTime, one_rule
from jaxbp.verify.judge import Judgement, failed, fault_finding, finding
from jaxbp.verify.maps.pullback import (
    Point,
    Pullback,
    autodiff,
    draw,
    epsilon,
    largest,
    smallest,
    wide,
)
from jaxbp.verify.numbers.arbiter import EXAMINED
from jaxbp.verify.numbers.compare import DRAWS
from jaxbp.verify.numbers.differences import Differences, step_at, unit
from jaxbp.verify.numbers.error_bounds import agree, jiggled, reach, relative_tolerance
from jaxbp.verify.sites.site import Site
from jaxbp.verify.trial import Trial, started


def judge_precision(site: Site, exact: Judgement) -> Judgement:
    """Compare a rule as the user runs it with the same rule, already judged, in the widest dtype.

    Only gross faults can be told here: a wrong dtype, a coarser one than the primal computes in, an overflow
    to NaN, digits lost that autodiff of the primal keeps.
    """
    assert exact.trial is not None
    try:
        site, own = started(site._replace(refused=exact.trial.site.refused))
    except Exception as error:
        return failed(error, site)
    try:
        with one_rule():
            fault = _fault(site, own, exact.trial)
    except OutOfTime as over:
        return Judgement([finding(site.rule, site.context, "inconclusive", str(over))])
    except Exception as error:
        sentence = told("not judged in its own precision", error)
        return Judgement([finding(site.rule, site.context, "inconclusive", sentence)])
    return exact if fault is None else Judgement([fault_finding(site, fault, own)])


def _fault(site: Site, own: Pullback, exact: Trial) -> contract.Fault | None:
    """The gross fault of a rule as it runs, if there is one."""
    at = site.ruled
    fault = contract.dtype_fault(at, own)
    if fault is None and exact.own.text != own.text and not site.rule.builtin:
        rng = np.random.default_rng(9)
        fault = contract.primal_fault(site.plain, own, None, epsilon(_coarsest(site)), rng)
        for ct in _cotangents(at):
            fault = fault or _imprecise(site, at, own, exact, ct)
    return fault


def _cotangents(at: Point) -> list[list[Any]]:
    """Random cotangents, and one of positive entries only: a mean gives such, and their sums grow."""
    draws = [draw(at.outputs, np.random.default_rng(k)) for k in range(DRAWS if is_small(at.inputs) else 1)]
    return [*draws, [jnp.abs(c).astype(c.dtype) for c in draws[0]]]


def _imprecise(site: Site, at: Point, own: Pullback, exact: Trial, ct: list[Any]) -> contract.Fault | None:
    """Digits that the rule loses and autodiff of the primal keeps, where they count.

    A slope too small to move the last digits of the outputs that depend on the input counts as nothing, where
    rounding explains what is left of it: ``y (1 - y)`` far out, but not what is zero because it was divided
    by an overflow, and not the slope of an output that is as small itself.
    """
    dtype = _coarsest(site)
    eps = epsilon(dtype)
    got = [wide(g) for g in own.call(at.inputs, ct)[1]]
    rng = np.random.default_rng(7)
    with jax.enable_x64(any(x.dtype.itemsize in (8, 16) for x in exact.ruled.inputs)):
        up = [jnp.asarray(wide(x), p.dtype) for x, p in zip(at.inputs, exact.ruled.inputs, strict=True)]
        c = [jnp.asarray(wide(x), p.dtype) for x, p in zip(ct, exact.ruled.outputs, strict=True)]
        truth = [wide(g) for g in exact.own.call(up, c)[1]]
        if all(agree(g, t, relative_tolerance(eps)) for g, t in zip(got, truth, strict=True)):
            return None
        near = [wide(g) for g in exact.own.call(jiggled(up, eps, rng), jiggled(c, eps, rng))[1]]
    limit = tolerances.OVERFLOW * largest(at.inputs[0].dtype)
    suspect = []
    for g, t, n in zip(got, truth, near, strict=True):
        with np.errstate(all="ignore"):
            moved = np.nan_to_num(np.abs(n - t))
            allowed = relative_tolerance(eps) * np.abs(t) + tolerances.NOISE * (moved + smallest(dtype))
            suspect.append(np.isfinite(t) & (np.abs(t) < limit) & ~(np.abs(g - t) <= allowed))
    reference = autodiff(site.plain) if any(s.any() for s in suspect) else None
    if reference is None:
        return None
    plain_out, plain = ([wide(y) for y in part] for part in reference.call(at.inputs, ct))
    if not all(np.isfinite(y).all() for y in plain_out):
        return None
    lost, floor = reach(reference, at.inputs, ct, plain), tolerances.NOISE * eps * max(map(_largest, ct))
    excused = [np.minimum(tolerances.COVER * r, floor) for r in reach(own, at.inputs, ct, got)]
    counted = partial(_counts, Differences(site.plain, eps), ct)
    for a, (s, g, t, p, r, e) in enumerate(zip(suspect, got, truth, plain, lost, excused, strict=True)):
        with np.errstate(all="ignore"):
            gap = np.abs(g - t)
            s = s & np.isfinite(p) & ~(gap <= tolerances.COVER * (np.abs(p - t) + r))
            sure = s & ~(gap <= e)
            open_ = s & ~sure
        places = np.argwhere(sure)[:1].tolist()
        if not places and open_.any():
            with np.errstate(all="ignore"):
                part = np.where(open_, gap / np.abs(t), -1.0)
            worst = np.argsort(part, axis=None)[::-1][: min(EXAMINED, int(open_.sum()))]
            each = [np.unravel_index(k, part.shape) for k in worst]
            places = [i for i in each if counted(a, i, float(gap[i]))][:1]
        if places:
            index = tuple(int(i) for i in places[0])
            cause, sentence = _lost(site, own, g[index], t[index])
            if cause == "nan":
                made = origin(own, at.inputs, ct)
                sentence += f": {made} in its backward pass" if made else ""
            return contract.Fault(cause, a, sentence, index, g[index], t[index])
    return None


def _counts(arbiter: Differences, ct: list[Any], argument: int, index: tuple[int, ...], gap: float) -> bool:
    """Whether an error moves the outputs that depend on an entry by more than some of their last digits."""
    at = arbiter.at
    direction, step = unit(at, argument, index), step_at(at.inputs[argument], index)
    natural = arbiter.along(direction, step, [ct]).natural[0]
    if not natural:  # Nothing changes away from zero: what depends on the entry does towards it.
        back = -2 * step if np.real(wide(at.inputs[argument])[index]) > 0 else 2 * step
        natural = arbiter.size_after(direction, back, [ct])[0] / step
    return gap > tolerances.NOISE * arbiter.eps * float(natural)


def _largest(x: Any) -> float:
    return float(np.max(np.abs(wide(x)), initial=0.0))


def _lost(site: Site, own: Pullback, got: Any, want: Any) -> tuple[str, str]:
    """The cause and the sentence for an entry that is right in the widest dtype only."""
    finest = _coarsest(site)
    if not np.isfinite(got):
        return "nan", f"right in float64, but not in {finest.name}"
    error = f"off by {abs(got - want) / abs(want):.1e}" if want else "not zero"
    if own.epsilon > epsilon(finest):
        return "dtype", f"computes in {own.coarsest.name} what its primal computes in {finest.name}: {error}"
    if own.epsilon > epsilon(np.dtype("float32")):
        return "dtype", f"computes in {own.coarsest.name} and loses what autodiff keeps there: {error}"
    sentence = f"right in float64, but loses digits in {finest.name} that autodiff keeps: {error}"
    return "lost_digits", sentence


def _coarsest(site: Site) -> Any:
    """The dtype of the primal and its inputs that has the fewest digits."""
    plain = without_rules(site.rule.body)
    return max(dtypes_in(plain.jaxpr) | {jnp.dtype(site.inputs[i].dtype) for i in site.moving}, key=epsilon)
