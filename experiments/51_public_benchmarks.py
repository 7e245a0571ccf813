"""What does jaxbp.diagnose find in the faulty programs that others have published?

    python -m experiments.51_public_benchmarks

DeepLocalize's benchmark (30 questions of Stack Overflow and 11 repositories: Keras programs with their
patches) and the families of AutoTrainer, written anew in JAX from what is said of them: the layers, the loss,
and the shape and range of the data, which are drawn here. "detected" is any finding, "named" one of the
words that say what the patch mends. One batch at the start shows no learning rate, no number of epochs, no
width, no dropout, and no loss that is merely a worse choice: such programs are in the table as "not in one
batch". Theia's 40 questions, 57 of whose 75 bugs it found, are left out, as no list of them was at hand; so
are the five problems of AutoTrainer's eight that need a run. Five minutes on two CPU cores.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.record import dots, run, save, table

N, IMAGES = 64, 24


class Program(NamedTuple):
    """A program with a fault.

    Args:
        name: number of the question, name of the repository, or family.
        fault: what its patch mends; empty for a healthy one.
        inputs: the name of its data in `DATA`.
        targets: the same.
        layers: units and activation of each; "conv" before them is a convolution and a maximum over 2 x 2.
        loss: its name in `LOSSES`.
        words: findings of which each names the fault; none where one batch does not show it.
        init: the weights' name in `INITS`, and a bias after it.
        seed: of the weights.
    """

    name: str
    fault: str
    inputs: str
    targets: str
    layers: str
    loss: str
    words: tuple[str, ...] = ()
    init: str = "glorot"
    seed: int = 0


def rng_of(*words: str) -> np.random.Generator:
    """The same numbers for the same words."""
    return np.random.default_rng(list("/".join(words).encode()))


def numbers(low: float, high: float, *shape: int) -> Callable[[], Any]:
    return lambda: rng_of("numbers", str(shape)).uniform(low, high, shape).astype(np.float32)


def coins(columns: int) -> Callable[[], Any]:
    return lambda: np.float32(rng_of("coins").random((N, columns)) > 0.5)


def classes(count: int, n: int = N) -> Any:
    return rng_of("classes").permutation(np.arange(n) % count)


def one_hot(count: int, n: int = N) -> Callable[[], Any]:
    return lambda: np.eye(count, dtype=np.float32)[classes(count, n)]


def digits(top: float) -> Any:
    """Bright strokes on black ground."""
    rng = rng_of("digits")
    return np.where(rng.random((N, 784)) < 0.8, 0, rng.uniform(0, top, (N, 784))).astype(np.float32)


def money(columns: int, of: float) -> Callable[[], Any]:
    """A table of small numbers, and of large ones beside them."""
    return lambda: np.concatenate([numbers(0, 50, N, 4)(), numbers(0, of, N, columns)()], 1)


LINE = np.arange(-100, 100, 3.0, dtype=np.float32)[:, None]
CLUSTER = rng_of("clusters").integers(0, 3, N)
INNER = np.arange(N) % 2


def blobs() -> Any:
    centres = 4 * np.array([[0, 1], [1, -1], [-1, -1]])[CLUSTER]
    return (rng_of("blobs").standard_normal((N, 2)) + centres).astype(np.float32)


def circles() -> Any:
    angle = rng_of("circles").uniform(0, 2 * np.pi, N)
    return (np.stack([np.cos(angle), np.sin(angle)], 1) * (1 - 0.5 * INNER)[:, None]).astype(np.float32)


DATA: dict[str, Callable[[], Any]] = {
    "digits": lambda: digits(1.0), "bytes": lambda: digits(255.0), "words": lambda: digits(1.0)[:, :200],
    "images": numbers(0, 1, IMAGES, 16, 16, 3), "grey": numbers(0, 1, IMAGES, 16, 16, 1),
    "images in bytes": numbers(0, 255, IMAGES, 16, 16, 3),
    "xor": lambda: np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 4, np.float32),
    "xor of": lambda: np.array([0, 1, 1, 0] * 4, np.float32)[:, None],
    "line": lambda: LINE, "squares": lambda: LINE**2, "blobs": blobs, "circles": circles,
    "of blobs": lambda: np.eye(3, dtype=np.float32)[CLUSTER],
    "of circles": lambda: np.float32(INNER)[:, None],
    "money": money(4, 2e5), "packets": money(7, 6e4), "passengers": money(4, 900.0), "houses": money(8, 5e3),
    "patients": money(4, 800.0), "flowers": numbers(0, 7, N, 4), "scores": numbers(0, 1000, N, 3),
    "index": numbers(0, 1767, N, 1), "8 bits": coins(8), "9 cells": coins(9), "coins": coins(1),
    **{f"{n} numbers": numbers(-1, 1, N, n) for n in (1, 2, 4, 10, 16, 20, 128)},
    "pair": numbers(0, 1, N, 2), "mean": numbers(0, 1, N, 1), "signed": numbers(-1.4, 0.6, N, 1),
    "prices": numbers(2e5, 1e6, N, 1), "sales": numbers(0, 100, N, 1), "thousands": numbers(0, 1e4, N, 1),
    "patches": numbers(0, 1, N, 48),
    "keypoints": numbers(-1.2, 0.8, IMAGES, 30), "3 sorts": lambda: np.float32(classes(3, IMAGES))[:, None],
    "class / 255": lambda: np.float32(classes(10) / 255),
    **{f"{n} classes": one_hot(n) for n in (2, 3, 5, 10, 69)},
    **{f"{n} classes of images": one_hot(n, IMAGES) for n in (2, 10, 12)},
}  # fmt: skip
INITS: dict[str, Callable[..., Any]] = {
    "glorot": lambda rng, m, n: rng.uniform(-1, 1, (m, n)) * (6 / (m + n)) ** 0.5,
    "N(0, 1)": lambda rng, m, n: rng.standard_normal((m, n)),
    "N(0, 16)": lambda rng, m, n: 4 * rng.standard_normal((m, n)),
    "normal": lambda rng, m, n: 0.05 * rng.standard_normal((m, n)),  # as Keras has it
    "uniform": lambda rng, m, n: rng.uniform(-0.05, 0.05, (m, n)),
}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "elu": jax.nn.elu,
    "linear": lambda a: a, "softmax": jax.nn.softmax,
}  # fmt: skip


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


LOSSES: dict[str, Callable[..., Any]] = {
    "categorical": categorical, "sparse": sparse, "binary": binary,
    "squared": lambda p, y: jnp.mean((p - y) ** 2), "absolute": lambda p, y: jnp.mean(jnp.abs(p - y)),
}  # fmt: skip


def convolved(x: Any, kernel: Any) -> Any:
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims)


def pooled(x: Any) -> Any:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def made(program: Program) -> tuple[Any, ...]:
    """The loss, the parameters and the batch."""
    x, y = DATA[program.inputs](), DATA[program.targets]()
    layers = [layer.split() for layer in program.layers.split(", ")]
    init, _, bias = program.init.partition(" bias ")
    rng = np.random.default_rng(program.seed)
    params, width, side = [], x.shape[-1], x.shape[1]
    for kind, units in ((layer[0], int(layer[-2])) for layer in layers):
        if kind == "conv":
            W = INITS[init](rng, 9 * width, units).reshape(3, 3, width, units)
            side //= 2
        else:
            flat = x.ndim == 4 and not any(p["W"].ndim == 2 for p in params)
            W = INITS[init](rng, side * side * width if flat else width, units)
        params.append({"W": jnp.float32(W), "b": jnp.full(units, float(bias or 0), jnp.float32)})
        width = units

    def f(params: Any, x: Any, y: Any) -> Any:
        for layer, (*kind, _, act) in zip(params, layers, strict=True):
            if kind:
                x = pooled(ACTIVATIONS[act](convolved(x, layer["W"]) + layer["b"][None, None, None]))
            else:
                x = ACTIVATIONS[act](x.reshape(len(x), -1) @ layer["W"] + layer["b"][None])
        return LOSSES[program.loss](x, y)

    return f, params, (jnp.asarray(x), jnp.asarray(y))


DEEP_LOCALIZE = (
    Program("48385830", "hidden layer without activation, weights N(0, 1)", "digits", "10 classes",
            "30 linear, 10 sigmoid", "squared", (), "N(0, 1)"),
    Program("44164749", "another loss, a choice", "digits", "10 classes", "64 relu, 32 relu, 10 softmax",
            "categorical"),
    Program("31556268", "absolute error, too few steps", "xor", "xor of", "4 sigmoid, 1 sigmoid", "absolute"),
    Program("50306988", "two outputs became one, a choice", "pair", "2 classes", "2 sigmoid, 2 softmax",
            "categorical"),
    Program("48251943", "relu at the end, targets of both signs", "2 numbers", "signed", "4 relu, 1 relu",
            "squared",
            ("output_range", "dead")),
    Program("38648195", "squared error of a softmax, a choice", "20 numbers", "3 classes",
            "20 relu, 20 relu, 3 softmax", "squared"),
    Program("33969059", "softmax over one output of a regression", "4 numbers", "thousands",
            "4 tanh, 2 tanh, 1 softmax", "squared", ("size_one", "output_range"), "uniform"),
    Program("55328966", "bytes, sigmoid into a loss of classes", "bytes", "10 classes",
            "784 linear, 128 relu, 10 sigmoid", "categorical", ("unscaled",)),
    Program("34311586", "softmax over one output", "xor", "xor of", "2 sigmoid, 3 sigmoid, 1 softmax",
            "squared",
            ("size_one",), "uniform"),
    Program("31880720", "softmax over one output", "128 numbers", "coins", "50 relu, 50 relu, 1 softmax",
            "binary",
            ("size_one",)),
    Program("39525358", "inputs not scaled", "scores", "coins", "12 relu, 3 relu, 1 sigmoid", "binary",
            ("unscaled",), "uniform"),
    Program("39217567", "sigmoid layers of small weights", "8 bits", "8 bits",
            "8 sigmoid, 8 sigmoid, 8 sigmoid",
            "squared", ("vanishing",), "normal"),
    Program("48934338", "learning rate", "1 numbers", "sales", "50 relu, 30 relu, 1 linear", "squared"),
    Program("47724077", "inputs not scaled (the patch changes the optimizer)", "money", "2 classes",
            "21 relu, 2 softmax", "categorical", ("unscaled",)),
    Program("59325381", "labels divided by 255", "digits", "class / 255", "128 relu, 10 softmax", "sparse",
            ("one_class", "label_range")),
    Program("59278771", "sigmoid into a loss of classes", "flowers", "3 classes", "4 relu, 3 sigmoid",
            "categorical",
            (), "normal"),
    Program("52800582", "-100 .. 100 and their squares, not scaled", "line", "squares",
            "50 sigmoid, 50 elu, 1 linear",
            "squared", ("unscaled",)),
    # In the benchmark, and without a fault in its structure there.
    Program("41372874", "", "2 numbers", "coins", "2 relu, 2 relu, 1 sigmoid", "binary", (), "uniform"),
    Program("34673164", "squared error of a softmax, no batch norm", "16 numbers", "2 classes",
            "64 tanh, 64 tanh, 2 softmax", "squared", (), "uniform"),
    Program("48221692", "sigmoid at the end of a regression", "mean", "sales", "5 sigmoid, 1 sigmoid",
            "squared",
            ("output_range",)),
    Program("50079585", "three classes, one sigmoid", "images", "3 sorts",
            "conv 8 relu, conv 8 relu, 16 relu, 1 sigmoid",
            "binary", ("label_range",)),
    Program("45337371", "softmax over one output", "20 numbers", "mean", "60 relu, 50 relu, 1 softmax",
            "binary",
            ("size_one",)),
    Program("44066044", "inputs not scaled, relu into a binary loss", "packets", "coins",
            "12 relu, 12 relu, 1 relu",
            "binary", ("unscaled", "dead"), "normal"),
    Program("51930566", "sigmoid into a loss of classes", "4 numbers", "3 classes", "4 relu, 3 sigmoid",
            "categorical",
            (), "normal"),
    Program("47352366", "relu into a loss of classes", "digits", "10 classes", "64 relu, 10 relu",
            "categorical",
            ("nan_forward", "nan_backward", "dead", "clipped")),
    Program("45442843", "softmax over one output", "1 numbers", "coins", "1 sigmoid, 1 softmax", "absolute",
            ("size_one",)),
    Program("48594888", "bytes", "images in bytes", "10 classes of images",
            "conv 16 relu, conv 32 relu, 64 relu, 10 softmax", "categorical", ("unscaled",)),
    Program("31627380", "inputs not scaled (the patch changes the loss)", "passengers", "2 classes",
            "512 relu, 2 softmax", "categorical", ("unscaled",)),
    Program("58609115", "relu throughout, inputs not scaled", "index", "69 classes",
            "69 relu, 69 relu, 69 relu",
            "binary", ("unscaled", "dead"), "normal"),
    Program("50481178", "one output became two, a choice", "10 numbers", "coins",
            "16 relu, 8 relu, 1 sigmoid", "binary"),
    Program("DDOS-ML-Detection", "widths", "20 numbers", "5 classes", "22 relu, 64 relu, 5 softmax",
            "categorical"),
    Program("keras-super-resolution", "learning rate, loss, epochs", "patches", "patches",
            "64 relu, 48 relu, 48 sigmoid", "binary"),
    Program("FacialKeypointsDetection", "relu at the end, targets of both signs", "grey", "keypoints",
            "conv 8 linear, conv 16 linear, 32 linear, 30 relu", "squared", ("output_range", "dead")),
    Program("keras_catsdogs", "sizes of kernels", "images", "2 classes of images",
            "conv 8 relu, conv 8 relu, 16 relu, 2 softmax", "categorical"),
    Program("Traffic-Sign-Classifier", "elu in place of relu", "images", "12 classes of images",
            "conv 8 relu, conv 16 relu, 32 relu, 12 softmax", "categorical"),
    Program("kerasma", "widths; inputs are not scaled", "patients", "coins", "12 relu, 8 relu, 1 sigmoid",
            "binary",
            ("unscaled",)),
    Program("kaggle-melbourne_properties", "a tanh net of areas, not scaled", "houses", "prices",
            "20 tanh, 20 tanh, 1 linear", "squared", ("unscaled", "saturated")),
    Program("gol_nn", "loss and learning rate", "9 cells", "coins", "16 relu, 8 relu, 1 sigmoid", "binary"),
    Program("MovieReviews_Keras", "no dropout", "words", "coins", "16 relu, 16 relu, 1 sigmoid", "binary"),
    Program("hotdog-sandwich", "dropout, kernels", "grey", "2 classes of images",
            "conv 8 relu, conv 16 relu, 24 relu, 2 softmax", "categorical"),
    Program("Averaging_Neural_Networks", "no activation in between", "pair", "mean", "2 linear, 1 linear",
            "squared"),
)  # fmt: skip


def auto_trainer(each: int) -> Iterator[Program]:
    """Nets on blobs and circles, with three of its problems and with none."""
    for data, loss, last in (("blobs", "categorical", "3 softmax"), ("circles", "binary", "1 sigmoid")):
        for seed in range(each):
            width = 8 + 4 * (seed % 3)

            def net(kind: str, fault: str, act: str, depth: int, words: tuple[str, ...] = (),
                init: str = "glorot",
                    data: str = data, loss: str = loss, last: str = last, seed: int = seed, width: int = width
                    ) -> Program:  # fmt: skip
                layers = ", ".join([*[f"{width} {act}"] * depth, last])
                return Program(f"{data} {kind} {seed}", fault, data, f"of {data}", layers, loss, words,
                init, seed)

            yield net("vanishing", "deep sigmoid", "sigmoid", 8 + seed, ("vanishing",))
            broken = ("exploding", "overflow", "nan_forward", "nan_backward")
            yield net("exploding", "deep relu, weights of deviation 4", "relu", 8 + seed, broken, "N(0, 16)")
            yield net("dying", "relu, biases of -10", "relu", 2 + seed % 3, ("dead",), "glorot bias -10")
            yield net("healthy", "", ("relu", "tanh", "elu")[seed % 3], 2 + seed % 2)


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
    for benchmark, programs in (("DeepLocalize", DEEP_LOCALIZE), ("AutoTrainer", auto_trainer(config.each))):
        rows = result[benchmark] = {}
        for program in programs:
            if config.only and program.name not in config.only:
                continue
            f, params, batch = made(program)
            found = [finding.name for finding in jaxbp.diagnose(f, params, *batch).findings]
            rows[program.name] = {
                "fault": program.fault, "words": program.words, "found": found,
                "named": bool(set(found) & set(program.words)),
            }  # fmt: skip
        lines = [
            (name, row["fault"], ", ".join(row["found"]) or "-",
             "yes" if row["named"] else "no" if row["words"]
             else "not in one batch" if row["fault"] else "healthy")
            for name, row in rows.items()
        ]  # fmt: skip
        table(benchmark, ("program", "fault", "found", "named"), lines)
        sick = [row for row in rows.values() if row["fault"]]
        visible = [row for row in sick if row["words"]]
        healthy = [row for row in rows.values() if not row["fault"]]
        summary.append((
            benchmark, len(sick), sum(bool(row["found"]) for row in sick), len(visible),
            sum(row["named"] for row in visible),
            f"{sum(bool(row['found']) for row in healthy)} of {len(healthy)}", PUBLISHED[benchmark],
        ))  # fmt: skip
    columns = ("", "faulty", "detected", "shown by one batch", "named", "false alarms", "published")
    table("jaxbp.diagnose on published benchmarks", columns, summary)
    shares = {
        f"{name} ({count})": {"found at all, of all faulty": [100 * found / count] * 3}
        | ({"named, of those that one batch shows": [100 * named / shown] * 3} if shown else {})
        for name, count, found, shown, named, *_ in summary
        if count
    }
    drawn = dots(shares, "per cent of the programs", "jaxbp.diagnose on published benchmarks")
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
