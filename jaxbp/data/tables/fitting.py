"""From a table to its schema: which column is what, and the numbers that scikit-learn fits."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.data.reading.csv import LABELS, column_number
from jaxbp.data.reading.faults import column_name
from jaxbp.data.tables.columns import Category, Classes, Column, Fitted, LeftOut, Number, Target
from jaxbp.data.tables.schema import Schema, class_name
from jaxbp.data.tables.survey import IDENTIFIER
from jaxbp.data.tables.table import Table
from jaxbp.errors import message, needs

TASKS = ("classification", "regression")
SCALES = ("standard", "minmax", "none")
_CLASSES = 100  # more distinct whole numbers than that, with gaps, are targets
_CATEGORIES = 100  # features that one column may become; the rarest categories share the last of them
# What pandas, polars and people call a column that only numbers the examples.
_ROW_NUMBERS = re.compile(r"index|level_\d+|row|(row_?)?(nr|number)|(\w*_)?id")
_LARGEST = 1e150  # whose square float64 still holds


class Plan(NamedTuple):
    """What each column of a table is for.

    Args:
        label: the number of the label's column.
        kinds: of the columns to read, the label's among them.
        left_out: the others, and why.
    """

    label: int
    kinds: dict[int, str]
    left_out: dict[int, str]


def plan(table: Table, label: int | str | None, drop: Any) -> Plan:
    """What each column is for, by its cells and what was asked.

    Raises:
        ValueError: no column ``label`` or ``drop``, two that may be the label, dates of an unclear form, or
            nothing to learn from.
        TypeError: for a label or drop that is neither a number nor a name.
    """
    survey, width = table.survey, len(table.names)
    assert survey is not None
    names = list(table.names) if table.reading.header else None
    asked = list(drop) if isinstance(drop, Sequence) and not isinstance(drop, str) else [drop]
    dropped = {column_number(column, width, names, table.where, "drop") for column in asked}
    if label is not None:
        target = column_number(label, width, names, table.where, "label")
    else:
        target = _label(table, [j for j in range(width) if j not in dropped and survey.tallies[j].present])
    if names is not None and isinstance(label, str | None) and f"{names[target]} (2)" in names:
        hint = f"label={target} takes the first of them, and drop= leaves the others out"
        got = f"{names[target]!r} twice"
        raise ValueError(message(table.where, "one column that is the label", got, hint))
    if target in dropped:
        raise ValueError(message(table.where, "a label that is not dropped", column_name(target, names)))
    kinds, left_out = {}, {}
    for j in range(width):
        if j == target:
            kinds[j] = "number" if survey.tallies[j].kind == "number" else "label"
        elif j in dropped:
            left_out[j] = "as asked"
        elif why := survey.left_out(j, table.names[j] if table.reading.header else None):
            left_out[j] = why
        elif j == 0 and names is not None and _ROW_NUMBERS.fullmatch(names[0].lower()) and _counts(table):
            left_out[j] = "numbers that count the examples"
        else:
            survey.refuse_other_dates(table.where, j, table.names[j])
            kinds[j] = survey.tallies[j].kind
    if len(kinds) == 1:
        said = "; ".join(f"{table.names[j]!r}: {why}" for j, why in list(left_out.items())[:3])
        got = f"none of {width - 1}" + (f" ({said})" if said else "")
        hint = "" if width > 1 else "is there another delimiter? give delimiter="
        raise ValueError(message(table.where, "a column to learn from beside the label", got, hint))
    return Plan(target, kinds, left_out)


def _counts(table: Table) -> bool:
    """Whether the first column has n, n + 1, ..., each once, in any order, as an index made a column has."""
    assert table.survey is not None
    tally = table.survey.tallies[0]
    if tally.numbers != tally.present or tally.missing or tally.numbers < IDENTIFIER:
        return False
    return bool((np.diff(np.sort(table.read({0: "number"})[0])) == 1).all())


def _label(table: Table, present: list[int]) -> int:
    """The column that a header calls label, class or target; else the last."""
    if not present:
        raise ValueError(message(table.where, "a column for the label", "empty ones"))
    called = [j for j in present if table.reading.header and table.names[j].lower() in LABELS]
    if len(called) > 1 and present[-1] not in called:
        shown = " and ".join(repr(table.names[j]) for j in called[:3])
        hint = f"label={called[0]} takes the first of them"
        raise ValueError(message(table.where, "one column that is the label", shown, hint))
    return called[0] if len(called) == 1 else present[-1]


def told_task(values: np.ndarray, task: str | None, where: str, name: str) -> str:
    """What is learned: as asked, else classes where the label is text or few whole numbers, else a target.

    Raises:
        ValueError: a task that the label does not have, one class, one value, or where it is open.
    """
    present = values[values != ""] if values.dtype == object else values[~np.isnan(values)]
    distinct = np.unique(present.astype(str) if present.dtype == object else present)
    if len(distinct) == 1:
        expected = "targets that differ" if task == "regression" else "at least 2 classes"
        got = f"label {class_name(distinct[0])} in all {len(present)} examples"
        raise ValueError(message(where, expected, got, "if another column is the label, give label="))
    if present.dtype == object:
        if task == "regression":
            got = f"{str(distinct[0])!r} in {name!r}"
            raise ValueError(message(where, "numbers as targets of a regression", got))
        alone = len(distinct) == len(present)
        if len(present) >= IDENTIFIER and (alone or (task is None and 2 * len(distinct) > len(present))):
            got = f"{len(distinct)} distinct texts in {len(present)} examples of {name!r}"
            hint = "if another column is the label, give label="
            hint += "" if alone else "; task='classification' takes each for a class"
            raise ValueError(message(where, "classes of more than one example", got, hint))
        return "classification"
    whole = bool((present == np.rint(present)).all()) and np.abs(present).max(initial=0) < 2.0**53
    if task is not None:
        alone = len(present) >= IDENTIFIER and len(distinct) == len(present)
        if task == "classification" and not whole and (alone or len(distinct) > _CLASSES):
            got = f"{len(distinct)} distinct numbers in {name!r}, such as {present[0]:g}"
            raise ValueError(message(where, "classes", got, "task='regression' learns numbers"))
        return task
    low, high = (distinct[0], distinct[-1]) if len(distinct) else (0, 0)
    counted = whole and low in (0, 1) and high - low + 1 == len(distinct)
    few = len(distinct) <= min(_CLASSES, max(10, len(present) / 2))
    if whole and (counted or few):
        return "classification"
    if not whole and len(distinct) <= min(10, len(present) / 10):
        got = f"{len(distinct)} distinct numbers in {name!r}, not all of them whole"
        hint = "task='classification' takes each for a class, task='regression' learns numbers"
        raise ValueError(message(where, "a label that is clearly classes or a target", got, hint))
    return "regression"


def fitted(
    table: Table,
    plan: Plan,
    read: Mapping[int, np.ndarray],
    rows: np.ndarray,
    *,
    task: str,
    scale: str,
) -> Schema:
    """The schema of a table, with numbers fitted to these rows alone; the classes are those of all rows.

    Args:
        table: the table.
        plan: what its columns are for.
        read: its columns.
        rows: the numbers of the training examples.
        task: "classification" or "regression".
        scale: of numbers: "standard" (mean 0, standard deviation 1), "minmax" (0 to 1) or "none".

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: numbers whose squares are none.
    """
    found: dict[int, tuple[str, Fitted, str]] = {
        j: ("left out", LeftOut(why), why) for j, why in plan.left_out.items()
    }
    numbers = [j for j, kind in plan.kinds.items() if kind in ("number", "date") and j != plan.label]
    texts = [j for j, kind in plan.kinds.items() if kind == "category" and j != plan.label]
    if numbers:
        values = np.stack([read[j][rows] for j in numbers], axis=1)
        names = [table.names[j] for j in numbers]
        for j, record, said in zip(numbers, *fitted_numbers(values, scale, table.where, names), strict=True):
            found[j] = (plan.kinds[j], record, said + " days after 1970-01-01" * (plan.kinds[j] == "date"))
    if texts:
        cells = np.stack([read[j][rows] for j in texts], axis=1)
        for j, record_, said in zip(texts, *_categories(cells), strict=True):
            found[j] = ("category", record_, said)
    found[plan.label] = fitted_label(read[plan.label], rows, task, scale, table.where)
    columns = tuple(Column(name, *found[j]) for j, name in enumerate(table.names))
    return Schema(columns, table.reading)


def fitted_numbers(
    values: np.ndarray, scale: str, where: str, names: Sequence[str] | None = None
) -> tuple[list[Number], list[str]]:
    """Fill, shift and scale of columns of numbers (N, columns), each with what was seen."""
    with needs("scikit-learn", "data", "load"):
        from sklearn.impute import SimpleImputer
    absent = np.isnan(values)
    if (large := np.argwhere(np.abs(np.where(absent, 0, values)) > _LARGEST)).size:
        i, j = large[0]
        got = f"{values[i, j]:g} in {repr(names[j]) if names else f'column {j + 1}'}"
        raise ValueError(message(where, f"numbers up to {_LARGEST:g}", got, "rescale these values"))
    fill = SimpleImputer(strategy="median", keep_empty_features=True).fit(values).statistics_
    filled = np.where(absent, fill, values)
    shift, spread = _scaling(filled, scale)
    records = [Number(*map(float, numbers)) for numbers in zip(fill, shift, spread, strict=True)]
    low, high = filled.min(axis=0), filled.max(axis=0)
    told = list[str]()
    for j, missing in enumerate(absent.sum(axis=0)):
        said = f"{low[j]:.4g} to {high[j]:.4g}" if low[j] < high[j] else f"always {low[j]:.4g}"
        told.append(said + (f"; {missing} missing, taken for {fill[j]:.4g}" if missing else ""))
    return records, told


def _scaling(values: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted from columns, and what they are divided by."""
    with needs("scikit-learn", "data", "load"):
        from sklearn.preprocessing import MinMaxScaler, StandardScaler
    width = values.shape[1]
    if scale == "none":
        return np.zeros(width), np.ones(width)
    if scale == "minmax":
        low = MinMaxScaler().fit(values)
        return low.data_min_, np.where(low.data_range_ == 0, 1.0, low.data_range_)
    standard = StandardScaler().fit(values)
    constant = values.min(axis=0) == values.max(axis=0)  # the mean of equal floats may not be one of them
    return np.where(constant, values[0], standard.mean_), np.where(constant, 1.0, standard.scale_)


