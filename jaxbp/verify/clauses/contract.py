"""What a rule must keep besides being the derivative: linear, deterministic, dtype, shape and primal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.exception_origin import refusal
from jaxbp.jaxprs.messages import (
    named_argument,
    refuses_rule,
    says_mesh,
    says_no_array,
    says_primal,
    says_produced_first,
    typed,
)
from jaxbp.verify import tolerances
from jaxbp.verify.maps.pullback import Point, Pullback, draw, wide
from jaxbp.verify.numbers.arbiter import Sample
from jaxbp.verify.numbers.error_bounds import agree, jiggled, relative_tolerance, settling


@dataclass(frozen=True)
class Fault:
    """A broken clause of the contract; ``argument`` is None when no single input is to blame."""

    cause: str
    argument: int | None
    sentence: str
    index: tuple[int, ...] = ()
    rule: complex | None = None
    reference: complex | None = None


def dtype_fault(at: Point, rule: Pullback) -> Fault | None:
    """A cotangent must have the dtype of its input; JAX accepts another float dtype in silence."""
    for a, (x, dtype) in enumerate(zip(at.inputs, rule.dtypes, strict=True)):
        if jnp.dtype(dtype) != jnp.dtype(x.dtype):
            return Fault(
                "dtype",
                a,
                f"the cotangent is {jnp.dtype(dtype).name}, the input is {jnp.dtype(x.dtype).name}",
            )
    return None


def primal_fault(
    at: Point, rule: Pullback, reference: Pullback | None, eps: float, rng: np.random.Generator
) -> Fault | None:
    """The rule's forward pass must return the value of the primal, whose precision is ``eps``.

    Both are compiled: what the compiler reorders, ``(x + 1e4) - 1e4``, rounds to other values without it.
    """
    zero = [jnp.zeros(s.shape, s.dtype) for s in at.outputs]
    got = [wide(y) for y in rule.call(at.inputs, zero)[0]]

    def primal(inputs: Sequence[Any]) -> list[np.ndarray]:
        ys = reference.call(inputs, zero)[0] if reference else at.compiled(at.fn, *at.inputs)(*inputs)
        return [wide(y) for y in ys]

    want = primal(at.inputs)
    if all(agree(g, w, relative_tolerance(eps)) for g, w in zip(got, want, strict=True)):
        return None
    there = primal(jiggled(at.inputs, eps, rng))
    loose = [settling(m, at.inputs, zero)[0] for m in (rule, reference) if m]
    for k, (g, w, t) in enumerate(zip(got, want, there, strict=True)):
        with np.errstate(all="ignore"):
            moved = np.abs(t - w)
            scale = np.max(np.where(np.isfinite(w), np.abs(w), 0), initial=0.0)
            allowed = (
                relative_tolerance(eps) * np.abs(w)
                + tolerances.NOISE * (np.where(np.isfinite(moved), moved, 0) + eps * scale)
                + sum(n[k] for n in loose)
            )
            near = np.isfinite(w) & (np.abs(g - w) <= allowed)
            # A value that is infinite must be so under grad, unless rounding decides whether it is.
            near |= np.isinf(w) & ~np.isinf(t)
            same = near | (g == w) | (np.isnan(g) & np.isnan(w))
        if not same.all():
            index = tuple(int(i) for i in np.argwhere(~same)[0])
            sentence = f"output {k} is {_number(g[index])} under grad and {_number(w[index])} without"
            return Fault("primal", None, sentence, index, g[index], w[index])
    return None


def rest_fault(at: Point, body: Point, eps: float, rng: np.random.Generator) -> Fault | None:
    """Outputs that are no floats must be those of the primal too, where rounding does not decide on them."""
    if at.rest is None or body.rest is None:
        return None
    got = jax.vjp(at.rest, *at.inputs)[0]
    want, near = body.rest(*body.inputs), body.rest(*jiggled(body.inputs, eps, rng))
    for g, w, n in zip(*(map(np.asarray, part) for part in (got, want, near)), strict=True):
        other = (g != w) & (w == n)
        if other.any():
            index = tuple(int(i) for i in np.argwhere(other)[0])
            sentence = f"an output of {w.dtype.name} is {g[index]} under grad and {w[index]} without"
            return Fault("primal", None, sentence, index)
    return None


def linearity_fault(
    at: Point, rule: Pullback, reference: Pullback | None, rng: np.random.Generator
) -> Fault | None:
    """A VJP is linear in the cotangent: zero gives zero, and a power of two comes out exactly."""
    ct = draw(at.outputs, rng)
    base = [wide(g) for g in rule.call(at.inputs, ct)[1]]
    loose = settling(rule, at.inputs, ct)[1]
    power = _range(rule)
    for factor in (2.0**power, 2.0**-power):
        scaled = [jnp.asarray(factor * wide(c), dtype=c.dtype) for c in ct]
        slack = [factor * n + s for n, s in zip(loose, settling(rule, at.inputs, scaled)[1], strict=True)]
        fault = unequal(rule.call(at.inputs, scaled)[1], [factor * g for g in base], rule.epsilon, slack)
        if fault:
            a, index, got, want = fault
            sentence = f"the rule of {factor:g} x the cotangent is not {factor:g} x the rule of the cotangent"
            return Fault("not_linear", a, sentence, index, got, want)
    zero = [jnp.zeros_like(c) for c in ct]
    got = [wide(g) for g in rule.call(at.inputs, zero)[1]]
    silent = got
    if any(g.any() for g in got):
        silent = [wide(r) for r in reference.call(at.inputs, zero)[1]] if reference else [0 * g for g in got]
    for a, (g, r) in enumerate(zip(got, silent, strict=True)):
        bad = ((g != 0) & (r == 0)) if reference else np.isfinite(g) & (g != 0)
        # What is NaN for any cotangent is found with the derivative beside it.
        bad &= ~(np.isnan(g) & np.isnan(base[a]))
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            cause = "nan" if np.isnan(g[index]) else "not_linear"
            sentence = f"for a cotangent of zero the rule gives {_number(g[index])}, and not 0"
            return Fault(cause, a, sentence, index, g[index], 0.0)
    return None


def sum_fault(at: Point, rule: Pullback, tried: Sequence[Sample]) -> Fault | None:
    """The rule of a sum is the sum of the rules: of two cotangents that were tried, of the parts of one."""

    def called(ct: Sequence[Any]) -> list[np.ndarray]:
        return [wide(g) for g in rule.call(at.inputs, ct)[1]]

    first, second = tried
    large, small = _split(second.cotangent)
    sum_ = [jnp.asarray(wide(c) + wide(d), c.dtype)
            for c, d in zip(first.cotangent, second.cotangent, strict=True)]  # fmt: skip
    for (one, got), (other, more), (both, total) in (
        ((first.cotangent, first.rule), (second.cotangent, second.rule), (sum_, called(sum_))),
        ((large, called(large)), (small, called(small)), (second.cotangent, second.rule)),
    ):
        parts = [g + h for g, h in zip(got, more, strict=True)]
        left = [settling(rule, at.inputs, c)[1] for c in (one, other, both)]
        slack = [tolerances.UNSETTLED * sum(each) for each in zip(*left, strict=True)]
        fault = unequal(total, parts, rule.epsilon, slack)
        if fault:
            a, index, got, want = fault
            sentence = "the rule of a sum of cotangents is not the sum of the rule's results"
            return Fault("not_linear", a, sentence, index, got, want)
    return None


def _split(ct: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The larger and the smaller entries: what a rule drops beside the large, it may keep alone."""
    middle = float(np.median(np.concatenate([np.abs(wide(c)).ravel() for c in ct])))
    large = [jnp.where(jnp.abs(c) > middle, c, 0) for c in ct]
    return large, [c - big for c, big in zip(ct, large, strict=True)]


