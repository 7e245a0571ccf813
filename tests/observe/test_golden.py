"""Published worked examples, read back from what `explain` prints, to the digits that are published.

The file of examples is not part of the project; without it these tests are skipped.
"""

import json
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from tests.printed import agrees, cut

SHARED = Path(os.environ.get("JAXBP_SHARED", Path(__file__).parents[3] / "shared"))
FILE = SHARED / "golden" / "worked_examples.json"
pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the published examples are not at hand")

GIVEN = jaxbp.chain()  # no layer: f = x


def example(name):
    """Inputs as floats, and published numbers as they are printed: as text."""
    text = FILE.read_text()
    inputs = next(one for one in json.loads(text) if one["id"] == name)["inputs"]
    as_text = json.loads(text, parse_float=str, parse_int=str)
    return inputs, next(one for one in as_text if one["id"] == name)["published"]


def joined(numbers):
    """A number, a list or rows of published numbers as `agrees` takes them."""
    if isinstance(numbers, str):
        return numbers
    if isinstance(numbers[0], list):
        return "\n".join(map(joined, numbers))
    return " ".join(numbers)


class Read:
    """The numbers of a printed explanation by the name at the left of the last equals sign."""

    def __init__(self, explanation):
        precise = explanation.with_digits(17)
        before, _, step = precise.text(width=10**6).partition("\n5. one step")
        self.before, self.after = self.entries(precise.jacobians() + "\n" + before), self.entries(step)
        self.loss_after = float(step.rsplit("-> ", 1)[1])

    @staticmethod
    def entries(text):
        found = {}
        for line in text.splitlines():
            name, equals, rest = line.strip().partition(" = ")
            value = rest.rsplit(" = ", 1)[-1]
            if equals and "..." not in value and re.fullmatch(r"-?[\d.e+-]+|\[[-\d.e+; ]+\]", value):
                rows = [[float(v) for v in row.split()] for row in value.strip("[]").split(";")]
                found.setdefault(name, np.array(rows))
        return found

    def __call__(self, name, after=False):
        entries = self.after if after else self.before
        if name in entries:
            return entries[name]
        parts = [entries[f"{name}[{i}]"] for i in range(1, 200) if f"{name}[{i}]" in entries]
        return np.concatenate(parts, axis=None)


def read(net, loss, params, x, y, **more):
    return Read(jaxbp.explain(net, loss, params, x, y, **more))


def matrix(found, name, rows, columns):
    """A matrix from its entries in the direct lines."""
    return np.array(
        [
            [float(found.before[f"{name}[{i},{j}]"].item()) for j in range(1, columns + 1)]
            for i in range(1, rows + 1)
        ]
    )


