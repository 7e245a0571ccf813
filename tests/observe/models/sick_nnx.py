"""Sick models in Flax NNX."""

import itertools

import jax.numpy as jnp
import optax
from flax import nnx

from .record import (
    ASIDE,
    OPEN,
    Model,
    binary_cross_entropy,
    cross_entropy,
    integers,
    mse,
    nnx_case,
    normal,
    registering,
    rngs_of,
    uniform,
)

MODELS: list[Model] = []
sick, healthy = registering("nnx", MODELS)


class MLP(nnx.Module):
    """Linear layers with an activation between them, and an output function."""

    def __init__(self, *sizes, phi=nnx.tanh, out=lambda x: x, seed=0, **options):
        rngs = rngs_of(seed)
        pairs = itertools.pairwise(sizes)
        self.layers = nnx.List([nnx.Linear(m, n, rngs=rngs, **options) for m, n in pairs])
        self.phi, self.out = phi, out

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = self.phi(layer(x))
        return self.out(self.layers[-1](x))


@sick(
    "saturated",
    OPEN,
    "Kernels drawn with standard deviation 10 make the gates of a GLU 0 or 1.",
    ["vanishing"],
)
def gates_that_are_shut():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.value = nnx.Linear(6, 16, rngs=rngs)
            self.gate = nnx.Linear(6, 16, kernel_init=nnx.initializers.normal(10.0), rngs=rngs)
            self.head = nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(self.value(x) * nnx.sigmoid(self.gate(x)))

    return nnx_case(Net(), cross_entropy, normal(1, 32, 6), integers(2, 3, 32))


@sick("dead", ASIDE, "Both hidden layers have biases of -50: every relu is zero.")
def two_dead_layers():
    net = MLP(6, 12, 12, 2, phi=nnx.relu)
    for layer in net.layers[:-1]:
        layer.bias[...] = layer.bias[...] - 50.0
    return nnx_case(net, cross_entropy, normal(1, 32, 6), integers(2, 2, 32))


@sick("vanishing", OPEN, "Fifteen tanh layers of weights near 0.03, without residuals or norms.")
def fifteen_layers_of_tiny_weights():
    net = MLP(8, *[8] * 14, 1, kernel_init=nnx.initializers.normal(0.1))
    return nnx_case(net, mse, normal(1, 16, 8), normal(2, 16, 1))


@sick("exploding", ASIDE, "Sixteen residual blocks, each of which adds three times its branch, and no norm.")
def residual_blocks_that_grow():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.blocks = nnx.List([nnx.Linear(12, 12, rngs=rngs) for _ in range(16)])
            self.head = nnx.Linear(12, 1, rngs=rngs)

        def __call__(self, x):
            for block in self.blocks:
                x = x + 3.0 * nnx.relu(block(x))
            return self.head(x)

    return nnx_case(Net(), mse, normal(1, 16, 12), normal(2, 16, 1))


@sick("nan_forward", OPEN, "The entropy p log p of probabilities that are exactly 0: 0 times -inf.")
def entropy_of_zeros():
    class Net(nnx.Module):
        def __init__(self):
            self.body = MLP(5, 8, 6)

        def __call__(self, x):
            h = nnx.relu(self.body(x))
            p = h / (h.sum(-1, keepdims=True) + 1e-3)
            return -(p * jnp.log(p)).sum(-1)

    return nnx_case(Net(), mse, normal(1, 16, 5), uniform(2, 16))


@sick("nan_backward", ASIDE, "An empty document is embedded as 0, and then divided by its norm: sqrt at 0.")
def norm_of_an_empty_document():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.embed = nnx.Linear(9, 12, use_bias=False, rngs=rngs)
            self.last = nnx.Linear(12, 1, rngs=rngs)

        def __call__(self, x):
            h = self.embed(x)
            return self.last(h / (1e-3 + jnp.sqrt((h**2).sum(-1, keepdims=True))))

    words = integers(1, 3, 16, 9).astype(jnp.float32).at[6].set(0.0)
    return nnx_case(Net(), mse, words, normal(2, 16, 1))


