"""What a rule must keep besides its values, and right rules that rounding or early stops set apart."""

import jax
import jax.numpy as jnp
import numpy as np

from .case import Case, fixed, normal, positive, rule
from .cases_arrays import case
from .cases_hard import typed

ROOT_2PI = np.sqrt(2 * np.pi)


def gelu(x):
    return 0.5 * x * jax.lax.erfc(-x / np.sqrt(2).astype(x.dtype))


def gelu_back(scale):
    """The same slope by ``1 + erf``, which loses every digit far to the left."""

    def bwd(a, y, c):
        x = a[0]
        cdf = 0.5 * (1 + jax.lax.erf(x / np.sqrt(2).astype(x.dtype)))
        return (scale * c * (cdf + x * jnp.exp(-x * x / 2) / ROOT_2PI.astype(x.dtype)),)

    return bwd


def gelu_in_single(a, y, c):
    """Computed in float32 whatever the input: at -13 its terms are below the smallest float32."""
    x = a[0].astype(jnp.float32)
    slope = jax.scipy.stats.norm.cdf(x) + x * jax.scipy.stats.norm.pdf(x)
    return ((c * slope).astype(a[0].dtype),)


def settled(rate, tolerance):
    """The limit of ``z = rate cos z + x``, left as soon as a step changes it by less than the tolerance."""

    def primal(x):
        def step(s):
            return s[1], rate * jnp.cos(s[1]) + x

        def moving(s):
            return jnp.max(jnp.abs(s[1] - s[0])) > tolerance

        return jax.lax.while_loop(moving, step, (x, rate * jnp.cos(x) + x))[1]

    return primal


def implicit(rate, feedback=1.0):
    return lambda a, z, c: (c / (1 + feedback * rate * jnp.sin(z)),)


def iterated(rate, tolerance):
    """The same, solved by steps that stop at a tolerance of the cotangent's own scale."""

    def bwd(a, z, c):
        slope = -rate * jnp.sin(z)

        def moving(s):
            return jnp.max(jnp.abs(s[1] - s[0])) > tolerance

        return (jax.lax.while_loop(moving, lambda s: (s[1], c + slope * s[1]), (0 * c, c))[1],)

    return bwd


def counted(x):
    """A loop of a number of steps known only at run time: running on would change its value."""
    steps = jnp.where(x[0] > -1e9, 3, 4)
    return jax.lax.while_loop(lambda s: s[1] < steps, lambda s: (jnp.sin(s[0]), s[1] + 1), (x, 0))[0]


def counted_back(scale):
    def bwd(a, y, c):
        x = a[0]
        return (scale * c * jnp.cos(x) * jnp.cos(jnp.sin(x)) * jnp.cos(jnp.sin(jnp.sin(x))),)

    return bwd


def coarse(dtype):
    """The backward pass of the sine in another dtype."""
    return lambda a, y, c: ((c.astype(dtype) * jnp.cos(a[0].astype(dtype))).astype(c.dtype),)


def sine_in_half(x):
    return jnp.sin(x.astype(jnp.bfloat16)).astype(x.dtype)


def weakly(fwd_dtype):
    """A sum whose forward rule, not the primal, may forget its dtype."""
    f = jax.custom_vjp(lambda x: jnp.sum(x) * 0 + 6)

    def fwd(x):
        six = jnp.sum(x) * 0 + 6
        return (jnp.asarray(6.0) if fwd_dtype is None else six), x

    f.defvjp(fwd, lambda x, c: (jnp.zeros_like(x),))
    return f


def traced_only(a, y, c):
    """Another result where it runs on numbers than where it is traced."""
    return ((1 if isinstance(c, jax.core.Tracer) else 2) * c * jnp.cos(a[0]),)


@jax.custom_vjp
def refusing(x, w):
    return x * w


def refusing_fwd(x, w):
    if w.perturbed:
        raise RuntimeError("w is data")
    return x.value * w.value, w.value


refusing.defvjp(refusing_fwd, lambda w, c: (c * w, None), symbolic_zeros=True)


@jax.custom_vjp
def refusing_wrong(x, w):
    return x * w


refusing_wrong.defvjp(refusing_fwd, lambda w, c: (-c * w, None), symbolic_zeros=True)


def squared(scale):
    return rule(lambda x: x * x, lambda a, y, c: (scale * 2 * c * a[0],))


def in_a_model(scale):
    """A rule between operations of JAX's own."""
    act = rule(jnp.tanh, lambda a, y, c: (scale * c * (1 - y * y),))
    return lambda params, x: jnp.sum(act(x @ params["layer"]["W"] + params["layer"]["b"][None]) ** 2)


