"""Published worked examples of single layers and losses, reproduced to the digits they print.

The numbers stand here as they were printed: see `agrees`. Where a source is wrong the test names the right
value, and asserts that the printed one is not reproduced.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.backprop import backward, forward
from tests.printed import agrees

pytestmark = pytest.mark.usefixtures("x64")


class TestCS231n:
    """Stanford CS231n, cs231n.github.io."""

    def test_affine(self):
        """Assignment 2, FullyConnectedNets: affine_forward on x of shape (2, 4, 5, 6)."""
        x = jnp.linspace(-0.1, 0.5, 240).reshape(2, 4, 5, 6)
        params = {1: {"W": jnp.linspace(-0.2, 0.3, 360).reshape(120, 3).T, "b": jnp.linspace(-0.3, 0.1, 3)}}
        out = jaxbp.chain(jaxbp.flatten(4, 5, 6), jaxbp.dense(120, 3)).apply(params, x)
        assert agrees(out, "1.49834967 1.70660132 1.91485297 \n 3.25553199 3.5141327 3.77273342", decimals=8)

    def test_relu(self):
        """Assignment 2: relu_forward; and backward lets pass what came from above 0 alone."""
        x = jnp.linspace(-0.5, 0.5, 12).reshape(3, 4)
        out, saved = jaxbp.relu.forward({}, x)
        printed = """
            0 0 0 0
            0 0 0.04545455 0.13636364
            0.22727273 0.31818182 0.40909091 0.5"""
        assert agrees(out, printed, decimals=8)
        assert jnp.array_equal(jaxbp.relu.backward({}, saved, x)[1], out)

    def test_neuron(self):
        """Notes, optimization-2: one sigmoid neuron, w = (2, -3, -3), x = (-1, -2); one digit printed."""
        net = jaxbp.chain(jaxbp.dense(2, 1), jaxbp.sigmoid)
        params = {1: {"W": jnp.array([[2.0, -3.0]]), "b": jnp.array([-3.0])}}
        trace = forward(net, params, jnp.array([-1.0, -2.0]))
        deltas = backward(net, params, trace, jnp.ones(1))
        dw = jnp.append(deltas.params[1]["W"], deltas.params[1]["b"])
        assert agrees(trace.out, "0.73")
        assert agrees(deltas.x, "0.4 -0.6")
        assert agrees(dw, "-0.2 -0.4 0.2")
        assert agrees(trace.out, "0.7310585786300049")
        assert agrees(deltas.x, "0.3932238664829637 -0.5898357997244456")
        assert agrees(dw, "-0.19661193324148185 -0.3932238664829637 0.19661193324148185")

    def test_softmax(self):
        """Notes, linear-classify: the first probability is printed as 0.016 (it was formed from rounded
        exponentials, 0.058 / 3.738); it is 0.015.
        """
        f, y = jnp.array([-2.85, 0.86, 0.28]), jnp.array(2)
        mu = jaxbp.softmax_cross_entropy.mu(f)
        assert agrees(mu, "0.015 0.631 0.353")
        assert agrees(mu, "0.015449315676 0.631163353605 0.353387330719")
        assert not agrees(mu[0], "0.016")
        assert agrees(jaxbp.softmax_cross_entropy(f, y), "1.04")
        assert agrees(jaxbp.softmax_cross_entropy(f, y), "1.0401905694301081")


class TestNeuralNetworksFromScratch:
    """Kinsley & Kukiela, Neural Networks from Scratch, chapters 4, 5 and 9 (github.com/Sentdex/nnfs_book)."""

    layer = jaxbp.dense(4, 3)

    @staticmethod
    def inputs():
        W = jnp.array([[0.2, 0.8, -0.5, 1], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]])
        x = jnp.array([[1, 2, 3, 2.5], [2, 5, -1, 2], [-1.5, 2.7, 3.3, -0.8]])
        return {"W": W, "b": jnp.array([2, 3, 0.5])}, x

    @staticmethod
    def predictions():
        return jnp.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]]), jnp.array([0, 1, 1])

    def test_dense(self):
        """Chapters 4 and 9; the book keeps the weights as (in, out), hence dweights is transposed."""
        params, x = self.inputs()
        out, saved = self.layer.forward(params, x)
        assert agrees(out, "4.8 1.21 2.385 \n 8.9 -1.81 0.2 \n 1.41 1.051 0.026", decimals=8)
        dvalues = jnp.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
        grads, dinputs = self.layer.backward(params, saved, dvalues)
        printed = "0.44 -0.38 -0.07 1.37 \n 0.88 -0.76 -0.14 2.74 \n 1.32 -1.14 -0.21 4.11"
        assert agrees(dinputs, printed, decimals=8)
        printed = "0.5 0.5 0.5 \n 20.1 20.1 20.1 \n 10.9 10.9 10.9 \n 4.1 4.1 4.1"
        assert agrees(grads["W"].T, printed, decimals=8)
        assert agrees(grads["b"], "6 6 6", decimals=8)

    def test_softmax_and_its_jacobian(self):
        """Chapters 4 and 9: J = diag(mu) - mu mu^T as numbers, from the operator and from backward's rows."""
        params, x = self.inputs()
        out = jaxbp.chain(self.layer, jaxbp.softmax).apply({1: params}, x)
        assert agrees(out[0], "0.89528266 0.02470831 0.08000903")
        f = jnp.log(self.predictions()[0][0])
        _, saved = jaxbp.softmax.forward({}, f)
        rows = jax.vmap(lambda row: jaxbp.softmax.backward({}, saved, row)[1])(jnp.eye(3))
        printed = "0.21 -0.07 -0.14 \n -0.07 0.09 -0.02 \n -0.14 -0.02 0.16"
        assert agrees(rows, printed, decimals=8)
        assert agrees(jaxbp.softmax.jacobian({}, f).matrix(), printed, decimals=8)

    def test_cross_entropy_and_its_delta(self):
        """Chapters 5 and 9: delta_f = (mu - y) / N."""
        mu, y = self.predictions()
        loss = jaxbp.softmax_cross_entropy
        assert agrees(loss.values(jnp.log(mu), y), "0.35667494 0.69314718 0.10536052")
        assert agrees(loss(jnp.log(mu), y), "0.38506088005216804")
        printed = """
            -0.1 0.03333333 0.06666667
            0.03333333 -0.16666667 0.13333333
            0.00666667 -0.03333333 0.02666667"""
        assert agrees(loss.delta(jnp.log(mu), y), printed, decimals=8)


