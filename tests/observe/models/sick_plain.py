"""Sick models in plain JAX: what goes wrong between the input and the output."""

import jax
import jax.numpy as jnp

from .record import (
    ASIDE,
    OPEN,
    Model,
    binary_cross_entropy,
    cross_entropy,
    dense,
    forward,
    integers,
    mse,
    normal,
    registering,
    uniform,
)

MODELS: list[Model] = []
sick, healthy = registering("plain", MODELS)


@sick("saturated", OPEN, "Weights of scale 20 put nearly every sigmoid at 0 or 1.", ["vanishing"])
def sigmoid_of_large_weights():
    def f(params, x, y):
        return cross_entropy(forward(params, x, jax.nn.sigmoid), y)

    params = dense(0, 8, 16, 3)
    params[0]["W"] *= 20
    return f, params, (normal(1, 32, 8), integers(2, 3, 32))


@sick(
    "saturated",
    ASIDE,
    "Scores of 50 times their due scale make every attention look at one place only.",
    ["vanishing"],
)
def attention_at_one_place():
    def f(params, x, y):
        scores = (x @ params["q"]) @ jnp.swapaxes(x @ params["k"], 1, 2) * 50.0
        mixed = jax.nn.softmax(scores, axis=-1) @ (x @ params["v"])
        return cross_entropy(mixed.mean(1) @ params["out"], y)

    params = {w: normal(i, 8, 8, scale=0.4) for i, w in enumerate("qkv")} | {"out": normal(5, 8, 3)}
    return f, params, (normal(6, 16, 6, 8), integers(7, 3, 16))


@sick("dead", ASIDE, "Biases of -100 keep every relu at zero for every example.")
def relu_with_biases_of_minus_100():
    def f(params, x, y):
        return mse(forward(params, x, jax.nn.relu), y)

    params = dense(0, 6, 12, 1)
    params[0]["b"] -= 100.0
    return f, params, (normal(1, 32, 6), normal(2, 32, 1))


@sick("vanishing", OPEN, "Twelve sigmoid layers: each takes at least three quarters of the delta.")
def twelve_sigmoid_layers():
    def f(params, x, y):
        return cross_entropy(forward(params, x, jax.nn.sigmoid), y)

    return f, dense(0, 8, *[8] * 11, 3), (normal(1, 32, 8), integers(2, 3, 32))


@sick("vanishing", OPEN, "A recurrent matrix of spectral norm 0.4 forgets the first of 40 steps in a scan.")
def scan_that_forgets():
    def f(params, x, y):
        def step(h, x):
            h = jnp.tanh(x @ params["W"] + h @ params["U"])
            return h, None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], 8)), jnp.swapaxes(x, 0, 1))
        return mse(h @ params["out"], y)

    params = {"W": normal(0, 3, 8, scale=0.5), "U": 0.4 * jnp.eye(8), "out": normal(1, 8, 1, scale=0.3)}
    return f, params, (normal(2, 16, 40, 3), normal(3, 16, 1))


@sick("exploding", ASIDE, "Ten relu layers of weights five times too large: the delta grows at each.")
def ten_layers_too_large():
    def f(params, x, y):
        return mse(forward(params, x, jax.nn.relu), y)

    return f, dense(0, 8, *[16] * 10, 1, scale=7.0), (normal(1, 16, 8), normal(2, 16, 1))


@sick("exploding", ASIDE, "A linear recurrence of factor 1.3 makes the delta of the first of 60 steps huge.")
def scan_that_grows():
    def f(params, x, y):
        def step(h, x):
            h = x @ params["W"] + h @ params["U"]
            return h, None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], 6)), jnp.swapaxes(x, 0, 1))
        return mse(h @ params["out"], y)

    params = {"W": normal(0, 3, 6, scale=0.3), "U": 1.3 * jnp.eye(6), "out": normal(1, 6, 1, scale=0.3)}
    return f, params, (normal(2, 16, 60, 3), normal(3, 16, 1))


