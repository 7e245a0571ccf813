"""Clauses that matter for a rule whose values are right: vmap, jit, types, single inputs, second order."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.exception_origin import raise_own
from jaxbp.verify.clauses.contract import Fault, raised, unequal
from jaxbp.verify.maps.pullback import Point, Pullback, draw, reverse, wide
from jaxbp.verify.numbers.compare import compare
from jaxbp.verify.numbers.error_bounds import jiggled, settling


def eager_fault(at: Point, rule: Pullback, rng: np.random.Generator) -> Fault | None:
    """The rule traced anew and run without jit must give what it gives under jit."""
    ct = draw(at.outputs, rng)
    loose = settling(rule, at.inputs, ct)[1]
    eager = jax.vjp(at.fn, *at.inputs)[1](ct)
    fault = unequal(eager, [wide(g) for g in rule.call(at.inputs, ct)[1]], rule.epsilon, loose)
    if fault is None:
        return None
    a, index, got, want = fault
    return Fault("nondeterministic", a, "differs with and without jit", index, got, want)


def weak_fault(at: Point, body: Point) -> Fault | None:
    """An output that is weakly typed under grad only takes another dtype when it meets one there."""
    plain = jax.eval_shape(body.fn, *body.inputs)
    ruled = jax.eval_shape(lambda *xs: jax.vjp(at.fn, *xs)[0], *at.inputs)
    for k, (p, r) in enumerate(zip(plain, ruled, strict=True)):
        if p.weak_type != r.weak_type:
            words = ("strongly", "weakly")
            sentence = f"output {k} is {words[r.weak_type]} typed under grad and {words[p.weak_type]} without"
            return Fault("dtype", None, sentence)
    return None


def batching_fault(at: Point, rule: Pullback, rng: np.random.Generator) -> Fault | None:
    """The pullback under vmap must equal the pullback of each element of the batch."""
    one, two = draw(at.outputs, rng), draw(at.outputs, rng)
    near = jiggled(at.inputs, 0.05, rng)
    apart = [[wide(g) for g in rule.call(x, c)[1]] for x, c in ((at.inputs, one), (near, two))]
    stacked = [jnp.stack(p) for p in zip(at.inputs, near, strict=True)]
    both = [jnp.stack(p) for p in zip(one, two, strict=True)]
    together = jitted(jax.vmap(lambda x, c: jax.vjp(at.fn, *x)[1](c)), at.inputs)(stacked, both)
    loose = settling(rule, at.inputs, one)[1]
    fault = unequal(together, [np.stack(p) for p in zip(*apart, strict=True)], rule.epsilon, loose)
    if fault is None:
        return None
    a, index, got, want = fault
    return Fault("vmap", a, f"under vmap, element {index[0]} of the batch differs", index[1:], got, want)


def one_at_a_time(at: Point, body: Point, reference: Pullback | None) -> Fault | None:
    """A rule that is told which inputs are perturbed must be right for each one alone.

    To be asked last: JAX does not go back to a choice of inputs once it has run the rule for another.
    """
    for a in range(len(at.inputs)):

        def only(p: Point, a: int = a) -> Point:
            return p._replace(
                fn=lambda x: p.fn(*(x if i == a else v for i, v in enumerate(p.inputs))), inputs=[p.inputs[a]]
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
            return Fault("one_input", a, sentence, e.index, e.rule, e.reference)
    return None


def second_order_fault(at: Point, body: Point) -> Fault | None:
    """Differentiate the VJP, by the inputs and by its cotangent: a ``stop_gradient`` shows only here."""
    ct = draw(at.outputs, np.random.default_rng(4))
    count = len(at.inputs)

    def pulled(p: Point) -> Point:
        def fn(*values: Any) -> list[Any]:
            return list(jax.vjp(p.fn, *values[:count])[1](list(values[count:])))

        inputs = [*p.inputs, *ct]
        return Point(fn, inputs, list(jax.eval_shape(fn, *inputs)), p.wide)

    try:
        reference = reverse(pulled(body))
    except Exception as error:
        raise_own(error)
        return None
    try:
        own = reverse(pulled(at))
    except Exception as error:
        raise_own(error)
        fault = raised(error, "the rule under a second derivative")
        if fault is None or fault.cause == "raises":
            raise  # An operation in the rule that has no derivative: nothing is known of the second.
        return Fault("second_order", None, fault.sentence)
    seen = compare(pulled(body), own, reference, np.random.default_rng(5))
    if not seen.wrong:
        return None
    e = seen.wrong[0]
    if e.argument >= count:
        sentence = "the derivative of the VJP by its cotangent differs"
        return Fault("second_order", None, sentence, e.index, e.rule, e.reference)
    sentence = "the derivative of the VJP differs"
    return Fault("second_order", e.argument, sentence, e.index, e.rule, e.reference)
