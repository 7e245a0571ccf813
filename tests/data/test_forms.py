"""Forms that tables come in beside plain CSV: archives, durations, arrays that are scaled already."""

import io
import warnings
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pytest

import jaxbp
from jaxbp.data import Schema, load, read_csv
from jaxbp.data.tables.columns import Classes, Column, Number
from jaxbp.data.tables.scaled import looks_scaled
from jaxbp.data.tables.table import Reading

pytest.importorskip("sklearn")
TEXT = "a,b,y\n" + "1,5,u\n2,9,v\n" * 10


def archive(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return path


def test_a_zipped_text_is_the_text(tmp_path):
    """As Kaggle packs it, and as macOS does; in training, in prediction, by `read_csv`."""
    (tmp_path / "plain.csv").write_text(TEXT)
    kaggle = archive(tmp_path / "train.csv.zip", ("train.csv", TEXT))
    mac = archive(tmp_path / "b.zip", ("in/b.csv", TEXT), ("__MACOSX/in/._b.csv", b"\0\1"))
    plain, _ = load(tmp_path / "plain.csv")
    for file in (kaggle, mac):
        train, _ = load(file, label="y")
        np.testing.assert_array_equal(train.x, plain.x)
        np.testing.assert_array_equal(plain.schema.inputs(file), plain.schema.inputs(tmp_path / "plain.csv"))
    numbers = archive(tmp_path / "n.zip", ("n.csv", "1,0\n2,1\n"))
    assert read_csv(numbers)[1].tolist() == [0, 1]
    bomb = archive(tmp_path / "bomb.zip", ("bomb.csv", TEXT * 1000))
    with pytest.raises(ValueError, match="at most 1000 bytes of text, got more"):
        load(bomb, max_bytes=1000)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("[Content_Types].xml", "<a/>"), ("xl/workbook.xml", "<a/>")], "save a spreadsheet as CSV"),
        ([("a.csv", TEXT), ("b.csv", TEXT)], "a zip archive with a.csv.*; .* unpack a CSV"),
        ([("a.parquet", b"PAR1....")], "got a Parquet file"),
    ],
)
def test_other_archives_are_named_whatever_arguments_are_given(tmp_path, members, says):
    with pytest.raises(ValueError, match=says):
        load(archive(tmp_path / "a.zip", *members), label="y", delimiter=",")


def test_durations_are_days():
    hours = np.array([0, 12, 36, 6] * 10, "timedelta64[h]")
    labels = ["u", "v", "u", "v"] * 10
    records = np.rec.fromarrays([hours, np.array(labels)], names=["t", "y"])
    held = io.BytesIO()
    np.save(held, np.asarray(records, records.dtype.descr))
    pandas = pd.DataFrame({"t": hours.astype("timedelta64[ns]"), "y": labels})
    polars = pl.DataFrame({"t": hours.astype("timedelta64[us]"), "y": labels})
    missing = pandas.assign(t=pandas["t"].where(pandas["t"] > pd.Timedelta(0)))
    for frame in (pandas, polars):
        train, _ = load(frame, scale="none")
        assert np.unique(train.x).tolist() == [0, 0.25, 0.5, 1.5]
        assert train.schema.inputs(frame)[:3, 0].tolist() == [0, 0.5, 1.5]
    train, _ = load(missing, scale="none")
    assert train.schema.columns[0].fitted.fill == 0.5
    assert train.schema.inputs(missing)[0, 0] == 0.5


SCHEMA = Schema(
    (
        Column("height", "number", Number(fill=170.0, shift=170.0, scale=10.0)),
        Column("age", "number", Number(fill=40.0, shift=40.0, scale=8.0)),
        Column("y", "classes", Classes(("u", "v"), numeric=False)),
    ),
    Reading(decimal=".", header=True),
)
RAW = np.random.default_rng(0).normal([170, 40], [10, 8], (30, 2))
SCALED = (RAW - [170, 40]) / [10, 8]


@pytest.mark.parametrize("rows", [slice(None), slice(1), slice(2)], ids=["many", "one", "two"])
def test_an_array_that_looks_scaled_already_is_said(rows):
    """It would be scaled twice, and every prediction would be wrong, silently."""
    net = jaxbp.mlp([2, 2])
    params = {1: {"W": np.eye(2, dtype=np.float32), "b": np.zeros(2, np.float32)}}
    run = jaxbp.Trained(net, params, jaxbp.softmax_cross_entropy, schema=SCHEMA)
    with pytest.warns(UserWarning, match="expected raw columns, .*, got numbers that look scaled already"):
        run.predict(SCALED[rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = run.predict(RAW[rows])
        features = SCALED[rows].astype(np.float32)
        held = jaxbp.data.Dataset(features, np.zeros(len(features), int), 2, schema=SCHEMA)
        assert run.predict(held).tolist() == expected.tolist()
        run.predict(pd.DataFrame(SCALED[rows], columns=["height", "age"]))  # it has names


def test_what_is_far_from_training_is_not_taken_for_scaled():
    columns = [column.fitted for column in SCHEMA.columns[:2]]
    for shift in ((0, 0), (30, 20), (-40, 60)):
        assert not looks_scaled(columns, list((RAW + shift).T))
    assert not looks_scaled(columns, [np.full(3, np.nan)] * 2)
    assert not looks_scaled([], [])
    hardly = [Number(fill=0.0, shift=0.1, scale=1.1)] * 2
    assert not looks_scaled(hardly, list(SCALED.T))


def test_features_in_another_number_than_the_columns_are_told_apart(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("a,city,y\n" + "1,Bern,u\n2,Ulm,v\n3,Bonn,u\n" * 10)
    train, _ = load(file)
    with pytest.raises(ValueError, match=r"or 2 without the label, got 4; .* give the Dataset"):
        train.schema.inputs(train.x)