class TestMazur:
    net = jaxbp.mlp([2, 2, 2], jaxbp.sigmoid, output=jaxbp.sigmoid)

    def case(self):
        given, published = example("mazur2015")
        params = {l: {"W": given[f"W{l}"], "b": given[f"b{l}"]} for l in (1, 2)}
        return params, given["x"], given["t"], published

    def test_every_step(self):
        params, x, t, says = self.case()
        found = read(self.net, jaxbp.squared_error, params, x, t, eta=0.5, frozen=["b"])
        assert agrees(found("a_1")[:1], says["net_h1"])
        assert agrees(found("f_1"), joined(says["out_h"]))
        assert agrees(found("a_2")[:1], says["net_o1"])
        assert agrees(found("f_2"), joined(says["out_o"]))
        assert agrees(found("loss[1]"), says["E"][0])
        assert agrees(found("loss[2]"), says["E"][1])
        assert agrees(found("loss"), says["E_total"])
        assert agrees(found("delta_f_2").ravel()[:1], says["dE_dout_o1"])
        assert agrees(found("J_{f_2}(a_2)")[0, :1], says["dout_dnet_o1"])
        assert agrees(found("delta_a_2").ravel()[:1], says["dE_dneto1"])
        assert agrees(found("delta_W_2[1,1]"), says["dE_dw5"])
        assert agrees(found("delta_f_1").ravel()[:1], says["dE_douth1"])
        assert agrees(found("J_{f_1}(a_1)")[0, :1], says["douth1_dneth1"])
        assert agrees(found("delta_W_1[1,1]"), says["dE_dw1"])
        assert agrees(found("W_2", after=True), joined(says["W2_new"]))
        assert agrees(found("W_1", after=True), joined(says["W1_new"]))
        assert agrees(np.float64(found.loss_after), says["E_after_1_code"])  # the blog's own is wrong

    def test_what_each_output_alone_sends_back(self):
        params, x, t, says = self.case()
        out = jaxbp.explain(self.net, jaxbp.squared_error, params, x, t).to_dict()["mu"]
        first = read(self.net, jaxbp.squared_error, params, x, [t[0], out[1]])
        assert agrees(first("delta_f_1[1]"), says["dEo1_douth1"])
        second = read(self.net, jaxbp.squared_error, params, x, [out[0], t[1]])
        assert agrees(second("delta_f_1[1]"), "-0.019049118")  # printed ...119, wrong in its last digit

    def test_the_next_steps_and_the_biases(self):
        params, x, t, says = self.case()
        with_bias = read(self.net, jaxbp.squared_error, params, x, t, eta=0.5)
        for l in (1, 2):
            assert agrees(
                with_bias(f"b_{l}", after=True).ravel(), joined(says["with_bias_update"][f"b{l}_new"])
            )
        for printed in (says["E_after_1_code"], says["E_after_2_code"], says["E_after_3_code"]):
            explanation = jaxbp.explain(self.net, jaxbp.squared_error, params, x, t, eta=0.5, frozen=["b"])
            assert agrees(np.float64(Read(explanation).loss_after), printed)
            layers = explanation.to_dict()["after"]["layers"]
            params = {l: {"W": layer["W"], "b": layer["b"]} for l, layer in enumerate(layers, 1)}


def test_ng():
    """The activations are published with their further digits cut off."""
    _, says = example("ng_ml_ex4_nnCostFunction")
    theta = np.arange(1, 19) / 10
    thetas = theta[:6].reshape(2, 3, order="F"), theta[6:].reshape(4, 3, order="F")
    params = {l: {"W": t[:, 1:], "b": t[:, 0]} for l, t in enumerate(thetas, 1)}
    x, y = np.cos([[1, 2], [3, 4], [5, 6]]), np.eye(4)[[3, 1, 2]]
    net = jaxbp.mlp([2, 2, 4], jaxbp.sigmoid)
    each = [read(net, jaxbp.binary_cross_entropy, params, x, y, example=i) for i in (1, 2, 3)]
    for i, found in enumerate(each):
        assert agrees(found("a_1"), joined(says["z2"][i]), decimals=8)
        assert agrees(cut(found("f_1"), 8), joined(says["a2"][i]))
        assert agrees(cut(found("mu"), 7), joined(says["a3"][i]))
    assert agrees(cut(np.mean([found("loss") for found in each]), 4), says["J_lambda0"])
    grads = []
    for l, (rows, columns) in ((1, (2, 2)), (2, (4, 2))):
        W = np.mean([matrix(found, f"delta_W_{l}", rows, columns) for found in each], axis=0)
        b = np.mean([found(f"delta_b_{l}") for found in each], axis=0)
        grads.append(np.column_stack([b, W]).ravel(order="F"))
    assert agrees(np.concatenate(grads), joined(says["grad_lambda0"]))


def test_cs231n_layers():
    _, says = example("cs231n_a2_affine")
    x, w = np.linspace(-0.1, 0.5, 240).reshape(2, 120), np.linspace(-0.2, 0.3, 360).reshape(120, 3)
    params = {"W": w.T, "b": np.linspace(-0.3, 0.1, 3)}
    for i in (0, 1):
        found = read(jaxbp.dense(120, 3), jaxbp.squared_error, params, x[i], [0, 0, 0])
        assert agrees(found("a_1"), joined(says["out"][i]), decimals=8)
    _, says = example("cs231n_a2_relu")
    for row, out in zip(np.linspace(-0.5, 0.5, 12).reshape(3, 4), says["out"], strict=True):
        found = read(jaxbp.relu, jaxbp.squared_error, {}, row, [0] * 4)
        assert agrees(found("f_0"), joined(out), decimals=8)


