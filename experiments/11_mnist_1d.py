"""Do an MLP, a CNN and a GRU, every delta by hand, reach the published table of MNIST-1D?

MNIST-1D has 4,000 and 1,000 series of 40 numbers in ten classes, each a template that was padded, moved,
scaled, covered with noise and sheared. Its recipe is here in NumPy and makes the published file, whose seed
is 42, to rounding. The networks are those of its notebook: logistic regression, an MLP of 100 and 100 units
with a skip, three convolutions of 25 channels, a GRU of 6 units in each direction, whose states at all places
are read together. The second direction is a layer that the library does not have: `both_ways`, a record of
some lines.

Published, per cent of the test set (Greydanus and Kobak, arXiv 2011.14439): logistic regression 32, MLP 68,
CNN 94, GRU 91, people 96. The notebook trains with Adam at a rate of 0.01 for 6,000 batches of 100, and ends
at 31.5, 65.1, 92.3 and 89.1. Here the rate falls to 0 along a cosine, and weights decay. Seen, as the median
of 3 seeds with their range (jax 0.10.2, CPU):

    logistic    31.2  (31.2 to 31.3)
    MLP         68.3  (68.1 to 71.3)
    CNN         93.0  (92.9 to 93.2)
    GRU         90.6  (89.6 to 90.7)

    python -m experiments.11_mnist_1d
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.record import figure, run, save, table

PUBLISHED = {"logistic": 32, "MLP": 68, "CNN": 94, "GRU": 91}
DECAY = {"logistic": 0.3, "MLP": 0.3, "CNN": 0.3, "GRU": 0.0}
"""Of the weights: for the MLP and the CNN the best of 0.03, 0.1, 0.3 and 1 with --held-out. The GRU, which is
small, is held back by it: 83 % of the test series with 0.3."""
TEMPLATES = (
    "5 6 6.5 6.75 7 7 7 7 6.75 6.5 6 5",
    "5 3 3 3.4 3.8 4.2 4.6 5 5.4 5.8 5 5",
    "5 6 6.5 6.5 6 5.25 4.75 4 3.5 3.5 4 5",
    "5 6 6.5 6.5 6 5 5 6 6.5 6.5 6 5",
    "5 4.4 3.8 3.2 2.6 2.6 5 5 5 5 5 5",
    "5 3 3 3 3 5 6 6.5 6.5 6 4.5 5",
    "5 4 3.5 3.25 3 3 3 3 3.25 3.5 4 5",
    "5 7 7 6.6 6.2 5.8 5.4 5 4.6 4.2 5 5",
    "5 4 3.5 3.5 4 5 5 4 3.5 3.5 4 5",
    "5 4 3.5 3.5 4 5 5 5 5 4.7 4.3 5",
)
"""The course of each digit, as the authors drew it."""


@dataclass(frozen=True)
class Config:
    networks: tuple[str, ...] = tuple(PUBLISHED)
    batch_size: int = 100
    iterations: int = 6_000
    learning_rate: float = 0.01
    """The first; it falls to 0 along a cosine."""
    weight_decay: float | None = None
    """Of each network's own if None: see DECAY."""
    held_out: bool = False
    """Judge by the last fifth of the training series, not by the test set: how a recipe is chosen."""
    seeds: int = 3
    out: Path = Path("results/11_mnist_1d")


