"""A carry through `fit`: truncated back-propagation through time, against the same by hand in NumPy."""

import jax
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.data import streams

V, D, B, T = 5, 3, 2, 4
TEXT = np.random.default_rng(0).integers(0, V, 2 * 3 * T + 2)
X, Y = streams(TEXT, B, T)
NET = jaxbp.char_rnn(V, d=D, cell=jaxbp.elman, carries=True)
LOSS = jaxbp.softmax_cross_entropy
PARAMS = NET.init(jax.random.key(0))
HELD_OUT = (X[:3], Y[:3])  # as many as no batch has


def fit(params=PARAMS, data=(X, Y), net=NET, **options):
    settings = {"batch_size": B, "shuffle": False, "epochs": 2, "progress_bar": False}
    grad_fn = jaxbp.value_and_grad(net, LOSS)
    return jaxbp.fit(
        grad_fn, params, data, optimizer=optax.sgd(0.5), key=jax.random.key(1), **settings | options
    )


def sweep(**options):
    settings = {"seeds": (3,), "batch_size": B, "epochs": 2, "hyperparameters": {"learning_rate": [0.5]}}
    grad_fn, key = jaxbp.value_and_grad(NET, LOSS), jax.random.key(1)
    data = (X, Y)
    return jaxbp.sweep(
        grad_fn, NET.init, data, optimizer=optax.sgd, key=key, progress_bar=False, **settings, **options
    )


@pytest.fixture(scope="module")
def plain():
    return fit(validation=HELD_OUT)


def in_numpy(epochs, *, again=True):
    """Place after place, forwards and backwards; the carry crosses batches, its delta does not."""
    leaves = jax.tree.map(lambda leaf: np.asarray(leaf, float), PARAMS)
    E, W, R, b = leaves[1]["E"], leaves[2]["W"], leaves[2]["R"], leaves[2]["b"]
    U, c = leaves[3]["W"], leaves[3]["b"]
    carry = np.zeros((B, D))
    for _ in range(epochs):
        if again:
            carry = np.zeros((B, D))
        for j in range(0, len(X), B):
            x, y = X[j : j + B], Y[j : j + B]
            h, mu = [carry], []
            for t in range(T):
                h.append(np.tanh(E[x[:, t]] @ W.T + h[-1] @ R.T + b))
                e = np.exp(h[-1] @ U.T + c)
                mu.append(e / e.sum(1, keepdims=True))
            d_E, d_W, d_R, d_b, d_U, d_c = (np.zeros_like(leaf) for leaf in (E, W, R, b, U, c))
            through = np.zeros((B, D))
            for t in reversed(range(T)):
                delta_f = (mu[t] - np.eye(V)[y[:, t]]) / (B * T)
                d_U, d_c = d_U + delta_f.T @ h[t + 1], d_c + delta_f.sum(0)
                delta_a = (delta_f @ U + through) * (1 - h[t + 1] ** 2)
                d_W, d_R, d_b = d_W + delta_a.T @ E[x[:, t]], d_R + delta_a.T @ h[t], d_b + delta_a.sum(0)
                np.add.at(d_E, x[:, t], delta_a @ W)
                through = delta_a @ R
            E, W, R, b, U, c = (
                leaf - 0.5 * delta
                for leaf, delta in zip((E, W, R, b, U, c), (d_E, d_W, d_R, d_b, d_U, d_c), strict=True)
            )
            carry = h[-1]
    return {1: {"E": E}, 2: {"R": R, "W": W, "b": b}, 3: {"W": U, "b": c}}, carry


def furthest(found, wanted):
    both = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    return max(float(np.abs(u - v).max()) for u, v in both)


def test_fit_is_truncated_back_propagation_through_time(plain):
    params, carry = in_numpy(2)
    assert furthest(plain.params, params) < 1e-5
    assert furthest(plain.model_state[2]["h"], carry) < 1e-5
    not_begun_again, _ = in_numpy(2, again=False)
    assert furthest(params, not_begun_again) > 1e-4  # the carry begins again with the text


def test_what_is_evaluated_begins_from_nothing(plain):
    wanted = LOSS(NET.apply(plain.params, HELD_OUT[0]), HELD_OUT[1])
    assert plain.history["val_loss"][-1] == pytest.approx(float(wanted), rel=1e-5)


