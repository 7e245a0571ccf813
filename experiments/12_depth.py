"""How deep can a network be and still train, and what do its deltas say before it begins?

A block of 32 units is repeated 4, 16 or 64 times between a dense layer in and one out, and learns
scikit-learn's digits: with each activation its initializations, then with a layer norm in each block, a skip
around it, both. Before training, |delta_{f_l}| of each block is measured: what a block's Jacobian does to a
delta on average is done to the power of the depth. A skip makes that Jacobian I + J_branch; a norm divides by
the spread of its input, so that no scale of W matters. After 300 iterations of Adam, at the better of two
learning rates, the part of the training digits that is read rightly: the median over seeds.

The blocks are one loop, `repeat`, so that 64 of them compile as fast as 4; the deltas are those of
`block.backward`, in a loop too. All seeds and learning rates of a network train at once, by `sweep`.

    python -m experiments.12_depth
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.record import figure, run, save, table
from jaxbp.data import digits
from jaxbp.layers import initializers


def plain(activation: jaxbp.Layer, init: initializers.Initializer, d: int) -> jaxbp.Layer:
    return jaxbp.chain(jaxbp.dense(d, d, init=init), activation)


def normed(d: int) -> jaxbp.Layer:
    return jaxbp.chain(jaxbp.dense(d, d, init=initializers.he_normal), jaxbp.layer_norm(d), jaxbp.relu)


def skipped(d: int) -> jaxbp.Layer:
    return jaxbp.residual(plain(jaxbp.relu, initializers.he_normal, d))


def normed_and_skipped(d: int) -> jaxbp.Layer:
    return jaxbp.residual(jaxbp.chain(jaxbp.layer_norm(d), plain(jaxbp.relu, initializers.he_normal, d)))


BLOCKS: dict[str, Callable[[int], jaxbp.Layer]] = {
    "sigmoid, Glorot": partial(plain, jaxbp.sigmoid, initializers.glorot_normal),
    "tanh, Glorot": partial(plain, jaxbp.tanh, initializers.glorot_normal),
    "relu, N(0, 1)": partial(plain, jaxbp.relu, initializers.standard_normal),
    "relu, Glorot": partial(plain, jaxbp.relu, initializers.glorot_normal),
    "relu, He": partial(plain, jaxbp.relu, initializers.he_normal),
    "relu, He, layer norm": normed,
    "relu, He, skip": skipped,
    "relu, He, layer norm, skip": normed_and_skipped,
}


@dataclass(frozen=True)
class Config:
    blocks: tuple[str, ...] = tuple(BLOCKS)
    depths: tuple[int, ...] = (4, 16, 64)
    d: int = 32
    iterations: int = 300
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (1e-3, 1e-2)
    seeds: int = 3
    trains: float = 0.9
    """What a network must read rightly of the training digits to count as trained."""
    out: Path = Path("results/12_depth")


def network(block: jaxbp.Layer, depth: int, d: int) -> jaxbp.Layer:
    return jaxbp.chain(jaxbp.dense(64, d), jaxbp.repeat(block, depth), jaxbp.dense(d, 10))


@partial(jax.jit, static_argnums=(0, 1))
def begun(block: jaxbp.Layer, net: jaxbp.Layer, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    """The norm of delta_{f_l} before each block and after the last: the blocks in two loops."""
    (first, _, last), params = net.parts, net.init(key)
    f, _ = first.forward(params[1], x)
    f, saved = jax.lax.scan(lambda f, p: block.forward(p, f), f, params[2])
    out, saved_last = last.forward(params[3], f)
    _, delta = last.backward(params[3], saved_last, jaxbp.softmax_cross_entropy.delta(out, y))

    def back(delta: jax.Array, at: tuple) -> tuple[jax.Array, jax.Array]:
        before = block.backward(*at, delta)[1]
        return before, jnp.linalg.norm(before)

    norms = jax.lax.scan(back, delta, (params[2], saved), reverse=True)[1]
    return jnp.append(norms, jnp.linalg.norm(delta))


def learned(net: jaxbp.Layer, train: jaxbp.Dataset, config: Config) -> dict:
    """Of the best learning rate the part of the training digits that is read rightly, over seeds.

    A network that diverged reads nothing.
    """
    loss = jaxbp.softmax_cross_entropy
    found = jaxbp.sweep(
        jaxbp.value_and_grad(net, loss),
        net.init,
        train,
        optimizer=optax.adam,
        hyperparameters={"learning_rate": config.learning_rates},
        key=jax.random.key(0),
        seeds=config.seeds,
        batch_size=config.batch_size,
        epochs=-(-config.iterations // -(-len(train.x) // config.batch_size)),
        validation=train,
        evaluate=jaxbp.make_evaluate(net.apply, loss),
        progress_bar=False,
    )
    accuracy = np.nan_to_num(found.at_best("val_accuracy")).reshape(-1, config.seeds)
    best = int(np.median(accuracy, 1).argmax())
    return {
        "median": float(np.median(accuracy[best])),
        "range": (float(accuracy[best].min()), float(accuracy[best].max())),
        "learning_rate": config.learning_rates[best],
    }


def main(config: Config) -> dict:
    train, _ = digits()
    batch = jnp.asarray(train.x[: config.batch_size]), jnp.asarray(train.y[: config.batch_size])
    result = {}
    for name in config.blocks:
        block = BLOCKS[name](config.d)
        accuracy, deltas = {}, {}
        for depth in config.depths:
            net = network(block, depth, config.d)
            keys = jax.random.split(jax.random.key(1), config.seeds)
            deltas[depth] = np.median(jax.vmap(partial(begun, block, net, *batch))(keys), 0).tolist()
            accuracy[depth] = learned(net, train, config)
            jax.clear_caches()
        deep = [depth for depth, row in accuracy.items() if row["median"] >= config.trains]
        result[name] = {"accuracy": accuracy, "deltas": deltas, "deepest": max(deep, default=0)}
    table(
        f"the part of {len(train.x)} training digits read rightly, median of {config.seeds} seeds; before "
        f"training |delta| ahead of the first of {config.depths[-1]} blocks, by that after the last",
        ("block", *(f"{depth} blocks" for depth in config.depths), "deepest that trains", "|delta|"),
        [
            (
                name,
                *(row["accuracy"][depth]["median"] for depth in config.depths),
                row["deepest"],
                f"{row['deltas'][config.depths[-1]][0] / row['deltas'][config.depths[-1]][-1]:.1e}",
            )
            for name, row in result.items()
        ],
    )
    return save(config, result, draw(result, config))


def draw(result: dict, config: Config) -> tuple | None:
    drawn = figure(1, 2, figsize=(11, 4.5))
    if drawn:
        flow, reached = drawn[1]
        for i, (name, row) in enumerate(result.items()):
            style = {"color": f"C{i}", "linestyle": "--" if "skip" in name else "-"}
            norms = np.array(row["deltas"][config.depths[-1]])
            flow.plot(np.where(norms > 0, norms, np.nan) / norms[-1], label=name, **style)
            medians = [row["accuracy"][depth]["median"] for depth in config.depths]
            reached.plot(config.depths, medians, marker="osD^vXP*"[i % 8], label=name, **style)
        flow.set(xlabel="after block l", ylabel=r"$|\delta_{f_l}|$ by that after the last block")
        flow.set(title=f"before training, {config.depths[-1]} blocks", yscale="log", ylim=(1e-20, 1e20))
        reached.set(xlabel="blocks", ylabel="training digits read rightly", xscale="log")
        reached.set(title=f"after {config.iterations} iterations")
        reached.set_xticks(config.depths, config.depths)
        reached.minorticks_off()
        reached.legend(fontsize="x-small")
    return drawn


if __name__ == "__main__":
    run(main, Config)
