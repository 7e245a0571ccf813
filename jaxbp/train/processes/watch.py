"""Signs of life between the processes of a run: who ends or hangs is named by all others, which then end."""

import atexit
import logging
import os
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import jax

from jaxbp.errors import message
from jaxbp.train.processes.wire import LIMIT, Lines, parsed, send, to_line

# Parts of the heartbeat. A process that waits in a collective for a peer that hangs can be interrupted by
# nothing; what is left between SILENT and END is for those that are just doing something else.
_BEAT = 0.1
_SILENT = 0.7  # without a sign of life: a process is taken for dead
_END = 0.9  # after its last sign of life: the others end
_LAST_WORD = 0.3  # seconds that a process which ends by an error waits to hear whose fault it was


class Watch:
    """A thread that exchanges signs of life with process 0, or as process 0 with all others.

    A process that ends, by a signal or by an error, is noticed at once, since its connection breaks; one
    that hangs, after most of the heartbeat. Process 0 tells the others. Each writes one sentence to standard
    error, and ends with status 1 if it has not ended by itself when the heartbeat is over: JAX alone would
    end it by SIGABRT, without a word of Python.

    Args:
        where: this process, for messages.
        peers: the connections by process, with the name of each process.
        heartbeat: in seconds.
    """

    def __init__(self, where: str, peers: dict[int, tuple[socket.socket, str]], heartbeat: float):
        self._where, self._heartbeat = where, heartbeat
        self._peers = {i: peer for i, (peer, _) in peers.items()}
        self._names = {i: name for i, (_, name) in peers.items()}
        self._lines = {i: Lines() for i in peers}
        self._heard = dict.fromkeys(peers, time.monotonic())
        self._connected = False  # whether JAX was seen to be; once it is not any more, the watch is over
        self._end: float | None = None  # when this process ends, once another was lost
        self._left = False
        for peer in self._peers.values():
            peer.setblocking(False)
        atexit.register(self._leave)
        threading.Thread(target=self._run, name="jaxbp-watch", daemon=True).start()

    def stop(self, **reason: Any) -> None:
        """Leave the others in peace, or with a reason (``failed=`` what)."""
        self._left = True
        for peer in list(self._peers.values()):
            send(peer, to_line(**(reason or {"left": True})))

    def _leave(self) -> None:
        """At the end of the program. JAX waits there for all processes, which is for ever if one is lost."""
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if self._end is None and (
            error is None or hasattr(sys, "ps1") or not jax.distributed.is_initialized()
        ):
            self.stop()
            return
        until = time.monotonic() + _LAST_WORD
        while self._end is None and time.monotonic() < until:  # the error may come of another's end
            time.sleep(0.01)
        if self._end is None:
            self.stop(failed=f"{type(error).__name__}: {error}"[:300])
        logging.shutdown()
        _exit()

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            for i, peer in self._peers.items():
                ready.register(peer, selectors.EVENT_READ, i)
            beat = self._heartbeat * _BEAT
            before = time.monotonic()
            while not self._left and self._peers:
                for key, _ in ready.select(beat):
                    if not self._hear(key.data):
                        ready.unregister(key.fileobj)
                        self._peers.pop(key.data)
                now = time.monotonic()
                if now - before > 3 * beat:  # it is this process that was stopped
                    self._heard = dict.fromkeys(self._peers, now)
                before = now
                for i, peer in self._peers.items():
                    send(peer, b"\n")
                    if self._end is None and now - self._heard[i] > _SILENT * self._heartbeat:
                        seconds = now - self._heard[i]
                        self._lose(i, f"has given no sign of life for {seconds:.1f} s", self._heard[i])
                if self._end is not None and now > self._end:
                    _exit()
                if self._connected and not jax.distributed.is_initialized():
                    self.stop()
                self._connected = jax.distributed.is_initialized()

    def _hear(self, i: int) -> bool:
        """Take what a peer says; False where nothing more will come."""
        now = time.monotonic()
        try:
            data = self._peers[i].recv(LIMIT)
            lines = self._lines[i].add(data)
        except (BlockingIOError, InterruptedError):
            return True
        except (OSError, ValueError):
            data, lines = b"", []
        if not data:
            self._lose(i, "has ended without a word", now)
            return False
        self._heard[i] = now
        for said in map(parsed, lines):
            if "left" in said:
                return False
            if isinstance(reason := said.get("failed"), str):
                self._lose(i, f"has ended by {reason!r:.300}", now)
                return False
            if isinstance(lost := said.get("lost"), str):
                self._say(lost, now)
        return True

    def _lose(self, i: int, why: str, heard: float) -> None:
        """A process is lost: tell the others, and end."""
        if self._end is not None or self._left:
            return
        name = f" ({self._names[i]})" if self._names[i] else ""
        text = f"process {i}{name}, which {why}"
        for other, peer in self._peers.items():
            if other != i:
                send(peer, to_line(lost=text))
        self._say(text, heard)

    def _say(self, text: str, heard: float) -> None:
        if self._end is not None or self._left:
            return
        self._end = heard + _END * self._heartbeat
        hint = "this process ends, too. Start all again; with checkpoints they go on from the newest"
        _write(message(self._where, "all processes to go on", text, hint) + "\n")


def _write(text: str) -> None:
    """Write to standard error, past whatever the main thread is writing there; wait for no reader."""
    with suppress(OSError):
        writer = threading.Thread(target=os.write, args=(2, text.encode(errors="replace")), daemon=True)
        writer.start()
        writer.join(0.5)


def _exit() -> None:
    """End this process now. The main thread may wait for ever in a collective, and hear no exception."""

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()

    writer = threading.Thread(target=flush, daemon=True)  # it may wait for a lock that the main thread holds
    writer.start()
    writer.join(0.5)
    os._exit(1)
