"""Further sick models, written from the words alone and before any of them was diagnosed.

None of them was looked at when a threshold was set: what is said of them is as close as the suite comes to
what a stranger sees.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import nnx

from .record import (
    ASIDE,
    Model,
    cross_entropy,
    dense,
    equinox_case,
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
plain, _ = registering("plain", MODELS)
linen, _ = registering("linen", MODELS)
of_nnx, _ = registering("nnx", MODELS)
equinox, _ = registering("equinox", MODELS)


def column(x):
    return (x[:, :1] * 0.5 + x[:, 1:2]).astype(jnp.float32)


@plain("saturated", ASIDE, "Weights of standard deviation 30 in front of a sigmoid, written with einsum.")
def einsum_sigmoid():
    def f(w, x, y):
        h = jax.nn.sigmoid(jnp.einsum("nd,dh->nh", x, w["first"]) + w["shift"])
        return mse(jnp.einsum("nh,ho->no", h, w["second"]), y)

    x = normal(11, 48, 6)
    w = {
        "first": normal(12, 6, 20, scale=30.0),
        "shift": jnp.zeros(20),
        "second": normal(13, 20, 1, scale=0.2),
    }
    return f, w, (x, column(x))


@of_nnx("saturated", ASIDE, "The kernels of a tanh net have standard deviation 15.")
def tanh_of_wide_kernels():
    class Net(nnx.Module):
        def __init__(self, rngs):
            init = nnx.initializers.normal(15.0)
            self.enter = nnx.Linear(5, 16, kernel_init=init, rngs=rngs)
            self.leave = nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x):
            return self.leave(jnp.tanh(self.enter(x)))

    return nnx_case(Net(rngs_of(0)), cross_entropy, normal(1, 48, 5), integers(2, 3, 48))


@equinox("saturated", ASIDE, "Biases of +40 hold every hidden sigmoid at 1.")
def sigmoid_held_at_one():
    net = eqx.nn.MLP(4, 2, 12, 2, activation=jax.nn.sigmoid, key=jax.random.key(0))
    net = eqx.tree_at(lambda n: n.layers[1].bias, net, jnp.full(12, 40.0))
    return equinox_case(net, cross_entropy, normal(3, 40, 4), integers(4, 2, 40))


@plain("saturated", ASIDE, "A sigmoid as e^z / (1 + e^z), of large weights.")
def sigmoid_of_exponentials():
    def f(p, x, y):
        e = jnp.exp(jnp.clip(x @ p["W"], -60, 60))
        return mse((e / (1 + e)) @ p["V"], y)

    x = normal(144, 32, 5)
    return f, {"W": normal(145, 5, 12, scale=12.0), "V": normal(146, 12, 1)}, (x, column(x))


@equinox("dead", ASIDE, "Every bias of a convolution is -20, a relu follows.")
def dead_convolution():
    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        head: eqx.nn.Linear

        def __call__(self, image):
            h = jax.nn.relu(self.conv(image))
            return self.head(h.mean((1, 2)))

    a, b = jax.random.split(jax.random.key(1))
    conv = eqx.nn.Conv2d(1, 6, 3, key=a)
    conv = eqx.tree_at(lambda c: c.bias, conv, jnp.full((6, 1, 1), -20.0))
    net = Net(conv, eqx.nn.Linear(6, 3, key=b))
    return equinox_case(net, cross_entropy, normal(5, 24, 1, 8, 8), integers(6, 3, 24))


@linen("dead", ASIDE, "The second hidden layer starts at -30.")
def second_layer_dead():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(16)(x))
            x = nn.relu(nn.Dense(16, bias_init=nn.initializers.constant(-30.0))(x))
            return nn.Dense(1)(x)

    x = normal(7, 32, 6)
    return linen_case(Net(), mse, x, column(x))


@plain("dead", ASIDE, "A relu by jnp.where, inputs above 0, weights below.")
def where_relu_of_negative_weights():
    def f(p, x, y):
        z = x @ p["W"]
        return mse(jnp.where(z > 0, z, 0.0) @ p["V"] + p["c"], y)

    x = uniform(8, 32, 5, low=0.5, high=1.5)
    p = {"W": -jnp.abs(normal(9, 5, 12)), "V": normal(10, 12, 1), "c": jnp.zeros(1)}
    return f, p, (x, column(x))


@plain("vanishing", ASIDE, "Fifteen tanh layers of weights ten times too small.", ["unused"])
def fifteen_small_layers():
    def f(layers, x, y):
        for layer in layers[:-1]:
            x = jnp.tanh(x @ layer["W"] + layer["b"])
        return mse(x @ layers[-1]["W"], y)

    x = normal(14, 32, 8)
    return f, dense(15, 8, *[10] * 15, 1, scale=0.1), (x, column(x))


@plain("dead", ASIDE, "A relu as a value times whether it is above 0.")
def relu_as_a_product():
    def f(p, x, y):
        z = x @ p["W"] - 50.0
        return mse((z * (z > 0)) @ p["V"] + p["c"], y)

    x = normal(141, 32, 5)
    return f, {"W": normal(142, 5, 12), "V": normal(143, 12, 1), "c": jnp.zeros(1)}, (x, column(x))


@of_nnx("vanishing", ASIDE, "Ten sigmoid layers, initialised as the library does.")
def ten_sigmoid_layers():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(10)])
            self.out = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, x):
            for layer in self.layers:
                x = nnx.sigmoid(layer(x))
            return self.out(x)

    return nnx_case(Net(rngs_of(3)), cross_entropy, normal(16, 32, 8), integers(17, 2, 32))


@linen("exploding", ASIDE, "Twelve gelu layers of kernels of standard deviation 2.")
def gelu_of_wide_kernels():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(12):
                x = nn.gelu(nn.Dense(12, kernel_init=nn.initializers.normal(2.0))(x))
            return nn.Dense(1)(x)

    x = normal(18, 32, 12, scale=0.1)
    return linen_case(Net(), lambda out, y: jnp.mean(jnp.abs(out - y)), x, column(x))


@plain("exploding", ASIDE, "A linear recurrence of spectral radius 2 over 24 steps.")
def growing_recurrence():
    def f(p, xs, y):
        def step(h, x):
            return h @ p["U"] + x @ p["W"], None

        h, _ = jax.lax.scan(step, jnp.zeros((xs.shape[1], 6)), xs)
        return jnp.mean(jnp.abs(h @ p["out"] - y))

    p = {
        "U": 2.0 * jnp.linalg.qr(normal(19, 6, 6))[0],
        "W": normal(20, 3, 6, scale=0.3),
        "out": normal(21, 6, 1),
    }
    xs = normal(22, 24, 16, 3)
    return f, p, (xs, normal(23, 16, 1))


@plain(
    "nan_forward", ASIDE, "A variance by E[h^2] - E[h]^2 with the terms exchanged: the root of less than 0."
)
def negative_variance():
    def f(p, x, y):
        h = x @ p["W"]
        sd = jnp.sqrt(h.mean(1, keepdims=True) ** 2 - (h**2).mean(1, keepdims=True))
        return mse((h - h.mean(1, keepdims=True)) / sd @ p["V"], y)

    x = normal(24, 32, 5)
    return f, {"W": normal(25, 5, 8), "V": normal(26, 8, 1)}, (x, column(x))


@equinox("nan_forward", ASIDE, "The logarithm of a tanh's output is taken as a log-probability.")
def log_of_tanh():
    net = eqx.nn.MLP(4, 1, 8, 1, final_activation=jnp.tanh, key=jax.random.key(2))
    return equinox_case(
        net, lambda out, y: -jnp.mean(y * jnp.log(out)), normal(27, 24, 4), uniform(28, 24, 1)
    )


@plain("nan_backward", ASIDE, "The distance of an example from itself: a root whose slope at 0 is infinite.")
def distance_to_itself():
    def f(p, x):
        h = x @ p["W"]
        apart = h[:, None, :] - h[None, :, :]
        return jnp.mean(jnp.sqrt(jnp.sum(apart**2, -1)))

    return f, {"W": normal(29, 4, 5)}, (normal(30, 16, 4),)


@linen("nan_backward", ASIDE, "where(h > 0, h log h, 0): the slope at 0 is not guarded.")
def entropy_of_relu():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = jnp.maximum(nn.Dense(10)(x), 0.0)  # whose slope is a factor, and 0 * NaN is NaN
            return jnp.where(h > 0, h * jnp.log(h), 0.0)

    return linen_case(Net(), lambda out: jnp.mean(out), normal(31, 24, 5))


@plain("overflow", ASIDE, "A softmax by hand, without the maximum subtracted, of logits of about 200.")
def softmax_by_hand():
    def f(p, x, y):
        e = jnp.exp(x @ p["W"])
        probability = e / e.sum(1, keepdims=True)
        return -jnp.mean(jnp.log(jnp.take_along_axis(probability, y[:, None], 1)))

    return f, {"W": normal(32, 6, 4, scale=100.0)}, (normal(33, 32, 6), integers(34, 4, 32))


@of_nnx("overflow", ASIDE, "Half precision: squares of numbers of about 500 are beyond 65504.")
def squares_in_half_precision():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.lin = nnx.Linear(
                8, 8, rngs=rngs, dtype=jnp.float16, kernel_init=nnx.initializers.normal(200.0)
            )

        def __call__(self, x):
            return jnp.sum(self.lin(x) ** 2, -1)

    return nnx_case(
        Net(rngs_of(4)), lambda out, y: jnp.mean((out - y) ** 2), normal(35, 16, 8), normal(36, 16)
    )


@plain("underflow", ASIDE, "A likelihood as the product of 400 probabilities.")
def likelihood_of_a_long_sequence():
    def f(p, x, y):
        mu = jax.nn.sigmoid(x @ p["w"] + p["b"])
        each = jnp.where(y > 0, mu, 1 - mu)
        return -jnp.prod(each)

    return (
        f,
        {"w": normal(37, 3), "b": jnp.zeros(())},
        (normal(38, 400, 3), integers(39, 2, 400).astype(jnp.float32)),
    )


@equinox("underflow", ASIDE, "A radial kernel exp(-500 d^2) is 0 for every pair in float32.")
def narrow_kernel():
    class Net(eqx.Module):
        centers: jax.Array
        weights: jax.Array

        def __call__(self, x):
            return jnp.exp(-500.0 * jnp.sum((x - self.centers) ** 2, -1)) @ self.weights

    net = Net(normal(40, 6, 4), normal(41, 6))
    return equinox_case(net, mse, normal(42, 32, 4), normal(43, 32))


@plain("clipped", ASIDE, "Predictions are clipped to 0..1 while most are outside.")
def prediction_clipped():
    def f(p, x, y):
        out = jnp.clip(x @ p["W"] + p["b"], 0.0, 1.0)
        return mse(out, y)

    x = normal(44, 48, 5)
    return f, {"W": normal(45, 5, 1, scale=4.0), "b": jnp.zeros(1)}, (x, uniform(46, 48, 1))


@of_nnx("clipped", ASIDE, "Each example's loss is cut at 0.05, which most are above.")
def losses_cut():
    model = nnx.Linear(5, 3, rngs=rngs_of(5))

    def loss(logits, y):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.minimum(each, 0.05).mean()

    # a few examples are easy, so that some gradient is left
    y = integers(47, 3, 48)
    x = normal(48, 48, 5).at[:6].set(40.0 * model.kernel.get_value()[:, y[:6]].T)
    return nnx_case(model, loss, x, y)


@linen("unused", ASIDE, "A second branch is computed and forgotten.")
def branch_forgotten():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            left = nn.tanh(nn.Dense(8, name="left")(x))
            right = nn.tanh(nn.Dense(8, name="right")(x))
            del right
            return nn.Dense(2)(left)

    return linen_case(Net(), cross_entropy, normal(49, 24, 4), integers(50, 2, 24))


@equinox("unused", ASIDE, "Of two heads the loss reads one.")
def one_of_two_heads():
    class Net(eqx.Module):
        body: eqx.nn.Linear
        mean: eqx.nn.Linear
        spread: eqx.nn.Linear

        def __call__(self, x):
            h = jnp.tanh(self.body(x))
            return self.mean(h), self.spread(h)

    a, b, c = jax.random.split(jax.random.key(3), 3)
    net = Net(eqx.nn.Linear(4, 8, key=a), eqx.nn.Linear(8, 1, key=b), eqx.nn.Linear(8, 1, key=c))
    return equinox_case(net, lambda out, y: mse(out[0], y), normal(51, 24, 4), normal(52, 24, 1))


@plain("cut", ASIDE, "The code of a hidden row is its argmax, whose one-hot vector goes on.")
def hard_code():
    def f(p, x, y):
        code = jax.nn.one_hot(jnp.argmax(x @ p["encode"], -1), 6)
        return cross_entropy(code @ p["decode"], y)

    return (
        f,
        {"encode": normal(53, 5, 6), "decode": normal(54, 6, 3)},
        (normal(55, 32, 5), integers(56, 3, 32)),
    )


@of_nnx("cut", ASIDE, "Hidden units are rounded to quarters, with no straight-through estimate.")
def rounded_units():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(4, 10, rngs=rngs)
            self.b = nnx.Linear(10, 2, rngs=rngs)

        def __call__(self, x):
            return self.b(jnp.round(4 * jnp.tanh(self.a(x))) / 4)

    return nnx_case(Net(rngs_of(6)), cross_entropy, normal(57, 32, 4), integers(58, 2, 32))


@plain("detached_state", ASIDE, "The state is detached in each step of a scan.")
def detached_scan():
    def f(p, xs, y):
        def step(h, x):
            h = jnp.tanh(jax.lax.stop_gradient(h) @ p["U"] + x @ p["W"])
            return h, None

        h, _ = jax.lax.scan(step, jnp.zeros((xs.shape[1], 8)), xs)
        return cross_entropy(h @ p["out"], y)

    p = {"U": normal(59, 8, 8, scale=0.35), "W": normal(60, 3, 8), "out": normal(61, 8, 2)}
    return f, p, (normal(62, 10, 16, 3), integers(63, 2, 16))


@equinox("detached_state", ASIDE, "A GRU whose new state leaves each step behind stop_gradient.")
def detached_gru():
    class Net(eqx.Module):
        cell: eqx.nn.GRUCell
        head: eqx.nn.Linear

        def __call__(self, xs):
            def step(h, x):
                new = self.cell(x, h)
                return jax.lax.stop_gradient(new), new

            _, hs = jax.lax.scan(step, jnp.zeros(6), xs)
            return self.head(hs[-1])

    a, b = jax.random.split(jax.random.key(4))
    return equinox_case(
        Net(eqx.nn.GRUCell(3, 6, key=a), eqx.nn.Linear(6, 2, key=b)), cross_entropy,
        normal(64, 12, 9, 3), integers(65, 2, 12),
    )  # fmt: skip


@plain("identical", ASIDE, "Every weight is one half.")
def all_one_half():
    def f(p, x, y):
        return mse(jnp.tanh(x @ p["W"] + p["b"]) @ p["V"], y)

    x = normal(66, 32, 4)
    return f, {"W": jnp.full((4, 8), 0.5), "b": jnp.zeros(8), "V": jnp.full((8, 1), 0.5)}, (x, column(x))


@linen("identical", ASIDE, "Constant kernels in a net of two hidden layers.")
def constant_kernels():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.initializers.constant(0.05)
            x = nn.relu(nn.Dense(10, kernel_init=init)(x))
            x = nn.relu(nn.Dense(10, kernel_init=init)(x))
            return nn.Dense(3)(x)

    return linen_case(Net(), cross_entropy, uniform(67, 32, 5), integers(68, 3, 32))


@plain("constant_input", ASIDE, "The reader gave the first row again and again.")
def one_row_again_and_again():
    def f(p, x, y):
        return cross_entropy(jnp.tanh(x @ p["W"]) @ p["V"], y)

    x = jnp.tile(normal(69, 1, 6), (32, 1))
    return f, {"W": normal(70, 6, 8, scale=0.4), "V": normal(71, 8, 3, scale=0.4)}, (x, integers(72, 3, 32))


@of_nnx("duplicate_input", ASIDE, "The table was joined to itself: every column is there twice.")
def columns_twice():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(12, 8, rngs=rngs)
            self.b = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, x):
            return self.b(nnx.relu(self.a(x)))

    x = normal(73, 32, 6)
    return nnx_case(Net(rngs_of(7)), cross_entropy, jnp.concatenate([x, x], 1), integers(74, 2, 32))


@equinox("unscaled", ASIDE, "Prices of a few hundred thousand go in as they are.", ["saturated", "dominated"])
def prices_as_they_are():
    net = eqx.nn.MLP(3, 1, 16, 1, activation=jnp.tanh, key=jax.random.key(5))
    return equinox_case(net, mse, uniform(75, 32, 3, low=1e5, high=9e5), normal(76, 32, 1))


@plain("wrong_axis", ASIDE, "Attention weights sum to 1 over the queries.")
def attention_over_the_queries():
    def f(p, x, y):
        q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
        weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k) / 8**0.5, axis=1)
        return cross_entropy(jnp.einsum("bqk,bkd->bqd", weights, v).mean(1) @ p["out"], y)

    p = {w: normal(77 + i, 8, 8, scale=0.4) for i, w in enumerate("qkv")} | {"out": normal(80, 8, 3)}
    return f, p, (normal(81, 12, 7, 8), integers(82, 3, 12))


@linen("wrong_axis", ASIDE, "The output's softmax runs over the batch.")
def softmax_over_the_batch():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.softmax(nn.Dense(4)(nn.tanh(nn.Dense(10)(x))), axis=0)

    def loss(probability, y):
        return -jnp.mean(jnp.log(probability[jnp.arange(len(y)), y]))

    return linen_case(Net(), loss, normal(83, 24, 5), integers(84, 4, 24))


@plain("size_one", ASIDE, "A softmax over the single logit of a binary classifier.")
def softmax_of_one_logit():
    def f(p, x, y):
        mu = jax.nn.softmax(jnp.tanh(x @ p["W"]) @ p["V"], axis=-1)
        return -jnp.mean(y * jnp.log(mu + 1e-7) + (1 - y) * jnp.log(1 - mu + 1e-7))

    return (
        f,
        {"W": normal(85, 4, 8), "V": normal(86, 8, 1)},
        (normal(87, 32, 4), integers(88, 2, 32, 1) * 1.0),
    )


@equinox("size_one", ASIDE, "A layer norm over one feature.")
def norm_of_one_feature():
    class Net(eqx.Module):
        a: eqx.nn.Linear
        norm: eqx.nn.LayerNorm
        b: eqx.nn.Linear

        def __call__(self, x):
            return self.b(self.norm(self.a(x)))

    a, b = jax.random.split(jax.random.key(6))
    net = Net(eqx.nn.Linear(4, 1, key=a), eqx.nn.LayerNorm(1), eqx.nn.Linear(1, 1, key=b))
    return equinox_case(net, mse, normal(89, 24, 4), normal(90, 24, 1))


@linen("double_squash", ASIDE, "The model ends in a softmax and optax takes that for logits.")
def softmax_before_optax():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.softmax(nn.Dense(4)(nn.relu(nn.Dense(12)(x))))

    def loss(out, y):
        return optax.softmax_cross_entropy(out, jax.nn.one_hot(y, 4)).mean()

    return linen_case(Net(), loss, normal(91, 32, 6), integers(92, 4, 32))


@plain("double_squash", ASIDE, "Probabilities of a sigmoid, by hand, into a loss that takes logits.")
def sigmoid_by_hand_before_optax():
    def f(p, x, y):
        mu = 1 / (1 + jnp.exp(-(jnp.tanh(x @ p["W"]) @ p["V"])))
        return optax.sigmoid_binary_cross_entropy(mu, y).mean()

    return (
        f,
        {"W": normal(93, 4, 8, scale=0.5), "V": normal(94, 8, 1)},
        (normal(95, 32, 4), integers(96, 2, 32, 1) * 1.0),
    )


@of_nnx("broadcast", ASIDE, "Predictions (N, 1), targets (N,), Huber's loss.")
def huber_broadcasts():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(4, 8, rngs=rngs)
            self.b = nnx.Linear(8, 1, rngs=rngs)

        def __call__(self, x):
            return self.b(nnx.relu(self.a(x)))

    return nnx_case(
        Net(rngs_of(8)), lambda out, y: optax.huber_loss(out, y).mean(), normal(97, 32, 4), normal(98, 32)
    )


@equinox("broadcast", ASIDE, "The absolute error of targets (N, 1) and predictions (N,).")
def absolute_error_broadcasts():
    net = eqx.nn.MLP(4, "scalar", 8, 1, key=jax.random.key(7))
    return equinox_case(net, lambda out, y: jnp.abs(out - y).mean(), normal(99, 32, 4), normal(100, 32, 1))


@plain("ignored_examples", ASIDE, "The loss is taken of the first quarter of the batch.")
def first_quarter():
    def f(p, x, y):
        logits = jnp.tanh(x @ p["W"]) @ p["V"]
        each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return each[: len(each) // 4].mean()

    return f, {"W": normal(101, 4, 8), "V": normal(102, 8, 3)}, (normal(103, 32, 4), integers(104, 3, 32))


@equinox("ignored_examples", ASIDE, "The weights of two thirds of the examples came out as 0.")
def weights_of_zero():
    net = eqx.nn.MLP(4, 1, 8, 1, key=jax.random.key(8))
    weight = jnp.where(jnp.arange(30) % 3 == 0, 1.7, 0.0)

    def loss(out, y, weight):
        return jnp.sum(weight[:, None] * (out - y) ** 2) / jnp.sum(weight)

    return equinox_case(net, loss, normal(105, 30, 4), normal(106, 30, 1), weight)


@linen("output_range", ASIDE, "A tanh at the end, targets from 50 to 100.")
def tanh_against_hundreds():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.tanh(nn.Dense(1)(nn.relu(nn.Dense(12)(x))))

    return linen_case(Net(), mse, normal(107, 32, 4), uniform(108, 32, 1, low=50, high=100))


@plain("output_range", ASIDE, "A sigmoid at the end, targets of mean 0 and variance 1 scaled by 5.")
def sigmoid_against_normal_targets():
    def f(p, x, y):
        return jnp.mean(jnp.abs(jax.nn.sigmoid(jnp.tanh(x @ p["W"]) @ p["V"])[:, 0] - y))

    return (
        f,
        {"W": normal(109, 4, 8), "V": normal(110, 8, 1)},
        (normal(111, 32, 4), normal(112, 32, scale=5.0)),
    )


@linen("mask", ASIDE, "The keys that are hidden are the real ones: the mask is inverted.")
def inverted_key_mask():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            q, k, v = (nn.Dense(8, name=n)(x) for n in ("q", "k", "v"))
            scores = jnp.einsum("bqd,bkd->bqk", q, k) / 8**0.5
            weights = nn.softmax(jnp.where(mask[:, None, :] == 0, scores, -1e9))
            return nn.Dense(3)(jnp.einsum("bqk,bkd->bqd", weights, v).mean(1))

    net = Net()
    mask = (jnp.arange(7)[None] < integers(113, 4, 16)[:, None] + 2).astype(jnp.float32)
    x = normal(114, 16, 7, 6) * mask[..., None]
    params = net.init(jax.random.key(9, impl="rbg"), x, mask)["params"]

    def f(params, x, mask, y):
        return cross_entropy(net.apply({"params": params}, x, mask), y)

    return f, params, (x, mask, integers(115, 3, 16))


@plain(
    "mask", ASIDE, "A causal mask of the wrong sign leaves the first query nothing, with -1e30 everywhere."
)
def every_score_masked():
    def f(p, x, y):
        scores = jnp.einsum("bqd,bkd->bqk", x @ p["q"], x @ p["k"])
        allowed = jnp.zeros((x.shape[1], x.shape[1]), bool)
        weights = jax.nn.softmax(jnp.where(allowed[None], scores, -1e30), -1)
        return cross_entropy(jnp.einsum("bqk,bkd->bqd", weights, x @ p["v"])[:, -1] @ p["out"], y)

    p = {w: normal(116 + i, 6, 6, scale=0.4) for i, w in enumerate("qkv")} | {"out": normal(119, 6, 3)}
    return f, p, (normal(120, 12, 5, 6), integers(121, 3, 12))


@plain("tiny_denominator", ASIDE, "Features of spread 1e-9 are divided by it after the first layer.")
def divided_by_a_tiny_spread():
    def f(p, x, y):
        h = x @ p["W"]
        h = (h - h.mean(0)) / (h.std(0) + 1e-14)
        return mse(h @ p["V"], y)

    x = normal(122, 32, 5)
    return f, {"W": normal(123, 5, 8, scale=1e-9), "V": normal(124, 8, 1)}, (x, column(x))


@equinox("reduction", ASIDE, "The absolute errors of 96 examples are summed.")
def summed_absolute_errors():
    net = eqx.nn.MLP(4, 1, 8, 1, activation=jnp.tanh, key=jax.random.key(10))
    return equinox_case(net, lambda out, y: jnp.abs(out - y).sum(), normal(125, 96, 4), normal(126, 96, 1))


@of_nnx("reduction", ASIDE, "vmap over the examples, then .sum().")
def vmapped_losses_summed():
    model = nnx.Linear(5, 4, rngs=rngs_of(11))

    def loss(logits, y):
        return jax.vmap(lambda z, k: jax.nn.logsumexp(z) - z[k])(logits, y).sum()

    return nnx_case(model, loss, normal(127, 64, 5), integers(128, 4, 64))


@of_nnx("one_class", ASIDE, "The file was sorted: the batch has class 0 alone.")
def class_zero_alone():
    model = nnx.Linear(5, 3, rngs=rngs_of(12))
    return nnx_case(model, cross_entropy, normal(129, 32, 5), jnp.zeros(32, jnp.int32))


@plain("label_range", ASIDE, "Classes are counted from 1, and picked by take_along_axis.", ["nan_forward"])
def classes_from_one():
    def f(p, x, y):
        log_p = jax.nn.log_softmax(jnp.tanh(x @ p["W"]) @ p["V"])
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], 1))

    return f, {"W": normal(130, 4, 8), "V": normal(131, 8, 4)}, (normal(132, 32, 4), integers(133, 4, 32) + 1)


@linen("label_range", ASIDE, "Five labels, four outputs, one_hot: the fifth is a row of zeros.")
def one_hot_of_too_many():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(12)(x)))

    def loss(out, y):
        return optax.softmax_cross_entropy(out, jax.nn.one_hot(y, 4)).mean()

    return linen_case(Net(), loss, normal(134, 40, 5), integers(135, 5, 40))


@plain("dominated", ASIDE, "One target was typed without its decimal point.")
def missing_decimal_point():
    def f(p, x, y):
        return mse(jnp.tanh(x @ p["W"]) @ p["V"], y)

    x = normal(136, 32, 4)
    return f, {"W": normal(137, 4, 8), "V": normal(138, 8, 1)}, (x, column(x).at[5].set(12345.0))


@of_nnx("dominated", ASIDE, "One example weighs a million times as much as the others.")
def one_heavy_example():
    model = nnx.Linear(4, 1, rngs=rngs_of(13))
    weight = jnp.ones(24).at[3].set(1e6)

    def loss(out, y, weight):
        return jnp.mean(weight * (out[:, 0] - y) ** 2)

    return nnx_case(model, loss, normal(139, 24, 4), normal(140, 24), weight)
