# ruff: noqa: E501
"""Kinds of parameters, of keys, and of the optimizer's state."""

import collections
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.reliability.kinds.arrays import SMALL, Own, deleted, host, mapped, masked, objects, table
from experiments.reliability.kinds.kind import Kind, Skip, means_same, open_to_any, refused


def each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Every leaf changed."""
    return lambda good: jax.tree.map(lambda leaf: change(leaf), good)


def leaf(name: str, change: Callable[[Any], Any], layer: int = 1) -> Callable[[Any], Any]:
    """One leaf changed."""

    def make(good: Any) -> Any:
        return good | {layer: good[layer] | {name: change(good[layer][name])}}

    return make


def without(name: str) -> Callable[[Any], Any]:
    return lambda good: good | {1: {k: v for k, v in good[1].items() if k != name}}


def floats(good: Any) -> Any:
    return jax.tree.map(lambda a: np.rint(4 * host(a)).astype(np.float32), good)


def ints(dtype: Any) -> Callable[[Any], Any]:
    return each(lambda a: np.rint(4 * host(a)).astype(dtype))


def naturals(good: Any) -> Any:
    return jax.tree.map(np.abs, floats(good))


_ARRAYS: list[tuple[str, Callable[[Any], Any]]] = [
    ("NumPy leaves", host),
    ("float64 leaves", lambda a: host(a).astype(np.float64)),
    ("Fortran leaves", lambda a: np.asfortranarray(host(a))),
    ("memory-mapped leaves", mapped),
    ("read-only subclass leaves", lambda a: host(a).view(Own)),
    ("big-endian leaves", lambda a: host(a).astype(">f4")),
    ("leaves of lists", lambda a: host(a).tolist()),
    ("leaves of tuples", lambda a: tuple(host(a).tolist())),
    ("leaves of objects", lambda a: objects(a, float)),
    ("pandas leaves", table),
    ("masked leaves, nothing masked", masked),
    ("leaves on another device", lambda a: jax.device_put(host(a), jax.devices()[-1])),
    ("longdouble leaves", lambda a: host(a).astype(np.longdouble)),
    ("memoryview leaves", lambda a: memoryview(host(a))),
    ("np.matrix leaves", lambda a: np.asmatrix(host(a)) if a.ndim == 2 else host(a)),
]
# What holds for any tree of arrays, whatever its network.
LEAVES: list[Kind] = [
    *(means_same(name, each(change)) for name, change in _ARRAYS),
    means_same("big-endian leaves after native", each(lambda a: host(a).astype(">f4")), first=each(host)),
    *(
        Kind(f"{name} leaves", each(lambda a, d=d: host(a).astype(d)), (each(lambda a, d=d: host(a).astype(d).astype(np.float32)),), loose=SMALL)
        for name, d in (("float16", np.float16), ("bfloat16", jnp.bfloat16))
    ),
    *(Kind(f"{d} leaves", ints(d), (floats,)) for d in ("int32", "int64", "int8", ">i4")),
    Kind("uint8 leaves", lambda g: jax.tree.map(lambda a: a.astype(np.uint8), naturals(g)), (naturals,)),
    Kind("bool leaves", each(lambda a: host(a) > 0), (each(lambda a: (host(a) > 0).astype(np.float32)),)),
    Kind("complex leaves", each(lambda a: host(a) + np.complex64(1j))),
    Kind("complex leaves, imaginary part 0", each(lambda a: host(a).astype(np.complex64)), (lambda g: g,)),
    Kind("leaves of words", each(lambda a: "W")),
    Kind("leaves of datetimes", each(lambda a: np.rint(host(a)).astype("datetime64[s]"))),
    Kind("leaves of typed keys", each(lambda a: jax.random.split(jax.random.key(0), a.shape))),
    Kind("deleted leaves", each(deleted)),
    Kind("masked leaves", each(lambda a: masked(a, True))),
    Kind("shapes alone", each(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float32))),
    Kind("leaves of functions", each(lambda a: jnp.sin)),
    Kind("leaves of None", each(lambda a: None)),
]  # fmt: skip

# Of a network with layers 1 and 2, each of W and b.
PARAMS: list[Kind] = [
    *LEAVES,
    means_same("W a list", leaf("W", lambda a: host(a).tolist())),
    means_same("b a list", leaf("b", lambda a: host(a).tolist())),
    means_same("W NumPy, the rest jax", leaf("W", host)),
    means_same("b big-endian", leaf("b", lambda a: host(a).astype(">f4"))),
    means_same("W pandas", leaf("W", table)),
    means_same("W float64", leaf("W", lambda a: host(a).astype(np.float64))),
    Kind("W int32", leaf("W", lambda a: np.rint(4 * host(a)).astype(np.int32)), (leaf("W", lambda a: np.rint(4 * host(a)).astype(np.float32)),)),
    Kind("b int32", leaf("b", lambda a: np.rint(4 * host(a)).astype(np.int32)), (leaf("b", lambda a: np.rint(4 * host(a)).astype(np.float32)),)),
    Kind("b complex", leaf("b", lambda a: host(a) + np.complex64(1j))),
    Kind("W bool", leaf("W", lambda a: host(a) > 0), (leaf("W", lambda a: (host(a) > 0).astype(np.float32)),)),
    Kind("b missing", without("b")),
    Kind("W missing", without("W")),
    Kind("layer 2 missing", lambda g: {1: g[1]}),
    Kind("layer 3 too many", lambda g: g | {3: g[2]}),
    Kind("a leaf too many", lambda g: g | {1: g[1] | {"c": g[1]["b"]}}),
    Kind("counted from 0", lambda g: {l - 1: p for l, p in g.items()}, (lambda g: g,)),
    Kind("list of layers", lambda g: list(g.values()), (lambda g: g,)),
    Kind("tuple of layers", lambda g: tuple(g.values()), (lambda g: g,)),
    Kind("numbers of layers as text", lambda g: {str(l): p for l, p in g.items()}, (lambda g: g,)),
    Kind("numbers of layers as floats", lambda g: {float(l): p for l, p in g.items()}, (lambda g: g,)),
    Kind("numbers of layers of NumPy", lambda g: {np.int64(l): p for l, p in g.items()}, (lambda g: g,)),
    Kind("names in lower case", lambda g: {l: {k.lower(): v for k, v in p.items()} for l, p in g.items()}),
    Kind("under 'params'", lambda g: {"params": g}, (lambda g: g,)),
    Kind("OrderedDict", collections.OrderedDict, (lambda g: g,)),
    Kind("pairs in place of dicts", lambda g: {l: (p["W"], p["b"]) for l, p in g.items()}, (lambda g: g,)),
    Kind("flat list of leaves", jax.tree.leaves, (lambda g: g,)),
    Kind("W transposed", leaf("W", lambda a: host(a).T)),
    Kind("W 1-D", leaf("W", lambda a: host(a).ravel())),
    Kind("W 3-D", leaf("W", lambda a: host(a)[None])),
    Kind("W a number", leaf("W", lambda a: 0.5)),
    Kind("W one row less", leaf("W", lambda a: host(a)[:-1])),
    Kind("W None", leaf("W", lambda a: None)),
    Kind("W a word", leaf("W", lambda a: "W")),
    Kind("W sparse", leaf("W", lambda a: _csr(a)), (lambda g: g,)),
    Kind("b a number", leaf("b", lambda a: 0.5)),
    Kind("b 0-d", leaf("b", lambda a: jnp.float32(0.5))),
    Kind("b of length 1", leaf("b", lambda a: host(a)[:1])),
    Kind("b a row", leaf("b", lambda a: host(a)[None])),
    Kind("b a column", leaf("b", lambda a: host(a)[:, None])),
    Kind("b for each example", leaf("b", lambda a: np.tile(host(a), (6, 1)))),
    Kind("b one too long", leaf("b", lambda a: np.append(host(a), np.float32(0)))),
    Kind("b None", leaf("b", lambda a: None)),
    Kind("b deleted", leaf("b", deleted)),
    Kind("b empty", leaf("b", lambda a: host(a)[:0])),
    Kind("W of layers exchanged", lambda g: {1: g[2], 2: g[1]}),
    Kind("the key", lambda g: jax.random.key(0)),
    Kind("an optimizer's state", lambda g: optax.adam(0.1).init(g)),
    Kind("a function", lambda g: lambda: g),
    Kind("one flat vector", lambda g: np.concatenate([host(a).ravel() for a in jax.tree.leaves(g)])),
    refused("None", None),
    refused("a dict of nothing", {}),
    refused("empty list", []),
    refused("a word", "params"),
    refused("a number", 1.0),
    open_to_any("NaN in W", leaf("W", lambda a: np.full_like(host(a), np.nan))),
    open_to_any("inf in b", leaf("b", lambda a: np.full_like(host(a), np.inf))),
]  # fmt: skip
START: list[Kind] = [  # where a run starts: finite
    *(kind for kind in PARAMS if not kind.any),
    *(kind._replace(any=False) for kind in PARAMS if kind.any),
]
# A tree to store is stored as it is; one to restore by says what comes back.
_TREES = ("leaves of lists", "leaves of tuples", "leaves of words", "leaves of None", "leaves of typed keys", "complex leaves", "leaves of datetimes")
TREE: list[Kind] = [kind._replace(any=True) if kind.name in _TREES else kind for kind in LEAVES]
LIKE: list[Kind] = [
    *(kind._replace(means=(lambda g: g,), loose=0.0) for kind in LEAVES if kind.means),
    means_same("shapes alone", each(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float32))),
    *(kind for kind in LEAVES if not kind.means and kind.name not in ("shapes alone", "masked leaves", "deleted leaves")),
    Kind("of other shapes", each(lambda a: jnp.zeros((*a.shape, 1)))),
    Kind("a leaf too many", lambda g: g | {3: jnp.zeros(2)}),
    Kind("a layer missing", lambda g: {1: g[1]}),
    refused("None", None), refused("a number", 5), refused("a word", "params"), refused("empty list", []),
]  # fmt: skip


def _nnx(good: Any) -> Any:
    try:
        from flax import nnx
    except ImportError:
        raise Skip from None
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))


def _equinox(good: Any) -> Any:
    try:
        import equinox
    except ImportError:
        raise Skip from None
    return equinox.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))


START += [Kind("an NNX module", _nnx), Kind("an Equinox module", _equinox)]

KEY: list[Kind] = [
    Kind("0", lambda g: 0, (lambda g: jax.random.key(0),)),
    Kind("3", lambda g: 3, (lambda g: jax.random.key(3),)),
    Kind("-1", lambda g: -1, (lambda g: jax.random.key(-1), lambda g: jax.random.key(2**32 - 1))),
    Kind("2**40", lambda g: 2**40, (lambda g: jax.random.key(2**40),)),
    Kind("np.int64(3)", lambda g: np.int64(3), (lambda g: jax.random.key(3),)),
    Kind("np.uint8(3)", lambda g: np.uint8(3), (lambda g: jax.random.key(3),)),
    Kind("0-d array", lambda g: np.array(3), (lambda g: jax.random.key(3),)),
    Kind("0-d jax array", lambda g: jnp.int32(3), (lambda g: jax.random.key(3),)),
    Kind("True", lambda g: True, (lambda g: jax.random.key(1),)),
    Kind("raw uint32 key", lambda g: jax.random.key_data(g), (lambda g: g,)),
    Kind("raw uint32 key in NumPy", lambda g: np.asarray(jax.random.key_data(g)), (lambda g: g,)),
    Kind("raw key, big-endian", lambda g: np.asarray(jax.random.key_data(g)).astype(">u4"), (lambda g: g,)),
    Kind("raw key as int64", lambda g: np.asarray(jax.random.key_data(g)).astype(np.int64), (lambda g: g,)),
    Kind("raw key as a list", lambda g: np.asarray(jax.random.key_data(g)).tolist(), (lambda g: g,)),
    Kind("PRNGKey", lambda g: jax.random.PRNGKey(5), (lambda g: jax.random.key(5),)),
    Kind("key in a list", lambda g: [g], (lambda g: g,)),
    Kind("key in an array of one", lambda g: g[None], (lambda g: g,)),
    Kind("key in a tuple", lambda g: (g,), (lambda g: g,)),
    Kind("two keys", lambda g: jax.random.split(g)),
    Kind("a row of six keys", lambda g: jax.random.split(g, 6)),
    Kind("raw keys of two", lambda g: np.asarray(jax.random.key_data(jax.random.split(g)))),
    Kind("deleted key", lambda g: _dead(jax.random.clone(g))),
    Kind("the function key", lambda g: jax.random.key),
    open_to_any("a key of rbg", lambda g: jax.random.key(1, impl="rbg")),
    refused("three uint32", np.zeros(3, np.uint32)),
    refused("two floats", np.zeros(2, np.float32)),
    refused("2.5", 2.5),
    refused("NaN", float("nan")),
    refused("text", "0"),
    refused("bytes", b"0"),
    refused("a dict", {"params": 0}),
    refused("NumPy's generator", np.random.default_rng(0)),
    refused("an object", object()),
    refused("10**30", 10**30),
]
KEY_NEEDED: list[Kind] = [*KEY, refused("None", None)]

OPT_STATE: list[Kind] = [
    means_same("NumPy leaves", lambda g: jax.tree.map(np.asarray, g)),
    means_same("big-endian leaves", lambda g: jax.tree.map(lambda a: np.asarray(a).astype(np.asarray(a).dtype.newbyteorder(">")), g)),
    Kind("of SGD", lambda g: optax.sgd(0.1).init({"w": jnp.zeros(2)})),
    Kind("of another network", lambda g: optax.adam(0.1).init({"w": jnp.zeros(2)})),
    Kind("of another shape", lambda g: jax.tree.map(lambda a: jnp.zeros((*a.shape, 2), a.dtype), g)),
    Kind("with momentum", lambda g: optax.sgd(0.1, momentum=0.9).init({"w": jnp.zeros(2)})),
    Kind("NaN in it", lambda g: jax.tree.map(lambda a: jnp.full_like(a, jnp.nan) if a.dtype == jnp.float32 else a, g)),
    Kind("inf in it", lambda g: jax.tree.map(lambda a: jnp.full_like(a, jnp.inf) if a.dtype == jnp.float32 else a, g)),
    Kind("its first part", lambda g: g[0]),
    Kind("deleted", lambda g: jax.tree.map(lambda a: _dead(jnp.array(a)), g)),
    Kind("the function init", lambda g: optax.adam(0.1).init),
    refused("a dict", {}),
    refused("empty tuple", ()),
    refused("empty list", []),
    refused("a number", 5),
    refused("a word", "adam"),
    refused("an optimizer", optax.adam(0.1)),
]  # fmt: skip


def _dead(found: Any) -> Any:
    found.delete()
    return found


def _csr(found: Any) -> Any:
    import scipy.sparse

    if np.ndim(found) != 2:
        raise Skip
    return scipy.sparse.csr_matrix(host(found))
