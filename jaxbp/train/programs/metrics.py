"""Metrics by name: means over the examples, which are compiled, and scikit-learn's, which the host takes."""

import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.losses import weights
from jaxbp.train.programs.step import takes
from jaxbp.typing import Array, Rows, Scalar, Targets

_TRIED = 1000  # classes at most, of which a scorer is tried
Kind = Literal["labels", "rows", "outputs", "numbers"]
Mode = Literal["auto", "min", "max"]
Metrics = Any  # names, functions and scorers, one or many, perhaps in a dict by names of one's own
Measure = Callable[[Rows, Targets, Array | None, Any], Scalar]  # (f, y, weight, loss) -> number


def kind_of(f: Rows, y: Targets, loss: Any) -> Kind:
    """What targets are beside outputs f (*n, C).

    Returns:
        ``"labels"``: an integer for each example, one of C classes; ``"rows"``: one-hot, or probabilities of
        classes; ``"outputs"``: 0 or 1 for each output, of one (binary) or many (multi-label);
        ``"numbers"``: anything else, as in regression.
    """
    targets, shape = getattr(loss, "targets", "any"), getattr(y, "shape", None)
    if shape == f.shape[:-1] and f.shape[-1] > 1 and jnp.issubdtype(y.dtype, jnp.integer):
        return "labels"
    if shape == f.shape and targets == "classes":
        return "rows"
    return "outputs" if shape == f.shape and targets == "unit interval" else "numbers"


def accuracy(f: Rows, y: Targets, loss: Any) -> Array:
    """The share of an example's labels that are right, (*n,): of one class, or of its outputs over 1/2."""
    kind = kind_of(f, y, loss)
    if kind == "numbers":
        expected = "accuracy of class labels, or of targets 0 and 1 beside binary_cross_entropy"
        got = f"y {arguments.described(y)} beside f {arguments.described(f)}"
        raise TypeError(errors.message("evaluate", expected, got))
    if kind == "outputs":
        right = ((loss.mu(f) > 0.5) == (y > 0.5)).mean(-1, dtype=f.dtype)
    else:
        right = (f.argmax(-1) == (y.argmax(-1) if kind == "rows" else y)).astype(f.dtype)
    return jnp.where(jnp.isnan(f).any(-1), jnp.nan, right)


def _exact_match(f: Rows, y: Targets, loss: Any) -> Array:
    share = accuracy(f, y, loss)
    return jnp.where(share < 1, 0, share)  # NaN stays NaN


def _top_5_accuracy(f: Rows, y: Targets, loss: Any) -> Array:
    kind = kind_of(f, y, loss)
    if kind not in ("labels", "rows"):
        expected = "top_5_accuracy of class labels"
        raise TypeError(errors.message("evaluate", expected, f"y {arguments.described(y)}"))
    of_label = jnp.take_along_axis(f, (y if kind == "labels" else y.argmax(-1))[..., None], axis=-1)
    return jnp.where(jnp.isnan(f).any(-1), jnp.nan, ((f > of_label).sum(-1) < 5).astype(f.dtype))


def _difference(f: Rows, y: Targets, loss: Any) -> Array:
    mu = getattr(loss, "mu", lambda f: f)(f)
    return mu - (y if y.shape == f.shape else jax.nn.one_hot(y, f.shape[-1], dtype=f.dtype))


class Named(NamedTuple):
    """A metric that is known by its name.

    Args:
        of: (f, y, loss) -> (*n,), of which the metric is the mean.
        mode: whether less or more of it is better.
    """

    of: Callable[[Rows, Targets, Any], Array]
    mode: Literal["min", "max"]


MEANS: dict[str, Named] = {
    "accuracy": Named(accuracy, "max"),
    "exact_match": Named(_exact_match, "max"),
    "top_5_accuracy": Named(_top_5_accuracy, "max"),
    "mean_squared_error": Named(lambda f, y, loss: (_difference(f, y, loss) ** 2).mean(-1), "min"),
    "mean_absolute_error": Named(lambda f, y, loss: abs(_difference(f, y, loss)).mean(-1), "min"),
}


