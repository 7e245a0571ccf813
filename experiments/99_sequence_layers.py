"""What do hand-written attention, recurrence and repeated blocks cost against autodiff?

A step is value and gradient; by hand it is `jaxbp.value_and_grad`, against it stand `jax.value_and_grad` of
the same network, and of the best form we could write: attention and recurrence with a checkpointed step of
the loop, blocks as a checkpointed scan. Each row is measured interleaved, ``rounds`` times, as CPU time of
the process; the speed is the median over rounds of the other's time by ours, with its quartiles. Temporary
memory is what the compiler reserves, compile time is CPU time. Times need an idle machine; memory does not.

The row of the gradient of each text has the squared norms and the clipped mean of `jaxbp.per_example` against
those of ``vmap(jax.grad)``, and beside them the plain step by hand. Whole training steps beside Flax and
Equinox are those of ``90_training_benchmark --configs GPT LSTM``.

    python -m experiments.99_sequence_layers
    python -m experiments.99_sequence_layers --only "of each text"
    python -m experiments.99_sequence_layers --scale 0.25     # smaller, to see that it runs
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxbp
from experiments.record import dots, run, save, table

LOSS = jaxbp.softmax_cross_entropy
V = 65


@dataclass(frozen=True)
class Config:
    rounds: int = 15
    scale: float = 1.0
    """Of the places and the batch."""
    only: str = ""
    """The rows that have this in their names."""
    out: Path = Path("results/99_sequence_layers")


def text(batch: int, places: int) -> tuple[jax.Array, jax.Array]:
    ids = jax.random.randint(jax.random.key(0), (batch, places + 1), 0, V)
    return ids[:, :-1], ids[:, 1:]


def of(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Value and gradient of a network by autodiff."""
    return jax.value_and_grad(lambda params, x, y: LOSS(apply(params, x), y))


def gpt(batch: int, places: int) -> tuple[dict[str, Any], Any, Any]:
    net = jaxbp.gpt(V, places)
    ways = {"by hand": jaxbp.value_and_grad(net, LOSS), "jax.value_and_grad": of(net.apply)}
    return ways, net.init(jax.random.key(0)), text(batch, places)


