"""What a trained network predicts and how it is evaluated, of everything that holds examples."""

import json
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics
from sklearn.preprocessing import StandardScaler

import jaxbp
from jaxbp import Trained
from jaxbp.runs import outputs

CE, BCE, SE = jaxbp.softmax_cross_entropy, jaxbp.binary_cross_entropy, jaxbp.squared_error
NET = jaxbp.mlp([2, 3], jaxbp.relu)
PARAMS = {1: {"W": jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), "b": jnp.zeros(3)}}
X = np.array([[2.0, 1.0], [0.5, 3.0], [-1.0, -2.0], [0.0, 1.0], [3.0, 0.0]], np.float32)
ONE = jaxbp.mlp([2, 1])
LINE = {1: {"W": jnp.array([[2.0, -1.0]]), "b": jnp.array([0.5])}}


@pytest.fixture(scope="module")
def run():
    return Trained(NET, PARAMS, CE, classes=("right", "up", "down"))


def refused(call, *words, error=(ValueError, TypeError)):
    with pytest.raises(error, match=r": expected .+, got .+") as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_predictions_are_those_of_the_network(run):
    f = np.asarray(jax.jit(NET.apply)(PARAMS, X))
    np.testing.assert_array_equal(run.predict(X), np.array(["right", "up", "down"])[f.argmax(-1)])
    np.testing.assert_array_equal(run.predict_proba(X), jax.nn.softmax(f), strict=True)
    assert Trained(NET, PARAMS, CE).predict(X).tolist() == [0, 1, 2, 1, 0]
    assert Trained(NET, PARAMS, CE, classes=(7, 3, 5)).predict(X).tolist() == [7, 3, 5, 3, 7]


@pytest.mark.parametrize(
    "x",
    [
        X.tolist(),
        jnp.asarray(X),
        X.astype(np.float64),
        X.astype(">f4"),
        X[::1].astype(object),
        tuple(map(tuple, X)),
    ],
    ids=["lists", "jax", "float64", "big endian", "objects", "tuples"],
)
def test_examples_may_be_whatever_holds_numbers(run, x):
    np.testing.assert_array_equal(run.predict_proba(x), run.predict_proba(X))


def test_frames_and_sparse_matrices_are_examples(run):
    pd, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    for x in (
        pd.DataFrame(X, columns=["a", "b"]),
        sparse.csr_matrix(X),
        pytest.importorskip("polars").DataFrame(X),
    ):
        np.testing.assert_array_equal(run.predict(x), run.predict(X))
    assert run.predict(pd.Series(X[0], ["a", "b"])) == "right"


@pytest.mark.parametrize("leading", [(), (5,), (0,), (1,), (5, 1), (1, 5, 1)])
def test_one_example_many_and_none(run, leading):
    x = X[: math.prod(leading)].reshape(*leading, 2) if leading else X[1]
    assert run.predict(x).shape == leading
    assert run.predict_proba(x).shape == (*leading, 3)
    if leading != (0,):
        assert run.predict(x).ravel().tolist() == run.predict(x.reshape(-1, 2)).tolist()
    assert Trained(ONE, LINE, SE).predict(x).shape == leading


def test_many_examples_go_through_in_parts(run, monkeypatch):
    whole = run.predict_proba(X)
    monkeypatch.setattr(outputs, "_EXAMPLES", 2)
    np.testing.assert_allclose(run.predict_proba(X), whole, rtol=1e-6)
    sizes = []
    monkeypatch.setitem(
        run.__dict__, "_apply", lambda params, x: sizes.append(len(x)) or NET.apply(params, x)
    )
    run.predict(X)
    assert sizes == [2, 2, 1]
    monkeypatch.setattr(outputs, "_BYTES", 8)
    sizes.clear()
    run.predict(X)
    assert sizes == [1] * 5


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((4, 3)), ["shape (2,)", "(4, 3)"]),
        (np.zeros(3), ["shape (2,)"]),
        (np.float32(1), ["shape (2,)"]),
        ([[1.0, np.nan]], ["finite", "x[0,1]"]),
        ([[1.0, np.inf]], ["finite"]),
        (np.zeros((4, 2), np.uint8), ["x / 255", "Pixels(255)"]),
        (np.zeros((4, 2), complex), ["real"]),
        ([["a", "b"]], ["numbers"]),
        (None, ["x"]),
        ("nowhere.csv", ["nowhere.csv"]),
        (b"x", ["x"]),
        ([[1.0, 2.0], [3.0]], ["rectangular"]),
    ],
)
def test_what_is_no_example_is_refused(run, x, words):
    for call in (run.predict, run.predict_proba):
        refused(lambda call=call: call(x), *words, error=(ValueError, TypeError, OSError))


