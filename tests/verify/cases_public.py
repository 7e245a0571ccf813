"""What public reports and released packages taught: each root cause once as reported, and as a cousin."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .case import Case, fixed, jvp_rule, normal, positive, rule


def case(name, primal, back, args, *causes, f=lambda r: r, verdict=None, **options):
    """A custom_vjp within f, wrong when it has causes."""
    verdict = verdict or ("wrong" if causes else "right")
    return Case(name, "public", f(rule(primal, back)), args, verdict, causes, **options)


# Sums in half precision, of cotangents that are all positive.


def biased(dtype):
    def bias(x, b):
        return (x.astype(dtype) + b.astype(dtype)).astype(x.dtype)

    def back(a, y, c):
        total = lax.scan(lambda s, row: (s + row, None), jnp.zeros(c.shape[-1], dtype), c.astype(dtype))[0]
        return c, total.astype(a[1].dtype)

    return rule(bias, back)


# Tables, spectra, weights.


def looked_up(table, ids):
    return table[ids]


def overwritten(a, y, c):
    return jnp.zeros_like(a[0]).at[a[1]].set(c), None


IDS = np.random.default_rng(3).integers(0, 11, 20)


def spectrum_back(a, y, c):
    n = a[0].shape[-1]
    return (jnp.fft.irfft(jnp.conj(c), n) * n,)


HEAT = np.random.default_rng(5).standard_normal((7, 5))
WEIGHTS = np.array([0.5, 1, 1, 1, 1, 1, 0.5])


# Several outputs.


def recurrence(a, x):
    def step(h, t):
        h = t[0] * h + t[1]
        return h, h

    last, hs = lax.scan(step, jnp.zeros_like(x[0]), (a, x))
    return hs, last


def recurrence_back(keep):
    def back(args, y, cts):
        a, hs = args[0], y[0]
        end = keep * cts[1]
        d = lax.scan(lambda d, t: ((d + t[1]) * t[0], d + t[1]), end, (a, cts[0]), reverse=True)[1]
        return d * jnp.concatenate([jnp.zeros_like(hs[:1]), hs[:-1]]), d

    return back


# Chains.


def capped(q, k):
    return jax.nn.softmax(2 * jnp.tanh(q @ k.T / 2))


def capped_back(a, y, c):
    d = y * (c - jnp.sum(c * y, -1, keepdims=True))
    return d @ a[1], d.T @ a[0]


def gated(x, b, mask):
    return jnp.where(mask[:, None], jax.nn.silu(x + b), 0.0)


def gated_back(a, y, c):
    z = a[0] + a[1]
    s = jax.nn.sigmoid(z)
    d = c * s * (1 + z * (1 - s))
    return d, d.sum(0), None


MASK = np.arange(6) % 3 != 1


def squared_modulus(z):
    return jnp.real(z) ** 2 + jnp.imag(z) ** 2


def complex_normal(*shape):
    def args(dtype):
        rng = np.random.default_rng(2)
        z = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        return (z.astype(np.complex64 if dtype == np.float32 else np.complex128),)

    return args


def inverse_of_symmetric(a):
    return jnp.linalg.inv((a + a.T) / 2)


# Right in f.


def eigh():
    """The phase of an eigenvector is nobody's business: its rule leaves it where it is."""

    @jax.custom_vjp
    def f(A):
        return tuple(jnp.linalg.eigh(A))

    def back(saved, c):
        (e, v), (de, dv) = saved, c
        gap = e[None, :] - e[:, None] + jnp.eye(len(e))
        F = 1 / gap - jnp.eye(len(e))
        return (jnp.conj(v) @ (jnp.diag(de) + F * (v.T @ dv)) @ v.T,)

    f.defvjp(lambda A: (f(A), f(A)), back)
    return f


def of_eigenvectors():
    decompose = eigh()

    def f(a, b):
        X = a + 1j * b
        e, v = decompose(X + X.conj().T)
        P = (v * e**3) @ v.conj().T
        return e, P.real, P.imag

    return f


def symmetric_quadratic():
    """Right for matrices that are symmetric, as f hands them over."""

    def back(a, y, c):
        return 0.5 * (jnp.outer(c, a[1]) + jnp.outer(a[1], c)), a[0] @ c

    return rule(lambda A, x: A @ x, back)


