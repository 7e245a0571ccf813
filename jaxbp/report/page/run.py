"""The page of a run: how it learned, what it learned, and where it errs; one file, which loads nothing."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.backprop import backprop
from jaxbp.errors import message
from jaxbp.jacobians.given import of_one_length
from jaxbp.report import plots
from jaxbp.report.page.template import read, rendered, verbatim
from jaxbp.runs import Evaluation, Trained
from jaxbp.tables import numbers
from jaxbp.trace import Backprop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 5_000_000
"""Bytes of a page."""
_SOME = 64  # examples whose deltas are looked at
_SHOWN = 40  # features, and examples that the network has wrong
_CLASSES = 30  # of a confusion matrix that is also a table


class Picture(NamedTuple):
    """An image in the page, and what it shows in words."""

    source: str
    alt: str


class Table(NamedTuple):
    """Cells are text."""

    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Part(NamedTuple):
    """A section of the page."""

    id: str
    title: str
    text: str = ""
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def write_run_page(
    run: Trained,
    x: Any,
    evaluation: Evaluation,
    targets: Any,
    history: Mapping[str, np.ndarray] | None = None,
    watched: Mapping[str, np.ndarray] | None = None,
    title: str = "A run",
) -> str:
    """The page as HTML: learning curves, deltas, features, what is misclassified, and the confusion matrix.

    Args:
        run: the trained network.
        x: the examples of the evaluation as the network takes them, (N, *shape).
        evaluation: of the run on them.
        targets: of the examples as the loss takes them.
        history: the columns of the training by name, an entry for each epoch.
        watched: the norm of deltas by name, an entry for each time that somebody looked.
        title: of the page.

    Raises:
        ImportError: without jinja2 or matplotlib.
        TypeError: for what is no run or evaluation.
        ValueError: for examples and an evaluation of several lengths, and for a page that would be too large.

    Example:
        >>> import jaxbp
        >>> params = {1: {"W": jnp.array([[1.0, 0.0], [0.0, 1.0]]), "b": jnp.zeros(2)}}
        >>> run = Trained(jaxbp.dense(2, 2), params[1], jaxbp.softmax_cross_entropy, classes=("a", "<b>"))
        >>> x, y = np.array([[2.0, 1.0], [1.0, 2.0]], np.float32), np.array([0, 1])
        >>> page = write_run_page(run, x, run.evaluate(x, ["a", "<b>"]), y)
        >>> page[:15], "<b>" in page, "&lt;b&gt;" in page
        ('<!doctype html>', False, True)
    """
    where = "report"
    arguments.instance(where, "run", run, Trained, "e.g. jaxbp.load_run(folder)")
    arguments.instance(where, "evaluation", evaluation, Evaluation, "run.evaluate(x, y)")
    rows = arguments.array(where, "x", x, host=True)
    if not of_one_length(rows, targets, evaluation.truth):
        got = f"{len(rows)} examples, and {len(evaluation.truth)} answers"
        raise ValueError(message(where, "the examples of the evaluation", got))
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(run.params))
    bp = backprop(run.network, run.loss, run.params, jnp.asarray(rows[:_SOME], dtype), targets[:_SOME])
    parts = [
        *_summary(run, evaluation),
        *_learning(history),
        *_watched(watched),
        _deltas(bp),
        *_features(run),
        *_wrong(rows, evaluation),
        *_confusion(evaluation),
    ]
    page = rendered(
        "run.html",
        title=title,
        network=f"{run.network}, by {run.loss}",
        style=verbatim(read("page.css")),
        parts=parts,
    )
    if len(page.encode()) > LIMIT:
        got = f"{len(page.encode()) / 1e6:.1f} MB"
        raise ValueError(message(where, f"a page of at most {LIMIT / 1e6:g} MB", got))
    return page


def _summary(run: Trained, evaluation: Evaluation) -> Iterator[Part]:
    """How good it is, and what it was trained with."""
    rows = [(name, f"{value:.4g}") for name, value in evaluation.metrics.items()]
    tables = [Table(f"on {len(evaluation.truth)} examples", ("metric", "value"), rows)]
    told = {**run.settings, **run.metrics}
    said = [(name, _short(v)) for name, v in told.items() if v not in (None, "", [])]
    if said:
        tables.append(Table("settings and results of the training", ("name", "value"), said))
    yield Part("result", "Result", tables=tuple(tables))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _learning(history: Mapping[str, np.ndarray] | None) -> Iterator[Part]:
    """The curves by epoch."""
    if history and len(next(iter(history.values()))):
        last = ", ".join(f"{name} {float(column[-1]):.4g}" for name, column in history.items())
        drawn = _picture(plots.plot_history(dict(history)), f"learning curves by epoch; the last: {last}")
        yield Part("learning", "Learning curves", f"After the last epoch: {last}.", (drawn,))


def _watched(watched: Mapping[str, np.ndarray] | None) -> Iterator[Part]:
    """The norms of deltas by the time that they were looked at."""
    if not watched:
        return
    made, ((axes,),) = plots.figures.figure("report", 1, 1, 7, 3.6)
    for (name, norms), style in zip(watched.items(), plots.figures.lines(), strict=False):
        axes.plot(1 + np.arange(len(norms)), norms, label=plots.figures.plain(name), **style)
    axes.set(title="norms of deltas", xlabel="look", ylabel="norm of the delta", yscale="log")
    made.legend(loc="outside right upper", fontsize=8)
    yield Part("norms", "Delta norms over time", pictures=(_picture(made, "norms of deltas over time"),))


def _deltas(bp: Backprop) -> Part:
    """Every delta of some examples."""
    rows = []
    for name, value in bp.deltas.quantities():
        delta = np.asarray(value, np.float64)
        zeros = f"{np.mean(delta == 0):.0%}" if delta.size else ""
        largest = f"{abs(delta).max(initial=0):.4g}"
        formula = bp.formulas[name]
        rows.append((name, formula, str(delta.shape), f"{np.linalg.norm(delta):.4g}", largest, zeros))
    header = ("delta", "is", "shape", "norm", "largest |entry|", "zeros")
    many = len(bp.trace.f[0])
    picture = _picture(plots.plot_deltas(bp), "the norm of each delta, from the loss back to x")
    text = f"Of the loss of the first {many} examples, by the parameters that were learned."
    return Part("deltas", "Deltas", text, (picture,), (Table("deltas", header, rows),))


def _features(run: Trained) -> Iterator[Part]:
    """The weights of the first layer: images where the inputs are pixels."""
    first = run.params.get(1, run.params) if isinstance(run.params, dict) else None
    W = first.get("W") if isinstance(first, dict) else None
    if W is None or np.ndim(W) != 2:
        return
    W = np.asarray(W, float)
    image = None if run.schema is not None else _image(W.shape[1:])
    shown = W[:_SHOWN]
    many = f"The first {len(shown)} of {len(W)} units." if len(W) > len(shown) else ""
    if image is not None:
        drawn = plots.plot_images(shown, image, label="W_1")
    else:
        drawn, ((axes,),) = plots.figures.figure("report", 1, 1, 7, 4)
        plots.figures.heat_map(drawn, axes, shown, "weight")
        axes.set(title="W_1", xlabel="input", ylabel="unit")
    text = f"The weights W_1 of the first layer, which each of its units multiplies the input by. {many}"
    yield Part("features", "Learned features", text, (_picture(drawn, "the rows of W_1"),))


def _wrong(x: np.ndarray, evaluation: Evaluation) -> Iterator[Part]:
    """Examples whose class was not found."""
    if evaluation.classes is None or evaluation.truth.ndim != 1:
        return
    wrong = np.flatnonzero(evaluation.truth != evaluation.predicted)
    text = f"{len(wrong)} of {len(x)} examples are misclassified."
    if not len(wrong):
        yield Part("wrong", "Misclassified examples", text)
        return
    some = wrong[:_SHOWN]
    pairs = [(str(evaluation.truth[i]), str(evaluation.predicted[i])) for i in some]
    text += f" The first {len(some)}." if len(some) < len(wrong) else ""
    image = _image(x.shape[1:])
    if image is not None:
        titles = [f"{t[:8]}, said {p[:8]}" for t, p in pairs]
        drawn = plots.plot_images(x[some].reshape(len(some), -1), image, titles=titles, label="pixel")
        picture = _picture(drawn, "misclassified images: the truth, and what was said")
        yield Part("wrong", "Misclassified examples", text, (picture,))
        return
    inputs = [numbers(x[i].reshape(-1)) for i in some]
    rows = [(str(i), *pair, said) for i, pair, said in zip(some, pairs, inputs, strict=True)]
    table = Table("misclassified", ("example", "truth", "predicted", "x"), rows)
    yield Part("wrong", "Misclassified examples", text, tables=(table,))


def _confusion(evaluation: Evaluation) -> Iterator[Part]:
    """Truth by prediction."""
    title = "Predicted by true values" if evaluation.confusion is None else "Confusion matrix"
    picture = _picture(plots.plot_evaluation(evaluation), title)
    tables: tuple[Table, ...] = ()
    if evaluation.classes is not None and evaluation.confusion is not None:
        names = [str(c) for c in evaluation.classes]
        if len(names) <= _CLASSES:
            rows = [(n, *map(str, row)) for n, row in zip(names, evaluation.confusion.tolist(), strict=True)]
            tables = (Table("truth in rows, predicted in columns", ("truth", *names), rows),)
    yield Part("confusion", title, "", (picture,), tables)


def _image(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of inputs that are images: two axes, or a square of 16 pixels or more."""
    if len(shape) == 2:
        return shape[0], shape[1]
    side = math.isqrt(math.prod(shape))
    return (side, side) if len(shape) == 1 and side >= 4 and side * side == shape[0] else None


def _picture(figure: "Figure", alt: str) -> Picture:
    """The figure within the page."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return Picture("data:image/png;base64," + base64.b64encode(png.getvalue()).decode(), alt)
