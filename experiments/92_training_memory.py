"""What does the hand-written backward pass need, in memory and FLOPs, against `jax.value_and_grad`?

    python -m experiments.92_training_memory

16 layers of 512 at batch 1024, squared error: an array of activations takes 2 MiB, and at least one a layer
has to be kept. Memory is what the compiler reserves for temporaries, FLOPs are what it counts; both are exact
and the same at every run. 10 seconds. Expected on a CPU, by hand / jax.value_and_grad of the same network:

    sigmoid  34 / 34 MiB, FLOPs 1.000    relu  34 / 64 MiB, FLOPs 1.000    gelu  40 / 94 MiB, FLOPs 1.000
    tanh     34 / 34 MiB, FLOPs 1.000                                     silu  40 / 94 MiB, FLOPs 1.000

With --activations gelu_exact softplus leaky_relu it is 64 / 124, 34 / 64 and 34 / 64 MiB; see
`jaxbp.layers.memory`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxbp
from experiments.record import figure, run, save, table


@dataclass(frozen=True)
class Config:
    width: int = 512
    depth: int = 16
    batch: int = 1024
    activations: tuple[str, ...] = ("sigmoid", "tanh", "relu", "gelu", "silu")
    out: Path = Path("results/92_training_memory")


def needs(grad_fn: Callable, *args: Any) -> dict[str, float]:
    compiled = jax.jit(grad_fn).lower(*args).compile()
    return {
        "MiB": compiled.memory_analysis().temp_size_in_bytes / 2**20,
        "MFLOP": compiled.cost_analysis()["flops"] / 1e6,
    }


def main(config: Config = Config()) -> dict[str, Any]:
    result = {}
    x = jax.ShapeDtypeStruct((config.batch, config.width), jnp.float32)
    for name in config.activations:
        net = jaxbp.mlp([config.width] * (config.depth + 1), getattr(jaxbp, name))
        params = jax.eval_shape(net.init, jax.random.key(0))

        def loss(params: Any, x: jax.Array, y: jax.Array, net: jaxbp.Layer = net) -> jax.Array:
            return jaxbp.squared_error(net.apply(params, x), y)

        result[name] = {
            "by hand": needs(jaxbp.value_and_grad(net, jaxbp.squared_error), params, x, x),
            "jax.value_and_grad": needs(jax.value_and_grad(loss), params, x, x),
        }
        for unit in ("MiB", "MFLOP"):
            ours, theirs = (result[name][way][unit] for way in ("by hand", "jax.value_and_grad"))
            result[name][f"ratio of {unit}"] = ours / theirs
    table(
        f"{config.depth} layers of {config.width}, batch {config.batch}: by hand / jax.value_and_grad",
        ("activation", "MiB", "ratio", "MFLOP", "ratio"),
        [
            [name]
            + [
                cell
                for unit, form in (("MiB", ".1f"), ("MFLOP", ".0f"))
                for cell in (
                    " / ".join(format(row[way][unit], form) for way in ("by hand", "jax.value_and_grad")),
                    row[f"ratio of {unit}"],
                )
            ]
            for name, row in result.items()
        ],
    )
    drawn = figure(figsize=(6, 3.5))
    if drawn:
        for shift, way in ((-0.2, "by hand"), (0.2, "jax.value_and_grad")):
            at = [i + shift for i in range(len(result))]
            drawn[1].bar(at, [row[way]["MiB"] for row in result.values()], 0.4, label=way)
        drawn[1].set_xticks(range(len(result)), result)
        drawn[1].set_ylabel("temporaries, MiB")
        drawn[1].legend()
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
