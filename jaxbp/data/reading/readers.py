"""Readers for IDX, .npy and .npz files: bounded, without pickle, and never a raw decoding error."""

import gzip
import hashlib
import io
import math
import os
import struct
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from jaxbp import arguments
from jaxbp.data.reading.files import GZIP, MAX_BYTES, MORE, assert_file, decoding, kind, kind_of
from jaxbp.errors import message

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(
    path: str | os.PathLike[str], *, sha256: str | None = None, max_bytes: int = MAX_BYTES
) -> np.ndarray:
    """The array of an IDX file (the format of MNIST), raw or gzipped.

    The header's type and dimensions must account for every byte that follows: a truncated file and
    trailing bytes are refused. Gzip is recognised by its first bytes, not by the name, and is never
    opened beyond the size that the header states, nor beyond ``max_bytes``.

    Args:
        path: the file.
        sha256: the digest that the file, as it lies on the disk, must have; None checks nothing. Raw
            files have no checksum of their own, so a flipped bit is noticed by this alone.
        max_bytes: the largest array (and file) accepted, in bytes.

    Returns:
        The array, in the machine's byte order: images (N, height, width) uint8, labels (N,) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not IDX, damaged, of another size than its header states, larger than
            ``max_bytes``, or of another digest.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> read_idx(file).tolist()
        [7, 2, 1]
    """
    path = arguments.path("read_idx", "path", path)
    where = f"read_idx({path.name})"
    arguments.whole(where, "max_bytes", max_bytes, low=1)
    if sha256 is not None:
        sha256 = arguments.instance(where, "sha256", sha256, str).lower()
    assert_file(path, where, max_bytes)
    stored = path.read_bytes()
    if sha256 is not None and (digest := hashlib.sha256(stored).hexdigest()) != sha256:
        raise ValueError(
            message(where, f"sha256 {sha256}", digest, "the file is damaged or another one; fetch it again")
        )
    packed = kind_of(stored) == GZIP
    with (
        decoding(where),
        gzip.GzipFile(fileobj=io.BytesIO(stored)) if packed else io.BytesIO(stored) as file,
    ):
        shape, dtype = _idx_header(file, where)
        size = math.prod(shape) * dtype.itemsize
        if not 0 < size <= max_bytes:
            raise ValueError(
                message(where, f"1 to {max_bytes} bytes of data", f"dimensions {shape}: {size} bytes", MORE)
            )
        # One byte more than stated: it must not be there, and asking for it makes gzip check its CRC.
        body = file.read(size + 1)
    if len(body) != size:
        more = "more" if len(body) > size else str(len(body))
        raise ValueError(message(where, f"{size} bytes of data for dimensions {shape}", more))
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def open_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of a raw IDX file as a memory map: what is used of it is read when it is used.

    `jaxbp.fit` trains on one that is larger than memory, with a ``memory_budget`` and, for pixels,
    ``preprocess``. Only the header and the size of the file are looked at.

    Args:
        path: the file; a gzipped one cannot be mapped.

    Returns:
        The array, read-only, in the file's byte order, which is big-endian: a type of more than one byte
        is that of no usual machine. `jaxbp.fit` and NumPy take it as it is; for others,
        ``a.astype(a.dtype.newbyteorder("="))`` is the array in the machine's order, in memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: gzipped, not IDX, or of another size than its header states.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> open_idx(file)
        memmap([7, 2, 1], dtype=uint8)
    """
    path = arguments.path("open_idx", "path", path)
    where = f"open_idx({path.name})"
    assert_file(path, where)
    if kind(path) == GZIP:
        raise ValueError(message(where, "a raw IDX file", "a gzipped one", "unpack it, or read_idx"))
    with path.open("rb") as file:
        shape, dtype = _idx_header(file, where)
        start = file.tell()
    size, stored = math.prod(shape) * dtype.itemsize, path.stat().st_size - start
    if not 0 < size == stored:
        raise ValueError(message(where, f"{max(size, 1)} bytes of data for dimensions {shape}", str(stored)))
    return np.memmap(path, dtype, "r", start, shape)


def _idx_header(file: io.BufferedIOBase, where: str) -> tuple[tuple[int, ...], np.dtype]:
    """The dimensions and the type that the first bytes of an IDX file state."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 1 <= magic[3] <= 8:
        expected = "an IDX header: 0, 0, a type code, 1 to 8 dimensions"
        raise ValueError(message(where, expected, f"bytes {magic.hex(' ')}"))
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise ValueError(message(where, f"{magic[3]} dimensions", f"a header of {4 + len(header)} bytes"))
    return struct.unpack(f">{magic[3]}I", header), np.dtype(_IDX_TYPES[magic[2]])