@sick(
    "overflow",
    OPEN,
    "A variance is exp of an output that is not bounded: exp(200) is inf.",
    ["nan_forward", "nan_backward", "unscaled"],
)
def exponential_of_an_output():
    def loss(out, y):
        mean, variance = out[:, 0], 1e-3 + jnp.exp(out[:, 1] ** 2)
        return jnp.mean((y - mean) ** 2 / variance + jnp.log(variance))

    return nnx_case(MLP(5, 16, 2, phi=nnx.relu), loss, normal(1, 24, 5, scale=40.0), normal(2, 24))


@sick("underflow", ASIDE, "Radial units exp(-|x - c|²) in 128 dimensions: every one is 0 in float32.")
def radial_units_far_away():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.centers = nnx.Param(normal(3, 10, 128))
            self.head = nnx.Linear(10, 1, rngs=rngs)

        def __call__(self, x):
            square = ((x[:, None] - self.centers[...][None]) ** 2).sum(-1)
            return self.head(jnp.exp(-square))

    return nnx_case(Net(), mse, normal(1, 24, 128), normal(2, 24, 1))


@sick("clipped", OPEN, "A hard clip at 0.05 inside the net stops nearly every delta.")
def hidden_values_clipped():
    net = MLP(6, 24, 3, phi=lambda a: jnp.clip(a, -0.05, 0.05))
    return nnx_case(net, cross_entropy, normal(1, 32, 6), integers(2, 3, 32))


@sick("unused", ASIDE, "A norm layer is made in the constructor and forgotten in the call.")
def forgotten_norm():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.first, self.norm = nnx.Linear(5, 16, rngs=rngs), nnx.LayerNorm(16, rngs=rngs)
            self.last = nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.first(x)))

    return nnx_case(Net(), cross_entropy, normal(1, 32, 5), integers(2, 3, 32))


@sick("cut", OPEN, "A threshold h > 0 makes the hidden units 0 and 1: no derivative passes it.")
def binary_hidden_units():
    net = MLP(5, 16, 3, phi=lambda a: (a > 0).astype(jnp.float32))
    return nnx_case(net, cross_entropy, normal(1, 32, 5), integers(2, 3, 32))


@sick("identical", OPEN, "A regression whose kernels all start from the constant 0.5.")
def constant_hidden_layer():
    net = MLP(4, 10, 1, kernel_init=nnx.initializers.constant(0.5))
    return nnx_case(net, mse, normal(1, 32, 4), normal(2, 32, 1))


@sick(
    "constant_input",
    ASIDE,
    "Images were divided by 255 as whole numbers: nothing but zeros is left.",
    ["dead", "ignored_examples"],
)
def images_of_zeros():
    x = (integers(1, 255, 16, 30) // 255).astype(jnp.float32)
    return nnx_case(MLP(30, 16, 3), cross_entropy, x, integers(2, 3, 16))


@sick("duplicate_input", OPEN, "The feature matrix was pasted beside itself.")
def table_beside_itself():
    x = normal(1, 40, 5)
    return nnx_case(MLP(10, 8, 2), cross_entropy, jnp.concatenate([x, x], axis=1), integers(2, 2, 40))


@sick(
    "unscaled",
    ASIDE,
    "House areas in square feet and years of construction enter a tanh net.",
    ["saturated", "duplicate_input", "vanishing"],
)
def area_and_year():
    area, year = uniform(1, 32, 1, low=600, high=4000), uniform(2, 32, 1, low=1900, high=2020)
    net = MLP(2, 16, 1)
    return nnx_case(net, mse, jnp.concatenate([area, jnp.round(year)], 1), normal(3, 32, 1))


@sick(
    "wrong_axis", OPEN, "LayerNorm reduces the axis of the examples: each prediction depends on the others."
)
def layer_norm_over_the_batch():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.first, self.last = nnx.Linear(5, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)
            self.norm = nnx.LayerNorm(16, reduction_axes=0, feature_axes=-1, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.norm(self.first(x))))

    return nnx_case(Net(), cross_entropy, normal(1, 24, 5), integers(2, 3, 24))


