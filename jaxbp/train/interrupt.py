"""Ctrl-C and SIGTERM, between two epochs."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SAID = "stopping after this epoch; press Ctrl-C again to abort"


@contextmanager
def asked_to_stop(terminate: bool, tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first is only noted, so that no state is lost; the second raises.

    With ``terminate`` SIGTERM counts as well: a cluster sends it before it takes a machine away. ``tell``
    says at once that the first was noted: Python's own handlers run when the main thread comes back from the
    device, the thread here when the system delivers the signal.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # signals reach the main thread alone
        return

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    def listen() -> None:
        while number := ours.recv(1):
            if number[0] in numbers:
                tell(SAID)
                return

    numbers = [signal.SIGINT, *[signal.SIGTERM] * terminate]
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    listener = threading.Thread(target=listen, name="jaxbp-interrupt", daemon=True)
    listener.start()
    before = {number: signal.signal(number, note) for number in numbers}
    woken = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield asked.is_set
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()  # ends the listener
        listener.join()
        ours.close()
