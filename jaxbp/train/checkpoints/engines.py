"""The formats of a checkpoint: each is one entry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxbp.train.checkpoints import npz_engine, orbax_engine
from jaxbp.train.checkpoints.manifest import Manifest


class Engine(NamedTuple):
    """How a checkpoint is written and read.

    Args:
        suffix: of a checkpoint's name.
        folders: whether a checkpoint is a folder.
        assert_installed: raises an ImportError where something is missing.
        write: ``(path, tree, meta=)``; errors of the system are Python's own.
        read_manifest: of one checkpoint; a ValueError or OSError if it is not whole.
        load: ``(path, manifest, like)``, the tree; a ValueError or OSError if it is not whole.
        verify: raises where a checkpoint is not whole.
    """

    suffix: str
    folders: bool
    assert_installed: Callable[[], object]
    write: Callable[..., None]
    read_manifest: Callable[[Path], Manifest]
    load: Callable[[Path, Manifest, Any], Any]
    verify: Callable[[Path], None]


ENGINES = {
    "npz": Engine(
        ".npz",
        False,
        lambda: None,
        npz_engine.write,
        npz_engine.read_manifest,
        npz_engine.load,
        npz_engine.verify,
    ),
    "orbax": Engine(
        "",
        True,
        orbax_engine.assert_installed,
        orbax_engine.write,
        orbax_engine.read_manifest,
        orbax_engine.load,
        orbax_engine.verify,
    ),
}
