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


def halved(x):
    """The root m of m^3 + m = x by halving: only comparisons lead from x to it."""

    def step(_, ends):
        low, high = ends
        middle = (low + high) / 2
        below = middle**3 + middle < x
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, 60, step, (jnp.full_like(x, -8), jnp.full_like(x, 8)))
    return (low + high) / 2


def root(scale):
    return rule(halved, lambda a, y, c: (scale * c / (3 * y * y + 1),))


def by_thirds(x):
    """Where (t - x)^2 + t^4 / 10 is least, to half of the digits: there the two ends are equal."""

    def value(t):
        return (t - x) ** 2 + t**4 / 10

    def step(_, ends):
        low, high = ends
        left, right = low + (high - low) / 3, high - (high - low) / 3
        falls = value(right) < value(left)
        return jnp.where(falls, left, low), jnp.where(falls, high, right)

    low, high = jax.lax.fori_loop(0, 60, step, (jnp.full_like(x, -3), jnp.full_like(x, 3)))
    return (low + high) / 2


def without_sign(x):
    unsigned = jnp.uint64 if x.dtype == jnp.float64 else jnp.uint32
    bits = jax.lax.bitcast_convert_type(x, unsigned)
    return jax.lax.bitcast_convert_type((bits << 1) >> 1, x.dtype)


def centred(scale, primal=lambda x: x * x - jax.lax.pmean(x, "rows") + jax.lax.pmean(x, "rows")):
    """The forward rule asks for the size of an axis that is there only while vmap is traced."""
    return jax.vmap(rule(primal, lambda a, y, c: (scale * 2 * c * a[0],)), axis_name="rows")


def settled(W, b):
    return jax.lax.fori_loop(0, 80, lambda _, x: jnp.tanh(W @ x + b), jnp.zeros_like(b))


def settled_back(turned):
    def bwd(a, x, c):
        slope = 1 - x * x
        M = jnp.eye(len(x), dtype=x.dtype) - slope[:, None] * a[0]
        u = jnp.linalg.solve(M.T if turned else M, c) * slope
        return jnp.outer(u, x), u

    return bwd


RIGHT = [
    Case("residual left out where it is not needed", "structure", left_out(), normal((4,), (4,)), "right"),
    Case("residual left out, in a sum", "structure", lambda x, w: jnp.sum(left_out()(x, w)),
         normal((4,), (4,)), "right"),
    Case("offset that compiling takes out", "ill-conditioned", offset_rule(offset), normal((5,)), "right"),
    Case("root by halving", "implicit", root(1.0), normal((4,), scale=3.0), "right"),
    Case("minimum by thirds", "implicit", rule(by_thirds, lambda a, y, c: (c / (1 + 0.6 * y * y),)),
         normal((4,)), "right"),
    Case("modulus by bits", "structure", rule(without_sign, lambda a, y, c: (c * jnp.sign(a[0]),)),
         normal((5,)), "right"),
    Case("quantised", "structure", rule(lambda x: jnp.round(127 * x) / 127, lambda a, y, c: (0 * c,)),
         normal((5,)), "right"),
    Case("mean over an axis of vmap", "vmap", centred(1.0), normal((4, 3)), "right"),
    Case("mean over an axis of vmap, in a sum", "vmap", lambda x: jnp.sum(jnp.tanh(centred(1.0)(x))),
         normal((4, 3)), "right"),
    Case("fixed point of a matrix", "implicit", rule(settled, settled_back(True)),
         normal((3, 3), (3,), scale=0.3), "right"),
]  # fmt: skip

WRONG = [
    Case("residual left out, wrong for one input alone", "structure", left_out(2.0), normal((4,), (4,)),
         "wrong", ("one_input",)),
    Case("offset that compiling takes out, another primal", "ill-conditioned",
         offset_rule(lambda x: offset(x) + 1e-2), normal((5,)), "wrong", ("primal",)),
    Case("root by halving, zero as autodiff has it", "implicit", root(0.0), normal((4,), scale=3.0),
         "wrong", ("zero",)),
    Case("root by halving, sign", "implicit", root(-1.0), normal((4,), scale=3.0), "wrong", ("sign",)),
    Case("root by halving beside its argument", "implicit", rule(lambda x: x + halved(x),
         lambda a, y, c: (c,)), normal((4,)), "wrong", ("other", "missing_term")),
    Case("minimum by thirds, zero", "implicit", rule(by_thirds, lambda a, y, c: (0 * c,)), normal((4,)),
         "wrong", ("zero",)),
    Case("modulus by bits, zero", "structure", rule(without_sign, lambda a, y, c: (0 * c,)), normal((5,)),
         "wrong", ("zero",)),
    Case("mean over an axis of vmap, sign", "vmap", centred(-1.0), normal((4, 3)), "wrong", ("sign",)),
    Case("mean over an axis of vmap, forgotten", "vmap",
         centred(1.0, lambda x: x * x - jax.lax.pmean(x * x, "rows")), normal((4, 3)), "wrong",
         ("missing_term",)),
    Case("fixed point of a matrix, not transposed", "implicit", rule(settled, settled_back(False)),
         normal((3, 3), (3,), scale=0.3), "wrong", ("transposed",)),
    Case("two outputs, the sign of one", "elementwise", rule(lambda x: (jnp.sin(x), jnp.cos(x)),
         lambda a, y, c: (-c[0] * y[1] - c[1] * y[0],)), normal((4,)), "wrong", ("sign",)),
    Case("arcsine, output form at the input", "elementwise", rule(jnp.arcsin,
         lambda a, y, c: (c / jnp.cos(a[0]),)), normal((5,), scale=0.3), "wrong", ("wrong_point",)),
]  # fmt: skip

CASES = RIGHT + WRONG
