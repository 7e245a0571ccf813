"""What does jaxbp.check cost, and what does it cost more where a rule is wrong?

    python -m experiments.22_check_cost

CPU seconds of whole calls of check, tracing included: a rule on 2.5 million float32 inputs alone and in a
function, and a Flax transformer of 6 blocks (flax is needed); then the same rule with each of the mistakes,
whose calls take turns with those of the right one. The first call compiles; of the further ones, median and
range. A ratio is that of the medians.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import dots, run, save, table


@dataclass(frozen=True)
class Config:
    inputs: int = 2_500_000
    blocks: int = 6
    calls: int = 7
    wrong_calls: int = 3
    only: tuple[str, ...] = ()
    out: Path = Path("results/22_check_cost")


def value(x: Any) -> Any:
    return x * jax.nn.sigmoid(x)


def right(x: Any, c: Any) -> Any:
    s = jax.nn.sigmoid(x)
    return c * s * (1 + x * (1 - s))


# What the rule gives for the cotangent c, where it has a mistake.
WRONG: dict[str, Callable[[Any, Any], Any]] = {
    "a sign": lambda x, c: -right(x, c),
    "a factor": lambda x, c: 2 * right(x, c),
    "zero": lambda x, c: 0 * c,
    "a term left out": lambda x, c: c * jax.nn.sigmoid(x),
    "the slope left out": lambda x, c: c,
    "at another point": lambda x, c: right(value(x), c),
    "shifted by one": lambda x, c: jnp.roll(right(x, c), 1),
    "zero far out": lambda x, c: jnp.where(x > 2.5, 0, right(x, c)),
    "one entry": lambda x, c: right(x, c).at[17].mul(1.5),
    "another slope": lambda x, c: c * jax.nn.sigmoid(x) * (1 + x / (1 + jnp.abs(x))),
    "approximate": lambda x, c: right(1.001 * x, c),
    "a sum too many": lambda x, c: right(x, c) + 1e-3 * jnp.sum(c),
    "no known mistake": lambda x, c: right(x, c) + 0.1 * jnp.roll(c, 5) * x * x,
    "not linear": lambda x, c: right(x, c) + 1e-3,
    "clipped": lambda x, c: right(x, jnp.clip(c, -1, 1)),
    "NaN far out": lambda x, c: jnp.where(x > 3, jnp.nan, right(x, c)),
    "another dtype": lambda x, c: right(x, c).astype(jnp.bfloat16),
    "in half precision": lambda x, c: right(x.astype(jnp.bfloat16), c.astype(jnp.bfloat16)).astype(x.dtype),
}


def rule(backward: Callable[[Any, Any], Any]) -> Any:
    f = jax.custom_vjp(value)
    f.defvjp(lambda x: (value(x), x), lambda x, c: (backward(x, c),))
    return f


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


def cases(config: Config, x: Any) -> Iterator[tuple[str, Any, Any]]:
    act = rule(right)
    yield f"a rule on {config.inputs:,} inputs", act, x
    yield "the same rule in a function", lambda x: jnp.sum(act(2 * x) ** 2), x
    yield f"a Flax transformer of {config.blocks} blocks", *transformer(config.blocks)


def seconds(f: Any, x: Any, ok: bool = True) -> float:
    """The CPU seconds of one check, whose verdict is to be so."""
    start = time.process_time()
    report = jaxbp.check(f, x)
    spent = time.process_time() - start
    assert report.ok == ok, str(report)
    return spent


def main(config: Config) -> dict:
    result = {}
    x = np.random.default_rng(0).standard_normal(config.inputs).astype(np.float32)
    for name, f, at in cases(config, x) if not config.only else ():
        first, *further = (seconds(f, at) for _ in range(1 + config.calls))
        result[name] = {"first": first, "further": further}
    alone = rule(right)
    seconds(alone, x)
    for name, backward in WRONG.items():
        if config.only and name not in config.only:
            continue
        f = rule(backward)
        first, further, beside = seconds(f, x, ok=False), [], []
        for _ in range(config.wrong_calls):
            beside.append(seconds(alone, x))
            further.append(seconds(f, x, ok=False))
        ratio = statistics.median(further) / statistics.median(beside)
        result[name] = {"first": first, "further": further, "times_a_right_one": ratio}
    rows = []
    for name, r in result.items():
        low, high = min(r["further"]), max(r["further"])
        times = f"{r['times_a_right_one']:.2f}" if "times_a_right_one" in r else ""
        rows.append((name, r["first"], statistics.median(r["further"]), f"{low:.2f} to {high:.2f}", times))
    columns = ("", "first call", "further calls", "range", "times a right one")
    table("jaxbp.check, CPU seconds", columns, rows)
    drawn = dots(
        {
            name: {
                "first call, which compiles": [r["first"]] * 3,
                "further calls": (min(r["further"]), statistics.median(r["further"]), max(r["further"])),
            }
            for name, r in result.items()
        },
        "CPU seconds of a call, and their range",
        "What jaxbp.check costs",
        log=True,
    )
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
