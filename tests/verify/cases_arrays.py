"""Rules on whole arrays: reductions, broadcasting, linear algebra, indexing, complex values."""

import jax
import jax.numpy as jnp
import numpy as np

from .case import Case, fixed, jvp_rule, normal, rule


def case(name, category, primal, bwd, args, *causes):
    """Right without causes, wrong with them."""
    return Case(name, category, rule(primal, bwd), args, "wrong" if causes else "right", causes)


def logsumexp(x):
    m = jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True))
    return jnp.squeeze(m, -1) + jnp.log(jnp.sum(jnp.exp(x - m), -1))


def softmax(x):
    e = jnp.exp(x - jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True)))
    return e / jnp.sum(e, -1, keepdims=True)


def spd(d, seed=0, dtype=float):
    a = np.random.default_rng(seed).standard_normal((d, d))
    return (a @ a.T + d * np.eye(d)).astype(dtype)


def norm(x):
    return jnp.sqrt(jnp.sum(x * x))


def spread(c, shape):
    return jnp.broadcast_to(c, shape)


REDUCTIONS = [
    case(
        "sum", "reduction", lambda x: jnp.sum(x, 0), lambda a, y, c: (spread(c, a[0].shape),), normal((3, 4))
    ),
    case(
        "mean",
        "reduction",
        lambda x: jnp.mean(x, 0),
        lambda a, y, c: (spread(c, a[0].shape) / 3,),
        normal((3, 4)),
    ),
    case(
        "mean without 1/N",
        "reduction",
        lambda x: jnp.mean(x, 0),
        lambda a, y, c: (spread(c, a[0].shape),),
        normal((3, 4)),
        "factor",
    ),
    case(
        "mean with 1/N twice",
        "reduction",
        lambda x: jnp.mean(x),
        lambda a, y, c: (spread(c, a[0].shape) / 144,),
        normal((3, 4)),
        "factor",
    ),
    case(
        "variance",
        "reduction",
        lambda x: jnp.var(x, -1),
        lambda a, y, c: (c[:, None] * 2 / 6 * (a[0] - a[0].mean(-1, keepdims=True)),),
        normal((3, 6)),
    ),
    case(
        "variance about zero",
        "reduction",
        lambda x: jnp.var(x, -1),
        lambda a, y, c: (c[:, None] * 2 / 6 * a[0],),
        normal((3, 6), shift=1.0),
        "missing_term",
    ),
    case(
        "variance by N-1",
        "reduction",
        lambda x: jnp.var(x, -1),
        lambda a, y, c: (c[:, None] * 2 / 5 * (a[0] - a[0].mean(-1, keepdims=True)),),
        normal((3, 6)),
        "factor",
    ),
    case("norm", "reduction", norm, lambda a, y, c: (c * a[0] / y,), normal((5,))),
    case("norm without division", "reduction", norm, lambda a, y, c: (c * a[0],), normal((5,)), "factor"),
    case("norm squared's rule", "reduction", norm, lambda a, y, c: (2 * c * a[0],), normal((5,)), "factor"),
    case(
        "logsumexp",
        "reduction",
        logsumexp,
        lambda a, y, c: (c[:, None] * jnp.exp(a[0] - y[:, None]),),
        normal((3, 5)),
    ),
    case(
        "logsumexp unnormalised",
        "reduction",
        logsumexp,
        lambda a, y, c: (c[:, None] * jnp.exp(a[0]),),
        normal((3, 5)),
        "factor",
        "other",
    ),
    case(
        "logsumexp over the wrong axis",
        "reduction",
        logsumexp,
        lambda a, y, c: (c[:, None] * jax.nn.softmax(a[0], 0),),
        normal((5, 5)),
        "slope",
        "transposed",
    ),
    case(
        "softmax",
        "reduction",
        softmax,
        lambda a, y, c: (y * (c - jnp.sum(c * y, -1, keepdims=True)),),
        normal((3, 5)),
    ),
    case(
        "softmax, diagonal only",
        "reduction",
        softmax,
        lambda a, y, c: (c * y * (1 - y),),
        normal((3, 5)),
        "missing_term",
    ),
    case(
        "softmax without the mean",
        "reduction",
        softmax,
        lambda a, y, c: (c * y,),
        normal((3, 5)),
        "missing_term",
    ),
    case(
        "softmax with a plus",
        "reduction",
        softmax,
        lambda a, y, c: (y * (c + jnp.sum(c * y, -1, keepdims=True)),),
        normal((3, 5)),
        "sign",
    ),
    case(
        "softmax's mean over all rows",
        "reduction",
        softmax,
        lambda a, y, c: (y * (c - jnp.sum(c * y)),),
        normal((3, 5)),
        "other",
        "missing_term",
    ),
    case(
        "cumsum",
        "reduction",
        lambda x: jnp.cumsum(x),
        lambda a, y, c: (jnp.cumsum(c[::-1])[::-1],),
        normal((6,)),
    ),
    case(
        "cumsum not reversed",
        "reduction",
        lambda x: jnp.cumsum(x),
        lambda a, y, c: (jnp.cumsum(c),),
        normal((6,)),
        "transposed",
    ),
    case("product", "reduction", lambda x: jnp.prod(x), lambda a, y, c: (c * y / a[0],), normal((5,))),
    case(
        "product without division",
        "reduction",
        lambda x: jnp.prod(x),
        lambda a, y, c: (spread(c * y, a[0].shape),),
        normal((5,)),
        "factor",
        "missing_term",
    ),
    case(
        "max",
        "reduction",
        lambda x: jnp.max(x, -1),
        lambda a, y, c: (jnp.where(a[0] == y[:, None], c[:, None], 0),),
        normal((3, 4)),
    ),
    case(
        "max pays everyone",
        "reduction",
        lambda x: jnp.max(x, -1),
        lambda a, y, c: (spread(c[:, None], (3, 4)),),
        normal((3, 4)),
        "unmasked",
        "missing_term",
    ),
    case(
        "min pays the max",
        "reduction",
        lambda x: jnp.min(x, -1),
        lambda a, y, c: (jnp.where(a[0] == a[0].max(-1, keepdims=True), c[:, None], 0),),
        normal((3, 4)),
        "misplaced",
        "wrong_point",
    ),
]

