"""What delta_x is for, against closed forms, difference quotients and projections found another way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import jaxbp
from jaxbp import adversarial, generate, saliency
from jaxbp.observe.inputs.constraints import Ball, Box, nearest, total_variation

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 4))
LINEAR, PARAMS = jaxbp.dense(4, 3, bias=False), {"W": jnp.asarray(W, jnp.float32)}
X, Y = jnp.asarray(RNG.uniform(0.3, 0.7, (5, 4)), jnp.float32), jnp.array([0, 1, 2, 1, 0])
CE = jaxbp.softmax_cross_entropy


def plain(params, x):
    """A model of nobody's library, of one image (2, 2)."""
    return jnp.tanh(params["W"] @ x.reshape(-1)) ** 2


def losses(x, y=Y, net=LINEAR, params=PARAMS):
    return CE.values(net.apply(params, x), y)


def test_the_slope_of_an_output_of_a_linear_model_is_its_row():
    assert np.array_equal(saliency(LINEAR, None, PARAMS, X, Y), PARAMS["W"][Y])


def test_saliency_of_a_linear_model_is_the_error_times_the_weights():
    f = np.asarray(X, float) @ np.asarray(PARAMS["W"], float).T
    mu = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    expected = (mu - np.eye(3)[np.asarray(Y)]) @ np.asarray(PARAMS["W"], float)
    assert np.allclose(saliency(LINEAR, CE, PARAMS, X, Y), expected, atol=1e-6)


@pytest.mark.parametrize("model", ["net", "function"])
def test_saliency_against_difference_quotients(model):
    with jax.enable_x64(True):
        x, y = jnp.asarray(RNG.normal(size=(3, 4))), jnp.asarray(RNG.normal(size=(3, 3)))
        net = jaxbp.mlp([4, 5, 3], jaxbp.tanh)
        params = jax.tree.map(lambda p: p.astype(float), net.init(jax.random.key(0)))
        loss = jaxbp.squared_error
        if model == "function":
            net, params, x = plain, {"W": jnp.asarray(W)}, x.reshape(3, 2, 2)
            loss = lambda f, y: jnp.sum((f - y) ** 2)  # noqa: E731
        found = saliency(net, loss, params, x, y)
        apply = net if callable(net) and model == "function" else net.apply
        value = loss.values if model == "net" else loss
        h = 1e-6
        for n in range(3):
            for k in np.ndindex(x.shape[1:]):
                ends = [value(apply(params, x[n].at[k].add(s)), y[n]) for s in (h, -h)]
                assert float(found[(n, *k)]) == pytest.approx(float((ends[0] - ends[1]) / (2 * h)), abs=1e-8)


def test_fgsm_of_a_logistic_model_is_goodfellow_s_formula():
    """The loss of w x at label y grows by eps |w|_1 / ... exactly along sign(w) (mu - y)."""
    w = jnp.asarray(W[:1], jnp.float32)
    net, y = jaxbp.dense(4, 1, bias=False), jnp.array([[0.0], [1.0], [1.0], [0.0], [1.0]])
    moved = adversarial(net, jaxbp.binary_cross_entropy, {"W": w}, X, y, eps=0.1)
    assert np.allclose(moved, X + 0.1 * np.sign(w) * np.where(y == 0, 1, -1), atol=1e-7)
    before, after = X @ w[0], moved @ w[0]
    assert np.allclose(abs(after - before), 0.1 * abs(w).sum(), atol=1e-6)


def test_a_linear_score_falls_along_its_weights_in_l2():
    moved = adversarial(LINEAR, None, PARAMS, X, Y, eps=0.5, norm="l2")
    rows = np.asarray(PARAMS["W"])[np.asarray(Y)]
    assert np.allclose(moved, X - 0.5 * rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-6)
    raised = adversarial(LINEAR, None, PARAMS, X, Y, eps=0.5, norm="l2", targeted=True)
    assert np.allclose(raised + moved, 2 * X, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 12])
