"""Traps for the judge: what JAX remembers, primals that differ by compiling, autodiff that sees no slope."""

import jax
import jax.numpy as jnp

from .case import Case, normal, rule


def left_out(alone=1.0):
    """A product whose forward rule keeps a factor only where it is needed; ``alone`` is then too much."""
    product = jax.custom_vjp(lambda x, w: x * w)

    def forward(x, w):
        return x.value * w.value, (x.value, w.value if x.perturbed else None)

    def backward(saved, c):
        x, w = saved
        return (None, alone * c * x) if w is None else (c * w, c * x)

    product.defvjp(forward, backward, symbolic_zeros=True)
    return product


def offset(x):
    """Compiled, the offset is gone; one operation after the other, its rounding is not."""
    return (x + 1e4) - 1e4 + jnp.sin(x)


def offset_rule(primal):
    return rule(offset, lambda a, y, c: (c * (1 + jnp.cos(a[0])),), lambda x: (primal(x), ((x,), None)))


RIGHT = [
    Case("residual left out where it is not needed", "structure", left_out(), normal((4,), (4,)), "right"),
    Case("residual left out, in a sum", "structure", lambda x, w: jnp.sum(left_out()(x, w)),
         normal((4,), (4,)), "right"),
    Case("offset that compiling takes out", "ill-conditioned", offset_rule(offset), normal((5,)), "right"),
]  # fmt: skip

WRONG = [
    Case("residual left out, wrong for one input alone", "structure", left_out(2.0), normal((4,), (4,)),
         "wrong", ("other",)),
    Case("offset that compiling takes out, another primal", "ill-conditioned",
         offset_rule(lambda x: offset(x) + 1e-2), normal((5,)), "wrong", ("primal",)),
]  # fmt: skip

CASES = RIGHT + WRONG
