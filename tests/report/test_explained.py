"""The command `jaxbp explain`, as its user runs it."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("tyro")
from jaxbp import cli

EXERCISE = Path(__file__).parents[1] / "observe" / "exercise.txt"
NETWORK = {
    "layers": [
        {"W": [[0.5, -0.4], [0.3, 0.8]], "b": [0.1, -0.2], "phi": "sigmoid"},
        {"W": [[0.7, -0.6]], "b": [0.05]},
    ],
    "loss": "binary_cross_entropy",
    "x": [1, 0],
    "y": [1],
    "eta": 0.5,
}


def run(capsys, *args):
    status = cli.main(["explain", *args])
    out, err = capsys.readouterr()
    return status, out, err


def test_without_arguments_it_is_the_exercise(capsys):
    assert run(capsys) == (0, EXERCISE.read_text(), "")


def test_a_network_of_ones_own(tmp_path, capsys):
    path = tmp_path / "NET.json"
    path.write_text(json.dumps(NETWORK))
    assert run(capsys, str(path))[1] == EXERCISE.read_text()
    path.write_text(run(capsys, "--json")[1])
    assert run(capsys, str(path))[1] == EXERCISE.read_text()


def test_mazur_and_a_random_net(capsys):
    status, out, _ = run(capsys, "--mazur")
    assert status == 0
    for number in (
        "0.3775",
        "0.593269992",
        "1.10590597",
        "0.298371109",
        "0.0821670406",
        "0.35891648",
        "0.291027774",
    ):
        assert number in out
    options = ["--net", "3", "5", "5", "4", "--activation", "tanh", "--loss", "squared_error", "--seed", "0"]
    status, out, _ = run(capsys, *options, "--json")
    layers = json.loads(out)["layers"]
    assert [len(layer["W"]) for layer in layers] == [5, 5, 4]
    assert [layer["phi"] for layer in layers] == ["tanh", "tanh", "identity"]
    assert run(capsys, *options, "--json")[1] == out
    assert run(capsys, *options, "--seed", "1", "--json")[1] != out


def test_digits_worksheet_chain_and_markdown(capsys):
    assert "0.546607278" in run(capsys, "--digits", "9")[1]
    assert run(capsys, "--blank")[1].index("........") < run(capsys, "--blank")[1].index("\nAnswers\n")
    assert "product [-0.0159534 0.0833155]" in run(capsys, "--chain")[1]
    assert r"\begin{pmatrix}" in run(capsys, "--markdown")[1]


def test_files(tmp_path, capsys):
    status, _, err = run(capsys, "--svg", str(tmp_path / "net.svg"))
    assert status == 0
    assert (tmp_path / "net.svg").read_text().startswith("<svg ")
    assert "net.svg" in err


def with_(**change):
    return json.dumps(NETWORK | change)


def nested(depth):
    """Blocks within blocks."""
    layer = {"phi": "tanh"}
    for _ in range(depth):
        layer = {"branch": [layer]}
    return layer


WRONG = {
    "no JSON": ("{\n  'layers': 1}", "NET.json: expected JSON, got Expecting property name"),
    "its line": ('{"x": [1,\n2,,]}', "in line 2, column 3"),
    "a key twice": (with_()[:-1] + ', "x": [0, 1]}', "expected JSON with each key once, got 'x' twice"),
    "a number that no float holds": (with_(eta=10**400), "eta: expected a finite number"),
    "a number of 5,000 digits": (with_()[:-1] + ', "eta": ' + "9" * 5000 + "}", "a number of 5000 digits"),
    "brackets alone": ("[" * 200_000, "nested too deeply"),
    "blocks in blocks": (
        with_(layers=[{"W": [[1, 2]]}, nested(300)]),
        ".branch: expected blocks at most 10 deep, got one more",
    ),
    "another way to write a number": (
        with_(layers=[{"W": [[1, 2]], "phi": "leaky_relu(1_0)"}]),
        "layers[1].phi: expected one of identity",
    ),
    "no layers": ('{"x": [1]}', 'the file: expected the key "layers"'),
    "an unknown key": (with_(etha=1), '"etha"'),
    "a row too short": (
        with_(layers=[{"W": [[1, 2], [3]]}]),
        "layers[1].W: expected 2 numbers in each row, got 1 in row 2",
    ),
    "no number": (with_(layers=[{"W": [[1, "a"]]}]), 'layers[1].W[1][2]: expected a finite number, got "a"'),
    "not finite": (with_(x=[1, float("nan")]), "x[2]: expected a finite number"),
    "an unknown activation": (
        with_(layers=[{"W": [[1, 2]], "phi": "relux"}]),
        "layers[1].phi: expected one of identity",
    ),
    "an unknown loss": (with_(loss="mse"), "loss: expected one of squared_error"),
    "a bias too long": (with_(layers=[{"W": [[1, 2]], "b": [1, 2]}]), "layers[1].b: expected 1 numbers"),
    "x too long": (with_(x=[1, 2, 3]), "expected f with last axis 2"),
    "layers that do not meet": (with_(layers=[{"W": [[1, 2]]}, {"W": [[1, 2]]}]), "layer 2"),
    "another version": (with_(version=2), "version: expected 1, got 2"),
}


def test_a_wrong_value_is_named_by_its_line(tmp_path, capsys):
    """Wherever it stands, and however the file is laid out."""
    path = tmp_path / "NET.json"
    wrong = {"eta": "fast"}, {"layers": [{"W": [[1, 2]]}, {"W": [[1], ["a"]]}]}, {"x": [1, float("inf")]}
    keys = "eta", "layers[2].W[2][1]", "x[2]"
    for change, key in zip(wrong, keys, strict=True):
        for indent in (None, 1, 4):
            text = json.dumps(NETWORK | change, indent=indent)
            path.write_text("\ufeff\n" + text, encoding="utf-8")
            lines = enumerate(text.split("\n"), 2)
            found = next(i for i, line in lines if re.search('"fast"|"a"|Infinity', line))
            assert f"NET.json, line {found}: {key}: expected a finite number" in run(capsys, str(path))[2]


@pytest.mark.parametrize("case", WRONG)
def test_an_unreadable_network_is_named_by_line_and_key(case, tmp_path, capsys):
    text, sentence = WRONG[case]
    path = tmp_path / "NET.json"
    path.write_text(text)
    status, out, err = run(capsys, str(path))
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["nowhere.json"], "nowhere.json: expected a file that can be read, got no such file or directory"),
        (["--digits", "0"], "digits a whole number in [1, 17], got 0"),
        (["--mazur", "--net", "2", "1"], "--net and --mazur"),
        (["--net", "2"], "at least two sizes"),
        (["--net", "2", "1", "--activation", "relux"], "--activation: expected one of identity"),
        (["--net", "2", "1", "--loss", "mse"], "--loss: expected one of squared_error"),
        (["--net", "2000", "1"], "at most 1024 entries in a layer"),
        (["--x", "1"], "expected f with last axis 2"),
        (["--units", "0"], "each of units a whole number in [1, 2], got 0"),
    ],
)
def test_what_cannot_be_explained_says_why(args, sentence, capsys):
    status, out, err = run(capsys, *args)
    assert (status, out) == (1, "")
    assert sentence in err
    assert "Traceback" not in err
