"""Further healthy models, written from what people build and before any of them was diagnosed."""

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
_, plain = registering("plain", MODELS)
_, linen = registering("linen", MODELS)
_, of_nnx = registering("nnx", MODELS)
_, equinox = registering("equinox", MODELS)


@plain(ASIDE, "A convolution by lax, a relu, a maximum over windows, a linear head.")
def small_convolutional_net():
    def f(p, x, y):
        h = jax.lax.conv_general_dilated(
            x, p["K"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        h = jax.nn.relu(h + p["b"])
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return cross_entropy(h.reshape(len(h), -1) @ p["W"], y)

    p = {"K": normal(1, 3, 3, 1, 6, scale=0.4), "b": jnp.zeros(6), "W": normal(2, 96, 3, scale=0.1)}
    return f, p, (normal(3, 24, 8, 8, 1), integers(4, 3, 24))


@linen(ASIDE, "A block of Linen's attention with a causal mask and layer norms.")
def causal_block():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            mask = nn.make_causal_mask(jnp.ones(x.shape[:2]))
            x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x), mask=mask)
            x = x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))
            return nn.Dense(5)(x)

    return linen_case(Net(), cross_entropy, normal(5, 6, 7, 8), integers(6, 5, 6, 7))


@of_nnx(ASIDE, "An orthogonal recurrence over 30 steps.")
def orthogonal_recurrence():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.W = nnx.Linear(3, 8, rngs=rngs)
            self.U = nnx.Linear(8, 8, use_bias=False, kernel_init=nnx.initializers.orthogonal(), rngs=rngs)
            self.out = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, xs):
            h = jnp.zeros((xs.shape[0], 8))
            for t in range(xs.shape[1]):
                h = jnp.tanh(self.W(xs[:, t]) * 0.3 + self.U(h))
            return self.out(h)

    return nnx_case(Net(rngs_of(0)), cross_entropy, normal(7, 12, 30, 3), integers(8, 2, 12))


@equinox(ASIDE, "A variational autoencoder: the noise is given, the KL is added.")
def variational_autoencoder():
    class Net(eqx.Module):
        encode: eqx.nn.MLP
        decode: eqx.nn.MLP

        def __call__(self, pair):
            x, noise = pair[:6], pair[6:]
            mean, log_var = jnp.split(self.encode(x), 2)
            z = mean + jnp.exp(0.5 * log_var) * noise
            kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1)
            return jnp.sum((self.decode(z) - x) ** 2) + kl

    a, b = jax.random.split(jax.random.key(0))
    net = Net(eqx.nn.MLP(6, 4, 12, 1, jnp.tanh, key=a), eqx.nn.MLP(2, 6, 12, 1, jnp.tanh, key=b))
    return equinox_case(net, lambda losses: losses.mean(), normal(9, 32, 8))


@plain(ASIDE, "InfoNCE: normalised rows, a temperature of 0.2, cross-entropy both ways.")
def info_nce():
    def f(p, a, b):
        u, v = a @ p["left"], b @ p["right"]
        u = u / jnp.linalg.norm(u, axis=1, keepdims=True)
        v = v / jnp.linalg.norm(v, axis=1, keepdims=True)
        s, k = u @ v.T / 0.2, jnp.arange(len(u))
        return cross_entropy(s, k) + cross_entropy(s.T, k)

    x = normal(10, 16, 8)
    return f, {"left": normal(11, 8, 6), "right": normal(12, 8, 6)}, (x, x + normal(13, 16, 8, scale=0.3))


@linen(ASIDE, "Batch norm in training, whose statistics are thrown away.")
def batch_norm_in_training():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.BatchNorm(use_running_average=False)(nn.Dense(16)(x)))
            return nn.Dense(3)(x)

    net, x, y = Net(), normal(14, 32, 5), integers(15, 3, 32)
    made = net.init(jax.random.key(1, impl="rbg"), x)

    def f(params, x, y):
        out, _ = net.apply({"params": params, "batch_stats": made["batch_stats"]}, x, mutable=["batch_stats"])
        return cross_entropy(out, y)

    return f, made["params"], (x, y)


