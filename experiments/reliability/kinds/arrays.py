# ruff: noqa: E501
"""Kinds of arrays: containers, dtypes, byte orders, tables, shapes, and values that are no numbers."""

import array
import datetime
import fractions
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.reliability.kinds.kind import Kind, Skip, means_same, open_to_any, refused

SMALL = 0.03  # of a value that 16 bits hold, after a few operations in 16 bits


def host(good: Any) -> np.ndarray:
    """The good value as a NumPy array of float32, or of int32 for labels."""
    found = np.array(good)
    return found.astype(np.int32 if found.dtype.kind in "iu" else np.float32)


def whole(good: Any) -> np.ndarray:
    """The nearest whole numbers, as float32."""
    return np.rint(host(good)).astype(np.float32)


def natural(good: Any) -> np.ndarray:
    """Whole numbers from 0 on, as float32."""
    return np.abs(whole(good))


def table(good: Any, of: Callable[[np.ndarray], np.ndarray] = host) -> Any:
    """A pandas frame or series."""
    import pandas as pd

    found = of(good)
    if found.ndim not in (1, 2):
        raise Skip
    if found.ndim == 1:
        return pd.Series(found, name="y")
    return pd.DataFrame(found, columns=[f"c{i}" for i in range(found.shape[1])])


def polar(good: Any) -> Any:
    import polars as pl

    found = host(good)
    if found.ndim not in (1, 2):
        raise Skip
    return pl.Series("y", found) if found.ndim == 1 else pl.DataFrame(found)


def with_hole(frame: Any) -> Any:
    """The table with its first cell missing."""
    import pandas as pd

    frame = frame.copy()
    if frame.ndim == 1:
        frame.iloc[0] = pd.NA
    else:
        frame.iloc[0, 0] = pd.NA
    return frame


def sparse(form: str) -> Callable[[Any], Any]:
    def make(good: Any) -> Any:
        import scipy.sparse

        found = host(good)
        if found.ndim != 2:
            raise Skip
        return getattr(scipy.sparse, form)(found)

    return make


def mapped(good: Any) -> np.ndarray:
    found = host(good)
    if not found.ndim:
        raise Skip
    file = Path(tempfile.mkdtemp(prefix="jaxbp-map-")) / "a"
    held = np.memmap(file, found.dtype, "w+", shape=found.shape)
    held[...] = found
    return held


def unaligned(good: Any) -> np.ndarray:
    found = host(good)
    raw = np.zeros(found.nbytes + 1, np.uint8)
    view = raw[1:].view(found.dtype).reshape(found.shape)
    view[...] = found
    return view


def strided(good: Any) -> np.ndarray:
    found = host(good)
    if not found.ndim:
        raise Skip
    return np.repeat(found, 2, axis=0)[::2]


def backwards(good: Any) -> np.ndarray:
    found = host(good)
    if not found.ndim:
        raise Skip
    return np.ascontiguousarray(found[::-1])[::-1]


def deleted(good: Any) -> jax.Array:
    found = jnp.array(host(good))
    found.delete()
    return found


def elsewhere(good: Any) -> jax.Array:
    return jax.device_put(host(good), jax.devices()[-1])


def put(good: Any, value: Any, dtype: Any = np.float32) -> np.ndarray:
    """The array with another first entry."""
    found = host(good).astype(dtype)
    if not found.size:
        raise Skip
    found.flat[0] = value
    return found


def masked(good: Any, mask: Any = None) -> np.ma.MaskedArray:
    found = np.ma.masked_array(host(good))
    if mask:
        if not found.ndim:
            raise Skip
        found[(0,) * found.ndim] = np.ma.masked
    return found


class Converts:
    """What NumPy takes for an array by its __array__ alone."""

    def __init__(self, held: np.ndarray):
        self.held = held

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.held.astype(dtype or self.held.dtype)


class Own(np.ndarray):
    """A subclass of NumPy's array."""


def objects(good: Any, of: Callable[[float], Any]) -> np.ndarray:
    found = host(good)
    if not found.ndim:
        raise Skip
    out = np.empty(found.shape, object)
    for i, v in np.ndenumerate(found):
        out[i] = of(v.item())
    return out


