"""Readers for IDX and .npz files: bounded, without pickle, and never a raw decoding error."""

import gzip
import hashlib
import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from jaxbp.errors import message

# MNIST opens to 47 MB; a 1 MB gzip can open to 1 GiB. Both readers of packed files take max_bytes.
MAX_BYTES = 2**28

_GZIP = b"\x1f\x8b"  # its first bytes
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
    path = Path(path)
    where = f"read_idx({path.name})"
    assert_file(path, where, max_bytes)
    stored = path.read_bytes()
    if sha256 is not None and (digest := hashlib.sha256(stored).hexdigest()) != sha256:
        raise ValueError(
            message(where, f"sha256 {sha256}", digest, "the file is damaged or another one; fetch it again")
        )
    packed = stored[:2] == _GZIP
    with (
        _decoding(where),
        gzip.GzipFile(fileobj=io.BytesIO(stored)) if packed else io.BytesIO(stored) as file,
    ):
        shape, dtype = _idx_header(file, where)
        size = math.prod(shape) * dtype.itemsize
        if not 0 < size <= max_bytes:
            raise ValueError(
                message(where, f"1 to {max_bytes} bytes of data", f"dimensions {shape}: {size} bytes", _MORE)
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
        The array, read-only, in the file's byte order.

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
    path = Path(path)
    where = f"open_idx({path.name})"
    assert_file(path, where)
    with path.open("rb") as file:
        if file.peek(2)[:2] == _GZIP:
            raise ValueError(message(where, "a raw IDX file", "a gzipped one", "unpack it, or read_idx"))
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


_MORE = "if the file is meant to be so large, give max_bytes="


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
    path = Path(path)
    where = f"read_npz({path.name})"
    assert_file(path, where)
    arrays = {}
    with _decoding(where), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        count = _stated_members(path, len(archive.comment))
        if min(len(members), 0xFFFF) != count or count == 0:  # 0xFFFF: so many or more
            raise ValueError(
                message(where, f"the {count or 'at least 1'} arrays it states", f"{len(members)}")
            )
        if names is not None:
            members = [member for member in members if member.filename.removesuffix(".npy") in names]
        size = sum(member.file_size for member in members)
        if size > max_bytes:
            raise ValueError(message(where, f"at most {max_bytes} bytes unpacked", f"{size} bytes", _MORE))
        for member in members:
            # Read whole before NumPy parses anything: zipfile compares the CRC only at the end.
            body = io.BytesIO(archive.read(member))
            arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(body, allow_pickle=False)
    if names is not None and (absent := set(names) - set(arrays)):
        raise ValueError(
            message(where, f"arrays {', '.join(sorted(names))}", f"none named {', '.join(sorted(absent))}")
        )
    return arrays


def _stated_members(path: Path, comment: int) -> int:
    """How many members the record at the end of a zip file states; zipfile does not compare it.

    A directory with a damaged length would otherwise lose an array in silence.
    """
    with path.open("rb") as file:
        file.seek(-22 - comment, os.SEEK_END)
        return struct.unpack_from("<H", file.read(22), 10)[0]


def assert_file(path: Path, where: str, max_bytes: int | None = None) -> None:
    """Raises unless the path is a file, not larger than max_bytes."""
    if not path.is_file():
        raise FileNotFoundError(message(where, "an existing file", f"{path}"))
    if max_bytes is not None and (size := path.stat().st_size) > max_bytes + 36:  # the longest header
        raise ValueError(message(where, f"at most {max_bytes} bytes", f"a file of {size} bytes", _MORE))


@contextmanager
def _decoding(where: str) -> Iterator[None]:
    """Word whatever a decoder raises on damaged bytes as one ValueError."""
    try:
        yield
    except ValueError as error:
        if error.args and str(error.args[0]).startswith(where):
            raise
        raise ValueError(message(where, "a whole, undamaged file", f"{error}")) from error
    except (
        EOFError,
        MemoryError,
        NotImplementedError,  # zip: a compression or version that Python does not read
        OSError,  # BadGzipFile
        OverflowError,
        RuntimeError,  # zip: encrypted
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            message(where, "a whole, undamaged file", f"{error or type(error).__name__}")
        ) from error
