"""Models that a rule accused once, or passed over: each of a kind, with a cousin where there is one."""

import jax
import jax.numpy as jnp
import numpy as np

from .record import ASIDE, Model, cross_entropy, dense, forward, integers, mse, normal, registering, uniform

MODELS: list[Model] = []
sick, healthy = registering("plain", MODELS)


def standard(x):
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


@healthy(ASIDE, "Each of six heads predicts in its own unit, from tenths to tens of thousands.")
def heads_in_their_own_units():
    units = 10.0 ** jnp.arange(-1, 5)

    def f(p, x, y):
        h = forward(p["body"], x, jax.nn.relu)
        out = jnp.concatenate([jax.nn.relu(h) @ head for head in p["heads"]], 1)
        return jnp.mean(((out - y) / units) ** 2)

    heads = [normal(k, 16, 1, scale=float(u) / 4) for k, u in enumerate(units)]
    batch = normal(301, 24, 6), normal(302, 24, 6) * units
    return f, {"body": dense(300, 6, 16, 16), "heads": heads}, batch


@healthy(ASIDE, "Weights grow from layer to layer, and a norm after each undoes it.")
def large_weights_before_norms():
    def f(p, x, y):
        for k in range(6):
            x = jax.nn.relu(standard(x @ p["hidden"][k]))
        return cross_entropy(x @ p["out"], y)

    hidden = [normal(310 + k, 8 if k == 0 else 16, 16, scale=0.25 * 4.0**k) for k in range(6)]
    params = {"hidden": hidden, "out": normal(316, 16, 4, scale=0.25)}
    return f, params, (normal(317, 24, 8), integers(318, 4, 24))


@healthy(ASIDE, "The gate of each block and the last layer are 0 at the start; the last layer moves first.")
def gates_and_last_layer_of_zeros():
    def f(p, x, t, y):
        c, h = jnp.tanh(t @ p["time"]), x @ p["enter"]
        for block in p["blocks"]:
            h = h + (c @ block["gate"]) * (jax.nn.gelu(standard(h) @ block["up"]) @ block["down"])
        return mse(standard(h) @ p["leave"], y)

    blocks = [
        {"up": normal(320 + k, 12, 24, scale=0.3), "down": normal(330 + k, 24, 12, scale=0.2),
         "gate": jnp.zeros((6, 12))}
        for k in range(3)
    ]  # fmt: skip
    params = {"time": normal(340, 2, 6), "enter": normal(341, 5, 12, scale=0.4), "blocks": blocks,
              "leave": jnp.zeros((12, 5))}  # fmt: skip
    return f, params, (normal(342, 24, 5), normal(343, 24, 2), normal(344, 24, 5))


@healthy(ASIDE, "Instances of a bag are averaged with weights of an attention over them, written as a sum.")
def bag_of_instances():
    def f(p, bag, y):
        weights = jax.nn.softmax(jnp.tanh(bag @ p["V"]) @ p["w"], axis=0)
        return jnp.mean(jax.nn.softplus(-y * (jnp.sum(weights * bag, 0) @ p["out"])))

    params = {"V": normal(350, 6, 8, scale=0.5), "w": normal(351, 8, 1, scale=0.3), "out": normal(352, 6, 1)}
    return f, params, (normal(353, 24, 6), jnp.float32(1.0))


@sick("wrong_axis", ASIDE, "The weights of places sum to 1 over the examples; places are summed over.")
def places_weighed_over_the_examples():
    def f(p, x, y):
        weights = jax.nn.softmax(x @ p["w"], axis=0)
        return cross_entropy(jnp.sum(weights * x, 1) @ p["out"], y)

    params = {"w": normal(354, 6, 1), "out": normal(355, 6, 3)}
    return f, params, (normal(356, 24, 5, 6), integers(357, 3, 24))


@healthy(ASIDE, "Codes are balanced over the batch, behind stop_gradient, and are the targets.")
def balanced_codes():
    def f(p, x, other):
        codes = jnp.exp(forward(p, other, jnp.tanh) / 0.5)
        for _ in range(2):
            codes = codes / codes.sum(0, keepdims=True)
            codes = codes / codes.sum(1, keepdims=True)
        log_p = jax.nn.log_softmax(forward(p, x, jnp.tanh))
        return -jnp.mean(jnp.sum(jax.lax.stop_gradient(codes) * log_p, -1))

    x = normal(360, 24, 6)
    return f, dense(361, 6, 16, 5), (x, x + 0.1 * normal(362, 24, 6))