# Solvers.


def solve_cg(A, b, tol, steps=200):
    def go(s):
        return (s[3] > tol**2) & (s[4] < steps)

    def step(s):
        x, r, p, rr, n = s
        Ap = A @ p
        alpha = rr / (p @ Ap)
        x, r = x + alpha * p, r - alpha * Ap
        new = r @ r
        return x, r, r + new / rr * p, new, n + 1

    return lax.while_loop(go, step, (0 * b, b, b, b @ b, 0))[0]


def solver(tol, back_tol, factor=1.0):
    def back(a, x, c):
        w = factor * solve_cg(a[0], c, back_tol)
        return -jnp.outer(w, x), w

    return rule(partial(solve_cg, tol=tol), back)


def positive_definite(dtype):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((6, 6))
    return (X @ X.T / 6 + np.eye(6)).astype(dtype), rng.standard_normal(6).astype(dtype)


def symmetric(f):
    return lambda A, b: f((A + A.T) / 2, b)


def babylonian(steps):
    def root(a):
        return lax.fori_loop(0, steps, lambda i, x: x - (x * x - a) / (4 * x), jnp.ones_like(a))

    return root


def implicit_root(factor, steps):
    return rule(babylonian(steps), lambda a, y, c: (factor * c / (2 * y),))


def jax_root(factor, steps=40):
    def f(a):
        def newton(g, x):
            return lax.fori_loop(0, steps, lambda i, x: x - g(x) / (4 * x), x)

        return lax.custom_root(
            lambda x: x * x - a, jnp.ones_like(a), newton, lambda g, y: factor * y / g(jnp.ones_like(y))
        )

    return f


def jax_cg(factor):
    def f(A, b):
        matvec = lambda x: A @ x  # noqa: E731
        solve = lambda mv, b: jax.scipy.sparse.linalg.cg(mv, b, tol=1e-6)[0]  # noqa: E731
        back = lambda mv, b: factor * solve(mv, b)  # noqa: E731
        return lax.custom_linear_solve(matvec, b, solve, back, symmetric=False)

    return f


# Vmap, containers, declarations.


def batched_kernel(rolled):
    @jax.custom_batching.custom_vmap
    def kernel(w, c):
        return w.T @ c

    @kernel.def_vmap
    def _(size, batched, w, c):
        pairs = zip((w, c), batched, strict=True)
        w, c = (x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in pairs)
        return jnp.einsum("bij,bi->bj", jnp.roll(w, rolled, 0), c), True

    apply = rule(lambda w, x: w @ x, lambda a, y, c: (jnp.outer(c, a[1]), kernel(a[0], c)))
    return lambda w, x: jnp.sin(jax.vmap(apply)(w, x))


def in_other_containers(factor):
    @jax.custom_vjp
    def split(x):
        return [x[:3], x[3:], jnp.argmax(x)]

    def back(_, c):
        return (jnp.concatenate([c[0], factor * c[1]]),)

    split.defvjp(lambda x: ((x[:3], x[3:], jnp.argmax(x)), None), back)

    def f(x):
        a, b, best = split(x)
        return a.sum() * b + x[best]

    return f


def closed_over_in_a_scan():
    @partial(jax.custom_jvp, nondiff_argnums=(1,))
    def gate(h, keep):
        return jnp.where(keep, jnp.tanh(h), h)

    @gate.defjvp
    def _(keep, primals, tangents):
        (h,), (t,) = primals, tangents
        return gate(h, keep), jnp.where(keep, (1 - jnp.tanh(h) ** 2) * t, t)

    def f(h, keep):
        return lax.scan(lambda c, _: ((2 * gate(c[0], c[1]), c[1]), None), (h, keep), None, length=3)[0][0]

    return f


def binary(value):
    f = jax.custom_jvp(lambda x: jnp.where(x > 0, 1.0, -1.0).astype(x.dtype))
    f.defjvp(lambda primals, tangents: (f(*primals) if value else primals[0], tangents[0]))
    return f


def finite_value(f, low):
    g = jax.custom_jvp(f)

    def jvp(primals, tangents):
        y, t = jax.jvp(f, primals, tangents)
        return jnp.where(jnp.isfinite(y), y, low), jnp.where(jnp.isfinite(t), t, 0)

    g.defjvp(jvp)
    return g