def test_whole_numbers_are_features(run):
    np.testing.assert_array_equal(run.predict(X.astype(int)), run.predict(X.astype(int).astype(float)))
    assert run.predict([[True, False]]).tolist() == ["right"]


def test_an_output_that_is_no_number_is_said():
    params = jax.tree.map(lambda p: p.at[0].set(jnp.nan), PARAMS)
    refused(lambda: Trained(NET, params, CE).predict(X), "NaN for example 0", "diverge")


def test_a_logit_is_a_yes_or_a_no():
    run = Trained(ONE, LINE, BCE, classes=("no", "yes"))
    p = 1 / (1 + np.exp(-np.asarray(ONE.apply(LINE, X))[:, 0]))
    assert run.predict(X).tolist() == ["yes" if v >= 0.5 else "no" for v in p]
    np.testing.assert_allclose(run.predict_proba(X), np.stack([1 - p, p], 1), rtol=1e-6)
    assert Trained(ONE, LINE, BCE).predict(X).tolist() == (p >= 0.5).astype(int).tolist()
    y = ["yes", "no", "no", "no", "yes"]
    found = run.evaluate(X, y)
    assert found.metrics["accuracy"] == np.mean(run.predict(X) == np.array(y))
    again = Trained(ONE, LINE, BCE).evaluate(X, [[1.0], [0.0], [0.0], [0.0], [1.0]])
    assert again.metrics == found.metrics


def test_several_logits_are_a_yes_or_a_no_each():
    run = Trained(NET, PARAMS, BCE)
    f = np.asarray(NET.apply(PARAMS, X))
    np.testing.assert_array_equal(run.predict(X), (f >= 0).astype(int))
    assert run.predict_proba(X).shape == (5, 3)
    y = (f > 0.5).astype(int)
    found = run.evaluate(X, y)
    assert found.metrics["accuracy"] == metrics.accuracy_score(y, run.predict(X))
    assert found.confusion is None
    assert len(found.to_dict()["classes"]) == 3
    refused(lambda: run.evaluate(X, y + 1), "0 and 1")


def test_squared_error_gives_values_or_the_largest_of_named_classes():
    run = Trained(ONE, LINE, SE)
    np.testing.assert_array_equal(run.predict(X), np.asarray(jax.jit(ONE.apply)(LINE, X))[:, 0], strict=True)
    refused(lambda: run.predict_proba(X), "probabilities", "squared_error")
    assert Trained(NET, PARAMS, SE).predict(X).shape == (5, 3)
    named = Trained(NET, PARAMS, SE, classes=("a", "b", "c"))
    assert named.predict(X).tolist() == ["a", "b", "c", "b", "a"]
    refused(lambda: named.predict_proba(X), "probabilities")
    rows = np.eye(3)[[0, 1, 2, 1, 1]]
    assert named.evaluate(X, rows).metrics["accuracy"] == 0.8
    assert named.evaluate(X, rows).metrics["loss"] == pytest.approx(float(SE(NET.apply(PARAMS, X), rows)))


