"""A case and the verdict on it."""

from typing import NamedTuple

GOOD = ("right", "clear", "lenient", "nan")
BAD = ("silent", "raw", "abort")


class Case(NamedTuple):
    """A kind of value for an argument of a function."""

    function: str
    argument: str
    kind: str

    def __str__(self) -> str:
        return "/".join(self)


class Verdict(NamedTuple):
    """What came of a case.

    Args:
        word: right, clear, lenient, nan, silent, raw, abort; or skipped, where there is no such value.
        note: the exception, or what was seen.
    """

    word: str
    note: str = ""