BROADCASTING = [
    case(
        "bias", "broadcasting", lambda x, b: x + b[None], lambda a, y, c: (c, c.sum(0)), normal((4, 3), (3,))
    ),
    case(
        "bias with mean",
        "broadcasting",
        lambda x, b: x + b[None],
        lambda a, y, c: (c, c.mean(0)),
        normal((4, 3), (3,)),
        "factor",
    ),
    case(
        "bias, first row only",
        "broadcasting",
        lambda x, b: x + b[None],
        lambda a, y, c: (c, c[0]),
        normal((4, 3), (3,)),
        "missing_sum",
    ),
    case(
        "bias not summed",
        "broadcasting",
        lambda x, b: x + b[None],
        lambda a, y, c: (c, c),
        normal((4, 3), (3,)),
        "missing_sum",
    ),
    case(
        "bias summed over the wrong axis",
        "broadcasting",
        lambda x, b: x + b[None],
        lambda a, y, c: (c, c.sum(1)),
        normal((3, 3), (3,)),
        "cotangent_transposed",
        "missing_sum",
    ),
    case(
        "scalar scale",
        "broadcasting",
        lambda x, s: x * s,
        lambda a, y, c: (c * a[1], jnp.sum(c * a[0])),
        normal((4, 3), ()),
    ),
    case(
        "scalar scale not summed",
        "broadcasting",
        lambda x, s: x * s,
        lambda a, y, c: (c * a[1], c * a[0]),
        normal((4, 3), ()),
        "missing_sum",
    ),
    case(
        "row scale",
        "broadcasting",
        lambda x, s: x * s[:, None],
        lambda a, y, c: (c * a[1][:, None], (c * a[0]).sum(1)),
        normal((4, 3), (4,)),
    ),
    case(
        "row scale without input",
        "broadcasting",
        lambda x, s: x * s[:, None],
        lambda a, y, c: (c * a[1][:, None], c.sum(1)),
        normal((4, 3), (4,)),
        "other",
        "missing_term",
    ),
    case(
        "kept axis",
        "broadcasting",
        lambda x, s: x * s,
        lambda a, y, c: (c * a[1], (c * a[0]).sum(0, keepdims=True)),
        normal((4, 3), (1, 3)),
    ),
    case(
        "affine without its scale",
        "broadcasting",
        lambda x, s, b: x * s[None] + b[None],
        lambda a, y, c: (c, (c * a[0]).sum(0), c.sum(0)),
        normal((4, 3), (3,), (3,)),
        "other",
        "missing_term",
    ),
    case(
        "affine, scale and bias swapped",
        "broadcasting",
        lambda x, s, b: x * s[None] + b[None],
        lambda a, y, c: (c * a[1][None], c.sum(0), (c * a[0]).sum(0)),
        normal((4, 3), (3,), (3,)),
        "swapped",
    ),
]

