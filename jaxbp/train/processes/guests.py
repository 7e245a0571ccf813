"""Whoever comes to a port: all are read at once, bounded in time and size, so that none holds up another."""

import selectors
import socket
import time
from collections.abc import Iterator

from jaxbp.train.processes.wire import LIMIT, Hello, Lines, hello

_PATIENCE = 10  # seconds in which a connection must have said hello
_MOST = 100  # connections that have not; a further one takes the place of the oldest


class Guests:
    """The connections to a listening socket, each of which may say one hello.

    Args:
        server: the socket.
    """

    def __init__(self, server: socket.socket):
        self._server = server
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[socket.socket, tuple[Lines, float]] = {}  # until when each must have said hello
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ)

    def __enter__(self) -> "Guests":
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            self.dismiss(key.fileobj)  # type: ignore[arg-type]
        self._selector.close()

    def heard(self, end: float) -> Iterator[tuple[socket.socket, Hello | None]]:
        """The hellos that have come, and None for a connection that ended, after a wait of a moment."""
        for key, _ in self._selector.select(max(0, min(0.2, end - time.monotonic()))):
            peer: socket.socket = key.fileobj  # type: ignore[assignment]
            if peer is self._server:
                self._welcome()
                continue
            try:
                data = peer.recv(LIMIT)
                lines, _ = self._waiting.get(peer, (Lines(), 0))
                said = lines.add(data)
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, ValueError):
                data, said = b"", []
            if not data:
                self.dismiss(peer)
                yield peer, None
            elif said and peer in self._waiting:
                del self._waiting[peer]
                if (introduced := hello(said[0])) is None:
                    self.dismiss(peer)
                else:
                    yield peer, introduced
        for peer in [peer for peer, (_, last) in self._waiting.items() if time.monotonic() > last]:
            self.dismiss(peer)

    def _welcome(self) -> None:
        try:
            peer, _ = self._server.accept()
        except OSError:  # it went again, or there are too many
            return
        peer.setblocking(False)
        if len(self._waiting) >= _MOST:
            self.dismiss(next(iter(self._waiting)))
        self._waiting[peer] = Lines(), time.monotonic() + _PATIENCE
        self._selector.register(peer, selectors.EVENT_READ)

    def release(self, peer: socket.socket) -> None:
        """Give a connection out of hand, open."""
        self._selector.unregister(peer)

    def dismiss(self, peer: socket.socket) -> None:
        """Close a connection."""
        self._waiting.pop(peer, None)
        self._selector.unregister(peer)
        peer.close()
