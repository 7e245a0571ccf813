"""What do hand-written layers of images gain over autodiff, in time and memory?

    python -m experiments.98_image_layers

A step (loss and gradient) of LeNet-5, and single layers, forward and backward: by hand, by
`jax.value_and_grad` of the same network, and by the best autodiff that we can write, whose pooling is a
reshape and a maximum. All take turns in one process; the figure is how many times as fast the hand-written
one is by CPU time, the median of the rounds with their quartiles, and the share of the temporary memory that
the compiler reserves. Convolution itself is parity in a step alone: its two backward convolutions are
autodiff's own. In a loop, such as a training run is, XLA has fast kernels on CPUs for one order of the axes
only (jax-ml/jax issue 12868): autodiff's gradient of the weights has another, ours has that. Run it on an
idle machine. Whole training steps beside Flax and Equinox: ``90_training_benchmark --configs LeNet``.
"""

import time
from collections.abc import Callable
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
    batch: int = 64
    rounds: int = 15
    seconds: float = 0.5
    """Of CPU time that each way takes in a round."""
    out: Path = Path("results/98_image_layers")


def reshaped_pool(params: Any, f: jax.Array) -> jax.Array:
    """2 x 2 pooling as a reshape and a maximum, whose gradient a compiler fuses."""
    *n, H, W, c = f.shape
    return f.reshape(*n, H // 2, 2, W // 2, 2, c).max((-4, -2))


def lenet_of(pool: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """LeNet as a function for autodiff, its pooling written otherwise."""
    net = jaxbp.lenet()

    def apply(params: Any, x: jax.Array) -> jax.Array:
        l = 0
        for part in net.parts:
            l += part.has_params
            of_part = pool if part.name.startswith("max_pool") else part.apply
            x = of_part(params[l] if part.has_params else {}, x)
        return x

    return apply


def steps(
    net: jaxbp.Layer, others: dict[str, Callable[..., jax.Array]], x: Any, key: jax.Array, loop: int = 0
) -> dict:
    """Each way to the derivatives of <out, out> / 2 by parameters and input, as a compiled function.

    With ``loop``, so many times in one `jax.lax.scan`, the parameters a little less each time.
    """
    params = net.init(key)

    def by_hand(params: Any, x: jax.Array) -> Any:
        out, saved = net.forward(params, x)
        return net.backward(params, saved, out)

    def by_jax(apply: Callable[..., jax.Array]) -> Callable[..., Any]:
        def step(params: Any, x: jax.Array) -> Any:
            out, pull = jax.vjp(apply, params, x)
            return pull(out)

        return step

    def repeated(way: Callable[..., Any]) -> Callable[..., Any]:
        def step(carried: Any, _: None) -> Any:
            return jax.tree.map(lambda p, d: p - 1e-6 * d, carried, way(*carried)), None

        return lambda params, x: jax.lax.scan(step, (params, x), length=loop)[0]

    ways = {"by hand": by_hand, "autodiff": by_jax(net.apply)} | {n: by_jax(f) for n, f in others.items()}
    ways = {name: repeated(way) for name, way in ways.items()} if loop else ways
    return {name: jax.jit(way).lower(params, x).compile() for name, way in ways.items()} | {"": (params, x)}


def lenet_steps(config: Config, key: jax.Array, loop: int = 0) -> dict:
    """A step of LeNet, or ``loop`` steps of gradient descent in one `jax.lax.scan`."""
    net, loss = jaxbp.lenet(), jaxbp.softmax_cross_entropy
    args = net.init(key), jax.random.normal(key, (config.batch, 28, 28, 1)), jnp.arange(config.batch) % 10

    def by_jax(apply: Callable[..., jax.Array]) -> Callable[..., Any]:
        return jax.value_and_grad(lambda p, x, y: loss(apply(p, x), y))

    ways = {
        "by hand": jaxbp.value_and_grad(net, loss),
        "autodiff": by_jax(net.apply),
        "best autodiff": by_jax(lenet_of(reshaped_pool)),
    }

    def descent(way: Callable[..., Any]) -> Callable[..., Any]:
        def step(params: Any, x: jax.Array, y: jax.Array) -> Any:
            value, slope = way(params, x, y)
            return jax.tree.map(lambda p, d: p - 0.01 * d, params, slope), value

        return lambda params, *xy: jax.lax.scan(lambda p, _: step(p, *xy), params, length=loop)

    ways = {name: descent(way) for name, way in ways.items()} if loop else ways
    return {name: jax.jit(way).lower(*args).compile() for name, way in ways.items()} | {"": args}


def cpu_time(call: Callable[..., Any], args: tuple, seconds: float) -> float:
    """Of one call, from as many as fill these seconds."""
    jax.block_until_ready(call(*args))
    count, begin = 0, time.process_time()
    while time.process_time() - begin < seconds:
        jax.block_until_ready(call(*args))
        count += 1
    return (time.process_time() - begin) / count


def compared(ways: dict[str, Any], config: Config) -> dict[str, Any]:
    """Speed and temporary memory of the hand-written way against each other."""
    args = ways.pop("")
    rounds = [
        {n: cpu_time(way, args, config.seconds) for n, way in ways.items()} for _ in range(config.rounds)
    ]
    memory = {name: way.memory_analysis().temp_size_in_bytes / 2**20 for name, way in ways.items()}
    found = {"MiB": memory, "milliseconds": {n: 1e3 * float(np.median([r[n] for r in rounds])) for n in ways}}
    for name in ways:
        ratios = [row[name] / row["by hand"] for row in rounds]
        low, median, high = (float(v) for v in np.quantile(ratios, (0.25, 0.5, 0.75)))
        found[f"against {name}"] = {
            "speed": median,
            "quartiles": (low, high),
            "memory": memory["by hand"] / memory[name] if memory[name] else None,
        }
    return found


def main(config: Config = Config()) -> dict[str, Any]:
    key, n = jax.random.key(0), config.batch
    image, deep = (jax.random.normal(key, (n, *shape)) for shape in ((28, 28, 6), (16, 16, 64)))
    grouped = jaxbp.conv2d(64, 64, 3, padding=1, groups=64)

    def as_groups(params: Any, f: jax.Array) -> jax.Array:
        return grouped.apply(params | {"W": params["W"][:, None]}, f)

    cases = {
        "LeNet-5, a step": lambda: lenet_steps(config, key),
        "LeNet-5, four steps in a loop": lambda: lenet_steps(config, key, loop=4),
        "max_pool2d(2)": lambda: steps(jaxbp.max_pool2d(2), {"best autodiff": reshaped_pool}, image, key),
        "conv2d(64, 64, 3)": lambda: steps(jaxbp.conv2d(64, 64, 3, padding=1), {}, deep, key),
        "conv2d(64, 64, 3), twice in a loop": lambda: steps(
            jaxbp.conv2d(64, 64, 3, padding=1), {}, deep, key, loop=2
        ),
        "depthwise2d(64, 3)": lambda: steps(
            jaxbp.depthwise2d(64, 3, padding=1), {"a convolution of groups": as_groups}, deep, key
        ),
        "layer_norm(128)": lambda: steps(
            jaxbp.layer_norm(128), {}, jax.random.normal(key, (32 * n, 128)), key
        ),
        "batch_norm(64)": lambda: steps(jaxbp.batch_norm(64), {}, deep, key),
    }
    result = {name: compared(make(), config) for name, make in cases.items()}
    table(
        f"by hand against autodiff, batch {n}: times as fast by CPU time, share of temporary memory",
        ("layer", "against", "speed", "quartiles", "memory", "ms by hand"),
        [
            [
                layer,
                against.removeprefix("against "),
                found["speed"],
                "{:.2f} to {:.2f}".format(*found["quartiles"]),
                "-" if found["memory"] is None else found["memory"],
                row["milliseconds"]["by hand"],
            ]
            for layer, row in result.items()
            for against, found in row.items()
            if against.startswith("against") and against != "against by hand"
        ],
    )
    drawn = dots(
        {
            layer: {
                against.removeprefix("against "): sorted((*found["quartiles"], found["speed"]))
                for against, found in row.items()
                if against.startswith("against") and against != "against by hand"
            }
            for layer, row in result.items()
        },
        "by hand, times as fast as this: median and quartiles of CPU time",
        "Image layers, derivatives by hand against autodiff",
        one=1,
        log=True,
    )
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
