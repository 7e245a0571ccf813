"""The mathematics apart from the precision; faults far from the usual scale, and in unusual places."""

import jax
import jax.numpy as jnp
import numpy as np

from .case import Case, fixed, jvp_rule, normal, positive, rule
from .cases_arrays import case
from .cases_hard import typed

HALF, SINGLE = jnp.bfloat16, jnp.float32


def hinge(scale):
    """A squared hinge that keeps which side it is on as bfloat16: no digit is lost by that."""
    f = jax.custom_vjp(lambda x: jnp.maximum(x, 0) ** 2)
    f.defvjp(
        lambda x: (jnp.maximum(x, 0) ** 2, (x, (x > 0).astype(HALF))),
        lambda saved, c: (scale * 2 * c * saved[0] * saved[1].astype(c.dtype),),
    )
    return f


def output_kept_in(dtype):
    """The hyperbolic tangent from its output, kept in another dtype."""
    f = jax.custom_vjp(jnp.tanh)
    f.defvjp(
        lambda x: (jnp.tanh(x), jnp.tanh(x).astype(dtype)),
        lambda y, c: (c * (1 - y.astype(c.dtype) ** 2),),
    )
    return f


def half_product(x, w):
    return (x.astype(HALF) @ w.astype(HALF)).astype(SINGLE)


def half_product_back(scale):
    """In single precision, what the primal computes in half."""
    return lambda a, y, c: (
        (c.astype(SINGLE) @ a[1].T.astype(SINGLE)).astype(a[0].dtype),
        (scale * a[0].T.astype(SINGLE) @ c.astype(SINGLE)).astype(a[1].dtype),
    )


def third(x):
    """0.3 has eight digits here and twenty-four in the rule."""
    return jnp.tanh(jnp.asarray(0.3, HALF) * x.astype(HALF)).astype(x.dtype)


def third_back(scale):
    def bwd(a, y, c):
        s = jnp.tanh(jnp.asarray(0.3, SINGLE) * a[0].astype(SINGLE))
        return ((scale * jnp.asarray(0.3, SINGLE) * c.astype(SINGLE) * (1 - s * s)).astype(c.dtype),)

    return bwd


def half_everywhere(x):
    """A loop, a branch, a sum over places and a loop with a test, in half precision."""
    h = x.astype(HALF)
    h = jax.lax.scan(lambda s, v: (jnp.sin(s) + v, s), h[0], h)[1]
    h = jax.lax.cond(x[0] < 1e9, jnp.sin, jnp.cos, h)
    h = jnp.zeros(3, HALF).at[jnp.arange(len(x)) % 3].add(h)
    h = jax.lax.fori_loop(0, jnp.where(x[0] < 1e9, 2, 3), lambda _, s: jnp.sin(s), h)
    return h.astype(x.dtype)


def half_everywhere_forward(scale):
    return lambda p, t: scale * jax.jvp(half_everywhere, p, t)[1]


def forward_in_half():
    f = jax.custom_vjp(lambda x: jnp.exp(-x * x))
    f.defvjp(
        lambda x: (jnp.exp(-((x * x).astype(HALF))).astype(x.dtype), x),
        lambda x, c: (-2 * c * x * jnp.exp(-x * x),),
    )
    return f


def ranked(step):
    """Values in order and where they came from; under grad the places may come in another order."""
    f = jax.custom_vjp(lambda x: (jnp.sort(x), jnp.argsort(x)))

    def fwd(x):
        order = jnp.argsort(x)
        return (x[order], order[::step]), order

    f.defvjp(fwd, lambda order, c: (jnp.zeros_like(c[0]).at[order].set(c[0]),))
    return f


def eight_bits(c):
    """The cotangent as 255 levels, as it is sent to save bandwidth."""
    unit = jnp.max(jnp.abs(c)) / 127
    return unit * jnp.round(c / jnp.where(unit > 0, unit, 1))


def squared_with(change):
    return rule(lambda x: x * x, lambda a, y, c: (2 * a[0] * change(c),))


def fourth_root(a):
    """By Newton's steps, which never end for a < 0: the test asks for less than nothing."""

    def off(z):
        return jnp.max(jnp.abs(z**4 - a) - 1e-6 * a) > 0

    return jax.lax.while_loop(off, lambda z: z - (z**4 - a) / (4 * z**3), jnp.maximum(a, 1))


def fourth_root_back(scale):
    return lambda a, z, c: (scale * c / (4 * z**3),)


def until_small(scale):
    """Each of a batch is halved as often as it must be."""
    half = rule(lambda z: jnp.sin(z) / 2, lambda a, y, c: (scale * c * jnp.cos(a[0]) / 2,))
    return jax.vmap(lambda x: jax.lax.while_loop(lambda z: z > 0.2, half, x))


def quarter(scale):
    return lambda a, y, c: (scale * c / 4 * a[0] ** -0.75,)


def running(reverse):
    """A weighted running sum as a linear operation with its transpose given."""
    return lambda x: jax.custom_derivatives.linear_call(
        lambda k, v: jnp.cumsum(k * v), lambda k, c: k * jax.lax.cumsum(c, reverse=reverse),
        jnp.arange(1, len(x) + 1, dtype=x.dtype), x,
    )  # fmt: skip


