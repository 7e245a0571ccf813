"""The reader for tables of numbers as text."""

import math
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.data.reading.faults import Faults, column_name
from jaxbp.data.reading.files import MAX_BYTES
from jaxbp.data.reading.rows import assert_marks, is_inexact, is_number, rows
from jaxbp.errors import message

_PLAIN = re.compile(r"[-+.0-9eE \t]*")  # of these letters float() makes plain decimal numbers alone
LABELS = ("label", "labels", "class", "target")  # what a header calls the column that is to be learned
_WHOLE = 2.0**53  # below it float64 holds every whole number


def read_csv(
    path: str | os.PathLike[str],
    *,
    label: int | str | None = None,
    regression: bool = False,
    delimiter: str | None = None,
    header: bool | None = None,
    drop: int | str | Sequence[int | str] = (),
    encoding: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Inputs x and labels or targets y of a table of numbers, one example a line.

    Strict: a cell is a plain decimal number, quoted or not, and everything else is refused, with one
    sentence for each bad column. Empty lines are skipped, and so is an empty last column (lines that end
    with a delimiter). The text is read as a stream: memory is that of the numbers.

    Args:
        path: the file, plain or gzipped.
        label: the column of the label, counted from 0, or from the end when negative, or its name in the
            header. None is the last, and refuses a header that names another one label, class or target.
        regression: y are float targets.
        delimiter: what separates the columns; None is that of comma, semicolon, tab and bar which makes the
            most numbers of the first lines.
        header: whether the first line is one; None takes a first line without any number for a header, and
            refuses 0,1,2,..., which may be an example or the header that pandas writes.
        drop: columns to leave out, counted from 0 or by name.
        encoding: of the text; None is UTF-8, or what the mark at its beginning says.
        max_bytes: the longest text accepted, unpacked.

    Returns:
        x (N, columns - 1 - dropped) float64 and y (N,), int64 labels or float64 targets.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text or not in this encoding, quotes that RFC 4180 does not allow, no example, fewer
            than 2 columns, no column ``label`` or ``drop``, a header that does not fit, or columns and lines
            that are malformed: a cell that is no finite number, another number of cells, a label that is not
            whole.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "toy.csv"
        >>> _ = file.write_text("height,width,class\n1.5,2,0\n3,4,1\n")
        >>> x, y = read_csv(file)
        >>> x.tolist(), y.tolist()
        ([[1.5, 2.0], [3.0, 4.0]], [0, 1])
        >>> _ = file.write_text("1,2,0\n1,oops,1\n1,2\n")
        >>> read_csv(file)
        Traceback (most recent call last):
        ...
        ValueError: read_csv(toy.csv): expected numbers in 3 columns, got column 2 with 'oops' in line 2;
        line 3 with 2 columns (2 bad lines of 3)
    """
    path = arguments.path("read_csv", "path", path)
    where = f"read_csv({path.name})"
    arguments.flag(where, "regression", regression)
    arguments.whole(where, "max_bytes", max_bytes, low=1)
    if header is not None:
        header = arguments.flag(where, "header", header)
    assert_marks(where, delimiter, encoding)
    lines = rows(path, where, delimiter=delimiter, encoding=encoding, max_bytes=max_bytes)
    dropped = list(drop) if isinstance(drop, Sequence) and not isinstance(drop, str) else [drop]
    table = _layout(lines, where, label, header, dropped)

    x, y, faults = array("d"), array("d"), Faults(table.columns, table.names, table.trailing)
    read = [*table.inputs, table.label]
    for line, cells in table.lines:
        faults.lines += 1
        complete = not table.trailing or cells.pop() == ""
        if not complete or len(cells) != table.columns:
            faults.other_number(line, len(cells) + table.trailing)
        elif (numbers := finite([cells[j] for j in read])) is None:
            faults.cells(line, {j: cells[j] for j in read})
        else:
            y.append(numbers.pop())
            x.extend(numbers)
            if not (regression or (y[-1].is_integer() and abs(y[-1]) < _WHOLE)):
                faults.not_whole(line, cells[table.label])
    if faults:
        raise ValueError(message(where, *faults.told(table.label)))
    if not y:
        raise ValueError(message(where, "at least 1 line of numbers", "none"))
    shaped, targets = np.frombuffer(x).reshape(len(y), -1), np.frombuffer(y)
    return shaped, targets if regression else targets.astype(np.int64)


def finite(cells: list[str]) -> list[float] | None:
    """The numbers of these cells; None if one is no plain finite number, or a whole one that no float is."""
    if not cells:
        return []
    if not _PLAIN.fullmatch("\t".join(cells)):
        return None
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return None
    largest = max(map(abs, numbers))
    sound = largest < _WHOLE or (math.isfinite(largest) and not any(map(is_inexact, cells)))
    return numbers if sound else None


class _Layout(NamedTuple):
    """What the columns are, and the lines of numbers that are still to be read."""

    names: list[str] | None
    columns: int
    trailing: bool
    label: int
    inputs: list[int]
    lines: Iterator[tuple[int, list[str]]]


def _layout(
    lines: Iterator[tuple[int, list[str]]],
    where: str,
    label: int | str | None,
    header: bool | None,
    drop: Sequence[int | str],
) -> _Layout:
    """What the first two lines say of the columns."""
    first = list(islice(lines, 2))
    if not first:
        raise ValueError(message(where, "at least 1 line of numbers", "none"))
    cells = first[0][1]
    if header is None:
        header = _is_header(cells, where)
    if header and len(first) == 1:
        raise ValueError(message(where, "at least 1 line of numbers", "a header alone"))
    names = [name.strip() for name in cells] if header else None
    (line, cells) = first[header]
    # An empty cell at the end of a line is a value that is missing only where the header has its name.
    trailing = (
        len(cells) > 1 and cells[-1] == "" and (names is None or not (names[len(cells) - 1 :] or [""])[0])
    )
    columns = len(cells) - trailing
    if names is not None:
        if trailing and len(names) > columns:
            names.pop()
        if len(names) != columns:
            got = f"{len(names)} in the header and {columns} columns in line {line}"
            hint = "the first of them may be row numbers without a name" if len(names) == columns - 1 else ""
            raise ValueError(message(where, "a name for each column", got, hint))
    if columns < 2:
        hint = "is there another delimiter? give delimiter=" if len(cells) == 1 else ""
        raise ValueError(
            message(where, "a column for the label and at least one more", f"1 column in line {line}", hint)
        )
    dropped = {column_number(column, columns, names, where, "drop") for column in drop}
    target = _label(label, columns, names, where)
    if target in dropped:
        raise ValueError(message(where, "a label that is not dropped", column_name(target, names)))
    inputs = [j for j in range(columns) if j != target and j not in dropped]
    if not inputs:
        raise ValueError(message(where, "at least one column beside the label", "all others dropped"))
    for j in inputs if names is not None else ():
        if names is not None and (not names[j] or names[j].startswith("Unnamed:")):
            hint = f"drop={j} leaves it out; pandas writes none with index=False"
            got = f"none of column {j + 1}; are these the row numbers of pandas?"
            raise ValueError(message(where, "a name for each column", got, hint))
    return _Layout(names, columns, trailing, target, inputs, chain(first[header:], lines))


def _is_header(cells: list[str], where: str) -> bool:
    """Whether the first line has names: no number in it, or an empty name before 0,1,2,..."""
    if is_counted(cells, where):
        return True
    if any(is_number(cell.strip()) for cell in cells):  # a blank of any kind makes no name of it
        return False
    assert_names(cells, where)
    return True


def assert_names(cells: list[str], where: str) -> None:
    """Raise a ValueError for a header with nan, inf or 1_0: it may be an example that is damaged."""
    if odd := [cell.strip() for cell in cells if _takes_float(cell) and not is_number(cell.strip())]:
        raise _unclear(f"{odd[0][:20]!r} in it", where)


def _takes_float(cell: str) -> bool:
    """Whether Python takes a cell for a number: nan, inf, 1_0 and digits of other scripts among them."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _unclear(got: str, where: str) -> ValueError:
    hint = "header=True if these are names, header=False if they are an example"
    return ValueError(message(where, "a first line that is clearly a header or an example", got, hint))


def is_counted(cells: list[str], where: str) -> bool:
    """Whether a line is an empty cell and 0,1,2,..., as pandas writes the header of a frame without names.

    Raises:
        ValueError: for 0,1,2,... alone, which may be such a header or an example.
    """
    counted = [str(j) for j in range(len(cells) - 1)]
    if len(cells) > 1 and cells == [*counted, str(len(cells) - 1)]:
        got = f"{','.join(cells[:4])}{',...' if len(cells) > 4 else ''}, as pandas numbers columns"
        raise _unclear(got, where)
    return len(cells) > 2 and cells == ["", *counted]


def _label(label: int | str | None, columns: int, names: list[str] | None, where: str) -> int:
    """The number of the label's column."""
    if label is not None:
        return column_number(label, columns, names, where, "label")
    called = [j for j, name in enumerate(names or ()) if name.lower() in LABELS]
    if called and columns - 1 not in called:
        got = f"column {called[0] + 1} with the name {names[called[0]]!r}" if names else ""
        hint = f"label={called[0]} takes it, label=-1 the last column"
        raise ValueError(message(where, "the label in the last column", got, hint))
    return columns - 1


def column_number(column: int | str, columns: int, names: list[str] | None, where: str, option: str) -> int:
    """The number of a column that is given by its number or its name."""
    if isinstance(column, str):
        if names is None:
            got = f"{option}={column!r} and no header"
            raise ValueError(message(where, "a column by its number", got))
        if names.count(column) != 1:
            shown = ", ".join(names[:10]) + (", ..." if columns > 10 else "")
            got = f"{option}={column!r}, which {names.count(column)} columns have"
            raise ValueError(message(where, f"one of the names {shown}", got))
        return names.index(column)
    return arguments.whole(where, option, column, low=-columns, high=columns - 1) % columns
