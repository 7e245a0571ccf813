"""Networks of layers in JAX by hand, Flax Linen and Equinox, from the same parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.peers.job import SYMBOLS, Deep
from experiments.peers.with_jax import begin, dispatched, optimizer_of, scans

HEADS, PAIRS = 4, 4
"""Of the GPT: heads, and pairs of residuals."""


def step_of(job: Deep, apply: Callable[..., jax.Array], params: Any) -> tuple[Callable[..., Any], tuple]:
    """An iteration by autodiff of ``apply``, and the state that it begins with."""
    optimizer = optimizer_of(job)

    def loss_of(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()

    def step(state: tuple, batch: tuple) -> tuple[tuple, jax.Array]:
        params, opt_state = state
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return step, (params, optimizer.init(params))


def raw(job: Deep, x: np.ndarray, y: np.ndarray):
    """An epoch is a scan; the network is ours, its gradient autodiff's."""
    net, params = begin(job)
    return scans(job, x, y, *step_of(job, net.apply, params))


def per_step(job: Deep, x: np.ndarray, y: np.ndarray):
    net, params = begin(job)
    return dispatched(job, x, y, *step_of(job, net.apply, params))


def flax_linen(job: Deep, x: np.ndarray, y: np.ndarray):
    import flax.linen as nn

    def dense(of: dict) -> dict:
        return {"kernel": of["W"].T, "bias": of["b"]}

    class LeNet(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for channels, pads in ((6, 2), (16, 0)):
                x = nn.relu(nn.Conv(channels, (5, 5), padding=pads)(x))
                x = nn.max_pool(x, (2, 2), (2, 2))
            x = x.reshape(len(x), -1)
            for size in (120, 84):
                x = nn.relu(nn.Dense(size)(x))
            return nn.Dense(10)(x)

        def taken(self, params: dict) -> dict:
            convs = [{"kernel": params[l]["W"].transpose(2, 3, 1, 0), "bias": params[l]["b"]} for l in (1, 2)]
            made = {f"Conv_{i}": conv for i, conv in enumerate(convs)}
            return made | {f"Dense_{i}": dense(params[3 + i]) for i in range(3)}

    class GPT(nn.Module):
        @nn.compact
        def __call__(self, ids: jax.Array) -> jax.Array:
            embed, mask = nn.Embed(SYMBOLS, job.d), nn.make_causal_mask(ids)
            f = embed(ids) + self.param("P", nn.initializers.normal(), (job.places, job.d))[None]
            for _ in range(PAIRS):
                h = nn.LayerNorm(epsilon=1e-5)(f)
                f = f + nn.MultiHeadDotProductAttention(HEADS, qkv_features=job.d)(h, mask=mask)
                h = nn.gelu(nn.Dense(4 * job.d)(nn.LayerNorm(epsilon=1e-5)(f)))
                f = f + nn.Dense(job.d)(h)
            return embed.attend(nn.LayerNorm(epsilon=1e-5)(f))

        def taken(self, params: dict) -> dict:
            made = {"Embed_0": {"embedding": params[1]["E"]}, "P": params[1]["P"]}
            heads = (HEADS, job.d // HEADS)
            for i in range(PAIRS):
                look, think = (params[2 + 2 * i + k]["branch"] for k in (0, 1))
                parts = zip(jnp.split(look[2]["W"], 3), jnp.split(look[2]["b"], 3), strict=True)
                qkv = [{"kernel": W.T.reshape(job.d, *heads), "bias": b.reshape(heads)} for W, b in parts]
                out = {"kernel": look[3]["W"].T.reshape(*heads, job.d), "bias": look[3]["b"]}
                attention = dict(zip(("query", "key", "value"), qkv, strict=True)) | {"out": out}
                made |= {f"MultiHeadDotProductAttention_{i}": attention}
                made |= {f"LayerNorm_{2 * i + k}": norm(part[1]) for k, part in enumerate((look, think))}
                made |= {f"Dense_{2 * i + k}": dense(think[2 + k]) for k in (0, 1)}
            return made | {f"LayerNorm_{2 * PAIRS}": norm(params[2 * PAIRS + 2])}

    def norm(of: dict) -> dict:
        return {"scale": of["g"], "bias": of["b"]}

    class LSTM(nn.Module):
        @nn.compact
        def __call__(self, ids: jax.Array) -> jax.Array:
            return nn.Dense(SYMBOLS)(nn.RNN(nn.OptimizedLSTMCell(job.d))(nn.Embed(SYMBOLS, job.d)(ids)))

        def taken(self, params: dict) -> dict:
            W, R, b = (jnp.split(params[2][name], 4) for name in ("W", "R", "b"))
            cell = {f"i{gate}": {"kernel": W[i].T} for i, gate in enumerate("ifgo")}
            cell |= {f"h{gate}": {"kernel": R[i].T, "bias": b[i]} for i, gate in enumerate("ifgo")}
            embed = {"embedding": params[1]["E"]}
            return {"Embed_0": embed, "OptimizedLSTMCell_0": cell, "Dense_0": dense(params[3])}

    module = {"LeNet": LeNet, "GPT": GPT, "LSTM": LSTM}[job.net]()
    params = jax.tree.map(jnp.copy, module.taken(begin(job)[1]))
    return dispatched(job, x, y, *step_of(job, lambda p, x: module.apply({"params": p}, x), params))


def equinox(job: Deep, x: np.ndarray, y: np.ndarray):
    import equinox as eqx

    nn, key, d = eqx.nn, jax.random.key(job.seed), job.d

    def dense(of: dict) -> Any:
        made = nn.Linear(*of["W"].shape[::-1], use_bias="b" in of, key=key)
        return put(made, weight=of["W"], **({"bias": of["b"]} if "b" in of else {}))

    def norm(of: dict) -> Any:
        return put(nn.LayerNorm(d), weight=of["g"], bias=of["b"])

    def put(module: Any, **arrays: Any) -> Any:
        return eqx.tree_at(lambda m: [getattr(m, name) for name in arrays], module, list(arrays.values()))

    class LeNet(eqx.Module):
        convs: list
        denses: list

        def __init__(self, params: dict):
            sizes = ((1, 6, 2), (6, 16, 0))
            convs = [nn.Conv2d(c, c_out, 5, padding=pads, key=key) for c, c_out, pads in sizes]
            made = zip(convs, (params[1], params[2]), strict=True)
            self.convs = [put(conv, weight=of["W"], bias=of["b"][:, None, None]) for conv, of in made]
            # Channels come first here, and places first where the parameters come from.
            W = params[3]["W"].reshape(120, 5, 5, 16).transpose(0, 3, 1, 2).reshape(120, 400)
            self.denses = [dense(of) for of in ({"W": W, "b": params[3]["b"]}, params[4], params[5])]

        def __call__(self, x: jax.Array) -> jax.Array:
            x = x.transpose(2, 0, 1)
            for conv in self.convs:
                x = nn.MaxPool2d(2, 2)(jax.nn.relu(conv(x)))
            first, second, last = self.denses
            return last(jax.nn.relu(second(jax.nn.relu(first(x.reshape(-1))))))

    class Attention(eqx.Module):
        inner: nn.MultiheadAttention

        def __init__(self, qkv: dict, out: dict):
            ways = ("query", "key", "value")
            uses = {f"use_{name}_bias": True for name in (*ways, "output")}
            inner = nn.MultiheadAttention(HEADS, d, **uses, key=key)
            parts = zip(jnp.split(qkv["W"], 3), jnp.split(qkv["b"], 3), strict=True)
            made = [dense({"W": W, "b": b}) for W, b in parts] + [dense(out)]
            names = [f"{name}_proj" for name in (*ways, "output")]
            self.inner = put(inner, **dict(zip(names, made, strict=True)))

        def __call__(self, f: jax.Array) -> jax.Array:
            return self.inner(f, f, f, mask=jnp.tri(len(f), dtype=bool))

    class GPT(eqx.Module):
        E: jax.Array
        P: jax.Array
        norms: list
        looks: list
        thinks: list

        def __init__(self, params: dict):
            self.E, self.P = params[1]["E"], params[1]["P"]
            branches = [params[2 + i]["branch"] for i in range(2 * PAIRS)]
            self.norms = [norm(of[1]) for of in branches] + [norm(params[2 * PAIRS + 2])]
            self.looks = [Attention(of[2], of[3]) for of in branches[::2]]
            self.thinks = [[dense(of[2]), dense(of[3])] for of in branches[1::2]]

        def __call__(self, ids: jax.Array) -> jax.Array:
            f, norms = self.E[ids] + self.P, [jax.vmap(norm) for norm in self.norms]
            for i, (look, (wide, back)) in enumerate(zip(self.looks, self.thinks, strict=True)):
                f = f + look(norms[2 * i](f))
                f = f + jax.vmap(back)(jax.nn.gelu(jax.vmap(wide)(norms[2 * i + 1](f))))
            return norms[-1](f) @ self.E.T

    class LSTM(eqx.Module):
        E: jax.Array
        cell: nn.LSTMCell
        head: nn.Linear

        def __init__(self, params: dict):
            self.E, self.head, of = params[1]["E"], dense(params[3]), params[2]
            self.cell = put(nn.LSTMCell(d, d, key=key), weight_ih=of["W"], weight_hh=of["R"], bias=of["b"])

        def __call__(self, ids: jax.Array) -> jax.Array:
            def one(carry: tuple, x: jax.Array) -> tuple[tuple, jax.Array]:
                carry = self.cell(x, carry)
                return carry, carry[0]

            h = jax.lax.scan(one, (jnp.zeros(d), jnp.zeros(d)), self.E[ids])[1]
            return jax.vmap(self.head)(h)

    net = {"LeNet": LeNet, "GPT": GPT, "LSTM": LSTM}[job.net](begin(job)[1])
    params, rest = eqx.partition(net, eqx.is_inexact_array)
    params = jax.tree.map(jnp.copy, params)
    return dispatched(job, x, y, *step_of(job, lambda p, x: jax.vmap(eqx.combine(p, rest))(x), params))
