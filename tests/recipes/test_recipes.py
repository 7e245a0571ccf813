"""Every layer and loss is described by the calls that make it, and made again; or named and refused."""

import copy
import json
import math
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import Layer, Loss, recipes
from jaxbp.layers import initializers
from tests.cases import LAYERS, LOSSES, NETS, draw_inputs

ROWS = {**LAYERS, **NETS}
MIXED = {f"{name} in float16": (jaxbp.mixed_precision(net, "float16"), s) for name, (net, s) in ROWS.items()}


def again(layer: Layer) -> Layer:
    """The layer from its description, as strict JSON in a file has it."""
    return Layer.from_dict(json.loads(json.dumps(layer.to_dict(), allow_nan=False)))


@pytest.mark.parametrize("name", [*ROWS, *MIXED])
def test_each_layer_is_made_again_from_its_description(name, key):
    layer, shape = (ROWS | MIXED)[name]
    made = again(layer)
    assert made.to_dict() == layer.to_dict()
    assert (made.name, made.form, made.means, len(made.parts)) == (
        layer.name, layer.form, layer.means, len(layer.parts),
    )  # fmt: skip
    f = draw_inputs((3, *shape), jnp.float32)
    assert program(layer, f, key) == program(made, f, key)


def program(layer, f, key):
    """What the layer computes, in JAX's words: equal ones give equal bits."""

    def whole(key, f):
        params = layer.init(key)
        out, saved = layer.forward(params, f, key=key)
        return layer.apply(params, f), layer.backward(params, saved, out)

    return re.sub(r"0x[0-9a-f]+", "", str(jax.make_jaxpr(whole)(key, f)))


def assert_equal(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_every_layer_that_the_library_exports_is_in_the_table():
    public = {name: getattr(jaxbp.layers, name) for name in dir(jaxbp.layers) if name[0] != "_"}
    for thing in public.values():
        if isinstance(thing, Layer):
            assert again(thing).name == thing.name
    of_layers = {
        name for name, t in public.items() if getattr(t, "__annotations__", {}).get("return") is Layer
    }
    chains = {"mlp", "lenet", "resnet", "gpt", "char_rnn", "fixed"}  # of the others
    makers = of_layers - chains - {"elementwise"}  # which takes functions of the user's own
    assert {"chain", "dense", "conv2d", "batch_norm", "attend", "lstm", "tied"} <= makers
    assert [name for name in makers if id(public[name]) not in recipes.table.NAMES] == []


@pytest.mark.parametrize(
    "name", [name for name in initializers.__all__ if name not in ("Initializer", "Normal")]
)
def test_each_initializer_has_its_name(name, key):
    layer = jaxbp.dense(3, 3, init=getattr(initializers, name), bias_init=initializers.zeros)
    assert layer.to_dict()["with"]["init"] == {"name": name}
    assert_equal(layer.init(key), again(layer).init(key))


def test_a_normal_initializer_is_described_by_its_deviation(key):
    layer = jaxbp.dense(3, 3, init=initializers.Normal(0.02))
    assert layer.to_dict()["with"]["init"]["with"] == {"std": 0.02}
    assert_equal(layer.init(key), again(layer).init(key))


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid", "leaky_relu"])
def test_what_suits_the_activation_is_drawn_again(activation, key):
    net = jaxbp.mlp([4, 5, 3], getattr(jaxbp, activation))
    assert_equal(net.init(key), again(net).init(key))


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_made_again(name):
    loss = LOSSES[name].loss
    made = recipes.from_dict(json.loads(json.dumps(recipes.to_dict(loss), allow_nan=False)))
    assert isinstance(made, Loss)
    assert (made.name, made.reduction, made.targets) == (loss.name, loss.reduction, loss.targets)
    f, y = jnp.array([[0.3, 0.6], [0.2, 0.7]]), jnp.array([[0.0, 1.0], [1.0, 0.0]])
    assert_equal(loss(f, y), pickle.loads(pickle.dumps(loss))(f, y))
    assert_equal(loss.delta(f, y), made.delta(f, y))


def test_networks_and_gradient_functions_are_pickled_and_copied(key):
    net = NETS["mlp"][0]
    assert copy.deepcopy(net) is copy.copy(net) is net
    assert copy.deepcopy({"net": [net]})["net"][0] is net
    grad_fn = pickle.loads(pickle.dumps(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)))
    params, x, y = net.init(key), draw_inputs((5, 4), jnp.float32), jnp.array([0, 1, 2, 0, 1])
    same = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)
    assert str(jax.make_jaxpr(grad_fn)(params, x, y)) == str(jax.make_jaxpr(same)(params, x, y))
    assert pickle.loads(pickle.dumps(jaxbp.relu)) is jaxbp.relu


