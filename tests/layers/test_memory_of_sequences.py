"""Facts of memory: what the compiler reserves for a step by hand, against `jax.grad` of the same network."""

import jax
import jax.numpy as jnp
import pytest

import jaxbp

pytestmark = [
    pytest.mark.jax_release,
    pytest.mark.skipif(jax.default_backend() != "cpu", reason="what other compilers keep is not measured"),
]


def temporary(fn, *shapes):
    return jax.jit(fn).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def share(net, x, *, hand=None):
    """Temporary memory of forward and backward by hand over that of `jax.vjp` of apply."""
    params = jax.eval_shape(net.init, jax.random.key(0))
    hand = hand or net

    def by_hand(params, x):
        out, saved = hand.forward(params, x)
        return out, hand.backward(params, saved, jnp.ones_like(out))

    def by_jax(params, x):
        if jnp.issubdtype(x.dtype, jnp.integer):
            out, vjp = jax.vjp(lambda params: net.apply(params, x), params)
        else:
            out, vjp = jax.vjp(net.apply, params, x)
        return out, vjp(jnp.ones_like(out))

    return temporary(by_hand, params, x) / temporary(by_jax, params, x)


@pytest.mark.soak
def test_attention_over_many_places():
    net = jaxbp.attend(4, causal=True)
    assert share(net, jax.ShapeDtypeStruct((2, 1024, 3 * 128), "float32")) <= 0.1


def test_attention_in_blocks_keeps_less_than_autodiff_s_best_form():
    """A scan over blocks of queries whose body is computed again, the best that was written for autodiff."""
    H, T, e = 4, 1024, 32
    f = jax.ShapeDtypeStruct((2, T, 3 * H * e), "float32")
    layer = jaxbp.attend(H, causal=True)

    def scanned(f):
        q, k, v = (a.reshape(2, T, H, e) for a in jnp.split(f, 3, -1))
        rows = jnp.arange(T).reshape(-1, T // 8)

        @jax.checkpoint
        def one(_, at):
            q, rows = at
            S = jnp.einsum("nthe,nshe->nhts", q, k) / jnp.sqrt(32.0)
            P = jax.nn.softmax(jnp.where(jnp.arange(T)[None] <= rows[:, None], S, -jnp.inf))
            return None, jnp.einsum("nhts,nshe->nthe", P, v)

        cut = jnp.moveaxis(q.reshape(2, 8, T // 8, H, e), 1, 0)
        return jnp.moveaxis(jax.lax.scan(one, None, (cut, rows))[1], 0, 1).reshape(2, T, H * e)

    def by_hand(f):
        out, saved = layer.forward({}, f)
        return out, layer.backward({}, saved, out)[1]

    def by_jax(f):
        out, vjp = jax.vjp(scanned, f)
        return out, vjp(out)[0]

    with jax.numpy_rank_promotion("allow"):
        assert temporary(by_hand, f) <= temporary(by_jax, f)


@pytest.mark.soak
def test_a_gpt_over_256_places():
    net = jaxbp.gpt(65, 256, d=64, layers=2, heads=4)
    assert share(net, jax.ShapeDtypeStruct((4, 256), "int32")) <= 0.7


@pytest.mark.soak
def test_an_lstm():
    net = jaxbp.char_rnn(65, d=64)
    assert share(net, jax.ShapeDtypeStruct((16, 64), "int32")) <= 0.95


@pytest.mark.soak
@pytest.mark.parametrize(("saves", "most"), [("saved", 0.35), ("input", 0.1)])
def test_24_blocks(saves, most):
    d = 64
    branches = (
        [jaxbp.dense(d, 3 * d), jaxbp.attend(2, causal=True), jaxbp.dense(d, d)],
        [jaxbp.dense(d, 4 * d), jaxbp.gelu, jaxbp.dense(4 * d, d)],
    )
    block = jaxbp.chain(*(jaxbp.residual(jaxbp.chain(jaxbp.layer_norm(d), *parts)) for parts in branches))
    x = jax.ShapeDtypeStruct((4, 64, d), "float32")
    assert share(jaxbp.repeat(block, 24), x, hand=jaxbp.repeat(block, 24, saves=saves)) <= most


def test_the_logits_of_many_ids_are_never_whole():
    net, loss = jaxbp.char_rnn(8192, d=16, cell=jaxbp.elman), jaxbp.softmax_cross_entropy
    params = jax.eval_shape(net.init, jax.random.key(0))
    ids = jax.ShapeDtypeStruct((64, 16), "int32")
    whole, chunks = (jaxbp.value_and_grad(net, loss, chunks=chunks) for chunks in (1, 8))
    assert temporary(chunks, params, ids, ids) <= 0.25 * temporary(whole, params, ids, ids)
