"""What each command can be asked for: its flags, their defaults and their ranges."""

import json
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxbp import arguments
from jaxbp.data.reading.files import MAX_BYTES
from jaxbp.errors import message

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

Format = Literal["text", "json", "markdown", "github", "junit"]


@dataclass(frozen=True)
class Train:
    """Train a multi-layer perceptron on a table, images or digits, by hand-written back-propagation.

    From a CSV file to predictions: jaxbp train --data table.csv --label NAME, then jaxbp predict RUN new.csv.

    It says what each column was taken for, shows that the hand-written deltas are those of jax.grad and of
    the Jacobian chain, then trains, then tests, and leaves a folder with all of it. The folder is there from
    the start, with the last epochs; whatever ends the command, jaxbp train --resume FOLDER goes on from them,
    bit for bit.
    """

    data: str = "digits"
    """digits (needs no download), mnist, fashion_mnist, emnist_letters and its like, or the path of a file:
    a table as text (.csv, .tsv, also gzipped) or .npy, or arrays as .npz."""

    data_dir: Path | None = None
    """Where the files of mnist and its like are; ~/.cache/jaxbp if not given."""

    download: bool = False
    """Fetch missing files of mnist and its like into the data folder."""

    label: int | str | None = None
    """Of a table: the label's column, by its name or counted from 0; the one called label, class or target,
    else the last, if not given."""

    drop: tuple[int | str, ...] = ()
    """Of a table: columns to leave out, by their names or counted from 0."""

    task: Literal["classification", "regression"] | None = None
    """What is learned; told by the label if not given: texts and few whole numbers are classes."""

    scale: Literal["standard", "minmax", "none"] | None = None
    """Of numbers: mean 0 and standard deviation 1, 0 to 1, or as they are. If not given, tables are
    standardized, bytes divided by 255, other arrays left."""

    shuffle: bool = True
    """Take the test and validation examples at random; else the last ones, as of a time series."""

    delimiter: str | None = None
    """Of a table: what separates its columns; told by its numbers if not given."""

    decimal: Literal[".", ","] | None = None
    """Of a table: the decimal mark; told by its numbers if not given."""

    header: bool | None = None
    """Of a table: whether its first line is a header; told by its numbers if not given."""

    encoding: str | None = None
    """Of a table: its encoding, such as cp1252; UTF-8, or told by its mark, if not given."""

    max_bytes: int = MAX_BYTES
    """The most bytes that a file of data may unpack to."""

    layers: tuple[int, ...] | None = None
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

    batch_size: int | None = None
    """Examples an iteration: 1 is iterative training, all of them batch training. By default 32, or all of
    fewer."""

    epochs: int | None = None
    """Passes over the training data, at most. By default 40, or of few data what makes 1000 iterations."""

    patience: int | None = None
    """Stop after so many epochs without a better validation loss, and keep the best parameters."""

    seed: int = 0
    """Of the split, the initialisation and the order of the data."""

    check: bool = True
    """Show the table of deltas before training."""

    out: Path = Path("runs")
    """Where the run's folder is made."""

    checkpoint_every: int | None = None
    """Epochs between two checkpoints in the run's folder; by default a fortieth of all, at least 1. The last
    epoch is always kept."""

    watch: int = 0
    """Look at the deltas and updates of every layer after every so many epochs, 0 for never: a line each, a
    table at the end, watch.csv and watch.png in the run's folder."""

    resume: Path | None = None
    """The folder of a run to go on with, by the settings that it was started with."""


@dataclass(frozen=True)
class Check:
    """Judge every custom derivative rule in JAX functions.

    The exit status is 0 when no rule is wrong, 1 when one is, 2 when a case could not be checked.
    """

    targets: tuple[str, ...]
    """package.module:case, a callable without arguments that returns (f, args) or (f, args, options); or
    package.module, for all of its callables named *_case."""

    format: Format = "text"
    """How the reports are printed; github makes notes on the lines of a pull request."""

    json: bool = False
    """Short for --format json."""

    strict: bool = False
    """Exit with 1 also when a rule is wrong alone and right in f."""

    require_rules: bool = False
    """Exit with 1 also when no rule is reached in a case."""

    seconds: float | None = None
    """Time for one rule, after which it is left open."""

    total_seconds: float | None = None
    """Time for all rules together."""

    explain: str = ""
    """A word for a cause, such as missing_sum: print what it means, what helps, and a minimal wrong rule."""


