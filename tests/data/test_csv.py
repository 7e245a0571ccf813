"""Tables of numbers as text: the exact numbers, or one sentence that names each bad column."""

import contextlib
import gzip
import re
import tracemalloc

import numpy as np
import pytest

from jaxbp import load
from jaxbp.data import read_csv


@pytest.fixture
def csv(tmp_path):
    """Writes a table and reads it."""

    def read(text, **options):
        file = tmp_path / "table.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_csv(file, **options)

    return read


def test_with_and_without_a_header_quotes_and_blank_lines(csv):
    plain = csv("1.5,2,0\n3,-4e1,1\n")
    dressed = csv('\ufeff"a","b","class"\r\n\r\n"1.5", 2,0\r\n  \r\n3,-4e1,1')
    for x, y in (plain, dressed):
        assert x.tolist() == [[1.5, 2.0], [3.0, -40.0]]
        assert y.tolist() == [0, 1]
        assert (x.dtype, y.dtype) == (np.float64, np.int64)
        assert x.flags.writeable


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_end_of_every_system(csv, end, last):
    x, y = csv("1,0" + end + "2,1" + end * last)
    assert (x.tolist(), y.tolist()) == ([[1], [2]], [0, 1])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_numbers(csv, delimiter):
    text = delimiter.join(("a, b; c", "b", "class")) if delimiter not in ",;" else delimiter.join("abc")
    x, y = csv(text + "\n" + delimiter.join(("0.5", "2", "1")) + "\n" + delimiter.join(("1", "3", "0")))
    assert (x.tolist(), y.tolist()) == ([[0.5, 2.0], [1.0, 3.0]], [1, 0])


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_encodings_with_a_mark_are_told_by_it(csv, encoding, pack):
    x, _ = csv(pack("größe,klasse\n1.5,0\n2.5,1\n".encode(encoding)))
    assert x.tolist() == [[1.5], [2.5]]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16-le", "utf-16-be", *ENCODINGS])
def test_every_encoding_can_be_given(csv, encoding):
    x, _ = csv("größe,klasse\n1.5,0\n2.5,1\n".encode(encoding), encoding=encoding)
    assert x.tolist() == [[1.5], [2.5]]


@pytest.mark.parametrize(
    ("header", "label", "inputs"),
    [
        ("a,b,class", -1, [[1, 2], [4, 5]]),
        ("a,class,b", "class", [[1, 3], [4, 6]]),
        ("class,a,b", 0, [[2, 3], [5, 6]]),
        ("class,a,b", "class", [[2, 3], [5, 6]]),
        ("class,a,b", -1, [[1, 2], [4, 5]]),
        ("a,b,y", None, [[1, 2], [4, 5]]),
        ("a,b,class", np.int64(2), [[1, 2], [4, 5]]),
    ],
)
def test_the_label_by_its_number_or_its_name(csv, header, label, inputs):
    x, y = csv(header + "\n1,2,3\n4,5,6\n", label=label)
    assert x.tolist() == inputs
    assert sorted([*x[0], y[0]]) == [1, 2, 3]


@pytest.mark.parametrize("drop", [1, "b", [1], ["b"], (-2,), [1, "b"], np.int64(1)])
def test_dropped_columns_need_not_be_numbers(csv, drop):
    x, y = csv("a,b,class\n1,x,0\n2,,1\n", drop=drop)
    assert (x.tolist(), y.tolist()) == ([[1], [2]], [0, 1])


def test_targets_are_floats(csv):
    _, y = csv("1,0.25\n2,3\n", regression=True)
    assert y.tolist() == [0.25, 3.0]


@pytest.mark.parametrize("header", ["A,B,C\n", "A,B,C,\n", ""])
def test_lines_that_end_with_a_delimiter(csv, header):
    x, y = csv(header + "1,4,0,\n2,5,1,\n")
    assert (x.tolist(), y.tolist()) == ([[1, 4], [2, 5]], [0, 1])


def test_an_example_that_looks_like_the_header_of_pandas_is_asked_about(csv):
    text = "0,1,2\n0.5,3,1\n"
    with pytest.raises(ValueError, match=r"header or an example, got 0,1,2, as pandas .*header=True if"):
        csv(text)
    assert len(csv(text, header=True)[0]) == 1
    assert len(csv(text, header=np.False_)[0]) == 2
    assert len(csv("0,1,3\n0.5,3,1\n")[0]) == 2


