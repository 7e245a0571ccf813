"""Columns that the floats of JAX do not keep apart or that count the examples, and labels that are none."""

import numpy as np
import pytest

from jaxbp.data import assert_data, load

SECONDS = 1.7e9 + np.arange(60.0)
OTHERS = np.linspace(0, 1, 60)


@pytest.mark.parametrize("column", [SECONDS, SECONDS * 1000, 1e8 + OTHERS, -SECONDS, np.r_[0, SECONDS[1:]]])
@pytest.mark.parametrize("part", ["x", "y", "images", "flat"])
def test_values_that_become_equal_are_refused(column, part):
    x, y = np.stack([OTHERS, column], axis=1), OTHERS[:, None]
    x, y = {
        "x": (x, y), "y": (y, column[:, None]), "images": (x.reshape(-1, 1, 2), y), "flat": (y, column)
    }[part]  # fmt: skip
    with pytest.raises(ValueError, match=r"stay apart in float32, .*, got .* equal as float32; scale it"):
        assert_data(x, y)


@pytest.mark.parametrize(
    "column",
    [
        OTHERS,
        np.full(60, 0.1) + np.arange(60) * 1e-17,  # a constant, to rounding
        SECONDS[:1] + 3600 * np.arange(60),  # hours apart
        np.float32(SECONDS).astype(float),  # was float32 already
        np.random.default_rng(0).normal(size=60) * 1e30,
        1e8 + (np.arange(60) > 30) * 100.0,
    ],
)
def test_other_columns_pass(column):
    assert assert_data(column[:, None], column[:, None]).x.dtype == np.float32


ROW = "{n},{a},{c}\n"


@pytest.mark.parametrize("name", ["index", "Index", "id", "row_nr", "level_0", "patient_id"])
@pytest.mark.parametrize("first", [0, 1, 1000])
def test_a_column_that_counts_the_examples_is_left_out(tmp_path, name, first):
    numbers = np.random.default_rng(0).permutation(60) + first
    rows = [ROW.format(n=n, a=i % 7 / 2, c="xy"[i % 2]) for i, n in enumerate(numbers)]
    (tmp_path / "t.csv").write_text(f"{name},a,label\n" + "".join(rows))
    train, _ = load(tmp_path / "t.csv")
    assert [c.used for c in train.schema.columns] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("index", np.arange(60) % 11), ("year", 1960 + np.arange(60)), ("id", np.arange(60) * 2)],
)
def test_a_column_of_other_numbers_stays(tmp_path, name, numbers):
    rows = [ROW.format(n=n, a=i % 7 / 2, c="xy"[i % 2]) for i, n in enumerate(numbers)]
    (tmp_path / "t.csv").write_text(f"{name},a,label\n" + "".join(rows))
    assert load(tmp_path / "t.csv")[0].schema.columns[0].used


@pytest.mark.parametrize(
    ("header", "last", "options", "said"),
    [
        ("a,label,label", "{c}", {}, "one column that is the label, got 'label' twice; label=1 takes"),
        ("a,out,out", "{c}", {"label": "out"}, "one column that is the label, got 'out' twice"),
        ("a,b,label", "name{i}", {}, "classes of more than one example, got 60 distinct texts"),
        ("a,b,label", "name{n}", {}, "got 45 distinct texts .*; task='classification' takes each"),
        ("a,b,label", "20{n}-01-31", {}, "classes of more than one example, got 45 distinct texts"),
    ],
)
def test_a_label_that_is_none_is_refused(tmp_path, header, last, options, said):
    rows = (f"{i % 7},{i % 5 / 2},{last.format(i=i, n=10 + i % 45, c='xy'[i % 2])}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(f"{header}\n" + "".join(rows))
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "t.csv", **options)


def test_few_examples_of_each_class_are_taken_where_asked(tmp_path):
    rows = (f"{i % 7},name{i % 45}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("a,label\n" + "".join(rows))
    assert load(tmp_path / "t.csv", task="classification")[0].num_classes == 45


@pytest.mark.parametrize("form", ["file", "frame"])
@pytest.mark.parametrize("text", ["23.01.2022", "01/23/2022", "soon"])
def test_a_date_in_another_form_at_prediction_names_the_form(tmp_path, form, text):
    rows = "".join(f"{i % 7},2022-01-{10 + i % 20},{'xy'[i % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(f"a,day,label\n{rows}")
    schema = load(tmp_path / "t.csv")[0].schema
    (tmp_path / "new.csv").write_text(f"a,day\n1,{text}\n2,{text}\n")
    new = tmp_path / "new.csv"
    if form == "frame":
        new = pytest.importorskip("pandas").read_csv(new)
    said = r"expected numbers in 2 columns, dates as 2024-12-31 in column 2 \('day'\), got .*; write dates so"
    with pytest.raises(ValueError, match=said):
        schema.inputs(new)


@pytest.mark.parametrize("cell", [[1, 2], (1,), {"a": 1}, 1j, np.zeros(2)])
def test_a_cell_that_is_none_is_refused(cell):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": range(20), "label": list("xy") * 10})
    frame["z"] = pd.Series([cell] * 20, dtype=object)
    with pytest.raises(TypeError, match=r"one number, text or date in each cell, got .* in row 0 of"):
        load(frame)


X, Y = np.ones((20, 2)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x_train": X, "y_train": Y, "x_test": X}, "x and y of the test part, got x alone"),
        ({"x_train": X, "y_train": Y, "y_val": Y}, "x and y of the validation part, got y alone"),
        ({"x": X, "y": Y, "x_train": X, "y_train": Y}, "x and y, or their parts, not both"),
        ({"x": X + 1j, "y": Y}, "expected real x"),
    ],
)
def test_arrays_of_which_one_would_be_passed_over_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises((ValueError, TypeError), match=said):
        load(tmp_path / "d.npz")


@pytest.mark.parametrize("name", ["d.npz", "d.npy", "D.NPZ"])
@pytest.mark.parametrize("content", [b"\x89HDF\r\n", b"<html>"])
def test_a_file_that_is_neither_what_its_name_says_nor_a_table_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"load.*{name}"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    "option", [{"download": "yes"}, {"download": 1}, {"download": True}, {"data_dir": "."}]
)
def test_options_of_named_sets_are_not_passed_over(tmp_path, option):
    (tmp_path / "t.csv").write_text("a,label\n" + "1,x\n2,y\n" * 20)
    with pytest.raises(TypeError, match=f"{next(iter(option))}"):
        load(tmp_path / "t.csv", **option)


def test_weights_too_small_for_float32_are_none():
    with pytest.raises(ValueError, match="one is above 0, got 0 for every example in float32"):
        assert_data(X, Y, np.full(20, 1e-50))
