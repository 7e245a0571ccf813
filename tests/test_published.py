"""Published worked examples of whole networks, reproduced to the digits they print.

The numbers stand here as they were printed: see `agrees`. Where a source is wrong the test names the right
value, and asserts that the printed one is not reproduced.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from tests.printed import agrees, cut

pytestmark = pytest.mark.usefixtures("x64")


class TestMazur:
    """Matt Mazur, "A step by step backpropagation example", 2015:
    mattmazur.com/2015/03/17/a-step-by-step-backpropagation-example, and its code,
    github.com/mattm/simple-neural-network. A 2-2-2 sigmoid net with 1/2 squared error; the biases are
    not updated.
    """

    net = jaxbp.mlp([2, 2, 2], jaxbp.sigmoid, output=jaxbp.sigmoid)

    @staticmethod
    def start():
        params = {
            1: {"W": jnp.array([[0.15, 0.2], [0.25, 0.3]]), "b": jnp.array([0.35, 0.35])},
            2: {"W": jnp.array([[0.4, 0.45], [0.5, 0.55]]), "b": jnp.array([0.6, 0.6])},
        }
        return params, jnp.array([0.05, 0.1]), jnp.array([0.01, 0.99])

    def fit(self, repeats, epochs, frozen_bias=True):
        params, x, t = self.start()
        kinds = {l: {"W": "trained", "b": "frozen" if frozen_bias else "trained"} for l in params}
        sgd = optax.partition({"trained": optax.sgd(0.5), "frozen": optax.set_to_zero()}, kinds)
        data = jnp.tile(x, (repeats, 1)), jnp.tile(t, (repeats, 1))
        grad_fn = jaxbp.value_and_grad(self.net, jaxbp.squared_error)
        return jaxbp.fit(
            grad_fn, params, data, optimizer=sgd, key=jax.random.key(0), batch_size=1, epochs=epochs,
            progress_bar=False,
        )  # fmt: skip

    def test_every_printed_step(self):
        bp = jaxbp.backprop(self.net, jaxbp.squared_error, *self.start())
        f, a, deltas = bp.trace.f, bp.trace.a, bp.deltas
        assert agrees(a[1][0], "0.3775")
        assert agrees(f[1], "0.593269992 0.596884378")
        assert agrees(a[2][0], "1.105905967")
        assert agrees(f[2], "0.75136507 0.772928465")
        y = self.start()[2]
        assert agrees(jax.vmap(jaxbp.squared_error)(f[2][:, None], y[:, None]), "0.274811083 0.023560026")
        assert agrees(bp.loss, "0.298371109")
        assert agrees(deltas.f[2][0], "0.74136507")
        slope_o1 = jaxbp.sigmoid.backward({}, f[2], jnp.ones(2))[1][0]
        slope_h1 = jaxbp.sigmoid.backward({}, f[1], jnp.ones(2))[1][0]
        assert agrees(slope_o1, "0.186815602")
        assert agrees(slope_h1, "0.241300709")
        assert agrees(deltas.a[2][0], "0.138498562")
        assert agrees(deltas.params[2]["W"][0, 0], "0.082167041")
        # What each output alone sends back to h1, and their sum. The second is printed as -0.019049119,
        # wrong in its last digit.
        through = jnp.diag(deltas.a[2]) @ self.start()[0][2]["W"]
        assert agrees(through[:, 0], "0.055399425 -0.019049118")
        assert not agrees(through[1, 0], "-0.019049119")
        assert agrees(deltas.f[1][0], "0.036350306")
        assert agrees(deltas.params[1]["W"][0, 0], "0.000438568")

    def test_deltas_that_the_blog_does_not_print(self):
        """Worked out apart from this library, in float64 loops."""
        deltas = jaxbp.backprop(self.net, jaxbp.squared_error, *self.start()).deltas
        assert agrees(deltas.a[2], "0.138498561629 -0.038098236517")
        assert agrees(deltas.f[1], "0.036350306393 0.041370322649")
        assert agrees(deltas.a[1], "0.008771354689 0.009954254705")
        assert agrees(deltas.x, "0.003804266880 0.004740547349")

    def test_one_update(self):
        after = self.fit(repeats=1, epochs=1).params
        assert agrees(after[2]["W"], "0.35891648 0.408666186 \n 0.51130127 0.561370121")
        assert agrees(after[1]["W"], "0.149780716 0.19956143 \n 0.24975114 0.29950229")

    def test_the_bias_updated_too(self):
        """The values of a third party's unit test of the same example; float64 for the error after it."""
        result = self.fit(repeats=1, epochs=2, frozen_bias=False)
        params, x, t = self.start()
        _, grads = jaxbp.value_and_grad(self.net, jaxbp.squared_error)(params, x, t)
        after = jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)
        assert agrees(after[2]["b"], "0.530751 0.619049")
        assert agrees(after[1]["b"], "0.345614 0.345023")
        assert agrees(result.history["loss"][1], "0.28047144679143016")

    def test_the_error_of_the_first_updates(self):
        """The code prints 0.291027774 after one update; the 0.291027924 of the blog is wrong."""
        errors = self.fit(repeats=1, epochs=4).history["loss"]
        assert agrees(errors, "0.298371109 0.291027774 0.283547133 0.275943289")
        assert not agrees(errors[1], "0.291027924")

    def test_10_000_updates(self):
        """The code prints 3.5102e-05. The blog's error and outputs there are wrong from the 4th digit on."""
        params = self.fit(repeats=10_000, epochs=1).params
        out = self.net.apply(params, self.start()[1])
        error = jaxbp.squared_error(out, self.start()[2])
        assert agrees(error, "3.5102e-05")
        assert agrees(error, "3.51018778e-05")
        assert agrees(out, "0.015913620 0.984064274")
        assert not agrees(error, "3.51085e-05")
        assert not agrees(out[0], "0.015912196")
        assert not agrees(out[1], "0.984065734")


