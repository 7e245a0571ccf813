"""A derivative that is written in the output, ``y (1 - y)``, and was applied to the input."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbp.verify.causes.evidence import Diagnosis, Evidence
from jaxbp.verify.maps.pullback import wide

FORMS: dict[str, Callable[[Any], Any]] = {
    "y(1-y)": lambda y: y * (1 - y),
    "1-y^2": lambda y: 1 - y * y,
    "y": lambda y: y,
    "1/(2y)": lambda y: 0.5 / y,
    "-y^2": lambda y: -y * y,
    "1-exp(-y)": lambda y: 1 - np.exp(-y),
    "1+y^2": lambda y: 1 + y * y,
    "-y^3/2": lambda y: -0.5 * y**3,
    "2y": lambda y: 2 * y,
}
STEPS = 30


def output_form(e: Evidence, outs: list[np.ndarray]) -> Diagnosis | None:
    """The derivative in terms of the output ``y`` at ``y = x``, for a form that is known or any that exists.

    Whatever the form is, its value there is the derivative at the point whose output is ``x``.
    """
    x = wide(e.at.inputs[e.argument])
    same = [y for y in outs if y.shape == x.shape]
    if not same or len(e.at.outputs) != 1:
        return None
    y = same[0]
    cts = np.stack([wide(s.cotangent[0]) for s in e.comparison.samples])
    with np.errstate(all="ignore"):
        for name, form in FORMS.items():
            if e.same(cts * form(y), e.want) and e.explained_by(cts * form(x)):
                return Diagnosis(
                    "wrong_point", f"the derivative of the output form {name} was applied to the input"
                )

        def softmax(y: np.ndarray) -> np.ndarray:
            return np.asarray(y * (cts - np.sum(cts * y, -1, keepdims=True)))

        if y.ndim and e.same(softmax(y), e.want) and e.explained_by(softmax(x)):
            return Diagnosis("wrong_point", "the output form y (c - sum(c y)) was applied to the input")
        inputs = _preimage(e, x) if not np.iscomplexobj(x) else None
    if inputs and e.explained_by(e.pulled(inputs)):
        return Diagnosis("wrong_point", "the derivative in terms of the output was applied to the input")
    return None


def _preimage(e: Evidence, x: np.ndarray) -> list[Any] | None:
    """The inputs with the argument of which ``x`` is the output, entry by entry, by Newton's iteration."""
    assert e.reference is not None
    inputs, ones = list(e.at.inputs), [jnp.ones(s.shape, s.dtype) for s in e.at.outputs]
    for _ in range(STEPS):
        outs, slopes = e.reference.call(inputs, ones)
        gap, here = wide(outs[0]) - x, wide(inputs[e.argument])
        if not np.isfinite(gap).all():
            return None
        if (np.abs(gap) <= 0.1 * e.tolerance * np.abs(x)).all():
            return inputs
        inputs[e.argument] = jnp.asarray(here - gap / wide(slopes[e.argument]), inputs[e.argument].dtype)
    return None
