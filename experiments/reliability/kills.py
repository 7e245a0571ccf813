"""SIGKILL at any moment, a write among them, and the same command again: the same bits as without."""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import jax

from experiments.reliability.row import Row, many
from experiments.reliability.task import run

LIMIT = 300  # seconds for one run
TRIALS = 12  # of a kind at a time, after which the work is said to go on


def child(
    kind: str, folder: Path, log: Path, options: dict[str, Any], compiled: Path, *, keeps: bool = False
) -> int:
    """A process that makes one run: forked from this one, which has imported JAX and never used it.

    Its programs are those in the folder ``compiled``, to which it adds its own only where it ``keeps``: one
    that is killed in the middle would leave half of a program.
    """
    import warnings

    from experiments.reliability import runs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks; its threads have not started here
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1), os.dup2(out, 2)
        jax.config.update("jax_compilation_cache_dir", str(compiled))
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0 if keeps else 1e9)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        runs.main(kind, str(folder), json.dumps(options))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def waited(pid: int, until: float) -> int | None:
    """The status of the child, None if it still runs at that time."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.001)


def strays(folder: Path) -> list[str]:
    """What is in the folder beside whole epochs: a write is under way, or was cut short."""
    try:
        return [n for n in os.listdir(folder) if not (n.startswith("epoch_") and n.endswith(".npz"))]
    except FileNotFoundError:
        return []


def said_end(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if line.startswith("end ")] if log.exists() else []
    return lines[-1].split()[-1] if lines else ""


def whole(kind: str, compiled: Path) -> str:
    """The digest of a run of a kind that nothing disturbs."""
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        pid = child(kind, Path(place) / "run", log, {}, compiled, keeps=True)
        if waited(pid, time.monotonic() + LIMIT) is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return said_end(log)


def trial(kind: str, seed: int, wanted: str, in_write: bool, compiled: Path) -> dict[str, Any]:
    """A chain of one to three kills, then the run to its end."""
    rng = random.Random(seed)
    hits = writes = 0
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place) / "run", Path(place) / "log"
        before: set[str] = set()
        for _ in range(rng.randint(1, 3)):
            pid = child(kind, folder, log, {"pause": 0.01}, compiled)
            # From the first sign of an epoch on, or for a write from the first stray file on.
            after, end = rng.uniform(0, 0.25), time.monotonic() + LIMIT
            epochs = log.read_text().count("epoch ") if log.exists() else 0
            first = epochs + rng.randint(0, 4)
            known = set(strays(folder))
            status = None
            while status is None and time.monotonic() < end:
                if (
                    in_write
                    and set(strays(folder)) - known
                    and log.exists()
                    and log.read_text().count("epoch ") >= first
                ):
                    writes += 1
                    break
                if not in_write and log.exists() and log.read_text().count("epoch ") > first:
                    time.sleep(after)
                    break
                status = waited(pid, time.monotonic())
                time.sleep(0 if in_write else 0.002)
            if status is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                hits += 1
            before = set(strays(folder))
        pid = child(kind, folder, log, {}, compiled)
        status = waited(pid, time.monotonic() + LIMIT)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        left = [name for name in strays(folder) if name in before and name.endswith(".tmp")]
        fault = ""
        if said_end(log) != wanted:
            fault = (
                f"{kind}, seed {seed}: status {status}, "
                + (log.read_text().strip().splitlines() or ["nothing said"])[-1][:200]
            )
        elif left:
            fault = f"{kind}, seed {seed}: left {left}"
        return {"hits": hits, "writes": writes, "fault": fault}


def chunk(kind: str, first: int, count: int, in_write: int) -> dict[str, Any]:
    """So many trials of a kind, the first of them killed in a write."""
    with tempfile.TemporaryDirectory() as place:
        compiled = Path(place)
        wanted = whole(kind, compiled)
        if not wanted or wanted != whole(kind, compiled):
            fault = f"{kind}: the run itself does not give one digest: {wanted!r}"
            return {"count": 0, "hits": 0, "writes": 0, "faults": [fault]}
        found = [trial(kind, first + i, wanted, i < in_write, compiled) for i in range(count)]
    return {
        "count": count,
        "hits": sum(t["hits"] for t in found),
        "writes": sum(t["writes"] > 0 for t in found),
        "faults": [t["fault"] for t in found if t["fault"]],
    }


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0, kinds: tuple[str, ...] | None = None) -> Row:
    """The row of the scorecard: 300 trials at scale 1, 60 of them killed in a write."""
    from experiments.reliability.runs import KINDS

    kinds = kinds or KINDS
    wanted = many(300, scale)
    each = -(-wanted // len(kinds))
    asked = [
        [kind, seed * 10**6 + 1000 * i + first, size := min(TRIALS, each - first), -(-size // 4)]
        for i, kind in enumerate(kinds)
        for first in range(0, each, TRIALS)
    ]
    found: list[dict[str, Any]] = []
    for answer in run("kills", "chunk", asked, jobs=jobs, timeout=4 * LIMIT + 60 * TRIALS):
        found.append(answer)
        done = sum(a.get("count", 0) for a in found)
        print(f"kills: {done} of {each * len(kinds)} trials", file=sys.stderr, flush=True)
    faults = [fault for a in found for fault in a.get("faults", [a.get("died")])]
    count, hits, writes = (sum(a.get(k, 0) for a in found) for k in ("count", "hits", "writes"))
    return Row(
        "SIGKILL + resume, bit-identical",
        f"{wanted} of {wanted}, {wanted // 5} during a write",
        f"{count - len(faults)} of {count} with the same digest; {hits} kills, {writes} trials in a write; "
        f"{len(kinds)} kinds of run",
        not faults and writes >= wanted // 5,
        "a machine that loses power: what is not yet on the disk is not lost here",
        tuple(faults),
    )
