# ruff: noqa: E501
"""Kinds of layers, losses, functions, optimizers, meshes, and of fit's other objects."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.reliability.kinds.kind import Kind, means_same, open_to_any, refused

NOTHING = [
    refused("a number", 5),
    refused("a float", 0.5),
    refused("True", True),
    refused("a word", "sgd"),
    refused("bytes", b"x"),
    refused("a list", []),
    refused("a dict", {}),
    refused("an object", object()),
    refused("an array", np.ones(3, np.float32)),
    refused("NaN", float("nan")),
]
_NONE = refused("None", None)


class Module:
    """What a layer of another library looks like."""

    def __call__(self, x: Any) -> Any:
        return x

    def init(self, key: Any, x: Any) -> Any:
        return {"params": {}}

    def apply(self, params: Any, x: Any) -> Any:
        return x


LAYER: list[Kind] = [
    *NOTHING,
    _NONE,
    refused("dense, not called", jaxbp.dense),
    refused("mlp, not called", jaxbp.mlp),
    refused("the class Layer", jaxbp.Layer),
    refused("jax.nn.relu", jax.nn.relu),
    refused("jnp.tanh", jnp.tanh),
    refused("a loss", jaxbp.squared_error),
    refused("a module of another library", Module()),
    refused("the name of a layer", "relu"),
    refused("the name sigmoid", "sigmoid"),
    refused("a function of one argument", lambda x: x),
    Kind("in a list", lambda g: [g], (lambda g: g,)),
    Kind("in a tuple", lambda g: (g,), (lambda g: g,)),
    Kind("its apply", lambda g: g.apply, (lambda g: g,)),
    Kind("its init", lambda g: g.init),
    Kind("its value and gradient", lambda g: jaxbp.value_and_grad(g, jaxbp.squared_error)),
    Kind("a function that makes it", lambda g: lambda: g),
]
LOSS: list[Kind] = [
    *NOTHING,
    _NONE,
    refused("the name mse", "mse"),
    refused("the name squared_error", "squared_error"),
    refused("make_softmax_cross_entropy, not called", jaxbp.make_softmax_cross_entropy),
    refused("the class Loss", jaxbp.Loss),
    refused("a layer", jaxbp.sigmoid),
    refused("a function of one argument", lambda f: f),
    refused("a function that returns None", lambda f, y: None),
    refused("a function that returns a word", lambda f, y: "loss"),
    refused("a gradient function", jaxbp.value_and_grad(jaxbp.mlp([3, 2]), jaxbp.squared_error)),
    Kind("its values", lambda g: g.values),
    Kind("its delta", lambda g: g.delta),
    Kind("in a list", lambda g: [g], (lambda g: g,)),
    Kind("a function that makes it", lambda g: lambda: g),
    Kind("a vector-valued function", lambda g: lambda f, y: f.sum(-1)),
]
LOSS_ONLY: list[Kind] = [  # where a plain function is none either
    *LOSS,
    refused("optax's softmax cross-entropy", optax.softmax_cross_entropy),
    refused("optax's squared error", optax.squared_error),
    refused("a lambda", lambda f, y: ((f - y) ** 2).mean()),
    Kind("its __call__", lambda g: g.__call__, (lambda g: g,)),
]


class Callable_:  # noqa: N801
    """A function that is an object."""

    def __init__(self, f: Callable[..., Any]):
        self.f = f

    def __call__(self, *args: Any) -> Any:
        return self.f(*args)

    def method(self, *args: Any) -> Any:
        return self.f(*args)


async def _coroutine(*args: Any) -> None: ...


def _generator(*args: Any) -> Any:
    yield 1


def function(*good_forms: Kind) -> list[Kind]:
    """Of a function that the library calls: no function, another number of arguments, no result."""
    return [
        *NOTHING,
        *good_forms,
        means_same("a callable object", Callable_),
        means_same("a bound method", lambda g: Callable_(g).method),
        means_same("functools.partial", functools.partial),
        means_same("a lambda around it", lambda g: lambda *args: g(*args)),
        refused("a function of no argument", lambda: None),
        refused("a function of nine arguments", lambda a, b, c, d, e, f, g, h, i: None),
        refused("a function that returns None", lambda *args: None),
        refused("a function that returns a word", lambda *args: "x"),
        refused("a function that returns itself", lambda *args: _generator),
        refused("a generator function", _generator),
        refused("a coroutine function", _coroutine),
        refused("a class", dict),
        Kind("in a list", lambda g: [g], (lambda g: g,)),
        Kind("a function that makes it", lambda g: lambda *args: g),
    ]


def aux(g: Any) -> Any:
    def f(params: Any, x: Any, y: Any) -> Any:
        loss, grads = g(params, x, y)
        return (loss, {"loss": loss}), grads

    return f


def out(change: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A gradient function whose result is changed."""
    return lambda g: lambda params, x, y: change(*g(params, x, y))


