"""What does jaxbp.diagnose find in the faulty programs that others have published?

    python -m experiments.51_public_benchmarks

DeepLocalize's benchmark (29 questions of Stack Overflow and 11 repositories: Keras programs with their
patches) and the families of AutoTrainer, written anew in JAX from what is said of them: the shape and range of
the data, which are drawn here, the layers and the loss. "detected" is any finding, "named" one of the
words that say what the patch mends. One batch at the start shows no learning rate, no number of epochs, no
width, no dropout, and no loss that is merely a worse choice: such programs are in the table as "not in one
batch", and count as missed in the rates of all. Theia's 40 questions are not listed in its paper's abstract, and are
not here. Two minutes on two CPU cores.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import run, save, table

N = 64


class Program(NamedTuple):
    """A program with a fault.

    Args:
        name: number of the question, name of the repository, or family.
        fault: what its patch mends.
        make: gives f, params and batch.
        words: findings of which each names the fault; none where one batch does not show it.
    """

    name: str
    fault: str
    make: Callable[[], tuple[Any, ...]]
    words: tuple[str, ...]


ACTIVATIONS = {
    "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "elu": jax.nn.elu, "linear": lambda a: a,
    "softmax": jax.nn.softmax,
}  # fmt: skip


def glorot(rng: np.random.Generator, m: int, n: int) -> Any:
    return rng.uniform(-1, 1, (m, n)) * (6 / (m + n)) ** 0.5


def normal_of(scale: float) -> Callable[..., Any]:
    return lambda rng, m, n: scale * rng.standard_normal((m, n))


def uniform_of(scale: float) -> Callable[..., Any]:
    return lambda rng, m, n: scale * rng.uniform(-1, 1, (m, n))


# Losses of probabilities, as Keras has them: held away from 0 by 1e-7.
def categorical(p: Any, y: Any) -> Any:
    p = p / p.sum(-1, keepdims=True)
    return -jnp.mean(jnp.sum(y * jnp.log(jnp.maximum(p, 1e-7)), -1))


def sparse(p: Any, y: Any) -> Any:
    picked = jnp.take_along_axis(p, y.astype(jnp.int32)[:, None], 1)
    return -jnp.mean(jnp.log(jnp.maximum(picked, 1e-7)))


def binary(p: Any, y: Any) -> Any:
    p = jnp.clip(p, 1e-7, 1 - 1e-7)
    return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


def squared(p: Any, y: Any) -> Any:
    return jnp.mean((p - y) ** 2)


def absolute(p: Any, y: Any) -> Any:
    return jnp.mean(jnp.abs(p - y))


def dense(
    x: Any, y: Any, sizes: Sequence[int], acts: Sequence[str], loss: Any, init: Any = glorot, bias: float = 0.0,
    seed: int = 0,
) -> tuple[Any, ...]:  # fmt: skip
    """A chain of dense layers after x, each with its activation."""
    rng = np.random.default_rng(seed)
    params = [
        {"W": jnp.float32(init(rng, m, n)), "b": jnp.full(n, bias, jnp.float32)}
        for m, n in pairwise((x.shape[1], *sizes))
    ]

    def f(params: Any, x: Any, y: Any) -> Any:
        for layer, act in zip(params, acts, strict=True):
            x = ACTIVATIONS[act](x @ layer["W"] + layer["b"])
        return loss(x, y)

    return f, params, (jnp.asarray(x), jnp.asarray(y))


def convolved(x: Any, y: Any, channels: Sequence[int], sizes: Sequence[int], last: str, loss: Any, hidden: str = "relu"
              ) -> tuple[Any, ...]:  # fmt: skip
    """Convolutions of 3 x 3, each with an activation and a maximum over 2 x 2, and dense layers."""
    rng, act = np.random.default_rng(1), ACTIVATIONS[hidden]
    kernels = [
        jnp.float32(rng.standard_normal((3, 3, m, n)) * (2 / (9 * (m + n))) ** 0.5)
        for m, n in pairwise((x.shape[-1], *channels))
    ]
    side = x.shape[1] // 2 ** len(channels)
    dense_layers = [jnp.float32(glorot(rng, m, n)) for m, n in pairwise((side * side * channels[-1], *sizes))]

    def f(params: Any, x: Any, y: Any) -> Any:
        for k in params["kernels"]:
            x = act(
                jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            )
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = x.reshape(len(x), -1)
        for W in params["dense"][:-1]:
            x = act(x @ W)
        return loss(ACTIVATIONS[last](x @ params["dense"][-1]), y)

    return f, {"kernels": kernels, "dense": dense_layers}, (jnp.asarray(x), jnp.asarray(y))


def numbers(seed: int, *shape: int, low: float = -1.0, high: float = 1.0) -> Any:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def classes(seed: int, count: int, n: int = N) -> Any:
    return np.random.default_rng(seed).permutation(np.arange(n) % count)


def one_hot(seed: int, count: int, n: int = N) -> Any:
    return np.eye(count, dtype=np.float32)[classes(seed, count, n)]


def coins(seed: int, *shape: int) -> Any:
    return (numbers(seed, *shape) > 0).astype(np.float32)


def pixels(seed: int, *shape: int, top: float = 1.0) -> Any:
    """Images of a drawn thing on black ground, as digits are."""
    x = numbers(seed, *shape, low=0.0, high=top)
    return np.where(np.random.default_rng(seed + 1).random(shape) < 0.8, 0, x).astype(np.float32)


XOR = (
    np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 4, np.float32),
    np.array([0, 1, 1, 0] * 4, np.float32)[:, None],
)
HIDDEN = ("relu", "relu")


def deep_localize() -> Iterator[Program]:
    """Questions of Stack Overflow by number, and repositories of GitHub by name."""
    x_line, table_of = np.arange(-100, 100, 3.0, np.float32)[:, None], numbers(1, N, 8, low=0, high=200)
    digits, bytes_ = pixels(2, N, 784), pixels(3, N, 784, top=255.0)
    images = numbers(4, 24, 16, 16, 3, low=0, high=255)
    yield Program(
        "48385830",
        "hidden layer without activation, weights N(0, 1)",
        lambda: dense(digits, one_hot(1, 10), (30, 10), ("linear", "sigmoid"), squared, normal_of(1.0)),
        (),
    )
    yield Program(
        "44164749",
        "softmax and categorical loss became sigmoid and binary: a choice",
        lambda: dense(digits, one_hot(2, 10), (64, 32, 10), (*HIDDEN, "softmax"), categorical),
        (),
    )
    yield Program(
        "31556268",
        "mean absolute error, too few steps",
        lambda: dense(*XOR, (4, 1), ("sigmoid", "sigmoid"), absolute),
        (),
    )
    yield Program(
        "50306988",
        "two outputs became one: a choice",
        lambda: dense(
            numbers(5, N, 2, low=0.2, high=0.7), one_hot(3, 2), (2, 2), ("sigmoid", "softmax"), categorical
        ),
        (),
    )
    yield Program(
        "48251943",
        "relu at the end, targets of both signs",
        lambda: dense(numbers(6, N, 2), numbers(7, N, 1) - 0.4, (4, 1), HIDDEN, squared),
        ("output_range", "dead"),
    )
    yield Program(
        "38648195",
        "squared error of a softmax: a choice",
        lambda: dense(numbers(8, N, 20), one_hot(4, 3), (20, 20, 3), (*HIDDEN, "softmax"), squared),
        (),
    )
    yield Program(
        "33969059",
        "softmax over one output of a regression",
        lambda: dense(
            numbers(9, N, 4, low=0),
            1e4 * numbers(10, N, 1, low=0),
            (4, 2, 1),
            ("tanh", "tanh", "softmax"),
            squared,
            uniform_of(0.05),
        ),
        ("size_one", "output_range"),
    )
    yield Program(
        "55328966",
        "bytes 0 .. 255, sigmoid in a loss of classes",
        lambda: dense(bytes_, one_hot(5, 10), (784, 128, 10), ("linear", "relu", "sigmoid"), categorical),
        ("unscaled",),
    )
    yield Program(
        "34311586",
        "softmax over one output",
        lambda: dense(*XOR, (2, 3, 1), ("sigmoid", "sigmoid", "softmax"), squared, uniform_of(0.05)),
        ("size_one",),
    )
    yield Program(
        "31880720",
        "softmax over one output",
        lambda: dense(numbers(11, N, 128), coins(12, N, 1), (50, 50, 1), (*HIDDEN, "softmax"), binary),
        ("size_one",),
    )
    yield Program(
        "39525358",
        "inputs not scaled",
        lambda: dense(
            table_of[:, :3] * 5, coins(13, N, 1), (12, 3, 1), (*HIDDEN, "sigmoid"), binary, uniform_of(0.05)
        ),
        ("unscaled",),
    )
    yield Program(
        "39217567",
        "three sigmoid layers of small weights",
        lambda: dense(
            coins(14, N, 8), coins(15, N, 8), (8, 8, 8), ("sigmoid",) * 3, squared, normal_of(0.05)
        ),
        ("vanishing",),
    )
    yield Program(
        "48934338",
        "learning rate",
        lambda: dense(
            numbers(16, N, 1, low=0, high=5),
            25 * numbers(17, N, 1, low=0),
            (50, 30, 1),
            (*HIDDEN, "linear"),
            squared,
        ),
        (),
    )
    yield Program(
        "47724077",
        "inputs not scaled (sums of money); the patch changes the optimizer",
        lambda: dense(
            np.concatenate([table_of, 3e5 * numbers(18, N, 6, low=0)], 1),
            one_hot(6, 2),
            (21, 2),
            ("relu", "softmax"),
            categorical,
        ),
        ("unscaled",),
    )
    yield Program(
        "59325381",
        "labels divided by 255, inputs of the test not",
        lambda: dense(
            digits, (classes(7, 10) / 255).astype(np.float32), (128, 10), ("relu", "softmax"), sparse
        ),
        ("one_class", "label_range"),
    )
    yield Program(
        "59278771",
        "sigmoid in a loss of classes, inputs not scaled",
        lambda: dense(
            numbers(19, N, 4, low=0, high=7),
            one_hot(8, 3),
            (4, 3),
            ("relu", "sigmoid"),
            categorical,
            normal_of(0.05),
        ),
        (),
    )
    yield Program(
        "52800582",
        "inputs of -100 .. 100 and their squares, not scaled",
        lambda: dense(x_line, x_line**2, (50, 50, 1), ("sigmoid", "elu", "linear"), squared),
        ("unscaled",),
    )
    yield Program(
        "34673164",
        "squared error of a softmax, no batch norm: a choice",
        lambda: dense(
            numbers(20, N, 16),
            one_hot(9, 2),
            (64, 64, 2),
            ("tanh", "tanh", "softmax"),
            squared,
            uniform_of(0.05),
        ),
        (),
    )
    yield Program(
        "48221692",
        "sigmoid at the end of a regression",
        lambda: dense(
            numbers(21, N, 1, low=0, high=5),
            100 * numbers(22, N, 1, low=0),
            (5, 1),
            ("sigmoid", "sigmoid"),
            squared,
        ),
        ("output_range",),
    )
    yield Program(
        "50079585",
        "three classes, one sigmoid",
        lambda: convolved(
            images / 255, classes(10, 3, 24).astype(np.float32)[:, None], (8, 8), (16, 1), "sigmoid", binary
        ),
        ("label_range",),
    )
    yield Program(
        "45337371",
        "softmax over one output",
        lambda: dense(
            numbers(23, N, 20, low=0), numbers(24, N, 1, low=0), (60, 50, 1), (*HIDDEN, "softmax"), binary
        ),
        ("size_one",),
    )
    yield Program(
        "44066044",
        "inputs not scaled, relu into a binary cross-entropy",
        lambda: dense(
            table_of[:, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2]] * 300,
            coins(25, N, 1),
            (12, 12, 1),
            (*HIDDEN, "relu"),
            binary,
            normal_of(0.05),
        ),
        ("unscaled", "dead"),
    )
    yield Program(
        "51930566",
        "sigmoid in a loss of classes",
        lambda: dense(
            numbers(26, N, 4), one_hot(11, 3), (4, 3), ("relu", "sigmoid"), categorical, normal_of(0.05)
        ),
        (),
    )
    yield Program(
        "47352366",
        "relu into a loss of classes",
        lambda: dense(digits, one_hot(12, 10), (64, 10), HIDDEN, categorical, bias=-0.5),
        ("nan_forward", "dead", "clipped"),
    )
    yield Program(
        "45442843",
        "softmax over one output",
        lambda: dense(numbers(27, N, 1), coins(28, N, 1), (1, 1), ("sigmoid", "softmax"), absolute),
        ("size_one",),
    )
    yield Program(
        "48594888",
        "bytes 0 .. 255",
        lambda: convolved(images, one_hot(13, 10, 24), (16, 32), (64, 10), "softmax", categorical),
        ("unscaled",),
    )
    yield Program(
        "31627380",
        "inputs not scaled; the patch changes the loss",
        lambda: dense(table_of * 4, one_hot(14, 2), (512, 2), ("relu", "softmax"), categorical),
        ("unscaled",),
    )
    yield Program(
        "58609115",
        "relu throughout, inputs not scaled",
        lambda: dense(
            1767 * numbers(29, N, 1, low=0),
            one_hot(15, 69),
            (69, 69, 69),
            (*HIDDEN, "relu"),
            binary,
            normal_of(0.05),
        ),
        ("unscaled", "dead"),
    )
    yield Program(
        "50481178",
        "one output became two: a choice",
        lambda: dense(numbers(30, N, 10), coins(31, N, 1), (16, 8, 1), (*HIDDEN, "sigmoid"), binary),
        (),
    )
    yield Program(
        "DDOS-ML-Detection",
        "widths",
        lambda: dense(numbers(32, N, 20), one_hot(16, 5), (22, 64, 5), (*HIDDEN, "softmax"), categorical),
        (),
    )
    yield Program(
        "keras-super-resolution",
        "learning rate, loss, epochs",
        lambda: dense(
            numbers(33, N, 48, low=0), numbers(34, N, 48, low=0), (64, 48, 48), (*HIDDEN, "sigmoid"), binary
        ),
        (),
    )
    yield Program(
        "FacialKeypointsDetection",
        "relu at the end, targets of -1 .. 1",
        lambda: convolved(
            numbers(35, 24, 16, 16, 1, low=0),
            numbers(36, 24, 30) - 0.2,
            (8, 16),
            (32, 30),
            "relu",
            squared,
            "linear",
        ),
        ("output_range", "dead"),
    )
    yield Program(
        "keras_catsdogs",
        "sizes of kernels",
        lambda: convolved(images / 255, one_hot(17, 2, 24), (8, 8), (16, 2), "softmax", categorical),
        (),
    )
    yield Program(
        "Traffic-Sign-Classifier",
        "elu in place of relu",
        lambda: convolved(images / 255 - 0.5, one_hot(18, 12, 24), (8, 16), (32, 12), "softmax", categorical),
        (),
    )
    yield Program(
        "kerasma",
        "widths; inputs not scaled",
        lambda: dense(table_of, coins(37, N, 1), (12, 8, 1), (*HIDDEN, "sigmoid"), binary),
        ("unscaled",),
    )
    yield Program(
        "kaggle-melbourne_properties",
        "a tanh net of areas and prices, not scaled",
        lambda: dense(
            np.concatenate([table_of, 5e3 * numbers(38, N, 4, low=0)], 1),
            1e6 * numbers(39, N, 1, low=0.2),
            (20, 20, 1),
            ("tanh", "tanh", "linear"),
            squared,
        ),
        ("unscaled", "saturated"),
    )
    yield Program(
        "gol_nn",
        "loss and learning rate",
        lambda: dense(coins(40, N, 9), coins(41, N, 1), (16, 8, 1), (*HIDDEN, "sigmoid"), binary),
        (),
    )
    yield Program(
        "MovieReviews_Keras",
        "no dropout",
        lambda: dense(pixels(42, N, 200), coins(43, N, 1), (16, 16, 1), (*HIDDEN, "sigmoid"), binary),
        (),
    )
    yield Program(
        "hotdog-sandwich",
        "dropout, kernels",
        lambda: convolved(
            images[..., :1] / 255, one_hot(19, 2, 24), (8, 16), (24, 2), "softmax", categorical
        ),
        (),
    )
    yield Program(
        "Averaging_Neural_Networks",
        "no activation in between",
        lambda: dense(
            numbers(44, N, 2, low=0), numbers(45, N, 1, low=0), (2, 1), ("linear", "linear"), squared
        ),
        (),
    )


def auto_trainer(each: int) -> Iterator[Program]:
    """Nets on blobs and circles, of three of its problems and of none; the other five need a run."""
    rng = np.random.default_rng(7)
    which = rng.integers(0, 3, N)
    blobs = (rng.standard_normal((N, 2)) + 4 * np.array([[0, 1], [1, -1], [-1, -1]])[which]).astype(
        np.float32
    )
    angle, inner = rng.uniform(0, 2 * np.pi, N), np.arange(N) % 2
    ring = (np.stack([np.cos(angle), np.sin(angle)], 1) * (1 - 0.5 * inner)[:, None]).astype(np.float32)
    sets: tuple[tuple[str, Any, Any, int, str, Any], ...] = (
        ("blobs", blobs, np.eye(3, dtype=np.float32)[which], 3, "softmax", categorical),
        ("circles", ring, inner.astype(np.float32)[:, None], 1, "sigmoid", binary),
    )
    for name, x, y, outputs, last, loss in sets:
        for seed in range(each):

            def net(act: str, depth: int, init: Any = glorot, bias: float = 0.0, seed: int = seed, x: Any = x, y: Any = y,
                    outputs: int = outputs, last: str = last, loss: Any = loss) -> Any:  # fmt: skip
                sizes = (*(8 + 4 * (seed % 3),) * depth, outputs)
                return lambda: dense(x, y, sizes, (*(act,) * depth, last), loss, init, bias, seed)

            yield Program(
                f"{name} vanishing {seed}", "deep sigmoid", net("sigmoid", 8 + seed), ("vanishing",)
            )
            yield Program(f"{name} exploding {seed}", "deep relu, weights N(0, 4)", net("relu", 8 + seed, normal_of(4.0)),
                          ("exploding", "overflow", "nan_forward", "nan_backward"))  # fmt: skip
            yield Program(
                f"{name} dying {seed}",
                "relu, biases of -10",
                net("relu", 2 + seed % 3, glorot, -10.0),
                ("dead",),
            )
            yield Program(
                f"{name} healthy {seed}", "", net(("relu", "tanh", "elu")[seed % 3], 2 + seed % 2), ()
            )


@dataclass(frozen=True)
class Config:
    only: tuple[str, ...] = ()
    """Some of the programs."""
    each: int = 5
    """Nets of each family."""
    out: Path = Path("results/51_public_benchmarks")


PUBLISHED = {
    "DeepLocalize": "34 of 40 detected by DeepLocalize",
    "AutoTrainer": "all detected, no false alarm, of 701 nets and 8 problems",
}


def main(config: Config = Config()) -> dict:
    result: dict[str, Any] = {}
    summary = []
    for benchmark, programs in (
        ("DeepLocalize", deep_localize()),
        ("AutoTrainer", auto_trainer(config.each)),
    ):
        rows = result[benchmark] = {}
        for program in programs:
            if config.only and program.name not in config.only:
                continue
            f, params, batch = program.make()
            found = [finding.name for finding in jaxbp.diagnose(f, params, *batch).findings]
            rows[program.name] = {
                "fault": program.fault, "words": program.words, "found": found,
                "named": bool(set(found) & set(program.words)),
            }  # fmt: skip
        lines = [
            (name, row["fault"], ", ".join(row["found"]) or "-",
             "yes" if row["named"] else "no" if row["words"] else "not in one batch" if row["fault"] else "healthy")
            for name, row in rows.items()
        ]  # fmt: skip
        table(benchmark, ("program", "fault", "found", "named"), lines)
        sick = [row for row in rows.values() if row["fault"]]
        visible = [row for row in sick if row["words"]]
        healthy = [row for row in rows.values() if not row["fault"]]
        summary.append((
            benchmark, len(sick), sum(bool(row["found"]) for row in sick), len(visible),
            sum(row["named"] for row in visible), f"{sum(bool(r['found']) for r in healthy)} of {len(healthy)}",
            PUBLISHED[benchmark],
        ))  # fmt: skip
    columns = (
        "",
        "faulty",
        "detected",
        "of a kind that one batch shows",
        "named",
        "false alarms",
        "published",
    )
    table("jaxbp.diagnose on published benchmarks", columns, summary)
    return save(config, result)


if __name__ == "__main__":
    run(main, Config)
