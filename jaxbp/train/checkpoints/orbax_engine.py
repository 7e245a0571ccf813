"""Checkpoints by Orbax: each process writes its part of an array, none gathers it.

Orbax is slower than one .npz file (109 against 0.8 ms for 0.25 MB) and does not notice flipped bits in
arrays; it is for states that no single process can hold. The manifest is that of `npz_engine`,
so paths, shapes and dtypes are compared in the same way.
"""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbp.errors import message
from jaxbp.train.checkpoints.leaves import Leaf, by_path, is_key, pack, sharding, unpack
from jaxbp.train.checkpoints.npz_engine import as_json


def save(path: str | os.PathLike[str], tree: Any, *, meta: dict[str, Any] | None = None) -> None:
    """Write a tree into the folder ``path``; all processes call this, and return when it is whole."""
    ocp = _orbax()
    arrays, leaves = pack(tree)
    manifest = {"meta": meta or {}, "leaves": leaves}
    as_json(manifest)
    # Numbers for names: Orbax splits paths at characters of its own choice.
    items = {
        str(i): array if sharding(array) else np.asarray(array) for i, array in enumerate(arrays.values())
    }
    both = ocp.args.Composite(tree=ocp.args.StandardSave(items), manifest=ocp.args.JsonSave(manifest))
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(Path(path).absolute(), both, force=True)


def read_manifest(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Leaf]]:
    """The meta of a checkpoint, and what it says of its leaves."""
    stored = _restore(path, "manifest", _orbax().args.JsonRestore())
    return stored["meta"], {name: (kind, extra) for name, (kind, extra) in stored["leaves"].items()}


def load(path: str | os.PathLike[str], leaves: dict[str, Leaf], like: Any) -> Any:
    """The tree of a checkpoint whose leaves have been compared with ``like``."""
    wanted = by_path(like)
    names = [name for name in leaves if hasattr(wanted[name], "shape")]
    targets = {str(i): _target(wanted[name]) for i, name in enumerate(names)}
    arrays = _restore(path, "tree", _orbax().args.StandardRestore(targets))
    return unpack({name: arrays[str(i)] for i, name in enumerate(names)}, leaves, like)


def verify(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if the manifest is damaged; the arrays have no checksums."""
    read_manifest(path)


def _target(leaf: Any) -> Any:
    """What to ask of Orbax for a leaf: an array of NumPy, or one of JAX and where it must lie."""
    array = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
    if place := sharding(leaf):
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place)  # type: ignore[no-untyped-call]
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def _restore(path: str | os.PathLike[str], item: str, args: Any) -> Any:
    """One item of a checkpoint; whatever Orbax raises on a damaged one, as one ValueError."""
    ocp = _orbax()
    path = Path(path).absolute()
    where = f"restore({path.name})"
    if not path.is_dir():
        raise FileNotFoundError(message(where, "an existing folder", f"{path}"))
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(path, ocp.args.Composite(**{item: args}))[item]
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(message(where, "a whole, undamaged checkpoint of Orbax", f"{error}")) from error


def _orbax() -> Any:
    """Orbax, which takes seconds to import, only where it is asked for."""
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        hint = 'pip install "jaxbp[orbax]"'
        raise ImportError(message('engine="orbax"', "orbax-checkpoint", "none installed", hint)) from error
    return ocp
