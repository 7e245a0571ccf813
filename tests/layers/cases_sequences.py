"""Rows of the table: attention, embeddings, gates, recurrences, and parameters shared."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp
from tests.layers.case import Case


def rotated(x, base, at):
    """The turn as a product of complex numbers; x (*n, T, h, e)."""
    half = x.shape[-1] // 2
    z = jax.lax.complex(x[..., :half], x[..., half:])
    speeds = jnp.asarray(base ** -(np.arange(half) / half), x.dtype)
    turn = jnp.exp(1j * at[..., None] * speeds.reshape((1,) * at.ndim + (half,)))
    z = z * jnp.broadcast_to(turn[..., None, :], z.shape)
    return jnp.concatenate([z.real, z.imag], -1)


def attention(params, f, *, heads, groups=None, causal=False, base=None, mask=None, positions=None):
    """Head by head, by `jax.nn.softmax` of whole scores."""
    groups, T = groups or heads, f.shape[-2]
    e = f.shape[-1] // (heads + 2 * groups)
    f = f.reshape(*f.shape[:-1], heads + 2 * groups, e)
    if base is not None:
        at = jnp.arange(T) if positions is None else positions
        turned = rotated(f[..., : heads + groups, :], base, at.astype(f.dtype))
        f = jnp.concatenate([turned, f[..., heads + groups :, :]], -2)
    seen = jnp.tril(jnp.ones((T, T), bool)) if causal else jnp.ones((T, T), bool)
    seen = jnp.broadcast_to(seen, (*f.shape[:-3], T, T))
    if mask is not None:
        seen = seen & jnp.broadcast_to(mask, seen.shape)
    outs = []
    for head in range(heads):
        group = head * groups // heads
        q, k, v = f[..., head, :], f[..., heads + group, :], f[..., heads + groups + group, :]
        S = jnp.where(
            seen, q @ jnp.swapaxes(k, -1, -2) / math.sqrt(e), -1e300 if f.dtype == "float64" else -1e30
        )
        outs.append(jnp.where(seen, jax.nn.softmax(S), 0) @ v)
    return jnp.concatenate(outs, -1)


def attend(shape, *, heads, given=None, **options):
    names = {"kv_heads": "groups", "causal": "causal", "rotary": "base"}
    plain = partial(attention, heads=heads, **{names[k]: v for k, v in options.items() if k in names})
    return Case(jaxbp.attend(heads, **options), shape, plain, given=given)


def masked(n, dtype):
    """A mask of its own for each example, with a row that sees nothing."""
    mask = np.random.default_rng(5).random((*n, 5, 5)) < 0.6
    mask[..., 2, :] = False
    return {"mask": jnp.asarray(mask)}


def padded(n, dtype):
    """Keys that are not there, for every query alike."""
    return {"mask": jnp.asarray([[True, True, False, True, False]])}


def elsewhere(n, dtype):
    return {"positions": jnp.asarray([3, 1, 4, 0, 2])}


def apart(n, dtype):
    """Positions of each example's own."""
    return {
        "positions": jnp.asarray(np.random.default_rng(6).permuted(np.tile(np.arange(5), (*n, 1)), axis=-1))
    }


ATTENTION = {
    "attend": attend((4, 6), heads=1),
    "attend, heads": attend((5, 12), heads=2),
    "attend, causal": attend((5, 12), heads=2, causal=True),
    "attend, grouped": attend((5, 16), heads=4, kv_heads=2),
    "attend, one key for all": attend((5, 12), heads=4, kv_heads=1, causal=True),
    "attend, rotary": attend((5, 12), heads=2, rotary=100.0),
    "attend, rotary at positions": attend((5, 12), heads=2, rotary=100.0, given=apart),
    "attend, masked": attend((5, 12), heads=2, given=masked),
    "attend, padded": attend((5, 12), heads=2, causal=True, given=padded),
    "attend, blocks": attend((5, 12), heads=2, block=2),
    "attend, blocks, all options": attend(
        (5, 16), heads=4, kv_heads=2, block=1, causal=True, rotary=100.0, given=masked
    ),
    "attend, blocks, padded": attend((5, 12), heads=2, block=3, given=padded),
    "attend, blocks, causal, padded": attend((5, 12), heads=2, block=1, causal=True, given=padded),
    "attend, blocks of one": attend((4, 6), heads=1, block=1, causal=True),
}


def embed(params, f, positions=None):
    out = jax.nn.one_hot(f, len(params["E"]), dtype=params["E"].dtype) @ params["E"]
    if "P" in params:
        at = jnp.arange(f.shape[-1]) if positions is None else positions
        P = jax.nn.one_hot(at, len(params["P"]), dtype=params["P"].dtype) @ params["P"]
        out = out + jnp.broadcast_to(P, out.shape)
    return out


