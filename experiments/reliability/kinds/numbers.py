"""Kinds of numbers, whole numbers, flags and words."""

import datetime
import enum
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.reliability.kinds.kind import Kind, Skip, means_same, open_to_any, refused

_NO_NUMBER = [
    refused("None", None),
    refused("a word", "many"),
    refused("empty text", ""),
    refused("bytes", b"1"),
    refused("a dict", {}),
    refused("an object", object()),
    refused("a function", len),
    refused("a class", int),
    refused("NaN", float("nan")),
    refused("NaN of NumPy", np.float32("nan")),
    refused("a pair", (1, 2)),
    refused("an array of two", np.array([1.0, 2.0])),
    refused("an empty array", np.array([])),
    refused("complex", 1 + 1j),
    refused("a timedelta", datetime.timedelta(seconds=1)),
    refused("a date", np.datetime64("2024-01-01")),
    refused("the masked constant", np.ma.masked),
    refused("Ellipsis", ...),
]


def number(low: float = -math.inf, high: float = math.inf, *, ends: bool = True) -> list[Kind]:
    """Of a real number in [low, high], or in (low, high) without the ends."""

    def value(name: str, v: Any) -> Kind:
        inside = low <= v <= high if ends else low < v < high
        return open_to_any(name, lambda _: v) if inside and math.isfinite(v) else refused(name, v)

    return [
        *_NO_NUMBER,
        means_same("as text", str),
        means_same("NumPy float32", np.float32, loose=1e-6),
        means_same("NumPy float64", np.float64),
        means_same("NumPy longdouble", np.longdouble),
        means_same("0-d array", lambda g: np.array(g, np.float32), loose=1e-6),
        means_same("0-d jax array", lambda g: jnp.float32(g), loose=1e-6),
        means_same("0-d array, big-endian", lambda g: np.array(g, ">f8")),
        means_same("array of one", lambda g: np.array([g])),
        means_same("list of one", lambda g: [g]),
        means_same("float16", np.float16, loose=1e-2),
        means_same("Decimal", Decimal),
        means_same("Fraction", Fraction),
        means_same("complex, imaginary part 0", complex),
        Kind("True", lambda g: True, (lambda g: 1.0,)),
        Kind("False", lambda g: False, (lambda g: 0.0,)),
        value("inf", math.inf), value("-inf", -math.inf), value("-1", -1), value("-0.1", -0.1), value("0", 0),
        value("2", 2), value("1e300", 1e300), value("1e-300", 1e-300), value("-1e300", -1e300),
        refused("10**400", 10**400),
    ]  # fmt: skip


def whole(low: float = 1, high: float = math.inf, *, vast: bool = True, optional: bool = False) -> list[Kind]:
    """Of a whole number in low..high; ``vast`` numbers are left out where they only take for ever."""

    def value(name: str, v: Any) -> Kind:
        return open_to_any(name, lambda _: v) if low <= v <= high else refused(name, v)

    vast_ones = [value("2**63", 2**63), value("10**18", 10**18), value("10**30", 10**30)]
    return [
        *(kind for kind in _NO_NUMBER if not (optional and kind.name == "None")),
        refused("2.5", 2.5),
        refused("2.5 of NumPy", np.float32(2.5)),
        refused("inf", math.inf),
        means_same("as text", str),
        means_same("np.int64", np.int64),
        means_same("np.int8", np.int8),
        means_same("np.uint8", lambda g: np.uint8(g) if g >= 0 else _skip()),
        means_same("0-d array", np.array),
        means_same("0-d array, big-endian", lambda g: np.array(g, ">i4")),
        means_same("0-d jax array", jnp.asarray),
        means_same("array of one", lambda g: np.array([g])),
        means_same("list of one", lambda g: [g]),
        means_same("float", float),
        means_same("np.float64", np.float64),
        means_same("Decimal", Decimal),
        means_same("Fraction", Fraction),
        Kind("True", lambda g: True, (lambda g: 1,)),
        Kind("False", lambda g: False, (lambda g: 0,)),
        value("0", 0), value("-1", -1), value("-2**40", -(2**40)),
        *(vast_ones if vast or math.isfinite(high) else []),
    ]  # fmt: skip


FLAG: list[Kind] = [
    Kind("text no", lambda g: "no", (lambda g: False,)),
    Kind("text False", lambda g: "False", (lambda g: False,)),
    Kind("text 0", lambda g: "0", (lambda g: False,)),
    Kind("text yes", lambda g: "yes", (lambda g: True,)),
    Kind("0", lambda g: 0, (lambda g: False,)),
    Kind("1", lambda g: 1, (lambda g: True,)),
    Kind("None", lambda g: None, (lambda g: False,)),
    means_same("np.bool", np.bool_),
    means_same("0-d array", np.array),
    means_same("0-d jax array", jnp.asarray),
    refused("2", 2),
    refused("-1", -1),
    refused("NaN", float("nan")),
    refused("a pair of flags", [True, False]),
    refused("an array of two flags", np.array([True, False])),
    refused("an object", object()),
    refused("a function", lambda: False),
]


def word(words: dict[str, str], *, optional: bool = False) -> list[Kind]:
    """Of one of a few words; ``words`` has near-words and the word that each may mean."""

    def meant(change: Any) -> Kind | Any:
        return lambda g: change(g)

    enumerated = lambda g: enum.Enum("Word", {"A": g}).A  # noqa: E731
    return [
        means_same("upper case", str.upper),
        means_same("title case", str.title),
        means_same("a blank after", meant(lambda g: g + " ")),
        means_same("a blank before", meant(lambda g: " " + g)),
        means_same("bytes", str.encode),
        means_same("np.str_", np.str_),
        means_same("list of one", meant(lambda g: [g])),
        means_same("an enum", enumerated),
        means_same("in quotes", meant(lambda g: f"'{g}'")),
        *(
            Kind(f"the word {near!r}", lambda g, n=near: n, (lambda g, t=true: t,) if true else ())
            for near, true in words.items()
        ),
        Kind("the last letter missing", lambda g: g[:-1]),
        Kind("a letter more", lambda g: g + "x"),
        Kind("the first letter", lambda g: g[:1] if len(g) > 1 else _skip(), (lambda g: g,)),
        refused("another word", "whatever"),
        refused("empty text", ""),
        refused("a number", 5),
        refused("True", True),
        refused("False", False),
        refused("a list", []),
        refused("a dict", {}),
        refused("a function", min),
        *([] if optional else [refused("None", None)]),
    ]  # fmt: skip


TEXT: list[Kind] = [
    open_to_any("None", lambda g: None),
    open_to_any("a number", lambda g: 5),
    open_to_any("bytes", lambda g: b"x"),
    open_to_any("empty text", lambda g: ""),
    open_to_any("braces", lambda g: "{0} {x} %s %(a)s"),
    open_to_any("markup", lambda g: "<script>[bold]"),
    open_to_any("a list", lambda g: ["a"]),
    open_to_any("very long", lambda g: "x" * 10_000),
    open_to_any("no UTF-8", lambda g: "\udcff"),
]


def _skip() -> Any:
    raise Skip
