"""The training, validation and test part of a table or of arrays, with features fitted to the first alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.data.checks import assert_data
from jaxbp.data.dataset import Dataset, split
from jaxbp.data.distinct import assert_distinct
from jaxbp.data.tables.columns import Classes, Column, Number
from jaxbp.data.tables.fitting import fitted, fitted_label, fitted_numbers, plan, told_task
from jaxbp.data.tables.schema import Schema, assert_labeled
from jaxbp.data.tables.table import Reading, Table
from jaxbp.errors import message

_BYTES = Number(0.0, 0.0, 255.0)
_AS_IT_IS = Number(0.0, 0.0, 1.0)


class Choice(NamedTuple):
    """What was asked of the columns: see `load`."""

    label: int | str | None = None
    drop: int | str | Sequence[int | str] = ()
    task: str | None = None
    scale: str | None = None


class Cut(NamedTuple):
    """How examples are cut into parts: see `load`."""

    test: float
    validation: float | None
    seed: int
    shuffle: bool

    def rows(self, labels: np.ndarray, task: str, *, tested: bool = False) -> list[Any]:
        """Which examples are in each part, classes in the same proportions.

        With ``tested`` no test part is cut off, for there is one, and the rest is cut without regard to
        classes.
        """
        fractions = [f for f in (None if tested else self.test, self.validation) if f is not None]
        if not fractions:
            return [slice(None)]
        stratify = task == "classification" and self.shuffle and not tested
        classes = np.unique(labels.astype(str), return_inverse=True)[1] if stratify else np.zeros(len(labels))
        rest, parts = Dataset(np.arange(len(labels)), classes), list[Dataset]()
        for fraction in fractions:
            rest, held_out = split(rest, fraction, seed=self.seed, shuffle=self.shuffle, stratify=stratify)
            parts.insert(0, held_out)
        return [part.x for part in (rest, *parts)]


def of_table(table: Table, name: str, choice: Choice, cut: Cut) -> tuple[Dataset, ...]:
    """The parts of a table."""
    columns = plan(table, choice.label, choice.drop)
    read = table.read(columns.kinds)
    label, called = read[columns.label], table.names[columns.label]
    assert_labeled(label, called, table.where)
    task, scale = told_task(label, choice.task, table.where, called), choice.scale or "standard"
    parts = cut.rows(label, task)
    schema = fitted(table, columns, read, parts[0], task=task, scale=scale)
    if scale == "none":
        numbers = [
            j for j, kind in columns.kinds.items() if kind in ("number", "date") and j != columns.label
        ]
        hint = "scale='standard' keeps them apart, or subtract the smallest value first"
        values = np.stack([read[j] for j in numbers], axis=1) if numbers else np.zeros((0, 0))
        assert_distinct(name, values, lambda i: repr(table.names[numbers[i]]), hint)
    y, used = schema.labels_in(label, table.where), [j for j, c in enumerate(schema.columns) if c.used]
    return tuple(
        _part(schema.features_of(len(rows), (read[j][rows] for j in used)), y[rows], schema, name)
        for rows in parts
    )


def of_arrays(
    x: Any,
    y: Any,
    test: tuple[Any, Any] | None,
    name: str,
    choice: Choice,
    cut: Cut,
    *,
    raw: bool = False,
    classes: str = "",
) -> tuple[Dataset, ...]:
    """The parts of arrays x and y, whose test part may be given.

    Where ``classes`` are known, a character each, nothing else is told by the arrays, and nothing scaled.
    """
    x, y = _checked(x, y, name)
    if y.ndim > 1:
        return _without_schema(x, y, test, name, cut, raw)
    floats, y = y.dtype.kind == "f" and choice.task is None, y if y.dtype == object else y.astype(float)
    known = "classification" if classes else "regression" if floats else None
    task = known or told_task(y, choice.task, name, "y")
    parts = cut.rows(y, task, tested=test is not None)
    default = "standard" if x.ndim == 2 and x.dtype.kind == "f" and not classes else "none"
    scale, d = choice.scale or default, int(np.prod(x.shape[1:]))
    if raw or (scale == "none" and (choice.scale or x.dtype != np.uint8)):
        features = [_AS_IT_IS] * d
    elif scale == "none":
        features = [_BYTES] * d
    else:
        features, _ = fitted_numbers(x[parts[0]].reshape(-1, d).astype(float), scale, name)
    columns = [Column(f"column {j}", "number", record) for j, record in enumerate(features, 1)]
    label = Column("y", *fitted_label(y, parts[0], task, scale, name))
    if classes:
        label = Column("y", "classes", Classes(tuple(classes), numeric=y.dtype != object))
    schema = Schema((*columns, label), Reading(decimal=".", header=False))

    def part(x: np.ndarray, y: np.ndarray, name: str) -> Dataset:
        if _AS_IT_IS not in features:
            columns = (column.astype(float) for column in x.reshape(-1, d).T)
            x = schema.features_of(len(x), columns).reshape(x.shape)
        return _part(x, schema.labels_in(y, name), schema, name, raw=raw)

    cut_off = [part(x[rows], y[rows], name) for rows in parts]
    if test is not None:
        x, y = _checked(*test, f"{name} test")
        if x.shape[1:] != (shape := cut_off[0].x.shape[1:]):
            raise ValueError(message(f"{name} test", f"examples of shape {shape}", f"{x.shape[1:]}"))
        cut_off.append(part(x, y, f"{name} test"))
    return tuple(cut_off)


def _part(x: np.ndarray, y: np.ndarray, schema: Schema, name: str, *, raw: bool = False) -> Dataset:
    classes = None if schema.classes is None else len(schema.classes)
    return replace(assert_data(x, y, num_classes=classes, raw=raw, where=name), schema=schema)


def _without_schema(
    x: np.ndarray, y: np.ndarray, test: tuple[Any, Any] | None, name: str, cut: Cut, raw: bool
) -> tuple[Dataset, ...]:
    """The parts of data with several targets for each example."""
    rows = cut.rows(np.zeros(len(y)), "regression", tested=test is not None)
    parts = [assert_data(x[part], y[part], raw=raw, where=name) for part in rows]
    if test is not None:
        parts.append(assert_data(*test, num_classes=parts[0].num_classes, raw=raw, where=f"{name} test"))
    return tuple(parts)


def _checked(x: Any, y: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs that are finite numbers, and as many labels."""
    y = _plain_labels(y, where)
    if np.iscomplexobj(x):
        raise TypeError(message(where, "real x", arguments.described(x), "both parts as two numbers"))
    stand_in = y if y.dtype.kind in "iuf" else np.zeros(len(y))
    x = assert_data(x, stand_in.astype(float), raw=True, narrow=False, where=where).x
    return x, y


def _plain_labels(y: Any, where: str) -> np.ndarray:
    """Labels as numbers or texts (N,), those in one column and in one-hot rows among them; bool as texts."""
    y = np.asarray(y)
    if y.dtype.kind in "SUb" or (y.dtype == object and all(isinstance(v, str) for v in y.flat)):
        y = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in y.flat], object).reshape(
            y.shape
        )
    else:
        y = arguments.array(where, "y", y, host=True)
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim == 2 and y.dtype != object and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
        return y.argmax(axis=1)
    return y
