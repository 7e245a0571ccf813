"""The command line: `jaxbp train`, `jaxbp check` and `jaxbp explain`."""

import csv
import dataclasses
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

import jaxbp
from jaxbp import errors
from jaxbp.data import Dataset, load, split
from jaxbp.layers import Layer, initializers
from jaxbp.report import explained, plot_history
from jaxbp.train import DivergenceError, EarlyStopping, Result
from jaxbp.typing import Params
from jaxbp.verify import NetworkReport, check_network, command

try:
    import tyro
    from rich.console import Console
    from rich.table import Table
except ImportError as error:
    raise ImportError(
        errors.message("jaxbp", "tyro and rich to be installed", f"{error}", "pip install 'jaxbp[all]'")
    ) from error

Activation = Literal["sigmoid", "tanh", "relu", "leaky_relu", "softplus", "gelu", "gelu_exact", "silu"]
Initialiser = Literal[
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "scaled_normal",
    "standard_normal",
    "orthogonal",
]
OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
    "adamw": optax.adamw,
}


@dataclass(frozen=True)
class Train:
    """Train a multi-layer perceptron with softmax and cross-entropy by hand-written back-propagation.

    First shows that the hand-written deltas are those of jax.grad and of the Jacobian chain, then trains,
    then tests, and leaves a folder with all of it.
    """

    data: str = "digits"
    """digits (needs no download), mnist, fashion_mnist, or the path of an .npz or .csv file (label last)."""

    data_dir: Path | None = None
    """Where the files of mnist and fashion_mnist are; ~/.cache/jaxbp if not given."""

    download: bool = False
    """Fetch missing files of mnist or fashion_mnist into the data folder."""

    layers: tuple[int, ...] = ()
    """All sizes d_0 ... d_L, such as 784 128 10. By default one hidden layer of 128."""

    activation: Activation = "relu"
    """phi of the hidden layers."""

    init: Initialiser | None = None
    """Initialiser of the weights; by default what suits the activation."""

    dropout: float = 0.0
    """Share of each hidden layer zeroed while training."""

    optimizer: Literal["sgd", "momentum", "adam", "adamw"] = "adam"
    """An optax optimiser; momentum is sgd with momentum 0.9."""

    learning_rate: float | None = None
    """eta. By default 0.1 for sgd, 0.05 for momentum, 0.003 for adam and adamw."""

    schedule: Literal["constant", "cosine"] = "cosine"
    """Keep eta, or let it fall to 0 over the epochs along a cosine."""

    batch_size: int = 32
    """Examples an iteration: 1 is iterative training, all of them batch training."""

    epochs: int = 40
    """Passes over the training data, at most."""

    patience: int | None = None
    """Stop after so many epochs without a better validation loss, and keep the best parameters."""

    seed: int = 0
    """Of the split, the initialisation and the order of the data."""

    check: bool = True
    """Show the table of deltas before training."""

    out: Path = Path("runs")
    """Where the run's folder is made."""


@dataclass(frozen=True)
class Check:
    """Judge every custom derivative rule in a JAX function.

    The exit status is 0 when no rule is wrong, 1 when one is, 2 when the case could not be checked.
    """

    target: tyro.conf.Positional[str]
    """package.module:case, a callable without arguments that returns (f, args) or (f, args, options)."""

    json: bool = False
    """Print the report as JSON."""


DEFAULT_LEARNING_RATE = {"sgd": 0.1, "momentum": 0.05, "adam": 3e-3, "adamw": 3e-3}
VALIDATION_FRACTION = 0.1


