"""Programs that lose a number, each in a way of its own: operation, line and trap are named."""

import linecache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.special import logsumexp, xlogy
from jax.sharding import PartitionSpec

import jaxbp


class Program(NamedTuple):
    """A loss, its arguments, and what is to be said: the line by a part of its text."""

    f: object
    args: tuple
    direction: str
    operation: str
    line: str
    trap: str
    step: tuple


PROGRAMS: list[Program] = []


def program(args, direction, operation, line, trap, step=()):
    def put(f):
        PROGRAMS.append(Program(f, args, direction, operation, line, trap, step))
        return f

    return put


def a(*numbers):
    return jnp.array(numbers, jnp.float32)


@program((a(1.0), a(4, 1, 0, 1)), "forward", "div", "h / x * w", "division by 0", (2,))
def division_in_a_scan(w, x):
    def step(h, x):
        return h / x * w, None

    return jax.lax.scan(step, jnp.ones(1), x)[0].sum()


@program((a(1, 2),), "forward", "div", "w[0] / (2.0 - i - j)", "division by 0", (0, 2))
def division_in_a_nested_scan(w):
    def outer(h, i):
        def inner(h, j):
            return h * w[0] / (2.0 - i - j), None

        return jax.lax.scan(inner, h, jnp.arange(3.0))[0], None

    return jax.lax.scan(outer, 1.0, jnp.arange(3.0))[0]


@program((a(1.5),), "forward", "mul", "lambda i, h: h * w * 2", "overflow of float32", (80,))
def a_loop_that_grows(w):
    return jax.lax.fori_loop(0, 300, lambda i, h: h * w * 2, jnp.ones(1)).sum()


@program((a(5, 1),), "forward", "while", "lambda c: c[0] < 5", "overflow of float32")
def a_while_beside_the_gradient(w):
    n = jax.lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, c[1] * 1e10), (0, 1.0))[1]
    return (w * n).sum()


@program((a(-1, 2),), "forward", "log", "jnp.log(v)", "log of a negative number")
def log_in_a_vmap(w):
    return jax.vmap(lambda v: jnp.log(v))(w).sum()


@program((a(0, 2),), "backward", "sqrt", "jnp.sqrt(jnp.sin(h))", "slope of a root at 0")
def root_in_a_remat(w):
    @jax.checkpoint
    def block(h):
        return jnp.sqrt(jnp.sin(h))

    return block(w).sum()


@program((a(0, -1),), "forward", "div", "1 / v[0]", "division by 0")
def division_in_a_branch(w):
    return jax.lax.cond(w[1] < 0, lambda v: 1 / v[0], lambda v: v[1], w)


@program((a(1, 1, 1, 1), a(2, 3, 0, 4)), "backward", "sqrt", "jnp.sqrt(jnp.sum", "slope of a root at 0")
def root_on_a_mesh(w, x):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("d")

    @jax.shard_map(mesh=mesh, in_specs=(spec, spec), out_specs=PartitionSpec())
    def norms(w, x):
        return jax.lax.psum(jnp.sqrt(jnp.sum((w * x) ** 2)), "d")

    return norms(w, x)


@jax.custom_vjp
def shifted_log(x):
    return jnp.log1p(x)


shifted_log.defvjp(lambda x: (jnp.log1p(x), x), lambda x, ct: (ct / x,))


@jax.custom_vjp
def inverse(x):
    return 1.0 / x


inverse.defvjp(lambda x: (1.0 / x, x), lambda x, ct: (-ct / x**2,))


@program((a(0, 1),), "backward", "shifted_log", "shifted_log(w)", "its rule")
def a_rule_with_a_pole(w):
    return shifted_log(w).sum()


@program((a(0, 1),), "forward", "inverse", "inverse(w)", "inside of it, div (")
def a_pole_inside_of_a_rule(w):
    return inverse(w).sum()


@program((a(0.3, 0.2),), "forward", "cosine_similarity", "cosine_similarity(w[None]", "0 / 0")
def cosine_of_nothing(w):
    return optax.cosine_similarity(w[None] * 0.0, jnp.ones((1, 2)), epsilon=0.0).sum()


@program((a(0.3, 0.2), a(1, 0)), "forward", "log", "kl_divergence(jnp.log", "log at 0")
def divergence_of_a_certain_target(w, y):
    return optax.kl_divergence(jnp.log(w * y), y).sum()


@program((a(1, 2),), "backward", "norm", "linalg.norm(w", "slope of a root at 0")
def distance_of_equals(w):
    return jnp.linalg.norm(w - jnp.array([1.0, 2.0]))


@program((a(0, 2),), "backward", "div", "jnp.sin(w) / w", "slope of a division by 0: 0 * inf, a where")
def sinc(w):
    return jnp.where(w == 0, 1.0, jnp.sin(w) / w).sum()