def _range(rule: Pullback) -> int:
    """The power of two up to which cotangents are scaled: far, where the dtypes on the way allow it.

    A backward pass that iterates to an absolute tolerance would not end for large ones.
    """
    if rule.epsilon > 1e-4:
        return 4
    return 10 if rule.iterative else 30 if rule.epsilon > 1e-10 else 100


def tangent_fault(at: Point, eps: float, rng: np.random.Generator) -> Fault | None:
    """A JVP is linear in the tangent. What reverse mode cannot transpose is told here, not by its columns."""
    tangents = [jnp.asarray(wide(t), x.dtype) for t, x in zip(draw(at.inputs, rng), at.inputs, strict=True)]

    def pushed(factor: float) -> list[np.ndarray]:
        scaled = tuple((factor * t).astype(t.dtype) for t in tangents)
        return [wide(y) for y in jax.jvp(at.fn, tuple(at.inputs), scaled)[1]]

    base = pushed(1.0)
    for factor in (-2.0, 0.0):
        fault = unequal(pushed(factor), [factor * y for y in base], eps)
        if fault:
            _, index, got, want = fault
            sentence = f"the rule of {factor:g} x the tangent is not {factor:g} x the rule of the tangent"
            return Fault("not_linear", None, sentence, index, got, want)
    return None


