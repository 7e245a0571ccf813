"""The leaves of a tree by their paths: what a checkpoint stores of each, and what it expects."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.errors import message
from jaxbp.train.sharding import place_of

_SCALARS = (bool, int, float, complex, str, type(None))
_SHOWN = 5  # leaves named in one message
_WIDE = ("float64", "int64", "uint64", "complex128")


class Member(NamedTuple):
    """An array in a checkpoint.

    Args:
        kind: its dtype and shape.
        crc: the CRC32 that the file has for it; None for what is spread over processes.
    """

    kind: str
    crc: int | None


class Leaf(NamedTuple):
    """What is stored of one leaf.

    Args:
        kind: see `kind`.
        extra: what no array holds: a scalar's value, the name of a key's generator.
        member: its array in the file; None for a scalar.
    """

    kind: str
    extra: Any
    member: Member | None = None


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, None being one, by the names of their paths.

    Example:
        >>> by_path({"W": 1.0, "b": [None, 2]})
        {"['W']": 1.0, "['b'][0]": None, "['b'][1]": 2}
    """
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_none):
        name = jax.tree_util.keystr(path)
        if name in leaves:
            raise ValueError(message("save", "a path of its own for each leaf", f"two leaves at {name!r}"))
        leaves[name] = leaf
    return leaves


def kind(name: str, leaf: Any) -> str:
    """What must be the same when a leaf comes back: its dtype and shape, or its Python type.

    Example:
        >>> kind("['W']", jnp.zeros((2, 3), jnp.bfloat16)), kind("['key']", jax.random.key(0)), kind("", None)
        ('bfloat16 (2, 3)', 'key<fry> ()', 'NoneType')
    """
    if type(leaf) in _SCALARS:
        return type(leaf).__name__
    is_array = isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
    if not is_array or (isinstance(leaf.dtype, np.dtype) and leaf.dtype.hasobject):
        expected = "an array, a bool, int, float, complex, str or None"
        got = type(leaf).__name__ + (" of dtype object" if is_array else "")
        hint = "a tree to store holds data alone, no functions and no objects"
        raise TypeError(message(f"leaf {name}".strip(), expected, got, hint))
    if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.is_deleted():
        got = "an array that was deleted, as those given to a donating function are"
        raise ValueError(message(f"leaf {name}".strip(), "an array with values", got, "keep a copy"))
    if isinstance(leaf, np.ma.MaskedArray) and np.ma.getmaskarray(leaf).any():
        hint = "store leaf.filled(...), or leaf.data and leaf.mask"
        where = f"leaf {name}".strip()
        raise TypeError(message(where, "an array without masked values", "a masked array", hint))
    return f"{leaf.dtype} {leaf.shape}"


def pack(tree: Any) -> tuple[dict[str, Any], dict[str, Leaf]]:
    """A tree as arrays by path, typed keys as their numbers, and a `Leaf` for each path, fit for JSON.

    Example:
        >>> pack({"W": np.zeros(2), "eta": 0.5})
        ({"['W']": array([0., 0.])},
         {"['W']": Leaf(kind='float64 (2,)', extra=None, member=None),
          "['eta']": Leaf(kind='float', extra=0.5, member=None)})
    """
    arrays: dict[str, Any] = {}
    leaves: dict[str, Leaf] = {}
    for name, leaf in by_path(tree).items():
        extra = None
        if type(leaf) in _SCALARS:
            extra = [leaf.real, leaf.imag] if isinstance(leaf, complex) else leaf
        elif is_key(leaf):
            extra = str(jax.random.key_impl(leaf))
        leaves[name] = Leaf(kind(name, leaf), extra)
        if type(leaf) not in _SCALARS:
            arrays[name] = jax.random.key_data(leaf) if is_key(leaf) else leaf
    return arrays, leaves