@pytest.mark.parametrize("start", [None, 3])
def test_attacks_stay_within_ball_and_box_and_raise_the_loss(norm, steps, start):
    key = None if start is None else jax.random.key(start)
    eps = 0.4
    moved = adversarial(
        LINEAR, CE, PARAMS, X, Y, eps=eps, norm=norm, steps=steps, box=(0, np.full(4, 0.9)), key=key
    )
    apart = np.asarray(moved) - np.asarray(X)
    size = abs(apart).max(1) if norm == "linf" else np.linalg.norm(apart, axis=1)
    assert (size <= eps * (1 + 1e-6)).all()
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= np.float32(0.9)
    assert (losses(moved) > losses(X)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_point_of_ball_and_box_is_worse_than_what_many_steps_find(norm):
    """The loss is convex along a linear model; of thousands of random points none is above the attack's."""
    eps, rng = 0.3, np.random.default_rng(1)
    moved = adversarial(LINEAR, CE, PARAMS, X, Y, eps=eps, norm=norm, steps=100, step=0.02, box=(0, 1))
    best = np.asarray(losses(moved))
    for _ in range(40):
        z = rng.normal(size=(100, 5, 4))
        z = np.sign(z) * eps if norm == "linf" else eps * z / np.linalg.norm(z, axis=-1, keepdims=True)
        others = jnp.asarray(np.clip(np.asarray(X) + z, 0, 1), jnp.float32)
        assert (np.asarray(jax.vmap(losses)(others)) <= best + 1e-3).all()


def dykstra(x, low, high, center, radius, rounds=3000):
    """The nearest point of box and ball by alternating projections with corrections."""
    p = q = np.zeros_like(x)
    for _ in range(rounds):
        y = np.clip(x + p, low, high)
        p = x + p - y
        d = y + q - center
        new = center + d * min(1, radius / max(np.linalg.norm(d), 1e-300))
        q = y + q - new
        x = new
    return x


FLOATS = st.floats(-3, 3, allow_nan=False, width=32)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (4, 3), elements=FLOATS), st.floats(0.05, 4))
def test_the_nearest_point_of_box_and_ball(drawn, radius):
    """It is in both, and no point of both is nearer: compared with Dykstra's, found another way."""
    x, center, one, other = drawn
    low, high = np.minimum(one, other), np.maximum(one, other)
    if np.linalg.norm(np.clip(center, low, high) - center) > 0.95 * radius:
        return  # they hardly meet, where Dykstra's rounds take too long
    with jax.enable_x64(True):
        found = np.asarray(NEAREST(x[None], low[None], high[None], center[None], radius)[0])
    assert (found >= low).all()
    assert (found <= high).all()
    assert np.linalg.norm(found - center) <= radius * (1 + 1e-12)
    expected = dykstra(x, low, high, center, radius, 300)
    assert np.linalg.norm(found - x) <= np.linalg.norm(expected - x) + 1e-6 * (1 + np.linalg.norm(x))


NEAREST = jax.jit(
    lambda x, low, high, center, radius: nearest(x, Box(low, high), Ball(center, radius))
)  # one shape: compiled once


def test_descent_on_a_quadratic_is_the_formula():
    """x_k = x* + (1 - eta w^2)^k (x_0 - x*), for loss 1/2 (w x - y)^2."""
    net, w, eta = jaxbp.dense(1, 1, bias=False), 1.5, 0.1
    x = generate(
        net, jaxbp.squared_error, {"W": jnp.array([[w]])}, jnp.array([[4.0], [-1.0]]),
        jnp.array([[3.0], [3.0]]), steps=7, optimizer=optax.sgd(eta),
    )  # fmt: skip
    assert np.allclose(x, 2 + (1 - eta * w**2) ** 7 * np.array([[2.0], [-3.0]]), atol=1e-5)


