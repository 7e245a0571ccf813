"""`jaxbp predict` and `jaxbp evaluate`, as their user runs them on what `jaxbp train` left."""

import csv
import io
import json
import re

import numpy as np
import pytest

import jaxbp

pytest.importorskip("tyro")
pytest.importorskip("sklearn")
from jaxbp import cli

ROWS = [
    f"{18 + i % 50},{('Bern', 'Basel', 'Genf')[i % 3]},{('no', 'yes')[(18 + i % 50) > 40]},{(i % 9) * 1.5:g}"
    for i in range(150)
]
TABLE = "age,city,bought,income\n" + "\n".join(ROWS)


def run(*args):
    return cli.main(list(map(str, args)))


def trained(out, *args):
    """The folder of a run of one short training."""
    assert run("train", *args, "--no-check", "--out", out / "runs") == 0
    (folder,) = (out / "runs").iterdir()
    return folder


def on_the_table(out, *args):
    """The folder of a run on the table, and the table."""
    (out / "table.csv").write_text(TABLE)
    return trained(out, "--data", out / "table.csv", *args), out / "table.csv"


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A run on a table with classes."""
    out = tmp_path_factory.mktemp("classes")
    return on_the_table(out, "--label", "bought", "--epochs", 3, "--layers", 5, 4, 2)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """The same for a regression."""
    out = tmp_path_factory.mktemp("values")
    return on_the_table(out, "--label", "income", "--task", "regression", "--epochs", 1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on the digits, with the images of its test part as whole pixels in a text."""
    out = tmp_path_factory.mktemp("digits")
    folder = trained(out, "--epochs", 1, "--layers", 64, 8, 10, "--seed", 3)
    _, test = jaxbp.load("digits", seed=3)
    np.savetxt(out / "pixels.csv", test.x * 16, "%d", ",")
    return folder, out / "pixels.csv", test