GRAD_FN: list[Kind] = [
    *function(means_same("jitted", jax.jit)),
    _NONE,
    Kind("has_aux", aux),
    Kind("the loss alone", out(lambda l, g: l)),
    Kind("the gradient alone", out(lambda l, g: g)),
    Kind("loss and gradient exchanged", out(lambda l, g: (g, l))),
    Kind("loss and gradient as a list", out(lambda l, g: [l, g]), (lambda g: g,)),
    Kind("loss of shape (1,)", out(lambda l, g: (l[None], g)), (lambda g: g,)),
    Kind("loss a vector", out(lambda l, g: (jnp.stack([l, l]), g))),
    Kind("loss an integer", out(lambda l, g: (l.astype(int), g))),
    Kind("loss complex", out(lambda l, g: (l + 0j, g)), (lambda g: g,)),
    Kind("loss None", out(lambda l, g: (None, g))),
    Kind("loss NaN", out(lambda l, g: (l * jnp.nan, g))),
    Kind("gradient of one layer", out(lambda l, g: (l, g[1]))),
    Kind("gradient without b", out(lambda l, g: (l, {k: {"W": p["W"]} for k, p in g.items()}))),
    Kind("gradient transposed", out(lambda l, g: (l, jax.tree.map(jnp.transpose, g)))),
    Kind("gradient flat", out(lambda l, g: (l, jax.tree.leaves(g)))),
    Kind("gradient of None", out(lambda l, g: (l, None))),
    Kind("gradient of integers", out(lambda l, g: (l, jax.tree.map(lambda a: a.astype(int), g)))),
    Kind("gradient complex", out(lambda l, g: (l, jax.tree.map(lambda a: a + 1j, g)))),
    Kind("gradient NaN", out(lambda l, g: (l, jax.tree.map(lambda a: a * jnp.nan, g)))),
    Kind("gradient of each example", out(lambda l, g: (l, jax.tree.map(lambda a: jnp.stack([a, a]), g)))),
    Kind("three results", out(lambda l, g: (l, g, l))),
    Kind("through NumPy", out(lambda l, g: (np.asarray(l), jax.tree.map(np.asarray, g)))),
    Kind("through float()", out(lambda l, g: (float(l), g))),
    refused("value_and_grad, not called", jaxbp.value_and_grad),
    refused("jax.value_and_grad, not called", jax.value_and_grad),
    refused("a loss", jaxbp.softmax_cross_entropy),
    refused("a layer", jaxbp.mlp([3, 4, 2], jaxbp.tanh)),
    refused("a layer's apply", jaxbp.mlp([3, 4, 2], jaxbp.tanh).apply),
]


