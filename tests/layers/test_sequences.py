"""Attention, embeddings, recurrences and shared parameters: what the table of layers does not ask."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from tests.cases import draw, draw_params
from tests.layers.cases_sequences import BLOCK
from tests.oracles import assert_close, worst

EXACT = 1e-12


@pytest.mark.soak
def test_attention_is_flax_s(x64):
    d, heads, T = 8, 2, 5
    module = nn.MultiHeadDotProductAttention(heads, qkv_features=d, param_dtype="float64")
    x = draw((3, T, d), "float64")
    mask = nn.make_causal_mask(jnp.ones((3, T)))
    variables = module.init(jax.random.key(0), x, mask=mask)
    params = jax.tree.map(lambda leaf: draw(leaf.shape, "float64", seed=4), variables["params"])
    q, k, v, out = (params[name] for name in ("query", "key", "value", "out"))
    W = jnp.concatenate([part["kernel"].reshape(d, d).T for part in (q, k, v)])
    b = jnp.concatenate([part["bias"].reshape(d) for part in (q, k, v)])
    ours = {1: {"W": W, "b": b}, 2: {"W": out["kernel"].reshape(d, d).T, "b": out["bias"]}}
    net = jaxbp.chain(jaxbp.dense(d, 3 * d), jaxbp.attend(heads, causal=True, block=2), jaxbp.dense(d, d))

    def flax_loss(params, x):
        return (module.apply({"params": params}, x, mask=mask) ** 2).sum() / 2

    value, (by_params, by_x) = jax.value_and_grad(flax_loss, (0, 1))(params, x)
    f, saved = net.forward(ours, x)
    delta_params, delta_x = net.backward(ours, saved, f)
    assert worst((f**2).sum() / 2, value) <= EXACT
    assert worst(delta_x, by_x) <= EXACT
    assert worst(delta_params[2]["W"], by_params["out"]["kernel"].reshape(d, d).T) <= EXACT
    kernels = [by_params[name]["kernel"].reshape(d, d).T for name in ("query", "key", "value")]
    assert worst(delta_params[1]["W"], jnp.concatenate(kernels)) <= EXACT


CELLS = {"elman": (nn.SimpleCell, [""]), "gru": (nn.GRUCell, "rzn"), "lstm": (nn.OptimizedLSTMCell, "ifgo")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.soak] * (name != "gru")) for name in CELLS]
)
def test_recurrences_are_flax_s(name, x64):
    cell, gates = CELLS[name]
    module, layer = nn.RNN(cell(3, param_dtype="float64")), getattr(jaxbp, name)(5, 3)
    x = draw((2, 4, 5), "float64")
    ((scope, shapes),) = module.init(jax.random.key(0), x)["params"].items()
    params = jax.tree.map(lambda leaf: draw(leaf.shape, "float64", seed=leaf.size), shapes)

    def ours(tree):
        """Flax has a bias beside the one or the other of the two kernels of a gate, and none is 0."""

        def stacked(side, leaf):
            return jnp.concatenate([tree[side + gate].get(leaf, jnp.zeros(3)).T for gate in gates])

        made = {"W": stacked("i", "kernel"), "R": stacked("h", "kernel"), "b": stacked("i", "bias")}
        if name == "gru":
            return made | {"c": tree["hn"]["bias"]}
        return made | {"b": made["b"] + stacked("h", "bias")}

    def loss(params):
        return (module.apply({"params": {scope: params}}, x) ** 2).sum() / 2

    value, grads = jax.value_and_grad(loss)(params)
    h, saved = layer.forward(ours(params), x)
    assert worst((h**2).sum() / 2, value) <= EXACT
    assert worst(layer.backward(ours(params), saved, h)[0], ours(grads)) <= EXACT


@pytest.mark.parametrize(
    "options",
    [pytest.param({}, id="whole", marks=pytest.mark.soak), pytest.param({"block": 1}, id="blocks")],
)
def test_dropout_within_attention(options, x64):
    """The rule with a key is apply's with that key; without a key nothing is dropped, with it at the rate."""
    layer = jaxbp.attend(2, causal=True, dropout=0.4, **options)
    f, key = draw((3, 5, 12), "float64"), jax.random.key(1)
    delta_out = draw((3, 5, 4), "float64", seed=2)

    @jax.jit
    def both(f):
        out, saved = layer.forward({}, f, key=key)
        wanted, vjp = jax.vjp(lambda f: layer.apply({}, f, key=key), f)
        return (out, layer.backward({}, saved, delta_out)[1]), (wanted, *vjp(delta_out))

    assert worst(*both(f)) <= EXACT
    plain = jaxbp.attend(2, causal=True)
    assert worst(layer.apply({}, f), plain.apply({}, f)) <= EXACT
    many = jaxbp.attend(1, dropout=0.4).apply({}, jnp.ones((200, 300)), key=key)
    assert abs(float(many.mean()) - 1) < 0.02
    assert float(many.std()) > 0.01


