"""`load`: a data set by its name, a file or a frame, in parts, as a network learns from them."""

import os
from collections.abc import Sequence
from typing import Any

from jaxbp import arguments
from jaxbp.data.dataset import Dataset
from jaxbp.data.parts import Choice, Cut, of_arrays, of_table
from jaxbp.data.reading.files import MAX_BYTES, NPY, ZIP, kind
from jaxbp.data.reading.pairs import of_npz
from jaxbp.data.reading.readers import read_npy
from jaxbp.data.sources import SOURCES
from jaxbp.data.tables.fitting import assert_choice
from jaxbp.data.tables.table import Reading, is_frame, of_array, of_frame, of_text
from jaxbp.errors import message


def load(
    name_or_path: Any,
    *,
    label: int | str | None = None,
    drop: int | str | Sequence[int | str] = (),
    task: str | None = None,
    scale: str | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float | None = None,
    seed: int = 0,
    shuffle: bool = True,
    delimiter: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    max_bytes: int = MAX_BYTES,
    raw: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> tuple[Dataset, ...]:
    r"""(train, test), or with ``validation_fraction`` (train, validation, test), of a set, a file or a frame.

    A TABLE (a text file, plain, gzipped or zipped, a pandas or polars frame, an .npy array of two axes) has
    numbers, ISO dates (as days), categories and missing values in its columns; each part has the same
    features, by the numbers that scikit-learn fits to the training part alone. They are kept in
    ``train.schema``, whose columns say what each was taken for. Numbers are standardized, a missing one is
    the median, a category is one feature for each of its texts. Left out are a first column without a name,
    or one called index or id that counts the examples, empty columns, and text of which nearly every cell is
    distinct.

    An .NPZ file has inputs and labels (x and y, or images and labels, data and target), or its own parts
    (x_train, y_train, x_test, y_test). Bytes are divided by 255, other floats of two axes are scaled as in a
    table, all else stays. What a file is, its first bytes say. The proportions of the classes are kept in all
    parts, unless ``shuffle`` is False. In regression y is (N, 1), standardized; ``schema.targets_back`` is
    the way back.

    Args:
        name_or_path: the name of a set ("digits", "mnist", "fashion_mnist", "emnist_letters", ...), the path
            of a file, or a frame.
        label: the column of the label, by its name, or counted from 0, from the end when negative. None is
            the one that the header calls label, class or target, else the last.
        drop: columns to leave out, by name or number.
        task: "classification" or "regression"; None is told by the label: texts and few or counted whole
            numbers are classes.
        scale: "standard", "minmax" or "none"; None is as above.
        test_fraction: the part held out, where the set has none of its own.
        validation_fraction: of the rest, a part for validation.
        seed: of the parts.
        shuffle: False cuts the examples in their order: the last ones are the test part.
        delimiter: of a text file; None is told by its cells, as all of these.
        decimal: the mark of its numbers, "." or ",".
        header: whether its first line is one.
        encoding: of it; None is UTF-8, or what the mark at its beginning says.
        max_bytes: the most that a file may unpack to.
        raw: inputs of an .npz file stay as they are, such as uint8 pixels for ``fit(..., preprocess=)``.
        data_dir: where the files of a named set are.
        download: fetch missing files of a named set.

    Returns:
        The parts. Their ``schema`` is None where y has several targets for each example.

    Raises:
        FileNotFoundError: neither a known name nor a file, or a named set's files are missing.
        ImportError: a table without scikit-learn.
        TypeError: an argument of another type, or one that the source does not have.
        ValueError: the file is malformed; a column has cells that are not of its kind; all labels are the
            same, or it is open what they are; data that fail the checks of `assert_data`.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "toy.csv"
        >>> _ = file.write_text("dose;place;answer\n" + "1,5;north;yes\n2,5;south;no\n;north;no\n" * 10)
        >>> train, test = load(file)
        >>> train
        toy.csv: 24 examples, x (24, 3) float32, y (24,) int32, 2 classes
        >>> train.schema.classes, [column.kind for column in train.schema.columns]
        (('no', 'yes'), ['number', 'category', 'classes'])
    """
    for name, f in (("test_fraction", test_fraction), ("validation_fraction", validation_fraction)):
        if f is not None or name == "test_fraction":
            arguments.number("load", name, f, low=0, high=1, open_low=True, open_high=True)
    arguments.whole("load", "seed", seed, low=0)
    raw, shuffle = arguments.flag("load", "raw", raw), arguments.flag("load", "shuffle", shuffle)
    download = arguments.flag("load", "download", download)
    assert_choice("load", task, scale)
    reading = Reading(delimiter, decimal, header, encoding, max_bytes).checked("load")
    choice = Choice(label, drop, task, scale)
    cut = Cut(test_fraction, validation_fraction, seed, shuffle)
    own = {"raw": raw, "data_dir": data_dir is not None, "download": download}
    given = {*_given(reading), *_given(choice), *(name for name, is_given in own.items() if is_given)}

    if is_frame(name_or_path):
        _assert_has("a frame", given, {*Choice._fields, "decimal"})
        table = of_frame(name_or_path, "load(frame)", decimal=decimal or ".", survey=True)
        return of_table(table, "frame", choice, cut)
    path = arguments.path("load", "name_or_path", name_or_path)
    name, where = str(path), f"load({path.name})"
    if name in SOURCES:
        _assert_has(name, given, {"scale", "download", *["data_dir"] * SOURCES[name].files})
        options = {"data_dir": data_dir, "download": download, "test_fraction": test_fraction, "seed": seed}
        train, test = SOURCES[name].read(**options)
        return of_arrays(*train, test, name, choice, cut, classes=SOURCES[name].classes)
    if not os.path.isfile(path):
        known = ", ".join(SOURCES)
        hint = "of other sets in MNIST's form (KMNIST), jaxbp.data.read_idx reads the files"
        raise FileNotFoundError(
            message("load", f"one of {known}, or the path of an .npz, .npy or CSV file", f"{name!r}", hint)
        )
    found = kind(path)
    if found == ZIP:
        pairs = of_npz(path, max_bytes=max_bytes)
        _assert_has("an .npz file", given, {"task", "scale", "max_bytes", "raw"})
        if pairs.y is None:
            hint = f"if {pairs.others[0]!r} are the labels, save them as y" if pairs.others else ""
            raise ValueError(message(where, "labels y beside x", "x alone", hint))
        return of_arrays(pairs.x, pairs.y, pairs.test, path.name, choice, cut, raw=raw)
    if found == NPY:
        _assert_has("an .npy file", given, {*Choice._fields, "max_bytes"})
        array = read_npy(path, max_bytes=max_bytes)
        if array.ndim != 2 and array.dtype.names is None:
            expected = "a table of two axes, the label a column of it"
            hint = "store inputs and labels as x and y in one .npz"
            raise ValueError(message(where, expected, f"an array of shape {array.shape}", hint))
        table = of_array(array, where, decimal=".", survey=True)
    else:
        _assert_has("a text file", given, {*Choice._fields, *Reading._fields})
        table = of_text(path, where, reading, survey=True)
    return of_table(table, path.name, choice, cut)


def _given(options: Any) -> list[str]:
    """The options that are not their defaults."""
    defaults = options._field_defaults
    return [name for name, value in options._asdict().items() if value is not defaults[name]]


def _assert_has(source: str, given: set[str], has: set[str]) -> None:
    """Raises a TypeError for arguments that a source does not have."""
    if unknown := sorted(given - has):
        expected = f"for {source} no arguments of other data than {', '.join(sorted(has))}"
        raise TypeError(message("load", expected, ", ".join(f"{name}=" for name in unknown)))
