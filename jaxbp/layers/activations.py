"""Activations f = phi(a): elementwise ones with their slope, softmax and identity.

| activation   | f                           | range          | slope f'(a)                      | saved  |
|--------------|-----------------------------|----------------|----------------------------------|--------|
| identity     | a                           | R              | 1                                | -      |
| sigmoid      | 1 / (1 + e^-a)              | (0, 1)         | f (1 - f)                        | f      |
| tanh         | tanh a                      | (-1, 1)        | 1 - f^2                          | f      |
| relu         | max(a, 0)                   | [0, inf)       | 1 if a > 0 else 0, or of f       | either |
| leaky_relu   | a if a >= 0 else 0.01 a     | R              | 1 if a >= 0 else 0.01            | a >= 0 |
| softplus     | log(1 + e^a)                | (0, inf)       | 1 - e^-f = sigmoid(a)            | f      |
| gelu         | a (1 + tanh u) / 2          | [-0.17, inf)   | see `gelu`                       | a      |
| gelu_exact   | a Phi(a)                    | [-0.17, inf)   | Phi(a) + a Phi'(a)               | slope  |
| silu         | a sigmoid(a)                | [-0.28, inf)   | s (1 + a (1 - s)), s = sigmoid   | a      |
| softmax      | e^a_i / sum_j e^a_j         | simplex        | J = diag(f) - f f^T              | f      |

At their kinks relu'(0) = 0 and leaky_relu'(0) = 1, as in `jax.nn`.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxbp import arguments, errors, recipes
from jaxbp.layers.elementwise import elementwise
from jaxbp.layers.layer import Layer, delta_of, rows
from jaxbp.operators import DiagonalPlusLowRank, Identity, Operator
from jaxbp.typing import Array, Params, Random, Rows, Saved, Tensor

# What the slopes share with the activation is written in the same way, for the compiler to compute it once.
# The approximation of jax.nn.gelu, with a (c + d a^2) for c (a + k a^3): one operation less; and with
# 1 / (1 + e^-2u) for (1 + tanh u) / 2, which loses its digits where u is below 0.
GELU_C = math.sqrt(2 / math.pi)
GELU_D = GELU_C * 0.044715


def _gelu(a: Array) -> Array:
    return a * _gelu_share(a)


def _gelu_share(a: Array) -> Array:
    return jax.nn.sigmoid(a * (2 * GELU_C + 2 * GELU_D * a**2))


def _gelu_slope(a: Array) -> Array:
    s = _gelu_share(a)
    return s + a * s * (1 - s) * (2 * GELU_C + 6 * GELU_D * a**2)


def _gelu_exact_slope(a: Array) -> Array:
    # erf, for the activation's erfc is of sixty operations: XLA would share half of them through memory.
    Phi = (1 + lax.erf(a * math.sqrt(0.5))) / 2
    return Phi + a * jnp.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)


def _silu_slope(a: Array) -> Array:
    s = jax.nn.sigmoid(a)
    return s + a * s * (1 - s)


sigmoid = elementwise(
    "sigmoid",
    jax.nn.sigmoid,
    lambda f: f * (1 - f),
    saves="output",
    formula="f = 1 / (1 + exp(-a)); slope = f * (1 - f)",
    doc="""f = 1 / (1 + e^-a), entry by entry, in (0, 1).

    Its slope is f'(a) = f (1 - f), from the saved f, and at most 1/4, at a = 0: deltas shrink with each of
    them on their way back, and vanish where |a| is large.

    Example:
        >>> jaxbp.sigmoid.apply({}, jnp.array([0.0, 100.0]))
        Array([0.5, 1. ], dtype=float32)
    """,
)
# (1 - f)(1 + f) rather than 1 - f^2: near saturation 1 - f is exact and 1 - f^2 has lost its digits.
tanh = elementwise(
    "tanh",
    jnp.tanh,
    lambda f: (1 - f) * (1 + f),
    saves="output",
    formula="f = tanh(a); slope = (1 - f) * (1 + f)",
    doc="""f = tanh a, entry by entry, in (-1, 1).

    Its slope is f'(a) = 1 - f^2, from the saved f, and at most 1, at a = 0.
    """,
)
relu = elementwise(
    "relu",
    jax.nn.relu,
    lambda a_or_f: a_or_f > 0,
    saves="either",
    formula="f = max(a, 0); slope = 1 if a > 0 else 0",
    doc="""f = max(a, 0), entry by entry, in [0, inf).

    Its slope is 1 where a > 0, else 0; at the kink a = 0 it is 0, as in `jax.nn.relu`. It is computed from
    the saved a or f, whichever costs less. A unit whose a is below 0 for every example passes no delta.

    Example:
        >>> jaxbp.relu.apply({}, jnp.array([-1.0, 2.0]))
        Array([0., 2.], dtype=float32)
    """,
)
softplus = elementwise(
    "softplus",
    jax.nn.softplus,
    lambda f: -jnp.expm1(-f),
    saves="output",
    formula="f = max(a, 0) + log(1 + exp(-abs(a))); slope = 1 / (1 + exp(-a))",
    doc="""f = log(1 + e^a), entry by entry, in (0, inf): a smooth relu.

    Its slope is the sigmoid of a, computed as 1 - e^-f from the saved f.
    """,
)
gelu = elementwise(
    "gelu",
    _gelu,
    _gelu_slope,
    saves="input",
    formula=f"u = {GELU_C} * (a + 0.044715 * a**3); s = 1 / (1 + exp(-2 * u)); f = a * s; "
    f"slope = s + a * s * (1 - s) * {2 * GELU_C} * (1 + 0.134145 * a**2)",
    doc="""f = a (1 + tanh u) / 2 with u = sqrt(2 / pi) (a + 0.044715 a^3), entry by entry, in [-0.17, inf).

    The approximation of a Phi(a) that `jax.nn.gelu` has by default; `gelu_exact` is a Phi(a) itself. Its
    slope is computed from the saved a.

    Source: Hendrycks and Gimpel 2016.
    """,
)
gelu_exact = elementwise(
    "gelu_exact",
    lambda a: jax.nn.gelu(a, approximate=False),
    lambda phi_prime: phi_prime,
    saves=_gelu_exact_slope,
    formula=f"s = Phi(a); f = a * s; slope = s + a * exp(-(a**2) / 2) / {math.sqrt(2 * math.pi)}",
    doc="""f = a Phi(a), entry by entry, in [-0.17, inf); Phi is the distribution function of N(0, 1).

    Its slope Phi(a) + a Phi'(a) is computed forward, and is what is saved. `gelu` is an approximation of it.

    Source: Hendrycks and Gimpel 2016.
    """,
)
silu = elementwise(
    "silu",
    jax.nn.silu,
    _silu_slope,
    saves="input",
    formula="s = 1 / (1 + exp(-a)); f = a * s; slope = s + a * s * (1 - s)",
    doc="""f = a sigmoid(a), entry by entry, in [-0.28, inf); also called swish.

    Its slope is s (1 + a (1 - s)) with s = sigmoid(a), computed from the saved a.
    """,
)


@recipes.own("leaky_relu")
def make_leaky_relu(negative_slope: float) -> Layer:
    """f = a where a >= 0, else ``negative_slope`` a; the slope at 0 is 1, as in `jax.nn.leaky_relu`.

    Example:
        >>> make_leaky_relu(0.2).apply({}, jnp.array([-1.0, 1.0]))
        Array([-0.2,  1. ], dtype=float32)

    Source: Maas et al. 2013.
    """
    negative_slope = arguments.number("make_leaky_relu", "negative_slope", negative_slope)
    return elementwise(
        f"leaky_relu({negative_slope})",
        lambda a: jax.nn.leaky_relu(a, negative_slope),
        lambda up: jnp.where(up, 1.0, negative_slope),
        saves=lambda a: a >= 0,
        formula=f"f = a if a >= 0 else {negative_slope} * a; slope = 1 if a >= 0 else {negative_slope}",
        doc=f"""f = a where a >= 0, else {negative_slope} a, entry by entry.

        Its slope is 1 where a >= 0, at the kink 0 too, as in `jax.nn.leaky_relu`; elsewhere {negative_slope}.
        What is saved is where a >= 0. `make_leaky_relu` makes it with another slope.
        """,
    )


leaky_relu = make_leaky_relu(0.01)


def _identity_apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
    return rows("identity", f)


def _identity_backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
    return {}, arguments.array("identity", "delta_out", delta_out, floats=True)


def _identity_jacobian(params: Params, f: Tensor) -> Operator:
    return Identity(rows("identity", f).size)


identity = Layer(
    "identity",
    apply=_identity_apply,
    forward=lambda params, f, *, key=None: (_identity_apply(params, f), ()),
    backward=_identity_backward,
    jacobian=_identity_jacobian,
    means="I",
    doc="""f = a: nothing is computed, and the delta passes as it is. The output layer of a net on logits.""",
)


def _softmax_apply(params: Params, f: Rows, *, key: Random | None = None) -> Rows:
    f = arguments.array("softmax", "f", f, floats=True)
    if f.ndim == 0:
        raise ValueError(errors.message("softmax", "f of shape (*n, C)", "shape ()"))
    return jax.nn.softmax(f, axis=-1)


def _softmax_forward(params: Params, f: Rows, *, key: Random | None = None) -> tuple[Rows, Saved]:
    mu = _softmax_apply(params, f)
    return mu, mu


def _softmax_backward(params: Params, saved: Saved, delta_mu: Rows) -> tuple[Params, Rows]:
    # delta_mu (diag(mu) - mu mu^T), without the matrix.
    mu = saved
    delta_mu = delta_of("softmax", delta_mu, mu.shape)
    return {}, mu * (delta_mu - (delta_mu * mu).sum(-1, keepdims=True))


def _softmax_jacobian(params: Params, f: Rows) -> Operator:
    # diag(mu) - mu mu^T; for rows of one example a block for each, (-mu as columns of their row) mu^T.
    mu = _softmax_apply(params, f)
    mu = mu.reshape(-1, mu.shape[-1])
    columns = jnp.einsum("tc,ts->tcs", mu, jnp.eye(len(mu), dtype=mu.dtype)).reshape(mu.size, len(mu))
    return DiagonalPlusLowRank(mu.reshape(-1), -columns, columns)


softmax = Layer(
    "softmax",
    apply=_softmax_apply,
    forward=_softmax_forward,
    backward=_softmax_backward,
    jacobian=_softmax_jacobian,
    function=jax.nn.softmax,
    means="diag(mu) - mu mu^T",
    doc="""mu_i = e^f_i / sum_j e^f_j over the last axis: numbers in (0, 1) that add to 1.

    Its Jacobian is diag(mu) - mu mu^T, from the saved mu. In training leave it out and give the logits f to
    `softmax_cross_entropy`, which has it inside and keeps its digits.

    Example:
        >>> jaxbp.softmax.apply({}, jnp.array([0.0, 0.0]))
        Array([0.5, 0.5], dtype=float32)
    """,
)

recipes.own("sigmoid", sigmoid)
recipes.own("tanh", tanh)
recipes.own("relu", relu)
recipes.own("softplus", softplus)
recipes.own("gelu", gelu)
recipes.own("gelu_exact", gelu_exact)
recipes.own("silu", silu)
recipes.own("identity", identity)
recipes.own("softmax", softmax)
