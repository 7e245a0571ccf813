# ruff: noqa: E501
"""Kinds of paths and folders, of data as one argument, and of sizes, words for columns and the like."""

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxbp
from experiments.reliability.kinds import arrays, labels
from experiments.reliability.kinds.kind import Kind, Skip, means_same, open_to_any, refused


class Named:
    """os.PathLike by its __fspath__."""

    def __init__(self, path: Any):
        self.path = os.fspath(path)

    def __fspath__(self) -> str:
        return self.path


def _beside(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix="jaxbp-place-")) / name


def _dangling(good: Any) -> Path:
    link = _beside("link")
    link.symlink_to(link.parent / "nowhere")
    return link


def _loop(good: Any) -> Path:
    link = _beside("loop")
    link.symlink_to(link)
    return link


def _file(good: Any) -> Path:
    file = _beside("a file")
    file.write_text("nothing that anybody reads")
    return file


_PATHS: list[Kind] = [
    means_same("text", os.fspath),
    means_same("Path", Path),
    means_same("PathLike", Named),
    means_same("bytes", os.fsencode),
    means_same("np.str_", lambda g: np.str_(os.fspath(g))),
    Kind("in a list", lambda g: [os.fspath(g)], (lambda g: g,)),
    refused("None", None),
    refused("a number", 5),
    refused("0, which is stdin", 0),
    refused("True", True),
    refused("a float", 1.5),
    refused("a dict", {}),
    refused("an object", object()),
    refused("a function", print),
    refused("bytes in memory", io.BytesIO(b"1,2")),
    refused("an array", np.ones(2)),
    refused("the class Path", Path),
    refused("empty text", ""),
    Kind("NUL in it", lambda g: os.fspath(g) + "\0x"),
    Kind("too long", lambda g: os.fspath(g) + "x" * 300),
    Kind("much too long", lambda g: "/".join(["x" * 200] * 30)),
    Kind("below a file", lambda g: _file(g) / "below"),
    Kind("a link that leads round", _loop),
    Kind("where nothing can be", lambda g: Path("/proc/nothing/here")),
]
FILE_IN: list[Kind] = [
    *_PATHS,
    Kind("an open file", lambda g: Path(g).open("rb"), (lambda g: g,)),  # noqa: SIM115
    Kind("missing", lambda g: Path(g).parent / "missing"),
    Kind("a folder", lambda g: Path(g).parent),
    Kind("a link to nothing", _dangling),
    means_same("a slash after", lambda g: os.fspath(g) + "/"),  # pathlib drops it: there is one such file
    Kind("a URL", lambda g: "https://example.org/data.csv"),
    Kind("its content", lambda g: Path(g).read_bytes()[:100]),
    Kind("no UTF-8", lambda g: os.fspath(g) + "\udcff"),
    Kind("something else", _file),
    Kind("an empty file", lambda g: _empty()),
    Kind("a device", lambda g: "/dev/null"),
    Kind("home of nobody", lambda g: "~nobody/x"),
]
FILE_OUT: list[Kind] = [
    *_PATHS,
    Kind("a folder", lambda g: Path(tempfile.mkdtemp(prefix="jaxbp-place-"))),
    Kind("the folder of the program", lambda g: "."),
    Kind("the root", lambda g: "/"),
]
FOLDER: list[Kind] = [*_PATHS, Kind("a file", _file), Kind("a link to nothing", _dangling)]


