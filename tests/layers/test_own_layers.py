"""A layer of the user's own, that mixes places and raises what it likes, where the library's layers go."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import chain, dense

X, Y = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 3))), jnp.array([0, 1, 1, 0])


def before(f):
    return jnp.concatenate([jnp.zeros_like(f[..., :1, :]), f[..., :-1, :]], -2)  # an IndexError for one row


def shift(**other):
    """Out_t = g f_t + (1 - g) f_{t-1}."""

    def apply(params, f, *, key=None):
        g = jnp.broadcast_to(params["g"], f.shape)
        return g * f + (1 - g) * before(f)

    def backward(params, f, delta):
        g = jnp.broadcast_to(params["g"], f.shape)
        after = jnp.concatenate([((1 - g) * delta)[..., 1:, :], jnp.zeros_like(f[..., :1, :])], -2)
        return {"g": (delta * (f - before(f))).sum(range(f.ndim - 1))}, g * delta + after

    rules = {"apply": apply, "backward": backward, "forward": lambda p, f, *, key=None: (apply(p, f), f)}
    return jaxbp.Layer("shift", **(rules | other), init=lambda key: {"g": jnp.full(3, 0.75)})


def net_of(layer):
    return chain(dense(3, 3), layer, jaxbp.tanh, jaxbp.flatten(5, 3), dense(15, 2))


NET = net_of(shift())
PARAMS = NET.init(jax.random.key(0))


def test_what_asks_for_one_example_takes_it():
    """Also of a layer that has other words than ValueError for a batch's row."""
    assert jaxbp.check_network(NET, jaxbp.softmax_cross_entropy, PARAMS, X, Y).ok
    J = jaxbp.jacobian_chain(NET, PARAMS, X[0]).matrix()
    np.testing.assert_allclose(
        J, jax.jacrev(lambda x: NET.apply(PARAMS, x))(X[0]).reshape(2, 15), rtol=1e-5, atol=1e-6
    )
    explanation = jaxbp.explain(NET, jaxbp.softmax_cross_entropy, PARAMS, X[0], 0)
    assert "delta_g_2 = " in str(explanation)
    assert explanation.largest_difference <= 4
    second = jaxbp.explain(NET, jaxbp.softmax_cross_entropy, PARAMS, X, Y, example=2)
    assert "example 2 of 4" in str(second)
    with pytest.raises(ValueError, match="expected one example x, got shape"):
        jaxbp.jacobian_chain(NET, PARAMS, X)
    run = jaxbp.Trained(NET, PARAMS, jaxbp.softmax_cross_entropy, shape=(5, 3))
    assert run.predict(X).shape == (4,)
    with pytest.raises(ValueError, match=r"that the network takes, got layer 2: .* at \(3,\); shape="):
        jaxbp.Trained(NET, PARAMS, jaxbp.softmax_cross_entropy)


@pytest.mark.parametrize("kind", [IndexError, AttributeError, AssertionError, ZeroDivisionError, KeyError])
def test_an_error_of_any_kind_names_the_layer(kind):
    def fails(params, f, *, key=None):
        raise kind("my own words")

    inner = jaxbp.Layer("odd", apply=fails, forward=fails, backward=lambda params, saved, delta: ({}, delta))
    net = chain(dense(3, 3), jaxbp.residual(chain(dense(3, 3), inner)))
    params = net.init(jax.random.key(0))
    for call in (net.apply, net.forward):
        with pytest.raises(kind, match="layer 2: branch: layer 1: my own words"):
            call(params, X)


SUM = lambda d: d.sum(range(d.ndim - 1))  # noqa: E731
BROKEN = {
    "no pair": (lambda p, s, d: d, TypeError, "(delta_params, delta_f) in return, got float32 of shape"),
    "nothing": (lambda p, s, d: None, TypeError, "(delta_params, delta_f) in return, got None"),
    "three": (lambda p, s, d: ({}, d, d), TypeError, "(delta_params, delta_f) in return, got "),
    "a sum too far": (
        lambda p, s, d: ({"g": d.sum()}, d),
        ValueError,
        "delta_g of the parameter's shape (3,), got ()",
    ),
    "no sum": (
        lambda p, s, d: ({"g": d}, d),
        ValueError,
        "delta_g of the parameter's shape (3,), got (4, 5, 3); sum it over the leading axes *n",
    ),
    "another name": (
        lambda p, s, d: ({"G": SUM(d)}, d),
        ValueError,
        "a gradient for each parameter, {g}, got {G}",
    ),
    "one too many": (
        lambda p, s, d: ({"g": SUM(d), "b": SUM(d)}, d),
        ValueError,
        "a gradient for each parameter, {g}, got {g, b}",
    ),
    "none": (lambda p, s, d: ({}, d), ValueError, "a gradient for each parameter, {g}, got {}"),
    "bare": (lambda p, s, d: (SUM(d), d), ValueError, "a gradient for each parameter, {g}, got float32"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_backward_that_returns_something_else_is_refused(name):
    rule, kind, words = BROKEN[name]
    net = net_of(shift(backward=rule))
    for call in (
        lambda: jaxbp.backprop(net, jaxbp.softmax_cross_entropy, PARAMS, X, Y),
        lambda: jax.eval_shape(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy), PARAMS, X, Y),
        lambda: jax.grad(lambda p: jaxbp.with_hand_vjp(net)(p, X).sum())(PARAMS),
    ):
        with pytest.raises(kind, match=re.escape(f"shift: backward: expected {words}")):
            call()


def test_a_forward_that_returns_something_else_is_refused():
    forgets = shift(forward=lambda params, f, *, key=None: f)
    with pytest.raises(TypeError, match=r"shift: forward: expected \(out, saved\) in return, got float32"):
        forgets.forward(PARAMS[2], X)
    changed = dataclasses.replace(shift(), forward=forgets.forward)
    with pytest.raises(TypeError, match=r"layer 2: shift: forward: expected \(out, saved\)"):
        jaxbp.backprop(net_of(changed), jaxbp.softmax_cross_entropy, PARAMS, X, Y)


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        ("apply", lambda params, f: f, "apply to take 2 arguments and key="),
        ("apply", lambda f, *, key=None: f, "apply to take 2 arguments and key="),
        ("forward", lambda params, f: (f, f), "forward to take 2 arguments and key="),
        ("backward", lambda saved, delta: ({}, delta), "backward to take 3 arguments"),
        ("jacobian", lambda params: None, "jacobian to take 2 arguments"),
    ],
)
def test_a_rule_that_cannot_be_called_as_the_library_does_is_refused_at_once(name, rule, words):
    with pytest.raises(TypeError, match=f"Layer shift: expected {words}, got a lambda"):
        shift(**{name: rule})
