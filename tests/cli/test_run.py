"""The folder of a run: killed, interrupted or refused, nothing is lost and the command to go on is said."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import jaxbp
from jaxbp import cli
from jaxbp.data import read_npz

pytest.importorskip("tyro")
pytest.importorskip("sklearn")

RUN = ["--epochs", "60", "--layers", "64", "8", "10", "--no-check", "--dropout", "0.1", "--patience", "50"]
SHORT = ["--epochs", "3", "--layers", "64", "8", "10", "--no-check"]
COMMAND = [sys.executable, "-m", "jaxbp.cli"]


def started(out, *args):
    """The command in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(Path(jaxbp.__file__).parents[1]), "JAX_NUM_CPU_DEVICES": "4"}
    command = [*COMMAND, "train", "--out", str(out), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def ended_in_its_epochs(process, out, number):
    """Ends the process by a signal once it has kept an epoch; the run's folder, and what it said."""
    until = time.monotonic() + 120
    while not (held := sorted(out.glob("*/checkpoints/epoch_*.npz"))) and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert held, said
    return held[0].parents[1], said


def run(*args):
    return cli.main(["train", *map(str, args)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The parameters of the run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole")
    assert run("--out", out, *RUN) == 0
    (folder,) = out.iterdir()
    return read_npz(folder / "params.npz")


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_a_run_that_is_asked_to_end_keeps_its_epoch_and_says_how_to_go_on(
    tmp_path, capsys, monkeypatch, whole, number
):
    save = jaxbp.Checkpoints.save

    def asked(self, epoch, *args, **kwargs):
        save(self, epoch, *args, **kwargs)
        if epoch == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(jaxbp.Checkpoints, "save", asked)
    assert run("--out", tmp_path, *RUN) == 130
    (folder,) = tmp_path.iterdir()
    said = " ".join(capsys.readouterr().out.split())
    assert "interrupted after 2 epochs" in said
    assert f"to go on: jaxbp train --resume {folder}" in said
    assert json.loads((folder / "summary.json").read_text())["stopped"] == "interrupted"
    monkeypatch.undo()
    assert run("--resume", folder) == 0
    assert_same(folder, whole)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(n, marks=pytest.mark.soak) for n in (signal.SIGTERM, signal.SIGINT))],
    ids=lambda n: n.name,
)
def test_a_run_that_was_ended_goes_on_bit_for_bit(tmp_path, capsys, whole, number):
    process = started(tmp_path, *RUN)
    folder, said = ended_in_its_epochs(process, tmp_path, number)
    held = len(list((folder / "checkpoints").iterdir()))
    assert held >= 1
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert not (folder / "summary.json").exists()
    elif process.returncode:  # else it was over before the signal came
        assert process.returncode == 130
        assert f"to go on: jaxbp train --resume {folder}" in " ".join(said.split())
        assert json.loads((folder / "summary.json").read_text())["stopped"] == "interrupted"
    assert run("--resume", folder) == 0
    assert "going on after epoch" in " ".join(capsys.readouterr().err.split())
    assert_same(folder, whole)
    assert list(tmp_path.iterdir()) == [folder]


