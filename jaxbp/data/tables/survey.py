"""What the columns of a table are, told from all of their cells before any is kept: constant memory."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from jaxbp.data.reading.faults import column_name
from jaxbp.data.tables import cells
from jaxbp.errors import message

_WORDS = 10_000  # distinct texts of a column that are counted
IDENTIFIER = 10  # texts, all of them distinct, that are names of examples and no categories
_UNNAMED = re.compile(
    r"column 1|Unnamed: 0(_level_0)?"
)  # the index of a frame, as it is read here and by pandas
_PLAIN = re.compile(r"[-+.0-9eE]*")


@dataclass
class Tally:
    """The cells of one column, counted by what they say."""

    missing: int = 0
    numbers: int = 0
    dates: int = 0
    other_dates: int = 0
    texts: int = 0
    words: Counter = field(default_factory=Counter)
    other_date: str = ""

    @property
    def present(self) -> int:
        """How many cells have a value."""
        return self.numbers + self.dates + self.other_dates + self.texts

    @property
    def kind(self) -> str:
        """Number or date where most of the cells are: the others are then faults. Else a category."""
        for kind, of_it in (("number", self.numbers), ("date", self.dates)):
            if of_it and 2 * of_it >= self.present:
                return kind
        return "category"

    def identifies(self) -> bool:
        """Whether it holds texts of which (nearly) none comes twice."""
        distinct, present = len(self.words), self.texts
        return self.kind == "category" and present >= IDENTIFIER and distinct >= 0.95 * min(present, _WORDS)


class Survey:
    """Counts the cells of all columns, and which decimal mark their numbers have."""

    def __init__(self, columns: int):
        self.tallies = [Tally() for _ in range(columns)]
        self.commas = self.points = 0
        self.grouped: tuple[int, str] | None = None  # a column with a cell such as 1,234, which is either

    def line(self, line: Sequence[str]) -> None:
        """Count one example; lines of another length are left to who reads them."""
        if len(line) != len(self.tallies):
            return
        if all(line) and _PLAIN.fullmatch("".join(line)) and _are_floats(line):
            self.points += any("." in cell for cell in line)
            for tally in self.tallies:
                tally.numbers += 1
            return
        for j, cell in enumerate(line):
            self.cell(j, cell)

    def cell(self, j: int, cell: str) -> None:
        """Count one cell of column j."""
        tally = self.tallies[j]
        if cells.is_missing(cell):
            tally.missing += 1
        elif (point := cells.is_number(cell, ".")) | (comma := cells.is_number(cell, ",")):
            tally.numbers += 1
            self.points += point and not comma
            self.commas += comma and not point
            if point and comma and "," in cell:
                self.grouped = self.grouped or (j, cell.strip())
        elif cells.days(cell) is not None:
            tally.dates += 1
        elif cells.is_other_date(cell):
            tally.other_dates += 1
            tally.other_date = tally.other_date or cell.strip()
        else:
            tally.texts += 1
            if len(tally.words) < _WORDS:
                tally.words[cell.strip()] += 1

    def decimal(self, where: str, delimiter: str) -> str:
        """The decimal mark that more numbers have.

        Raises:
            ValueError: where 1,234 may be either and nothing tells.
        """
        if self.grouped and not self.commas and not self.points and delimiter != ",":
            j, cell = self.grouped
            got = f"{cell!r} in {column_name(j, None)}, and no number that tells"
            hint = f"decimal=',' reads {cell.replace(',', '.')}, decimal='.' reads {cell.replace(',', '')}"
            raise ValueError(message(where, "one decimal mark", got, hint))
        return "," if self.commas > self.points else "."

    def left_out(self, j: int, name: str | None) -> str:
        """Why a column is none to learn from; "" where it is one. The name is None without a header."""
        tally = self.tallies[j]
        if j == 0 and name is not None and _UNNAMED.fullmatch(name):
            return "row numbers or names without a name in the header"
        if not tally.present:
            return "empty"
        if tally.identifies():
            return "text of which nearly every one is distinct"
        return ""

    def refuse_other_dates(self, where: str, j: int, name: str) -> None:
        """Raises a ValueError for a column of dates in which day and month may be told wrongly."""
        tally = self.tallies[j]
        if 2 * tally.other_dates > tally.present:
            got = f"{tally.other_date!r} in {column_name(j, None)} ({name!r})"
            hint = f"write them so, or leave the column out by drop={name!r}"
            raise ValueError(message(where, "dates as 2024-12-31", got, hint))


def _are_floats(line: Iterable[str]) -> bool:
    try:
        return all(float(cell) is not None for cell in line)
    except ValueError:
        return False


def is_header(first: Sequence[str], survey: Survey) -> bool:
    """Whether a first line has names, by what is below it.

    It has where no cell is a number and none comes again in a column of texts; and where its numbers count
    the columns, and its first cell is empty or a text of it stands above numbers: the header "0,1,2,class" of
    a frame made of an array.
    """
    pairs = list(zip(first, survey.tallies, strict=False))
    numbers = {j for j, cell in enumerate(first) if cells.is_number(cell, ".")}
    if numbers:
        start = int(not first[0])
        texts = [tally for j, (cell, tally) in enumerate(pairs) if j not in numbers and cell]
        above = start or any(tally.numbers and not tally.texts for tally in texts)
        return bool(above) and all(first[j] == str(j - start) for j in numbers)
    if any(tally.kind != "category" for tally in survey.tallies):
        return True
    return not any(cell.strip() and cell.strip() in tally.words for cell, tally in pairs)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each a column's own: "column 3" for none, "a (2)" for the second "a".

    Example:
        >>> unique(["a", "", "a"])
        ('a', 'column 2', 'a (2)')
    """
    found: dict[str, None] = {}
    for j, given in enumerate(names, 1):
        name = called = given or f"column {j}"
        again = (f"{called} ({i})" for i in count(2))
        while name in found:
            name = next(again)
        found[name] = None
    return tuple(found)