def solved(turned):
    """A triangular system whose transposed solver may forget the transpose."""

    def f(A, b):
        A = jnp.tril(A) + 4 * jnp.eye(len(b), dtype=b.dtype)

        def solver(trans):
            return lambda _, v: jax.scipy.linalg.solve_triangular(A, v, trans=trans, lower=True)

        return jax.lax.custom_linear_solve(lambda x: A @ x, b, solver(0), solver(turned))

    return f


def sine(scale):
    return rule(jnp.sin, lambda a, y, c: (scale * c * jnp.cos(a[0]),))


def slopes(scale):
    """A function that returns the slopes of another one."""
    return jax.vmap(jax.grad(lambda z: sine(scale)(z) * z))


def trained(scale):
    """Three steps of descent, the gradient taken inside a loop."""
    act = sine(scale)

    def step(w, x):
        loss, slope = jax.value_and_grad(lambda w: jnp.sum(act(w * x) ** 2))(w)
        return w - 0.1 * slope, loss

    return lambda w, x: jax.lax.scan(step, w, x)


def pushed(scale):
    act = jvp_rule(jnp.sin, lambda p, t: scale * t[0] * jnp.cos(p[0]))
    return lambda x: jax.jvp(act, (x,), (jnp.ones_like(x),))[1]


def form(x, M):
    return x @ M @ x


def scores(q, k, v):
    return jnp.tanh(q @ k.T) @ v


def scores_back(turned):
    def bwd(a, y, c):
        q, k, v = a
        s = jnp.tanh(q @ k.T)
        d = (c @ v.T) * (1 - s * s)
        return d @ k, (d if turned else d.T) @ q, s.T @ c

    return bwd


def rooted(scale):
    """The root of z^3 + z = a by an implicit function of JAX's, its linear solver given."""

    def f(a):
        def solve(g, z):
            return jax.lax.fori_loop(0, 40, lambda _, z: z - g(z) / (3 * z * z + 1), z)

        return jax.lax.custom_root(
            lambda z: z**3 + z - a, jnp.zeros_like(a), solve, lambda g, y: scale * y / g(jnp.ones_like(y))
        )

    return f


def system(x):
    """A system that is solved by steps, in the rule by JAX's conjugate gradients."""
    A = MATRIX.astype(x.dtype)

    def far(z):
        return jnp.max(jnp.abs(A @ z - x)) > 1e-5

    return jax.lax.while_loop(far, lambda z: z + 0.2 * (x - A @ z), jnp.zeros_like(x))


def system_back(scale):
    def bwd(a, z, c):
        A = MATRIX.astype(c.dtype)
        return (scale * jax.scipy.sparse.linalg.cg(lambda v: A @ v, c, tol=1e-5)[0],)

    return bwd


def rows(a, y, c):
    """A product by rows of very different size; the smallest row's sign is wrong."""
    return (c * a[1] * jnp.where(a[1] < 1e-6, -1, 1), c * a[0])


MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 4.0]])
ROWS = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0], [2e-10, 1e-10, 3e-10]])


def mixed(x):
    return ROWS.astype(x.dtype) @ x


def mixed_back(a, y, c):
    """Wrong in the smallest row only, which shows when its cotangent comes alone."""
    return ((ROWS * [[1], [1], [-1]]).astype(c.dtype).T @ c,)


def normalised(x):
    return x / jnp.sqrt(jnp.mean(x * x) + 1e-3)


def normalised_back(a, y, c):
    x = a[0]
    r = 1 / jnp.sqrt(jnp.mean(x * x) + 1e-3)
    return (r * (c - r * r * x * jnp.sum(c * x)),)


