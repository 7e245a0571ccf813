"""One tree in one file: whole or not there at all, and read back exactly or not at all."""

import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbp import arguments
from jaxbp.data import read_npz
from jaxbp.errors import message
from jaxbp.train.checkpoints.disk import worded, written_whole
from jaxbp.train.checkpoints.leaves import Leaf, Member, by_path, kind, listed, match, pack, unpack
from jaxbp.train.checkpoints.manifest import Manifest, assert_holds, parsed, plain, sealed, to_json

_MANIFEST = "jaxbp"  # no path of a tree is a word alone


def save(path: str | os.PathLike[str], tree: Any, *, meta: dict[str, Any] | None = None) -> None:
    """Write a tree of arrays to one .npz file, atomically.

    The file is written under another name beside ``path``, forced to the disk, and only then renamed:
    whenever the machine stops, ``path`` is the old file or the new one. Each array is a member of its own
    with a CRC32, named by its path (`jax.tree_util.keystr`), so that ``numpy.load(path)["['W']"]`` reads it;
    types that NumPy's format does not know (bfloat16, float8, int4) are held as unsigned integers of their
    bits. A manifest holds the dtype, shape and checksum of each, and one sha256 over all of this, so that no
    array is taken for another. Nothing is ever pickled.

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
    path = arguments.path("save", "path", path)
    if path.is_dir():
        raise IsADirectoryError(message("save", "path to name a file", f"the folder {str(path)!r}"))
    hint = "nothing was changed at this path"
    with worded(f"save({path.name})", f"to write {path}", hint):
        write(path, tree, meta=meta)


def write(path: Path, tree: Any, *, meta: dict[str, Any] | None = None) -> None:
    """What `save` does; its errors of the system are those of Python, for the caller to word."""
    arrays, leaves = pack(tree)
    for name, array in arrays.items():
        if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
            got = f"{name} spread over {jax.process_count()} processes"
            hint = 'Checkpoints(..., engine="orbax") stores such arrays'
            raise ValueError(message(f"save({path.name})", "arrays that this process can read", got, hint))
    meta = plain(meta)
    members = {name: _native(array) for name, array in jax.device_get(arrays).items()}
    if jax.process_index() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, meta, leaves, members)


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
        ValueError: it is damaged, no checkpoint, its arrays are not those of its manifest, or it has other
            leaves than ``like``; what differs is named.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "a.npz"
        >>> save(file, {"W": np.zeros((3, 5), np.float32)})
        >>> restore(file, {"W": np.zeros((5, 3), np.float32)})
        Traceback (most recent call last):
        ...
        ValueError: restore(a.npz): expected ['W'] float32 (5, 3), got ['W'] float32 (3, 5)
    """
    path = arguments.path("restore", "path", path)
    manifest = read_manifest(path)
    match(manifest.leaves, like, f"restore({path.name})")
    return load(path, manifest, like)


def read_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The ``meta`` that `save` wrote beside the tree; the arrays are not read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or no checkpoint.
    """
    return read_manifest(arguments.path("read_meta", "path", path)).meta


def read_manifest(path: Path) -> Manifest:
    """What a checkpoint says of itself; its arrays are not read."""
    text = _read(path, [_MANIFEST])[_MANIFEST]
    return parsed(text.tobytes(), f"restore({path.name})")


def load(path: Path, manifest: Manifest, like: Any) -> Any:
    """The tree of a checkpoint whose leaves have been compared with ``like``; ValueError if damaged."""
    wanted = by_path(like)
    members = _members(path, manifest)
    arrays = {
        name: array.view(wanted[name].dtype) if _is_foreign(wanted[name].dtype) else array
        for name, array in members.items()
    }
    return unpack(arrays, manifest.leaves, like, f"restore({path.name})")


def verify(path: Path) -> None:
    """Raise ValueError if a checkpoint is damaged anywhere."""
    _members(path, read_manifest(path))


def _members(path: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    """The arrays of a file, which are those that its manifest names."""
    where = f"restore({path.name})"
    members = _read(path, None)
    with zipfile.ZipFile(path) as archive:  # it has compared these checksums with the content
        checksums = [(member.filename, member.CRC) for member in archive.infolist()]
    if sorted(name for name, _ in checksums) != sorted(f"{name}.npy" for name in members):
        got = listed(name for name, _ in checksums)  # two members of one name would be one array
        raise ValueError(message(where, f"each of {len(members)} arrays once", got))
    crcs = {name.removesuffix(".npy"): crc for name, crc in checksums}
    members.pop(_MANIFEST)
    found = {name: Member(kind(name, array), crcs[name]) for name, array in members.items()}
    assert_holds(manifest, found, where)
    return members


def _read(path: Path, names: list[str] | None) -> dict[str, np.ndarray]:
    """Members of the file. They are not compressed, so a size beyond the file's is a lie."""
    size = path.stat().st_size if path.is_file() else 0
    return read_npz(path, names=names, max_bytes=max(size, 1))  # of no file and an empty one, it says so


def _write(path: Path, meta: dict[str, Any], leaves: dict[str, Leaf], members: dict[str, np.ndarray]) -> None:
    """The arrays, then the manifest, as an .npz file."""
    with written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        written = {
            name: Member(kind(name, array), _append(archive, name, array)) for name, array in members.items()
        }
        text = to_json(sealed(meta, leaves, written))
        _append(archive, _MANIFEST, np.frombuffer(text.encode(), np.uint8))


def _append(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> int:
    """Add an array; its checksum comes back."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
    return archive.getinfo(f"{name}.npy").CRC


def _native(array: Any) -> np.ndarray:
    """The array in native byte order, as it is read back; its bits where NumPy would forget the dtype."""
    array = np.asarray(array, order="C")
    if _is_foreign(array.dtype):
        return array.view(f"u{array.itemsize}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_foreign(dtype: Any) -> bool:
    """A dtype that a package registered with NumPy."""
    return isinstance(dtype, np.dtype) and dtype.isbuiltin == 2