@sick(
    "nan_forward", OPEN, "Logits go to a loss that takes the log of probabilities: log of a negative number."
)
def log_of_logits():
    def f(params, x, y):
        logits = forward(params, x, jnp.tanh)
        return -jnp.mean(jnp.sum(y * jnp.log(logits), axis=-1))

    return f, dense(0, 5, 8, 3), (normal(1, 16, 5), jax.nn.one_hot(integers(2, 3, 16), 3))


@sick("nan_forward", OPEN, "One entry of the data is NaN: a missing measurement.")
def missing_measurement():
    def f(params, x, y):
        return mse(forward(params, x, jnp.tanh), y)

    return f, dense(0, 5, 8, 1), (normal(1, 16, 5).at[3, 2].set(jnp.nan), normal(2, 16, 1))


@sick("nan_backward", ASIDE, "A where guards the value of log at 0 but not its slope: 0 times inf.")
def where_around_log():
    def f(params, x, y):
        h = x * params["scale"]
        h = jnp.where(h > 0, jnp.log(h), 0.0)
        return mse(h @ params["out"], y)

    counts = integers(2, 6, 16, 5).astype(jnp.float32)
    return f, {"scale": uniform(0, 5, low=0.5, high=2), "out": normal(1, 5, 1)}, (counts, normal(3, 16, 1))


@sick(
    "overflow",
    OPEN,
    "A softmax by hand, without its maximum subtracted, of logits beyond 88: inf / inf.",
    ["nan_forward", "unscaled", "nan_backward"],
)
def softmax_by_hand():
    def f(params, x, y):
        e = jnp.exp(x @ params["W"] + params["b"])
        p = e / e.sum(axis=-1, keepdims=True)
        return -jnp.mean(jnp.log(jnp.take_along_axis(p, y[:, None], axis=1)))

    params = {"W": normal(0, 6, 4), "b": jnp.zeros(4)}
    return f, params, (normal(1, 24, 6, scale=80.0), integers(2, 4, 24))


@sick("underflow", ASIDE, "The likelihood of 200 steps as a product, not a sum of logs, is 0 in float32.")
def product_of_likelihoods():
    def f(params, x, y):
        p = jax.nn.softmax(x @ params["W"] + params["b"], axis=-1)
        likelihood = jnp.prod(jnp.take_along_axis(p, y[..., None], axis=-1)[..., 0], axis=1)
        return -jnp.mean(jnp.log(likelihood + 1e-8))

    params = {"W": normal(0, 4, 5, scale=0.3), "b": jnp.zeros(5)}
    return f, params, (normal(1, 8, 200, 4), integers(2, 5, 8, 200))


@sick("clipped", OPEN, "The error is clipped to -1..1 instead of its gradient: far targets teach nothing.")
def clipped_temporal_difference():
    def f(params, x, y):
        error = jnp.clip(forward(params, x, jax.nn.relu) - y, -1.0, 1.0)
        return jnp.mean(error**2)

    return f, dense(0, 4, 16, 1), (normal(1, 32, 4), 5.0 + normal(2, 32, 1, scale=2.0))


@sick("unused", ASIDE, "The second hidden layer is made and never called.")
def layer_never_called():
    def f(params, x, y):
        h = jnp.tanh(x @ params["first"])
        return mse(h @ params["last"], y)

    params = {"first": normal(0, 5, 8, scale=0.4), "second": normal(1, 8, 8), "last": normal(2, 8, 1)}
    return f, params, (normal(3, 16, 5), normal(4, 16, 1))


@sick(
    "cut", OPEN, "The loss is the squared distance of argmax from the label: no derivative reaches anything."
)
def loss_of_argmax():
    def f(params, x, y):
        predicted = jnp.argmax(forward(params, x, jnp.tanh), axis=-1)
        return jnp.mean((predicted.astype(jnp.float32) - y) ** 2)

    return f, dense(0, 5, 8, 4), (normal(1, 32, 5), integers(2, 4, 32).astype(jnp.float32))