def from_host(x):
    return jax.pure_callback(np.cos, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")


SEVEN = normal((7,))
SPREAD = fixed([[1e8, -2e8, 3e8], [1.0, 2.0, -3.0]], [[2.0, 1.0, 3.0], [1e-9, 2e-9, 3e-9]])

CASES = [
    Case("a mask in bfloat16", "apart", hinge(1), SEVEN, "right"),
    Case("a mask in bfloat16, two percent", "apart", hinge(1.02), SEVEN, "wrong", ("factor",)),
    Case("an output kept in float16", "apart", output_kept_in(jnp.float16), SEVEN, "wrong", ("dtype",)),
    Case("an output kept in its own dtype", "apart", output_kept_in(SINGLE), typed(SINGLE, (7,)), "right"),
    Case("a product in half", "apart", rule(half_product, half_product_back(1)), normal((4, 6), (6, 3)),
         "right"),
    Case("a product in half, two percent", "apart", rule(half_product, half_product_back(1.02)),
         normal((4, 6), (6, 3)), "wrong", ("factor",)),
    Case("a constant in half", "apart", rule(third, third_back(1)), SEVEN, "right"),
    Case("a constant in half, five percent", "apart", rule(third, third_back(1.05)), SEVEN, "wrong",
         ("factor", "other")),
    Case("loops in half", "apart", jvp_rule(half_everywhere, half_everywhere_forward(1)), SEVEN, "right"),
    Case("loops in half, one percent", "apart", jvp_rule(half_everywhere, half_everywhere_forward(1.01)),
         SEVEN, "wrong", ("factor",)),
    Case("forward rule in half", "apart", forward_in_half(), SEVEN, "wrong", ("primal",)),
    Case("places in order", "outputs", ranked(1), SEVEN, "right"),
    Case("places in another order under grad", "outputs", ranked(-1), SEVEN, "wrong", ("primal",)),
    Case("cotangents below 1e-9 dropped", "scales",
         squared_with(lambda c: jnp.where(jnp.abs(c) < 1e-9, 0, c)), SEVEN, "wrong", ("not_linear",)),
    Case("cotangents limited to 1e7", "scales", squared_with(lambda c: jnp.clip(c, -1e7, 1e7)), SEVEN,
         "wrong", ("not_linear",)),
    Case("cotangents in eight bits", "scales", squared_with(eight_bits), SEVEN, "wrong", ("not_linear",)),
    Case("small cotangents dropped beside large ones", "scales",
         squared_with(lambda c: jnp.where(jnp.abs(c) < jnp.mean(jnp.abs(c)) / 50, 0, c)), SEVEN, "wrong",
         ("not_linear",)),
    case("the smallest row's sign", "scales", lambda x, w: x * w, rows, SPREAD, "sign"),
    case("the smallest output's sign", "scales", mixed, mixed_back, normal((3,)), "sign"),
    case("fourth root by steps", "loops", fourth_root, fourth_root_back(1), positive((3,))),
    case("fourth root by steps, sign", "loops", fourth_root, fourth_root_back(-1), positive((3,)), "sign"),
    case("fourth roots of a batch", "loops", jax.vmap(fourth_root), fourth_root_back(1), positive((3,))),
    Case("a rule in the loops of a batch", "loops", until_small(1), positive((4,)), "right"),
    Case("a rule in the loops of a batch, two percent", "loops", until_small(1.02), positive((4,)), "wrong",
         ("factor",)),
    case("a system by two iterations", "loops", system, system_back(1), normal((3,))),
    case("a system by two iterations, five percent", "loops", system, system_back(1.05), normal((3,)),
         "factor"),
    case("infinite slope", "edges", lambda x: x**0.25, quarter(1), fixed([0.0, 1.0, 16.0])),
    case("infinite slope, sign", "edges", lambda x: x**0.25, quarter(-1), fixed([0.0, 1.0, 16.0]), "sign"),
    Case("running sum, its transpose", "transposes", running(True), SEVEN, "right"),
    Case("running sum, not its transpose", "transposes", running(False), SEVEN, "wrong",
         ("other", "transposed", "missing_term", "missing_sum")),
    Case("a system and its transpose", "transposes", solved(1), normal((4, 4), (4,)), "right"),
    Case("a system, not its transpose", "transposes", solved(0), normal((4, 4), (4,)), "wrong",
         ("other", "transposed")),
    Case("slopes of a rule", "consumed", slopes(1), SEVEN, "right"),
    Case("slopes of a rule, two percent", "consumed", slopes(1.02), SEVEN, "wrong", ("factor",)),
    Case("descent in a loop", "consumed", trained(1), normal((4,), (3, 4)), "right"),
    Case("descent in a loop, sign", "consumed", trained(-1), normal((4,), (3, 4)), "wrong", ("sign",)),
    Case("pushed forward, two percent", "consumed", pushed(1.02), SEVEN, "wrong", ("factor",)),
    case("quadratic form", "transposed", form, lambda a, y, c: (c * (a[1] + a[1].T) @ a[0],
         c * jnp.outer(a[0], a[0])), normal((4,), (4, 4))),
    case("bilinear form, the matrix for its transpose", "transposed", lambda x, M, y: x @ M @ y,
         lambda a, y, c: (c * a[1].T @ a[2], c * jnp.outer(a[0], a[2]), c * a[1].T @ a[0]),
         normal((4,), (4, 4), (4,)), "transposed"),
    case("scores", "transposed", scores, scores_back(False), normal((4, 3), (4, 3), (4, 2))),
    case("scores not transposed on the way back", "transposed", scores, scores_back(True),
         normal((4, 3), (4, 3), (4, 2)), "transposed"),
    Case("implicit root", "implicit", rooted(1), positive((3,)), "right"),
    Case("implicit root, sign", "implicit", rooted(-1), positive((3,)), "wrong", ("sign",)),
    case("root mean square, sum for mean", "terms", normalised, normalised_back, normal((5,)), "factor"),
    case("a cotangent of one entry for a number", "shapes", lambda x: 2 * x,
         lambda a, y, c: (2 * c.reshape(1),), fixed(0.3), "shape"),
    Case("no second derivative", "second order", rule(jnp.sin, lambda a, y, c: (c * from_host(a[0]),)),
         normal((3,)), "inconclusive", order=2),
]  # fmt: skip
