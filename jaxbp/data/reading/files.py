"""A file before it is read: that it is there, what its first bytes say it is, how large it may be."""

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxbp.errors import message

# MNIST opens to 47 MB; a 1 MB gzip can open to 1 GiB. Every reader takes max_bytes.
MAX_BYTES = 2**28
MORE = "if the file is meant to be so large, give max_bytes="

GZIP, ZIP, IDX, NPY = "a gzipped file", "a zip archive", "an IDX file", "an .npy file"
# The first bytes of what is met under the name of a table. What has none of them is taken for text.
_FIRST_BYTES = {
    b"\x1f\x8b": GZIP,
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    **{bytes([0, 0, code]): IDX for code in (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E)},
    b"\x93NUMPY": NPY,
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    **{bytes([0x80, version]): "a pickle" for version in (2, 3, 4, 5)},
    b"SQLite format 3\0": "an SQLite file",
    b"%PDF": "a PDF file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"version https://git-lfs": "a pointer of Git LFS",
    b"<": "a page of HTML or XML",
    b"{": "a JSON file",
    b"[": "a JSON file",
}


def kind(path: Path) -> str:
    r"""What the file is by its first bytes; ``"text"`` where they say nothing, and of an archive of one text.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "table.csv"
        >>> _ = file.write_bytes(b"PK\x03\x04...")
        >>> kind(file)
        'a zip archive'
    """
    with path.open("rb") as file:
        found = kind_of(file.read(64))
    return "text" if found == ZIP and zipped_text(path) is not None else found


def zipped_text(path: Path) -> str | None:
    """The one member of a zip archive, if it may be a text; what macOS puts beside it does not count."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    return names[0] if len(names) == 1 and not names[0].endswith((".npy", ".xml", "/")) else None


def kind_of(first: bytes) -> str:
    """What begins with these bytes."""
    return next((name for magic, name in _FIRST_BYTES.items() if first.startswith(magic)), "text")


def assert_file(path: Path, where: str, max_bytes: int | None = None) -> None:
    """Raises unless the path is a file, not larger than max_bytes."""
    if not os.path.isfile(path):  # also where the name is none that the system takes
        got = f"{path}, a folder" if os.path.isdir(path) else f"{path}"
        raise FileNotFoundError(message(where, "an existing file", got))
    if not os.access(path, os.R_OK):
        raise PermissionError(message(where, "a file that may be read", f"{path}, which may not"))
    if max_bytes is not None and (size := path.stat().st_size) > max_bytes + 36:  # the longest header
        raise ValueError(message(where, f"at most {max_bytes} bytes", f"a file of {size} bytes", MORE))


@contextmanager
def decoding(where: str) -> Iterator[None]:
    """Word whatever a decoder raises on damaged bytes as one ValueError."""
    try:
        yield
    except (
        ArithmeticError,  # OverflowError among them
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,  # BadGzipFile
        RuntimeError,  # zip: encrypted, or a compression that Python does not read; brackets too deep
        SyntaxError,  # NumPy reads the header of an array as Python
        TypeError,
        ValueError,
        struct.error,
        tokenize.TokenError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if error.args and str(error.args[0]).startswith(where):
            raise
        got = f"{error or type(error).__name__}"
        raise ValueError(message(where, "a whole, undamaged file", got)) from error