@of_nnx(ASIDE, "Label smoothing, weight decay, silu.")
def smoothed_and_decayed():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(6, 16, rngs=rngs)
            self.b = nnx.Linear(16, 4, rngs=rngs)

        def __call__(self, x):
            decay = 1e-3 * (jnp.sum(self.a.kernel[...] ** 2) + jnp.sum(self.b.kernel[...] ** 2))
            return self.b(nnx.silu(self.a(x))), decay

    def loss(out, y):
        targets = optax.smooth_labels(jax.nn.one_hot(y, 4), 0.1)
        return optax.softmax_cross_entropy(out[0], targets).mean() + out[1]

    return nnx_case(Net(rngs_of(1)), loss, normal(16, 32, 6), integers(17, 4, 32))


@equinox(ASIDE, "A critic with a gradient penalty: a derivative is taken inside of the loss.")
def critic_with_gradient_penalty():
    class Net(eqx.Module):
        mlp: eqx.nn.MLP

        def __call__(self, x):
            value, slope = jax.value_and_grad(lambda x: self.mlp(x))(x)
            return value, jnp.sqrt(jnp.sum(slope**2) + 1e-6)

    net = Net(eqx.nn.MLP(4, "scalar", 16, 2, jax.nn.softplus, key=jax.random.key(2)))

    def loss(out, sign):
        return jnp.mean(out[0] * sign) + jnp.mean((out[1] - 1) ** 2)

    return equinox_case(net, loss, normal(18, 32, 4), jnp.where(jnp.arange(32) < 16, 1.0, -1.0))


@plain(ASIDE, "Features of a frozen net, a linear probe that learns.")
def linear_probe():
    def f(p, x, y):
        h = jax.lax.stop_gradient(jnp.tanh(x @ p["body"]["W"] + p["body"]["b"]))
        return cross_entropy(h @ p["probe"], y)

    p = {
        "body": {"W": normal(19, 6, 12, scale=0.5), "b": normal(20, 12, scale=0.1)},
        "probe": normal(21, 12, 3, scale=0.2),
    }
    return f, p, (normal(22, 32, 6), integers(23, 3, 32))


@plain(ASIDE, "One-hot words of a large vocabulary: most columns are never 1 here.")
def one_hot_words():
    def f(p, x, y):
        return cross_entropy(jnp.tanh(x @ p["E"] + p["b"]) @ p["V"], y)

    x = jax.nn.one_hot(integers(24, 90, 24), 200)
    return (
        f,
        {"E": normal(25, 200, 8, scale=0.5), "b": jnp.zeros(8), "V": normal(26, 8, 2)},
        (x, integers(27, 2, 24)),
    )


@linen(ASIDE, "A net that is sure and right: logits of about 20.")
def sure_and_right():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, kernel_init=nn.initializers.constant(0.0))(x)

    net, y = Net(), integers(28, 3, 30)
    x = jax.nn.one_hot(y, 3) + normal(29, 30, 3, scale=0.1)
    params = net.init(jax.random.key(3, impl="rbg"), x)["params"]
    params["Dense_0"]["kernel"] = 8.0 * jnp.eye(3) + normal(30, 3, 3, scale=0.1)

    def f(params, x, y):
        return cross_entropy(net.apply({"params": params}, x), y)

    return f, params, (x, y)


@plain(ASIDE, "A normal likelihood whose log-variance is clipped to -10..10, which it never reaches.")
def likelihood_with_idle_clip():
    def f(p, x, y):
        h = jnp.tanh(x @ p["W"])
        mean, log_var = h @ p["mean"], jnp.clip(h @ p["log_var"], -10, 10)
        return 0.5 * jnp.mean(log_var + (y - mean) ** 2 * jnp.exp(-log_var))

    x = normal(31, 32, 5)
    p = {
        "W": normal(32, 5, 10, scale=0.4),
        "mean": normal(33, 10, 1, scale=0.3),
        "log_var": normal(34, 10, 1, scale=0.3),
    }
    return f, p, (x, x[:, :1])


@of_nnx(ASIDE, "Embedded words, padding left out of the mean, rows that this batch does not use.")
def embedded_words():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(300, 8, rngs=rngs)
            self.out = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, batch):
            words, mask = batch
            h = self.embed(words) * mask[..., None]
            return self.out(h.sum(1) / mask.sum(1, keepdims=True))

    mask = (jnp.arange(9)[None] < integers(35, 5, 20)[:, None] + 4).astype(jnp.float32)
    words = integers(36, 120, 20, 9) * mask.astype(jnp.int32)
    return nnx_case(Net(rngs_of(2)), cross_entropy, (words, mask), integers(37, 2, 20))


