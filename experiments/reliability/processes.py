"""Faults of processes on loopback: clear words in every survivor, all down soon, and resumed to the same."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.reliability.pool import ROOT, environment
from experiments.reliability.row import Row, many
from experiments.reliability.task import run

HEARTBEAT, DOWN, LIMIT = 6, 10, 240


def member(options: str) -> None:
    """One process of a run: python -m experiments.reliability.processes OPTIONS."""
    import optax

    import jaxbp

    given = json.loads(options)
    print("connecting", flush=True)
    jaxbp.connect(given["coordinator"], given["n"], given["i"], timeout=given["timeout"], heartbeat=HEARTBEAT)
    print("connected", flush=True)
    net = jaxbp.mlp([4, 6, 2], jaxbp.tanh)
    rng = np.random.default_rng(given["i"])

    def say(record: Any) -> None:
        print("epoch", record["epoch"], flush=True)
        time.sleep(given["pause"])

    result = jaxbp.fit(
        jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy),
        net.init(jax.random.key(0)),
        (rng.normal(size=(16, 4)).astype(np.float32), rng.integers(0, 2, 16).astype(np.int32)),
        optimizer=optax.adam(0.05),
        key=jax.random.key(1),
        batch_size=8,
        epochs=given["epochs"],
        mesh=jax.make_mesh((jax.device_count(),), ("data",)),
        checkpoints=jaxbp.Checkpoints(given["folder"]),
        callbacks=[say],
        progress_bar=False,
    )
    import hashlib

    held = [np.asarray(leaf.addressable_data(0)).tobytes() for leaf in jax.tree.leaves(result.params)]
    print("end", hashlib.sha256(b"".join(held)).hexdigest(), flush=True)


class Process:
    """A member and what it has said."""

    def __init__(self, **options: Any):
        given = {"n": 2, "timeout": 60, "pause": 0.05, "epochs": 25} | options
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "experiments.reliability.processes", json.dumps(given)],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.text = ""

    def read(self, seconds: float, until: str = "\0") -> bool:
        """Read for so long, until it ends or a text comes; whether it came."""
        end = time.monotonic() + seconds
        while until not in self.text and time.monotonic() < end:
            assert self.process.stdout
            if select.select([self.process.stdout], [], [], max(0, min(0.2, end - time.monotonic())))[0]:
                part = os.read(self.process.stdout.fileno(), 65536)
                if not part:
                    break
                self.text += part.decode(errors="replace")
        return until in self.text

    def end(self, seconds: float) -> float | None:
        """The seconds until it ended, None where it had to be killed."""
        started = time.monotonic()
        self.read(seconds)
        try:
            self.process.wait(max(0.01, seconds - (time.monotonic() - started)))
            return time.monotonic() - started
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.process.kill()
            self.process.wait()
            self.read(1)
            assert self.process.stdout
            self.process.stdout.close()

    @property
    def digest(self) -> str:
        found = re.search(r"^end (\w+)", self.text, re.MULTILINE)
        return found[1] if found else ""

    @property
    def clear(self) -> bool:
        return re.search(r": expected .*, got ", self.text, re.DOTALL) is not None


def address() -> tuple[str, int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}", probe.getsockname()[1]


def pair(folder: str, **options: Any) -> list[Process]:
    where, _ = address()
    return [Process(coordinator=where, i=i, folder=folder, **options) for i in range(2)]


def hello_bytes(seed: int) -> bytes:
    """What a stranger may send: JSON and near-JSON, never a well-formed greeting."""
    rng = np.random.default_rng(seed)
    good = json.dumps({"process_id": 1, "num_processes": 2, "jax": jax.__version__}).encode()
    crafted = [
        b"",
        b"\n",
        b"[" * 9_990 + b"\n",
        b'{"a":' * 2_000 + b"\n",
        b'{"process_id": Infinity}\n',
        b"null\n",
        b"5\n",
        b'"x"\n',
        b"[]\n",
        b"{}\n",
        b'{"process_id": 1e999, "num_processes": 2, "jax": "x"}\n',
        b'{"process_id": NaN, "num_processes": 2, "jax": "x"}\n',
        b'{"process_id": "' + b"9" * 5000 + b'", "num_processes": 2, "jax": "x"}\n',
        b'{"process_id": [1], "num_processes": 2, "jax": 1}\n',
        b'{"process_id": {"a": 1}, "num_processes": null, "jax": null}\n',
        b"x" * 100_000,
        b"\xff\xfe" * 100 + b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"process_id": 1, "num_processes": 2}\n',
        b"\x16\x03\x01\x02\x00" + bytes(500),
        b'{"process_id": null, "num_processes": 2, "jax": "x"}\n',
    ]
    if rng.random() < 0.3:
        return crafted[rng.integers(len(crafted))]
    out = bytearray(good)
    for _ in range(rng.integers(1, 4)):
        out[rng.integers(len(out))] = int(rng.integers(256))
    out += b"\n" * int(rng.integers(2))
    try:  # still a greeting, of a process with another number: that ends the job, and should
        found = json.loads(out.split(b"\n")[0])
        if isinstance(found, dict) and {"process_id", "num_processes", "jax"} <= found.keys():
            return b"{\n"
    except (ValueError, RecursionError):
        pass
    return bytes(out)


def strangers(process: Process, port: int, number: int, seed: int) -> str:
    """So many of them call before the true peer comes; and how much memory that took."""
    for i in range(number):
        try:
            with socket.create_connection(("127.0.0.1", port), 20) as caller:
                caller.sendall(hello_bytes(seed + i))
        except OSError as error:
            if process.process.poll() is not None:
                return f"process 0 ended at the {i}th stranger: {process.text[-300:]} {error}"
            time.sleep(0.2)
    return ""


def listening(process: Process, port: int) -> bool:
    """Wait until process 0 listens, by the system's table: to call it would be a stranger's call."""
    needle = f":{port:04X}"
    for _ in range(LIMIT * 10):
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if any(row[1].endswith(needle) and row[3] == "0A" for row in rows):
            return True
        if process.process.poll() is not None:
            return False
        time.sleep(0.1)
    return False


def killed(which: int, how: signal.Signals) -> Callable[[str, str], str]:
    """A process is killed, or hangs, in the middle of a run."""

    def fault(folder: str, wanted: str) -> str:
        both = pair(folder)
        if not all(process.read(LIMIT, "epoch 4\n") for process in both):
            [process.end(0.1) for process in both]
            return f"the run did not start: {both[0].text[-200:]}"
        both[which].process.send_signal(how)
        survivor = both[1 - which]
        took = survivor.end(DOWN + HEARTBEAT + 30)
        both[which].end(0.1)
        faults = []
        if took is None or took > DOWN:
            faults.append(f"the survivor was down after {'never' if took is None else f'{took:.1f} s'}")
        if not survivor.clear:
            faults.append(f"no clear words: {survivor.text.strip()[-200:]!r}")
        again = pair(folder, pause=0.0)
        [process.end(LIMIT) for process in again]
        if [process.digest for process in again] != [wanted] * 2:
            faults.append(f"resumed to another digest: {again[0].text[-200:]}")
        return "; ".join(faults)

    return fault


def not_started(
    change: Callable[[str], list[dict[str, Any]]], clear: tuple[int, ...]
) -> Callable[[str, str], str]:
    """A start that cannot succeed: these members must say why, and all be down."""

    def fault(folder: str, wanted: str) -> str:
        members = [Process(folder=folder, **{"timeout": 8} | options) for options in change(address()[0])]
        took = [process.end(60 + DOWN) for process in members]
        faults = [f"process {i} was never down" for i, t in enumerate(took) if t is None]
        faults += [
            f"no clear words in process {i}: {members[i].text.strip()[-200:]!r}"
            for i in clear
            if not members[i].clear
        ]
        return "; ".join(faults)

    return fault


def port_taken(folder: str, wanted: str) -> str:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        where = f"127.0.0.1:{other.getsockname()[1]}"
        members = [Process(folder=folder, coordinator=where, i=i, timeout=8) for i in range(2)]
        took = [process.end(60 + DOWN) for process in members]
    faults = [f"process {i} was never down" for i, t in enumerate(took) if t is None]
    faults += [f"no clear words: {process.text.strip()[-200:]!r}" for process in members if not process.clear]
    return "; ".join(faults)


def called(number: int, idle: int = 0) -> Callable[[str, str], str]:
    """Strangers call, some of them silent, before the true peer comes: the job starts all the same."""

    def fault(folder: str, wanted: str) -> str:
        where, port = address()
        zero = Process(coordinator=where, i=0, folder=folder, pause=0.0, timeout=LIMIT)
        if not listening(zero, port):
            return f"process 0 did not listen: {zero.text[-200:]}"
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(idle)]
        wrong = strangers(zero, port, number, seed=number)
        one = Process(coordinator=where, i=1, folder=folder, pause=0.0, timeout=LIMIT)
        one.read(LIMIT, "connecting\n")
        started = time.monotonic()
        one.read(LIMIT, "connected\n")
        took = time.monotonic() - started
        met = one.read(LIMIT, "epoch 1\n")
        peak = (
            re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{zero.process.pid}/status").read_text())
            if zero.process.poll() is None
            else None
        )
        for process in (zero, one):
            process.end(LIMIT)
        [connection.close() for connection in silent]
        faults = [wrong] * bool(wrong)
        if not met or zero.digest != wanted:
            faults.append(f"the true peer did not join: {zero.text.strip()[-200:]!r}")
        elif took > DOWN:
            faults.append(f"{number} strangers and {idle} idle connections held it up {took:.0f} s")
        if peak and int(peak[1]) > 2_000_000:
            faults.append(f"memory: {int(peak[1]) // 1024} MiB")
        return "; ".join(faults)

    return fault


KINDS: dict[str, Callable[[str, str], str]] = {
    "a worker is killed": killed(1, signal.SIGKILL),
    "the coordinator is killed": killed(0, signal.SIGKILL),
    "a worker hangs": killed(1, signal.SIGSTOP),
    "the coordinator hangs": killed(0, signal.SIGSTOP),
    "a worker does not come": not_started(lambda at: [{"coordinator": at, "i": 0}], (0,)),
    "the coordinator does not come": not_started(lambda at: [{"coordinator": at, "i": 1}], (0,)),
    "an id comes twice": not_started(
        lambda at: [{"coordinator": at, "i": i, "n": 3} for i in (0, 1, 1)], (0,)
    ),
    "the numbers differ": not_started(
        lambda at: [{"coordinator": at, "i": 0}, {"coordinator": at, "i": 1, "n": 3}], (0, 1)
    ),
    "the port is taken": port_taken,
    "strangers call": called(200),
    "idle connections": called(5, idle=3),
}


def whole() -> str:
    """The digest of a run that nothing disturbs."""
    with tempfile.TemporaryDirectory() as folder:
        both = pair(folder, pause=0.0)
        [process.end(LIMIT) for process in both]
        return both[0].digest if both[0].digest == both[1].digest else ""


def chunk(kinds: list[str], rounds: int) -> dict[str, Any]:
    wanted = whole()
    if not wanted:
        return {"count": 0, "faults": ["two processes do not train together here"]}
    faults = []
    for kind in kinds:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                if fault := KINDS[kind](folder, wanted):
                    faults.append(f"{kind}: {fault}")
    return {"count": len(kinds) * rounds, "faults": faults}


def measure(
    scale: float = 1.0, *, jobs: int = 2, seed: int = 0, kinds: tuple[str, ...] = tuple(KINDS)
) -> Row:
    """The row of the scorecard: 11 kinds three times at scale 1."""
    rounds = many(3, scale)
    found = list(
        run(
            "processes",
            "chunk",
            [[[kind], rounds] for kind in kinds],
            jobs=1,
            timeout=2 * LIMIT * (rounds + 1),
        )
    )
    faults = [fault for a in found for fault in a.get("faults", [a.get("died")])]
    count = sum(a.get("count", 0) for a in found)
    return Row(
        "process faults on loopback",
        f"clear words in every survivor, down within {DOWN} s, resumed to the same digest",
        f"{count - len(faults)} of {count} ({len(kinds)} kinds x {rounds})",
        not faults,
        f"more than 3 processes; a heartbeat of {HEARTBEAT} s, where the default is longer; several machines",
        tuple(faults),
    )


if __name__ == "__main__":
    member(sys.argv[1])