@sick(
    "size_one", ASIDE, "Group norm with as many groups as features: each group is one number, minus itself."
)
def group_norm_of_single_features():
    class Net(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.first, self.last = nnx.Linear(5, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
            self.norm = nnx.GroupNorm(8, num_groups=8, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.tanh(self.norm(self.first(x))))

    return nnx_case(Net(), cross_entropy, normal(1, 24, 5), integers(2, 3, 24))


@sick("double_squash", OPEN, "A sigmoid ends the net, and the loss takes logits.")
def sigmoid_before_a_loss_of_logits():
    net = MLP(5, 16, 1, phi=nnx.relu, out=nnx.sigmoid)
    y = integers(2, 2, 32).astype(jnp.float32)
    return nnx_case(net, lambda z, y: binary_cross_entropy(z[:, 0], y), normal(1, 32, 5), y)


@sick(
    "broadcast",
    ASIDE,
    "Weights (N,) times losses (N, 1) are an (N, N) matrix: every weight meets every loss.",
)
def weights_against_a_column_of_losses():
    def loss(out, y, w):
        return jnp.mean(w * (out - y) ** 2)

    return nnx_case(MLP(5, 8, 1), loss, normal(1, 24, 5), normal(2, 24, 1), uniform(3, 24, low=0.2, high=2))


@sick(
    "ignored_examples", OPEN, "A Python loop over the examples overwrites the loss: only the last one counts."
)
def loop_that_overwrites_the_loss():
    def loss(logits, y):
        total = 0.0
        for i in range(len(y)):
            total = optax.softmax_cross_entropy_with_integer_labels(logits[i], y[i])
        return total

    return nnx_case(MLP(5, 8, 3), loss, normal(1, 12, 5), integers(2, 3, 12))


@sick("output_range", ASIDE, "Softmax ends a regression whose targets are counts of 2 to 20.")
def softmax_for_counts():
    y = (integers(2, 19, 32, 4) + 2).astype(jnp.float32)
    return nnx_case(MLP(5, 16, 4, out=nnx.softmax), mse, normal(1, 32, 5), y)


@sick("mask", OPEN, "The loss of a tagger counts the padding and leaves out the words.", ["ignored_examples"])
def loss_mask_inverted():
    class Tagger(nnx.Module):
        def __init__(self):
            rngs = rngs_of(0)
            self.embed, self.head = nnx.Embed(12, 8, rngs=rngs), nnx.Linear(8, 4, rngs=rngs)

        def __call__(self, tokens):
            return self.head(nnx.tanh(self.embed(tokens)))

    def loss(logits, mask, y):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        padding = 1.0 - mask
        return (losses * padding).sum() / padding.sum()

    mask = (jnp.arange(8)[None] < integers(5, 4, 16)[:, None] + 3).astype(jnp.float32)
    tokens = jnp.where(mask > 0, integers(1, 11, 16, 8) + 1, 0)
    labels = jnp.where(mask > 0, integers(2, 3, 16, 8) + 1, 0)
    return nnx_case(Tagger(), loss, tokens, mask, labels)


@sick("tiny_denominator", ASIDE, "The error is divided by targets of about 1e-8.", ["exploding", "dominated"])
def error_relative_to_tiny_targets():
    def loss(out, y):
        return jnp.mean(jnp.abs((out - y) / y))

    return nnx_case(MLP(5, 8, 1), loss, normal(1, 24, 5), uniform(2, 24, 1, low=1e-8, high=3e-8))


@sick("reduction", OPEN, "Squared errors are summed over a batch of 64 and 8 outputs.")
def sum_over_batch_and_outputs():
    net = MLP(5, 16, 8, phi=nnx.relu)
    return nnx_case(net, lambda out, y: ((out - y) ** 2).sum(), normal(1, 64, 5), normal(2, 64, 8))


@sick("label_range", OPEN, "Labels are -1 and 1 where the binary cross-entropy expects 0 and 1.")
def labels_of_minus_one_and_one():
    y = 2.0 * integers(2, 2, 32) - 1.0
    return nnx_case(MLP(5, 8, 1), lambda z, y: binary_cross_entropy(z[:, 0], y), normal(1, 32, 5), y)


@sick("dominated", ASIDE, "One row of the features was not divided by its unit: it is 500 times as large.")
def one_row_in_another_unit():
    x = normal(1, 32, 5).at[9].multiply(500.0)
    return nnx_case(MLP(5, 1), mse, x, normal(2, 32, 1))