@dataclass(frozen=True)
class Diagnose:
    """Say what is wrong with the flow of one batch through a network: dead, saturated, vanishing, ...

    The exit status is 0 when nothing is found, 1 when something is, 2 when a case could not be diagnosed.
    """

    targets: tuple[str, ...]
    """package.module:case, a callable without arguments that returns (f, (params, *batch)), where f gives the
    loss; or package.module, for all of its callables named *_case. Options for jaxbp check are left out."""

    format: Format = "text"
    """How the reports are printed; github makes notes on the lines of a pull request."""

    json: bool = False
    """Short for --format json."""

    explain: str = ""
    """A word for a finding, such as dead: print what it does to learning, and what to try."""


READING = ("label", "drop", "task", "scale", "delimiter", "decimal", "header", "encoding", "max_bytes")
_WHOLE = {  # from, to
    "batch_size": (1, None),
    "epochs": (1, None),
    "patience": (1, None),
    "checkpoint_every": (1, None),
    "max_bytes": (1, None),
    "watch": (0, None),
    "seed": (0, 2**32 - 1),
}
_WEIGHTS = 2**31  # 8 GiB in float32; XLA ends the process where a size overflows


def flag(name: str) -> str:
    """How the command line calls a setting."""
    return "--" + name.replace("_", "-")


def assert_settings(config: Train) -> None:
    """Raises unless every number is one that can be trained with; what needs the data is seen with them."""
    where = "jaxbp train"
    for name, (low, high) in _WHOLE.items():
        if (value := getattr(config, name)) is not None:
            arguments.whole(where, flag(name), value, low=low, high=high)
    arguments.number(where, flag("dropout"), config.dropout, low=0, high=1, open_high=True)
    if config.learning_rate is not None:
        most = float(np.finfo(np.float32).max)
        arguments.number(where, flag("learning_rate"), config.learning_rate, low=0, high=most, open_low=True)
    if config.layers is not None:
        sizes = list(config.layers)
        weights = sum(a * b for a, b in pairwise(sizes))
        if len(sizes) < 2 or min(sizes) < 1 or weights > _WEIGHTS:
            expected = f"{flag('layers')} two or more sizes of at least 1, with at most {_WEIGHTS} weights"
            raise ValueError(message(where, expected, " ".join(map(str, sizes)) or "none"))


def for_the_reader(config: Train) -> dict[str, Any]:
    """The settings of a file's reader that were given."""
    given = {name: getattr(config, name) for name in READING}
    defaults = {field.name: field.default for field in fields(Train)}
    given = {name: value for name, value in given.items() if value != defaults[name]}
    return given | ({"delimiter": "\t"} if config.delimiter == "\\t" else {})


def anywhere(config: Train) -> Train:
    """The same settings with absolute paths, which mean the same from another folder."""
    data = str(Path(config.data).resolve()) if Path(config.data).is_file() else config.data
    data_dir = None if config.data_dir is None else config.data_dir.resolve()
    return replace(config, data=data, data_dir=data_dir, out=config.out.resolve())


def as_json(config: Train, **more: Any) -> str:
    """The settings as config.json has them."""
    return json.dumps(as_dict(config) | more, indent=2, default=str) + "\n"


def as_dict(config: Train) -> dict[str, Any]:
    """The settings that another run would be started with."""
    return asdict(replace(config, resume=None))


def from_json(text: str | bytes, where: str) -> Train:
    """The settings of a config.json.

    Raises:
        ValueError: it is no JSON, or its names or values are not those of `jaxbp train`.
    """
    try:
        stored = arguments.json_of(where, text)
        known = {field.name for field in fields(Train)}
        if absent := known - stored.keys():
            raise ValueError(message(where, "all settings of jaxbp train", f"none of {sorted(absent)}"))
        read = {name: stored[name] for name in known}
        for name in ("data_dir", "out"):
            read[name] = None if read[name] is None else Path(read[name])
        for name in ("layers", "drop"):
            read[name] = None if read[name] is None else tuple(read[name])
        config = Train(**read)
        assert_settings(config)
    except (ValueError, TypeError, AttributeError) as error:
        got = str(error).removeprefix(f"{where}: ")
        raise ValueError(message(where, "the settings that jaxbp train wrote", got)) from error
    return config
