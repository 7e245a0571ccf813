"""A disk that is full at any byte, and two runs in one folder: the last good epoch stays and is named."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import jaxbp
from experiments.reliability import world
from experiments.reliability.damage import as_bits, meta, tree
from experiments.reliability.judge import said
from experiments.reliability.outcome import is_worded
from experiments.reliability.pool import ROOT, environment
from experiments.reliability.row import Row, many
from experiments.reliability.task import run


def offsets(first: int, step: int) -> dict[str, Any]:
    """The second epoch's file may take so many bytes and no more, for every step-th number."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    faults, count = [], 0
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = jaxbp.Checkpoints(folder)
        checkpoints.save(1, tree(1), meta(1))
        before = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
        size = len(before["epoch_000001.npz"])
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        for room in range(first, size, step):
            count += 1
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
            try:
                checkpoints.save(2, tree(2), meta(2))
                fault = "silent: saved"
            except OSError as error:
                fault = "" if is_worded(error) and "epoch_000002" in str(error) else f"raw: {said(error)}"
            except Exception as error:
                fault = f"raw: {said(error)}"
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            if {p.name: p.read_bytes() for p in Path(folder).iterdir()} != before:
                fault = "silent: the folder is not as before"
            if fault:
                faults.append(f"disk full after {room} bytes: {fault}")
        found = checkpoints.latest(tree(1))
        if found is None or as_bits(found[0]) != as_bits(tree(1)):
            faults.append("silent: the last good epoch is lost")
    return {"count": count, "faults": faults}


def in_a_run(rounds: int) -> dict[str, Any]:
    """`fit` on a disk that gets full in its fourth epoch: what it kept, its result, and the words."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    faults = []
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for i in range(rounds):
        with tempfile.TemporaryDirectory() as folder:

            def fill(record: Any, last: int = 3 + i % 4) -> None:
                if record["epoch"] == last:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))

            last = 3 + i % 4
            try:
                world.fit(epochs=9, callbacks=[fill], checkpoints=jaxbp.Checkpoints(folder))
                faults.append("a full disk in a run: silent")
            except Exception as error:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                text, result = str(error), getattr(error, "result", None)
                if not is_worded(error) or ("epoch_" not in text and str(folder) not in text):
                    faults.append(f"a full disk in a run: raw: {said(error)}")
                if result is None or len(result.history["epoch"]) < last - 1:
                    faults.append("a full disk in a run: the error has no result")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            kept = sorted(p.name for p in Path(folder).iterdir() if p.suffix == ".npz")
            if f"epoch_{last - 1:06}.npz" not in kept:
                faults.append(f"a full disk in a run: of {last - 1} epochs kept {kept}")
    return {"count": rounds, "faults": faults}


def full_tmpfs() -> dict[str, Any]:
    """The same on a small file system of its own, where this user may mount one."""
    place = Path(tempfile.mkdtemp(prefix="jaxbp-tmpfs-"))
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True
    ).returncode:
        place.rmdir()
        return {"count": 0, "faults": []}
    faults = []
    try:

        def fill(record: Any) -> None:
            if record["epoch"] == 4:
                with suppress(OSError), (place / "other").open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(512))

        whole = world.fit(epochs=6)
        try:
            world.fit(epochs=6, callbacks=[fill], checkpoints=jaxbp.Checkpoints(place / "run"))
            faults.append("a full tmpfs: silent")
        except Exception as error:
            if not is_worded(error):
                faults.append(f"a full tmpfs: raw: {said(error)}")
        (place / "other").unlink()
        if as_bits(world.fit(epochs=6, checkpoints=jaxbp.Checkpoints(place / "run")).params) != as_bits(
            whole.params
        ):
            faults.append("a full tmpfs: resumed to other bits")
    finally:
        subprocess.run(["umount", place], capture_output=True)
        shutil.rmtree(place, ignore_errors=True)
    return {"count": 1, "faults": faults}


def two_runs(rounds: int) -> dict[str, Any]:
    """Two runs with different learning rates at once in one folder; then the refused command again."""
    faults = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:

            def command(eta: float, folder: str = folder) -> subprocess.Popen[str]:
                options = json.dumps({"eta": eta, "pause": 0.05})
                return subprocess.Popen(
                    [sys.executable, "-m", "experiments.reliability.runs", "plain", folder, options],
                    cwd=ROOT,
                    env=environment(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )

            rates = (0.05, 0.2)
            both = [command(eta) for eta in rates]
            outs = [process.communicate(timeout=600)[0] for process in both]
            ended = ["end finished" in out for out in outs]
            if sum(ended) != 1:
                faults.append(f"two runs: {sum(ended)} of them ended as if alone")
                continue
            loser = ended.index(False)
            if not (": expected " in outs[loser] and ", got " in outs[loser]):
                faults.append(f"two runs: raw: {outs[loser].strip().splitlines()[-1][:200]}")
            again = command(rates[loser]).communicate(timeout=600)[0]
            if "end finished" in again:
                faults.append(
                    "two runs: the refused one's command, given again, ends with the other's network"
                )
    return {"count": rounds, "faults": faults}


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0) -> Row:
    """The row of the scorecard: every offset of a file at scale 1, 12 full runs, 3 rounds of two runs."""
    step = max(1, round(1 / scale))
    rounds = [("in_a_run", [[many(12, scale)]]), ("full_tmpfs", [[]]), ("two_runs", [[many(3, scale)]])]
    size = 2 if jobs > 1 else 1
    counts, faults = [], []
    for function, asked in [("offsets", [[i * step, size * step] for i in range(size)]), *rounds]:
        answers = list(run("disk", function, asked, jobs=jobs, timeout=3600))
        counts.append(sum(a.get("count", 0) for a in answers))
        faults += [f for a in answers for f in a.get("faults", [a.get("died")])]
    return Row(
        "disk full at every offset; two runs in one folder",
        "last good kept and named, with the result; the second refused",
        f"{counts[0]:,} offsets, {counts[1]} full runs, {counts[2]} tmpfs, {counts[3]} rounds of two runs: "
        f"{len(faults)} faults",
        not faults,
        "folders that may not be written: root may" * (os.getuid() == 0),
        tuple(faults),
    )