def gpt_of_each(batch: int, places: int) -> tuple[dict[str, Any], Any, Any]:
    net = jaxbp.gpt(V, places)

    def each(params: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        of_one = jax.grad(lambda params, x, y: LOSS(net.apply(params, x), y))
        grads = jax.vmap(of_one, (None, 0, 0))(params, x, y)
        leaves = jax.tree.leaves(grads)
        return grads, sum(jnp.sum(g**2, tuple(range(1, g.ndim))) for g in leaves)

    def clipped(*args: Any) -> Any:
        grads, norms = each(*args)
        weights = jnp.minimum(1, 1 / jnp.sqrt(norms)) / batch
        return jax.tree.map(lambda g: jnp.tensordot(weights, g, 1), grads)

    ways = {
        "a step by hand": jaxbp.value_and_grad(net, LOSS),
        "squared norms": lambda *args: jaxbp.per_example(net, LOSS, *args).squared_norms(),
        "clipped mean": lambda *args: jaxbp.per_example(net, LOSS, *args).clipped_mean(1.0),
        "vmap(jax.grad), squared norms": lambda *args: each(*args)[1],
        "vmap(jax.grad), clipped mean": clipped,
    }
    return ways, net.init(jax.random.key(0)), text(batch, places)


def attention(batch: int, places: int) -> tuple[dict[str, Any], Any, Any]:
    layer = jaxbp.attend(4, causal=True)
    f = jax.random.normal(jax.random.key(0), (batch, places, 384))
    delta = jnp.ones((batch, places, 128))

    def by_hand(_: Any, f: jax.Array, delta: jax.Array) -> Any:
        out, saved = layer.forward({}, f)
        return out, layer.backward({}, saved, delta)

    def by_jax(apply: Callable[[jax.Array], jax.Array]) -> Callable[..., Any]:
        def way(_: Any, f: jax.Array, delta: jax.Array) -> Any:
            out, pull = jax.vjp(apply, f)
            return out, pull(delta)

        return way

    def scanned(f: jax.Array) -> jax.Array:
        """The best autodiff: a scan over blocks of queries whose body is computed again."""
        q, k, v = (a.reshape(*a.shape[:-1], 4, 32) for a in jnp.split(f, 3, -1))
        block = max(1, places // 8)
        rows = jnp.arange(places).reshape(-1, block)

        @jax.checkpoint
        def one(_: None, at: Any) -> tuple[None, jax.Array]:
            q, rows = at
            S = jnp.einsum("nthe,nshe->nhts", q, k) / jnp.sqrt(32.0)
            seen = jnp.arange(places)[None] <= rows[:, None]
            P = jax.nn.softmax(jnp.where(seen[None, None], S, -jnp.inf))
            return None, jnp.einsum("nhts,nshe->nthe", P, v)

        cut = jnp.moveaxis(q.reshape(batch, -1, block, 4, 32), 1, 0)
        out = jax.lax.scan(one, None, (cut, rows))[1]
        return jnp.moveaxis(out, 0, 1).reshape(batch, places, 128)

    ways = {
        "by hand": by_hand,
        "jax.vjp": by_jax(lambda f: layer.apply({}, f)),
        "jax.vjp, checkpointed scan": by_jax(scanned),
    }
    return ways, {}, (f, delta)


def lstm(batch: int, places: int) -> tuple[dict[str, Any], Any, Any]:
    net = jaxbp.char_rnn(V, d=128)

    def checkpointed(params: Any, ids: jax.Array) -> jax.Array:
        W, R, b = (params[2][name] for name in ("W", "R", "b"))

        @jax.checkpoint
        def one(carry: Any, x: jax.Array) -> Any:
            h, c = carry
            i, f, g, o = jnp.split(x @ W.T + h @ R.T + b[None], 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = (jnp.zeros((batch, 128)),) * 2
        h = jax.lax.scan(one, start, jnp.moveaxis(params[1]["E"][ids], 1, 0))[1]
        return jnp.moveaxis(h, 0, 1) @ params[3]["W"].T + params[3]["b"][None, None]

    ways = {
        "by hand": jaxbp.value_and_grad(net, LOSS),
        "jax.value_and_grad": of(net.apply),
        "jax.value_and_grad, checkpointed step": of(checkpointed),
    }
    return ways, net.init(jax.random.key(0)), text(batch, places)


def blocks(batch: int, places: int) -> tuple[dict[str, Any], Any, Any]:
    d = 128
    parts = (
        [jaxbp.dense(d, 3 * d), jaxbp.attend(4, causal=True), jaxbp.dense(d, d)],
        [jaxbp.dense(d, 4 * d), jaxbp.gelu, jaxbp.dense(4 * d, d)],
    )
    block = jaxbp.chain(*(jaxbp.residual(jaxbp.chain(jaxbp.layer_norm(d), *part)) for part in parts))
    nets = {
        saves: jaxbp.chain(jaxbp.embedding(V, d), jaxbp.repeat(block, 24, saves=saves), jaxbp.dense(d, V))
        for saves in ("saved", "input")
    }

    def checkpointed(params: Any, ids: jax.Array) -> jax.Array:
        one = jax.checkpoint(block.apply)
        f = jax.lax.scan(lambda f, p: (one(p, f), None), params[1]["E"][ids], params[2])[0]
        return f @ params[3]["W"].T + params[3]["b"][None, None]

    ways = {
        "by hand": jaxbp.value_and_grad(nets["saved"], LOSS),
        "by hand, from inputs": jaxbp.value_and_grad(nets["input"], LOSS),
        "jax.value_and_grad": of(nets["saved"].apply),
        "jax.value_and_grad, checkpointed blocks": of(checkpointed),
    }
    return ways, nets["saved"].init(jax.random.key(0)), text(batch, places)


ROWS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "GPT, 256 places": (gpt, 8, 256),
    "GPT, 1,024 places": (gpt, 2, 1024),
    "GPT, 256 places, of each text": (gpt_of_each, 8, 256),
    "attention, 1,024 places": (attention, 2, 1024),
    "LSTM, 128 places": (lstm, 32, 128),
    "24 blocks": (blocks, 8, 64),
}


def measured(ways: dict[str, Any], params: Any, batch: Any, rounds: int) -> dict[str, dict[str, float]]:
    """Of each way its speed as a multiple of that of the first by autodiff alone, memory and compile time."""
    compiled, found, times = {}, {}, {name: [] for name in ways}
    for name, fn in ways.items():
        began = time.process_time()
        compiled[name] = jax.jit(fn).lower(params, *batch).compile()
        memory = compiled[name].memory_analysis().temp_size_in_bytes
        found[name] = {"MiB": memory / 2**20, "compile, CPU s": time.process_time() - began}
        jax.block_until_ready(compiled[name](params, *batch))
    for _ in range(rounds):
        for name, fn in compiled.items():
            began = time.process_time()
            jax.block_until_ready(fn(params, *batch))
            times[name].append(time.process_time() - began)
    plain = next(name for name in ways if name.startswith(("jax.v", "vmap(")))
    for name in ways:
        ratios = [a / b for a, b in zip(times[plain], times[name], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
        found[name] |= {"speed": middle, "quartile 1": low, "quartile 3": high}
        found[name]["memory"] = found[name]["MiB"] / found[plain]["MiB"]
    return found


def main(config: Config) -> dict:
    result = {}
    for name, (make, batch, places) in ROWS.items():
        if config.only not in name:
            continue
        sizes = (max(1, round(n * config.scale)) for n in (batch, places))
        result[name] = measured(*make(*sizes), config.rounds)
        jax.clear_caches()
    columns = ("speed", "quartile 1", "quartile 3", "memory", "MiB", "compile, CPU s")
    rows = [(row, way, *(of[c] for c in columns)) for row, ways in result.items() for way, of in ways.items()]
    table("against autodiff", ("", "", *columns), rows)
    drawn = dots(
        {
            row: {way: [of[k] for k in ("quartile 1", "speed", "quartile 3")] for way, of in ways.items()}
            for row, ways in result.items()
        },
        "times as fast as autodiff alone: median and quartiles of CPU time",
        "Attention, recurrence and repeated blocks, by hand and by autodiff",
        one=1,
    )
    return save(config, result, drawn)


if __name__ == "__main__":
    run(main, Config)
