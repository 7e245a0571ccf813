"""Sick models in Flax Linen."""

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

MODELS: list[Model] = []
sick, healthy = registering("linen", MODELS)
large = nn.initializers.normal(4.0)


class MLP(nn.Module):
    """Dense layers with an activation between them, and an output function."""

    sizes: tuple
    phi: object = nn.tanh
    out: object = staticmethod(lambda x: x)
    kernel_init: object = nn.initializers.lecun_normal()
    bias_init: object = nn.initializers.zeros
    dtype: object = None

    @nn.compact
    def __call__(self, x):
        layer = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        for size in self.sizes[:-1]:
            x = self.phi(nn.Dense(size, bias_init=self.bias_init, **layer)(x))
        return self.out(nn.Dense(self.sizes[-1], **layer)(x))


@sick(
    "saturated", ASIDE, "Kernels drawn with standard deviation 4 push every tanh to -1 or 1.", ["vanishing"]
)
def tanh_of_large_kernels():
    net = MLP((32, 32, 3), kernel_init=large)
    return linen_case(net, cross_entropy, normal(1, 32, 10), integers(2, 3, 32))


@sick("dead", OPEN, "A bias of -10 keeps every channel of the first convolution at zero.")
def convolution_with_biases_of_minus_10():
    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(8, (3, 3), bias_init=nn.initializers.constant(-10.0))(x))
            return nn.Dense(3)(x.mean((1, 2)))

    return linen_case(CNN(), cross_entropy, normal(1, 16, 6, 6, 1), integers(2, 3, 16))


@sick("dead", OPEN, "Inputs are 0..1 and every weight is negative, as after one step that was too large.")
def relu_with_negative_weights():
    def negative(key, shape, dtype=jnp.float32):
        return -jnp.abs(jax.random.normal(key, shape, dtype))

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.relu(nn.Dense(16, kernel_init=negative)(x)))

    return linen_case(Net(), mse, uniform(1, 24, 6), normal(2, 24, 1))


@sick("vanishing", ASIDE, "A recurrent kernel drawn with standard deviation 0.05 forgets in a few steps.")
def rnn_with_tiny_kernel():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.SimpleCell(8, recurrent_kernel_init=nn.initializers.normal(0.05))
            return nn.Dense(2)(nn.RNN(cell)(x)[:, -1])

    return linen_case(Net(), cross_entropy, normal(1, 16, 30, 4), integers(2, 2, 16))


@sick("exploding", OPEN, "An orthogonal recurrent kernel times 1.3 without a squashing function, 50 steps.")
def relu_rnn_that_grows():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.initializers.orthogonal(1.3)
            cell = nn.SimpleCell(8, recurrent_kernel_init=init, activation_fn=lambda a: a)
            return nn.Dense(1)(nn.RNN(cell)(x)[:, -1])

    return linen_case(Net(), mse, normal(1, 16, 50, 4), normal(2, 16, 1))


@sick("nan_forward", ASIDE, "A row of zeros is divided by its norm: 0 / 0.", ["tiny_denominator"])
def zero_row_by_its_norm():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
            return MLP((16, 3))(x)

    return linen_case(Net(), cross_entropy, normal(1, 16, 5).at[4].set(0.0), integers(2, 3, 16))


@sick("nan_backward", OPEN, "The distance of two equal embeddings is 0, where the norm has no slope.")
def distance_of_equal_twins():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, pair):
            embed = MLP((8, 4))
            return jnp.linalg.norm(embed(pair[:, 0]) - embed(pair[:, 1]), axis=-1)

    pairs = normal(1, 16, 2, 5)
    pairs = pairs.at[3, 1].set(pairs[3, 0])
    return linen_case(Net(), mse, pairs, uniform(2, 16))


@sick(
    "overflow",
    ASIDE,
    "Squares of activations of 1000 do not fit into float16.",
    ["unscaled", "nan_backward", "nan_forward"],
)
def squares_in_float16():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(8, dtype=jnp.float16)(x)
            return nn.Dense(1, dtype=jnp.float16)(h * h)[:, 0]

    def loss(out, y):
        return jnp.mean((out.astype(jnp.float32) - y) ** 2)

    return linen_case(Net(), loss, normal(1, 16, 6, scale=1000.0), normal(2, 16))


