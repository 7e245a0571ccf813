"""The chain of images, texts and series: routed taps, cells through time, and ids at its beginning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp import jacobian_chain
from jaxbp.backprop import backward, forward
from jaxbp.operators import Kronecker, Recurrent, Routed
from tests.cases import draw, draw_params
from tests.oracles import worst

EXACT = 1e-12
LARGE = {
    "conv2d": (jaxbp.conv2d(4, 4, 3, stride=2, padding="SAME", groups=2), (256, 256, 4), Routed),
    "conv1d": (jaxbp.conv1d(3, 4, 5, dilation=2), (50_000, 3), Routed),
    "depthwise1d": (jaxbp.depthwise1d(3, 5), (50_000, 3), Routed),
    "max_pool2d": (jaxbp.max_pool2d(3, stride=2), (255, 255, 3), Routed),
    "avg_pool2d": (jaxbp.avg_pool2d(2), (256, 256, 3), Kronecker),
    "elman": (jaxbp.elman(16, 32), (4_000, 16), Recurrent),
    "lstm": (jaxbp.lstm(16, 32), (4_000, 16), Recurrent),
}
SOME = ("conv2d", "max_pool2d", "elman")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] * (name not in SOME)) for name in LARGE]
)
def test_a_jacobian_that_no_machine_could_form(name, x64):
    """From both sides, against jvp and vjp; its matrix would have more than 10^9 numbers."""
    layer, shape, kind = LARGE[name]
    params = jax.tree.map(lambda p: p.astype(float), layer.init(jax.random.key(0)))
    f = draw(shape, "float64")
    J = jax.jit(layer.jacobian)(params, f)
    assert isinstance(J, kind)
    m, n = J.shape
    assert m * n > 1e9
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(J)) < m * n / 100
    v, delta = draw((n,), "float64", seed=1), draw((m,), "float64", seed=2)

    @jax.jit
    def both(J, f):
        out, pushed = jax.jvp(lambda f: layer.apply(params, f), (f,), (v.reshape(shape),))
        (pulled,) = jax.vjp(lambda f: layer.apply(params, f), f)[1](delta.reshape(out.shape))
        return (J @ v, delta @ J), (pushed.reshape(-1), pulled.reshape(-1))

    assert worst(*both(J, f)) <= EXACT


def test_a_large_chain_prints_without_forming_its_matrices():
    layer = jaxbp.depthwise1d(1, 3, bias=False)
    printed = repr(jacobian_chain(layer, {"W": jnp.ones((1, 3))}, jnp.ones((5000, 1))))
    assert printed.endswith("product of 1 factors\n\n  J_{a_1}(x) = conv W_1  4998 x 5000  Routed")


CELLS = {"elman": ("h",), "gru": ("h",), "lstm": ("h", "c")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] * (name == "gru")) for name in CELLS]
)
def test_the_chain_through_time_is_jacrev_by_the_carry(name, x64):
    layer = getattr(jaxbp, name)(2, 3, carries=True)
    params, x = draw_params(layer, "float64"), draw((4, 2), "float64")
    start = draw((3 * len(CELLS[name]),), "float64", seed=4)

    def end(start, x):
        state = dict(zip(CELLS[name], jnp.split(start, len(CELLS[name])), strict=True))
        saved = layer.forward(params, x, given={"state": state})[1]
        return jnp.concatenate([layer.state(saved)[c] for c in CELLS[name]])

    state = dict(zip(CELLS[name], jnp.split(start, len(CELLS[name])), strict=True))
    net = jaxbp.fixed(jaxbp.chain(layer), {"state": {1: state}})
    steps = jacobian_chain(net, {1: params}, x).factors[0].steps
    wanted = jax.jacrev(end)(start, x)
    assert worst(steps.matrix(), wanted) <= EXACT
    letter = "h" if name != "lstm" else "s"
    wanted_symbols = [f"J_{{{letter}_{t}}}({letter}_{t - 1})" for t in (4, 3, 2, 1)]
    assert [factor.symbol for factor in steps.factors] == wanted_symbols
    symbols, products = zip(*steps.running(), strict=True)
    assert symbols[-1] == f"J_{{{letter}_4}}({letter}_0)"
    assert worst(products[-1], wanted) <= EXACT
    last_two = jax.jacrev(end)(end(start, x[:2]), x[2:])
    assert worst(products[1], last_two) <= EXACT
    delta = draw(start.shape, "float64", seed=5)
    pulled = steps.pull(delta)
    assert worst((pulled.f[4], pulled.f[2], pulled.f[0]), (delta, delta @ last_two, delta @ wanted)) <= EXACT
    assert pulled.x is None
    if name == "lstm":  # by way of the cell the Jacobian is diag(f): why it keeps gradients
        off = np.asarray(steps.factors[0].J.matrix())[3:, 3:]
        assert (off[~np.eye(3, dtype=bool)] == 0).all()


def test_other_layers_have_no_steps():
    assert jacobian_chain(jaxbp.tanh, {}, jnp.ones(2)).factors[0].steps is None


GPT = jaxbp.gpt(7, 6, d=4, layers=1, heads=2)
TEXTS = {
    "gpt, tied": GPT,
    "an embedding and a slope": jaxbp.chain(jaxbp.embedding(7, 4), jaxbp.tanh, jaxbp.dense(4, 7)),
    "a recurrent net": jaxbp.char_rnn(7, d=3),
    "in fewer bits": jaxbp.mixed_precision(jaxbp.char_rnn(7, d=3), "float64"),
    "positions that are fixed": jaxbp.fixed(
        jaxbp.chain(jaxbp.embedding(7, 4, positions=6), jaxbp.dense(4, 7)),
        {"positions": jnp.array([3, 1, 4, 0, 2])},
    ),
}
IDS = jnp.array([1, 2, 3, 3, 0])
SMALL = TEXTS["an embedding and a slope"]


@pytest.mark.parametrize(
    ("name", "factors"), [(name, "rule") for name in TEXTS] + [("a recurrent net", "jacrev")]
)
def test_a_chain_of_ids_begins_at_what_the_embedding_makes_of_them(name, factors, x64):
    net = TEXTS[name]
    params = draw_params(net, "float64")

    @jax.jit
    def chain_of(ids):
        return jacobian_chain(net, params, ids, factors=factors)

    chain, trace = chain_of(IDS), forward(net, params, IDS)
    assert chain.in_shape == trace.a[1].shape
    delta = draw(trace.out.shape, "float64", seed=3)
    pulled, wanted = chain.pull(delta), backward(net, params, trace, delta)
    assert (set(pulled.f), set(pulled.a)) == (set(wanted.f), set(wanted.a))
    assert pulled.x is wanted.x is None
    assert worst((pulled.f, pulled.a), (wanted.f, wanted.a)) <= EXACT
    assert worst(delta.reshape(-1) @ chain.matrix(), wanted.a[1].reshape(-1)) <= EXACT
    assert chain.symbol.endswith("(a_1)" if name == "an embedding and a slope" else "(f_1)")


@pytest.mark.soak
def test_a_chain_of_ids_that_ends_in_a_loss_is_back_propagation(x64):
    net, loss = TEXTS["a recurrent net"], jaxbp.softmax_cross_entropy
    params = draw_params(net, "float64")
    chain = jacobian_chain(net, params, IDS, loss=loss, y=IDS[::-1])
    wanted = jaxbp.backprop(net, loss, params, IDS, IDS[::-1]).deltas.a[1]
    assert worst(chain.matrix()[0], wanted.reshape(-1)) <= EXACT
    assert repr(chain).startswith("delta_{f_1}, 1 x 15")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: jacobian_chain(jaxbp.embedding(7, 2), {"E": jnp.ones((7, 2))}, IDS),
            "a layer after the one",
        ),
        (
            lambda: jacobian_chain(TEXTS["a recurrent net"], {}, IDS[None]),
            "expected parameters {1, 2, 3}",
        ),
        (
            lambda: jacobian_chain(SMALL, SMALL.init(jax.random.key(0)), jnp.stack([IDS, IDS])),
            "expected one example x, got shape (2, 5), a batch of 2",
        ),
        (
            lambda: jacobian_chain(SMALL, SMALL.init(jax.random.key(0)), IDS > 0),
            "expected ids that are whole numbers, got bool",
        ),
        (
            lambda: jacobian_chain(SMALL, SMALL.init(jax.random.key(0)), IDS + 5),
            "ids in 0..6, got id 7 at [1]",
        ),
    ],
)
def test_bad_use(call, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert words in str(caught.value), str(caught.value)


def test_to_a_layer_that_squares_whole_numbers_they_are_no_ids():
    square = jaxbp.Layer(
        "square",
        apply=lambda params, f, *, key=None: f**2,
        forward=lambda params, f, *, key=None: (f**2, f),
        backward=lambda params, saved, delta_out: ({}, delta_out * 2 * saved),
    )
    chain = jacobian_chain(square, {}, IDS)
    np.testing.assert_array_equal(chain.matrix(), np.diag(2.0 * np.asarray(IDS)))
