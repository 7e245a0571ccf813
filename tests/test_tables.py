"""What tables show: matrices by their rows, formulas that hold, no quantity twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import tables
from jaxbp.jaxprs import compile_once

NET = jaxbp.mlp([3, 5, 5, 4], jaxbp.tanh)
PARAMS = NET.init(jax.random.key(0))
CE = jaxbp.softmax_cross_entropy
X, Y = jnp.array([1.0, 0.5, -1.0]), jnp.array(2)


@pytest.fixture(scope="module")
def bp():
    return jaxbp.backprop(NET, CE, PARAMS, X, Y)


def written(text, name):
    """The matrix that a table shows of a quantity."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [name])
    end = next((i for i in range(start + 1, len(lines)) if lines[i][0] != " "), len(lines))
    at = lines[0].index("value")
    return np.array([[float(v) for v in line[at:].split()] for line in lines[start:end]])


def test_every_number_of_the_lectures_net_is_shown(bp):
    """W_2 of 5 x 5 by its rows, to the digits that are asked for."""
    text = bp.table(digits=9).text
    for name, value in bp.quantities():
        assert np.allclose(written(text, name), np.atleast_2d(value), rtol=1e-8, atol=1e-12), name
    assert written(repr(bp), "delta_W_2").shape == (5, 5)
    assert "norm" in bp.table(limit=4).text
    assert "norm" not in repr(bp)


def test_a_delta_is_shown_once(bp):
    names = [name for name, _ in bp.quantities()]
    assert len(set(names)) == len(names)
    assert "delta_x" in names
    assert "delta_f_0" not in names
    net = jaxbp.chain(jaxbp.tanh, jaxbp.dense(3, 2))
    inner = jaxbp.backprop(net, CE, net.init(jax.random.key(0)), X, jnp.array(1))
    assert {"delta_f_0", "delta_x"} <= {name for name, _ in inner.quantities()}
    assert inner.formulas["f_0"] == "tanh(x)"
    assert inner.formulas["delta_x"] == "delta_f_0 J_{f_0}(x)"
    through = jax.jit(lambda x: jaxbp.backprop(NET, CE, PARAMS, x, Y))(X)
    assert [name for name, _ in through.quantities()] == names


def test_each_formula_gives_its_number(bp):
    """Of a net of dense layers, evaluated with the numbers that stand in the table."""
    values = {name: np.asarray(v, float) for name, v in bp.quantities()}
    parameters = {f"{k}_{l}": np.asarray(v, float) for l, p in PARAMS.items() for k, v in p.items()}
    for l in (1, 2, 3):
        f, a, delta = values[f"f_{l - 1}"], values[f"a_{l}"], values[f"delta_a_{l}"]
        assert bp.formulas[f"a_{l}"] == f"W_{l} f_{l - 1} + b_{l}"
        assert np.allclose(a, parameters[f"W_{l}"] @ f + parameters[f"b_{l}"], atol=1e-6)
        assert bp.formulas[f"delta_W_{l}"] == f"delta_a_{l}^T f_{l - 1}^T"
        assert np.allclose(values[f"delta_W_{l}"], np.outer(delta, f), atol=1e-6)
        before = "delta_x" if l == 1 else f"delta_f_{l - 1}"
        assert bp.formulas[before] == f"delta_a_{l} W_{l}"
        assert np.allclose(values[before], delta @ parameters[f"W_{l}"], atol=1e-6)
    assert bp.formulas["f_1"] == "tanh(a_1)"
    assert bp.formulas["f_3"] == "a_3"
    assert bp.formulas["delta_a_1"] == "delta_f_1 J_{f_1}(a_1)"
    assert bp.formulas["delta_a_3"] == "delta_f_3"
    assert bp.formulas["mu"] == "softmax(f_3)"


def test_of_other_layers_the_formulas_are_the_chain_rule():
    own = jaxbp.residual(jaxbp.chain(jaxbp.dense(3, 2), jaxbp.relu, jaxbp.dense(2, 3)))
    net = jaxbp.chain(own, jaxbp.dense(3, 2))
    bp = jaxbp.backprop(net, CE, net.init(jax.random.key(0)), X, jnp.array(1))
    assert bp.formulas["a_1"] == "residual(...)(f_0)"
    assert bp.formulas["delta_x"] == "delta_a_1 J_{a_1}(x)"
    assert bp.formulas["delta_W_1"] == ""


