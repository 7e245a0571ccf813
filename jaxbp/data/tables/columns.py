"""The kinds of columns of a table: what each becomes as features, by numbers fitted before."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from jaxbp.errors import message


@dataclass(frozen=True)
class Number:
    """z = (v - shift) / scale, a missing v taken for ``fill``.

    Args:
        fill: what takes the place of a missing value.
        shift: what is subtracted.
        scale: what it is divided by, never 0.
    """

    fill: float
    shift: float
    scale: float

    def __post_init__(self) -> None:
        numbers = (self.fill, self.shift, self.scale)
        if not all(type(v) is float and isfinite(v) for v in numbers) or self.scale == 0:
            raise ValueError(message("Number", "finite floats, and a scale that is not 0", f"{numbers}"))

    width = 1

    def features(self, values: np.ndarray) -> np.ndarray:
        """(N,) floats, NaN where a value is missing, as (N, 1) features."""
        return ((np.where(np.isnan(values), self.fill, values) - self.shift) / self.scale)[:, None]


@dataclass(frozen=True)
class Category:
    """One feature for each category: 1 in that of the value, 0 elsewhere.

    Args:
        categories: the texts, "" among them where a missing value is a category of its own.
        rest: whether one more feature stands for every other text. Without it such a text has 0 everywhere.
    """

    categories: tuple[str, ...]
    rest: bool

    def __post_init__(self) -> None:
        texts = all(type(text) is str for text in self.categories) and type(self.rest) is bool
        if not texts or len(set(self.categories)) < len(self.categories) or not self.width:
            got = f"{self.categories} and rest {self.rest}"
            raise ValueError(message("Category", "texts of which none is there twice", got))

    @property
    def width(self) -> int:
        """How many features the column becomes."""
        return len(self.categories) + self.rest

    def features(self, values: np.ndarray) -> np.ndarray:
        """(N,) texts, "" where one is missing, as (N, width) features."""
        places = {text: j for j, text in enumerate(self.categories)}
        at = np.array([places.get(text, len(places)) for text in values.tolist()], int)
        return np.eye(len(places) + 1)[at][:, : self.width]

    def unknown(self, values: np.ndarray) -> list[str]:
        """The texts that have no feature, "" among them where a value is missing."""
        return sorted(set(values.tolist()) - {*self.categories}) if not self.rest else []


@dataclass(frozen=True)
class LeftOut:
    """No feature.

    Args:
        why: the reason, in words.
    """

    why: str

    def __post_init__(self) -> None:
        if type(self.why) is not str:
            raise ValueError(message("LeftOut", "a reason in words", f"{self.why}"))

    width = 0


@dataclass(frozen=True)
class Classes:
    """The label: class c is the text ``names[c]``. No feature.

    Args:
        names: of the classes 0..C-1.
        numeric: whether they are whole numbers, of which "1" and "1.0" are the same.
    """

    names: tuple[str, ...]
    numeric: bool

    def __post_init__(self) -> None:
        texts = all(type(name) is str for name in self.names) and type(self.numeric) is bool
        if not texts or not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(message("Classes", "names of which none is there twice", f"{self.names}"))

    width = 0


@dataclass(frozen=True)
class Target:
    """The target y of a regression, trained on as (y - shift) / scale. No feature.

    Args:
        shift: what is subtracted.
        scale: what it is divided by, never 0.
    """

    shift: float
    scale: float

    def __post_init__(self) -> None:
        numbers = (self.shift, self.scale)
        if not all(type(v) is float and isfinite(v) for v in numbers) or self.scale == 0:
            raise ValueError(message("Target", "finite floats, and a scale that is not 0", f"{numbers}"))

    width = 0


Fitted = Number | Category | LeftOut | Classes | Target

# Each kind of column by its name in a stored schema, with the record of what was fitted.
KINDS: Mapping[str, type[Fitted]] = {
    "number": Number,
    "date": Number,  # in days since 1970-01-01
    "category": Category,
    "left out": LeftOut,
    "classes": Classes,
    "target": Target,
}


@dataclass(frozen=True)
class Column:
    """One column of a table: its name, its kind, and what was fitted to it.

    Args:
        name: in the header; without one, "column 3" for the third.
        kind: a key of KINDS.
        fitted: the record of that kind.
        told: what the training data showed beside it, such as "3 missing"; it decides nothing.
    """

    name: str
    kind: str
    fitted: Fitted
    told: str = ""

    def __post_init__(self) -> None:
        if type(self.name) is not str or type(self.told) is not str:
            raise ValueError(message("Column", "texts as name and told", f"{self.name}, {self.told}"))
        if type(self.fitted) is not KINDS.get(self.kind):
            got = f"{self.kind!r} with {type(self.fitted).__name__}"
            raise ValueError(message("Column", f"a kind ({', '.join(KINDS)}) with its record", got))

    @property
    def used(self) -> bool:
        """Whether it becomes features."""
        return self.fitted.width > 0

    def to_dict(self) -> dict[str, Any]:
        """The column as strict JSON has it."""
        return {"name": self.name, "kind": self.kind, "told": self.told} | asdict(self.fitted)

    @classmethod
    def from_dict(cls, stored: Any) -> "Column":
        """The column that `to_dict` described.

        Raises:
            ValueError, TypeError, KeyError: for what it did not write.
        """
        fitted = dict(stored)
        name, kind, told = (fitted.pop(key) for key in ("name", "kind", "told"))
        fitted = {key: tuple(v) if isinstance(v, list) else v for key, v in fitted.items()}
        return cls(name, kind, KINDS[kind](**fitted), told)