def assert_same(folder, whole):
    """The run of this folder learned what the whole run learned, bit for bit, and can be used."""
    assert jaxbp.load_run(folder).predict(np.zeros((2, 64))).shape == (2,)
    resumed = read_npz(folder / "params.npz")
    assert resumed.keys() == whole.keys()
    for name, leaf in whole.items():
        np.testing.assert_array_equal(resumed[name], leaf, strict=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a short run on a table of its own."""
    out = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    rows = (f"{a:.3f},{b:.3f},{int(a > b)}" for a, b in rng.normal(size=(60, 2)))
    (out / "table.csv").write_text("a,b,class\n" + "\n".join(rows))
    assert run("--data", out / "table.csv", "--epochs", 2, "--no-check", "--out", out / "runs") == 0
    (folder,) = (out / "runs").iterdir()
    return folder


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        (["--epochs", "3"], "--epochs 2"),
        (["--epochs", "40"], "--epochs 2"),  # what it would be without the flag is no excuse
        (["--learning-rate", "0.1"], "--learning-rate 0.003"),
        (["--layers", "2", "3", "2"], r"--layers \(2, 128, 2\)"),
        (["--seed", "1"], "--seed 0"),
        (["--data", "digits"], r"--data .*table.csv"),
        (["--check"], "--check False"),
        (["--out", "elsewhere"], "--out .*runs"),
    ],
)
def test_a_flag_that_contradicts_the_run_is_refused_by_name(small, capsys, args, flag):
    assert run("--resume", small, *args) == 1
    said = capsys.readouterr().err

    assert re.search(
        rf"^error: jaxbp train --resume: expected {flag}, with which .* got .*; leave the flag", said
    )


def test_flags_that_agree_with_the_run_are_taken(small, capsys, monkeypatch):
    monkeypatch.chdir(small.parents[1])
    before = read_npz(small / "params.npz")
    assert run("--resume", small, "--epochs", 2, "--data", "table.csv", "--learning-rate", 0.003) == 0
    after = read_npz(small / "params.npz")
    assert all((after[name] == leaf).all() for name, leaf in before.items())


def test_other_data_in_the_file_are_not_resumed_in_silence(small, capsys, tmp_path):
    """The number of examples is compared here; more than that by the checkpoints themselves."""
    table = small.parents[1] / "table.csv"
    text = table.read_text()
    try:
        table.write_text(text + "\n" + "1.0,2.0,0\n" * 20)
        assert run("--resume", small) == 1
    finally:
        table.write_text(text)
    assert "examples" in capsys.readouterr().err


@pytest.mark.parametrize("make", ["nothing", "empty", "config"])
def test_what_is_no_run_is_not_resumed(tmp_path, capsys, make):
    if make != "nothing":
        (tmp_path / "run").mkdir()
    if make == "config":
        (tmp_path / "run" / "config.json").write_text('{"epochs": 3}')
    assert run("--resume", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert ("expected the folder of a run" in said) == (make != "config")


def test_a_folder_that_cannot_be_written_is_said_before_the_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("--out", tmp_path / "file", "--epochs", 1, "--no-check") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: jaxbp train: expected to write a folder into --out, got ")


def test_an_error_in_the_epochs_says_what_is_kept(tmp_path, capsys, monkeypatch):
    save = jaxbp.Checkpoints.save

    def full(self, epoch, *args, **kwargs):
        if epoch == 2:
            raise OSError(28, "No space left on device", str(self.folder))
        save(self, epoch, *args, **kwargs)

    monkeypatch.setattr(jaxbp.Checkpoints, "save", full)
    assert run("--out", tmp_path, *SHORT) == 1
    (folder,) = tmp_path.iterdir()
    said = capsys.readouterr().err
    assert f"its epochs so far are kept; to go on: jaxbp train --resume {folder}" in said
    assert "no space left on device" in said
    monkeypatch.undo()
    assert run("--resume", folder) == 0


def test_an_error_before_the_first_epoch_leaves_no_folder(tmp_path, monkeypatch):
    def full(self, epoch, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jaxbp.Checkpoints, "save", full)
    assert run("--out", tmp_path, *SHORT) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
def test_a_run_that_is_watched_has_a_table_and_a_picture(tmp_path, capsys):
    args = ["--epochs", "3", "--layers", "64", "8", "10", "--no-check", "--watch", "2"]
    assert cli.main(["train", "--out", str(tmp_path), *args]) == 0
    (folder,) = tmp_path.iterdir()
    assert {"watch.csv", "watch.png"} <= {file.name for file in folder.iterdir()}
    assert "watch: epochs 0 to 3" in capsys.readouterr().out
