"""A case of the suite: a function with derivative rules, its arguments, and the judgement it must get."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np


class Case(NamedTuple):
    """One row of the suite; ``causes`` are the acceptable names where more than one is true."""

    name: str
    category: str
    f: Callable
    args: Callable[[Any], tuple]
    verdict: str
    causes: tuple[str, ...] = ()
    declare: Any = None
    order: int = 1


def rule(primal, bwd, fwd=None):
    """A custom_vjp whose residuals are ``(args, out)``; ``bwd(args, out, ct)``."""
    f = jax.custom_vjp(primal)

    def save(*args):
        out = primal(*args)
        return out, (args, out)

    f.defvjp(fwd or save, lambda saved, ct: bwd(*saved, ct))
    return f


def jvp_rule(primal, jvp):
    """A custom_jvp; ``jvp(primals, tangents) -> tangent out``."""
    f = jax.custom_jvp(primal)
    f.defjvp(lambda primals, tangents: (primal(*primals), jvp(primals, tangents)))
    return f


def normal(*shapes, seed=0, shift=0.0, scale=1.0):
    """Arguments drawn from a normal distribution; the same numbers for every dtype."""

    def args(dtype):
        rng = np.random.default_rng(seed)
        return tuple((shift + scale * rng.standard_normal(s)).astype(dtype) for s in shapes)

    return args


def positive(*shapes, seed=0, low=0.3, high=2.0):
    """Arguments drawn uniformly from [low, high]."""

    def args(dtype):
        rng = np.random.default_rng(seed)
        return tuple(rng.uniform(low, high, s).astype(dtype) for s in shapes)

    return args


def fixed(*values):
    """Arguments given as they are; floating ones take the dtype of the run."""

    def args(dtype):
        arrays = [np.asarray(v) for v in values]
        return tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays)

    return args