@equinox(ASIDE, "A mixture of experts, of which the best two are used for each example.")
def two_of_eight_experts():
    class Net(eqx.Module):
        gate: eqx.nn.Linear
        experts: jax.Array
        head: eqx.nn.Linear

        def __call__(self, x):
            best, which = jax.lax.top_k(self.gate(x), 2)
            out = jnp.tanh(jnp.einsum("khd,d->kh", self.experts[which], x))
            return self.head(jax.nn.softmax(best) @ out)

    a, b = jax.random.split(jax.random.key(4))
    net = Net(eqx.nn.Linear(5, 8, key=a), normal(38, 8, 6, 5, scale=0.5), eqx.nn.Linear(6, 3, key=b))
    return equinox_case(net, cross_entropy, normal(39, 12, 5), integers(40, 3, 12))


@plain(ASIDE, "A policy gradient with advantages of both signs and a bonus for entropy.")
def policy_gradient():
    def f(p, x, action, advantage):
        log_p = jax.nn.log_softmax(jnp.tanh(x @ p["W"]) @ p["V"])
        chosen = jnp.take_along_axis(log_p, action[:, None], 1)[:, 0]
        entropy = -jnp.sum(jnp.exp(log_p) * log_p, 1)
        return -jnp.mean(chosen * advantage) - 0.01 * jnp.mean(entropy)

    p = {"W": normal(41, 4, 16, scale=0.5), "V": normal(42, 16, 3, scale=0.25)}
    return f, p, (normal(43, 48, 4), integers(44, 3, 48), normal(45, 48))


@linen(ASIDE, "A decoder of images with a sigmoid inside of its loss.")
def decoder_of_pixels():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, z):
            h = nn.elu(nn.Dense(32)(z)).reshape(-1, 4, 4, 2)
            return nn.ConvTranspose(1, (3, 3), strides=(2, 2))(h)

    def loss(logits, images):
        return optax.sigmoid_binary_cross_entropy(logits, images).sum((1, 2, 3)).mean()

    return linen_case(Net(), loss, normal(46, 16, 6), uniform(47, 16, 8, 8, 1).round())


@plain(ASIDE, "Twenty residual blocks whose second matrix starts from zero (Fixup).")
def fixup():
    def f(p, x, y):
        h = jnp.tanh(x @ p["enter"])
        for block in p["blocks"]:
            h = h + jax.nn.relu(h @ block["A"]) @ block["B"]
        return cross_entropy(h @ p["leave"], y)

    blocks = [{"A": normal(50 + i, 8, 8, scale=0.5), "B": jnp.zeros((8, 8))} for i in range(20)]
    p = {"enter": normal(48, 5, 8, scale=0.5), "blocks": blocks, "leave": normal(49, 8, 3, scale=0.4)}
    return f, p, (normal(80, 24, 5), integers(81, 3, 24))


@plain(ASIDE, "Three quantiles by the pinball loss.")
def quantiles():
    def f(p, x, y):
        error = y[:, None] - (jnp.tanh(x @ p["W"]) @ p["V"] + p["b"])
        tau = jnp.array([0.1, 0.5, 0.9])[None]
        return jnp.mean(jnp.maximum(tau * error, (tau - 1) * error))

    x = normal(82, 48, 4)
    return f, {"W": normal(83, 4, 12), "V": normal(84, 12, 3, scale=0.3), "b": jnp.zeros(3)}, (x, x[:, 0])


@equinox(ASIDE, "Triplets with a margin: of some the hinge is at rest.")
def triplets():
    net = eqx.nn.MLP(6, 4, 16, 1, jnp.tanh, key=jax.random.key(5))
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def f(params, anchor, positive, negative):
        g = jax.vmap(eqx.combine(params, static))
        a, p, n = g(anchor), g(positive), g(negative)
        near, far = jnp.sum((a - p) ** 2, 1), jnp.sum((a - n) ** 2, 1)
        return jnp.mean(jax.nn.relu(near - far + 0.5))

    x = normal(85, 32, 6)
    return f, params, (x, x + normal(86, 32, 6, scale=0.5), normal(87, 32, 6))


