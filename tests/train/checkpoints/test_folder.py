"""A folder of checkpoints: the newest whole one wins, one run writes, what is not kept goes."""

import math
import signal
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
import pytest

from jaxbp.train import Checkpoints

TREE = {"W": np.zeros(3), "epoch": 0}


def tree(epoch):
    return {"W": np.full(3, float(epoch)), "epoch": epoch}


def epochs(folder):
    return sorted(int(path.name[6:12]) for path in folder.glob("epoch_*.npz"))


def damage(path):
    content = bytearray(path.read_bytes())
    content[content.rindex(b"NUMPY")] ^= 1  # in the last array
    path.write_bytes(content)


def test_the_newest_are_kept_and_every_says_which_are_due(tmp_path):
    checkpoints = Checkpoints(tmp_path / "runs" / "a", every=3, keep=2)
    assert checkpoints.latest(TREE) is None
    for epoch in range(1, 14):
        if checkpoints.due(epoch):
            checkpoints.save(epoch, tree(epoch), {"history": [0.5] * epoch})
    assert epochs(tmp_path / "runs" / "a") == [9, 12]
    found, meta = checkpoints.latest(TREE)
    assert (found["epoch"], meta["epoch"], len(meta["history"]), meta["best"]) == (12, 12, 12, None)
    assert meta["environment"]["jax"] == jax.__version__
    assert checkpoints.best(TREE) is None


@pytest.mark.parametrize(("mode", "best"), [("min", 3), ("max", 2)])
def test_the_best_is_kept_through_a_resumed_run(tmp_path, mode, best):
    for epoch, value in enumerate([float("nan"), 9.0, -4.0, -4.0, 1.0, float("nan"), 2.0], 1):
        checkpoints = Checkpoints(tmp_path, keep=2, monitor="val_loss", mode=mode)
        checkpoints.save(epoch, tree(epoch), value=value)
    assert epochs(tmp_path) == [best, 6, 7]
    found, meta = checkpoints.best(TREE)
    assert found["epoch"] == meta["epoch"] == meta["best"]["epoch"] == best
    other = Checkpoints(tmp_path, keep=1, monitor="val_accuracy", mode="max")
    other.save(8, tree(8), value=0.5)
    assert other.best(TREE)[1]["best"] == {"monitor": "val_accuracy", "epoch": 8, "value": 0.5}


def test_a_damaged_newest_is_passed_over_named_and_written_anew(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, tree(epoch))
    damage(tmp_path / "epoch_000003.npz")
    (tmp_path / "epoch_000004.npz").write_bytes((tmp_path / "epoch_000002.npz").read_bytes()[:-30])
    with pytest.warns(UserWarning, match=r"epoch_00000[34]\.npz is passed over: read_npz") as seen:
        found, meta = checkpoints.latest(TREE)
    assert (found["epoch"], meta["epoch"], len(seen)) == (2, 2, 2)
    checkpoints.save(3, tree(3))  # without a word: they were named
    checkpoints.save(4, tree(4))
    assert checkpoints.latest(TREE)[0]["epoch"] == 4


@pytest.mark.parametrize("engine", ["npz", "orbax"])
def test_what_is_passed_over_is_named_once_and_not_at_each_save(tmp_path, engine):
    """Where nothing was read before the first save, that save names it; another fault is said anew."""
    checkpoints = Checkpoints(tmp_path, engine=engine)
    bad = tmp_path / f"epoch_000009{'.npz' if engine == 'npz' else ''}"
    bad.mkdir() if engine == "orbax" else bad.write_bytes(b"no checkpoint")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for epoch in (1, 2, 3):
            checkpoints.save(epoch, tree(epoch))
        assert len([w for w in seen if "is passed over" in str(w.message)]) == 1
        bad.rmdir() if engine == "orbax" else bad.unlink()
        bad.write_bytes((tmp_path / "epoch_000001.npz").read_bytes()) if engine == "npz" else bad.touch()
        for epoch in (4, 5, 6):
            checkpoints.save(epoch, tree(epoch))
        assert len([w for w in seen if "is passed over" in str(w.message)]) == 2


def test_a_folder_without_a_whole_one_is_not_taken_for_a_new_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree(1))
    damage(tmp_path / "epoch_000001.npz")
    with (
        pytest.warns(UserWarning, match="is passed over"),
        pytest.raises(ValueError, match=r"expected a whole checkpoint, got none among epoch_000001\.npz"),
    ):
        checkpoints.latest(TREE)


