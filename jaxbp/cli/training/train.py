"""`jaxbp train`: from data to a folder with all that was learned."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import jaxbp
from jaxbp import errors
from jaxbp.backprop_check import NetworkReport, check_network
from jaxbp.cli.settings import (
    Train,
    anywhere,
    as_dict,
    assert_settings,
    flag,
    for_the_reader,
)
from jaxbp.cli.training import run
from jaxbp.cli.training.columns import summary
from jaxbp.cli.training.spreads import unscaled
from jaxbp.data import Dataset, assert_batch_size, load
from jaxbp.data.sources import SOURCES
from jaxbp.layers import Layer, initializers
from jaxbp.losses import Loss
from jaxbp.observe import nothing_learned
from jaxbp.optimizers import OPTIMIZERS, make_optimizer
from jaxbp.runs.answers import labels_of_schema
from jaxbp.train import DivergenceError, EarlyStopping
from jaxbp.typing import Params

VALIDATION_FRACTION = 0.1
_FEW = 1000  # iterations
_SEEN = 1000  # training examples by which it is told whether a run has learned
_WATCHED = 256  # those that are looked at every so many epochs
_ALSO = ("singular_values", "noise_scale")
_MOST_ITERATIONS = 2**31 - 1  # optax counts them in an int32


def train(config: Train) -> dict[str, Any]:
    """Run `jaxbp train`; returns its summary.

    Raises:
        ValueError, TypeError, OSError, ImportError: for settings, data or a folder that cannot be used; a
            run that had begun has then said how to go on with it.
    """
    assert_settings(config)
    console = Console(markup=False, highlight=False)
    data, validation, test = parts(config)
    console.print(f"{len(data)} training, {len(validation)} validation, {len(test)} test examples: {data}")
    if data.schema and (told := summary(data.schema)):
        console.print(told)
    if warning := unscaled(data.x):
        console.print(f"warning: {warning}", style="yellow")

    config = resolved(config, data)
    net = network(config)
    loss = jaxbp.squared_error if data.num_classes is None else jaxbp.softmax_cross_entropy
    key_params, key_fit = jax.random.split(jax.random.key(config.seed))
    params = net.init(key_params)
    console.print(f"{net}: {jaxbp.count_parameters(params):,} parameters")
    if config.check and config.resume is None:
        show(console, check_network(net, loss, params, data.x[:8], data.y[:8]))

    def mean_loss(params: Params, x: Any, y: Any) -> Any:
        return loss(net.apply(params, jnp.asarray(x)), jnp.asarray(y))

    evaluate = jaxbp.make_evaluate(net.apply, loss)
    folder = config.resume or run.make(config)
    with run.kept(folder, new=config.resume is None):
        some = data.x[:_WATCHED], data.y[:_WATCHED]
        watcher = jaxbp.watch(mean_loss, some, every=config.watch or 1, folder=folder, also=_ALSO)
        watches = [watcher] * bool(config.watch)
        try:
            result = jaxbp.fit(
                jaxbp.value_and_grad(net, loss),
                params,
                data,
                optimizer=optimizer(config, len(data)),
                key=key_fit,
                batch_size=batch_size(config, len(data)),
                epochs=epochs(config, len(data)),
                validation=validation,
                evaluate=evaluate,
                early_stopping=None if config.patience is None else EarlyStopping(config.patience),
                checkpoints=run.checkpoints(folder, config.checkpoint_every or 1),
                callbacks=watches,
            )
        except DivergenceError as error:  # what was learned before it is tested and kept all the same
            console.print(str(error), style="bold red")
            result = error.result
        console.print(result)
        after = jax.jit(evaluate)(result.params, test.x, test.y)
        tested = {name: value.item() for name, value in after.items()}
        if data.num_classes is None:
            tested |= of_targets(net.apply(result.params, jnp.asarray(test.x)), test)
        done = {f"test_{name}": value for name, value in tested.items()} | {
            "stopped": result.stopped,
            "best_epoch": result.best_epoch,
            "seconds": float(result.history["seconds"].sum()),
            "compile_seconds": result.compile_seconds,
        }
        run.write(folder, result, trained(config, net, result.params, loss, data, done))
    if result.stopped != "diverged" and not watches:  # these have said so themselves
        warning = nothing_learned(mean_loss, params, result.params, data.x[:_SEEN], data.y[:_SEEN])
        if warning:
            console.print(f"warning: {warning}", style="yellow")
    good = f"accuracy {tested['accuracy']:.2%}" if data.num_classes else "R2 {r2:.3f}, mean error {mae:.4g}"
    console.print(f"test {good.format(**tested)} ({len(test)} examples never seen before)")
    console.print(f"written to {folder}")
    if result.stopped == "interrupted":
        print(f"interrupted after {len(result.history['epoch'])} epochs; {run.how_to_go_on(folder)}")
    return done


def parts(config: Train) -> tuple[Dataset, Dataset, Dataset]:
    """The data to learn from, those to choose by, and those to test on."""
    data, validation, test = load(
        config.data,
        data_dir=config.data_dir,
        download=config.download,
        seed=config.seed,
        shuffle=config.shuffle,
        validation_fraction=VALIDATION_FRACTION,
        **for_the_reader(config),
    )
    return flat(data), flat(validation), flat(test)


def trained(config: Train, net: Layer, params: Params, loss: Loss, data: Dataset, done: Any) -> jaxbp.Trained:
    """What `jaxbp predict` needs. Images of a named set are told by their pixels, not by columns."""
    named = SOURCES.get(config.data)
    return jaxbp.Trained(
        net,
        params,
        loss,
        shape=data.x.shape[1:],
        schema=None if named else data.schema,
        classes=labels_of_schema(data.schema) if named and data.schema else None,
        preprocess=jaxbp.Pixels(named.pixels) if named else None,
        metrics=done,
        settings=as_dict(anywhere(config)),
    )


def flat(data: Dataset) -> Dataset:
    """The same examples, each one row."""
    return replace(data, x=data.x.reshape(len(data), -1), y=data.y if data.num_classes else _rows(data.y))


def _rows(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1)


def of_targets(f: Any, data: Dataset) -> dict[str, float]:
    """Of predicted targets R2, the explained share of the variance, and the mean error in their units."""
    with errors.needs("scikit-learn", "data", "jaxbp train"):
        from sklearn.metrics import mean_absolute_error, r2_score
    back = data.schema.targets_back if data.schema else np.asarray
    y, predicted = (np.asarray(back(np.asarray(values, float))) for values in (data.y, f))
    return {"r2": float(r2_score(y, predicted)), "mae": float(mean_absolute_error(y, predicted))}


def resolved(config: Train, data: Dataset) -> Train:
    """The settings with what depends on the data and on other settings filled in, as a run is resumed by.

    Raises:
        ValueError: a batch larger than the data, sizes that are not those of the data, or more iterations
            than can be counted.
    """
    assert_batch_size(batch_size(config, len(data)), len(data), where="jaxbp train")
    d_0, d_L = data.x.shape[1], data.num_classes or data.y.shape[1]
    sizes = (d_0, 128, d_L) if config.layers is None else config.layers
    if (sizes[0], sizes[-1]) != (d_0, d_L):
        outputs = f"{d_L} classes" if data.num_classes else f"{d_L} target{'s' * (d_L > 1)}"
        expected = f"--layers from {d_0} features to {outputs}"
        raise ValueError(errors.message("jaxbp train", expected, " ".join(map(str, sizes))))
    if (iterations := _iterations(config, len(data))) > _MOST_ITERATIONS:
        expected = f"at most {_MOST_ITERATIONS} iterations"
        got = f"{flag('epochs')} {epochs(config, len(data))}, which makes {iterations}"
        raise ValueError(errors.message("jaxbp train", expected, got))
    rate = config.learning_rate
    return replace(
        config,
        batch_size=batch_size(config, len(data)),
        epochs=epochs(config, len(data)),
        checkpoint_every=config.checkpoint_every or max(1, epochs(config, len(data)) // 40),
        layers=tuple(sizes),
        learning_rate=OPTIMIZERS[config.optimizer].rate if rate is None else rate,
    )


def batch_size(config: Train, examples: int) -> int:
    """As asked, else 32, or all of fewer examples."""
    return min(32, examples) if config.batch_size is None else config.batch_size


def epochs(config: Train, examples: int) -> int:
    """As asked, else 40, or of few examples as many as make _FEW iterations."""
    return max(40, -(-_FEW // _an_epoch(config, examples))) if config.epochs is None else config.epochs


def _an_epoch(config: Train, examples: int) -> int:
    """The iterations of an epoch."""
    return -(-examples // batch_size(config, examples))


def _iterations(config: Train, examples: int) -> int:
    return epochs(config, examples) * _an_epoch(config, examples)


def optimizer(config: Train, examples: int) -> optax.GradientTransformation:
    """The optimiser, with the schedule over all iterations of the run."""
    iterations, cosine = _iterations(config, examples), config.schedule == "cosine"
    return make_optimizer(config.optimizer, config.learning_rate, iterations, cosine=cosine)


def network(config: Train) -> Layer:
    """The multi-layer perceptron of the resolved settings."""
    init = None if config.init is None else getattr(initializers, config.init)
    net = jaxbp.mlp(config.layers or (), getattr(jaxbp, config.activation), init=init)
    parts = net.parts
    if config.dropout > 0:
        drop = jaxbp.dropout(config.dropout)
        parts = tuple(p for part in parts for p in ((part,) if part.has_params else (part, drop)))
    return jaxbp.chain(*parts)


def show(console: Console, report: NetworkReport) -> None:
    """The table of deltas."""
    table = Table(*report.header, title=report.title)
    for cells in report.cells():
        table.add_row(*cells, style=None if cells[-1] == "yes" else "bold red")
    console.print(table)
