"""`explain` of networks that look ids up, and of sequences: by hand, and against `jax.grad`."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import chain, dense

E = [[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]]
P = [[0.1, 0.0], [0.2, -0.2], [0.3, 0.3]]
W, B = [[1.0, -1.0], [0.5, 2.0], [1.0, 1.0]], [0.1, 0.0, -0.1]
EPS = sys.float_info.epsilon


def value(explanation, name):
    return np.array(explanation.values["$", name])


def test_a_lookup_before_weights_by_hand():
    """E[x] flattened, one unit: f = W (E[2], E[0]) + b, and delta_E in the rows that were picked."""
    net = chain(jaxbp.embedding(3, 2), jaxbp.flatten(2, 2), dense(4, 1))
    w, b, y = [1.0, -1.0, 0.5, 2.0], 0.1, 1.0
    params = {1: {"E": E}, 2: {"W": [w], "b": [b]}}
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, [2, 0], 1, eta=0.5)
    f = w[0] * E[2][0] + w[1] * E[2][1] + w[2] * E[0][0] + w[3] * E[0][1] + b
    delta = f - y
    by_hand = {
        "a_1": [E[2], E[0]],
        "f_1": [[E[2][0]], [E[2][1]], [E[0][0]], [E[0][1]]],
        "a_2": [[f]],
        "loss": [[delta**2 / 2]],
        "delta_f_1": [[delta * v for v in w]],
        "delta_a_1": [[delta * w[0], delta * w[1]], [delta * w[2], delta * w[3]]],
        "delta_E_1": [[delta * w[2], delta * w[3]], [0, 0], [delta * w[0], delta * w[1]]],
        "E_1:new": [
            [E[0][0] - 0.5 * delta * w[2], E[0][1] - 0.5 * delta * w[3]],
            E[1],
            [E[2][0] - 0.5 * delta * w[0], E[2][1] - 0.5 * delta * w[1]],
        ],
    }
    for name, expected in by_hand.items():
        np.testing.assert_allclose(value(explanation, name), expected, rtol=0, atol=4 * EPS, err_msg=name)
    text = str(explanation)
    for line in (
        "an id counts from 0, a row of E_1 from 1: id 0 picks row 1",
        "a_1 = E_1[x] = O_1 E_1, O_1 = one_hot(x), f_1 = vec(a_1)^T",
        "     a_1[1,1] = E_1[3,1] = 0.5\n",
        "     O_1 = one_hot(x) = [0 0 1; 1 0 0]\n",
        "     a_1 = O_1 E_1 = [0 0 1; 1 0 0] [0.1 0.2; 0.3 -0.4; 0.5 0.6] = [0.5 0.6; 0.1 0.2]\n",
        "     delta_E_1[2,1] = 0\n",
        "     delta_E_1[3,2] = delta_a_1[1,2] = 0.55\n",
        "     J_{a_1}(E_1) = O_1 ⊗ I = [0 0 1; 1 0 0] ⊗ I = [0 0 0 0 1 0; 0 0 0 0 0 1; 1 0 0 0 0 0; ",
    ):
        assert line in text
    assert "delta_x" not in text
    assert explanation.to_dict()["deltas"]["x"] is None
    assert "from the loss back to a_1" in explanation.jacobians()


def test_positions_and_an_output_at_each_place_by_hand():
    """softmax(W (E[x_t] + P[t]) + b) at each place; the loss is the mean, an id there twice adds up."""
    net = chain(jaxbp.embedding(3, 2, positions=3), dense(2, 3))
    ids, labels = [2, 2], [0, 1]
    params = {1: {"E": E, "P": P}, 2: {"W": W, "b": B}}
    explanation = jaxbp.explain(net, jaxbp.softmax_cross_entropy, params, ids, labels)
    a = np.array([[E[i][j] + P[t][j] for j in range(2)] for t, i in enumerate(ids)])
    f = np.array([[W[k][0] * r[0] + W[k][1] * r[1] + B[k] for k in range(3)] for r in a])
    mu = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    loss = -(np.log(mu[0, 0]) + np.log(mu[1, 1])) / 2
    delta_f = (mu - np.eye(3)[labels]) / 2
    delta_a = delta_f @ np.array(W)
    by_hand = {
        "a_1": a, "a_2": f, "mu": mu, "loss": [[loss]], "delta_f_2": delta_f, "delta_a_1": delta_a,
        "delta_W_2": delta_f.T @ a, "delta_b_2": [delta_f.sum(0)],
        "delta_E_1": [[0, 0], [0, 0], delta_a[0] + delta_a[1]], "delta_P_1": [*delta_a, [0, 0]],
    }  # fmt: skip
    for name, expected in by_hand.items():
        largest = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(
            value(explanation, name), expected, rtol=0, atol=4 * EPS * largest, err_msg=name
        )
    text = str(explanation)
    for line in (
        "a_1 = E_1[x] + P_1[t] = O_1 E_1 + Q_1 P_1, O_1 = one_hot(x), Q_1 = one_hot(0 to 1)",
        "     a_1[2,2] = E_1[3,2] + P_1[2,2] = 0.6 + (-0.2) = 0.4\n",
        "a_2 = f_1 W_2^T + 1 b_2^T",
        "     loss = (loss[1] + loss[2]) / 2 = ",
        "     delta_f_2 = (mu - y) / 2 = ",
        "     delta_E_1[3,1] = delta_a_1[1,1] + delta_a_1[2,1] = ",
        "     delta_b_2[3] = delta_a_2[1,3] + delta_a_2[2,3] = ",
    ):
        assert line in text, line


def waves(T, d):
    angle = lambda t, j: t / 10_000 ** (j // 2 * 2 / d)  # noqa: E731
    return [[(np.cos if j % 2 else np.sin)(angle(t, j)) for j in range(d)] for t in range(T)]


def test_sines_are_added_at_each_place():
    net = chain(jaxbp.embedding(3, 4, positions="sinusoidal"), jaxbp.flatten(3, 4), dense(12, 1))
    params = net.init(jax.random.key(0))
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, [1, 0, 1], 0)
    np.testing.assert_allclose(value(explanation, "P_1"), waves(3, 4), atol=4 * EPS)
    picked = np.asarray(params[1]["E"], float)[[1, 0, 1]]
    np.testing.assert_allclose(value(explanation, "a_1"), picked + waves(3, 4), atol=4 * EPS)
    assert "P_1[2,3] = sin(1 / 10000^0.5) = sin(0.01) = 0.00999983" in str(explanation)
    assert explanation.largest_difference <= 4


SHAPES = {
    "one id": (chain(jaxbp.embedding(3, 2), dense(2, 1)), 1, [0.5]),
    "a bag of words": (
        chain(jaxbp.embedding(5, 3), jaxbp.global_avg_pool(1), dense(3, 2), jaxbp.tanh, dense(2, 1)),
        [4, 0, 4],
        [1.0],
    ),
    "a table of one number": (chain(jaxbp.embedding(1, 1), jaxbp.flatten(2, 1), dense(2, 1)), [0, 0], 1),
    "activations at each place": (
        chain(jaxbp.embedding(3, 2, positions=2), dense(2, 3), jaxbp.gelu, dense(3, 1)),
        [2, 0],
        [[1.0], [0.0]],
    ),
    "elman": (jaxbp.char_rnn(3, d=2, cell=jaxbp.elman), [2, 0, 2], [0, 2, 1]),
    "gru": (jaxbp.char_rnn(3, d=2, cell=jaxbp.gru), [2, 0], [0, 2]),
    "lstm": (jaxbp.char_rnn(3, d=2), [2, 0], [0, 2]),
    "gpt": (jaxbp.gpt(5, 4, d=4, layers=1, heads=2), [4, 0, 4], [0, 4, 2]),
    "rotary": (
        chain(jaxbp.embedding(3, 2), dense(2, 6), jaxbp.attend(1, rotary=100.0), dense(2, 2)),
        [2, 0, 2],
        [0, 1, 1],
    ),
}
LOSSES = {"squared": jaxbp.squared_error, "classes": jaxbp.softmax_cross_entropy}


@pytest.mark.parametrize("name", SHAPES)
def test_every_step_prints_and_its_numbers_are_those_of_jax_grad(name):
    net, ids, y = SHAPES[name]
    labels = isinstance(y, list) and isinstance(y[0], int)
    loss = LOSSES["classes" if labels else "squared"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: rng.normal(size=p.shape).round(2), jax.eval_shape(net.init, jax.random.key(0))
    )
    explanation = jaxbp.explain(net, loss, params, ids, y)
    assert explanation.largest_difference <= 4, explanation.differences
    with jax.enable_x64(True):
        x, y = jnp.asarray(ids), jnp.asarray(y)
        y = y if labels else jnp.atleast_1d(y).astype(float)
        made, by_grad = jax.value_and_grad(lambda p: loss(net.apply(p, x), y))(
            jax.tree.map(jnp.asarray, params)
        )
    np.testing.assert_allclose(value(explanation, "loss"), [[made]], rtol=4 * EPS)
    found = [np.ravel(value(explanation, f"delta_{each}")) for each in explanation.parameters()]
    largest = max(np.abs(quantity).max() for quantity in map(np.array, explanation.values.values()))
    for array, wanted in zip(found, jax.tree.leaves(by_grad), strict=True):
        np.testing.assert_allclose(array, np.ravel(wanted), rtol=0, atol=4 * EPS * largest)
    for text in (
        str(explanation),
        explanation.jacobians(),
        explanation.worksheet(),
        explanation.markdown(),
        explanation._repr_html_(),
        explanation.svg(),
    ):
        assert "nan" not in text
    assert explanation.markdown().count("{") == explanation.markdown().count("}")
    (*_, (*_, product)) = explanation.chain()
    np.testing.assert_allclose(np.ravel(product), np.ravel(value(explanation, "delta_a_1")), atol=1e-14)


def test_a_larger_text_is_written_in_part_and_says_how_to_choose():
    net = chain(jaxbp.embedding(20, 12), dense(12, 20))
    params = net.init(jax.random.key(0))
    x = np.arange(40).reshape(2, 20) % 20
    explanation = jaxbp.explain(
        net, jaxbp.softmax_cross_entropy, params, x, x, example=2, units=[3], layers=[1]
    )
    text = str(explanation)
    for said in ("example 2 of 2", "places 1 to 8 of each sequence", "units 3", "layers 1"):
        assert said in text
    assert "a_1[8,3] = E_1[8,3] = " in text
    assert "a_1[9,3] = " not in text
    assert "a_1[8,2]" not in text
    assert "units=[3, 7], layers=[1] choose others" in str(
        jaxbp.explain(net, jaxbp.softmax_cross_entropy, params, x[0], x[0])
    )


def test_an_id_that_is_not_in_the_table_is_refused():
    net = chain(jaxbp.embedding(3, 2), jaxbp.flatten(2, 2), dense(4, 1))
    params = net.init(jax.random.key(0))
    for ids, got in (([0, 3], "id 3"), ([-1, 0], "id -1")):
        with pytest.raises(ValueError, match=rf"expected ids in 0\.\.2, got {got} at "):
            jaxbp.explain(net, jaxbp.squared_error, params, ids, 1)
    block = jaxbp.residual(jaxbp.embedding(3, 2), jaxbp.embedding(3, 2))
    with pytest.raises(TypeError, match="expected numbers that have a derivative, got ids into residual"):
        jaxbp.explain(block, jaxbp.squared_error, block.init(jax.random.key(0)), 1, [1.0, 2.0])


def test_a_lookup_of_ones_own_is_shown_by_its_numbers():
    table = jaxbp.Layer(
        "table",
        apply=lambda params, f, *, key=None: params["T"][f],
        forward=lambda params, f, *, key=None: (params["T"][f], f),
        backward=lambda params, f, delta: ({"T": jnp.zeros((3, 2)).at[f].add(delta)}, None),
        init=lambda key: {"T": jnp.ones((3, 2))},
    )
    net = chain(table, jaxbp.flatten(2, 2), dense(4, 1))
    params = {1: {"T": E}, 2: {"W": [[1.0, -1.0, 0.5, 2.0]], "b": [0.1]}}
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, [2, 0], 1)
    assert "not component by component: table" in str(explanation)
    np.testing.assert_allclose(value(explanation, "delta_T_1"), [[-0.275, -1.1], [0, 0], [-0.55, 0.55]])
    assert "delta_x" not in str(explanation)


def named_as(name, formula):
    """An activation of one's own with the name of another: f = 2a, as its formula says."""
    return jaxbp.elementwise(
        name, lambda a: 2 * a, lambda a: 2 * jnp.ones_like(a), saves="input", formula=formula
    )