def softsign(name="softsign"):
    return jaxbp.elementwise(name, lambda a: a / (1 + abs(a)), lambda f: (1 - abs(f)) ** 2, saves="output")


@pytest.fixture
def table(monkeypatch):
    """What a test registers is forgotten after it."""
    for name in ("TABLE", "NAMES"):
        monkeypatch.setattr(recipes.table, name, dict(getattr(recipes.table, name)))
        monkeypatch.setattr(recipes.reading, name, getattr(recipes.table, name), raising=False)
        monkeypatch.setattr(recipes.writing, name, getattr(recipes.table, name), raising=False)


def test_a_layer_of_the_user_s_own_is_refused_by_name_with_what_to_do(table):
    own = softsign()
    net = jaxbp.chain(jaxbp.dense(2, 3), jaxbp.residual(jaxbp.chain(jaxbp.dense(3, 3), own)))
    for call in (net.to_dict, lambda: pickle.dumps(net)):
        with pytest.raises(ValueError, match=r"softsign, parts\[1\]\.branch\.parts\[1\]; jaxbp\.register"):
            call()
    assert jaxbp.register("softsign", own) is own
    made = again(net)  # a network that was made before
    f = jnp.ones((2, 2))
    params = net.init(jax.random.key(0))
    assert_equal(net.apply(params, f), made.apply(params, f))
    assert pickle.loads(pickle.dumps(own)) is own


def test_a_function_that_makes_layers_is_registered(table):
    made_by_hand = jaxbp.chain(softsign(), jaxbp.dense(2, 2))

    @jaxbp.register("scaled")
    def scaled(factor, *more, shift=None, act=jaxbp.relu, dtype=jnp.float32, **options):
        """Of a user."""
        phi = lambda a: factor * a + jnp.asarray(0.0 if shift is None else shift, dtype)  # noqa: E731
        return jaxbp.chain(
            jaxbp.elementwise("scaled", phi, lambda a: factor + 0 * a, saves="input"), act, softsign()
        )

    assert scaled.__doc__ == "Of a user."
    shift = np.array([0.5, -1.0], np.float32)
    layer = scaled(
        2.0, 1, "a", shift=shift, act=jaxbp.make_leaky_relu(0.2), dtype=jnp.bfloat16, deep={"a": [1]}
    )
    shift[:] = 99  # the description is of what it was given
    made = again(jaxbp.chain(layer, jaxbp.dense(2, 2))).parts
    assert len(made) == 4  # a chain in a chain is its parts
    assert layer.to_dict()["with"]["shift"] == {"array": [0.5, -1.0], "dtype": "float32"}
    assert layer.to_dict()["with"]["options"] == {"dict": {"deep": {"dict": {"a": [1]}}}}
    assert again(layer).to_dict() == layer.to_dict()
    with pytest.raises(ValueError, match="softsign"):
        made_by_hand.to_dict()


def test_what_a_description_cannot_hold_is_refused(table):
    @jaxbp.register("any")
    def anything(value):
        return softsign()

    for value in (math.nan, math.inf, {1: 2}, {1, 2}, 1j, object(), b"a", np.array(["a"]), [math.nan]):
        with pytest.raises(ValueError, match=r"^Layer\.to_dict: expected only .+, got .+, value"):
            anything(value).to_dict()
    for value in (lambda a: a, jax.nn.initializers.normal(0.1), softsign()):
        with pytest.raises(ValueError, match=r"registered, got .+, value; jaxbp\.register"):
            anything(value).to_dict()
    for value in (None, True, 3, -0.0, 1e-300, "ä", [], [[1, [2.5]]], {}, np.float64(0.1), np.int8(3)):
        assert again(anything(value)).to_dict() == anything(value).to_dict()


def test_a_copy_with_other_functions_is_not_what_the_call_makes():
    wrong = replace(jaxbp.dense(2, 2), backward=lambda params, saved, delta: (params, delta))
    with pytest.raises(ValueError, match=r"got dense\(2, 2\)"):
        wrong.to_dict()
    with pytest.raises(ValueError, match="got tanh"):
        replace(jaxbp.tanh, name="tanh").to_dict()


