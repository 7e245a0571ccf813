"""A small GPT and a small recurrent network: all that exists works on them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from tests.cases import draw_params
from tests.oracles import worst

EXACT = 1e-12
V, T = 7, 6
NETS = {
    "gpt": jaxbp.gpt(V, T, d=8, layers=1, heads=2),
    "gpt, nothing tied": jaxbp.gpt(V, T, d=8, layers=1, heads=2, bias=False, tie=False),
    "char_rnn": jaxbp.char_rnn(V, d=5),
    "char_rnn of two gru": jaxbp.char_rnn(V, d=4, layers=2, cell=jaxbp.gru),
    "llama-like": jaxbp.chain(
        jaxbp.embedding(V, 8),
        jaxbp.repeat(
            jaxbp.chain(
                jaxbp.residual(
                    jaxbp.chain(
                        jaxbp.rms_norm(8),
                        jaxbp.dense(8, 12, bias=False),
                        jaxbp.attend(4, kv_heads=1, causal=True, rotary=100.0),
                        jaxbp.dense(8, 8, bias=False),
                    )
                ),
                jaxbp.residual(
                    jaxbp.chain(
                        jaxbp.rms_norm(8), jaxbp.dense(8, 12), jaxbp.gate(), jaxbp.dense(6, 8, bias=False)
                    )
                ),
            ),
            2,
        ),
        jaxbp.dense(8, V),
    ),
}
LOSS = jaxbp.softmax_cross_entropy


def text(n=(3,)):
    ids = np.random.default_rng(0).integers(0, V, (*n, T + 1))
    return jnp.asarray(ids[..., :-1]), jnp.asarray(ids[..., 1:])


@pytest.mark.parametrize(
    "net", ["gpt", *(pytest.param(net, marks=pytest.mark.soak) for net in NETS if net != "gpt")]
)
def test_the_gradient_is_jax_s(net, x64):
    net, (x, y) = NETS[net], text()
    params, seen = draw_params(net, "float64"), jnp.asarray(np.random.default_rng(1).random((3, T)) < 0.7)
    apply = jaxbp.with_hand_vjp(net)

    @jax.jit
    def ways(params, x, y):
        by_hand = jaxbp.value_and_grad(net, LOSS)(params, x, y, weight=seen)
        by_jax = jax.value_and_grad(lambda p: LOSS(net.apply(p, x), y, seen))(params)
        by_rule = jax.grad(lambda p: LOSS(apply(p, x), y, seen))(params)
        plain = jax.grad(lambda p: LOSS(net.apply(p, x), y))(params)
        return by_hand, by_jax, by_rule, plain, jaxbp.backprop(net, LOSS, params, x, y).deltas

    by_hand, by_jax, by_rule, plain, deltas = ways(params, x, y)
    assert worst(by_hand, by_jax) <= EXACT
    assert worst(by_rule, by_jax[1]) <= EXACT
    assert worst(deltas.params, plain) <= EXACT
    assert deltas.x is None


@pytest.mark.parametrize("net", ["gpt", "char_rnn"])
def test_it_is_kept_as_a_description(net):
    net = NETS[net]
    made = jaxbp.Layer.from_dict(net.to_dict())
    assert made.to_dict() == net.to_dict()
    key = jax.random.key(3)
    assert worst(made.init(key), net.init(key)) == 0


@pytest.mark.soak
@pytest.mark.parametrize("net", [pytest.param("gpt", marks=pytest.mark.soak), "char_rnn"])
def test_it_learns_a_text_by_heart(net):
    """Pairs of texts of ids, as they are, and their next ids, to `fit`."""
    ids = np.tile(np.arange(V), 10)
    x, y = (np.stack([ids[i + d : i + d + T] for i in range(V)]) for d in (0, 1))
    net = NETS[net]
    result = jaxbp.fit(
        jaxbp.value_and_grad(net, LOSS),
        net.init(jax.random.key(0)),
        (x, y),
        optimizer=optax.adam(0.02),
        key=jax.random.key(1),
        batch_size=V,
        epochs=60 if net.tie else 150,
        progress_bar=False,
    )
    assert result.history["loss"][0] > 1.5
    assert result.history["loss"][-1] < 0.1
    assert (net.apply(result.params, jnp.asarray(x))[:, 1:].argmax(-1) == y[:, 1:]).all()


@pytest.mark.soak
@pytest.mark.parametrize(
    "net", ["gpt", *(pytest.param(net, marks=pytest.mark.soak) for net in ("llama-like", "char_rnn"))]
)
def test_per_example_gradients_of_texts(net, x64):
    net, (x, y) = NETS[net], text()
    params = draw_params(net, "float64")
    assert net.factors is not None

    @jax.jit
    def ways(params):
        g = jaxbp.per_example(net, LOSS, params, x, y)
        grads = jax.vmap(jax.grad(lambda p, x, y: LOSS(net.apply(p, x), y)), (None, 0, 0))(params, x, y)
        return (g.squared_norms(), g.clipped_mean(1.0), g.second_moment()), grads

    found, grads = ways(params)
    norms = sum((leaf**2).reshape(3, -1).sum(1) for leaf in jax.tree.leaves(grads))
    clip = jnp.minimum(1, 1 / jnp.sqrt(norms))
    clipped = jax.tree.map(lambda leaf: jnp.tensordot(clip, leaf, 1) / 3, grads)
    assert worst(found, (norms, clipped, jax.tree.map(lambda leaf: (leaf**2).mean(0), grads))) <= EXACT


@pytest.mark.soak
@pytest.mark.parametrize("net", NETS)
def test_check_network_finds_nothing(net):
    net, (x, y) = NETS[net], text()
    report = jaxbp.check_network(net, LOSS, net.init(jax.random.key(0)), x, y)
    assert report.ok, report


@pytest.mark.soak
def test_mixed_precision_keeps_parameters_and_ties():
    net, (x, y) = NETS["gpt"], text()
    params = net.init(jax.random.key(0))
    mixed = jaxbp.mixed_precision(net)
    value, grads = jax.jit(jaxbp.value_and_grad(mixed, LOSS))(params, x, y)
    exact, wanted = jax.jit(jaxbp.value_and_grad(net, LOSS))(params, x, y)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
    assert abs(float(value - exact)) < 0.02
    for found, right in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted), strict=True):
        assert jnp.linalg.norm(found - right) <= 0.1 * jnp.linalg.norm(right) + 1e-4


@pytest.mark.soak
def test_the_chain_of_a_text_begins_at_its_embedding(x64):
    net = NETS["gpt, nothing tied"]
    params, (x, _) = draw_params(net, "float64"), text(())
    after = jaxbp.chain(*net.parts[1:])
    rest = {l - 1: p for l, p in params.items() if l > 1}
    E = net.parts[0].apply(params[1], x)
    J = jax.jit(lambda E: jaxbp.jacobian_chain(after, rest, E).matrix())(E)
    assert worst(J, jax.jit(jax.jacrev(lambda f: after.apply(rest, f)))(E).reshape(T * V, -1)) <= EXACT
    with pytest.raises(TypeError, match="the chain begins at E"):
        net.parts[0].jacobian(params[1], x)


@pytest.mark.soak
def test_a_gpt_is_causal():
    net, (x, _) = NETS["gpt"], text()
    params = draw_params(net, "float32")
    other = x.at[:, 3].set((x[:, 3] + 1) % V)
    before, after = net.apply(params, x), net.apply(params, other)
    assert (before[:, :3] == after[:, :3]).all()
    assert (before[:, 3:] != after[:, 3:]).any()


SEEN = jnp.asarray(np.random.default_rng(1).random((3, T)) < 0.7)
CHUNKS = {
    "4 that do not divide, weighted": ("gpt", LOSS, SEEN, 4),
    "3": ("char_rnn", LOSS, None, 3),
    "a sum, more chunks than places": ("gpt, nothing tied", LOSS.sum, SEEN, 10**18),
}


@pytest.mark.soak
@pytest.mark.parametrize("case", CHUNKS)
def test_chunks_are_the_whole(case, x64):
    (name, loss, weight, chunks), (x, y) = CHUNKS[case], text()
    net = NETS[name]
    params = draw_params(net, "float64")
    whole = jax.jit(jaxbp.value_and_grad(net, loss))(params, x, y, weight=weight)
    parts = jax.jit(jaxbp.value_and_grad(net, loss, chunks=chunks))(params, x, y, weight=weight)
    assert worst(parts, whole) <= EXACT


def test_chunks_need_a_head():
    with pytest.raises(ValueError, match="a chain that ends in a layer with parameters"):
        jaxbp.value_and_grad(jaxbp.mlp([2, 3], output=jaxbp.tanh), LOSS, chunks=2)
    with pytest.raises(ValueError, match="chunks=1 where metrics"):
        jaxbp.ValueAndGrad(NETS["gpt"], LOSS, measures=(("one", lambda *_: 1.0),), chunks=2)


def test_an_id_out_of_range_is_refused_at_every_door():
    net, loss = jaxbp.gpt(5, 4, d=4, heads=2, layers=1), jaxbp.softmax_cross_entropy
    params, right = net.init(jax.random.key(0)), jnp.array([[1, 2, 3, 0]])
    wrong = right.at[0, 2].set(7)
    doors = [
        lambda x: net.apply(params, x),
        lambda x: jaxbp.forward(net, params, x),
        lambda x: jaxbp.backprop(net, loss, params, x, right),
        lambda x: jaxbp.value_and_grad(net, loss)(params, x, right),
        lambda x: jaxbp.per_example(net, loss, params, x, right),
        lambda x: jaxbp.parameter_jacobian(net, params, x),
        lambda x: jaxbp.jacobian_chain(net, params, x[0]),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=r"expected ids in 0\.\.4, got id 7 at \[.*2\]"):
            door(wrong)
