"""Every public function of networks, losses, Jacobians and units takes what is meant, or refuses."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import operators, units
from jaxbp.layers import initializers
from tests.test_arguments import TAKEN

NET = jaxbp.mlp([2, 2], jaxbp.tanh)
PARAMS = {1: {"W": jnp.array([[1.0, -0.5], [0.25, 2.0]]), "b": jnp.array([0.5, -1.0])}}
X = np.array([[1.5, 2.0], [3.0, 4.25], [5.0, 6.0]], np.float32)
Y = np.array([[0.5, 2.0], [1.0, 0.0], [0.25, 1.0]], np.float32)
SE, CE, BCE = jaxbp.squared_error, jaxbp.softmax_cross_entropy, jaxbp.binary_cross_entropy
TRACE = jaxbp.forward(NET, PARAMS, X)
EVALUATE = jaxbp.make_evaluate(NET.apply, SE)
LOSSES = {"loss": np.array([[2.0], [1.0]])}
SWEPT = jaxbp.Sweep(
    PARAMS, [0, 1], [{}, {}], LOSSES, "finished", 0.0, 0.0, np.array([1, 1]), np.array([False, False])
)
EXPLAINED = jaxbp.explain(NET, SE, PARAMS, X[0], Y[0])


def explained(**options):
    return jaxbp.explain(NET, SE, PARAMS, X, Y, **options)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


# Of each function, as a function of one array of shape (3, 2).
ENTRIES = {
    "dense.apply": lambda v: jaxbp.dense(2, 2).apply(PARAMS[1], v),
    "dense.forward": lambda v: jaxbp.dense(2, 2).forward(PARAMS[1], v),
    "dense.backward": lambda v: jaxbp.dense(2, 2).backward(PARAMS[1], X, v),
    "dense.jacobian": lambda v: jaxbp.dense(2, 2).jacobian(PARAMS[1], v).matrix(),
    "sigmoid.apply": lambda v: jaxbp.sigmoid.apply({}, v),
    "relu.forward": lambda v: jaxbp.relu.forward({}, v),
    "gelu.backward": lambda v: jaxbp.gelu.backward({}, jnp.asarray(X), v),
    "softmax.apply": lambda v: jaxbp.softmax.apply({}, v),
    "softmax.backward": lambda v: jaxbp.softmax.backward({}, jnp.asarray(Y), v),
    "identity.apply": lambda v: jaxbp.identity.apply({}, v),
    "flatten.apply": lambda v: jaxbp.flatten(3, 2).apply({}, v),
    "dropout.apply": lambda v: jaxbp.dropout(0.5).apply({}, v, key=jax.random.key(0)),
    "mixed_precision": lambda v: jaxbp.mixed_precision(jaxbp.dense(2, 2)).apply(PARAMS[1], v),
    "residual": lambda v: jaxbp.residual(jaxbp.tanh).apply({}, v),
    "forward": lambda v: jaxbp.forward(NET, PARAMS, v),
    "backward": lambda v: jaxbp.backward(NET, PARAMS, TRACE, v),
    "backprop, x": lambda v: jaxbp.backprop(NET, SE, PARAMS, v, Y),
    "backprop, y": lambda v: jaxbp.backprop(NET, SE, PARAMS, X, v),
    "value_and_grad, x": lambda v: jaxbp.value_and_grad(NET, SE)(PARAMS, v, Y),
    "value_and_grad, y": lambda v: jaxbp.value_and_grad(NET, SE)(PARAMS, X, v),
    "with_hand_vjp": lambda v: jaxbp.with_hand_vjp(NET)(PARAMS, v),
    "loss, f": lambda v: SE(v, Y),
    "loss, y": lambda v: SE(Y, v),
    "delta, f": lambda v: BCE.delta(v, np.ones((3, 2))),
    "values": lambda v: SE.values(Y, v),
    "deltas": lambda v: SE.deltas(v, Y),
    "cross entropy, f": lambda v: CE(v, [0, 1, 1]),
    "parameter_jacobian": lambda v: jaxbp.parameter_jacobian(NET, PARAMS, v).matrix(),
    "per_example, x": lambda v: jaxbp.per_example(NET, SE, PARAMS, v, Y).gradients(),
    "per_example, y": lambda v: jaxbp.per_example(NET, SE, PARAMS, X, v).gradients(),
    "ggn_diagonal": lambda v: jaxbp.parameter_jacobian(NET, PARAMS, X).ggn_diagonal(SE, v),
    "jacobian_chain": lambda v: jaxbp.jacobian_chain(jaxbp.flatten(3, 2), {}, v).matrix(),
    "pull": lambda v: jaxbp.jacobian_chain(jaxbp.flatten(3, 2), {}, X).push(v),
    "operator": lambda v: operators.Dense(jnp.ones((2, 3))) @ v,
    "operator from the left": lambda v: operators.Dense(jnp.ones((2, 3))).__rmatmul__(v),
    "Dense": lambda v: operators.Dense(v).matrix(),
    "linear_unit": lambda v: units.linear_unit(units.Unit([1.0, 2.0], 0.5), v),
    "perceptron": lambda v: units.perceptron(units.Unit(jnp.ones(2), jnp.ones(())), v),
    "linear_unit_step": lambda v: units.linear_unit_step(units.Unit([1.0, 2.0], 0.5), v, [1, 2, 3], eta=0.5),
    "fit_linear_unit": lambda v: units.fit_linear_unit(v, [1, 2, 3], eta=0.01, epochs=2).unit,
    "fit_perceptron": lambda v: units.fit_perceptron(v, [1, -1, 1], epochs=2).unit,
    "margin": lambda v: units.margin(units.Unit([1.0, 2.0], 0.5), v, [1, 1, 1]),
    "evaluate, x": lambda v: EVALUATE(PARAMS, v, Y),
    "evaluate, y": lambda v: EVALUATE(PARAMS, X, v),
    "explain": lambda v: [jaxbp.explain(NET, SE, PARAMS, v, Y, example=e).values for e in (1, 2, 3)],
    "scaling": lambda v: jaxbp.data.Scaling(np.ones(2), np.full(2, 2.0))(v),
}
KINDS = ["lists", "big-endian float32", "a nullable frame"]  # of the many in test_arguments


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_holds_numbers_is_taken(entry):
    call = ENTRIES[entry]
    wanted = leaves(call(jnp.asarray(X)) if entry != "scaling" else call(X))
    for kind in KINDS:
        got = leaves(call(TAKEN[kind]()))
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=kind)


BAD = {
    "None": None,
    "text": "x",
    "masked": np.ma.masked_array(X, X == 3),
    "ragged": [[1.0], [2.0, 3.0]],
    "dates": np.zeros((3, 2), "M8[D]"),
    "too large": np.full((3, 2), 1e300),
    "missing": [[1.0, None], [2.0, 3.0], [4.0, 5.0]],
    "another shape": np.ones((7, 5), np.float32),
}
ANY_SHAPE = {"sigmoid.apply", "relu.forward", "softmax.apply", "identity.apply", "dropout.apply", "residual"}
ANY_SHAPE |= {"Dense"}

FINE = {("None", "ggn_diagonal"), ("too large", "explain")}  # no labels needed; it computes in float64


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_holds_none_is_refused(entry):
    for kind, value in BAD.items():
        if (kind == "another shape" and entry in ANY_SHAPE) or (kind, entry) in FINE:
            continue
        with pytest.raises((TypeError, ValueError), match=r": expected .*, got ") as caught:
            ENTRIES[entry](value)
        assert "\n" not in str(caught.value), kind


def changed(**leaf):
    return {1: PARAMS[1] | leaf}


WITH_PARAMS = {
    "forward": lambda p: jaxbp.forward(NET, p, X),
    "backward": lambda p: jaxbp.backward(NET, p, TRACE, Y),
    "backprop": lambda p: jaxbp.backprop(NET, SE, p, X, Y),
    "value_and_grad": lambda p: jaxbp.value_and_grad(NET, SE)(p, X, Y),
    "with_hand_vjp": lambda p: jaxbp.with_hand_vjp(NET)(p, X),
    "jacobian_chain": lambda p: jaxbp.jacobian_chain(NET, p, X[0]),
    "parameter_jacobian": lambda p: jaxbp.parameter_jacobian(NET, p, X),
    "per_example": lambda p: jaxbp.per_example(NET, SE, p, X, Y),
    "check_network": lambda p: jaxbp.check_network(NET, SE, p, X, Y),
    "net.apply": lambda p: NET.apply(p, X),
    "evaluate": lambda p: EVALUATE(p, X, Y),
    "net.forward": lambda p: NET.forward(p, X),
    "net.backward": lambda p: NET.backward(p, NET.forward(PARAMS, X)[1], Y),
}
BAD_PARAMS = {
    "integers": (changed(W=jnp.ones((2, 2), int)), "W", "int32"),
    "bool": (changed(W=np.ones((2, 2), bool)), "W", "bool"),
    "complex": (changed(W=jnp.ones((2, 2), complex)), "W", "complex64"),
    "text": (changed(W="w"), "W"),
    "masked": (changed(W=np.ma.masked_array(np.ones((2, 2)), np.eye(2))), "masked"),
    "b of shape ()": (changed(b=jnp.ones(())), "b of shape (2,)", "()"),
    "b of shape (1,)": (changed(b=jnp.ones(1)), "b of shape (2,)", "(1,)"),
    "b of shape (1, d)": (changed(b=jnp.ones((1, 2))), "b of shape (2,)", "(1, 2)"),
    "b of shape (N, d)": (changed(b=jnp.ones((3, 2))), "b of shape (2,)", "(3, 2)"),
    "b missing": ({1: {"W": PARAMS[1]["W"]}}, "{W, b}", "{W}"),
    "from 0": ({0: PARAMS[1]}, "layers count from 1: {1: ..., 2: ...}"),
    "a list": ([PARAMS[1]], "layers count from 1"),
    "None": (None, "{1}"),
}


@pytest.mark.parametrize("entry", WITH_PARAMS)
def test_parameters_that_are_none_are_refused(entry):
    for kind, (params, *words) in BAD_PARAMS.items():
        try:
            refused_in(lambda p=params: WITH_PARAMS[entry](p), *words)
        except BaseException as error:
            error.add_note(kind)
            raise


def refused_in(call, *words):
    with pytest.raises((TypeError, ValueError), match=r": expected .*, got ") as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_parameters_as_lists_and_numpy_arrays_are_taken():
    wanted = leaves(jaxbp.value_and_grad(NET, SE)(PARAMS, X, Y))
    for make in (lambda v: np.asarray(v).tolist(), np.asarray, lambda v: np.asarray(v, ">f8")):
        got = jaxbp.value_and_grad(NET, SE)(jax.tree.map(make, PARAMS), X, Y)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(got))
        for a, b in zip(leaves(got), wanted, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_transposed_weight_says_so():
    net = jaxbp.mlp([3, 2])
    params = {1: {"W": jnp.ones((3, 2)), "b": jnp.ones(2)}}
    refused_in(lambda: jaxbp.forward(net, params, jnp.ones(3)), "W is (out, in): transpose it")


def test_images_without_flatten_say_so():
    net = jaxbp.mlp([4, 2])
    refused_in(lambda: net.apply(net.init(jax.random.key(0)), jnp.ones((3, 2, 2))), "flatten", "reshape")


def test_x_as_on_the_board():
    for x in ([1, 0], jnp.array([1, 0])):
        np.testing.assert_allclose(jaxbp.forward(NET, PARAMS, x).a[1], [1.5, -0.75])
    refused_in(lambda: NET.apply(PARAMS, jnp.array([1, 0])), "1.0 for 1", "f.astype(float)")
    one = jaxbp.mlp([2, 1])
    params = {1: {"W": [[1.0, 2.0]], "b": [0.0]}}
    assert jaxbp.backprop(one, BCE, params, [1, 0], [1]).deltas.f[0].shape == (2,)
    for y in (1, 1.0):
        refused_in(lambda y=y: jaxbp.backprop(one, BCE, params, [1.0, 0.0], y), "[y]")


NO_LAYERS = [jax.nn.relu, [NET], None, "relu", jaxbp.dense, jaxbp.Layer, 3]
NO_LOSSES = ["mse", lambda f, y: 0.0, None, jaxbp.make_softmax_cross_entropy, jaxbp.Loss, 0.5]
OF_A_NET = {
    "value_and_grad": lambda n: jaxbp.value_and_grad(n, SE),
    "ValueAndGrad": lambda n: jaxbp.ValueAndGrad(n, SE),
    "backprop": lambda n: jaxbp.backprop(n, SE, PARAMS, X, Y),
    "forward": lambda n: jaxbp.forward(n, PARAMS, X),
    "backward": lambda n: jaxbp.backward(n, PARAMS, TRACE, Y),
    "with_hand_vjp": jaxbp.with_hand_vjp,
    "check_network": lambda n: jaxbp.check_network(n, SE, PARAMS, X, Y),
    "chain": jaxbp.chain,
    "residual": jaxbp.residual,
    "skip": lambda n: jaxbp.residual(jaxbp.tanh, n),
    "mixed_precision": jaxbp.mixed_precision,
    "activation": lambda n: jaxbp.mlp([2, 2], n),
    "output": lambda n: jaxbp.mlp([2, 2], output=n),
}


@pytest.mark.parametrize("entry", OF_A_NET)
def test_what_is_no_layer_is_refused(entry):
    for value in NO_LAYERS:
        refused_in(lambda v=value: OF_A_NET[entry](v), "Layer", jaxbp.arguments.described(value))


def test_what_is_no_loss_is_refused():
    for value in NO_LOSSES:
        for call in (
            lambda v: jaxbp.value_and_grad(NET, v),
            lambda v: jaxbp.backprop(NET, v, PARAMS, X, Y),
            lambda v: jaxbp.check_network(NET, v, PARAMS, X, Y),
        ):
            refused_in(lambda v=value, call=call: call(v), "Loss", jaxbp.arguments.described(value))
    for value in ("mse", None, 0.5):
        refused_in(lambda v=value: jaxbp.per_example(NET, v, PARAMS, X, Y), "Loss")


def test_keys():
    for key in (0, "0", jnp.ones(2), jax.random.split(jax.random.key(0))):
        for call in (
            lambda k: NET.init(k),
            lambda k: jaxbp.dense(2, 2).init(k),
            lambda k: jaxbp.residual(jaxbp.dense(2, 2)).init(k),
            lambda k: jaxbp.dropout(0.5).apply({}, X, key=k),
            lambda k: NET.apply(PARAMS, X, key=k),
            lambda k: jaxbp.forward(NET, PARAMS, X, key=k),
            lambda k: jaxbp.value_and_grad(NET, SE)(PARAMS, X, Y, key=k),
            lambda k: jaxbp.with_hand_vjp(NET)(PARAMS, X, key=k),
            lambda k: units.fit_perceptron(X, [1, 1, -1], key=k),
        ):
            refused_in(lambda k=key, call=call: call(k), "key")


WORDS = {
    "reduction": lambda w: replace(SE, reduction=w),
    "targets": lambda w: replace(SE, targets=w),
    "saves": lambda w: jaxbp.elementwise("f", jnp.tanh, jnp.tanh, saves=w),
    "form": lambda w: replace(jaxbp.tanh, form=w),
    "order of matrix": lambda w: jaxbp.jacobian_chain(NET, PARAMS, X[0]).matrix(w),
    "order of pull": lambda w: jaxbp.jacobian_chain(NET, PARAMS, X[0]).pull(Y[0], order=w),
    "factors": lambda w: jaxbp.jacobian_chain(NET, PARAMS, X[0], factors=w),
    "order of product": lambda w: operators.product((operators.Identity(2),), w),
    "bias": lambda w: jaxbp.dense(2, 2, bias=w),
    "stratify": lambda w: jaxbp.split(jaxbp.Dataset(X, X), 0.4, stratify=w),
    "dtype": lambda w: jaxbp.mixed_precision(NET, w),
    "saves_input": lambda w: replace(jaxbp.tanh, saves_input=w),
    "monitor": lambda w: SWEPT.best(w),
    "raw": lambda w: jaxbp.data.assert_data(X, Y, raw=w),
    "narrow": lambda w: jaxbp.data.assert_data(X, Y, narrow=w),
    "frozen": lambda w: explained(frozen=(w,)),
    "step": EXPLAINED.difference,
}


@pytest.mark.parametrize("word", WORDS)
def test_other_words_are_refused(word):
    for value in ("Mean", "avg", "Output", "reverse ", "", 3, "OPTIMAL"):
        refused_in(lambda v=value: WORDS[word](v))


NUMBERS = {
    "label_smoothing": jaxbp.make_softmax_cross_entropy,
    "rate": jaxbp.dropout,
    "negative_slope": jaxbp.make_leaky_relu,
    "d_in": lambda v: jaxbp.dense(v, 2),
    "d_out": lambda v: jaxbp.dense(2, v),
    "sizes": lambda v: jaxbp.mlp([2, v]),
    "flatten": lambda v: jaxbp.flatten(2, v),
    "clipped_mean": lambda v: jaxbp.per_example(NET, SE, PARAMS, X, Y).clipped_mean(v),
    "sigma": lambda v: jaxbp.parameter_jacobian(NET, PARAMS, X).predictive_variance(v),
    "limit": lambda v: jaxbp.parameter_jacobian(NET, PARAMS, X).matrix(limit=v),
    "eta": lambda v: units.fit_linear_unit(X, [1, 2, 3], eta=v),
    "epochs": lambda v: units.fit_linear_unit(X, [1, 2, 3], eta=0.1, epochs=v),
    "batch_size": lambda v: units.fit_perceptron(X, [1, 1, -1], batch_size=v),
    "num_classes": lambda v: jaxbp.Dataset(X, np.zeros(3, int), v),
    "num_classes of the check": lambda v: jaxbp.data.assert_data(X, np.zeros(3, int), num_classes=v),
    "example": lambda v: explained(example=v),
    "units": lambda v: explained(units=[v]),
    "digits": lambda v: explained(digits=v),
    "with_digits": EXPLAINED.with_digits,
    "width of the text": EXPLAINED.text,
    "width of the worksheet": EXPLAINED.worksheet,
    "params_of": SWEPT.params_of,
    "order of check": lambda v: jaxbp.check(jax.nn.relu, X, order=v),
    "seed": lambda v: jaxbp.split(jaxbp.Dataset(X, X), 0.4, seed=v),
}


@pytest.mark.parametrize("number", NUMBERS)
def test_other_numbers_are_refused(number):
    for value in ("0.1", True, 1j, float("nan"), float("inf"), [1, 2]):
        refused_in(lambda v=value: NUMBERS[number](v))
    if number != "negative_slope":
        refused_in(lambda: NUMBERS[number](-0.1))


def test_sizes_that_no_machine_holds():
    for make in (
        lambda: jaxbp.dense(10**18, 3),
        lambda: jaxbp.mlp([3, 2**62, 2]),
        lambda: jaxbp.flatten(2**40, 2**40),
        lambda: jaxbp.dense(10**6, 10**6 // 2).init(jax.random.key(0)),
    ):
        refused_in(make, "GiB")
    shapes = jax.eval_shape(jaxbp.dense(10**6, 10**5).init, jax.random.key(0))
    assert shapes["W"].shape == (10**5, 10**6)


def test_a_network_that_ends_in_its_loss_s_own_function():
    soft = jaxbp.softmax
    for last in (
        soft,
        jaxbp.mixed_precision(soft),
        jaxbp.chain(soft, jaxbp.identity),
        jaxbp.chain(soft, jaxbp.dropout(0.5)),
        replace(soft, name="mine"),
    ):
        for net in (jaxbp.chain(jaxbp.dense(2, 2), last), last):
            refused_in(lambda n=net: jaxbp.value_and_grad(n, CE), "applies softmax itself", "logits")
            jaxbp.value_and_grad(net, SE)
    refused_in(lambda: jaxbp.value_and_grad(jaxbp.mixed_precision(jaxbp.sigmoid), BCE.sum), "sigmoid itself")
    jaxbp.value_and_grad(replace(jaxbp.tanh, name="softmax"), CE)  # a name only prints


def test_weights_suit_the_function_and_not_its_name():
    key = jax.random.key(0)

    def begins(activation):
        return jaxbp.mlp([6, 5, 2], activation).init(key)[1]["W"]

    both = initializers.he_uniform, initializers.glorot_uniform
    he, glorot = (jaxbp.mlp([6, 5, 2], init=init).init(key)[1]["W"] for init in both)
    rectifier = jaxbp.elementwise("rectifier", lambda a: jnp.maximum(a, 0), lambda a: a > 0, saves="input")
    for activation in (
        *(jaxbp.relu, jaxbp.leaky_relu, jaxbp.softplus, jaxbp.gelu, jaxbp.gelu_exact, jaxbp.silu, rectifier),
        *(jaxbp.mixed_precision(jaxbp.relu), jaxbp.mixed_precision(rectifier)),
        jaxbp.chain(jaxbp.relu, jaxbp.dropout(0.1)),
        replace(jaxbp.relu, name="tanh"),
    ):
        np.testing.assert_array_equal(begins(activation), he)
    others = (jaxbp.tanh, jaxbp.sigmoid, jaxbp.softmax, jaxbp.identity, replace(jaxbp.tanh, name="relu"))
    for activation in others:
        np.testing.assert_array_equal(begins(activation), glorot)
    assert (jax.jit(lambda k: jaxbp.mlp([6, 5, 2], jaxbp.relu).init(k))(key)[1]["W"] == he).all()


def test_factors_are_written_by_what_they_are():
    net = jaxbp.mixed_precision(jaxbp.chain(jaxbp.dense(2, 2), jaxbp.relu, jaxbp.dense(2, 2), jaxbp.softmax))
    params = net.init(jax.random.key(0))
    means = [f.means for f in jaxbp.jacobian_chain(net, params, X[0]).factors]
    assert means == ["diag(mu) - mu mu^T", "W_2", "diag(relu'(a_1))", "W_1"]


TARGETS = {
    "-1 and 1": ([[-1.0, 1.0]], "y[0,0] is -1.0", "(y + 1) / 2"),
    "1 and 2": ([[1.0, 2.0]], "y[0,1] is 2.0", "y - 1"),
    "bytes": (np.array([[0, 255]], np.uint8), "y[0,1] is 255", "y / 255"),
    "others": ([[0.0, -7.5]], "y[0,1] is -7.5", "squared_error"),
    "on the device": (jnp.array([[-1.0, 1.0]]), "(y + 1) / 2"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_of_another_coding(kind):
    y, *words = TARGETS[kind]
    f = np.full((1, 2), 0.5, np.float32)
    net, x = jaxbp.mlp([2, 2]), np.ones((1, 2), np.float32)
    for loss in (BCE, jaxbp.binary_cross_entropy_on_probabilities, BCE.sum):
        refused_in(lambda loss=loss: loss(f, y), "targets in [0, 1]", *words)
        refused_in(lambda loss=loss: loss.delta(f, y), *words)
        refused_in(lambda loss=loss: jaxbp.backprop(net, loss, PARAMS, x, y), *words)
        refused_in(lambda loss=loss: jaxbp.per_example(net, loss, PARAMS, x, y), "per_example", *words)
        grad_fn = jaxbp.value_and_grad(net, loss)
        refused_in(lambda g=grad_fn: g.assert_targets(y, where="fit"), "fit: expected", *words)
    if kind != "bytes":
        refused_in(lambda: CE(f, y), *words)
    SE(f, y)
    jax.jit(BCE)(f, y)  # traced: nobody can look


@pytest.mark.parametrize("y", [[[0.0, 1.0]], [[0, 1]], [[True, False]], [[0.3, 0.7]], np.float16([[0, 1]])])
def test_targets_that_are_probabilities(y):
    assert np.isfinite(BCE(np.zeros((1, 2)), y))
    BCE.assert_targets(y)
    CE.assert_targets(np.array([0, 7, 255]))


def test_labels_of_64_bits_are_no_other_class():
    f = np.zeros((2, 3), np.float32)
    for y in (np.array([2**32, 1]), [2**32, 1], np.array([2**32, 1], ">i8"), np.array([2**63, 1], np.uint64)):
        assert np.isnan(CE(f, y))
        assert np.isnan(CE.delta(f, y)[0]).all()
        assert np.isnan(CE.values(f, y)[0])
        assert np.isnan(
            jaxbp.backprop(jaxbp.mlp([2, 3]), CE, jaxbp.mlp([2, 3]).init(jax.random.key(0)), X[:2], y).loss
        )
    for fit in (units.fit_perceptron, lambda x, t: units.fit_linear_unit(x, t, eta=0.1)):
        for t in ([2**40 + 5, 1, 1], [1j, 1, 1], np.zeros(3, "M8[D]")):
            refused_in(lambda t=t, fit=fit: fit(X, t))
            refused_in(lambda t=t, fit=fit: fit(np.array(t)[:, None], [1, 1, -1]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_autodiff_of_probabilities_is_the_delta_by_hand(dtype):
    loss = jaxbp.binary_cross_entropy_on_probabilities
    with jax.enable_x64(dtype == "float64"):
        for v, y in ((0, 0), (1, 1), (0, 1), (1, 0), (0.5, 0), (0.25, 1), (0, 0.5)):
            f, y = jnp.array([v], dtype), jnp.array([y], dtype)
            assert jax.grad(loss)(f, y) == loss.delta(f, y), (v, y)
        assert jax.grad(loss, argnums=1)(jnp.array([0.5], dtype), jnp.array([0.0], dtype)) == 0
        assert jax.grad(loss, argnums=1)(jnp.array([0.25], dtype), jnp.array([0.0], dtype)) > 1


def test_names_are_escaped():
    tag = "<script>alert(1)</script>"
    params = {tag: jnp.ones((2, 2))}
    apply = lambda p, x: p[tag] @ x  # noqa: E731
    for report in (
        jaxbp.per_example(apply, lambda f, y: ((f - y) ** 2).sum(), params, X, Y),
        jaxbp.parameter_jacobian(apply, params, X),
        jaxbp.jacobian_chain([named(tag)], X[0]),
        jaxbp.jacobian_chain([named(tag)], X[0]).plan(),
        jaxbp.jacobian_chain(jaxbp.elementwise(tag, jnp.tanh, jnp.cos, saves="input"), {}, X[0]),
        jaxbp.jacobian_chain(jaxbp.elementwise(tag, jnp.tanh, jnp.cos, saves="input"), {}, X[0]).plan(),
    ):
        html = report._repr_html_()
        assert "<script" not in html
        assert "&lt;script" in html


def named(name):
    def f(x):
        return jnp.tanh(x)

    f.__name__ = name
    return f


def test_results_are_json():
    for result in (
        units.fit_perceptron(X, [1, 1, 1]),
        units.fit_perceptron(X, [1, -1, 1], epochs=2),
        units.fit_linear_unit(X, [1, 2, 3], eta=0.001, epochs=3),
        units.fit_linear_unit(X, [1, 2, 3], eta=1e30, epochs=30),
        jaxbp.backprop(NET, SE, PARAMS, X, Y),
        jaxbp.jacobian_chain(NET, PARAMS, X[0]),
        jaxbp.per_example(NET, SE, PARAMS, X, Y),
    ):
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))


def test_operators_are_checked_where_they_are_made_and_not_as_pytrees():
    for make in (
        lambda: operators.Dense(None),
        lambda: operators.Diagonal("d"),
        lambda: operators.Identity(2.0),
        lambda: operators.Kronecker(jnp.ones((2, 2)), operators.Identity(2)),
        lambda: operators.Sum((jnp.ones((2, 2)),)),
        lambda: operators.Product(()),
        lambda: operators.Linear(3, jnp.ones(2)),
        lambda: operators.Identity(2) + jnp.ones((2, 2)),
        lambda: operators.compose(operators.Identity(2), 3),
    ):
        refused_in(make)
    J = operators.Sum((operators.Dense([[1.0, 2.0], [3.0, 4.0]]), operators.Identity(2)))
    assert jax.tree.map(lambda leaf: None, J).terms[0].M is None
    same = jax.jit(lambda J: J)(J)
    np.testing.assert_array_equal(same.matrix(), [[2, 2], [3, 5]])
    stacked = jax.vmap(lambda d: operators.Diagonal(d))(jnp.ones((3, 2)))
    assert stacked.d.shape == (3, 2)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(J)]
    assert paths == [".terms[0].M"]


def test_datasets_are_what_they_say():
    data = jaxbp.Dataset([[1.0], [2.0]], [0, 1], np.int64(2))
    assert data.x.dtype == np.float64
    assert type(data.num_classes) is int
    for make in (
        lambda: jaxbp.Dataset(X, Y[:2]),
        lambda: jaxbp.Dataset(X, Y, "3"),
        lambda: jaxbp.Dataset(X, Y, None, None),
        lambda: jaxbp.Dataset("x", "y"),
        lambda: jaxbp.split((X, Y), 0.5),
        lambda: jaxbp.split(data, "half"),
        lambda: jaxbp.split(data, None),
    ):
        refused_in(make)


def test_the_doors_leave_no_trace_in_a_program():
    """A compiled step has the operations of the network alone."""
    params = jax.tree.map(jnp.asarray, PARAMS)
    jaxpr = jax.make_jaxpr(jaxbp.value_and_grad(NET, SE))(params, jnp.asarray(X), jnp.asarray(Y))
    names = {eqn.primitive.name for eqn in jaxpr.eqns}
    assert names.isdisjoint({"is_finite", "device_put", "pure_callback", "copy", "select_n"})
    assert "convert_element_type" not in names


def test_every_public_name_is_there():
    assert len(set(jaxbp.__all__)) == len(jaxbp.__all__)
    for name in jaxbp.__all__:
        assert getattr(jaxbp, name) is not None
    assert callable(jaxbp.report.plot_sweep)


def test_a_record_s_parts_are_what_they_say():
    for saved in (None, 5, "ab", [], (), ((), ())):
        refused_in(lambda s=saved: NET.backward(PARAMS, s, Y), "saved, a tuple of 1")
    for leaf in ("W", jnp.tanh, [], 3):
        if leaf != []:
            refused_in(
                lambda v=leaf: jaxbp.count_parameters({1: {"W": v}}), "a pytree of arrays, got [1]['W']"
            )
    for made in (lambda a: jnp.tanh, lambda a: None, lambda a: "a", lambda a: a[:1], lambda a: (a, a)):
        layer = jaxbp.elementwise("mine", made, jnp.ones_like, saves="input")
        refused_in(lambda n=layer: n.apply({}, X), "phi to return an array")
        refused_in(lambda n=layer: n.forward({}, X), "phi to return an array")
    for made in (lambda a: jnp.tanh, lambda a: None, lambda a: "a"):
        layer = jaxbp.elementwise("mine", jnp.sin, made, saves="input")
        refused_in(lambda n=layer: n.backward({}, X, X), "slope to return an array")
    refused_in(lambda: jaxbp.Dataset(X, np.zeros(3, int), 10**18), "num_classes")
    refused_in(lambda: CE(np.ones((3, 0)), [0, 1, 1]), "C at least 1")
    for leaf in (np.nan, np.inf):
        refused_in(
            lambda v=leaf: units.fit_linear_unit(X, [1, 2, 3], eta=0.1, unit=units.Unit([v, 1.0], 0.0)),
            "finite",
        )


def test_lists_of_explain():
    for name in ("b", b"b", 5, None, {"b": 1}, len):
        refused_in(lambda v=name: explained(frozen=v), "frozen a list")
    for value in (1, "all", {1: 2}, len):
        refused_in(lambda v=value: explained(units=v), "units a list")
    for taken in (["b"], {"b"}, np.array(["b"]), iter("b")):
        assert explained(frozen=taken).frozen == ("b",)
    for taken in ((1,), np.array([1]), iter([1, 1])):
        assert explained(units=taken).choices.units == (1,)


def test_rows_of_probabilities_have_an_accuracy_and_other_targets_have_none():
    evaluate = jaxbp.make_evaluate(NET.apply, CE)
    labels = np.array([0, 1, 1])
    for rows in (
        np.eye(2)[labels],
        np.eye(2, dtype=int)[labels],
        np.array([[0.75, 0.25], [0, 1], [0.5, 0.5]]),
    ):
        found = evaluate(PARAMS, X, rows)["accuracy"]
        assert found == evaluate(PARAMS, X, rows.argmax(-1))["accuracy"]
    assert set(EVALUATE(PARAMS, X, Y)) == {"loss"}
    for value in ("a", None, (1.0, 2.0)):
        made = jaxbp.make_evaluate(NET.apply, lambda f, y, v=value: v)
        refused_in(lambda m=made: m(PARAMS, X, labels), "loss(f, y) to return a number")