LINEAR = [
    case(
        "matvec",
        "linear algebra",
        lambda W, x: W @ x,
        lambda a, y, c: (jnp.outer(c, a[1]), a[0].T @ c),
        normal((4, 3), (3,)),
    ),
    case(
        "matvec, W not transposed",
        "linear algebra",
        lambda W, x: W @ x,
        lambda a, y, c: (jnp.outer(c, a[1]), a[0] @ c),
        normal((3, 3), (3,)),
        "transposed",
    ),
    case(
        "matvec, W not transposed, oblong",
        "linear algebra",
        lambda W, x: W @ x,
        lambda a, y, c: (jnp.outer(c, a[1]), a[0] @ c),
        normal((4, 3), (3,)),
        "shape",
    ),
    case(
        "matvec, outer product turned",
        "linear algebra",
        lambda W, x: W @ x,
        lambda a, y, c: (jnp.outer(a[1], c), a[0].T @ c),
        normal((3, 3), (3,)),
        "transposed",
    ),
    case(
        "matmul",
        "linear algebra",
        lambda A, B: A @ B,
        lambda a, y, c: (c @ a[1].T, a[0].T @ c),
        normal((2, 3), (3, 4)),
    ),
    case(
        "matmul, B not transposed",
        "linear algebra",
        lambda A, B: A @ B,
        lambda a, y, c: (c @ a[1], a[0].T @ c),
        normal((3, 3), (3, 3)),
        "transposed",
    ),
    case(
        "matmul, cotangent transposed",
        "linear algebra",
        lambda A, B: A @ B,
        lambda a, y, c: (c.T @ a[1].T, a[0].T @ c),
        normal((3, 3), (3, 3)),
        "cotangent_transposed",
    ),
    case(
        "matmul, result transposed",
        "linear algebra",
        lambda A, B: A @ B,
        lambda a, y, c: (c @ a[1].T, (a[0].T @ c).T),
        normal((3, 3), (3, 3)),
        "transposed",
    ),
    case(
        "matmul, factors swapped",
        "linear algebra",
        lambda A, B: A @ B,
        lambda a, y, c: (a[0].T @ c, c @ a[1].T),
        normal((3, 3), (3, 3)),
        "swapped",
    ),
    case(
        "matmul, wrong side",
        "linear algebra",
        lambda A, B: A @ B,
        lambda a, y, c: (a[1].T @ c, a[0].T @ c),
        normal((3, 3), (3, 3)),
        "transposed",
        "swapped",
        "missing_term",
    ),
    case(
        "inverse",
        "linear algebra",
        lambda x: jnp.linalg.inv(x),
        lambda a, y, c: (-y.T @ c @ y.T,),
        fixed(spd(3)),
    ),
    case(
        "inverse without minus",
        "linear algebra",
        lambda x: jnp.linalg.inv(x),
        lambda a, y, c: (y.T @ c @ y.T,),
        fixed(spd(3)),
        "sign",
    ),
    case(
        "inverse without transposes",
        "linear algebra",
        lambda x: jnp.linalg.inv(x),
        lambda a, y, c: (-y @ c @ y,),
        normal((3, 3), shift=0.3),
        "transposed",
    ),
    case(
        "solve",
        "linear algebra",
        lambda A, b: jnp.linalg.solve(A, b),
        lambda a, y, c: (-jnp.outer(jnp.linalg.solve(a[0].T, c), y), jnp.linalg.solve(a[0].T, c)),
        normal((4, 4), (4,)),
    ),
    case(
        "solve, A not transposed",
        "linear algebra",
        lambda A, b: jnp.linalg.solve(A, b),
        lambda a, y, c: (-jnp.outer(jnp.linalg.solve(a[0].T, c), y), jnp.linalg.solve(a[0], c)),
        normal((4, 4), (4,)),
        "transposed",
    ),
    case(
        "solve, sign of A's part",
        "linear algebra",
        lambda A, b: jnp.linalg.solve(A, b),
        lambda a, y, c: (jnp.outer(jnp.linalg.solve(a[0].T, c), y), jnp.linalg.solve(a[0].T, c)),
        normal((4, 4), (4,)),
        "sign",
    ),
    case(
        "logdet",
        "linear algebra",
        lambda A: jnp.linalg.slogdet(A)[1],
        lambda a, y, c: (c * jnp.linalg.inv(a[0]).T,),
        fixed(spd(3)),
    ),
    case(
        "logdet without transpose",
        "linear algebra",
        lambda A: jnp.linalg.slogdet(A)[1],
        lambda a, y, c: (c * jnp.linalg.inv(a[0]),),
        normal((3, 3), shift=0.3),
        "transposed",
    ),
    case(
        "det without itself",
        "linear algebra",
        lambda x: jnp.linalg.det(x),
        lambda a, y, c: (c * jnp.linalg.inv(a[0]).T,),
        fixed(spd(3)),
        "factor",
    ),
    case(
        "trace of product",
        "linear algebra",
        lambda A, B: jnp.sum(A * B),
        lambda a, y, c: (c * a[1], c * a[0]),
        normal((3, 3), (3, 3)),
    ),
    case(
        "trace of product, turned",
        "linear algebra",
        lambda A, B: jnp.trace(A @ B),
        lambda a, y, c: (c * a[1], c * a[0].T),
        normal((3, 3), (3, 3)),
        "transposed",
    ),
    case(
        "quadratic form",
        "linear algebra",
        lambda A, x: x @ A @ x,
        lambda a, y, c: (c * jnp.outer(a[1], a[1]), c * (a[0] + a[0].T) @ a[1]),
        normal((4, 4), (4,)),
    ),
    case(
        "quadratic form as if symmetric",
        "linear algebra",
        lambda A, x: x @ A @ x,
        lambda a, y, c: (c * jnp.outer(a[1], a[1]), 2 * c * a[0] @ a[1]),
        normal((4, 4), (4,)),
        "transposed",
        "other",
        "missing_term",
    ),
    case(
        "quadratic form, one side",
        "linear algebra",
        lambda A, x: x @ A @ x,
        lambda a, y, c: (c * jnp.outer(a[1], a[1]), c * a[0] @ a[1]),
        normal((4, 4), (4,)),
        "missing_term",
    ),
]