@pytest.mark.parametrize("name", ["identity", "softmax", "sigmoid", "dense", "embedding"])
@pytest.mark.parametrize("formula", ["f = 2 * a; slope = 2", ""])
def test_a_name_decides_nothing(name, formula):
    """A layer of one's own is explained by what it is, though it has the name of one of the library's."""
    net = chain(dense(2, 2), named_as(name, formula), dense(2, 1), named_as(name, formula))
    params = {1: {"W": [[1.0, 2.0], [0.0, 1.0]], "b": [0.5, 0]}, 2: {"W": [[1.0, -1.0]], "b": [0.0]}}
    explanation = jaxbp.explain(net, jaxbp.squared_error, params, [1, 1], 0)
    # a_1 = (3.5, 1), f_1 = (7, 2), a_2 = 5, f_2 = 10; delta_a_2 = 20, delta_f_1 = (20, -20)
    for quantity, expected in {"f_1": [[7], [2]], "f_2": [[10]], "delta_a_1": [[40, -40]]}.items():
        np.testing.assert_array_equal(value(explanation, quantity), expected)
    assert explanation.largest_difference == 0
    assert f"f_1 = {name}(a_1)" in str(explanation)
    assert "f = f_2, mu" in str(explanation)
    if formula:
        assert "f_1[1] = 2 a_1[1] = 2·3.5 = 7" in str(explanation)
        assert "J_{f_1}(a_1) = [2 0; 0 2]" in str(explanation)
    else:
        assert f"not component by component: {name}" in str(explanation)