def test_classes_are_evaluated_by_scikit_learn(run):
    y = np.array(["right", "up", "up", "up", "right"])
    found = run.evaluate(X, y)
    predicted = run.predict(X)
    assert found.metrics["accuracy"] == metrics.accuracy_score(y, predicted)
    assert found.metrics["loss"] == pytest.approx(float(CE(NET.apply(PARAMS, X), jnp.array([0, 1, 1, 1, 0]))))
    np.testing.assert_array_equal(
        found.confusion, metrics.confusion_matrix(y, predicted, labels=["right", "up", "down"])
    )
    assert found.per_class["precision"].tolist() == [1, 1, 0]
    assert math.isnan(found.per_class["recall"][2])  # no example of it
    said = found.to_dict()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["classes"][2]["recall"] is None
    assert said["classes"][1] == {"class": "up", "precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert "predicted as" in repr(found)
    assert "<table>" in found._repr_html_()
    for same in (y.tolist(), y.astype(object), np.eye(3)[[0, 1, 1, 1, 0]]):
        assert run.evaluate(X, same).to_dict() == said


def test_labels_are_those_of_the_classes():
    numbered = Trained(NET, PARAMS, CE, classes=(7, 3, 5))
    for y in ([7, 3, 5, 3, 7], np.array([7.0, 3, 5, 3, 7]), np.array([7, 3, 5, 3, 7], np.uint8)):
        assert numbered.evaluate(X, y).metrics["accuracy"] == 1
    refused(lambda: numbered.evaluate(X, [0, 1, 2, 1, 0]), "7, 3, 5", "y[0] is 0")
    plain = Trained(NET, PARAMS, CE)
    assert plain.evaluate(X, [0, 1, 2, 1, 0]).metrics["accuracy"] == 1
    assert plain.evaluate(X, np.array([[0], [1], [2], [1], [0]])).metrics["accuracy"] == 1
    refused(lambda: plain.evaluate(X, [0, 1, 3, 1, 0]), "y[2] is 3")
    refused(lambda: plain.evaluate(X, [0, 1]), "5 labels", "2")
    refused(lambda: plain.evaluate(X, np.eye(3)[[0, 1, 2, 1, 0]] * 2), "row 0, which adds to 2")
    refused(lambda: plain.evaluate(X, print), "y")
    refused(lambda: plain.evaluate(X[:0], []), "at least 1 example")
    refused(lambda: plain.evaluate(X[0], [0]), "(N, ...)")
    refused(lambda: plain.evaluate(X), "y beside x")
    refused(lambda: plain.evaluate(X, ["right"] * 5), "y[0] is right")


def test_values_are_evaluated_by_scikit_learn():
    run = Trained(ONE, LINE, SE)
    y = np.array([3.0, -1.0, 1.0, 0.0, 6.0])
    found, predicted = run.evaluate(X, y), run.predict(X)
    assert found.metrics == {
        "r2": metrics.r2_score(y, predicted),
        "mae": metrics.mean_absolute_error(y, predicted),
        "rmse": metrics.root_mean_squared_error(y, predicted),
    }
    assert run.evaluate(X, y[:, None]).metrics == found.metrics
    assert json.dumps(run.evaluate(X[:1], y[:1]).to_dict(), allow_nan=False)  # R2 of one example is none
    assert "classes" not in found.to_dict()
    refused(lambda: run.evaluate(X, y * np.nan), "finite", "y[0]")
    refused(lambda: run.evaluate(X, np.zeros((5, 2))), "(5, 2)")


def test_a_data_set_has_its_labels(run):
    data = jaxbp.Dataset(X, np.array([0, 1, 2, 1, 0], np.int32), 3)
    assert run.evaluate(data).metrics["accuracy"] == 1  # by the numbers of the classes
    np.testing.assert_array_equal(run.predict(data), run.predict(X))


def test_files_are_examples(run, tmp_path):
    np.savez(tmp_path / "both.npz", x=X, y=np.array(["right", "up", "down", "up", "right"]))
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{float(a)!r},{float(b)!r}\n" for a, b in X))
    (tmp_path / "bare.csv").write_text("".join(f"{float(a)!r};{float(b)!r}\n" for a, b in X))
    for name in ("both.npz", "x.npy", "x.csv", "bare.csv"):
        np.testing.assert_array_equal(run.predict(tmp_path / name), run.predict(X))
        np.testing.assert_array_equal(run.predict(str(tmp_path / name)), run.predict(X))
    assert run.evaluate(tmp_path / "both.npz").metrics["accuracy"] == 1
    rows = zip(X, [0, 1, 2, 1, 1], strict=True)
    (tmp_path / "xy.csv").write_text("a,b,class\n" + "".join(f"{a[0]},{a[1]},{label}\n" for a, label in rows))
    assert Trained(NET, PARAMS, CE).evaluate(tmp_path / "xy.csv").metrics["accuracy"] == 0.8
    refused(lambda: run.predict(tmp_path / "xy.csv"), "shape (2,)", "(5, 3)")


def test_pixels_are_scaled_as_for_the_training():
    net = jaxbp.mlp([4, 2])
    params = net.init(jax.random.key(0))
    run = Trained(net, params, CE, preprocess=jaxbp.Pixels(255))
    raw = np.arange(24, dtype=np.uint8).reshape(6, 4) * 10
    x = np.divide(raw, 255, dtype=np.float32)
    expected = jax.nn.softmax(jax.jit(net.apply)(params, x))
    for given in (raw, raw.astype(np.int64), raw.tolist(), x, raw.reshape(6, 2, 2)):
        np.testing.assert_array_equal(run.predict_proba(given), expected)
    refused(lambda: run.predict(raw.astype(float)), "0..255", "x / 255")
    refused(lambda: run.predict(raw.astype(int) * 10), "0..255")
    assert run.predict(raw[0].reshape(2, 2)).shape == ()


def test_a_scaling_is_part_of_the_run():
    scaler = StandardScaler().fit(X.astype(float))
    run = Trained(NET, PARAMS, CE, preprocess=scaler)
    np.testing.assert_array_equal(run.predict(X), Trained(NET, PARAMS, CE).predict(scaler.transform(X)))


def test_what_scales_must_give_numbers():
    refused(lambda: Trained(NET, PARAMS, CE, preprocess=lambda x: print).predict(X), "preprocess(x)")
    refused(lambda: Trained(NET, PARAMS, CE, preprocess=lambda x: x[:, :1]).predict(X), "last axis 2")


def test_images_go_to_a_network_of_images(key):
    net = jaxbp.chain(jaxbp.flatten(2, 2), jaxbp.dense(4, 3))
    run = Trained(net, net.init(key), CE)
    assert run.shape == (2, 2)
    assert run.predict(np.ones((7, 2, 2))).shape == (7,)
    assert run.predict(np.ones((2, 2))).shape == ()
    refused(lambda: run.predict(np.ones((7, 4))), "shape (2, 2)", "x.reshape(-1, 2, 2)")


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (jaxbp.residual(jaxbp.dense(3, 3)), (3,)),
        (jaxbp.mixed_precision(jaxbp.mlp([5, 3])), (5,)),
        (jaxbp.mixed_precision(jaxbp.chain(jaxbp.flatten(2, 3), jaxbp.dense(6, 3))), (2, 3)),
        (jaxbp.dense(4, 3), (4,)),
    ],
)
def test_the_first_layer_says_what_an_example_is(net, shape, key):
    run = Trained(net, net.init(key), CE)
    assert run.shape == shape
    assert run.predict(np.ones((2, *shape))).shape == (2,)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"network": jax.nn.relu}, "network"),
        ({"params": {1: {"W": jnp.ones((2, 3)), "b": jnp.zeros(3)}}}, "W'] of shape (3, 2)"),
        ({"params": {}}, "another network's init"),
        ({"params": {1: {"W": None, "b": jnp.zeros(3)}}}, "W'] of shape (3, 2)"),
        ({"params": PARAMS | {2: {"W": jnp.ones((2, 3))}}}, "[2]['W']"),
        ({"params": {1: {"W": jnp.ones((3, 2), int), "b": jnp.zeros(3)}}}, "floating"),
        ({"loss": lambda f, y: 0.0}, "loss"),
        ({"shape": (3,)}, "last axis 2"),
        ({"shape": "x"}, "shape"),
        ({"classes": ("a", "b")}, "3 classes"),
        ({"classes": ("a", "a", "b")}, "different"),
        ({"classes": ("a", 1, 2)}, "different"),
        ({"classes": "abc"}, "classes"),
        ({"classes": (0.5, 1.5, 2.5)}, "whole numbers"),
        ({"loss": BCE, "network": ONE, "params": LINE, "classes": ("a",)}, "2 classes"),
        ({"loss": SE, "network": ONE, "params": LINE, "classes": ("a", "b", "c")}, "2 classes"),
        ({"preprocess": 255}, "preprocess"),
        ({"schema": {}}, "schema"),
        ({"metrics": [1]}, "metrics"),
    ],
)
def test_what_does_not_fit_together_is_refused_at_once(given, words):
    refused(lambda: Trained(**{"network": NET, "params": PARAMS, "loss": CE} | given), words)


