"""Weights of examples and classes: one weighted mean in the loss, on each engine, in the metrics."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.utils.class_weight import compute_class_weight

import jaxbp
from jaxbp.data import Dataset, assert_data, split
from jaxbp.data.weights import weighted_by_class
from tests.cases import LOSSES, draw_outputs, draw_params, draw_targets
from tests.oracles import assert_close
from tests.train.test_fit import EVALUATE, GRAD, NET, data, run

x, y = data()
COUNTS = np.arange(26) % 3  # of which 9 are 0
REPEATED = np.repeat(np.arange(26), COUNTS)
WEIGHTS = (0.1 + np.arange(26) % 5).astype(np.float32)


def close(a, b, rtol=1e-5):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=rtol, atol=1e-6), a, b)


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("n", [pytest.param((6,), marks=pytest.mark.soak), (2, 3)], ids=str)
def test_a_loss_with_weights_is_that_of_repeated_examples(case, n, x64):
    loss, counts = LOSSES[case].loss, np.array([2, 0, 1, 3, 1, 0])
    f = draw_outputs(LOSSES[case].f, (6, 4), "float64")
    targets = draw_targets(LOSSES[case].y, (6, 4), "float64")
    rows = np.repeat(np.arange(6), counts)
    many, many_deltas = (g(f[rows], targets[rows]) for g in (loss, loss.delta))
    wanted = np.zeros((6, 4))
    np.add.at(wanted, rows, many_deltas)
    shaped = [v.reshape(*n, *v.shape[1:]) for v in (f, targets, counts)]
    assert_close(loss(*shaped), many, "float64")
    assert_close(loss.delta(*shaped), wanted.reshape(*n, 4), "float64")
    assert_close(loss.delta(*shaped), jax.grad(loss)(*shaped), "float64")
    assert_close(loss.sum(*shaped), loss.sum(f[rows], targets[rows]), "float64")


def test_what_counts_nothing_may_have_any_target():
    f, w = jnp.array([[1.0, 2.0], [3.0, 3.0]]), jnp.array([1.0, 0.0])
    for loss, targets, bad in (
        (jaxbp.softmax_cross_entropy, jnp.array([0, 0]), jnp.array([0, -100])),
        (jaxbp.binary_cross_entropy, jnp.ones((2, 2)), jnp.array([[1, 1], [jnp.nan, 7]])),
    ):
        for g in (loss, loss.delta, jax.grad(loss)):
            assert (g(f, targets, w) == g(f, bad, w)).all()
            assert (jax.jit(g)(f, bad, jnp.zeros(2)) == 0).all()


def test_a_weight_of_a_sequence_is_that_of_its_tokens():
    f, labels = jnp.arange(24.0).reshape(2, 4, 3) % 5, jnp.arange(8).reshape(2, 4) % 3
    by_token = jnp.repeat(jnp.array([[1.0], [3.0]]), 4, axis=1)
    loss = jaxbp.softmax_cross_entropy
    assert loss(f, labels, jnp.array([1.0, 3.0])) == loss(f, labels, by_token)
    assert loss(f, labels, np.array([True, False])) == pytest.approx(float(loss(f[0], labels[0])), rel=1e-6)


@pytest.mark.parametrize(
    "weight", [jnp.ones(3), jnp.ones((2, 2)), -jnp.ones(2), jnp.full(2, jnp.nan)], ids=str
)
def test_a_loss_refuses_what_are_no_weights(weight):
    with pytest.raises(ValueError, match=r": expected weights .*, got "):
        jaxbp.squared_error(jnp.ones((2, 3)), jnp.ones((2, 3)), weight)


def test_without_weights_nothing_is_computed_for_them():
    """The program of a loss is the plain mean, and a data set without weights has no array for them."""
    f = jnp.ones((4, 3))

    def plain(f, y):
        return jaxbp.softmax_cross_entropy.values(f, y).sum() / 4

    labels = jnp.array([0, 1, 2, 0])
    loss = jaxbp.softmax_cross_entropy
    assert str(jax.make_jaxpr(lambda f, y: loss(f, y))(f, labels)) == str(jax.make_jaxpr(plain)(f, labels))
    assert len(assert_data(x, y).arrays) == 2


@cache
def weighted():
    return run(train=(x, y, WEIGHTS), epochs=2)


def test_sample_weights_are_repeated_examples():
    """Batch training, with labels that are no classes where the weight is 0, and metrics of both sets."""
    labels = np.where(COUNTS == 0, -1, y)
    once = run(train=(x, labels, COUNTS), batch_size=26, validation=(x, labels, COUNTS), evaluate=EVALUATE)
    many = x[REPEATED], y[REPEATED]
    again = run(train=many, batch_size=len(REPEATED), validation=many, evaluate=EVALUATE)
    close(once.params, again.params)
    for name in ("loss", "val_loss", "val_accuracy"):
        close(once.history[name], again.history[name])
    last = jax.jit(EVALUATE)(once.params, x, labels, weight=COUNTS)
    assert last["accuracy"] == pytest.approx(once.history["val_accuracy"][-1])


@pytest.mark.soak
def test_an_epoch_s_loss_is_the_weighted_mean_of_its_examples():
    """At a learning rate of 0 every batch sees the same parameters."""
    result = run(train=(x, y, WEIGHTS), epochs=1, optimizer=optax.sgd(0.0))
    wanted = jaxbp.softmax_cross_entropy(NET.apply(result.params, x), y, WEIGHTS)
    assert result.history["loss"][0] == pytest.approx(float(wanted), rel=1e-6)


def own_loss(params, x, y, weight):
    f = NET.apply(params, x)
    return optax.softmax_cross_entropy_with_integer_labels(f, y) @ weight / weight.sum()


WAYS = {
    "a stream": lambda: run(train=Dataset(x, y, 3, "toy", WEIGHTS), epochs=2, memory_budget=600),
    "a mesh": lambda: run(train=(x, y, WEIGHTS), epochs=2, mesh=jax.make_mesh((4,), ("data",))),
    "a function": lambda: run(jax.value_and_grad(own_loss), train=(x, y, WEIGHTS), epochs=2),
}


@pytest.mark.parametrize("way", ["a stream", *(pytest.param(w, marks=pytest.mark.soak) for w in [*WAYS][1:])])
def test_every_engine_and_a_gradient_function_of_one_s_own_weigh_alike(way):
    found = WAYS[way]()
    close(found.params, weighted().params)
    close(found.history["loss"], weighted().history["loss"])


@pytest.mark.soak
def test_what_is_held_out_keeps_its_weights_for_an_evaluate_that_needs_them():
    def mean(params, x, y, weight):
        return {"mean": weight.mean()}

    def counted(params, x, y, state, *, weight):
        return {"mean": weight.mean()}

    def stateful(params, x, y, state, weight):
        loss, grads = jax.value_and_grad(own_loss)(params, x, y, weight)
        return (loss, state), grads

    last = run(epochs=1, train=(x, y, WEIGHTS), validation=0.25, evaluate=mean, shuffle=False)
    assert last.history["val_mean"] == pytest.approx(WEIGHTS[-6:].mean())
    given = {"validation": (x, y, WEIGHTS), "model_state": jnp.zeros(2), "evaluate": counted}
    both = run(stateful, epochs=1, train=(x, y, WEIGHTS), **given)
    assert both.history["val_mean"] == pytest.approx(WEIGHTS.mean())


def test_a_sweep_weighs_as_fit():
    nets = jaxbp.sweep(
        GRAD,
        lambda key: draw_params(NET, "float32"),
        (x, y, WEIGHTS),
        optimizer=optax.sgd,
        hyperparameters={"learning_rate": [0.1]},
        key=jax.random.key(1),
        seeds=1,
        batch_size=8,
        epochs=2,
        progress_bar=False,
    )
    close(nets.params_of(0), weighted().params)
    close(nets.history["loss"][0], weighted().history["loss"])


def test_class_weights_are_sample_weights():
    by_class = run(class_weight={0: 2.0, 2: 0.5}, epochs=2)
    by_example = run(train=(x, y, np.array([2.0, 1.0, 0.5], np.float32)[y]), epochs=2)
    jax.tree.map(np.testing.assert_array_equal, by_class.params, by_example.params)
    assert (by_class.history["loss"] == by_example.history["loss"]).all()
    both = weighted_by_class("fit", assert_data(x, y, WEIGHTS), [2.0, 1.0, 0.5])
    assert both.tolist() == pytest.approx((WEIGHTS * np.array([2.0, 1.0, 0.5])[y]).tolist())


@pytest.mark.parametrize("rows", [False, True], ids=["labels", "one-hot rows"])
def test_balanced_is_scikit_learn_s(rows):
    labels = np.array([0] * 17 + [1] * 3, np.int32)
    of_class = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    given = Dataset(np.zeros((20, 1)), np.eye(2)[labels] if rows else labels, 2)
    assert weighted_by_class("fit", given, "balanced").tolist() == pytest.approx(of_class[labels].tolist())
    counted = Dataset(np.zeros((20, 1)), labels, 2, "toy", np.where(labels, 17.0, 3.0))
    assert (
        weighted_by_class("fit", counted, "balanced").tolist() == counted.weight.tolist()
    )  # balanced before


def test_classes_of_one_output_are_weighed_too():
    targets = (y > 0).astype(np.float32)[:, None]
    weight = weighted_by_class("fit", assert_data(x, targets), {1: 3.0})
    assert weight.tolist() == np.where(y > 0, 3.0, 1.0).tolist()
    with pytest.raises(TypeError, match="class labels beside class_weight, got targets"):
        weighted_by_class("fit", assert_data(x, x), {1: 3.0})


def test_weights_stay_with_their_examples():
    parts = split(Dataset(np.arange(26.0)[:, None], y, 3, "toy", np.arange(26.0)), 0.3)
    assert all((part.x[:, 0] == part.weight).all() for part in parts)


def test_shuffle_false_takes_the_rows_in_order(x64):
    params = run(epochs=1, optimizer=optax.sgd(0.0)).params
    result = run(params=params, train=(x.astype(float), y), epochs=2, shuffle=False, memory_budget=1000)
    for _ in range(2):
        for start in range(0, 26, 8):
            _, grads = GRAD(params, x[start : start + 8].astype(float), y[start : start + 8])
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    close(result.params, params)
