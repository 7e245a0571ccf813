"""What do every layer's deltas cost, beside jax.value_and_grad?

    python -m experiments.50_observe_cost

Loss and gradient alone, and with what jaxbp.cotangents adds, on 784-512-512-10, a convolutional net, a Flax
transformer of 6 blocks and a recurrence of 100 steps (flax is needed). Run times are ratios to
value_and_grad in the same round, median over rounds in which all ways take turns: CPU time of the process,
and wall. Compile time (with tracing), temporary memory and outputs are the compiler's. Takes 5 minutes.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import dots, run, save, table


@dataclass(frozen=True)
class Config:
    rounds: int = 15
    seconds: float = 0.1
    batch: int = 128
    blocks: int = 6
    steps: int = 100
    width: int = 512
    compiles: int = 2
    only: tuple[str, ...] = ()
    out: Path = Path("results/50_observe_cost")


# What is asked of cotangents, and how much it may cost: run time, on the recurrence, compile time; of memory
# each may take 1.1 times that of value_and_grad and 1 MiB more, but whole deltas, which are outputs. Within
# jit the values that nobody asks for are not kept; a plain call gives them too.
WAYS: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[float, float, float]]] = {
    "norms": ({"reduce": "norm"}, ("deltas",), (1.1, 1.1, 1.5)),
    "norms, maxima, zeros": ({"reduce": ("norm", "max", "zeros")}, ("deltas",), (1.2, 1.3, 2.0)),
    "whole deltas": ({}, ("deltas",), (1.2, 1.2, 1.5)),
    "whole deltas of everything": ({"pattern": "*"}, ("deltas",), (1.5, 1.5, 2.0)),
    "whole deltas and values": ({}, ("deltas", "values"), (1.2, 1.2, 1.5)),
}


def cross_entropy(logits: Any, y: Any) -> Any:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1))


def normal(seed: int, *shape: int, scale: float = 1.0) -> Any:
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def cases(config: Config) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    import flax.linen as nn

    sizes = (784, config.width, config.width, 10)
    layers = [
        {"W": normal(i, m, n, scale=m**-0.5), "b": jnp.zeros(n)}
        for i, (m, n) in enumerate(pairwise(sizes))
    ]

    def dense_net(params: Any, x: Any, y: Any) -> Any:
        for layer in params[:-1]:
            x = jax.nn.relu(x @ layer["W"] + layer["b"][None])
        return cross_entropy(x @ params[-1]["W"] + params[-1]["b"][None], y)

    labels = jnp.arange(config.batch) % 10
    yield "784-512-512-10", dense_net, (layers, normal(9, config.batch, 784), labels)

    class Convolutions(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for channels in (16, 32):
                x = nn.max_pool(nn.relu(nn.Conv(channels, (3, 3))(x)), (2, 2), (2, 2))
            return nn.Dense(10)(nn.relu(nn.Dense(64)(x.reshape(len(x), -1))))

    images, few = normal(1, max(1, config.batch // 4), 28, 28, 1), labels[: max(1, config.batch // 4)]
    net = Convolutions()
    params = net.init(jax.random.key(0), images)
    yield "convolutions", lambda p, x, y: cross_entropy(net.apply(p, x), y), (params, images, few)

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, tokens: Any) -> Any:
            x = nn.Embed(100, 64)(tokens)
            for _ in range(config.blocks):
                x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
                x = x + nn.Dense(64)(nn.gelu(nn.Dense(256)(nn.LayerNorm()(x))))
            return nn.Dense(100)(nn.LayerNorm()(x))

    tokens, model = jnp.arange(16 * 64).reshape(16, 64) % 100, Transformer()
    params = model.init(jax.random.key(0), tokens)
    yield "transformer", lambda p, t, y: cross_entropy(model.apply(p, t), y), (params, tokens, tokens)

    def recurrence(p: Any, xs: Any, y: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return jnp.tanh(h @ p["U"] + x @ p["W"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((xs.shape[1], 64)), xs)
        return cross_entropy(h @ p["out"], y)

    p = {"U": normal(2, 64, 64, scale=0.125), "W": normal(3, 32, 64, scale=0.18), "out": normal(4, 64, 10)}
    yield "recurrence", recurrence, (p, normal(5, config.steps, 32, 32), jnp.arange(32) % 10)


def asked(f: Any, options: dict[str, Any], parts: tuple[str, ...]) -> Callable[..., Any]:
    """The function that gives loss, gradient and these parts of what cotangents sees."""
    seen = jaxbp.cotangents(f, **options)

    def program(*args: Any) -> Any:
        found = seen(*args)
        return [getattr(found, part) for part in ("loss", "gradients", *parts)]

    return program


def compiled(make: Callable[[], Callable[..., Any]], args: Any, times: int) -> tuple[Any, float]:
    """The program, and the least seconds that tracing and compiling took."""
    seconds = []
    for _ in range(times):
        jax.clear_caches()
        start = time.perf_counter()
        program = jax.jit(make()).lower(*args).compile()
        seconds.append(time.perf_counter() - start)
    return program, min(seconds)


def measured(programs: dict[str, Any], args: Any, config: Config) -> dict[str, tuple[list, list]]:
    """CPU and wall seconds of a call of each program, round by round."""
    found: dict[str, tuple[list, list]] = {name: ([], []) for name in programs}
    repeats = {}
    for name, program in programs.items():
        jax.block_until_ready(program(*args))
        start = time.perf_counter()
        jax.block_until_ready(program(*args))
        repeats[name] = max(1, round(config.seconds / (time.perf_counter() - start)))
    for i in range(config.rounds):
        for name in list(programs)[:: 1 if i % 2 else -1]:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                jax.block_until_ready(programs[name](*args))
            found[name][0].append((time.process_time() - cpu) / repeats[name])
            found[name][1].append((time.perf_counter() - wall) / repeats[name])
    return found


def ratios(of: list[float], by: list[float]) -> dict[str, float]:
    each = sorted(a / b for a, b in zip(of, by, strict=True))
    quarter = len(each) // 4
    return {"median": statistics.median(each), "low": each[quarter], "high": each[-1 - quarter],
            "least": min(of) / min(by)}  # fmt: skip


def main(config: Config) -> dict:
    result: dict[str, Any] = {}
    rows = []
    for name, f, args in cases(config):
        if config.only and name not in config.only:
            continue
        makers: dict[str, Any] = {"value_and_grad": partial(jax.value_and_grad, f)}
        makers |= {way: partial(asked, f, options, parts) for way, (options, parts, _) in WAYS.items()}
        programs, seconds = {}, {}
        for way, make in makers.items():
            programs[way], seconds[way] = compiled(make, args, config.compiles)
        times = measured(programs, args, config)
        plain = programs["value_and_grad"].memory_analysis()
        result[name] = {}
        for way, (_, _, goal) in WAYS.items():
            memory = programs[way].memory_analysis()
            cpu, wall = (ratios(times[way][k], times["value_and_grad"][k]) for k in (0, 1))
            temporary = memory.temp_size_in_bytes, plain.temp_size_in_bytes
            found = {
                "cpu": cpu, "wall": wall, "compile": seconds[way] / seconds["value_and_grad"],
                "temporary": temporary, "output": memory.output_size_in_bytes - plain.output_size_in_bytes,
            }  # fmt: skip
            result[name][way] = found
            of_memory = [f"{size / 2**20:.2f}" for size in (*temporary, found["output"])]
            rows.append((
                name, way, f"{cpu['median']:.2f} ({cpu['low']:.2f} to {cpu['high']:.2f})",
                f"{wall['median']:.2f}", f"{cpu['least']:.2f}", f"{goal[name == 'recurrence']}",
                f"{found['compile']:.2f}", f"{goal[2]}", *of_memory,
            ))  # fmt: skip
    header = (
        "", "", "CPU (quartiles)", "wall", "least", "goal", "compile", "goal", "MiB", "MiB plain", "MiB out",
    )  # fmt: skip
    table("cotangents beside jax.value_and_grad", header, rows)
    drawn = dots(
        {
            name: {way: [of["cpu"][k] for k in ("low", "median", "high")] for way, of in ways.items()}
            for name, ways in result.items()
        },
        "CPU time, times that of jax.value_and_grad: median and quartiles",
        "What the deltas of every layer cost",
        one=1,
    )
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
