"""The command as its user runs it."""

import csv
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.data import read_npz

pytest.importorskip("tyro")
pytest.importorskip("sklearn")
from jaxbp import cli

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
        "config.json",
        "history.csv",
        "history.png",
        "params.npz",
        "summary.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert (config["epochs"], config["optimizer"], config["learning_rate"]) == (2, "adam", 3e-3)
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    saved = read_npz(folder / "params.npz")
    assert {name: leaf.shape for name, leaf in saved.items()} == {
        "1/W": (8, 64),
        "1/b": (8,),
        "2/W": (10, 8),
        "2/b": (10,),
    }
    _, test = jaxbp.load("digits")
    net = jaxbp.mlp([64, 8, 10], jaxbp.relu)
    params = {l: {name: saved[f"{l}/{name}"] for name in ("W", "b")} for l in (1, 2)}
    accuracy = (net.apply(params, jnp.asarray(test.x)).argmax(-1) == test.y).mean()
    assert json.loads((folder / "summary.json").read_text())["test_accuracy"] == pytest.approx(accuracy)


def test_runs_never_overwrite_each_other(tmp_path):
    for _ in range(2):
        run(tmp_path, *QUICK, "--no-check")
    assert len(list(tmp_path.iterdir())) == 2


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


def test_images_are_flattened(tmp_path, capsys):
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(3, dtype=np.int32), 20)
    path = tmp_path / "images.npz"
    np.savez(path, x=rng.standard_normal((60, 4, 4)).astype(np.float32), y=y)
    status, _ = run(tmp_path / "runs", "--data", str(path), "--epochs", "1", "--batch-size", "8")
    assert status == 0
    assert "chain(flatten(4, 4), dense(16, 128)" in capsys.readouterr().out


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
        (["--data", "mnist", "--data-dir", "nowhere"], "download=True"),
        (["--batch-size", "5000"], "batch_size 5000 > 1294 examples"),
        (["--dropout", "1"], "rate in [0, 1)"),
    ],
)
def test_what_cannot_be_run_says_why(tmp_path, capsys, args, says):
    status, folder = run(tmp_path, "--no-check", *args)
    assert (status, folder) == (1, None)
    assert says in " ".join(capsys.readouterr().err.split())


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
    (tmp_path / "cases_of_mine.py").write_text(
        """
import jax, jax.numpy as jnp

@jax.custom_vjp
def twice(a):
    return 2 * a

twice.defvjp(lambda a: (2 * a, None), lambda _, delta: (-2 * delta,))

def wrong():
    return twice, (jnp.arange(3.0),)

def right():
    return jax.nn.relu, (jnp.arange(3.0),)
"""
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "cases_of_mine:right"]) == 0
    assert cli.main(["check", "cases_of_mine:wrong", "--json"]) == 1
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["findings"][0]["cause"] == "sign"
    assert cli.main(["check", "cases_of_mine:absent"]) == 2


def test_digits_reach_97_percent(tmp_path):
    """The median over 5 seeds, as the README states."""
    accuracies = []
    for seed in range(5):
        _, folder = run(tmp_path / str(seed), "--no-check", "--seed", str(seed))
        accuracies.append(json.loads((folder / "summary.json").read_text())["test_accuracy"])
    assert np.median(accuracies) >= 0.97


DATA = Path(os.environ.get("JAXBP_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="the MNIST files are not at hand")
def test_mnist_reaches_97_5_percent_within_10_epochs(tmp_path):
    _, folder = run(tmp_path, "--no-check", "--data", "mnist", "--data-dir", str(DATA), "--epochs", "10")
    assert json.loads((folder / "summary.json").read_text())["test_accuracy"] >= 0.975
