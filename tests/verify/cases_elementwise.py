"""Elementwise rules: activations and special functions, right and wrong, as custom_vjp and custom_jvp."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

from .case import Case, fixed, jvp_rule, normal, positive, rule


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def softplus(x):
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def gelu_slope(x):
    return 0.5 * (1 + erf(x / np.sqrt(2))) + x * jnp.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def swish(x):
    return x * sigmoid(x)


def swish_slope(x):
    s = sigmoid(x)
    return s + x * s * (1 - s)


def mish(x):
    return x * jnp.tanh(softplus(x))


def mish_slope(x):
    t = jnp.tanh(softplus(x))
    return t + x * sigmoid(x) * (1 - t * t)


# name: function, slope(x, y), arguments
SMOOTH = {
    "sigmoid": (sigmoid, lambda x, y: y * (1 - y), normal((4, 5))),
    "tanh": (jnp.tanh, lambda x, y: 1 - y * y, normal((7,))),
    "exp": (jnp.exp, lambda x, y: y, normal((3, 2))),
    "log": (jnp.log, lambda x, y: 1 / x, positive((6,))),
    "sqrt": (jnp.sqrt, lambda x, y: 0.5 / y, positive((6,))),
    "rsqrt": (lambda x: 1 / jnp.sqrt(x), lambda x, y: -0.5 * y**3, positive((6,))),
    "square": (lambda x: x * x, lambda x, y: 2 * x, normal((5,))),
    "sin": (jnp.sin, lambda x, y: jnp.cos(x), normal((5,))),
    "reciprocal": (lambda x: 1 / x, lambda x, y: -y * y, positive((5,))),
    "softplus": (softplus, lambda x, y: sigmoid(x), normal((4, 4))),
    "gelu": (gelu, lambda x, y: gelu_slope(x), normal((4, 4))),
    "swish": (swish, lambda x, y: swish_slope(x), normal((9,))),
    "mish": (mish, lambda x, y: mish_slope(x), normal((9,))),
    "atan": (jnp.arctan, lambda x, y: 1 / (1 + x * x), normal((8,), scale=3.0)),
}

right = [
    Case(f"{n}/vjp", "elementwise", rule(f, lambda a, y, c, d=d: (c * d(a[0], y),)), args, "right")
    for n, (f, d, args) in SMOOTH.items()
] + [
    Case(
        f"{n}/jvp", "elementwise", jvp_rule(f, lambda p, t, d=d, f=f: d(p[0], f(p[0])) * t[0]), args, "right"
    )
    for n, (f, d, args) in list(SMOOTH.items())[::3]
]


def wrong_vjp(name, f, slope, args, *causes):
    return Case(name, "elementwise", rule(f, lambda a, y, c: (c * slope(a[0], y),)), args, "wrong", causes)


def of(name):
    return SMOOTH[name]


def broken(name, how, *causes):
    f, d, args = of(name.split(":")[0])
    return wrong_vjp(name, f, lambda x, y: how(d, x, y), args, *causes)


wrong = [
    broken("sigmoid:sign", lambda d, x, y: -d(x, y), "sign"),
    broken("sin:sign", lambda d, x, y: -d(x, y), "sign"),
    broken("reciprocal:sign", lambda d, x, y: y * y, "sign"),
    broken("sqrt:no half", lambda d, x, y: 1 / y, "factor"),
    broken("square:no two", lambda d, x, y: x, "factor"),
    broken("tanh:1 percent", lambda d, x, y: 1.01 * d(x, y), "factor"),
    broken("exp:0.1 percent", lambda d, x, y: 1.001 * d(x, y), "factor"),
    broken("sigmoid:zero", lambda d, x, y: 0 * x, "zero"),
    broken("sigmoid:output form at input", lambda d, x, y: x * (1 - x), "wrong_point"),
    broken("tanh:output form at input", lambda d, x, y: 1 - x * x, "wrong_point"),
    broken("sigmoid:slope at output", lambda d, x, y: sigmoid(y) * (1 - sigmoid(y)), "wrong_point"),
    broken("sin:slope at output", lambda d, x, y: jnp.cos(y), "wrong_point"),
    broken("log:slope at output", lambda d, x, y: 1 / y, "wrong_point"),
    broken("exp:slope is the input", lambda d, x, y: x, "wrong_point"),
    broken("sqrt:output form at input", lambda d, x, y: 0.5 / x, "wrong_point"),
    broken("tanh:not squared", lambda d, x, y: 1 - y, "other", "missing_term"),
    broken("gelu:no density", lambda d, x, y: 0.5 * (1 + erf(x / np.sqrt(2))), "missing_term"),
    broken("swish:no product term", lambda d, x, y: sigmoid(x), "missing_term"),
    broken("mish:no product term", lambda d, x, y: jnp.tanh(softplus(x)), "missing_term"),
    broken(
        "gelu:tanh approximation",
        lambda d, x, y: jax.vmap(jax.grad(jax.nn.gelu))(x.ravel()).reshape(x.shape),
        "slope",
    ),
    broken("atan:no square", lambda d, x, y: 1 / (1 + jnp.abs(x)), "slope"),
]

wrong += [
    Case(
        "exp/jvp:sign",
        "elementwise",
        jvp_rule(jnp.exp, lambda p, t: -jnp.exp(p[0]) * t[0]),
        normal((4,)),
        "wrong",
        ("sign",),
    ),
    Case(
        "sin/jvp:factor",
        "elementwise",
        jvp_rule(jnp.sin, lambda p, t: 2 * jnp.cos(p[0]) * t[0]),
        normal((4,)),
        "wrong",
        ("factor",),
    ),
    Case(
        "product/jvp:second tangent left out",
        "elementwise",
        jvp_rule(lambda x, y: x * y, lambda p, t: t[0] * p[1]),
        normal((4,), (4,)),
        "wrong",
        ("zero",),
    ),
    Case(
        "product:swapped",
        "elementwise",
        rule(lambda x, y: x * y, lambda a, y, c: (c * a[0], c * a[1])),
        normal((5,), (5,)),
        "wrong",
        ("swapped",),
    ),
    Case(
        "quotient:no square",
        "elementwise",
        rule(lambda x, y: x / y, lambda a, o, c: (c / a[1], -c * a[0] / a[1])),
        positive((5,), (5,)),
        "wrong",
        ("factor", "wrong_point"),
    ),
    Case(
        "quotient:sign of the denominator",
        "elementwise",
        rule(lambda x, y: x / y, lambda a, o, c: (c / a[1], c * a[0] / a[1] ** 2)),
        positive((5,), (5,)),
        "wrong",
        ("sign",),
    ),
    Case(
        "power:exponent's slope is zero",
        "elementwise",
        rule(lambda x, p: x**p, lambda a, o, c: (c * a[1] * a[0] ** (a[1] - 1), jnp.zeros_like(a[1]))),
        positive((5,), (5,)),
        "wrong",
        ("zero",),
    ),
    Case(
        "cotangent squared",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (c * c * jnp.cos(a[0]),)),
        normal((5,)),
        "wrong",
        ("not_linear",),
    ),
    Case(
        "cotangent's absolute value",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (abs(c) * jnp.cos(a[0]),)),
        normal((5,)),
        "wrong",
        ("not_linear",),
    ),
    Case(
        "cotangent clipped unsaid",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (jnp.clip(c, -0.5, 0.5) * jnp.cos(a[0]),)),
        normal((5,)),
        "wrong",
        ("not_linear",),
    ),
    Case(
        "clipped far out unsaid",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (jnp.clip(c, -50, 50) * jnp.cos(a[0]),)),
        normal((5,)),
        "wrong",
        ("not_linear",),
    ),
    Case(
        "constant added",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]) + 0.1,)),
        normal((5,)),
        "wrong",
        ("not_linear",),
    ),
    Case(
        "cotangent left out",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (jnp.cos(a[0]),)),
        normal((5,)),
        "wrong",
        ("not_linear",),
    ),
    Case(
        "nan from 0 x inf",
        "elementwise",
        rule(lambda x: x * jnp.sqrt(x), lambda a, y, c: (c * a[0] * 1.5 / jnp.sqrt(a[0]),)),
        fixed([0.0, 0.5, 1.0]),
        "wrong",
        ("nan",),
    ),
    Case(
        "softplus:overflow",
        "elementwise",
        rule(softplus, lambda a, y, c: (c * jnp.exp(a[0]) / (1 + jnp.exp(a[0])),)),
        fixed([-1.0, 2.0, 800.0]),
        "wrong",
        ("nan",),
    ),
    Case(
        "primal changed by fwd",
        "elementwise",
        rule(jnp.sin, lambda a, c: (c * jnp.cos(a[0]),), fwd=lambda x: (jnp.sin(x) + 0.01, ((x,),))),
        normal((5,)),
        "wrong",
        ("primal",),
    ),
    Case(
        "one entry of 200",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (jnp.where(jnp.arange(200) == 77, -1, 1) * c * jnp.cos(a[0]),)),
        normal((200,)),
        "wrong",
        ("sign",),
    ),
    Case(
        "leaky relu:one slope for both",
        "elementwise",
        rule(lambda x: jnp.where(x > 0, x, 0.1 * x), lambda a, y, c: (c,)),
        normal((20,)),
        "wrong",
        ("factor",),
    ),
    Case(
        "relu:mask of the wrong side",
        "elementwise",
        rule(lambda x: jnp.maximum(x, 0), lambda a, y, c: (jnp.where(a[0] < 0, c, 0),)),
        normal((20,)),
        "wrong",
        ("misplaced", "wrong_point"),
    ),
    Case(
        "relu:threshold moved",
        "elementwise",
        rule(lambda x: jnp.maximum(x, 0), lambda a, y, c: (jnp.where(a[0] > 0.5, c, 0),)),
        normal((40,)),
        "wrong",
        ("zero",),
    ),
    Case(
        "elu:no exp on the left",
        "elementwise",
        rule(lambda x: jnp.where(x > 0, x, jnp.expm1(x)), lambda a, y, c: (jnp.where(a[0] > 0, c, c * y),)),
        normal((20,)),
        "wrong",
        ("missing_term", "other"),
    ),
    Case(
        "half-precision cotangent",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: ((c * jnp.cos(a[0])).astype(jnp.bfloat16),)),
        normal((5,)),
        "wrong",
        ("dtype",),
    ),
    Case(
        "complex cotangent of a real input",
        "elementwise",
        rule(jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]) * (1 + 0j),)),
        normal((5,)),
        "wrong",
        ("dtype",),
    ),
]

kinks = [
    Case(
        "relu at 0, slope 0",
        "kink",
        rule(lambda x: jnp.maximum(x, 0), lambda a, y, c: (jnp.where(a[0] > 0, c, 0),)),
        fixed([-1.0, 0.0, 2.0]),
        "kink",
    ),
    Case(
        "relu at 0, slope 1",
        "kink",
        rule(lambda x: jnp.maximum(x, 0), lambda a, y, c: (jnp.where(a[0] >= 0, c, 0),)),
        fixed([-1.0, 0.0, 2.0]),
        "kink",
    ),
    Case(
        "abs at 0, slope -1",
        "kink",
        rule(jnp.abs, lambda a, y, c: (jnp.where(a[0] > 0, c, -c),)),
        fixed([-1.0, 0.0, 2.0]),
        "kink",
    ),
    Case("library relu at 0", "kink", jax.nn.relu, fixed([-1.0, 0.0, 2.0]), "kink"),
    Case(
        "clip at its bound",
        "kink",
        rule(lambda x: jnp.clip(x, -1, 1), lambda a, y, c: (jnp.where(abs(a[0]) <= 1, c, 0),)),
        fixed([-1.0, 0.3, 1.0]),
        "kink",
    ),
    Case(
        "maximum at a tie",
        "kink",
        rule(jnp.maximum, lambda a, y, c: (jnp.where(a[0] >= a[1], c, 0), jnp.where(a[0] < a[1], c, 0))),
        fixed([1.0, 2.0], [1.0, 3.0]),
        "kink",
    ),
    Case(
        "relu at 0, slope 2",
        "kink",
        rule(
            lambda x: jnp.maximum(x, 0),
            lambda a, y, c: (jnp.where(a[0] > 0, c, jnp.where(a[0] == 0, 2 * c, 0)),),
        ),
        fixed([-1.0, 0.0, 2.0]),
        "wrong",
        ("kink",),
    ),
    Case(
        "maximum pays both at a tie",
        "kink",
        rule(jnp.maximum, lambda a, y, c: (jnp.where(a[0] >= a[1], c, 0), jnp.where(a[0] <= a[1], c, 0))),
        fixed([1.0, 2.0], [1.0, 3.0]),
        "wrong",
        ("kink",),
    ),
]

declared = [
    Case(
        "round, straight through",
        "declared",
        rule(lambda x: jnp.round(x), lambda a, y, c: (c,)),
        normal((6,)),
        "declared",
        declare="straight_through",
    ),
    Case(
        "sign, masked straight through",
        "declared",
        rule(jnp.sign, lambda a, y, c: (jnp.where(abs(a[0]) <= 1, c, 0),)),
        normal((9,)),
        "declared",
        declare="straight_through",
    ),
    Case(
        "gradient reversal",
        "declared",
        rule(lambda x: x, lambda a, y, c: (-0.3 * c,)),
        normal((6,)),
        "declared",
        declare="reversal",
    ),
    Case(
        "scaled",
        "declared",
        rule(jnp.sin, lambda a, y, c: (0.1 * c * jnp.cos(a[0]),)),
        normal((6,)),
        "declared",
        declare="scaled",
    ),
    Case(
        "clipped",
        "declared",
        rule(lambda x: x, lambda a, y, c: (jnp.clip(c, -0.5, 0.5),)),
        normal((6,)),
        "declared",
        declare="clipped",
    ),
    Case(
        "clipped by norm",
        "declared",
        rule(lambda x: x, lambda a, y, c: (c / jnp.maximum(1, jnp.sqrt(jnp.sum(c * c))),)),
        normal((6,)),
        "declared",
        declare="clipped",
    ),
    Case(
        "stop",
        "declared",
        rule(jnp.sin, lambda a, y, c: (jnp.zeros_like(c),)),
        normal((6,)),
        "declared",
        declare="stop",
    ),
    Case(
        "round, straight through, undeclared",
        "declared",
        rule(lambda x: jnp.round(x), lambda a, y, c: (c,)),
        normal((6,)),
        "wrong",
        ("straight_through", "missing_term"),
    ),
    Case(
        "reversal that does not reverse",
        "declared",
        rule(lambda x: x, lambda a, y, c: (0.3 * c,)),
        normal((6,)),
        "wrong",
        ("sign",),
        declare="reversal",
    ),
    Case(
        "straight through times two",
        "declared",
        rule(lambda x: jnp.round(x), lambda a, y, c: (2 * c,)),
        normal((6,)),
        "wrong",
        ("factor",),
        declare="straight_through",
    ),
    Case(
        "stop that leaks",
        "declared",
        rule(jnp.sin, lambda a, y, c: (0.01 * c,)),
        normal((6,)),
        "wrong",
        ("not_as_declared", "zero"),
        declare="stop",
    ),
]

CASES = right + wrong + kinks + declared