def test_a_loss_of_ones_own_with_the_name_of_another_is_its_own():
    loss = jaxbp.Loss(
        "squared_error",
        values=lambda f, y: ((f - y) ** 4).sum(-1),
        deltas=lambda f, y: 4 * (f - y) ** 3,
        mu=lambda f: f,
    )
    params = {1: {"W": [[1.0]], "b": [0.0]}}
    explanation = jaxbp.explain(jaxbp.mlp([1, 1]), loss, params, 3, 1)
    assert "loss = squared_error(f, y) = 16" in str(explanation)
    assert value(explanation, "delta_f_1") == [[32]]
    assert explanation.largest_difference == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_mixed_precision_is_compared_within_its_own_eps(dtype):
    net = jaxbp.mlp([3, 4, 2], jaxbp.tanh)
    params, x = net.init(jax.random.key(0)), [0.1, 0.7, -0.3]
    plain = jaxbp.explain(net, jaxbp.squared_error, params, x, [1, 0])
    mixed = jaxbp.explain(jaxbp.mixed_precision(net, dtype), jaxbp.squared_error, params, x, [1, 0])
    text = str(mixed)
    eps = float(jnp.finfo(dtype).eps)
    assert f"matrix-based in {dtype} where a layer computes in it, directly in float64; an eps" in text
    assert f"dense(3, 4) in {dtype}, tanh in {dtype}" in text
    assert 0 < mixed.largest_difference <= 4
    worst = [line for line in text.splitlines() if line.startswith("   difference")]
    assert all(line.endswith(("difference 0", f" eps of {dtype}")) for line in worst)
    assert sum(line.endswith(f" eps of {dtype}") for line in worst) >= 3
    assert worst[-3] != worst[-1]
    for name, (apart, largest) in mixed.differences.items():
        assert apart <= 4 * eps * largest, name
    # The direct way is in float64: its first numbers are those of the plain network.
    line = next(line for line in str(plain).splitlines() if "a_1[1] = " in line)
    assert line in text
    assert "in bfloat16" not in str(plain)


def test_a_wrong_rule_in_few_bits_shows_all_the_same():
    wrong = jaxbp.elementwise(
        "wrong", jnp.tanh, lambda f: 1 - abs(f), saves="output", formula=jaxbp.tanh.formula
    )
    net = jaxbp.mixed_precision(chain(dense(2, 2), wrong, dense(2, 1)), jnp.float32)
    explanation = jaxbp.explain(net, jaxbp.squared_error, net.init(jax.random.key(0)), [1, 0.5], 1)
    assert explanation.largest_difference > 1000
