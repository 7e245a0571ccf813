"""Examples from what a user has of them: a file, a frame, an array, records, a data set."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbp import arguments
from jaxbp.data import Dataset, Schema, read_csv, read_npy
from jaxbp.data.reading.files import NPY, ZIP, assert_file, kind
from jaxbp.data.reading.pairs import of_npz
from jaxbp.data.tables.table import Reading, of_text
from jaxbp.errors import message


def inputs(source: Any, schema: Schema | None, shape: tuple[int, ...], where: str) -> np.ndarray:
    """x (*n, *shape) on the host.

    Args:
        source: the path of a file, or an array. With a schema also a frame, rows of raw columns, or records
            by the names of the columns; one row or one record is one example.
        schema: of the table that the network was trained on.
        shape: of an example; the numbers of a file get it.
        where: what a message calls the place.
    """
    if isinstance(source, Dataset):
        return _features(source, schema, where)
    if schema is not None:
        table, single = _as_table(source, where)
        x = schema.inputs(table)
        return x[0] if single else x
    if not isinstance(source, str | os.PathLike):
        return arguments.array(where, "x", source, host=True)
    path = _file(source, where)
    if (found := kind(path)) == NPY:
        return read_npy(path)
    if found == ZIP:
        pairs = of_npz(path)
        return pairs.test[0] if pairs.test else pairs.x
    table = of_text(path, path.name, Reading(), survey=True)
    columns = table.read(dict.fromkeys(range(len(table.names)), "number"))
    return _shaped(np.stack(list(columns.values()), axis=1), shape)


def labelled(
    source: Any, schema: Schema | None, shape: tuple[int, ...], where: str, *, scaled: bool = False
) -> tuple[Any, Any, bool]:
    """(x, y, numbered) of a source that has both.

    y are targets in the units of the source, or as the network learned them if ``scaled``; or labels: the
    numbers 0..C-1 of the classes if ``numbered``.
    """
    back = schema is not None and not schema.classes and not scaled
    if isinstance(source, Dataset):
        x, y = _features(source, schema, where), source.y
        return x, schema.targets_back(y) if schema is not None and back else y, True
    if schema is not None:
        table, _ = _as_table(source, where)
        opened = schema.opened(table)
        y = schema.labels_of(opened)
        return schema.inputs_of(opened), schema.targets_back(y) if back else y, True
    if not isinstance(source, str | os.PathLike):
        expected, hint = "y beside x", "a file, a Dataset or a frame with its schema has both"
        raise TypeError(message(where, expected, f"{arguments.described(source)} alone", hint))
    path = _file(source, where)
    if kind(path) != ZIP:
        x, y = read_csv(path)
        return _shaped(x, shape), y, False
    pairs = of_npz(path)
    x, labels = pairs.test or (pairs.x, pairs.y)
    if labels is None:
        raise ValueError(message(where, f"x and y in {path.name}", "no y"))
    return x, labels, False


def _features(data: Dataset, schema: Schema | None, where: str) -> np.ndarray:
    """The x of a data set, which are features of this schema."""
    if schema is not None and data.schema != schema:
        hint = "give the file or the frame that it was made of, or its raw columns"
        raise ValueError(message(where, "data whose features are those of the run", f"{data.name}", hint))
    return data.x


def _file(source: str | os.PathLike[str], where: str) -> Path:
    path = arguments.path(where, "x", source)
    assert_file(path, where)
    return path


def _shaped(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of a text as examples; whole ones may be pixels."""
    with np.errstate(invalid="ignore"):
        whole = x.astype(np.int64)
    x = whole if (whole == x).all() else x
    return x.reshape(-1, *shape) if x.shape[1:] == (math.prod(shape),) else x


def _as_table(source: Any, where: str) -> tuple[Any, bool]:
    """What `Schema.inputs` takes, and whether it is one example without an axis for examples."""
    if hasattr(source, "iloc") and getattr(source, "ndim", 0) == 1:  # a row of a pandas frame
        source = dict(zip(source.index, source, strict=True))
    if isinstance(source, Mapping):
        if source and all(map(_is_column, source.values())):  # columns by their names
            if len({len(column) for column in source.values()}) > 1:
                got = ", ".join(f"{len(column)} of {name!r}" for name, column in source.items())
                raise ValueError(message(where, "columns of one length", got))
            rows = zip(*source.values(), strict=True)
            return _records([dict(zip(source, row, strict=True)) for row in rows], where), False
        return _records([source], where), True
    if isinstance(source, list | tuple) and source:
        if all(isinstance(row, Mapping) for row in source):
            return _records(source, where), False
        if not any(_is_column(value) for value in source):
            return np.array([source], object), True
        return source, False
    if getattr(source, "ndim", 0) == 1 and not getattr(source.dtype, "names", None):
        return np.asarray(source)[None], True
    return source, False


def _is_column(value: Any) -> bool:
    return np.ndim(value) > 0 if not isinstance(value, str | bytes) else False


def _records(rows: Sequence[Mapping[Any, Any]], where: str) -> np.ndarray:
    """Records of one form as an array with named fields."""
    names = list(rows[0])
    for i, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            got = f"{', '.join(map(repr, sorted(map(str, row.keys() ^ rows[0].keys()))))} not in all of them"
            raise ValueError(message(where, f"records of the same names, record {i} as record 0", got))
    made = np.empty(len(rows), [(str(name), object) for name in names])
    for name in names:
        made[str(name)] = [row[name] for row in rows]
    return made
