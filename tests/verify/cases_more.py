"""Further kinds: random keys, batching rules, host callbacks, implicit functions, decompositions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from .case import Case, fixed, jvp_rule, normal, positive, rule
from .cases_arrays import case, complex_args
from .cases_hard import hilbert, typed

DRAWN = np.random.default_rng(0)
UPDATE = DRAWN.standard_normal((7, 2)) @ DRAWN.standard_normal((2, 7))
UPDATED = DRAWN.standard_normal((7, 7)) + 3 * np.eye(7) + UPDATE


def with_key(*shapes, legacy=False):
    key = jax.random.PRNGKey(3) if legacy else jax.random.key(3)
    return lambda dtype: (key, *normal(*shapes)(dtype))


def pull_cholesky(a, L, c):
    P = jnp.tril(L.T @ c)
    inverse = jnp.linalg.inv(L)
    S = inverse.T @ (P - jnp.diag(jnp.diag(P)) / 2) @ inverse
    return ((S + S.T) / 2,)


def dropout(key, x):
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)


def dropped(key, c):
    return jnp.where(jax.random.bernoulli(key, 0.5, c.shape), 2 * c, 0)


def batched(good):
    """A product whose batching rule is right or not."""

    @custom_vmap
    def double(x):
        return 2 * x

    @double.def_vmap
    def _(size, batched, x):
        return (2 if good else 3) * x, batched[0]

    return rule(lambda x: 2 * x, lambda a, y, c: (double(c),))


def host(fn, like, *args):
    return jax.pure_callback(
        fn, jax.ShapeDtypeStruct(like.shape, like.dtype), *args, vmap_method="expand_dims"
    )


def fixed_point(x):
    return jax.lax.fori_loop(0, 200, lambda i, z: jnp.cos(0.5 * z + x), jnp.zeros_like(x))


def until_settled(x):
    def settled(z):
        return jnp.max(jnp.abs(jnp.cos(0.5 * z + x) - z)) > 1e-6

    return jax.lax.while_loop(settled, lambda z: jnp.cos(0.5 * z + x), jnp.zeros_like(x))


def implicit(sign=1.0):
    def bwd(a, z, c):
        s = jnp.sin(0.5 * z + a[0])
        return (-c * s / (1 + sign * 0.5 * s),)

    return bwd


def eigenvalues(A):
    return jnp.linalg.eigvalsh((A + A.T) / 2)


def eigen_back(half=1.0):
    def bwd(a, y, c):
        v = jnp.linalg.eigh((a[0] + a[0].T) / 2)[1]
        return (half * (v * c[None]) @ v.T,)

    return bwd


def sorted_spread(n):
    return fixed(np.diag(np.arange(1.0, n + 1)) + 0.1 * np.ones((n, n)))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def applied(x, fn):
    return fn(x)


applied.defvjp(lambda x, fn: (fn(x), x), lambda fn, x, c: (c * jax.vmap(jax.grad(fn))(x),))


def slow_jvp(p, t):
    """A tangent from a while loop, which cannot be transposed."""
    return jax.lax.while_loop(
        lambda s: s[1] < 3, lambda s: (s[0] + t[0] / 3 * jnp.cos(p[0]), s[1] + 1), (0 * t[0], 0)
    )[0]


successor = jvp_rule(lambda i: i + 1, lambda p, t: t[0])


def mixed(x, i):
    return {"value": x * i, "count": i + 1, "flag": x > 0}


def f32_inside(x):
    return jnp.sin(x.astype(jnp.float32)).astype(x.dtype)


def topk(x):
    return jax.lax.top_k(x, 2)[0]


def topk_back(a, y, c):
    return (jnp.zeros_like(a[0]).at[jax.lax.top_k(a[0], 2)[1]].set(c),)


def wkv(scale):
    """A rule inside vmap, scan and remat at once."""
    inner = rule(lambda h, x: jnp.tanh(h + x), lambda a, y, c: (scale * c * (1 - y * y), c * (1 - y * y)))

    @jax.checkpoint
    def step(h, x):
        return inner(h, x), None

    return jax.vmap(lambda h, xs: jax.lax.scan(step, h, xs)[0])


RIGHT = [
    case("dropout with its mask", "random", dropout, lambda a, y, c: (None, dropped(a[0], c)),
         with_key((20,))),
    case("dropout with an old key", "random", dropout, lambda a, y, c: (None, dropped(a[0], c)),
         with_key((20,), legacy=True)),
    Case("batching rule", "vmap", batched(True), normal((4,)), "right"),
    case("callbacks both ways", "host", lambda x: host(np.sin, x, x), lambda a, y, c: (c * host(np.cos, c,
         a[0]),),
         normal((4,))),
    case("fixed point", "implicit", fixed_point, implicit(), normal((4,))),
    case("fixed point to a tolerance", "implicit", until_settled, implicit(), normal((4,))),
    case("symmetric eigenvalues", "linear algebra", eigenvalues, eigen_back(), sorted_spread(4)),
    case("cholesky of a Hilbert matrix, its trace", "ill-conditioned",
         lambda A: jnp.trace(A @ jnp.linalg.inv(A)),
         lambda a, y, c: (jnp.zeros_like(a[0]),), fixed(hilbert(3))),
    case("cosh minus sinh", "ill-conditioned", lambda x: jnp.cosh(x) - jnp.sinh(x),
         lambda a, y, c: (-c * jnp.exp(-a[0]),),
         fixed([0.1, 3.0, 8.0])),
    case("log1p of tiny numbers", "decades", jnp.log1p, lambda a, y, c: (c / (1 + a[0]),),
         fixed([1e-30, 1e-12, 1e-3, 1.0])),
    case("floor", "structure", jnp.floor, lambda a, y, c: (jnp.zeros_like(c),), normal((5,))),
    case("sign at zero", "structure", lambda x: jnp.sign(x), lambda a, y, c: (jnp.zeros_like(c),),
         fixed([-1.0, 0.0, 1.0])),
    case("stopped factor", "structure", lambda x: x * jax.lax.stop_gradient(x), lambda a, y, c: (c * a[0],),
         normal((5,))),
    case("mixed outputs", "structure", mixed, lambda a, y, c: (c["value"] * a[1], None),
         fixed(np.arange(3.0), np.array([1, 2, 3]))),
    case("float32 inside", "structure", f32_inside, lambda a, y, c: (c * jnp.cos(a[0]),), normal((5,))),
    case("top k", "structure", topk, topk_back, normal((6,))),
    Case("function as argument", "structure", lambda x: applied(x, jnp.sin), normal((4,)), "right"),
    Case("tangent from a while loop", "structure", jvp_rule(jnp.sin, slow_jvp), normal((4,)), "right"),
    Case("vmap of scan of remat", "loops", wkv(1.0), normal((2, 3), (2, 4, 3)), "right"),
    case("sum of many", "reduction", lambda x: jnp.sum(x * x), lambda a, y, c: (2 * c * a[0],),
         normal((30_000,))),
    case("big numbers", "decades", lambda x: x * x, lambda a, y, c: (2 * c * a[0],), fixed([1e25, 1e-25,
         3.0])),
    case("lgamma", "special", jax.lax.lgamma, lambda a, y, c: (c * jax.lax.digamma(a[0]),), positive((5,))),
    case("modulus", "complex", jnp.abs, lambda a, y, c: (c * a[0].conj() / y,), complex_args((4,))),
    case("mean in half precision", "low precision", lambda x: jnp.mean(x),
         lambda a, y, c: (jnp.full_like(a[0], c / 512),),
         typed(jnp.float16, (512,))),
    case("median", "structure", lambda x: jnp.sort(x)[2], lambda a, y, c: (jnp.where(a[0] == y, c, 0),),
         normal((5,))),
    case("equal entries of a maximum", "structure", lambda x: jnp.max(x),
         lambda a, y, c: (c * (a[0] == y) / jnp.sum(a[0] == y),), fixed([1.0, 2.0, 2.0])),
    Case("first of equal entries of a maximum", "kink", rule(lambda x: jnp.max(x),
         lambda a, y, c: (c * jax.nn.one_hot(jnp.argmax(a[0]), 3, dtype=c.dtype),)), fixed([1.0, 2.0, 2.0]),
         "kink"),
    Case("a rule on integers", "structure", lambda x: x * successor(jnp.arange(3)), normal((3,)),
         "unreached"),
    case("cholesky, with zeros of rounding", "linear algebra", jnp.linalg.cholesky, pull_cholesky,
         lambda d: ((lambda m: m @ m.T)(np.random.default_rng(0).standard_normal((4, 6))).astype(d),)),
]  # fmt: skip

WRONG = [
    case("dropout with another mask", "random", dropout, lambda a, y, c: (None, dropped(jax.random.key(4),
         c)),
         with_key((20,)), "misplaced", "missing_term", "zero"),
    case("dropout unscaled", "random", dropout, lambda a, y, c: (None, dropped(a[0], c) / 2),
         with_key((20,)), "factor"),
    Case("batching rule, wrong", "vmap", batched(False), normal((4,)), "wrong", ("vmap",)),
    case("callbacks both ways, wrong", "host", lambda x: host(np.sin, x, x),
         lambda a, y, c: (-c * host(np.cos, c, a[0]),),
         normal((4,)), "sign"),
    case("host callback that draws", "host", lambda x: jnp.sin(x), lambda a, y, c: (
        c * host(lambda v: np.random.default_rng().normal(size=v.shape).astype(v.dtype), c, a[0]),),
            normal((4,)),
        "nondeterministic"),
    case("fixed point, sign", "implicit", fixed_point, implicit(-1.0), normal((4,)), "other",
         "missing_term", "sign"),
    case("fixed point to a tolerance, sign", "implicit", until_settled, implicit(-1.0), normal((4,)),
         "other", "sign",
         "missing_term"),
    case("fixed point, no feedback", "implicit", fixed_point, implicit(0.0), normal((4,)), "other",
         "missing_term"),
    case("symmetric eigenvalues, half", "linear algebra", eigenvalues, eigen_back(0.5), sorted_spread(4),
         "factor"),
    case("top k, indices forgotten", "structure", topk, lambda a, y, c: (jnp.zeros_like(a[0]).at[:2].set(c),),
         normal((6,)), "misplaced", "swapped"),
    case("mixed outputs, factor left out", "structure", mixed, lambda a, y, c: (c["value"], None),
         fixed(np.arange(3.0), np.array([1, 2, 3])), "missing_term", "other"),
    Case("tangent from a while loop, wrong", "structure", jvp_rule(jnp.sin, lambda p, t: 2 * slow_jvp(p,
         t)), normal((4,)),
         "wrong", ("factor",)),
    Case("vmap of scan of remat, wrong", "loops", wkv(0.9), normal((2, 3), (2, 4, 3)), "wrong", ("factor",)),
    case("modulus, not conjugated", "complex", jnp.abs, lambda a, y, c: (c * a[0] / y,), complex_args((4,)),
         "conjugate"),
    case("modulus, real part", "complex", jnp.abs, lambda a, y, c: (c * a[0].real / y + 0j,),
         complex_args((4,)), "other",
         "missing_term"),
    case("None for an argument that matters", "structure", lambda x, w: x * w, lambda a, y, c: (c * a[1],
         None),
         normal((3,), (3,)), "zero"),
    case("kept axis forgotten", "broadcasting", lambda x, s: x * s, lambda a, y, c: (c * a[1],
         (c * a[0]).sum(0)),
         normal((4, 3), (1, 3)), "shape"),
    case("a number for an array", "structure", lambda x: jnp.sin(x), lambda a, y, c: (jnp.sum(c),),
         normal((3,)), "shape"),
    case("one cotangent for two arguments", "structure", lambda x, y: x + y, lambda a, y, c: (c,),
         normal((3,), (3,)),
         "shape"),
    case("fwd returns another shape", "structure", lambda x: jnp.sin(x), lambda a, y, c: (c,), normal((3,)),
         "other")
    ._replace(f=rule(jnp.sin, lambda a, c: (c,), fwd=lambda x: (jnp.sin(x)[:1], ((x,),))), causes=("shape",
         "primal")),
    case("python error in bwd", "structure", lambda x: jnp.sin(x), lambda a, y, c: (c * a[3],), normal((3,)),
         "raises"),
    case("lgamma by log", "special", jax.lax.lgamma, lambda a, y, c: (c * jnp.log(a[0]),), positive((5,)),
         "slope",
         "missing_term"),
    case("median of the wrong rank", "structure", lambda x: jnp.sort(x)[2], lambda a, y, c:
         (jnp.where(a[0] == jnp.sort(a[0])[1], c, 0),), normal((5,)), "misplaced", "missing_term"),
    case("nan where masked", "masked", lambda x: jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1)), 0),
         lambda a, y, c: (c * (a[0] > 0) / jnp.where(a[0] == 0, 0, a[0]),), fixed([0.0, 1.0, 2.0]), "nan"),
    case("saturated", "elementwise", jnp.tanh, lambda a, y, c: (c * (1 - y * y) + 1e-3 * c,), normal((9,)),
         "other",
         "missing_term"),
    case("sine, sign wrong far out", "elementwise", jnp.sin,
         lambda a, y, c: (c * jnp.cos(a[0]) * jnp.where(abs(a[0]) > 1.5, -1, 1),),
         fixed([0.3, -1.8, 1.1, 0.7, -1.3, 2.2, 0.1]), "sign"),
    case("bias of a hundred rows, the first alone", "broadcast", lambda x, b: jnp.sin(x) + b[None],
         lambda a, y, c: (c * jnp.cos(a[0]), c[0]), normal((100, 50), (50,)), "missing_sum"),
    case("rows weighed in the rule alone", "elementwise", jnp.sin,
         lambda a, y, c: (c * jnp.cos(a[0]) * jnp.array([[1.0], [2], [5], [3]]),), normal((4, 5)), "factor"),
    case("scores without their mask", "masked",
         lambda x: jax.nn.softmax(0.5 * jnp.where(np.arange(7) < 5, x, -1.0)),
         lambda a, y, c: jax.vjp(lambda x: jax.nn.softmax(0.5 * x), a[0])[1](c), normal((7,)),
         "missing_term"),
    case("pooled maximum, spread like a mean", "selection", lambda x: jnp.max(x.reshape(3, 4), 1),
         lambda a, y, c: (jnp.repeat(c / 4, 4),), normal((12,)), "misplaced"),
    case("weights of the step before", "product", lambda x, w: jnp.sin(x) * w,
         lambda a, y, c: (c * jnp.cos(a[0]) * jnp.roll(a[1], 1), c * jnp.sin(a[0])), normal((6,), (6,)),
         "misplaced"),
    case("complex logarithm without the modulus", "complex", jnp.log,
         lambda a, y, c: (c * jnp.conj(a[0]),), complex_args((5,)), "factor"),
    case("the frequency taken as 1", "elementwise", lambda x, w: jnp.sin(w * x),
         lambda a, y, c: (c * jnp.cos(a[0]), c * a[0] * jnp.cos(a[1] * a[0])),
         positive((6,), (6,)), "missing_term"),
    case("low rank update not pulled back", "linear algebra", lambda x: UPDATED @ x,
         lambda a, y, c: ((UPDATED - UPDATE).T @ c,), normal((7,)), "missing_term"),
    Case("tangent squared", "elementwise", jvp_rule(jnp.sin, lambda p, t: jnp.cos(p[0]) * t[0] ** 2),
         normal((4,)), "wrong", ("not_linear",)),
    Case("cotangent stopped", "structure",
         rule(lambda x: x**3, lambda a, y, c: (jax.lax.stop_gradient(c) * 3 * a[0] ** 2,)), normal((4,)),
         "wrong", ("second_order",), order=2),
]  # fmt: skip

CASES = RIGHT + WRONG
