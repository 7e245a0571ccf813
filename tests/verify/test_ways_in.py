"""The pytest fixture and the command line."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import pytest

from jaxbp.cli.judging.check import run
from jaxbp.verify import check, clock

ROOT = Path(__file__).parents[2]
CASE = """
import jax, jax.numpy as jnp

waited = []

def make(factor):
    f = jax.custom_vjp(lambda x: jnp.sin(x))
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, c: (factor * c * jnp.cos(x),))
    return f, (jnp.array([0.1, 0.2, 0.3]),)

right = lambda: make(1)
good_case = lambda: make(1)
bad_case = lambda: make(-1)
wrong = lambda: make(-1)
declared = lambda: (*make(-1), {"declare": "reversal"})
nothing = lambda: 3
bare = lambda: (jnp.sin, (jnp.array([0.1]),))

def endless():
    f = jax.custom_vjp(lambda x: x * x)
    f.defvjp(lambda x: (x * x, x), lambda x, c: (2 * c * x * x / x,))
    return f, (jnp.array([0.0, 1.0, 2.0]),)

def in_f():
    f = jax.custom_vjp(lambda x, w: x * w)
    f.defvjp(lambda x, w: (x * w, (x, w)), lambda r, c: (c * r[1], 0 * c))
    return lambda x: f(x, 2 * jnp.ones(3)) ** 2, (jnp.array([0.1, 0.2, 0.3]),)

def slow():
    def wait(x):
        waited.append(1)
        return x
    f = jax.custom_vjp(lambda x: jnp.sin(x))
    back = lambda x, c: (c * jnp.cos(jax.pure_callback(wait, x, x)),)
    f.defvjp(lambda x: (jnp.sin(x), x), back)
    return f, (jnp.array([0.1, 0.2, 0.3]),)
"""


@pytest.fixture
def cases(tmp_path, monkeypatch):
    (tmp_path / "cases_for_the_command.py").write_text(CASE)
    monkeypatch.delitem(sys.modules, "cases_for_the_command", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "cases_for_the_command"


def test_exit_status(cases, capsys):
    assert run([f"{cases}:right"]) == 0
    assert "1 right" in capsys.readouterr().out
    assert run([f"{cases}:wrong"]) == 1
    assert "sign" in capsys.readouterr().out
    assert run([f"{cases}:declared"]) == 0
    assert run([f"{cases}:right", f"{cases}:wrong", f"{cases}:missing"]) == 2
    said = capsys.readouterr()
    assert "missing" in said.err
    assert f"{cases}:right" in said.out


def test_a_module_stands_for_its_cases(cases, capsys):
    assert run([cases], format="json") == 1
    data = json.loads(capsys.readouterr().out)
    assert [(r["target"].partition(":")[2], r["ok"]) for r in data["reports"]] == [
        ("good_case", True), ("bad_case", False)
    ]  # fmt: skip
    assert data["ok"] is False


def test_json_is_strict(cases, capsys):
    assert run([f"{cases}:wrong"], format="json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["cause"] == "sign"
    assert run([f"{cases}:endless"], format="json") == 1
    (found,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["findings"]
    assert (found["rule_value"], found["cause"]) == ("nan", "nan")


def test_text_is_whole_at_80_columns_with_places_on_lines_of_their_own(cases, capsys):
    run([f"{cases}:wrong"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert f"    {cases}.py:7" in lines


def test_notes_on_the_lines_of_a_pull_request(cases, capsys):
    assert run([f"{cases}:wrong"], format="github") == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"::error file={cases}.py,line=7,title=<lambda> of line 7%3A wrong%2C sign::")


def test_markdown_and_junit(cases, capsys):
    assert run([f"{cases}:wrong", f"{cases}:right"], format="markdown") == 1
    out = capsys.readouterr().out
    assert "| ✗ wrong | sign | `&lt;lambda>" in out
    assert run([f"{cases}:wrong", f"{cases}:right", f"{cases}:missing"], format="junit") == 2
    root = ElementTree.fromstring(capsys.readouterr().out.encode())
    assert [(s.get("tests"), s.get("failures"), s.get("errors")) for s in root] == [
        ("1", "1", "0"), ("1", "0", "0"), ("1", "0", "1")
    ]  # fmt: skip


def test_strict_and_require_rules(cases, capsys):
    assert run([f"{cases}:in_f"]) == 0
    assert "right in f" in capsys.readouterr().out
    assert run([f"{cases}:in_f"], strict=True) == 1
    assert run([f"{cases}:bare"]) == 0
    assert run([f"{cases}:bare"], require_rules=True) == 1
    assert "no rule was reached" in capsys.readouterr().err


def test_out_of_time_is_said_and_the_rest_goes_on(cases, capsys, monkeypatch):
    """The clock of this test goes on only while a rule waits."""
    waited = importlib.import_module(cases).waited
    monkeypatch.setattr(clock, "monotonic", lambda: sum(waited))
    assert run([f"{cases}:slow", f"{cases}:wrong"], seconds=2.5) == 1
    out = capsys.readouterr().out
    assert "out of time: 2.5 s for this rule are over" in " ".join(out.split())
    assert "sign" in out
    assert run([f"{cases}:slow", f"{cases}:wrong"], total_seconds=2.5) == 0
    assert " ".join(capsys.readouterr().out.split()).count("out of time: the time for all rules is over") == 2


@pytest.mark.parametrize(
    "target", ["no_such_module:case", ":nothing", "{}:", "{}:missing", "{}:nothing", "json"]
)
def test_what_cannot_be_checked_is_status_2(cases, capsys, target):
    assert run([target.format(cases)]) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [{"targets": []}, {"format": "xml"}, {"seconds": 0}, {"total_seconds": -1.0}]
)
def test_bad_options_are_told(cases, capsys, options):
    assert run(**{"targets": [f"{cases}:right"], **options}) == 2
    assert "jaxbp check: expected" in capsys.readouterr().err


def test_a_report_is_its_text():
    report = check(jnp.sin, jnp.ones(2))
    assert repr(report) == str(report) == "sin: no derivative rule found"


def test_names_of_custom_gradients_and_lambdas():
    @jax.custom_gradient
    def scaled(x):
        return jnp.sin(x), lambda c: 2 * c * jnp.cos(x)

    (found,) = check(lambda x: scaled(x), jnp.array([0.1, 0.2, 0.3])).wrong
    assert found.rule == "scaled"
    assert __file__ in found.where
    act = jax.custom_vjp(lambda x: jnp.sin(x))
    act.defvjp(lambda x: (act(x), x), lambda x, c: (c,))
    (found,) = check(act, jnp.array([0.1, 0.2, 0.3])).wrong
    assert str(found).startswith(f"✗ <lambda> of line {found.where.rpartition(':')[2]}: wrong")


def test_the_plugin_leaves_jax_alone():
    code = "import jaxbp_pytest, sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_the_fixture_fails_with_the_report(cases, tmp_path):
    (tmp_path / "test_rules.py").write_text(
        f"import {cases} as c\n"
        "def test_right(check_rules):\n    f, args = c.right()\n    assert check_rules(f, *args).ok\n"
        "def test_wrong(check_rules):\n    f, args = c.wrong()\n    check_rules(f, *args)\n"
    )
    # Named here, and its entry point left out, so that it is this one, installed or not.
    plugins = ["-p", "no:cacheprovider", "-p", "no:jaxbp", "-p", "jaxbp_pytest"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins]
    done = subprocess.run(
        [*command, "test_rules.py"], capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "rule = - reference" in done.stdout
