"""`jaxbp diagnose`: targets, formats and the exit status are those of `jaxbp check`."""

import json
import sys
from xml.etree import ElementTree

import jax
import pytest

from jaxbp import cli
from jaxbp.cli.judging import check, diagnose
from jaxbp.observe.diagnosis.record import KINDS

pytest.importorskip("tyro")
CASES = """
import jax, jax.numpy as jnp

def f(params, x, y, power=2):
    h = jax.nn.relu(x @ params["hidden"] + params["bias"])
    return jnp.mean((h @ params["out"] - y) ** power)

def make(bias):
    a, b, c, d = jax.random.split(jax.random.key(0), 4)
    params = {"hidden": jax.random.normal(a, (3, 8)) / 2, "out": jax.random.normal(b, (8, 1)) / 3}
    batch = jax.random.normal(c, (16, 3)), jax.random.normal(d, (16, 1))
    return f, (params | {"bias": jnp.full(8, bias)}, *batch)

well_case = lambda: make(0.1)
dead_case = lambda: make(-100.0)
powered = lambda: (*make(0.1), {"power": 4, "declare": "reversal"})
infinite = lambda: (*make(0.1), {"power": 500.0})
number = lambda: 3
nothing = lambda: (f, ())
"""


@pytest.fixture
def cases(tmp_path, monkeypatch):
    (tmp_path / "nets_for_the_command.py").write_text(CASES)
    monkeypatch.delitem(sys.modules, "nets_for_the_command", raising=False)
    monkeypatch.chdir(tmp_path)
    with jax.numpy_rank_promotion("allow"):
        yield "nets_for_the_command"


def test_exit_status(cases, capsys):
    assert cli.main(["diagnose", f"{cases}:well_case"]) == 0
    assert "no findings" in capsys.readouterr().out
    assert cli.main(["diagnose", f"{cases}:dead_case"]) == 1
    assert "dead: hidden/relu f" in capsys.readouterr().out
    assert cli.main(["diagnose", f"{cases}:number"]) == 2
    assert "to return (f, args)" in capsys.readouterr().err


def test_options_of_a_case_go_to_f(cases, capsys):
    assert diagnose.run([f"{cases}:powered"], "json") == 0
    powered = json.loads(capsys.readouterr().out)
    assert diagnose.run([f"{cases}:well_case"], "json") == 0
    assert powered["loss"] != json.loads(capsys.readouterr().out)["loss"]


def test_formats_name_the_finding_and_its_line(cases, capsys):
    assert diagnose.run([cases], "json") == 1
    said = json.loads(capsys.readouterr().out)
    assert [report["ok"] for report in said["reports"]] == [True, False]
    assert said["reports"][1]["findings"][0]["name"] == "dead"
    assert diagnose.run([f"{cases}:dead_case"], "github") == 1
    note = capsys.readouterr().out.splitlines()[0]
    assert note.startswith(f"::error file={cases}.py,line=5,title=dead%3A hidden/relu f::dead: ")
    assert diagnose.run([f"{cases}:dead_case"], "markdown") == 1
    assert "| dead | `hidden/relu f` |" in capsys.readouterr().out
    assert diagnose.run([cases], "junit") == 1
    suites = ElementTree.fromstring(capsys.readouterr().out.encode())
    assert [(s.get("tests"), s.get("failures")) for s in suites] == [("1", "0"), ("1", "1")]
    assert suites[1][0][0].get("type") == "dead"


def test_json_is_strict_where_the_loss_is_infinite(cases, capsys):
    assert diagnose.run([f"{cases}:infinite"], "json") == 1
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (said["loss"], said["findings"][0]["name"]) == ("inf", "overflow")


@pytest.mark.parametrize("target", ["no_such_module:case", "{}:", "{}:missing", "{}:nothing", "json"])
def test_what_cannot_be_diagnosed_is_status_2(cases, capsys, target):
    assert diagnose.run([target.format(cases)]) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("command", [check, diagnose])
def test_bad_options_are_told_alike(cases, capsys, command):
    name = command.__name__.rpartition(".")[2]
    for targets, format in (([], "text"), ([f"{cases}:well_case"], "xml")):
        assert command.run(targets, format) == 2
        assert f"jaxbp {name}: expected" in capsys.readouterr().err


def test_a_word_is_explained(capsys):
    assert cli.main(["diagnose", "--explain", "vanishing"]) == 0
    assert KINDS["vanishing"].effect in capsys.readouterr().out
    assert diagnose.explain("dying") == 2
    assert "jaxbp diagnose: expected" in capsys.readouterr().err
