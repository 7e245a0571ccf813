"""What lies in the folder of a run: the checkpoints by epoch, and what is none."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from jaxbp.errors import message
from jaxbp.train.checkpoints.disk import remove, worded
from jaxbp.train.checkpoints.engines import Engine
from jaxbp.train.checkpoints.leaves import listed
from jaxbp.train.checkpoints.manifest import Manifest

_STRAY = re.compile(r"\.?epoch_(\d+)\.(npz\..*\.tmp|orbax-checkpoint-tmp.*)")


class Held(NamedTuple):
    """A checkpoint whose manifest is whole.

    Args:
        epoch: its number.
        path: where it lies.
        manifest: what it says of itself.
    """

    epoch: int
    path: Path
    manifest: Manifest


def path_of(folder: Path, engine: Engine, epoch: int) -> Path:
    """Where the checkpoint of an epoch lies."""
    return folder / f"epoch_{epoch:06}{engine.suffix}"


def named(folder: Path, engine: Engine, where: str) -> list[tuple[int, Path]]:
    """The epochs that the folder names, the newest first."""
    pattern = re.compile(r"epoch_(\d+)" + re.escape(engine.suffix))
    with worded(where, f"to read the folder {folder}"):
        found = os.listdir(folder) if folder.exists() else []
    matches = ((pattern.fullmatch(name), name) for name in found)
    return sorted(((int(match[1]), folder / name) for match, name in matches if match), reverse=True)


def whole(
    names: list[tuple[int, Path]], engine: Engine, pass_over: Callable[[Path, Exception], None]
) -> Iterator[Held]:
    """The checkpoints of these names whose manifests are whole; ``pass_over`` is told of the others."""
    for epoch, path in names:
        try:
            yield Held(epoch, path, manifest_of(epoch, path, engine))
        except (ValueError, OSError) as error:
            pass_over(path, error)


def manifest_of(epoch: int, path: Path, engine: Engine) -> Manifest:
    """The manifest of an epoch's checkpoint.

    Raises:
        ValueError: it is damaged, of another epoch, or was not written by a run.
    """
    manifest = engine.read_manifest(path)
    where, meta = f"restore({path.name})", manifest.meta
    kinds = {"epoch": int, "run": str, "environment": dict, "best": dict | None}
    if lacking := [name for name, kind in kinds.items() if not isinstance(meta.get(name, ...), kind)]:
        expected = f"a checkpoint of a run, whose meta has {', '.join(kinds)}"
        raise ValueError(message(where, expected, f"none of that kind for {', '.join(lacking)}"))
    if meta["epoch"] != epoch:
        hint = "was the file renamed?"
        raise ValueError(message(where, f"epoch {epoch}, as its name says", f"epoch {meta['epoch']}", hint))
    return manifest


def assert_one_run(held: list[Held], where: str) -> None:
    """Raise a ValueError that names the files, if they are of more than one run."""
    runs: dict[str, list[str]] = {}
    for checkpoint in held:
        runs.setdefault(checkpoint.manifest.meta["run"], []).append(checkpoint.path.name)
    if len(runs) > 1:
        got = "; ".join(f"run {run} in {listed(names)}" for run, names in runs.items())
        hint = "move those of the other run away"
        raise ValueError(message(where, "checkpoints of one run", got, hint))


def clean(folder: Path, engine: Engine, where: str, epoch: int, keep: int, best: int | None) -> None:
    """Remove checkpoints up to this epoch that are not kept, and what killed runs left of them."""
    past = [(held, path) for held, path in named(folder, engine, where) if held <= epoch]
    for held, path in past[keep:]:
        if held != best:
            remove(path, engine.folders)
    for path in folder.iterdir():
        if (stray := _STRAY.fullmatch(path.name)) and int(stray[1]) <= epoch:
            remove(path, engine.folders)
