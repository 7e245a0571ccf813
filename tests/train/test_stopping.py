"""Who ends a run before its last epoch: a callback, and early stopping by its own rules."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.train.result import Best
from tests.train.processes import ROOT
from tests.train.test_fit import EVALUATE, GRAD, NET, SHOWN, data, run
from tests.train.test_going_on import assert_same

HELD = {"validation": data(10, seed=2), "evaluate": EVALUATE}


def raising(record):
    if record["epoch"] == 2:
        raise StopIteration


def looping(record):
    """A loop over a generator at its end raises it, too."""
    next(iter([None] * (record["epoch"] != 2)))


ENDINGS = {
    "True": lambda record: record["epoch"] == 2,
    "a bool of NumPy": lambda record: np.float32(record["epoch"]) >= 2,
    "StopIteration": raising,
    "next": looping,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_callback_ends_the_run(ending, tmp_path):
    """The others are called all the same, and the same call goes on from there."""
    seen = []
    options = {"epochs": 4, "checkpoints": jaxbp.Checkpoints(tmp_path)}
    result = run(callbacks=[ENDINGS[ending], seen.append], **options)
    assert result.stopped == "callback"
    assert [record["epoch"] for record in seen] == [1, 2]
    assert_same(run(**options), run(epochs=4))


@pytest.mark.parametrize("answer", [None, False, 0, 1, "stop", {}], ids=repr)
def test_what_is_no_true_ends_nothing(answer):
    assert run(callbacks=[lambda record: answer]).stopped == "finished"


def test_a_callback_gets_copies_of_the_whole_state():
    seen = []
    result = run(callbacks=[seen.append])
    jax.tree.map(np.testing.assert_array_equal, seen[-1]["opt_state"], result.opt_state)
    assert all(not leaf.is_deleted() for record in seen for leaf in jax.tree.leaves(record["params"]))


def judged(stopping, values):
    """The best epoch of these values, and the epoch in which patience ran out or None."""
    best, rows = Best(stopping), []
    for epoch, value in enumerate(values, 1):
        rows.append({"epoch": epoch} | ({} if value is None else {"val_loss": value}))
        best = best.after(rows[-1], {"w": jnp.float32(epoch)})
        if best.gave_up(rows):
            return best.epoch, epoch
    return best.epoch, None


@pytest.mark.parametrize(
    ("options", "values", "found"),
    [
        ({}, [5, 4, 3.9, 3.8, 3.7], (5, None)),
        ({"min_delta": 0.5}, [5, 4, 3.9, 3.8, 3.7], (2, 4)),
        ({"min_delta": 0.5}, [5, 4, 3.8, 3.4, 3.3, 3.2], (4, 6)),  # small gains add up
        ({"min_delta": 0.5, "mode": "max"}, [1, 2, 2.4, 2.5], (2, 4)),
        ({"start_from_epoch": 4}, [1, 2, 3, 9, 8, 8, 8], (5, 7)),
        ({"start_from_epoch": 9}, [1, 2, 3, 4], (0, None)),
        ({}, [None, 5, None, 6, None, 4, None, 5, None, 5], (6, 10)),  # only every second is evaluated
        ({"start_from_epoch": 2}, [1, float("nan"), 3, 2], (4, None)),
    ],
)
def test_early_stopping_judges(options, values, found):
    assert judged(jaxbp.EarlyStopping(2, **options), values) == found


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val_loss", "min"),
        ("accuracy", "max"),
        ("val_exact_match", "max"),
        ("val_roc_auc_ovr", "max"),
        ("val_neg_log_loss", "max"),
        ("val_mean_absolute_error", "min"),
    ],
)
def test_what_is_better_is_known_of_metrics_by_name(monitor, mode, tmp_path):
    """The lowest accuracy would be the best epoch, silently."""
    assert jaxbp.EarlyStopping(2, monitor).mode == mode
    assert jaxbp.Checkpoints(tmp_path, monitor=monitor).mode == mode
    opposite = {"min": "max", "max": "min"}[mode]
    assert jaxbp.EarlyStopping(2, monitor, opposite).mode == opposite


def test_of_a_metric_of_ones_own_the_mode_must_be_said(tmp_path):
    for make, first in ((jaxbp.EarlyStopping, 2), (jaxbp.Checkpoints, tmp_path)):
        with pytest.warns(UserWarning, match=f"{make.__name__}: expected mode .* got the monitor 'val_m'"):
            assert make(first, monitor="val_m").mode == "min"


def test_a_run_that_stops_early_by_all_the_rules_goes_on_as_it_was(tmp_path):
    stopping = jaxbp.EarlyStopping(2, min_delta=1e-3, start_from_epoch=3)
    options = HELD | {"epochs": 8, "early_stopping": stopping}
    kept = options | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(callbacks=[lambda record: record["epoch"] == 4], **kept)
    assert_same(run(**kept), run(**options))
    with pytest.raises(ValueError, match=r"early_stopping.min_delta was 0.001, is absent"):
        run(**kept | {"early_stopping": jaxbp.EarlyStopping(2, start_from_epoch=3)})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_delta": -1}, "min_delta"),
        ({"min_delta": float("nan")}, "min_delta"),
        ({"start_from_epoch": 0}, "start_from_epoch a whole number of at least 1"),
        ({"start_from_epoch": 2.0}, "start_from_epoch"),
    ],
)
def test_rules_that_cannot_be(options, says):
    with pytest.raises((TypeError, ValueError), match=rf"EarlyStopping: expected {says}.*, got "):
        jaxbp.EarlyStopping(2, **options)


class Terminal:
    """What a person looks at."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def isatty(self):
        return True


def test_a_terminal_shows_a_bar(capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    jaxbp.fit(GRAD, NET.init(jax.random.key(0)), data(), **SHOWN)
    out, err = capsys.readouterr()
    assert "compiled in" in out
    assert "2/2" in out
    assert not err


@pytest.mark.soak
def test_a_log_has_a_line_for_each_epoch_while_the_run_goes_on(tmp_path):
    """The process is gone after epoch 3: nothing is flushed at its end."""
    code = (
        "import os, jax; from tests.train.test_fit import *\n"
        "options = SHOWN | {'epochs': 5}\n"
        "jaxbp.fit(GRAD, NET.init(jax.random.key(0)), data(),"
        " callbacks=[lambda r: r['epoch'] == 3 and os._exit(0)], **options)"
    )
    log = tmp_path / "log"
    with log.open("w") as file:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=file, stderr=file, check=True)
    lines = [line for line in log.read_text().splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in lines] == ["1/5", "2/5", "3/5"]
    assert all("loss" in line for line in lines)
