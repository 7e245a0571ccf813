"""The command as its user runs it."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.data import load

pytest.importorskip("tyro")
pytest.importorskip("sklearn")
from jaxbp import cli
from jaxbp.cli.console import any_console
from jaxbp.cli.main import parsed
from jaxbp.cli.settings import for_the_reader

CASES = """
import jax, jax.numpy as jnp

@jax.custom_vjp
def twice(a):
    return 2 * a

twice.defvjp(lambda a: (2 * a, None), lambda _, delta: (-2 * delta,))

def wrong():
    return twice, (jnp.arange(3.0),)

def right():
    return jax.nn.relu, (1 + jnp.arange(3.0),)
"""
QUICK = ["--epochs", "2", "--layers", "64", "8", "10"]


def run(tmp_path, *args):
    status = cli.main(["train", "--out", str(tmp_path), *args])
    folders = sorted(tmp_path.iterdir())
    return status, folders[-1] if folders else None


def test_train_shows_trains_tests_and_leaves_a_folder(tmp_path, capsys):
    status, folder = run(tmp_path, *QUICK)
    out = capsys.readouterr().out
    assert status == 0
    assert out.count(" yes ") == 5
    assert "test accuracy" in out
    assert {path.name for path in folder.iterdir()} == {
        "checkpoints",
        "config.json",
        "history.csv",
        "history.png",
        "params.npz",
        "run.json",
        "summary.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert (config["epochs"], config["optimizer"], config["learning_rate"]) == (2, "adam", 3e-3)
    assert config["layers"] == [64, 8, 10]
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    net = jaxbp.mlp([64, 8, 10], jaxbp.relu)
    like = jax.eval_shape(net.init, jax.random.key(0))
    params = jaxbp.train.restore(folder / "params.npz", like)
    _, test = jaxbp.load("digits")
    accuracy = (net.apply(params, jnp.asarray(test.x)).argmax(-1) == test.y).mean()
    assert json.loads((folder / "summary.json").read_text())["test_accuracy"] == pytest.approx(accuracy)


def test_runs_never_overwrite_each_other(tmp_path):
    for _ in range(2):
        run(tmp_path, *QUICK, "--no-check")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.soak
def test_options_reach_the_network(tmp_path, capsys):
    status, folder = run(
        tmp_path,
        *QUICK,
        *("--activation", "gelu", "--dropout", "0.2", "--init", "lecun_normal", "--optimizer", "momentum"),
        *("--patience", "5", "--batch-size", "64", "--schedule", "constant"),
    )
    assert status == 0
    assert "chain(dense(64, 8), gelu, dropout(0.2), dense(8, 10))" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["learning_rate"] == 0.05


@pytest.mark.soak
def test_images_are_flattened(tmp_path, capsys):
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(3, dtype=np.int32), 20)
    path = tmp_path / "images.npz"
    np.savez(path, x=rng.standard_normal((60, 4, 4)).astype(np.float32), y=y)
    status, _ = run(tmp_path / "runs", "--data", str(path), "--epochs", "1", "--batch-size", "8")
    assert status == 0
    assert "chain(dense(16, 128)" in capsys.readouterr().out


@pytest.mark.soak
def test_a_diverging_run_keeps_what_it_learned(tmp_path, capsys):
    status, folder = run(
        tmp_path, *QUICK, "--optimizer", "sgd", "--learning-rate", "1e30", "--activation", "softplus"
    )
    assert status == 1
    assert "try a lower learning rate" in " ".join(capsys.readouterr().out.split())
    assert json.loads((folder / "summary.json").read_text())["stopped"] == "diverged"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--layers", "3", "10"], "--layers from 64 features to 10 classes, got 3 10"),
        (["--data", "nowhere.csv"], "'nowhere.csv'"),
        (["--data", "mnist", "--data-dir", "nowhere"], "give --data-dir, or --download"),
        (["--batch-size", "5000"], "--batch-size 5000 > 1294 examples"),
        (["--dropout", "1"], "--dropout"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--patience", "0"], "--patience"),
        (["--epochs", "100000000"], "at most 2147483647 iterations, got --epochs 100000000"),
        (["--label", "class"], "no arguments of other data than --data-dir, download, scale, got --label"),
    ],
)
def test_what_cannot_be_run_says_why(tmp_path, capsys, args, says):
    status, folder = run(tmp_path, "--no-check", *args)
    assert (status, folder) == (1, None)
    assert_worded(capsys.readouterr().err, says)


def assert_worded(said, *words):
    """One line, in the words of the command line and with these."""
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not re.search(r"\b(?!index=False)\w+=|\bnp\.|\bastype|\blambda\b|\bjax\.|jaxbp\.(?!fit)", said)
    for word in words:
        assert word in said


# A table that cannot be trained on, what the command says, and the flags that mend it.
TABLES = {
    "0,1,2\n0.5,3,1\n1.5,2,0\n": ("--header True if these are names, --header False", ["--header", "True"]),
    "größe,class\n1.5,0\n2.5,1\n": ("--encoding cp1252 reads what Windows wrote", ["--encoding", "cp1252"]),
    "a;class\n1,234;0\n2,345;1\n": ("--decimal , reads 1.234, --decimal . reads 1234", ["--decimal", ","]),
    "a,day,class\n1,31.12.2024,0\n2,1.2.2024,1\n": ("dates as 2024-12-31", ["--drop", "day"]),
    "a,class\n1,0.5\n2,1\n": ("--task regression learns numbers", ["--task", "regression"]),
    "a,class\n1,0\n2,0\n": ("if another column is the label, give --label", ["--label", "a"]),
    "a,b,class\n1,oops,0\n2,3,1\n4,5,1\n": ("column 2 ('b') with 'oops' in line 2", ["--drop", "b"]),
    "label,target,b\n0,1,7\n1,0,8\n": ("--label 0 takes the first of them", ["--label", "target"]),
    "a,class\n1,yes\n2,\n": ("a label ('class') for each example", []),
    "class\nyes\nno\n": ("a column to learn from beside the label", []),
}


@pytest.mark.parametrize("text", TABLES, ids=range(len(TABLES)))
def test_a_table_that_cannot_be_trained_on_names_the_flag_that_mends_it(tmp_path, capsys, text):
    says, flags = TABLES[text]
    file = tmp_path / "table.csv"
    lines = text.splitlines()
    file.write_bytes("\n".join([lines[0], *lines[1:] * 10]).encode("cp1252"))
    args = ["--data", str(file), "--no-check", "--epochs", "1", "--batch-size", "2"]
    assert cli.main(["train", "--out", str(tmp_path / "runs"), *args]) == 1
    assert not (tmp_path / "runs").exists()
    assert_worded(capsys.readouterr().err, says)
    if flags:
        assert for_the_reader(cli_config(*args, *flags))
        load(file, **for_the_reader(cli_config(*args, *flags)))


def cli_config(*args):
    """The settings that the command line makes of its arguments."""
    return parsed(["train", *args])


@pytest.mark.soak
def test_a_table_of_a_spreadsheet_is_summed_up_trained_on_and_tested(tmp_path, capsys):
    """Semicolons, decimal commas, words, dates, missing cells, names, row numbers, a label in words."""
    rng = np.random.default_rng(0)
    rows = [";Name;Größe;Ort;Seit;gesund"]
    for i in range(120):
        size, place = rng.normal(170, 10), rng.choice(["Köln", "Bonn"])
        well = "ja" if size + 8 * (place == "Bonn") > 174 else "nein"
        cell = "" if i % 17 == 3 else f"{size:.1f}".replace(".", ",")
        rows.append(f"{i};Person {i};{cell};{place};2024-01-{i % 28 + 1:02d};{well}")
    file = tmp_path / "patients.csv"
    file.write_text("\n".join(rows), encoding="utf-8-sig")
    status, folder = run(tmp_path / "runs", "--data", str(file), "--no-check")
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert status == 0
    for words in (
        "column 1 left out row numbers",
        "Name left out text of which nearly every one is distinct",
        "Ort category 2 categories: Bonn, Köln",
        "Seit date",
        "missing, taken for",
        "gesund label: classes 2 classes: ja",
    ):
        assert words in out
    assert json.loads((folder / "summary.json").read_text())["test_accuracy"] > 0.8


@pytest.mark.soak
def test_a_target_far_from_unit_scale_is_learned_in_its_units(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    rows = [("a", "b", "price"), *((a, b, 3e6 + 2e5 * (a - b)) for a, b in x)]
    status, folder = run(tmp_path / "runs", *a_table(tmp_path, rows), "--layers", "2", "16", "1")
    assert status == 0
    assert "test R2 0.9" in " ".join(capsys.readouterr().out.split())
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test_r2"] > 0.95
    assert 100 < summary["test_mae"] < 5e4


@pytest.mark.soak
def test_a_small_table_needs_no_smaller_batch(tmp_path):
    rows = [(i, i % 2) for i in range(12)]
    status, folder = run(tmp_path / "runs", *a_table(tmp_path, rows), "--epochs", "1")
    assert status == 0
    assert json.loads((folder / "config.json").read_text())["batch_size"] < 12


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (
            {"x": np.zeros((20, 4), np.uint16), "y": np.arange(20) % 2},
            "store x as float32, bytes divided by 255",
        ),
        ({"x": np.full((20, 4), np.nan), "y": np.arange(20) % 2}, "drop or fill these rows"),
        ({"x": np.full((20, 4), 1e300), "y": np.arange(20) % 2}, "rescale these values"),
        ({"x": np.zeros((20, 4), object), "y": np.arange(20) % 2}, "store x as float32"),
        ({"x": np.zeros((20, 4))}, "labels y beside x"),
    ],
)
def test_arrays_that_cannot_be_trained_on_say_what_to_store(tmp_path, capsys, arrays, says):
    np.savez(tmp_path / "data.npz", **arrays)
    assert cli.main(["train", "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "runs")]) == 1
    assert_worded(capsys.readouterr().err, says)
    assert not (tmp_path / "runs").exists()


def a_table(folder, rows):
    file = folder / "table.csv"
    file.write_text("\n".join(",".join(map(str, row)) for row in rows))
    return ["--data", str(file), "--no-check"]


@pytest.mark.parametrize(
    ("scale", "args", "says"),
    [
        (1e5, ["--scale", "none"], "warning: input columns differ in scale: column 2 spreads over"),
        (1e5, [], None),
        (1, ["--learning-rate", "1e-50"], "no parameter moved, every update was 0 or too small"),
        (1, ["--learning-rate", "1e-9"], "warning: nothing was learned: loss"),
        (1, [], None),
    ],
)
def test_a_run_that_cannot_learn_is_warned_about(tmp_path, capsys, scale, args, says):
    rng = np.random.default_rng(0)
    rows = [(a, b * scale, int(a > b)) for a, b in rng.normal(size=(200, 2))]
    status, _ = run(tmp_path / "runs", *a_table(tmp_path, rows), "--epochs", "3", *args)
    said = " ".join(capsys.readouterr().out.split())
    assert status == 0
    assert says in said if says else "warning" not in said


def test_steps_that_are_too_large_are_named(tmp_path, capsys):
    """Labels that no line separates: large weights are not right by luck."""
    rng = np.random.default_rng(0)
    rows = [(a, b, rng.integers(2)) for a, b in rng.normal(size=(200, 2))]
    status, _ = run(tmp_path / "runs", *a_table(tmp_path, rows), "--epochs", "3", "--learning-rate", "1e9")
    assert status == 0
    assert "the updates are too large, try a lower learning" in " ".join(capsys.readouterr().out.split())


def python(*args, **env):
    """The command in an interpreter of its own."""
    env = os.environ | {"PYTHONPATH": str(Path(jaxbp.__file__).parents[1])} | env
    encoding = env.setdefault("PYTHONIOENCODING", "utf-8")
    done = subprocess.run(
        [sys.executable, *args], capture_output=True, encoding=encoding, env=env, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_version_is_said(capsys):
    assert cli.main(["--version"]) == 0
    said = f"jaxbp {jaxbp.__version__}, jax {jax.__version__}\n"
    assert capsys.readouterr().out == said
    module = [sys.executable, "-m", "jaxbp", "--version"]
    assert subprocess.run(module, capture_output=True, text=True, check=True).stdout == said


@pytest.mark.parametrize("package", ["tyro", "rich", "sklearn"])
def test_a_missing_extra_is_one_line(monkeypatch, tmp_path, capsys, package):
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["train", "--out", str(tmp_path)]) == 1
    assert_worded(capsys.readouterr().err, "to be installed", "pip install 'jaxbp[")


def test_a_bare_install_says_so_in_one_line():
    code = (
        "import sys; sys.modules.update(tyro=None, rich=None); from jaxbp import cli; sys.exit(cli.main([]))"
    )
    status, _, said = python("-c", code)
    assert status == 1
    assert_worded(said, "pip install 'jaxbp[cli]'")


@pytest.mark.soak
def test_a_console_that_is_not_utf_8_gets_marks_in_ascii(tmp_path):
    """A right rule and a wrong one, whose marks no code page of Windows has."""
    (tmp_path / "cases.py").write_text(CASES)
    for case, status, mark in (("right", 0, "+"), ("wrong", 1, "X")):
        code = f"import sys; from jaxbp import cli; sys.path.insert(0, {str(tmp_path)!r}); "
        code += f"sys.exit(cli.main(['check', 'cases:{case}']))"
        done = python("-c", code, PYTHONIOENCODING="cp1252")
        assert done[0] == status, done
        assert mark in done[1]


def test_what_a_console_cannot_show_is_written_in_ascii(tmp_path):
    with open(tmp_path / "out", "w", encoding="ascii") as file:
        stdout, sys.stdout = sys.stdout, file
        try:
            with any_console():
                print("✓ δ_W ≤ 1 ┃ größe")
        finally:
            sys.stdout = stdout
        assert file.errors == "strict"
    assert (tmp_path / "out").read_text() == "+ delta_W <= 1 | gro?e\n"


def test_help_reads_well(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "hand-written back-propagation",
        "All sizes d_0 ... d_L, such as 784 128 10",
        "--batch-size",
    ):
        assert words in text


def test_check_judges_the_rules_of_a_case(tmp_path, capsys, monkeypatch):
    (tmp_path / "cases_of_mine.py").write_text(CASES)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "cases_of_mine:right"]) == 0
    assert cli.main(["check", "cases_of_mine:wrong", "--json"]) == 1
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["findings"][0]["cause"] == "sign"
    assert cli.main(["check", "cases_of_mine:absent"]) == 2


@pytest.mark.soak
def test_digits_reach_97_percent(tmp_path):
    """The median over 5 seeds, as the README states."""
    accuracies = []
    for seed in range(5):
        _, folder = run(tmp_path / str(seed), "--no-check", "--seed", str(seed))
        accuracies.append(json.loads((folder / "summary.json").read_text())["test_accuracy"])
    assert np.median(accuracies) >= 0.97


DATA = Path(os.environ.get("JAXBP_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.mark.soak
@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="the MNIST files are not at hand")
def test_mnist_reaches_97_5_percent_within_10_epochs(tmp_path):
    _, folder = run(tmp_path, "--no-check", "--data", "mnist", "--data-dir", str(DATA), "--epochs", "10")
    assert json.loads((folder / "summary.json").read_text())["test_accuracy"] >= 0.975
