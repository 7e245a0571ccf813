"""Rules broken the way people break them: the tests that guard the rules must fail on each."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

import jaxbp
from tests.cases import draw
from tests.layers.test_rules import assert_rule_holds


def broken(layer, backward):
    return replace(layer, backward=backward)


def on_params(layer, change):
    """The layer with its delta_params changed."""

    def backward(params, saved, delta_out):
        delta_params, delta_f = layer.backward(params, saved, delta_out)
        return change(delta_params, params, saved, delta_out), delta_f

    return broken(layer, backward)


def on_f(layer, change):
    """The layer with its delta_f changed."""

    def backward(params, saved, delta_out):
        delta_params, delta_f = layer.backward(params, saved, delta_out)
        return delta_params, change(delta_f, params, saved, delta_out)

    return broken(layer, backward)


square = jaxbp.dense(4, 4)
block = jaxbp.residual(jaxbp.chain(jaxbp.dense(4, 4), jaxbp.tanh))
two = jaxbp.chain(jaxbp.dense(4, 4), jaxbp.tanh, jaxbp.dense(4, 4))

MUTANTS = {
    "dense: W not transposed": on_f(square, lambda d, p, s, delta: delta @ p["W"].T),
    "dense: delta_W transposed": on_params(square, lambda d, p, s, delta: d | {"W": d["W"].T}),
    "dense: delta_W averaged": on_params(square, lambda d, p, s, delta: d | {"W": d["W"] / len(s)}),
    "dense: delta_b forgotten": on_params(square, lambda d, p, s, delta: d | {"b": 0 * d["b"]}),
    "dense: delta_b of one row": on_params(square, lambda d, p, s, delta: d | {"b": delta[0]}),
    "dense: delta_b 1 % off": on_params(square, lambda d, p, s, delta: d | {"b": 1.01 * d["b"]}),
    "dense: one entry's sign": on_params(square, lambda d, p, s, delta: d | {"W": d["W"].at[0, 1].mul(-1)}),
    "dense: delta_f is delta_a": on_f(square, lambda d, p, s, delta: delta),
    "sigmoid: slope forgotten": on_f(jaxbp.sigmoid, lambda d, p, s, delta: delta),
    "sigmoid: sign": on_f(jaxbp.sigmoid, lambda d, p, s, delta: -d),
    "sigmoid: f instead of f (1 - f)": on_f(jaxbp.sigmoid, lambda d, p, f, delta: delta * f),
    "sigmoid: output form of the output": on_f(
        jaxbp.sigmoid, lambda d, p, f, delta: delta * jax.nn.sigmoid(f) * (1 - jax.nn.sigmoid(f))
    ),
    "tanh: 1 - f": on_f(jaxbp.tanh, lambda d, p, f, delta: delta * (1 - f)),
    "tanh: 1 + f^2": on_f(jaxbp.tanh, lambda d, p, f, delta: delta * (1 + f**2)),
    "relu: passes everything": on_f(jaxbp.relu, lambda d, p, f, delta: delta),
    "relu: mask of the delta": on_f(jaxbp.relu, lambda d, p, up, delta: jnp.where(delta > 0, delta, 0)),
    "leaky_relu: slope 0 below": on_f(jaxbp.leaky_relu, lambda d, p, up, delta: jnp.where(up, delta, 0)),
    "leaky_relu: mask inverted": on_f(
        jaxbp.leaky_relu, lambda d, p, up, delta: jnp.where(up, 0.01, 1) * delta
    ),
    "softplus: e^-f": on_f(jaxbp.softplus, lambda d, p, f, delta: delta * jnp.exp(-f)),
    "gelu: the exact form's slope": broken(jaxbp.gelu, jaxbp.gelu_exact.backward),
    "gelu_exact: the tanh form's slope": broken(jaxbp.gelu_exact, jaxbp.gelu.backward),
    "silu: second term forgotten": on_f(jaxbp.silu, lambda d, p, a, delta: delta * jax.nn.sigmoid(a)),
    "softmax: diagonal only": on_f(jaxbp.softmax, lambda d, p, mu, delta: delta * mu * (1 - mu)),
    "softmax: sum over the batch": on_f(
        jaxbp.softmax,
        lambda d, p, mu, delta: mu * (delta - jnp.broadcast_to((delta * mu).sum(0), mu.shape)),
    ),
    "dropout: not rescaled": on_f(jaxbp.dropout(0.5), lambda d, p, keep, delta: jnp.where(keep, delta, 0)),
    "dropout: no mask": on_f(jaxbp.dropout(0.5), lambda d, p, keep, delta: delta),
    "residual: skip forgotten": on_f(block, lambda d, p, s, delta: d - delta),
    "residual: branch forgotten": on_f(block, lambda d, p, s, delta: delta),
    "residual: skip twice": on_f(block, lambda d, p, s, delta: d + delta),
    "chain: layers swapped": on_params(two, lambda d, p, s, delta: {1: d[2], 2: d[1]}),
    "chain: the activation left out": on_params(
        two, lambda d, p, s, delta: d | {1: square.backward(p[1], s[0], delta @ p[2]["W"])[0]}
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_rule_tests_catch(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        f = draw((8, 4), dtype)
        with pytest.raises(AssertionError):
            assert_rule_holds(MUTANTS[name], f, key=jax.random.key(6))
