"""How good predictions are, by the metrics of scikit-learn."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbp.errors import message, needs
from jaxbp.tables import as_html, as_text

_SHOWN = 30  # classes of a confusion matrix that is still written out


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """Predictions beside the truth.

    Args:
        metrics: each by its name. Of classes: accuracy, and the loss; of values: r2, mae (mean absolute
            error) and rmse (root of the mean square error), in the units of the targets.
        truth: the label of each example, or its values.
        predicted: the same, as the network predicts.
        classes: the labels in order; None for values.
        confusion: (C, C), the number of examples of the class of the row that were predicted as that of the
            column; None for values.
        per_class: of each class its precision, recall, f1 and support (its number of examples). NaN where
            there is none: the precision of a class that was never predicted, the recall of one that is not
            in the data.
    """

    metrics: dict[str, float]
    truth: np.ndarray
    predicted: np.ndarray
    classes: tuple[Any, ...] | None = None
    confusion: np.ndarray | None = None
    per_class: dict[str, np.ndarray] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON has it; null for NaN."""
        made: dict[str, Any] = {"examples": len(self.truth), "metrics": _plain(self.metrics)}
        if self.classes is not None and self.per_class is not None:
            columns = {name: column.tolist() for name, column in self.per_class.items()}
            rows = zip(*columns.values(), strict=True)
            made["classes"] = [
                {"class": c, **_plain(dict(zip(columns, row, strict=True)))}
                for c, row in zip(self.classes, rows, strict=True)
            ]
        if self.confusion is not None:
            made["confusion"] = self.confusion.tolist()
        return made

    def __repr__(self) -> str:
        return "\n\n".join(as_text(*table) for table in self._tables())

    def _repr_html_(self) -> str:
        return "".join(as_html(*table) for table in self._tables())

    def _tables(self) -> list[tuple[tuple[str, ...], list[tuple[str, ...]], str]]:
        """Each with its header, its rows and its title."""
        said = ", ".join(f"{name} {_short(value)}" for name, value in self.metrics.items())
        title = f"{len(self.truth)} examples: {said}"
        if self.classes is None or self.per_class is None:
            words = (("mean", np.mean), ("min", np.min), ("max", np.max))
            rows = [
                (word, *(_short(float(of(v))) for v in (self.truth, self.predicted))) for word, of in words
            ]
            return [(("", "truth", "predicted"), rows, title)]
        names = [str(c) for c in self.classes]
        columns = list(self.per_class.values())
        rows = [(n, *(_short(column[i]) for column in columns)) for i, n in enumerate(names)]
        tables = [(("class", *self.per_class), rows, title)]
        if self.confusion is not None and len(names) <= _SHOWN:
            counts = [(n, *map(str, row)) for n, row in zip(names, self.confusion.tolist(), strict=True)]
            tables.append((("truth", *names), counts, "predicted as (columns)"))
        return tables


def of_classes(truth: np.ndarray, predicted: np.ndarray, classes: tuple[Any, ...], loss: float) -> Evaluation:
    """The evaluation of predicted classes.

    Args:
        truth: numbers of classes, 0..C-1, (N,); or (N, C), where each of them is a 0 or 1.
        predicted: the same.
        classes: their labels.
        loss: over these examples.

    Raises:
        ImportError: without scikit-learn.
        ValueError: without any example.

    Example:
        >>> of_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), ("no", "yes"), 0.5)
        3 examples: accuracy 0.6667, loss 0.5
        class  precision  recall  f1      support
        no     1          0.5     0.6667  2
        yes    0.5        1       0.6667  1
        <BLANKLINE>
        predicted as (columns)
        truth  no  yes
        no     1   1
        yes    0   1
    """
    with needs("scikit-learn", "data", "evaluate"):
        from sklearn import metrics
    _assert_examples(truth)
    numbers = list(range(len(classes)))
    one = truth.ndim == 1
    confusion = metrics.confusion_matrix(truth, predicted, labels=numbers) if one else None
    columns = metrics.precision_recall_fscore_support(
        truth, predicted, labels=numbers, average=None, zero_division=np.nan
    )
    per_class = dict(zip(("precision", "recall", "f1", "support"), map(np.asarray, columns), strict=True))
    found = {"accuracy": float(metrics.accuracy_score(truth, predicted)), "loss": loss}
    if one:
        truth, predicted = np.array(classes)[truth], np.array(classes)[predicted]
    return Evaluation(found, truth, predicted, classes, confusion, per_class)


def of_values(truth: np.ndarray, predicted: np.ndarray) -> Evaluation:
    """The evaluation of predicted values, (N,) or (N, outputs).

    Raises:
        ImportError: without scikit-learn.
        ValueError: without any example.

    Example:
        >>> of_values(np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 2.5]))
        3 examples: r2 0.75, mae 0.3333, rmse 0.4082
              truth  predicted
        mean  2      2
        min   1      1.5
        max   3      2.5
    """
    with needs("scikit-learn", "data", "evaluate"):
        from sklearn import metrics
    _assert_examples(truth)
    found = {
        "r2": float(metrics.r2_score(truth, predicted)) if len(truth) > 1 else math.nan,
        "mae": float(metrics.mean_absolute_error(truth, predicted)),
        "rmse": float(metrics.root_mean_squared_error(truth, predicted)),
    }
    return Evaluation(found, truth, predicted)


def _assert_examples(truth: np.ndarray) -> None:
    if not len(truth):
        raise ValueError(message("evaluate", "at least 1 example", "none"))


def _short(value: Any) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _plain(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in numbers.items()}
