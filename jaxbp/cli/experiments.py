"""`jaxbp experiments`: the experiments of the project, which come with the wheel, listed and run."""

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, Suppress

import jaxbp
from jaxbp.errors import message

WHERE = "jaxbp experiments"


@dataclass(frozen=True)
class Experiments:
    """List the experiments of the project, or run one: jaxbp experiments 7 --help says what it can be told.

    Each prints numbers, and leaves them and a picture in results/.
    """

    name: Positional[str] = ""
    """Its number or its name; what follows goes to the experiment. Without it all are listed."""

    options: Annotated[tuple[str, ...], Suppress] = ()
    """What follows the name."""


def folder() -> Path:
    """Where the experiments are: in the wheel within the package, in a clone beside it."""
    package = Path(jaxbp.__file__).parent
    places = (package / "shipped", package.parent)
    return next(place / "experiments" for place in places if (place / "experiments").is_dir())


def questions() -> dict[str, str]:
    """What each experiment asks, by its name: the first line of its file."""
    files = sorted(folder().glob("[0-9]*.py"))
    docs = {file.stem: ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) for file in files}
    return {name: (doc or "").partition("\n")[0] for name, doc in docs.items()}


def experiments(config: Experiments) -> int:
    """Run `jaxbp experiments`; returns its exit status.

    Raises:
        ValueError: for a name that none has.
        ImportError: for an experiment that imports what is not installed.
    """
    asked = questions()
    if not config.name:
        for name, question in asked.items():
            print(f"{name:30} {question}")
        return 0
    fits = [name for name in asked if config.name in (name, name[:2], name[:2].lstrip("0"))]
    if len(fits) != 1:
        numbers = ", ".join(name[:2] for name in asked)
        hint = "jaxbp experiments lists them"
        raise ValueError(message(WHERE, f"the name of one, or its number: {numbers}", config.name, hint))
    with _importable(folder().parent), _called(f"{WHERE} {fits[0]}", config.options):
        try:
            module = importlib.import_module(f"experiments.{fits[0]}")
            if hasattr(module, "Config"):
                importlib.import_module("experiments.record").run(module.main, module.Config)
            else:
                module.main()
        except ModuleNotFoundError as error:
            hint = "experiments on the project's own tests run from a clone of it"
            raise ImportError(message(WHERE, f"what {fits[0]} imports", f"{error}", hint)) from error
    return 0


@contextmanager
def _importable(parent: Path) -> Iterator[None]:
    sys.path.insert(0, str(parent))
    try:
        yield
    finally:
        sys.path.remove(str(parent))


@contextmanager
def _called(program: str, options: tuple[str, ...]) -> Iterator[None]:
    """Within it the command line is that of the experiment."""
    before = sys.argv
    sys.argv = [program, *options]
    try:
        yield
    finally:
        sys.argv = before