@plain(ASIDE, "The forward algorithm of a hidden Markov model, in logarithms, by a scan.")
def forward_algorithm():
    def f(p, words):
        log_t, log_e = jax.nn.log_softmax(p["T"]), jax.nn.log_softmax(p["E"])

        def step(alpha, word):
            return jax.nn.logsumexp(alpha[:, :, None] + log_t[None], axis=1) + log_e[:, word].T, None

        alpha = jax.nn.log_softmax(p["start"])[None] + log_e[:, words[0]].T
        alpha, _ = jax.lax.scan(step, alpha, words[1:])
        return -jnp.mean(jax.nn.logsumexp(alpha, axis=1)) / len(words)

    p = {"T": normal(88, 4, 4), "E": normal(89, 4, 6), "start": normal(90, 4)}
    return f, p, (integers(91, 6, 12, 10),)


@of_nnx(ASIDE, "Rare positives, weighted up.")
def rare_positives():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(5, 12, rngs=rngs)
            self.b = nnx.Linear(12, 1, rngs=rngs)

        def __call__(self, x):
            return self.b(nnx.leaky_relu(self.a(x)))[:, 0]

    y = (jnp.arange(60) % 15 == 0).astype(jnp.float32)

    def loss(logits, y):
        return jnp.mean(jnp.where(y > 0, 14.0, 1.0) * optax.sigmoid_binary_cross_entropy(logits, y))

    return nnx_case(Net(rngs_of(3)), loss, normal(92, 60, 5) + y[:, None], y)


@linen(ASIDE, "A tagger: the loss of padded places is multiplied by 0, and divided by the real ones.")
def masked_tags():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, words):
            h = nn.Embed(40, 8)(words)
            h = nn.relu(nn.Conv(12, (3,))(h))
            return nn.Dense(4)(h)

    mask = (jnp.arange(10)[None] < integers(93, 6, 16)[:, None] + 4).astype(jnp.float32)
    words = (integers(94, 39, 16, 10) + 1) * mask.astype(jnp.int32)

    def loss(out, tags, mask):
        each = optax.softmax_cross_entropy_with_integer_labels(out, tags)
        return (each * mask).sum() / mask.sum()

    return linen_case(Net(), loss, words, integers(95, 4, 16, 10), mask)


@plain(ASIDE, "Errors are summed over the outputs and averaged over the batch.")
def sum_over_outputs():
    def f(p, x, y):
        return jnp.mean(jnp.sum((jnp.tanh(x @ p["W"] + p["b"]) @ p["V"] - y) ** 2, axis=1))

    x = normal(96, 64, 6)
    return (
        f,
        {"W": normal(97, 6, 16, scale=0.4), "b": jnp.zeros(16), "V": normal(98, 16, 6, scale=0.25)},
        (x, x),
    )


@equinox(ASIDE, "u'' = -sin x by second derivatives of the net.")
def differential_equation():
    class Net(eqx.Module):
        mlp: eqx.nn.MLP

        def __call__(self, x):
            u = lambda x: self.mlp(x[None])[0]  # noqa: E731
            return jax.grad(jax.grad(u))(x) + jnp.sin(x), u(x) * (jnp.abs(x) < 0.2)

    net = Net(eqx.nn.MLP(1, 1, 16, 2, jnp.tanh, key=jax.random.key(6)))
    return equinox_case(
        net, lambda out: jnp.mean(out[0] ** 2) + jnp.mean(out[1] ** 2), jnp.linspace(-3.0, 3.0, 31)
    )


@plain(ASIDE, "bfloat16 products, float32 parameters and loss.")
def half_precision():
    def f(p, x, y):
        h = jax.nn.gelu(x.astype(jnp.bfloat16) @ p[0]["W"].astype(jnp.bfloat16))
        return cross_entropy((h @ p[1]["W"].astype(jnp.bfloat16)).astype(jnp.float32), y)

    weights = [{"W": layer["W"]} for layer in dense(99, 6, 24, 3)]
    return f, weights, (normal(101, 32, 6), integers(102, 3, 32))


@plain(ASIDE, "Q-learning against a target network, whose parameters come with the batch.")
def q_learning():
    def q(p, x):
        return jax.nn.relu(x @ p["W"] + p["b"]) @ p["V"]

    def f(p, target, x, action, reward, x_next, done):
        best = reward + 0.9 * (1 - done) * q(target, x_next).max(1)
        chosen = jnp.take_along_axis(q(p, x), action[:, None], 1)[:, 0]
        return optax.huber_loss(chosen, jax.lax.stop_gradient(best)).mean()

    def net(seed):
        return {
            "W": normal(seed, 4, 16, scale=0.6),
            "b": jnp.zeros(16),
            "V": normal(seed + 1, 16, 3, scale=0.3),
        }

    done = (jnp.arange(32) % 8 == 0).astype(jnp.float32)
    batch = (net(103), normal(105, 32, 4), integers(106, 3, 32), normal(107, 32), normal(108, 32, 4), done)
    return f, net(109), batch