def test_cs231n_notes():
    given, says = example("cs231n_notes_neuron")
    w, x = given["w"], given["x"]
    net = jaxbp.mlp([2, 1], output=jaxbp.sigmoid)
    params = {1: {"W": [w[:2]], "b": w[2:]}}
    f = 1 / (1 + np.exp(-1.0))
    found = read(net, jaxbp.squared_error, params, x, f - 1)  # so that delta_f is 1
    assert agrees(found("f_1"), says["f"])
    assert agrees(found("delta_x"), joined(says["dx"]))
    weights = [found("delta_W_1[1,1]"), found("delta_W_1[1,2]"), found("delta_b_1")]
    assert agrees(np.concatenate(weights, axis=None), joined(says["dw"]))
    given, says = example("cs231n_notes_softmax")
    found = read(GIVEN, jaxbp.softmax_cross_entropy, {}, given["f"], given["y"])
    assert agrees(found("mu")[1:], joined(says["mu"][1:]))
    assert agrees(found("mu")[:1], "0.015")  # published as 0.016, from e^-2.85 rounded to 0.058
    assert agrees(found("loss"), says["loss"])


def test_nnfs():
    given, says = example("nnfs_ch9")
    net, params = jaxbp.dense(4, 3), {"W": given["W"], "b": given["b"]}
    out = np.array(given["X"]) @ np.transpose(given["W"]) + given["b"]
    each = [
        read(net, jaxbp.squared_error, params, x, o - np.array(d))  # so that delta_f is dvalues
        for x, o, d in zip(given["X"], out, given["dvalues"], strict=True)
    ]
    for found, a, delta_x in zip(each, says["out"], says["dinputs"], strict=True):
        assert agrees(found("a_1"), joined(a), decimals=8)
        assert agrees(found("delta_x"), joined(delta_x), decimals=8)
    W = sum(matrix(found, "delta_W_1", 3, 4) for found in each)
    assert agrees(W.T, joined(says["dweights_T"]), decimals=8)
    assert agrees(sum(found("delta_b_1") for found in each), joined(says["dbiases"]), decimals=8)
    softmax = read(jaxbp.softmax, jaxbp.squared_error, {}, out[0], [0, 0, 0])
    assert agrees(softmax("f_0"), joined(says["softmax_of_out0"]))
    mu = np.array(given["mu"])
    jacobian = read(jaxbp.softmax, jaxbp.squared_error, {}, np.log(mu[0]), [0, 0, 0])
    assert agrees(jacobian("J_{f_0}(x)"), joined(says["softmax_jacobian_07_01_02"]), decimals=8)
    losses = [
        read(GIVEN, jaxbp.softmax_cross_entropy, {}, np.log(row), y)
        for row, y in zip(mu, given["y"], strict=True)
    ]
    for found, ce, delta in zip(losses, says["CE"], says["delta_f_over_N"], strict=True):
        assert agrees(found("loss"), ce)
        assert agrees(found("delta_x") / 3, joined(delta), decimals=8)
    assert agrees(np.mean([found("loss") for found in losses]), says["CE_mean"])


def test_deeplearning_ai():
    """Its caches are independent random arrays: each layer is explained by itself, with the delta put in."""
    _, says = example("deeplearning_ai_dnn_L_model_backward")
    randn = np.random.RandomState(3).randn
    AL, A1, W1, b1, Z1 = randn(1, 2), randn(4, 2), randn(3, 4), randn(3, 1), randn(3, 2)
    A2, W2, b2, Z2 = randn(3, 2), randn(1, 3), randn(1, 1), randn(1, 2)
    Y = np.array([[1.0, 0.0]])

    def back(net, params, x, delta):
        with jax.enable_x64(True):
            f = np.asarray(net.apply(jax.tree.map(jnp.asarray, params), jnp.asarray(x)))
        return read(net, jaxbp.squared_error, params, x, f - delta)

    columns = []
    for i in (0, 1):
        dAL = read(GIVEN, jaxbp.binary_cross_entropy_on_probabilities, {}, AL[:, i], Y[:, i])(
            "delta_x"
        ).ravel()
        dZ2 = back(jaxbp.sigmoid, {}, Z2[:, i], dAL)("delta_x").ravel()
        second = back(jaxbp.dense(3, 1), {"W": W2, "b": b2[:, 0]}, A2[:, i], dZ2)
        dA1 = second("delta_x")
        dZ1 = back(jaxbp.relu, {}, Z1[:, i], dA1.ravel())("delta_x").ravel()
        columns.append((second, dA1, back(jaxbp.dense(4, 3), {"W": W1, "b": b1[:, 0]}, A1[:, i], dZ1)))

    def mean(get):
        return np.mean([get(*column) for column in columns], axis=0)

    assert agrees(np.column_stack([dA1.ravel() for _, dA1, _ in columns])[:3], joined(says["dA1"][:3]))
    assert agrees(
        np.column_stack([first("delta_x").ravel() for _, _, first in columns]),
        joined(says["dA0"]),
        decimals=8,
    )
    assert agrees(mean(lambda s, d, f: matrix(s, "delta_W_1", 1, 3)), joined(says["dW2"]))
    assert agrees(mean(lambda s, d, f: s("delta_b_1").ravel()), joined(says["db2"]))
    assert agrees(mean(lambda s, d, f: matrix(f, "delta_W_1", 3, 4)), joined(says["dW1"]), decimals=8)
    assert agrees(
        mean(lambda s, d, f: f("delta_b_1").ravel()), joined(says["db1"]).replace("\n", " "), decimals=8
    )


