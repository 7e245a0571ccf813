"""Tables as people have them: what each column is told to be, what it becomes, and what is refused why."""

import gzip
import json
import tracemalloc
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

import jaxbp
from jaxbp.cli.console import any_console
from jaxbp.data import Schema, load, read_csv

sklearn = pytest.importorskip("sklearn")


@pytest.fixture
def table(tmp_path):
    """Writes a table, its lines after the first several times, and loads it."""

    def read(text, times=10, **options):
        first, *lines = text.splitlines()
        made = "\n".join([first, *lines * times])
        file = tmp_path / "table.csv"
        file.write_bytes(made.encode(options.get("encoding") or "utf-8"))
        return load(file, **options)

    return read


def kinds(data):
    return {column.name: column.kind for column in data.schema.columns}


MIXED = ["age,city,member,since,score,answer"]
MIXED += [
    f"{20 + i % 40 if i % 7 else ''},{['Bonn', 'Köln', 'Ulm'][i % 3] if i % 11 else '?'},"
    f"{['yes', 'no'][i % 2]},"
    f"2024-0{i % 9 + 1}-1{i % 10},{1000 * i + 0.25},{['good', 'bad'][(i // 2) % 2]}"
    for i in range(80)
]


@pytest.fixture
def mixed(tmp_path):
    file = tmp_path / "mixed.csv"
    file.write_text("\n".join(MIXED), encoding="utf-8")
    return file


def test_each_column_is_told_by_its_cells(mixed):
    train, test = load(mixed)
    assert kinds(train) == {
        "age": "number",
        "city": "category",
        "member": "category",
        "since": "date",
        "score": "number",
        "answer": "classes",
    }
    assert (train.schema.task, train.schema.classes, train.schema.features) == (
        "classification",
        ("bad", "good"),
        1 + 4 + 2 + 1 + 1,
    )
    assert (train.x.dtype, len(train), len(test)) == (np.float32, 64, 16)


@pytest.mark.parametrize(("scale", "name"), [("standard", "StandardScaler"), ("minmax", "MinMaxScaler")])
def test_features_are_those_of_scikit_learn_fitted_to_the_training_part(mixed, scale, name):
    from sklearn import preprocessing
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    frame = pd.read_csv(mixed, na_values=["?"])
    frame["since"] = (pd.to_datetime(frame["since"]) - pd.Timestamp(0)) / pd.Timedelta("1D")
    frame["city"] = frame["city"].fillna("")
    numbers = make_pipeline(SimpleImputer(strategy="median"), getattr(preprocessing, name)())
    encoder = preprocessing.OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    transformer = ColumnTransformer(
        [
            ("age", numbers, ["age"]),
            ("texts", encoder, ["city", "member"]),
            ("rest", numbers, ["since", "score"]),
        ]
    )
    train, test = load(mixed, scale=scale, shuffle=False, test_fraction=0.25)
    expected = transformer.fit_transform(frame[:60]).astype(np.float32)
    np.testing.assert_array_equal(train.x, expected)
    np.testing.assert_array_equal(test.x, transformer.transform(frame[60:]).astype(np.float32))


def test_nothing_of_the_test_and_validation_parts_is_in_the_schema(mixed):
    lines = mixed.read_text(encoding="utf-8").splitlines()
    options = {"shuffle": False, "test_fraction": 0.25, "validation_fraction": 0.2}
    train, validation, _ = load(mixed, **options)
    changed = [line.replace(",Bonn,", ",Rom,").replace("000.25,", "999999.5,") for line in lines[49:]]
    mixed.write_text("\n".join([*lines[:49], *changed]), encoding="utf-8")
    again, other, _ = load(mixed, **options)
    assert len(train) == 48
    assert again.schema == train.schema
    np.testing.assert_array_equal(again.x, train.x)
    assert not np.array_equal(other.x, validation.x)