class TestNg:
    """The test case of nnCostFunction in Andrew Ng's Machine Learning (Coursera), exercise 4, from the
    course's tutorials: a 2-2-4 net of sigmoids, theta = [1..18] / 10 column by column, the cross-entropy of
    every output summed and its mean over 3 examples.
    """

    net = jaxbp.mlp([2, 2, 4], jaxbp.sigmoid)
    through_sigmoid = jaxbp.mlp([2, 2, 4], jaxbp.sigmoid, output=jaxbp.sigmoid)

    @staticmethod
    def case():
        theta = jnp.arange(1.0, 19.0) / 10
        thetas = theta[:6].reshape(2, 3, order="F"), theta[6:].reshape(4, 3, order="F")
        params = {l: {"W": t[:, 1:], "b": t[:, 0]} for l, t in enumerate(thetas, 1)}
        x = jnp.cos(jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        return params, x, jax.nn.one_hot(jnp.array([4, 2, 3]) - 1, 4)

    @staticmethod
    def unrolled(grads):
        """As Octave's [Theta1(:); Theta2(:)], the bias in the first column."""
        thetas = (jnp.column_stack([grads[l]["b"], grads[l]["W"]]) for l in (1, 2))
        return jnp.concatenate([theta.ravel(order="F") for theta in thetas])

    def test_forward(self):
        """The activations are printed with their further digits cut off."""
        bp = jaxbp.backprop(self.net, jaxbp.binary_cross_entropy, *self.case())
        assert agrees(
            bp.trace.a[1],
            """
            0.05401727 0.16643282
            -0.52381956 -0.58818317
            0.66518380 0.88956705""",
        )
        assert agrees(
            cut(bp.trace.f[1], 8),
            """
            0.51350103 0.54151242
            0.37195952 0.35705182
            0.66042389 0.70880081""",
        )
        assert agrees(
            cut(bp.mu, 7),
            """
            0.8886593 0.9074274 0.9233049 0.9366493
            0.8381779 0.8602820 0.8797997 0.8969177
            0.9234142 0.9385775 0.9508982 0.9608506""",
        )

    def test_cost_without_regulariser(self):
        """Printed as 7.4069, cut off; rounded it is 7.4070."""
        loss, _ = jaxbp.value_and_grad(self.net, jaxbp.binary_cross_entropy)(*self.case())
        assert agrees(loss, "7.406969856065749")
        assert agrees(cut(loss, 4), "7.4069")
        assert not agrees(loss, "7.4069")

    @pytest.mark.parametrize("form", ["logits", "sigmoid output"])
    def test_gradient_without_regulariser(self, form):
        """The same numbers from the loss on logits and from the sigmoid's backward pass."""
        net, loss = {
            "logits": (self.net, jaxbp.binary_cross_entropy),
            "sigmoid output": (self.through_sigmoid, jaxbp.binary_cross_entropy_on_probabilities),
        }[form]
        _, grads = jaxbp.value_and_grad(net, loss)(*self.case())
        assert agrees(
            self.unrolled(grads),
            """
            0.766138369630136 0.979896866040661 -0.027539615885635
            -0.035844208951086 -0.024928782740987 -0.053861693972528
            0.883417207679397 0.568762344914511 0.584667662135129
            0.598139236978449 0.459313549296372 0.344618182524694
            0.256313331202455 0.311885062878785 0.478336623152867
            0.368920406686281 0.259770621934099 0.322330889109923""".replace("\n", " "),
        )

    def test_regularised_with_lambda_4(self):
        """The term lambda / 2m sum W^2 and its gradient lambda / m W, on the weights and not the biases."""
        params, x, y = self.case()
        loss, grads = jaxbp.value_and_grad(self.net, jaxbp.binary_cross_entropy)(params, x, y)
        weights = {l: {"W": p["W"], "b": jnp.zeros_like(p["b"])} for l, p in params.items()}
        penalty = 4 / (2 * len(x)) * sum((w**2).sum() for w in jax.tree.leaves(weights))
        assert agrees(loss + penalty, "19.473636522732416")
        grads = jax.tree.map(lambda g, w: g + 4 / len(x) * w, grads, weights)
        assert agrees(
            self.unrolled(grads),
            """
            0.766138369630136 0.979896866040661 0.372460384114365
            0.497489124382247 0.641737883925680 0.746138306027472
            0.883417207679397 0.568762344914511 0.584667662135129
            0.598139236978449 1.925980215963038 1.944618182524693
            1.989646664535788 2.178551729545452 2.478336623152867
            2.502253740019614 2.526437288600766 2.722330889109923""".replace("\n", " "),
        )

    def test_deltas_of_the_hidden_layer(self):
        """The exercise's delta2 is for each example alone, hence the sum; float64, from loops."""
        deltas = jaxbp.backprop(self.net, jaxbp.binary_cross_entropy.sum, *self.case()).deltas
        assert agrees(
            deltas.a[1],
            """
            0.793931661804 1.052807556712
            0.736735813121 0.951281663454
            0.767747633965 0.935601377956""",
        )


class TestNegnevitsky:
    """Negnevitsky, Artificial Intelligence: A Guide to Intelligent Systems, chapter 6: XOR by a 2-2-1 sigmoid
    net with thresholds theta = -b, learning rate 0.1, in the *error* convention, delta = -delta_a.

    The book's 224 epochs are not tested: plain iterative training at this rate needs over 50,000.
    """

    net = jaxbp.mlp([2, 2, 1], jaxbp.sigmoid, output=jaxbp.sigmoid)

    @staticmethod
    def params(w13, w14, w23, w24, w35, w45, theta3, theta4, theta5):
        return {
            1: {"W": jnp.array([[w13, w23], [w14, w24]]), "b": -jnp.array([theta3, theta4])},
            2: {"W": jnp.array([[w35, w45]]), "b": -jnp.array([theta5])},
        }

    def test_first_step(self):
        params = self.params(0.5, 0.9, 0.4, 1.0, -1.2, 1.1, 0.8, -0.1, 0.3)
        x, y = jnp.array([[1.0, 1.0]]), jnp.array([[0.0]])
        bp = jaxbp.backprop(self.net, jaxbp.squared_error, params, x, y)
        assert agrees(bp.trace.f[1], "0.5250 0.8808")
        assert agrees(bp.trace.f[2], "0.5097")
        assert agrees(-bp.deltas.f[2], "-0.5097")
        assert agrees(-bp.deltas.a[2], "-0.1274")
        assert agrees(-bp.deltas.a[1], "0.0381 -0.0147")
        after = jaxbp.fit(
            jaxbp.value_and_grad(self.net, jaxbp.squared_error), params, (x, y), optimizer=optax.sgd(0.1),
            key=jax.random.key(0), batch_size=1, epochs=1, progress_bar=False,
        ).params  # fmt: skip
        assert agrees(after[1]["W"], "0.5038 0.4038 \n 0.8985 0.9985")
        assert agrees(after[2]["W"], "-1.2067 1.0888")
        assert agrees(-after[1]["b"], "0.7962 -0.0985")
        assert agrees(-after[2]["b"], "0.3127")

    def test_final_network(self):
        params = self.params(4.7621, 6.3917, 4.7618, 6.3917, -10.3788, 9.7691, 7.3061, 2.8441, 4.5589)
        x = jnp.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        y = jnp.array([[0.0], [1.0], [1.0], [0.0]])
        out = self.net.apply(params, x)
        assert agrees(out[:, 0], "0.0155 0.9849 0.9849 0.0175")
        assert agrees(2 * jaxbp.squared_error.sum(out, y), "0.0010")


def test_goodfellow_xor():
    """Goodfellow, Bengio & Courville, Deep Learning, section 6.1: XOR solved by hand with two ReLUs."""
    net = jaxbp.mlp([2, 2, 1], jaxbp.relu)
    params = {
        1: {"W": jnp.ones((2, 2)), "b": jnp.array([0.0, -1.0])},
        2: {"W": jnp.array([[1.0, -2.0]]), "b": jnp.zeros(1)},
    }
    x, y = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([0.0, 1.0, 1.0, 0.0])
    bp = jaxbp.backprop(net, jaxbp.squared_error, params, x, y[:, None])
    assert bp.trace.a[1].tolist() == [[0, -1], [1, 0], [1, 0], [2, 1]]
    assert bp.trace.f[1].tolist() == [[0, 0], [1, 0], [1, 0], [2, 1]]
    assert bp.trace.f[2][:, 0].tolist() == [0, 1, 1, 0]
    assert bp.loss == 0
    assert all(not leaf.any() for leaf in jax.tree.leaves(bp.deltas.params))


@pytest.mark.parametrize(
    ("actual", "printed", "decimals", "same"),
    [
        (0.12344, "0.1234", None, True),
        (0.12346, "0.1234", None, False),
        (3.5e-5, "3.51e-05", None, False),
        (4.8000000049, "4.8", 8, True),
        (4.8000000051, "4.8", 8, False),
    ],
)
def test_the_comparison_itself(actual, printed, decimals, same):
    assert agrees(np.float64(actual), printed, decimals) == same