def listed(good: Any) -> Any:
    if not host(good).ndim:
        raise Skip
    return host(good).tolist()


def needs(ndim: int, make: Callable[[np.ndarray], Any]) -> Callable[[Any], Any]:
    """Made only of arrays with at least so many axes."""

    def checked(good: Any) -> Any:
        found = host(good)
        if found.ndim < ndim:
            raise Skip
        return make(found)

    return checked


def ragged(found: np.ndarray) -> list:
    rows = found.tolist()
    return [rows[0][:-1], *rows[1:]] if found.ndim > 1 else [[rows[0]], *rows[1:]]


def structured(found: np.ndarray) -> np.ndarray:
    return np.array([tuple(row) for row in found], [(f"c{i}", np.float32) for i in range(found.shape[1])])


SAME: list[Kind] = [
    means_same("list", listed),
    means_same("tuple", lambda g: tuple(listed(g))),
    means_same("list of NumPy rows", needs(2, list)),
    means_same("list of jax rows", needs(2, lambda a: [jnp.asarray(row) for row in a])),
    means_same("list of NumPy scalars", needs(1, lambda a: list(a.ravel()) if a.ndim == 1 else [list(r) for r in a])),
    means_same("NumPy array", host),
    means_same("jax array", lambda g: jnp.asarray(host(g))),
    means_same("Fortran order", lambda g: np.asfortranarray(host(g))),
    means_same("every second row", strided),
    means_same("negative strides", backwards),
    means_same("read-only", lambda g: _locked(host(g))),
    means_same("memory map", mapped),
    means_same("unaligned", unaligned),
    means_same("big-endian", lambda g: host(g).astype(host(g).dtype.newbyteorder(">"))),
    means_same("big-endian after native", lambda g: host(g).astype(host(g).dtype.newbyteorder(">")), first=host),
    means_same("big-endian, 8 bytes", lambda g: host(g).astype(">i8" if host(g).dtype.kind == "i" else ">f8")),
    means_same("float64", lambda g: host(g).astype(np.float64)),
    means_same("longdouble", lambda g: host(g).astype(np.longdouble)),
    means_same("np.matrix", needs(2, lambda a: np.asmatrix(a))),
    means_same("subclass of ndarray", lambda g: host(g).view(Own)),
    means_same("masked array, nothing masked", masked),
    means_same("masked array, mask of False", lambda g: np.ma.masked_array(host(g), np.zeros(host(g).shape, bool))),
    means_same("object array of floats", lambda g: objects(g, lambda v: v)),
    means_same("object array of NumPy scalars", lambda g: objects(g, np.float64)),
    means_same("object array of Decimals", lambda g: objects(g, Decimal)),
    means_same("object array of Fractions", lambda g: objects(g, fractions.Fraction)),
    means_same("an object with __array__", lambda g: Converts(host(g))),
    means_same("memoryview", lambda g: memoryview(host(g))),
    means_same("array.array", needs(1, lambda a: array.array("i" if a.dtype.kind == "i" else "f", a) if a.ndim == 1 else _skip())),
    means_same("on another device", elsewhere),
    means_same("pandas table", table),
    means_same("pandas table, nullable", lambda g: table(g).convert_dtypes(dtype_backend="numpy_nullable")),
    means_same("pandas table of objects", lambda g: table(g).astype(object)),
    means_same("pandas table, odd index", lambda g: table(g).iloc[::-1].iloc[::-1].rename(lambda i: f"r{i}")),
    means_same("pandas table, categories of numbers", lambda g: table(g).astype("category")),
    means_same("polars table", polar),
    means_same("scipy CSR", sparse("csr_matrix")),
    means_same("scipy COO array", sparse("coo_array")),
    means_same("complex, imaginary parts 0", lambda g: host(g).astype(np.complex64)),
]  # fmt: skip

