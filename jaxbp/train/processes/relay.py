"""JAX's connection to process 0, over this process: it stays when process 0 is gone."""

import socket
import threading
from contextlib import suppress

_PART = 2**16  # bytes that are passed on at a time


def relayed(address: tuple[str, int]) -> str:
    """An address of this process that leads to process 0, for `jax.distributed.initialize`.

    JAX ends a process by SIGABRT at the moment when its connection to process 0 breaks, before anybody can
    say which process was lost. The connection to this address does not break: behind it all is silent then,
    which JAX notices after its own heartbeat, long after the watch has spoken.
    """
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(server, address), name="jaxbp-relay", daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def _serve(server: socket.socket, address: tuple[str, int]) -> None:
    while True:
        near, _ = server.accept()
        try:
            far = socket.create_connection(address)
        except OSError:  # JAX does not listen there yet; here it tries again
            near.close()
            continue
        for ours in (near, far):  # small messages, each waited for
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for work in (_out, _back):
            threading.Thread(target=work, args=(near, far), name="jaxbp-relay", daemon=True).start()


def _out(near: socket.socket, far: socket.socket) -> None:
    """Pass on what JAX sends, and hold the connection, be process 0 there or not, until JAX closes it."""
    with near, far, suppress(OSError):
        while part := near.recv(_PART):
            with suppress(OSError):
                far.sendall(part)
        far.shutdown(socket.SHUT_RDWR)  # ends the other thread's wait


def _back(near: socket.socket, far: socket.socket) -> None:
    """Pass on what process 0 answers; that it has ended is not passed on."""
    with suppress(OSError):
        while part := far.recv(_PART):
            near.sendall(part)
