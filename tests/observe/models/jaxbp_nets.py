"""Nets of this library, sick and healthy: its losses know whether they are a mean or a sum."""

import jax
import jax.numpy as jnp

import jaxbp

from .record import ASIDE, OPEN, Model, integers, normal, registering

MODELS: list[Model] = []
sick, healthy = registering("jaxbp", MODELS)


def case(net, loss, x, y):
    def f(params, x, y):
        return loss(net.apply(params, x), y)

    return f, net.init(jax.random.key(0, impl="rbg")), (x, y)


@sick("double_squash", ASIDE, "The output is a sigmoid, and binary_cross_entropy takes logits.")
def sigmoid_then_logits():
    net = jaxbp.mlp([5, 8, 1], jaxbp.tanh, output=jaxbp.sigmoid)
    y = integers(2, 2, 32, 1).astype(jnp.float32)
    return case(net, jaxbp.binary_cross_entropy, normal(1, 32, 5), y)


@sick("vanishing", ASIDE, "The lecture's sigmoid net with fourteen layers.")
def fourteen_sigmoid_layers():
    net = jaxbp.mlp([6, *[8] * 13, 3], jaxbp.sigmoid)
    return case(net, jaxbp.softmax_cross_entropy, normal(1, 32, 6), integers(2, 3, 32))


@sick("dead", ASIDE, "Biases start at -30 before every relu.")
def relus_started_at_minus_30():
    net = jaxbp.mlp(
        [6, 16, 3], jaxbp.relu, bias_init=lambda key, shape, dtype=jnp.float32: jnp.full(shape, -30.0)
    )
    return case(net, jaxbp.softmax_cross_entropy, normal(1, 32, 6), integers(2, 3, 32))


@sick("identical", OPEN, "Every weight starts at 0.3.", ["vanishing"])
def every_weight_the_same():
    net = jaxbp.mlp([5, 8, 3], jaxbp.tanh, init=lambda key, shape, dtype=jnp.float32: jnp.full(shape, 0.3))
    return case(net, jaxbp.softmax_cross_entropy, normal(1, 32, 5), integers(2, 3, 32))


@healthy(OPEN, "The lecture's error E is a sum over the examples, and its loss says so.")
def the_lectures_sum():
    net = jaxbp.mlp([4, 6, 2], jaxbp.sigmoid)
    return case(net, jaxbp.squared_error.sum, normal(1, 8, 4), jax.nn.sigmoid(normal(2, 8, 2)))


@healthy(ASIDE, "The digits' net of the README, smaller.")
def relu_classifier():
    net = jaxbp.mlp([16, 24, 4], jaxbp.relu)
    return case(net, jaxbp.softmax_cross_entropy, normal(1, 32, 16), integers(2, 4, 32))


@healthy(OPEN, "A residual net of six blocks: the skip carries the delta.")
def residual_net():
    blocks = [jaxbp.residual(jaxbp.chain(jaxbp.dense(8, 8), jaxbp.tanh)) for _ in range(6)]
    net = jaxbp.chain(*blocks, jaxbp.dense(8, 1))
    return case(net, jaxbp.squared_error, normal(1, 24, 8), normal(2, 24, 1))


@healthy(ASIDE, "A softmax output with the loss that takes probabilities.")
def softmax_output_with_its_loss():
    net = jaxbp.mlp([5, 8, 1], jaxbp.tanh, output=jaxbp.sigmoid)
    y = integers(2, 2, 32, 1).astype(jnp.float32)
    return case(net, jaxbp.binary_cross_entropy_on_probabilities, normal(1, 32, 5), y)