def test_generated_inputs_meet_their_constraints():
    mask = np.array([True, True, False, True])
    made = generate(LINEAR, CE, PARAMS, X, Y, steps=50, box=(0.1, 0.8), norm=1.1, mask=mask)
    assert np.array_equal(made[:, 2], X[:, 2])
    assert float(made.min()) >= np.float32(0.1)
    assert float(made.max()) <= np.float32(0.8)
    assert (np.linalg.norm(made, axis=1) <= 1.1 * (1 + 1e-6)).all()
    assert (losses(made) < losses(jnp.asarray(X))).all()


def test_a_hidden_unit_of_a_network_and_the_unit_of_a_function():
    net = jaxbp.mlp([4, 3, 2], jaxbp.tanh)
    params = net.init(jax.random.key(1))

    def level(params, x):
        return jaxbp.forward(net, params, x).f[1]

    units = jnp.array([0, 2])
    made = generate(level, None, params, jnp.zeros((2, 4)), units, norm=2.0)
    rows = np.asarray(params[1]["W"])[np.asarray(units)]
    assert np.allclose(made, 2 * rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=0.02)


def test_total_variation_counts_neighbors():
    with jax.enable_x64(True):
        x = RNG.normal(size=(2, 12))
        for image in ((3, 4), (2, 2, 3), (12,)):
            for n, a in enumerate(x.reshape(2, *image)):
                expected = sum(
                    abs(np.take(a, i + 1, k) - np.take(a, i, k)).sum()
                    for k in range(min(a.ndim, 2))
                    for i in range(a.shape[k] - 1)
                )
                assert float(total_variation(jnp.asarray(x), image)[n]) == pytest.approx(expected)


def test_smooth_images_vary_less():
    start = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 4)), jnp.float32)
    plain_, smoothed = (
        generate(LINEAR, CE, PARAMS, start, Y[:1], steps=60, box=(0, 1), smooth=s, image=(2, 2))
        for s in (0, 1.0)
    )
    variation = [float(total_variation(x, (2, 2))[0]) for x in (plain_, smoothed)]
    assert variation[1] < 0.5 * variation[0]


def test_they_are_functions_of_jax_and_are_traced_once():
    traced = []

    def model(params, x):
        traced.append(x.shape)
        return params["W"] @ x

    args = PARAMS, X, Y
    first = saliency(model, CE, *args)
    n = len(traced)
    saliency(model, CE, *args)
    assert len(traced) <= n + 1  # at most the shape of the output was asked for
    inside = jax.jit(lambda p, x, y: saliency(LINEAR, CE, p, x, y))(*args)
    assert np.allclose(first, inside, atol=1e-7)
    eps = (0.1, 0.2)
    moved = [adversarial(model, CE, *args, eps=e) for e in eps]
    n = len(traced)
    adversarial(model, CE, *args, eps=0.3)
    assert len(traced) <= n + 1
    assert np.allclose(moved[0] - X, (moved[1] - X) / 2, atol=1e-6)
    jitted = jax.jit(lambda x: adversarial(LINEAR, CE, PARAMS, x, Y, eps=0.1, box=(0, 1)))(X)
    assert np.allclose(jitted, moved[0], atol=1e-6)
    doubled = jax.vmap(lambda s: saliency(LINEAR, None, {"W": s * PARAMS["W"]}, X, Y))(jnp.array([1.0, 2.0]))
    assert np.allclose(doubled[1], 2 * doubled[0])


class Holds:
    """A model that is called, holds an array and has no hash."""

    __hash__ = None

    def __call__(self, params, x):
        return params["W"] @ x


def test_a_model_without_a_hash():
    assert np.array_equal(saliency(Holds(), None, PARAMS, X, Y), PARAMS["W"][Y])


def made(**given):
    return lambda: generate(LINEAR, CE, PARAMS, X, Y, steps=2, **given)


def attacked(**given):
    return lambda: adversarial(LINEAR, CE, PARAMS, X, Y, **{"eps": 0.1} | given)