def test_another_config_is_refused_and_the_key_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    config = {"batch_size": 32, "optimizer": {"name": "adam", "betas": (0.9, 0.99)}}
    checkpoints.save(1, tree(1), {"config": config})
    assert checkpoints.latest(TREE, config=config)[1]["config"]["optimizer"]["betas"] == [0.9, 0.99]
    other = {"batch_size": 64, "optimizer": {"name": "adam", "betas": (0.9, 0.999)}, "seed": 1}
    said = (
        r"the config of the run in epoch_000001\.npz, got batch_size was 32, is 64;"
        r" optimizer\.betas was \[0\.9, 0\.99\], is \[0\.9, 0\.999\]; seed was absent, is 1; go on"
    )
    with pytest.raises(ValueError, match=said):
        checkpoints.latest({"other": "leaves"}, config=other)
    with pytest.raises(ValueError, match=said):
        checkpoints.save(2, tree(2), {"config": other})
    assert epochs(tmp_path) == [1]
    with pytest.raises(ValueError, match=r"restore\(epoch_000001\.npz\): expected leaves \['V'\]"):
        checkpoints.latest({"V": 0.0})


def test_what_is_accepted_may_differ_and_is_said(tmp_path):
    config = {"batch_size": 32, "optimizer": "sgd 0.1", "network": "a" * 200, "data": "3fa9"}
    other = {"batch_size": 64, "optimizer": "sgd 0.2", "network": "b" * 200, "data": "3fa9"}
    Checkpoints(tmp_path).save(1, tree(1), {"config": config})
    with pytest.raises(
        ValueError, match=r"batch_size was 32, is 64; network is another one; optimizer was"
    ) as caught:
        Checkpoints(tmp_path).latest(TREE, config=other)
    hint = "or take what differs with Checkpoints(..., accept=('batch_size', 'network', 'optimizer'))"
    assert str(caught.value).endswith(hint)
    some = Checkpoints(tmp_path, accept=("optimizer", "network"))
    with pytest.raises(ValueError, match=r"got batch_size was 32, is 64; go on"):
        some.latest(TREE, config=other)
    every = Checkpoints(tmp_path, accept=["optimizer", "network", "batch_size"])
    said = "epoch_000001.npz is gone on from as accept= says, although batch_size was 32, is 64; network is"
    with pytest.warns(UserWarning, match=said):
        assert every.latest(TREE, config=other)[1]["epoch"] == 1
    every.save(2, tree(2), {"config": other})
    assert Checkpoints(tmp_path).latest(TREE, config=other)[1]["epoch"] == 2
    with pytest.raises(
        ValueError, match=r"expected each name in accept .*, got 'optimiser'; did you mean 'optimizer'"
    ):
        Checkpoints(tmp_path, accept=("optimiser",)).latest(TREE, config=other)


def test_all_files_of_a_run_have_its_id(tmp_path):
    for folder in ("a", "b"):
        for epoch in (1, 2):
            Checkpoints(tmp_path / folder).save(epoch, tree(epoch))
    runs = [
        {Checkpoints(tmp_path / folder, keep=epoch).latest(TREE)[1]["run"] for epoch in (1, 2)}
        for folder in "ab"
    ]
    assert [len(run) for run in runs] == [1, 1]
    assert runs[0] != runs[1]


def test_another_environment_is_said(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, tree(1))
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    with (
        jax.default_matmul_precision("float32"),
        pytest.warns(
            UserWarning, match='XLA_FLAGS was "", is "--xla.*"; matmul_precision was null, is "float32"$'
        ),
    ):
        assert checkpoints.latest(TREE)[0]["epoch"] == 1


@pytest.mark.parametrize(
    "fault",
    [{"every": 0}, {"every": 2.0}, {"every": True}, {"keep": 0}, {"keep": None}, {"mode": "MIN"},
     {"mode": None}, {"engine": "pickle"}, {"monitor": 3}, {"accept": "optimizer"}, {"accept": [1]},
     {"accept": None},
     {"folder": b"runs"}, {"folder": None}, {"folder": "a\0b"}, {"folder": ""}, {"folder": 3}],
    ids=str,
)  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(tmp_path, fault):
    with pytest.raises((TypeError, ValueError), match=r"^Checkpoints: expected .*, got .*"):
        Checkpoints(**{"folder": tmp_path} | fault)


def test_a_monitor_needs_its_value(tmp_path):
    checkpoints = Checkpoints(tmp_path, monitor="val_loss")
    with pytest.raises(ValueError, match="expected a value of val_loss, got None"):
        checkpoints.save(1, tree(1))
    for value in ("low", "0.5", b"0.5", True, [0.5], 1j, object(), 10**400):
        with pytest.raises((TypeError, ValueError), match=r"expected val_loss a .*number, got "):
            checkpoints.save(1, tree(1), value=value)
    assert not list(tmp_path.iterdir())
    for epoch, value in enumerate((math.nan, math.inf, np.float32(2), 1), 1):
        checkpoints.save(epoch, tree(epoch), value=value)
    assert checkpoints.best(TREE)[1]["best"] == {"monitor": "val_loss", "epoch": 4, "value": 1.0}


