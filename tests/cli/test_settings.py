"""Every setting of `jaxbp train`: used as it was given, or refused by the name of its flag."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from jaxbp.cli import Train
from jaxbp.cli.settings import anywhere, as_json, assert_settings, flag, from_json

# Values that are refused and values that are taken. Texts and paths are looked at where they are used.
VALUES = {
    "learning_rate": ([0, -0.1, math.nan, math.inf, 1e39], [1e-30, 1e9]),
    "dropout": ([1, -0.1, math.nan, math.inf], [0, 0.999]),
    "batch_size": ([0, -1], [1, 10**12]),
    "epochs": ([0, -5], [1, 10**12]),
    "patience": ([0, -1], [1, 10**12]),
    "checkpoint_every": ([0, -1], [1, 10**12]),
    "watch": ([-1], [0, 10**12]),
    "max_bytes": ([0, -1], [1, 2**60]),
    "seed": ([-1, 2**32], [0, 2**32 - 1]),
    "layers": ([(), (4,), (4, 0, 3), (4, -1, 3), (10**18, 3), (2**16, 2**16)], [(4, 3), (4, 10**6, 3)]),
    "label": ([], [0, "", "class", -1]),
    "drop": ([], [(), (0,), ("id", -1)]),
    "delimiter": ([], ["", ";"]),
    "encoding": ([], ["", "cp1252"]),
    "header": ([], [False, True]),
    "download": ([], [False, True]),
    "check": ([], [False, True]),
    "data": ([], ["", "mnist"]),
    "data_dir": ([], [Path("x")]),
    "out": ([], [Path("x")]),
    "activation": ([], ["tanh"]),
    "init": ([], ["orthogonal"]),
    "optimizer": ([], ["sgd"]),
    "schedule": ([], ["constant"]),
    "resume": ([], [None]),
    "task": ([], [None, "regression"]),
    "scale": ([], [None, "minmax"]),
    "decimal": ([], [None, ","]),
    "shuffle": ([], [False, True]),
}
BAD = [(name, value) for name, (bad, _) in VALUES.items() for value in bad]
GOOD = [(name, value) for name, (_, good) in VALUES.items() for value in good]


def test_every_setting_is_in_the_table():
    assert set(VALUES) == {field.name for field in fields(Train)}


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_out_of_range_is_refused_by_its_flag(name, value):
    with pytest.raises((ValueError, TypeError), match=rf"^jaxbp train: expected {flag(name)} .*, got "):
        assert_settings(replace(Train(), **{name: value}))


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_value_in_range_is_kept_as_it_is(name, value):
    config = replace(Train(), **{name: value})
    assert_settings(config)
    assert from_json(as_json(config), "config.json") == config
    if name not in ("data_dir", "out"):
        assert getattr(anywhere(config), name) == value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stored: stored.pop("epochs"), r"none of \['epochs'\]"),
        (lambda stored: stored.update(epochs=0), "--epochs"),
        (lambda stored: stored.update(epochs="3"), "--epochs"),
        (lambda stored: stored.update(layers=5), "int"),
        (lambda stored: stored.update(layers=["a", "b"]), "str"),
    ],
)
def test_settings_of_another_form_are_refused(change, said):
    stored = json.loads(as_json(Train()))
    change(stored)
    with pytest.raises(
        ValueError, match=rf"^c.json: expected the settings that jaxbp train wrote, got .*{said}"
    ):
        from_json(json.dumps(stored), "c.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"epochs": Infinity}'])
def test_what_is_no_settings_is_refused(text):
    with pytest.raises(ValueError, match=r"^c.json: expected the settings that jaxbp train wrote, got "):
        from_json(text, "c.json")