def test_a_layer_of_the_user_s_own_says_its_shape(key):
    own = jaxbp.Layer(
        "twice",
        lambda p, f, *, key=None: 2 * f,
        lambda p, f, *, key=None: (2 * f, ()),
        lambda p, s, d: ({}, 2 * d),
    )
    net = jaxbp.chain(own, jaxbp.dense(2, 3))
    refused(lambda: Trained(net, PARAMS, CE), "shape=")
    assert Trained(net, PARAMS, CE, shape=(2,)).predict(X).shape == (5,)


def test_a_run_is_pickled(run):
    made = pickle.loads(pickle.dumps(run))
    run.predict(X)  # what was compiled is not in it
    made = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(made.predict(X), run.predict(X))
    assert repr(made) == repr(run)


def test_float64_parameters_compute_in_float64():
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), PARAMS)
        assert Trained(NET, params, CE).predict_proba(X).dtype == np.float64
        assert Trained(NET, PARAMS, CE).predict_proba(X.astype(np.float64)).dtype == np.float32


@pytest.mark.parametrize("batch", ["n", 5])
def test_the_network_is_exported(run, batch):
    exported = run.export(batch)
    np.testing.assert_allclose(exported.call(X), run.predict_proba(X), rtol=1e-6)
    pytest.importorskip("flatbuffers")
    again = jax.export.deserialize(exported.serialize())
    np.testing.assert_array_equal(again.call(X), exported.call(X))


def test_a_deep_network_is_exported(key):
    block = jaxbp.residual(jaxbp.chain(jaxbp.dense(4, 4), jaxbp.leaky_relu))
    first = jaxbp.chain(jaxbp.flatten(2, 2), jaxbp.dense(4, 4), jaxbp.gelu, jaxbp.dropout(0.5))
    net = jaxbp.chain(first, block, jaxbp.dense(4, 1))
    run = Trained(net, net.init(key), BCE)
    x = np.random.default_rng(0).normal(size=(40, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(run.export().call(x)[:, 0], run.predict_proba(x)[:, 1], rtol=1e-5)
