# ruff: noqa: E501
"""The roles of arguments: by their names in ROLES, in one function alone in OWN; what is given beside them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.reliability import world
from experiments.reliability.kinds import arrays, labels, numbers, params, places, things
from experiments.reliability.kinds.kind import Kind, means_same, open_to_any, refused


class Role(NamedTuple):
    """What an argument is for: the kinds of values to try, and a good one, made anew for each call."""

    kinds: Sequence[Kind]
    good: Callable[[], Any]


def _value(value: Any) -> Callable[[], Any]:
    return lambda: value


def _word(good: str, near: dict[str, str], **options: Any) -> Role:
    return Role(numbers.word(near, **options), _value(good))


def _first(role: Role, further: Callable[[], tuple[Any, ...]] = tuple) -> Role:
    """The role of arguments as many as one likes: the kinds are those of the first."""

    def of(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda g: (change(g[0]), *g[1:])

    kinds = [
        kind._replace(
            make=of(kind.make), means=tuple(map(of, kind.means)), first=kind.first and of(kind.first)
        )
        for kind in role.kinds
    ]
    return Role(kinds, lambda: (role.good(), *further()))


def _open(kinds: Sequence[Kind], *names: str) -> list[Kind]:
    """The kinds, those of these names open to any reading."""
    return [kind._replace(any=kind.any or kind.name in names) for kind in kinds]


def _or_endless(kinds: Sequence[Kind]) -> list[Kind]:
    """Of a limit: inf may mean that there is none."""
    return _open(kinds, "inf")


FLAG = Role(numbers.FLAG, _value(True))
TEXT = Role(numbers.TEXT, _value("name"))
WHOLE = Role(numbers.whole(), _value(2))
RATE = Role(numbers.number(0, ends=False), _value(0.5))
ROWS = Role(arrays.ROWS, lambda: jnp.asarray(world.X))
DATA_ROWS = Role(arrays.DATA_ROWS, lambda: np.array(world.X))
PAIRED_ROWS = Role([*arrays.ROWS, *arrays.ROWS_PAIRED], lambda: jnp.asarray(world.X))
PAIRED_DATA = Role([*arrays.DATA_ROWS, *arrays.ROWS_PAIRED], lambda: np.array(world.X))
OUTPUTS = Role([*arrays.ROWS, *arrays.ROWS_PAIRED], lambda: jnp.asarray(world.TARGETS))
ONE = Role(arrays.ROWS, lambda: jnp.asarray(world.X[0]))  # one example
LABELS = Role(labels.LABELS, lambda: jnp.asarray(world.Y))
PARAMS = Role(params.PARAMS, world.params)
KEY = Role(params.KEY_NEEDED, lambda: jax.random.key(1))
LAYER = Role(things.LAYER, _value(world.NET))
LOSS = Role(things.LOSS_ONLY, _value(world.LOSS))
ANY_LOSS = Role(things.LOSS, _value(world.LOSS))
SIGNS = Role(
    [k for k in [*arrays.DATA_ROWS, *arrays.ROWS_PAIRED] if k.name != "pandas table of objects"],
    lambda: np.array(world.SIGNS),
)
TARGET_ROWS = Role([*arrays.ROWS, *arrays.ROWS_PAIRED], lambda: jnp.asarray(world.TARGETS))
ADDRESS = Role(
    [
        *(refused(name, v) for name, v in (("a number", 5), ("a word", "x"), ("no port", "127.0.0.1"), ("no host", ":80"), ("a pair", ("127.0.0.1", 80)), ("port too high", "127.0.0.1:99999"), ("negative port", "127.0.0.1:-1"), ("bytes", b"127.0.0.1:80"), ("a URL", "http://127.0.0.1:80/"), ("NUL", "127.0.0.1\0:80"), ("True", True), ("a list", ["127.0.0.1:80"]))),
    ],
    _value("127.0.0.1:61599"),
)  # fmt: skip
UNIT = Role(
    [
        means_same("NumPy arrays", lambda g: type(g)(np.asarray(g.w), np.asarray(g.w_0))),
        means_same("lists", lambda g: type(g)(np.asarray(g.w).tolist(), float(g.w_0))),
        means_same("big-endian", lambda g: type(g)(np.asarray(g.w).astype(">f4"), np.asarray(g.w_0).astype(">f4"))),
        means_same("float64", lambda g: type(g)(np.asarray(g.w).astype(float), float(g.w_0))),
        Kind("a plain tuple", tuple, (lambda g: g,)),
        Kind("a dict", lambda g: g._asdict(), (lambda g: g,)),
        Kind("w alone", lambda g: g.w),
        Kind("w one too short", lambda g: g._replace(w=g.w[:-1])),
        Kind("w a row", lambda g: g._replace(w=g.w[None])),
        Kind("w_0 a vector", lambda g: g._replace(w_0=jnp.ones(3))),
        Kind("w_0 of length 1", lambda g: g._replace(w_0=g.w_0[None]), (lambda g: g,)),
        Kind("w_0 None", lambda g: g._replace(w_0=None)),
        Kind("w words", lambda g: g._replace(w=["a", "b", "c"])),
        Kind("w complex", lambda g: g._replace(w=g.w + 1j)),
        Kind("w of ints", lambda g: g._replace(w=g.w.astype(int)), (lambda g: g._replace(w=g.w.astype(int).astype(float)),)),
        Kind("w deleted", lambda g: g._replace(w=arrays.deleted(g.w))),
        open_to_any("w NaN", lambda g: g._replace(w=g.w * np.nan)),
        refused("a number", 5), refused("a word", "unit"), refused("a list", []), refused("the class", jaxbp.units.Unit),
    ],
    lambda: jaxbp.units.Unit(jnp.array([1.0, -2.0, 0.5]), jnp.array(0.25)),
)  # fmt: skip
TRACE = Role(
    [
        Kind("of another network", lambda g: jaxbp.forward(jaxbp.mlp([3, 2, 2]), jaxbp.mlp([3, 2, 2]).init(jax.random.key(0)), world.X)),
        Kind("of fewer examples", lambda g: jaxbp.forward(world.NET, world.params(), world.X[:3])),
        Kind("of one layer", lambda g: jaxbp.forward(jaxbp.dense(3, 2), jaxbp.dense(3, 2).init(jax.random.key(0)), world.X)),
        Kind("the output", lambda g: g.out),
        Kind("the class", lambda g: type(g)),
        Kind("a plain tuple", tuple, (lambda g: g,)),
        Kind("a dict", lambda g: g._asdict(), (lambda g: g,)),
        Kind("all of backprop", lambda g: jaxbp.backprop(world.NET, world.LOSS, world.params(), world.X, world.Y), (lambda g: g,)),
        refused("None", None), refused("a list", []), refused("a number", 5), refused("a word", "trace"),
    ],
    lambda: jaxbp.forward(world.NET, world.params(), jnp.asarray(world.X)),
)  # fmt: skip
WEIGHTS = Role(
    _open(
        [*arrays.DATA_ROWS, *arrays.ROWS_PAIRED], "bool", "list of bools", "pandas table of bools"
    ),  # a mask
    lambda: np.array([0.5, 1, 2, 1, 0.5, 1], np.float32),
)
_PART_OF_A_RUN = [
    *things.NOTHING,
    refused("None", None),
    refused("the class", jaxbp.Trained),
    refused("a layer", world.NET),
    refused("a loss", world.LOSS),
    refused("a folder", "/tmp"),
    Kind("in a list", lambda g: [g], (lambda g: g,)),
    Kind("its fields", vars, (lambda g: g,)),
]
DECLARE = Role(
    [
        *(refused(f"the word {w!r}", w) for w in ("Stop", "stop ", "straight-through", "nothing", "")),
        *(refused(name, v) for name, v in (("a number", 5), ("True", True), ("scaled without its number", ("scaled",)), ("scaled by text", ("scaled", "2")), ("scaled by None", ("scaled", None)), ("scaled by NaN", ("scaled", float("nan"))), ("an unknown rule", {"nowhere": "stop"}), ("a number as a rule", {5: "stop"}), ("a wrong word for a rule", {"square": "halt"}), ("a function", len), ("a pair of words", ("stop", "stop")))),
        Kind("an empty tuple", lambda g: (), (lambda g: None,)),
        Kind("a list for a tuple", lambda g: list(g), (lambda g: g,)),
        means_same("NumPy number", lambda g: (g[0], np.float32(g[1]))),
        means_same("whole number", lambda g: (g[0], int(g[1]))),
    ],
    _value(("scaled", 1.0)),
)  # fmt: skip


@jax.custom_vjp
def square(a: Any) -> Any:
    return a * a


square.defvjp(lambda a: (a * a, a), lambda a, c: (2 * a * c,))


def _total(*arrays: Any) -> Any:
    return sum((a * a).sum() for a in jax.tree.leaves(arrays))


def _mean(params: Any, x: Any) -> Any:
    return jnp.mean(x) * _total(params)


_CHECKED = Role(
    [
        kind._replace(
            any=kind.any or kind.name.startswith("complex")
        )  # functions of complex numbers have rules
        for kind in arrays.ROWS
        if kind not in arrays.SHAPES
        and kind not in arrays.FEWER_BITS
        and not any(word in kind.name for word in ("list", "tuple", "dict", "set", "None"))
    ]  # trees are arguments too
    + [refused("a 0-d int", 3)],
    lambda: jnp.asarray(world.X[:2] / 2 + 0.25),
)


def of_loss(name: str) -> dict[str, Role]:
    outputs, targets = {
        "softmax_cross_entropy": (world.TARGETS, LABELS),
        "binary_cross_entropy": (world.TARGETS, Role(TARGET_ROWS.kinds, lambda: jnp.asarray(world.BINARY))),
        "binary_cross_entropy_on_probabilities": (world.PROBABILITIES, Role(TARGET_ROWS.kinds, lambda: jnp.asarray(world.BINARY))),
        "squared_error": (world.TARGETS, Role(TARGET_ROWS.kinds, lambda: jnp.asarray(world.BINARY))),
    }[name]  # fmt: skip
    kinds = OUTPUTS.kinds
    if name == "softmax_cross_entropy":  # the labels fit more classes too
        kinds = _open(kinds, "one column more")
    if "probabilities" in name:  # whole numbers are no probabilities between 0 and 1
        kinds = [kind for kind in kinds if kind not in arrays.FEWER_BITS or kind.loose]
    return {"f": Role(kinds, lambda: jnp.asarray(outputs)), "y": targets}


ROLES: dict[str, Role] = {
    "x": PAIRED_ROWS, "y": LABELS, "t": SIGNS, "net": LAYER, "loss": LOSS, "params": PARAMS, "key": KEY,
    "trace": TRACE, "delta_f": Role([*arrays.ROWS, *arrays.ROWS_PAIRED], lambda: jnp.asarray(world.TARGETS)),
    "layer": LAYER, "branch": Role(things.LAYER, _value(jaxbp.dense(3, 3))), "skip": Role(things.LAYER, _value(jaxbp.identity)),
    "parts": _first(Role(things.LAYER, _value(jaxbp.dense(3, 4))), lambda: (jaxbp.tanh,)),
    "activation": Role(things.LAYER, _value(jaxbp.relu)), "output": Role(things.LAYER, _value(jaxbp.tanh)),
    "sizes": Role(places.SIZES, lambda: [3, 4, 2]), "d_in": Role(numbers.whole(), _value(3)), "d_out": Role(numbers.whole(), _value(4)),
    "init": Role(things.INITIALIZER, _value(jaxbp.initializers.standard_normal)),
    "bias_init": Role([k for k in things.INITIALIZER if k.name != "a factory, not called"], _value(jaxbp.initializers.zeros)),
    "bias": FLAG, "rate": Role([k for k in numbers.number(0, 1) if k.name != "float16"], _value(0.5)), "name": TEXT, "where": TEXT,
    "phi": Role([*things.function(means_same("jitted", jax.jit), open_to_any("NumPy's tanh", lambda g: np.tanh)), refused("None", None)], _value(jnp.tanh)),
    "slope": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(lambda f: 1 - f**2)),
    "saves": Role([k for k in numbers.word({"outputs": "output", "out": "output", "result": "", "saved": ""}) if k.name != "a function"], _value("output")),  # it may be one
    "negative_slope": Role(numbers.number(), _value(0.25)), "label_smoothing": Role(numbers.number(0, 1), _value(0.25)),
    "dtype": Role(things.DTYPE, _value(jnp.bfloat16)), "shape": _first(Role(numbers.whole(), _value(3))),
    "grad_fn": Role(things.GRAD_FN, _value(world.grad_fn)), "data": Role(places.DATA, lambda: (np.array(world.X), np.array(world.Y))),
    "optimizer": Role(things.OPTIMIZER, lambda: optax.sgd(0.1)), "batch_size": Role(numbers.whole(1, 6), _value(3)),
    "epochs": Role(numbers.whole(vast=False), _value(2)), "seeds": Role(places.SEEDS, _value(2)),
    "validation": Role(places.VALIDATION, lambda: (np.array(world.X[:4]), np.array(world.Y[:4]))),
    "evaluate": Role(things.EVALUATE, _value(world.evaluate)),
    "source": Role([refused("None", None), refused("a number", 5), refused("text", "ab"), refused("an object", object()), refused("a dict", {"x": 1})], lambda: lambda: [(np.array(world.X), np.array(world.Y))]),
    "early_stopping": Role(things.EARLY, lambda: jaxbp.EarlyStopping(5)),
    "callbacks": Role(things.CALLBACKS, lambda: [world.count]), "opt_state": Role(params.OPT_STATE, lambda: optax.adam(0.1).init(world.params())),
    "mesh": Role(things.MESH, lambda: jax.make_mesh((2,), ("data",))), "checkpoints": Role(things.CHECKPOINTS, lambda: jaxbp.Checkpoints(world.folder())),
    "memory_budget": Role(_or_endless(numbers.whole(optional=True)), _value(10**6)), "preprocess": Role(things.PREPROCESS, _value(lambda x: x / 2)),
    "progress_bar": Role([k for k in numbers.FLAG if k.name in ("text no", "text False", "2", "an object", "NaN", "np.bool", "a function")], _value(False)),
    "hyperparameters": Role(_open(places.GRID, "functions in it"), lambda: {"learning_rate": [0.25, 0.125]}),
    "folder": Role(places.FOLDER, world.folder), "every": WHOLE, "keep": WHOLE, "patience": Role(numbers.whole(vast=False), _value(2)),
    "monitor": _word("loss", {"losses": "", "val_los": "", "Loss ": "loss"}, optional=True),
    "mode": _word("max", {"maximum": "max", "maximise": "max", "up": "", "highest": "max", "less": "", "mean": ""}),
    "engine": _word("npz", {"numpy": "npz", "pickle": "", "zarr": "", ".npz": "npz"}),
    "path": Role(places.FILE_OUT, lambda: world.folder() / "new.npz"), "tree": Role(params.TREE, world.params),
    "like": Role(params.LIKE, world.params), "meta": Role(places.TREE_META, lambda: {"eta": 0.1}),
    "epoch": Role(numbers.whole(0, vast=False), _value(3)), "value": Role([k for k in numbers.number() if "NaN" not in k.name and "inf" not in k.name], _value(0.25)),
    "config": Role(places.TREE_META, lambda: {"eta": 0.1}), "eta": RATE, "unit": UNIT, "num_classes": Role(numbers.whole(2, 1000, optional=True), _value(2)),
    "narrow": FLAG, "raw": FLAG, "stratify": FLAG, "regression": FLAG, "saves_input": FLAG,
    "download": Role([k for k in numbers.FLAG if k.name in ("text no", "text False", "text 0", "0", "None", "2", "an object", "NaN", "a function")], _value(False)),
    "seed": Role([k for k in numbers.whole(0, vast=False) if k.name not in ("a pair", "an array of two", "array of one", "list of one")], _value(3)), "test_fraction": Role(numbers.number(0, 1, ends=False), _value(0.25)),
    "data_dir": Role(places.FOLDER, world.folder), "name_or_path": Role(places.FILE_IN, world.csv),
    "label": Role(numbers.whole(-4, 3), _value(2)), "delimiter": Role([*(refused(n, v) for n, v in (("a number", 5), ("True", True), ("empty text", ""), ("a line break", "\n"), ("a quote", '"'), ("a digit", "1"), ("a point", "."), ("a list", [","]), ("an object", object()))), Kind("a blank after", lambda g: ", ", (lambda g: ",",)), Kind("bytes", lambda g: b",", (lambda g: ",",)), Kind("semicolon", lambda g: ";"), Kind("two signs", lambda g: ",,")], _value(",")),
    "sha256": Role([refused("a number", 5), refused("a word", "x"), refused("bytes", b"x"), refused("True", True), refused("another digest", "0" * 64), Kind("upper case", str.upper, (lambda g: g,)), Kind("as bytes", lambda g: bytes.fromhex(g), (lambda g: g,))], lambda: _digest()),
    "max_bytes": Role(_or_endless(numbers.whole(10_000)), _value(10_000_000)), "names": Role(places.NAMES, lambda: ["x", "y"]),
    "coordinator": ADDRESS, "bind": ADDRESS, "num_processes": Role(numbers.whole(1), _value(2)), "process_id": Role(numbers.whole(0, 1), _value(0)),
    "timeout": Role(numbers.number(0, ends=False), _value(3)), "heartbeat": Role(numbers.number(0, ends=False), _value(30)),
    "c": RATE, "sigma": Role(numbers.number(0), _value(0.5)), "i": Role(_open(numbers.whole(0, 3), "-1"), _value(1)), "n": Role(numbers.whole(), _value(6)),
    "limit": Role(_or_endless(numbers.whole(10**4)), _value(10**7)),
    "history": Role(places.HISTORY, world.history), "points": Role([refused("None", None), refused("a number", 5), refused("another length", [{"learning_rate": 0.1}]), Kind("numbers", lambda g: [0.1, 0.2]), means_same("a tuple", tuple)], lambda: [{"learning_rate": 0.25}, {"learning_rate": 0.125}]),
    "args": _first(_CHECKED), "declare": DECLARE,
    "primal": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(jnp.square)),
    "vjp": Role([*things.function(), refused("None", None)], _value(lambda a, c: 2 * a * c)),
    "jvp": Role([*things.function(), refused("None", None)], _value(lambda p, t: 2 * p[0] * t[0])),
    "reduction": _word("sum", {"avg": "mean", "total": "sum", "average": "mean", "none": "", "Mean": "mean"}),
    "form": _word("atom", {"layer": "", "atoms": "atom"}), "factors": _word("jacrev", {"jac": "", "rules": "rule", "autodiff": ""}, optional=True),
    "v": ONE, "delta": Role(arrays.ROWS, lambda: jnp.asarray(world.TARGETS[0])), "saved": Role([refused("None", None), refused("a number", 5), refused("a word", "saved"), refused("empty list", [])], lambda: world.NET.forward(world.params(), jnp.asarray(world.X))[1]),
    "shift": Role(arrays.SAME, lambda: np.array(world.X[0])),
    "network": LAYER, "run": Role(_PART_OF_A_RUN, world.trained), "evaluation": Role(_PART_OF_A_RUN, lambda: world.trained().evaluate(world.X, world.Y)),
    "weight": WEIGHTS, "scale": Role(arrays.SAME, lambda: np.array(world.X[0] + 1)), "shuffle": FLAG, "header": Role(numbers.FLAG, _value(True)),
    "w": Role(arrays.SAME, lambda: jnp.asarray(world.X[0])), "w_0": Role(numbers.number(), _value(0.25)),
}  # fmt: skip
_UNITS = [
    means_same("a tuple", tuple), means_same("an array", np.array), means_same("big-endian", lambda g: np.array(g, ">i4")),
    means_same("a generator", lambda g: (u for u in g)), means_same("floats", lambda g: [float(u) for u in g]), means_same("as text", lambda g: [str(u) for u in g]),
    Kind("one number", lambda g: g[0], (lambda g: g[:1],)), Kind("a unit of True", lambda g: [True], (lambda g: [1],)), open_to_any("none of them", lambda g: []),
    *(refused(name, v) for name, v in (("unit 0", [0]), ("unit -1", [-1]), ("unit 99", [99]), ("unit 1.5", [1.5]), ("unit None", [None]), ("NaN in it", [float("nan")]), ("words in it", ["a"]), ("nested", [[1, 2]]), ("a word", "all"), ("a function", len), ("a dict", {}), ("10**30", [10**30]))),
]  # fmt: skip
_FROZEN = [
    means_same("a list", list), means_same("a set", set), means_same("a generator", lambda g: (name for name in g)), means_same("an array", np.array),
    Kind("one text", lambda g: g[0], (lambda g: g,)), open_to_any("none of them", lambda g: []),
    *(refused(name, v) for name, v in (("a name that is not there", ("c",)), ("a long name that is not there", ("bias",)), ("a number", 5), ("numbers in it", (1,)), ("None", None), ("None in it", (None,)), ("bytes in it", (b"b",)), ("True", True), ("a function", len), ("nested", (("b",),)))),
]  # fmt: skip
_STEPS = Role(
    [
        *things.NOTHING,
        refused("None", None),
        Kind("its title", lambda g: g.title, (lambda g: g,)),
        refused("a number of a step", 4),
    ],
    lambda: next(s for s in world.explanation().steps if s.both_ways),
)
_PART = [*things.NOTHING, refused("None", None)]
_FIELD = {  # the functions that a record of one's own is made of
    f"{record}.{name}": Role(_PART, lambda record=record, name=name: getattr(world.LOSS if record == "Loss" else jaxbp.tanh, name))
    for record, names in (("Loss", ("values", "deltas", "mu")), ("Layer", ("apply", "forward", "backward", "init", "jacobian")))
    for name in names
}  # fmt: skip
_SWEEP = {
    "sweep.init": Role([*things.function(), refused("None", None), refused("a layer", world.NET), Kind("parameters", lambda g: world.params()), Kind("of integers", lambda g: lambda key: jax.tree.map(lambda a: a.astype(int), g(key)))], _value(world.NET.init)),
    "sweep.optimizer": Role(things.MAKES_OPTIMIZER, _value(optax.sgd)),
    "sweep.order": _word("own", {"share": "shared", "each": "own", "random": ""}),
}  # fmt: skip
_ONE_ROW = {"jacobian_chain.args": Role([], lambda: (world.params(), jnp.asarray(world.X[0])))}
_NO_BIAS = Role(
    [k for k in params.PARAMS if not k.name.startswith("b ") and k.name != "inf in b"], world.params
)  # the backward pass needs no b
_EXAMPLE_LOSS = Role(
    _open([k for k in things.LOSS if k.name != "a vector-valued function"], "its values"), _value(world.LOSS)
)  # of one example they are scalars
_SOME_LABELS = Role(  # without outputs, which tell how many examples and classes there are
    _open(labels.LABELS, "a label of C", "labels from 1", "a label of 127 in int8", "a label of 255 in uint8", "one label less", "one label more", "labels as a row", "labels for three classes as rows", "a number", "empty list", "a label of 0.5", "dict of columns", "one key more in a dict"),
    lambda: jnp.asarray(world.Y),
)  # fmt: skip
_BOX = [
    means_same("a list", list), means_same("NumPy numbers", lambda g: tuple(map(np.float32, g))), means_same("arrays", lambda g: tuple(np.full(3, end, np.float32) for end in g)),
    means_same("an array and a list", lambda g: (np.full(3, g[0], ">f8"), [g[1]] * 3)), Kind("an array of both", np.array, (lambda g: g,)),
    *(refused(name, v) for name, v in (("a number", 5), ("a word", "ab"), ("one end", (0,)), ("three", (0, 1, 2)), ("turned round", (8, -8)), ("NaN", (0, float("nan"))), ("words", ("a", "b")), ("complex", (0, 1j)), ("bools", (False, True)), ("None in it", (0, None)), ("a dict", {0: 1}), ("of two entries", (0, [8, 8])), ("a function", len))),
]  # fmt: skip
_MASK = [
    means_same("a list", lambda g: g.tolist()), means_same("a jax array", jnp.asarray), means_same("a row for each", lambda g: np.tile(g, (len(world.X), 1))),
    *(refused(name, v) for name, v in (("whole numbers", [1, 0, 1]), ("floats", [1.0, 0.0, 1.0]), ("of two entries", [True, False]), ("False", False), ("all False", [False] * 3), ("a word", "all"), ("a function", len), ("a dict", {}), ("None in it", [True, None, True]))),
]  # fmt: skip
_IMAGE = [
    means_same("a list", list), means_same("NumPy numbers", lambda g: tuple(map(np.int64, g))), Kind("an array", np.array, (lambda g: g,)),
    *(refused(name, v) for name, v in (("a number", 3), ("another size", (2, 2)), ("of 0", (0, 3)), ("floats", (3.0, 1.0)), ("a word", "image"), ("four axes", (3, 1, 1, 1)), ("empty", ()), ("None in it", (3, None)), ("True in it", (3, True)), ("a function", len))),
]  # fmt: skip
_COUNTED = ("one label less", "one label more", "labels as a row", "labels for three classes as rows", "a number", "empty list")  # its H does not depend on the label
_ANY_ROWS = ("one column less", "one column more", "one column", "one axis more at the end", "complex", "complex128", "one key more in a dict")  # of data without a network
_STEP = Role(numbers.number(), _value(0.5))  # one update by any rate
_ESTIMATOR = {
    "hidden": Role([means_same("a list", list), means_same("an array", np.array), *(refused(name, v) for name, v in (("of 0", (0,)), ("of -1", (-1,)), ("of 2.5", (2.5,)), ("a word", "many"), ("None", None), ("None in it", (None,)), ("nested", ((2,),)), ("True in it", (True,)), ("a function", len))), Kind("one number", lambda g: g[0], (lambda g: g,))], _value((4,))),
    "activation": _word("tanh", {"tanhh": "", "hyperbolic": ""}), "optimizer": _word("sgd", {"SGD optimizer": "", "adamax": ""}),
    "learning_rate": Role(numbers.number(0, ends=False), _value(0.125)), "batch_size": WHOLE, "epochs": Role(numbers.whole(vast=False), _value(2)),
    "patience": Role(numbers.whole(vast=False), _value(2)), "validation_fraction": Role(numbers.number(0, 1, ends=False), _value(0.5)), "random_state": Role([], _value(0)),
}  # fmt: skip
_SMALL = Role(numbers.whole(vast=False), _value(2))  # of what is made one by one
_WAY = [means_same("a list", list), *(refused(name, v) for name, v in (("a number", 1), ("a word", "W"), ("empty", ()), ("None", None), ("of a layer that is not there", (9, "W")), ("a layer", (1,)), ("too long", (1, "W", 0)), ("None in it", (1, None)), ("a function", len)))]
_RATE = Role([k for k in numbers.number(0, 1) if k.name != "float16"], _value(0.5))
_CELL = {"d_h": WHOLE, "carries": FLAG}
_SEQUENCES = {
    "attend.heads": Role(numbers.whole(), _value(4)), "attend.causal": FLAG, "attend.kv_heads": Role(numbers.whole(optional=True), _value(2)),
    "attend.rotary": Role(_open(numbers.number(1, ends=False), "None"), _value(10_000.0)), "attend.dropout": _RATE, "attend.block": Role(numbers.whole(optional=True), _value(64)),
    "embedding.size": WHOLE, "embedding.d": WHOLE, "embedding.positions": Role(_open(numbers.whole(optional=True), "a word"), _value(8)),
    **{f"{cell}.{argument}": role for cell in ("elman", "gru", "lstm") for argument, role in _CELL.items()},
    "gpt.size": WHOLE, "gpt.length": WHOLE, "gpt.d": Role(numbers.whole(), _value(8)), "gpt.layers": _SMALL, "gpt.heads": Role(numbers.whole(), _value(2)),
    "gpt.dropout": _RATE, "gpt.tie": FLAG,
    "char_rnn.size": WHOLE, "char_rnn.d": Role(numbers.whole(), _value(4)), "char_rnn.layers": _SMALL, "char_rnn.dropout": _RATE, "char_rnn.carries": FLAG,
    "char_rnn.cell": Role([*things.function(), refused("None", None), refused("a layer", world.NET)], _value(jaxbp.gru)),
    "repeat.block": Role([k for k in things.LAYER if k.name not in ("its apply",)], lambda: jaxbp.mlp([3, 4, 3])), "repeat.n": WHOLE,
    "repeat.saves": _word("input", {"inputs": "input", "all": "saved", "nothing": ""}),
    "tied.net": Role([k for k in things.LAYER if k.name not in ("its apply",)], lambda: jaxbp.chain(jaxbp.dense(3, 3), jaxbp.tanh, jaxbp.dense(3, 3))),
    "tied.leaf": Role(_WAY, _value((2, "W"))), "tied.to": Role(_WAY, _value((1, "W"))), "value_and_grad.chunks": WHOLE, "ValueAndGrad.chunks": WHOLE,
}  # fmt: skip
_CHANNELS = Role(numbers.whole(), _value(4))
_NORM = {"mean": jnp.zeros(4), "var": jnp.ones(4), "weight": jnp.ones(())}
_PAIR = Role(_open(numbers.whole(), "a pair"), _value(2))  # one for each axis
_IMAGES = {
    **{f"{conv}.{c}": _CHANNELS for conv in ("conv1d", "conv2d") for c in ("c_in", "c_out")}, "depthwise1d.c": _CHANNELS, "depthwise2d.c": _CHANNELS,
    **{f"{layer}1d.kernel": WHOLE for layer in ("conv", "depthwise")}, **{f"{layer}2d.kernel": _PAIR for layer in ("conv", "depthwise")}, "squeeze_scale.c": _CHANNELS, "squeeze_scale.hidden": WHOLE,
    **{f"{kind}_pool{rank}d.window": role for kind in ("max", "avg") for rank, role in ((1, WHOLE), (2, _PAIR))}, "group_norm.groups": WHOLE,
    **{f"{norm}.d": _CHANNELS for norm in ("batch_norm", "layer_norm", "rms_norm", "group_norm")},
    "fixed.net": Role([k for k in things.LAYER if k.name not in ("its apply",)], lambda: jaxbp.batch_norm(4)),
    "fixed.given": Role([*(refused(name, v) for name, v in (("a number", 5), ("a word", "state"), ("a list", []), ("a name of no layer", {"mask": 1}), ("the state itself", _NORM)))], lambda: {"state": _NORM}),
}  # fmt: skip
OWN: dict[str, Role] = {
    **_SEQUENCES,
    **_IMAGES,
    **{f"{name}.{argument}": role for name in ("Classifier", "Regressor") for argument, role in _ESTIMATOR.items()},
    "read_npy.path": Role(places.FILE_IN, world.npy),
    "load.scale": _word("standard", {"standardize": "standard", "min-max": "", "off": ""}, optional=True),
    **{f"Trained.{name}.x": Role(_open(arrays.ROWS, "one axis more at the end"), lambda: np.array(world.X)) for name in ("predict", "predict_proba", "evaluate")},  # images become rows
    "Trained.evaluate.y": Role(_open(labels.LABELS, "one-hot rows that add to 2", "one-hot rows with -1"), lambda: np.array(world.Y)),  # the largest is the class
    **{f"{name}.{argument}": Role(numbers.whole(1, most), _value(3)) for name in ("Backprop.table", "Deltas.table", "Trace.table", "JacobianChain.table", "summary") for argument, most in (("limit", 2.0**200), ("digits", 17))},
    "Trained.as_learned.source": Role([*(refused(name, v) for name, v in (("None", None), ("a number", 5), ("a file that is not there", "nowhere.csv"), ("an object", object()), ("a list", [1.0]), ("an array alone", world.X), ("the class", jaxbp.Dataset)))], lambda: jaxbp.Dataset(np.array(world.X), np.array(world.Y), 2)),
    "weights.weight": Role(_open(WEIGHTS.kinds, "a number", "a 0-d array"), WEIGHTS.good),
    "ValueAndGrad.num_classes.x": ROWS, "ValueAndGrad.apply.x": ROWS,
    "load_run.folder": Role(places.FOLDER, world.kept_run), "Pixels.most": Role(numbers.whole(), _value(255)),
    "Trained.shape": Role([means_same("a list", list), means_same("an array", np.array), *(refused(name, v) for name, v in (("another", (4,)), ("a word", "three"), ("of 0", (0,)), ("of 3.0", (3.0,)), ("of True", (True,)), ("of -1", (-1,)), ("a function", len))), Kind("a number", lambda g: g[0], (lambda g: g,))], _value((3,))),
    "Trained.classes": Role([means_same("a list", list), means_same("an array", np.array), *(refused(name, v) for name, v in (("one of them", ("no",)), ("one twice", ("no", "no")), ("three", ("a", "b", "c")), ("a number", 5), ("None in it", ("no", None)), ("lists in it", (["no"], ["yes"])), ("floats", (0.5, 1.5)), ("a function", len)))], _value(("no", "yes"))),
    "Trained.preprocess": Role([k for k in things.PREPROCESS if k.name not in ("through NumPy", "complex", "whole numbers")], _value(lambda x: x / 2)),
    "weights.n": Role([], _value((6,))), "Dataset.weight": WEIGHTS, "Dataset.rows.which": Role([*(means_same(name, make) for name, make in (("a list", list), ("int8", lambda g: g.astype(np.int8)), ("big-endian", lambda g: g.astype(">i8")), ("a jax array", jnp.asarray))), *(refused(name, v) for name, v in (("one too large", [0, 6]), ("floats", [0.0, 1.0]), ("text", "0"), ("a number", 3), ("None", None), ("nested", [[0], [1]]), ("a function", len), ("far too large", [10**12])))], lambda: np.array([0, 2, 5])),
    "linear_unit_step.eta": _STEP, "perceptron_step.eta": _STEP,
    "save.tree": Role(_open(params.TREE, "bfloat16 leaves"), world.params),  # NumPy has none: `restore` reads them back
    "save.path": Role([k for k in places.FILE_OUT if k.name != "a link that leads round"], ROLES["path"].good),  # the file takes its place
    "save.meta": Role([k._replace(any=k.any or k.name in ("a word", "a number", "a list")) for k in places.TREE_META], lambda: {"eta": 0.1}),
    **_FIELD, **_SWEEP, **_ONE_ROW,
    "explain.eta": Role(numbers.number(), _value(0.5)), "explain.example": Role(numbers.whole(1, 6), _value(2)),
    "explain.units": Role(_UNITS, lambda: [1, 2]), "explain.layers": Role(_UNITS, lambda: [1, 2]), "explain.frozen": Role(_FROZEN, lambda: ("b",)),
    "explain.digits": Role(numbers.whole(1, 17), _value(4)), "Explanation.with_digits.digits": Role(numbers.whole(1, 17), _value(4)),
    "Explanation.text.width": Role(_or_endless(numbers.whole(1)), _value(80)), "Explanation.worksheet.width": Role(_or_endless(numbers.whole(1)), _value(80)),
    "Explanation.difference.step": _STEPS,
    "fit.opt_state": Role([], ROLES["opt_state"].good),  # of Adam: tried with Adam, in "fit (adam)"
    "fit.params": Role(params.START, world.params), "fit.key": KEY,
    "forward.x": ROWS, "backprop.x": PAIRED_ROWS, "parameter_jacobian.x": ROWS,
    "Dataset.x": PAIRED_DATA, "Dataset.y": Role(labels.LABELS, lambda: np.array(world.Y)), "assert_data.x": PAIRED_DATA._replace(kinds=_open(PAIRED_DATA.kinds, *_ANY_ROWS)), "assert_data.y": Role(_open([k for k in labels.LABELS if "one-hot" not in k.name and "column" not in k.name and "row" not in k.name], "a label of C", "a label of 0.5", "complex", "complex128", "complex labels"), lambda: np.array(world.Y)),  # floats are targets
    "fit_perceptron.x": PAIRED_DATA, "fit_linear_unit.x": PAIRED_DATA, "margin.x": PAIRED_DATA, "novikoff_bound.x": PAIRED_DATA,
    "linear_unit.x": Role(arrays.ROWS, lambda: jnp.asarray(world.X)), "perceptron.x": Role(arrays.ROWS, lambda: jnp.asarray(world.X)),
    "fit_perceptron.batch_size": Role(numbers.whole(1, 6), _value(3)), "fit_perceptron.key": Role(params.KEY, lambda: jax.random.key(1)),
    "fit_linear_unit.batch_size": Role(numbers.whole(1, 6, optional=True), _value(3)), "fit_linear_unit.key": Role(params.KEY, lambda: jax.random.key(1)),
    "fit_linear_unit.eta": Role(numbers.number(0, ends=False), _value(0.03125)),
    "margin.unit": Role(UNIT.kinds, lambda: jaxbp.units.Unit(jnp.array([0.0, 2.0, 0.0]), jnp.array(-1.0))),
    "novikoff_bound.unit": Role(UNIT.kinds, lambda: jaxbp.units.Unit(jnp.array([0.0, 2.0, 0.0]), jnp.array(-1.0))),
    "split.data": Role(places.DATASET, lambda: jaxbp.Dataset(np.array(world.X), np.array(world.Y), 2)), "split.sizes": Role(places.PARTS, _value(0.5)), "split.stratify": Role(numbers.FLAG, _value(False)),
    "streams.ids": Role(arrays.NO_NUMBERS, lambda: np.arange(30) % 5), "streams.batch_size": Role(numbers.whole(1, 9), _value(2)), "streams.places": Role(numbers.whole(1, 14), _value(3)),
    "read_csv.path": Role(places.FILE_IN, world.csv), "read_npz.path": Role(places.FILE_IN, world.npz), "read_idx.path": Role(places.FILE_IN, world.idx), "open_idx.path": Role(places.FILE_IN, world.idx),
    "restore.path": Role(places.FILE_IN, world.checkpoint), "read_meta.path": Role(places.FILE_IN, world.checkpoint),
    "plot_sweep.history": Role([], lambda: {"loss": np.array([[2.0, 1.0], [3.0, 1.0]])}),
    **{f"{name}.f": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(_total)) for name in ("first_nonfinite", "diagnose")},
    "name.label": Role([*numbers.TEXT, refused("empty", ""), refused("a star", "h*")], _value("h1")), "Sweep.at_best.name": Role(numbers.TEXT, _value("loss")),
    "cotangents.f": Role([*things.NOTHING, refused("None", None)], _value(_total)),  # it is called later
    "diagnose.params": Role(params.LEAVES, world.params),
    **{f"{name}.f": Role([*things.NOTHING, refused("None", None)], _value(_total)) for name in ("watch", "flow")},  # called later
    "watch.batch": Role([k for k in [*things.NOTHING, refused("None", None)] if k.name != "a list"], lambda: (jnp.asarray(world.X), jnp.asarray(world.Y))),  # f may take params alone
    "watch.also": Role([k for k in numbers.word({"noise": "noise_scale", "spectrum": "", "hessian": ""}) if k.name != "a list"], _value("noise_scale")),
    "Watch().record": Role([], dict), "Watch.at_start.record": Role([], dict), "Watch.at_end.result": Role([], lambda: None),  # fit gives them
    "nothing_learned.f": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(_total)),
    "noise_scale.f": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(_mean)), "noise_scale.batch": Role([], lambda: (jnp.asarray(world.X),)),
    **{name: Role(params.LEAVES, world.params) for name in ("nothing_learned.start", "nothing_learned.params", "noise_scale.params", "updates.before", "updates.after")},
    "singular_values.g": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(jnp.tanh)), "singular_values.x": Role([k for k in arrays.ROWS if k not in arrays.SHAPES and k.name != "float8"], ONE.good), "singular_values.args": Role([], tuple),
    "statistics.x": Role([], lambda: jnp.asarray(world.X)),  # of any numbers
    "check.f": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(square)), "assert_rules.f": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None)], _value(square)),
    **{f"{name}.order": Role(numbers.whole(1, 2), _value(1)) for name in ("check", "assert_rules", "check_vjp", "check_jvp")},
    "JacobianChain.matrix.order": _word("reverse", {"backward": "reverse", "fastest": "", "best": ""}), "JacobianChain.pull.order": _word("scan", {"backward": "", "scanned": "scan"}),
    "Sweep.best.monitor": _word("loss", {"losses": "", "Loss ": "loss"}, optional=True),
    "make_evaluate.apply": Role([*things.function(means_same("jitted", jax.jit)), refused("None", None), refused("a layer", world.NET)], _value(world.NET.apply)), "make_evaluate.loss": ANY_LOSS,
    **dict.fromkeys(("fit.batch_size", "sweep.batch_size"), Role(numbers.whole(1, 6, optional=True), _value(3))),
    "make_evaluate.batch_size": Role(numbers.whole(optional=True), _value(3)), "name.value": Role(arrays.SAME, lambda: np.array(world.X)),
    "plot_activations.layers": _first(Role(things.LAYER, _value(jaxbp.relu)), lambda: (jaxbp.tanh,)), "plot_activations.a_max": Role(numbers.number(0, ends=False), _value(2.0)),
    "plot_images.rows": Role(arrays.SAME, lambda: np.array(world.X)), "plot_images.image": Role([k for k in _IMAGE if k.name != "four axes"], _value((3, 1))), "plot_images.label": Role([*(k for k in things.NOTHING if k.name != "a word"), refused("None", None), refused("bytes", b"W")], _value("W_1")),
    "plot_images.titles": Role([means_same("a tuple", tuple), means_same("an array", np.array), *(refused(name, v) for name, v in (("one of them", ["a"]), ("a number", 5), ("a function", len), ("a dict", {}), ("as a set", {"a"})))], lambda: list("abcdef")),
    "plot_deltas.seen": Role([*things.NOTHING, refused("None", None), refused("the class", jaxbp.Backprop), refused("a layer", world.NET), refused("a dict", {})], lambda: jaxbp.backprop(world.NET, world.LOSS, world.params(), jnp.asarray(world.X), jnp.asarray(world.Y))),
    "plot_network.bp": Role([*things.NOTHING, refused("None", None), refused("the class", jaxbp.Backprop), refused("a layer", world.NET), Kind("of a batch", lambda g: jaxbp.backprop(world.NET, world.LOSS, world.params(), jnp.asarray(world.X), jnp.asarray(world.Y)))], lambda: jaxbp.backprop(world.NET, world.LOSS, world.params(), jnp.asarray(world.X[0]), jnp.asarray(world.Y[0]))),
    "plot_network.params": Role([], world.params),
    **{f"{name}.chain": Role([*things.NOTHING, refused("None", None), refused("the class", jaxbp.JacobianChain), refused("a layer", world.NET), refused("a matrix", np.eye(2))], lambda: jaxbp.jacobian_chain(world.NET, world.params(), jnp.asarray(world.X[0]))) for name in ("plot_jacobians", "plot_spectra")},
    "plot_boundary.net": Role([refused("None", None), refused("a number", 5), refused("a word", "net"), Kind("a net of three inputs", lambda g: world.NET)], lambda: jaxbp.mlp([2, 2])),
    "plot_boundary.params": Role([refused("None", None), refused("a number", 5), refused("of another net", world.params()), refused("a word", "params")], lambda: jaxbp.mlp([2, 2]).init(jax.random.key(0))),
    "plot_boundary.x": Role([*(refused(name, v) for name, v in (("three columns", world.X), ("a row", [1.0, 2.0]), ("None", None), ("words", [["a", "b"]]), ("NaN", np.full((6, 2), np.nan)), ("complex", np.ones((6, 2), complex)), ("none", np.ones((0, 2))))), means_same("a list", lambda g: g.tolist()), means_same("big-endian", lambda g: g.astype(">f4")), means_same("a jax array", jnp.asarray)], lambda: np.array(world.X[:, :2])),
    "plot_boundary.y": Role([*(refused(name, v) for name, v in (("one less", [0] * 5), ("of 2", [2] * 6), ("of -1", [-1] * 6), ("halves", [0.5] * 6), ("None", None), ("words", ["a"] * 6), ("as rows", np.eye(2)[[0] * 6]))), means_same("a list", lambda g: g.tolist()), means_same("a jax array", jnp.asarray), means_same("int8", lambda g: g.astype(np.int8))], lambda: np.array(world.Y)),
    **{f"plot_{name}.path": Role([k for k in places.FILE_OUT if k.name != "None"], lambda: world.folder() / "a.png") for name in ("evaluation", "history", "sweep", "activations", "boundary", "deltas", "images", "jacobians", "network", "spectra")},
    **{f"{name}.loss": Role(_open(_EXAMPLE_LOSS.kinds, "None"), _value(world.LOSS)) for name in ("saliency", "adversarial", "generate")},
    **{f"{name}.net": Role([k for k in things.LAYER if k.name not in ("its apply",)], _value(world.NET)) for name in ("saliency", "adversarial", "generate")},
    "adversarial.eps": Role(numbers.number(0), _value(0.5)), "adversarial.step": Role(numbers.number(0), _value(0.5)), "adversarial.norm": _word("l2", {"L2": "l2", "euclidean": "", "l_2": "l2", "max": ""}),
    "adversarial.steps": Role(numbers.whole(vast=False), _value(2)), "generate.steps": Role(numbers.whole(vast=False), _value(2)), "adversarial.targeted": FLAG,
    **{f"{name}.box": Role(_BOX, _value((-8, 8))) for name in ("adversarial", "generate")},
    "generate.x": Role([k for k in PAIRED_ROWS.kinds if k not in arrays.FEWER_BITS], PAIRED_ROWS.good),  # many steps in few bits end elsewhere
    "generate.norm": Role(numbers.number(0, ends=False), _value(2.0)), "generate.smooth": Role(numbers.number(0), _value(0.5)),
    "generate.mask": Role(_MASK, lambda: np.array([True, False, True])), "generate.image": Role(_IMAGE, _value((3, 1))),
    "generate.optimizer": Role(things.OPTIMIZER, lambda: optax.sgd(0.1)), "adversarial.key": Role(params.KEY, lambda: jax.random.key(1)),
    "per_example.loss": _EXAMPLE_LOSS, "ParameterJacobian.ggn_diagonal.loss": _EXAMPLE_LOSS, "ParameterJacobian.ggn_diagonal.y": Role(_open(labels.LABELS, *(kind.name for kind in labels.OUTSIDE if kind.name not in _COUNTED)), LABELS.good),
    "per_example.net": Role([k for k in things.LAYER if k.name not in ("its apply",)], _value(world.NET)), "parameter_jacobian.net": Role([k for k in things.LAYER if k.name not in ("its apply",)], _value(world.NET)),
    "jacobian_chain.net": Role([k for k in things.LAYER if k.name not in ("in a list", "in a tuple")], _value(world.NET)), "jacobian_chain.y": Role([k for k in labels.LABELS if False], lambda: jnp.asarray(world.Y[0])),
    "ValueAndGrad.assert_targets.y": _SOME_LABELS,
    "count_parameters.params": Role([k for k in params.LEAVES if k.name in ("NumPy leaves", "big-endian leaves", "leaves of words", "leaves of functions", "leaves of lists", "leaves of objects", "memory-mapped leaves", "pandas leaves", "float64 leaves")], world.params),
    "load.task": _word("classification", {"classify": "classification", "clustering": "", "regression ": "regression"}, optional=True),
    "load.decimal": _word(".", {"point": "", "..": ".", "comma": ""}, optional=True),
    "load.validation_fraction": Role(numbers.number(0, 1, ends=False), _value(0.25)),
    "load.data_dir": Role([], world.folder), "load.download": Role([], _value(False)),  # of a file they mean nothing
    "Dataset.num_classes": Role(numbers.whole(2, 2, optional=True), _value(2)),
    "mlp().backward.params": _NO_BIAS, "backward.params": _NO_BIAS,
    "mlp().init.key": KEY, "mlp().apply.f": ROWS, "mlp().forward.f": ROWS, "mlp().backward.delta_out": Role([*arrays.ROWS, *arrays.ROWS_PAIRED], lambda: jnp.asarray(world.TARGETS)), "mlp().backward.delta": Role([*arrays.ROWS, *arrays.ROWS_PAIRED], lambda: jnp.asarray(world.TARGETS)),
    "mlp().jacobian.f": ONE, "with_hand_vjp().f": ROWS, "with_hand_vjp().params": PARAMS,
    "make_evaluate().y": LABELS, "ParameterJacobian.tree.leaves": Role([], lambda: jax.tree.leaves(world.params())),
    "Checkpoints.save.meta": Role(places.TREE_META, lambda: {"config": {"eta": 0.1}}),
    "fit_perceptron.t": SIGNS, "Layer.parts": Role([refused("a number", 5), refused("a word", "x"), refused("words", ("a",))], tuple), "Unit.w_0": Role([], _value(0.25)),
}  # fmt: skip

# Arguments that are given beside the one on trial.
BESIDE: dict[str, tuple[str, ...]] = {
    "fit": ("callbacks", "progress_bar"), "fit.evaluate": ("validation",), "fit.validation": ("evaluate",),
    "fit.early_stopping": ("validation", "evaluate"), "fit.opt_state": (), "sweep.evaluate": ("validation",), "sweep.validation": ("evaluate",),
    "sweep": ("epochs", "seeds", "progress_bar", "batch_size"), "jacobian_chain.y": ("loss",), "jacobian_chain.loss": ("y",),
    "connect": ("coordinator", "num_processes", "process_id", "timeout"), "fit_linear_unit": ("epochs",), "fit_perceptron": ("epochs",),
    "Checkpoints.mode": ("monitor",), "Sweep.best.mode": ("monitor",), "fit_linear_unit.key": ("batch_size",),
    **dict.fromkeys(("Classifier", "Regressor"), ("epochs", "batch_size", "random_state")), "Trained": ("shape",), "Trained.evaluate": ("y",), "Classifier.patience": ("validation_fraction",), "Classifier.validation_fraction": ("patience",), "Regressor.patience": ("validation_fraction",), "Regressor.validation_fraction": ("patience",),
    "fit.batch_size": (), "mnist": ("data_dir",), "fashion_mnist": ("data_dir",), "Checkpoints.save": ("value", "meta"), "Layer": ("init",), "plot_images": ("image",), "JacobianChain.pull": ("delta",),
}  # fmt: skip
ALWAYS = {"fit": ("batch_size", "epochs"), "Checkpoints": ()}
# A further good call of the same function, with other roles for some of its arguments.
_REGRESSION = jaxbp.value_and_grad(world.NET, jaxbp.squared_error)
_BCE = jaxbp.value_and_grad(world.NET, jaxbp.binary_cross_entropy)
VARIANTS: dict[str, dict[str, Role]] = {
    "fit (regression)": {
        "grad_fn": Role([], _value(_REGRESSION)),
        "data": Role([places.pair("y", k) for k in [*arrays.DATA_ROWS, *arrays.ROWS_PAIRED]], lambda: (np.array(world.X), np.array(world.TARGETS))),
    },
    "fit (binary)": {"grad_fn": Role([], _value(_BCE)), "data": Role([places.pair("y", k) for k in labels.BINARY], lambda: (np.array(world.X), np.array(world.BINARY)))},
    "fit (by hand)": {"grad_fn": Role([], _value(world.GRAD_FN)), "data": Role([places.pair("y", k) for k in labels.LABELS], lambda: (np.array(world.X), np.array(world.Y)))},
    "fit (adam)": {"optimizer": Role([], lambda: optax.adam(0.1)), "opt_state": ROLES["opt_state"]},
}  # fmt: skip
ONLY = {"fit (adam)": ("opt_state",)}


def _digest() -> str:
    import hashlib

    return hashlib.sha256(world.idx().read_bytes()).hexdigest()
