"""The reader for tables of numbers as text."""

import os
from pathlib import Path

import numpy as np

from jaxbp.data.readers import assert_file
from jaxbp.errors import message

_SHOWN = 5  # malformed lines described in full
_LISTED = 50  # malformed lines named by number


def read_csv(
    path: str | os.PathLike[str], *, label: int = -1, regression: bool = False, delimiter: str = ","
) -> tuple[np.ndarray, np.ndarray]:
    r"""Inputs x and labels or targets y of a table of numbers, one example a line.

    A first line without any number is a header and is skipped; empty lines are skipped. The label
    column must hold whole numbers, unless ``regression`` asks for float targets.

    Args:
        path: the file, UTF-8 text.
        label: the column of the label, counted from 0, or from the end when negative.
        regression: y are float targets.
        delimiter: what separates the columns.

    Returns:
        x (N, columns - 1) float64 and y (N,), int64 labels or float64 targets.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no example, fewer than 2 columns, no column ``label``, or malformed lines, each
            named: another number of columns, a cell that is not a number, a label that is not whole.

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
        ValueError: read_csv(toy.csv): expected numbers in 3 columns, got line 2: column 2 is 'oops';...
    """
    path = Path(path)
    where = f"read_csv({path.name})"
    assert_file(path, where)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(message(where, "UTF-8 text", f"byte {error.start} that is not")) from error
    rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    if rows and all(_number(cell) is None for cell in rows[0][1].split(delimiter)):
        del rows[0]
    if not rows:
        raise ValueError(message(where, "at least 1 line of numbers", f"{len(lines)} lines without any"))
    columns = rows[0][1].count(delimiter) + 1
    if columns < 2 or not -columns <= label < columns:
        raise ValueError(
            message(
                where,
                f"column {label} for the label and at least one more",
                f"{columns} column{'s' * (columns > 1)} in line {rows[0][0]}",
                f"is {delimiter!r} the delimiter?",
            )
        )
    try:
        table = np.loadtxt(
            [line for _, line in rows], delimiter=delimiter, ndmin=2, comments=None, quotechar='"'
        )
    except ValueError as error:
        faults = [(i, fault) for i, line in rows if (fault := _fault(line.split(delimiter), columns))]
        got = _listed(faults) if faults else str(error)
        raise ValueError(message(where, f"numbers in {columns} columns", got)) from error
    x, y = np.delete(table, label, axis=1), table[:, label]
    if regression:
        return x, y
    # |y| < 2^53 is where float64 still holds every whole number.
    whole = (np.abs(y) < 2.0**53) & (y == np.floor(y))
    if not whole.all():
        faults = [(rows[i][0], f"label {y[i]:g}") for i in np.flatnonzero(~whole)]
        raise ValueError(
            message(where, "whole numbers as labels", _listed(faults), "regression=True takes float targets")
        )
    return x, y.astype(np.int64)


def _number(cell: str) -> float | None:
    """The cell's value, or None; an underscore is no digit in a table."""
    try:
        return None if "_" in cell else float(cell.strip().strip('"'))
    except ValueError:
        return None


def _fault(cells: list[str], columns: int) -> str:
    """What is wrong with one line, '' for nothing."""
    if len(cells) != columns:
        return f"{len(cells)} column{'s' * (len(cells) > 1)}"
    return "; ".join(
        f"column {j} is {c.strip()[:20]!r}" for j, c in enumerate(cells, 1) if _number(c) is None
    )


def _listed(faults: list[tuple[int, str]]) -> str:
    """The first faults in full, the further lines by number."""
    said = "; ".join(f"line {i}: {fault}" for i, fault in faults[:_SHOWN])
    if further := [str(i) for i, _ in faults[_SHOWN:_LISTED]]:
        said += f"; lines {', '.join(further)}{', ...' if len(faults) > _LISTED else ''}"
    return f"{said} ({len(faults)} malformed line{'s' * (len(faults) > 1)})"