BAD = [
    (lambda: saliency(LINEAR, CE, PARAMS, X, Y + 2), "saliency: expected a class from 0 to 2, got y[1] = 3"),
    (lambda: saliency(LINEAR, None, PARAMS, X, Y - 1), "a class from 0 to 2, got y[0] = -1"),
    (lambda: saliency(LINEAR, None, PARAMS, X, Y * 1.0), "N numbers of outputs"),
    (lambda: saliency(plain_rows, None, PARAMS, X, Y), "outputs of one example in one axis"),
    (lambda: saliency(LINEAR, CE, PARAMS, X, Y[:2]), "N examples and N targets"),
    (lambda: saliency(LINEAR, CE, PARAMS, X[:0], Y[:0]), "at least one example"),
    (lambda: saliency(LINEAR, CE, PARAMS, (X * 255).astype(jnp.uint8), Y), "for bytes x / 255"),
    (lambda: saliency(LINEAR, "squared_error", PARAMS, X, Y), "loss to be a Loss or a function"),
    (lambda: saliency(LINEAR, lambda f, y: f, PARAMS, X, Y), "loss(f, y) of one example to be a number"),
    (lambda: saliency("net", CE, PARAMS, X, Y), "net to be a Layer or a function"),
    (lambda: saliency(LINEAR, CE, PARAMS, X[:, :3], Y), "last axis 4"),
    (attacked(eps=-0.1), "eps a number of at least 0"),
    (attacked(norm="l_inf"), "did you mean 'linf'?"),
    (attacked(norm=2), "norm 'linf' or 'l2'"),
    (attacked(steps=0), "steps a whole number of at least 1"),
    (attacked(box=(1, 0)), "low at most high, got (1, 0)"),
    (attacked(box=(0, np.nan)), "low at most high"),
    (attacked(box=1), "box, a pair (low, high)"),
    (attacked(box=(0, np.ones(3))), "box high that broadcasts to x's shape (5, 4)"),
    (attacked(box=(2, 3)), "an input in the box within eps = 0.1 of each example, got x[0], 1."),
    (attacked(box=(2, 3), norm="l2"), "an input in the box within eps = 0.1 of each example, got x[0], "),
    (attacked(targeted="yes"), "targeted True or False"),
    (attacked(key=0), "jax.random.key(0)"),
    (made(mask=np.array([1, 0, 1, 1])), "mask of True and False"),
    (made(mask=False), "a mask that leaves an entry to change"),
    (made(mask=np.ones(3, bool)), "mask that broadcasts"),
    (made(mask=np.arange(4) < 3, box=(0.9, 1)), "the entries that the mask holds to lie in the box"),
    (made(norm=0.5, box=(0.4, 1)), "an input of norm 0.5 meets, got box and mask in which input 0 has"),
    (made(norm=0.1, mask=np.arange(4) < 2), "an input of norm 0.1 meets"),
    (made(norm=0), "norm a number above 0"),
    (made(smooth=0.1), "image=, the shape whose neighbors smooth compares"),
    (made(smooth=0.1, image=(3, 2)), "image of the 4 entries"),
    (made(smooth=-1), "smooth a number of at least 0"),
    (made(image=4), "image, a shape"),
    (made(optimizer="adam"), "an optax optimizer"),
    (made(optimizer=optax.adam), "an optax optimizer"),
    (made(optimizer=optax.GradientTransformation(lambda p: (), lambda g, s, p: g)), "update moves an array"),
]  # fmt: skip


def plain_rows(params, x):
    return jnp.stack([params["W"] @ x, params["W"] @ x])


@pytest.mark.parametrize(("call", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_bad_use_is_refused_with_a_sentence(call, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    text = str(caught.value)
    assert ": expected " in text
    assert ", got " in text
    assert words in text


def test_nothing_changes_without_a_slope_or_without_eps():
    flat = {"W": jnp.zeros((3, 4))}
    for norm in ("linf", "l2"):
        assert np.array_equal(adversarial(LINEAR, None, flat, X, Y, eps=0.5, norm=norm), X)
        assert np.allclose(adversarial(LINEAR, CE, PARAMS, X, Y, eps=0, norm=norm), X, atol=1e-7)