def test_a_place_that_sees_nothing_takes_0_and_gives_0():
    for options in ({}, {"block": 2}):
        layer = jaxbp.attend(1, **options)
        f = draw((5, 6), "float32")
        out, saved = layer.forward({}, f, given={"mask": jnp.zeros((5, 5), bool)})
        assert (out == 0).all()
        assert (layer.backward({}, saved, jnp.ones((5, 2)))[1] == 0).all()


@pytest.mark.soak
def test_blocks_of_attention_s_jacobian(x64):
    """By v it is P_ts I, by k rank one, c P_ts (v_s - o_t) q_t^T, by q a covariance of k and v."""
    e, T = 3, 4
    f = draw((T, 3 * e), "float64")
    J = jaxbp.attend(1, causal=True).jacobian({}, f).matrix().reshape(T, e, T, 3, e)
    q, k, v = jnp.split(f, 3, -1)
    S = jnp.where(jnp.tril(jnp.ones((T, T), bool)), q @ k.T / jnp.sqrt(e), -jnp.inf)
    P = jax.nn.softmax(S)
    o = P @ v
    by_v = jnp.einsum("ts,ij->tisj", P, jnp.eye(e))
    by_k = jnp.einsum("ts,tsi,tj->tisj", P, v[None] - o[:, None], q) / jnp.sqrt(e)
    cov = jnp.einsum("ts,tsi,sj->tij", P, v[None] - o[:, None], k) / jnp.sqrt(e)
    by_q = jnp.einsum("tij,ts->tisj", cov, jnp.eye(T))
    assert worst(J, jnp.stack([by_q, by_k, by_v], 3)) <= EXACT


def test_truncated_back_propagation_through_time(x64):
    """The carry crosses a cut forwards, as if there were none; its delta does not."""
    layer = jaxbp.lstm(2, 3, carries=True)
    params, x = draw_params(layer, "float64"), draw((2, 6, 2), "float64")
    whole, _ = layer.forward(params, x)
    first, saved = layer.forward(params, x[:, :4])
    then, saved_then = layer.forward(params, x[:, 4:], given={"state": layer.state(saved)})
    assert worst(jnp.concatenate([first, then], 1), whole) <= EXACT

    def cut(params, x):
        _, saved = layer.forward(params, x[:, :4])
        state = jax.lax.stop_gradient(layer.state(saved))
        return (layer.apply(params, x[:, 4:], given={"state": state}) ** 2).sum() / 2

    wanted = jax.grad(cut, (0, 1))(params, x)
    delta_params, delta_x = layer.backward(params, saved_then, then)
    assert worst((delta_params, delta_x), (wanted[0], wanted[1][:, 4:])) <= EXACT
    assert (wanted[1][:, :4] == 0).all()


def test_a_tied_network_s_trace_has_the_lecture_s_names(x64):
    net = jaxbp.chain(jaxbp.embedding(5, 3), jaxbp.tanh, jaxbp.dense(3, 5, bias=False))
    both = jaxbp.tied(net, (2, "W"), (1, "E"))
    params, ids, y = draw_params(both, "float64"), jnp.array([0, 3, 3]), jnp.array([1, 2, 3])
    bp = jaxbp.backprop(both, jaxbp.softmax_cross_entropy, params, ids, y)
    assert set(bp.deltas.a) == {1, 2}
    assert bp.trace.a[1].shape == (3, 3)
    wanted = jaxbp.backprop(
        net, jaxbp.softmax_cross_entropy, {**params, 2: {"W": params[1]["E"]}}, ids, y
    ).deltas
    assert_close(bp.deltas.params, {1: {"E": wanted.params[1]["E"] + wanted.params[2]["W"]}}, "float64")
    by_jax = jax.grad(lambda p: jaxbp.softmax_cross_entropy(both.apply(p, ids), y))(params)
    assert worst(bp.deltas.params, by_jax) <= EXACT
    assert [name for name, _ in bp.quantities() if name.startswith("delta_")] == [
        "delta_f_2", "delta_a_2", "delta_f_1", "delta_a_1", "delta_E_1"
    ]  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("saves", [pytest.param("saved", marks=pytest.mark.soak), "input"])
