"""How fast does `jaxbp.fit` train, against vectorised NumPy, JAX by hand, and other frameworks?

    pip install 'jaxbp[bench]'
    python -m experiments.90_training_benchmark [--configs a b c d] [--optimizers sgd adam] [--rounds 5]

Each framework has a process of its own and trains the same network, from the same parameters, on the same
data, in float32. They take turns, round after round, so that a slow drift of the machine hits all alike; a
ratio is that of two turns in the same round, and what is reported is the median of the rounds, with their
range. A turn is as many epochs as fill --seconds. `fit` runs as users call it, with its history, its check of
the data, and a sixtieth of the data held out and evaluated after each epoch; its time is that of the whole
call less compiling. The mean loss of the second epoch, nearly the same for all, shows that all do the work.

Start-up is the time from the start of the process to the end of the first epoch, the data being at hand.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.peers.job import Job
from experiments.peers.worker import FRAMEWORKS
from experiments.record import figure, run, save

RATES = {"sgd": 0.1, "adam": 1e-3}
SHAPES: dict[str, tuple[tuple[int, ...], Literal["sigmoid", "relu"], int, int]] = {
    "a": ((784, 30, 10), "sigmoid", 10, 60_000),
    "b": ((784, 128, 10), "relu", 32, 60_000),
    "c": ((784, 512, 512, 10), "relu", 128, 38_400),
    "d": ((784, 2048, 2048, 2048, 10), "relu", 512, 4_096),
}


@dataclass(frozen=True)
class Config:
    configs: tuple[str, ...] = ("a", "b", "c", "d")
    optimizers: tuple[str, ...] = ("sgd", "adam")
    frameworks: tuple[str, ...] = tuple(FRAMEWORKS)
    rounds: int = 5
    seconds: float = 0.5
    """What a turn lasts at least."""
    scale: int = 1
    """Divides the examples and the hidden layers, for a quick run."""
    out: Path = Path("results/90_training_benchmark")


class Worker:
    """The process of one framework; ``startup`` is empty where the framework is not installed."""

    def __init__(self, name: str, job: Job):
        environment = dict(os.environ)
        if "NumPy" in name or name == "scikit-learn":
            # NumPy's own choice of kernels, whatever was set for other programs.
            environment = {k: v for k, v in environment.items() if not k.startswith("OPENBLAS_")}
        start = time.perf_counter()
        self.name, self.job = name, job
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.peers.worker", name, json.dumps(asdict(job))],
            cwd=Path(__file__).parents[1],
            env=environment | {"KERAS_BACKEND": "jax"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
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
            "first_epoch": first["wall"],
            "compile": first["wall"] - second["seconds"],
            "first_result": built + first["wall"],
        }
        self.loss, self.epoch = second["loss"], second.get("seconds_of_history", second["seconds"])

    def train(self, epochs: int) -> dict[str, float]:
        self.process.stdin.write(f"{epochs}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} failed:\n{self.process.stderr.read()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()


def measure(job: Job, config: Config) -> dict[str, Any]:
    """The frameworks of one configuration: samples/s of each round, start-up and loss."""
    workers = []
    try:
        for name in config.frameworks:
            size = 2048 // config.scale
            workers.append(Worker(name, Job((size,), "relu", 1, 1, "sgd", 0.0) if "matmul" in name else job))
        workers = [worker for worker in workers if worker.startup]
        speeds: dict[str, list[float]] = {}
        for turn in range(config.rounds):
            for worker in workers[turn % len(workers) :] + workers[: turn % len(workers)]:
                time.sleep(0.05)  # the threads of the one before go to sleep
                epochs = math.ceil(config.seconds / worker.epoch)
                done, amount = worker.train(epochs), epochs * worker.job.examples
                speeds.setdefault(worker.name, []).append(amount / done["seconds"])
                if "seconds_of_history" in done:
                    within = f"{worker.name}, its epochs"
                    speeds.setdefault(within, []).append(amount / done["seconds_of_history"])
    finally:
        for worker in workers:
            worker.close()
    peak = peak_of(speeds, 2048 // config.scale)
    rows = {
        name: {
            "samples_per_second": summary(speed),
            "ratio": summary(np.divide(speeds["jaxbp.fit"], speed)),
            "share_of_peak": summary(np.array(speed) * job.flops / peak) if peak is not None else None,
        }
        for name, speed in speeds.items()
        if "matmul" not in name
    }
    for worker in workers:
        if worker.name in rows:
            rows[worker.name] |= {"startup": worker.startup, "loss": worker.loss}
    return {"peak": {} if peak is None else summary(peak), "rows": rows}


def peak_of(speeds: dict[str, list[float]], size: int) -> np.ndarray | None:
    """FLOP/s of the products of each round, the faster of the two libraries."""
    products = [2 * size**3 * np.array(speed) for name, speed in speeds.items() if "matmul" in name]
    return np.max(products, 0) if products else None


def summary(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": float(statistics.median(values)),
        "least": float(min(values)),
        "most": float(max(values)),
    }


COLUMNS = ("1000 samples/s", "fit is faster by", "% of peak", "compile, s", "first result, s", "loss")


def show(title: str, measured: dict[str, Any]) -> None:
    """One line for each framework: medians, with the range of the rounds."""

    def text(row: dict[str, float] | None, form: str, unit: float = 1.0) -> str:
        if row is None:
            return ""
        median, least, most = (format(row[k] / unit, form) for k in ("median", "least", "most"))
        return f"{median} ({least} to {most})"

    peak = measured["peak"] and f", peak {text(measured['peak'], '.0f', 1e9)} GFLOP/s"
    print(f"\n{title}{peak}\n{'':<23}" + "".join(f"{name:>22}" for name in COLUMNS))
    for name, row in measured["rows"].items():
        cells = (
            text(row["samples_per_second"], ".1f", 1e3),
            text(row["ratio"], ".2f"),
            text(row["share_of_peak"], ".0f", 0.01),
            *(f"{row['startup'][k]:.2f}" if "startup" in row else "" for k in ("compile", "first_result")),
            f"{row['loss']:.4f}" if "loss" in row else "",
        )
        print(f"{name:<23}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def draw(result: dict[str, Any]) -> Any:
    names = list(dict.fromkeys(name for measured in result.values() for name in measured["rows"]))
    drawn = figure(figsize=(1.5 + 1.6 * len(result), 4))
    if drawn:
        axes = drawn[1]
        for i, name in enumerate(names):
            rows = [measured["rows"].get(name) for measured in result.values()]
            at = [k + 0.8 * i / len(names) for k, row in enumerate(rows) if row]
            ratios = [row["ratio"] for row in rows if row]
            medians = np.array([r["median"] for r in ratios])
            spread = np.abs([[r["least"] for r in ratios], [r["most"] for r in ratios]] - medians)
            axes.bar(at, medians, 0.8 / len(names), yerr=spread, label=name)
        axes.set_xticks(np.arange(len(result)) + 0.4, result)
        axes.set(yscale="log", ylabel="time of an epoch / that of jaxbp.fit")
        axes.legend(fontsize="x-small", ncols=2)
    return drawn


def main(config: Config = Config()) -> dict[str, Any]:
    result = {}
    for optimizer in config.optimizers:
        for name in config.configs:
            (d, *hidden, C), activation, batch, examples = SHAPES[name]
            sizes = (d, *(h // config.scale for h in hidden), C)
            job = Job(sizes, activation, batch, examples // config.scale, optimizer, RATES[optimizer])
            title = f"{name}, {optimizer}"
            result[title] = measure(job, config)
            show(f"{title}: {'-'.join(map(str, sizes))} {activation}, batch {batch}", result[title])
    return save(config, result, draw(result))


if __name__ == "__main__":
    run(main, Config)
