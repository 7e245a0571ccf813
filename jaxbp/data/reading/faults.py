"""What is wrong with a table, said once for each column."""

from collections.abc import Container
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

from jaxbp.data.reading.rows import has_comma, is_inexact, is_number

_SHOWN = 5  # columns and lines that a message describes
_CLASSES = 20  # names of classes that are remembered


class _Cell(NamedTuple):
    line: int
    text: str


@dataclass
class _Column:
    """The bad cells of one column: how many of each kind, and the first."""

    first: _Cell
    kinds: dict[str, int] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)

    def is_name(self) -> bool:
        """Whether its one bad cell is a word in the first line."""
        return sum(self.kinds.values()) == self.first.line == 1 and self.first.text.strip()[:1].isalpha()

    def see(self, kind: str, text: str) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind == "text" and len(self.texts) < _CLASSES:
            self.texts.add(text.strip())


class Faults:
    """Collects what is wrong while the lines of a table pass; true where anything is.

    Args:
        columns: how many.
        names: of the columns, None where the table has none.
        trailing: whether each line ends in a separator.
        dates: the numbers of the columns that hold dates.
    """

    def __init__(
        self, columns: int, names: list[str] | None, trailing: bool, dates: Container[int] = frozenset()
    ):
        self.dates = dates
        self.columns, self.names, self.trailing, self.lines = columns, names, trailing, 0
        self._columns: dict[int, _Column] = {}
        self._lengths: list[tuple[int, int]] = []
        self._not_whole: _Column | None = None
        self._bad_lines = self._bad_lengths = self._seen = 0

    def __bool__(self) -> bool:
        return self._bad_lines > 0

    def other_number(self, line: int, cells: int) -> None:
        """A line with another number of cells."""
        self._bad(line)
        self._bad_lengths += 1
        if len(self._lengths) < _SHOWN:
            self._lengths.append((line, cells))

    def cells(self, line: int, cells: dict[int, str]) -> None:
        """A line with a bad cell; its cells by their columns."""
        self._bad(line)
        for j, cell in cells.items():
            if kind := _kind(cell):
                self._column(j, line, cell).see(kind, cell)

    def cell(self, line: int, j: int, text: str) -> None:
        """A cell that its column cannot have."""
        self._bad(line)
        self._column(j, line, text).see(_kind(text) or "text", text)

    def not_whole(self, line: int, text: str) -> None:
        """A label that is a number but not a whole one."""
        self._bad(line)
        self._not_whole = self._not_whole or _Column(_Cell(line, text))
        self._not_whole.see("not whole", text)

    def told(self, label: int) -> tuple[str, str, str]:
        """What was expected, what came, and what to try."""
        said = self._in_every_line()
        said += [self._of(j) for j in sorted(self._columns) if not self._always(j)]
        if self._not_whole is not None:
            count = self._not_whole.kinds["not whole"]
            said.append(f"{column_name(label, self.names)} as label {_times(self._not_whole.first, count)}")
        said += [f"line {line} with {n} column{'s' * (n > 1)}" for line, n in self._lengths]
        hidden = len(said[_SHOWN:]) + self._bad_lengths - len(self._lengths)
        more = f"; and {hidden} more" if hidden else ""
        lines = f"{self._bad_lines} bad line{'s' * (self._bad_lines > 1)} of {self.lines}"
        dates = ", ".join(column_name(j, self.names) for j in sorted(self._columns) if j in self.dates)
        return (
            f"numbers in {self.columns} columns"
            + " and an empty last one" * self.trailing
            + f", dates as 2024-12-31 in {dates}" * bool(dates),
            f"{'; '.join(said[:_SHOWN])}{more} ({lines})",
            self._hint(label),
        )

    def _column(self, j: int, line: int, text: str) -> _Column:
        return self._columns.setdefault(j, _Column(_Cell(line, text)))

    def _bad(self, line: int) -> None:
        self._bad_lines += line != self._seen
        self._seen = line

    def _always(self, j: int) -> bool:
        return self._columns[j].kinds.get("text", 0) == self.lines > 1

    def _in_every_line(self) -> list[str]:
        always = [j for j in sorted(self._columns) if self._always(j)]
        if not always:
            return []
        listed = ", ".join(column_name(j, self.names) for j in always[:_SHOWN])
        further = f" and {len(always) - _SHOWN} further columns" if len(always) > _SHOWN else ""
        first = self._columns[always[0]].first
        return [f"text in every line of {listed}{further}, such as {first.text.strip()[:20]!r}"]

    def _of(self, j: int) -> str:
        column = self._columns[j]
        return f"{column_name(j, self.names)} with {_times(column.first, sum(column.kinds.values()))}"

    def _hint(self, label: int) -> str:
        kinds = {kind for column in self._columns.values() for kind in column.kinds}
        if label in self._columns and self._always(label):
            names = sorted(self._columns[label].texts)
            shown = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
            encode = "encode them as 0, 1, 2, ..., as np.unique(names, return_inverse=True) does"
            return f"{shown} are names of classes: {encode}, or give label= if another column is it"
        if any(j in self.dates for j in self._columns):
            return "write dates so, for other forms may mix up day and month"
        if always := [j for j in self._columns if self._always(j)]:
            columns = [self.names[j] if self.names else j for j in always[:_SHOWN]]
            return f"drop={columns} leaves them out; or encode them as numbers"
        if "comma" in kinds:
            return "write decimal points and no thousands separators: 1234.5"
        if "long" in kinds:
            column = next(j for j, c in self._columns.items() if "long" in c.kinds)
            drop = [self.names[column] if self.names else column]
            return f"floats lose digits of whole numbers beyond 2**53; drop={drop} leaves out an identifier"
        if "empty" in kinds or "not finite" in kinds:
            return "fill in what is missing, or leave these lines out"
        if kinds == {"text"} and all(c.is_name() for c in self._columns.values()):
            return "header=True if the first line has names"
        if self._not_whole is not None and self._bad_lines == self._not_whole.kinds["not whole"]:
            return "regression=True takes float targets"
        return ""


def column_name(j: int, names: list[str] | None) -> str:
    """How a message calls column j, which it counts from 1."""
    return f"column {j + 1}" + (f" ({names[j]!r})" if names else "")


def _times(first: _Cell, count: int) -> str:
    return f"{first.text.strip(' ')[:20]!r} in line {first.line}" + (
        f" and {count - 1} more" if count > 1 else ""
    )


def _kind(cell: str) -> str:
    """What is wrong with a cell, '' for nothing."""
    if is_number(cell):
        finite = "long" if is_inexact(cell) else ""
        return finite if isfinite(float(cell)) else "not finite"
    if not cell.strip():
        return "empty"
    if cell.strip().lower() in ("nan", "na", "n/a", "null", "none", "inf", "-inf", "?"):
        return "not finite"
    return "comma" if has_comma(cell) else "text"