def test_a_run_with_a_carry_goes_on_where_it_ended(plain):
    assert furthest(fit(fit(epochs=1), epochs=1).params, plain.params) == 0


@pytest.mark.soak
@pytest.mark.parametrize("options", [{"iterations": 6, "epochs": None}, {"memory_budget": 200}], ids=str)
def test_the_same_in_iterations_and_as_a_stream(options, plain):
    options = {name: value for name, value in options.items() if value is not None}
    epochs = {} if "iterations" in options else {"epochs": 2}
    found = jaxbp.fit(
        jaxbp.value_and_grad(NET, LOSS), PARAMS, (X, Y), optimizer=optax.sgd(0.5), key=jax.random.key(1),
        batch_size=B, shuffle=False, progress_bar=False, **options | epochs,
    )  # fmt: skip
    assert furthest(found.params, plain.params) < 1e-6


@pytest.mark.soak
def test_a_sweep_of_carries_is_the_runs():
    swept = sweep(shuffle=False)
    alone = fit(NET.init(jax.random.fold_in(jax.random.key(1), 3)))
    assert furthest(swept.params_of(0), alone.params) < 1e-5
    assert furthest(swept.model_state_of(0), alone.model_state) < 1e-5


def test_a_state_to_begin_with_is_begun_with():
    start = {2: {"h": np.full((B, D), 0.5, np.float32)}}
    found = fit(epochs=1, model_state=start)
    grad_fn = jax.jit(jaxbp.value_and_grad(NET, LOSS, has_state=True))
    params, state = PARAMS, start
    for j in range(0, len(X), B):
        (_, state), grads = grad_fn(params, X[j : j + B], Y[j : j + B], state)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
    assert furthest(found.params, params) < 1e-6


REFUSED = {
    "a random order": (lambda: fit(shuffle=True), "got shuffle=True, a random order; shuffle=False, and"),
    "a shorter last batch": (
        lambda: fit(data=(X[:5], Y[:5])),
        "got 5 examples in batches of 2, the last of them of fewer rows",
    ),
    "batches that come as they come": (
        lambda: fit(data=lambda: iter([(X[:2], Y[:2])])),
        "got batches that come one by one",
    ),
    "a sweep in a random order": (lambda: sweep(shuffle=True), "sweep: expected rows that go on"),
    "a cell among others": (
        lambda: fit(
            net=jaxbp.chain(jaxbp.embedding(V, D), jaxbp.batch_norm(D), jaxbp.lstm(D, V, carries=True)),
            params=jaxbp.chain(
                jaxbp.embedding(V, D), jaxbp.batch_norm(D), jaxbp.lstm(D, V, carries=True)
            ).init(jax.random.key(0)),
            shuffle=True,
        ),
        "got shuffle=True",
    ),
    "a text too short": (lambda: streams(TEXT[:8], 2, 4), "at least 2 streams of 4 places, and one after"),
    "texts beside each other": (lambda: streams(X, 2, 4), "ids of shape (S,), one text, got shape (6, 4)"),
    "ids that are floats": (lambda: streams(TEXT * 1.0, 2, 4), "ids that are whole numbers"),
    "no streams": (lambda: streams(TEXT, 0, 4), "batch_size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_use(case):
    call, words = REFUSED[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    text = str(caught.value)
    assert ": expected " in text and ", got " in text, text  # noqa: PT018
    assert words in text, text


def test_statistics_of_batches_are_in_any_order():
    net = jaxbp.chain(jaxbp.embedding(V, D), jaxbp.batch_norm(D), jaxbp.dense(D, V))
    grad_fn, params = jaxbp.value_and_grad(net, LOSS), net.init(jax.random.key(0))
    batch = jax.ShapeDtypeStruct((B, T), np.int32)
    assert not grad_fn.carries_rows(params, batch)
    assert jaxbp.value_and_grad(NET, LOSS).carries_rows(PARAMS, batch)


def test_streams_go_on_in_the_next_batch():
    joined = X.reshape(3, B, T).swapaxes(0, 1).reshape(B, -1)
    assert (joined == TEXT[:24].reshape(B, -1)).all()
    assert (Y.reshape(3, B, T).swapaxes(0, 1).reshape(B, -1) == TEXT[1:25].reshape(B, -1)).all()
