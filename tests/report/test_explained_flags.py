"""Flags of ``jaxbp explain`` that are 0, that contradict each other, or that nobody would read."""

import pytest

from jaxbp.cli import main

NETS = ["--net", "2", "2"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--digits", "0"], "digits a whole number"),
        (["--activation", "tanh"], "--net beside --activation"),
        (["--output", "tanh"], "--net beside --output"),
        (["--loss", "squared_error", "--mazur"], "--net beside --loss, which is of its network, got --mazur"),
        (["--seed", "3"], "--net beside --seed"),
        ([*NETS, "--seed", "-1"], "--seed"),
        (["--json", "--markdown"], "one of --blank, --markdown, --json, got --markdown and --json"),
        (["--blank", "--json"], "got --blank and --json"),
        (["--html", "{folder}/a", "--svg", "{folder}/a"], "two files for --html and --svg"),
        (["--html", "{folder}"], "a file for --html, got {folder}, a folder"),
        (["--svg", "{folder}"], "a file for --svg"),
        (["--svg", ""], "a value after --svg, got an empty text"),
        (["--y", "2"], "targets in [0, 1]"),
    ],
)
def test_what_would_be_passed_over_is_refused(tmp_path, capsys, flags, said):
    assert main(["explain", *(flag.format(folder=tmp_path) for flag in flags)]) == 1
    assert said.format(folder=tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["train", "--out", ""],
        ["train", "--out="],
        ["train", "--resume", ""],
        ["train", "--data-dir", ""],
        ["predict", "", "new.csv"],
        ["predict", "run", "new.csv", "--out="],
        ["evaluate", "run", "--plot", ""],
        ["report", "run", "--html="],
    ],
)
def test_an_empty_text_is_no_folder(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 1
    said = capsys.readouterr().err
    assert "a value after" in said
    assert not list(tmp_path.iterdir())