def metrics(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda g: lambda params, x, y: make(g(params, x, y))


EVALUATE: list[Kind] = [
    *function(means_same("jitted", jax.jit)),
    Kind("a scalar", metrics(lambda m: m["loss"])),
    Kind("a vector as a metric", metrics(lambda m: m | {"each": jnp.ones(3)})),
    Kind("a matrix as a metric", metrics(lambda m: m | {"confusion": jnp.eye(2)})),
    Kind("a metric of shape (1,)", metrics(lambda m: {k: v[None] for k, v in m.items()}), (lambda g: g,)),
    Kind("a word as a metric", metrics(lambda m: m | {"said": "x"})),
    Kind("None as a metric", metrics(lambda m: m | {"nothing": None})),
    Kind("a dict as a metric", metrics(lambda m: {"all": m})),
    Kind("pairs", metrics(lambda m: list(m.items())), (lambda g: g,)),
    Kind("a tuple", metrics(lambda m: tuple(m.values()))),
    Kind("a list of numbers", metrics(lambda m: list(m.values()))),
    Kind("numbers as names", metrics(lambda m: dict(enumerate(m.values())))),
    Kind("complex metric", metrics(lambda m: m | {"c": m["loss"] + 1j})),
    Kind("through float()", metrics(lambda m: {k: float(v) for k, v in m.items()})),
    open_to_any("no metrics", metrics(lambda m: {})),
    open_to_any("a Python number", metrics(lambda m: m | {"one": 1.0})),
    open_to_any("a whole number", metrics(lambda m: m | {"n": jnp.int32(3)})),
    open_to_any("a flag", metrics(lambda m: m | {"ok": m["loss"] > 0})),
    refused("a loss", jaxbp.softmax_cross_entropy),
    refused("make_evaluate, not called", jaxbp.make_evaluate),
    refused("a layer's apply", jaxbp.mlp([3, 4, 2], jaxbp.tanh).apply),
]
CALLBACKS: list[Kind] = [
    Kind("the function alone", lambda g: g[0], (lambda g: g,)),
    Kind("None", lambda g: None, (lambda g: (),)),
    means_same("a tuple", tuple),
    means_same("a set", set),
    means_same("a generator", lambda g: (f for f in g)),
    means_same("a dict's values", lambda g: dict(enumerate(g)).values()),
    Kind("a function of no argument", lambda g: [g[0], lambda: None]),
    Kind("a function of two arguments", lambda g: [g[0], lambda a, b: None]),
    Kind("a number in the list", lambda g: [g[0], 5]),
    Kind("None in the list", lambda g: [g[0], None]),
    Kind("a word in the list", lambda g: [g[0], "print"]),
    Kind("a list in the list", lambda g: [g]),
    Kind("a coroutine function", lambda g: [g[0], _coroutine]),
    Kind("a class of no argument", lambda g: [g[0], object]),
    refused("a word", "print"),
    refused("a number", 5),
    refused("True", True),
]
PREPROCESS: list[Kind] = [
    *function(),
    Kind("whole numbers", lambda g: lambda x: x.astype(int)),
    Kind("a row less", lambda g: lambda x: g(x)[1:]),
    Kind("one column less", lambda g: lambda x: g(x)[:, 1:]),
    Kind("transposed", lambda g: lambda x: g(x).T),
    Kind("a scalar", lambda g: lambda x: x.sum()),
    Kind("a pair", lambda g: lambda x: (g(x), g(x))),
    Kind("through NumPy", lambda g: lambda x: np.asarray(x) / 2),
    Kind("complex", lambda g: lambda x: g(x) + 1j),
]

_OPTIMIZERS = [
    refused("optax.sgd, not called", optax.sgd),
    refused("optax.adam, not called", optax.adam),
    refused("a schedule", optax.cosine_decay_schedule(0.1, 10)),
    refused("a pair of functions", (lambda p: p, lambda g, s, p=None: (g, s))),
    refused("a list of optimizers", [optax.sgd(0.1)]),
    refused("optax itself", optax),
    refused("an optimizer whose init takes nothing", optax.GradientTransformation(lambda: (), lambda g, s, p=None: (g, s))),
    refused("an optimizer whose update returns the updates alone", optax.GradientTransformation(lambda p: (), lambda g, s, p=None: g)),
    refused("an optimizer whose update returns None", optax.GradientTransformation(lambda p: (), lambda g, s, p=None: None)),
    refused("an optimizer of Nones", optax.GradientTransformation(None, None)),
    refused("its state", optax.adam(0.1).init({"w": jnp.zeros(2)})),
]  # fmt: skip
OPTIMIZER: list[Kind] = [
    *NOTHING,
    _NONE,
    *_OPTIMIZERS,
    Kind("a function that makes it", lambda g: lambda: g),
    open_to_any("optax.identity", lambda g: optax.identity()),
    Kind("a rate of text", lambda g: _bad_rate("0.1")),
    Kind("a rate of NaN", lambda g: optax.sgd(float("nan"))),
    Kind("a rate of inf", lambda g: optax.sgd(float("inf"))),
    Kind("a rate for each layer", lambda g: _bad_rate({1: 0.1})),
]
MAKES_OPTIMIZER: list[Kind] = [
    *NOTHING,
    _NONE,
    refused("an optimizer already made", optax.sgd(0.1)),
    refused("a function of another name", lambda lr: optax.sgd(lr)),
    refused("a function of no argument", lambda: optax.sgd(0.1)),
    refused("a function that returns None", lambda learning_rate: None),
    refused("a function that returns a number", lambda learning_rate: learning_rate),
    refused("a function that branches", lambda learning_rate: optax.sgd(0.1) if learning_rate > 0.01 else optax.adam(0.1)),
    refused("optax itself", optax),
    means_same("a lambda around it", lambda g: lambda learning_rate: g(learning_rate)),
    means_same("functools.partial", functools.partial),
]  # fmt: skip
MESH: list[Kind] = [
    *NOTHING,
    refused("a list of devices", jax.devices()),
    refused("the shape and names of a mesh", ((1,), ("data",))),
    Kind("an axis of another name", lambda g: jax.make_mesh((2,), ("batch",))),
    Kind("two axes of other names", lambda g: jax.make_mesh((1, 2), ("x", "y"))),
    Kind("an axis too many", lambda g: jax.make_mesh((1, 1, 2), ("data", "model", "other"))),
    Kind("an abstract mesh", lambda g: g.abstract_mesh),
    Kind("a sharding", lambda g: jax.sharding.NamedSharding(g, jax.sharding.PartitionSpec("data"))),
    Kind("the function make_mesh", lambda g: jax.make_mesh),
    Kind("a device", lambda g: jax.devices()[0]),
    Kind("four devices for a batch of three", lambda g: jax.make_mesh((4,), ("data",))),
]
EARLY: list[Kind] = [
    *(kind for kind in NOTHING if kind.name != "a number"),
    Kind("the patience alone", lambda g: g.patience, (lambda g: g,)),
    Kind("a plain tuple", tuple, (lambda g: g,)),
    Kind("a dict of its fields", lambda g: g._asdict() if hasattr(g, "_asdict") else vars(g), (lambda g: g,)),
    Kind("in a list", lambda g: [g], (lambda g: g,)),
    refused("the class", jaxbp.EarlyStopping),
    refused("Checkpoints", jaxbp.Checkpoints("/tmp/jaxbp-nowhere")),
    refused("a monitor that is no column", jaxbp.EarlyStopping(3, "val_acc", "max")),
    refused("a monitor without its prefix", jaxbp.EarlyStopping(3, "accuracy")),
]
CHECKPOINTS: list[Kind] = [
    *(kind for kind in NOTHING if kind.name not in ("a word", "bytes")),
    Kind("its folder", lambda g: g.folder, (lambda g: g,)),
    Kind("a dict of its fields", lambda g: vars(g), (lambda g: g,)),
    Kind("in a list", lambda g: [g], (lambda g: g,)),
    refused("the class", jaxbp.Checkpoints),
    refused("EarlyStopping", jaxbp.EarlyStopping(3)),
    Kind("a monitor that is no column", lambda g: jaxbp.Checkpoints(g.folder, monitor="val_acc", mode="max")),
]
DTYPE: list[Kind] = [
    means_same("np.dtype", np.dtype),
    means_same("its name", lambda g: np.dtype(g).name),
    means_same("its scalar type", lambda g: np.dtype(g).type),
    refused("bf16", "bf16"),
    refused("another word", "half precision"),
    refused("int32", np.int32),
    refused("uint8", "uint8"),
    refused("bool", bool),
    refused("complex64", np.complex64),
    refused("object", object),
    refused("datetime64", "datetime64[s]"),
    refused("str", str),
    refused("16", 16),
    refused("a list", ["bfloat16"]),
    refused("an array", np.ones(2)),
    refused("NaN", float("nan")),
    refused("a key's dtype", jax.random.key(0).dtype),
    open_to_any("None", lambda g: None),
    open_to_any("float8", lambda g: jnp.float8_e4m3fn),
]


def initial(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda g: lambda key, shape, dtype=jnp.float32: change(g(key, shape, dtype))


INITIALIZER: list[Kind] = [
    *NOTHING,
    refused("a factory, not called", jax.nn.initializers.variance_scaling),
    refused("JAX's glorot_normal, not called", jax.nn.initializers.glorot_normal),
    refused("a function of no argument", lambda: 0.0),
    refused("a function that returns None", lambda key, shape, dtype=None: None),
    refused("a function that returns a word", lambda key, shape, dtype=None: "W"),
    Kind("transposed", initial(lambda a: jnp.zeros((*a.shape[::-1], 1)))),
    Kind("a scalar", initial(lambda a: 0.0)),
    Kind("whole numbers", initial(lambda a: a.astype(int))),
    Kind("complex", initial(lambda a: a + 1j)),
    Kind("as NumPy", initial(np.asarray), (lambda g: g,)),
    Kind("as a list", initial(lambda a: np.asarray(a).tolist()), (lambda g: g,)),
    Kind("in a list", lambda g: [g], (lambda g: g,)),
    refused("a layer", jaxbp.relu),
]


def _bad_rate(rate: Any) -> Any:
    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (jax.tree.map(lambda a: a * rate, g), s))