def test_negnevitsky():
    """In the error convention, delta = -delta_a; theta = -b."""
    g, says = example("negnevitsky_xor")
    params = {
        1: {"W": [[g["w13"], g["w23"]], [g["w14"], g["w24"]]], "b": [-g["theta3"], -g["theta4"]]},
        2: {"W": [[g["w35"], g["w45"]]], "b": [-g["theta5"]]},
    }
    net = jaxbp.mlp([2, 2, 1], jaxbp.sigmoid, output=jaxbp.sigmoid)
    found = read(net, jaxbp.squared_error, params, g["x"], g["yd"], eta=g["alpha"])
    assert agrees(found("f_1"), f"{says['y3']} {says['y4']}")
    assert agrees(found("f_2"), says["y5"])
    assert agrees(-found("delta_f_2"), says["e"])
    assert agrees(-found("delta_a_2"), says["delta5"])
    assert agrees(-found("delta_a_1").ravel(), f"{says['delta3']} {says['delta4']}")
    after = says["after"]
    assert agrees(found("W_1", after=True), f"{after['w13']} {after['w23']}\n{after['w14']} {after['w24']}")
    assert agrees(found("W_2", after=True), f"{after['w35']} {after['w45']}")
    assert agrees(-found("b_1", after=True).ravel(), f"{after['theta3']} {after['theta4']}")
    assert agrees(-found("b_2", after=True), after["theta5"])


def test_goodfellow():
    g, says = example("goodfellow_xor_relu")
    params = {1: {"W": np.transpose(g["W"]), "b": g["c"]}, 2: {"W": [g["w"]], "b": [g["b"]]}}
    net = jaxbp.mlp([2, 2, 1], jaxbp.relu)
    for x, a, h, y in zip(g["X"], says["XW_c"], says["h"], says["y"], strict=True):
        found = read(net, jaxbp.squared_error, params, x, float(y))
        assert agrees(found("a_1"), joined(a))
        assert agrees(found("f_1"), joined(h))
        assert agrees(found("a_2"), y)
        assert agrees(found("loss"), "0")


def test_cornell_perceptron():
    """The perceptron's rule is the gradient step of a threshold that passes its delta through unchanged."""
    g, says = example("cornell_perceptron_or")
    threshold = jaxbp.Layer(
        "threshold",
        apply=lambda params, f, *, key=None: (f >= 0).astype(f.dtype),
        forward=lambda params, f, *, key=None: ((f >= 0).astype(f.dtype), ()),
        backward=lambda params, saved, delta: ({}, delta),
        jacobian=lambda params, f: jaxbp.identity.jacobian({}, f),
    )
    net = jaxbp.chain(jaxbp.dense(3, 1, bias=False), threshold)
    w = [g["w0"]]
    for i, printed in enumerate(says["w_after_each"]):
        found = read(net, jaxbp.squared_error, {1: {"W": w}}, g["X"][i % 4], g["t"][i % 4], eta=g["eta"])
        w = found("W_1", after=True)
        assert agrees(w, joined(printed))
