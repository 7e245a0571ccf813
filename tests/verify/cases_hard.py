"""Right rules that provoke false alarms, and the wrong ones that hide among them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .case import Case, fixed, jvp_rule, normal, positive, rule
from .cases_arrays import case, logsumexp, softmax
from .cases_elementwise import sigmoid, softplus


def hilbert(n):
    i = np.arange(n)
    return 1 / (i[:, None] + i[None] + 1.0)


def solve_back(a, y, c):
    t = jnp.linalg.solve(a[0].T, c)
    return -jnp.outer(t, y), t


def typed(dtype, *shapes):
    """Arguments in one dtype whatever the run's."""
    return lambda _: tuple(jnp.asarray(x, dtype) for x in normal(*shapes)(np.float32))


def decades(dtype):
    x = 10.0 ** np.linspace(-19, 19, 41)
    return (np.concatenate([-x, x]).astype(dtype),)


DECADES = [
    case(
        "square over forty decades",
        "decades",
        lambda x: x * x,
        lambda a, y, c: (2 * c * a[0],),
        lambda d: decades(d),
    ),
    case(
        "asinh over forty decades",
        "decades",
        jnp.arcsinh,
        lambda a, y, c: (c / jnp.hypot(1.0, a[0]),),
        decades,
    ),
    case(
        "softsign over forty decades",
        "decades",
        lambda x: x / (1 + abs(x)),
        lambda a, y, c: (c / (1 + abs(a[0])) ** 2,),
        decades,
    ),
    case(
        "square, wrong only where tiny",
        "decades",
        lambda x: x * x,
        lambda a, y, c: (jnp.where(abs(a[0]) < 1e-12, 0, 2 * c * a[0]),),
        decades,
        "zero",
    ),
    case(
        "sigmoid far out",
        "decades",
        sigmoid,
        lambda a, y, c: (c * y * (1 - y),),
        fixed([-80.0, -30.0, 0.0, 30.0, 80.0]),
    ),
    case(
        "softplus far out",
        "decades",
        softplus,
        lambda a, y, c: (c * jax.nn.sigmoid(a[0]),),
        fixed([-800.0, -30.0, 0.0, 30.0, 800.0]),
    ),
]

ILL_CONDITIONED = [
    case(
        "solve with a Hilbert matrix",
        "ill-conditioned",
        lambda A, b: jnp.linalg.solve(A, b),
        solve_back,
        fixed(hilbert(5), np.ones(5)),
    ),
    case(
        "inverse of a Hilbert matrix",
        "ill-conditioned",
        lambda A: jnp.linalg.inv(A),
        lambda a, y, c: (-y.T @ c @ y.T,),
        fixed(hilbert(4)),
    ),
    case(
        "solve with a Hilbert matrix, wrong sign",
        "ill-conditioned",
        lambda A, b: jnp.linalg.solve(A, b),
        lambda a, y, c: tuple(-t for t in solve_back(a, y, c)),
        fixed(hilbert(4), np.ones(4)),
        "sign",
    ),
    case(
        "logdet of a near-singular matrix",
        "ill-conditioned",
        lambda A: jnp.linalg.slogdet(A)[1],
        lambda a, y, c: (c * jnp.linalg.inv(a[0]).T,),
        fixed(hilbert(4) + 1e-6 * np.eye(4)),
    ),
    case(
        "variance of a shifted sample",
        "ill-conditioned",
        lambda x: jnp.mean((x - x.mean()) ** 2),
        lambda a, y, c: (2 * c * (a[0] - a[0].mean()) / 8,),
        normal((8,), shift=1e4),
    ),
]

MASKED = [
    case(
        "logsumexp with -inf",
        "masked",
        logsumexp,
        lambda a, y, c: (c[:, None] * jnp.exp(a[0] - y[:, None]),),
        fixed(np.array([[0.0, -np.inf, 1.0], [2.0, 0.5, -np.inf]])),
    ),
    case(
        "softmax with -inf",
        "masked",
        softmax,
        lambda a, y, c: (y * (c - jnp.sum(c * y, -1, keepdims=True)),),
        fixed(np.array([[0.0, -np.inf, 1.0], [2.0, 0.5, -np.inf]])),
    ),
    Case(
        "library softmax with -inf", "masked", jax.nn.softmax, fixed(np.array([[0.0, -np.inf, 1.0]])), "right"
    ),
    case(
        "xlogy at zero",
        "masked",
        lambda x: jnp.where(x > 0, x * jnp.log(jnp.where(x > 0, x, 1)), 0),
        lambda a, y, c: (jnp.where(a[0] > 0, c * (jnp.log(jnp.where(a[0] > 0, a[0], 1)) + 1), 0),),
        fixed([0.5, 1.0, 2.0]),
    ),
    case(
        "softmax with -inf, wrong",
        "masked",
        softmax,
        lambda a, y, c: (c * y,),
        fixed(np.array([[0.0, -np.inf, 1.0], [2.0, 0.5, -np.inf]])),
        "missing_term",
    ),
]

