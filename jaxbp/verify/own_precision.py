"""The look at the user's own precision: does a rule whose mathematics is right survive there?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import is_small
from jaxbp.jaxprs.exception_origin import told
from jaxbp.jaxprs.inline import without_rules
from jaxbp.jaxprs.walk import dtypes_in
from jaxbp.verify.clauses import contract
from jaxbp.verify.judge import Judgement, failed, fault_finding, finding, started
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
from jaxbp.verify.numbers.compare import DRAWS
from jaxbp.verify.numbers.differences import COVER
from jaxbp.verify.numbers.tolerance import NOISE_FACTOR, agree, jiggled, reach, relative_tolerance
from jaxbp.verify.sites.site import Site


def judge_precision(site: Site, exact: Judgement) -> Judgement:
    """Compare a rule as the user runs it with the same rule, already judged, in the widest dtype.

    Only gross faults can be told here: a wrong dtype, a coarser one than the primal computes in, an overflow
    to NaN, digits lost that autodiff of the primal keeps.
    """
    try:
        site, own = started(site._replace(refused=exact.refused))
    except Exception as error:
        return failed(error, site)
    try:
        fault = _fault(site, own, exact)
    except Exception as error:
        sentence = told("not judged in its own precision", error)
        return Judgement([finding(site.rule, site.context, "inconclusive", sentence)])
    return exact if fault is None else Judgement([fault_finding(site, fault, own)])


def _fault(site: Site, own: Pullback, exact: Judgement) -> contract.Fault | None:
    """The gross fault of a rule as it runs, if there is one."""
    at = site.ruled
    fault = contract.dtype_fault(at, own)
    if fault is None and exact.rule is not None and exact.rule.text != own.text and not site.rule.builtin:
        rng = np.random.default_rng(9)
        fault = contract.primal_fault(site.plain, own, None, epsilon(_coarsest(site)), rng)
        for k in range(DRAWS if is_small(at.inputs) else 1):
            ct = draw(at.outputs, np.random.default_rng(k))
            fault = fault or _imprecise(site, at, own, exact, ct)
    return fault


def _imprecise(
    site: Site, at: Point, own: Pullback, exact: Judgement, ct: list[Any]
) -> contract.Fault | None:
    """Digits that the rule loses and autodiff of the primal keeps, where they count.

    A slope below the last digits of the cotangents counts as nothing, where rounding explains what is left
    of it: ``y (1 - y)`` far out, but not what is zero because it was divided by an overflow.
    """
    assert exact.rule is not None
    assert exact.point is not None
    dtype = _coarsest(site)
    eps = epsilon(dtype)
    got = [wide(g) for g in own.call(at.inputs, ct)[1]]
    rng = np.random.default_rng(7)
    with jax.enable_x64(any(x.dtype.itemsize in (8, 16) for x in exact.point.inputs)):
        up = [jnp.asarray(wide(x), p.dtype) for x, p in zip(at.inputs, exact.point.inputs, strict=True)]
        c = [jnp.asarray(wide(x), p.dtype) for x, p in zip(ct, exact.point.outputs, strict=True)]
        truth = [wide(g) for g in exact.rule.call(up, c)[1]]
        if all(agree(g, t, relative_tolerance(eps)) for g, t in zip(got, truth, strict=True)):
            return None
        near = [wide(g) for g in exact.rule.call(jiggled(up, eps, rng), jiggled(c, eps, rng))[1]]
    limit = largest(at.inputs[0].dtype)
    suspect = []
    for g, t, n in zip(got, truth, near, strict=True):
        with np.errstate(all="ignore"):
            moved = np.nan_to_num(np.abs(n - t))
            allowed = relative_tolerance(eps) * np.abs(t) + NOISE_FACTOR * (moved + smallest(dtype))
            suspect.append(np.isfinite(t) & (np.abs(t) < 0.1 * limit) & ~(np.abs(g - t) <= allowed))
    reference = autodiff(site.plain) if any(s.any() for s in suspect) else None
    if reference is None:
        return None
    plain_out, plain = ([wide(y) for y in part] for part in reference.call(at.inputs, ct))
    if not all(np.isfinite(y).all() for y in plain_out):
        return None
    lost, floor = reach(reference, at.inputs, ct, plain), NOISE_FACTOR * eps * max(map(_largest, ct))
    excused = [np.minimum(COVER * r, floor) for r in reach(own, at.inputs, ct, got)]
    for a, (s, g, t, p, r, e) in enumerate(zip(suspect, got, truth, plain, lost, excused, strict=True)):
        with np.errstate(all="ignore"):
            s = s & np.isfinite(p) & ~(np.abs(g - t) <= COVER * (np.abs(p - t) + r) + e)
        if s.any():
            index = tuple(int(i) for i in np.argwhere(s)[0])
            cause, sentence = _lost(site, own, g[index], t[index])
            return contract.Fault(cause, a, sentence, index, g[index], t[index])
    return None


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
    return "other", f"right in float64, but loses digits in {finest.name} that autodiff keeps: {error}"


def _coarsest(site: Site) -> Any:
    """The dtype of the primal and its inputs that has the fewest digits."""
    plain = without_rules(site.rule.body)
    return max(dtypes_in(plain.jaxpr) | {jnp.dtype(site.inputs[i].dtype) for i in site.moving}, key=epsilon)
