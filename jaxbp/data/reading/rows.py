"""A text file as rows of cells: its encoding, its delimiter, quotes as RFC 4180 has them, bounded memory."""

import codecs
import csv
import gzip
import io
import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from jaxbp import arguments
from jaxbp.data.reading.files import GZIP, IDX, MORE, ZIP, assert_file, decoding, kind_of, zipped_text
from jaxbp.errors import message

LINE = 2**22  # characters that one line may have
_HEAD, _SAMPLE = 2**16, 20  # characters and rows from which the delimiter is told
_DELIMITERS = ",;\t|"
BLANK = " "
_BLANKS = re.compile(r'("(?:[^"]|"")*")|[ \t]+')
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_READ_BY = {ZIP: "read_npz reads .npz; save a spreadsheet as CSV", IDX: "read_idx and open_idx read it"}
_SAVE_AS = "encoding='cp1252' reads what Windows wrote; or save it as UTF-8"

_LONG = re.compile(r"\s*[-+]?[0-9]{16,}\s*")  # floats of 64 bits are all whole numbers of 15 digits
_NUMBER = re.compile(r"[ \t]*[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?[ \t]*")
_COMMA = re.compile(r"[ \t]*[-+]?[0-9.]*,[0-9]+(?:\.[0-9]+)?[ \t]*")


def is_number(cell: str) -> bool:
    """Whether a cell is a plain decimal number: no underscore, no hexadecimal, no nan, ASCII digits.

    Example:
        >>> [is_number(cell) for cell in ("-1.5e3", " 2 ", "1_0", "nan", "0x1", "1,5", "")]
        [True, True, False, False, False, False, False]
    """
    return _NUMBER.fullmatch(cell) is not None


def is_inexact(cell: str) -> bool:
    """Whether a cell is a whole number that floats of 64 bits do not have.

    Example:
        >>> is_inexact("9007199254740992"), is_inexact(" 9007199254740993"), is_inexact("9.1e15")
        (False, True, False)
    """
    if not _LONG.fullmatch(cell):
        return False
    value = float(cell)
    return math.isinf(value) or int(value) != int(cell)


def has_comma(cell: str) -> bool:
    """Whether a cell is a number but for a comma in it: 1,5 or 1,234.5."""
    return _COMMA.fullmatch(cell) is not None


def assert_marks(where: str, delimiter: Any, encoding: Any) -> None:
    """Raises unless these are texts or None, and the delimiter is one character that can part cells."""
    for name, text in (("delimiter", delimiter), ("encoding", encoding)):
        if text is not None:
            arguments.instance(where, name, text, str)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ValueError(message(where, "one character as delimiter", repr(delimiter), "e.g. delimiter=';'"))


