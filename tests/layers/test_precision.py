"""`mixed_precision`: structure and parameters stay as they are, gradients are those of fewer bits."""

import jax
import jax.numpy as jnp
import pytest

import jaxbp
from tests.cases import draw, draw_params

NETS = {
    "mlp": jaxbp.mlp([6, 16, 3], jaxbp.gelu),
    "residual": jaxbp.chain(
        jaxbp.dense(6, 6), jaxbp.tanh, jaxbp.residual(jaxbp.dense(6, 6)), jaxbp.dense(6, 3)
    ),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_gradients_keep_the_digits_of_the_dtype(net, dtype):
    """In the norm of each array, 4 eps of the dtype; and not as close as float32 would be."""
    params, x, y = draw_params(net, "float32"), draw((32, 6), "float32"), jnp.arange(32) % 3
    mixed = jaxbp.mixed_precision(net, dtype)
    exact = jax.jit(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy))(params, x, y)[1]
    coarse = jax.jit(jaxbp.value_and_grad(mixed, jaxbp.softmax_cross_entropy))(params, x, y)[1]
    by_jax = jax.grad(lambda p: jaxbp.softmax_cross_entropy(mixed.apply(p, x), y))(params)
    eps = float(jnp.finfo(dtype).eps)
    for other in (coarse, by_jax):
        error = jax.tree.map(lambda u, v: float(jnp.linalg.norm(u - v) / jnp.linalg.norm(v)), other, exact)
        assert max(jax.tree.leaves(error)) < 4 * eps
        assert max(jax.tree.leaves(error)) > eps / 100
    assert {leaf.dtype for leaf in jax.tree.leaves(coarse)} == {jnp.dtype("float32")}


def test_the_structure_stays_and_what_is_saved_is_half():
    net = NETS["mlp"]
    mixed = jaxbp.mixed_precision(net)
    assert len(mixed.parts) == len(net.parts)
    saved = mixed.forward(draw_params(net, "float32"), draw((5, 6), "float32"))[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(saved)} == {jnp.dtype(jnp.bfloat16)}


def test_it_takes_no_integers():
    with pytest.raises(TypeError, match="a floating dtype, got int8"):
        jaxbp.mixed_precision(NETS["mlp"], "int8")
