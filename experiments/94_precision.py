"""How far are the gradients of each precision from those of float64, and what does it do to training?

    python -m experiments.94_precision

Gradients are of the mean softmax cross-entropy of 128 random examples, for networks of growing depth; the
error is that of all parameters together, ||g - g_float64|| / ||g_float64||. "bfloat16, mixed" is
`mixed_precision`: products and activations in bfloat16, parameters, sums over the examples and the loss in
float32. "bfloat16" has everything in it. The accuracies are those of the network of `jaxbp train` on digits
after 20 epochs of Adam, the median over the seeds. Half a minute on 2 CPU cores. Expected, on a CPU:

                     1 hidden   4 hidden   16 hidden   accuracy (range)
    float32           3.8e-07    6.8e-07     2.5e-06   0.9889 (0.9861 to 0.9916)
    bfloat16, mixed   6.2e-03    9.3e-03     2.9e-02   0.9889 (0.9861 to 0.9916)
    bfloat16          6.5e-03    9.5e-03     3.0e-02   0.9883 (0.9844 to 0.9883)

With --activation relu the errors in bfloat16 are 2.6e-2 to 8.6e-2, and 4.6e-4 for 16 layers in float32: where
rounding carries an a over the kink at 0, its slope is another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.record import figure, run, save, table


@dataclass(frozen=True)
class Config:
    width: int = 256
    depths: tuple[int, ...] = (1, 4, 16)
    batch: int = 128
    activation: Literal["tanh", "gelu", "relu"] = "gelu"
    seeds: int = 5
    epochs: int = 20
    out: Path = Path("results/94_precision")


def cast(tree: Any, dtype: str) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


PRECISIONS: dict[str, tuple[str, Callable[[jaxbp.Layer], jaxbp.Layer]]] = {
    "float32": ("float32", lambda net: net),
    "bfloat16, mixed": ("float32", jaxbp.mixed_precision),
    "bfloat16": ("bfloat16", lambda net: net),
}


def error(precision: str, depth: int, config: Config) -> float:
    dtype, made = PRECISIONS[precision]
    net = jaxbp.mlp([config.width] * (depth + 1) + [10], getattr(jaxbp, config.activation))
    with jax.enable_x64(True):
        params = cast(net.init(jax.random.key(depth)), "float64")
        x = jax.random.normal(jax.random.key(0), (config.batch, config.width), "float64")
        y = jax.random.randint(jax.random.key(1), (config.batch,), 0, 10)

        def grads(net: jaxbp.Layer, dtype: str) -> np.ndarray:
            grad_fn = jax.jit(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy))
            leaves = jax.tree.leaves(grad_fn(cast(params, dtype), cast(x, dtype), y)[1])
            return np.concatenate([np.asarray(leaf, "float64").ravel() for leaf in leaves])

        exact = grads(net, "float64")
        return float(np.linalg.norm(grads(made(net), dtype) - exact) / np.linalg.norm(exact))


def accuracies(precision: str, config: Config) -> np.ndarray:
    dtype, made = PRECISIONS[precision]
    train, test = jaxbp.load("digits")
    net = made(jaxbp.mlp([64, 128, 10], jaxbp.relu))
    result = jaxbp.sweep(
        jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy),
        lambda key: cast(net.init(key), dtype),
        (jnp.asarray(train.x, dtype), train.y),
        optimizer=optax.adam,
        hyperparameters={"learning_rate": [3e-3]},
        key=jax.random.key(0),
        seeds=config.seeds,
        epochs=config.epochs,
        validation=(jnp.asarray(test.x, dtype), test.y),
        evaluate=jaxbp.make_evaluate(net.apply, jaxbp.softmax_cross_entropy),
        progress_bar=False,
    )
    return result.history["val_accuracy"][:, -1]


def main(config: Config = Config()) -> dict[str, Any]:
    result = {}
    for precision in PRECISIONS:
        reached = accuracies(precision, config)
        result[precision] = {
            "error": {depth: error(precision, depth, config) for depth in config.depths},
            "accuracy": [float(f(reached)) for f in (np.median, np.min, np.max)],
        }
    table(
        f"gradients against float64 ({config.width} wide), and the test accuracy on digits",
        ["", *(f"{depth} hidden" for depth in config.depths), "accuracy (range)"],
        [
            [
                name,
                *(f"{e:.1e}" for e in row["error"].values()),
                "{:.4f} ({:.4f} to {:.4f})".format(*row["accuracy"]),
            ]
            for name, row in result.items()
        ],
    )
    drawn = figure(1, 1, figsize=(4, 3.2))
    if drawn:
        for name, row in result.items():
            drawn[1].loglog(config.depths, list(row["error"].values()), marker="o", label=name)
        drawn[1].set(xlabel="hidden layers", ylabel="relative error of the gradient")
        drawn[1].legend()
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