def test_the_same_features_come_from_json_a_frame_an_array_and_another_form_of_the_file(mixed, tmp_path):
    schema = load(mixed)[0].schema
    x, y = schema.inputs(mixed), schema.labels(mixed)
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict(), allow_nan=False)))
    assert again == schema
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(mixed.read_bytes()))
    other = tmp_path / "other.csv"  # other columns, another order, quotes, another delimiter
    rows = [line.split(",") for line in MIXED]
    other.write_text(
        "\n".join(";".join(f'"{c}"' for c in [*row[::-1], "1"]) for row in rows).replace('"1"', '"x"', 1)
    )
    frame = pd.read_csv(mixed, na_values=["?"], parse_dates=["since"])
    polars = pl.read_csv(mixed, null_values=["?", ""], try_parse_dates=True)
    cells = np.array(rows[1:], object)
    for source in (str(mixed), packed, other, frame, frame.convert_dtypes(), polars, cells):
        np.testing.assert_array_equal(again.inputs(source), x)
        np.testing.assert_array_equal(again.labels(source), y)
    for unlabeled in (
        frame.drop(columns="answer"),
        frame[["score", "since", "member", "city", "age"]],
        cells[:, :-1],
    ):
        np.testing.assert_array_equal(again.inputs(unlabeled), x)
    with pytest.raises(ValueError, match="columns named 'answer', got columns 'age'"):
        schema.labels(frame.drop(columns="answer"))
    with pytest.raises(ValueError, match="6 columns, or 5 without the label, got 4"):
        schema.inputs(cells[:, :4])


def test_what_training_did_not_have_is_handled_at_prediction(mixed, tmp_path):
    schema = load(mixed)[0].schema
    new = tmp_path / "new.csv"
    new.write_text("age,city,member,since,score\n30,Rom,yes,2024-01-02,7\n,,,,\n")
    with pytest.warns(UserWarning, match="training data") as said:
        x = schema.inputs(new)
    zero = "which the training data had not; all its features are 0 there"
    assert [str(w.message) for w in said] == [
        f"new.csv: 'city' has 'Rom', {zero}", f"new.csv: 'member' has no value, {zero}"
    ]  # fmt: skip
    assert x[0, 1:5].tolist() == [0, 0, 0, 0]  # a city that is none of the four, the missing one among them
    assert x[1, 1:7].tolist() == [1, 0, 0, 0, 0, 0]  # a missing city is a category; no member was missing
    median = schema.columns[0].fitted
    assert x[1, 0] == np.float32((median.fill - median.shift) / median.scale)
    new.write_text("age,city,member,since,score\nold,Rom,yes,2024-01-02,7\n31,Ulm,no,soon,1e999\n")
    with pytest.raises(ValueError, match=r"column 1 \('age'\) with 'old' in line 2; .*'since'.*'score'"):
        schema.inputs(new)
    new.write_text("age,town,member,since,score\n30,Rom,yes,2024-01-02,7\n")
    with pytest.raises(
        ValueError, match=r"^new.csv: expected columns named 'city', got columns 'age', 'town'"
    ):
        schema.inputs(new)


