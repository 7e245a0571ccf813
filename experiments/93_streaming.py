"""How fast is `jaxbp.fit` on data larger than its memory_budget, and does it keep to the budget?

    python -m experiments.93_streaming

The data lie in a memory-mapped file: float32 in .npy, or uint8 pixels in IDX, scaled by ``preprocess``. Runs
that stream them and runs that hold them on the device take turns in one process; samples/s are those of the
history. Before them one streamed run is watched: how far the memory of the process grows beyond where it was,
without the pages of the file, which the system takes back when it wants; 16 bytes an example are for its
place in the order. 2 minutes. Expected on 2 CPU cores: ratios of 0.8 to 1.05, and a growth by the budget and
at most 5 MiB.
"""

import re
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import jaxbp
from experiments.peers.job import Job
from experiments.peers.turns import summary, text
from experiments.record import dots, run, save, table
from jaxbp.data import open_idx

JOBS = {  # by their widths and the batch
    "784-30-10 / 10": Job((784, 30, 10), "sigmoid", 10, 60_000, "sgd", 0.1),
    "784-128-10 / 128": Job((784, 128, 10), "relu", 128, 60_000, "sgd", 0.1),
    "784-128-10 / 128, x 5": Job((784, 128, 10), "relu", 128, 300_000, "sgd", 0.1),
    "784-512-512-10 / 128": Job((784, 512, 512, 10), "relu", 128, 60_000, "sgd", 0.1),
    "64-128-10 / 32": Job((64, 128, 10), "relu", 32, 60_000, "sgd", 0.1),
}


@dataclass(frozen=True)
class Config:
    only: str = ""
    """The configurations whose name has this in it."""
    scale: float = 1.0
    """Of the examples."""
    times: int = 10
    """How many times larger than the budget the data are."""
    epochs: int = 2
    pairs: int = 9
    out: Path = Path("results/93_streaming")


def stored(job: Job, pixels: bool, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """The job's data, x in a file."""
    x, y = job.data()
    file = Path(folder) / "x"
    if not pixels:
        with file.open("wb") as opened:
            np.save(opened, x)
        return np.load(file, mmap_mode="r"), y
    with file.open("wb") as opened:
        opened.write(bytes([0, 0, 8, 2]) + struct.pack(">2I", *x.shape))
        (255 * (x + 0.5)).astype(np.uint8).tofile(opened)
    return open_idx(file), y


@contextmanager
def watched() -> Iterator[list[int]]:
    """Bytes of memory of this process without pages of files: at first, and at most. Empty outside Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield []
        return

    def anonymous() -> int:
        return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status.read_text())[1])

    seen, done = [anonymous()] * 2, threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen[1] = max(seen[1], anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def measure(job: Job, pixels: bool, config: Config, folder: str) -> dict[str, Any]:
    x, y = stored(job, pixels, folder)
    net = jaxbp.mlp(list(job.sizes), getattr(jaxbp, job.activation))
    grad_fn, optimizer = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy), optax.sgd(job.rate)
    params, budget = net.init(jax.random.key(0)), (x.nbytes + y.nbytes) // config.times
    preprocess: Callable | None = (lambda x: x / 255 - 0.5) if pixels else None

    def fit(memory_budget: int | None) -> dict[str, np.ndarray]:
        return jaxbp.fit(
            grad_fn,
            params,
            (x, y),
            optimizer=optimizer,
            key=jax.random.key(1),
            batch_size=job.batch,
            epochs=config.epochs,
            memory_budget=memory_budget,
            preprocess=preprocess,
            progress_bar=False,
        ).history

    def speed(history: dict[str, np.ndarray]) -> float:
        return len(x) * config.epochs / history["seconds"].sum()

    fit(budget)  # compiles
    with watched() as seen:
        history = fit(budget)
    assert np.allclose(history["loss"], fit(None)["loss"], rtol=1e-4)
    pairs, waited = [], []
    for _ in range(config.pairs):
        resident, streamed = fit(None), fit(budget)
        pairs.append((speed(streamed), speed(resident)))
        waited.append(streamed["waited"].mean())
    streams, residents = np.array(pairs).T
    return {
        "streamed": summary(streams),
        "resident": summary(residents),
        "ratio": summary(streams / residents),
        "waited": summary(waited),
        "data_MiB": (x.nbytes + y.nbytes) / 2**20,
        "budget_MiB": budget / 2**20,
        "growth_MiB": (seen[1] - seen[0]) / 2**20 if seen else None,
    }


def main(config: Config = Config()) -> dict[str, Any]:
    result = {}
    rows = [(name, job, False) for name, job in JOBS.items()]
    rows += [(f"{name}, uint8", job, True) for name, job in JOBS.items() if "x 5" in name]
    for name, job, pixels in rows:
        if config.only in name:
            job = replace(job, examples=int(config.scale * job.examples))
            with tempfile.TemporaryDirectory() as folder:
                result[name] = measure(job, pixels, config, folder)
    table(
        f"{config.times} times larger than the memory_budget: 1000 samples/s, MiB",
        ("", "streamed", "resident", "ratio", "waited", "data", "budget", "growth"),
        [
            [
                name,
                *(f"{row[way]['median'] / 1000:.0f}" for way in ("streamed", "resident")),
                text(row["ratio"], ".2f"),
                row["waited"]["median"],
                *(row[f"{column}_MiB"] for column in ("data", "budget", "growth")),
            ]
            for name, row in result.items()
        ],
    )
    drawn = dots(
        {
            name: {
                way: [row[way][k] / 1000 for k in ("least", "median", "most")]
                for way in ("streamed", "resident")
            }
            for name, row in result.items()
        },
        "1000 samples/s: median and range",
        f"Training on data {config.times} times larger than the memory_budget",
        log=True,
    )
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
