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
    """Put ``where`` before the message of any error that passes through, be it of a layer of the user's.

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
    except Exception as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (f"{where}: {error.args[0]}", *error.args[1:])
        raise


@contextmanager
def needs(package: str, extra: str, where: str) -> Iterator[None]:
    """Word the ImportError of an optional package that is imported in this block.

    Args:
        package: its name, as pip knows it.
        extra: the extra of jaxbp that brings it.
        where: the function that needs it.

    Example:
        >>> with needs("turtles", "zoo", "draw"):
        ...     import turtles
        Traceback (most recent call last):
        ...
        ImportError: draw: expected turtles to be installed, got No module named 'turtles';
        pip install 'jaxbp[zoo]'
    """
    try:
        yield
    except ImportError as error:
        hint = f"pip install 'jaxbp[{extra}]'"
        raise ImportError(message(where, f"{package} to be installed", f"{error}", hint)) from error
