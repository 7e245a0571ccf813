"""Batches that come one by one train as the whole arrays they are cut from, however they come."""

import jax
import numpy as np
import optax
import pytest

import jaxbp
from tests.train.test_fit import EVALUATE, data, run

x, y = data()
WEIGHT = np.linspace(0.1, 1, 26).astype(np.float32)


def cut(*arrays):
    return [tuple(v[i : i + 8] for v in arrays) for i in range(0, 26, 8)]


def function():
    yield from cut(x, y)


def of_epoch(epoch):
    assert epoch in (1, 2)
    yield from cut(x, y)


class Loader:
    """As PyTorch's and tf.data's are: gone through again and again."""

    def __iter__(self):
        return function()


def endless():
    while True:
        yield from function()


WAYS = {
    "a generator function": lambda: function,
    "of the epoch": lambda: of_epoch,
    "a loader": Loader,
    "a list of batches": lambda: jaxbp.Batches(cut(x, y)),
    "an iterator": lambda: jaxbp.Batches(endless(), steps_per_epoch=4),
    "a function that never ends": lambda: jaxbp.Batches(endless, steps_per_epoch=4),
}


@pytest.fixture(scope="module")
def wanted():
    return run(shuffle=False, epochs=2, validation=(x, y), evaluate=EVALUATE)


DEFAULT = ("of the epoch", "an iterator")


@pytest.mark.parametrize(
    "way", [way if way in DEFAULT else pytest.param(way, marks=pytest.mark.soak) for way in WAYS]
)
def test_batches_train_as_the_arrays_in_their_order(way, wanted):
    found = run(train=WAYS[way](), epochs=2, validation=(x, y), evaluate=EVALUATE)
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-6), found.params, wanted.params
    )
    for name in ("loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(found.history[name], wanted.history[name], rtol=1e-5)


@pytest.mark.soak
def test_weights_come_with_their_batches():
    found = run(train=lambda: cut(x, y, WEIGHT), epochs=1, metrics=["accuracy"])
    wanted = run(train=(x, y, WEIGHT), shuffle=False, epochs=1, metrics=["accuracy"])
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(found.history[name], wanted.history[name], rtol=1e-5)


def test_a_run_goes_on_with_the_next_epoch(tmp_path, wanted):
    asked = []

    def source(epoch):
        asked.append(epoch)
        return cut(x, y)

    given = {"validation": (x, y), "evaluate": EVALUATE}
    for epochs in (1, 2):
        found = run(train=source, epochs=epochs, checkpoints=jaxbp.Checkpoints(tmp_path), **given)
    assert asked == [1, 1, 2]  # the first batch tells what they are like
    np.testing.assert_allclose(found.history["loss"], wanted.history["loss"], rtol=1e-5)


def test_divergence_is_found_at_its_batch_without_asking_again():
    def source():
        yield x[:8], y[:8]
        yield np.full((8, 4), 1e30, np.float32), y[:8]
        yield x[:8], y[:8]

    with pytest.raises(jaxbp.DivergenceError, match=r"epoch 1, iteration 2 of 3") as caught:
        run(train=source, optimizer=optax.sgd(1e30))
    kept = run(train=lambda: [(x[:8], y[:8])], optimizer=optax.sgd(1e30), epochs=1)
    jax.tree.map(np.testing.assert_array_equal, caught.value.result.params, kept.params)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (jaxbp.Batches(iter(cut(x, y)), 3), "expected 3 batches in epoch 2, got the source's end after 1"),
        (lambda: [(x, y), (x[:, :2], y)], "batches as the first"),
        (lambda: [(x, y), (x[:0], y[:0])], "epoch 1, batch 2: expected at least 1 example"),
        (lambda: [(x, y), (x, y + 1)], "epoch 1, batch 2: expected labels 0-2"),
        (lambda: [(x, y), (np.full_like(x, np.nan), y)], "epoch 1, batch 2: expected finite x"),
    ],
)
def test_a_batch_that_cannot_be_trained_on_ends_the_run_in_words(source, says):
    with pytest.raises(ValueError, match=": expected ") as caught:
        run(train=source, epochs=2)
    assert says in str(caught.value)
