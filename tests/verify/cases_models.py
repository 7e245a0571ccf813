"""Rules of the size of a layer: normalisation, attention, losses, convolution, loops, small models."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .case import Case, fixed, normal, positive, rule
from .cases_arrays import case, softmax


def layer_norm(x, g, b):
    m = jnp.mean(x, -1, keepdims=True)
    s = jax.lax.rsqrt(jnp.mean((x - m) ** 2, -1, keepdims=True) + 1e-5)
    return (x - m) * s * g[None] + b[None]


def layer_norm_back(mean=1.0, var=1.0, scale=True, eps=1e-5):
    """The backward rule, with parts that can be left out."""

    def bwd(a, y, c):
        x, g, _ = a
        m = jnp.mean(x, -1, keepdims=True)
        s = jax.lax.rsqrt(jnp.mean((x - m) ** 2, -1, keepdims=True) + eps)
        h = (x - m) * s
        d = c * g[None] if scale else c
        dx = s * (d - mean * jnp.mean(d, -1, keepdims=True) - var * h * jnp.mean(d * h, -1, keepdims=True))
        return dx, jnp.sum(c * h, 0), jnp.sum(c, 0)

    return bwd


def rms_norm(x):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def batch_norm(x):
    m = jnp.mean(x, 0, keepdims=True)
    return (x - m) / jnp.sqrt(jnp.mean((x - m) ** 2, 0, keepdims=True) + 1e-5)


def batch_norm_back(a, y, c, axis=0):
    s = 1 / jnp.sqrt(jnp.var(a[0], 0, keepdims=True) + 1e-5)
    return (s * (c - c.mean(axis, keepdims=True) - y * (c * y).mean(axis, keepdims=True)),)


NORMS = normal((4, 6), (6,), (6,))

NORMALISATION = [
    case("layer norm", "normalisation", layer_norm, layer_norm_back(), NORMS),
    case(
        "layer norm, mean held fixed",
        "normalisation",
        layer_norm,
        layer_norm_back(mean=0),
        NORMS,
        "missing_term",
    ),
    case(
        "layer norm, variance held fixed",
        "normalisation",
        layer_norm,
        layer_norm_back(var=0),
        NORMS,
        "missing_term",
    ),
    case(
        "layer norm, both held fixed",
        "normalisation",
        layer_norm,
        layer_norm_back(mean=0, var=0),
        NORMS,
        "missing_term",
    ),
    case(
        "layer norm, gain left out",
        "normalisation",
        layer_norm,
        layer_norm_back(scale=False),
        NORMS,
        "missing_term",
    ),
    case(
        "layer norm, another epsilon",
        "normalisation",
        layer_norm,
        layer_norm_back(eps=1e-3),
        NORMS,
        "approximate",
        "missing_term",
        "factor",
    ),
    case(
        "layer norm, sign of the variance",
        "normalisation",
        layer_norm,
        layer_norm_back(var=-1),
        NORMS,
        "sign",
    ),
    case(
        "rms norm",
        "normalisation",
        rms_norm,
        lambda a, y, c: ((c - y * jnp.mean(c * y, -1, keepdims=True)) * y / a[0],),
        positive((3, 5)),
    ),
    case(
        "rms norm without projection",
        "normalisation",
        rms_norm,
        lambda a, y, c: (c * y / a[0],),
        positive((3, 5)),
        "missing_term",
    ),
    case("batch norm", "normalisation", batch_norm, batch_norm_back, normal((6, 3))),
    case(
        "batch norm over the wrong axis",
        "normalisation",
        batch_norm,
        partial(batch_norm_back, axis=1),
        normal((6, 3)),
        "other",
        "missing_term",
    ),
    case(
        "l2 normalise, norm held fixed",
        "normalisation",
        lambda x: x / jnp.sqrt(jnp.sum(x * x)),
        lambda a, y, c: (c / jnp.sqrt(jnp.sum(a[0] ** 2)),),
        normal((5,)),
        "missing_term",
    ),
]


def attention(q, k, v):
    return softmax(q @ k.T / 2.0) @ v


def attention_back(scale=0.5, centre=True, key_turned=True):
    def bwd(a, y, c):
        q, k, v = a
        p = softmax(q @ k.T / 2.0)
        dp = c @ v.T
        ds = p * (dp - jnp.sum(dp * p, -1, keepdims=True)) if centre else p * dp
        return ds @ k * scale, (ds.T if key_turned else ds) @ q * scale, p.T @ c

    return bwd


QKV = normal((4, 4), (4, 4), (4, 4))

ATTENTION = [
    case("attention", "attention", attention, attention_back(), normal((3, 4), (5, 4), (5, 2))),
    case("attention without its scale", "attention", attention, attention_back(scale=1.0), QKV, "factor"),
    case(
        "attention, softmax without its mean",
        "attention",
        attention,
        attention_back(centre=False),
        QKV,
        "missing_term",
    ),
    case(
        "attention, scores not transposed for k",
        "attention",
        attention,
        attention_back(key_turned=False),
        QKV,
        "other",
        "transposed",
        "cotangent_transposed",
    ),
    case(
        "masked softmax",
        "attention",
        lambda x: softmax(jnp.where(np.tril(np.ones((4, 4), bool)), x, -jnp.inf)),
        lambda a, y, c: (y * (c - jnp.sum(c * y, -1, keepdims=True)),),
        normal((4, 4)),
    ),
]


def cross_entropy(z, t):
    return jnp.mean(jax.scipy.special.logsumexp(z, -1) - jnp.sum(z * t, -1))


TARGETS = fixed(np.random.default_rng(1).standard_normal((6, 3)), np.eye(3)[[0, 1, 2, 1, 0, 2]])


LOSSES = [
    case(
        "cross entropy",
        "loss",
        cross_entropy,
        lambda a, y, c: (c * (softmax(a[0]) - a[1]) / 6, -c * a[0] / 6),
        TARGETS,
    ),
    case(
        "cross entropy without 1/N",
        "loss",
        cross_entropy,
        lambda a, y, c: (c * (softmax(a[0]) - a[1]), -c * a[0] / 6),
        TARGETS,
        "factor",
    ),
    case(
        "cross entropy, target minus output",
        "loss",
        cross_entropy,
        lambda a, y, c: (c * (a[1] - softmax(a[0])) / 6, -c * a[0] / 6),
        TARGETS,
        "sign",
    ),
    case(
        "cross entropy without the target",
        "loss",
        cross_entropy,
        lambda a, y, c: (c * softmax(a[0]) / 6, -c * a[0] / 6),
        TARGETS,
        "missing_term",
    ),
    case(
        "cross entropy without softmax",
        "loss",
        cross_entropy,
        lambda a, y, c: (c * (a[0] - a[1]) / 6, -c * a[0] / 6),
        TARGETS,
        "other",
        "wrong_point",
    ),
    case(
        "cross entropy, ignoring the cotangent",
        "loss",
        cross_entropy,
        lambda a, y, c: ((softmax(a[0]) - a[1]) / 6, -c * a[0] / 6),
        TARGETS,
        "not_linear",
    ),
    case(
        "squared error",
        "loss",
        lambda y, t: 0.5 * jnp.sum((y - t) ** 2),
        lambda a, o, c: (c * (a[0] - a[1]), c * (a[1] - a[0])),
        normal((5,), (5,)),
    ),
    case(
        "squared error, same sign twice",
        "loss",
        lambda y, t: 0.5 * jnp.sum((y - t) ** 2),
        lambda a, o, c: (c * (a[0] - a[1]), c * (a[0] - a[1])),
        normal((5,), (5,)),
        "sign",
        "swapped",
    ),
    case(
        "squared error, two for a half",
        "loss",
        lambda y, t: 0.5 * jnp.sum((y - t) ** 2),
        lambda a, o, c: (2 * c * (a[0] - a[1]), 2 * c * (a[1] - a[0])),
        normal((5,), (5,)),
        "factor",
    ),
    case(
        "huber",
        "loss",
        lambda r: jnp.sum(jnp.where(abs(r) < 1, 0.5 * r * r, abs(r) - 0.5)),
        lambda a, o, c: (c * jnp.clip(a[0], -1, 1),),
        normal((9,), scale=2.0),
    ),
    case(
        "huber without its clip",
        "loss",
        lambda r: jnp.sum(jnp.where(abs(r) < 1, 0.5 * r * r, abs(r) - 0.5)),
        lambda a, o, c: (c * a[0],),
        normal((9,), scale=2.0),
        "missing_term",
    ),
    case(
        "kl divergence, no one",
        "loss",
        lambda p: jnp.sum(p * jnp.log(p)),
        lambda a, o, c: (c * jnp.log(a[0]),),
        positive((5,)),
        "missing_term",
    ),
]


def conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME")


def conv_x(flip, swap=True):
    """The part of x: correlate the cotangent with the flipped, channel-swapped kernel."""

    def bwd(a, y, c):
        w = a[1][:, :, ::-1, ::-1] if flip else a[1]
        dx = conv(c, jnp.swapaxes(w, 0, 1) if swap else w)
        dw = jax.linear_transpose(lambda w: conv(a[0], w), a[1])(c)[0]
        return dx, dw

    return bwd


IMAGES = normal((2, 2, 4, 4), (2, 2, 3, 3))

CONVOLUTION = [
    case("convolution", "convolution", conv, conv_x(True), IMAGES),
    case(
        "convolution, kernel not flipped", "convolution", conv, conv_x(False), IMAGES, "misplaced",
        "transposed",
    ),
    case(
        "convolution, channels not swapped",
        "convolution",
        conv,
        conv_x(True, False),
        IMAGES,
        "other",
        "transposed",
    ),
    case(
        "average pool without 1/N",
        "convolution",
        lambda x: x.reshape(2, 2, 2, 2).mean((1, 3)),
        lambda a, y, c: (jnp.repeat(jnp.repeat(c, 2, 0), 2, 1),),
        normal((4, 4)),
        "factor",
    ),
]


def scanned(cell, length=5):
    """The cell as the body of a scan over ``length`` inputs."""

    def f(h, xs):
        return jax.lax.scan(lambda h, x: (cell(h, x), h), h, xs)[0]

    return f


def cell_back(keep=True, own=True):
    def bwd(a, y, c):
        d = c * (1 - y * y)
        return 0.5 * d if keep else d, d if own else 0 * d

    return bwd


def cell(h, x):
    return jnp.tanh(0.5 * h + x)


SEQUENCE = normal((3,), (5, 3))
loop = [
    ("right", cell_back(), "right", ()),
    ("recurrent weight left out", cell_back(keep=False), "wrong", ("factor",)),
    ("input's part zero", cell_back(own=False), "wrong", ("zero",)),
    (
        "output form at input",
        lambda a, y, c: (0.5 * c * (1 - a[0] ** 2), c * (1 - y * y)),
        "wrong",
        ("wrong_point", "other"),
    ),
    (
        "sign on the last step",
        lambda a, y, c: (jnp.where(abs(a[0]) > 10, -c, 0.5 * c * (1 - y * y)), -c * (1 - y * y)),
        "wrong",
        ("sign",),
    ),
]
WRAPS = {
    "scan": (scanned, SEQUENCE),
    "jit of scan": (lambda f: jax.jit(scanned(f)), SEQUENCE),
    "remat": (lambda f: jax.checkpoint(lambda h, x: jnp.sin(f(h, x[0]))), SEQUENCE),
    "vmap": (lambda f: jax.vmap(f, in_axes=(None, 0)), SEQUENCE),
    "cond": (lambda f: lambda h, x: jax.lax.cond(h.sum() > -1e9, lambda: f(h, x[0]), lambda: h), SEQUENCE),
    "fori": (lambda f: lambda h, x: jax.lax.fori_loop(0, 4, lambda i, h: f(h, x[i]), h), SEQUENCE),
}
LOOPS = [
    Case(f"{wrap}: cell {name}", "loops", around(rule(cell, bwd)), args, verdict, causes)
    for name, bwd, verdict, causes in loop for wrap, (around, args) in WRAPS.items()
]  # fmt: skip


def mlp(activation):
    def f(W1, W2, x):
        return W2 @ activation(W1 @ x)

    return f


MODELS = [
    Case(
        "mlp with a right activation",
        "models",
        mlp(rule(jnp.tanh, lambda a, y, c: (c * (1 - y * y),))),
        normal((4, 3), (2, 4), (3,)),
        "right",
    ),
    Case(
        "mlp with a wrong activation",
        "models",
        mlp(rule(jnp.tanh, lambda a, y, c: (c * (1 - y),))),
        normal((4, 3), (2, 4), (3,)),
        "wrong",
        ("other", "missing_term"),
    ),
    Case(
        "wrong inside right",
        "models",
        rule(
            lambda x: rule(jnp.sin, lambda a, y, c: (-c,))(x) ** 2,
            lambda a, y, c: (2 * c * jnp.sin(a[0]) * jnp.cos(a[0]),),
        ),
        normal((3,)),
        "right",
    ),
    Case(
        "right inside wrong",
        "models",
        rule(
            lambda x: rule(jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]),))(x) ** 2,
            lambda a, y, c: (c * jnp.sin(a[0]) * jnp.cos(a[0]),),
        ),
        normal((3,)),
        "wrong",
        ("factor",),
    ),
    Case(
        "two errors that cancel",
        "models",
        lambda x: rule(jnp.sin, lambda a, y, c: (2 * c * jnp.cos(a[0]),))(
            rule(jnp.tanh, lambda a, y, c: (0.5 * c * (1 - y * y),))(x)
        ),
        normal((3,)),
        "wrong",
        ("factor",),
    ),
]

CASES = NORMALISATION + ATTENTION + LOSSES + CONVOLUTION + LOOPS + MODELS