def mode_of(where: str, monitor: str, mode: Mode) -> Literal["min", "max"]:
    """Whether less or more of a column of the history is better, by "auto" what its name tells.

    Warns:
        UserWarning: for "auto" and a column of which nothing is known; less is then taken for better.
    """
    if mode != "auto":
        return arguments.option(where, "mode", mode, ("min", "max"))  # type: ignore[return-value]
    name = monitor.removeprefix("val_")
    if name in MEANS:
        return MEANS[name].mode
    if name != "loss":
        if name in _scorers():  # of each of which more is better
            return "max"
        got, hint = f"the monitor {monitor!r}, of which nothing is known", "less is taken for better"
        warnings.warn(errors.message(where, "mode 'min' or 'max'", got, hint), stacklevel=4)
    return "min"


def mean(values: Array, weight: Array | None) -> Scalar:
    """The mean over the examples, or the weighted mean over those that count."""
    if weight is None:
        return values.mean()
    weight = weights("evaluate", weight, values.shape)
    total = jnp.where(weight == 0, 0, weight * values).sum()
    return (total / jnp.where(weight.any(), weight.sum(), 1)).astype(values.dtype)


def by_name(where: str, metrics: Metrics) -> dict[str, Measure]:
    """Each of some metrics as a function (f, y, weight, loss) -> number.

    Args:
        where: the function that was called.
        metrics: names of `MEANS` and of scikit-learn's scorers, functions and scorers, one or a list of them;
            or a dict of them by names of one's own.

    Raises:
        TypeError: for what is none of these.
        ValueError: for another name, or one that is there twice.
        ImportError: for a name of scikit-learn's without scikit-learn.
    """
    if isinstance(metrics, Mapping):
        pairs = list(metrics.items())
    elif isinstance(metrics, Iterable) and not isinstance(metrics, str):
        pairs = [(getattr(metric, "__name__", metric), metric) for metric in metrics]
    else:
        return by_name(where, [metrics])
    found: dict[str, Measure] = {}
    for name, metric in pairs:
        if not isinstance(name, str):
            expected, hint = "a name for each metric", "give a dict, {'name': metric}"
            raise TypeError(errors.message(where, expected, arguments.described(name), hint))
        if name in found:
            raise ValueError(errors.message(where, "metrics of different names", f"{name!r} twice"))
        found[name] = _measure(where, name, metric)
    return found


def _measure(where: str, name: str, metric: Any) -> Measure:
    if isinstance(metric, str) and metric in MEANS:
        return Mean(metric)
    scorer = _scorer(where, metric) if isinstance(metric, str) else metric
    if takes(scorer, "estimator"):
        return OnHost(name, scorer)
    arguments.function(where, f"metric {name}", scorer, positional=2)

    def of_the_user(f: Rows, y: Targets, weight: Array | None, loss: Any) -> Any:
        if weight is not None and not takes(metric, "weight"):
            expected = f"a metric {name} with an argument weight, for data with weights"
            raise TypeError(errors.message("evaluate", expected, arguments.described(metric)))
        return metric(f, y) if weight is None else metric(f, y, weight=weight)

    return of_the_user