@sick("underflow", OPEN, "Targets near 1e-6 in float16: the delta of the mean is below the smallest number.")
def tiny_errors_in_float16():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.tanh(nn.Dense(8, dtype=jnp.float16)(x))
            return nn.Dense(8, dtype=jnp.float16, kernel_init=nn.initializers.normal(1e-6))(h)

    y = normal(2, 64, 8, scale=1e-6).astype(jnp.float16)
    return linen_case(Net(), mse, normal(1, 64, 5).astype(jnp.float16), y)


@sick("clipped", ASIDE, "Outputs are clipped to 0..1, and the bias of 3 puts all of them above 1.")
def outputs_clipped():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.Dense(16)(x))
            return jnp.clip(nn.Dense(1, bias_init=nn.initializers.constant(3.0))(h), 0.0, 1.0)

    return linen_case(Net(), mse, normal(1, 32, 5), uniform(2, 32, 1))


@sick("unused", OPEN, "The net returns an auxiliary output, which the loss ignores.")
def auxiliary_head_ignored():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.relu(nn.Dense(16)(x))
            return nn.Dense(3, name="main")(h), nn.Dense(3, name="auxiliary")(h)

    return linen_case(Net(), lambda out, y: cross_entropy(out[0], y), normal(1, 32, 5), integers(2, 3, 32))


@sick("cut", ASIDE, "The code is rounded without a straight-through estimate: the encoder learns nothing.")
def rounded_code():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            code = jnp.round(4 * nn.sigmoid(nn.Dense(6, name="encoder")(x))) / 4
            return nn.Dense(5, name="decoder")(code)

    return linen_case(Net(), mse, normal(1, 32, 5), normal(1, 32, 5))


@sick("detached_state", OPEN, "The carry of a cell is detached at each turn of a Python loop.")
def loop_with_detached_carry():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            cell = nn.SimpleCell(8)
            h = jnp.zeros((x.shape[0], 8))
            for t in range(x.shape[1]):
                h, _ = cell(jax.lax.stop_gradient(h), x[:, t])
            return nn.Dense(1)(h)

    return linen_case(Net(), mse, normal(1, 16, 10, 4), normal(2, 16, 1))


@sick("identical", ASIDE, "Kernels are initialized to ones.", ["vanishing"])
def kernels_of_ones():
    net = MLP((8, 3), phi=nn.sigmoid, kernel_init=nn.initializers.ones)
    return linen_case(net, cross_entropy, normal(1, 32, 3, scale=0.5), integers(2, 3, 32))


@sick("constant_input", OPEN, "The loader yields the same image for every example.", ["ignored_examples"])
def same_image_always():
    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.tanh(nn.Conv(4, (3, 3))(x))
            return nn.Dense(3)(x.reshape(x.shape[0], -1))

    images = jnp.broadcast_to(normal(1, 1, 6, 6, 1), (16, 6, 6, 1))
    return linen_case(CNN(), cross_entropy, images, integers(2, 3, 16))


@sick("duplicate_input", ASIDE, "One column was read into all of eight features.")
def one_column_eight_times():
    x = jnp.repeat(normal(1, 32, 1), 8, axis=1)
    return linen_case(MLP((16, 1), phi=nn.relu), mse, x, normal(2, 32, 1))


@sick("unscaled", OPEN, "Pixels of 0..255 go to the first convolution as they are.", ["dominated"])
def pixels_of_bytes():
    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(8, (3, 3))(x))
            return nn.Dense(4)(x.mean((1, 2)))

    return linen_case(CNN(), cross_entropy, jnp.round(uniform(1, 16, 6, 6, 1, high=255)), integers(2, 4, 16))


@sick(
    "wrong_axis",
    ASIDE,
    "Attention takes its softmax over the queries: the weights of a query do not sum to 1.",
)
def softmax_over_the_queries():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            q, k, v = (nn.Dense(8, name=name)(x) for name in ("query", "key", "value"))
            weights = nn.softmax(jnp.einsum("nqd,nkd->nqk", q, k) / 8**0.5, axis=1)
            return nn.Dense(3, name="out")(jnp.einsum("nqk,nkd->nqd", weights, v).mean(1))

    return linen_case(Net(), cross_entropy, normal(1, 16, 6, 5), integers(2, 3, 16))


