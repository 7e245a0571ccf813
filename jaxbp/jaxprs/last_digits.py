"""What rounding may do to a result: every operation in its computation moved by its last digit."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import primitives

from jaxbp.jaxprs.inline import flattened
from jaxbp.jaxprs.walk import evaluate, single

# Of a constant's last digit: a difference ten times as large as what this does passes.
SHARE = 0.1


def shaken(closed: Any) -> Callable[..., list[Any]]:
    """``closed`` as a function of a seed and its inputs, with each floating result times ``1 ± eps``.

    Moving the inputs alone does not show what is lost where two nearly equal results are subtracted
    (``1 + erf(x)`` far out). Comparisons and whatever else is not floating stay as they were: no step is
    made over a kink.
    """
    flat = flattened(closed)

    def fn(seed: Any, *args: Any) -> list[Any]:
        still: dict[Any, Any] = {}

        def plain(_: int, eqn: Any, inputs: list[Any]) -> Sequence[Any]:
            outs = single(eqn, flat.jaxpr.debug_info)(*inputs)
            still.update(zip(eqn.outvars, outs, strict=True))
            return outs

        def moved(number: int, eqn: Any, inputs: list[Any]) -> Sequence[Any]:
            if not any(_floating(v) for v in eqn.outvars):
                return [still[v] for v in eqn.outvars]
            outs = single(eqn, flat.jaxpr.debug_info)(*inputs)
            # A constant in a coarser dtype than the rest.
            coarse = eqn.primitive is primitives.reduce_precision_p
            eps = SHARE * 2.0 ** -eqn.params["mantissa_bits"] if coarse else None
            return [
                _jiggled(y, 7919 * number + k + seed, eps) if _floating(v) else still[v]
                for k, (v, y) in enumerate(zip(eqn.outvars, outs, strict=True))
            ]

        evaluate(flat, args, plain)
        return evaluate(flat, args, moved)

    return fn


def _floating(v: Any) -> bool:
    return bool(jnp.issubdtype(v.aval.dtype, jnp.inexact))


def _jiggled(y: Any, seed: Any, eps: float | None) -> Any:
    """Signs from a hash of the place: a random generator for every operation compiles slowly."""
    eps = eps or float(jnp.finfo(y.dtype).eps)  # type: ignore[no-untyped-call]
    place = jnp.arange(np.size(y), dtype=jnp.uint32).reshape(np.shape(y)) + jnp.uint32(seed)
    mixed = (place * jnp.uint32(2654435761)) ^ (place >> 3)
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(2246822519)
    up = (mixed >> 17) & 1 == 1
    return (y * jnp.where(up, 1 + eps, 1 - eps).astype(y.real.dtype)).astype(y.dtype)