def _scorer(where: str, name: str) -> Callable[..., float]:
    """Scikit-learn's scorer of this name."""
    scorers = _scorers()
    names = list(dict.fromkeys((*MEANS, *scorers)))
    if name not in names:
        near = difflib.get_close_matches(name, names, 3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "or a function (f, y) -> number"
        others = "a name of scikit-learn's scorers" if scorers else "scikit-learn's, once it is installed"
        expected = f"metrics {', '.join(MEANS)} or {others}"
        raise ValueError(errors.message(where, expected, repr(name), hint))
    from sklearn.metrics import get_scorer

    found: Callable[..., float] = get_scorer(name)
    return found


def _scorers() -> list[str]:
    """The names of scikit-learn's scorers; none where it is not installed."""
    try:
        from sklearn.metrics import get_scorer_names
    except ImportError:
        return []
    return list(get_scorer_names())


@dataclass(frozen=True)
class Mean:
    """One of `MEANS`.

    Args:
        name: which.
    """

    name: str

    def __call__(self, f: Rows, y: Targets, weight: Array | None, loss: Any) -> Scalar:
        """The mean over the examples."""
        return mean(MEANS[self.name].of(f, y, loss), weight)


@dataclass(frozen=True)
class OnHost:
    """A scorer of scikit-learn's on the predictions of a network: the compiled program asks the host for it.

    Args:
        name: what messages call it.
        scorer: ``(estimator, x, y, sample_weight=) -> number``.
    """

    name: str
    scorer: Callable[..., float]

    def __call__(self, f: Rows, y: Targets, weight: Array | None, loss: Any) -> Scalar:
        """The score, a number in the dtype of f."""
        kind, mu = kind_of(f, y, loss), getattr(loss, "mu", lambda f: f)(f)
        if kind == "rows":
            y = y.argmax(-1)
        if weight is not None:
            weight = weights("evaluate", weight, f.shape[:-1])

        def score(mu: Any, y: Any, weight: Any) -> np.ndarray:
            predictions, truth = Predictions.of(np.asarray(mu), np.asarray(y), kind)
            given = {} if weight is None else {"sample_weight": np.asarray(weight).ravel()}
            try:
                found = self.scorer(predictions, truth, truth, **given)
            except Exception as error:  # it would end the compiled program, and what it learned
                expected, got = "predictions and labels that it takes", f"{type(error).__name__}: {error}"
                warnings.warn(errors.message(f"metric {self.name}", expected, got, "it is NaN"), stacklevel=2)
                found = np.nan
            return np.asarray(found, f.dtype)

        self._try(kind, f.shape[-1])
        shape = jax.ShapeDtypeStruct((), f.dtype)  # type: ignore[no-untyped-call]
        return jax.pure_callback(score, shape, mu, y, weight, vmap_method="sequential")


    def _try(self, kind: Kind, C: int) -> None:
        """Score made-up predictions before the first epoch.

        Raises:
            ValueError: for a scorer that takes no such targets.
        """
        if C > _TRIED:
            return
        share = (np.arange(2 * C * C).reshape(-1, C) % 7 + 1) / 8
        if kind in ("labels", "rows"):
            y: np.ndarray = np.arange(2 * C) % C
        else:
            y = share[::-1] if kind == "numbers" else np.arange(2 * C * C).reshape(-1, C) % 3 % 2
        try:
            with warnings.catch_warnings(action="ignore"):
                predictions, truth = Predictions.of(share, y, kind)
                float(self.scorer(predictions, truth, truth))
        except (ValueError, TypeError, AttributeError) as error:
            what = {"numbers": "numbers", "outputs": "0 or 1 for each output"}.get(kind, f"{C} classes")
            got, hint = f"{error}".partition("\n")[0], "e.g. f1_macro, roc_auc_ovr" if y.ndim == 1 else ""
            raise ValueError(errors.message("evaluate", f"{self.name} of {what}", got, hint)) from error


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a scorer asks of an estimator, answered by what a network predicted.

    Args:
        kind: ``"classifier"`` or ``"regressor"``.
        values: labels, or numbers, (N,) or (N, K).
        probabilities: of each class, (N, C); of each output where they are many, (N, K).
        classes_: the labels.
    """

    kind: Literal["classifier", "regressor"]
    values: np.ndarray
    probabilities: np.ndarray
    classes_: np.ndarray

    @classmethod
    def of(cls, mu: np.ndarray, y: np.ndarray, kind: Kind) -> tuple["Predictions", np.ndarray]:
        """The predictions of mu (*n, C) and the truth, each example a row."""
        mu = mu.reshape(-1, mu.shape[-1]).astype(np.float64)
        one = mu.shape[1] == 1
        if kind == "numbers":
            truth = y.reshape(-1) if one else y.reshape(mu.shape)
            return cls("regressor", mu[:, 0] if one else mu, mu, np.zeros(0)), truth
        if kind == "outputs":
            values, truth = ((v[:, 0] if one else v) for v in (mu > 0.5, y.reshape(mu.shape) > 0.5))
            both = np.concatenate([1 - mu, mu], axis=1) if one else mu
            labels = np.arange(2) if one else np.eye(mu.shape[1], dtype=int)  # the form of many labels
            return cls("classifier", values.astype(int), both, labels), truth.astype(int)
        mu = mu / mu.sum(axis=1, keepdims=True)  # scikit-learn asks for a sum of 1 to 64 bits
        return cls("classifier", mu.argmax(1), mu, np.arange(mu.shape[1])), y.reshape(-1)

    def predict(self, x: Any) -> np.ndarray:
        """The labels or numbers."""
        return self.values

    def predict_proba(self, x: Any) -> np.ndarray:
        """The probabilities."""
        return self.probabilities

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type=self.kind,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            regressor_tags=RegressorTags(),
            requires_fit=False,
        )
