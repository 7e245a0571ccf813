"""Where does the time of an iteration of `jaxbp.fit` go?

    python -m experiments.95_training_profile [--configs a b c d] [--optimizer sgd] [--nets 1]

The configurations are those of experiment 90; with --nets 16 what a core of `jaxbp.sweep` trains at a time.
The program is the one that `fit` runs; JAX's profiler times each of its operations, and their names in the
compiled program tell what they belong to: the products of a layer, its other arithmetic, the loss, the
update, or the gathering of batches. Large delta_W products run beside what follows them, which then takes
longer, and have no time of their own. The profiler costs some 0.2 us an operation: the time of an iteration
without it stands beside.

A minute on 2 CPU cores, which have to be idle otherwise.
"""

import importlib
import re
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import jaxbp
from experiments.peers.job import Job
from experiments.peers.with_jax import optimizer_of
from experiments.record import figure, run, save, table
from jaxbp.train.program_cache import compile_fast
from jaxbp.train.programs.epoch_program import make_epochs
from jaxbp.train.programs.step import State, make_step
from jaxbp.train.sharding import Layout

job_of = importlib.import_module("experiments.90_training_benchmark").job_of

EXAMPLES = {"a": 12_000, "b": 12_032, "c": 12_800, "d": 2_048}


@dataclass(frozen=True)
class Config:
    configs: tuple[str, ...] = ("a", "b", "c", "d")
    optimizer: Literal["sgd", "adam"] = "sgd"
    nets: int = 1
    """Trained at once, on the same batches."""
    scale: int = 1
    """Divides the examples and the hidden layers, for a quick run."""
    out: Path = Path("results/95_training_profile")


def program_of(job: Job) -> tuple[Any, tuple[Any, ...]]:
    """The compiled program of an epoch, and its arguments."""
    net = jaxbp.mlp(job.sizes, getattr(jaxbp, job.activation))
    step = make_step(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy), optimizer_of(job))
    params = {l: {"W": W, "b": b} for l, (W, b) in enumerate(job.params(), 1)}
    state = State(params, optimizer_of(job).init(params), jax.random.key(0), np.int32(0))
    x, y = map(jax.device_put, job.data())
    epochs = make_epochs(step, job.batch, None, Layout().take)
    if job.nets > 1:
        state = jax.tree.map(lambda leaf: jax.numpy.stack([leaf] * job.nets), state)
        epochs = jax.vmap(epochs, in_axes=(0, None, None, None, None))
    orders = next(job.orders()).reshape(1, -1)
    arguments = (jax.device_put(state), orders, np.int32(1), (x, y), None)
    return compile_fast(jax.jit(epochs).lower(*arguments)), arguments


def roles(program: str) -> dict[str, str]:
    """What each operation of a compiled program belongs to, by its name."""
    bodies = dict(re.findall(r"^%?(\S+) \([^\n]*\{\n(.*?)^\}", program, re.M | re.S))
    found = {}
    for name, line in re.findall(r"^ +(?:ROOT )?%?(\S+) = (.*)", program, re.M):
        called = re.search(r"calls=%?([\w.-]+)", line)
        inner = line + (bodies.get(called[1], "") if called else "")
        product = re.search(r" dot\(", inner) is not None
        scopes = re.findall(r"(layer|delta|loss|update)(?:_(\d+))?/", line)
        if scopes and "jit(step)" in line:
            what, l = scopes[0]
            if what in ("layer", "delta"):
                product_of = f"a_{l} = f W^T" if what == "layer" else f"delta_W_{l}, delta_f_{int(l) - 1}"
                found[name] = f"{product_of}: products" if product else "other arithmetic of layers"
            else:
                found[name] = what
        elif "gather" in inner or "dynamic-slice" in name:
            found[name] = "gathering batches"
    return found


def measure(job: Job) -> dict[str, Any]:
    """Microseconds of an iteration, by what they were spent on."""
    program, arguments = program_of(job)
    iterations = job.examples // job.batch
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        seconds.append(time.perf_counter() - start)
    of = roles(program.as_text())
    spent: Counter[str] = Counter()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            jax.block_until_ready(program(*arguments))
        file = next(Path(folder).rglob("*.xplane.pb"))
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                for event in line.events:
                    if event.name in of:
                        spent[of[event.name]] += event.duration_ns / 1e3 / iterations
    return {"iteration": float(np.median(seconds)) / iterations * 1e6, "spent": dict(spent.most_common())}


def draw(result: dict[str, Any]) -> Any:
    drawn = figure(figsize=(2 + 1.2 * len(result), 4))
    if drawn:
        axes = drawn[1]
        for i, measured in enumerate(result.values()):
            total, bottom = sum(measured["spent"].values()), 0.0
            for what, spent in measured["spent"].items():
                axes.bar(i, spent / total, bottom=bottom)
                axes.text(i, bottom + spent / total / 2, what, ha="center", va="center", fontsize="xx-small")
                bottom += spent / total
        axes.set(xticks=range(len(result)), xticklabels=result, ylabel="share of an iteration")
    return drawn


def main(config: Config = Config()) -> dict[str, Any]:
    result = {}
    for name in config.configs:
        job = job_of(name, config.optimizer, config.scale)
        examples = EXAMPLES[name] // config.scale // job.batch * job.batch
        job = replace(job, examples=examples, nets=config.nets)
        result[name] = measured = measure(job)
        total = sum(measured["spent"].values())
        rows = [(what, spent, f"{spent / total:.0%}") for what, spent in measured["spent"].items()]
        title = f"{name}: {'-'.join(map(str, job.sizes))} {job.activation}, batch {job.batch}"
        unprofiled = f"{measured['iteration']:.1f} us an iteration"
        table(f"{title}: {unprofiled}", ("spent on", "us, profiled", "share"), rows)
    return save(config, result, draw(result))


if __name__ == "__main__":
    run(main, Config)