# What people's files have, and what the first input column and the label become.
FORMS = {
    "a point": ("a,y\n1.5,u\n2.5,v\n", [1.5, 2.5]),
    "a comma": ("a;y\n1,5;u\n2,5;v\n", [1.5, 2.5]),
    "a comma, quoted": ('a,y\n"1,5",u\n"2,25",v\n', [1.5, 2.25]),
    "thousands by commas": ('a,y\n"1,234.5",u\n"2,000",v\n', [1234.5, 2000]),
    "thousands by points": ("a;y\n1.234,5;u\n2.000;v\n", [1234.5, 2000]),
    "thousands by blanks": ("a;y\n1 234,5;u\n2 000;v\n", [1234.5, 2000]),
    "thousands by thin blanks": ("a;y\n1\u202f234;u\n2\u00a0000;v\n", [1234, 2000]),
    "thousands as in Switzerland": ("a;y\n1'234.5;u\n2'000;v\n", [1234.5, 2000]),
    "exponents and signs": ("a,y\n+1e2,u\n-.5E-1,v\n", [100, -0.05]),
    "quoted names": ('"a, ""b""","y"\n1,u\n2,v\n', [1, 2]),
    "blanks": (" a , y\n 1 , u\n 2 , v\n", [1, 2]),
    "tabs": ("a\ty\n1\tu\n2\tv\n", [1, 2]),
    "bars": ("a|y\n1|u\n2|v\n", [1, 2]),
    "no number": ("a,y\nx,u\nz,v\n", ["x", "z"]),
    "no number and semicolons": ("a;y\nx, and;u\nz;v\n", ["x, and", "z"]),
    "names twice": ("a,a,y\n1,3,u\n2,4,v\n", [1, 2]),
    "delimiters at the end": ("a,y,\n1,u,\n2,v,\n", [1, 2]),
    "delimiters at the end but of the header": ("a,y\n1,u,\n2,v,\n", [1, 2]),
    "row numbers of pandas": (",a,y\n0,1,u\n1,2,v\n", [1, 2]),
    "row numbers that pandas read and wrote": ("Unnamed: 0,a,y\n0,1,u\n1,2,v\n", [1, 2]),
    "row names of R": ("a,y\nr1,1,u\nr2,2,v\n", [1, 2]),
    "a frame made of an array": (",0,1,y\n0,1,3,u\n1,2,4,v\n", [1, 2]),
    "an empty column": ("z,a,y\n,1,u\n,2,v\n", [1, 2]),
    "aligned by blanks": ("a    y\n  1   u\n 20   v\n", [1, 20]),
    "blanks and a tab": ("a y\n1 2\t\"u\"\n3 4\t\"v\"\n".replace("a y", "a b y"), [1, 3]),
    "blanks within quotes": ('"a" b y\n1 "x  z" u\n2 "z\tx" v\n', [1, 2]),
    "names of examples": (
        "name,a,y\n" + "".join(f"n{i},{i % 2 + 1},{'uv'[i % 2]}\n" for i in range(40)),
        [1, 2],
    ),
    "the label first": ("label,a\nu,1\nv,2\n", [1, 2]),
    "the class in the middle": ("a,Class,b\n1,u,5\n2,v,6\n", [1, 2]),
    "yes and no": ("a,y\nyes,u\nno,v\n", ["no", "yes"]),
    "booleans": ("a,y\nTrue,u\nFalse,v\n", ["False", "True"]),
    "dates": ("a,y\n1970-01-02,u\n1970-01-03 12:00,v\n", [1, 2.5]),
    "dates with a zone": ("a,y\n1970-01-02T00:00:00Z,u\n1970-01-03T00:00+02:00,v\n", [1, 2 - 2 / 24]),
    "missing as everywhere": ("a,y\n1,u\n3,v\nNA,u\nnan,v\n,u\n?,v\nNULL,u\n-,v\n<NA>,u\n#N/A,v\n", [1, 3]),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_tables(tmp_path, form):
    text, expected = FORMS[form]
    first, *lines = text.splitlines()
    file = tmp_path / "table.csv"
    file.write_text("\n".join([first, *(lines if len(lines) > 30 else lines * 10)]), encoding="utf-8")
    train, _ = load(file, scale="none")
    schema = train.schema
    assert schema.classes == ("u", "v")
    column = next(column for column in schema.columns if column.used)
    if column.kind == "category":
        assert list(column.fitted.categories) == expected
    else:
        np.testing.assert_array_equal(np.unique(schema.inputs(file)[:, 0]), np.sort(np.float32(expected)))


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("a,b,y\n1,oops,u\n2,3,v\n4,5,u\n", {}, r"column 2 \('b'\) with 'oops' in line 2 and 9 more"),
        ("a,b,y\n1,inf,u\n2,3,v\n4,5,u\n", {}, r"column 2 \('b'\) with 'inf' in line 2"),
        ("a,y\n1,u\n2\n", {}, "line 3 with 1 column"),
        ("a,b,y\n1,u\n2,v\n", {}, "line 2"),
        ("a,y\n1,5,u\n2,5,v\n", {"header": True, "delimiter": ";"}, "delimiter"),
        ("a;y\n1,234;u\n2,345;v\n", {}, "decimal=',' reads 1.234, decimal='.' reads 1234"),
        ("a;y\n1,5;u\n2,5;v\n3.5;u\n", {}, r"column 1 \('a'\) with '3.5' in line 4"),
        ("a,y\n31.12.2024,u\n1.2.2024,v\n", {}, "dates as 2024-12-31, got '31.12.2024'"),
        ("a,y\n12/31/2024,u\n1/2/2024,v\n", {}, "dates as 2024-12-31, got '12/31/2024'"),
        ("a,y\n2024-02-30,u\n2024-02-28,v\n2024-02-29,v\n", {}, "with '2024-02-30' in line 2"),
        ("a,y\n1,u\n2,\n", {}, r"a label \('y'\) for each example, got none in 10 of 20"),
        ("a,y\n1,u\n2,u\n", {}, "at least 2 classes, got label u in all 20 examples"),
        ("a,y\n1,0\n2,0.5\n3,1\n", {}, "task='classification' takes each for a class, task='regression'"),
        ("a,y\n1,7\n2,7\n", {"task": "regression"}, "targets that differ, got label 7 in all"),
        ("a,y\n1,u\n2,v\n", {"task": "regression"}, "numbers as targets of a regression, got 'u'"),
        ("label,class,z\nu,u,1\nv,v,2\n", {}, "one column that is the label, got 'label' and 'class'"),
        ("a,y\n1,u\n2,v\n", {"label": "z"}, "one of the names a, y, got label='z'"),
        ("a,y\n1,u\n2,v\n", {"drop": ["a", "y"]}, "label"),
        (
            "a,y\n1,u\n2,v\n",
            {"drop": "a"},
            r"a column to learn from beside the label, got none of 1 \('a': as",
        ),
        ("y\nu\nv\n", {}, "a column to learn from beside the label"),
        ("a,y\n1e200,u\n2,v\n", {}, r"numbers up to 1e\+150, got 1e\+200 in 'a'"),
        ("0,1\n1,0\n2,1\n", {}, "header=True if these are names"),
        (
            "id,b,y\n12345678901234567891,1,u\n12345678901234567892,2,v\n",
            {},
            r"column 1 \('id'\) with '12345678901234567891'.* lose digits .*drop=\['id'\] leaves",
        ),
        ("a,y\n1,0.5\n2,1.5\n", {"task": "classes"}, "task 'classification' or 'regression', got 'classes'"),
        ("größe,y\n1,u\n2,v\n", {"encoding": "latin-1", "header": "yes"}, "header True or False"),
    ],
)
def test_what_cannot_be_told_is_one_sentence(table, text, options, said):
    with pytest.raises((ValueError, TypeError), match=rf"expected .*{said}") as caught:
        table(text, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_number_of_its_own_for_each_example_is_no_class(tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text("a,price\n" + "".join(f"{i},{i * 1.37:.2f}\n" for i in range(60)))
    with pytest.raises(ValueError, match="classes, got 60 distinct numbers in 'price'"):
        load(file, task="classification")


def test_a_windows_code_page_is_named_and_read(tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes(("größe,ort\n" + "1.5,Köln\n2.5,Bonn\n" * 10).encode("cp1252"))
    with pytest.raises(ValueError, match="encoding='cp1252' reads what Windows wrote; or save it as UTF-8"):
        load(file)
    train, _ = load(file, encoding="cp1252")
    assert train.schema.classes == ("Bonn", "Köln")
    assert train.schema.inputs(file).shape == (20, 1)


def test_a_table_without_a_header_that_has_words_alone(table):
    train, _ = table("p,x,s\ne,y,t\np,x,t\ne,y,s\n")
    assert len(train) == 25  # of 31 lines, of which none is a header
    assert list(kinds(train)) == ["column 1", "column 2", "column 3"]


def test_a_header_of_numbers_is_one_by_a_word_above_numbers(table):
    train, _ = table("0,1,class\n0.5,2,1\n1.5,3,0\n")
    assert (len(train), list(kinds(train))) == (16, ["0", "1", "class"])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1", "2", "3"], ("1", "2", "3")),
        (["1.0", "2.0"], ("1", "2")),
        (["-1", "1"], ("-1", "1")),
        (["0", "5", "9"], ("0", "5", "9")),
        (["none", "mild", "severe"], ("mild", "none", "severe")),
        (["True", "False"], ("False", "True")),
        ([" yes", "no "], ("no", "yes")),
        (["rare", *["often", "seldom"] * 10], ("often", "rare", "seldom")),
    ],
)
def test_labels_of_every_kind_are_classes_by_their_names(tmp_path, labels, classes):
    file = tmp_path / "table.csv"
    times = 1 if "rare" in labels else 10
    file.write_text("a,y\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels * times)))
    train, test = load(file)
    assert train.schema.classes == classes
    y = train.schema.labels(file)
    assert [classes[c] for c in y] == [label.strip().removesuffix(".0") for label in labels * times]
    assert (train.y.dtype, train.num_classes, test.num_classes) == (np.int32, len(classes), len(classes))
    if "rare" in labels:
        assert "with one example only: rare" in train.schema.label.told


def test_a_target_is_standardized_and_brought_back(tmp_path):
    file, y = tmp_path / "table.csv", 3e6 + 1e5 * np.arange(50.0) ** 1.5
    file.write_text("a,price\n" + "".join(f"{i},{v!r}\n" for i, v in enumerate(y.tolist())))
    train, test = load(file)
    assert (train.schema.task, train.schema.classes, train.num_classes) == ("regression", None, None)
    assert (train.y.shape, test.y.shape) == ((40, 1), (10, 1))
    np.testing.assert_allclose([train.y.mean(), train.y.std()], [0, 1], atol=1e-6)
    np.testing.assert_allclose(train.schema.targets_back(train.schema.labels(file))[:, 0], y, rtol=1e-6)
    assert load(file, scale="none")[0].y.max() > 1e6
    with pytest.raises(ValueError, match=r"^targets_back: expected a regression, got classification"):
        load(file, task="classification", label=0)[0].schema.targets_back(0)


def test_many_categories_share_the_last_feature(tmp_path):
    file, rng = tmp_path / "table.csv", np.random.default_rng(0)
    streets = [f"street {i}" for i in rng.geometric(0.01, 2000)]
    file.write_text("street,y\n" + "".join(f"{street},{i % 2}\n" for i, street in enumerate(streets)))
    schema = load(file)[0].schema
    assert schema.features == 100
    assert schema.columns[0].fitted.rest
    file.write_text("street,y\nnowhere,0\n")
    assert schema.inputs(file)[0].tolist() == [0] * 99 + [1]


def test_the_classes_have_their_proportions_in_every_part(table):
    parts = table("a,y\n1,u\n2,u\n3,u\n4,v\n", times=25, validation_fraction=0.2)
    assert [np.bincount(part.y).tolist() for part in parts] == [[48, 16], [12, 4], [15, 5]]


def test_frames_and_arrays_are_loaded_as_files_are(mixed, tmp_path):
    frame = pd.read_csv(mixed, na_values=["?"], parse_dates=["since"])
    for source in (frame, frame.convert_dtypes(), pl.read_csv(mixed, null_values=["?", ""])):
        for part, other in zip(load(source), load(mixed), strict=True):
            np.testing.assert_array_equal(part.x, other.x)
            np.testing.assert_array_equal(part.y, other.y)
    np.save(tmp_path / "table.npy", np.column_stack([np.arange(40) / 3, np.arange(40) % 2]))
    assert load(tmp_path / "table.npy")[0].schema.classes == ("0", "1")
    records = np.array(
        [(i / 3, b"yn"[i % 2 : i % 2 + 1]) for i in range(40)], [("a", float), ("answer", "S1")]
    )
    np.save(tmp_path / "table.npy", records)
    assert kinds(load(tmp_path / "table.npy")[0]) == {"a": "number", "answer": "classes"}
    np.save(tmp_path / "table.npy", np.zeros((5, 2, 2)))
    with pytest.raises(ValueError, match=r"store inputs and labels as x and y in one \.npz"):
        load(tmp_path / "table.npy")
    with pytest.raises(ValueError, match=r"column 2 \('b'\) with 'inf' in line 2"):
        load(pd.DataFrame({"a": [1, 2, 3, 4], "b": [1.0, np.inf, 3, 4], "y": [0, 1, 0, 1]}))


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("images", "labels", None, None),
        ("data", "target", None, None),
    ],
)
@pytest.mark.parametrize("shape", [(30,), (30, 1), "one-hot", "text"])
def test_arrays_by_the_names_and_in_the_forms_that_libraries_give_them(tmp_path, names, shape):
    x, y = (
        np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8),
        (np.arange(30) % 3).astype(np.uint8),
    )
    labels = np.eye(3)[y] if shape == "one-hot" else np.array(["u", "v", "w"])[y] if shape == "text" else None
    labels = y.reshape(shape) if labels is None else labels
    arrays = dict(zip(names[:2], (x, labels), strict=True))
    if names[2]:
        arrays |= dict(zip(names[2:], (x[:9], labels[:9]), strict=True))
    np.savez(tmp_path / "data.npz", **arrays)
    train, test = load(tmp_path / "data.npz")
    assert train.num_classes == 3
    assert (train.x.shape[1:], train.y.ndim, float(train.x.max())) == ((4, 4), 1, 1)
    assert len(test) == (9 if names[2] else 6)
    np.testing.assert_array_equal(
        train.schema.inputs(tmp_path / "data.npz"), (x / 255).astype(np.float32).reshape(30, 16)
    )


