"""`jaxbp train`: from data to a folder with all that was learned."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import jaxbp
from jaxbp import errors
from jaxbp.cli import run
from jaxbp.cli.outcome import nothing_learned, unscaled
from jaxbp.cli.settings import (
    DEFAULT_LEARNING_RATE,
    Train,
    anywhere,
    as_dict,
    assert_settings,
    flag,
    for_the_reader,
)
from jaxbp.data import Dataset, assert_batch_size, load, split
from jaxbp.data.sources import PIXELS
from jaxbp.layers import Layer, initializers
from jaxbp.train import DivergenceError, EarlyStopping
from jaxbp.verify import NetworkReport, check_network

OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adam": optax.adam,
    "adamw": optax.adamw,
}
VALIDATION_FRACTION = 0.1
_MOST_ITERATIONS = 2**31 - 1  # optax counts them in an int32


def train(config: Train) -> dict[str, Any]:
    """Run `jaxbp train`; returns its summary.

    Raises:
        ValueError, TypeError, OSError, ImportError: for settings, data or a folder that cannot be used; a
            run that had begun has then said how to go on with it.
    """
    assert_settings(config)
    console = Console(markup=False, highlight=False)
    data, test = parts(config)
    data, validation = split(data, VALIDATION_FRACTION, seed=config.seed)
    console.print(f"{len(data)} training, {len(validation)} validation, {len(test)} test examples: {data}")
    if warning := unscaled(data.x):
        console.print(f"warning: {warning}", style="yellow")

    config = resolved(config, data)
    net, loss = network(config, data), jaxbp.softmax_cross_entropy
    key_params, key_fit = jax.random.split(jax.random.key(config.seed))
    params = net.init(key_params)
    console.print(f"{net}: {jaxbp.count_parameters(params):,} parameters")
    if config.check and config.resume is None:
        show(console, check_network(net, loss, params, data.x[:8], data.y[:8]))

    evaluate = jaxbp.make_evaluate(net.apply, loss)
    folder = config.resume or run.make(config)
    with run.kept(folder, new=config.resume is None):
        try:
            result = jaxbp.fit(
                jaxbp.value_and_grad(net, loss),
                params,
                data,
                optimizer=optimizer(config, len(data)),
                key=key_fit,
                batch_size=config.batch_size,
                epochs=config.epochs,
                validation=validation,
                evaluate=evaluate,
                early_stopping=None if config.patience is None else EarlyStopping(config.patience),
                checkpoints=run.checkpoints(folder, config.checkpoint_every),
            )
        except DivergenceError as error:  # what was learned before it is tested and kept all the same
            console.print(str(error), style="bold red")
            result = error.result
        console.print(result)
        measure = jax.jit(evaluate)
        before, after = (measure(p, test.x, test.y) for p in (params, result.params))
        summary = {f"test_{name}": value.item() for name, value in after.items()} | {
            "stopped": result.stopped,
            "best_epoch": result.best_epoch,
            "seconds": float(result.history["seconds"].sum()),
            "compile_seconds": result.compile_seconds,
        }
        trained = jaxbp.Trained(
            net,
            result.params,
            loss,
            shape=data.x.shape[1:],
            preprocess=jaxbp.Pixels(PIXELS[config.data]) if config.data in PIXELS else None,
            metrics=summary,
            settings=as_dict(anywhere(config)),
        )
        run.write(folder, result, trained)
    warning = nothing_learned(net, params, result.params, data, before, after)
    if warning and result.stopped != "diverged":
        console.print(f"warning: {warning}", style="yellow")
    console.print(f"test accuracy {summary['test_accuracy']:.2%} ({len(test)} examples never seen before)")
    console.print(f"written to {folder}")
    if result.stopped == "interrupted":
        print(f"interrupted after {len(result.history['epoch'])} epochs; {run.how_to_go_on(folder)}")
    return summary


def parts(config: Train) -> tuple[Dataset, Dataset]:
    """The data to learn from, and those to test on."""
    reading = for_the_reader(config)
    return load(config.data, data_dir=config.data_dir, download=config.download, seed=config.seed, **reading)


def resolved(config: Train, data: Dataset) -> Train:
    """The settings with what depends on the data and on other settings filled in, as a run is resumed by.

    Raises:
        ValueError: data without classes, a batch larger than the data, sizes that are not those of the data,
            or more iterations than can be counted.
    """
    if data.num_classes is None:
        got = f"targets of dtype {data.y.dtype}"
        raise ValueError(
            errors.message("jaxbp train", "integer class labels", got, "use jaxbp.fit for regression")
        )
    assert_batch_size(config.batch_size, len(data), where="jaxbp train")
    d_0 = int(np.prod(data.x.shape[1:]))
    sizes = (d_0, 128, data.num_classes) if config.layers is None else config.layers
    if (sizes[0], sizes[-1]) != (d_0, data.num_classes):
        expected = f"--layers from {d_0} features to {data.num_classes} classes"
        raise ValueError(errors.message("jaxbp train", expected, " ".join(map(str, sizes))))
    if (iterations := _iterations(config, len(data))) > _MOST_ITERATIONS:
        expected = f"at most {_MOST_ITERATIONS} iterations"
        got = f"{flag('epochs')} {config.epochs}, which makes {iterations}"
        raise ValueError(errors.message("jaxbp train", expected, got))
    rate = config.learning_rate
    return replace(
        config,
        layers=tuple(sizes),
        learning_rate=DEFAULT_LEARNING_RATE[config.optimizer] if rate is None else rate,
    )


def _iterations(config: Train, examples: int) -> int:
    return config.epochs * -(-examples // config.batch_size)


def optimizer(config: Train, examples: int) -> optax.GradientTransformation:
    """The optimiser, with the schedule over all iterations of the run."""
    eta: Any = config.learning_rate
    if config.schedule == "cosine":
        eta = optax.cosine_decay_schedule(eta, _iterations(config, examples))
    return OPTIMIZERS[config.optimizer](eta)


def network(config: Train, data: Dataset) -> Layer:
    """The multi-layer perceptron of the resolved settings."""
    init = None if config.init is None else getattr(initializers, config.init)
    net = jaxbp.mlp(config.layers or (), getattr(jaxbp, config.activation), init=init)
    parts = net.parts
    if config.dropout > 0:
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
