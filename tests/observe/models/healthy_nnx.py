"""Healthy models in Flax NNX, most of which look sick at first sight."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from .record import (
    ASIDE,
    OPEN,
    Model,
    cross_entropy,
    integers,
    mse,
    nnx_case,
    normal,
    registering,
    rngs_of,
    uniform,
)
from .sick_nnx import MLP

MODELS: list[Model] = []
sick, healthy = registering("nnx", MODELS)


@healthy(OPEN, "A relu classifier of two hidden layers.")
def relu_classifier():
    return nnx_case(MLP(6, 24, 24, 3, phi=nnx.relu), cross_entropy, normal(1, 32, 6), integers(2, 3, 32))


@healthy(
    ASIDE, "Adapters: the base is frozen by stop_gradient on its parameters, the adapter starts at zero."
)
def adapter_on_a_frozen_base():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.base = nnx.Linear(6, 12, rngs=rngs)
            self.down = nnx.Linear(12, 3, rngs=rngs)
            self.up = nnx.Linear(3, 12, kernel_init=nnx.initializers.zeros, rngs=rngs)
            self.head = nnx.Linear(12, 2, rngs=rngs)

        def __call__(self, x):
            kernel, bias = map(jax.lax.stop_gradient, (self.base.kernel[...], self.base.bias[...]))
            h = nnx.gelu(x @ kernel + bias)
            return self.head(h + self.up(nnx.gelu(self.down(h))))

    return nnx_case(Net(), cross_entropy, normal(1, 32, 6), integers(2, 2, 32))


@healthy(OPEN, "Weights tied: the embedding is also the output layer.")
def tied_weights():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.embed, self.mix = nnx.Embed(10, 8, rngs=rngs), nnx.Linear(8, 8, rngs=rngs)

        def __call__(self, tokens):
            return self.embed.attend(nnx.tanh(self.mix(self.embed(tokens))))

    tokens = integers(1, 10, 8, 6)
    return nnx_case(Net(), cross_entropy, tokens[:, :-1], tokens[:, 1:])


@healthy(ASIDE, "Binary labels as ±1 in a hinge loss, which wants them so.")
def hinge_loss_of_signs():
    y = 2.0 * integers(2, 2, 32) - 1.0
    return nnx_case(MLP(5, 12, 1), lambda z, y: optax.hinge_loss(z[:, 0], y).mean(), normal(1, 32, 5), y)


@healthy(OPEN, "Six residual blocks with LayerNorm and gelu.")
def residual_blocks():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.norms = nnx.List([nnx.LayerNorm(12, rngs=rngs) for _ in range(6)])
            self.blocks = nnx.List([nnx.Linear(12, 12, rngs=rngs) for _ in range(6)])
            self.head = nnx.Linear(12, 1, rngs=rngs)

        def __call__(self, x):
            for norm, block in zip(self.norms, self.blocks, strict=True):
                x = x + nnx.gelu(block(norm(x)))
            return self.head(x)

    return nnx_case(Net(), mse, normal(1, 24, 12), normal(2, 24, 1))


@healthy(ASIDE, "Group norm of four groups of four features.")
def group_norm_of_four_features():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.first, self.last = nnx.Linear(5, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)
            self.norm = nnx.GroupNorm(16, num_groups=4, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.norm(self.first(x))))

    return nnx_case(Net(), cross_entropy, normal(1, 24, 5), integers(2, 3, 24))


@healthy(OPEN, "A straight-through estimate: rounded forward, the identity backward.")
def straight_through_rounding():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.encoder, self.decoder = nnx.Linear(5, 8, rngs=rngs), nnx.Linear(8, 5, rngs=rngs)

        def __call__(self, x):
            h = 4 * nnx.sigmoid(self.encoder(x))
            return self.decoder(h + jax.lax.stop_gradient(jnp.round(h) - h))

    x = normal(1, 32, 5)
    return nnx_case(Net(), mse, x, x)


@healthy(ASIDE, "A Gaussian of learned variance, its logarithm clipped to -5..2, where it never gets.")
def log_variance_clip_not_active():
    def loss(out, y):
        mean, log_var = out[:, 0], jnp.clip(out[:, 1], -5.0, 2.0)
        return jnp.mean((y - mean) ** 2 * jnp.exp(-log_var) + log_var)

    net = MLP(5, 16, 2)
    net.layers[-1].kernel[...] = net.layers[-1].kernel[...] * 0.5
    return nnx_case(net, loss, normal(1, 32, 5), normal(2, 32))


@healthy(OPEN, "The loss of a tagger leaves the padding out.")
def tagger_with_loss_mask():
    class Tagger(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.embed, self.head = nnx.Embed(12, 8, rngs=rngs), nnx.Linear(8, 4, rngs=rngs)

        def __call__(self, tokens):
            return self.head(nnx.tanh(self.embed(tokens)))

    def loss(logits, mask, y):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return (losses * mask).sum() / mask.sum()

    mask = (jnp.arange(8)[None] < integers(5, 4, 16)[:, None] + 3).astype(jnp.float32)
    tokens = jnp.where(mask > 0, integers(1, 11, 16, 8) + 1, 0)
    return nnx_case(Tagger(), loss, tokens, mask, jnp.where(mask > 0, integers(2, 4, 16, 8), 0))


@healthy(ASIDE, "Cosine similarity with temperature and a margin of safety in its norm.")
def cosine_similarity_classifier():
    class Net(nnx.Module):
        def __init__(self):
            self.body = MLP(6, 16, 8)
            self.classes = nnx.Param(normal(4, 3, 8))

        def __call__(self, x):
            unit = lambda v: v / (jnp.sqrt((v**2).sum(-1, keepdims=True) + 1e-6))  # noqa: E731
            return 5.0 * unit(self.body(x)) @ unit(self.classes[...]).T

    return nnx_case(Net(), cross_entropy, normal(1, 32, 6), integers(2, 3, 32))


@healthy(OPEN, "Ranking by pairs: softplus of the difference of two scores of the same net.")
def ranking_by_pairs():
    class Net(nnx.Module):
        def __init__(self):
            self.score = MLP(5, 12, 1)

        def __call__(self, pair):
            return (self.score(pair[:, 0]) - self.score(pair[:, 1]))[:, 0]

    return nnx_case(
        Net(), lambda d, y: jax.nn.softplus(-y * d).mean(), normal(1, 32, 2, 5), 2.0 * integers(2, 2, 32) - 1
    )


@healthy(ASIDE, "Positive targets of 1..6 and a softplus output, with a Poisson loss.")
def poisson_regression():
    def loss(rate, y):
        return jnp.mean(rate[:, 0] - y * jnp.log(rate[:, 0]))

    net = MLP(5, 12, 1, out=lambda a: nnx.softplus(a) + 1e-3)
    return nnx_case(net, loss, normal(1, 32, 5), integers(2, 6, 32) + 1.0)


@healthy(OPEN, "A small convolution of images scaled to 0..1, with a black border.")
def images_with_a_black_border():
    class CNN(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.conv = nnx.Conv(1, 6, (3, 3), rngs=rngs)
            self.head = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(nnx.relu(self.conv(x)).mean((1, 2)))

    images = jnp.pad(uniform(1, 16, 6, 6, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return nnx_case(CNN(), cross_entropy, images, integers(2, 3, 16))


@healthy(ASIDE, "A gated linear unit whose gates are half open.")
def gated_linear_unit():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.value, self.gate = nnx.Linear(6, 16, rngs=rngs), nnx.Linear(6, 16, rngs=rngs)
            self.head = nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(self.value(x) * nnx.sigmoid(self.gate(x)))

    return nnx_case(Net(), cross_entropy, normal(1, 32, 6), integers(2, 3, 32))