def test_floats_of_an_npz_are_scaled_by_its_training_part(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, [1, 1e4, 1e-4], (50, 3)), rng.normal(1e6, 1e5, 50)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    train, _ = load(tmp_path / "data.npz")
    np.testing.assert_allclose(train.x.std(axis=0), 1, rtol=1e-5)
    assert (train.y.shape, train.schema.task) == ((40, 1), "regression")
    np.testing.assert_array_equal(load(tmp_path / "data.npz", scale="none")[0].x.max(), np.float32(x.max()))
    np.savez(tmp_path / "data.npz", x=x, y=np.column_stack([y, y]))
    train, _ = load(tmp_path / "data.npz")
    assert (train.y.shape, train.schema) == ((40, 2), None)


def test_a_zip_that_is_no_npz_says_what_it_is(tmp_path):
    import zipfile

    for names in (["xl/workbook.xml"], ["table.csv", "other.csv"]):
        with zipfile.ZipFile(tmp_path / "table.xlsx", "w") as archive:
            for name in names:
                archive.writestr(name, "a,b\n1,2\n")
        with pytest.raises(ValueError, match=rf"an .npz file, got a zip archive with {names[0]}.*; .*CSV"):
            load(tmp_path / "table.xlsx")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("columns"),
        lambda d: d.update(format=2),
        lambda d: d.update(more=1),
        lambda d: d["reading"].update(decimal=";"),
        lambda d: d["columns"].pop(),
        lambda d: d["columns"].append(dict(d["columns"][0])),
        lambda d: d["columns"][0].update(kind="numbers"),
        lambda d: d["columns"][0].update(scale=0.0),
        lambda d: d["columns"][0].update(scale="1"),
        lambda d: d["columns"][0].update(fill=float("nan")),
        lambda d: d["columns"][0].pop("shift"),
        lambda d: d["columns"][1].update(categories=["a", "a"]),
        lambda d: d["columns"][1].update(categories=[1]),
        lambda d: d.update(columns=None),
    ],
)
def test_a_changed_schema_is_refused(mixed, change):
    stored = load(mixed)[0].schema.to_dict()
    change(stored)
    with pytest.raises(ValueError, match=r"^Schema.from_dict: expected what Schema.to_dict wrote, got "):
        Schema.from_dict(stored)


