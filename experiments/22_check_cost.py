"""What does jaxbp.check cost?

    python -m experiments.22_check_cost

Whole calls of check, tracing included: a rule on 2.5 million float32 inputs alone and in a function, and a
Flax transformer of 6 blocks (flax is needed). The first call compiles; of the further ones, median and range.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import run, save, table


@dataclass(frozen=True)
class Config:
    inputs: int = 2_500_000
    blocks: int = 6
    calls: int = 7
    out: Path = Path("results/22_check_cost")


@jax.custom_vjp
def act(x: Any) -> Any:
    return x * jax.nn.sigmoid(x)


def backward(x: Any, c: Any) -> tuple[Any]:
    s = jax.nn.sigmoid(x)
    return (c * s * (1 + x * (1 - s)),)


act.defvjp(lambda x: (act(x), x), backward)


def transformer(blocks: int) -> tuple[Any, Any]:
    import flax.linen as nn

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, tokens: Any) -> Any:
            x = nn.Embed(100, 64)(tokens)
            for _ in range(blocks):
                x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
                x = x + nn.Dense(64)(nn.relu(nn.Dense(256)(nn.LayerNorm()(x))))
            return nn.log_softmax(nn.Dense(100)(x))

    tokens, model = np.arange(32).reshape(2, 16), Transformer()
    return lambda params: model.apply(params, tokens), model.init(jax.random.key(0), tokens)


def cases(config: Config) -> Iterator[tuple[str, Any, Any]]:
    x = np.random.default_rng(0).standard_normal(config.inputs).astype(np.float32)
    yield f"a rule on {config.inputs:,} inputs", act, x
    yield "the same rule in a function", lambda x: jnp.sum(act(2 * x) ** 2), x
    yield f"a Flax transformer of {config.blocks} blocks", *transformer(config.blocks)


def main(config: Config) -> dict:
    result = {}
    for name, f, x in cases(config):
        seconds = []
        for _ in range(1 + config.calls):
            start = time.perf_counter()
            report = jaxbp.check(f, x)
            seconds.append(time.perf_counter() - start)
            assert report.ok, str(report)
        first, *further = seconds
        result[name] = {"first": first, "further": further}
    rows = []
    for name, r in result.items():
        low, high = min(r["further"]), max(r["further"])
        rows.append((name, r["first"], statistics.median(r["further"]), f"{low:.2f} to {high:.2f}"))
    table("jaxbp.check, seconds", ("", "first call", "further calls", "range"), rows)
    return save(config, result)


if __name__ == "__main__":
    run(main, Config)