def embed_with_waves(params, f):
    out, d = embed(params, f), params["E"].shape[1]
    P = [
        [(np.cos if j % 2 else np.sin)(t / 10_000 ** (j // 2 * 2 / d)) for j in range(d)]
        for t in range(f.shape[-1])
    ]
    return out + jnp.broadcast_to(jnp.asarray(P, out.dtype), out.shape)


EMBEDDING = {
    "embedding": Case(jaxbp.embedding(4, 3), (6,), embed, ids=4),
    "embedding of one id": Case(jaxbp.embedding(4, 3), (), embed, ids=4),
    "embedding, positions": Case(jaxbp.embedding(4, 3, positions=7), (5,), embed, ids=4),
    "embedding, at positions": Case(jaxbp.embedding(4, 3, positions=5), (5,), embed, ids=4, given=elsewhere),
    "embedding, at positions apart": Case(
        jaxbp.embedding(4, 3, positions=5), (5,), embed, ids=4, given=apart
    ),
    "embedding, waves": Case(jaxbp.embedding(4, 5, positions="sinusoidal"), (6,), embed_with_waves, ids=4),
}


def gated(phi):
    return lambda params, f: phi(f[..., : f.shape[-1] // 2]) * f[..., f.shape[-1] // 2 :]


GATE = {
    "gate": Case(jaxbp.gate(), (6,), gated(lambda a: a / (1 + jnp.exp(-a)))),
    "gate at 3 positions": Case(jaxbp.gate(), (3, 4), gated(jax.nn.silu)),
    "gate of gelu": Case(jaxbp.gate(jaxbp.gelu), (6,), gated(jax.nn.gelu)),
    "gate of sigmoid": Case(jaxbp.gate(jaxbp.sigmoid), (6,), gated(jax.nn.sigmoid)),
}


def beside(u, b):
    return u + jnp.broadcast_to(b, u.shape)


def unrolled(step):
    """Place after place, a Python loop."""

    def plain(params, f, state=None):
        carry = state or {}
        zeros = jnp.zeros((*f.shape[:-2], params["R"].shape[1]), f.dtype)
        h, c = carry.get("h", zeros), carry.get("c", zeros)
        outs = []
        for t in range(f.shape[-2]):
            u = beside(f[..., t, :] @ params["W"].T, params["b"])
            h, c = step(params, u, h @ params["R"].T, h, c)
            outs.append(h)
        return jnp.stack(outs, -2)

    return plain


def elman(params, u, q, h, c):
    return jnp.tanh(u + q), c


def gru(params, u, q, h, c):
    d = h.shape[-1]
    r, z = jax.nn.sigmoid(u[..., :d] + q[..., :d]), jax.nn.sigmoid(u[..., d : 2 * d] + q[..., d : 2 * d])
    n = jnp.tanh(u[..., 2 * d :] + r * beside(q[..., 2 * d :], params["c"]))
    return n + z * (h - n), c


def lstm(params, u, q, h, c):
    i, f, g, o = (v.squeeze(-2) for v in jnp.split((u + q).reshape(*u.shape[:-1], 4, -1), 4, -2))
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def carried(*names):
    def given(n, dtype):
        rng = np.random.default_rng(8)
        return {"state": {name: jnp.asarray(rng.standard_normal((*n, 3)), dtype) for name in names}}

    return given


RECURRENCE = {
    "elman": Case(jaxbp.elman(2, 3), (4, 2), unrolled(elman)),
    "elman, carried": Case(jaxbp.elman(2, 3, carries=True), (4, 2), unrolled(elman), given=carried("h")),
    "gru": Case(jaxbp.gru(2, 3), (4, 2), unrolled(gru)),
    "gru, carried": Case(jaxbp.gru(2, 3, carries=True), (4, 2), unrolled(gru), given=carried("h")),
    "lstm": Case(jaxbp.lstm(2, 3), (4, 2), unrolled(lstm)),
    "lstm, carried": Case(jaxbp.lstm(2, 3, carries=True), (4, 2), unrolled(lstm), given=carried("h", "c")),
    "lstm of one place": Case(jaxbp.lstm(2, 3), (1, 2), unrolled(lstm)),
}


def tanh_block(params, f):
    a = f @ params["branch"][1]["W"].T
    return f + jnp.tanh(beside(a, params["branch"][1]["b"]))


def one_by_one(params, f):
    for i in range(3):
        f = tanh_block(jax.tree.map(lambda leaf, i=i: leaf[i], params), f)
    return f


BLOCK = jaxbp.residual(jaxbp.chain(jaxbp.dense(4, 4), jaxbp.tanh))


def there_and_back(params, f):
    h = jax.nn.one_hot(f, 5, dtype=params[1]["E"].dtype) @ params[1]["E"]
    return beside(jnp.tanh(h) @ params[1]["E"].T, params[2]["b"])


def both_ways(params, f):
    W = params[1]["W"]
    return jnp.tanh(f @ W.T) @ W.T


SHARED = {
    "repeat": Case(jaxbp.repeat(BLOCK, 3), (4,), one_by_one),
    "repeat, from inputs": Case(jaxbp.repeat(BLOCK, 3, saves="input"), (4,), one_by_one),
    "tied": Case(
        jaxbp.tied(jaxbp.chain(jaxbp.embedding(5, 3), jaxbp.tanh, jaxbp.dense(3, 5)), (2, "W"), (1, "E")),
        (4,),
        there_and_back,
        ids=5,
    ),
    "tied dense": Case(
        jaxbp.tied(
            jaxbp.chain(jaxbp.dense(3, 3, bias=False), jaxbp.tanh, jaxbp.dense(3, 3, bias=False)),
            (2, "W"),
            (1, "W"),
        ),
        (3,),
        both_ways,
    ),
}

SEQUENCES = {**ATTENTION, **EMBEDDING, **GATE, **RECURRENCE, **SHARED}
