"""The one place that words an error: where, what was expected, what came, what to try."""

from collections.abc import Iterator
from contextlib import contextmanager


def message(where: str, expected: str, got: str, hint: str = "") -> str:
    """One sentence for an exception: ``where: expected ..., got ...; hint``.

    Args:
        where: the function, layer or tree path that noticed.
        expected: what it needs, in symbols and numbers.
        got: what it was given.
        hint: what to try, if anything is known.

    Example:
        >>> message("dense(3, 5)", "f with last axis 3", "shape (32, 4)", "try x.reshape(-1, 3)")
        'dense(3, 5): expected f with last axis 3, got shape (32, 4); try x.reshape(-1, 3)'
    """
    return f"{where}: expected {expected}, got {got}" + (f"; {hint}" if hint else "")


@contextmanager
def within(where: str) -> Iterator[None]:
    """Put ``where`` before the message of any ValueError or TypeError that passes through.

    The exception keeps its type and its traceback; composite layers use this so that an error
    deep inside a network names the whole way to it.

    Example:
        >>> with within("layer 2"):
        ...     raise ValueError("dense(3, 5): expected f with last axis 3, got shape (32, 4)")
        Traceback (most recent call last):
        ...
        ValueError: layer 2: dense(3, 5): expected f with last axis 3, got shape (32, 4)
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (f"{where}: {error.args[0]}", *error.args[1:])
        raise