@plain(ASIDE, "Importance weights, a few of which are 0.")
def importance_weights():
    def f(p, x, y, weight):
        logits = jnp.tanh(x @ p["W"]) @ p["V"]
        each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.sum(weight * each) / jnp.sum(weight)

    weight = uniform(111, 40, high=2.0) * (jnp.arange(40) % 5 > 0)
    return (
        f,
        {"W": normal(112, 4, 12), "V": normal(113, 12, 3, scale=0.3)},
        (normal(114, 40, 4), integers(115, 3, 40), weight),
    )


@linen(ASIDE, "Padded keys are hidden by -1e9 added to their scores.")
def padded_keys():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            q, k, v = (nn.Dense(8, name=n)(x) for n in ("q", "k", "v"))
            scores = jnp.einsum("bqd,bkd->bqk", q, k) / 8**0.5 - 1e9 * (1 - mask)[:, None, :]
            h = jnp.einsum("bqk,bkd->bqd", nn.softmax(scores), v)
            return nn.Dense(3)((h * mask[..., None]).sum(1) / mask.sum(1, keepdims=True))

    net = Net()
    mask = (jnp.arange(7)[None] < integers(116, 4, 16)[:, None] + 3).astype(jnp.float32)
    x = normal(117, 16, 7, 6) * mask[..., None]
    params = net.init(jax.random.key(7, impl="rbg"), x, mask)["params"]

    def f(params, x, mask, y):
        return cross_entropy(net.apply({"params": params}, x, mask), y)

    return f, params, (x, mask, integers(118, 3, 16))


@plain(ASIDE, "Mean-variance portfolio: the loss has no targets, its softmax is over the assets.")
def portfolio():
    def f(p, x, returns):
        held = jax.nn.softmax(jnp.tanh(x @ p["W"]) @ p["V"], axis=-1)
        gain = jnp.sum(held * returns, -1)
        return -gain.mean() + 2.0 * gain.var()

    return (
        f,
        {"W": normal(119, 6, 10, scale=0.4), "V": normal(120, 10, 4, scale=0.4)},
        (normal(121, 48, 6), normal(122, 48, 4, scale=0.2)),
    )


@of_nnx(ASIDE, "An autoencoder whose code has two units, mean squared error.")
def autoencoder():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List(
                [nnx.Linear(a, b, rngs=rngs) for a, b in ((8, 12), (12, 2), (2, 12), (12, 8))]
            )

        def __call__(self, x):
            for layer in self.layers[:-1]:
                x = jnp.tanh(layer(x))
            return self.layers[-1](x)

    x = normal(123, 40, 2) @ normal(124, 2, 8, scale=0.7)
    return nnx_case(Net(rngs_of(4)), mse, x, x)


@plain(ASIDE, "gelu where most inputs are above 3, so that it is nearly a line.")
def gelu_far_from_zero():
    def f(p, x, y):
        h = jax.nn.gelu(x @ p["W"] + p["b"])
        return mse((h - 5) @ p["V"], y)

    x = normal(125, 32, 5)
    p = {"W": normal(126, 5, 16, scale=0.4), "b": jnp.full(16, 5.0), "V": normal(127, 16, 1, scale=0.2)}
    return f, p, (x, x[:, :1])


@of_nnx(ASIDE, "Highway layers, whose gates start nearly closed.")
def highway():
    class Net(nnx.Module):
        def __init__(self, rngs):
            closed = nnx.initializers.constant(-2.0)
            self.body = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(6)])
            self.gates = nnx.List([nnx.Linear(8, 8, bias_init=closed, rngs=rngs) for _ in range(6)])
            self.out = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            for body, gate in zip(self.body, self.gates, strict=True):
                t = nnx.sigmoid(gate(x))
                x = t * jnp.tanh(body(x)) + (1 - t) * x
            return self.out(x)

    return nnx_case(Net(rngs_of(5)), cross_entropy, normal(128, 32, 8), integers(129, 3, 32))


