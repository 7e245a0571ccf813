"""The derivative of the right function at another place: other arguments, conjugated ones, the output."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbp.verify import tolerances
from jaxbp.verify.causes.evidence import Diagnosis, Evidence, constant, ratio_of, reason
from jaxbp.verify.causes.output_form import output_form
from jaxbp.verify.maps.pullback import is_float


def conjugated(e: Evidence) -> Diagnosis | None:
    """Complex numbers by another convention: the conjugate of something, or its real part alone."""
    whole = [e.got, e.want, *e.at.outputs, *e.at.inputs]
    if not any(map(jnp.iscomplexobj, whole)) or not e.finite:
        return None
    if np.iscomplexobj(e.want):
        if e.explained_by(np.conj(e.want)):
            hint = "JAX's cotangents take no conjugate"
            return Diagnosis("conjugate", f"rule = the complex conjugate of the reference; {hint}")
        for part, lost in ((e.want.real, "imaginary"), (1j * e.want.imag, "real")):
            if part.any() and e.explained_by(part + 0j):
                return Diagnosis("missing_term", f"the {lost} part of the cotangent is left out")
    if e.reference is None:
        return None
    held = [i for i, x in enumerate(e.at.inputs) if jnp.iscomplexobj(x)]
    choices: list[tuple[int, ...]] = [(), *((i,) for i in held), tuple(held)]
    ways = product(dict.fromkeys(choices), (False, True), (False, True))
    for chosen, ct, result in sorted(ways, key=lambda way: (len(way[0]) + way[1] + way[2], not way[0])):
        words = [f"argument {i}" for i in chosen] + ["the cotangent"] * ct + ["the result"] * result
        if words:
            inputs = [jnp.conj(x) if i in chosen else x for i, x in enumerate(e.at.inputs)]
            found = e.pulled(inputs, jnp.conj if ct else lambda c: c)
            k = ratio_of(e.got, np.conj(found) if result else found, e.tolerance)
            if k is not None and abs(k) > tolerances.NOTHING:
                times = "" if abs(k - 1) < tolerances.SAME else f", times {constant(k)}{reason(k, e.at)}"
                sentence = f"with {' and '.join(words)} conjugated it is the rule's result{times}"
                return Diagnosis("conjugate", sentence)
    return None


def left_out(e: Evidence) -> Diagnosis | None:
    """The derivative with another argument taken as 1 or 0."""
    if e.reference is None:
        return None
    for i, held in enumerate(e.at.inputs):
        if i != e.argument and held.size:
            for value, word in ((1, "factor"), (0, "term")):
                inputs = [jnp.full_like(v, value) if k == i else v for k, v in enumerate(e.at.inputs)]
                if e.gives(inputs):
                    sentence = f"the {word} from argument {i} is left out (it is taken as {value})"
                    return Diagnosis("missing_term", sentence, True)
    return None


def elsewhere(e: Evidence) -> Diagnosis | None:
    """The derivative at another point, or the derivative of the output form applied to the input."""
    if e.reference is None:
        return None
    for inputs, what in _points(e):
        if e.gives(inputs):
            return Diagnosis("wrong_point", f"the derivative is evaluated at {what}")
    return output_form(e, e.outputs)


def _points(e: Evidence) -> Iterator[tuple[list[Any], str]]:
    """Other places where a derivative may have been taken by mistake."""
    inputs = e.at.inputs
    for i, x in enumerate(inputs):

        def at(value: Any, i: int = i, x: Any = x) -> list[Any]:
            return [jnp.asarray(value, dtype=x.dtype) if k == i else v for k, v in enumerate(inputs)]

        for y in e.outputs:
            if y.shape == np.shape(x) and np.iscomplexobj(y) <= np.iscomplexobj(x):
                yield at(y), "the output instead of the input"
        if is_float(x):
            yield at(-x), f"minus argument {i}"
        for k, z in enumerate(inputs):
            if k > i and np.shape(z) == np.shape(x) and z.dtype == x.dtype:
                exchanged = list(inputs)
                exchanged[i], exchanged[k] = z, x
                yield exchanged, f"arguments {i} and {k} exchanged"
            if k != i and np.shape(z) == np.shape(x) and z.dtype == x.dtype:
                yield at(z), f"argument {k} in place of argument {i}"