INDEXING = [
    case(
        "gather",
        "indexing",
        lambda x, i: x[i],
        lambda a, y, c: (jnp.zeros_like(a[0]).at[a[1]].add(c), None),
        fixed(np.arange(6.0), np.array([1, 1, 4])),
    ),
    case(
        "gather, repeats overwritten",
        "indexing",
        lambda x, i: x[i],
        lambda a, y, c: (jnp.zeros_like(a[0]).at[a[1]].set(c), None),
        fixed(np.arange(6.0), np.array([1, 1, 4])),
        "missing_sum",
        "missing_term",
    ),
    case(
        "embedding, off by one",
        "indexing",
        lambda x, i: x[i],
        lambda a, y, c: (jnp.zeros_like(a[0]).at[a[1] + 1].add(c), None),
        fixed(np.arange(12.0).reshape(6, 2), np.array([1, 3, 4])),
        "misplaced",
        "swapped",
    ),
    case("reverse", "indexing", lambda x: x[::-1], lambda a, y, c: (c[::-1],), normal((5,))),
    case("reverse forgotten", "indexing", lambda x: x[::-1], lambda a, y, c: (c,), normal((5,)), "misplaced"),
    case(
        "roll the other way",
        "indexing",
        lambda x: jnp.roll(x, 1),
        lambda a, y, c: (jnp.roll(c, 1),),
        normal((5,)),
        "transposed", "misplaced",
    ),
    case("transpose", "indexing", lambda x: x.T, lambda a, y, c: (c.T,), normal((3, 3))),
    case(
        "transpose forgotten",
        "indexing",
        lambda x: x.T,
        lambda a, y, c: (c,),
        normal((3, 3)),
        "transposed",
        "cotangent_transposed",
    ),
    case(
        "concatenate",
        "indexing",
        lambda x, y: jnp.concatenate([x, y]),
        lambda a, y, c: (c[:3], c[3:]),
        normal((3,), (3,)),
    ),
    case(
        "concatenate, halves swapped",
        "indexing",
        lambda x, y: jnp.concatenate([x, y]),
        lambda a, y, c: (c[3:], c[:3]),
        normal((3,), (3,)),
        "swapped",
    ),
    case(
        "pad, off by one",
        "indexing",
        lambda x: jnp.pad(x, 1),
        lambda a, y, c: (c[:-2],),
        normal((4,)),
        "misplaced",
    ),
    case(
        "sort",
        "indexing",
        lambda x: jnp.sort(x),
        lambda a, y, c: (jnp.zeros_like(c).at[jnp.argsort(a[0])].set(c),),
        normal((6,)),
    ),
    case(
        "sort, permutation not inverted",
        "indexing",
        lambda x: jnp.sort(x),
        lambda a, y, c: (c[jnp.argsort(a[0])],),
        normal((6,)),
        "misplaced",
    ),
    case(
        "where, mask of the other side",
        "indexing",
        lambda m, x, y: jnp.where(m, x, y),
        lambda a, y, c: (None, jnp.where(a[0], 0, c), jnp.where(a[0], c, 0)),
        fixed(np.arange(6) % 3 == 0, np.arange(6.0), np.ones(6)),
        "swapped",
    ),
]


