"""`jaxbp predict`: what a trained run says of new examples, as a table or as JSON."""

import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import jaxbp
from jaxbp.data.sources import SOURCES
from jaxbp.errors import message


@dataclass(frozen=True)
class Predict:
    """Predict new examples by a run that jaxbp train (or jaxbp.save_run) left in a folder.

    Prints CSV, a line for each example in the order of the file.
    """

    run: Path
    """The folder of the run."""

    data: str
    """A table (.csv, with or without the label's column), an .npz or .npy file of examples, or the name of a
    set such as digits for its test part."""

    out: Path | None = None
    """Write the predictions into this file instead."""

    proba: bool = False
    """Also the probability of each class."""

    json: bool = False
    """JSON in the place of CSV."""


def predict(config: Predict) -> int:
    """Run `jaxbp predict`; returns its exit status.

    Raises:
        ValueError, TypeError, OSError: for a folder that keeps no run, or examples that are not its.
    """
    out = config.out
    if out is not None and out.exists() and Path(config.data).exists() and out.samefile(config.data):
        raise ValueError(message("jaxbp predict", "--out another file than the data", f"{out}"))
    trained = jaxbp.load_run(config.run)
    if config.proba and trained.loss.targets == "any":
        got, hint = f"one by {trained.loss}", "leave it out: the predictions are values"
        raise ValueError(message("jaxbp predict", "--proba for a run that tells classes", got, hint))
    columns = _columns(trained, examples(config.data, trained), config.proba)
    text = _as_json(columns) if config.json else _as_csv(columns)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
        print(f"{len(next(iter(columns.values())))} predictions written to {out}")
    return 0


def examples(data: str, trained: jaxbp.Trained) -> Any:
    """A file, or the test part of a set that is named, which a run on it has not seen."""
    if data not in SOURCES or Path(data).exists():
        return data
    said = trained.settings
    return jaxbp.load(data, data_dir=said.get("data_dir"), seed=said.get("seed", 0))[-1]


def _columns(trained: jaxbp.Trained, data: Any, proba: bool) -> dict[str, np.ndarray]:
    """The columns of the answer by their names."""
    predicted = np.atleast_1d(trained.predict(data))
    columns = {"prediction": predicted}
    if predicted.ndim > 1:
        columns = {f"prediction {j}": column for j, column in enumerate(predicted.T)}
    if proba:
        probabilities = np.atleast_2d(trained.predict_proba(data))
        names = trained.labels or range(probabilities.shape[1])
        columns |= {f"p({name})": column for name, column in zip(names, probabilities.T, strict=True)}
    return columns


def _as_csv(columns: dict[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _as_json(columns: dict[str, np.ndarray]) -> str:
    rows = zip(*(map(_plain, column) for column in columns.values()), strict=True)
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1) + "\n"


def _plain(value: Any) -> Any:
    """A number as it is printed: the float32 0.1 is 0.1."""
    return float(str(value)) if isinstance(value, np.floating) else value.item()
