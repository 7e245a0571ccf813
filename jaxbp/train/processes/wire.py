"""What the processes of a run say to each other on plain sockets: lines of JSON, bounded in every way."""

import json
import os
import socket
import time
from contextlib import suppress
from typing import Any, NamedTuple

from jaxbp import arguments

LIMIT = 4096  # bytes of a line; a hello takes about 100
_MOST = 2**31  # processes


class Hello(NamedTuple):
    """How a process introduces itself to process 0.

    Args:
        process_id: which it is.
        num_processes: how many it thinks there are.
        jax: its version of JAX.
        name: the process and its computer, for messages; "" if it does not say.
    """

    process_id: int
    num_processes: int
    jax: str
    name: str = ""


class Lines:
    r"""Cuts what comes over one connection into lines.

    Example:
        >>> lines = Lines()
        >>> lines.add(b'{"agr'), lines.add(b'eed": true}\n\n{')
        ([], [b'{"agreed": true}', b''])
    """

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes; a ValueError where one is too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*lines, self._rest))) > LIMIT:
            raise ValueError(f"a line of more than {LIMIT} bytes")
        return lines


def own_name() -> str:
    """This process and its computer."""
    return f"pid {os.getpid()} on {socket.gethostname()}"[:80]


def to_line(**message: Any) -> bytes:
    """A message as `parsed` reads it."""
    return json.dumps(message).encode() + b"\n"


def parsed(line: bytes) -> dict[str, Any]:
    """The message in a line; empty if it is none, whatever the line is.

    Example:
        >>> parsed(b'{"agreed": true}'), parsed(b"[" * 4000), parsed(b"7")
        ({'agreed': True}, {}, {})
    """
    try:
        message = arguments.json_of("wire", line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def hello(line: bytes) -> Hello | None:
    """The hello in a line; None if it is none.

    Example:
        >>> hello(b'{"process_id": 1, "num_processes": 2, "jax": "0.10.2"}')
        Hello(process_id=1, num_processes=2, jax='0.10.2', name='')
        >>> hello(b'{"process_id": Infinity, "num_processes": 2, "jax": "0.10.2"}')
    """
    said = parsed(line)
    i, number, version = (said.get(key) for key in ("process_id", "num_processes", "jax"))
    if not all(type(value) is int and 0 <= value < _MOST for value in (i, number)) or not _is_word(version):
        return None
    name = said.get("name", "")
    return Hello(i, number, version, name if _is_word(name) else "")  # type: ignore[arg-type]


def fault_of(message: dict[str, Any]) -> Exception | None:
    """The error that process 0 answers with; None if the message is no such answer."""
    kinds = {"ValueError": ValueError, "TimeoutError": TimeoutError}
    kind, text = message.get("fault"), message.get("message")
    if isinstance(kind, str) and kind in kinds and isinstance(text, str):
        return kinds[kind](text)
    return None


def send(peer: socket.socket, line: bytes) -> None:
    """Send a line as far as it goes: whoever does not take it is noticed by other signs."""
    with suppress(OSError):
        peer.sendall(line)


def receive(peer: socket.socket, lines: Lines, end: float) -> list[bytes]:
    """Wait until at least one line has come.

    Args:
        peer: whom to listen to.
        lines: what has come before.
        end: of the wait, as `time.monotonic` counts.

    Raises:
        OSError: the other side hung up, or nothing came in time (TimeoutError).
        ValueError: a line is too long.
    """
    while True:
        if (left := end - time.monotonic()) <= 0:
            raise TimeoutError("no answer")
        peer.settimeout(left)
        if not (data := peer.recv(LIMIT)):
            raise ConnectionError("it hung up without an answer")
        if found := lines.add(data):
            return found


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 80 and value.isprintable()