FEWER_BITS: list[Kind] = [
    *(
        Kind(name, lambda g, d=d: host(g).astype(d), (lambda g, d=d: host(g).astype(d).astype(np.float32),), loose=SMALL)
        for name, d in (("float16", np.float16), ("big-endian float16", ">f2"), ("bfloat16", jnp.bfloat16), ("float8", jnp.float8_e4m3fn))
    ),
    *(
        Kind(d, lambda g, d=d: whole(g).astype(d), (whole,))
        for d in ("int8", "int16", "int32", "int64", ">i4", "int4")
    ),
    *(
        Kind(d, lambda g, d=d: natural(g).astype(d), (natural,))
        for d in ("uint8", "uint16", "uint32", "uint64")
    ),
    Kind("uint8, large", lambda g: (200 + natural(g)).astype(np.uint8), (lambda g: 200 + natural(g),)),
    Kind("bool", lambda g: host(g) > 0, (lambda g: (host(g) > 0).astype(np.float32),)),
    Kind("list of ints", needs(1, lambda a: whole(a).astype(int).tolist()), (whole,)),
    Kind("list of bools", needs(1, lambda a: (a > 0).tolist()), (lambda g: (host(g) > 0).astype(np.float32),)),
    Kind("object array of ints", lambda g: objects(whole(g), int), (whole,)),
    Kind("pandas table of nullable ints", lambda g: table(g, whole).astype("Int64"), (whole,)),
    Kind("pandas table of bools", lambda g: table(g, lambda v: host(v) > 0), (lambda g: (host(g) > 0).astype(np.float32),)),
    Kind("int64 beyond int32", lambda g: put(g, 2**40 + 5, np.int64), (lambda g: put(g, 2.0**40 + 5),)),
    Kind("uint64 beyond int64", lambda g: put(natural(g), 2**63 + 9, np.uint64), (lambda g: put(natural(g), 2.0**63),)),
    Kind("Python ints beyond int64", needs(1, lambda a: objects(put(a, 0), lambda v: int(v) + 10**20)), (lambda g: put(g, 0) + 1e20,)),
]  # fmt: skip

NO_NUMBERS: list[Kind] = [
    Kind("strings of digits", lambda g: host(g).astype(str), (lambda g: g,)),
    Kind("list of strings", needs(1, lambda a: a.astype(str).tolist()), (lambda g: g,)),
    Kind("bytes strings", lambda g: host(g).astype("S8"), (lambda g: g,)),
    Kind("words", lambda g: np.full(host(g).shape, "cat")),
    Kind("object array with None", lambda g: _put(objects(g, float), None)),
    Kind("object array with a word", lambda g: _put(objects(g, float), "?")),
    Kind("object array with pandas' NA", lambda g: _put(objects(g, float), _na())),
    Kind("list with None", needs(1, lambda a: _put(objects(a, float), None).tolist())),
    Kind("ragged list", needs(1, ragged)),
    Kind("complex", lambda g: host(g) + np.complex64(1j)),
    Kind("complex128", lambda g: host(g) + np.complex128(0.5j)),
    Kind("datetime64", lambda g: np.full(host(g).shape, np.datetime64("2024-01-01")) + np.arange(host(g).size).reshape(host(g).shape)),
    Kind("timedelta64", lambda g: whole(g).astype("timedelta64[s]")),
    Kind("datetime objects", lambda g: objects(g, lambda v: datetime.datetime(2024, 1, 1 + int(abs(v))))),
    Kind("pandas table of timestamps", lambda g: table(g, lambda v: natural(v).astype("datetime64[s]"))),
    Kind("pandas table of words", lambda g: table(g).astype(str).map(lambda v: "w" + v)),
    Kind("pandas table, one column words", lambda g: _words(table(g))),
    Kind("pandas categories of words", lambda g: table(g).astype(str).map(lambda v: "w" + v).astype("category")),
    Kind("pandas table with NA", lambda g: with_hole(table(g).convert_dtypes(dtype_backend="numpy_nullable"))),
    Kind("polars table with null", lambda g: _polar_null(g)),
    Kind("masked array, one masked", lambda g: masked(g, True)),
    Kind("masked array, all masked", lambda g: np.ma.masked_all(host(g).shape, host(g).dtype)),
    Kind("the masked constant", lambda g: np.ma.masked),
    Kind("structured array", needs(2, structured)),
    Kind("deleted", deleted),
    Kind("its shape alone", lambda g: jax.ShapeDtypeStruct(host(g).shape, np.float32)),
    Kind("array of typed keys", lambda g: jax.random.split(jax.random.key(0), host(g).shape)),
    Kind("generator", needs(1, lambda a: (row for row in a))),
    Kind("map", needs(1, lambda a: map(np.asarray, a))),
    Kind("set", needs(1, lambda a: set(a.ravel().tolist()))),
    Kind("dict of columns", needs(1, lambda a: {f"c{i}": c for i, c in enumerate(a.T)})),
    Kind("one key more in a dict", lambda g: {"x": host(g)}),
    refused("None", None),
    refused("a word", "x"),
    refused("bytes", b"x"),
    refused("empty text", ""),
    refused("a function", np.sin),
    refused("a class", np.ndarray),
    refused("an object", object()),
    refused("Ellipsis", ...),
    refused("a module", np),
]  # fmt: skip