@healthy(ASIDE, "A sum over the batch whose weights, a softmax of the advantages, sum to 1.")
def weighted_by_advantages():
    def f(p, x, action, reward):
        log_p = jax.nn.log_softmax(forward(p, x, jnp.tanh))
        return -jnp.sum(jax.nn.softmax(reward) * log_p[jnp.arange(len(action)), action])

    return f, dense(365, 6, 16, 3), (normal(366, 24, 6), integers(367, 3, 24), normal(368, 24))


@healthy(ASIDE, "The branches of a residual net start at 1e-5 of their size; the data pass beside them.")
def branches_scaled_down():
    def f(p, x, y):
        for block in p["blocks"]:
            x = x + block["scale"] * (jax.nn.gelu(x @ block["up"]) @ block["down"])
        return cross_entropy(x @ p["out"], y)

    blocks = [
        {"up": normal(370 + k, 8, 16, scale=0.3), "down": normal(380 + k, 16, 8, scale=0.2),
         "scale": jnp.full(8, 1e-5)}
        for k in range(3)
    ]  # fmt: skip
    params = {"blocks": blocks, "out": normal(390, 8, 4, scale=0.3)}
    return f, params, (normal(391, 24, 8), integers(392, 4, 24))


def guarded_log_loss(sign):
    def f(p, x, y):
        q = jnp.clip(jax.nn.sigmoid(x @ p["w"])[:, 0], 1e-7, 1 - 1e-7)
        return -jnp.mean(y * jnp.log(q) + (1 - y) * jnp.log(1 - q))

    y = jnp.arange(24) % 2
    x = normal(393, 24, 3, scale=0.1).at[:, 0].add(3.0 * (2 * y - 1))
    return f, {"w": jnp.array([[9.0 * sign], [0.0], [0.0]])}, (x, y.astype(jnp.float32))


@healthy(ASIDE, "A trained net is sure and right; its probabilities are clipped to guard the logarithm.")
def sure_and_guarded():
    return guarded_log_loss(1)


@sick("clipped", ASIDE, "A net is sure and wrong; the guard of the logarithm keeps it so.", ["saturated"])
def wrong_and_guarded():
    return guarded_log_loss(-1)


@healthy(ASIDE, "Images with a black frame, laid out in a row; every pixel within it is gray.")
def framed_images_in_a_row():
    def f(p, x, y):
        return cross_entropy(forward(p, x, jax.nn.relu), y)

    x = jnp.zeros((24, 8, 8)).at[:, 2:6, 2:6].set(uniform(395, 24, 4, 4))
    return f, dense(396, 64, 16, 4), (x.reshape(24, 64), integers(397, 4, 24))


@healthy(ASIDE, "Six of twenty nodes have labels; the others reach the loss through their neighbors.")
def graph_with_few_labels():
    def f(p, x, pairs, y, known):
        logits = pairs @ jax.nn.relu(pairs @ x @ p["W"]) @ p["V"]
        log_p = jax.nn.log_softmax(logits)[jnp.arange(20), y]
        return -jnp.sum(log_p * known) / known.sum()

    edges = np.asarray(uniform(400, 20, 20)) < 0.2
    pairs = jnp.asarray((edges | edges.T | np.eye(20, dtype=bool)) / 4.0, jnp.float32)
    params = {"W": normal(401, 6, 16, scale=0.4), "V": normal(402, 16, 3, scale=0.3)}
    known = (jnp.arange(20) < 6).astype(jnp.float32)
    return f, params, (normal(403, 20, 6), pairs, integers(404, 3, 20), known)


@healthy(ASIDE, "A Gaussian likelihood whose scale the net gives: the example it is sure of weighs most.")
def sure_of_one_example():
    def f(p, x, y):
        mean, scale = jnp.split(x @ p["W"] + jnp.array([0.0, 1.0]), 2, -1)
        scale = jax.nn.softplus(scale) + 1e-3
        return jnp.mean(jnp.log(scale) + 0.5 * ((y - mean) / scale) ** 2)

    x = normal(406, 24, 4).at[3, 1].set(-2.2)
    return f, {"W": jnp.zeros((4, 2)).at[1, 1].set(2.5)}, (x, normal(407, 24, 1))


@sick("underflow", ASIDE, "A product of probabilities is taken in float32 and stored in half precision.")
def product_stored_in_half_precision():
    def f(p, x):
        q = 0.02 * jax.nn.sigmoid(forward(p, x.astype(jnp.float16), jnp.tanh))
        return -jnp.mean(jnp.prod(q, -1))

    params = jax.tree.map(lambda w: w.astype(jnp.float16), dense(408, 6, 16, 6))
    return f, params, (normal(409, 24, 6),)