def rows(
    path: Path, where: str, *, delimiter: str | None, encoding: str | None, max_bytes: int
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, each with the number of its first line; empty lines are left out.

    A line ends with a line feed, a carriage return or both, and with nothing else. A cell may be quoted; what
    Python's csv module refuses in its strict mode is refused.

    Args:
        path: the file, plain or gzipped.
        where: what messages call the place.
        delimiter: what separates the cells; None is told from the first rows. A blank stands for any number
            of blanks and tabs.
        encoding: of the text; None is told by the mark at its beginning, UTF-8 without one.
        max_bytes: the longest text accepted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text, another encoding, a quote in the wrong place, a line or a text that is too long.
    """
    assert_file(path, where, max_bytes)
    if delimiter is None:
        delimiter = delimiter_of(path, where, encoding)
    with _text(path, where, encoding) as text, _worded(where):
        reader = _cells(_lines(text, where, max_bytes), delimiter, strict=True)
        line = 1
        try:
            for cells in reader:
                empty = not cells or (len(cells) == 1 and cells[0] and not cells[0].strip(" \t"))
                if not empty:  # "" is a cell, an empty one
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            expected = "quotes around whole cells, closed before the next one"
            raise ValueError(message(where, expected, f"in line {line}: {error}")) from error


def _cells(lines: Iterator[str], delimiter: str, *, strict: bool) -> Any:
    """A reader of the cells; of those that blanks separate, as columns that are aligned have them."""
    if delimiter != BLANK:
        return csv.reader(lines, strict=strict, delimiter=delimiter)
    parted = (_BLANKS.sub(lambda found: found[1] or "\t", line.strip(" \t\r\n")) + "\n" for line in lines)
    return csv.reader(parted, strict=strict, delimiter="\t")


def delimiter_of(path: Path, where: str, encoding: str | None) -> str:
    """The delimiter that the first rows of a file have."""
    assert_file(path, where)
    with _text(path, where, encoding) as text, _worded(where):
        return _told_delimiter(text.read(_HEAD))


@contextmanager
def _text(path: Path, where: str, encoding: str | None) -> Iterator[TextIO]:
    """The file as text, unpacked and decoded as it is read."""
    with path.open("rb") as raw, ExitStack() as stack:
        with decoding(where):
            stream: Any = raw
            if (packed := kind_of(raw.peek(64))) == GZIP:
                stream = gzip.GzipFile(fileobj=raw)
            elif packed == ZIP and (member := zipped_text(path)) is not None:
                stream = stack.enter_context(zipfile.ZipFile(raw)).open(member)
            first = stream.peek(64)[:64]
        if (found := kind_of(first)) != "text":
            raise ValueError(message(where, "a table of numbers as text", found, _READ_BY.get(found, "")))
        if encoding is None:
            encoding = next((name for mark, name in _MARKS.items() if first.startswith(mark)), "utf-8")
            if encoding == "utf-8" and b"\0" in first:
                hint = "encoding='utf-16-le' reads UTF-16 that has no mark at its beginning"
                raise ValueError(message(where, "text", "bytes of value 0", hint))
        try:
            text = io.TextIOWrapper(cast(BinaryIO, stream), encoding, newline="")
        except LookupError as error:
            raise ValueError(message(where, "a known encoding", f"encoding={encoding!r}")) from error
        with text:
            yield text


@contextmanager
def _worded(where: str) -> Iterator[None]:
    """The errors of decoding a stream, said plainly."""
    with decoding(where):
        try:
            yield
        except UnicodeDecodeError as error:
            got = f"byte 0x{error.object[error.start]:02x}, which is not ({error.reason})"
            raise ValueError(message(where, f"{error.encoding.upper()} text", got, _SAVE_AS)) from error


def _lines(text: TextIO, where: str, max_bytes: int) -> Iterator[str]:
    """The lines, none of them and not all together longer than allowed."""
    total = 0
    while line := text.readline(LINE + 1):
        if total == 0:
            line = line.removeprefix("\ufeff")  # the mark, where an encoding that keeps it was given
        total += len(line)
        if len(line) > LINE:
            got = "a longer one; is it a table, an example a line?"
            raise ValueError(message(where, f"lines of at most {LINE} characters", got))
        if total > max_bytes:
            raise ValueError(message(where, f"at most {max_bytes} bytes of text", "more", MORE))
        yield line


def _told_delimiter(head: str) -> str:
    """That which gives the first rows the most numbers, then the most cells; the comma where it is open.

    Blanks are in many texts: they separate where nothing else gives numbers, and all rows as many cells.
    """

    def found(delimiter: str) -> tuple[int, int]:
        numbers, alike, columns, seen = 0, 0, 0, 0
        try:
            for cells in islice(_cells(io.StringIO(head, newline=""), delimiter, strict=False), _SAMPLE):
                commas = delimiter != "," and len(cells) > 1
                numbers += len(cells) > 1 and sum(is_number(c) or (commas and has_comma(c)) for c in cells)
                columns = columns or len(cells)
                alike += len(cells) == columns > 1
                seen += 1
        except csv.Error:  # a quoted cell that is cut or too long: what came before it counts
            pass
        return (0, 0) if delimiter == BLANK and alike < seen else (numbers, alike)

    best = max(_DELIMITERS, key=found)
    return best if found(best)[0] else max((best, BLANK), key=found)
