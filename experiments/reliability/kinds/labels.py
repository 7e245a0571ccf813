# ruff: noqa: E501
"""Kinds of class labels and of targets."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.reliability.kinds.arrays import NO_NUMBERS, SAME, host, objects, put, table
from experiments.reliability.kinds.kind import Kind, Skip, means_same, refused


def eye(good: Any, dtype: Any = np.float32) -> np.ndarray:
    return np.eye(2, dtype=dtype)[host(good)]


def some(good: Any, value: Any, dtype: Any = np.int64) -> np.ndarray:
    found = host(good)
    if not found.ndim:
        raise Skip
    return put(found, value, dtype)


# The label itself is outside: NaN in the result is seen, another class is not.
OUTSIDE: list[Kind] = [
    Kind("a label of -1", lambda g: some(g, -1)),
    Kind("a label of -1 in int8", lambda g: some(g, -1, np.int8)),
    Kind("a label of C", lambda g: some(g, 2)),
    Kind("labels from 1", lambda g: host(g) + 1),
    Kind("a label of 127 in int8", lambda g: some(g, 127, np.int8)),
    Kind("a label of 255 in uint8", lambda g: some(g, 255, np.uint8)),
    Kind("a label of 2**31", lambda g: some(g, 2**31)),
    Kind("a label of 2**32", lambda g: some(g, 2**32)),
    Kind("a label of 2**32 + 1", lambda g: some(g, 2**32 + 1)),
    Kind("a label of 2**63 in uint64", lambda g: some(g, 2**63, np.uint64)),
    Kind("a label of 2**32 in a list", lambda g: some(g, 2**32).tolist()),
    Kind("a label of 0.5", lambda g: some(g, 0.5, np.float32)),
    Kind("a label of NaN", lambda g: some(g, np.nan, np.float32)),
    Kind("a label of inf", lambda g: some(g, np.inf, np.float32)),
    Kind("complex labels", lambda g: host(g) + 1j),
    Kind("one label less", lambda g: host(g)[:-1]),
    Kind("one label more", lambda g: np.append(host(g), 0)),
    Kind("labels as a row", lambda g: host(g)[None]),
    Kind("labels for three classes as rows", lambda g: np.eye(3, dtype=np.float32)[host(g)]),
    refused("a number", 1),
    refused("empty list", []),
]
_DIGITS = [kind for kind in NO_NUMBERS if kind.means]  # text that holds numbers
# Floats are class labels, or by their dtype targets: where both can be, either is a defensible reading.
_FLOATS = ("float64", "longdouble", "Decimals", "Fractions", "objects", "object array", "0.0 and 1.0", "list of floats", "complex")


def _or_targets(kind: Kind) -> Kind:
    if kind.means and any(word in kind.name for word in _FLOATS):
        return kind._replace(means=(*kind.means, lambda g: host(g).astype(np.float32)))
    return kind


_LABELS: list[Kind] = [
    *SAME,
    *(means_same(d, lambda g, d=d: host(g).astype(d)) for d in ("int8", "int16", "int64", "uint8", "uint32", "uint64", ">i2", ">i4", ">u4")),
    means_same("0.0 and 1.0", lambda g: host(g).astype(np.float32)),
    means_same("0.0 and 1.0 in float16", lambda g: host(g).astype(np.float16)),
    means_same("list of floats", lambda g: host(g).astype(float).tolist()),
    means_same("True and False", lambda g: host(g).astype(bool)),
    means_same("list of bools", lambda g: host(g).astype(bool).tolist()),
    means_same("object array of ints", lambda g: objects(g, int)),
    means_same("pandas nullable ints", lambda g: table(g).astype("Int64")),
    means_same("pandas nullable bools", lambda g: table(g).astype(bool).astype("boolean")),
    means_same("one-hot rows", eye),
    means_same("one-hot rows of ints", lambda g: eye(g, np.int32)),
    means_same("one-hot rows of bools", lambda g: eye(g, bool)),
    means_same("one-hot rows as lists", lambda g: eye(g).tolist()),
    means_same("one-hot rows, big-endian", lambda g: eye(g).astype(">f4")),
    means_same("one-hot rows, pandas table", lambda g: table(eye(g))),
    means_same("labels as a column", lambda g: host(g)[:, None]),
    means_same("labels as a column of floats", lambda g: host(g)[:, None].astype(np.float32)),
    Kind("one-hot rows that add to 2", lambda g: 2 * eye(g)),
    Kind("one-hot rows with -1", lambda g: 2 * eye(g) - 1),
    Kind("one-hot rows with NaN", lambda g: put(eye(g), np.nan)),
    *_DIGITS,
    *(kind for kind in NO_NUMBERS if not kind.means),
    *OUTSIDE,
]  # fmt: skip
LABELS: list[Kind] = [_or_targets(kind) for kind in _LABELS]
BINARY: list[Kind] = [  # of a binary cross-entropy in fit
    Kind("-1 and 1", lambda g: 2 * host(g) - 1),
    Kind("1 and 2", lambda g: 1 + host(g)),
    Kind("0 and 255", lambda g: 255 * host(g)),
    Kind("0 and 100", lambda g: 100 * host(g)),
    Kind("one target of 1.5", lambda g: put(g, 1.5)),
    Kind("one target of -1e-3", lambda g: put(g, -1e-3)),
    means_same("0 and 1 in bfloat16", lambda g: jnp.asarray(g, jnp.bfloat16)),
    means_same("0 and 1 in float64", lambda g: host(g).astype(np.float64)),
]
