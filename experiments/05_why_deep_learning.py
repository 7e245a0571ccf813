"""Why learn a representation instead of designing one?

1. Supervised: features made by hand (row and column sums, symmetries, moments) with a linear softmax model on
   them, the linear model on the pixels themselves, and networks that learn their representation end to end.
2. Hierarchy: how well a linear model reads the digit from each level f_l of a trained network.
3. Unsupervised: an autoencoder that never sees a label; how much of the images it loses, beside PCA with a
   code of the same size, and what a linear model makes of the codes.

The picture shows what the hidden units answer to (one that is dead stays blank), and digits with their
reconstruction.

    python -m experiments.05_why_deep_learning
    python -m experiments.05_why_deep_learning --data-dir FOLDER --epochs 10 --seeds 3

The first trains on scikit-learn's digits, 1 minute on 2 CPU cores; the second on MNIST in FOLDER, 3 minutes.
Expected, as medians over the seeds:

    linear on features by hand           0.9136
    linear on pixels                     0.9638
    network, learned end to end          0.9833
    linear on its level f_1              0.9777
    linear on its level f_2              0.9833
    linear on the autoencoder's code     0.9304
    linear on PCA's code                 0.9331
    variance lost by the autoencoder     0.1413
    variance lost by PCA                 0.2193

With --data-dir FOLDER, in the same order, 0.8358, 0.9263, 0.9792, 0.9743, 0.9788, 0.8706, 0.8299, and 0.2612
and 0.4629 lost.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.preprocessing import StandardScaler

import jaxbp
from experiments.record import figure, run, save, table
from jaxbp.backprop import forward
from jaxbp.data import digits, mnist


@dataclass(frozen=True)
class Config:
    data_dir: Path | None = None
    """The folder of MNIST's four files; scikit-learn's digits without it."""
    hidden: tuple[int, ...] = (64, 64)
    """Of the network whose representation is learned."""
    code: int = 12
    """The size of the autoencoder's code."""
    epochs: int = 60
    batch_size: int = 32
    seeds: int = 5
    out: Path = Path("results/05_why_deep_learning")


def by_hand(x: np.ndarray) -> np.ndarray:
    """Features that a person would design for images of digits, (N, 2 side + 9)."""
    side = round(x.shape[1] ** 0.5)
    images = x.reshape(-1, side, side)
    rows, columns, ink = images.sum(2), images.sum(1), images.sum((1, 2))
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    moments = [
        (images * weight).sum((1, 2)) / ink for weight in (down, across, down**2, across**2, down * across)
    ]
    mirrored = images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]
    symmetries = [abs(images - mirror).mean((1, 2)) for mirror in mirrored]
    return np.column_stack([rows, columns, ink, *moments, *symmetries])


def trained(net: jaxbp.Layer, loss: jaxbp.Loss, x, y, config: Config, seed: int) -> dict:
    """The parameters after training by Adam, its rate decaying to 0."""
    key_init, key_fit = jax.random.split(jax.random.key(seed))
    iterations = config.epochs * -(-len(x) // config.batch_size)
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, iterations))
    return jaxbp.fit(
        jaxbp.value_and_grad(net, loss), net.init(key_init), (x, y), optimizer=optimizer, key=key_fit,
        batch_size=config.batch_size, epochs=config.epochs, progress_bar=False,
    ).params  # fmt: skip


def linear_accuracy(train_f, train_y, test_f, test_y, config: Config, seed: int) -> float:
    """Of a linear softmax model on features standardised by the training set."""
    scaler = StandardScaler().fit(train_f)
    net = jaxbp.mlp([train_f.shape[1], 10])
    params = trained(net, jaxbp.softmax_cross_entropy, scaler.transform(train_f), train_y, config, seed)
    return accuracy(net, params, scaler.transform(test_f), test_y)


def accuracy(net: jaxbp.Layer, params: dict, x, y) -> float:
    return float((net.apply(params, jnp.asarray(x)).argmax(-1) == y).mean())