@program((a(0, 2, 3),), "backward", "log", "cumsum(jnp.log(w))", "slope of log at 0: 0 * inf")
def product_by_logarithms(w):
    return jnp.exp(jnp.cumsum(jnp.log(w)))[-1]


@program((jnp.array([300, 2], jnp.float16),), "forward", "mul", "(w * w)", "overflow of float16")
def square_in_half_precision(w):
    return (w * w).mean().astype(jnp.float32)


@program((a(1, 2), a(0, 0)), "forward", "log_softmax", "log_softmax(jnp.where", "inf - inf")
def everything_masked(w, mask):
    return -jax.nn.log_softmax(jnp.where(mask > 0, w, -jnp.inf))[0]


@program((a(1, 2),), "forward", "logsumexp", "logsumexp(jnp.where", "log at 0")
def sum_of_nothing(w):
    return logsumexp(jnp.where(w > 9, w, -jnp.inf))


@program((a(2, 2, 2),), "backward", "std", "jnp.std(w)", "slope of a root at 0")
def deviation_of_a_constant(w):
    return jnp.std(w)


@program((a(1, 0.5),), "backward", "acos", "arccos(w)", "slope at the border of its domain")
def angle_of_equals(w):
    return jnp.arccos(w).sum()


@program((a(0, 2),), "forward", "exp", "jnp.exp(w * 100)", "overflow of float32")
def zero_times_infinity(w):
    return (w * jnp.exp(w * 100)[::-1]).sum()


@program((a(0, 2), a(0.5)), "backward", "pow", "w**p", "slope of a power at 0")
def power_of_zero(w, p):
    return (w**p).sum()


@program((a(0, 0),), "backward", "atan2", "arctan2(w[0]", "slope of an angle at the origin")
def angle_at_the_origin(w):
    return jnp.arctan2(w[0], w[1])


@program((a(*[3] * 100),), "forward", "cumprod", "jnp.cumprod(w)", "overflow of float32")
def growing_product(w):
    return jnp.cumprod(w)[-1]


@program((jnp.eye(3),), "backward", "eigh", "linalg.eigh(w)", "slope at equal eigenvalues")
def vectors_of_equal_eigenvalues(w):
    return (jnp.linalg.eigh(w)[1] ** 3).sum()


@program((jnp.diag(a(1, 1, 2)),), "backward", "svd", "linalg.svd(w)", "slope at equal singular values")
def vectors_of_equal_singular_values(w):
    u, _, v = jnp.linalg.svd(w)
    return u.sum() + (v**2)[0].sum()


@program((jnp.diag(a(1, -1)),), "forward", "cholesky", "linalg.cholesky(w)", "a matrix that is not positive")
def factor_of_an_indefinite_matrix(w):
    return jnp.linalg.cholesky(w).sum()


@program((jnp.zeros((2, 2)),), "forward", "solve", "linalg.solve(w", "a singular matrix")
def system_without_a_solution(w):
    return jnp.linalg.solve(w, jnp.ones(2)).sum()


@program((jnp.zeros((2, 2)),), "forward", "slogdet", "linalg.slogdet(w)", "a singular matrix")
def volume_of_a_flat_thing(w):
    return jnp.linalg.slogdet(w)[1]


@program((a(0, 1),), "backward", "xlogy", "xlogy(w, w)", "slope of log at 0")
def entropy_by_xlogy(w):
    return xlogy(w, w).sum()


@program((a(1, 2),), "backward", "sqrt", "jnp.sqrt(jnp.sum(g**2))", "slope of a root at 0")
def penalty_on_a_gradient_of_0(w):
    g = jax.grad(lambda x: jnp.sum(w * x**2))(jnp.zeros(2))
    return (jnp.sqrt(jnp.sum(g**2)) - 1) ** 2


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.f.__name__, marks=[pytest.mark.soak] * (i % 8 > 0))
        for i, case in enumerate(PROGRAMS)
    ],
)
def test_operation_line_and_trap(case):
    found = jaxbp.first_nonfinite(case.f, *case.args)
    assert (found.direction, found.operation, found.step) == (case.direction, case.operation, case.step)
    assert found.trap.startswith(case.trap)
    file, _, line = found.where.rpartition(":")
    assert file == __file__
    assert case.line in linecache.getline(file, int(line))


def test_silence_where_these_are_kept_from_it():
    """The cousins of some of them that are right."""

    def right(w):
        safe = jnp.where(w == 0, 1.0, w)
        masked = jnp.where(jnp.arange(3) > 0, w, -jnp.inf)
        return jnp.sum(jnp.where(w == 0, 1.0, jnp.sin(safe) / safe)) + jax.nn.logsumexp(masked)

    assert jaxbp.first_nonfinite(right, jnp.array([0.0, 1.0, 2.0])) is None
    assert np.isfinite(jax.grad(right)(jnp.array([0.0, 1.0, 2.0]))).all()