NAN_BODY = [
    case(
        "x sqrt x at zero",
        "nan body",
        lambda x: x * jnp.sqrt(x),
        lambda a, y, c: (1.5 * c * jnp.sqrt(a[0]),),
        fixed([0.0, 0.5, 1.0]),
    ),
    case(
        "sinc at zero",
        "nan body",
        lambda x: jnp.where(x == 0, 1.0, jnp.sin(x) / x),
        lambda a, y, c: (c * jnp.where(a[0] == 0, 0.0, (jnp.cos(a[0]) - y) / jnp.where(a[0] == 0, 1, a[0])),),
        fixed([-1.0, 0.0, 2.0]),
    ),
    case(
        "sinc at zero, wrong there",
        "nan body",
        lambda x: jnp.where(x == 0, 1.0, jnp.sin(x) / x),
        lambda a, y, c: (c * jnp.where(a[0] == 0, 3.0, (jnp.cos(a[0]) - y) / jnp.where(a[0] == 0, 1, a[0])),),
        fixed([-1.0, 0.0, 2.0]),
        "other",
        "kink",
    ),
    case(
        "norm of a zero row",
        "nan body",
        lambda x: jnp.sum(jnp.sqrt(jnp.sum(x * x, -1)) ** 3),
        lambda a, y, c: (3 * c * a[0] * jnp.sqrt(jnp.sum(a[0] ** 2, -1, keepdims=True)),),
        fixed(np.array([[0.0, 0.0], [1.0, 2.0]])),
    ),
    Case(
        "norm at zero",
        "nan body",
        rule(lambda x: jnp.sqrt(jnp.sum(x * x)), lambda a, y, c: (c * a[0] / jnp.where(y == 0, 1, y),)),
        fixed([0.0, 0.0]),
        "kink",
    ),
]

LOW_PRECISION = [
    Case(f"{name} in {np.dtype(dtype).name}", "low precision", rule(f, bwd), typed(dtype, *shapes), verdict,
         causes)
    for dtype in (jnp.bfloat16, jnp.float16)
    for name, f, bwd, shapes, verdict, causes in [
        ("tanh", jnp.tanh, lambda a, y, c: (c * (1 - y * y),), ((9,),), "right", ()),
        ("matvec", lambda W, x: W @ x, lambda a, y, c: (jnp.outer(c, a[1]), a[0].T @ c), ((8, 16), (16,)),
            "right", ()),
        ("softmax", softmax, lambda a, y, c: (y * (c - jnp.sum(c * y, -1, keepdims=True)),), ((3, 8),),
            "right", ()),
        ("tanh with float32 cotangent", jnp.tanh, lambda a, y, c: ((c * (1 - y * y)).astype(jnp.float32),),
            ((9,),),
         "wrong", ("dtype",)),
        ("tanh doubled", jnp.tanh, lambda a, y, c: (2 * c * (1 - y * y),), ((9,),), "wrong", ("factor",)),
    ]
]  # fmt: skip


def top(x):
    return jnp.max(x), jnp.argmax(x)


def index_cotangent(a, y, c):
    return (jnp.zeros_like(a[0]).at[y[1]].set(c[0]),)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def power(n, x):
    return x**n


power.defvjp(lambda n, x: (x**n, x), lambda n, x, c: (n * c * x ** (n - 1),))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def bad_power(n, x):
    return x**n


bad_power.defvjp(lambda n, x: (x**n, x), lambda n, x, c: (c * x ** (n - 1),))


@jax.custom_gradient
def exp_by_gradient(x):
    y = jnp.exp(x)
    return y, lambda c: c * y


@jax.custom_gradient
def bad_by_gradient(x):
    return jnp.exp(x), lambda c: c * x


@jax.custom_vjp
def lazy(x, y):
    return x * y


def lazy_fwd(x, y):
    return x.value * y.value, (x.value, y.value, x.perturbed, y.perturbed)


lazy.defvjp(
    lazy_fwd, lambda r, c: (c * r[1] if r[2] else None, c * r[0] if r[3] else None), symbolic_zeros=True
)


def closes_over(sign):
    def f(x, s):
        scale = jnp.exp(s)
        inner = jax.custom_vjp(lambda z: jnp.sin(z) * scale)
        inner.defvjp(lambda z: (jnp.sin(z) * scale, z), lambda z, c: (sign * c * jnp.cos(z) * scale,))
        return inner(x)

    return f


def host_sin(x):
    return jax.pure_callback(
        lambda v: np.sin(v), jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims"
    )


