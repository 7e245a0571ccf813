"""Short versions of the scorecard's parts, and of the instruments: each must be able to fail."""

import dataclasses
import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from experiments.reliability import (
    damage,
    disk,
    fuzz,
    gradients,
    injected,
    kills,
    processes,
    runs,
    soak,
    world,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, limits and signals of Linux")


def test_a_wrong_gradient_is_seen(monkeypatch):
    wrong = jaxbp.elementwise("sine", jnp.sin, lambda a: jnp.cos(a) * (1 + 1e-6), saves="input")
    monkeypatch.setattr(gradients, "ACTIVATIONS", (lambda rng: wrong,))
    found = [gradients.compared(seed) for seed in range(4, 8)]  # where a gradient reaches a sine
    with_sine = [item["worst"] for item in found if "sine" in item.get("net", "")]
    assert with_sine
    assert max(with_sine) > gradients.LIMIT


@pytest.mark.parametrize("form", fuzz.FORMS)
def test_readers_refuse_what_a_strict_parser_refuses(form):
    assert fuzz.chunk(form, 0, 400)["faults"] == []


@pytest.mark.soak
def test_readers_are_bounded():
    assert fuzz.bombs() == []


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", [[1, 2]]),
        ('"1","2"\r\n3,4', [[1, 2], [3, 4]]),
        ("1,2,\n3,4,\n", [[1, 2], [3, 4]]),
        ('1,"2\n3",0\n', None),
        ('"1"2,0\n', None),
        ("1,2\x1c3,1\n", None),
        ("1,2\n3\n", None),
        ("1_0,2\n", None),
        ("\u0661,2\n", None),
        ('1,2\n"3,4\n', None),
    ],
)
def test_the_strict_parser(text, rows):
    assert fuzz.strict_csv(text.encode()) == rows


def test_damaged_checkpoints():
    assert damage.chunk(0, 150)["faults"] == []


def test_crafted_and_foreign_checkpoints():
    assert damage.all_crafted(0, 4)["faults"] == []


@pytest.mark.soak
def test_resumed_with_something_else():
    assert damage.resumed()["faults"] == []


def test_a_full_disk():
    found = [disk.offsets(0, 300), disk.in_a_run(2)]
    assert [fault for part in found for fault in part["faults"]] == []


def test_nan_and_overflow():
    assert injected.chunk(0, 4, 4)["faults"] == []


def test_a_run_that_is_not_watched_goes_on():
    """What the cost of the look is compared with."""
    given = {"optimizer": injected.PLAIN, "key": jax.random.key(0), "batch_size": 8, "epochs": 2}
    start, data = injected.start(3, 0), (injected.X, injected.Y)

    def fit():
        return jaxbp.fit(lambda *batch: injected.grad_fn(*batch), start, data, progress_bar=False, **given)

    with pytest.raises(jaxbp.DivergenceError):
        fit()
    with injected.unwatched():
        assert np.isnan(fit().history["loss"]).any()


@pytest.mark.soak
def test_runs_and_calls_do_not_grow():
    long, again, short = soak.long_run(4), soak.long_run(4), soak.many_calls(12)
    assert long["digest"] == again["digest"]
    assert long["traced"] <= 2
    assert (short["digests"], short["again"]) == (1, 0)


def test_a_killed_run_ends_with_the_same_digest():
    """One of a write, by the public command; all kinds are in the long version."""
    row = kills.measure(0.002, jobs=1, kinds=("plain",))
    assert row.faults == ()
    assert row.seen.startswith("1 of 1")


def test_the_digest_sees_a_bit():
    result = runs.digest
    ran = world.fit(epochs=1)
    other = dataclasses.replace(ran, params=jax.tree.map(lambda a: np.nextafter(a, np.inf), ran.params))
    assert result(ran) == result(world.fit(epochs=1))
    assert result(ran) != result(other)


def test_gradients_by_hand_and_the_row_that_the_experiment_prints(tmp_path, capsys):
    module = importlib.import_module("experiments.96_reliability")
    config = module.Config(only="gradients", scale=0.003, jobs=1, out=tmp_path, json=tmp_path / "rows.json")
    result = module.main(config)
    assert result["gradients"]["faults"] == ()
    assert "5-point" in capsys.readouterr().out  # a narrow terminal breaks the sentence, and no word
    assert (tmp_path / "rows.json").exists()


@pytest.mark.soak
@pytest.mark.parametrize(
    "part", ["kills", "damage", "disk", "processes", "injected", "fuzz", "gradients", "soak"]
)
def test_the_long_version(part):
    row = importlib.import_module(f"experiments.reliability.{part}").measure(0.1)
    assert row.faults == ()
    assert row.ok, row.seen


def test_a_stranger_is_no_well_formed_greeting():
    """What the fuzz sends must never be a greeting that rightly ends the job."""
    import json

    for seed in range(300):
        sent = processes.hello_bytes(seed).split(b"\n")[0]
        try:
            found = json.loads(sent)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and {"process_id", "num_processes", "jax"} <= found.keys():
            assert found["num_processes"] != 2 or found["process_id"] not in (0, 1, 2)
