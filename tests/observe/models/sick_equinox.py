"""Sick models in Equinox."""

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

MODELS: list[Model] = []
sick, healthy = registering("equinox", MODELS)
KEYS = jax.random.split(jax.random.key(0, impl="rbg"), 4)


def mlp(inputs, outputs, width=16, depth=1, activation=jax.nn.tanh, **options):
    return eqx.nn.MLP(inputs, outputs, width, depth, activation, key=KEYS[0], **options)


@sick(
    "saturated",
    ASIDE,
    "Every gate of an LSTM has a bias of 30: all of them stay open, nothing is chosen.",
    ["exploding", "vanishing"],
)
def lstm_gates_held_open():
    class Net(eqx.Module):
        cell: eqx.nn.LSTMCell
        head: eqx.nn.Linear

        def __call__(self, x):
            h = (jnp.zeros(8), jnp.zeros(8))
            h, _ = jax.lax.scan(lambda h, x: (self.cell(x, h), None), h, x)
            return self.head(h[0])

    cell = eqx.nn.LSTMCell(4, 8, key=KEYS[0])
    cell = eqx.tree_at(lambda c: c.bias, cell, jnp.full(32, 30.0))
    return equinox_case(
        Net(cell, eqx.nn.Linear(8, 2, key=KEYS[1])), cross_entropy, normal(1, 12, 8, 4), integers(2, 2, 12)
    )


@sick("dead", OPEN, "A step far too large left biases of about -1000 in an MLP of relus.")
def biases_after_a_huge_step():
    net = mlp(6, 3, depth=2, activation=jax.nn.relu)
    net = eqx.tree_at(lambda m: m.layers[1].bias, net, -1000 - 100 * uniform(3, 16))
    return equinox_case(net, cross_entropy, normal(1, 32, 6), integers(2, 3, 32))


@sick("vanishing", ASIDE, "A Python loop of 40 steps through a linear layer of weights below 0.1 and a tanh.")
def python_loop_that_forgets():
    class Net(eqx.Module):
        inward: eqx.nn.Linear
        across: eqx.nn.Linear
        head: eqx.nn.Linear

        def __call__(self, x):
            h = jnp.zeros(8)
            for t in range(x.shape[0]):
                h = jnp.tanh(self.inward(x[t]) + self.across(h))
            return self.head(h)

    across = eqx.nn.Linear(8, 8, key=KEYS[1])
    across = eqx.tree_at(lambda m: m.weight, across, normal(5, 8, 8, scale=0.05))
    net = Net(eqx.nn.Linear(3, 8, key=KEYS[0]), across, eqx.nn.Linear(8, 1, key=KEYS[2]))
    return equinox_case(net, mse, normal(1, 12, 40, 3), normal(2, 12, 1))


@sick("exploding", OPEN, "A Python loop of 30 linear steps, each of which doubles the state.")
def python_loop_that_doubles():
    class Net(eqx.Module):
        inward: eqx.nn.Linear
        across: eqx.nn.Linear
        head: eqx.nn.Linear

        def __call__(self, x):
            h = jnp.zeros(6)
            for t in range(x.shape[0]):
                h = self.inward(x[t]) + self.across(h)
            return self.head(h)

    across = eqx.tree_at(lambda m: m.weight, eqx.nn.Linear(6, 6, key=KEYS[1]), 2.0 * jnp.eye(6))
    net = Net(eqx.nn.Linear(3, 6, key=KEYS[0]), across, eqx.nn.Linear(6, 1, key=KEYS[2]))
    return equinox_case(net, mse, normal(1, 12, 30, 3), normal(2, 12, 1))


