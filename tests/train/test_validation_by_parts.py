"""Validation data that do not lie on the device: larger than the budget, or batches from a source."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from tests.train.test_fit import EVALUATE, GRAD, NET, data

X, Y = data(61, seed=3)
WEIGHT = np.linspace(0, 2, 61).astype(np.float32)
NAMES = ["accuracy", "f1_macro", "roc_auc_ovr"]
SCORED = jaxbp.make_evaluate(NET.apply, jaxbp.softmax_cross_entropy, NAMES)
STOPPING = jaxbp.EarlyStopping(3, "val_f1_macro")


def run(**options):
    given = {"optimizer": optax.sgd(0.1), "key": jax.random.key(1), "batch_size": 8, "epochs": 3}
    given |= {"evaluate": EVALUATE, "validation": (X, Y), "progress_bar": False}
    return jaxbp.fit(GRAD, NET.init(jax.random.key(0)), data(), **given | options)


def batches(*arrays, size=17):
    """A loader that begins again."""
    return [tuple(v[i : i + size] for v in arrays) for i in range(0, len(arrays[0]), size)]


class Loader:
    """As torch's DataLoader: gone through anew for each pass."""

    def __init__(self, parts):
        self.parts, self.passes = parts, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.parts)


class Sequence:
    """As Keras' PyDataset: asked for its batches by number."""

    def __init__(self, parts):
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, number):
        return self.parts[number]


def assert_same(result, whole):
    assert list(result.history) == list(whole.history)
    for name, column in whole.history.items():
        if name != "seconds":
            np.testing.assert_allclose(result.history[name], column, rtol=1e-6, err_msg=name)
    assert result.best_epoch == whole.best_epoch


@pytest.fixture(scope="module")
def whole():
    return run(evaluate=SCORED, validation=(X, Y, WEIGHT), early_stopping=STOPPING)


def function(parts):
    """As a generator function: called for each pass."""
    return lambda: iter(parts)


@pytest.mark.parametrize("of", [Loader, Sequence, pytest.param(function, marks=pytest.mark.soak)])
def test_batches_are_measured_together(of, whole):
    """Scores that are no means over batches too, of weighted examples."""
    held = of(batches(X, Y, WEIGHT))
    assert_same(run(evaluate=SCORED, validation=held, early_stopping=STOPPING), whole)
    assert getattr(held, "passes", 3) == 3  # no more than one for each evaluation


def test_data_above_the_budget_are_never_whole_on_the_device(whole, tmp_path):
    """A memory map of float64, of which a part has 13 rows; training data that stream beside it."""
    np.save(tmp_path / "x.npy", X.astype(float))
    held = np.load(tmp_path / "x.npy", mmap_mode="r"), Y, WEIGHT
    seen = []

    def apply(params, x):
        seen.append(x.shape)
        return NET.apply(params, x)

    evaluate = jaxbp.make_evaluate(apply, jaxbp.softmax_cross_entropy, NAMES)
    result = run(evaluate=evaluate, validation=held, early_stopping=STOPPING, memory_budget=2 * 13 * 16)
    assert {shape for shape in seen if len(shape) == 2 and shape[0] < 61} == {(13, 4), (9, 4)}
    waited = result.history.pop("waited")
    assert_same(result, whole)
    assert len(waited) == 3


@pytest.mark.soak
def test_every_second_epoch_and_iterations_and_what_is_evaluated():
    """Preprocessed pixels, the average of the parameters, a sparse matrix."""
    sparse = pytest.importorskip("scipy.sparse")
    options = {"evaluate_every": 2, "ema": 0.5, "epochs": 5, "preprocess": lambda x: 2 * x}
    whole = run(**options)
    assert np.isnan(whole.history["val_loss"]).tolist() == [True, False, True, False, True]
    assert_same(run(validation=Loader(batches(X, Y)), **options), whole)
    counted = {"iterations": 9, "evaluate_every": 4}
    assert_same(run(validation=Loader(batches(X, Y)), **counted), run(**counted))
    result = run(validation=(sparse.csr_matrix(X), Y), memory_budget=600, **options)
    result.history.pop("waited", None)
    assert_same(result, whole)


def test_batches_for_both_go_on_from_a_folder(tmp_path):
    parts, held = Loader(batches(X, Y, size=8)), Loader(batches(X, Y))
    options = {"validation": held, "checkpoints": jaxbp.Checkpoints(tmp_path)}

    def fit(epochs, **options):
        return jaxbp.fit(GRAD, NET.init(jax.random.key(0)), parts, optimizer=optax.sgd(0.1), epochs=epochs,
                         key=jax.random.key(1), evaluate=EVALUATE, progress_bar=False, **options)  # fmt: skip

    fit(1, **options)
    again, whole = fit(3, **options), fit(3, validation=held)
    again.history.pop("waited"), whole.history.pop("waited")
    assert_same(again, whole)


@pytest.mark.soak
def test_the_state_of_a_model_and_a_mesh():
    net = jaxbp.chain(jaxbp.dense(4, 6, bias=False), jaxbp.batch_norm(6), jaxbp.dense(6, 3))
    evaluate = jaxbp.make_evaluate(net.apply, jaxbp.softmax_cross_entropy)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    found = [
        jaxbp.fit(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy), net.init(jax.random.key(0)), data(),
                  optimizer=optax.sgd(0.1), key=jax.random.key(1), batch_size=8, epochs=2, evaluate=evaluate,
                  mesh=mesh, validation=held, progress_bar=False)
        for held in ((X, Y), Loader(batches(X, Y)))
    ]  # fmt: skip
    assert_same(*found)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"evaluate": lambda p, x, y: {"loss": jnp.float32(0)}, "validation": Loader(batches(X, Y))},
         "expected evaluate by jaxbp.make_evaluate, where"),
        ({"validation": iter(batches(X, Y))}, "steps_per_epoch for an iterator"),
        ({"validation": Loader([])}, "at least one batch, got none"),
        ({"validation": Loader([(X, Y), (X[:, :3], Y)])}, "first, .* in validation after epoch 1, batch 2"),
        ({"validation": Loader([(X, Y), (X * np.nan, Y)])}, "validation after epoch 1, batch 2: .*NaN"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(options, says):
    with pytest.raises((TypeError, ValueError), match=says):
        run(**options)
