"""`jaxbp report`: the page of a trained run."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

import jaxbp
from jaxbp.cli.trained.predict import examples
from jaxbp.cli.training import run
from jaxbp.cli.training.train import parts
from jaxbp.errors import message
from jaxbp.report.page.run import write_run_page


@dataclass(frozen=True)
class Report:
    """Write a page about a run that jaxbp train (or jaxbp.save_run) left in a folder.

    Learning curves, deltas, learned features, misclassified examples and the confusion matrix, in one file
    that loads nothing.
    """

    run: Path
    """The folder of the run."""

    data: Positional[str | None] = None
    """A table with the label's column, an .npz file of x and y, or the name of a set such as digits for its
    test part; by default the run's own test data."""

    html: Path | None = None
    """Where the page goes; by default report.html in the run's folder."""


def report(config: Report) -> int:
    """Run `jaxbp report`; returns its exit status.

    Raises:
        ValueError, TypeError, OSError, ImportError: for a folder that keeps no run, or data that are not its.
    """
    trained = jaxbp.load_run(config.run)
    if config.data is not None:
        source = examples(config.data, trained)
    elif (config.run / "config.json").is_file():
        source = parts(run.settings(config.run))[-1]
    else:
        expected = "a file to report on"
        raise ValueError(message("jaxbp report", expected, "none, and a run that jaxbp train has not made"))
    x, targets = trained.as_learned(source)
    page = write_run_page(
        trained, x, trained.evaluate(source), targets, _history(config.run / "history.csv"),
        _watched(config.run / "watch.csv"), f"Run {config.run.resolve().name}",
    )  # fmt: skip
    out = config.run / "report.html" if config.html is None else config.html
    out.write_text(page, encoding="utf-8")
    print(f"written: {out}")
    return 0


def _rows(file: Path) -> list[dict[str, str]]:
    """The rows of a table with a header; none of a file that is not there."""
    if not file.is_file():
        return []
    with open(file, newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def _history(file: Path) -> dict[str, Any]:
    """The columns of a training."""
    rows = _rows(file)
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]} if rows else {}


def _watched(file: Path) -> dict[str, Any]:
    """The norm of each delta by the looks, from what `jaxbp.watch` wrote."""
    found: dict[str, list[float]] = {}
    for row in _rows(file):
        if row.get("quantity") == "delta" and row.get("statistic") == "norm":
            found.setdefault(row["of"], []).append(float(row["value"]))
    return {name: np.array(norms) for name, norms in found.items()}
