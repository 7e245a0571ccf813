"""`diagnose`: what is wrong with the flow of one batch, by name."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxbp.errors import message
from jaxbp.jaxprs.values.nonfinite import Nonfinite, Traced
from jaxbp.jaxprs.values.search import first_backward, first_forward
from jaxbp.observe.call import flat_call
from jaxbp.observe.diagnosis import examples, graph, inputs, layers, loss, normalization, units
from jaxbp.observe.diagnosis.measured import Measured
from jaxbp.observe.diagnosis.record import KINDS, Diagnosis, Finding
from jaxbp.typing import Scalar

WHERE = "diagnose"
Rule = Callable[[Measured], Iterator[Finding]]

# What holds whether or not anything is finite.
ALWAYS: tuple[Rule, ...] = (
    inputs.label_range, inputs.one_class, inputs.constant_input, inputs.duplicate_input, inputs.unscaled,
    normalization.mask, loss.broadcast, graph.unused, graph.cut, graph.detached_state,
)  # fmt: skip
FINITE: tuple[Rule, ...] = (
    loss.double_squash, loss.output_range, normalization.wrong_axis, normalization.size_one,
    examples.ignored_examples, examples.dominated, loss.reduction, units.identical, layers.tiny_denominator,
    layers.underflow, layers.clipped, units.dead, units.saturated, layers.vanishing, layers.exploding,
)  # fmt: skip


def diagnose(f: Callable[..., Scalar], params: Any, *batch: Any) -> Diagnosis:
    """What is wrong with f(params, *batch) and its gradient: findings by name, in the order of causes.

    One forward and one backward pass over the batch are looked at. What only a run shows (a learning rate
    that is too large, overfitting, wrong labels) is not seen here. A finding is a word of a closed list:
    {words}. What may be meant, parameters behind stop_gradient say, is a remark.

    Every value and every delta of the pass is kept while it is looked at: give a small batch.

    Args:
        f: returns one floating number.
        params: the parameters, a pytree of floating arrays.
        batch: what else f takes. The first axis of most of its arrays runs over the examples.

    Returns:
        Findings, each with its place, what was measured, what it does to learning and what to try.

    Raises:
        TypeError: f returns more or less than one floating number, or a parameter is not floating.
        ValueError: under jit or vmap, where values are not known.

    Example:
        >>> import jax.numpy as jnp
        >>> def f(params, x, y):
        ...     return jnp.mean((x @ params["W"] - y) ** 2)
        >>> x = jnp.linspace(-1.0, 1.0, 24).reshape(8, 3) ** 3
        >>> params = {{"W": jnp.full((3, 1), 0.3), "old": jnp.ones(2)}}
        >>> found = diagnose(f, params, x, x.sum(1, keepdims=True))
        >>> [finding.name for finding in found.findings], found.findings[0].label
        (['unused'], 'params/old')
    """
    call = flat_call(WHERE, f, (params, *batch), {}, 0)
    if any(isinstance(x, jax.core.Tracer) for x in call.arrays):
        raise ValueError(message(WHERE, "values", "traced arrays", "call it outside of jit, grad and vmap"))
    m = Measured(WHERE, f, call)
    findings = [] if m.finite else list(_nonfinite(m))
    for rule in (*ALWAYS, *(FINITE if m.finite else ())):
        findings += rule(m)
    return Diagnosis(_ordered(findings), tuple(graph.frozen(m)), float(m.loss))


diagnose.__doc__ = (diagnose.__doc__ or "").format(words=", ".join(sorted(KINDS)))


def _nonfinite(m: Measured) -> Iterator[Finding]:
    """The first operation that is not finite, by the name of its sort."""
    traced = Traced(m.closed, m.arrays, m.call.names, m.call.parts)
    reaches = [n for n, g in m.gradients.items() if not np.isfinite(g).all()]
    forward = not np.isfinite(m.loss)
    found = (
        first_forward(traced, reaches) if forward else first_backward(traced, m.call.static.differentiated)
    )
    if found is not None:
        yield Finding(_word(found), found.label or found.operation, found.where, found.sentence.rstrip("."))


def _word(found: Nonfinite) -> str:
    return {"overflow": "overflow", "index": "label_range"}.get(found.sort, f"nan_{found.direction}")


def _ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """One finding for each word, causes first; what follows from another one is a line under it."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.name, finding)
    kept: dict[str, Finding] = {}
    for name in (n for n in KINDS if n in first):
        cause = next((c for c in KINDS if c in first and c in KINDS[name].after), None)
        if cause is None:
            kept[name] = first[name]
        elif cause in kept:
            line = f"{name}: {first[name].label}: {first[name].evidence}"
            kept[cause] = kept[cause]._replace(follows=(*kept[cause].follows, line))
    return tuple(kept.values())
