"""A derivative that is written in the output, ``y (1 - y)``, and was applied to the input."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbp.verify import tolerances
from jaxbp.verify.causes.evidence import Diagnosis, Evidence, few_of
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
# Newton's iteration comes nearer by this part in so many steps, also where it is slow (at the root of x^9).
HALVES, HALVING = 0.5, 3


def output_form(e: Evidence, outs: list[np.ndarray]) -> Diagnosis | None:
    """The derivative in terms of the output ``y`` at ``y = x``, for a form that is known or any that exists.

    Whatever the form is, its value there is the derivative at the point whose output is ``x``.
    """
    x = wide(e.at.inputs[e.argument])
    same = [y for y in outs if y.shape == x.shape]
    if not same or len(e.at.outputs) != 1:
        return None
    y = same[0]
    cts, few = e.cotangents[0], few_of(y)
    with np.errstate(all="ignore"):
        for name, form in FORMS.items():
            if few and not e.near(cts[:, *few] * form(y[few]), e.want[:, *few]):
                continue
            if e.same(cts * form(y), e.want) and e.explained_by(cts * form(x)):
                return Diagnosis(
                    "wrong_point", f"the derivative of the output form {name} was applied to the input"
                )

        def softmax(y: np.ndarray, count: int | None = None) -> np.ndarray:
            ct = cts[:count]
            return np.asarray(y * (ct - np.sum(ct * y, -1, keepdims=True)))

        one = slice(1), *few
        may_be = not few or e.near(softmax(y, 1)[one], e.want[one])
        if y.ndim and may_be and e.same(softmax(y), e.want) and e.explained_by(softmax(x)):
            return Diagnosis("wrong_point", "the output form y (c - sum(c y)) was applied to the input")
        inputs = _preimage(e, x) if not np.iscomplexobj(x) else None
    if inputs and e.gives(inputs):
        return Diagnosis("wrong_point", "the derivative in terms of the output was applied to the input")
    return None


def _preimage(e: Evidence, x: np.ndarray) -> list[Any] | None:
    """The inputs with the argument of which ``x`` is the output, entry by entry, by Newton's iteration."""
    assert e.reference is not None
    inputs, ones = list(e.at.inputs), [jnp.ones(s.shape, s.dtype) for s in e.at.outputs]
    left: list[float] = []
    for _ in range(STEPS):
        outs, slopes = e.reference.call(inputs, ones)
        gap, here = wide(outs[0]) - x, wide(inputs[e.argument])
        left.append(float(np.max(np.abs(gap), initial=0.0)))
        if not np.isfinite(left[-1]) or left[-1] > HALVES * min(left[:-HALVING], default=np.inf):
            return None
        if (np.abs(gap) <= e.tolerance * np.abs(x) / tolerances.LOOSER).all():
            return inputs
        inputs[e.argument] = jnp.asarray(here - gap / wide(slopes[e.argument]), inputs[e.argument].dtype)
    return None