def pair(of: str, kind: Kind) -> Kind:
    """The kind of x, or of y, in a pair of the two."""

    def within(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda g: (change(g[0]), g[1]) if of == "x" else (g[0], change(g[1]))

    return kind._replace(
        name=f"{of}: {kind.name}",
        make=within(kind.make),
        means=tuple(within(m) for m in kind.means),
        first=kind.first and within(kind.first),
    )


def _batches(good: Any) -> Iterator[Any]:
    yield good


PAIR: list[Kind] = [
    means_same("a list", list),
    means_same("a Dataset", lambda g: jaxbp.data.assert_data(*map(np.asarray, g))),
    Kind("three arrays", lambda g: (*g, g[1])),
    Kind("x alone", lambda g: g[0]),
    Kind("x alone in a tuple", lambda g: (g[0],)),
    Kind("a dict", lambda g: {"x": g[0], "y": g[1]}, (lambda g: g,)),
    Kind("y and x exchanged", lambda g: (g[1], g[0])),
    Kind("examples one by one", lambda g: list(zip(*g, strict=True))),
    Kind("zip", lambda g: zip(*g, strict=True)),
    Kind("a generator of batches", _batches),
    Kind("a list of batches", lambda g: [g, g, g]),
    Kind("two pairs", lambda g: (g, g)),
    Kind("two Datasets", lambda g: (jaxbp.data.assert_data(*map(np.asarray, g)),) * 2),
    Kind("a pandas table", lambda g: arrays.table(g[0])),
    Kind("one array of both", lambda g: np.column_stack([np.asarray(g[0]), np.asarray(g[1])])),
    Kind("the class Dataset", lambda g: jaxbp.Dataset),
    # Refused where grad_fn tells the size of its output; a plain function's may be 7.
    Kind("a Dataset of another number of classes", lambda g: jaxbp.Dataset(np.asarray(g[0]), np.asarray(g[1]), 7), (lambda g: g,)),
    Kind("a Dataset whose number of classes is text", lambda g: jaxbp.Dataset(np.asarray(g[0]), np.asarray(g[1]), "2")),
    Kind("a Dataset of one class too few", lambda g: jaxbp.Dataset(np.asarray(g[0]), np.asarray(g[1]), 1)),
    Kind("a Dataset of lists", lambda g: jaxbp.Dataset(np.asarray(g[0]).tolist(), np.asarray(g[1]).tolist(), 2), (lambda g: g,)),
    Kind("a Dataset with big-endian x", lambda g: jaxbp.Dataset(np.asarray(g[0]).astype(">f4"), np.asarray(g[1]), 2), (lambda g: g,)),
    refused("None", None),
    refused("empty tuple", ()),
    refused("a word", "digits"),
    refused("a number", 0.2),
    refused("True", True),
    refused("an object", object()),
]  # fmt: skip
DATA: list[Kind] = [
    *PAIR,
    *(pair("x", kind) for kind in arrays.DATA_ROWS + arrays.ROWS_PAIRED),
    *(pair("y", kind) for kind in labels.LABELS),
]
VALIDATION: list[Kind] = [kind for kind in DATA if kind.name != "None"]
DATASET: list[Kind] = [
    Kind("a pair", lambda g: (g.x, g.y), (lambda g: g,)),
    Kind("x alone", lambda g: g.x),
    Kind("lists within", lambda g: jaxbp.Dataset(g.x.tolist(), g.y.tolist(), g.num_classes), (lambda g: g,)),
    Kind("one label less", lambda g: jaxbp.Dataset(g.x, g.y[:-1], g.num_classes)),
    Kind("one label more", lambda g: jaxbp.Dataset(g.x, np.append(g.y, 0), g.num_classes)),
    Kind("no examples", lambda g: jaxbp.Dataset(g.x[:0], g.y[:0], g.num_classes)),
    Kind("a pandas table", lambda g: arrays.table(g.x)),
    Kind("two of them", lambda g: (g, g)),
    Kind("a dict", lambda g: {"x": g.x, "y": g.y}),
    refused("None", None),
    refused("a number", 5),
    refused("a word", "digits"),
    refused("the class Dataset", jaxbp.Dataset),
]
SIZES: list[Kind] = [  # of the layers of an mlp
    means_same("a tuple", tuple),
    means_same("an array", np.array),
    means_same("a jax array", jnp.array),
    means_same("big-endian", lambda g: np.array(g, ">i4")),
    means_same("NumPy numbers", lambda g: [np.int64(v) for v in g]),
    means_same("floats", lambda g: [float(v) for v in g]),
    means_same("text", lambda g: [str(v) for v in g]),
    means_same("a generator", lambda g: (v for v in g)),
    means_same("a dict's values", lambda g: dict(enumerate(g)).values()),
    Kind("one number", lambda g: g[0]),
    Kind("one layer", lambda g: g[:1]),
    Kind("a layer of 0", lambda g: [*g[:-1], 0]),
    Kind("a layer of -1", lambda g: [*g[:-1], -1]),
    Kind("a layer of 2.5", lambda g: [*g[:-1], 2.5]),
    Kind("a layer of NaN", lambda g: [*g[:-1], float("nan")]),
    Kind("a layer of None", lambda g: [*g[:-1], None]),
    Kind("a layer of True", lambda g: [*g[:-1], True], (lambda g: [*g[:-1], 1],)),
    Kind("a layer of 10**18", lambda g: [*g[:-1], 10**18]),
    Kind("a layer of 2**31", lambda g: [*g[:-1], 2**31]),
    Kind("a list within", lambda g: [g]),
    Kind("a layer within", lambda g: [*g[:-1], jaxbp.dense(4, 2)]),
    Kind("digits in one text", lambda g: "".join(map(str, g)), (lambda g: g,)),
    refused("empty list", []),
    refused("None", None),
    refused("a word", "large"),
    refused("a dict", {}),
    refused("a set", {3, 4}),
]
PARTS: list[Kind] = [  # of split
    means_same("NumPy float", np.float64),
    means_same("NumPy float32", np.float32),
    means_same("0-d array", np.array),
    Kind("the two fractions", lambda g: [1 - g, g], (lambda g: g,)),
    Kind("as a tuple", lambda g: (1 - g, g), (lambda g: g,)),
    Kind("as an array", lambda g: np.array([1 - g, g]), (lambda g: g,)),
    Kind("as text", str, (lambda g: g,)),
    Kind("a list of one", lambda g: [g], (lambda g: g,)),
    Kind("True", lambda g: True),
    *(refused(name, v) for name, v in (("0", 0), ("0.0", 0.0), ("1", 1), ("1.0", 1.0), ("-0.1", -0.1), ("1.5", 1.5), ("NaN", float("nan")), ("inf", float("inf")), ("1e-9", 1e-9))),
    *(refused(name, v) for name, v in (("fractions beyond 1", [0.5, 0.6]), ("sizes beyond N", [100, 1]), ("a part of 0", [6, 0]), ("negative sizes", [7, -1]), ("NaN in it", [0.5, float("nan")]), ("None in it", [None, 0.5]), ("words in it", ["a", "b"]), ("nested", [[3, 3]]), ("empty list", []), ("None", None), ("a word", "half"), ("a dict", {}), ("complex", [0.5 + 0j, 0.5 + 1j]))),
]  # fmt: skip
GRID: list[Kind] = [  # hyperparameters of a sweep
    means_same("a tuple", lambda g: {k: tuple(v) for k, v in g.items()}),
    means_same("an array", lambda g: {k: np.array(v, np.float32) for k, v in g.items()}),
    means_same("a jax array", lambda g: {k: jnp.array(v) for k, v in g.items()}),
    means_same("big-endian", lambda g: {k: np.array(v, ">f8") for k, v in g.items()}),
    means_same("a generator", lambda g: {k: (x for x in v) for k, v in g.items()}),
    means_same("pandas", lambda g: {k: arrays.table(np.array(v)) for k, v in g.items()}),
    means_same("as text", lambda g: {k: [str(x) for x in v] for k, v in g.items()}),
    Kind(
        "one number", lambda g: {k: v[0] for k, v in g.items()}, (lambda g: {k: v[:1] for k, v in g.items()},)
    ),
    Kind("one text", lambda g: dict.fromkeys(g, "0.1")),
    Kind("pairs", lambda g: list(g.items()), (lambda g: g,)),
    Kind("another name", lambda g: {"lr": next(iter(g.values()))}),
    Kind("a name too many", lambda g: g | {"width": [1.0]}),
    Kind("a number as a name", lambda g: {1: next(iter(g.values()))}),
    Kind("None in it", lambda g: {k: [None] for k in g}),
    Kind("words in it", lambda g: {k: ["high", "low"] for k in g}),
    Kind("complex in it", lambda g: {k: [0.1 + 1j] for k in g}),
    Kind("nested", lambda g: {k: [v] for k, v in g.items()}),
    Kind("no values", lambda g: {k: [] for k in g}),
    Kind("functions in it", lambda g: {k: [lambda step: 0.1] for k in g}),
    Kind("NaN in it", lambda g: {k: [float("nan")] for k in g}),
    Kind("inf in it", lambda g: {k: [float("inf")] for k in g}),
    Kind("whole numbers", lambda g: {k: [1, 0] for k in g}, (lambda g: {k: [1.0, 0.0] for k in g},)),
    Kind("True and False", lambda g: {k: [True, False] for k in g}, (lambda g: {k: [1.0, 0.0] for k in g},)),
    refused("a dict of nothing", {}),
    refused("None", None),
    refused("the names", ["learning_rate"]),
    refused("a name", "learning_rate"),
    refused("a number", 0.1),
]
SEEDS: list[Kind] = [
    means_same("np.int64", np.int64),
    means_same("0-d array", np.array),
    means_same("a list", lambda g: list(range(g))),
    means_same("range", range),
    means_same("an array", np.arange),
    means_same("big-endian array", lambda g: np.arange(g, dtype=">i4")),
    means_same("a jax array", jnp.arange),
    means_same("float", float),
    means_same("as text", str),
    means_same("list of floats", lambda g: [float(v) for v in range(g)]),
    means_same("a generator", lambda g: (v for v in range(g))),
    Kind("True", lambda g: True, (lambda g: 1,)),
    Kind("-1", lambda g: -1),
    Kind("a list of -1", lambda g: [-1], (lambda g: [2**32 - 1],)),
    Kind("a list of 2**32", lambda g: [2**32]),
    *(refused(name, v) for name, v in (("0", 0), ("2.5", 2.5), ("None", None), ("a word", "x"), ("NaN", float("nan")), ("a list of 0.5", [0.5]), ("a list of None", [None]), ("a list of words", ["a"]), ("empty list", []), ("a dict", {}), ("10**18", 10**18), ("nested", [[0, 1]]), ("a function", len))),
]  # fmt: skip
TREE_META: list[Kind] = [
    Kind("an array in it", lambda g: {"a": np.ones(2)}),
    Kind("a function in it", lambda g: {"a": len}),
    Kind("bytes in it", lambda g: {"a": b"x"}),
    Kind("a set in it", lambda g: {"a": {1}}),
    Kind("NaN in it", lambda g: {"a": float("nan")}, (lambda g: {"a": float("nan")},)),
    Kind("a tuple in it", lambda g: {"a": (1, 2)}, (lambda g: {"a": [1, 2]},)),
    Kind("numbers as names", lambda g: {1: 2}, (lambda g: {"1": 2},)),
    Kind("a circle", lambda g: _circle()),
    refused("a word", "x"),
    refused("a number", 5),
    refused("a list", [1]),
    refused("a function", len),
]
NAMES: list[Kind] = [
    means_same("a tuple", tuple),
    means_same("a set", set),
    means_same("a dict", lambda g: dict.fromkeys(g)),
    means_same("an array", np.array),
    Kind("one text", lambda g: g[0], (lambda g: g[:1],)),
    Kind("a name that is not there", lambda g: [*g, "nowhere"]),
    Kind("a number in it", lambda g: [*g, 5]),
    refused("a number", 5),
    refused("a function", len),
    refused("True", True),
    refused("bytes", [b"x"]),
]
HISTORY: list[Kind] = [
    means_same("lists", lambda g: {k: v.tolist() for k, v in g.items()}),
    means_same("pandas table", lambda g: _frame(g)),
    Kind("another length", lambda g: g | {"loss": g["loss"][:-1]}),
    Kind("no columns", lambda g: {}),
    Kind("words", lambda g: {k: v.astype(str) + "w" for k, v in g.items()}),
    refused("None", None),
    refused("a list", [1.0, 2.0]),
    refused("a number", 5),
    refused("a word", "history"),
]


def _frame(history: Any) -> Any:
    import pandas as pd

    if any(np.ndim(column) != 1 for column in history.values()):
        raise Skip
    return pd.DataFrame(history)


def _circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["a"] = found
    return found


def _empty() -> Path:
    file = _beside("empty")
    file.touch()
    return file


ANY_TREE: list[Kind] = [open_to_any("None", lambda g: None), open_to_any("a list", lambda g: [g])]