def match(leaves: dict[str, Leaf], like: Any, where: str) -> None:
    """Raise ValueError unless ``leaves`` has exactly the paths, dtypes and shapes of ``like``."""
    stored = {name: leaf.kind for name, leaf in leaves.items()}
    wanted = {name: kind(name, leaf) for name, leaf in by_path(like).items()}
    if missing := wanted.keys() - stored.keys():
        raise ValueError(
            message(where, f"leaves {listed(sorted(missing))}", f"none of that name among {len(stored)}")
        )
    if extra := stored.keys() - wanted.keys():
        raise ValueError(
            message(where, f"only the {len(wanted)} leaves of like", f"also {listed(sorted(extra))}")
        )
    if other := [name for name in wanted if wanted[name] != stored[name]]:
        expected, got = (
            listed(f"{name} {kinds[name]}".strip() for name in other) for kinds in (wanted, stored)
        )
        wide = [any(kinds[name].startswith(_WIDE) for name in other) for kinds in (wanted, stored)]
        hint = ""
        if wide[0] != wide[1]:
            hint = f"was it written with jax_enable_x64 {wide[1]}, and is it {wide[0]} now? Set it as it was"
        raise ValueError(message(where, expected, got, hint))
    for name, leaf in by_path(like).items():
        if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) or is_key(leaf):
            continue
        if (held := jax.dtypes.canonicalize_dtype(leaf.dtype)) != leaf.dtype:
            hint = 'try jax.config.update("jax_enable_x64", True)'
            raise ValueError(message(where, f"JAX to hold {name} {leaf.dtype}", f"{held} alone", hint))


def unpack(arrays: dict[str, np.ndarray | jax.Array], leaves: dict[str, Leaf], like: Any, where: str) -> Any:
    """The tree of `pack`, each leaf of the type, and on the devices, of its counterpart in ``like``.

    Raises:
        ValueError: where what is stored does not give a leaf of the kind that is stated.
    """
    back = []
    for name, leaf in by_path(like).items():
        stated = leaves[name]
        try:
            value = _as(leaf, arrays.get(name), stated)
            found = kind(name, value)
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(message(where, f"{name} {stated.kind}".strip(), f"{error}")) from error
        if found != stated.kind:
            raise ValueError(message(where, f"{name} {stated.kind}".strip(), found))
        back.append(value)
    return jax.tree.unflatten(jax.tree.structure(like, is_leaf=_is_none), back)


def _as(leaf: Any, array: np.ndarray | jax.Array | None, stored: Leaf) -> Any:
    """One leaf like ``leaf`` from what was stored."""
    extra = stored.extra
    if array is None:
        return complex(*extra) if isinstance(leaf, complex) else extra
    place = place_of(leaf)
    if is_key(leaf):  # its numbers go first: keys do not go to devices of other processes
        return jax.random.wrap_key_data(_laid(array, place), impl=str(extra))
    if isinstance(leaf, np.generic):
        return array[()]
    if isinstance(leaf, np.ndarray):
        return np.asarray(array).astype(leaf.dtype, copy=False)
    if leaf.weak_type and (place is None or place.is_fully_addressable):
        # A strong one would promote otherwise, and compile anew.
        array = jnp.full(leaf.shape, np.zeros((), leaf.dtype).item()).at[...].set(array)
    return _laid(array, place)


def _laid(array: np.ndarray | jax.Array, place: jax.sharding.Sharding | None) -> jax.Array:
    """The array where it must lie; each process takes its part, and asks no other."""
    if place is None or place.is_fully_addressable or isinstance(array, jax.Array):
        return jax.device_put(array, place)
    return jax.make_array_from_callback(array.shape, place, lambda index: array[index])


def is_key(leaf: Any) -> bool:
    """Whether it is a typed key, or stands for one."""
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def listed(names: Iterable[str]) -> str:
    """The first few, and how many more."""
    names = list(names)
    further = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + further


def _is_none(leaf: Any) -> bool:
    return leaf is None