SHAPES: list[Kind] = [
    Kind("one column less", needs(1, lambda a: a[..., :-1])),
    Kind("one column more", needs(1, lambda a: np.concatenate([a, a[..., :1]], -1))),
    Kind("one column", needs(2, lambda a: a[..., :1])),
    Kind("flat", needs(2, lambda a: a.ravel())),
    Kind("transposed", needs(2, lambda a: a.T)),
    Kind("one axis more at the end", needs(1, lambda a: a[..., None])),
    refused("a number", 1.0),
    refused("a 0-d array", np.float32(1)),
    refused("empty list", []),
    refused("empty tuple", ()),
    Kind("no columns", needs(1, lambda a: a[..., :0])),
    Kind("list of empty lists", needs(2, lambda a: [[] for _ in a])),
]

ROWS_PAIRED: list[Kind] = [
    Kind("one row less", needs(1, lambda a: a[:-1])),
    Kind("one row more", needs(1, lambda a: np.concatenate([a, a[:1]]))),
    Kind("twice the rows", needs(1, lambda a: np.concatenate([a, a]))),
    Kind("one row", needs(1, lambda a: a[:1])),
    Kind("reversed rows as float64 on top of each other", needs(2, lambda a: np.stack([a[::-1], a]).astype(np.float64))),
]  # fmt: skip

_EXTREME: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("NaN", lambda g: put(g, np.nan)),
    ("inf", lambda g: put(g, np.inf)),
    ("-inf", lambda g: put(g, -np.inf)),
    ("all NaN", lambda g: np.full_like(host(g), np.nan)),
    ("float64 beyond float32", lambda g: put(g, 1e300, np.float64)),
    ("list with NaN", needs(1, lambda a: put(a, np.nan).tolist())),
    ("no rows", needs(1, lambda a: a[:0])),
)

MATH_EXTREMES: list[Kind] = [open_to_any(name, make) for name, make in _EXTREME] + [
    open_to_any("huge", lambda g: put(g, 3e38)),
    open_to_any("tiny", lambda g: put(g, 1e-45)),
    open_to_any("negative zero", lambda g: put(g, -0.0)),
]
DATA_EXTREMES: list[Kind] = [Kind(name, make) for name, make in _EXTREME]

# Of a network's rows or of deltas: mathematics, where NaN in is NaN out; and of data, looked at once before use.
ROWS: list[Kind] = SAME + FEWER_BITS + NO_NUMBERS + SHAPES + MATH_EXTREMES
DATA_ROWS: list[Kind] = SAME + FEWER_BITS + NO_NUMBERS + SHAPES + DATA_EXTREMES


def _locked(found: np.ndarray) -> np.ndarray:
    found.flags.writeable = False
    return found


def _skip() -> Any:
    raise Skip


def _put(found: np.ndarray, value: Any) -> np.ndarray:
    found[(0,) * found.ndim] = value
    return found


def _na() -> Any:
    import pandas as pd

    return pd.NA


def _words(frame: Any) -> Any:
    if frame.ndim != 2:
        raise Skip
    return frame.assign(c0=[f"w{i}" for i in range(len(frame))])


def _polar_null(good: Any) -> Any:
    import polars as pl

    frame = polar(good)
    if isinstance(frame, pl.Series):
        return pl.Series("y", [None, *frame.to_list()[1:]])
    first = frame.columns[0]
    return frame.with_columns(pl.Series(first, [None, *frame[first].to_list()[1:]]))
