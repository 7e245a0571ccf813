"""Ctrl-C and SIGTERM, between two epochs."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def asked_to_stop(terminate: bool) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first is only noted, so that no state is lost; the second raises.

    With ``terminate`` SIGTERM counts as well: a cluster sends it before it takes a machine away.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # signals reach the main thread alone
        return

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    numbers = [signal.SIGINT, *[signal.SIGTERM] * terminate]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
