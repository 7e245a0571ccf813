"""The estimators do what scikit-learn asks of them, alone, in a Pipeline and in a search."""

import pickle

import jax
import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from jaxbp.sklearn import Classifier, Regressor

# Those that compile next to nothing; all of them are in the soak.
QUICK = (
    "init",
    "clone",
    "repr",
    "tags",
    "constructible",
    "unfitted",
    "empty",
    "complex",
    "regression_target",
)


def checks(estimator):
    return [
        pytest.param(made, check, id=f"{type(estimator).__name__}-{check.func.__name__}",
                     marks=() if any(word in check.func.__name__ for word in QUICK) else pytest.mark.soak)
        for made, check in estimator_checks_generator(estimator)
    ]  # fmt: skip


@pytest.mark.filterwarnings("default")  # the checks provoke warnings on purpose
@pytest.mark.parametrize(
    ("estimator", "check"), [*checks(Classifier(epochs=30)), *checks(Regressor(epochs=30))]
)
def test_what_scikit_learn_asks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    y = np.array(["no", "perhaps", "yes"])[np.arange(96) % 3]
    x = rng.normal(size=(96, 2)) + 4 * np.array([[0, 0], [1, 0], [0, 1]])[np.arange(96) % 3]
    return x * [1, 1000], y


@pytest.fixture(scope="module")
def fitted(blobs):
    x, y = blobs
    return make_pipeline(
        StandardScaler(), Classifier((8,), epochs=20, learning_rate=0.03, random_state=0)
    ).fit(x, y)


def test_a_classifier_in_a_pipeline_speaks_in_the_users_labels(fitted, blobs):
    x, y = blobs
    assert is_classifier(fitted[-1])
    assert fitted.score(x, y) > 0.95
    assert fitted.classes_.tolist() == ["no", "perhaps", "yes"]
    p = fitted.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(fitted.classes_[p.argmax(axis=1)], fitted.predict(x))
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(x), p)


def test_predictions_do_not_depend_on_what_else_is_asked(fitted, blobs):
    x, _ = blobs
    one_by_one = np.concatenate([fitted.predict_proba(row[None]) for row in x[:5]])
    np.testing.assert_allclose(one_by_one, fitted.predict_proba(x)[:5], rtol=1e-12)


def test_a_search_over_sizes_and_rates(blobs):
    x, y = blobs
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Classifier((8,), epochs=20, random_state=0)),
        {"classifier__learning_rate": [1e-6, 0.03]}, cv=2,
    )  # fmt: skip
    search.fit(x, y)
    assert search.best_params_ == {"classifier__learning_rate": 0.03}
    assert search.best_score_ > 0.9


def test_weights_count(blobs):
    """Of two labels for each point, the heavier one is learned."""
    x, _ = blobs
    x = np.concatenate([x, x]) / x.std(axis=0)
    y = np.repeat([0, 1], 96)
    for heavy in (0, 1):
        model = Classifier((), epochs=30, learning_rate=0.1, random_state=0)
        model.fit(x, y, sample_weight=np.where(y == heavy, 9.0, 1.0))
        assert (model.predict(x) == heavy).all()
        np.testing.assert_allclose(model.predict_proba(x)[:, heavy], 0.9, atol=0.05)


def test_patience_holds_a_part_out_and_stops(blobs):
    x, y = blobs
    model = Classifier(
        (8,), epochs=200, learning_rate=0.3, patience=2, validation_fraction=0.25, random_state=0
    )
    model.fit(x / x.std(axis=0), y)
    assert model.n_iter_ < 200
    assert len(model.history_["val_loss"]) == model.n_iter_


@pytest.mark.parametrize("targets", [1, 2])
def test_a_regressor_learns_targets_far_from_unit_scale(targets):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 2))
    y = 3e6 + 1e4 * x if targets == 2 else 3e6 + 1e4 * (x[:, 0] - x[:, 1])
    model = Regressor((), epochs=60, learning_rate=0.1, random_state=0).fit(x, y)
    assert is_regressor(model)
    assert model.predict(x).shape == y.shape
    assert model.score(x, y) > 0.999


def test_it_computes_in_the_precision_of_its_inputs():
    x = np.linspace(0, 1, 16, dtype=np.float32)[:, None]
    model = Regressor((), epochs=400, learning_rate=0.1, random_state=0).fit(x, 3 * x[:, 0])
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params_)} == {np.dtype(np.float32)}
    assert model.score(x, 3 * x[:, 0]) > 0.999


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden": (0,)}, "each of hidden a whole number of at least 1, got 0"),
        ({"activation": "Relu"}, "activation 'sigmoid', .*did you mean 'relu'"),
        ({"optimizer": "rmsprop"}, "optimizer 'sgd', 'momentum', 'adam' or 'adamw'"),
        ({"epochs": 0}, "epochs a whole number of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size a whole number of at least 1"),
    ],
)
def test_settings_are_tried_by_fit(settings, said):
    with pytest.raises(ValueError, match=f"^Classifier: expected {said}"):
        Classifier(**settings).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(NotFittedError):
        Classifier(**settings).predict([[0.0]])
