"""What a table means to a network: each column as features, the label as classes or targets."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbp import arguments
from jaxbp.arguments.arrays import held_dtype
from jaxbp.data.reading.files import NPY, ZIP, assert_file, kind
from jaxbp.data.reading.pairs import of_npz
from jaxbp.data.reading.readers import read_npy
from jaxbp.data.tables.columns import Category, Classes, Column, Number, Target
from jaxbp.data.tables.scaled import looks_scaled
from jaxbp.data.tables.table import Reading, Table, is_frame, of_array, of_frame, of_text
from jaxbp.errors import message

_FORMAT = 1
_SHOWN = 5  # names that a message lists


@dataclass(frozen=True)
class Schema:
    r"""How the columns of a table become the features x of a network, and its label the y.

    The numbers in it were fitted to the training part of a table; applying them in another process gives the
    same features, bit for bit.

    Args:
        columns: all columns in order, of which one is the label.
        reading: how files are read. Without a header the columns are known by their order.

    Raises:
        ValueError: not one label, two columns of one name, or none to learn from.

    Example:
        >>> import numpy as np, pathlib, tempfile
        >>> label = Column("class", "classes", Classes(("no", "yes"), numeric=False))
        >>> dose = Column("dose", "number", Number(fill=0.0, shift=2.0, scale=0.5))
        >>> schema = Schema((dose, label), Reading(decimal=".", header=True))
        >>> schema.task, schema.classes, schema.features
        ('classification', ('no', 'yes'), 1)
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "new.csv"
        >>> _ = file.write_text("class,dose\nyes,2.5\nno,\n")
        >>> schema.inputs(file).tolist(), schema.labels(file).tolist()
        ([[1.0], [-4.0]], [1, 0])
        >>> schema == Schema.from_dict(schema.to_dict())
        True
    """

    columns: tuple[Column, ...]
    reading: Reading

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        labels = [column for column in self.columns if isinstance(column.fitted, Classes | Target)]
        if len(labels) != 1 or len(set(names)) < len(names) or not self.features:
            expected = "one label, columns of different names, and at least one of them to learn from"
            raise ValueError(message("Schema", expected, f"{names[: 2 * _SHOWN]}, {len(labels)} labels"))
        self.reading.checked("Schema")
        arguments.flag("Schema", "header", self.reading.header)
        arguments.option("Schema", "decimal", self.reading.decimal, (".", ","))

    @property
    def label(self) -> Column:
        """The column that is learned."""
        return next(column for column in self.columns if isinstance(column.fitted, Classes | Target))

    @property
    def task(self) -> str:
        """What is learned, "classification" or "regression"."""
        return "classification" if self.classes else "regression"

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the labels 0..C-1; None in regression."""
        fitted = self.label.fitted
        return fitted.names if isinstance(fitted, Classes) else None

    @property
    def features(self) -> int:
        """How many features an example has, the width of x."""
        return sum(column.fitted.width for column in self.columns)

    def inputs(self, source: Any) -> np.ndarray:
        """The features of a table's examples.

        A missing number is filled, a category that was not in the training data has 0 everywhere, with a
        warning. The label need not be there; where names tell the columns, other columns than the schema's
        are passed over.

        Args:
            source: the path of a file, a pandas or polars frame, or an array of the columns in their order,
                with or without the label's.

        Returns:
            x (N, features), in the float dtype that JAX holds.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: columns that are not there, or cells that are none of their column's kind.

        Warns:
            UserWarning: a category that was not in the training data; numbers without names that look like
                features, for they would be scaled twice.
        """
        return self.inputs_of(self.opened(source))

    def labels(self, source: Any) -> np.ndarray:
        """The labels of a table's examples, int32 (N,) in 0..C-1; or the standardized targets, floats (N, 1).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no column of the label, a missing label, or one that is no class.
        """
        return self.labels_of(self.opened(source))

    def targets_back(self, y: Any) -> Any:
        """Standardized targets, or the network's predictions of them, in the units of the table."""
        fitted = self.label.fitted
        if not isinstance(fitted, Target):
            hint = "classes[label] is its name"
            raise ValueError(message("targets_back", "a regression", self.task, hint))
        return y * fitted.scale + fitted.shift

    def to_dict(self) -> dict[str, Any]:
        """The schema as strict JSON has it: texts, numbers, lists, and floats that repr writes exactly."""
        return {
            "format": _FORMAT,
            "reading": self.reading._asdict(),
            "columns": [column.to_dict() for column in self.columns],
        }

    @classmethod
    def from_dict(cls, stored: Any) -> "Schema":
        """The schema that `to_dict` described.

        Raises:
            ValueError: for what it did not write.
        """
        try:
            given = dict(stored)
            if (form := given.pop("format")) != _FORMAT:
                raise ValueError(message("format", f"{_FORMAT}", f"{form}"))
            columns = tuple(map(Column.from_dict, given.pop("columns")))
            return cls(columns, Reading(**given.pop("reading")), **given)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise ValueError(message("Schema.from_dict", "what Schema.to_dict wrote", got)) from error

    def opened(self, source: Any) -> Table:
        """The table in a file, a frame or an array, to be read by this schema."""
        if isinstance(source, str | os.PathLike):
            path = arguments.path("schema", "source", source)
            where = f"{path.name}"
            assert_file(path, where)
            if (found := kind(path)) not in (ZIP, NPY):
                return of_text(path, where, self.reading, survey=False)
            source = read_npy(path) if found == NPY else of_npz(path).x
        else:
            where = "schema"
        decimal = self.reading.decimal or "."
        if is_frame(source):
            return of_frame(source, where, decimal=decimal, survey=False)
        if getattr(source, "ndim", 0) > 2:  # images: the pixels are the columns
            source = np.asarray(source).reshape(len(source), -1)
        return of_array(source, where, decimal=decimal, survey=False)

    def inputs_of(self, table: Table) -> np.ndarray:
        """x of a table that is open."""
        used = [column for column in self.columns if column.used]
        at = self._places(table, used)
        read = table.read({j: column.kind for j, column in zip(at, used, strict=True)})
        for j, column in zip(at, used, strict=True):
            if isinstance(column.fitted, Category) and (new := column.fitted.unknown(read[j])):
                shown = ", ".join(repr(text) if text else "no value" for text in new[:_SHOWN])
                shown += ", ..." * (len(new) > _SHOWN)
                said = f"{column.name!r} has {shown}, which the training data had not"
                warnings.warn(f"{table.where}: {said}; all its features are 0 there", stacklevel=2)
        if not table.reading.header:  # names would say that they are columns of a table
            numbers = {j: c.fitted for j, c in zip(at, used, strict=True) if isinstance(c.fitted, Number)}
            if looks_scaled(list(numbers.values()), [read[j] for j in numbers]):
                hint = "what load made of them is the Dataset's; columns with names are taken as they are"
                expected, got = "raw columns, which the schema scales", "numbers that look scaled already"
                warnings.warn(message(table.where, expected, got, hint), stacklevel=2)
        return self.features_of(len(read[at[0]]), (read[j] for j in at))

    def features_of(self, n: int, values: Iterable[np.ndarray]) -> np.ndarray:
        """x of n examples, by the values of the columns that are used."""
        fitted = [c.fitted for c in self.columns if isinstance(c.fitted, Number | Category)]
        x = np.empty((n, self.features), held_dtype(np.dtype(float)))
        start = 0
        for record, column in zip(fitted, values, strict=True):
            with np.errstate(over="ignore"):
                x[:, start : start + record.width] = record.features(column)
            start += record.width
        return x

    def labels_of(self, table: Table) -> np.ndarray:
        """y of a table that is open."""
        fitted = self.label.fitted
        (at,) = self._places(table, [self.label])
        numeric = not isinstance(fitted, Classes) or fitted.numeric
        values = table.read({at: "number" if numeric else "label"})[at]
        return self.labels_in(values, table.where)

    def labels_in(self, values: np.ndarray, where: str) -> np.ndarray:
        """y of the values of the label's column."""
        fitted, name = self.label.fitted, self.label.name
        assert_labeled(values, name, where)
        if isinstance(fitted, Target):
            return ((values - fitted.shift) / fitted.scale).astype(held_dtype(np.dtype(float)))[:, None]
        assert isinstance(fitted, Classes)
        number = {class_: c for c, class_ in enumerate(fitted.names)}
        y = np.array([number.get(class_name(value), -1) for value in values.tolist()], np.int32)
        if (unknown := np.flatnonzero(y < 0)).size:
            got = f"{class_name(values[unknown[0]])!r} for example {unknown[0] + 1}; {unknown.size} such"
            shown = ", ".join(fitted.names[:_SHOWN]) + ", ..." * (len(fitted.names) > _SHOWN)
            raise ValueError(message(where, f"{name!r} to be one of the classes {shown}", got))
        return y

    def _places(self, table: Table, columns: list[Column]) -> list[int]:
        """Where columns of the schema are in a table."""
        if self.reading.header and table.reading.header:
            if absent := [column.name for column in columns if column.name not in table.names]:
                shown = ", ".join(map(repr, absent[:_SHOWN])) + ", ..." * (len(absent) > _SHOWN)
                there = ", ".join(map(repr, table.names[:_SHOWN])) + ", ..." * (len(table.names) > _SHOWN)
                hint = "the first line must be the header" if "column 1" in table.names else ""
                raise ValueError(message(table.where, f"columns named {shown}", f"columns {there}", hint))
            own = {column.name for column in self.columns}
            second = [f"{column.name} (2)" for column in columns]  # as `unique` calls it
            if twice := [name for name in second if name in table.names and name not in own]:
                got = f"two of the name {twice[0].removesuffix(' (2)')!r}"
                raise ValueError(message(table.where, "one column of each name", got))
            return [table.names.index(column.name) for column in columns]
        order = list(self.columns)
        if len(table.names) == len(order) - 1:
            order.remove(self.label)
        if len(table.names) != len(order) or not set(columns) <= set(order):
            expected = f"{len(self.columns)} columns, or {len(self.columns) - 1} without the label"
            expected = expected if columns != [self.label] else f"{len(self.columns)} columns with the label"
            made = len(table.names) == self.features
            hint = "of features that load made of them give the Dataset" if made else ""
            raise ValueError(message(table.where, expected, f"{len(table.names)}", hint))
        return [order.index(column) for column in columns]


def assert_labeled(values: np.ndarray, name: str, where: str) -> None:
    """Raises a ValueError where a label is missing."""
    missing = np.flatnonzero(values == "" if values.dtype == object else np.isnan(values))
    if missing.size:
        got = f"none in {missing.size} of {len(values)}, the first of them example {missing[0] + 1}"
        hint = "leave these examples out"
        raise ValueError(message(where, f"a label ({name!r}) for each example", got, hint))


def class_name(value: Any) -> str:
    """The name of a class: a text as it is, a whole number without a decimal point."""
    return value if isinstance(value, str) else f"{value:.0f}" if float(value).is_integer() else f"{value}"