def unequal(
    got: Sequence[Any], want: Sequence[np.ndarray], eps: float, slack: Sequence[float] | None = None
) -> tuple[int, tuple[int, ...], Any, Any] | None:
    """The first argument and the worst entry where two results differ grossly, where both are finite.

    ``slack`` is what each may differ by besides: backward passes that iterate are linear to their own
    tolerance only.
    """
    sizes = [np.max(np.where(np.isfinite(w), np.abs(w), 0), initial=0.0) for w in want]
    least = tolerances.CANCELLED * max(sizes, default=0.0)
    for a, (g, w) in enumerate(zip(map(wide, got), want, strict=True)):
        if agree(g, w, relative_tolerance(eps, True)):
            continue
        with np.errstate(all="ignore"):
            gap = np.abs(g - w)
            gap = np.where(np.isfinite(gap), gap, 0)
            part = relative_tolerance(eps, True) * np.abs(np.where(np.isfinite(w), w, 0))
            allowed = part + tolerances.UNEQUAL * eps * max(sizes[a], least) + (slack[a] if slack else 0.0)
            excess = gap - allowed
        if excess.size and excess.max() > 0:
            index = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), excess.shape))
            return a, index, g[index], w[index]
    return None


def repeat_fault(at: Point, rule: Pullback, again: Pullback, rng: np.random.Generator) -> Fault | None:
    """The same inputs and cotangent must give the same result, traced anew or called twice."""
    ct = draw(at.outputs, rng)
    first, second = rule.call(at.inputs, ct)[1], again.call(at.inputs, ct)[1]
    fault = unequal(first, [wide(g) for g in second], rule.epsilon)
    if fault is None:
        return None
    a, index, got, want = fault
    return Fault(
        "nondeterministic", a, "two calls with the same inputs and cotangent differ", index, got, want
    )


def raised(error: Exception, name: str) -> Fault | None:
    """What an exception from a rule means: a broken clause, or None when somebody refuses."""
    text = " ".join(str(error).split())
    brief = text if len(text) < 300 else text[:300] + "..."
    if refuses_rule(text):
        return Fault(_kind(text), named_argument(text), f"JAX refuses the rule: {brief}")
    if says_no_array(text):
        return Fault("dtype", None, f"the rule of {name} gives what is no array: {brief}")
    if refusal(error):
        return None
    about_shape = isinstance(error, TypeError | ValueError | IndexError) and _about_shape(text)
    cause = "shape" if about_shape else "raises"
    return Fault(cause, None, f"the rule of {name} fails with {type(error).__name__}: {brief}")


def _kind(text: str) -> str:
    """Shape, missing sum, dtype or primal, from JAX's own words."""
    if says_primal(text):
        return "primal"
    if says_mesh(text):
        return "missing_sum"  # over an axis of the mesh
    shapes = [tuple(int(n) for n in dims.split(",") if n) for _, dims in typed(text)]
    if len(shapes) < 2:
        return "shape"
    got, want = (shapes[0], shapes[1]) if says_produced_first(text) else (shapes[-1], shapes[0])
    if got == want:
        return "dtype"
    return "missing_sum" if _unsummed(got, want) else "shape"


def _unsummed(got: tuple[int, ...], want: tuple[int, ...]) -> bool:
    """Whether ``got`` is what broadcasting ``want`` gives: then the sum that undoes it is missing."""
    if len(got) < len(want) or np.prod(got) == np.prod(want):
        return False
    tail = got[len(got) - len(want) :]
    return all(w in (1, g) for g, w in zip(tail, want, strict=True)) or (
        set(want) <= set(got) and len(got) > len(want)
    )


def _about_shape(text: str) -> bool:
    words = (
        "shape",
        "dimension",
        "rank",
        "axis",
        "axes",
        "broadcast",
        "size",
        "contracting",
        "unpack",
        "structure",
    )
    return any(w in text for w in words)


def _number(x: Any) -> str:
    return f"{complex(x):.6g}" if np.iscomplexobj(x) else f"{float(x):.6g}"
