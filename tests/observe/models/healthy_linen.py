"""Healthy models in Flax Linen, most of which look sick at first sight."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from .record import (
    ASIDE,
    OPEN,
    Model,
    binary_cross_entropy,
    cross_entropy,
    integers,
    linen_case,
    mse,
    normal,
    registering,
    uniform,
)
from .sick_linen import MLP

MODELS: list[Model] = []
sick, healthy = registering("linen", MODELS)


@healthy(OPEN, "A small CNN with relu and max pooling.")
def cnn():
    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.max_pool(nn.relu(nn.Conv(8, (3, 3))(x)), (2, 2), (2, 2))
            return nn.Dense(3)(x.reshape(x.shape[0], -1))

    return linen_case(CNN(), cross_entropy, normal(1, 16, 6, 6, 1), integers(2, 3, 16))


@healthy(ASIDE, "LayerNorm before the first product scales inputs of several hundred.")
def large_inputs_and_layer_norm():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return MLP((16, 3))(nn.LayerNorm()(x))

    return linen_case(Net(), cross_entropy, normal(1, 32, 8, scale=300.0), integers(2, 3, 32))


@healthy(OPEN, "A causal transformer block with Flax's own mask.")
def causal_transformer_block():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(12, 8)(tokens)
            mask = nn.make_causal_mask(tokens)
            x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x), mask=mask)
            x = x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))
            return nn.Dense(12)(nn.LayerNorm()(x))

    tokens = integers(1, 12, 8, 7)
    return linen_case(Block(), cross_entropy, tokens[:, :-1], tokens[:, 1:])


@healthy(ASIDE, "An LSTM over 100 steps whose forget gate starts open: its deltas reach back.")
def lstm_with_forget_bias():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.OptimizedLSTMCell(8, bias_init=nn.initializers.ones)
            return nn.Dense(1)(nn.RNN(cell)(x).mean(1))

    return linen_case(Net(), mse, normal(1, 8, 100, 3), normal(2, 8, 1))


@healthy(OPEN, "An embedding of 50 words, of which the batch uses 12: the other rows have no gradient.")
def unused_embedding_rows():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            return nn.Dense(3)(nn.tanh(nn.Embed(50, 8)(tokens).mean(1)))

    return linen_case(Net(), cross_entropy, integers(1, 12, 24, 6), integers(2, 3, 24))


@healthy(ASIDE, "An embedding frozen by stop_gradient on the parameter itself.")
def frozen_embedding():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            table = self.param("table", nn.initializers.normal(1.0), (20, 8))
            h = jax.lax.stop_gradient(table)[tokens]
            return nn.Dense(3)(nn.relu(nn.Dense(16)(h.mean(1))))

    return linen_case(Net(), cross_entropy, integers(1, 20, 24, 5), integers(2, 3, 24))


@healthy(OPEN, "An autoencoder: input and target are the same.")
def autoencoder():
    x = normal(1, 32, 8)
    return linen_case(MLP((4, 8)), mse, x, x)


@healthy(ASIDE, "A VAE whose code starts at the prior: its KL term is near 0.")
def vae_with_kl_near_zero():
    class VAE(nn.Module):
        @nn.compact
        def __call__(self, x, noise):
            small = nn.initializers.normal(0.01)
            h = nn.tanh(nn.Dense(16)(x))
            mean, log_var = nn.Dense(3, kernel_init=small)(h), nn.Dense(3, kernel_init=small)(h)
            z = mean + jnp.exp(log_var / 2) * noise
            return nn.Dense(6)(nn.tanh(nn.Dense(16)(z))), mean, log_var

    net = VAE()
    x, noise = normal(1, 32, 6), normal(2, 32, 3)
    params = jax.jit(net.init)(jax.random.key(0, impl="rbg"), x, noise)["params"]

    def f(params, x, noise):
        out, mean, log_var = net.apply({"params": params}, x, noise)
        kl = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var), axis=-1)
        return jnp.mean(jnp.sum((out - x) ** 2, axis=-1) + kl)

    return f, params, (x, noise)


@healthy(OPEN, "Batch norm in evaluation: its statistics are constants.")
def batch_norm_in_evaluation():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.BatchNorm(use_running_average=True)(nn.Dense(16)(x))
            return nn.Dense(3)(nn.relu(h))

    net, x = Net(), normal(1, 32, 6)
    variables = jax.jit(net.init)(jax.random.key(0, impl="rbg"), x)
    statistics = {"BatchNorm_0": {"mean": normal(3, 16, scale=0.2), "var": uniform(4, 16, low=0.5, high=1.5)}}

    def f(params, x, y):
        return cross_entropy(net.apply({"params": params, "batch_stats": statistics}, x), y)

    return f, variables["params"], (x, integers(2, 3, 32))


@healthy(ASIDE, "Batch norm in training: it reduces the batch on purpose.")
def batch_norm_in_training():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.BatchNorm(use_running_average=False)(nn.Dense(16)(x))
            return nn.Dense(3)(nn.relu(h))

    net, x = Net(), normal(1, 32, 6)
    variables = jax.jit(net.init)(jax.random.key(0, impl="rbg"), x)

    def f(params, x, y):
        state = {"params": params, "batch_stats": variables["batch_stats"]}
        logits, _ = net.apply(state, x, mutable=["batch_stats"])
        return cross_entropy(logits, y)

    return f, variables["params"], (x, integers(2, 3, 32))


@healthy(OPEN, "Dropout of a third of the hidden units, the same mask at each call.")
def dropout():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dropout(0.33, deterministic=False)(nn.relu(nn.Dense(24)(x)))
            return nn.Dense(3)(h)

    net, x = Net(), normal(1, 32, 6)
    key = jax.random.key(7, impl="rbg")
    params = jax.jit(net.init)({"params": key, "dropout": key}, x)["params"]

    def f(params, x, y):
        return cross_entropy(net.apply({"params": params}, x, rngs={"dropout": key}), y)

    return f, params, (x, integers(2, 3, 32))


@healthy(ASIDE, "A siamese net: two inputs through the same weights, squared distance, contrastive loss.")
def siamese_distances():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, pair):
            embed = MLP((12, 4))
            return ((embed(pair[:, 0]) - embed(pair[:, 1])) ** 2).sum(-1)

    def loss(square, same):
        return jnp.mean(same * square + (1 - same) * nn.relu(4.0 - square))

    return linen_case(Net(), loss, normal(1, 32, 2, 5), integers(2, 2, 32).astype(jnp.float32))


@healthy(OPEN, "Multi-label classification: a sigmoid for each of six labels, in the loss.")
def many_labels():
    y = (integers(2, 3, 32, 6) == 0).astype(jnp.float32)
    return linen_case(MLP((16, 6), phi=nn.relu), binary_cross_entropy, normal(1, 32, 5), y)


@healthy(ASIDE, "The discriminator of a GAN: half of its batch is real, half is made.")
def discriminator():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return MLP((16, 16, 1), phi=nn.leaky_relu)(x)[:, 0]

    x = jnp.concatenate([normal(1, 16, 4), 0.5 + 0.7 * normal(2, 16, 4)])
    return linen_case(Net(), binary_cross_entropy, x, jnp.repeat(jnp.array([1.0, 0.0]), 16))


@healthy(OPEN, "A sigmoid output for targets of 0..1, with squared error: they fit.")
def sigmoid_output_in_range():
    return linen_case(MLP((16, 3), out=nn.sigmoid), mse, normal(1, 32, 5), uniform(2, 32, 3))


@healthy(ASIDE, "bfloat16 inside, float32 outside: nothing overflows.")
def mixed_precision():
    net = MLP((16, 3), phi=nn.relu, dtype=jnp.bfloat16)

    def loss(logits, y):
        return cross_entropy(logits.astype(jnp.float32), y)

    return linen_case(net, loss, normal(1, 32, 6), integers(2, 3, 32))


@healthy(OPEN, "A head that starts from zero, as is usual for the last layer of a policy.")
def head_from_zero():
    class Policy(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, kernel_init=nn.initializers.zeros)(nn.tanh(nn.Dense(16)(x)))

    def loss(logits, action, gain):
        return jnp.mean(gain * optax.softmax_cross_entropy_with_integer_labels(logits, action))

    return linen_case(Policy(), loss, normal(1, 32, 5), integers(2, 3, 32), normal(3, 32))
