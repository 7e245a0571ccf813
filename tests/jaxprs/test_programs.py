"""A jaxpr evaluated, written out, widened or unrolled computes what it computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core

from jaxbp.jaxprs.inline import flattened, opened, without_rules
from jaxbp.jaxprs.last_digits import shaken
from jaxbp.jaxprs.loops import capped, run_on, scanned, stops_by_test, unrolled
from jaxbp.jaxprs.walk import dtypes_in, evaluate, primitives_in, single
from jaxbp.jaxprs.widest_dtype import widened

pytestmark = pytest.mark.jax_release


@jax.custom_vjp
def cubed(x):
    return x**3


cubed.defvjp(lambda x: (x**3, x), lambda x, c: (3 * x * x * c,))


@jax.custom_jvp
def softened(x):
    return jnp.log1p(jnp.exp(cubed(x)))


softened.defjvp(lambda p, t: (softened(p[0]), t[0]))


def settled(x):
    """A loop that stops by a test of its values."""
    return lax.while_loop(lambda z: jnp.max(jnp.abs(jnp.cos(z) - z)) > 1e-3, jnp.cos, x)


PROGRAMS = {
    "elementwise": lambda x: jnp.tanh(x) * 2 + 1,
    "constant": lambda x: x + np.arange(3.0, dtype=np.float32),
    "two outputs": lambda x: (x.sum(), jnp.sort(x)[::-1]),
    "unchanged": lambda x: x,
    "integers": lambda x: (jnp.argmax(x), x > 0),
    "jit": jax.jit(lambda x: jnp.sin(x) + jax.jit(jnp.cos)(x)),
    "remat": lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(x),
    "custom_vjp": lambda x: cubed(2 * x),
    "custom_jvp": softened,
    "rule in jit in scan": lambda x: lax.scan(lambda c, y: (jax.jit(cubed)(c) * 0.1 + y, c), x, x)[1],
    "scan backwards": lambda x: lax.scan(lambda c, y: (c * y + 0.5, c.sum()), x, x, reverse=True),
    "fori": lambda x: lax.fori_loop(0, 4, lambda i, z: z * 0.5 + i, x),
    "while": settled,
    "cond": lambda x: lax.cond(x.sum() > 0, jnp.sin, softened, x),
    "switch": lambda x: lax.switch(jnp.argmax(x), [jnp.sin, jnp.cos, cubed], x),
    "vmap of while": jax.vmap(settled),
    "gradient": jax.grad(lambda x: cubed(x).sum()),
    "product": lambda x: jnp.einsum("i,j->ij", x, x) @ x,
    "scatter": lambda x: jnp.asarray(x).at[jnp.array([0, 0, 2])].add(x),
    "half": lambda x: (x.astype(jnp.float16) * 0.75).astype(jnp.float32),
    "key": lambda x: x + jax.random.normal(jax.random.key(0), (3,)),
}
X = np.float32([0.3, -0.4, 0.9])


def closed_of(name, x=X):
    return jax.make_jaxpr(PROGRAMS[name])(x)


def assert_same(got, want, rtol=1e-6):
    for g, w in zip(got, jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=1e-7)


def equation_by_equation(closed):
    return lambda *args: evaluate(closed, args, lambda _, eqn, x: single(eqn, closed.jaxpr.debug_info)(*x))


@pytest.mark.parametrize("name", PROGRAMS)
def test_evaluated_it_is_the_program(name):
    assert_same(equation_by_equation(closed_of(name))(X), PROGRAMS[name](X))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("write", [without_rules, flattened, opened])
def test_written_out_it_is_the_program(name, write):
    closed = write(closed_of(name))
    assert_same(core.jaxpr_as_fun(closed)(X), PROGRAMS[name](X))
    found = primitives_in(closed.jaxpr)
    rules = {"custom_vjp_call", "custom_jvp_call"}
    assert not (found & rules and write is without_rules)
    top = {e.primitive.name for e in closed.jaxpr.eqns}
    assert not (top & (rules | {"jit", "remat2", "checkpoint"}) and write is flattened)
    assert not (top & {"jit", "remat2", "checkpoint"} and write is opened)


# Other programs in float64: they round, stop by a test, draw in their dtype, or hold a coarse constant.
OTHERS = {"half", "while", "vmap of while", "key", "constant"}


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - OTHERS))
def test_widened_it_is_the_float64_program(name):
    with jax.enable_x64(True):
        wide = widened(closed_of(name))
        assert dtypes_in(wide.jaxpr) <= {np.dtype(np.float64)}
        want = PROGRAMS[name](jnp.asarray(X, jnp.float64))
        assert_same(core.jaxpr_as_fun(wide)(jnp.asarray(X, jnp.float64)), want, rtol=1e-13)


def test_widened_a_cast_rounds_nothing_away():
    with jax.enable_x64(True):
        x = np.array([1 / 3, 2e-9, 1e9])
        assert_same(core.jaxpr_as_fun(widened(closed_of("half")))(x), x * 0.75, rtol=1e-15)


@pytest.mark.parametrize("name", ["fori", "scan backwards", "rule in jit in scan", "while", "vmap of while"])
def test_what_stops_by_a_test_of_its_values(name):
    assert stops_by_test(closed_of(name).jaxpr) == ("while" in name)


def test_a_loop_run_on_comes_nearer_to_its_limit():
    closed, limit = closed_of("while"), 0.7390851
    stopped, further = PROGRAMS["while"](X), run_on(closed)(X)[0]
    assert np.abs(further - limit).max() < 1e-2 * np.abs(stopped - limit).max()


def test_a_loop_without_end_is_capped():
    closed = jax.make_jaxpr(lambda x: lax.while_loop(lambda z: z > -1, lambda z: z, x))(1.0)
    assert np.isnan(core.jaxpr_as_fun(capped(closed))(1.0)[0])
    assert_same(core.jaxpr_as_fun(capped(closed_of("while")))(X), settled(X))


@pytest.mark.parametrize("name", ["while", "vmap of while"])
def test_unrolled_it_can_be_pulled_back(name):
    closed = flattened(closed_of(name))
    program = core.jaxpr_as_fun(unrolled(closed, [X]))
    assert_same(program(X), PROGRAMS[name](X))
    tangent = jax.jvp(PROGRAMS[name], (X,), (X,))[1]
    ones = [jnp.ones(3)]
    np.testing.assert_allclose(jax.vjp(program, X)[1](ones)[0] @ X, tangent.sum(), rtol=1e-5)


def test_a_scan_with_another_body():
    eqn = next(e for e in closed_of("scan backwards").jaxpr.eqns if e.primitive.name == "scan")
    body = core.jaxpr_as_fun(eqn.params["jaxpr"])
    assert_same(scanned(eqn, [X, X], lambda *args: body(*args)), PROGRAMS["scan backwards"](X))


def test_shaken_it_moves_by_its_last_digits():
    def lost(x):
        return (1 + 1e-4 * x) - 1

    moved = [shaken(jax.make_jaxpr(lost)(X))(seed, X)[0] for seed in (jnp.uint32(1), jnp.uint32(2))]
    gap = np.abs(moved[0] - lost(X)) + np.abs(moved[1] - lost(X))
    assert 0 < gap.max() < 4 * np.finfo(np.float32).eps
