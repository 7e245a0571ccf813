"""A table as typed columns, from a text file, a data frame or an array."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.data.reading.csv import assert_names, finite, is_counted
from jaxbp.data.reading.faults import Faults
from jaxbp.data.reading.files import MAX_BYTES
from jaxbp.data.reading.rows import assert_marks, delimiter_of, is_inexact, rows
from jaxbp.data.tables import cells
from jaxbp.data.tables.survey import Survey, is_header, unique
from jaxbp.errors import message


class Reading(NamedTuple):
    """How the text of a table is to be read; None is told by the text.

    Args:
        delimiter: what separates the columns.
        decimal: the decimal mark, "." or ",".
        header: whether the first line is one.
        encoding: of the text; None is UTF-8, or what the mark at its beginning says.
        max_bytes: the longest text accepted, unpacked.
    """

    delimiter: str | None = None
    decimal: str | None = None
    header: bool | None = None
    encoding: str | None = None
    max_bytes: int = MAX_BYTES

    def checked(self, where: str) -> "Reading":
        """The same in plain types, if each is what it must be.

        Raises:
            TypeError, ValueError: for another kind or value.
        """
        most = arguments.whole(where, "max_bytes", self.max_bytes, low=1)
        header = None if self.header is None else arguments.flag(where, "header", self.header)
        assert_marks(where, self.delimiter, self.encoding)
        if self.decimal is not None:
            arguments.option(where, "decimal", self.decimal, (".", ","))
        if self.decimal == self.delimiter == ",":
            raise ValueError(message(where, "a delimiter that is not the decimal mark", "a comma as both"))
        texts = [str(v) if isinstance(v, str) else v for v in (self.delimiter, self.decimal, self.encoding)]
        return Reading(texts[0], texts[1], header, texts[2], most)


class Table(NamedTuple):
    """A table that is open: what its columns are, and how they are read.

    Args:
        where: what messages call it.
        names: of the columns, each its own.
        reading: how it is read, with the decimal mark and the header that were told. Without a header the
            names are "column 1", "column 2", ...
        survey: what was told of the columns, or None if it was not asked for.
        read: reads columns, {number: kind}; number and date become float64 with NaN where a value is
            missing, category and label texts with "" there.
    """

    where: str
    names: tuple[str, ...]
    reading: Reading
    survey: Survey | None
    read: Callable[[Mapping[int, str]], dict[int, np.ndarray]]


def of_text(path: Path, where: str, reading: Reading, *, survey: bool) -> Table:
    """The table in a file of text; with ``survey`` its columns are told from all of its cells.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text or not in this encoding, no example, a header that does not fit.
    """
    given = reading.checked(where)
    delimiter = given.delimiter or delimiter_of(path, where, given.encoding)

    def lines() -> Iterator[tuple[int, list[str]]]:
        options = {"encoding": given.encoding, "max_bytes": given.max_bytes}
        return rows(path, where, delimiter=delimiter, **options)  # type: ignore[arg-type]

    told = lines()
    head = list(islice(told, 2))
    if not head or (given.header and len(head) == 1):
        raise ValueError(message(where, "at least 1 example", "a header alone" if head else "no line"))
    first, width = head[0][1], len(head[-1][1])
    seen = Survey(width)
    if survey:
        for _, cells_ in chain(head[1:], told):
            seen.line(cells_)
    header = given.header
    if header is None:
        header = is_counted(first, where) or is_header(first, seen)
        if header:
            assert_names(first, where)
        if header and len(head) == 1:
            raise ValueError(message(where, "at least 1 example", "a header alone"))
    if survey and not header:
        seen.line(first)
    names = _names(first, *head[1], where) if header else [""] * width
    decimal = given.decimal or (seen.decimal(where, delimiter) if survey else ".")

    def read(wanted: Mapping[int, str]) -> dict[int, np.ndarray]:
        return _read(islice(lines(), header, None), where, names if header else None, width, wanted, decimal)

    told_reading = given._replace(header=header, decimal=decimal)
    return Table(where, unique(names), told_reading, seen if survey else None, read)


def _names(first: Sequence[str], line: int, cells_: Sequence[str], where: str) -> list[str]:
    """The names in a header, for the columns of the line after it."""
    names, width = [name.strip() for name in first], len(cells_)
    if len(names) == width + 1 and not names[-1]:
        names.pop()
    if len(names) == width - 1:  # lines end with a delimiter, or begin with row names, which R gives no name
        names = ["", *names] if cells_[-1] else [*names, ""]
    if len(names) != width:
        got = f"{len(first)} in the header and {width} columns in line {line}"
        raise ValueError(message(where, "a name for each column", got))
    return names


def _read(
    lines: Iterator[tuple[int, list[str]]],
    where: str,
    names: list[str] | None,
    width: int,
    wanted: Mapping[int, str],
    decimal: str,
) -> dict[int, np.ndarray]:
    """The wanted columns, or one sentence about all cells that they cannot have."""
    numbers = [j for j, kind in wanted.items() if kind == "number"]
    others = {j: _PARSERS[kind] for j, kind in wanted.items() if kind != "number"}
    values, texts = array("d"), {j: list[Any]() for j in others}
    faults = Faults(width, names, False, _dates(wanted))
    interned: dict[Any, Any] = {}  # one object for equal cells
    for line, row in lines:
        faults.lines += 1
        if len(row) != width:
            faults.other_number(line, len(row))
            continue
        found = finite([row[j] for j in numbers]) if decimal == "." else None
        if found is not None:
            values.extend(found)
        else:
            for j in numbers:
                if (value := _number(row[j], decimal)) is None:
                    faults.cell(line, j, row[j])
                else:
                    values.append(value)
        for j, parse in others.items():
            if (cell := parse(row[j])) is None:
                faults.cell(line, j, row[j])
            texts[j].append(interned.setdefault(cell, cell))
    if faults:
        raise ValueError(message(where, *faults.told(-1)))
    if not faults.lines:
        raise ValueError(message(where, "at least 1 example", "a header alone"))
    matrix = np.frombuffer(values).reshape(faults.lines, len(numbers))
    read = {j: matrix[:, i] for i, j in enumerate(numbers)}
    return read | {j: np.array(column, _DTYPES[wanted[j]]) for j, column in texts.items()}


def _number(cell: str, decimal: str) -> float | None:
    """A number, NaN for a missing one, None for another cell."""
    value = cells.number(cell, decimal)
    return np.nan if value is None and cells.is_missing(cell) else value


def _date(cell: str) -> float | None:
    return np.nan if cells.is_missing(cell) else cells.days(cell)


def _dates(wanted: Mapping[int, str]) -> set[int]:
    return {j for j, kind in wanted.items() if kind == "date"}


def _category(cell: str) -> str:
    return "" if cells.is_missing(cell) else cell.strip()


def _label(cell: str) -> str:
    return "" if cells.is_unlabeled(cell) else cell.strip()


_PARSERS: dict[str, Callable[[str], Any]] = {"date": _date, "category": _category, "label": _label}
_NO_CELL = (complex, list, tuple, dict, set, np.ndarray)
_DTYPES = {"date": float, "category": object, "label": object}


def is_frame(value: Any) -> bool:
    """Whether it is a pandas or polars frame, told by what it can do."""
    return hasattr(value, "get_columns") or (hasattr(value, "iloc") and getattr(value, "ndim", 0) == 2)


def of_frame(frame: Any, where: str, *, decimal: str, survey: bool) -> Table:
    """The table that a pandas or polars frame is; a column that is not of numbers is read as text."""
    if hasattr(frame, "get_columns"):  # polars
        columns = [(column.name, column) for column in frame.get_columns()]
    else:
        columns = [(name, frame.iloc[:, j]) for j, name in enumerate(frame.columns)]
    names = [name if isinstance(name, str) else str(name) for name, _ in columns]
    return _of_columns([column for _, column in columns], names, where, decimal=decimal, survey=survey)


def of_array(values: Any, where: str, *, decimal: str, survey: bool) -> Table:
    """The table that an array of shape (N, columns) is, or one of records (N,) with named fields."""
    fields = getattr(getattr(values, "dtype", None), "names", None)
    if fields and values.ndim == 1:
        columns = [values[name] for name in fields]
        return _of_columns(columns, list(fields), where, decimal=decimal, survey=survey)
    if isinstance(values, list | tuple) and any(isinstance(v, str) for row in values for v in _as_row(row)):
        values = np.array(values, object)
    if not (isinstance(values, np.ndarray) and values.dtype.kind in "OUST"):
        values = arguments.array(where, "x", values, host=True)
    if values.ndim != 2 or not values.size:
        expected = "rows of columns, an array of shape (N, columns)"
        raise ValueError(message(where, expected, arguments.described(values)))
    columns = list(values.T)
    return _of_columns(columns, None, where, decimal=decimal, survey=survey)


def _as_row(row: Any) -> Sequence[Any]:
    return row if isinstance(row, list | tuple) else ()


def _of_columns(
    columns: list[Any], names: list[str] | None, where: str, *, decimal: str, survey: bool
) -> Table:
    if not columns or not len(columns[0]):
        raise ValueError(message(where, "at least 1 column and 1 example", "an empty table"))
    seen = Survey(len(columns))
    if survey:
        for j, column in enumerate(columns):
            if (numbers := _as_numbers(column)) is not None:
                missing = int(np.isnan(numbers).sum())
                seen.tallies[j].missing, seen.tallies[j].numbers = missing, len(numbers) - missing
            else:
                for cell in _as_texts(column, decimal):
                    seen.cell(j, cell)

    def read(wanted: Mapping[int, str]) -> dict[int, np.ndarray]:
        faults = Faults(len(columns), names, False, _dates(wanted))
        found = dict[int, np.ndarray]()
        faults.lines = len(columns[0])
        for j, kind in wanted.items():
            numbers = _as_numbers(columns[j]) if kind == "number" else None
            if numbers is not None:
                for i in np.flatnonzero(np.isinf(numbers)).tolist():
                    faults.cell(i + 1, j, f"{numbers[i]}")
                for i, text in _inexact(columns[j], numbers):
                    faults.cell(i + 1, j, text)
                found[j] = numbers
                continue
            parse = _PARSERS.get(kind, partial(_number, decimal=decimal))
            texts = _as_texts(columns[j], decimal)
            parsed = list(map(parse, texts))
            for i in (i for i, value in enumerate(parsed) if value is None):
                faults.cell(i + 1, j, texts[i])
            found[j] = np.array(parsed, _DTYPES.get(kind, float))
        if faults:
            raise ValueError(message(where, *faults.told(-1)))
        return found

    reading = Reading(decimal=decimal, header=names is not None)
    return Table(where, unique(names or [""] * len(columns)), reading, seen if survey else None, read)


def _as_numbers(column: Any) -> np.ndarray | None:
    """A column of numbers, or of durations, then in days, as floats with NaN for a missing one; else None."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "m":
            return np.asarray(column / np.timedelta64(1, "D"))
        return column.astype(float) if column.dtype.kind in "iuf" else None
    dtype = column.dtype
    if dtype == "timedelta" or str(dtype).startswith(("timedelta64", "Duration")):
        return _as_numbers(column.to_numpy())
    if hasattr(column, "is_null"):  # polars
        return column.cast(float, strict=True).to_numpy().astype(float) if dtype.is_numeric() else None
    if getattr(dtype, "kind", "O") not in "iuf" or hasattr(dtype, "categories"):
        return None
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))


def _inexact(column: Any, numbers: np.ndarray) -> Iterator[tuple[int, str]]:
    """The whole numbers of a column that are others as floats, as in a file: (row, what is written there)."""
    if (np.abs(numbers) >= 2.0**53).any():
        for i, text in enumerate(_as_texts(column, ".")):
            if is_inexact(text):
                yield i, text


def _as_texts(column: Any, decimal: str) -> list[str]:
    """A column's values as a file with this decimal mark would have them, "" where one is missing.

    Raises:
        TypeError: for a value that no cell of a file can be: several numbers, or a complex one.
    """
    values = column.to_list() if hasattr(column, "to_list") else column.tolist()
    for i, value in enumerate(values):
        if isinstance(value, _NO_CELL):
            got = f"{arguments.described(value)} in row {i} of column {getattr(column, 'name', None)!r}"
            raise TypeError(message("load", "one number, text or date in each cell", got))
    return [cells.written(value, decimal) for value in values]