@plain(ASIDE, "A graph net with labels for a tenth of its nodes, as semi-supervised learning has it.")
def graph_with_few_labels():
    def f(p, adjacency, x, y, labelled):
        h = jax.nn.relu(adjacency @ (x @ p["W"]))
        log_p = jax.nn.log_softmax(adjacency @ (h @ p["V"]))
        each = -jnp.take_along_axis(log_p, y[:, None], 1)[:, 0]
        return jnp.sum(each * labelled) / jnp.sum(labelled)

    adjacency = (uniform(130, 60, 60) < 0.08).astype(jnp.float32)
    adjacency = jnp.minimum(adjacency + adjacency.T + jnp.eye(60), 1.0)
    adjacency = adjacency / adjacency.sum(1, keepdims=True)
    labelled = (jnp.arange(60) % 10 == 0).astype(jnp.float32)
    p = {"W": normal(131, 12, 16, scale=0.4), "V": normal(132, 16, 3, scale=0.3)}
    return f, p, (adjacency, normal(133, 60, 12), integers(134, 3, 60), labelled)


@equinox(ASIDE, "The last batch of an epoch, filled up: two thirds of its examples are padding.")
def filled_up_batch():
    net = eqx.nn.MLP(5, 3, 12, 1, key=jax.random.key(7))
    real = (jnp.arange(30) < 10).astype(jnp.float32)

    def loss(logits, y, real):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.sum(each * real) / jnp.sum(real)

    x = normal(135, 30, 5) * real[:, None]
    return equinox_case(net, loss, x, integers(136, 3, 30) * real.astype(jnp.int32), real)


@linen(ASIDE, "Images with empty borders, as digits have: most pixels are 0 in every one.")
def images_with_borders():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(32)(x.reshape(x.shape[0], -1))))

    inside = uniform(137, 32, 8, 8) * (uniform(138, 32, 8, 8) < 0.5)
    return linen_case(Net(), cross_entropy, jnp.pad(inside, ((0, 0), (4, 4), (4, 4))), integers(139, 4, 32))


@plain(ASIDE, "Twelve residual blocks by one scan over their stacked weights.")
def scan_over_layers():
    def norm(h):
        return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)

    def f(p, x, y):
        def block(h, layer):
            return h + jax.nn.gelu(norm(h) @ layer["A"]) @ layer["B"], None

        h, _ = jax.lax.scan(block, x @ p["enter"], p["layers"])
        return cross_entropy(norm(h) @ p["leave"], y)

    layers = {"A": normal(140, 12, 8, 16, scale=0.35), "B": normal(141, 12, 16, 8, scale=0.1)}
    p = {"enter": normal(142, 5, 8, scale=0.45), "layers": layers, "leave": normal(143, 8, 3, scale=0.35)}
    return f, p, (normal(144, 24, 5), integers(145, 3, 24))