def test_repeat_hands_on_what_is_given_and_a_key_for_each_block(saves, x64):
    block = jaxbp.residual(
        jaxbp.chain(jaxbp.dense(4, 12), jaxbp.attend(2), jaxbp.dense(4, 4), jaxbp.dropout(0.5))
    )
    layer = jaxbp.repeat(block, 2, saves=saves)
    params, f, key = draw_params(layer, "float64"), draw((2, 3, 4), "float64"), jax.random.key(2)
    given = {"mask": jnp.tril(jnp.ones((3, 3), bool))}
    out, saved = layer.forward(params, f, key=key, given=given)
    wanted, vjp = jax.vjp(lambda p, f: layer.apply(p, f, key=key, given=given), params, f)
    assert worst((out, layer.backward(params, saved, f)), (wanted, vjp(f))) <= EXACT
    one_by_one = f
    for i, k in enumerate(jax.random.split(key, 2)):
        one_by_one = block.apply(jax.tree.map(lambda leaf: leaf[i], params), one_by_one, key=k, given=given)  # noqa: B023
    assert worst(out, one_by_one) <= EXACT


IDS = jnp.array([[0, 1, 2]])
REFUSED = {
    "kv_heads": (lambda: jaxbp.attend(4, kv_heads=3), "kv_heads that divide the 4 heads, got 3"),
    "no heads": (lambda: jaxbp.attend(0), "heads"),
    "heads that do not divide d": (
        lambda: jaxbp.attend(4).apply({}, jnp.ones((3, 20))),
        "a multiple of 4 heads + 2 x 4 keys and values = 12, got shape (3, 20)",
    ),
    "no places": (lambda: jaxbp.attend(1).apply({}, jnp.ones(3)), "f of shape (*n, T, d)"),
    "an odd head to turn": (
        lambda: jaxbp.attend(1, rotary=10.0).apply({}, jnp.ones((2, 3))),
        "heads of even size",
    ),
    "a mask of numbers": (
        lambda: jaxbp.attend(1).apply({}, jnp.ones((2, 3)), given={"mask": jnp.ones((2, 2))}),
        "a mask of booleans",
    ),
    "a mask of padding": (
        lambda: jaxbp.attend(1).apply({}, jnp.ones((4, 2, 3)), given={"mask": jnp.ones((4, 2), bool)}),
        "of padding, (n, T), it is mask[:, None, :]",
    ),
    "gpt's length": (lambda: jaxbp.gpt(5, None), "gpt: expected length a whole number"),
    "gpt's kind of positions": (lambda: jaxbp.gpt(5, "sinusoidal"), "gpt: expected length a whole number"),
    "gpt's size": (lambda: jaxbp.gpt(0, 4), "gpt: expected size"),
    "gpt's heads": (lambda: jaxbp.gpt(5, 4, d=6, heads=4), "heads that divide d, 6, got 4"),
    "an id beyond the table": (
        lambda: jaxbp.embedding(3, 2).apply({"E": jnp.ones((3, 2))}, jnp.array([0, 3])),
        "ids in 0..2, got id 3 at [1]",
    ),
    "a negative id": (
        lambda: jaxbp.embedding(3, 2).apply({"E": jnp.ones((3, 2))}, jnp.array([[0], [-1]])),
        "ids in 0..2, got id -1 at [1,0]",
    ),
    "ids that are floats": (
        lambda: jaxbp.embedding(3, 2).apply({"E": jnp.ones((3, 2))}, jnp.array([0.0])),
        "ids that are whole numbers",
    ),
    "a text that is too long": (
        lambda: jaxbp.embedding(3, 2, positions=2).apply({"E": jnp.ones((3, 2)), "P": jnp.ones((2, 2))}, IDS),
        "at most 2 places, got a sequence of 3",
    ),
    "positions by another word": (lambda: jaxbp.embedding(3, 2, positions="sinusoid"), "'sinusoidal'"),
    "an odd gate": (lambda: jaxbp.gate().apply({}, jnp.ones(3)), "an even last axis, got shape (3,)"),
    "a gate with parameters": (lambda: jaxbp.gate(jaxbp.dense(2, 2)), "without parameters"),
    "no sequence": (
        lambda: jaxbp.elman(2, 1).apply(jaxbp.elman(2, 1).init(jax.random.key(0)), jnp.ones(2)),
        "f of shape (*n, T, 2), got shape (2,)",
    ),
    "integers in the middle": (
        lambda: jaxbp.lstm(2, 1).apply(jaxbp.lstm(2, 1).init(jax.random.key(0)), jnp.ones((2, 2), int)),
        "f",
    ),
    "the state of another cell": (
        lambda: carried({"h": jnp.ones((1, 3))}),
        "a state of h (1, 3), c (1, 3), got h",
    ),
    "the state of another batch": (
        lambda: carried({"h": jnp.ones((2, 3)), "c": jnp.ones((2, 3))}),
        "a state of h (1, 3), c (1, 3), got h (2, 3), c (2, 3)",
    ),
    "a cell that is a layer": (lambda: jaxbp.char_rnn(5, cell=jaxbp.lstm(2, 2)), "cell"),
    "a way that leads nowhere": (
        lambda: jaxbp.tied(jaxbp.chain(jaxbp.dense(2, 2)), (2, "W"), (1, "W")),
        "leaf, the way to an array, got (2, 'W')",
    ),
    "a way that stops early": (
        lambda: jaxbp.tied(jaxbp.chain(jaxbp.dense(2, 2)), (1,), (1, "W")),
        "it goes on to 'W', 'b'",
    ),
    "two shapes tied": (
        lambda: jaxbp.tied(jaxbp.chain(jaxbp.dense(2, 2)), (1, "b"), (1, "W")),
        "two arrays of one shape, got (2,) at (1, 'b') and (2, 2) at (1, 'W')",
    ),
    "a block that changes the size": (
        lambda: jaxbp.repeat(jaxbp.dense(2, 3), 2).apply(
            jaxbp.repeat(jaxbp.dense(2, 3), 2).init(jax.random.key(0)), jnp.ones(2)
        ),
        "a block whose output is as its input",
    ),
    "parameters of more blocks": (
        lambda: jaxbp.repeat(BLOCK, 2).apply(jaxbp.repeat(BLOCK, 3).init(jax.random.key(0)), jnp.ones(4)),
        "parameters with a leading axis 2",
    ),
    "the same mask by another name": (
        lambda: jaxbp.attend(1).apply({}, jnp.ones((2, 3)), given={"maks": jnp.ones((2, 2), bool)}),
        "no other names than mask, got 'maks'",
    ),
    "a mask without its name": (
        lambda: jaxbp.attend(1).forward({}, jnp.ones((2, 3)), given=jnp.ones((2, 2), bool)),
        "given",
    ),
    "positions that turn nothing": (
        lambda: jaxbp.attend(1).apply({}, jnp.ones((2, 3)), given={"positions": jnp.arange(2)}),
        "no other names than mask, got 'positions'",
    ),
    "a mask for an embedding": (
        lambda: jaxbp.embedding(3, 2, positions=4).apply({}, IDS, given={"mask": None}),
        "no other names than positions, got 'mask'",
    ),
    "a state for a cell that carries none": (
        lambda: jaxbp.gru(2, 1).apply(
            jaxbp.gru(2, 1).init(jax.random.key(0)), jnp.ones((3, 2)), given={"state": {"h": jnp.ones(1)}}
        ),
        "given with nothing, no layer names anything, got 'state'",
    ),
    "a name that no block has": (
        lambda: jaxbp.repeat(BLOCK, 2).apply(
            jaxbp.repeat(BLOCK, 2).init(jax.random.key(0)), jnp.ones(4), given={"mask": 1}
        ),
        "got 'mask'",
    ),
    "a name that the tied network has not": (
        lambda: TIED.apply(TIED.init(jax.random.key(0)), jnp.ones(2), given={"mask": 1}),
        "got 'mask'",
    ),
    "a name that the layer in fewer bits has not": (
        lambda: jaxbp.mixed_precision(jaxbp.attend(1)).apply({}, jnp.ones((2, 3)), given={"maks": 1}),
        "got 'maks'",
    ),
    "both arrays of a tied network": (
        lambda: TIED.apply(TIED.parts[0].init(jax.random.key(0)), jnp.ones(2)),
        "expected parameters without (2, 'W'), got an array at (2, 'W'); (1, 'W') takes its place",
    ),
    "integers to a slope": (lambda: jaxbp.relu.apply({}, IDS), "relu: expected floating-point f, got int32"),
    "integers to a slope, forwards": (lambda: jaxbp.leaky_relu.forward({}, IDS), "floating-point f"),
    "integers to softmax": (lambda: jaxbp.softmax.forward({}, IDS), "floating-point f, got int32"),
    "integers to dropout": (lambda: jaxbp.dropout(0.5).forward({}, IDS), "floating-point f, got int32"),
    "integers to a layer of one's own": (
        lambda: jaxbp.elementwise("square", lambda a: a**2, lambda a: 2 * a, saves="input").apply({}, IDS),
        "square: expected floating-point f, got int32",
    ),
    "booleans to a slope": (lambda: jaxbp.sigmoid.apply({}, IDS > 0), "floating-point f, got bool"),
    "a delta of integers": (
        lambda: jaxbp.gate().backward({}, jaxbp.gate().forward({}, jnp.ones(4))[1], jnp.ones(2, int)),
        "floating-point delta_out, got int32",
    ),
    "a block with state": (
        lambda: jaxbp.repeat(jaxbp.lstm(2, 2, carries=True), 2),
        "a block without state",
    ),
}


