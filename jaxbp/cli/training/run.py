"""The folder of a run: from the start with what it takes to go on, in the end with what was learned."""

import csv
import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

import jaxbp
from jaxbp.cli.settings import Train, anywhere, as_json, from_json
from jaxbp.errors import message
from jaxbp.report import plot_history
from jaxbp.train import Result


def make(config: Train) -> Path:
    """A new folder with config.json, the settings as they are used.

    Raises:
        OSError: ``--out`` cannot be written.
    """
    name = f"{Path(config.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    versions = {"python": platform.python_version(), "jax": jax.__version__, "jaxbp": jaxbp.__version__}
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        folder = next(f for i in range(1, 1000) if (f := _made(config.out / (name + f"-{i}" * (i > 1)))))
        (folder / "config.json").write_text(as_json(anywhere(config), versions=versions))
    except OSError as error:
        raise type(error)(message("jaxbp train", "to write a folder into --out", f"{error}")) from error
    return folder


def _made(folder: Path) -> Path | None:
    """The folder, unless another run has it."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return None
    return folder


def settings(folder: Path) -> Train:
    """The settings that a run was started with.

    Raises:
        FileNotFoundError: the folder is none of a run.
        ValueError: its config.json is not what `jaxbp train` wrote.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            message("jaxbp train --resume", "the folder of a run", f"{folder}, without one")
        )
    return from_json(file.read_bytes(), f"{file}")


def checkpoints(folder: Path, every: int) -> jaxbp.Checkpoints:
    """Where a run keeps its last epochs."""
    return jaxbp.Checkpoints(folder / "checkpoints", every=every, keep=2)


@contextmanager
def kept(folder: Path, new: bool) -> Iterator[None]:
    """Whatever ends the training in here, what is kept is said; where it is nothing, no folder is left."""
    try:
        yield
    except BaseException:
        if any((folder / "checkpoints").glob("epoch_*")):
            print(how_to_go_on(folder), file=sys.stderr)
        elif new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def how_to_go_on(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"its epochs so far are kept; to go on: jaxbp train --resume {folder}"


def write(folder: Path, result: Result, trained: jaxbp.Trained) -> None:
    """run.json and params.npz, as `jaxbp.load_run` reads them; history.csv, history.png and summary.json."""
    jaxbp.save_run(folder, trained)
    (folder / "summary.json").write_text(json.dumps(trained.metrics, indent=2) + "\n")
    with open(folder / "history.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(result.history)
        writer.writerows(zip(*(column.tolist() for column in result.history.values()), strict=True))
    try:
        plot_history(result.history, folder / "history.png")
    except ImportError as error:  # a picture less is no reason to fail after a night of training
        print(f"no history.png: {error}", file=sys.stderr)