def read_npz(
    path: str | os.PathLike[str], *, names: Collection[str] | None = None, max_bytes: int = MAX_BYTES
) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file; pickled objects are never loaded.

    Args:
        path: the file, as np.savez or np.savez_compressed writes it.
        names: the arrays to read, by default all; the others are passed over.
        max_bytes: the largest sum of unpacked sizes accepted, in bytes.

    Returns:
        A dict from name to array.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an .npz file, damaged, empty, without one of ``names``, holding Python objects, or
            larger than ``max_bytes``.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "toy.npz"
        >>> np.savez(file, x=np.eye(2), y=np.array([0, 1]))
        >>> {name: array.tolist() for name, array in read_npz(file).items()}
        {'x': [[1.0, 0.0], [0.0, 1.0]], 'y': [0, 1]}
    """
    path = arguments.path("read_npz", "path", path)
    where = f"read_npz({path.name})"
    arguments.whole(where, "max_bytes", max_bytes, low=1)
    if names is not None and (isinstance(names, str) or not isinstance(names, Collection)):
        raise TypeError(message(where, "a list of names", f"names={names!r}"))
    for name in () if names is None else names:
        arguments.instance(where, "each of names", name, str)
    assert_file(path, where)
    arrays: dict[str, np.ndarray] = {}
    with decoding(where), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        count = _stated_members(path, len(archive.comment))
        if min(len(members), 0xFFFF) != count or count == 0:  # 0xFFFF: so many or more
            raise ValueError(
                message(where, f"the {count or 'at least 1'} arrays it states", f"{len(members)}")
            )
        if names is not None:
            members = [member for member in members if _array_name(member) in names]
        foreign = [member.filename for member in members if not member.filename.endswith(".npy")]
        if foreign and len(foreign) == len(members):
            hint = "save a spreadsheet as CSV, unpack a CSV"
            raise ValueError(message(where, "an .npz file", f"a zip archive with {foreign[0]}", hint))
        size = sum(member.file_size for member in members)
        if size > max_bytes:
            raise ValueError(message(where, f"at most {max_bytes} bytes unpacked", f"{size} bytes", MORE))
        for member in members:
            if (name := _array_name(member)) in arrays:
                raise ValueError(message(where, "a name for each array", f"{name!r} twice"))
            # Read whole before NumPy parses anything: zipfile compares the CRC only at the end.
            arrays[name] = _array(archive.read(member), f"{where}[{name!r}]")
    if names is not None and (absent := set(names) - set(arrays)):
        raise ValueError(
            message(where, f"arrays {', '.join(sorted(names))}", f"none named {', '.join(sorted(absent))}")
        )
    return arrays


def read_npy(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The array of an .npy file; pickled objects are never loaded.

    Args:
        path: the file, as np.save writes it.
        max_bytes: the largest file accepted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an .npy file, damaged, holding Python objects, or larger than ``max_bytes``.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "toy.npy"
        >>> np.save(file, np.eye(2))
        >>> read_npy(file).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    path = arguments.path("read_npy", "path", path)
    where = f"read_npy({path.name})"
    arguments.whole(where, "max_bytes", max_bytes, low=1)
    assert_file(path, where, max_bytes)
    with decoding(where):
        return _array(path.read_bytes(), where)


def _array_name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _array(content: bytes, where: str) -> np.ndarray:
    """The array of an .npy file, native; its header must account for every byte that follows."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(message(where, "version 1 or 2 of the format .npy", ".".join(map(str, version))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header written by Python 2 is read all the same
        shape, fortran, dtype = _NPY_HEADERS[version](file)
    if dtype.hasobject:
        hint = "save it with a dtype of numbers: x.astype(float)"
        raise ValueError(message(where, "an array without pickled objects", f"dtype {dtype}", hint))
    if any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(message(where, "whole numbers as its shape", f"{shape}"))
    size, start = math.prod(shape) * dtype.itemsize, file.tell()
    if size != len(content) - start:
        stored = len(content) - start
        raise ValueError(message(where, f"{size} bytes of {dtype} of shape {shape}", f"{stored} bytes"))
    array = np.ndarray(shape, dtype, content, start, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _stated_members(path: Path, comment: int) -> int:
    """How many members the record at the end of a zip file states; zipfile does not compare it.

    A directory with a damaged length would otherwise lose an array in silence.
    """
    with path.open("rb") as file:
        file.seek(-22 - comment, os.SEEK_END)
        return struct.unpack_from("<H", file.read(22), 10)[0]