def pca(train_x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the first principal axes, (size, d): the best linear autoencoder."""
    mean = train_x.mean(0)
    _, axes = np.linalg.eigh(np.cov(train_x.T))
    return mean, axes[:, ::-1][:, :size].T.astype(train_x.dtype)


def answered(f, x: np.ndarray) -> np.ndarray:
    """For each unit the mean image, weighted by how far its output is above its own mean: (units, d)."""
    f = np.asarray(f)
    return (f - f.mean(0)).T @ (x - x.mean(0)) / len(x)


def one_seed(config: Config, seed: int) -> tuple[dict, dict]:
    """All the numbers of one seed (of the split, the weights and the order), and what the figure shows."""
    train, test = mnist(config.data_dir) if config.data_dir else digits(seed=seed)
    labels = train.y, test.y
    d = train.x.shape[1]

    def linear(train_f, test_f) -> float:
        return linear_accuracy(train_f, labels[0], test_f, labels[1], config, seed)

    numbers = {
        "linear on features by hand": linear(by_hand(train.x), by_hand(test.x)),
        "linear on pixels": linear(train.x, test.x),
    }
    net = jaxbp.mlp([d, *config.hidden, 10], jaxbp.relu)
    params = trained(net, jaxbp.softmax_cross_entropy, train.x, train.y, config, seed)
    numbers["network, learned end to end"] = accuracy(net, params, test.x, test.y)
    levels = [forward(net, params, jnp.asarray(part.x)).f for part in (train, test)]
    for l in range(1, len(config.hidden) + 1):
        numbers[f"linear on its level f_{l}"] = linear(levels[0][l], levels[1][l])

    encoder = jaxbp.mlp([d, config.hidden[0], config.code], jaxbp.tanh)
    decoder = jaxbp.mlp([config.code, config.hidden[0], d], jaxbp.tanh, output=jaxbp.sigmoid)
    autoencoder = jaxbp.chain(encoder, decoder)
    weights = trained(autoencoder, jaxbp.squared_error, train.x, train.x, config, seed)
    reconstructed = np.asarray(autoencoder.apply(weights, jnp.asarray(test.x)))
    codes = [forward(autoencoder, weights, jnp.asarray(part.x)).a[2] for part in (train, test)]
    numbers["linear on the autoencoder's code"] = linear(*codes)
    mean, axes = pca(train.x, config.code)
    numbers["linear on PCA's code"] = linear((train.x - mean) @ axes.T, (test.x - mean) @ axes.T)
    centred = test.x - mean
    for name, lost in (
        ("the autoencoder", reconstructed - test.x),
        ("PCA", centred - centred @ axes.T @ axes),
    ):
        numbers[f"variance lost by {name}"] = float((lost**2).sum() / (centred**2).sum())
    shown = {
        "W_1 of the network": np.asarray(params[1]["W"]),
        "what the units of its level f_1 answer to": answered(levels[1][1], test.x),
        f"what the units of its level f_{len(config.hidden)} answer to": answered(
            levels[1][len(config.hidden)], test.x
        ),
        "what the units of the autoencoder's code answer to": answered(codes[1], test.x),
        "digits": test.x,
        "reconstructed by the autoencoder": reconstructed,
    }
    return numbers, shown


def draw(shown: dict[str, np.ndarray]):
    """A strip of 16 images for each name, each in parts of its own largest entry, as its color bar says."""
    drawn = figure(len(shown), 1, figsize=(9, 6))
    if drawn:
        for axis, (name, rows) in zip(drawn[1], shown.items(), strict=True):
            side = round(rows.shape[1] ** 0.5)
            rows = rows[:16] / abs(rows[:16]).max(axis=1, keepdims=True).clip(1e-12)
            strip = np.pad(rows.reshape(-1, side, side), ((0, 16 - len(rows)), (1, 1), (1, 1)))
            signed = rows.min() < 0
            style = {"cmap": "cividis", "vmin": -1} if signed else {"cmap": "gray_r", "vmin": 0}
            image = axis.imshow(np.concatenate(strip, axis=1), vmax=1, **style)
            key = drawn[0].colorbar(image, ax=axis, ticks=[-1, 0, 1] if signed else [0, 1], aspect=8)
            key.set_label("share of the\nlargest |entry|", fontsize=7)
            axis.set(title=name, xticks=[], yticks=[])
    return drawn


def main(config: Config = Config()) -> dict:
    runs = []
    for seed in range(config.seeds):
        numbers, shown = one_seed(config, seed)
        runs.append(numbers)
        print(f"seed {seed} of {config.seeds} done", flush=True)
    columns = {name: [numbers[name] for numbers in runs] for name in runs[0]}
    summary = {
        name: {"median": float(np.median(column)), "range": (min(column), max(column))}
        for name, column in columns.items()
    }
    table(
        f"Test accuracy, and variance lost; {config.seeds} seeds",
        ("", "median", "least", "greatest"),
        [
            (name, f"{row['median']:.4f}", *(f"{v:.4f}" for v in row["range"]))
            for name, row in summary.items()
        ],
    )
    return save(config, {"summary": summary, "runs": runs}, draw(shown))


if __name__ == "__main__":
    run(main, Config)
