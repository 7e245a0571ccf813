"""Clauses that matter for a rule whose values are right: batches, single inputs, the second derivative."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.verify.compare import compare
from jaxbp.verify.contract import Fault, raised, unequal
from jaxbp.verify.noise import jiggled
from jaxbp.verify.references import Point, Pullback, draw, reverse, wide
from jaxbp.verify.rules import Rule

BATCHED = {"custom_vmap_call", "pure_callback", "io_callback", "ffi_call", "pallas_call"}


def later_fault(
    rule: Rule, at: Point, body: Point, own: Pullback, reference: Pullback | None, order: int
) -> Fault | None:
    """The clauses that matter only for a rule whose values are right."""
    if own.primitives & BATCHED:
        try:
            fault = batching_fault(at, own, np.random.default_rng(2))
        except Exception:
            fault = None  # A callback without a batching rule refuses vmap aloud; that deceives nobody.
        if fault:
            return fault
    if rule.kind == "custom_vjp" and rule.symbolic_zeros and len(at.inputs) > 1:
        fault = _one_at_a_time(at, body, reference)
        if fault:
            return fault
    return second_order_fault(at, body) if order > 1 else None


def batching_fault(at: Point, rule: Pullback, rng: np.random.Generator) -> Fault | None:
    """The pullback under vmap must equal the pullback of each element of the batch."""
    one, two = draw(at.outputs, rng), draw(at.outputs, rng)
    near = jiggled(at.inputs, 0.05, rng)
    apart = [[wide(g) for g in rule.call(x, c)[1]] for x, c in ((at.inputs, one), (near, two))]
    stacked = [jnp.stack(p) for p in zip(at.inputs, near, strict=True)]
    both = [jnp.stack(p) for p in zip(one, two, strict=True)]
    together = jax.vmap(rule.call)(stacked, both)[1]
    fault = unequal(together, [np.stack(p) for p in zip(*apart, strict=True)], rule.epsilon)
    if fault is None:
        return None
    a, index, got, want = fault
    return Fault("vmap", a, f"under vmap, element {index[0]} of the batch differs", index[1:], got, want)


def _one_at_a_time(at: Point, body: Point, reference: Pullback | None) -> Fault | None:
    """A rule that is told which inputs are perturbed must be right for each one alone."""
    for a in range(len(at.inputs)):

        def only(p: Point, a: int = a) -> Point:
            return Point(
                lambda x: p.fn(*(x if i == a else v for i, v in enumerate(p.inputs))),
                [p.inputs[a]],
                p.outputs,
            )

        seen = compare(
            only(body),
            reverse(only(at)),
            reverse(only(body)) if reference else None,
            np.random.default_rng(3),
        )
        if seen.wrong:
            e = seen.wrong[0]
            sentence = "wrong when only this input is perturbed (symbolic zeros)"
            return Fault("other", a, sentence, e.index, e.rule, e.reference)
    return None


def second_order_fault(at: Point, body: Point) -> Fault | None:
    """Differentiate the VJP, by the inputs and by its cotangent: a ``stop_gradient`` shows only here."""
    ct = draw(at.outputs, np.random.default_rng(4))
    count = len(at.inputs)

    def pulled(p: Point) -> Point:
        def fn(*values: Any) -> list[Any]:
            return list(jax.vjp(p.fn, *values[:count])[1](list(values[count:])))

        inputs = [*p.inputs, *ct]
        return Point(fn, inputs, list(jax.eval_shape(fn, *inputs)))

    try:
        reference = reverse(pulled(body))
    except Exception:
        return None
    try:
        own = reverse(pulled(at))
    except Exception as error:
        fault = raised(error, "the rule under a second derivative")
        return fault and Fault("second_order", None, fault.sentence)
    seen = compare(pulled(body), own, reference, np.random.default_rng(5))
    if not seen.wrong:
        return None
    e = seen.wrong[0]
    if e.argument >= count:
        sentence = "the derivative of the VJP by its cotangent differs"
        return Fault("second_order", None, sentence, e.index, e.rule, e.reference)
    sentence = "the derivative of the VJP differs"
    return Fault("second_order", e.argument, sentence, e.index, e.rule, e.reference)
