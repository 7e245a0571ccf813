"""The pytest fixture and the command line."""

import json
import subprocess
import sys

import pytest

from jaxbp.verify.command import run

CASE = """
import jax, jax.numpy as jnp

def make(factor):
    f = jax.custom_vjp(lambda x: jnp.sin(x))
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, c: (factor * c * jnp.cos(x),))
    return f, (jnp.array([0.1, 0.2, 0.3]),)

right = lambda: make(1)
wrong = lambda: make(-1)
declared = lambda: (*make(-1), {"declare": "reversal"})
nothing = lambda: 3
"""


@pytest.fixture
def cases(tmp_path, monkeypatch):
    (tmp_path / "cases_for_the_command.py").write_text(CASE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "cases_for_the_command"


def test_exit_status_and_table(cases, capsys):
    assert run(f"{cases}:right") == 0
    assert "1 right" in capsys.readouterr().out
    assert run(f"{cases}:wrong") == 1
    assert "sign" in capsys.readouterr().out
    assert run(f"{cases}:declared") == 0


def test_json(cases, capsys):
    assert run(f"{cases}:wrong", json=True) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["cause"] == "sign"


@pytest.mark.parametrize(
    "target", ["no_colon", "no_such_module:case", ":nothing", "{}:missing", "{}:nothing"]
)
def test_what_cannot_be_checked_is_status_2(cases, capsys, target):
    assert run(target.format(cases)) == 2
    assert capsys.readouterr().err


def test_plain_text_without_rich(cases, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert run(f"{cases}:wrong") == 1
    assert "rule = - reference" in capsys.readouterr().out


def test_the_fixture_fails_with_the_report(cases, tmp_path):
    (tmp_path / "test_rules.py").write_text(
        f"import {cases} as c\n"
        "def test_right(check_rules):\n    f, args = c.right()\n    assert check_rules(f, *args).ok\n"
        "def test_wrong(check_rules):\n    f, args = c.wrong()\n    check_rules(f, *args)\n"
    )
    # Named here, and its entry point left out, so that it is this one, installed or not.
    plugins = ["-p", "no:cacheprovider", "-p", "no:jaxbp", "-p", "jaxbp.verify.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins]
    done = subprocess.run(
        [*command, "test_rules.py"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "rule = - reference" in done.stdout
