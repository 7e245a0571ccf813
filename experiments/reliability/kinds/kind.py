"""What a kind of value is: how it is made of a good value, and what a user means by it."""

from collections.abc import Callable
from typing import Any, NamedTuple

Make = Callable[[Any], Any]


class Skip(Exception):  # noqa: N818
    """Raised by `Kind.make` where there is no such value: no table with three axes, for instance."""


class Kind(NamedTuple):
    """A kind of wrong or unusual value for an argument.

    Args:
        name: in words, one of its own within the kinds of a role.
        make: the value, from a good one.
        means: the good values that it may mean, the first of them the plain one; from the good value. None of
            them: it means nothing and must be refused. To refuse it in the library's words is never wrong.
        any: whatever comes back is defensible, so that only the wording of an error is judged.
        loose: the relative tolerance, where the value itself holds fewer digits than float32.
        first: what the function is called with before, once: JAX's fast path depends on it.
    """

    name: str
    make: Make
    means: tuple[Make, ...] = ()
    any: bool = False
    loose: float = 0.0
    first: Make | None = None


def same(good: Any) -> Any:
    """The good value itself."""
    return good


def means_same(name: str, make: Make, *, loose: float = 0.0, first: Make | None = None) -> Kind:
    """Another way to write the good value."""
    return Kind(name, make, (same,), loose=loose, first=first)


def refused(name: str, value: Any) -> Kind:
    """A value that means nothing, whatever the good one is."""
    return Kind(name, lambda _: value)


def open_to_any(name: str, make: Make) -> Kind:
    """A value that may be taken as it is or refused."""
    return Kind(name, make, any=True)
