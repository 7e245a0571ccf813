"""Sick models in plain JAX: what goes wrong with losses, labels, masks and examples."""

import jax
import jax.numpy as jnp
import optax

from .record import (
    ASIDE,
    OPEN,
    Model,
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


@sick("broadcast", ASIDE, "Predictions (N, 1) minus targets (N,) make an (N, N) matrix of errors.")
def column_against_row():
    def f(params, x, y):
        return jnp.mean((forward(params, x, jnp.tanh) - y) ** 2)

    return f, dense(0, 5, 8, 1), (normal(1, 24, 5), normal(2, 24))


@sick("broadcast", ASIDE, "A cross-entropy by hand multiplies labels (N,) and log-probabilities (N, 1).")
def binary_loss_of_a_matrix():
    def f(params, x, y):
        z = forward(params, x, jax.nn.relu)
        return -jnp.mean(y * jax.nn.log_sigmoid(z) + (1 - y) * jax.nn.log_sigmoid(-z))

    return f, dense(0, 5, 8, 1), (normal(1, 24, 5), integers(2, 2, 24).astype(jnp.float32))


@sick("ignored_examples", OPEN, "The losses of the second half of the batch are multiplied by zero.")
def half_of_the_batch_times_zero():
    def f(params, x, y):
        losses = optax.softmax_cross_entropy_with_integer_labels(forward(params, x, jnp.tanh), y)
        keep = jnp.arange(len(y)) < len(y) // 2
        return jnp.mean(losses * keep)

    return f, dense(0, 5, 8, 3), (normal(1, 24, 5), integers(2, 3, 24))


@sick("output_range", ASIDE, "A relu ends the net, and three quarters of the targets are negative.", ["dead"])
def relu_output_negative_targets():
    def f(params, x, y):
        return mse(jax.nn.relu(forward(params, x, jnp.tanh)), y)

    return f, dense(0, 5, 16, 1), (normal(1, 32, 5), -0.7 + normal(2, 32, 1))


@sick(
    "mask",
    OPEN,
    "The mask of the mean over steps is inverted: only the padding is read.",
    ["constant_input", "ignored_examples"],
)
def pooling_mask_inverted():
    def f(params, x, mask, y):
        h = jnp.tanh(x @ params["W"] + params["b"])
        m = (1.0 - mask)[..., None]
        return cross_entropy((h * m).sum(1) / m.sum(1) @ params["out"], y)

    mask = (jnp.arange(8)[None] < integers(5, 4, 16)[:, None] + 3).astype(jnp.float32)
    x = normal(1, 16, 8, 4) * mask[..., None]
    params = {"W": normal(0, 4, 8), "b": normal(6, 8), "out": normal(2, 8, 3)}
    return f, params, (x, mask, integers(3, 3, 16))


@sick("mask", OPEN, "An attention mask adds -1e9 to every score: the real keys weigh as much as the padding.")
def attention_mask_hides_everything():
    def f(params, x, mask, y):
        scores = (x @ params["q"]) @ jnp.swapaxes(x @ params["k"], 1, 2) / 8**0.5
        scores = jnp.where(mask[:, None, :] > 1, scores, -1e9)  # the mask holds 0 and 1
        mixed = jax.nn.softmax(scores, axis=-1) @ (x @ params["v"] + params["b"])
        return cross_entropy(mixed.mean(1) @ params["out"], y)

    mask = (jnp.arange(6)[None] < integers(5, 3, 16)[:, None] + 3).astype(jnp.float32)
    params = {w: normal(i, 8, 8, scale=0.4) for i, w in enumerate("qkv")} | {"out": normal(5, 8, 3)}
    params["b"] = normal(8, 8)
    return f, params, (normal(6, 16, 6, 8) * mask[..., None], mask, integers(7, 3, 16))


@sick(
    "tiny_denominator",
    ASIDE,
    "Hidden rows of norm 1e-9 are divided by it: their deltas grow by 1e9.",
    ["exploding"],
)
def rows_divided_by_a_tiny_norm():
    def f(params, x, y):
        h = x @ params["W"]
        h = h / (jnp.sqrt(jnp.sum(h**2, axis=-1, keepdims=True) + 1e-24))
        return mse(h @ params["out"], y)

    params = {"W": normal(0, 5, 8, scale=1e-9), "out": normal(1, 8, 1)}
    return f, params, (normal(2, 16, 5), normal(3, 16, 1))


@sick("reduction", OPEN, "The squared errors of 128 examples are summed, while the penalty is a mean.")
def sum_beside_a_mean():
    def f(params, x, y):
        error = jnp.sum((forward(params, x, jnp.tanh) - y) ** 2)
        return error + 1e-3 * jnp.mean(params[0]["W"] ** 2)

    return f, dense(0, 5, 8, 1), (normal(1, 128, 5), normal(2, 128, 1))


@sick("reduction", ASIDE, "The cross-entropies of a batch of 64 are summed: the loss grows with the batch.")
def cross_entropy_summed():
    def f(params, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(forward(params, x, jax.nn.relu), y).sum()

    return f, dense(0, 5, 16, 4), (normal(1, 64, 5), integers(2, 4, 64))


@sick("one_class", ASIDE, "Every label of the batch is 3: the data were sorted by class.")
def labels_all_three():
    def f(params, x, y):
        return cross_entropy(forward(params, x, jnp.tanh), y)

    return f, dense(0, 5, 8, 5), (normal(1, 32, 5), jnp.full(32, 3))


@sick(
    "label_range",
    OPEN,
    "Labels count from 1 to C: label C is out of range, its one-hot row is zero.",
    ["ignored_examples"],
)
def labels_from_one():
    def f(params, x, y):
        log_p = jax.nn.log_softmax(forward(params, x, jnp.tanh))
        return -jnp.mean(jnp.sum(jax.nn.one_hot(y, 4) * log_p, axis=-1))

    return f, dense(0, 5, 8, 4), (normal(1, 32, 5), integers(2, 4, 32) + 1)


@sick("label_range", ASIDE, "Labels of -1 (unknown) pick the last class silently.")
def labels_of_minus_one():
    def f(params, x, y):
        log_p = jax.nn.log_softmax(forward(params, x, jax.nn.relu))
        return -jnp.mean(log_p[jnp.arange(len(y)), y])

    return f, dense(0, 5, 8, 4), (normal(1, 32, 5), integers(2, 5, 32) - 1)


@sick("dominated", ASIDE, "One target is 1000 where the others are about 1: its square carries the gradient.")
def one_outlier_target():
    def f(params, x, y):
        return mse(forward(params, x, jnp.tanh), y)

    return f, dense(0, 5, 8, 1), (uniform(1, 32, 5, low=-1), normal(2, 32, 1).at[7, 0].set(1000.0))


@sick("saturated", OPEN, "Two sigmoid layers whose biases of 12 hold every unit at 1.", ["vanishing"])
def sigmoid_biases_of_twelve():
    def f(params, x, y):
        return mse(forward(params, x, jax.nn.sigmoid), y)

    params = dense(0, 6, 10, 10, 1)
    for layer in params[:2]:
        layer["b"] += 12.0
    return f, params, (normal(1, 32, 6), normal(2, 32, 1))