def newton_sqrt(x):
    def step(state):
        root, k = state
        return 0.5 * (root + x / root), k + 1

    return jax.lax.while_loop(lambda state: state[1] < 30, step, (x + 1, 0))[0]


def untaken(x):
    bad = rule(jnp.sin, lambda a, y, c: (-c,))
    return jax.lax.cond(x[0] > 1e9, bad, jnp.cos, x)


STRUCTURE = [
    case("max and its index", "structure", top, index_cotangent, normal((6,))),
    case("empty array", "structure", jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]),), normal((0, 3))),
    case("0-d array", "structure", jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]),), normal(())),
    case("0-d array, wrong", "structure", jnp.sin, lambda a, y, c: (c * jnp.sin(a[0]),), normal(()),
         "factor", "other"),
    Case("python float", "structure", rule(jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]),)), lambda d: (0.5,),
         "right"),
    Case("nondiff argument", "structure", lambda x: power(3, x), normal((4,)), "right"),
    Case("nondiff argument, factor left out", "structure", lambda x: bad_power(3, x), normal((4,)), "wrong",
         ("factor",)),
    Case("custom_gradient", "structure", exp_by_gradient, normal((4,)), "right"),
    Case("custom_gradient, wrong", "structure", bad_by_gradient, normal((4,)), "wrong", ("wrong_point",)),
    Case("symbolic zeros", "structure", lazy, normal((4,), (4,)), "right"),
    Case("closure over a traced value", "structure", closes_over(1), normal((4,), (4,)), "right"),
    Case("closure over a traced value, wrong", "structure", closes_over(-1), normal((4,), (4,)), "wrong",
         ("sign",)),
    case("host callback", "structure", host_sin, lambda a, y, c: (c * jnp.cos(a[0]),), normal((4,))),
    case("host callback, wrong", "structure", host_sin, lambda a, y, c: (c * jnp.sin(a[0]),), normal((4,)),
         "slope",
         "wrong_point"),
    case("while loop without reverse mode", "structure", newton_sqrt, lambda a, y, c: (c / (2 * y),),
         positive((4,))),
    case("while loop, wrong rule", "structure", newton_sqrt, lambda a, y, c: (c / y,), positive((4,)),
         "factor"),
    Case("branch not taken", "structure", untaken, normal((3,)), "unreached"),
    Case("a tree of arguments", "structure",
         rule(lambda p: p["a"] * p["b"][0], lambda a, y, c: ({"a": c * a[0]["b"][0], "b": [c * a[0]["a"]]},)),
         lambda d: ({"a": np.arange(3).astype(d), "b": [np.ones(3, d)]},), "right"),
    Case("a tree of arguments, leaves swapped", "structure",
         rule(lambda p: p["a"] * p["b"][0], lambda a, y, c: ({"a": c * a[0]["a"], "b": [c * a[0]["b"][0]]},)),
         lambda d: ({"a": np.arange(3).astype(d), "b": [2 * np.ones(3, d)]},), "wrong", ("swapped",)),
    Case("raises on purpose", "structure", rule(jnp.sin, lambda a, y, c: no_gradient()), normal((3,)),
         "inconclusive"),
    Case("stop_gradient in bwd", "structure",
         rule(jnp.sin, lambda a, y, c: (c * jax.lax.stop_gradient(jnp.cos(a[0])),)), normal((3,)), "wrong",
         ("second_order",), order=2),
    Case("right to second order", "structure", rule(jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]),)),
         normal((3,)),
         "right", order=2),
    Case("random bwd", "structure", rule(jnp.sin, lambda a, y, c: (c * np.random.default_rng().normal(),)),
         normal((3,)), "wrong", ("nondeterministic",)),
    Case("library functions", "structure",
         lambda x: jax.nn.relu(x).sum() + jax.nn.silu(x).sum() + jax.nn.logsumexp(x) + jax.nn.relu6(x).sum(),
         normal((8,)), "right"),
    Case("custom jvp of two outputs", "structure",
         jvp_rule(lambda x: (jnp.sin(x), jnp.cos(x)), lambda p, t: (jnp.cos(p[0]) * t[0],
         -jnp.sin(p[0]) * t[0])),
         normal((4,)), "right"),
    Case("custom jvp of two outputs, one wrong", "structure",
         jvp_rule(lambda x: (jnp.sin(x), jnp.cos(x)), lambda p, t: (jnp.cos(p[0]) * t[0],
         jnp.sin(p[0]) * t[0])),
         normal((4,)), "wrong", ("sign", "missing_term", "other")),
]  # fmt: skip


def no_gradient():
    raise NotImplementedError("this operation has no gradient")


CASES = DECADES + ILL_CONDITIONED + MASKED + NAN_BODY + LOW_PRECISION + STRUCTURE