TIED = jaxbp.tied(jaxbp.chain(jaxbp.dense(2, 2), jaxbp.dense(2, 2)), (2, "W"), (1, "W"))


def carried(state):
    layer = jaxbp.lstm(2, 3, carries=True)
    return layer.apply(layer.init(jax.random.key(0)), jnp.ones((1, 4, 2)), given={"state": state})


@pytest.mark.parametrize("case", REFUSED)
def test_bad_use_has_a_sentence(case):
    call, words = REFUSED[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    text = str(caught.value)
    assert ": expected " in text and ", got " in text, text  # noqa: PT018
    assert words in text, text


@pytest.mark.soak
def test_a_sequence_of_no_places():
    """Nothing comes in and nothing goes out, and what is carried stays what it was."""
    for name in ("elman", "gru", "lstm"):
        layer = getattr(jaxbp, name)(2, 3, carries=True)
        params = layer.init(jax.random.key(0))
        state = {c: jnp.ones((4, 3)) for c in ("h", "c")[: 1 + (name == "lstm")]}
        out, saved = layer.forward(params, jnp.ones((4, 0, 2)), given={"state": state})
        delta_params, delta_f = layer.backward(params, saved, out)
        assert (out.shape, delta_f.shape) == ((4, 0, 3), (4, 0, 2))
        assert not any(leaf.any() for leaf in jax.tree.leaves(delta_params))
        assert all((leaf == 1).all() for leaf in jax.tree.leaves(layer.state(saved)))
        assert layer.jacobian(params, jnp.ones((0, 2))).matrix().shape == (0, 0)
    for layer in (jaxbp.attend(1), jaxbp.attend(1, causal=True, block=1)):
        out, saved = layer.forward({}, jnp.ones((4, 0, 3)))
        assert out.shape == (4, 0, 1)
        assert layer.backward({}, saved, out)[1].shape == (4, 0, 3)


def test_an_id_that_nobody_can_see_is_nan_and_never_another_s():
    layer = jaxbp.embedding(3, 2)
    out = jax.jit(layer.apply)({"E": jnp.ones((3, 2))}, jnp.array([-1, 3, 2]))
    assert np.isnan(np.asarray(out)).all(1).tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32"])
def test_ids_of_any_whole_dtype(dtype):
    layer = jaxbp.embedding(300, 2)
    params = layer.init(jax.random.key(0))
    ids = np.array([0, 100], dtype)
    assert (layer.apply(params, ids) == params["E"][jnp.array([0, 100])]).all()
    _, saved = layer.forward(params, ids)
    assert layer.backward(params, saved, jnp.ones((2, 2)))[0]["E"].sum() == 4


def test_an_initializer_may_draw_lists():
    drawn = jaxbp.gru(2, 3, init=lambda key, shape: jnp.ones(shape).tolist()).init(jax.random.key(0))
    assert (drawn["W"] == 1).all()
    assert drawn["W"].shape == (9, 2)
