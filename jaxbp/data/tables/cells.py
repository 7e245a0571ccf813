"""What one cell of a table says: a number under either decimal mark, a date, or that a value is missing."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from numbers import Real
from typing import Any

from jaxbp.data.reading.rows import is_inexact

# What spreadsheets, pandas, R, SQL and SAS write where there is no value, in lower case.
_MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "<na>", "nat", "null", "none", "nil", "?", "-", "."))
_UNLABELED = frozenset(("", "na", "n/a", "#n/a", "nan", "<na>", "nat", "?"))  # "none" may be a class
_TIME = r"[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?"
_DATE = re.compile(rf"\d{{4}}-\d\d-\d\d(?:{_TIME})?", re.ASCII)
_OTHER_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}(?: \d\d?:\d\d.*)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPACES = " '’\u00a0\u202f"  # what may stand between thousands beside the other decimal mark


def _number(decimal: str, thousands: str) -> re.Pattern[str]:
    """Numbers with this decimal mark; thousands, where they are parted, are so throughout."""
    grouped = rf"\d{{1,3}}(?P<mark>[{thousands}{_SPACES}])\d{{3}}(?:(?P=mark)\d{{3}})*"
    return re.compile(rf"[-+]?(?:(?:{grouped}|\d+)(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][-+]?\d+)?", re.ASCII)


_NUMBERS = {".": _number(r"\.", ","), ",": _number(",", ".")}
_THOUSANDS: dict[str, dict[int, str | None]] = {
    ".": {ord(mark): None for mark in f",{_SPACES}"},
    ",": {ord(mark): None for mark in f".{_SPACES}"} | {ord(","): "."},
}


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value.

    Example:
        >>> [is_missing(cell) for cell in ("", " NaN", "?", "0", "no")]
        [True, True, True, False, False]
    """
    return cell.strip().lower() in _MISSING


def is_unlabeled(cell: str) -> bool:
    """Whether a cell of the label's column says that there is none."""
    return cell.strip().lower() in _UNLABELED


def number(cell: str, decimal: str) -> float | None:
    """The finite number in a cell by its decimal mark, "." or ","; None where there is none.

    A long number of an account would be another one as a float, and is none.

    Example:
        >>> number(" 1,234.5", "."), number("1.234,5", ","), number("1 234", "."), number("1,5", ".")
        (1234.5, 1234.5, 1234.0, None)
        >>> number("9007199254740992", "."), number("9007199254740993", ".")
        (9007199254740992.0, None)
    """
    cell = cell.strip()
    if not _NUMBERS[decimal].fullmatch(cell):
        return None
    text = cell.translate(_THOUSANDS[decimal])
    value = float(text)
    if not isfinite(value):
        return None
    return None if is_inexact(text) else value


def written(value: Any, decimal: str) -> str:
    """A value as a file with this decimal mark would have it, "" for None, NaN and pandas' NA.

    A number has a point whatever the file had: the text 2.125 of a file with decimal commas is another.

    Example:
        >>> written(2.125, ","), written("2.125", ","), written(None, ",")
        ('2,125', '2.125', '')
    """
    if value is None or repr(value) in ("<NA>", "NaT", "nan"):  # NA is not comparable
        return ""
    return str(value).replace(".", decimal) if isinstance(value, Real | Decimal) else str(value)


def is_number(cell: str, decimal: str) -> bool:
    """Whether a cell is a number by this decimal mark."""
    return _NUMBERS[decimal].fullmatch(cell.strip()) is not None


def days(cell: str) -> float | None:
    """Days from 1970-01-01 to a date as ISO 8601 has it, with or without a time; None for any other text.

    A time without a zone is taken for UTC.

    Example:
        >>> days("1970-01-03"), days("1970-01-01 12:00"), days("3.1.1970"), days("1970-02-30")
        (2.0, 0.5, None, None)
    """
    cell = cell.strip()
    if not _DATE.fullmatch(cell):
        return None
    try:
        date = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - _EPOCH).total_seconds() / 86400


def is_other_date(cell: str) -> bool:
    """Whether a cell looks like a date in another form, in which day and month may be told wrongly."""
    return days(cell) is None and _OTHER_DATE.fullmatch(cell.strip()) is not None