def train(config: Train) -> dict[str, Any]:
    """Run `jaxbp train`; returns its summary."""
    console = Console(markup=False, highlight=False)
    data, test = load(config.data, data_dir=config.data_dir, download=config.download, seed=config.seed)
    data, validation = split(data, VALIDATION_FRACTION, seed=config.seed)
    console.print(f"{len(data)} training, {len(validation)} validation, {len(test)} test examples: {data}")

    net, loss = network(config, data), jaxbp.softmax_cross_entropy
    key_params, key_fit = jax.random.split(jax.random.key(config.seed))
    params = net.init(key_params)
    console.print(f"{net}: {jaxbp.count_parameters(params):,} parameters")
    if config.check:
        show(console, check_network(net, loss, params, data.x[:8], data.y[:8]))

    evaluate = jaxbp.make_evaluate(net.apply, loss)
    learning_rate = config.learning_rate or DEFAULT_LEARNING_RATE[config.optimizer]
    iterations = config.epochs * -(-len(data) // config.batch_size)
    cosine = config.schedule == "cosine"
    eta = optax.cosine_decay_schedule(learning_rate, iterations) if cosine else learning_rate
    try:
        result = jaxbp.fit(
            jaxbp.value_and_grad(net, loss),
            params,
            data,
            optimizer=OPTIMIZERS[config.optimizer](eta),
            key=key_fit,
            batch_size=config.batch_size,
            epochs=config.epochs,
            validation=validation,
            evaluate=evaluate,
            early_stopping=EarlyStopping(config.patience) if config.patience else None,
        )
    except DivergenceError as error:  # what was learned before it is tested and kept all the same
        console.print(str(error), style="bold red")
        result = error.result
    console.print(result)
    measured = jax.jit(evaluate)(result.params, test.x, test.y)
    summary = {f"test_{name}": value.item() for name, value in measured.items()} | {
        "stopped": result.stopped,
        "best_epoch": result.best_epoch,
        "seconds": float(result.history["seconds"].sum()),
        "compile_seconds": result.compile_seconds,
    }
    console.print(f"test accuracy {summary['test_accuracy']:.2%} ({len(test)} examples never seen before)")
    folder = write_run(config, learning_rate, result, summary)
    console.print(f"written to {folder}")
    return summary


def network(config: Train, data: Dataset) -> Layer:
    """The multi-layer perceptron that the configuration asks for, sized to the data."""
    d_0 = int(np.prod(data.x.shape[1:]))
    if data.num_classes is None:
        got = f"targets of dtype {data.y.dtype}"
        raise ValueError(
            errors.message("jaxbp train", "integer class labels", got, "use jaxbp.fit for regression")
        )
    sizes = config.layers or (d_0, 128, data.num_classes)
    if (sizes[0], sizes[-1]) != (d_0, data.num_classes):
        expected = f"--layers from {d_0} features to {data.num_classes} classes"
        raise ValueError(errors.message("jaxbp train", expected, " ".join(map(str, sizes))))
    init = config.init and getattr(initializers, config.init)
    net = jaxbp.mlp(sizes, getattr(jaxbp, config.activation), init=init)
    parts = net.parts
    if config.dropout:
        drop = jaxbp.dropout(config.dropout)
        parts = tuple(p for part in parts for p in ((part,) if part.has_params else (part, drop)))
    before = (jaxbp.flatten(*data.x.shape[1:]),) if data.x.ndim > 2 else ()
    return jaxbp.chain(*before, *parts)


def show(console: Console, report: NetworkReport) -> None:
    """The table of deltas."""
    table = Table(*report.header, title=report.title)
    for cells in report.cells():
        table.add_row(*cells, style=None if cells[-1] == "yes" else "bold red")
    console.print(table)


def write_run(config: Train, learning_rate: float, result: Result, summary: dict[str, Any]) -> Path:
    """A new folder: config.json, history.csv, history.png, params.npz and summary.json."""
    name = f"{Path(config.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    folders = (config.out / (name + suffix) for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    folder = next(folder for folder in folders if not folder.exists())
    folder.mkdir(parents=True)
    versions = {"python": platform.python_version(), "jax": jax.__version__, "jaxbp": jaxbp.__version__}
    settings = dataclasses.asdict(config) | {"learning_rate": learning_rate, "versions": versions}
    (folder / "config.json").write_text(json.dumps(settings, indent=2, default=str) + "\n")
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    with open(folder / "history.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(result.history)
        writer.writerows(zip(*(column.tolist() for column in result.history.values()), strict=True))
    np.savez(folder / "params.npz", **by_path(result.params))  # type: ignore[arg-type]
    plot_history(result.history, folder / "history.png")
    return folder


def by_path(params: Params) -> dict[str, np.ndarray]:
    """The leaves by their paths, ``1/W`` for the lecture's W_1."""
    keystr = jax.tree_util.keystr
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the command `jaxbp`; returns its exit status."""
    commands: dict[str, Callable[..., Train | Check | explained.Explain]] = {
        "train": Train,
        "check": Check,
        "explain": explained.Explain,
    }
    config = tyro.extras.subcommand_cli_from_dict(
        commands, prog="jaxbp", description=jaxbp.__doc__, args=args
    )
    if isinstance(config, Check):
        return command.run(config.target, config.json)
    if isinstance(config, explained.Explain):
        return explained.run(config)
    try:
        return int(train(config)["stopped"] == "diverged")
    except (ValueError, TypeError, OSError, ImportError) as error:
        Console(stderr=True, markup=False, highlight=False).print(f"error: {error}", style="bold red")
        return 1
