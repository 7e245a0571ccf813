"""Healthy models of a third set, written from what people train, without sight of a rule or threshold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import nnx
from jax.nn import relu, sigmoid, softmax, softplus

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
    _, put = registering(framework, MODELS)
    return lambda why: put(ASIDE, why)


plain, linen, of_nnx, equinox = of("plain"), of("linen"), of("nnx"), of("equinox")


def labels(x, classes=3):
    """Classes that can be read off the rows x."""
    return jnp.argmax(x.reshape(len(x), -1)[:, :classes], 1)


def wave(x):
    return jnp.sin(x[:, :1]) * 0.5 + 0.3 * x[:, 1:2]


@plain("LoRA: the base comes with the batch, the second matrix starts from 0.")
def lora_of_a_given_base():
    def f(p, base, x, y):
        h = relu(x @ (base["W"] + p["A"] @ p["B"]) + base["b"])
        return cross_entropy(h @ base["V"], y)

    base = {"W": normal(1, 8, 16, scale=0.35), "b": jnp.zeros(16), "V": normal(2, 16, 3, scale=0.25)}
    x = normal(3, 32, 8)
    return f, {"A": normal(4, 8, 2, scale=0.3), "B": jnp.zeros((2, 16))}, (base, x, labels(x))


@linen("A convolutional variational autoencoder: summed over pixels, averaged over images, noise given.")
def convolutional_vae():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            x, noise = inputs
            h = nn.relu(nn.Conv(8, (3, 3), (2, 2))(x)).reshape(len(x), -1)
            mean, logvar = nn.Dense(3)(h), nn.Dense(3)(h)
            z = mean + jnp.exp(0.5 * logvar) * noise
            h = nn.relu(nn.Dense(8 * 16)(z)).reshape(-1, 4, 4, 8)
            return nn.ConvTranspose(1, (3, 3), (2, 2))(h), mean, logvar

    def loss(out, x):
        logits, mean, logvar = out
        kl = 0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, 1)
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, x).sum((1, 2, 3)) + kl)

    x = jnp.zeros((16, 8, 8, 1)).at[:, 2:6, 2:6].set(uniform(5, 16, 4, 4, 1))
    return linen_case(Net(), loss, (x, normal(6, 16, 3)), x)


@of_nnx("REINFORCE: discounted returns less their mean, an entropy bonus.")
def reinforce():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(4, 16, rngs=rngs)
            self.out = nnx.Linear(16, 2, rngs=rngs)

        def __call__(self, x):
            return nnx.log_softmax(self.out(nnx.tanh(self.hidden(x))))

    def loss(logp, action, returns):
        picked = jnp.take_along_axis(logp, action[:, None], 1)[:, 0]
        entropy = -jnp.sum(jnp.exp(logp) * logp, 1)
        return -jnp.mean(picked * (returns - returns.mean())) - 0.01 * entropy.mean()

    returns = 0.95 ** jnp.arange(40.0)[::-1] * 10
    return nnx_case(Net(rngs_of(0)), loss, normal(7, 40, 4), integers(8, 2, 40), returns)


@equinox("PPO in the middle of an epoch: the ratio is clipped for one in ten, values are clipped, too.")
def ppo_mid_epoch():
    class Net(eqx.Module):
        policy: eqx.nn.MLP
        value: eqx.nn.MLP

        def __call__(self, x):
            return jax.nn.log_softmax(self.policy(x)), self.value(x)

    a, b = jax.random.split(jax.random.key(0))
    net = Net(eqx.nn.MLP(4, 3, 16, 1, jnp.tanh, key=a), eqx.nn.MLP(4, "scalar", 16, 1, jnp.tanh, key=b))
    x, action = normal(9, 64, 4), integers(10, 3, 64)
    logp, value = jax.vmap(net)(x)
    picked = lambda logp: jnp.take_along_axis(logp, action[:, None], 1)[:, 0]  # noqa: E731
    old, before = picked(logp) + normal(11, 64, scale=0.12), value + normal(12, 64, scale=0.1)

    def loss(out, old, before, advantage, returns):
        logp, value = out
        ratio = jnp.exp(picked(logp) - old)
        surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
        held = before + jnp.clip(value - before, -0.2, 0.2)
        critic = jnp.maximum((value - returns) ** 2, (held - returns) ** 2)
        return -surrogate.mean() + 0.5 * critic.mean()

    return equinox_case(net, loss, x, old, before, normal(13, 64), normal(14, 64))


@plain("SAC's actor: a tanh of a normal draw, its density corrected, through a given critic.")
def soft_actor():
    def f(p, critic, x, noise):
        mean, logstd = jnp.split(forward(p, x, relu), 2, -1)
        logstd = jnp.clip(logstd, -20, 2)
        u = mean + jnp.exp(logstd) * noise
        action = jnp.tanh(u)
        logp = -0.5 * noise**2 - logstd - jnp.log(1 - action**2 + 1e-6)
        q = forward(critic, jnp.concatenate([x, action], -1), relu)[:, 0]
        return jnp.mean(0.2 * logp.sum(-1) - q)

    return f, dense(15, 5, 24, 4), (dense(16, 7, 24, 1), normal(17, 48, 5), normal(18, 48, 2))


@linen("Masked words: a seventh is replaced by [MASK], and only there the loss is taken.")
def masked_words():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, words):
            x = nn.Embed(24, 16)(words) + self.param("position", nn.initializers.normal(0.02), (14, 16))
            x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
            x = x + nn.Dense(16)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))))
            return nn.Dense(24)(nn.LayerNorm()(x))

    words = integers(19, 23, 16, 14) + 1
    hidden = uniform(20, 16, 14) < 0.15

    def loss(logits, words, hidden):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, words)
        return jnp.sum(each * hidden) / jnp.maximum(hidden.sum(), 1)

    return linen_case(Net(), loss, jnp.where(hidden, 0, words), words, hidden)


@equinox("A small U-net for segmentation: Dice's loss and the cross-entropy of pixels.")
def u_net():
    class Net(eqx.Module):
        down: eqx.nn.Conv2d
        inner: eqx.nn.Conv2d
        up: eqx.nn.ConvTranspose2d
        last: eqx.nn.Conv2d

        def __call__(self, x):
            h = relu(self.down(x))
            h = relu(self.inner(h))
            return self.last(jnp.concatenate([x, relu(self.up(h))]))[0]

    k = jax.random.split(jax.random.key(1), 4)
    net = Net(
        eqx.nn.Conv2d(1, 6, 3, 2, 1, key=k[0]),
        eqx.nn.Conv2d(6, 12, 3, 1, 1, key=k[1]),
        eqx.nn.ConvTranspose2d(12, 6, 2, 2, key=k[2]),
        eqx.nn.Conv2d(7, 1, 3, 1, 1, key=k[3]),
    )

    def loss(logits, y):
        q = sigmoid(logits)
        dice = 1 - (2 * jnp.sum(q * y, (1, 2)) + 1) / (jnp.sum(q + y, (1, 2)) + 1)
        return dice.mean() + binary_cross_entropy(logits, y)

    x = normal(21, 8, 1, 8, 8)
    return equinox_case(net, loss, x, (x[:, 0] > 1.0).astype(jnp.float32))


@plain("The best of four experts for each word, with a loss that balances their load.")
def switch_transformer():
    def f(p, x, y):
        gates = softmax(x @ p["router"])
        best = jax.nn.one_hot(gates.argmax(-1), 4)
        each = jnp.einsum("neh,ehd->ned", relu(jnp.einsum("nd,edh->neh", x, p["up"])), p["down"])
        h = x + jnp.einsum("ne,ned->nd", gates * best, each)
        balance = 4 * jnp.sum(best.mean(0) * gates.mean(0))
        return cross_entropy(h @ p["out"], y) + 0.01 * balance

    p = {
        "router": normal(22, 8, 4, scale=0.3),
        "up": normal(23, 4, 8, 16, scale=0.35),
        "down": normal(24, 4, 16, 8, scale=0.25),
        "out": normal(25, 8, 3, scale=0.35),
    }
    x = normal(26, 48, 8)
    return f, p, (x, labels(x))


@of_nnx("SimCLR: two views, the similarity with itself hidden by -1e9, temperature 0.1.")
def simclr():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.encode = nnx.Linear(10, 24, rngs=rngs)
            self.project = nnx.Linear(24, 8, rngs=rngs)

        def __call__(self, x):
            z = self.project(nnx.relu(self.encode(x)))
            return z / (jnp.linalg.norm(z, axis=-1, keepdims=True) + 1e-8)

    def loss(z, n):
        scores = z @ z.T / 0.1 + -1e9 * jnp.eye(len(z))
        partner = jnp.roll(jnp.arange(len(z)), len(n))
        return cross_entropy(scores, partner)

    x = normal(27, 16, 10)
    views = jnp.concatenate([x + normal(28, 16, 10, scale=0.2), x + normal(29, 16, 10, scale=0.2)])
    return nnx_case(Net(rngs_of(1)), loss, views, jnp.arange(16))


@linen("Connectionist temporal classification of short texts, by optax.")
def ctc():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(5)(nn.relu(nn.Conv(16, (3,))(x)))

    def loss(logits, text):
        padding = jnp.zeros(logits.shape[:2])
        return optax.ctc_loss(logits, padding, text, (text == 0).astype(jnp.float32)).mean()

    text = (integers(30, 4, 8, 4) + 1).at[:3, 3].set(0)
    return linen_case(Net(), loss, normal(31, 8, 12, 6), text)


@plain("The generator of a GAN, through a discriminator that comes with the batch.")
def generator():
    def f(p, judge, z):
        made = jnp.tanh(forward(p, z, relu))
        return jnp.mean(softplus(-forward(judge, made, jax.nn.leaky_relu)))

    return f, dense(32, 6, 24, 12), (dense(33, 12, 24, 1), normal(34, 32, 6))


@equinox("The critic of a Wasserstein GAN: a difference of means, nothing is squashed.")
def wasserstein_critic():
    net = eqx.nn.MLP(6, "scalar", 24, 2, jax.nn.leaky_relu, key=jax.random.key(2))
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def f(params, real, made):
        net = jax.vmap(eqx.combine(params, static))
        return jnp.mean(net(made)) - jnp.mean(net(real))

    return f, params, (normal(35, 32, 6) + 1, normal(36, 32, 6))


@of_nnx("Diffusion: the noise is predicted, times of 0..1000 are embedded by sines.")
def diffusion():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(8 + 16, 32, rngs=rngs)
            self.second = nnx.Linear(32, 8, rngs=rngs)

        def __call__(self, inputs):
            x, t = inputs
            angle = t[:, None] * jnp.exp(-jnp.arange(8) * jnp.log(10000.0) / 8)
            time = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], 1)
            return self.second(nnx.silu(self.first(jnp.concatenate([x, time], 1))))

    noise, t = normal(37, 48, 8), integers(38, 1000, 48).astype(jnp.float32)
    keep = jnp.cos(t / 1000 * jnp.pi / 2)[:, None]
    return nnx_case(Net(rngs_of(2)), mse, (keep * normal(39, 48, 8) + (1 - keep**2) ** 0.5 * noise, t), noise)


@plain("A radiance field in small: coordinates go through sines of 2^k x, colours through a sigmoid.")
def radiance_field():
    def f(p, x, y):
        waves = x[..., None] * 2.0 ** jnp.arange(6) * jnp.pi
        e = jnp.concatenate([jnp.sin(waves), jnp.cos(waves)], -1).reshape(len(x), -1)
        return mse(sigmoid(forward(p, e, relu)), y)

    x = uniform(40, 64, 2, low=-1)
    return f, dense(41, 24, 32, 32, 3), (x, 0.5 + 0.4 * jnp.sin(x @ normal(42, 2, 3)))


@linen("A multi-class hinge loss: correct examples beyond the margin are at rest.")
def multiclass_hinge():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(24)(x)))

    def loss(scores, y):
        right = jnp.take_along_axis(scores, y[:, None], 1)
        margins = jnp.maximum(0, 1 + scores - right) * (1 - jax.nn.one_hot(y, 4))
        return jnp.mean(margins.sum(1))

    x = normal(43, 48, 6)
    return linen_case(Net(), loss, x, labels(x, 4))


@plain("Cox's partial likelihood of survival times, a third of them censored.")
def survival():
    def f(p, x, event):
        risk = forward(p, x, jnp.tanh)[:, 0]
        return -jnp.sum(event * (risk - jax.lax.cumlogsumexp(risk, reverse=True))) / event.sum()

    return f, dense(44, 5, 12, 1), (normal(45, 36, 5), (integers(46, 3, 36) > 0).astype(jnp.float32))


@equinox("Ordered grades: cumulative logits with learned thresholds.")
def ordinal_regression():
    class Net(eqx.Module):
        score: eqx.nn.MLP
        first: jax.Array
        gaps: jax.Array

        def __call__(self, x):
            cuts = self.first + jnp.concatenate([jnp.zeros(1), jnp.cumsum(softplus(self.gaps))])
            return self.score(x) - cuts

    net = Net(eqx.nn.MLP(5, "scalar", 16, 1, key=jax.random.key(3)), jnp.array(-1.0), jnp.zeros(2))
    x = normal(47, 40, 5)
    grade = jnp.digitize(x[:, 0], jnp.array([-0.8, 0.0, 0.8]))
    return equinox_case(net, binary_cross_entropy, x, (grade[:, None] > jnp.arange(3)).astype(jnp.float32))


@plain("Linear attention: elu + 1 of keys and queries, a denominator with a margin.")
def linear_attention():
    def f(p, x, y):
        q, k = jax.nn.elu(x @ p["Q"]) + 1, jax.nn.elu(x @ p["K"]) + 1
        v = x @ p["V"]
        mixed = jnp.einsum("nqd,nde->nqe", q, jnp.einsum("nkd,nke->nde", k, v))
        total = jnp.einsum("nqd,nd->nq", q, k.sum(1))[..., None] + 1e-6
        return cross_entropy((x + mixed / total).mean(1) @ p["out"], y)

    p = {name: normal(48 + i, 8, 8, scale=0.35) for i, name in enumerate("QKV")}
    x = normal(52, 24, 7, 8)
    return f, {**p, "out": normal(53, 8, 3, scale=0.35)}, (x, labels(x.mean(1)))


@of_nnx("A diagonal state-space layer over 64 steps: memories of 2 to 500 steps.")
def state_space():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.enter = nnx.Linear(2, 16, rngs=rngs)
            self.rate = nnx.Param(jnp.log(jnp.exp(jnp.linspace(jnp.log(1 / 500), jnp.log(0.5), 16))))
            self.out = nnx.Linear(16, 2, rngs=rngs)

        def __call__(self, xs):
            keep = jnp.exp(-jnp.exp(self.rate[...]))
            u = self.enter(xs).swapaxes(0, 1)
            h, _ = jax.lax.scan(lambda h, u: (keep * h + (1 - keep) * u, None), jnp.zeros(u.shape[1:]), u)
            return self.out(h)

    x = normal(54, 24, 64, 2) + normal(55, 24, 1, 2)
    return nnx_case(Net(rngs_of(3)), cross_entropy, x, (x.mean((1, 2)) > 0).astype(jnp.int32))


@linen("Translation in small: an encoder with padded keys, a causal decoder, cross attention.")
def translator():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, pair):
            source, target = pair
            embed = nn.Embed(20, 12)
            real, size = source > 0, (len(source), target.shape[1])
            s, t = embed(source), embed(target)
            s = s + nn.MultiHeadDotProductAttention(2)(
                nn.LayerNorm()(s), mask=nn.make_attention_mask(real, real)
            )
            t = t + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(t), mask=nn.make_causal_mask(target))
            mask = nn.make_attention_mask(jnp.ones(size), real)
            t = t + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(t), nn.LayerNorm()(s), mask=mask)
            return nn.Dense(20)(nn.LayerNorm()(t))

    def loss(logits, following):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, following)
        return jnp.sum(each * (following > 0)) / jnp.sum(following > 0)

    def texts(seed, n):
        lengths = integers(seed + 1, 3, 12) + n - 3
        return jnp.where(jnp.arange(n) <= lengths[:, None], integers(seed, 19, 12, n) + 1, 0)

    target = texts(57, 8)
    return linen_case(Net(), loss, (texts(59, 7), target[:, :-1]), target[:, 1:])


@equinox("A dueling network for Q-values, Huber's loss, targets given.")
def dueling_network():
    class Net(eqx.Module):
        body: eqx.nn.MLP
        value: eqx.nn.Linear
        advantage: eqx.nn.Linear

        def __call__(self, x):
            h = relu(self.body(x))
            advantage = self.advantage(h)
            return self.value(h) + advantage - advantage.mean()

    k = jax.random.split(jax.random.key(4), 3)
    net = Net(
        eqx.nn.MLP(4, 24, 24, 1, key=k[0]), eqx.nn.Linear(24, 1, key=k[1]), eqx.nn.Linear(24, 5, key=k[2])
    )

    def loss(q, action, target):
        return optax.huber_loss(jnp.take_along_axis(q, action[:, None], 1)[:, 0], target).mean()

    return equinox_case(net, loss, normal(61, 40, 4), integers(62, 5, 40), normal(63, 40))


@plain("A recommender: the dot product of two embeddings, biases, a weight decay.")
def recommender():
    def f(p, user, item, stars):
        score = jnp.sum(p["user"][user] * p["item"][item], 1) + p["bias"][item] + 3.0
        decay = sum(jnp.sum(a**2) for a in jax.tree.leaves(p))
        return mse(score, stars) + 1e-4 * decay

    p = {"user": normal(64, 200, 6, scale=0.3), "item": normal(65, 300, 6, scale=0.3), "bias": jnp.zeros(300)}
    return f, p, (integers(66, 200, 64), integers(67, 300, 64), integers(68, 5, 64) + 1.0)


@of_nnx("Spectral normalisation: a step of the power iteration is detached.")
def spectral_normalisation():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(6, 16, rngs=rngs)
            self.second = nnx.Linear(16, 1, rngs=rngs)
            self.u = nnx.Variable(jnp.ones(16) / 4)

        def __call__(self, x):
            W = self.first.kernel[...]
            v = W @ self.u[...]
            v = jax.lax.stop_gradient(v / (jnp.linalg.norm(v) + 1e-12))
            u = v @ W
            u = jax.lax.stop_gradient(u / (jnp.linalg.norm(u) + 1e-12))
            h = nnx.leaky_relu(x @ (W / (v @ W @ u)) + self.first.bias[...])
            return self.second(h)[:, 0]

    x = normal(69, 32, 6)
    return nnx_case(Net(rngs_of(4)), binary_cross_entropy, x, (x[:, 0] > 0).astype(jnp.float32))


@plain("BYOL: an average of the net gives the targets, and comes with the batch.")
def bootstrapped_targets():
    unit = lambda z: z / (jnp.linalg.norm(z, axis=-1, keepdims=True) + 1e-8)  # noqa: E731

    def f(p, average, a, b):
        def one(a, b):
            online = forward(p["predict"], forward(p["encode"], a, relu), relu)
            return jnp.mean(2 - 2 * jnp.sum(unit(online) * unit(forward(average, b, relu)), -1))

        return one(a, b) + one(b, a)

    p = {"encode": dense(70, 8, 24, 8), "predict": dense(71, 8, 16, 8)}
    x = normal(72, 32, 8)
    return f, p, (dense(73, 8, 24, 8), x + normal(74, 32, 8, scale=0.2), x + normal(75, 32, 8, scale=0.2))


@equinox("Gumbel's softmax at temperature 0.7: the noise comes with the batch.")
def gumbel_softmax():
    class Net(eqx.Module):
        encode: eqx.nn.MLP
        decode: eqx.nn.MLP

        def __call__(self, pair):
            x, noise = pair
            return self.decode(softmax((self.encode(x) + noise) / 0.7))

    a, b = jax.random.split(jax.random.key(5))
    net = Net(eqx.nn.MLP(8, 6, 16, 1, key=a), eqx.nn.MLP(6, 8, 16, 1, key=b))
    x = normal(76, 32, 8)
    return equinox_case(net, mse, (x, jax.random.gumbel(jax.random.key(0), (32, 6))), x)


@plain("An energy-based model: low where the data are, high where the given samples are.")
def energy_based():
    def f(p, x, negative):
        data, made = forward(p, x, jax.nn.silu), forward(p, negative, jax.nn.silu)
        return jnp.mean(data) - jnp.mean(made) + 0.1 * jnp.mean(data**2 + made**2)

    return f, dense(77, 4, 24, 1), (normal(78, 40, 4, scale=0.5) + 1, normal(79, 40, 4))


@of_nnx("A normalising flow: two affine couplings, whose log-scales are tanh.")
def coupling_flow():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.nets = nnx.List(
                [
                    nnx.Sequential(nnx.Linear(2, 16, rngs=rngs), nnx.relu, nnx.Linear(16, 4, rngs=rngs))
                    for _ in range(2)
                ]
            )

        def __call__(self, x):
            a, b = jnp.split(x, 2, -1)
            logdet = 0.0
            for net in self.nets:
                scale, shift = jnp.split(net(a), 2, -1)
                scale = jnp.tanh(scale)
                a, b = b * jnp.exp(scale) + shift, a
                logdet += scale.sum(-1)
            return jnp.concatenate([a, b], -1), logdet

    x = normal(80, 48, 4) @ normal(81, 4, 4, scale=0.5) + 0.5
    return nnx_case(Net(rngs_of(5)), lambda out: jnp.mean(0.5 * jnp.sum(out[0] ** 2, -1) - out[1]), x)


@linen("Mixup: inputs and labels are mixed in pairs.")
def mixup():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.GroupNorm(2)(nn.Conv(8, (3, 3))(x)))
            h = nn.max_pool(h, (2, 2), (2, 2))
            return nn.Dense(3)(h.reshape(len(x), -1))

    x = normal(82, 24, 8, 8, 1)
    y, part = jax.nn.one_hot(integers(83, 3, 24), 3), uniform(84, 24, 1)
    mixed = part[..., None, None] * x + (1 - part[..., None, None]) * x[::-1]
    target = part * y + (1 - part) * y[::-1]
    return linen_case(Net(), lambda a, y: optax.softmax_cross_entropy(a, y).mean(), mixed, target)


@plain("Distributional Q-learning: 51 atoms, a given distribution as the target.")
def fifty_one_atoms():
    def f(p, x, action, target):
        logits = forward(p, x, relu).reshape(len(x), 3, 51)
        picked = jnp.take_along_axis(logits, action[:, None, None], 1)[:, 0]
        return optax.softmax_cross_entropy(picked, target).mean()

    centres = jnp.linspace(-10, 10, 51)
    target = softmax(-((centres - normal(85, 32, 1, scale=3.0)) ** 2))
    return f, dense(86, 4, 32, 153), (normal(87, 32, 4), integers(88, 3, 32), target)


@equinox("Weight normalisation: a direction and a length for each unit.")
def weight_norm():
    net = eqx.nn.MLP(5, 2, 16, 2, key=jax.random.key(6))
    net = eqx.tree_at(
        lambda n: n.layers,
        net,
        tuple(eqx.nn.WeightNorm(layer) for layer in net.layers),
        is_leaf=lambda a: a is None,
    )
    x = normal(89, 32, 5)
    return equinox_case(net, cross_entropy, x, labels(x, 2))


@plain("Maxout: the largest of three linear maps.")
def maxout():
    def f(p, x, y):
        h = (jnp.einsum("nd,kdh->nkh", x, p["W"]) + p["b"]).max(1)
        return cross_entropy(h @ p["V"], y)

    x = normal(90, 40, 6)
    return (
        f,
        {"W": normal(91, 3, 6, 12, scale=0.4), "b": jnp.zeros((3, 12)), "V": normal(92, 12, 3, scale=0.3)},
        (x, labels(x)),
    )


@linen("A residual net with batch norm in training and dropout of a half.")
def batch_norm_and_dropout():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, keep):
            h = nn.Conv(8, (3, 3), use_bias=False)(x)
            h = nn.relu(nn.BatchNorm(use_running_average=False)(h))
            h = h + nn.relu(nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3), use_bias=False)(h)))
            h = h.mean((1, 2)) * keep / 0.5
            return nn.Dense(3)(h)

    x, keep = normal(93, 24, 6, 6, 1), (uniform(94, 24, 8) < 0.5).astype(jnp.float32)
    net = Net()
    variables = jax.jit(net.init)(jax.random.key(0), x, keep)

    def f(params, x, keep, y):
        logits, _ = net.apply({**variables, "params": params}, x, keep, mutable=["batch_stats"])
        return cross_entropy(logits, y)

    return f, variables["params"], (x, keep, labels(x))


@equinox("Causal convolutions with growing gaps, and gates: a WaveNet of three layers.")
def wavenet():
    class Net(eqx.Module):
        enter: eqx.nn.Conv1d
        gates: list
        leave: eqx.nn.Conv1d

        def __call__(self, x):
            x, skips = self.enter(x), 0.0
            for i, conv in enumerate(self.gates):
                padded = jnp.pad(x, ((0, 0), (2**i, 0)))
                a, b = jnp.split(conv(padded), 2)
                h = jnp.tanh(a) * sigmoid(b)
                x, skips = x + h, skips + h
            return self.leave(relu(skips))

    k = jax.random.split(jax.random.key(7), 5)
    gates = [eqx.nn.Conv1d(8, 16, 2, dilation=2**i, key=k[i]) for i in range(3)]
    net = Net(eqx.nn.Conv1d(1, 8, 1, key=k[3]), gates, eqx.nn.Conv1d(8, 4, 1, key=k[4]))

    def loss(logits, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits.swapaxes(1, 2), y).mean()

    x = jnp.sin(jnp.arange(24) / 3 + 6 * uniform(95, 12, 1))
    return equinox_case(net, loss, x[:, None], jnp.digitize(jnp.roll(x, -1, 1), jnp.array([-0.5, 0.0, 0.5])))


@plain("A siamese net of two texts: the absolute difference, one logit.")
def same_author():
    def f(p, a, b, same):
        apart = jnp.abs(forward(p["encode"], a, relu) - forward(p["encode"], b, relu))
        return binary_cross_entropy((apart @ p["judge"])[:, 0] + p["shift"], same)

    p = {"encode": dense(96, 8, 24, 8), "judge": normal(97, 8, 1, scale=0.3), "shift": jnp.zeros(())}
    a = normal(98, 32, 8)
    same = integers(99, 2, 32).astype(jnp.float32)
    return (
        f,
        p,
        (a, jnp.where(same[:, None] > 0, a + normal(100, 32, 8, scale=0.1), normal(101, 32, 8)), same),
    )


@of_nnx("A net gives the weights of another one.")
def hypernetwork():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.make = nnx.Linear(3, 4 * 8 + 8, kernel_init=nnx.initializers.normal(0.2), rngs=rngs)

        def __call__(self, pair):
            x, task = pair
            made = self.make(task)
            W, V = made[:, :32].reshape(-1, 4, 8), made[:, 32:]
            return jnp.sum(jnp.tanh(jnp.einsum("nd,ndh->nh", x, W)) * V, 1)

    x, task = normal(102, 40, 4), jax.nn.one_hot(integers(103, 3, 40), 3)
    return nnx_case(Net(rngs_of(6)), mse, (x, task), jnp.sum(x[:, :3] * task, 1) * 0.4)


@plain("The marginal likelihood of a Gaussian process, by Cholesky's factor.")
def gaussian_process():
    def f(p, x, y):
        d2 = jnp.sum((x[:, None] - x) ** 2 / jnp.exp(2 * p["length"]), -1)
        K = jnp.exp(2 * p["height"] - 0.5 * d2) + (jnp.exp(2 * p["noise"]) + 1e-5) * jnp.eye(len(x))
        L = jnp.linalg.cholesky(K)
        z = jax.scipy.linalg.solve_triangular(L, y, lower=True)
        return 0.5 * jnp.sum(z**2) + jnp.sum(jnp.log(jnp.diagonal(L)))

    x = normal(104, 24, 2)
    p = {"length": jnp.zeros(2), "height": jnp.zeros(()), "noise": jnp.array(-1.0)}
    return f, p, (x, wave(x)[:, 0])


@equinox("Deep sets: masked sums over sets of 2 to 8 points.")
def deep_sets():
    class Net(eqx.Module):
        phi: eqx.nn.MLP
        rho: eqx.nn.MLP

        def __call__(self, pair):
            points, mask = pair
            return self.rho(jnp.sum(jax.vmap(self.phi)(points) * mask[:, None], 0))

    a, b = jax.random.split(jax.random.key(8))
    net = Net(eqx.nn.MLP(2, 12, 12, 1, key=a), eqx.nn.MLP(12, "scalar", 12, 1, key=b))
    mask = (jnp.arange(8) < (integers(105, 7, 24) + 2)[:, None]).astype(jnp.float32)
    points = normal(106, 24, 8, 2) * mask[..., None]
    return equinox_case(net, mse, (points, mask), jnp.tanh(points.sum((1, 2))))


@plain("ListNet: a softmax over the documents of each query, their number differs.")
def list_net():
    def f(p, documents, relevance, real):
        scores = jnp.where(real, forward(p, documents, relu)[..., 0], -1e30)
        target = softmax(jnp.where(real, relevance, -1e30))
        return -jnp.mean(jnp.sum(target * jnp.where(real, jax.nn.log_softmax(scores), 0.0), 1))

    real = jnp.arange(10) < (integers(107, 6, 16) + 4)[:, None]
    x = normal(108, 16, 10, 6)
    return f, dense(109, 6, 16, 1), (x, 2 * x[..., 0] * real, real)


@linen("Squeeze and excite: channels are weighted by a sigmoid of their means.")
def squeeze_and_excite():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.Conv(8, (3, 3))(x))
            gate = nn.sigmoid(nn.Dense(8)(nn.relu(nn.Dense(4)(h.mean((1, 2))))))
            h = h * gate[:, None, None]
            return nn.Dense(3)(h.reshape(len(x), -1))

    x = uniform(110, 20, 6, 6, 3)
    return linen_case(Net(), cross_entropy, x, labels(x))


@plain("Categories as one-hot columns beside numbers; many of them are absent from this batch.")
def one_hot_categories():
    def f(p, x, y):
        return binary_cross_entropy(forward(p, x, relu)[:, 0], y)

    x = jnp.concatenate([jax.nn.one_hot(integers(111, 9, 32), 40), normal(112, 32, 4)], 1)
    return f, dense(113, 44, 24, 1, scale=2.0), (x, (x[:, 40] > 0).astype(jnp.float32))


@of_nnx("A transposed net of half precision: the loss is scaled by 1024 and divided again.")
def scaled_loss():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(6, 16, dtype=jnp.float16, rngs=rngs)
            self.out = nnx.Linear(16, 2, dtype=jnp.float16, rngs=rngs)

        def __call__(self, x):
            return self.out(nnx.relu(self.hidden(x))).astype(jnp.float32)

    x = normal(114, 32, 6)
    return nnx_case(Net(rngs_of(7)), lambda a, y: 1024 * cross_entropy(a, y) / 1024, x, labels(x, 2))


@equinox("A policy for continuous actions: the mean ends in tanh, actions were drawn within -1..1.")
def bounded_policy():
    class Net(eqx.Module):
        mean: eqx.nn.MLP
        logstd: jax.Array

        def __call__(self, x):
            return jnp.tanh(self.mean(x)), self.logstd

    net = Net(eqx.nn.MLP(4, 2, 16, 1, key=jax.random.key(9)), jnp.full(2, -0.5))

    def loss(out, action, weight):
        mean, logstd = out
        logp = -0.5 * ((action - mean) / jnp.exp(logstd)) ** 2 - logstd
        return -jnp.mean(logp.sum(1) * weight)

    return equinox_case(net, loss, normal(115, 40, 4), uniform(116, 40, 2, low=-1), uniform(117, 40))


@linen("Mel bands of a spectrogram in decibels of -80..0, scaled by the batch norm at its door.")
def spectrogram():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.LayerNorm(reduction_axes=(1, 2), feature_axes=2)(x)
            h = nn.relu(nn.Conv(12, (3,))(x))
            return nn.Dense(3)(h.max(1))

    x = -40 + 15 * normal(118, 20, 16, 8)
    return linen_case(Net(), cross_entropy, x, labels(x[:, 0]))


@of_nnx("Knowledge graphs: the distance of head + relation from tail, a margin, drawn counterexamples.")
def knowledge_graph():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.entity = nnx.Embed(60, 8, rngs=rngs)
            self.relation = nnx.Embed(5, 8, rngs=rngs)

        def __call__(self, triples):
            h, r, t, wrong = triples.T
            from_head = self.entity(h) + self.relation(r)
            distance = lambda t: jnp.sqrt(jnp.sum((from_head - self.entity(t)) ** 2, -1) + 1e-9)  # noqa: E731
            return distance(t), distance(wrong)

    triples = jnp.stack(
        [integers(119, 60, 40), integers(120, 5, 40), integers(121, 60, 40), integers(122, 59, 40)], 1
    )
    return nnx_case(Net(rngs_of(8)), lambda out: jnp.mean(relu(1 + out[0] - out[1])), triples)
