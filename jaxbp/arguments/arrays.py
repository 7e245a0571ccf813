"""The door for arrays: whatever holds numbers becomes the array it means, and loses nothing on the way.

What would be lost without a word is refused: a mask, missing values, digits beyond the 32 bits that JAX
holds, the byte order that JAX misreads. Data frames, sparse matrices and tensors are known by what they can
do, so that none of their libraries is imported.
"""

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.arguments.entries import index, of_objects
from jaxbp.arguments.floats import assert_floating
from jaxbp.arguments.search import find
from jaxbp.arguments.words import described
from jaxbp.errors import message
from jaxbp.typing import Array


@overload
def array(
    where: str,
    name: str,
    value: Any,
    *,
    floats: bool = False,
    host: Literal[False] = False,
    fill: int | None = None,
) -> Array: ...


@overload
def array(
    where: str,
    name: str,
    value: Any,
    *,
    floats: bool = False,
    host: Literal[True],
    fill: int | None = None,
) -> np.ndarray: ...


def array(
    where: str,
    name: str,
    value: Any,
    *,
    floats: bool = False,
    host: bool = False,
    fill: int | None = None,
) -> Array | np.ndarray:
    """The array that a value means.

    JAX arrays and tracers pass as they are. NumPy arrays (brought to the machine's byte order), lists,
    numbers, object arrays of numbers, pandas and polars frames and series, tensors and sparse matrices
    become arrays. Floats of 8 bits and fewer, which JAX mixes with no others, become those of 32, integers of
    4 bits and fewer those of 8.

    Args:
        where: the function that asks.
        name: of the argument.
        value: anything that holds numbers in a rectangle.
        floats: only floating-point numbers; whole numbers written as Python numbers or lists are taken so.
        host: return a NumPy array, of the dtype it came in (a memory map in its file's byte order); else a
            JAX array.
        fill: what takes the place of integers that JAX's 32 bits do not hold, which else are refused.

    Raises:
        TypeError: for what holds no numbers, or no rectangle of them, or with ``floats`` other numbers.
        ValueError: for a masked or missing value, or a number that JAX's 32 bits do not hold.

    Example:
        >>> array("forward", "x", [1, 2], floats=True)
        Array([1., 2.], dtype=float32)
        >>> array("forward", "x", np.array([1.0, 2.0], ">f8"), host=True).dtype
        dtype('float64')
        >>> array("forward", "x", jnp.array([1, 0]), floats=True)
        Traceback (most recent call last):
        ...
        TypeError: forward: expected floating-point x, got int32 of shape (2,); ...
    """
    if isinstance(value, jax.Array):
        _alive(where, name, value)
        if not _holds_numbers(value.dtype):
            raise TypeError(message(where, f"numbers in {name}", described(value)))
        if floats:
            assert_floating(where, name, value)
        value = _widened(value)
        if not host:
            return value
        if isinstance(value, jax.core.Tracer):
            raise TypeError(
                message(where, f"{name} with values", "a traced array", "call it outside of jax.jit")
            )
        return np.asarray(value)
    if isinstance(value, list | tuple) and _any_traced(value):
        try:
            stacked = jnp.asarray(value)
        except (TypeError, ValueError) as error:  # arrays of several shapes, or something else among them
            got = f"{described(value)} that is none"
            raise type(error)(message(where, f"{name} as one array", got)) from error
        return array(where, name, stacked, floats=floats, host=host)  # type: ignore[call-overload]
    found = _widened(_on_host(where, name, value))
    if floats and found.dtype.kind in "iu" and isinstance(value, list | tuple | int | range | np.integer):
        found = found.astype(float)
    if floats:
        assert_floating(where, name, found)
    if fill is not None and found.dtype.kind in "iu":
        held = found.astype(held_dtype(found.dtype))
        found = np.where(held == found, held, np.array(fill, np.int32))
    _fits(where, name, found)
    return found if host else jnp.asarray(found.astype(found.dtype.newbyteorder("="), copy=False))