def _categories(cells: np.ndarray) -> tuple[list[Category], list[str]]:
    """The categories of columns of texts, each with what was seen."""
    with needs("scikit-learn", "data", "load"):
        from sklearn.preprocessing import OneHotEncoder
    encoder = OneHotEncoder(max_categories=_CATEGORIES, handle_unknown="infrequent_if_exist").fit(cells)
    records, told = [], []
    for j, texts in enumerate(encoder.categories_):
        rare = encoder.infrequent_categories_[j]
        rare = set() if rare is None else set(rare.tolist())
        records.append(Category(tuple(t for t in texts.tolist() if t not in rare), rest=bool(rare)))
        named = [t for t in texts.tolist() if t]
        said = f"{len(named)} categories: {', '.join(named[:4])}{', ...' * (len(named) > 4)}"
        missing = int((cells[:, j] == "").sum())
        said += f"; the {len(rare)} rarest as one" if rare else ""
        told.append(said + (f"; {missing} missing, a category of their own" if missing else ""))
    return records, told


def fitted_label(
    values: np.ndarray, rows: np.ndarray, task: str, scale: str, where: str
) -> tuple[str, Fitted, str]:
    """The kind of the label, its record, and what was seen."""
    if task == "regression":
        known = values[rows]
        known = known[~np.isnan(known)]
        low, high = known.min(initial=np.inf), known.max(initial=-np.inf)
        if not low < high or max(-low, high) > _LARGEST:
            got = f"{low:g} to {high:g} in the training part"
            raise ValueError(message(where, f"targets that differ, up to {_LARGEST:g}", got))
        shift, spread = _scaling(known[:, None], "none" if scale == "none" else "standard")
        return "target", Target(float(shift[0]), float(spread[0])), f"{low:.4g} to {high:.4g}"
    numeric = values.dtype != object
    known = values[~np.isnan(values)] if numeric else values[values != ""].astype(str)
    classes, counts = np.unique(known, return_counts=True)
    names = tuple(class_name(c) for c in classes.tolist())
    said = ", ".join(f"{name} ({n})" for name, n in list(zip(names, counts, strict=True))[:4])
    said = f"{len(names)} classes: {said}{', ...' * (len(names) > 4)}"
    if once := [name for name, n in zip(names, counts, strict=True) if n == 1]:
        said += f"; with one example only: {', '.join(once[:4])}{', ...' * (len(once) > 4)}"
    return "classes", Classes(names, numeric), said


def assert_choice(where: str, task: str | None, scale: str | None) -> None:
    """Raises unless these are a task and a scale."""
    if task is not None:
        arguments.option(where, "task", task, TASKS)
    if scale is not None:
        arguments.option(where, "scale", scale, SCALES)
