"""One tree in one file: whole or not there at all, and read back exactly or not at all."""

import json
import os
import secrets
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbp.data import read_npz
from jaxbp.errors import message
from jaxbp.train.checkpoints.leaves import Leaf, by_path, match, pack, unpack

_MANIFEST = "jaxbp"  # no path of a tree is a word alone


def save(path: str | os.PathLike[str], tree: Any, *, meta: dict[str, Any] | None = None) -> None:
    """Write a tree of arrays to one .npz file, atomically.

    The file is written under another name beside ``path``, forced to the disk, and only then renamed:
    whenever the machine stops, ``path`` is the old file or the new one. Each array is a member of its own
    with a CRC32, named by its path (`jax.tree_util.keystr`), so that ``numpy.load(path)["['W']"]`` reads it;
    types that NumPy's format does not know (bfloat16, float8, int4) are held as unsigned integers of their
    bits. Nothing is ever pickled.

    In a run of many processes all of them call this, and process 0 writes.

    Args:
        path: the file; its folder is made if need be.
        tree: any pytree whose leaves are JAX or NumPy arrays of any dtype, typed PRNG keys, Python bools,
            ints, floats, complex numbers, strs or None.
        meta: anything else, as JSON holds it. Tuples come back as lists.

    Raises:
        TypeError: for another leaf, or a meta that is no JSON.
        ValueError: for an array that is spread over processes: it cannot be gathered here.
        OSError: where the disk is full, or the folder is not to be written; ``path`` is then as before.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.npz"
        >>> save(file, {"W": jax.numpy.arange(3.0), "step": 7}, meta={"eta": 0.1})
        >>> restore(file, {"W": jax.ShapeDtypeStruct((3,), "float32"), "step": 0})
        {'W': Array([0., 1., 2.], dtype=float32), 'step': 7}
        >>> read_meta(file)
        {'eta': 0.1}
        >>> np.load(file)["['W']"]
        array([0., 1., 2.], dtype=float32)
    """
    path = Path(path)
    arrays, leaves = pack(tree)
    for name, array in arrays.items():
        if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
            got = f"{name} spread over {jax.process_count()} processes"
            hint = 'Checkpoints(..., engine="orbax") stores such arrays'
            raise ValueError(message(f"save({path.name})", "arrays that this process can read", got, hint))
    manifest = np.frombuffer(as_json({"meta": meta or {}, "leaves": leaves}).encode(), np.uint8)
    members = {_MANIFEST: manifest, **jax.device_get(arrays)}
    if jax.process_index() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, members)


def restore(path: str | os.PathLike[str], like: Any) -> Any:
    """Read the tree that `save` wrote, if it is whole and what ``like`` expects.

    Args:
        path: the file.
        like: a tree with the same paths, whose leaves have the same shapes and dtypes, or Python types; their
            values do not matter, and `jax.ShapeDtypeStruct` serves for arrays.

    Returns:
        The tree, each leaf of the type of its counterpart in ``like``: a JAX array, laid out as the
        counterpart's sharding says where it has one, a NumPy array or scalar, or a Python scalar.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no checkpoint, or has other leaves; the leaves are named.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.npz"
        >>> save(file, {"W": np.zeros((3, 5), np.float32)})
        >>> restore(file, {"W": np.zeros((5, 3), np.float32)})
        Traceback (most recent call last):
        ...
        ValueError: restore(a.npz): expected ['W'] float32 (5, 3), got ['W'] float32 (3, 5)
    """
    _, leaves = read_manifest(path)
    match(leaves, like, f"restore({Path(path).name})")
    return load(path, leaves, like)


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The ``meta`` that `save` wrote beside the tree; the arrays are not read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or no checkpoint.
    """
    return read_manifest(path)[0]


def read_manifest(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Leaf]]:
    """The meta of a checkpoint, and what it says of its leaves."""
    stored = json.loads(_read(path, [_MANIFEST])[_MANIFEST].tobytes())
    return stored["meta"], {name: (kind, extra) for name, (kind, extra) in stored["leaves"].items()}


def load(path: str | os.PathLike[str], leaves: dict[str, Leaf], like: Any) -> Any:
    """The tree of a checkpoint whose leaves have been compared with ``like``; ValueError if damaged."""
    wanted = by_path(like)
    arrays = {
        name: array.view(wanted[name].dtype) if _is_foreign(wanted[name].dtype) else array
        for name, array in _read(path, None).items()
        if name != _MANIFEST
    }
    return unpack(arrays, leaves, like)


def verify(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a checkpoint is damaged anywhere."""
    _read(path, None)


def as_json(manifest: dict[str, Any]) -> str:
    """The text, or a TypeError that says what to do with arrays."""
    try:
        return json.dumps(manifest)
    except TypeError as error:
        hint = "arrays belong in the tree; .item() and .tolist() give plain numbers"
        raise TypeError(message("save", "meta that JSON can hold", str(error), hint)) from error


def _read(path: str | os.PathLike[str], names: list[str] | None) -> dict[str, np.ndarray]:
    """Members of the file. They are not compressed, so a size beyond the file's is a lie."""
    path = Path(path)
    return read_npz(path, names=names, max_bytes=path.stat().st_size if path.is_file() else 0)


def _write(path: Path, members: dict[str, Any]) -> None:
    """The members as an .npz file that is there whole, on the disk, or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in members.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, _native(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows opens no folders; the name, too, must reach the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _native(array: Any) -> np.ndarray:
    """The array itself, or its bits where NumPy's format would forget the dtype."""
    array = np.asarray(array)
    return array.view(f"u{array.itemsize}") if _is_foreign(array.dtype) else array


def _is_foreign(dtype: Any) -> bool:
    """A dtype that a package registered with NumPy."""
    return isinstance(dtype, np.dtype) and dtype.isbuiltin == 2
