"""How fast does `jaxbp.fit` train, against JAX by hand, vectorised NumPy, and other frameworks?

    pip install 'jaxbp[bench]'
    python -m experiments.90_training_benchmark [--configs a b c d] [--optimizers sgd adam] [--rounds 5]

Each framework has a process of its own and trains the same network, from the same parameters, on the same
data, in float32. They take turns, round after round, so that a slow drift of the machine hits all alike; a
ratio is that of two turns of the same round, and what is reported is the median of the rounds, with their
range. A turn is as many epochs as fill --seconds. `fit` runs as users call it, with its history, its check of
the data, and a sixtieth of the data evaluated after each epoch; its time is that of the whole call less
compiling, and beside it stands that of its epochs alone. The mean loss of the second epoch, nearly the same
for all, shows that all do the work. A framework that is not installed is left out. With ``--against DIR``
another checkout of this project takes turns too, for instance the commit before a change:

    git worktree add ../before HEAD~1
    python -m experiments.90_training_benchmark --frameworks jaxbp.fit --against ../before

The machine's peak is the larger of two products of 2048 x 2048 matrices, by JAX and by NumPy, of the same
round; FLOPs are those of the products of a training step. The first result is the end of the first epoch,
counted from the start of the process, the data being at hand; ``--starts 5`` starts each framework five
times, in turns. On a machine with other work its CPU seconds tell more.

``--configs LeNet GPT LSTM`` are networks of layers with Adam: images of 28 x 28, batches of 64; texts of 256
places, batches of 8, and of 128 places, batches of 32. All begin with our parameters, turned to their layout.

Two minutes for each configuration and optimiser on 2 CPU cores.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.peers.job import Deep, Job
from experiments.peers.turns import OTHER, summary, take_turns, text, workers_for
from experiments.peers.worker import FRAMEWORKS, LAYERED, PRODUCTS
from experiments.record import figure, run, save

RATES = {"sgd": 0.1, "adam": 1e-3}
SHAPES: dict[str, tuple[tuple[int, ...], Literal["sigmoid", "relu"], int, int]] = {
    "a": ((784, 30, 10), "sigmoid", 10, 60_000),
    "b": ((784, 128, 10), "relu", 32, 60_000),
    "c": ((784, 512, 512, 10), "relu", 128, 38_400),
    "d": ((784, 2048, 2048, 2048, 10), "relu", 512, 4_096),
}


DEEP: dict[str, Deep] = {
    "LeNet": Deep("LeNet", 64, 6_400),
    "GPT": Deep("GPT", 8, 64, 256),
    "LSTM": Deep("LSTM", 32, 512, 128),
}


@dataclass(frozen=True)
class Config:
    configs: tuple[str, ...] = tuple(SHAPES)
    """Of a to d, LeNet, GPT and LSTM."""
    optimizers: tuple[str, ...] = tuple(RATES)
    frameworks: tuple[str, ...] = tuple(FRAMEWORKS | LAYERED)
    rounds: int = 5
    seconds: float = 1.0
    """What a turn lasts at least."""
    starts: int = 1
    """Processes of each framework, of which the times to the first result are the medians."""
    against: Path | None = None
    """Another checkout of this project, to compare with."""
    scale: int = 1
    """Divides the examples and the hidden layers, for a quick run."""
    out: Path = Path("results/90_training_benchmark")


def job_of(name: str, optimizer: Literal["sgd", "adam"], scale: int) -> Job | Deep:
    if name in DEEP:
        job = DEEP[name]
        examples = max(job.batch, job.examples // scale // job.batch * job.batch)
        return replace(job, examples=examples, places=max(1, job.places // scale), d=job.d // scale)
    (d, *hidden, C), activation, batch, examples = SHAPES[name]
    sizes = (d, *(size // scale for size in hidden), C)
    examples = examples // scale // batch * batch
    return Job(sizes, activation, batch, examples, optimizer, RATES[optimizer])


def measure(job: Job | Deep, config: Config) -> dict[str, Any]:
    """The frameworks of one configuration: samples/s, ratios, share of the peak, start-up and loss."""
    known = LAYERED if isinstance(job, Deep) else FRAMEWORKS
    side = 2048 // config.scale
    product = Job((side,), "relu", 1, 1, "sgd", 0.0)
    # With SGD there is no optimiser's arithmetic to choose.
    names = [
        name
        for name in config.frameworks
        if name in known and not (job.optimizer == "sgd" and name.endswith("optax"))
    ]
    names += [OTHER] * (config.against is not None)
    jobs = [(name, job) for name in names] + [(name, product) for name in PRODUCTS]
    with workers_for(jobs, config.against, config.starts) as workers:
        turns = list(zip(workers, take_turns(workers, config.rounds, config.seconds), strict=True))
    trained = {worker.name: (worker, speeds) for worker, speeds in turns if worker.job is job}
    products = [speeds["seconds"] for worker, speeds in turns if worker.job is product]
    peak = 2 * side**3 * np.max(products, axis=0)
    ours = {clock: np.array(speed) for clock, speed in trained["jaxbp.fit"][1].items()}
    rows: dict[str, Any] = {}
    for name, (worker, speeds) in trained.items():
        cpu = summary(ours["cpu_seconds"] / speeds.pop("cpu_seconds"))
        for clock, speed in speeds.items():
            rows[name if clock == "seconds" else f"{name}, its epochs"] = {
                "samples_per_second": summary(speed),
                "ratio": summary(ours["seconds"] / speed),
                "share_of_peak": summary(np.array(speed) * job.flops / peak),
            }
        rows[name] |= {"startup": worker.startup, "loss": worker.loss, "ratio by CPU time": cpu}
    return {"peak": summary(peak), "rows": rows}


COLUMNS = (
    *("1000 samples/s", "fit is faster by", "% of peak", "by CPU time"),
    *("compile, s", "first result, s", "its CPU seconds", "loss"),
)


def show(title: str, measured: dict[str, Any]) -> None:
    """One line for each framework: medians, with the range of the rounds."""
    print(f"\n{title}, peak {text(measured['peak'], '.0f', 1e9)} GFLOP/s")
    print(f"{'':<23}" + "".join(f"{name:>23}" for name in COLUMNS))
    for name, row in measured["rows"].items():
        cells = [
            text(row["samples_per_second"], ".1f", 1e3),
            text(row["ratio"], ".2f"),
            text(row["share_of_peak"], ".0f", 0.01),
        ]
        if "loss" in row:
            cells += [text(row["ratio by CPU time"], ".2f")]
            cells += [f"{row['startup'][k]:.2f}" for k in ("compile", "first_result", "first_result_cpu")]
            cells += [f"{row['loss']:.4f}"]
        print(f"{name:<23}" + "".join(f"{cell:>23}" for cell in cells), flush=True)


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
            job = job_of(name, optimizer, config.scale)
            if job.optimizer != optimizer:
                continue  # networks of layers are trained by Adam
            result[f"{name}, {optimizer}"] = measured = measure(job, config)
            if isinstance(job, Deep):
                shape = f"{job.places} places, d {job.d}" if job.places > 1 else "28 x 28"
            else:
                shape = f"{'-'.join(map(str, job.sizes))} {job.activation}"
            show(f"{name}, {optimizer}: {shape}, batch {job.batch}", measured)
    return save(config, result, draw(result))


if __name__ == "__main__":
    run(main, Config)
