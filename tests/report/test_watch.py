"""`watch`: a callback that looks, writes, warns, changes nothing and never breaks a run."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.report.watching.looks import COLUMNS, sparkline

NET = jaxbp.mlp([3, 8, 2], jaxbp.relu)


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int32)


def loss(params, x, y):
    return jaxbp.softmax_cross_entropy(NET.apply(params, x), y)


def fitted(data, *callbacks, params=None, rate=0.1, epochs=4):
    return jaxbp.fit(
        jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy),
        params or NET.init(jax.random.key(0)), data, optimizer=optax.sgd(rate), key=jax.random.key(1),
        batch_size=16, epochs=epochs, callbacks=callbacks, progress_bar=False,
    )  # fmt: skip


def test_it_looks_writes_and_changes_nothing(data, tmp_path, capsys):
    also = ("singular_values", "noise_scale")
    watcher = jaxbp.watch(loss, data, every=3, folder=tmp_path / "run", also=also)
    result, plain = fitted(data, watcher), fitted(data)
    assert all(map(np.array_equal, jax.tree.leaves(result.params), jax.tree.leaves(plain.params)))
    assert [look.epoch for look in watcher.looks] == [0, 3, 4]
    assert watcher.warning == ""
    assert watcher.notes == []
    first, *_, last = watcher.looks
    assert list(first.flow.deltas)[:3] == ["a_1", "f_1", "a_2"]
    assert list(last.updates) == ["1/W", "1/b", "2/W", "2/b"]
    assert all(0 < update.ratio < 1 for name, update in last.updates.items() if name.endswith("W"))
    assert len(last.singular_values) == 2
    assert last.noise_scale is not None
    with open(tmp_path / "run" / "watch.csv") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    norms = {r["epoch"]: float(r["value"]) for r in rows
             if (r["quantity"], r["of"], r["statistic"]) == ("delta", "a_1", "norm")}  # fmt: skip
    for look in watcher.looks:
        assert norms[str(look.epoch)] == pytest.approx(float(look.flow.deltas["a_1"].norm))
    assert (tmp_path / "run" / "watch.png").stat().st_size > 10_000
    out = capsys.readouterr().out
    assert out.count("norms of deltas") == 3
    assert "warning" not in out
    assert repr(watcher) in out


@pytest.mark.parametrize(
    ("change", "rate", "reason"),
    [
        (lambda p: p | {1: p[1] | {"b": jnp.full(8, -100.0)}}, 0.5, "dead: f_1: 100% of its units are 0"),
        pytest.param(lambda p: p, 1e-30, "1/W, 2/W did not move", marks=pytest.mark.soak),
    ],
)
def test_a_run_that_learned_nothing_ends_with_the_reason(data, capsys, change, rate, reason):
    watcher = jaxbp.watch(loss, data)
    result = fitted(data, watcher, params=change(NET.init(jax.random.key(0))), rate=rate)
    assert result.stopped == "finished"
    assert reason in watcher.warning
    assert f"warning: {watcher.warning}" in capsys.readouterr().out


BROKEN = [
    lambda params, x, y: NET.apply(params, x),
    lambda params, x, y: 1 / 0,
    lambda params, x, y: loss(params, x[:, :2], y),
    lambda params, x, y: (loss(params, x, y), {}),
    lambda params, x, y: params[9],
]


def test_it_never_breaks_a_run(data, tmp_path, capsys):
    """Functions that fail, a folder that cannot be written, a loss that has no noise scale: all at once."""
    (tmp_path / "gone").mkdir()
    broken = [jaxbp.watch(f, data, every=1) for f in BROKEN]
    nowhere = jaxbp.watch(loss, data, folder=tmp_path / "gone", show=False)
    (tmp_path / "gone").rmdir()
    summed = jaxbp.watch(lambda p, x, y: loss(p, x, y) * len(x), data, also="noise_scale", show=False)
    assert fitted(data, *broken, nowhere, summed, epochs=1).stopped == "finished"
    assert capsys.readouterr().out.count("stopped looking") == len(BROKEN)
    assert all(watcher.looks == [] for watcher in broken)
    assert "stopped looking, FileNotFoundError" in nowhere.notes[0]
    assert len(summed.looks) == 2
    assert "no noise_scale: noise_scale: expected f to be the mean" in summed.notes[0]


def test_a_model_s_state_comes_last(data):
    def grad_fn(params, x, y, state):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        return (value, state + 1), grads

    watcher = jaxbp.watch(lambda p, x, y, state: loss(p, x, y) + 0 * state, data, show=False)
    jaxbp.fit(
        grad_fn, NET.init(jax.random.key(0)), data, optimizer=optax.sgd(0.1), key=jax.random.key(1),
        batch_size=16, epochs=2, model_state=jnp.zeros(()), callbacks=[watcher], progress_bar=False,
    )  # fmt: skip
    assert [look.epoch for look in watcher.looks] == [0, 2]
    assert not [note for note in watcher.notes if "stopped" in note]


def test_a_callback_is_told_of_the_start_and_the_end(data):
    """One that raises at the end loses nothing."""
    seen = []

    class Told:
        def __call__(self, record):
            seen.append(record["epoch"])

        def at_start(self, record):
            seen.append(("start", record["epoch"], sorted(record)))

        def at_end(self, result):
            seen.append(("end", result.stopped))
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full") as caught:
        fitted(data, Told(), epochs=2)
    assert seen == [("start", 0, ["epoch", "opt_state", "params"]), 1, 2, ("end", "finished")]
    assert len(caught.value.result.history["epoch"]) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch": np.ones(3)}, "watch: expected batch"),
        ({"every": 0}, "watch: expected every"),
        ({"also": "hessian"}, "watch: expected also"),
        ({"show": 1}, "watch: expected show"),
        ({"f": 3}, "watch: expected f"),
        ({"batch": (1, 2, 3, 4)}, "watch: expected f"),
        ({"folder": 3}, "watch: expected folder"),
        ({"folder": __file__}, "watch: expected to write into folder"),
    ],
)
def test_bad_use_is_told_at_once(data, options, says):
    given = {"f": loss, "batch": data} | options
    with pytest.raises((TypeError, ValueError, OSError), match=says):
        jaxbp.watch(**given)


def test_sparklines_are_by_the_logarithm(monkeypatch):
    assert sparkline([1e-6, 1e-3, 1.0]) == "▁▅█"
    assert set(sparkline([1.0, 1.01])) <= set("▄▅")  # hardly any change
    assert sparkline([0.0, np.inf, 2.0]) == "0!▅"

    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr("sys.stdout", Ascii())
    assert sparkline([1e-6, 1.0]) == "_@"
