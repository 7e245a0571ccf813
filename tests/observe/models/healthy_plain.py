"""Healthy models in plain JAX, most of which look sick at first sight."""

import jax
import jax.numpy as jnp
import optax

from .record import (
    ASIDE,
    OPEN,
    Model,
    binary_cross_entropy,
    cross_entropy,
    dense,
    forward,
    integers,
    mse,
    normal,
    registering,
    uniform,
)

MODELS: list[Model] = []
sick, healthy = registering("plain", MODELS)


def standardized(h):
    return (h - h.mean(-1, keepdims=True)) * jax.lax.rsqrt(h.var(-1, keepdims=True) + 1e-5)


@healthy(OPEN, "Linear regression: there is nothing to be saturated or dead.")
def linear_regression():
    x = normal(1, 32, 5)
    return (
        lambda p, x, y: mse(x @ p["w"] + p["b"], y),
        {"w": jnp.zeros(5), "b": jnp.zeros(())},
        (x, x @ normal(2, 5) + 1.0),
    )


@healthy(ASIDE, "Logistic regression from zero: all weights are equal, and their gradients are not.")
def logistic_regression_from_zero():
    def f(params, x, y):
        return binary_cross_entropy(x @ params["w"] + params["b"], y)

    x = normal(1, 32, 6)
    return f, {"w": jnp.zeros(6), "b": jnp.zeros(())}, (x, (x[:, 0] + x[:, 1] > 0).astype(jnp.float32))


@healthy(OPEN, "A relu net of He's weights: about half of all activations are zero, no unit always.")
def relu_net():
    def f(params, x, y):
        return cross_entropy(forward(params, x, jax.nn.relu), y)

    return f, dense(0, 8, 24, 24, 3, scale=1.4), (normal(1, 64, 8), integers(2, 3, 64))


@healthy(ASIDE, "A tanh net with Xavier's weights and five layers.")
def tanh_net_of_five_layers():
    def f(params, x, y):
        return mse(forward(params, x, jnp.tanh), y)

    return f, dense(0, 8, 12, 12, 12, 12, 1), (normal(1, 32, 8), normal(2, 32, 1))


@healthy(OPEN, "LoRA: the base is frozen by stop_gradient on the parameters, and B starts from zero.")
def lora():
    def f(params, x, y):
        base = jax.lax.stop_gradient(params["base"])
        h = jnp.tanh(x @ (base["W"] + params["A"] @ params["B"]))
        return cross_entropy(h @ params["head"], y)

    params = {
        "base": {"W": normal(0, 8, 8, scale=0.4)},
        "A": normal(1, 8, 2, scale=0.4),
        "B": jnp.zeros((2, 8)),
        "head": normal(2, 8, 3, scale=0.4),
    }
    return f, params, (normal(3, 32, 8), integers(4, 3, 32))


@healthy(ASIDE, "ReZero: each branch of the residual starts with the factor 0.")
def rezero():
    def f(params, x, y):
        h = x
        for block in params["blocks"]:
            h = h + block["alpha"] * jnp.tanh(h @ block["W"])
        return cross_entropy(h @ params["head"], y)

    blocks = [{"alpha": jnp.zeros(()), "W": normal(i, 8, 8, scale=0.4)} for i in range(4)]
    return f, {"blocks": blocks, "head": normal(9, 8, 3, scale=0.4)}, (normal(10, 32, 8), integers(11, 3, 32))


@healthy(OPEN, "Causal attention: the future is masked with -inf, each query sees itself.")
def causal_attention():
    def f(params, x, y):
        scores = (x @ params["q"]) @ jnp.swapaxes(x @ params["k"], 1, 2) / 8**0.5
        causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))[None]
        weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
        return cross_entropy((weights @ (x @ params["v"])) @ params["out"], y)

    params = {w: normal(i, 8, 8, scale=0.35) for i, w in enumerate("qkv")} | {
        "out": normal(5, 8, 4, scale=0.35)
    }
    return f, params, (normal(6, 8, 6, 8), integers(7, 4, 8, 6))


