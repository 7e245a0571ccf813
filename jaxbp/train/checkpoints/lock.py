"""One run at a time in a folder: a lock of the operating system, which goes when its process does."""

import errno
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxbp.errors import message

NAME = ".lock"

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)

if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        os.lseek(file, 2**30, os.SEEK_SET)  # beyond the text, which others may then read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(folder: Path, where: str) -> Iterator[None]:
    """Hold the folder's lock; the file with its holder's name is there as long as the lock is held.

    A process that is killed lets go of the lock. The file it leaves behind holds nobody up.

    Raises:
        BlockingIOError: another run, in this process or another, holds it.
    """
    path = folder / NAME
    file = _opened(path, where)
    try:
        os.ftruncate(file, 0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {started}\n".encode())
        yield
    finally:
        if sys.platform == "win32":  # it removes no file that is open
            os.close(file)
        with suppress(OSError):
            path.unlink()
        if sys.platform != "win32":
            os.close(file)


def _opened(path: Path, where: str) -> int:
    """The lock's file, open and locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            _take(file)
            held = os.fstat(file)
            with suppress(FileNotFoundError):
                if os.path.samestat(held, os.stat(path)):
                    return file
        except OSError as error:
            if error.errno in _NO_LOCKS:
                text = (
                    f"{path.parent} cannot be locked ({error.strerror}): see that one run alone writes there"
                )
                warnings.warn(text, stacklevel=5)
                return file
            os.close(file)
            if error.errno not in _HELD:
                raise
            holder = _holder(path)
            hint = "wait until it has ended, or give another folder"
            raise BlockingIOError(message(where, "a folder that no other run uses", holder, hint)) from error
        os.close(file)  # its last holder removed it just now


def _holder(path: Path) -> str:
    try:
        text = path.read_bytes()[:200].decode(errors="replace").strip()
    except OSError:
        text = ""
    return f"one that is in use by {text if text and text.isprintable() else 'another run'}"