# What is refused, and what is said of it.
REFUSED = {
    # quotes and line ends
    "1,4,0,\n2,5,1\n": r"numbers in 3 columns and an empty last one, got line 2 with 3 columns",
    "1,4,0,\n2,5,1,6\n": r"numbers in 3 columns and an empty last one, got line 2 with 4 columns",
    '1,"2\n3",0\n4,5,1\n': r"numbers in 3 columns, got column 2 with '2\\n3' in line 1 \(1 bad line of 2\)$",
    '"1"2,0\n3,1\n': "quotes around whole cells, closed before the next one, got in line 1: ',' expected",
    '"1" ,2,0\n': "quotes around whole cells",
    '1,0\n2,"1\n3,0\n': "quotes around whole cells.*in line 2: unexpected end of data",
    '-7,2\n"-11","1.5\n","1"\n': r"line 2 with 3 columns \(1 bad line of 2\)",
    '1,"2""3"\n': "column 2 with '2\"3' in line 1",
    '1,0\n""\n': "line 2 with 1 column",
    **{f"1,2{c}3,1\n": "column 2 with" for c in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"},
    **{f"1,2{c},1\n": "column 2 with" for c in "\x0b\x0c\x1c\x85\u2028\xa0\u3000"},
    "1,2\n" * 20 + "1,2\0\n": r"column 2 with '2\\x00' in line 21",
    # what float() takes and a table does not hold
    "1,2\n1_0,3\n": r"column 1 with '1_0' in line 2 \(1 bad line of 2\)",
    "1,2\n0x1,3\n": "column 1 with '0x1'",
    "1,2\n\u0663,3\n": "column 1 with",
    "1,2\nnan,3\n": "column 1 with 'nan' in line 2 .*; fill in what is missing",
    "1,2\n-Infinity,3\n": "column 1 with '-Infinity'",
    "1,2\n1e999,3\n": "column 1 with '1e999'",
    "1,2\n,3\n": "column 1 with '' in line 2 .*; fill in what is missing",
    # numbers of other countries
    "1,5;2,5;0\n2,5;3;1\n": "column 1 with '1,5' in line 1 and 1 more; .*write decimal points",
    '"1,234",0\n2,1\n': "column 1 with '1,234'.*no thousands separators",
    # text, by columns
    "city,age,sex,class\nX,3,m,0\nY,4,f,1\n": (
        r"text in every line of column 1 \('city'\), column 3 \('sex'\), such as 'X' \(2 bad lines of 2\); "
        r"drop=\['city', 'sex'\] leaves them out"
    ),
    "X,3,0\nY,4,1\n": r"text in every line of column 1, such as 'X' .*; drop=\[0\] leaves",
    "a,species\n1,setosa\n2,virginica\n3,setosa\n": "; setosa, virginica are names of classes: encode",
    "a,b,y\n1,2,0\n1,oops,1\n1,2\n1,,1\n": (
        r"in 3 columns, got column 2 \('b'\) with 'oops' in line 3 and 1 more; line 4 with 2 columns "
        r"\(3 bad lines of 4\)"
    ),
    "1,2\n" + "x,2\n" * 80: r"column 1 with 'x' in line 2 and 79 more \(80 bad lines of 81\)$",
    "1,2\n"
    + "1\n" * 80: r"line 2 with 1 column; .*; line 6 with 1 column; and 75 more \(80 bad lines of 81\)$",
    "pixel,1,label\n3,4,1\n": r"column 1 with 'pixel'.*; header=True if the first line has names",
    "\f1,\f2\n3,4\n": r"column 1 with '\\x0c1' in line 1",  # no header: an example would be lost
    "\xa01,\xa02\n3,4\n": r"column 1 with '\\xa01' in line 1",
    # labels
    "x,y\n1,0\n2,0.5\n3,2.5\n": r"column 2 \('y'\) as label '0.5' in line 3 and 1 more .*; regression=True",
    "1,2\n3,1e300\n": "column 2 as label '1e300' in line 2 .*; regression=True takes float targets",
    "a,b,class\n1,2,\n3,4,\n": r"column 3 \('class'\) with '' in line 2 and 1 more",
    "label,p0,p1\n3,1,0\n2,2,0\n": "label in the last column, got column 1 with the name 'label'; label=0",
    "a,Target,b\n3,1,0\n": "label=1 takes it, label=-1 the last column",
    # headers
    ",a,class\n0,1.5,2\n": "a name for each column, got none of column 1; are these the row numbers",
    "Unnamed: 0,a,class\n0,1.5,2\n": "got none of column 1; .*; drop=0 leaves it out",
    ",0,1\n0,1.5,2\n": "got none of column 1",
    "a,class\nr1,1.5,2\n": "2 in the header and 3 columns in line 2; the first of them may be row numbers",
    "a,b,c,class\n1,2\n": "4 in the header and 2 columns in line 2$",
    "sep=;\na;b\n1;2\n": "column 1 .* with 'a' in line 2",
    # nothing
    "": "at least 1 line of numbers, got none",
    "\n\r\n  \n": "at least 1 line of numbers, got none",
    "a,b\n": "at least 1 line of numbers, got a header alone",
    "1\n2\n": "a column for the label and at least one more, got 1 column in line 1; .* delimiter=",
    # no text
    b"1\xff,2\n": "UTF-8 text, got byte 0xff, which is not .*; encoding='cp1252' reads what Windows wrote",
    "1,2".encode("utf-16-le"): "text, got bytes of value 0; encoding='utf-16-le'",
    "1,2".encode("utf-16")[:-1]: "UTF-16-LE text, got byte 0x32, which is not",
    b"PK\x03\x04": "a table of numbers as text, got a zip archive; read_npz reads .npz",
    b"\0\0\x08\x01": "got an IDX file; read_idx",
    b"\x93NUMPY": "got an .npy file",
    b"PAR1": "got a Parquet file",
    b"<html>": "got a page of HTML",
    b'{"a": 1}': "got a JSON file",
    gzip.compress(b"PAR1"): "got a Parquet file",
    gzip.compress(b"1,2\n" * 9)[:-4]: "a whole, undamaged file, got Compressed file ended",
}


@pytest.mark.parametrize(("text", "said"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_a_strict_parser_refuses_is_refused(csv, text, said):
    with pytest.raises(ValueError, match=rf"^read_csv\(table.csv\): expected (?s:.*){said}"):
        csv(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": 3}, "label a whole number in [-3, 2], got"),
        ({"label": -4}, "label a whole number in"),
        ({"label": 1.0}, "label a whole number in"),
        ({"label": True}, "label a whole number in"),
        ({"label": "q"}, "one of the names a, b, c, got label='q', which 0 columns have"),
        ({"drop": "q"}, "one of the names a, b, c, got drop='q'"),
        ({"drop": [0, 1.5]}, "drop a whole number in"),
        ({"drop": {"a": 1}}, "drop a whole number in"),
        ({"drop": None}, "drop a whole number in"),
        ({"drop": ["c"]}, "a label that is not dropped, got column 3"),
        ({"drop": [0, 1]}, "at least one column beside the label"),
        ({"header": "yes"}, "header True or False"),
        ({"regression": 1}, "regression True or False"),
        ({"delimiter": ",,"}, "one character as delimiter, got ',,'"),
        ({"delimiter": ""}, "one character as delimiter"),
        ({"delimiter": '"'}, "one character as delimiter"),
        ({"delimiter": "\n"}, "one character as delimiter"),
        ({"delimiter": 5}, "delimiter to be a str"),
        ({"encoding": "klingon"}, "a known encoding, got encoding='klingon'"),
        ({"encoding": "zlib"}, "a known encoding, got encoding='zlib'"),
        ({"encoding": 8}, "encoding to be a str"),
        ({"max_bytes": 5}, "at most 5 bytes"),
        ({"max_bytes": 0}, "max_bytes a whole number"),
        ({"max_bytes": 1e6}, "max_bytes a whole number"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(csv, options, said):
    with pytest.raises(
        (ValueError, TypeError), match=rf"^read_csv\(table.csv\): expected .*{re.escape(said)}"
    ):
        csv("a,b,c\n1,2,0\n" + "3,4,1\n" * 20, **options)


@pytest.mark.parametrize("path", [None, b"table.csv", "", "a\0b", 3])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises((ValueError, TypeError), match=r"^read_csv: expected path a file's or folder's path"):
        read_csv(path)


def strict(text):
    """The numbers of a comma-separated table by a parser of its own, None for what it refuses."""
    rows, row, cell, state = [], [], "", "start"  # of a cell; plain, quoted, closed
    for c in re.sub(r"\r\n|\r", "\n", text) + ("" if text.endswith(("\n", "\r")) else "\n"):
        if state == "quoted":
            state, cell = ("closed", cell) if c == '"' else (state, cell + c)
        elif c == '"' and state in ("start", "closed"):
            state, cell = "quoted", cell + '"' * (state == "closed")
        elif c in ",\n":
            row.append((cell, state))
            cell, state = "", "start"
            if c == "\n":
                if [s for _, s in row] != ["start"] and not (
                    len(row) == 1 and re.fullmatch("[ \t]+", row[0][0])
                ):
                    rows.append([value for value, _ in row])
                row = []
        elif state == "closed":
            return None
        else:
            state, cell = "plain", cell + c
    if state == "quoted" or not rows:
        return None
    number = re.compile(r"[ \t]*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?[ \t]*", re.ASCII)
    if all(row[-1] == "" for row in rows):
        rows = [row[:-1] for row in rows]
    if not all(len(row) == len(rows[0]) > 1 and all(map(number.fullmatch, row)) for row in rows):
        return None
    values = [[float(cell) for cell in row] for row in rows]
    return values if np.isfinite(values).all() else None


def damaged(text, rng):
    """One to three random edits: characters that matter put in, taken out or doubled."""
    pieces = ['"', '""', ",", "\n", "\r", "\r\n", " ", "\t", "_", "e", "-", ".", "nan", "1e999", "x", "\0"]
    pieces += ["\x0b", "\x1c", "\x85", "\u2028", "\u0663", "\ufeff", "#", ";", "inf", "0x1", '"\n"', "1,\n"]
    for _ in range(rng.integers(3)):
        at, kind = int(rng.integers(len(text) + 1)), rng.integers(4)
        if kind == 0:
            text = text[:at] + text[at + int(rng.integers(1, 4)) :]
        elif kind == 1:
            text = text[:at] + text[at : at + 5] + text[at:]
        else:
            text = text[:at] + pieces[rng.integers(len(pieces))] + text[at:]
    return text


def a_table(rng):
    """A random table, some cells of it quoted, with any line end."""
    columns, end = int(rng.integers(2, 5)), ["\n", "\r\n", "\r"][rng.integers(3)]
    cells = [f"{v:.4g}" for v in rng.normal(scale=100, size=columns * int(rng.integers(1, 6)))]
    cells = [f'"{cell}"' if rng.random() < 0.2 else cell for cell in cells]
    lines = [",".join(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return end.join(lines) + end * int(rng.integers(2))


@pytest.mark.parametrize("tables", [1000, pytest.param(50_000, marks=pytest.mark.soak)])
def test_damaged_tables_are_read_as_a_strict_parser_reads_them(csv, tables):
    rng, read, refused = np.random.default_rng(0), 0, 0
    for _ in range(tables):
        text = damaged(a_table(rng), rng)
        expected = strict(text.removeprefix("\ufeff"))
        said = None
        try:
            x, y = csv(text, delimiter=",", header=False, regression=True)
        except ValueError as error:
            said = str(error)
        if said is None:
            assert np.column_stack([x, y]).tolist() == expected, text
            read += 1
        else:
            assert said.startswith("read_csv(table.csv): expected "), (text, said)
            assert expected is None, (text, said)
            refused += 1
    assert min(read, refused) > tables / 5


@pytest.mark.parametrize(
    "text",
    ["1,2\n" * 30_000, ("0," * 784 + "1\n") * 100, "x,y\n" * 30_000, "1,2\n" + '"' * 10**6],
    ids=["long", "wide", "text", "quote"],
)
def test_a_table_takes_the_memory_of_its_numbers(csv, text):
    tracemalloc.start()
    with contextlib.suppress(ValueError):
        csv(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(text)  # 8 bytes for a digit and its delimiter, as float64 and once more as an int


def test_a_line_and_a_bomb_are_bounded(csv):
    with pytest.raises(ValueError, match=r"lines of at most 4194304 characters"):
        csv("1," * 2_200_000)
    with pytest.raises(ValueError, match=r"at most 65536 bytes of text, got more; .* max_bytes="):
        csv(gzip.compress(b"a,b\n", 9) + gzip.compress(b"\n" * 2**20, 9) * 20, max_bytes=2**16)


@pytest.mark.parametrize("line", ["a,nan", "inf,b", ".5\u0661,x", "1_0,b", "NaN,-Infinity", "x, nan "])
def test_a_first_line_with_odd_numbers_alone_is_unclear(tmp_path, line):
    """It may be an example that is damaged, which would be lost as a header."""
    file = tmp_path / "a.csv"
    file.write_text(f"{line}\n+4,2\n3,1\n", encoding="utf-8")
    for read in (read_csv, load):
        with pytest.raises(ValueError, match=r"clearly a header or an example, got .* in it"):
            read(file)
    assert len(read_csv(file, header=True)[0]) == 2
    with pytest.raises(ValueError, match="expected "):
        read_csv(file, header=False)
