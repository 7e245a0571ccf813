"""Every layer's backward pass against jax.vjp of its plain apply, and against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jaxbp
from tests.cases import LAYERS, LEADING, draw, draw_inputs, draw_params, half
from tests.oracles import assert_close, differences, tolerance

MODES = {
    "eager": lambda fn: fn,
    "jit": jax.jit,
    "vmap": lambda fn: jax.jit(jax.vmap(fn, in_axes=(None, 0, 0))),
}


def both(layer, *, key=None):
    """(params, f, delta_out) -> twice (out, delta_params, delta_f): by hand and by jax.vjp."""

    def by_hand(params, f, delta_out):
        out, saved = layer.forward(params, f, key=key)
        return out, *layer.backward(params, saved, delta_out)

    def by_jax(params, f, delta_out):
        out, vjp = jax.vjp(lambda params, f: layer.apply(params, f, key=key), params, f)
        return out, *vjp(delta_out)

    return lambda *args: (by_hand(*args), by_jax(*args))


def assert_rule_holds(layer, f, *, mode="eager", key=None):
    params = draw_params(layer, f.dtype)
    delta_out = draw(jax.eval_shape(layer.apply, params, f).shape, f.dtype, seed=2)
    assert_close(*MODES[mode](both(layer, key=key))(params, f, delta_out), f.dtype)


@pytest.mark.parametrize(("n", "dtype", "mode"), half(LEADING, ("float32", "float64"), tuple(MODES)))
@pytest.mark.parametrize("case", LAYERS)
def test_backward_equals_jax(case, n, dtype, mode):
    layer, shape = LAYERS[case]
    with jax.enable_x64(dtype == "float64"):
        batch = (2, *n) if mode == "vmap" else n
        assert_rule_holds(layer, draw_inputs((*batch, *shape), dtype), mode=mode)


@pytest.mark.parametrize("n", LEADING, ids=str)
@pytest.mark.parametrize("case", LAYERS)
def test_backward_equals_jax_with_a_key(case, n, x64):
    layer, shape = LAYERS[case]
    assert_rule_holds(layer, draw_inputs((*n, *shape), "float64"), key=jax.random.key(3))


@pytest.mark.parametrize("case", LAYERS)
def test_backward_equals_differences(case, x64):
    layer, shape = LAYERS[case]
    f = draw_inputs((2, *shape), "float64")
    params = draw_params(layer, "float64")
    out, saved = layer.forward(params, f)
    delta_out = draw(out.shape, "float64", seed=2)
    delta_params, delta_f = layer.backward(params, saved, delta_out)
    flat, unravel = jax.flatten_util.ravel_pytree((params, f))
    found = jax.flatten_util.ravel_pytree((delta_params, delta_f))[0]
    wanted = differences(lambda v: (layer.apply(*unravel(v)) * delta_out).sum(), flat)
    assert np.abs(found - wanted).max() <= 1e-8 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_the_slope_at_a_kink_is_jax_nn_s(name):
    layer, at_kink = getattr(jaxbp, name), jnp.zeros(3)
    _, saved = layer.forward({}, at_kink)
    slope = jax.grad(lambda f: getattr(jax.nn, name)(f).sum())(at_kink)
    assert (layer.backward({}, saved, jnp.ones(3))[1] == slope).all()
    assert slope[0] == {"relu": 0, "leaky_relu": 1}[name]


ACTIVATIONS = ["sigmoid", "tanh", "relu", "softplus", "gelu", "gelu_exact", "silu", "softmax"]
compiled = {name: jax.jit(both(getattr(jaxbp, name))) for name in ACTIVATIONS}


@pytest.mark.parametrize("name", ACTIVATIONS)
@settings(deadline=None, max_examples=50)
@given(a=hnp.arrays(np.float64, 6, elements=st.floats(-40, 40)))
def test_activations_hold_for_any_input(name, a):
    """All slopes are at most 1.13, so a rounding of delta_out is one of delta_f, however flat the curve."""
    with jax.enable_x64(True):
        by_hand, by_jax = compiled[name]({}, jnp.asarray(a), jnp.asarray([1.0, -1.0, 0.5, -0.5, 0.3, 1.0]))
        assert np.abs(by_hand[2] - by_jax[2]).max() <= tolerance("float64")


def test_ranges_of_the_lecture():
    a = jnp.array([-40.0, 0.0, 40.0])
    assert jaxbp.sigmoid.apply({}, a).tolist() == pytest.approx([0, 0.5, 1])
    assert jaxbp.tanh.apply({}, a).tolist() == [-1, 0, 1]
    assert jaxbp.relu.apply({}, a).tolist() == [0, 0, 40]


@pytest.mark.parametrize("case", LAYERS)
def test_the_jacobian_is_jacrev_of_apply(case, x64):
    layer, shape = LAYERS[case]
    f, params = draw_inputs(shape, "float64"), draw_params(layer, "float64")
    J = jax.jacrev(layer.apply, argnums=1)(params, f)
    assert_close(layer.jacobian(params, f).matrix(), J.reshape(-1, f.size), "float64")


def test_the_jacobian_of_a_residual_block_is_I_plus_the_branch_s(x64):
    branch, f = jaxbp.chain(jaxbp.dense(4, 6), jaxbp.tanh, jaxbp.dense(6, 4)), jnp.arange(4.0)
    block = jaxbp.residual(branch)
    params = branch.init(jax.random.key(0))
    J_branch = branch.jacobian(params, f).matrix()
    assert_close(block.jacobian({"branch": params}, f).matrix(), jnp.eye(4) + J_branch, "float64")


def test_forward_mode_works_through_apply(x64):
    net = jaxbp.mlp([3, 4, 2], jaxbp.gelu)
    params, f = net.init(jax.random.key(0)), jnp.arange(3.0)
    reverse = jax.jacrev(net.apply, argnums=1)(params, f)
    assert_close(jax.jacfwd(net.apply, argnums=1)(params, f), reverse, "float64")
