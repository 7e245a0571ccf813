"""Starts the frameworks' processes and has them take turns."""

import compileall
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.peers.job import Deep, Job

ROOT = Path(__file__).parents[2]
OTHER = "the other checkout"


class Worker:
    """The process of one framework, warmed up by two epochs.

    It runs the code of ``root``, a checkout of this project. ``startup`` holds the seconds to its first
    result, and is empty where the framework is not installed; ``loss`` is the mean loss of the second
    epoch, ``epoch`` its seconds.
    """

    def __init__(self, name: str, job: Job | Deep, root: Path = ROOT):
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={job.devices}"
        environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
        if "NumPy" in name or name == "scikit-learn":
            # NumPy's own choice of kernels, whatever was set for other programs.
            environment = {k: v for k, v in environment.items() if not k.startswith("OPENBLAS_")}
        self.name, self.job, self.said = name, job, tempfile.TemporaryFile("w+")  # noqa: SIM115
        start = time.perf_counter()
        framework = "jaxbp.fit" if name == OTHER else name
        command = sys.executable, "-m", "experiments.peers.worker"
        self.process = subprocess.Popen(
            [*command, framework, json.dumps(asdict(job)), type(job).__name__],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )
        ready = self._answer()
        self.startup: dict[str, float] = {}
        if "absent" in ready:
            print(f"{name}: absent, {ready['absent']}")
            return
        built = time.perf_counter() - start - ready["data_seconds"]
        first, second = self.train(1), self.train(1)
        self.startup = {
            "import_and_build": built,
            "compile": first["wall"] - second["seconds"],
            "first_result": built + first["wall"],
            "first_result_cpu": ready.get("cpu_seconds", math.nan) + first["cpu_seconds"],
        }
        self.loss, self.epoch = second["loss"], second.get("seconds_of_history", second["seconds"])

    def train(self, epochs: int) -> dict[str, float]:
        self.process.stdin.write(f"{epochs}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.said.seek(0)
            raise RuntimeError(f"{self.name} failed:\n{self.said.read()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()
        self.said.close()


@contextmanager
def workers_for(
    jobs: Sequence[tuple[str, Job | Deep]], against: Path | None = None, starts: int = 1
) -> Iterator[list[Worker]]:
    """Those of the frameworks that are installed, started one after the other.

    A job by the name OTHER is done by the code of ``against``. Each is started so many times, in turns, and
    its ``startup`` is the median.
    """
    for root in {ROOT, against or ROOT}:
        compileall.compile_dir(root / "jaxbp", quiet=1)  # as pip does with every other framework
    workers: list[Worker] = []
    started: list[list[dict[str, float]]] = [[] for _ in jobs]
    try:
        for left in reversed(range(starts)):
            for (name, job), startups in zip(jobs, started, strict=True):
                workers.append(Worker(name, job, against if against and name == OTHER else ROOT))
                startups.append(workers[-1].startup)
                if left:
                    workers.pop().close()
        for worker, startups in zip(workers, started, strict=True):
            worker.startup = {key: statistics.median(s[key] for s in startups) for key in worker.startup}
        yield [worker for worker in workers if worker.startup]
    finally:
        for worker in workers:
            worker.close()


def take_turns(workers: list[Worker], rounds: int, seconds: float) -> list[dict[str, list[float]]]:
    """Samples/s of each worker by the clocks it has, one entry a round; a turn lasts at least ``seconds``."""
    speeds: list[dict[str, list[float]]] = [{} for _ in workers]
    shuffle = random.Random(0).sample
    for _ in range(rounds):
        # In another order each time, so that nobody always follows the same one.
        for i in shuffle(range(len(workers)), len(workers)):
            worker = workers[i]
            time.sleep(0.2)  # OpenBLAS's threads spin for 0.1 s after their work
            epochs = math.ceil(seconds / worker.epoch)
            samples = worker.job.examples * worker.job.nets
            done = worker.train(epochs)
            for clock in ("seconds", "cpu_seconds", "seconds_of_history"):
                if clock in done:
                    speeds[i].setdefault(clock, []).append(epochs * samples / done[clock])
    return speeds


def summary(values: Sequence[float]) -> dict[str, Any]:
    """The rounds, their median and their range."""
    rounds = [float(v) for v in values]
    return {"median": statistics.median(rounds), "least": min(rounds), "most": max(rounds), "rounds": rounds}


def text(row: dict[str, Any], form: str, unit: float = 1.0) -> str:
    median, least, most = (format(row[k] / unit, form) for k in ("median", "least", "most"))
    return f"{median} ({least} to {most})"
