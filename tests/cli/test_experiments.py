"""`jaxbp experiments`: what comes with the wheel is listed, told its options and run."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("tyro")
from jaxbp import cli

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file.stem for file in (ROOT / "experiments").glob("[0-9]*.py"))


def test_all_are_listed_with_what_they_ask(capsys):
    assert cli.main(["experiments"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == FILES
    assert all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize("name", ["4", "04", "04_forward_3_5_5_4"])
def test_one_is_run_by_number_or_name_with_its_options(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["experiments", name, "--seed", "3"]) == 0
    assert "E before" in capsys.readouterr().out
    assert (tmp_path / "results" / "04_forward_3_5_5_4" / "result.json").exists()


def test_its_help_is_its_own(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["experiments", "4", "--help"])
    said = capsys.readouterr().out
    assert "jaxbp experiments 04_forward_3_5_5_4" in said
    assert "--eta" in said


@pytest.mark.parametrize("name", ["44", "0", "forward", "04_forward"])
def test_another_name_is_refused_with_those_there_are(name, capsys):
    assert cli.main(["experiments", name]) == 1
    said = capsys.readouterr().err
    assert f"got {name}" in said
    assert "01, 02, 03" in said


@pytest.mark.soak
def test_the_wheel_has_them(tmp_path):
    """Built, unpacked, and run from another folder."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}

    def run(*args):
        command = [sys.executable, "-m", "jaxbp.cli", "experiments", *args]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert [line.split()[0] for line in run().stdout.splitlines()] == FILES
    done = run("4")
    assert done.returncode == 0, done.stderr
    assert "E before" in done.stdout


def test_what_an_experiment_imports_and_is_not_there_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "experiments.20_check_suite", None)
    assert cli.main(["experiments", "20"]) == 1
    assert "from a clone" in capsys.readouterr().err