def test_deeplearning_ai_L_model_backward():
    """deeplearning.ai, Neural Networks and Deep Learning, week 4: the expected output of L_model_backward.

    Its caches are independent random arrays, no forward pass of one network, so each layer gets the saved
    values of its own cache. The course averages delta_W and delta_b over the 2 examples and not delta_A.
    """
    randn = np.random.RandomState(3).randn
    AL, A1, W1, b1, Z1 = randn(1, 2), randn(4, 2), randn(3, 4), randn(3, 1), randn(3, 2)
    A2, W2, b2, Z2 = randn(3, 2), randn(1, 3), randn(1, 1), randn(1, 2)

    def back(layer, activation, W, b, A, Z, delta):
        params = {"W": jnp.asarray(W), "b": jnp.asarray(b[:, 0])}
        _, delta = activation.backward({}, activation.forward({}, jnp.asarray(Z.T))[1], delta)
        grads, delta = layer.backward(params, layer.forward(params, jnp.asarray(A.T))[1], delta)
        return jax.tree.map(lambda g: g / 2, grads), delta

    loss, Y = jaxbp.binary_cross_entropy_on_probabilities.sum, jnp.array([[1.0], [0.0]])
    delta_A2 = loss.delta(jnp.asarray(AL.T), Y)
    grads2, delta_A1 = back(jaxbp.dense(3, 1), jaxbp.sigmoid, W2, b2, A2, Z2, delta_A2)
    grads1, delta_A0 = back(jaxbp.dense(4, 3), jaxbp.relu, W1, b1, A1, Z1, delta_A1)
    assert agrees(grads2["W"], "-0.39202432 -0.13325855 -0.04601089")
    assert agrees(grads2["b"], "0.15187861")
    printed = "0.12913162 -0.44014127 \n -0.14175655 0.48317296 \n 0.01663708 -0.05670698"
    assert agrees(delta_A1.T, printed)
    printed = """
        0.41010002 0.07807203 0.13798444 0.10502167
        0 0 0 0
        0.05283652 0.01005865 0.01777766 0.0135308"""
    assert agrees(grads1["W"], printed, decimals=8)
    assert agrees(grads1["b"], "-0.22007063 0 -0.02835349", decimals=8)
    printed = "0 0.52257901 \n 0 -0.3269206 \n 0 -0.32070404 \n 0 -0.74079187"
    assert agrees(delta_A0.T, printed, decimals=8)
