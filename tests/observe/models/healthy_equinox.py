"""Healthy models in Equinox, most of which look sick at first sight."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from .record import (
    ASIDE,
    OPEN,
    Model,
    binary_cross_entropy,
    cross_entropy,
    equinox_case,
    integers,
    mse,
    normal,
    registering,
    uniform,
)
from .sick_equinox import KEYS, mlp

MODELS: list[Model] = []
sick, healthy = registering("equinox", MODELS)


@healthy(OPEN, "A regression with a relu MLP.")
def relu_regression():
    return equinox_case(mlp(6, 1, 24, 2, jax.nn.relu), mse, normal(1, 32, 6), normal(2, 32, 1))


@healthy(ASIDE, "A GRU over 20 steps by scan, its state carries the deltas.")
def gru():
    class Net(eqx.Module):
        cell: eqx.nn.GRUCell
        head: eqx.nn.Linear

        def __call__(self, x):
            h, _ = jax.lax.scan(lambda h, x: (self.cell(x, h), None), jnp.zeros(8), x)
            return self.head(h)

    net = Net(eqx.nn.GRUCell(3, 8, key=KEYS[0]), eqx.nn.Linear(8, 2, key=KEYS[1]))
    return equinox_case(net, cross_entropy, 0.5 * normal(1, 12, 20, 3), integers(2, 2, 12))


@healthy(OPEN, "A linear readout on a base that stop_gradient freezes, parameter by parameter.")
def readout_of_a_frozen_base():
    base, head = mlp(5, 12), eqx.nn.Linear(12, 3, key=KEYS[1])
    params, static = eqx.partition((base, head), eqx.is_inexact_array)

    def f(params, x, y):
        base, head = eqx.combine(params, static)
        base = jax.tree.map(lambda w: jax.lax.stop_gradient(w) if eqx.is_inexact_array(w) else w, base)
        return cross_entropy(jax.vmap(lambda x: head(jnp.tanh(base(x))))(x), y)

    return f, params, (normal(1, 32, 5), integers(2, 3, 32))


@healthy(ASIDE, "A scalar net, vmapped to (N,), against targets (N,).")
def scalar_net():
    return equinox_case(mlp(5, "scalar"), mse, normal(1, 24, 5), normal(2, 24))


@healthy(OPEN, "Multi-head attention with a mask of the right sign.")
def attention_with_padding():
    class Net(eqx.Module):
        attention: eqx.nn.MultiheadAttention
        head: eqx.nn.Linear

        def __call__(self, x, mask):
            keys = jnp.broadcast_to(mask[None] > 0, (len(mask), len(mask)))
            h = self.attention(x, x, x, mask=keys)
            return self.head((h * mask[:, None]).sum(0) / mask.sum())

    net = Net(eqx.nn.MultiheadAttention(2, 8, key=KEYS[0]), eqx.nn.Linear(8, 3, key=KEYS[1]))
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def f(params, x, mask, y):
        return cross_entropy(jax.vmap(eqx.combine(params, static))(x, mask), y)

    mask = (jnp.arange(6)[None] < integers(5, 3, 16)[:, None] + 3).astype(jnp.float32)
    return f, params, (normal(1, 16, 6, 8) * mask[..., None], mask, integers(2, 3, 16))


@healthy(ASIDE, "A convolution, one-hot labels, LayerNorm over the features.")
def convolution_and_one_hot_labels():
    net = eqx.nn.Sequential([
        eqx.nn.Conv1d(2, 6, 3, key=KEYS[0]), eqx.nn.Lambda(jax.nn.relu), eqx.nn.Lambda(jnp.ravel),
        eqx.nn.LayerNorm(36), eqx.nn.Linear(36, 3, key=KEYS[1]),
    ])  # fmt: skip
    y = jax.nn.one_hot(integers(2, 3, 24), 3)
    return equinox_case(net, lambda z, y: optax.softmax_cross_entropy(z, y).mean(), normal(1, 24, 2, 8), y)


@healthy(OPEN, "Masked autoencoding: a quarter of the entries is hidden and only they are judged.")
def masked_autoencoder():
    def loss(out, hidden, target):
        return jnp.sum(hidden * (out - target) ** 2) / hidden.sum()

    x, hidden = normal(1, 32, 8), (uniform(2, 32, 8) < 0.25).astype(jnp.float32)
    return equinox_case(mlp(8, 8), loss, x * (1 - hidden), hidden, x)


@healthy(ASIDE, "SimSiam: one branch is detached, and its parameters learn through the other.")
def simsiam():
    encoder, predictor = mlp(6, 8), mlp(8, 8, 8)
    params, static = eqx.partition((encoder, predictor), eqx.is_inexact_array)

    def unit(v):
        return v / jnp.sqrt((v**2).sum(-1, keepdims=True) + 1e-6)

    def f(params, a, b):
        encoder, predictor = eqx.combine(params, static)
        za, zb = jax.vmap(encoder)(a), jax.vmap(encoder)(b)
        pa, pb = unit(jax.vmap(predictor)(za)), unit(jax.vmap(predictor)(zb))
        za, zb = jax.lax.stop_gradient((unit(za), unit(zb)))
        return -((pa * zb).sum(-1) + (pb * za).sum(-1)).mean() / 2

    x = normal(1, 24, 6)
    return f, params, (x + 0.2 * normal(2, 24, 6), x + 0.2 * normal(3, 24, 6))


@healthy(OPEN, "Siren: sines with the first frequency of 5, whose outputs are spread over -1..1.")
def sines():
    net = mlp(1, 1, 24, 2, activation=jnp.sin)
    net = eqx.tree_at(lambda m: m.layers[0].weight, net, 5.0 * uniform(3, 24, 1, low=-1))
    x = jnp.linspace(-1, 1, 40)[:, None]
    return equinox_case(net, mse, x, jnp.sin(4 * x))


@healthy(ASIDE, "An ODE solved in the model: twenty Euler steps, each a small change.")
def euler_steps():
    class Net(eqx.Module):
        field: eqx.nn.MLP

        def __call__(self, x):
            return jax.lax.fori_loop(0, 20, lambda _, x: x + 0.05 * self.field(x), x)

    x = normal(1, 24, 3)
    return equinox_case(Net(mlp(3, 3)), mse, x, jnp.roll(x, 1, axis=1))


@healthy(OPEN, "Attention pooling: one softmax over the steps, contracted over the steps.")
def attention_pooling():
    class Net(eqx.Module):
        score: eqx.nn.Linear
        value: eqx.nn.Linear
        head: eqx.nn.Linear

        def __call__(self, x):
            weights = jax.nn.softmax(jax.vmap(self.score)(x)[:, 0])
            return self.head(weights @ jax.vmap(self.value)(x))

    net = Net(
        eqx.nn.Linear(4, 1, key=KEYS[0]), eqx.nn.Linear(4, 8, key=KEYS[1]), eqx.nn.Linear(8, 3, key=KEYS[2])
    )
    return equinox_case(net, cross_entropy, normal(1, 24, 7, 4), integers(2, 3, 24))


@healthy(ASIDE, "A penalty on the gradient by the input is part of a critic's loss.")
def gradient_penalty():
    critic = mlp(4, "scalar")
    params, static = eqx.partition(critic, eqx.is_inexact_array)

    def f(params, real, made):
        critic = eqx.combine(params, static)
        between = jax.vmap(jax.grad(critic))((real + made) / 2)
        norm = jnp.sqrt((between**2).sum(-1) + 1e-8)
        return jnp.mean(jax.vmap(critic)(made) - jax.vmap(critic)(real)) + jnp.mean((norm - 1) ** 2)

    return f, params, (normal(1, 24, 4), 1.0 + 0.5 * normal(2, 24, 4))


@healthy(OPEN, "The targets of a tanh output were scaled to -0.9..0.9: they fit.")
def tanh_output_in_range():
    net = mlp(5, 2, final_activation=jnp.tanh)
    return equinox_case(net, mse, normal(1, 32, 5), uniform(2, 32, 2, low=-0.9, high=0.9))


@healthy(ASIDE, "A rare class: four of forty labels are 1, and both occur.")
def rare_class():
    y = (jnp.arange(40) % 10 == 3).astype(jnp.float32)
    return equinox_case(mlp(5, 1), lambda z, y: binary_cross_entropy(z[:, 0], y), normal(1, 40, 5), y)


@healthy(OPEN, "Rematerialized layers under jax.checkpoint, nothing else changes.")
def rematerialized_layers():
    class Net(eqx.Module):
        first: eqx.nn.Linear
        last: eqx.nn.Linear

        def __call__(self, x):
            h = jax.checkpoint(lambda x: jax.nn.silu(self.first(x)))(x)
            return self.last(h)

    net = Net(eqx.nn.Linear(5, 16, key=KEYS[0]), eqx.nn.Linear(16, 3, key=KEYS[1]))
    return equinox_case(net, cross_entropy, normal(1, 32, 5), integers(2, 3, 32))
