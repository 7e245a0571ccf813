"""`jaxbp evaluate`: how good a trained run is on data with labels."""

import json
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

import jaxbp
from jaxbp.cli.trained.predict import examples
from jaxbp.cli.training import run
from jaxbp.cli.training.train import parts
from jaxbp.errors import message


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a run that jaxbp train (or jaxbp.save_run) left in a folder.

    Of classes: accuracy, for each its precision, recall and f1, and the confusion matrix. Of values: R2, mean
    absolute error, root of the mean square error, in the units of the table.
    """

    run: Path
    """The folder of the run."""

    data: Positional[str | None] = None
    """A table with the label's column, an .npz file of x and y, or the name of a set such as digits for its
    test part; by default the run's own test data."""

    json: bool = False
    """Print JSON."""

    plot: Path | None = None
    """Write a picture: the confusion matrix, or the predicted values by the true ones."""


def evaluate(config: Evaluate) -> int:
    """Run `jaxbp evaluate`; returns its exit status.

    Raises:
        ValueError, TypeError, OSError, ImportError: for a folder that keeps no run, or data that are not its.
    """
    trained = jaxbp.load_run(config.run)
    if config.data is not None:
        found = trained.evaluate(examples(config.data, trained))
    elif not (config.run / "config.json").is_file():
        expected = "a file to evaluate on"
        raise ValueError(message("jaxbp evaluate", expected, "none, and a run that jaxbp train has not made"))
    else:
        found = trained.evaluate(parts(run.settings(config.run))[-1])
    print(json.dumps(found.to_dict(), indent=2) if config.json else found)
    if config.plot is not None:
        jaxbp.report.plot_evaluation(found, config.plot)
        if not config.json:
            print(f"written: {config.plot}")
    return 0