def held_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that JAX holds such values in: the machine's byte order, and 32 bits unless told otherwise.

    Example:
        >>> held_dtype(np.dtype(">f8"))
        dtype('float32')
    """
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype.newbyteorder("=")))


def _alive(where: str, name: str, value: jax.Array) -> None:
    if not isinstance(value, jax.core.Tracer) and value.is_deleted():
        got = "an array that was deleted, as those given to a donating function are"
        raise ValueError(message(where, f"{name} with values", got, f"keep a copy, jnp.copy({name})"))


def _widened(value: Any) -> Any:
    """Numbers of few bits in more: JAX mixes them with no others, and to round each result is not meant."""
    if value.dtype.itemsize > 1 or value.dtype == bool:
        return value
    if jnp.issubdtype(value.dtype, jnp.floating):
        return value.astype(np.float32)
    return value if value.dtype in (np.int8, np.uint8) else value.astype(np.int8)  # of 4 bits and fewer


def _holds_numbers(dtype: Any) -> bool:
    number = jnp.issubdtype(dtype, jnp.number) and not jnp.issubdtype(dtype, np.timedelta64)
    return number or jnp.issubdtype(dtype, jnp.bool_)


def _any_traced(values: Any) -> bool:
    """Whether a nested list holds arrays of JAX, which then put it together."""
    if isinstance(values, list | tuple):
        return any(map(_any_traced, values))
    return isinstance(values, jax.Array)


def _fits(where: str, name: str, values: np.ndarray) -> None:
    """Refuse what JAX would narrow to another number: 2**32 to 0, 1e300 to inf."""
    held = held_dtype(values.dtype)
    if held == values.dtype or values.size == 0:
        return
    inexact = jnp.issubdtype(values.dtype, jnp.inexact)

    def changes(rows: np.ndarray) -> np.ndarray:
        narrowed = rows.astype(held)
        return np.isfinite(rows) & ~np.isfinite(narrowed) if inexact else narrowed != rows

    with np.errstate(over="ignore"):
        if bad := find(values, changes):
            value = values[bad.first]
            expected = f"{name} to fit in {held}, which JAX holds {values.dtype} in"
            got = f"{name}[{bad.place}] = {value!s} becomes {value.astype(held)!s}; {bad.number} such"
            hint = "rescale, or jax.config.update('jax_enable_x64', True)"
            raise ValueError(message(where, expected, got, hint))


def _on_host(where: str, name: str, value: Any) -> np.ndarray:
    """The value as a NumPy array of numbers in the machine's byte order, without a copy where it is one."""
    if isinstance(value, np.ma.MaskedArray):
        if (mask := np.ma.getmaskarray(value)).any():
            at, n = index(np.argwhere(mask)[0]), int(mask.sum())
            got = f"{name}[{at}] is masked; {n} masked value{'s' * (n > 1)}"
            hint = f"{name}.filled(...), or drop these rows"
            raise ValueError(message(where, f"{name} without masked values", got, hint))
        value = value.data
    if type(value) is not np.ndarray:
        value = _opened(where, name, value)
    try:
        values = np.asarray(value)
    except Exception as error:  # whatever a foreign object's __array__ raises; ragged lists are a ValueError
        if isinstance(value, list | tuple):
            raise TypeError(message(where, f"{name} as one rectangular array", f"{error}")) from error
        first = str(error).partition("\n")[0]
        raise TypeError(message(where, f"{name} as an array", f"{described(value)}: {first}")) from error
    if values.dtype == object:
        values = of_objects(where, name, values, value)
    if not _holds_numbers(values.dtype):
        raise TypeError(message(where, f"numbers in {name}", *_no_numbers(values)))
    if values.dtype in (np.longdouble, np.clongdouble):
        values = _narrowed(where, name, values)
    if isinstance(value, np.memmap):  # a file that nobody wants to copy
        return value
    native = values.dtype.newbyteorder("=")
    return values if values.dtype == native else values.astype(native)


def _narrowed(where: str, name: str, values: np.ndarray) -> np.ndarray:
    """The longest floats, which JAX does not have, in 64 bits for each part."""
    narrow = np.dtype(np.float64 if values.dtype.kind == "f" else np.complex128)
    with np.errstate(over="ignore"):
        if bad := find(values, lambda rows: np.isfinite(rows) & ~np.isfinite(rows.astype(narrow))):
            got = f"{name}[{bad.place}] = {values[bad.first]!s}"
            raise ValueError(message(where, f"{name} to fit in {narrow}", got))
        return values.astype(narrow)


