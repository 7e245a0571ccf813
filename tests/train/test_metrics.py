"""Metrics by name are scikit-learn's functions, for each kind of target, weighted, in batches, in `fit`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics as of_sklearn

import jaxbp
from jaxbp.data import Dataset, split
from tests.train.test_fit import NET, data, run

N = 37
RNG = np.random.default_rng(0)
F = RNG.standard_normal((N, 3)).astype(np.float32)
LABELS, MANY = RNG.integers(0, 3, N), RNG.integers(0, 2, (N, 3))
WEIGHT = RNG.random(N).astype(np.float32)
CLASSES, OUTPUTS, SQUARED = jaxbp.softmax_cross_entropy, jaxbp.binary_cross_entropy, jaxbp.squared_error
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
GUESS, ON = F.argmax(1), F > 0
VALIDATED = ["val_accuracy", "val_f1_macro", "val_loss"]
MU = np.asarray(jax.nn.softmax(F.astype(np.float64)))

CASES = {  # loss, f, y, and by name what scikit-learn makes of them
    "labels": (CLASSES, F, LABELS, {
        "accuracy": lambda w: of_sklearn.accuracy_score(LABELS, GUESS, sample_weight=w),
        "f1_macro": lambda w: of_sklearn.f1_score(LABELS, GUESS, average="macro", sample_weight=w),
        "roc_auc_ovr": lambda w: of_sklearn.roc_auc_score(LABELS, MU, multi_class="ovr", sample_weight=w),
        "neg_log_loss": lambda w: -of_sklearn.log_loss(LABELS, MU, sample_weight=w),
    }),
    "one-hot rows": (CLASSES, F, ONE_HOT, {
        "accuracy": lambda w: of_sklearn.accuracy_score(LABELS, GUESS, sample_weight=w),
        "balanced_accuracy": lambda w: of_sklearn.balanced_accuracy_score(LABELS, GUESS, sample_weight=w),
    }),
    "binary": (OUTPUTS, F[:, :1], MANY[:, :1], {
        "accuracy": lambda w: of_sklearn.accuracy_score(MANY[:, 0], ON[:, 0], sample_weight=w),
        "roc_auc": lambda w: of_sklearn.roc_auc_score(MANY[:, 0], F[:, 0], sample_weight=w),
        "f1": lambda w: of_sklearn.f1_score(MANY[:, 0], ON[:, 0], sample_weight=w),
    }),
    "multi-label": (OUTPUTS, F, MANY, {
        "accuracy": lambda w: np.average((MANY == ON).mean(1), weights=w),
        "exact_match": lambda w: of_sklearn.accuracy_score(MANY, ON, sample_weight=w),
        "roc_auc": lambda w: of_sklearn.roc_auc_score(MANY, F, sample_weight=w),
        "f1_micro": lambda w: of_sklearn.f1_score(MANY, ON, average="micro", sample_weight=w),
    }),
    "numbers": (SQUARED, F, MANY.astype(np.float32), {
        "r2": lambda w: of_sklearn.r2_score(MANY, F, sample_weight=w),
        "mean_squared_error": lambda w: of_sklearn.mean_squared_error(MANY, F, sample_weight=w),
        "mean_absolute_error": lambda w: of_sklearn.mean_absolute_error(MANY, F, sample_weight=w),
    }),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_metric_by_name_is_scikit_learn_s(case):
    loss, f, y, wanted = CASES[case]
    evaluate = jaxbp.make_evaluate(lambda params, x: x, loss, list(wanted))
    for weight in (None, WEIGHT):
        found = evaluate({}, f, y, **({} if weight is None else {"weight": weight}))
        assert list(found) == ["loss", *wanted]
        for name, of in wanted.items():
            assert float(found[name]) == pytest.approx(of(weight), rel=1e-5), name


def test_in_batches_no_metric_changes_and_the_network_sees_small_ones():
    seen = []

    def apply(params, x):
        seen.append(len(x["rows"]))
        return x["rows"]

    whole = jaxbp.make_evaluate(lambda params, x: x, CLASSES, ["accuracy", "roc_auc_ovr"])({}, F, LABELS)
    parts = jaxbp.make_evaluate(apply, CLASSES, ["accuracy", "roc_auc_ovr"], batch_size=10)
    found = jax.jit(parts)({}, {"rows": F}, LABELS)
    assert {name: float(v) for name, v in found.items()} == pytest.approx(
        {name: float(v) for name, v in whole.items()}
    )
    assert set(seen) == {10, 7}


def test_metrics_of_one_s_own_and_scorers_have_names_of_one_s_own():
    scorer = of_sklearn.make_scorer(of_sklearn.fbeta_score, beta=2, average="macro")
    evaluate = jaxbp.make_evaluate(lambda params, x: x, CLASSES, {"f2": scorer, "top": lambda f, y: f.max()})
    found = evaluate({}, F, LABELS)
    assert found["top"] == F.max()
    assert float(found["f2"]) == pytest.approx(of_sklearn.fbeta_score(LABELS, GUESS, beta=2, average="macro"))
    with pytest.raises(TypeError, match="a metric top with an argument weight"):
        evaluate({}, F, LABELS, weight=WEIGHT)


def test_one_output_has_no_accuracy_by_its_largest():
    evaluate = jaxbp.make_evaluate(lambda params, x: x, lambda f, y: jnp.mean((f[:, 0] - y) ** 2))
    assert list(evaluate({}, F[:, :1], MANY[:, 0])) == ["loss"]


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ("acuracy", "did you mean 'accuracy'"),
        (["f1_makro"], "did you mean 'f1_macro' or 'f1_micro'"),
        (["accuracy", "accuracy"], "metrics of different names, got 'accuracy' twice"),
        ([3], "a name for each metric, got the int 3"),
        ({"a": lambda f: f}, "metric a to take 2 arguments"),
    ],
)
def test_other_metrics_are_refused(metrics, says):
    with pytest.raises((TypeError, ValueError), match="make_evaluate: expected ") as caught:
        jaxbp.make_evaluate(lambda params, x: x, CLASSES, metrics)
    assert says in str(caught.value)


def test_the_history_has_what_the_host_computes_of_each_epoch():
    x, y = data()
    evaluate = jaxbp.make_evaluate(NET.apply, CLASSES, ["accuracy", "f1_macro"], batch_size=8)
    result = run(validation=(x, y), evaluate=evaluate)
    guess = NET.apply(result.params, x).argmax(-1)
    wanted = of_sklearn.f1_score(y, guess, average="macro")
    assert result.history["val_f1_macro"][-1] == pytest.approx(wanted)
    assert result.history["val_accuracy"][-1] == pytest.approx(of_sklearn.accuracy_score(y, guess))


def test_metrics_of_the_training_batches_are_those_of_their_own_outputs():
    """At a learning rate of 0 they are those of all; a part is held out and measured alike."""
    x, y = data()
    weight = np.linspace(0, 1, 26, dtype=np.float32)
    given = Dataset(x, y, 3, "toy", weight)
    result = run(
        train=given, metrics=["accuracy", "f1_macro"], validation=0.25, epochs=1, optimizer=optax.sgd(0.0)
    )
    train, held_out = split(given, 0.25)
    assert list(result.history) == ["epoch", "seconds", "loss", "accuracy", *VALIDATED]
    for prefix, part in (("", train), ("val_", held_out)):
        guess = NET.apply(result.params, part.x).argmax(-1)
        wanted = of_sklearn.accuracy_score(part.y, guess, sample_weight=part.weight)
        assert result.history[f"{prefix}accuracy"][0] == pytest.approx(wanted, rel=1e-6)


def test_the_last_part_is_held_out_where_the_order_is_given():
    x, _ = data()
    seen = []

    def evaluate(params, x, y):
        seen.append(x.shape)
        return {"first": x[0, 0]}

    result = run(validation=0.2, evaluate=evaluate, shuffle=False, epochs=1)
    assert result.history["val_first"][0] == x[-5, 0]
    assert set(seen) == {(5, 4)}


def test_what_a_scorer_refuses_is_nan_and_said():
    """A class that the validation data lack; numbers that a logarithm lacks. What was learned stays."""
    x, y = data(9)
    held = x[y < 2], y[y < 2]
    evaluate = jaxbp.make_evaluate(NET.apply, CLASSES, ["roc_auc_ovr", "accuracy"])
    with pytest.warns(UserWarning, match=r"metric roc_auc_ovr: expected predictions .* it is NaN|in all 1"):
        result = run(validation=held, evaluate=evaluate, epochs=1)
    assert np.isnan(result.history["val_roc_auc_ovr"]).all()
    assert np.isfinite(result.history["val_accuracy"]).all()
    evaluate = jaxbp.make_evaluate(lambda params, x: x, SQUARED, "neg_mean_squared_log_error")
    with pytest.warns(UserWarning, match="metric neg_mean_squared_log_error: .* it is NaN"):
        assert np.isnan(evaluate({}, F - 9, F**2)["neg_mean_squared_log_error"])