def test_a_matrix_keeps_its_columns_in_html():
    html = tables.as_html(["value"], [["1 2\n3 4"], ["<b>"]])
    assert "<pre" in html
    assert "1 2\n3 4" in html
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize("text", [lambda c: c.table().text, lambda c: c._repr_html_()])
def test_the_chain_shows_factors_and_running_product(text):
    chain = jaxbp.jacobian_chain(NET, PARAMS, X, loss=CE, y=Y)
    shown = text(chain)
    assert "running product" in shown
    for part in (chain.pull().x, PARAMS[3]["W"][1]):
        assert [f"{v:.4g}" for v in part.tolist()] in [
            line.replace("<pre", " ").rpartition(">")[2].split("<")[0].split()
            if line.startswith("<") else line.split("</pre>")[0].rpartition('">')[2].split()
            for line in shown.replace('<pre style="margin:0">', "\n").splitlines()
        ]  # fmt: skip
    small = jaxbp.jacobian_chain(NET, jax.tree.map(lambda p: 1e-6 * p, PARAMS), X)
    assert "0.     0." not in repr(small)
    assert "norm" in chain.table(limit=2).text


def test_a_summary_counts_the_parameters():
    shown = jaxbp.summary(NET, PARAMS)
    assert repr(shown).splitlines()[-1].split() == ["total", str(jaxbp.count_parameters(PARAMS))]
    assert "W_2 (5, 5), b_2 (5)" in shown.text
    assert f"W_1 = {PARAMS[1]['W'][0, 0]:.4g}" in " ".join(shown.text.split())
    block = jaxbp.chain(jaxbp.residual(jaxbp.dense(3, 3)), jaxbp.relu)
    assert "W_1.branch (3, 3)" in jaxbp.summary(block).text
    with pytest.raises(
        ValueError, match=r"summary: expected params\[1\]\['W'\] of shape \(5, 3\), got .*transpose"
    ):
        jaxbp.summary(NET, PARAMS | {1: {"W": PARAMS[1]["W"].T, "b": PARAMS[1]["b"]}})
    with pytest.raises(ValueError, match="summary: expected no more parameters, got"):
        jaxbp.summary(NET, PARAMS | {4: {"W": jnp.ones((2, 2))}})


def test_a_call_with_values_is_one_program():
    """The second call of a network runs no Python of its layers."""
    called = []

    def phi(a):
        called.append(1)
        return jnp.sin(a)

    net = jaxbp.chain(jaxbp.dense(3, 2), jaxbp.elementwise("sine", phi, jnp.cos, saves="input"))
    params = net.init(jax.random.key(0))
    first = jaxbp.backprop(net, jaxbp.squared_error, params, X, jnp.ones(2))
    n = len(called)
    again = jaxbp.backprop(net, jaxbp.squared_error, params, 2 * X, jnp.ones(2))
    assert len(called) == n
    assert not np.allclose(first.loss, again.loss)
    eager = jax.grad(lambda x: jaxbp.squared_error(net.apply(params, x), jnp.ones(2)))(2 * X)
    assert np.allclose(again.deltas.x, eager, atol=1e-6)


def test_what_has_no_hash_is_called_as_it_is():
    assert compile_once.at_once(lambda static, x: static[0] * x, ([2.0],), (jnp.ones(2),)).tolist() == [2, 2]


@pytest.mark.parametrize("call", [
    lambda: jaxbp.backprop(NET, jaxbp.binary_cross_entropy, PARAMS, X, jnp.full(4, 2.0)),
    lambda: jaxbp.forward(NET, PARAMS, X).table(digits=0),
    lambda: jaxbp.forward(NET, PARAMS, X).table(digits=18),
    lambda: jaxbp.forward(NET, PARAMS, X).table(limit=2.5),
    lambda: jaxbp.summary("net"),
])  # fmt: skip
def test_bad_use_is_refused_before_a_program_runs(call):
    with pytest.raises((TypeError, ValueError), match=r": expected .*, got "):
        call()


def test_a_zero_has_no_sign():
    assert tables.numbers(np.array([[-0.0, 1.0], [-2.0, 0.0]])) == " 0  1\n-2  0"
    assert tables.numbers(np.array([-0.0])) == "0"
