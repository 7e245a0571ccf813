"""Regions of their own: what a large net keeps, and that it computes the same."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

import jaxbp
from jaxbp.layers import memory
from tests.cases import LAYERS, NETS, draw_inputs, draw_params, draw_targets
from tests.layers.test_rules import assert_rule_holds
from tests.oracles import assert_close

pytestmark = pytest.mark.jax_release


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(memory, "LARGE", 0)


SAVERS = ["relu", "leaky_relu", "gelu", "gelu_exact", "silu"]


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize(("mode", "dtype"), [("eager", "float64"), ("jit", "float32"), ("vmap", "float64")])
@pytest.mark.parametrize("name", SAVERS)
def test_the_rules_hold_in_regions(name, dtype, mode):
    net = jaxbp.mlp([4, 6, 3], getattr(jaxbp, name))
    with jax.enable_x64(dtype == "float64"):
        assert_rule_holds(net, draw_inputs((2, 3, 4), dtype), mode=mode)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("case", ["images", "with dropout", "nested residual"])
def test_hand_vjp_in_regions(case, x64):
    net, shape = NETS[case]
    params, x = draw_params(net, "float64"), draw_inputs((3, *shape), "float64")
    y, key, loss = draw_targets("label", (3, 3), "float64"), jax.random.key(4), jaxbp.softmax_cross_entropy

    def grad(apply):
        return jax.jit(jax.grad(lambda p, x: loss(apply(p, x, key=key), y), (0, 1)))(params, x)

    assert_close(grad(jaxbp.with_hand_vjp(net)), grad(net.apply), "float64")


@pytest.mark.soak
@pytest.mark.usefixtures("everything_is_large")
def test_second_derivatives_in_regions(x64):
    net, x, y = jaxbp.mlp([3, 4, 2], jaxbp.silu), jnp.arange(6.0).reshape(2, 3), jnp.array([0, 1])
    params, loss = draw_params(net, "float64"), jaxbp.softmax_cross_entropy
    by_hand = jaxbp.value_and_grad(net, loss)
    hessian = jax.jit(jax.hessian(lambda p: loss(net.apply(p, x), y)))(params)
    for jac in (jax.jacfwd, jax.jacrev):
        assert_close(jax.jit(jac(lambda p: by_hand(p, x, y)[1]))(params), hessian, "float64")


@pytest.mark.parametrize("case", LAYERS)
def test_saves_input_says_what_forward_saves(case):
    layer, shape = LAYERS[case]
    f = draw_inputs((2, *shape), "float32")
    _, saved = layer.forward(draw_params(layer, "float32"), f)
    assert not layer.saves_input or saved is f


def compiled(name, widths, n, *, hand):
    """The compiler's count of a step's FLOPs and bytes of temporaries, nothing run.

    By hand, or by jax.value_and_grad of the same network in plain JAX.
    """
    loss, net = jaxbp.softmax_cross_entropy, jaxbp.mlp(widths, getattr(jaxbp, name))
    params = jax.eval_shape(net.init, jax.random.key(0))
    phi = partial(jax.nn.gelu, approximate=False) if name == "gelu_exact" else getattr(jax.nn, name)
    x, y = jax.ShapeDtypeStruct((n, widths[0]), "float32"), jax.ShapeDtypeStruct((n,), "int32")

    def plain(params, x, y):
        for l in range(1, len(widths)):
            a = x @ params[l]["W"].T + params[l]["b"][None]
            x = a if l == len(widths) - 1 else phi(a)
        return loss(x, y)

    fn = jaxbp.value_and_grad(net, loss) if hand else jax.value_and_grad(plain)
    step = jax.jit(fn).lower(params, x, y).compile()
    return step.cost_analysis()["flops"], step.memory_analysis().temp_size_in_bytes


ALL = ["sigmoid", "tanh", "softplus", "softmax", *SAVERS]


@pytest.mark.parametrize("name", ALL)
def test_no_more_flops_and_memory_than_jax(name):
    """Nothing is computed or kept that jax.value_and_grad does not."""
    flops, temporary = compiled(name, [64] * 7, 512, hand=True)
    flops_of_jax, temporary_of_jax = compiled(name, [64] * 7, 512, hand=False)
    assert flops <= flops_of_jax
    assert temporary <= temporary_of_jax


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what other compilers keep is not measured")
@pytest.mark.parametrize(("name", "arrays"), [("relu", 1), ("leaky_relu", 1.25), ("gelu", 1), ("silu", 1)])
def test_a_large_net_keeps_one_array_a_layer(name, arrays):
    L, n, width = 12, 4096, 128
    flops, temporary = compiled(name, [width] * (L + 1), n, hand=True)
    flops_of_jax, temporary_of_jax = compiled(name, [width] * (L + 1), n, hand=False)
    assert flops <= flops_of_jax
    assert temporary <= 4 * n * width * (arrays * (L - 1) + 6)  # and a few of the layer at work
    assert temporary <= (0.6 if arrays == 1 else 0.75) * temporary_of_jax


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what other compilers keep is not measured")
def test_without_regions_a_large_net_keeps_two(monkeypatch):
    monkeypatch.setattr(memory, "LARGE", 2**40)
    L, n, width = 12, 4096, 128
    temporary = compiled("relu", [width] * (L + 1), n, hand=True)[1]
    assert temporary >= 4 * n * width * 2 * (L - 1)