def _no_numbers(values: np.ndarray) -> tuple[str, str]:
    """What an array of a dtype that is no number holds, and what to do."""
    kind, got = values.dtype.kind, f"dtype {values.dtype}"
    if kind in "USTO":
        return f"{got}, text", "code the words as numbers first"
    if kind in "Mm":
        return f"{got}, dates", "take a difference in days or seconds as floats first"
    if values.dtype.names:
        return f"records with the fields {', '.join(values.dtype.names)}", "stack the fields as columns"
    return got, ""


def _opened(where: str, name: str, value: Any) -> Any:
    """A sparse matrix, a data frame or its column, which `numpy.asarray` would misread, as what it reads."""
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        return value.toarray()
    if hasattr(value, "get_columns"):  # polars
        columns = [(c.name, _column(where, name, c, c.name)) for c in value.get_columns()]
    elif hasattr(value, "iloc") and getattr(value, "ndim", 0) == 2:  # pandas
        kinds = set(value.dtypes)
        if len(kinds) == 1 and all(isinstance(d, np.dtype) and d.kind in "iuf" for d in kinds):
            return np.asarray(value)
        columns = [(c, _column(where, name, value.iloc[:, i], c)) for i, c in enumerate(value.columns)]
    elif hasattr(value, "isna") or hasattr(value, "null_count"):
        return _column(where, name, value, None)
    elif isinstance(value, list | tuple) and any(map(_needs_opening, value)):
        return [_on_host(where, f"{name}[{i}]", item) for i, item in enumerate(value)]
    else:
        return value
    if not columns:
        raise ValueError(message(where, f"{name} with columns", "a frame without columns"))
    joined = np.stack([column for _, column in columns], axis=1)
    if joined.dtype.kind == "f":
        for i, (label, column) in enumerate(columns):
            _assert_exact(where, f"column {label!r} of {name}", column, joined[:, i])
    return joined


def _assert_exact(where: str, at: str, column: np.ndarray, floats: np.ndarray) -> None:
    """Refuse whole numbers that the floats beside them do not hold: an identifier becomes another one."""
    for row in np.flatnonzero(abs(floats) >= 2.0**53) if column.dtype.kind in "iu" else ():
        if int(column[row]) != int(floats[row]):
            expected = f"{at} to be exact in {floats.dtype}, which the columns have together"
            hint = "leave out identifiers, or scale the column"
            raise ValueError(message(where, expected, f"{column[row]} in row {row}", hint))


def _needs_opening(value: Any) -> bool:
    """Whether a list's item is one of those: a masked row, a column of a frame."""
    return isinstance(value, np.ma.MaskedArray) or any(
        hasattr(value, attribute) for attribute in ("toarray", "isna", "null_count", "get_columns")
    )


def _column(where: str, name: str, column: Any, label: Any) -> np.ndarray:
    """A column of a data frame (pandas or polars) as numbers."""
    at = name if label is None else f"column {label!r} of {name}"
    if hasattr(column, "isna"):  # pandas
        plain = isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufc"  # NaN is a number there
        missing = np.zeros(0) if plain else np.asarray(column.isna())
    elif hasattr(column, "is_null"):
        missing = column.is_null().to_numpy()
    else:  # a query that was not run yet
        hint = f"{name}.collect()" if hasattr(column, "collect") else ""
        raise TypeError(message(where, f"{name} as an array", described(column), hint))
    if missing.any():
        row, n = int(np.argmax(missing)), int(missing.sum())
        got = f"{at}, row {row}, is missing; {n} missing value{'s' * (n > 1)}"
        raise ValueError(message(where, f"{name} without missing values", got, "drop or fill these rows"))
    categories: Any = getattr(column.dtype, "categories", None)
    if hasattr(categories, "dtype") and hasattr(column, "astype"):
        column = column.astype(categories.dtype)
    return _on_host(where, at, column.to_numpy())
