"""`explain` of the library's other layers: by their numbers and Jacobians, and a sentence that says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import chain, dense

RNG = np.random.default_rng(0)
IMAGE, ROWS, PAIR = (RNG.normal(size=shape).round(2) for shape in ((3, 3, 1), (2, 2), 2))
BY_NUMBERS = "by its numbers and its Jacobian, not component by component: "
NETS = {
    "images": (
        chain(jaxbp.conv2d(1, 1, 2), jaxbp.max_pool2d(2), jaxbp.flatten(1, 1, 1), dense(1, 1)),
        IMAGE,
        ("conv2d(1, 1, 2), max_pool2d(2)", "changes no number here: flatten(1, 1, 1)"),
    ),
    "norms": (chain(jaxbp.layer_norm(2), dense(2, 1)), PAIR, ("layer_norm(2)", "delta_g_1 = ")),
    "attention": (
        chain(dense(2, 6), jaxbp.attend(1), jaxbp.flatten(2, 2), dense(4, 1)),
        ROWS,
        ("dense(2, 6), attend(1)",),
    ),
    "through time": (
        chain(jaxbp.lstm(2, 1), jaxbp.flatten(2, 1), dense(2, 1)),
        ROWS,
        ("lstm(2, 1)", "a_1 = lstm(2, 1)(x), f_1 = a_1", "delta_R_1 = "),
    ),
    "a repeated block": (
        chain(jaxbp.repeat(chain(dense(2, 2), jaxbp.tanh), 2), dense(2, 1)),
        PAIR,
        ("repeat(chain(dense(2, 2), tanh), 2)", "W_1.1 = ", "delta_W_1.1 = "),
    ),
    "tied": (
        jaxbp.tied(chain(dense(2, 2), jaxbp.tanh, dense(2, 2), dense(2, 1)), (2, "W"), (1, "W")),
        PAIR,
        ("tied(chain(dense(2, 2), tanh, dense(2, 2), dense(2, 1)), (2, 'W'), (1, 'W'))", "W_1.1 = "),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_numbers_are_right_and_what_is_left_out_is_said(name):
    net, x, said = NETS[name]
    params = net.init(jax.random.key(0))
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, x, [1.0])
    text = str(explanation)
    assert BY_NUMBERS in text
    for words in said:
        assert words in text
    assert explanation.largest_difference <= 4
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, float), params)
        loss, by_grad = jax.value_and_grad(
            lambda p, x: jaxbp.squared_error(net.apply(p, x), jnp.ones(1)), argnums=(0, 1)
        )(params, jnp.asarray(x))
    assert explanation.values[("$", "loss")][0][0] == pytest.approx(float(loss), rel=1e-12)
    deltas = [explanation.values[("$", f"delta_{name}")] for name in [*explanation.parameters(), "x"]]
    for found, wanted in zip(deltas, jax.tree.leaves(by_grad), strict=True):
        np.testing.assert_allclose(np.ravel(found), np.ravel(wanted), atol=1e-12)


def test_what_changes_nothing_is_named():
    net = chain(dense(2, 2), jaxbp.dropout(0.5), dense(2, 1))
    text = str(jaxbp.explain(net, jaxbp.squared_error, net.init(jax.random.key(0)), PAIR, 1))
    assert "changes no number here: dropout(0.5)" in text
    assert BY_NUMBERS not in text
    assert "a_1 = W_1 f_0 + b_1, f_1 = a_1" in text  # and of the last layer it is said with the output
    assert "a_2 = W_2 f_1 + b_2  " in text


def test_what_has_no_derivative_or_no_single_example_is_refused():
    net = chain(jaxbp.embedding(3, 2), jaxbp.flatten(2, 2), dense(4, 1))
    with pytest.raises(TypeError, match=r"derivative, got ids, .* explain the layers after the embedding"):
        jaxbp.explain(net, jaxbp.squared_error, net.init(jax.random.key(0)), [0, 2], 1)
    net = chain(jaxbp.batch_norm(2), dense(2, 1))
    with pytest.raises(ValueError, match=r"give its state, see jaxbp\.fixed"):
        jaxbp.explain(net, jaxbp.squared_error, net.init(jax.random.key(0)), PAIR, 1)
