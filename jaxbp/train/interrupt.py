"""What happens between two epochs: callbacks are called; Ctrl-C, SIGTERM or a callback end the run."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np


def to_stderr(text: str) -> None:
    """Write a line to standard error, even in the middle of another write to it."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


@contextmanager
def asked_to_stop(terminate: bool, say: Callable[[str], object] = to_stderr) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first is noted and answered, and nothing is lost; the second raises.

    Outside the main thread nothing is noted, since signals reach the main thread alone.

    Args:
        terminate: whether SIGTERM counts as well: a cluster sends it before it takes a machine away.
        say: shows the answer at once. It is called between any two steps of the program, or by another
            thread: while the main one waits for the device, Python runs no handlers in it.

    Example:
        >>> with asked_to_stop(False, say=print) as asked:
        ...     signal.raise_signal(signal.SIGINT)
        ...     print(asked())
        stopping after this epoch; press Ctrl-C again to abort
        True
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    begun, answered = threading.Lock(), threading.Event()

    def answer(number: int) -> None:
        if not begun.acquire(blocking=False):  # the other thread does
            answered.wait(1)
            return
        try:
            say(_ANSWERS[number])
        except RuntimeError:  # the signal came while the program itself was writing there
            to_stderr(_ANSWERS[number])
        answered.set()

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        answer(number)

    def listen() -> None:
        while number := ours.recv(1):  # the system writes there, whatever the main thread does
            if number[0] in numbers:
                answer(number[0])
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
            # None: a library in C had set it, and Python cannot set it again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        theirs.close()  # ends the listener
        listener.join()
        ours.close()


def ended(callbacks: Sequence[Callable[[Any], Any]], record: Callable[[], Any]) -> bool:
    """Call each with a record of the last epoch; whether one returns True or raises StopIteration.

    Example:
        >>> ended([print, lambda record: record == 2], lambda: 2)
        2
        True
    """
    answers = []
    for callback in callbacks:
        given = record()
        try:
            answer = callback(given)
        except StopIteration:
            answer = True
        is_flag = isinstance(answer, bool) or str(getattr(answer, "dtype", "")) == "bool"  # NumPy's or JAX's
        answers.append(is_flag and np.shape(answer) == () and bool(answer))
    return any(answers)


def told(callbacks: Sequence[Any], word: str, given: Callable[[], Any]) -> None:
    """Call the method of this name of each callback that has one."""
    for method in filter(None, (getattr(callback, word, None) for callback in callbacks)):
        method(given())


_ANSWERS: dict[int, str] = {
    signal.SIGINT: "stopping after this epoch; press Ctrl-C again to abort",
    signal.SIGTERM: "stopping after this epoch, as SIGTERM asks",
}
