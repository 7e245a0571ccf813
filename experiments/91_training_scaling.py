"""How does the time of `jaxbp.fit` grow with the network and the data?

    python -m experiments.91_training_scaling [--only width]

One quantity at a time varies around 784-256-256-10 relu, SGD, batches of 128 of 12,800 examples, of `fit` and
of JAX by hand; the number of networks that `sweep` trains at once around 784-30-10 sigmoid, batches of 10,
against single runs of `fit`, one after the other. Each framework has a process of its own for each row, and
all rows of a quantity take turns, see experiment 90. Devices are those of `fit(mesh=...)`; on a CPU they are
threads that share its cores, so that their row shows what the division costs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.peers.job import Job
from experiments.peers.turns import summary, take_turns, text, workers_for
from experiments.record import figure, run, save

BASE = Job((784, 256, 256, 10), "relu", 128, 12_800, "sgd", 0.1)
SMALL = Job((784, 30, 10), "sigmoid", 10, 12_000, "sgd", 0.1)

Rows = dict[int, dict[str, Job]]
"""For each value of a quantity, what each framework is given; the first one is compared with each."""


@dataclass(frozen=True)
class Config:
    width: tuple[int, ...] = (32, 128, 512, 2048)
    depth: tuple[int, ...] = (1, 4, 16)
    """The hidden layers."""
    batch: tuple[int, ...] = (8, 32, 128, 512, 2560)
    examples: tuple[int, ...] = (1_280, 12_800, 128_000)
    nets: tuple[int, ...] = (1, 8, 32, 128)
    devices: tuple[int, ...] = (1, 2, 4)
    only: str = ""
    """One of these; all without it."""
    rounds: int = 5
    seconds: float = 0.3
    """What a turn lasts at least."""
    out: Path = Path("results/91_training_scaling")


def jobs(config: Config) -> dict[str, Rows]:
    def both(job: Job) -> dict[str, Job]:
        return {"jaxbp.fit": job, "raw JAX": job}

    def swept(nets: int) -> dict[str, Job]:
        job = replace(SMALL, nets=nets)
        return {"jaxbp.sweep": job, "jaxbp.sweep, own orders": job, "jaxbp.fit": SMALL}

    d, width, C = BASE.sizes[0], BASE.sizes[1], BASE.sizes[-1]
    quantities = {
        "width": {n: both(replace(BASE, sizes=(d, n, n, C))) for n in config.width},
        "depth": {n: both(replace(BASE, sizes=(d, *[width] * n, C))) for n in config.depth},
        "batch": {n: both(replace(BASE, batch=n)) for n in config.batch},
        "examples": {n: both(replace(BASE, examples=n)) for n in config.examples},
        "nets": {n: swept(n) for n in config.nets},
        "devices": {n: {"jaxbp.fit": replace(BASE, devices=n)} for n in config.devices},
    }
    return {name: rows for name, rows in quantities.items() if config.only in name}


def measure(rows: Rows, config: Config) -> dict[str, dict[int, Any]]:
    runs = [(n, name, job) for n, row in rows.items() for name, job in row.items()]
    with workers_for([(name, job) for _, name, job in runs]) as workers:
        speeds = [
            np.array(by_clock["seconds"]) for by_clock in take_turns(workers, config.rounds, config.seconds)
        ]
    result: dict[str, dict[int, Any]] = {}
    for (n, name, job), speed in zip(runs, speeds, strict=True):
        if name == next(iter(rows[n])):
            first = speed
        result.setdefault(name, {})[n] = {
            "seconds_per_epoch": summary(job.examples / speed),
            "microseconds_per_iteration": summary(1e6 * job.batch / speed),
            "gigaflop_per_second": summary(1e-9 * job.flops * speed),
            "ratio": summary(first / speed),
        }
    return result


def main(config: Config = Config()) -> dict[str, Any]:
    result = {}
    for quantity, rows in jobs(config).items():
        result[quantity] = measured = measure(rows, config)
        columns = (
            "ms an epoch of a net",
            "us an iteration of a net",
            "GFLOP/s",
            f"{next(iter(measured))} / it",
        )
        print(f"\n{quantity:<10}{'':<25}" + "".join(f"{c:>25}" for c in columns))
        for n, row in rows.items():
            for name in row:
                of = measured[name][n]
                cells = (
                    text(of["seconds_per_epoch"], ".1f", 1e-3),
                    text(of["microseconds_per_iteration"], ".1f"),
                    text(of["gigaflop_per_second"], ".0f"),
                    text(of["ratio"], ".2f"),
                )
                print(f"{n:<10}{name:<25}" + "".join(f"{cell:>25}" for cell in cells), flush=True)
    drawn = figure(1, len(result), figsize=(3.2 * len(result), 3.2), squeeze=False)
    if drawn:
        for axes, (quantity, measured) in zip(drawn[1][0], result.items(), strict=True):
            for name, of in measured.items():
                medians = [row["seconds_per_epoch"]["median"] for row in of.values()]
                axes.loglog(list(of), medians, marker="o", label=name)
            axes.set(xlabel=quantity, ylabel="seconds an epoch")
        drawn[1][0, 0].legend()
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