@healthy(ASIDE, "Padding is kept out of a mean over steps by a mask of the right sign.")
def masked_mean():
    def f(params, x, mask, y):
        h = jnp.tanh(x @ params["W"] + params["b"])
        h = (h * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return cross_entropy(h @ params["out"], y)

    mask = (jnp.arange(8)[None] < integers(5, 4, 16)[:, None] + 3).astype(jnp.float32)
    params = {"W": normal(0, 4, 8, scale=0.5), "b": normal(6, 8), "out": normal(2, 8, 3, scale=0.4)}
    return f, params, (normal(1, 16, 8, 4) * mask[..., None], mask, integers(3, 3, 16))


@healthy(OPEN, "Bags of words: most columns are zero in this batch, as text is.")
def bag_of_words():
    def f(params, x, y):
        return cross_entropy(forward(params, x, jax.nn.relu), y)

    x = (uniform(1, 24, 80) < 0.03).astype(jnp.float32)
    return f, dense(0, 80, 12, 2), (x, integers(2, 2, 24))


@healthy(ASIDE, "One-hot inputs: each row has a single 1.")
def one_hot_inputs():
    def f(params, x, y):
        return cross_entropy(forward(params, x, jnp.tanh), y)

    return f, dense(0, 12, 8, 3, scale=2.0), (jax.nn.one_hot(integers(1, 12, 36), 12), integers(2, 3, 36))


@healthy(OPEN, "Large inputs are standardized by the model before its first product.")
def large_inputs_standardized_inside():
    def f(params, x, y):
        return mse(forward(params, (x - x.mean(0)) / x.std(0), jnp.tanh), y)

    x = jnp.concatenate([uniform(1, 32, 2, low=100, high=900), normal(2, 32, 2)], 1)
    return f, dense(0, 4, 12, 1), (x, normal(3, 32, 1))


@healthy(ASIDE, "PPO's ratio is clipped to 0.8..1.2 and is near 1: the clip is not active.")
def clipped_ratio_near_one():
    def f(params, x, action, old, advantage):
        log_p = jax.nn.log_softmax(forward(params, x, jnp.tanh))
        ratio = jnp.exp(jnp.take_along_axis(log_p, action[:, None], 1)[:, 0] - old)
        clipped = jnp.clip(ratio, 0.8, 1.2)
        return -jnp.mean(jnp.minimum(ratio * advantage, clipped * advantage))

    params, x, action = dense(0, 5, 12, 3), normal(1, 32, 5), integers(2, 3, 32)
    log_p = jax.nn.log_softmax(forward(params, x, jnp.tanh))
    old = jnp.take_along_axis(log_p, action[:, None], 1)[:, 0] + normal(3, 32, scale=0.02)
    return f, params, (x, action, old, normal(4, 32))


@healthy(OPEN, "Huber's loss is linear far out, which is its purpose; most errors are near.")
def huber_loss():
    def f(params, x, y):
        return optax.huber_loss(forward(params, x, jnp.tanh), y).mean()

    return f, dense(0, 5, 12, 1), (normal(1, 32, 5), normal(2, 32, 1))


@healthy(ASIDE, "A contrastive loss takes softmax over both axes of the matrix of similarities.")
def contrastive_over_both_axes():
    def f(params, a, b):
        a, b = jnp.tanh(a @ params["left"]), jnp.tanh(b @ params["right"])
        s = (a @ b.T) / 2.0
        target = jnp.arange(len(s))
        return (cross_entropy(s, target) + cross_entropy(s.T, target)) / 2

    params = {"left": normal(0, 6, 8, scale=0.4), "right": normal(1, 5, 8, scale=0.4)}
    return f, params, (normal(2, 12, 6), normal(3, 12, 5))


@healthy(OPEN, "Focal loss and a softmax with a temperature of 2.")
def focal_loss_with_temperature():
    def f(params, x, y):
        log_p = jax.nn.log_softmax(forward(params, x, jax.nn.relu) / 2.0)
        log_p = jnp.take_along_axis(log_p, y[:, None], 1)[:, 0]
        return -jnp.mean((1 - jnp.exp(log_p)) ** 2 * log_p)

    return f, dense(0, 6, 16, 4), (normal(1, 32, 6), integers(2, 4, 32))


@healthy(ASIDE, "Label smoothing: targets are no corners of the simplex.")
def label_smoothing():
    def f(params, x, y):
        return optax.softmax_cross_entropy(forward(params, x, jnp.tanh), y).mean()

    y = optax.smooth_labels(jax.nn.one_hot(integers(2, 4, 32), 4), 0.1)
    return f, dense(0, 6, 12, 4), (normal(1, 32, 6), y)


@healthy(OPEN, "A mixture density net: logsumexp of components, deviations by softplus.")
def mixture_density():
    def f(params, x, y):
        out = forward(params, x, jnp.tanh).reshape(-1, 3, 3)
        log_w, mean, deviation = (
            jax.nn.log_softmax(out[..., 0]),
            out[..., 1],
            jax.nn.softplus(out[..., 2]) + 0.1,
        )
        z = (y - mean) / deviation
        return -jnp.mean(jax.nn.logsumexp(log_w - z**2 / 2 - jnp.log(deviation), axis=-1))

    return f, dense(0, 2, 12, 9), (normal(1, 32, 2), normal(2, 32, 1))


@healthy(ASIDE, "A physics loss: the derivative by the input is taken inside f.")
def physics_loss():
    def f(params, t):
        def u(t):
            return forward(params, t[None], jnp.tanh)[0]

        rate = jax.vmap(jax.grad(u))(t)
        return jnp.mean((rate + jax.vmap(u)(t)) ** 2) + (u(jnp.zeros(())) - 1.0) ** 2

    return f, dense(0, 1, 12, 1), (jnp.linspace(0.0, 2.0, 20),)


@healthy(OPEN, "A scan with an orthogonal recurrent matrix over 30 steps, loss at every step.")
def scan_with_orthogonal_matrix():
    def f(params, x, y):
        def step(h, x):
            h = jnp.tanh(0.3 * x @ params["W"] + h @ params["U"])
            return h, h @ params["out"]

        _, out = jax.lax.scan(step, jnp.zeros((x.shape[1], 8)), x)
        return mse(out, y)

    q, _ = jnp.linalg.qr(normal(0, 8, 8))
    params = {"W": normal(1, 3, 8, scale=0.5), "U": q, "out": normal(2, 8, 1, scale=0.3)}
    return f, params, (normal(3, 30, 8, 3), normal(4, 30, 8, 1))


@healthy(ASIDE, "A mixture of four experts: the router sends nothing to the last one in this batch.")
def idle_expert():
    def f(params, x, y):
        scores = x @ params["router"] + params["bias"]
        best = jax.nn.one_hot(jnp.argmax(scores, -1), 4) * jax.nn.softmax(scores)
        h = jnp.einsum("nd,edh->neh", x, params["experts"])
        return mse(jnp.einsum("ne,neh->nh", best, jnp.tanh(h)) @ params["out"], y)

    params = {"router": normal(0, 6, 4, scale=0.4), "bias": jnp.array([0.0, 0.0, 0.0, -9.0])}
    params |= {"experts": normal(1, 4, 6, 8, scale=0.4), "out": normal(2, 8, 1, scale=0.4)}
    return f, params, (normal(3, 32, 6), normal(4, 32, 1))


@healthy(OPEN, "The output of a trained net is sure of its classes: p near 0 and 1, deltas near 0.")
def sure_outputs_of_a_trained_net():
    def f(params, x, y):
        return cross_entropy(x @ params["W"], y)

    y = integers(2, 3, 36)
    x = jax.nn.one_hot(y, 3) * 2 - 1 + normal(1, 36, 3, scale=0.2)
    return f, {"W": 4.0 * jnp.eye(3) + normal(0, 3, 3, scale=0.1)}, (x, y)


@healthy(ASIDE, "Softmax attention over a single key, its weight is rightly 1.")
def attention_with_one_key():
    def f(params, x, memory, y):
        scores = jnp.einsum("nd,nkd->nk", x @ params["q"], memory @ params["k"]) / 8**0.5
        mixed = jnp.einsum("nk,nkd->nd", jax.nn.softmax(scores, axis=-1), memory @ params["v"])
        return mse(jnp.tanh(x @ params["q"] + mixed) @ params["out"], y)

    params = {w: normal(i, 6, 8, scale=0.4) for i, w in enumerate("qkv")} | {
        "out": normal(5, 8, 1, scale=0.4)
    }
    return f, params, (normal(6, 24, 6), normal(7, 24, 1, 6), normal(8, 24, 1))


@healthy(OPEN, "A where that guards value and slope: the inner where keeps log away from 0.")
def where_twice():
    def f(params, x, y):
        h = x * params["scale"]
        h = jnp.where(h > 0, jnp.log(jnp.where(h > 0, h, 1.0)), 0.0)
        return mse(h @ params["out"], y)

    counts = integers(2, 6, 16, 5).astype(jnp.float32)
    return f, {"scale": uniform(0, 5, low=0.5, high=2), "out": normal(1, 5, 1)}, (counts, normal(3, 16, 1))


@healthy(ASIDE, "DQN: the target is another net's, given with the batch, and needs no gradient.")
def value_learning():
    def f(params, x, action, reward, following, target):
        q = jnp.take_along_axis(forward(params, x, jax.nn.relu), action[:, None], 1)[:, 0]
        best = forward(target, following, jax.nn.relu).max(-1)
        return optax.huber_loss(q, jax.lax.stop_gradient(reward + 0.9 * best)).mean()

    params = dense(0, 4, 16, 3)
    return f, params, (normal(1, 32, 4), integers(2, 3, 32), normal(3, 32), normal(4, 32, 4), params)


@healthy(OPEN, "The log of a softmax's log is taken twice: log_softmax of log-probabilities changes nothing.")
def log_softmax_twice():
    def f(params, x, y):
        log_p = jax.nn.log_softmax(forward(params, x, jnp.tanh))
        return cross_entropy(log_p, y)

    return f, dense(0, 5, 12, 4), (normal(1, 32, 5), integers(2, 4, 32))


@healthy(ASIDE, "Distillation: the teacher's softmax is the target, the student's is taken once.")
def distillation():
    def f(params, x, teacher):
        target = jax.nn.softmax(teacher / 2.0)
        return optax.softmax_cross_entropy(forward(params, x, jax.nn.relu) / 2.0, target).mean()

    return f, dense(0, 5, 12, 4), (normal(1, 32, 5), normal(2, 32, 4, scale=2.0))


@healthy(OPEN, "Examples have weights between 0.5 and 2, of the losses' shape.")
def weighted_examples():
    def f(params, x, y, w):
        losses = optax.softmax_cross_entropy_with_integer_labels(forward(params, x, jnp.tanh), y)
        return jnp.sum(w * losses) / jnp.sum(w)

    return f, dense(0, 5, 12, 3), (normal(1, 32, 5), integers(2, 3, 32), uniform(3, 32, low=0.5, high=2))


@healthy(ASIDE, "Eight pre-norm residual blocks: neither vanishing nor exploding.")
def deep_residual_net_with_norms():
    def f(params, x, y):
        h = x
        for block in params["blocks"]:
            h = h + jax.nn.relu(standardized(h) @ block["up"]) @ block["down"]
        return cross_entropy(standardized(h) @ params["head"], y)

    blocks = [
        {"up": normal(i, 8, 16, scale=0.35), "down": normal(20 + i, 16, 8, scale=0.1)} for i in range(8)
    ]
    return (
        f,
        {"blocks": blocks, "head": normal(9, 8, 3, scale=0.35)},
        (normal(10, 24, 8), integers(11, 3, 24)),
    )
