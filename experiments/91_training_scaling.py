"""How does the time of `jaxbp.fit` grow with the network and the data?

    python -m experiments.91_training_scaling [--only width]

One quantity at a time varies around 784-256-256-10 relu, SGD, batches of 128 of 12,800 examples. Each row has
two processes, of `fit` and of JAX by hand, and all rows of a quantity take turns, see experiment 90.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.peers.job import Job
from experiments.peers.turns import summary, take_turns, text, workers_for
from experiments.record import figure, run, save

FRAMEWORKS = ("jaxbp.fit", "raw JAX")
BASE = Job((784, 256, 256, 10), "relu", 128, 12_800, "sgd", 0.1)


@dataclass(frozen=True)
class Config:
    width: tuple[int, ...] = (32, 128, 512, 2048)
    depth: tuple[int, ...] = (1, 4, 16)
    """The hidden layers."""
    batch: tuple[int, ...] = (8, 32, 128, 512, 2560)
    examples: tuple[int, ...] = (1_280, 12_800, 128_000)
    only: str = ""
    """One of these; all without it."""
    rounds: int = 5
    seconds: float = 0.3
    """What a turn lasts at least."""
    out: Path = Path("results/91_training_scaling")


def jobs(config: Config) -> dict[str, dict[int, Job]]:
    d, width, C = BASE.sizes[0], BASE.sizes[1], BASE.sizes[-1]
    quantities = {
        "width": {n: replace(BASE, sizes=(d, n, n, C)) for n in config.width},
        "depth": {n: replace(BASE, sizes=(d, *[width] * n, C)) for n in config.depth},
        "batch": {n: replace(BASE, batch=n) for n in config.batch},
        "examples": {n: replace(BASE, examples=n) for n in config.examples},
    }
    return {name: rows for name, rows in quantities.items() if config.only in name}


def measure(rows: dict[int, Job], config: Config) -> dict[str, dict[int, Any]]:
    with workers_for((name, job) for job in rows.values() for name in FRAMEWORKS) as workers:
        speeds = [
            np.array(by_clock["seconds"]) for by_clock in take_turns(workers, config.rounds, config.seconds)
        ]
    result: dict[str, dict[int, Any]] = {name: {} for name in FRAMEWORKS}
    for i, (n, job) in enumerate(rows.items()):
        for name, speed in zip(FRAMEWORKS, speeds[2 * i : 2 * i + 2], strict=True):
            result[name][n] = {
                "seconds_per_epoch": summary(job.examples / speed),
                "microseconds_per_iteration": summary(1e6 * job.batch / speed),
                "gigaflop_per_second": summary(1e-9 * job.flops * speed),
                "ratio": summary(speeds[2 * i] / speed),
            }
    return result


def main(config: Config = Config()) -> dict[str, Any]:
    result = {}
    for quantity, rows in jobs(config).items():
        result[quantity] = measured = measure(rows, config)
        print(
            f"\n{quantity:<10}{'':<12}"
            + "".join(f"{c:>28}" for c in ("ms an epoch", "us an iteration", "GFLOP/s"))
        )
        for n in rows:
            for name in FRAMEWORKS:
                row = measured[name][n]
                cells = (
                    text(row["seconds_per_epoch"], ".1f", 1e-3),
                    text(row["microseconds_per_iteration"], ".1f"),
                    text(row["gigaflop_per_second"], ".0f"),
                )
                print(f"{n:<10}{name:<12}" + "".join(f"{cell:>28}" for cell in cells), flush=True)
    drawn = figure(1, len(result), figsize=(3.2 * len(result), 3.2), squeeze=False)
    if drawn:
        for axes, (quantity, measured) in zip(drawn[1][0], result.items(), strict=True):
            for name, rows in measured.items():
                medians = [row["seconds_per_epoch"]["median"] for row in rows.values()]
                axes.loglog(list(rows), medians, marker="o", label=name)
            axes.set(xlabel=quantity, ylabel="seconds an epoch")
        drawn[1][0, 0].legend()
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
