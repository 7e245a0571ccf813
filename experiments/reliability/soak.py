"""A long run and many runs: no memory grows, nothing is traced again, and the bits come out the same."""

import gc
import hashlib
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.reliability.row import Row, many
from experiments.reliability.task import run

PAGE = os.sysconf("SC_PAGE_SIZE")
N, BATCH = 10_000, 10
NET = jaxbp.mlp([4, 3, 2], jaxbp.tanh)


def resident() -> int:
    """The bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def digest(tree: Any) -> str:
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree))).hexdigest()


def long_run(epochs: int) -> dict[str, Any]:
    """One run of many iterations, its memory looked at after each epoch."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, 4)).astype(np.float32), rng.integers(0, 2, N).astype(np.int32)
    traced, memory = [0], []
    hand = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy)

    def grad_fn(params: Any, x: Any, y: Any) -> Any:
        traced[0] += 1
        return hand(params, x, y)

    def look(record: Any) -> None:
        memory.append(resident())

    result = jaxbp.fit(
        grad_fn,
        NET.init(jax.random.key(0)),
        (x, y),
        optimizer=optax.adam(1e-3),
        key=jax.random.key(1),
        batch_size=BATCH,
        epochs=epochs,
        callbacks=[look],
        progress_bar=False,
    )
    warm = max(1, epochs // 10)
    growth = max(memory[-max(1, epochs // 20) :]) / max(memory[:warm]) - 1
    return {
        "digest": digest([result.params, result.opt_state]),
        "traced": traced[0],
        "growth": growth,
        "steps": epochs * N // BATCH,
    }


def many_calls(calls: int) -> dict[str, Any]:
    """Many short runs with the same functions."""
    x, y = jnp.ones((64, 4)), jnp.asarray(np.arange(64) % 2)
    traced, digests, memory = [0], set(), []
    hand = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy)
    optimizer, params = optax.adam(1e-3), NET.init(jax.random.key(0))

    def grad_fn(params: Any, x: Any, y: Any) -> Any:
        traced[0] += 1
        return hand(params, x, y)

    first = 0
    for _ in range(calls):
        result = jaxbp.fit(
            grad_fn,
            params,
            (x, y),
            optimizer=optimizer,
            key=jax.random.key(1),
            batch_size=16,
            epochs=3,
            progress_bar=False,
        )
        digests.add(digest(result.params))
        gc.collect()
        memory.append(resident())
        first = first or traced[0]
    warm = max(1, calls // 4)
    return {
        "digests": len(digests),
        "again": traced[0] - first,
        "growth": memory[-1] / max(memory[:warm]) - 1,
        "calls": calls,
    }


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0) -> Row:
    """The row of the scorecard: 10^6 steps twice and 200 calls of fit at scale 1."""
    epochs = many(1000, scale)
    long = list(run("soak", "long_run", [[epochs], [epochs]], jobs=jobs, timeout=7200))
    (short,) = run("soak", "many_calls", [[many(200, scale)]], jobs=1, timeout=3600)
    if any("died" in answer for answer in (*long, short)):
        return Row("10^6 steps; 200 calls of fit", "", "a process died", False, "", (str(long), str(short)))
    growth = max(answer["growth"] for answer in long)
    faults = []
    if growth >= 0.01 or short["growth"] >= 0.01:
        faults.append(f"memory grew by {growth:.2%} in the long run, {short['growth']:.2%} over the calls")
    if long[0]["traced"] > 2 or short["again"]:
        faults.append(
            f"grad_fn was traced {long[0]['traced']} times in one run, {short['again']} times in later calls"
        )
    if long[0]["digest"] != long[1]["digest"] or short["digests"] > 1:
        faults.append("the digests differ")
    return Row(
        "10^6 steps; 200 calls of fit",
        "memory growth < 1 % after warm-up, no retrace, same digest twice",
        f"{long[0]['steps']:,} steps twice: {growth:+.2%}, traced {long[0]['traced']} times; "
        f"{short['calls']} calls: {short['growth']:+.2%}, {short['again']} traces again",
        not faults,
        "calls with new functions each time, which compile and are held by JAX's caches",
        tuple(faults),
    )
