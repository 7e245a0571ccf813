"""The look at the user's own precision: does a rule that is right in float64 survive there?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.verify import contract
from jaxbp.verify.capture import Site
from jaxbp.verify.compare import DRAWS
from jaxbp.verify.compiling import is_small
from jaxbp.verify.judge import Judgement, failed, fault_finding, started
from jaxbp.verify.noise import jiggled
from jaxbp.verify.references import (
    Point,
    Pullback,
    autodiff,
    draw,
    epsilon,
    largest,
    relative_tolerance,
    wide,
)
from jaxbp.verify.rules import dtypes_in, without_rules


def judge_precision(site: Site, exact: Judgement) -> Judgement:
    """Compare a rule at the user's precision with the same rule, already judged, in float64.

    Only gross faults can be told here: a wrong dtype, an overflow to NaN, digits lost that autodiff
    of the primal keeps.
    """
    assert exact.rule is not None
    try:
        site, own = started(site)
    except Exception as error:
        return failed(error, site)
    at = site.ruled
    fault = native_fault(site, at, own, exact.verdict)
    if fault is None:
        for ct in [
            draw(at.outputs, np.random.default_rng(k)) for k in range(DRAWS if is_small(at.inputs) else 1)
        ]:
            fault = fault or _imprecise(at, own, exact, ct, site)
    if fault is None:
        return exact
    return Judgement([fault_finding(site, fault, own)])


def native_fault(site: Site, at: Point, own: Pullback, verdict: str) -> contract.Fault | None:
    """What is wrong with the dtypes of a rule where the user runs it."""
    fault = contract.dtype_fault(at, own)
    if fault or site.rule.library or verdict not in ("right", "inconclusive"):
        return fault
    return _coarse(at, own, site)


def _coarse(at: Point, own: Pullback, site: Site) -> contract.Fault | None:
    """A rule that computes in a coarser dtype than its primal, and loses digits by it."""
    plain = without_rules(site.rule.eqn.params["call_jaxpr"])
    finest = max(dtypes_in(plain.jaxpr) | {jnp.dtype(x.dtype) for x in at.inputs}, key=epsilon)
    eps = epsilon(finest)
    if own.epsilon <= eps:
        return None
    reference = autodiff(site.plain)
    if reference is None:
        return None
    rng = np.random.default_rng(8)
    for _ in range(DRAWS):
        ct = draw(at.outputs, rng)
        near = reference.call(jiggled(at.inputs, eps, rng), jiggled(ct, eps, rng))[1]
        triples = zip(own.call(at.inputs, ct)[1], reference.call(at.inputs, ct)[1], near, strict=True)
        for a, (g, w, n) in enumerate(tuple(map(wide, t)) for t in triples):
            with np.errstate(all="ignore"):
                size = np.where(np.isfinite(w), np.abs(w), 0)
                scale = np.max(size, initial=0.0)
                lost = np.abs(g - w) > relative_tolerance(eps) * size + 64 * (np.abs(n - w) + eps * scale)
            if lost.any():
                index = tuple(int(i) for i in np.argwhere(lost)[0])
                error = float(np.max(np.abs(g - w), initial=0.0, where=lost)) / scale
                sentence = f"computes in {own.coarsest.name} what its primal computes in {finest.name}: "
                sentence += f"off by {error:.1e} of the largest entry"
                return contract.Fault("dtype", a, sentence, index, g[index], w[index])
    return None


def _imprecise(
    at: Point, own: Pullback, exact: Judgement, ct: list[Any], site: Site
) -> contract.Fault | None:
    assert exact.rule is not None
    assert exact.point is not None
    eps = max(own.epsilon, *(epsilon(x.dtype) for x in at.inputs))
    got = [wide(g) for g in own.call(at.inputs, ct)[1]]
    rng = np.random.default_rng(7)
    with jax.enable_x64(True):
        # A model that fixes its dtypes keeps them in the float64 trace too.
        up = [jnp.asarray(wide(x), p.dtype) for x, p in zip(at.inputs, exact.point.inputs, strict=True)]
        c = [jnp.asarray(wide(x), p.dtype) for x, p in zip(ct, exact.point.outputs, strict=True)]
        truth = [wide(g) for g in exact.rule.call(up, c)[1]]
        near = [wide(g) for g in exact.rule.call(jiggled(up, eps, rng), jiggled(c, eps, rng))[1]]
    suspect = []
    limit = largest(at.inputs[0].dtype)
    for g, t, n in zip(got, truth, near, strict=True):
        with np.errstate(all="ignore"):
            scale = np.max(np.where(np.isfinite(t), np.abs(t), 0), initial=0.0)
            allowed = relative_tolerance(eps) * np.abs(t) + 64 * (np.nan_to_num(np.abs(n - t)) + eps * scale)
            suspect.append(np.isfinite(t) & (np.abs(t) < 0.1 * limit) & ~(np.abs(g - t) <= allowed))
    if not any(s.any() for s in suspect):
        return None
    reference = autodiff(site.plain)
    if reference is None:
        return None
    plain_out, plain = reference.call(at.inputs, ct)
    if not all(np.isfinite(wide(y)).all() for y in plain_out):
        return None
    for a, (s, g, t, p) in enumerate(zip(suspect, got, truth, map(wide, plain), strict=True)):
        with np.errstate(all="ignore"):
            # What plain autodiff loses at this precision, a rule may lose too.
            s = (
                s
                & np.isfinite(p)
                & ~(np.abs(g - t) <= 16 * np.max(np.abs(p - t), initial=0.0, where=np.isfinite(p - t)))
            )
        if s.any():
            index = tuple(int(i) for i in np.argwhere(s)[0])
            cause = "other" if np.isfinite(g[index]) else "nan"
            dtype = jnp.dtype(at.inputs[a].dtype).name
            return contract.Fault(
                cause, a, f"right in float64, but not in {dtype}", index, g[index], t[index]
            )
    return None