def test_a_name_stands_for_one_thing(table):
    with pytest.raises(ValueError, match="a name that this library has not, got 'relu'"):
        jaxbp.register("relu", softsign())
    with pytest.raises(ValueError, match="one name"):
        jaxbp.register("mine", jaxbp.relu)
    first, second = softsign(), softsign()
    jaxbp.register("softsign", first)
    jaxbp.register("softsign", second)  # the cell of a notebook once more
    assert Layer.from_dict(second.to_dict()) is second
    with pytest.raises(ValueError, match="registered, got softsign"):
        first.to_dict()
    with pytest.raises(TypeError, match="kept by a name"):
        jaxbp.register("three", 3)
    with pytest.raises(TypeError, match="name"):
        jaxbp.register(softsign())


DENSE = jaxbp.dense(2, 3).to_dict()
SPOILED = {
    "no dict": ([], "a description"),
    "no format": ({"name": "relu"}, "a description"),
    "newer": (DENSE | {"format": 2}, "update jaxbp"),
    "format as a text": (DENSE | {"format": "1"}, "format 1"),
    "format true": (DENSE | {"format": True}, "format 1"),
    "unknown layer": ({"format": 1, "make": "transformer", "with": {}}, "'transformer'; jaxbp.register"),
    "unknown name": ({"format": 1, "name": "swish"}, "'swish'; jaxbp.register"),
    "unknown field": (DENSE | {"sparse": True}, "'sparse'"),
    "unknown argument": (DENSE | {"with": DENSE["with"] | {"sparse": 1}}, "arguments of dense"),
    "argument lacking": (DENSE | {"with": {"d_in": 2}}, "d_out of dense"),
    "argument of another type": (DENSE | {"with": DENSE["with"] | {"d_in": "2"}}, "d_in"),
    "a size that no machine holds": (DENSE | {"with": DENSE["with"] | {"d_in": 10**15}}, "GiB"),
    "no layer": ({"format": 1, "name": "zeros"}, "Layer"),
    "a loss": (recipes.to_dict(jaxbp.squared_error), "Layer"),
    "an initializer called": ({"format": 1, "make": "zeros", "with": {"key": 0, "shape": [9]}}, "takes none"),
    "a constant called": ({"format": 1, "make": "relu", "with": {}}, "takes none"),
    "parts that are no list": ({"format": 1, "make": "chain", "with": {"parts": 3}}, "parts of chain"),
    "nan": (DENSE | {"with": DENSE["with"] | {"d_in": math.nan}}, "d_in"),
    "deep": ({"format": 1, "make": "chain", "with": {"parts": [[]]}}, "part 0"),
    "a name of Python": ({"format": 1, "make": "os.system", "with": {"command": "true"}}, "os.system"),
    "no dtype": (
        {
            "format": 1,
            "make": "mixed_precision",
            "with": {"layer": {"name": "relu"}, "dtype": {"dtype": "x"}},
        },
        "dtype",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_description_is_refused_in_words(name):
    data, words = SPOILED[name]
    with pytest.raises((ValueError, TypeError), match=r"^Layer\.from_dict: .*expected .+, got .+") as caught:
        Layer.from_dict(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many_levels_are_refused():
    data = {"name": "relu"}
    for _ in range(100_000):
        data = {"make": "residual", "with": {"branch": data}}
    with pytest.raises(ValueError, match="too many levels"):
        Layer.from_dict({"format": 1, **data})


@pytest.mark.soak
def test_a_network_goes_to_another_process(tmp_path, key):
    """By pickle, which is how joblib and multiprocessing send it."""
    net = NETS["with dropout"][0]
    x = draw_inputs((5, 4), jnp.float32)
    (tmp_path / "net").write_bytes(pickle.dumps((net, net.init(key), np.asarray(x))))
    code = "import pickle, sys, numpy; net, params, x = pickle.load(open(sys.argv[1], 'rb'))"
    code += "; numpy.save(sys.argv[2], net.apply(params, x))"
    subprocess.run([sys.executable, "-c", code, tmp_path / "net", tmp_path / "f.npy"], check=True)
    assert_equal(np.load(tmp_path / "f.npy"), net.apply(net.init(key), x))