def series(number: int = 5_000, seed: int = 42) -> tuple[np.ndarray, np.ndarray]:
    """x (N, 40) and y (N,) of the published recipe; of the published size and seed they are its file."""
    rng = np.random.RandomState(seed)  # the recipe's generator: each example draws from one stream in turn
    templates = np.array([[float(word) for word in row.split()] for row in TEMPLATES])
    templates -= templates.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6
    y = np.repeat(np.arange(10), number // 10)
    x = np.stack([example(templates[label], rng) for label in y])
    order = rng.permutation(len(y))
    x = x[order]
    return (x - x.mean()) / x.std(), y[order]


def example(template: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """One series: padded by 36 to 60 zeros, drawn out to 72 places, scaled, moved, noisy, sheared, cut."""
    x = stretched(np.pad(template + 1e-8, (0, 36 + int(rng.rand() * 25))), 72)
    x *= 1 + 0.4 * (rng.rand() - 0.5)
    x = np.roll(x, rng.choice(48))
    x = np.where(x != 0, x, smoothed(0.25 * rng.randn(72))) + 0.02 * rng.randn(72)
    return stretched(x - 0.75 * (rng.rand() - 0.5) * np.linspace(-0.5, 0.5, 72), 40)


def stretched(x: np.ndarray, places: int) -> np.ndarray:
    """Read between the numbers, along straight lines."""
    return np.interp(np.linspace(0, 1, places), np.linspace(0, 1, len(x)), x)


def smoothed(x: np.ndarray) -> np.ndarray:
    """Under a bell of standard deviation 2, cut at 8; beyond the ends x is its mirror image."""
    bell = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
    return np.convolve(np.pad(x, 8, "symmetric"), bell / bell.sum(), "valid")


def both_ways(layer: jaxbp.Layer) -> jaxbp.Layer:
    """A recurrent layer read from the first place on, beside another read from the last: (*n, T, 2 d_h).

    Backward, each gets its half of delta_out, the second turned round, and their delta_f are added.
    """

    def init(key: jax.Array) -> dict:
        return dict(zip(("forth", "back"), map(layer.init, jax.random.split(key)), strict=True))

    def apply(params: dict, f: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        back = layer.apply(params["back"], jnp.flip(f, -2))
        return jnp.concatenate([layer.apply(params["forth"], f), jnp.flip(back, -2)], -1)

    def forward(params: dict, f: jax.Array, *, key: jax.Array | None = None) -> tuple[jax.Array, Any]:
        forth, saved_forth = layer.forward(params["forth"], f)
        back, saved_back = layer.forward(params["back"], jnp.flip(f, -2))
        return jnp.concatenate([forth, jnp.flip(back, -2)], -1), (saved_forth, saved_back)

    def backward(params: dict, saved: Any, delta_out: jax.Array) -> tuple[dict, jax.Array]:
        delta_forth, delta_back = jnp.split(delta_out, 2, -1)
        of_forth, delta_f = layer.backward(params["forth"], saved[0], delta_forth)
        of_back, delta_turned = layer.backward(params["back"], saved[1], jnp.flip(delta_back, -2))
        return {"forth": of_forth, "back": of_back}, delta_f + jnp.flip(delta_turned, -2)

    return jaxbp.Layer(f"both_ways({layer.name})", apply, forward, backward, init)


def network(name: str) -> jaxbp.Layer:
    """From series (*n, 40, 1) to logits."""
    relu, dense, conv = jaxbp.relu, jaxbp.dense, partial(jaxbp.conv1d, stride=2, padding=1)
    he = {"init": jaxbp.initializers.he_uniform}
    inside = jaxbp.residual(jaxbp.chain(dense(100, 100, **he), relu))
    parts = {
        "logistic": (jaxbp.flatten(40, 1), dense(40, 10)),
        "MLP": (jaxbp.flatten(40, 1), dense(40, 100, **he), relu, inside, dense(100, 10)),
        "CNN": (
            *(conv(1, 25, 5, **he), relu, conv(25, 25, 3, **he), relu, conv(25, 25, 3, **he), relu),
            *(jaxbp.flatten(5, 25), dense(125, 10)),
        ),
        "GRU": (both_ways(jaxbp.gru(1, 6)), jaxbp.flatten(40, 12), dense(480, 10)),
    }
    return jaxbp.chain(*parts[name])


def main(config: Config) -> dict:
    x, y = series()
    x = x[..., None].astype(np.float32)
    train, test = (0, 4_000), (4_000, 5_000)
    if config.held_out:
        train, test = (0, 3_200), (3_200, 4_000)
    loss, result = jaxbp.softmax_cross_entropy, {}
    rate = optax.cosine_decay_schedule(config.learning_rate, config.iterations)
    for name in config.networks:
        net, found = network(name), []
        decay = DECAY[name] if config.weight_decay is None else config.weight_decay
        for seed in range(config.seeds):
            key_init, key_fit = jax.random.split(jax.random.key(seed))
            trained = jaxbp.fit(
                jaxbp.value_and_grad(net, loss),
                net.init(key_init),
                (x[slice(*train)], y[slice(*train)]),
                optimizer=optax.adamw(rate, weight_decay=decay),
                key=key_fit,
                batch_size=config.batch_size,
                iterations=config.iterations,
                validation=(x[slice(*test)], y[slice(*test)]),
                evaluate=jaxbp.make_evaluate(net.apply, loss),
                progress_bar=False,
            )
            found.append(100 * np.asarray(trained.history["val_accuracy"], float))
            print(f"{name}, seed {seed}: {found[-1][-1]:.1f} %", flush=True)
        last = [float(curve[-1]) for curve in found]
        result[name] = {
            "parameters": jaxbp.count_parameters(jax.eval_shape(net.init, jax.random.key(0))),
            "median": float(np.median(last)),
            "range": (min(last), max(last)),
            "published": PUBLISHED[name],
            "curve": np.median(found, 0).tolist(),
        }
    table(
        f"MNIST-1D, {config.seeds} seeds: per cent read rightly after the last batch",
        ("network", "parameters", "median", "least", "largest", "published"),
        [
            [name, row["parameters"], row["median"], *row["range"], row["published"]]
            for name, row in result.items()
        ],
    )
    drawn = figure(figsize=(6, 4))
    if drawn:
        for i, (name, row) in enumerate(result.items()):
            drawn[1].plot(1 + np.arange(len(row["curve"])), row["curve"], label=name, color=f"C{i}")
            drawn[1].axhline(row["published"], linestyle=":", color=f"C{i}")
        drawn[1].set(xlabel="epoch", ylabel="per cent read rightly", title="MNIST-1D; dotted: published")
        drawn[1].legend()
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
