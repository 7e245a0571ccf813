"""Tables of numbers as text: the exact numbers, or an error that names each malformed line."""

import numpy as np
import pytest

from jaxbp.data import read_csv


def csv(folder, text):
    file = folder / "table.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_csv_with_and_without_a_header_quotes_and_blank_lines(tmp_path):
    plain = read_csv(csv(tmp_path, "1.5,2,0\n3,-4e1,1\n"))
    dressed = read_csv(csv(tmp_path, '\ufeff"a","b","class"\r\n\r\n"1.5", 2,0\r\n3,-4e1,1'))
    for x, y in (plain, dressed):
        assert x.tolist() == [[1.5, 2.0], [3.0, -40.0]]
        assert y.tolist() == [0, 1]
        assert y.dtype == np.int64


def test_csv_label_column_targets_and_delimiter(tmp_path):
    x, y = read_csv(csv(tmp_path, "0;1.5;2\n1;3;4\n"), label=0, delimiter=";")
    assert (x.tolist(), y.tolist()) == ([[1.5, 2.0], [3.0, 4.0]], [0, 1])
    _, y = read_csv(csv(tmp_path, "1,0.25\n2,3\n"), regression=True)
    assert y.tolist() == [0.25, 3.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a,b,y\n1,2,0\n1,oops,1\n1,2\n1,,1\n",
            "numbers in 3 columns, got line 3: column 2 is 'oops'; line 4: 2 columns; line 5: column 2 is '' "
            r"\(3 malformed lines\)",
        ),
        ("1,2\n" + "x,2\n" * 8, r"line 6: column 1 is 'x'; lines 7, 8, 9 \(8 malformed lines\)"),
        ("1,2\n" + "x,2\n" * 80, r"; lines 7, .*, 51, \.\.\. \(80 malformed lines\)"),
        ("1,2\n1_0,3\n", r"line 2: column 1 is '1_0' \(1 malformed line\)"),
        ("x,y\n1,0\n2,0.5\n3,nan\n", r"whole numbers as labels, got line 3: label 0.5; line 4: label nan"),
        ("1,2\n3,1e300\n", r"line 2: label 1e\+300 .*; regression=True takes float targets"),
        ("1;2\n3;4\n", "at least one more, got 1 column in line 2; is ',' the delimiter"),
        (
            "1\n2\n",
            "column -1 for the label and at least one more, got 1 column in line 1; is ',' the delimiter",
        ),
        ("", "at least 1 line of numbers, got 0 lines without any"),
        ("a,b\n", "at least 1 line of numbers, got 1 lines without any"),
    ],
)
def test_every_malformed_line_of_a_csv_is_named(tmp_path, text, said):
    with pytest.raises(ValueError, match=rf"^read_csv\(table.csv\): expected .*{said}"):
        read_csv(csv(tmp_path, text))


def test_csv_that_is_not_text_is_said(tmp_path):
    with pytest.raises(ValueError, match="expected UTF-8 text, got byte 1 that is not"):
        read_csv(csv(tmp_path, b"1\xff,2\n"))
    with pytest.raises(ValueError, match="column 7 for the label"):
        read_csv(csv(tmp_path, "1,2\n"), label=7)