@plain(ASIDE, "A recurrence over time-major sequences, longer than the batch is large.")
def time_major():
    def f(p, xs, y):
        def step(h, x):
            return jnp.tanh(h @ p["U"] + x @ p["W"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((xs.shape[1], 8)), xs)
        return mse(h @ p["out"], y)

    U = jnp.linalg.qr(normal(146, 8, 8))[0]
    p = {"U": U, "W": normal(147, 3, 8, scale=0.2), "out": normal(148, 8, 1, scale=0.4)}
    return f, p, (normal(149, 20, 12, 3), normal(150, 12, 1))


@linen(ASIDE, "A classifier that reads the first token alone.")
def first_token():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
            return nn.Dense(3)(nn.LayerNorm()(x)[:, 0])

    return linen_case(Net(), cross_entropy, normal(151, 12, 6, 8), integers(152, 3, 12))


@plain(ASIDE, "Euler steps of a neural differential equation by fori_loop.")
def neural_ode():
    def f(p, x, y):
        def step(_, h):
            return h + 0.05 * jnp.tanh(h @ p["A"]) @ p["B"]

        return cross_entropy(jax.lax.fori_loop(0, 20, step, x) @ p["out"], y)

    p = {"A": normal(153, 4, 16, scale=0.5), "B": normal(154, 16, 4, scale=0.25), "out": normal(155, 4, 2)}
    return f, p, (normal(156, 32, 4), integers(157, 2, 32))


@equinox(ASIDE, "Dropout, whose key comes with the batch.")
def dropout_with_a_key():
    net = eqx.nn.MLP(6, 12, 24, 1, key=jax.random.key(8))
    head = eqx.nn.Linear(12, 3, key=jax.random.key(9))
    params, static = eqx.partition((net, head), eqx.is_inexact_array)

    def f(params, x, y, key):
        net, head = eqx.combine(params, static)
        h = jax.nn.relu(jax.vmap(net)(x))
        h = jnp.where(jax.random.bernoulli(key, 0.5, h.shape), h / 0.5, 0.0)
        return cross_entropy(jax.vmap(head)(h), y)

    return f, params, (normal(158, 32, 6), integers(159, 3, 32), jax.random.key(10))


@plain(ASIDE, "Words from their neighbors, with drawn counterexamples (word2vec).")
def negative_sampling():
    def f(p, word, near, others):
        h = p["in"][word]
        right = jnp.sum(h * p["out"][near], -1)
        wrong = jnp.einsum("nd,nkd->nk", h, p["out"][others])
        return -jnp.mean(jax.nn.log_sigmoid(right) + jax.nn.log_sigmoid(-wrong).sum(-1))

    p = {"in": normal(160, 80, 8, scale=0.3), "out": normal(161, 80, 8, scale=0.3)}
    return f, p, (integers(162, 80, 32), integers(163, 80, 32), integers(164, 80, 32, 4))


@of_nnx(ASIDE, "Two tasks: each example belongs to one, and the other head is masked for it.")
def two_tasks():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.body = nnx.Linear(5, 12, rngs=rngs)
            self.heads = nnx.List([nnx.Linear(12, 1, rngs=rngs) for _ in range(2)])

        def __call__(self, x):
            h = nnx.relu(self.body(x))
            return jnp.concatenate([head(h) for head in self.heads], 1)

    task = integers(165, 2, 40)

    def loss(out, y, task):
        return jnp.mean((jnp.where(task == 0, out[:, 0], out[:, 1]) - y) ** 2)

    return nnx_case(Net(rngs_of(6)), loss, normal(166, 40, 5), normal(167, 40), task)


@plain(ASIDE, "A column of ones, squares and products beside the inputs; errors are summed and divided by N.")
def polynomial_features():
    def f(w, x, y):
        return jnp.sum((x @ w - y) ** 2) / len(x)

    z = uniform(168, 48, 2, low=-1)
    x = jnp.stack([jnp.ones(48), z[:, 0], z[:, 1], z[:, 0] ** 2, z[:, 0] * z[:, 1], z[:, 1] ** 2], 1)
    return f, normal(169, 6, scale=0.3), (x, z[:, 0] * z[:, 1] + 0.1 * normal(170, 48))


@equinox(ASIDE, "LayerScale: each branch is multiplied by 1e-2 at the start.")
def layer_scale():
    class Net(eqx.Module):
        enter: eqx.nn.Linear
        blocks: list
        scales: list
        leave: eqx.nn.Linear

        def __call__(self, x):
            h = self.enter(x)
            for block, scale in zip(self.blocks, self.scales, strict=True):
                h = h + scale * jax.nn.relu(block(h))
            return self.leave(h)

    keys = jax.random.split(jax.random.key(11), 8)
    net = Net(
        eqx.nn.Linear(5, 10, key=keys[0]), [eqx.nn.Linear(10, 10, key=k) for k in keys[1:7]],
        [jnp.full(10, 1e-2) for _ in range(6)], eqx.nn.Linear(10, 3, key=keys[7]),
    )  # fmt: skip
    return equinox_case(net, cross_entropy, normal(171, 32, 5), integers(172, 3, 32))


@plain(ASIDE, "Labels of -1 are of examples without one, and are left out by a where.")
def unlabelled_examples():
    def f(p, x, y):
        log_p = jax.nn.log_softmax(jnp.tanh(x @ p["W"]) @ p["V"])
        known = y >= 0
        each = -jnp.take_along_axis(log_p, jnp.where(known, y, 0)[:, None], 1)[:, 0]
        return jnp.where(known, each, 0.0).sum() / known.sum()

    y = jnp.where(jnp.arange(40) % 4 == 0, -1, integers(173, 3, 40))
    return (
        f,
        {"W": normal(174, 5, 12, scale=0.5), "V": normal(175, 12, 3, scale=0.3)},
        (normal(176, 40, 5), y),
    )
