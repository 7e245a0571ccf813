"""Sick models of a third set, written from the words alone, without sight of the rules or of a threshold."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import nnx
from jax.nn import relu, sigmoid, softmax

from .record import (
    ASIDE,
    Model,
    binary_cross_entropy,
    cross_entropy,
    dense,
    equinox_case,
    forward,
    integers,
    linen_case,
    mse,
    nnx_case,
    normal,
    registering,
    rngs_of,
    uniform,
)

MODELS: list[Model] = []


def of(framework):
    put, _ = registering(framework, MODELS)
    return lambda word, why, also=(): put(word, ASIDE, why, also)


plain, linen, of_nnx, equinox = of("plain"), of("linen"), of("nnx"), of("equinox")


def smooth(x, outputs=1):
    """A target that a small net can learn from the rows x."""
    return jnp.stack([jnp.sin(x[:, i % x.shape[1]] + i) * 0.5 for i in range(outputs)], 1)


def attention(p, x, bias):
    q, k, v = x @ p["Q"], x @ p["K"], x @ p["V"]
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
    return softmax(scores + bias, -1) @ v


def attention_weights(seed, d):
    return {name: normal(seed + i, d, d, scale=d**-0.5) for i, name in enumerate("QKV")}


# ---- saturated


@linen("saturated", "A convolutional net of tanh, whose kernels have standard deviation 8.")
def conv_tanh_of_wide_kernels():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jnp.tanh(nn.Conv(8, (3, 3), kernel_init=nn.initializers.normal(8.0))(x))
            return nn.Dense(4)(x.reshape(len(x), -1))

    return linen_case(Net(), cross_entropy, normal(1, 16, 8, 8, 2), integers(2, 4, 16))


@equinox("saturated", "Gates of a GRU whose input weights are a hundred times too large.")
def gates_of_a_wide_gru():
    class Net(eqx.Module):
        cell: eqx.nn.GRUCell
        out: eqx.nn.Linear

        def __call__(self, xs):
            h, _ = jax.lax.scan(lambda h, x: (self.cell(x, h), None), jnp.zeros(10), xs)
            return self.out(h)

    a, b = jax.random.split(jax.random.key(2))
    cell = eqx.nn.GRUCell(3, 10, key=a)
    cell = eqx.tree_at(lambda c: c.weight_ih, cell, replace_fn=lambda w: 100 * w)
    return equinox_case(
        Net(cell, eqx.nn.Linear(10, 2, key=b)), cross_entropy, normal(3, 16, 12, 3), integers(4, 2, 16)
    )


@plain("saturated", "The code of an autoencoder is a sigmoid of weights forty times too large.")
def code_at_its_ends():
    def f(p, x):
        code = sigmoid(x @ p["encode"])
        return mse(code @ p["decode"] + p["shift"], x)

    p = {
        "encode": normal(5, 12, 6, scale=12.0),
        "decode": normal(6, 6, 12, scale=0.3),
        "shift": jnp.zeros(12),
    }
    return f, p, (normal(7, 40, 12),)


# ---- dead


@of_nnx("dead", "The feed-forward part of a transformer block: a bias of -30 before its relu.")
def dead_feed_forward():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.LayerNorm(8, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
            self.up = nnx.Linear(8, 32, bias_init=nnx.initializers.constant(-30.0), rngs=rngs)
            self.down = nnx.Linear(32, 8, rngs=rngs)
            self.out = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            x = x + self.attention(self.norm(x))
            return self.out((x + self.down(nnx.relu(self.up(x)))).mean(1))

    return nnx_case(Net(rngs_of(0)), cross_entropy, normal(8, 16, 6, 8), integers(9, 3, 16))


@plain("dead", "A graph net of positive features and negative weights.")
def dead_graph_net():
    def f(p, x, adjacency, y):
        h = jnp.maximum(adjacency @ x @ p["first"], 0.0)
        return cross_entropy(adjacency @ h @ p["second"] + p["b"], y)

    n = 24
    adjacency = (uniform(10, n, n) < 0.2) + jnp.eye(n)
    adjacency = adjacency / adjacency.sum(1, keepdims=True)
    p = {"first": -uniform(11, 5, 16), "second": normal(12, 16, 3, scale=0.3), "b": jnp.zeros(3)}
    return f, p, (uniform(13, n, 5), adjacency, integers(14, 3, n))


@equinox("dead", "The narrow middle of a small U-net: every channel is held below 0.")
def dead_middle():
    class Net(eqx.Module):
        down: eqx.nn.Conv2d
        middle: eqx.nn.Conv2d
        up: eqx.nn.ConvTranspose2d
        last: eqx.nn.Conv2d

        def __call__(self, x):
            h = relu(self.down(x))
            m = relu(self.middle(h) - 12.0)
            return self.last(jnp.concatenate([x, self.up(m)]))[0]

    k = jax.random.split(jax.random.key(3), 4)
    net = Net(
        eqx.nn.Conv2d(1, 4, 3, 2, 1, key=k[0]),
        eqx.nn.Conv2d(4, 8, 3, 1, 1, key=k[1]),
        eqx.nn.ConvTranspose2d(8, 4, 2, 2, key=k[2]),
        eqx.nn.Conv2d(5, 1, 3, 1, 1, key=k[3]),
    )
    x = normal(15, 8, 1, 8, 8)
    return equinox_case(net, binary_cross_entropy, x, (x[:, 0] > 0.3).astype(jnp.float32))


# ---- vanishing


@plain("vanishing", "Twenty-four sigmoid layers as one scan over their stacked weights.")
def scanned_sigmoid_layers():
    def f(p, x, y):
        h = x @ p["enter"]
        h, _ = jax.lax.scan(lambda h, w: (sigmoid(h @ w["W"] + w["b"]), None), h, p["stack"])
        return cross_entropy(h @ p["leave"], y)

    stack = {"W": normal(16, 24, 10, 10, scale=0.32), "b": jnp.zeros((24, 10))}
    p = {"enter": normal(17, 4, 10, scale=0.5), "stack": stack, "leave": normal(18, 10, 3, scale=0.3)}
    return f, p, (normal(19, 32, 4), integers(20, 3, 32))


@equinox("vanishing", "An LSTM of 60 steps whose forget gates start nearly shut.")
def forgetful_lstm():
    class Net(eqx.Module):
        cell: eqx.nn.LSTMCell
        out: eqx.nn.Linear

        def __call__(self, xs):
            zero = jnp.zeros(8)
            (h, _), _ = jax.lax.scan(lambda c, x: (self.cell(x, c), None), (zero, zero), xs)
            return self.out(h)

    a, b = jax.random.split(jax.random.key(4))
    cell = eqx.nn.LSTMCell(2, 8, key=a)
    cell = eqx.tree_at(lambda c: c.bias, cell, cell.bias.at[8:16].set(-3.5))
    return equinox_case(Net(cell, eqx.nn.Linear(8, 1, key=b)), mse, normal(21, 8, 60, 2), normal(22, 8, 1))


@of_nnx("vanishing", "Sixteen tanh convolutions with kernels of standard deviation 0.02.")
def deep_small_kernels():
    class Net(nnx.Module):
        def __init__(self, rngs):
            small = nnx.initializers.normal(0.02)
            sizes = [1, *[4] * 16]
            self.convs = nnx.List(
                [
                    nnx.Conv(i, o, (3,), kernel_init=small, rngs=rngs)
                    for i, o in itertools.pairwise(sizes)
                ]
            )
            self.out = nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            for conv in self.convs:
                x = jnp.tanh(conv(x))
            return self.out(x.mean(1))

    return nnx_case(Net(rngs_of(1)), cross_entropy, normal(23, 16, 16, 1), integers(24, 2, 16))


# ---- exploding


@linen("exploding", "Fourteen leaky relu layers, kernels of five times He's deviation.")
def deep_leaky():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            wide = nn.initializers.variance_scaling(50.0, "fan_in", "normal")
            for _ in range(14):
                x = nn.leaky_relu(nn.Dense(12, kernel_init=wide)(x))
            return nn.Dense(1)(x)

    x = normal(25, 32, 6)
    return linen_case(Net(), mse, x, smooth(x))


@of_nnx("exploding", "A relu recurrence over 40 steps that starts from 1.5 times the identity.")
def recurrent_identity_too_large():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.enter = nnx.Linear(2, 8, rngs=rngs)
            self.state = nnx.Linear(8, 8, use_bias=False, rngs=rngs)
            self.state.kernel[...] = 1.5 * jnp.eye(8)
            self.out = nnx.Linear(8, 1, rngs=rngs)

        def __call__(self, xs):
            W, U = self.enter, self.state.kernel[...]
            h, _ = jax.lax.scan(
                lambda h, x: (nnx.relu(x @ W.kernel[...] + W.bias[...] + h @ U), None),
                jnp.zeros((xs.shape[0], 8)),
                xs.swapaxes(0, 1),
            )
            return self.out(h)

    return nnx_case(Net(rngs_of(2)), mse, normal(26, 12, 40, 2), normal(27, 12, 1))


@equinox("exploding", "Euler's steps of size 1 through a field with eigenvalues above 1.")
def steps_too_large():
    class Net(eqx.Module):
        field: eqx.nn.Linear
        out: eqx.nn.Linear

        def __call__(self, x):
            x = jax.lax.fori_loop(0, 25, lambda _, x: x + self.field(x), x)
            return self.out(x)

    a, b = jax.random.split(jax.random.key(5))
    field = eqx.tree_at(
        lambda m: m.weight, eqx.nn.Linear(6, 6, key=a), jnp.eye(6) + normal(28, 6, 6, scale=0.1)
    )
    x = normal(29, 24, 6)
    return equinox_case(Net(field, eqx.nn.Linear(6, 1, key=b)), mse, x, smooth(x))


# ---- nan_forward


@plain("nan_forward", "A normal likelihood whose variance is a linear output, below 0 for some.")
def negative_variance():
    def f(p, x, y):
        mean, variance = jnp.split(forward(p, x, jnp.tanh), 2, 1)
        return jnp.mean(0.5 * jnp.log(variance) + 0.5 * (y - mean) ** 2 / variance)

    x = normal(30, 32, 4)
    return f, dense(31, 4, 16, 2), (x, smooth(x))


@of_nnx("nan_forward", "acosh of an inner product that is below 1: a distance in hyperbolic space.")
def hyperbolic_distance():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            z = self.embed(x)
            return jnp.arccosh(jnp.sum(z * z[::-1], 1))

    return nnx_case(Net(rngs_of(3)), mse, normal(32, 16, 4), uniform(33, 16))


@linen("nan_forward", "A blank image is divided by its standard deviation: 0 / 0.", ["tiny_denominator"])
def blank_image():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)
            return nn.Dense(3)(nn.relu(nn.Conv(4, (3, 3))(x)).mean((1, 2)))

    return linen_case(Net(), cross_entropy, normal(34, 12, 6, 6, 1).at[4].set(0.5), integers(35, 3, 12))


# ---- nan_backward


@equinox("nan_backward", "The norm of LoRA's second matrix is penalised while it is 0.")
def norm_of_a_zero_matrix():
    class Net(eqx.Module):
        base: eqx.nn.Linear
        A: jax.Array
        B: jax.Array

    net = Net(eqx.nn.Linear(6, 4, key=jax.random.key(6)), normal(36, 2, 6), jnp.zeros((4, 2)))
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def f(params, x, y):
        net = eqx.combine(params, static)
        out = jax.vmap(net.base)(x) + x @ net.A.T @ net.B.T
        return cross_entropy(out, y) + 0.01 * jnp.linalg.norm(net.B)

    return f, params, (normal(37, 24, 6), integers(38, 4, 24))


@linen("nan_backward", "The standard deviation over the batch of a layer that starts from 0.")
def deviation_of_a_zero_layer():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(8, kernel_init=nn.initializers.zeros)(x)
            h = (h - h.mean(0)) / (jnp.sqrt(h.var(0)) + 1e-5)
            return nn.Dense(2)(h)

    return linen_case(Net(), cross_entropy, normal(39, 24, 5), integers(40, 2, 24))


@plain("nan_backward", "The direction of a vector that is 0: atan2(0, 0).")
def angle_at_the_origin():
    def f(p, x, y):
        z = x @ p["W"]
        return mse(jnp.arctan2(z[:, 1], z[:, 0]), y)

    x = normal(41, 16, 4).at[3].set(0.0)
    return f, {"W": normal(42, 4, 2)}, (x, uniform(43, 16))


# ---- overflow


@plain("overflow", "A Poisson rate exp(z) with z of a few hundred.")
def rate_beyond_float32():
    def f(p, x, y):
        z = (jnp.tanh(x @ p["W"] + p["b"]) @ p["V"])[:, 0]
        return jnp.mean(jnp.exp(z) - y * z)

    p = {"W": normal(44, 5, 8, scale=0.4), "b": jnp.zeros(8), "V": normal(45, 8, 1, scale=150.0)}
    return f, p, (normal(46, 32, 5), integers(47, 6, 32).astype(jnp.float32))


@equinox("overflow", "Attention in half precision, without the division by the root of the width.")
def half_precision_scores():
    class Net(eqx.Module):
        q: jax.Array
        k: jax.Array
        out: eqx.nn.Linear

        def __call__(self, x):
            h = x.astype(jnp.float16)
            scores = (h @ self.q.astype(jnp.float16)) @ (h @ self.k.astype(jnp.float16)).T
            return self.out((softmax(scores, -1).astype(jnp.float32) @ x).mean(0))

    net = Net(
        normal(48, 16, 16, scale=60.0),
        normal(49, 16, 16, scale=60.0),
        eqx.nn.Linear(16, 2, key=jax.random.key(7)),
    )
    return equinox_case(net, cross_entropy, normal(50, 8, 6, 16), integers(51, 2, 8))


@of_nnx("overflow", "softplus as log(1 + exp(z)), z of about 200.")
def softplus_by_hand():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(4, 16, rngs=rngs)
            self.out = nnx.Linear(16, 1, bias_init=nnx.initializers.constant(200.0), rngs=rngs)

        def __call__(self, x):
            return jnp.log(1 + jnp.exp(self.out(nnx.relu(self.hidden(x)))))

    return nnx_case(Net(rngs_of(4)), mse, normal(52, 24, 4), uniform(53, 24, 1))


# ---- underflow


@linen("underflow", "The probability of an image as the product over its 400 pixels.")
def product_over_pixels():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            code = nn.tanh(nn.Dense(4)(x.reshape(len(x), -1)))
            return nn.sigmoid(nn.Dense(400)(code))

    def loss(p, x):
        x = x.reshape(len(x), -1)
        return 1 - jnp.mean(jnp.prod(p * x + (1 - p) * (1 - x), 1))

    x = (uniform(54, 12, 20, 20) > 0.5).astype(jnp.float32)
    return linen_case(Net(), loss, x, x)


@plain("underflow", "Half precision deltas: a mean over 512 outputs of errors of 1e-4.")
def half_precision_deltas():
    def f(p, x, y):
        p = jax.tree.map(lambda a: a.astype(jnp.float16), p)
        h = jnp.tanh(x.astype(jnp.float16) @ p["W"])
        error = h @ p["V"] - y.astype(jnp.float16)
        return jnp.mean((error * jnp.float16(1e-3)) ** 2).astype(jnp.float32)

    p = {"W": normal(55, 6, 8, scale=0.4), "V": normal(56, 8, 16, scale=0.02)}
    return f, p, (normal(57, 32, 6), normal(58, 32, 16, scale=0.01))


@plain("underflow", "The density of a mixture of normals of width 0.01, far from every centre.")
def narrow_mixture():
    def f(p, x):
        d2 = jnp.sum((x[:, None] - p["centres"]) ** 2, -1)
        density = jnp.exp(-d2 / (2 * 0.01**2)) @ softmax(p["logits"])
        return -jnp.mean(density)

    return f, {"centres": normal(59, 5, 3), "logits": jnp.zeros(5)}, (normal(60, 40, 3),)


# ---- clipped


@equinox("clipped", "The actions of a policy are clipped to -1..1, and nearly all are outside.")
def actions_beyond_their_bounds():
    net = eqx.nn.MLP(4, 2, 16, 1, key=jax.random.key(8))
    net = eqx.tree_at(lambda n: n.layers[-1].weight, net, replace_fn=lambda w: 60 * w)
    x = normal(61, 32, 4)
    return equinox_case(net, lambda a, y: mse(jnp.clip(a, -1, 1), y), x, jnp.tanh(smooth(x, 2)))


@plain("clipped", "Probabilities are held within 0.45..0.55 before their logarithm.")
def probabilities_held():
    def f(p, x, y):
        q = jnp.clip(sigmoid(forward(p, x, jnp.tanh)[:, 0]), 0.45, 0.55)
        return -jnp.mean(y * jnp.log(q) + (1 - y) * jnp.log(1 - q))

    x = normal(62, 40, 5)
    return f, dense(63, 5, 12, 1, scale=1.5), (x, (x[:, 0] > 0).astype(jnp.float32))


@of_nnx("clipped", "Logits are clipped to -0.1..0.1.")
def logits_held():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 6, (3, 3), rngs=rngs)
            self.out = nnx.Linear(6 * 36, 4, rngs=rngs)

        def __call__(self, x):
            h = nnx.relu(self.conv(x)).reshape(x.shape[0], -1)
            return jnp.clip(self.out(h), min=-0.1, max=0.1)

    return nnx_case(Net(rngs_of(5)), cross_entropy, normal(64, 16, 6, 6, 1, scale=2.0), integers(65, 4, 16))


# ---- unused


@equinox("unused", "The projection of a residual is there, and what is added is its input.")
def projection_not_added():
    class Net(eqx.Module):
        inner: eqx.nn.Linear
        project: eqx.nn.Linear
        out: eqx.nn.Linear

        def __call__(self, x):
            h = jnp.tanh(self.inner(x))
            self.project(x)
            return self.out(x + h)

    k = jax.random.split(jax.random.key(9), 3)
    net = Net(eqx.nn.Linear(5, 5, key=k[0]), eqx.nn.Linear(5, 5, key=k[1]), eqx.nn.Linear(5, 3, key=k[2]))
    return equinox_case(net, cross_entropy, normal(66, 24, 5), integers(67, 3, 24))


@plain("unused", "A language model whose embedding of positions is never added.")
def positions_not_added():
    def f(p, words, y):
        x = p["words"][words]
        h = x + attention(p["attention"], x, 0.0)
        return cross_entropy(h.mean(1) @ p["out"], y)

    p = {
        "words": normal(68, 20, 8, scale=0.5),
        "positions": normal(69, 6, 8, scale=0.1),
        "attention": attention_weights(70, 8),
        "out": normal(73, 8, 3, scale=0.3),
    }
    return f, p, (integers(74, 20, 24, 6), integers(75, 3, 24))


@of_nnx("unused", "Three experts and a gate for two of them.")
def expert_without_a_gate():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.experts = nnx.List([nnx.Linear(6, 2, rngs=rngs) for _ in range(3)])
            self.gate = nnx.Linear(6, 2, rngs=rngs)

        def __call__(self, x):
            gates = nnx.softmax(self.gate(x))
            return sum(gates[:, i : i + 1] * self.experts[i](x) for i in range(2))

    x = normal(76, 32, 6)
    return nnx_case(Net(rngs_of(6)), mse, x, smooth(x, 2))


# ---- cut


@plain("cut", "The latent class is drawn, and its index picks a row: no derivative passes the draw.")
def drawn_class():
    def f(p, x, key):
        logits = jnp.tanh(x @ p["encode"]) @ p["classes"]
        z = jax.random.categorical(key, logits)
        return mse(p["codes"][z] @ p["decode"], x)

    p = {
        "encode": normal(77, 8, 8, scale=0.4),
        "classes": normal(78, 8, 5),
        "codes": normal(79, 5, 6),
        "decode": normal(80, 6, 8, scale=0.4),
    }
    return f, p, (normal(81, 32, 8), jax.random.key(0))


@linen("cut", "Vector quantisation without a straight-through estimate: the encoder learns nothing.")
def quantised_without_a_bridge():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            z = nn.Dense(4)(nn.relu(nn.Dense(12)(x)))
            codes = self.param("codes", nn.initializers.normal(1.0), (9, 4))
            nearest = jnp.argmin(jnp.sum((z[:, None] - codes) ** 2, -1), 1)
            return nn.Dense(x.shape[1])(codes[nearest])

    x = normal(82, 32, 6)
    return linen_case(Net(), mse, x, x)


@of_nnx("cut", "Binary weights by sign(w), without an estimate of its slope.")
def binary_weights():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(6, 12, rngs=rngs)
            self.out = nnx.Linear(12, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(jnp.tanh(x @ jnp.sign(self.hidden.kernel[...]) / 3 + self.hidden.bias[...]))

    return nnx_case(Net(rngs_of(7)), cross_entropy, normal(83, 32, 6), integers(84, 3, 32))


@equinox("cut", "Hidden values pass through int8 and back.")
def through_integers():
    class Net(eqx.Module):
        first: eqx.nn.Linear
        second: eqx.nn.Linear

        def __call__(self, x):
            h = jnp.tanh(self.first(x))
            h = (h * 127).astype(jnp.int8).astype(jnp.float32) / 127
            return self.second(h)

    a, b = jax.random.split(jax.random.key(10))
    x = normal(85, 24, 5)
    return equinox_case(Net(eqx.nn.Linear(5, 10, key=a), eqx.nn.Linear(10, 1, key=b)), mse, x, smooth(x))


# ---- detached_state


@linen("detached_state", "A loop over 10 steps in which the state is detached before it is used.")
def detached_before_use():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs):
            enter, state = nn.Dense(8), nn.Dense(8, use_bias=False)
            h = jnp.zeros((xs.shape[0], 8))
            for t in range(xs.shape[1]):
                h = jnp.tanh(enter(xs[:, t]) + state(jax.lax.stop_gradient(h)))
            return nn.Dense(2)(h)

    return linen_case(Net(), cross_entropy, normal(86, 16, 10, 3), integers(87, 2, 16))


@plain("detached_state", "An LSTM by hand: both of its states leave each step detached.")
def detached_lstm():
    def f(p, xs, y):
        def step(carry, x):
            h, c = carry
            i, g, u, o = jnp.split(x @ p["W"] + h @ p["U"] + p["b"], 4, -1)
            c = sigmoid(g + 1) * c + sigmoid(i) * jnp.tanh(u)
            h = sigmoid(o) * jnp.tanh(c)
            return jax.lax.stop_gradient((h, c)), h

        zero = jnp.zeros((xs.shape[1], 8))
        _, hs = jax.lax.scan(step, (zero, zero), xs)
        return mse(hs @ p["V"], y)

    p = {
        "W": normal(88, 3, 32, scale=0.5),
        "U": normal(89, 8, 32, scale=0.3),
        "b": jnp.zeros(32),
        "V": normal(90, 8, 1),
    }
    return f, p, (normal(91, 12, 10, 3), normal(92, 12, 10, 1))


@of_nnx("detached_state", "The state between segments is detached, and each segment is one step long.")
def segments_of_one_step():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.cell = nnx.GRUCell(3, 8, rngs=rngs)
            self.out = nnx.Linear(8, 1, rngs=rngs)

        def __call__(self, xs):
            h, outs = jnp.zeros((xs.shape[0], 8)), []
            for t in range(xs.shape[1]):
                h, _ = self.cell(h, xs[:, t])
                outs.append(self.out(h))
                h = jax.lax.stop_gradient(h)
            return jnp.stack(outs, 1)

    return nnx_case(Net(rngs_of(8)), mse, normal(93, 12, 8, 3), normal(94, 12, 8, 1))


# ---- identical


@equinox("identical", "Every weight and bias is 0.", ["unused", "cut", "vanishing"])
def all_zero():
    net = eqx.nn.MLP(4, 3, 10, 1, activation=jnp.tanh, key=jax.random.key(11))
    net = jax.tree.map(lambda a: jnp.zeros_like(a) if eqx.is_array(a) else a, net)
    return equinox_case(net, cross_entropy, normal(95, 30, 4), integers(96, 3, 30))


@plain("identical", "A convolutional net whose kernels are all 0.05.")
def constant_kernels():
    def f(p, x, y):
        dims = ("NHWC", "HWIO", "NHWC")
        h = relu(jax.lax.conv_general_dilated(x, p["K"], (1, 1), "SAME", dimension_numbers=dims))
        return cross_entropy(h.mean((1, 2)) @ p["W"] + p["b"], y)

    p = {"K": jnp.full((3, 3, 2, 6), 0.05), "W": jnp.full((6, 3), 0.05), "b": jnp.zeros(3)}
    return f, p, (uniform(97, 18, 6, 6, 2), integers(98, 3, 18))


@linen("identical", "The two kernels of a recurrent cell are constant.", ["vanishing"])
def constant_recurrence():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs):
            const = nn.initializers.constant(0.1)
            cell = nn.RNN(nn.SimpleCell(6, kernel_init=const, recurrent_kernel_init=const))
            return nn.Dense(1, kernel_init=const)(cell(xs)[:, -1])

    return linen_case(Net(), mse, normal(99, 16, 7, 3), normal(100, 16, 1))


# ---- constant_input


@linen(
    "constant_input",
    "Bytes were divided by 255 as whole numbers: every pixel is 0.",
    ["ignored_examples", "unused", "cut"],
)
def whole_number_division():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(16)(x.reshape(len(x), -1))))

    x = (integers(101, 255, 20, 5, 5) // 255).astype(jnp.float32)
    return linen_case(Net(), cross_entropy, x, integers(102, 4, 20))


@equinox("constant_input", "The tokeniser failed: every word of every text is 0.", ["ignored_examples"])
def every_word_unknown():
    class Net(eqx.Module):
        embed: eqx.nn.Embedding
        out: eqx.nn.MLP

        def __call__(self, words):
            return self.out(jax.vmap(self.embed)(words).mean(0))

    a, b = jax.random.split(jax.random.key(12))
    net = Net(eqx.nn.Embedding(30, 8, key=a), eqx.nn.MLP(8, 2, 12, 1, key=b))
    return equinox_case(net, cross_entropy, jnp.zeros((24, 9), jnp.int32), integers(103, 2, 24))


@plain("constant_input", "Every row of the features is the first one.", ["ignored_examples"])
def one_row_broadcast():
    x = jnp.broadcast_to(normal(104, 1, 7), (32, 7))
    return (lambda p, x, y: mse(forward(p, x, jnp.tanh), y)), dense(105, 7, 12, 1), (x, normal(106, 32, 1))


# ---- duplicate_input


@linen("duplicate_input", "np.repeat along the wrong axis: every column stands there twice.")
def repeated_columns():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.gelu(nn.Dense(16)(x)))

    x = normal(107, 32, 5)
    return linen_case(Net(), mse, jnp.repeat(x, 2, 1), smooth(x))


@equinox("duplicate_input", "A sensor was read into all of six columns.")
def one_sensor():
    x = normal(108, 32, 1)
    net = eqx.nn.MLP(6, 1, 12, 1, key=jax.random.key(13))
    return equinox_case(net, mse, jnp.tile(x, (1, 6)), smooth(x))


# ---- unscaled


@of_nnx("unscaled", "A residual net of images with bytes of 0..255.", ["dominated"])
def bytes_into_a_residual_net():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.enter = nnx.Conv(3, 8, (3, 3), rngs=rngs)
            self.inner = nnx.Conv(8, 8, (3, 3), rngs=rngs)
            self.out = nnx.Linear(8, 5, rngs=rngs)

        def __call__(self, x):
            h = nnx.relu(self.enter(x))
            return self.out((h + nnx.relu(self.inner(h))).mean((1, 2)))

    return nnx_case(Net(rngs_of(9)), cross_entropy, 255 * uniform(109, 15, 8, 8, 3), integers(110, 5, 15))


@plain(
    "unscaled", "Seconds since 1970 go in as they are.", ["dominated", "saturated", "dead", "constant_input"]
)
def timestamps():
    def f(p, x, y):
        return mse(forward(p, x, jnp.tanh), y)

    x = jnp.concatenate([1.7e9 + 1e7 * uniform(111, 32, 1), normal(112, 32, 3)], 1)
    return f, dense(113, 4, 12, 1), (x, smooth(x[:, 1:]))


@linen(
    "unscaled", "Of six features one is a salary of 20,000 to 200,000.", ["dominated", "saturated", "dead"]
)
def salaries():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.relu(nn.Dense(12)(x)))[:, 0]

    x = normal(114, 40, 6)
    x = x.at[:, 2].set(uniform(115, 40, low=2e4, high=2e5))
    return linen_case(Net(), binary_cross_entropy, x, (x[:, 0] > 0).astype(jnp.float32))


# ---- wrong_axis


@equinox("wrong_axis", "Attention of two heads: the softmax runs over the queries.")
def heads_over_queries():
    class Net(eqx.Module):
        qkv: eqx.nn.Linear
        out: eqx.nn.Linear

        def __call__(self, x):
            q, k, v = jnp.split(jax.vmap(self.qkv)(x).reshape(len(x), 2, 12), 3, -1)
            scores = jnp.einsum("qhd,khd->hqk", q, k) / 2
            mixed = jnp.einsum("hqk,khd->qhd", softmax(scores, 1), v)
            return self.out(mixed.reshape(len(x), -1).mean(0))

    a, b = jax.random.split(jax.random.key(14))
    net = Net(eqx.nn.Linear(8, 24, key=a), eqx.nn.Linear(8, 3, key=b))
    return equinox_case(net, cross_entropy, normal(116, 12, 5, 8), integers(117, 3, 12))


@of_nnx("wrong_axis", "log_softmax with axis=0 on a batch of class scores.")
def classes_along_the_batch():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(6, 12, rngs=rngs)
            self.out = nnx.Linear(12, 4, rngs=rngs)

        def __call__(self, x):
            return nnx.log_softmax(self.out(nnx.relu(self.hidden(x))), axis=0)

    labels = jax.nn.one_hot(integers(118, 4, 24), 4)
    return nnx_case(Net(rngs_of(10)), lambda lp, y: -jnp.mean(jnp.sum(y * lp, 1)), normal(119, 24, 6), labels)


@linen("wrong_axis", "Segmentation: the softmax runs over the width of the image, not over the classes.")
def classes_along_the_width():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.softmax(nn.Conv(3, (3, 3))(nn.relu(nn.Conv(6, (3, 3))(x))), axis=2)

    def loss(q, y):
        return -jnp.mean(jnp.sum(jax.nn.one_hot(y, 3) * jnp.log(q + 1e-8), -1))

    return linen_case(Net(), loss, normal(120, 6, 8, 8, 1), integers(121, 3, 6, 8, 8))


# ---- size_one


@of_nnx("size_one", "Instance norm over a map that is one pixel large.")
def instance_norm_of_a_pixel():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 8, (6, 6), padding="VALID", rngs=rngs)
            self.norm = nnx.InstanceNorm(8, rngs=rngs)
            self.out = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(nnx.relu(self.norm(self.conv(x)) + 0.1).mean((1, 2)))

    return nnx_case(Net(rngs_of(11)), cross_entropy, normal(122, 12, 6, 6, 1), integers(123, 3, 12))


@plain("size_one", "A policy gradient with one action: its probability is always 1.")
def policy_of_one_action():
    def f(p, x, action, advantage):
        logp = jax.nn.log_softmax(forward(p, x, jnp.tanh), -1)
        picked = jnp.take_along_axis(logp, action[:, None], 1)[:, 0]
        return -jnp.mean(picked * advantage)

    return f, dense(124, 4, 12, 1), (normal(126, 24, 4), jnp.zeros(24, jnp.int32), normal(127, 24))


@equinox("size_one", "Group norm with as many groups as channels, on vectors.")
def groups_of_one():
    class Net(eqx.Module):
        first: eqx.nn.Linear
        norm: eqx.nn.GroupNorm
        second: eqx.nn.Linear

        def __call__(self, x):
            return self.second(jnp.tanh(self.norm(self.first(x))))

    a, b = jax.random.split(jax.random.key(15))
    net = Net(eqx.nn.Linear(5, 8, key=a), eqx.nn.GroupNorm(8, 8), eqx.nn.Linear(8, 2, key=b))
    return equinox_case(net, cross_entropy, normal(128, 20, 5), integers(129, 2, 20))


# ---- double_squash


@equinox("double_squash", "Six labels: a sigmoid ends the net, and optax takes logits.")
def sigmoid_before_logits():
    net = eqx.nn.MLP(8, 6, 16, 1, final_activation=sigmoid, key=jax.random.key(16))
    y = (uniform(130, 24, 6) > 0.6).astype(jnp.float32)
    return equinox_case(net, binary_cross_entropy, normal(131, 24, 8), y)


@of_nnx("double_squash", "Segmentation: softmax over the classes, then optax's loss of logits.")
def segmented_twice():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Conv(1, 6, (3, 3), rngs=rngs)
            self.second = nnx.Conv(6, 3, (1, 1), rngs=rngs)

        def __call__(self, x):
            return nnx.softmax(self.second(nnx.relu(self.first(x))))

    def loss(q, y):
        return optax.softmax_cross_entropy(q, jax.nn.one_hot(y, 3)).mean()

    return nnx_case(Net(rngs_of(12)), loss, normal(132, 6, 8, 8, 1), integers(133, 3, 6, 8, 8))


@plain("double_squash", "A language model gives probabilities, of which log_softmax is taken.")
def words_twice():
    def f(p, words, following):
        x = p["words"][words]
        hidden = jnp.where(jnp.tril(jnp.ones((6, 6))) > 0, 0.0, -1e9)
        h = x + attention(p["attention"], x, hidden)
        q = softmax(h @ p["out"], -1)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(q), following[..., None], -1))

    p = {
        "words": normal(134, 12, 8, scale=0.5),
        "attention": attention_weights(135, 8),
        "out": normal(138, 8, 12),
    }
    return f, p, (integers(139, 12, 16, 6), integers(140, 12, 16, 6))


# ---- broadcast


@linen("broadcast", "A critic's values (N, 1) against returns (N,).")
def values_against_returns():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.tanh(nn.Dense(16)(x)))

    x = normal(141, 32, 4)
    return linen_case(Net(), lambda v, r: jnp.mean(jnp.square(r - v)), x, smooth(x)[:, 0])


@of_nnx("broadcast", "log_cosh of predictions (N,) and targets (N, 1).")
def log_cosh_of_all_pairs():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(3, 12, rngs=rngs)
            self.out = nnx.Linear(12, 1, rngs=rngs)

        def __call__(self, x):
            return jnp.squeeze(self.out(nnx.silu(self.hidden(x))), -1)

    x = normal(142, 24, 3)
    return nnx_case(Net(rngs_of(13)), lambda a, y: optax.log_cosh(a, y).mean(), x, smooth(x))


@plain("broadcast", "Weights (N,) of the examples meet their losses (N, 1).")
def weights_against_losses():
    def f(p, x, y, weight):
        return jnp.mean(weight * (forward(p, x, jnp.tanh) - y) ** 2)

    x = normal(143, 24, 3)
    return f, dense(144, 3, 10, 1), (x, smooth(x), uniform(145, 24, low=0.5, high=1.5))


# ---- ignored_examples


@plain("ignored_examples", "The cross-entropy has one of its two terms: examples of label 0 say nothing.")
def half_a_cross_entropy():
    def f(p, x, y):
        return -jnp.mean(y * jax.nn.log_sigmoid(forward(p, x, jnp.tanh)[:, 0]))

    x = normal(146, 40, 5)
    return f, dense(147, 5, 12, 1), (x, (x[:, 0] > 0.6).astype(jnp.float32))


@of_nnx("ignored_examples", "The batch is taken apart into four, and the loss of the first part is returned.")
def first_part_only():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(6, 12, rngs=rngs)
            self.out = nnx.Linear(12, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(nnx.gelu(self.hidden(x)))

    def loss(logits, y):
        for part, labels in zip(jnp.split(logits, 4), jnp.split(y, 4), strict=True):
            return cross_entropy(part, labels)

    return nnx_case(Net(rngs_of(14)), loss, normal(148, 32, 6), integers(149, 3, 32))


@linen("ignored_examples", "Only the examples of the batch's first user are judged: three in forty.")
def first_user_only():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.relu(nn.Dense(12)(x)))[:, 0]

    def loss(prediction, y, user):
        chosen = (user == user[0]).astype(jnp.float32)
        return jnp.sum(chosen * (prediction - y) ** 2) / chosen.sum()

    x = normal(150, 40, 5)
    return linen_case(Net(), loss, x, smooth(x)[:, 0], integers(151, 13, 40))


# ---- output_range


@equinox("output_range", "softplus ends the net, and the returns are below 0 for most.")
def positive_output_of_negative_returns():
    net = eqx.nn.MLP(4, 1, 16, 1, final_activation=jax.nn.softplus, key=jax.random.key(17))
    x = normal(152, 32, 4)
    return equinox_case(net, mse, x, smooth(x) - 1.0)


@of_nnx("output_range", "An autoencoder ends in tanh, its inputs go from 0 to 10.")
def decoder_within_one():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.encode = nnx.Linear(8, 4, rngs=rngs)
            self.decode = nnx.Linear(4, 8, rngs=rngs)

        def __call__(self, x):
            return jnp.tanh(self.decode(nnx.relu(self.encode(x / 10))))

    x = uniform(153, 32, 8, high=10.0)
    return nnx_case(Net(rngs_of(15)), mse, x, x)


@plain("output_range", "A sigmoid ends the net, and the targets are -1 and 1.")
def sigmoid_for_signs():
    def f(p, x, y):
        return mse(sigmoid(forward(p, x, jnp.tanh)[:, 0]), y)

    x = normal(154, 32, 4)
    return f, dense(155, 4, 12, 1), (x, jnp.sign(x[:, 0]))


# ---- mask


@of_nnx("mask", "The mask of the padding is given the wrong way round: True where there is none.")
def padding_is_seen():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(20, 8, rngs=rngs)
            self.q = nnx.Linear(8, 8, rngs=rngs)
            self.k = nnx.Linear(8, 8, rngs=rngs)
            self.v = nnx.Linear(8, 8, rngs=rngs)
            self.out = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, words):
            x = self.embed(words)
            scores = jnp.einsum("nqd,nkd->nqk", self.q(x), self.k(x)) / 8**0.5
            real = words != 0
            scores = jnp.where(real[:, None, :], -1e9, scores)
            return self.out((nnx.softmax(scores) @ self.v(x)).mean(1))

    lengths = integers(156, 5, 16) + 3
    words = jnp.where(jnp.arange(9) < lengths[:, None], integers(157, 19, 16, 9) + 1, 0)
    return nnx_case(Net(rngs_of(16)), cross_entropy, words, integers(158, 3, 16))


@plain("mask", "Scores are multiplied by the mask: a padded key has the score 0, not minus infinity.")
def scores_times_the_mask():
    def f(p, x, mask, y):
        q, k, v = x @ p["Q"], x @ p["K"], x @ p["V"]
        scores = q @ k.swapaxes(1, 2) / q.shape[-1] ** 0.5
        h = softmax(scores * mask[:, None, :], -1) @ v
        return cross_entropy(h.mean(1) @ p["out"], y)

    lengths = integers(159, 4, 16) + 3
    mask = (jnp.arange(8) < lengths[:, None]).astype(jnp.float32)
    p = {**attention_weights(160, 8), "out": normal(163, 8, 3)}
    return f, p, (normal(164, 16, 8, 8), mask, integers(165, 3, 16))


@equinox("mask", "The mean over a text takes what the mask leaves out.", ["ignored_examples"])
def mean_of_the_padding():
    class Net(eqx.Module):
        inner: eqx.nn.Linear
        out: eqx.nn.Linear

        def __call__(self, pair):
            x, mask = pair
            h = jnp.tanh(jax.vmap(self.inner)(x))
            hidden = 1 - mask
            return self.out((h * hidden[:, None]).sum(0) / (hidden.sum() + 1e-6))

    lengths = integers(166, 4, 20) + 3
    mask = (jnp.arange(8) < lengths[:, None]).astype(jnp.float32)
    x = normal(167, 20, 8, 5) * mask[..., None]
    a, b = jax.random.split(jax.random.key(18))
    net = Net(eqx.nn.Linear(5, 8, key=a), eqx.nn.Linear(8, 2, key=b))
    return equinox_case(net, cross_entropy, (x, mask), integers(168, 2, 20))


# ---- tiny_denominator


@plain(
    "tiny_denominator",
    "Cosines of embeddings that start at 1e-9, without a margin in their norms.",
    ["exploding"],
)
def cosines_of_nothing():
    def f(p, x, y):
        z = x @ p["W"]
        z = z / jnp.sqrt(jnp.sum(z * z, 1, keepdims=True))
        return cross_entropy(5 * z @ p["classes"], y)

    return (
        f,
        {"W": normal(169, 6, 8, scale=1e-9), "classes": normal(170, 8, 3)},
        (normal(171, 24, 6), integers(172, 3, 24)),
    )


@linen("tiny_denominator", "A batch norm by hand without epsilon, after kernels of 1e-8.", ["exploding"])
def batch_norm_without_margin():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(10, kernel_init=nn.initializers.normal(1e-8))(x)
            h = (h - h.mean(0)) / h.std(0)
            return nn.Dense(3)(nn.relu(h))

    return linen_case(Net(), cross_entropy, normal(173, 32, 5), integers(174, 3, 32))


@of_nnx(
    "tiny_denominator",
    "Relative errors of currents of a hundredth of a microampere.",
    ["exploding", "dominated"],
)
def relative_error_of_currents():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(3, 12, rngs=rngs)
            self.out = nnx.Linear(12, 1, rngs=rngs)

        def __call__(self, x):
            return self.out(jnp.tanh(self.hidden(x)))

    return nnx_case(
        Net(rngs_of(17)),
        lambda a, y: jnp.mean(jnp.abs((a - y) / y)),
        normal(175, 24, 3),
        uniform(176, 24, 1, low=1e-8, high=3e-8),
    )


# ---- reduction


@linen("reduction", "Cross-entropies of a tagger are summed over batch and time.")
def tags_summed():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, words):
            return nn.Dense(5)(nn.relu(nn.Dense(16)(nn.Embed(30, 8)(words))))

    def loss(logits, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).sum()

    return linen_case(Net(), loss, integers(177, 30, 64, 7), integers(178, 5, 64, 7))


@equinox("reduction", "optax.l2_loss, then sum().")
def l2_summed():
    net = eqx.nn.MLP(4, 2, 16, 1, key=jax.random.key(19))
    x = normal(179, 96, 4)
    return equinox_case(net, lambda a, y: optax.l2_loss(a, y).sum(), x, smooth(x, 2))


@plain("reduction", "The squared error as the inner product of the errors with themselves.")
def inner_product_of_errors():
    def f(p, x, y):
        error = (forward(p, x, jnp.tanh) - y).ravel()
        return jnp.vdot(error, error)

    x = normal(180, 80, 5)
    return f, dense(181, 5, 12, 1), (x, smooth(x))


# ---- one_class


@linen("one_class", "The loader read a folder: every image is of class 2.")
def one_folder():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Conv(6, (3, 3))(x)).mean((1, 2)))

    return linen_case(Net(), cross_entropy, normal(182, 20, 6, 6, 1), jnp.full(20, 2))


@equinox("one_class", "Nobody in this sample was ill: every target is 0.0.")
def nobody_ill():
    net = eqx.nn.MLP(6, "scalar", 12, 1, key=jax.random.key(20))
    return equinox_case(net, binary_cross_entropy, normal(183, 32, 6), jnp.zeros(32))


@plain("one_class", "Segmentation masks that are all background.")
def background_only():
    def f(p, x, y):
        dims = ("NHWC", "HWIO", "NHWC")
        h = relu(jax.lax.conv_general_dilated(x, p["K"], (1, 1), "SAME", dimension_numbers=dims))
        h = jax.lax.conv_general_dilated(h, p["L"], (1, 1), "SAME", dimension_numbers=dims)
        return binary_cross_entropy(h[..., 0], y)

    p = {"K": normal(184, 3, 3, 1, 6, scale=0.4), "L": normal(185, 3, 3, 6, 1, scale=0.2)}
    return f, p, (normal(186, 8, 8, 8, 1), jnp.zeros((8, 8, 8)))


# ---- label_range


@equinox("label_range", "Stars of 1 to 5 as the classes of a net with five outputs, one_hot.")
def stars_from_one():
    net = eqx.nn.MLP(6, 5, 16, 1, key=jax.random.key(21))

    def loss(logits, y):
        return optax.softmax_cross_entropy(logits, jax.nn.one_hot(y, 5)).mean()

    return equinox_case(net, loss, normal(187, 30, 6), integers(188, 5, 30) + 1)


@plain("label_range", "Masks of 0 and 255 where the binary cross-entropy expects 0 and 1.", ["dominated"])
def masks_as_bytes():
    def f(p, x, y):
        return binary_cross_entropy(forward(p, x, relu), y)

    x = normal(189, 32, 6)
    return f, dense(190, 6, 16, 2), (x, 255.0 * (x[:, :2] > 0))


@of_nnx("label_range", "A hinge loss that expects -1 and 1 is given 0 and 1.", ["ignored_examples"])
def hinge_of_zero_and_one():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(5, 12, rngs=rngs)
            self.out = nnx.Linear(12, 1, rngs=rngs)

        def __call__(self, x):
            return self.out(nnx.relu(self.hidden(x)))[:, 0]

    x = normal(191, 32, 5)
    loss = lambda s, y: jnp.mean(jnp.maximum(0.0, 1 - y * s))  # noqa: E731
    return nnx_case(Net(rngs_of(18)), loss, x, (x[:, 1] > 0).astype(jnp.float32))


# ---- dominated


@linen("dominated", "PPO: the ratio of one old and very unlikely action is e^12, with no clip.")
def unclipped_ratio():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.log_softmax(nn.Dense(3)(nn.tanh(nn.Dense(16)(x))))

    def loss(logp, action, old, advantage):
        new = jnp.take_along_axis(logp, action[:, None], 1)[:, 0]
        return -jnp.mean(jnp.exp(new - old) * advantage)

    old = jnp.full(32, -1.1).at[7].set(-13.0)
    return linen_case(Net(), loss, normal(192, 32, 4), integers(193, 3, 32), old, normal(194, 32))


@plain("dominated", "A row of the table is in grams where the others are in kilograms.")
def one_row_in_grams():
    def f(p, x, y):
        return mse(forward(p, x, relu), y)

    x = normal(195, 40, 4).at[11].multiply(1000.0)
    return f, dense(196, 4, 12, 1), (x, x[:, :1] * 0.5)


@equinox("dominated", "One house of the batch costs 1e5 times as much as the others.")
def one_price():
    net = eqx.nn.MLP(5, 1, 16, 1, key=jax.random.key(22))
    x = normal(197, 32, 5)
    return equinox_case(net, mse, x, smooth(x).at[3, 0].set(1e5))