def columns(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.soak
def test_predictions_are_a_table_with_the_names_of_the_classes(classes, capsys, tmp_path):
    folder, table = classes
    assert run("predict", folder, table) == 0
    rows = columns(capsys.readouterr().out)
    expected = jaxbp.load_run(folder).predict(table)
    assert [row["prediction"] for row in rows] == expected.tolist()
    assert set(expected) <= {"yes", "no"}
    assert run("predict", folder, table, "--proba", "--out", tmp_path / "answers.csv") == 0
    assert capsys.readouterr().out == f"150 predictions written to {tmp_path / 'answers.csv'}\n"
    rows = columns((tmp_path / "answers.csv").read_text())
    assert list(rows[0]) == ["prediction", "p(no)", "p(yes)"]
    for row in rows:
        assert float(row["p(no)"]) + float(row["p(yes)"]) == pytest.approx(1)
        assert (float(row["p(yes)"]) > 0.5) == (row["prediction"] == "yes")
    assert run("predict", folder, table, "--json", "--proba") == 0
    said = json.loads(capsys.readouterr().out)
    assert [str(row["p(yes)"]) for row in said] == [str(float(row["p(yes)"])) for row in rows]


def test_new_examples_need_no_label_and_have_their_columns_in_any_order(classes, capsys, tmp_path):
    folder, table = classes
    new = [row.split(",") for row in ROWS]
    (tmp_path / "new.csv").write_text("city,more,age\n" + "\n".join(f"{c},x,{a}" for a, c, _, _ in new))
    assert run("predict", folder, tmp_path / "new.csv") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "'income'" in said
    text = "income,city,age\n" + "\n".join(f"{i},{c},{a}" for a, c, _, i in new)
    (tmp_path / "new.csv").write_text(text)
    assert run("predict", folder, tmp_path / "new.csv") == 0
    of_new = capsys.readouterr().out
    assert run("predict", folder, table) == 0
    assert capsys.readouterr().out == of_new


@pytest.mark.soak
def test_values_are_in_the_units_of_the_table(values, capsys):
    folder, table = values
    assert run("predict", folder, table) == 0
    found = [float(row["prediction"]) for row in columns(capsys.readouterr().out)]
    np.testing.assert_allclose(found, jaxbp.load_run(folder).predict(table), rtol=1e-6)
    assert 0 < np.mean(found) < 12
    assert run("predict", folder, table, "--proba") == 1
    assert "expected a loss on probabilities" in capsys.readouterr().err


@pytest.mark.soak
def test_pixels_are_scaled_as_the_run_remembers(digits, capsys):
    folder, pixels, test = digits
    assert run("predict", folder, pixels) == 0
    found = [int(row["prediction"]) for row in columns(capsys.readouterr().out)]
    trained = jaxbp.load_run(folder)
    assert found == trained.predict(test.x).tolist()
    np.testing.assert_array_equal(trained.predict((test.x * 16).astype(np.uint8)), trained.predict(test.x))
    assert trained.predict(test.x[0].reshape(8, 8)) == found[0]


@pytest.mark.parametrize("which", ["digits", pytest.param("classes", marks=pytest.mark.soak)])
def test_an_evaluation_has_a_table_json_and_a_picture(which, request, capsys, tmp_path):
    folder = request.getfixturevalue(which)[0]
    test_accuracy = json.loads((folder / "summary.json").read_text())["test_accuracy"]
    capsys.readouterr()  # what the training printed
    assert run("evaluate", folder) == 0  # on its own test data
    said = capsys.readouterr().out
    assert re.search(r"^\d+ examples: accuracy ", said)
    assert "precision" in said
    assert "predicted as" in said
    assert run("evaluate", folder, "--json", "--plot", tmp_path / "confusion.png") == 0
    said = capsys.readouterr().out
    found = json.loads(said)
    assert found["metrics"]["accuracy"] == pytest.approx(test_accuracy)
    if which == "digits":  # by its name, which is the part that the run has not seen
        assert run("evaluate", folder, "digits", "--json") == 0
        assert capsys.readouterr().out == said
        assert run("predict", folder, "digits") == 0
        assert len(columns(capsys.readouterr().out)) == found["examples"]
    assert sum(map(sum, found["confusion"])) == found["examples"]
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_with_labels_is_evaluated(classes, capsys, tmp_path):
    folder, table = classes
    assert run("evaluate", folder, table, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    labels = [row.split(",")[2] for row in ROWS]
    assert found["metrics"]["accuracy"] == np.mean(jaxbp.load_run(folder).predict(table) == np.array(labels))
    assert [row["class"] for row in found["classes"]] == ["no", "yes"]
    (tmp_path / "bare.csv").write_text("age,city,income\n3,Bern,4\n")
    assert run("evaluate", folder, tmp_path / "bare.csv") == 1
    assert "'bought'" in capsys.readouterr().err


@pytest.mark.soak
def test_a_table_of_targets_is_evaluated(values, capsys, tmp_path):
    folder, table = values
    assert run("evaluate", folder, table, "--plot", tmp_path / "values.png") == 0
    assert re.search(r"^150 examples: r2 .+, mae .+, rmse ", capsys.readouterr().out)
    assert (tmp_path / "values.png").exists()


@pytest.mark.soak
def test_a_run_that_went_on_is_used_like_any_other(classes, capsys):
    folder, table = classes
    before = jaxbp.load_run(folder).predict_proba(table)
    (folder / "run.json").unlink()  # as if it had been ended before
    assert run("predict", folder, table) == 1
    assert f"jaxbp train --resume {folder}" in capsys.readouterr().err
    assert run("train", "--resume", folder) == 0
    np.testing.assert_array_equal(jaxbp.load_run(folder).predict_proba(table), before)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["predict", "nowhere", "new.csv"], "which is not there"),
        (["evaluate", "nowhere"], "which is not there"),
        (["predict", "RUN", "nowhere.csv"], "nowhere.csv"),
        (["evaluate", "RUN", "nowhere.csv"], "nowhere.csv"),
        (["predict", "RUN", "TABLE", "--out", "TABLE"], "--out another file"),
        (["predict", "RUN", "TABLE", "--out", "nowhere/there.csv"], "nowhere"),
        (["predict", "VALUES", "nowhere.csv", "--proba"], "--proba for a run that tells classes, got one by"),
    ],
)
def test_what_cannot_be_predicted_says_why_in_one_line(classes, values, capsys, args, says):
    named = {"RUN": str(classes[0]), "TABLE": str(classes[1]), "VALUES": str(values[0])}
    before = classes[1].read_text()
    assert run(*(named.get(arg, arg) for arg in args)) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert says in said
    assert classes[1].read_text() == before


def test_letters_that_paths_cannot_have_are_said(classes, capsys, monkeypatch):
    """Where a system's encoding is ASCII Python refuses such a path, of a run that was made elsewhere."""

    def lacking(folder):
        "täble.csv".encode("ascii")

    monkeypatch.setattr(jaxbp, "load_run", lacking)
    assert run("evaluate", classes[0]) == 1
    said = "a system whose paths may have every letter, got its encoding ascii; PYTHONUTF8=1 sets another"
    assert said in capsys.readouterr().err


def test_help_names_what_each_is(capsys):
    for command, words in (("predict", "without the label's column"), ("evaluate", "confusion matrix")):
        with pytest.raises(SystemExit):
            run(command, "--help")
        assert words in " ".join(capsys.readouterr().out.replace("│", " ").split())
