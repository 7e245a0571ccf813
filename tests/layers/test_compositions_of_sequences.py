"""Random networks of sequences: by hand and by `jax.vjp` they agree, whatever stands beside what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxbp
from tests.cases import draw, draw_params
from tests.layers.test_cases import formed
from tests.oracles import worst

D, T, V = 4, 5, 6
EXACT = 1e-12


@st.composite
def attention(pick):
    heads = pick(st.sampled_from([1, 2]))
    groups = pick(st.sampled_from([1, heads]))
    layer = jaxbp.attend(
        heads,
        kv_heads=groups,
        causal=pick(st.booleans()),
        rotary=pick(st.sampled_from([None, 50.0])),
        block=pick(st.sampled_from([None, 1, 2, 5])),
    )
    width = 2 * (heads + 2 * groups)
    return [jaxbp.dense(D, width), layer, jaxbp.dense(2 * heads, D, bias=pick(st.booleans()))]


def gated():
    phi = st.sampled_from([jaxbp.silu, jaxbp.gelu, jaxbp.sigmoid])
    return phi.map(lambda phi: [jaxbp.dense(D, 6), jaxbp.gate(phi), jaxbp.dense(3, D)])


def recurrent():
    return st.sampled_from([[jaxbp.elman(D, D)], [jaxbp.gru(D, D)], [jaxbp.lstm(D, D)]])


@st.composite
def blocks(pick, depth=2):
    """A few layers from (*n, T, D) to the same."""
    parts = []
    for _ in range(pick(st.integers(1, 3))):
        inner = [attention(), gated(), recurrent()] + ([blocks(depth - 1)] if depth else [])
        made = list(pick(st.one_of(*inner)))
        way = pick(st.sampled_from(["plain", "residual", "repeat"]))
        if pick(st.booleans()):
            made.insert(0, pick(st.sampled_from([jaxbp.layer_norm(D), jaxbp.rms_norm(D), jaxbp.tanh])))
        block = jaxbp.chain(*made)
        if way == "repeat":
            block = jaxbp.repeat(block, 2, saves=pick(st.sampled_from(["saved", "input"])))
        parts.append(jaxbp.residual(block) if way == "residual" else block)
    return parts


@st.composite
def networks(pick):
    """Ids to logits, tied or not, or rows to rows."""
    parts = pick(blocks())
    if pick(st.booleans()):
        return jaxbp.chain(*parts)
    first = jaxbp.embedding(V, D, positions=pick(st.sampled_from([None, T, "sinusoidal"])))
    net = jaxbp.chain(first, *parts, jaxbp.dense(D, V))
    L = sum(part.has_params for part in net.parts)
    return jaxbp.tied(net, (L, "W"), (1, "E")) if pick(st.booleans()) else net


def assert_agrees(net):
    with jax.enable_x64(True):
        params = draw_params(net, "float64")
        ids = "E" in params[1]
        f = (
            jnp.asarray(np.random.default_rng(0).integers(0, V, (2, T)))
            if ids
            else draw((2, T, D), "float64")
        )
        delta_out = draw((2, T, V if ids else D), "float64", seed=2)

        @jax.jit
        def ways(params, f):
            _, saved = net.forward(params, f)
            hand = net.backward(params, saved, delta_out)
            by_jax = jax.vjp(net.apply, params, f)[1](delta_out) if not ids else (
                jax.vjp(lambda params: net.apply(params, f), params)[1](delta_out)[0], None
            )  # fmt: skip
            _, saved_one = net.forward(params, f[0])
            own = net.backward(params, saved_one, delta_out[0])[0]
            tree = jax.tree.structure(params)
            blocks = tree.flatten_up_to(net.factors(params, saved_one, delta_out[0])[0])
            return hand, by_jax, own, tree.unflatten(map(formed, blocks))

        hand, by_jax, own, made = ways(params, f)
        assert worst(hand, by_jax) <= EXACT
        assert worst(made, own) <= EXACT


SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=1, **SETTINGS)
@given(networks())
def test_a_random_network_of_sequences(net):
    assert_agrees(net)


@pytest.mark.soak
@settings(max_examples=100, **SETTINGS)
@given(networks())
def test_300_random_networks_of_sequences(net):
    assert_agrees(net)