def test_a_numeric_table_is_read_in_the_memory_of_its_numbers(tmp_path):
    file, rng = tmp_path / "table.csv", np.random.default_rng(0)
    np.savetxt(
        file, np.column_stack([rng.normal(size=(4000, 50)), np.arange(4000) % 2]), "%.6g", delimiter=","
    )
    load(file)
    tracemalloc.start()
    load(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 8 * 4000 * 51  # read as float64, stacked, scaled; as text it would be twenty times that


def test_read_csv_stays_strict(tmp_path):
    (tmp_path / "table.csv").write_text("a,b,y\n1,x,u\n2,z,v\n")
    with pytest.raises(ValueError, match="names of classes"):
        read_csv(tmp_path / "table.csv")


def test_emnist_is_upright_and_by_its_letters(tmp_path):
    folder = tmp_path / "gzip"
    folder.mkdir()
    upright = np.random.default_rng(0).integers(0, 256, (52, 28, 28), np.uint8)
    labels = (np.arange(52) % 26 + 1).astype(np.uint8)
    for part, n in (("train", 52), ("test", 26)):
        for name, array in (("images-idx3", upright[:n].transpose(0, 2, 1)), ("labels-idx1", labels[:n])):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            content = gzip.compress(header + array.tobytes())
            (folder / f"emnist-letters-{part}-{name}-ubyte.gz").write_bytes(content)
    train, test = load("emnist_letters", data_dir=tmp_path)
    np.testing.assert_array_equal(train.x, (upright / 255).astype(np.float32).reshape(52, 784))
    assert (train.num_classes, test.y.tolist()) == (26, list(range(26)))
    assert "".join(train.schema.classes) == "abcdefghijklmnopqrstuvwxyz"
    with pytest.raises(
        FileNotFoundError, match=r"emnist-digits-train-images.*give data_dir=, or download=True"
    ):
        load("emnist_digits", data_dir=tmp_path)
    file = folder / "emnist-letters-test-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 26, *range(26)])))
    with pytest.raises(ValueError, match=r"^emnist_letters: expected labels 1 to 26, got 0 to 25"):
        load("emnist_letters", data_dir=tmp_path)


def test_a_warning_is_one_line_on_the_console(mixed, capsys):
    schema = load(mixed)[0].schema
    lines = mixed.read_text(encoding="utf-8").splitlines()
    mixed.write_text("\n".join([lines[0], lines[2].replace("Köln", "Rom")]), encoding="utf-8")
    with any_console(), warnings.catch_warnings():
        warnings.simplefilter("always")
        schema.inputs(mixed)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: mixed.csv: 'city' has 'Rom', which")


@pytest.mark.parametrize("number", [2.125, np.float32(2.125), Decimal("2.125")])
def test_a_number_is_no_text_of_a_table_with_decimal_commas(table, number):
    """A record's 2.125 is not 2125, as the text 2.125 of such a file would be; in frames and rows as well."""
    train, _ = table("a;place;y\n1,5;n;u\n2,25;s;v\n", decimal=",", scale="none")
    schema = train.schema
    wanted = schema.inputs(pd.DataFrame({"a": [2.125], "place": ["n"]}))
    assert wanted[0, 0] == 2.125
    for given in (
        pd.DataFrame({"a": pd.Series([number], dtype=object), "place": ["n"]}),
        np.array([[number, "n"]], object),
        pd.DataFrame({"a": ["2,125"], "place": ["n"]}),
    ):
        np.testing.assert_array_equal(schema.inputs(given), wanted)
    assert schema.inputs(pd.DataFrame({"a": ["2.125"], "place": ["n"]}))[0, 0] == 2125
    params = {"W": np.eye(2, 3, dtype=np.float32), "b": np.zeros(2, np.float32)}
    run = jaxbp.Trained(jaxbp.dense(3, 2), params, jaxbp.softmax_cross_entropy, schema=schema)
    found = [run.predict_proba({"a": a, "place": "n"}) for a in (number, "2,125")]
    np.testing.assert_array_equal(*found)