@sick("size_one", OPEN, "LayerNorm of a single feature: always zero, whatever comes in.")
def layer_norm_of_one_feature():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(1)(nn.tanh(nn.Dense(8)(x)))
            return nn.Dense(3)(nn.LayerNorm()(h))

    return linen_case(Net(), cross_entropy, normal(1, 32, 5), integers(2, 3, 32))


@sick("double_squash", ASIDE, "nn.softmax ends the net, and optax's loss takes logits.")
def probabilities_to_optax():
    net = MLP((16, 4), phi=nn.relu, out=nn.softmax)
    return linen_case(net, cross_entropy, normal(1, 32, 5), integers(2, 4, 32))


@sick("broadcast", OPEN, "Dense(1) gives (N, 1), the targets are (N,), and the absolute error is (N, N).")
def absolute_error_of_a_matrix():
    return linen_case(MLP((8, 1)), lambda out, y: jnp.abs(out - y).mean(), normal(1, 20, 5), normal(2, 20))


@sick("ignored_examples", ASIDE, "The loss reads only the first row of the logits, as a batch of one did.")
def first_example_only():
    def loss(logits, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits[0], y[0])

    return linen_case(MLP((8, 3)), loss, normal(1, 16, 5), integers(2, 3, 16))


@sick("output_range", OPEN, "A sigmoid ends the net, and the targets are gray values of 0..255.")
def sigmoid_output_byte_targets():
    net = MLP((16, 8), phi=nn.relu, out=nn.sigmoid)
    return linen_case(net, mse, normal(1, 32, 6), jnp.round(uniform(2, 32, 8, high=255)))


@sick(
    "mask",
    ASIDE,
    "The attention mask is True where there is padding: attention reads padding only.",
    ["constant_input", "ignored_examples"],
)
def attention_mask_inverted():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            padding = (mask == 0)[:, None, None, :]
            x = nn.MultiHeadDotProductAttention(2, bias_init=nn.initializers.normal(0.5))(x, x, mask=padding)
            return nn.Dense(3)((x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True))

    mask = (jnp.arange(6)[None] < integers(5, 3, 16)[:, None] + 3).astype(jnp.float32)
    x = normal(1, 16, 6, 8) * mask[..., None]
    net = Net()
    params = net.init(jax.random.key(0), x, mask)["params"]

    def f(params, x, mask, y):
        return cross_entropy(net.apply({"params": params}, x, mask), y)

    return f, params, (x, mask, integers(2, 3, 16))


@sick(
    "tiny_denominator",
    OPEN,
    "LayerNorm with epsilon 1e-18 of rows whose features differ by 1e-7.",
    ["exploding"],
)
def layer_norm_of_nearly_constant_rows():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(8, kernel_init=nn.initializers.normal(1e-8))(x)
            return nn.Dense(1)(nn.LayerNorm(epsilon=1e-18)(h))

    return linen_case(Net(), mse, normal(1, 16, 5), normal(2, 16, 1))


@sick("reduction", ASIDE, "Binary cross-entropies of a batch of 96 are summed over the batch.")
def binary_losses_summed():
    def loss(logits, y):
        return optax.sigmoid_binary_cross_entropy(logits[:, 0], y).sum()

    return linen_case(MLP((8, 1)), loss, normal(1, 96, 5), integers(2, 2, 96).astype(jnp.float32))


@sick("one_class", OPEN, "Every label of a two-class problem is 0: the positives were filtered out.")
def no_positives():
    net = MLP((8, 1), phi=nn.relu)
    return linen_case(net, lambda z, y: binary_cross_entropy(z[:, 0], y), normal(1, 48, 5), jnp.zeros(48))


@sick("label_range", ASIDE, "Labels reach 9, and the net has 8 outputs.", ["nan_forward"])
def more_labels_than_outputs():
    return linen_case(MLP((16, 8)), cross_entropy, normal(1, 40, 5), integers(2, 10, 40))


@sick("dominated", OPEN, "One example has a weight of 1e5 in the loss, by a slip in its unit.")
def one_example_weighs_too_much():
    def loss(logits, y, w):
        return jnp.mean(w * optax.softmax_cross_entropy_with_integer_labels(logits, y))

    return linen_case(
        MLP((8, 3)), loss, normal(1, 32, 5), integers(2, 3, 32), uniform(3, 32, low=0.5).at[11].set(1e5)
    )