def test_epochs_are_whole_numbers_and_meta_is_a_dict(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (1.0, True, "1", None, -1):
        for call in (checkpoints.due, lambda epoch: checkpoints.save(epoch, tree(1))):
            with pytest.raises(
                (TypeError, ValueError), match="expected epoch a whole number of at least 0, got "
            ):
                call(epoch)
    for meta in ([], "config", 3):
        with pytest.raises(TypeError, match="expected meta as a dict, got "):
            checkpoints.save(1, tree(1), meta)
    assert not list(tmp_path.iterdir())


def test_what_killed_runs_left_goes_and_nothing_else(tmp_path):
    left = [
        ".epoch_000003.npz.0a1b2c3d.tmp",
        ".epoch_000004.npz.0a1b2c3d.tmp",
        "notes.txt",
        "epoch_7.npz.bak",
    ]
    for name in left:
        (tmp_path / name).write_text("")
    Checkpoints(tmp_path).save(3, tree(3))  # 4 may be what another run is writing
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*left[1:], "epoch_000003.npz"])


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    Checkpoints(tmp_path).save(5, tree(5))
    for epoch in (4, 5):
        with pytest.raises(
            FileExistsError, match=rf"no checkpoint from epoch {epoch} on, got epoch_000005\.npz; "
        ):
            Checkpoints(tmp_path).save(epoch, tree(epoch))


WRITER = """
import sys, time
from pathlib import Path
import jax
import numpy as np
from jaxbp.train import Checkpoints
jax.config.update("jax_num_cpu_devices", 4)
jax.devices()
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    for epoch in range(2, 101):
        Checkpoints(folder, keep=200).save(epoch, {"W": np.full(3, float(epoch)), "epoch": epoch})
        print(epoch, flush=True)
except FileExistsError as error:
    print(error)
"""


@pytest.mark.soak
def test_of_two_runs_in_one_folder_one_is_refused_and_no_file_is_damaged(tmp_path):
    Checkpoints(tmp_path, keep=200).save(1, tree(1))  # the two shall not differ in who began
    command = [sys.executable, "-c", WRITER, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for run in (one, other):
            assert run.stdout.readline() == "ready\n"
        for run in (one, other):
            run.stdin.write("go\n")
            run.stdin.flush()
        while None in (one.poll(), other.poll()):
            if found := Checkpoints(tmp_path).latest(TREE):
                assert found[0]["epoch"] == found[1]["epoch"]
        said = [run.stdout.read().splitlines() for run in (one, other)]
    refused = [lines[-1] for lines in said if lines[-1] != "100"]
    assert refused
    assert all("does another run write here?" in line for line in refused)
    assert epochs(tmp_path) == sorted({1} | {int(line) for lines in said for line in lines if line.isdigit()})


KILLED = """
import sys
import jax
import numpy as np
from jaxbp.train import Checkpoints
jax.config.update("jax_num_cpu_devices", 4)
checkpoints = Checkpoints(sys.argv[1], keep=2)
found = checkpoints.latest({"W": np.zeros(100_000), "epoch": 0})
epoch = found[1]["epoch"] if found else 0
while True:
    epoch += 1
    checkpoints.save(epoch, {"W": np.full(100_000, float(epoch)), "epoch": epoch})
    print(epoch, flush=True)
"""


@pytest.mark.soak
def test_killed_runs_leave_a_whole_checkpoint_and_go_on(tmp_path):
    rng, checkpoints, last = np.random.default_rng(2), Checkpoints(tmp_path, keep=2), 0
    for _ in range(3):
        command = [sys.executable, "-c", KILLED, tmp_path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert int(run.stdout.readline()) == last + 1
            time.sleep(rng.uniform(0.05, 0.2))
            run.send_signal(signal.SIGKILL)
            said = [int(line) for line in run.stdout if line.endswith("\n")]
        tree, meta = checkpoints.latest({"W": np.zeros(100_000), "epoch": 0})
        assert tree["epoch"] == meta["epoch"] >= max(said, default=last + 1)
        np.testing.assert_array_equal(tree["W"], float(tree["epoch"]))
        last = tree["epoch"]
    checkpoints.save(last + 1, tree)
    assert len(list(tmp_path.iterdir())) == 2  # temporary files of the killed are gone
