"""Readers for IDX, CSV and .npz files: bounded, without pickle, and never a raw decoding error."""

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

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_SHOWN = 5  # malformed lines described in full
_LISTED = 50  # malformed lines named by number


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
    _assert_file(path, where, max_bytes)
    stored = path.read_bytes()
    if sha256 is not None and (digest := hashlib.sha256(stored).hexdigest()) != sha256:
        raise ValueError(
            message(where, f"sha256 {sha256}", digest, "the file is damaged or another one; fetch it again")
        )
    packed = stored[:2] == b"\x1f\x8b"
    with (
        _decoding(where),
        gzip.GzipFile(fileobj=io.BytesIO(stored)) if packed else io.BytesIO(stored) as file,
    ):
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 1 <= magic[3] <= 8:
            raise ValueError(
                message(
                    where, "an IDX header: 0, 0, a type code, 1 to 8 dimensions", f"bytes {magic.hex(' ')}"
                )
            )
        header = file.read(4 * magic[3])
        if len(header) < 4 * magic[3]:
            raise ValueError(message(where, f"{magic[3]} dimensions", f"a header of {4 + len(header)} bytes"))
        shape = struct.unpack(f">{magic[3]}I", header)
        dtype = np.dtype(_IDX_TYPES[magic[2]])
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


_MORE = "if the file is meant to be so large, give max_bytes="


def read_csv(
    path: str | os.PathLike[str], *, label: int = -1, regression: bool = False, delimiter: str = ","
) -> tuple[np.ndarray, np.ndarray]:
    r"""Inputs x and labels or targets y of a table of numbers, one example a line.

    A first line without any number is a header and is skipped; empty lines are skipped. The label
    column must hold whole numbers, unless ``regression`` asks for float targets.

    Args:
        path: the file, UTF-8 text.
        label: the column of the label, counted from 0, or from the end when negative.
        regression: y are float targets.
        delimiter: what separates the columns.

    Returns:
        x (N, columns - 1) float64 and y (N,), int64 labels or float64 targets.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no example, fewer than 2 columns, no column ``label``, or malformed lines, each
            named: another number of columns, a cell that is not a number, a label that is not whole.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "toy.csv"
        >>> _ = file.write_text("height,width,class\n1.5,2,0\n3,4,1\n")
        >>> x, y = read_csv(file)
        >>> x.tolist(), y.tolist()
        ([[1.5, 2.0], [3.0, 4.0]], [0, 1])
        >>> _ = file.write_text("1,2,0\n1,oops,1\n1,2\n")
        >>> read_csv(file)
        Traceback (most recent call last):
        ...
        ValueError: read_csv(toy.csv): expected numbers in 3 columns, got line 2: column 2 is 'oops';...
    """
    path = Path(path)
    where = f"read_csv({path.name})"
    _assert_file(path, where, None)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(message(where, "UTF-8 text", f"byte {error.start} that is not")) from error
    rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    if rows and all(_number(cell) is None for cell in rows[0][1].split(delimiter)):
        del rows[0]
    if not rows:
        raise ValueError(message(where, "at least 1 line of numbers", f"{len(lines)} lines without any"))
    columns = rows[0][1].count(delimiter) + 1
    if columns < 2 or not -columns <= label < columns:
        raise ValueError(
            message(
                where,
                f"column {label} for the label and at least one more",
                f"{columns} column{'s' * (columns > 1)} in line {rows[0][0]}",
                f"is {delimiter!r} the delimiter?",
            )
        )
    try:
        table = np.loadtxt(
            [line for _, line in rows], delimiter=delimiter, ndmin=2, comments=None, quotechar='"'
        )
    except ValueError as error:
        faults = [(i, fault) for i, line in rows if (fault := _fault(line.split(delimiter), columns))]
        got = _listed(faults) if faults else str(error)
        raise ValueError(message(where, f"numbers in {columns} columns", got)) from error
    x, y = np.delete(table, label, axis=1), table[:, label]
    if regression:
        return x, y
    # |y| < 2^53 is where float64 still holds every whole number.
    whole = (np.abs(y) < 2.0**53) & (y == np.floor(y))
    if not whole.all():
        faults = [(rows[i][0], f"label {y[i]:g}") for i in np.flatnonzero(~whole)]
        raise ValueError(
            message(where, "whole numbers as labels", _listed(faults), "regression=True takes float targets")
        )
    return x, y.astype(np.int64)


def _number(cell: str) -> float | None:
    """The cell's value, or None; an underscore is no digit in a table."""
    try:
        return None if "_" in cell else float(cell.strip().strip('"'))
    except ValueError:
        return None


def _fault(cells: list[str], columns: int) -> str:
    """What is wrong with one line, '' for nothing."""
    if len(cells) != columns:
        return f"{len(cells)} column{'s' * (len(cells) > 1)}"
    return "; ".join(
        f"column {j} is {c.strip()[:20]!r}" for j, c in enumerate(cells, 1) if _number(c) is None
    )


def _listed(faults: list[tuple[int, str]]) -> str:
    """The first faults in full, the further lines by number."""
    said = "; ".join(f"line {i}: {fault}" for i, fault in faults[:_SHOWN])
    if further := [str(i) for i, _ in faults[_SHOWN:_LISTED]]:
        said += f"; lines {', '.join(further)}{', ...' if len(faults) > _LISTED else ''}"
    return f"{said} ({len(faults)} malformed line{'s' * (len(faults) > 1)})"


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
    _assert_file(path, where, None)
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


def _assert_file(path: Path, where: str, max_bytes: int | None) -> None:
    """The path is a file, not larger than max_bytes."""
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
