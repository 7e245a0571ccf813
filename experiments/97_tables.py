"""Is `jaxbp train --data table.csv`, with nothing else said, as good as scikit-learn's pipeline?

    pip install -e ".[all]" && python -m experiments.97_tables

Six tables as CSV files: five that come with scikit-learn (the classes as words), and "loans", made here, with
categories, answers of yes and no, numbers far apart in size, and missing cells. For each seed the command
runs with its defaults; scikit-learn's pipeline (median and StandardScaler, OneHotEncoder, an MLP with 128
hidden units; targets standardized) learns from all rows that the command does not test on, a ninth more than
the command, which keeps a tenth for validation. Accuracy in per cent, or 100 R2 of "diabetes", on the same
test rows: the median over the seeds, and the range. Two minutes on 2 CPU cores. Expected:

                     jaxbp train            scikit-learn
    iris             96.7 (86.7 to 100.0)   96.7 (86.7 to 100.0)
    wine             100.0 (94.4 to 100.0)  100.0 (94.4 to 100.0)
    breast_cancer    97.4 (95.6 to 98.2)    97.4 (95.6 to 99.1)
    digits           98.3 (97.2 to 98.3)    98.1 (97.5 to 99.2)
    diabetes         37.5 (25.6 to 45.3)    38.0 (31.8 to 47.6)
    loans            80.7 (78.7 to 82.7)    81.3 (79.3 to 84.7)
"""

import csv
import json
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.record import dots, run, save, table
from jaxbp import cli
from jaxbp.data.parts import Cut


@dataclass(frozen=True)
class Config:
    sets: tuple[str, ...] = ("iris", "wine", "breast_cancer", "digits", "diabetes", "loans")
    seeds: int = 5
    hidden: int = 128
    """Units of scikit-learn's network: as many as the command has by default."""
    out: Path = Path("results/97_tables")


class Data(NamedTuple):
    """A table: rows of cells, the label last, "" where one is missing."""

    header: list[str]
    rows: list[list[Any]]


def of_scikit_learn(name: str) -> Data:
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    found = getattr(datasets, f"load_{name}")(**options)
    names = getattr(found, "target_names", None)
    labels = found.target if names is None else [names[i] for i in found.target]
    if name == "digits":
        labels = [f"digit {i}" for i in found.target]
    columns = list(map(str, getattr(found, "feature_names", range(found.data.shape[1]))))
    return Data([*columns, "label"], [[*x, y] for x, y in zip(found.data.tolist(), labels, strict=True)])


def loans() -> Data:
    """Who pays back, by a rule with noise."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(1500):
        income, age = float(rng.lognormal(10.5, 0.5)), int(rng.integers(20, 70))
        work = str(rng.choice(["clerk", "driver", "nurse", "teacher", "none"]))
        owns, debt = str(rng.choice(["yes", "no"])), float(rng.exponential(0.3))
        score = np.log(income) - 10.5 - 2 * debt + 0.8 * (owns == "yes") + 0.6 * (work == "nurse")
        score += 0.02 * (age - 45) - 0.9 * (work == "driver") * (debt > 0.3) + rng.logistic(0, 0.35)
        cells = [round(income, 2), age, work, owns, round(debt, 4)]
        lost = rng.random(5) < 0.05
        rows.append(["" if gone else cell for cell, gone in zip(cells, lost, strict=True)])
        rows[-1].append("pays" if score > 0 else "defaults")
    return Data(["income", "age", "work", "owns a house", "debt", "label"], rows)


def made(name: str) -> Data:
    return loans() if name == "loans" else of_scikit_learn(name)


def by_the_command(file: Path, regression: bool, config: Config, seed: int) -> float:
    with tempfile.TemporaryDirectory() as out, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        args = ["train", "--data", str(file), "--no-check", "--out", out, "--seed", str(seed)]
        assert cli.main(args) == 0
        summary = json.loads(next(Path(out).glob("*/summary.json")).read_text())
    return 100 * summary["test_r2" if regression else "test_accuracy"]


def by_scikit_learn(data: Data, regression: bool, config: Config, seed: int) -> float:
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    x = np.array([row[:-1] for row in data.rows], object)
    y = np.array([row[-1] for row in data.rows])
    texts = [j for j in range(x.shape[1]) if any(isinstance(v, str) and v for v in x[:, j])]
    numbers = [j for j in range(x.shape[1]) if j not in texts]
    floats = FunctionTransformer(lambda x: np.where(x == "", np.nan, x).astype(float))
    columns = ColumnTransformer([
        ("numbers", make_pipeline(floats, SimpleImputer(strategy="median"), StandardScaler()), numbers),
        ("texts", OneHotEncoder(handle_unknown="ignore"), texts),
    ])  # fmt: skip
    mlp: Any = MLPClassifier(hidden_layer_sizes=(config.hidden,), random_state=seed)
    if regression:
        mlp = MLPRegressor(hidden_layer_sizes=(config.hidden,), random_state=seed)
        mlp = TransformedTargetRegressor(mlp, transformer=StandardScaler())
    test = Cut(0.2, None, seed, True).rows(y, "regression" if regression else "classification")[1]
    rest = np.setdiff1d(np.arange(len(y)), test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its default of 200 epochs
        model = make_pipeline(columns, mlp).fit(x[rest], y[rest])
    return 100 * float(model.score(x[test], y[test]))


def main(config: Config) -> dict:
    result: dict[str, dict[str, list[float]]] = {}
    rows = []
    for name in config.sets:
        data, regression = made(name), name == "diabetes"
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.csv"
            with file.open("w", newline="") as stream:
                csv.writer(stream).writerows([data.header, *data.rows])
            found: dict[str, Callable[[int], float]] = {
                "jaxbp": lambda seed: by_the_command(file, regression, config, seed),  # noqa: B023
                "scikit_learn": lambda seed: by_scikit_learn(data, regression, config, seed),  # noqa: B023
            }
            result[name] = {who: [score(s) for s in range(config.seeds)] for who, score in found.items()}
        shown = [f"{np.median(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in result[name].values()]
        rows.append((name, *shown))
        print(name, *shown, flush=True)
    table("accuracy or 100 R2, median (range) over the seeds", ("table", "jaxbp train", "scikit-learn"), rows)
    drawn = dots(
        {
            name: {who: (min(v), float(np.median(v)), max(v)) for who, v in scores.items()}
            for name, scores in result.items()
        },
        "accuracy in per cent, or 100 R2 of diabetes: median and range over the seeds",
        "Tables, by the command alone and by a pipeline of scikit-learn",
    )
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
