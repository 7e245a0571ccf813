"""Learning curves, sweeps, and evaluations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxbp import arguments, errors
from jaxbp.report.plots.figures import PictureFile, counted, figure, lines, picture_file, plain, written
from jaxbp.runs import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WRITTEN = 20  # classes whose counts are written into the picture


def plot_history(history: dict[str, np.ndarray], path: PictureFile = None) -> "Figure":
    """The loss and the other metrics of a run, epoch by epoch, as a picture.

    Args:
        history: ``result.history`` of `fit`.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError, ValueError: for no history of numbers in columns of one length, or what is no path.
    """
    columns = _columns("plot_history", history, 1)
    file = picture_file("plot_history", path)
    losses = [name for name in columns if name.endswith("loss")]
    others = [name for name in columns if name not in (*losses, "epoch", "seconds")]
    epochs = columns.get("epoch", 1 + np.arange(max(map(len, columns.values()))))

    def draw(axes: Any, names: list[str]) -> None:
        for name, style in zip(names, lines(), strict=False):
            axes.plot(epochs, columns[name], label=plain(name, 40), **style)
        axes.set_ylabel("loss" if names is losses else plain(", ".join(names), 60))
        axes.set_title("loss by epoch" if names is losses else "metrics by epoch")

    return _panels("plot_history", [losses, others], draw, file)


def plot_sweep(
    points: Sequence[dict[str, float]], history: dict[str, np.ndarray], path: PictureFile = None
) -> "Figure":
    """The metrics of a sweep, epoch by epoch: for each point the median of its nets, within their range.

    Args:
        points: ``result.points`` of `sweep`.
        history: its ``result.history``; a net that diverged is left out from there on.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError, ValueError: as `plot_history`, and unless there is a point for each net.
    """
    columns = _columns("plot_sweep", history, 2)
    file = picture_file("plot_sweep", path)
    nets = len(next(iter(columns.values())))
    listed = isinstance(points, list | tuple) and all(isinstance(point, Mapping) for point in points)
    if not listed or len(points) != nets:
        got = arguments.described(points)
        raise TypeError(
            errors.message("plot_sweep", f"points, a list of a dict for each of {nets} nets", got)
        )
    distinct = [point for i, point in enumerate(points) if point not in points[:i]]

    def draw(axes: Any, names: list[str]) -> None:
        column = np.ma.masked_invalid(columns[names[0]])
        epochs = np.arange(1, column.shape[1] + 1)
        for point, style in zip(distinct, lines(), strict=False):
            nets = column[[other == point for other in points]]
            label = plain(", ".join(f"{name} {value:g}" for name, value in point.items()), 60) or "all"
            median = np.ma.median(nets, axis=0)  # type: ignore[no-untyped-call]
            (line,) = axes.plot(epochs, median, label=label, **style)
            axes.fill_between(epochs, nets.min(axis=0), nets.max(axis=0), alpha=0.2, color=line.get_color())
        axes.set_ylabel(plain(names[0]))
        axes.set_title(f"{plain(names[0])}: median of the nets of a point, and their range")

    return _panels("plot_sweep", [[name] for name in columns], draw, file)


def plot_evaluation(evaluation: Evaluation, path: PictureFile = None) -> "Figure":
    """The confusion matrix of an evaluation; or, of values, the predicted ones by the true ones.

    Args:
        evaluation: of `jaxbp.Trained.evaluate`.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError, ValueError: for no evaluation, or no path.
    """
    arguments.instance("plot_evaluation", "evaluation", evaluation, Evaluation, "run.evaluate(x, y)")
    file = picture_file("plot_evaluation", path)
    counts, classes = evaluation.confusion, evaluation.classes or ()
    names = [plain(c) for c in classes]
    room = 0.09 * max(map(len, names), default=0)
    size = 4.5 if counts is None else min(12.0, 2.5 + 0.45 * len(classes) + room)
    made, ((axes,),) = figure("plot_evaluation", 1, 1, size, size)
    said = ", ".join(f"{name} {value:.4g}" for name, value in evaluation.metrics.items())
    axes.set_title(f"{len(evaluation.truth)} examples: {said}", fontsize="medium")
    if counts is None:
        truth, predicted = np.ravel(evaluation.truth), np.ravel(evaluation.predicted)
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        axes.plot(ends, ends, color="gray", linewidth=1)
        axes.scatter(truth, predicted, s=8, alpha=0.5)
        axes.set(xlabel="truth", ylabel="predicted", aspect="equal")
    else:
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        made.colorbar(drawn, ax=axes, label="share of the class", shrink=0.8)
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set_yticks(range(len(classes)), names)
        axes.set(xlabel="predicted", ylabel="truth")
        if len(classes) <= _WRITTEN:
            for i, j in np.argwhere(counts):
                dark = counts[i, j] > counts[i].sum() / 2
                axes.text(
                    j, i, str(counts[i, j]), ha="center", va="center", color="white" if dark else "black"
                )
    return written(made, file)


def _columns(where: str, history: Any, ndim: int) -> dict[str, np.ndarray]:
    """The columns of a history as arrays of so many axes, all of one length."""
    if not (hasattr(history, "keys") and hasattr(history, "__getitem__")) or not len(history):
        got, hint = arguments.described(history), "give result.history"
        raise TypeError(errors.message(where, "history, columns of numbers by their names", got, hint))
    found = {str(name): arguments.array(where, f"history[{name!r}]", history[name], host=True)
             for name in history}  # fmt: skip
    shapes = {name: column.shape for name, column in found.items()}
    if any(len(shape) != ndim or shape != next(iter(shapes.values())) for shape in shapes.values()):
        raise ValueError(errors.message(where, f"columns of one length with {ndim} axes", f"{shapes}"))
    return found


def _panels(
    where: str, panels: Iterable[list[str]], draw: Callable[[Any, list[str]], None], file: Path | None
) -> "Figure":
    """A panel for each of the lists of columns that is not empty, over the epochs."""
    panels = [names for names in panels if names]
    made, (row,) = figure(where, 1, len(panels), 5, 3.5)
    for axes, names in zip(row, panels, strict=True):
        draw(axes, names)
        axes.set_xlabel("epoch")
        counted(axes)
        axes.legend()
        axes.grid(alpha=0.3)
    return written(made, file)