def mixed_model(x):
    """A kink, a declared rule and a plain one: f as a whole keeps the first two."""
    act = rule(jnp.tanh, lambda a, y, c: (c * (1 - y * y),))
    step = rule(lambda x: jnp.round(x), lambda a, y, c: (c,))
    return jnp.sum(act(step(jax.nn.relu(x))))


def model_args(dtype):
    W, b, x = normal((3, 4), (4,), (5, 3))(dtype)
    return {"layer": {"W": W, "b": b}}, x


FAR = fixed([-12.5, -3.0, 0.5, 12.0])

CASES = [
    case("gelu by 1 + erf far out", "rounding", gelu, gelu_back(1), FAR),
    # At -8 the digits that are lost count: y is as small as its slope, and autodiff keeps both.
    case("gelu by 1 + erf at -8, in float32", "rounding", gelu, gelu_back(1),
         lambda _: fixed([-8.0, 0.5])(np.float32), "lost_digits"),
    case("gelu by 1 + erf far out only", "rounding", gelu, gelu_back(1), fixed([-12.0, -9.5])),
    case("gelu by 1 + erf far out, one percent", "rounding", gelu, gelu_back(1.01), FAR, "factor"),
    Case("gelu in bfloat16 by float32", "rounding", rule(gelu, gelu_in_single),
         lambda _: (jnp.asarray([-13.0, -12.5, -12.0, 2.0, 12.0], jnp.bfloat16),), "right"),
    case("fixed point stopped at 1e-2", "loops", settled(0.9, 1e-2), implicit(0.9), positive((4,))),
    case("fixed point stopped at 1e-5", "loops", settled(0.9, 1e-5), implicit(0.9), positive((4,))),
    case("fixed point stopped at 1e-5, feedback half", "loops", settled(0.9, 1e-5), implicit(0.9, 0.5),
         positive((4,)), "other", "missing_term", "factor"),
    case("fixed point stopped at 1e-5, one percent", "loops", settled(0.9, 1e-5),
         lambda a, z, c: (1.01 * c / (1 + 0.9 * jnp.sin(z)),), positive((4,)), "factor"),
    case("both passes stopped at 1e-5", "loops", settled(0.9, 1e-5), iterated(0.9, 1e-5), positive((4,))),
    case("both passes stopped at 1e-5, sign", "loops", settled(0.9, 1e-5), iterated(-0.9, 1e-5),
         positive((4,)), "other", "missing_term", "sign"),
    case("loop that counts", "loops", counted, counted_back(1), normal((4,))),
    case("loop that counts, a thousandth", "loops", counted, counted_back(1.001), normal((4,)), "factor"),
    Case("float32 in, bfloat16 back", "precision", rule(jnp.sin, coarse(jnp.bfloat16)), normal((9,)), "wrong",
         ("dtype",)),
    Case("float32 in, float16 back", "precision", rule(jnp.sin, coarse(jnp.float16)), normal((9,)), "wrong",
         ("dtype",)),
    Case("bfloat16 both ways", "precision", rule(sine_in_half, coarse(jnp.bfloat16)), normal((9,)), "right"),
    Case("bfloat16 in, float32 back", "precision", rule(jnp.sin, coarse(jnp.float32)),
         typed(jnp.bfloat16, (9,)), "right"),
    case("a cotangent divided by itself", "linear", jnp.sin, lambda a, y, c: (c * c / c * jnp.cos(a[0]),),
         normal((3,)), "nan"),
    Case("weakly typed under grad", "types", weakly(None), normal((3,)), "wrong", ("dtype",)),
    Case("typed alike under grad", "types", weakly("its own"), normal((3,)), "right"),
    Case("another result without jit", "types", rule(jnp.sin, traced_only), normal((3,)), "wrong",
         ("nondeterministic",)),
    Case("refuses one input", "structure", refusing, normal((3,), (3,)), "right"),
    Case("refuses one input, sign", "structure", refusing_wrong, normal((3,), (3,)), "wrong", ("sign",)),
    Case("scaled by what was said", "declared", squared(0.5), normal((4,)), "declared",
         declare=("scaled", 0.5)),
    Case("scaled by another constant", "declared", squared(0.25), normal((4,)), "wrong", ("factor",),
         declare=("scaled", 0.5)),
    Case("reversed by what was said", "declared", squared(-0.3), normal((4,)), "declared",
         declare={"<lambda>": ("reversal", 0.3)}),
    Case("reversed by another constant", "declared", squared(-0.3), normal((4,)), "wrong", ("factor",),
         declare=("reversal", 1)),
    Case("a model as a whole", "whole", in_a_model(1), model_args, "right"),
    Case("a model as a whole, wrong", "whole", in_a_model(1.01), model_args, "wrong", ("factor",)),
    Case("a model with a kink and a declared rule", "whole", mixed_model, fixed([-1.0, 0.0, 0.7, 2.2]),
         "kink", declare={"<lambda>": "straight_through"}),
]  # fmt: skip