@sick(
    "detached_state", ASIDE, "The state is detached at each step of the scan: nothing is learned over time."
)
def scan_with_detached_state():
    def f(params, x, y):
        def step(h, x):
            h = jnp.tanh(x @ params["W"] + jax.lax.stop_gradient(h) @ params["U"])
            return h, None

        h, _ = jax.lax.scan(step, jnp.zeros((x.shape[0], 8)), jnp.swapaxes(x, 0, 1))
        return mse(h @ params["out"], y)

    params = {"W": normal(0, 3, 8, scale=0.5), "U": normal(4, 8, 8, scale=0.35), "out": normal(1, 8, 1)}
    return f, params, (normal(2, 16, 12, 3), normal(3, 16, 1))


@sick("identical", OPEN, "All weights are 0.1: the hidden units stay copies of each other.", ["vanishing"])
def all_weights_equal():
    def f(params, x, y):
        return cross_entropy(forward(params, x, jnp.tanh), y)

    params = [
        {"W": jnp.full((6, 8), 0.1), "b": jnp.zeros(8)},
        {"W": jnp.full((8, 3), 0.1), "b": jnp.zeros(3)},
    ]
    return f, params, (normal(1, 32, 6), integers(2, 3, 32))


@sick("constant_input", ASIDE, "Eight of ten sensors are off: their columns never change.")
def sensors_off():
    def f(params, x, y):
        return mse(forward(params, x, jnp.tanh), y)

    x = normal(1, 32, 10).at[:, 2:].set(jnp.linspace(0.5, 1.2, 8))
    return f, dense(0, 10, 8, 1), (x, normal(2, 32, 1))


@sick("duplicate_input", OPEN, "A join gone wrong gives each feature three times.")
def features_three_times():
    def f(params, x, y):
        return binary_cross_entropy(forward(params, x, jax.nn.relu)[:, 0], y)

    x = normal(1, 32, 4)
    return f, dense(0, 12, 8, 1), (jnp.concatenate([x, x, x], 1), integers(2, 2, 32).astype(jnp.float32))


@sick(
    "unscaled",
    ASIDE,
    "Age in years and income in dollars go to the first layer as they are.",
    ["dominated", "exploding"],
)
def age_and_income():
    def f(params, x, y):
        return binary_cross_entropy(forward(params, x, jax.nn.relu)[:, 0], y)

    x = jnp.concatenate([uniform(1, 32, 1, low=20, high=70), uniform(2, 32, 1, low=2e4, high=9e4)], 1)
    return f, dense(0, 2, 16, 1), (x, integers(3, 2, 32).astype(jnp.float32))


@sick("wrong_axis", OPEN, "log_softmax runs over the batch, not over the classes.")
def softmax_over_the_batch():
    def f(params, x, y):
        log_p = jax.nn.log_softmax(forward(params, x, jnp.tanh), axis=0)
        return -jnp.mean(jnp.sum(y * log_p, axis=-1))

    return f, dense(0, 5, 8, 3), (normal(1, 16, 5), jax.nn.one_hot(integers(2, 3, 16), 3))


@sick("size_one", ASIDE, "softmax of a single output is always 1: nothing can be learned.")
def softmax_of_one_output():
    def f(params, x, y):
        p = jax.nn.softmax(forward(params, x, jnp.tanh), axis=-1)
        return mse(p, y)

    return f, dense(0, 5, 8, 1), (normal(1, 16, 5), integers(2, 2, 16, 1).astype(jnp.float32))


@sick("double_squash", OPEN, "The net ends in softmax and its loss takes the softmax again.")
def softmax_twice():
    def f(params, x, y):
        return cross_entropy(jax.nn.softmax(forward(params, x, jnp.tanh)), y)

    return f, dense(0, 5, 8, 4), (normal(1, 32, 5), integers(2, 4, 32))