@sick("nan_forward", ASIDE, "The mean over the valid steps of an example that has none: 0 / 0.", ["mask"])
def mean_over_no_steps():
    net = mlp(4, 4)
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def f(params, x, mask, y):
        h = jax.vmap(jax.vmap(eqx.combine(params, static)))(x)
        h = (h * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return mse(h, y)

    mask = jnp.ones((12, 5)).at[4].set(0.0).at[2, 3:].set(0.0)
    return f, params, (normal(1, 12, 5, 4), mask, normal(2, 12, 4))


@sick("nan_backward", OPEN, "The standard deviation of values that are all equal: sqrt at 0.")
def deviation_of_equal_values():
    class Net(eqx.Module):
        first: eqx.nn.Linear
        last: eqx.nn.Linear

        def __call__(self, x):
            h = self.first(x)
            return self.last(h) + jnp.sqrt(jnp.mean((h - h.mean()) ** 2))

    first = eqx.tree_at(
        lambda m: m.weight, eqx.nn.Linear(5, 8, use_bias=False, key=KEYS[0]), jnp.zeros((8, 5))
    )
    return equinox_case(Net(first, eqx.nn.Linear(8, 1, key=KEYS[1])), mse, normal(1, 16, 5), normal(2, 16, 1))


@sick(
    "overflow",
    ASIDE,
    "A Poisson loss takes exp of a rate that unscaled inputs drive beyond 88.",
    ["unscaled", "dominated", "nan_forward", "nan_backward"],
)
def poisson_of_unscaled_inputs():
    def loss(rate, y):
        return jnp.mean(jnp.exp(rate[:, 0]) - y * rate[:, 0])

    x = uniform(1, 24, 4, low=0, high=2000)
    return equinox_case(eqx.nn.Linear(4, 1, key=KEYS[0]), loss, x, integers(2, 9, 24).astype(jnp.float32))


@sick(
    "underflow",
    OPEN,
    "The likelihood of targets that are 500 deviations away is 0 in float32, and so is every delta.",
    ["vanishing"],
)
def likelihood_of_far_targets():
    def loss(out, y):
        likelihood = jnp.exp(-0.5 * ((out[:, 0] - y) / 0.01) ** 2)  # e^-5000 and less
        return -jnp.mean(jnp.log(likelihood + 1e-20))

    return equinox_case(mlp(5, 1), loss, normal(1, 24, 5), 5.0 + normal(2, 24))


@sick("clipped", ASIDE, "The loss of each example is cut off at 0.6, below which none of them is.")
def losses_cut_off():
    def loss(logits, y):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.mean(jnp.minimum(losses, 0.6))

    return equinox_case(mlp(5, 4), loss, normal(1, 32, 5), integers(2, 4, 32))


@sick("unused", OPEN, "A second branch is computed, and its result is never added.")
def branch_never_added():
    class Net(eqx.Module):
        left: eqx.nn.Linear
        right: eqx.nn.Linear
        head: eqx.nn.Linear

        def __call__(self, x):
            h = jnp.tanh(self.left(x))
            jnp.tanh(self.right(x))
            return self.head(h)

    net = Net(*[eqx.nn.Linear(5, 8, key=k) for k in KEYS[:2]], eqx.nn.Linear(8, 3, key=KEYS[2]))
    return equinox_case(net, cross_entropy, normal(1, 32, 5), integers(2, 3, 32))


@sick(
    "cut", ASIDE, "Tokens are chosen by argmax inside the net and embedded again: the first layer is cut off."
)
def tokens_chosen_by_argmax():
    class Net(eqx.Module):
        choose: eqx.nn.Linear
        embed: eqx.nn.Embedding
        head: eqx.nn.Linear

        def __call__(self, x):
            return self.head(self.embed(jnp.argmax(self.choose(x))))

    net = Net(
        eqx.nn.Linear(5, 6, key=KEYS[0]),
        eqx.nn.Embedding(6, 8, key=KEYS[1]),
        eqx.nn.Linear(8, 3, key=KEYS[2]),
    )
    return equinox_case(net, cross_entropy, normal(1, 32, 5), integers(2, 3, 32))


@sick("detached_state", OPEN, "A GRU's state is detached at each step of a Python loop, truncated too hard.")
def gru_with_detached_state():
    class Net(eqx.Module):
        cell: eqx.nn.GRUCell
        head: eqx.nn.Linear

        def __call__(self, x):
            h = jnp.zeros(8)
            for t in range(x.shape[0]):
                h = self.cell(x[t], jax.lax.stop_gradient(h))
            return self.head(h)

    net = Net(eqx.nn.GRUCell(4, 8, key=KEYS[0]), eqx.nn.Linear(8, 1, key=KEYS[1]))
    return equinox_case(net, mse, normal(1, 12, 9, 4), normal(2, 12, 1))


@sick("identical", ASIDE, "Every parameter was set to 0.2 by a tree_map.")
def tree_map_of_a_constant():
    net = jax.tree.map(lambda w: jnp.full_like(w, 0.2) if eqx.is_inexact_array(w) else w, mlp(5, 2, depth=2))
    return equinox_case(net, mse, normal(1, 32, 5), normal(2, 32, 2))


@sick("constant_input", OPEN, "Every feature but one was replaced by its mean over the batch.")
def features_replaced_by_their_mean():
    x = normal(1, 32, 7) + 0.5
    x = jnp.broadcast_to(x.mean(0), x.shape).at[:, 0].set(x[:, 0])
    return equinox_case(mlp(7, 1), mse, x, normal(2, 32, 1))


@sick(
    "duplicate_input", ASIDE, "np.repeat stands where np.tile of the rows was meant: columns come in fours."
)
def columns_in_fours():
    x = jnp.repeat(normal(1, 32, 3), 4, axis=1)
    return equinox_case(mlp(12, 3), cross_entropy, x, integers(2, 3, 32))


@sick(
    "unscaled",
    OPEN,
    "Unix times of 2023 go into the net as they are.",
    [
        "saturated",
        "vanishing",
        "exploding",
        "constant_input",
        "identical",
        "dominated",
        "cut",
        "duplicate_input",
    ],
)
def unix_times():
    x = jnp.concatenate([uniform(1, 32, 1, low=1.67e9, high=1.7e9), normal(2, 32, 2)], 1)
    return equinox_case(mlp(3, 1), mse, x, normal(3, 32, 1))


@sick("wrong_axis", ASIDE, "The softmax of the class scores of a batch is taken over axis 0 outside of vmap.")
def softmax_outside_of_vmap():
    def loss(logits, y):
        p = jax.nn.softmax(logits, axis=0)
        return -jnp.mean(jnp.log(p[jnp.arange(len(y)), y] + 1e-9))

    return equinox_case(mlp(5, 4), loss, normal(1, 24, 5), integers(2, 4, 24))


@sick("size_one", OPEN, "LayerNorm after a bottleneck of one unit: its output is always the bias.")
def layer_norm_after_a_bottleneck():
    net = eqx.nn.Sequential(
        [
            eqx.nn.Linear(5, 1, key=KEYS[0]),
            eqx.nn.LayerNorm(1),
            eqx.nn.Linear(1, 8, key=KEYS[1]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Linear(8, 3, key=KEYS[2]),
        ]
    )
    return equinox_case(net, cross_entropy, normal(1, 32, 5), integers(2, 3, 32))


@sick("double_squash", ASIDE, "A softmax is the last layer, and the loss takes log_softmax.")
def softmax_as_the_last_layer():
    net = eqx.nn.Sequential([mlp(5, 4), eqx.nn.Lambda(jax.nn.softmax)])
    return equinox_case(net, cross_entropy, normal(1, 32, 5), integers(2, 4, 32))


@sick("broadcast", OPEN, "A vmapped scalar net gives (N,), and the targets are a column (N, 1).")
def row_against_column():
    return equinox_case(mlp(5, "scalar"), mse, normal(1, 20, 5), normal(2, 20, 1))


@sick(
    "ignored_examples",
    ASIDE,
    "Three of four examples have weight 0 in the loss: the weights were made wrong.",
)
def weights_mostly_zero():
    def loss(out, y):
        weights = (jnp.arange(len(y)) % 4 == 0).astype(jnp.float32)
        return jnp.sum(weights * (out[:, 0] - y) ** 2) / weights.sum()

    return equinox_case(mlp(5, 1), loss, normal(1, 24, 5), normal(2, 24))


@sick("output_range", OPEN, "tanh ends the net, and the targets are temperatures of 10 to 30 degrees.")
def tanh_for_temperatures():
    net = mlp(5, 1, final_activation=jnp.tanh)
    return equinox_case(net, mse, normal(1, 32, 5), uniform(2, 32, 1, low=10, high=30))


@sick(
    "mask",
    ASIDE,
    "Scores of padding get +1e9 instead of -1e9: every query looks at the padding.",
    ["saturated", "constant_input"],
)
def mask_of_the_wrong_sign():
    class Net(eqx.Module):
        q: eqx.nn.Linear
        k: eqx.nn.Linear
        v: eqx.nn.Linear
        head: eqx.nn.Linear

        def __call__(self, x, mask):
            scores = jax.vmap(self.q)(x) @ jax.vmap(self.k)(x).T / 8**0.5
            weights = jax.nn.softmax(scores + (1 - mask)[None, :] * 1e9, axis=-1)
            return self.head((weights @ jax.vmap(self.v)(x)).mean(0))

    net = Net(*[eqx.nn.Linear(6, 8, key=k) for k in KEYS[:3]], eqx.nn.Linear(8, 2, key=KEYS[3]))
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def f(params, x, mask, y):
        return cross_entropy(jax.vmap(eqx.combine(params, static))(x, mask), y)

    mask = (jnp.arange(6)[None] < integers(5, 3, 12)[:, None] + 3).astype(jnp.float32)
    return f, params, (normal(1, 12, 6, 6) * mask[..., None], mask, integers(2, 2, 12))


@sick(
    "tiny_denominator",
    OPEN,
    "Cosine similarity of vectors of length 1e-10, with 1e-30 under the fraction.",
    ["exploding"],
)
def cosine_of_tiny_vectors():
    def loss(z, y):
        norms = jnp.sqrt((z**2).sum(-1) + 1e-30)
        cosine = (z * y).sum(-1) / (norms * jnp.sqrt((y**2).sum(-1)))
        return jnp.mean(1 - cosine)

    net = eqx.nn.Linear(5, 4, use_bias=False, key=KEYS[0])
    net = eqx.tree_at(lambda m: m.weight, net, normal(3, 4, 5, scale=1e-10))
    return equinox_case(net, loss, normal(1, 24, 5), normal(2, 24, 4))


@sick("reduction", ASIDE, "Losses are added up in a Python loop over 48 examples, never divided.")
def losses_added_up():
    def loss(out, y):
        return sum((out[i, 0] - y[i]) ** 2 for i in range(len(y)))

    return equinox_case(mlp(5, 1), loss, normal(1, 48, 5), normal(2, 48))


@sick("one_class", OPEN, "The one-hot labels of the whole batch name class 1.")
def one_hot_labels_of_one_class():
    def loss(logits, y):
        return optax.softmax_cross_entropy(logits, y).mean()

    return equinox_case(mlp(5, 3), loss, normal(1, 32, 5), jax.nn.one_hot(jnp.ones(32, int), 3))


@sick("label_range", ASIDE, "Labels are 1 and 2 where the binary cross-entropy expects 0 and 1.")
def labels_of_one_and_two():
    y = integers(2, 2, 32) + 1.0
    return equinox_case(mlp(5, 1), lambda z, y: binary_cross_entropy(z[:, 0], y), normal(1, 32, 5), y)


@sick("dominated", OPEN, "The exponential loss of one mislabelled, far example outweighs all others.")
def exponential_loss_of_one_outlier():
    def loss(out, y):
        return jnp.mean(jnp.exp(-y * out[:, 0]))

    x = normal(1, 32, 3)
    x = x.at[5].set(jnp.array([8.0, 8.0, 8.0]))
    net = eqx.tree_at(lambda m: m.weight, eqx.nn.Linear(3, 1, key=KEYS[0]), jnp.full((1, 3), 0.6))
    y = jnp.where(x.sum(1) > 0, 1.0, -1.0).at[5].set(-1.0)
    return equinox_case(net, loss, x, y)
