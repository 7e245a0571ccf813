"""What a trained run, a data set and an estimator are given is looked at before it is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp

NET = jaxbp.mlp([2, 3], jaxbp.tanh)
PARAMS = NET.init(jax.random.key(0))
X, Y = np.array([[1.5, 2.0], [3.0, 4.25], [5.0, 6.0]], np.float32), np.array([0, 2, 1])
RUN = jaxbp.Trained(NET, PARAMS, jaxbp.softmax_cross_entropy)
ERRORS = (TypeError, ValueError)


def deleted():
    held = jnp.arange(3)
    held.delete()
    return held


NO_LABELS = {
    "a number": 3, "a function": np.sin, "an object": object(), "a generator": (y for y in Y), "...": ...,
    "ragged": [[0], [1, 2], [0]], "deleted": deleted(), "keys": jax.random.split(jax.random.key(0), 3),
    "the masked constant": np.ma.masked, "rows with NaN": np.array([[np.nan, 1, 0]] * 3),
    "None in it": [0, None, 1], "one less": Y[:2], "no class": [0, 2, 3],
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_LABELS)
def test_labels_to_compare_with(kind):
    with pytest.raises(ERRORS, match=r"evaluate.*: expected .*, got "):
        RUN.evaluate(X, NO_LABELS[kind])


@pytest.mark.parametrize(
    "y", [Y.tolist(), tuple(Y), jnp.asarray(Y), Y.astype(float), np.eye(3)[Y], Y[:, None]]
)
def test_labels_in_any_form_are_the_same(y):
    assert RUN.evaluate(X, y).metrics == RUN.evaluate(X, Y).metrics


@pytest.mark.parametrize(
    "preprocess",
    [lambda x: None, lambda x: "x", lambda x: np.sin, lambda x: x[1:], lambda x: (x, x), lambda x: x.T[:1]],
)
def test_what_preprocess_returns(preprocess):
    run = jaxbp.Trained(NET, PARAMS, jaxbp.softmax_cross_entropy, (2,), preprocess=preprocess)
    with pytest.raises(ERRORS, match=r"predict: expected .*, got "):
        run.predict(X)


@pytest.mark.parametrize("x", [3.0, np.float32(1), np.array(2.0), None, "x.none", np.sin])
def test_examples_have_axes(x):
    with pytest.raises((*ERRORS, OSError), match=r"expected .*, got "):
        RUN.predict(x)


@pytest.mark.parametrize("hole", [{"W": None}, {"b": None}])
def test_no_parameter_is_none(hole):
    with pytest.raises(ERRORS, match=r"Trained: expected .*, got None"):
        jaxbp.Trained(NET, {1: PARAMS[1] | hole}, jaxbp.softmax_cross_entropy)


@pytest.mark.parametrize(
    "which", [[0, 3], [-1], [0.0, 1.0], "0", 1, None, [[0]], [True, False, True], np.sin]
)
def test_examples_by_their_numbers(which):
    data = jaxbp.Dataset(X, Y, 3)
    with pytest.raises(ERRORS, match=r"Dataset.rows: expected .*, got "):
        data.rows(which)
    for numbers in ([2, 0], np.array([2, 0], ">i4"), jnp.array([2, 0])):
        assert data.rows(numbers).y.tolist() == [1, 0]
    assert len(data.rows([])) == 0


SETTINGS = [
    {"hidden": 4}, {"hidden": None}, {"hidden": "many"}, {"hidden": (0,)}, {"hidden": (2.5,)},
    {"learning_rate": 0}, {"learning_rate": -0.1}, {"learning_rate": [0.1]}, {"learning_rate": 10**400},
    {"learning_rate": np.array([0.1])}, {"learning_rate": 1j}, {"learning_rate": {}},
    {"validation_fraction": None}, {"validation_fraction": 0}, {"validation_fraction": 1},
    {"validation_fraction": "half"}, {"validation_fraction": np.array([0.5])}, {"validation_fraction": 1j},
    {"validation_fraction": 10**400, "patience": 2}, {"validation_fraction": ..., "patience": 2},
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_of_an_estimator(settings):
    from jaxbp.sklearn import Classifier, Regressor

    for kind, y in ((Classifier, Y), (Regressor, Y.astype(float))):
        with pytest.raises(ERRORS, match=rf"^{kind.__name__}: expected .*, got "):
            kind(**{"hidden": (2,), "epochs": 1} | settings).fit(X, y)


def test_a_flag_of_numpy_is_a_flag(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("a,b\n1,2\n3,1\n5,2\n2,1\n")
    assert [len(part) for part in jaxbp.load(file, header=np.True_)] == [
        len(part) for part in jaxbp.load(file, header=True)
    ]
