"""A user's functions: what they return is looked at, a class is none. And numbers and labels beside them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp import units

NET = jaxbp.mlp([2, 3], jaxbp.tanh)
PARAMS = NET.init(jax.random.key(0))
TO_TWO = jaxbp.mlp([2, 2], jaxbp.tanh)
TO_TWO_PARAMS = TO_TWO.init(jax.random.key(0))
X, Y = np.array([[1.5, 2.0], [3.0, 4.25], [5.0, 6.0]], np.float32), np.array([0, 2, 1])
CE = jaxbp.softmax_cross_entropy


class Made(NamedTuple):
    first: object
    second: object = None


def refused(call, *words, error=TypeError):
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert ": expected " in text, text
    assert ", got " in text, text
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("made", [dict, Made, list])
def test_a_class_is_no_function(made):
    refused(
        lambda: jaxbp.elementwise("a", jnp.sin, made, saves="input"), "slope", f"the class {made.__name__}"
    )
    refused(lambda: jaxbp.elementwise("a", made, jnp.cos, saves="input"), "phi")
    refused(lambda: jaxbp.make_evaluate(NET.apply, made), "loss")
    refused(lambda: jaxbp.dense(2, 2, init=made), "init")
    refused(lambda: jaxbp.per_example(NET, made, PARAMS, X, Y), "loss")


@pytest.mark.parametrize("maker", [jax.value_and_grad, jax.grad, jaxbp.value_and_grad])
def test_what_makes_a_gradient_function_is_none(maker):
    refused(
        lambda: jaxbp.fit(maker, PARAMS, (X, Y), optimizer=optax.sgd(0.1), key=jax.random.key(0), epochs=1),
        "fit: expected grad_fn",
    )


WRITTEN = {
    "a list": lambda a: a.tolist(),
    "a tuple of rows": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a.tolist()),
    "NumPy's": np.asarray,
    "big-endian": lambda a: a.astype(">f4"),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_initial_parameters_are_arrays(kind):
    def init(key, shape, dtype=jnp.float32):
        return WRITTEN[kind](np.arange(np.prod(shape), dtype=dtype).reshape(shape))

    held = jaxbp.dense(2, 3, init=init, bias_init=init).init(jax.random.key(0))
    assert held["W"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert held["b"].tolist() == [0, 1, 2]
    assert jax.tree.structure(held) == jax.tree.structure(PARAMS[1])


@pytest.mark.parametrize(
    "wrong", [lambda a: a.T, lambda a: a[:-1], lambda a: 0.0, lambda a: a[None], lambda a: None]
)
def test_initial_parameters_have_their_shape(wrong):
    def init(key, shape, dtype=jnp.float32):
        return wrong(jnp.zeros(shape, dtype))

    for layer in (jaxbp.dense(2, 3, init=init), jaxbp.chain(jaxbp.dense(2, 3, bias_init=init), jaxbp.tanh)):
        if (
            layer.form == "product"
            and wrong(jnp.zeros(3)) is not None
            and jnp.shape(wrong(jnp.zeros(3))) == (3,)
        ):
            continue  # the transposed of a vector is that vector
        refused(
            lambda layer=layer: layer.init(jax.random.key(0)), "dense(2, 3)", error=(TypeError, ValueError)
        )


@pytest.mark.parametrize(
    "loss", [lambda f, y: None, lambda f, y: f, lambda f, y: (f**2).sum()[None], CE.delta]
)
def test_the_loss_of_an_example_is_a_number(loss):
    refused(lambda: jaxbp.per_example(NET, loss, PARAMS, X, Y), "per_example", "loss(f, y) of one example")


@pytest.mark.parametrize("loss", [lambda f, y: None, lambda f, y: f, CE.values, lambda f, y: "low"])
def test_the_loss_of_a_metric_is_a_number(loss):
    evaluate = jaxbp.make_evaluate(NET.apply, loss)
    refused(lambda: evaluate(PARAMS, X, Y), "evaluate", "loss(f, y) to return a number")
    refused(lambda: jax.jit(evaluate)(PARAMS, X, Y), "evaluate", "loss(f, y) to return a number")


@pytest.mark.parametrize("labels", [[1, 2, 3], [0, 2, -1], [0, 2, 3]])
def test_explain_looks_at_all_labels(labels):
    """Those that count from 1 are all valid but the last class's, whichever example is explained."""
    refused(lambda: jaxbp.explain(NET, CE, PARAMS, X, labels), "a class from 0 to 2", error=ValueError)
    assert jaxbp.explain(NET, CE, PARAMS, X, Y).steps


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, -1], "y[1] is no label: -1"),
        (np.array([2**40, 1]), "y[0] is no label: 1099511627776"),
        (np.array([[0, 1], [1, -7]], np.int8), "y[1,1] is no label: -7"),
        ([[0.5, np.nan]], "y[0,1] is nan"),
    ],
)  # fmt: skip
def test_labels_that_no_network_has(y, words):
    for check in (CE.assert_targets, jaxbp.value_and_grad(NET, CE).assert_targets):
        refused(lambda check=check: check(y), words, error=ValueError)
    CE.assert_targets([0, 7, 2])
    assert np.isnan(CE(np.zeros((2, 3)), np.array([0, -1])))  # a call gives NaN, as in a compiled program