def complex_args(*shapes, seed=0):
    def args(dtype):
        rng = np.random.default_rng(seed)
        return tuple(
            (rng.standard_normal(s) + 1j * rng.standard_normal(s)).astype(np.result_type(dtype, np.complex64))
            for s in shapes
        )

    return args


COMPLEX = [
    case(
        "complex product",
        "complex",
        lambda x, y: x * y,
        lambda a, y, c: (c * a[1], c * a[0]),
        complex_args((4,), (4,)),
    ),
    case(
        "complex product, conjugated",
        "complex",
        lambda x, y: x * y,
        lambda a, y, c: (c * a[1].conj(), c * a[0].conj()),
        complex_args((4,), (4,)),
        "conjugate",
        "factor",
    ),
    case(
        "modulus squared",
        "complex",
        lambda z: jnp.real(z * z.conj()),
        lambda a, y, c: (2 * c * a[0].conj(),),
        complex_args((4,)),
    ),
    case(
        "modulus squared, not conjugated",
        "complex",
        lambda z: jnp.real(z * z.conj()),
        lambda a, y, c: (2 * c * a[0],),
        complex_args((4,)),
        "conjugate",
    ),
    case("complex exp, minus", "complex", jnp.exp, lambda a, y, c: (-c * y,), complex_args((4,)), "sign"),
    case("fft", "complex", lambda x: jnp.fft.fft(x), lambda a, y, c: (jnp.fft.fft(c),), complex_args((4,))),
    case(
        "fft by ifft",
        "complex",
        lambda x: jnp.fft.fft(x),
        lambda a, y, c: (jnp.fft.ifft(c),),
        complex_args((4,)),
        "conjugate",
        "factor",
    ),
    Case(
        "complex square/jvp",
        "complex",
        jvp_rule(lambda z: z * z, lambda p, t: 2 * p[0] * t[0]),
        complex_args((4,)),
        "right",
    ),
]

CASES = REDUCTIONS + BROADCASTING + LINEAR + INDEXING + COMPLEX