def scaled_erfc(x):
    t = 1 / (x * x)
    return (1 + t * (-0.5 + t * 0.75)) / (x * jnp.sqrt(jnp.pi))


MATRICES = normal((6, 4), (7, 4))
RIGHT = [
    case("a bias summed in float32", lambda x, b: x + b, lambda a, y, c: (c, c.sum(0)),
         normal((40, 3), (3,))),
    Case("the phase of eigenvectors", "public", of_eigenvectors(), normal((3, 3), (3, 3)), "right in f"),
    Case("symmetric by contract", "public", symmetric(symmetric_quadratic()), normal((4, 4), (4,)),
         "right in f"),
    Case("an argument that is a constant of f", "public",
         lambda x: rule(lambda x, w: x * w, lambda a, y, c: (c * a[1], 0 * c))(x, jnp.arange(4.0)) ** 2,
         normal((4,)), "right in f"),
    Case("conjugate gradients, both passes stopped early", "public", symmetric(solver(1e-4, 1e-4)),
         positive_definite, "right"),
    Case("conjugate gradients, coarse", "public", symmetric(solver(1e-2, 1e-2)), positive_definite, "right"),
    Case("a root by few steps", "public", implicit_root(1.0, 12), positive((4,)), "right"),
    Case("a root of JAX's by few steps", "public", jax_root(1.0, 14), positive((4,)), "right"),
    Case("cg of JAX's", "public", symmetric(jax.scipy.sparse.linalg.cg), positive_definite, "right"),
    Case("linear solve by cg", "public", symmetric(jax_cg(1.0)), positive_definite, "right"),
    Case("the same arrays in another container", "public", in_other_containers(1.0), normal((7,)), "right"),
    Case("a batching rule that keeps the order", "public", batched_kernel(0), normal((4, 3, 5), (4, 5)),
         "right"),
    Case("binary, straight through", "public", binary(True), normal((6,)), "declared",
         declare="straight_through"),
    Case("infinite and kept so", "public", finite_value(jnp.log, -np.inf), fixed([0.0, 1.0, 2.0]), "right"),
]
WRONG = [
    Case("a running sum in bfloat16", "public", biased(jnp.bfloat16), positive((1500, 3), (3,)), "wrong",
         ("dtype",)),
    Case("a running sum in float16", "public", biased(jnp.float16), positive((6000, 2), (2,)), "wrong",
         ("dtype", "nan")),
    Case("an array that is not differentiated", "public", closed_over_in_a_scan(),
         fixed(np.linspace(-1, 1, 6), np.arange(6) < 4), "wrong", ("raises",)),
    case("repeated tokens", looked_up, overwritten, lambda d: (normal((11, 6))(d)[0], IDS), "missing_sum",
         f=lambda r: lambda t, i: jnp.tanh(r(t, i)).mean(0)),
    case("repeated entries of a long vector", looked_up, overwritten,
         lambda d: (normal((70,))(d)[0], np.arange(140) % 70), "missing_sum"),
    case("frequencies counted twice", lambda x: jnp.fft.rfft(x), spectrum_back, normal((2, 8)), "factor",
         f=lambda r: lambda x: jnp.abs(r(x)) ** 2),
    case("weights of a quadrature forgotten", lambda x: WEIGHTS.astype(x.dtype) * (HEAT.astype(x.dtype) @ x),
         lambda a, y, c: (HEAT.T.astype(c.dtype) @ c,), normal((5,)), "factor"),
    Case("a batching rule that rolls", "public", batched_kernel(1), normal((4, 3, 5), (4, 5)), "wrong",
         ("vmap",)),
    case("quantised, straight through", lambda x: jnp.round(x * 8) / 8, lambda a, y, c: (c,), normal((6, 4)),
         "straight_through", f=lambda r: lambda w: jnp.tanh(r(w))),
    case("signs, straight through near zero", jnp.sign, lambda a, y, c: (c * (jnp.abs(a[0]) < 1),),
         normal((9,)), "straight_through"),
    case("product by division", lambda x: jnp.prod(x), lambda a, y, c: (c * y / a[0],),
         fixed([1.0, 0.0, 2.0, 3.0]), "nan"),
    case("direction by division", lambda x: x * jnp.abs(x), lambda a, y, c: (2 * c * y / a[0],),
         fixed([1.0, 0.0, -2.0]), "nan"),
    case("last state ignored", recurrence, recurrence_back(0), positive((12, 16), (12, 16), high=0.9),
         "missing_term", f=lambda r: lambda a, x: jnp.tanh(r(a, x)[0]).mean(1) + r(a, x)[1].sum()),
    case("last state twice", recurrence, recurrence_back(2), positive((5, 3), (5, 3), high=0.9), "factor"),
    case("slope of the cap left out", capped, capped_back, MATRICES, "missing_term"),
    case("slope of an inner exp left out", lambda x, w: jnp.sin(w @ jnp.exp(x)),
         lambda a, y, c: (a[1].T @ (c * jnp.cos(a[1] @ jnp.exp(a[0]))),
                          jnp.outer(c * jnp.cos(a[1] @ jnp.exp(a[0])), jnp.exp(a[0]))),
         normal((3,), (4, 3)), "missing_term"),
    case("masked rows", gated, gated_back, lambda d: (*normal((6, 4), (4,))(d), MASK), "unmasked"),
    case("the other triangle", lambda a, v: jnp.tril(a) @ v,
         lambda a, y, c: (jnp.outer(c, a[1]), jnp.tril(a[0]).T @ c), normal((4, 4), (4,)), "unmasked"),
    case("cotangents of all examples summed", lambda x: jnp.sin(x),
         lambda a, y, c: (jnp.sum(c * jnp.cos(a[0]), 0, keepdims=True) + 0 * c,), normal((4, 3)),
         "extra_sum"),
    case("cotangents averaged before the slope", lambda x: jnp.sin(x),
         lambda a, y, c: (jnp.mean(c, 1, keepdims=True) * jnp.cos(a[0]),), normal((3, 4)), "extra_sum"),
    case("modulus, another convention", squared_modulus, lambda a, y, c: (2 * c * a[0],),
         complex_normal(3, 4), "conjugate", f=lambda r: lambda z: r(jnp.fft.fft(z)).sum(0)),
    case("square, another convention", lambda z: z * z, lambda a, y, c: (2 * c * jnp.conj(a[0]),),
         complex_normal(5), "conjugate"),
    case("not symmetrised", lambda a: jnp.sin((a + a.T) / 2),
         lambda a, y, c: (jnp.triu(jnp.cos((a[0] + a[0].T) / 2) * (c + c.T) / 2, 1) * 2
                          + jnp.diag(jnp.diag(c * jnp.cos(a[0]))),), normal((4, 4)), "missing_term"),
    case("inverse, not symmetrised", inverse_of_symmetric, lambda a, y, c: (-y.T @ c @ y.T,),
         lambda d: (positive_definite(d)[0],), "missing_term"),
    Case("declared, but another value", "public", binary(False), normal((9,)), "wrong", ("primal",),
         declare="straight_through"),
    Case("infinite, replaced by zero", "public", finite_value(lambda x: jax.scipy.special.logsumexp(x), 0.0),
         fixed([-np.inf, -np.inf]), "wrong", ("primal",)),
    Case("infinite, replaced by a large number", "public", finite_value(jnp.log, -1e30),
         fixed([0.0, 1.0, 2.0]), "wrong", ("primal",)),
    Case("conjugate gradients, half the adjoint", "public", symmetric(solver(1e-4, 1e-4, 0.5)),
         positive_definite, "wrong", ("factor",)),
    Case("a root by few steps, five percent", "public", implicit_root(1.05, 12), positive((4,)), "wrong",
         ("factor",)),
    Case("linear solve by cg, adjoint ten percent", "public", symmetric(jax_cg(1.1)), positive_definite,
         "wrong", ("factor",)),
    Case("the same arrays in another container, twice", "public", in_other_containers(2.0), normal((7,)),
         "wrong", ("factor", "missing_term", "other")),
    Case("refused and not linear", "public", jvp_rule(jnp.sin, lambda p, t: jnp.cos(p[0]) * t[0] + 1e-3),
         normal((4,)), "wrong", ("not_linear",)),
]
CASES = RIGHT + WRONG
