"""What the system refuses on the disk, in words: which file, what is kept, what to do."""

import errno
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from jaxbp.errors import message

_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EACCES: "change the permissions there, or give another folder",
    errno.EPERM: "change the permissions there, or give another folder",
    errno.EROFS: "give a folder on a disk that can be written",
    errno.ENOTDIR: "a file is in the way: give another folder",
    errno.EEXIST: "a file is in the way: give another folder",
    errno.EISDIR: "a folder is in the way: move it",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "a link leads to itself: give another folder",
    errno.EIO: "the disk reports a fault: give a folder on another one",
}


@contextmanager
def worded(where: str, expected: str, hint: str = "") -> Iterator[None]:
    """Word any OSError that passes through; it keeps its type and its ``errno``.

    Args:
        where: who asked for the file.
        expected: what could not be done with which file.
        hint: what is kept. What to do is added.

    Example:
        >>> with worded("save(a.npz)", "to write runs/a.npz", "nothing was changed at this path"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        ...
        OSError: save(a.npz): expected to write runs/a.npz, got No space left on device;
        nothing was changed at this path; make room on the disk
    """
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # worded already
            raise
        got = error.strerror or type(error).__name__
        hints = "; ".join(filter(None, (hint, _REMEDIES.get(error.errno or 0, ""))))
        again = type(error)(message(where, expected, got, hints))
        again.errno = error.errno
        raise again from error


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which then is at this path whole, on the disk, or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows opens no folders; the name, too, must reach the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems flush no folders
                raise
        finally:
            os.close(folder)


def remove(path: Path, folders: bool) -> None:
    """Remove a file or a link, and a folder too where ``folders``; say what cannot be removed."""
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif folders:
            shutil.rmtree(path)
    except OSError as error:
        warnings.warn(f"{path} is not removed: {error.strerror}", stacklevel=4)


def move_aside(path: Path) -> None:
    """Give another name to what lies at a path, and say so."""
    name = f"{path.name}.moved-{secrets.token_hex(4)}"
    os.replace(path, path.with_name(name))
    warnings.warn(f"{path} was no checkpoint and is now named {name}", stacklevel=4)