@pytest.mark.parametrize("fit", [units.fit_perceptron, lambda x, t: units.fit_linear_unit(x, t, eta=0.01)])
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"])
def test_units_take_floats_of_few_bits(fit, dtype):
    """Eight bits hold these numbers, and not what is added up of them."""
    x, t = np.array([[0, 1], [1, 0], [2, 2]], np.float32), np.array([-1, -1, 1], np.float32)
    few, plain = fit(jnp.asarray(x, dtype), t), fit(x, t)
    assert np.allclose(np.asarray(few.unit.w, np.float32), plain.unit.w, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
@pytest.mark.parametrize("form", [jnp.asarray, np.asarray])
def test_floats_of_8_bits_and_fewer_are_taken_in_32(dtype, form):
    """Which hold them, and what is computed of them: JAX mixes them with no others."""
    x = form(np.array([[1.0, -0.5], [0.5, 2.0]]), dtype=dtype)
    plain = np.asarray(x, np.float32)

    def same(call):
        got, expected = call(x), call(plain)
        jax.tree.map(np.testing.assert_array_equal, got, expected)
        assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype("float32")}

    same(lambda x: NET.forward(PARAMS, x)[0])
    same(lambda x: TO_TWO.backward(TO_TWO_PARAMS, TO_TWO.forward(TO_TWO_PARAMS, plain)[1], x))
    same(lambda x: jaxbp.value_and_grad(NET, CE)(PARAMS, x, [0, 1]))
    same(lambda x: jax.jit(jaxbp.value_and_grad(NET, CE))(PARAMS, x, np.array([0, 1])))
    same(lambda x: jaxbp.jacobian_chain(TO_TWO, TO_TWO_PARAMS, plain[0]).pull(x[0]))
    for loss in (jaxbp.squared_error, jaxbp.binary_cross_entropy):
        same(lambda x, loss=loss: (loss(x, plain > 0), loss.delta(x, (plain > 0).astype(np.float32))))
        same(lambda x, loss=loss: loss.delta(plain, x * 0 + 1))


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int2"])
@pytest.mark.parametrize("form", [jnp.asarray, np.asarray])
def test_integers_of_4_bits_and_fewer_are_taken_as_others(dtype, form):
    y, plain = form(np.array([1, 0]), dtype=getattr(jnp, dtype)), np.array([1, 0], np.int8)
    f = np.array([[0.5], [-1.0]], np.float32)
    for loss in (jaxbp.squared_error, jaxbp.binary_cross_entropy):
        assert loss(f, y[:, None]) == loss(f, plain[:, None])
        np.testing.assert_array_equal(loss.delta(f, y[:, None]), loss.delta(f, plain[:, None]))
    assert CE(np.eye(2, 3), y) == CE(np.eye(2, 3), plain)


def test_batches_of_the_perceptron_have_a_size():
    for size in (None, 0, "all", 2.0, True, 4):
        error = (TypeError, ValueError)
        refused(lambda s=size: units.fit_perceptron(X, [-1, 1, 1], batch_size=s), "batch_size", error=error)


@pytest.mark.parametrize("seeds", [10**18, 2**63, 10**30, 2**21])
def test_more_seeds_than_fit_anywhere(seeds):
    def sweep():
        jaxbp.sweep(
            jaxbp.value_and_grad(NET, CE), NET.init, (X, Y), optimizer=optax.sgd, seeds=seeds,
            hyperparameters={"learning_rate": [0.1]}, key=jax.random.key(0),
        )  # fmt: skip

    refused(sweep, "seeds", error=ValueError)


def test_names_of_arrays_come_in_any_list(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, x=X, y=Y)
    for names in (np.array(["y"]), ["y"], ("y",), {"y"}, {"y": 1}.keys(), np.array(["y"], object)):
        assert list(jaxbp.data.read_npz(file, names=names)) == ["y"]
    for names in (np.array([1, 2]), np.array(["y", "z"]), [None], "y"):
        refused(lambda names=names: jaxbp.data.read_npz(file, names=names), error=(TypeError, ValueError))
