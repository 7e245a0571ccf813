"""Checkpoints that were damaged, crafted or come from elsewhere: none is taken for what it is not."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxbp
from experiments.reliability import world
from experiments.reliability.crafted import crafted
from experiments.reliability.judge import said
from experiments.reliability.outcome import is_worded
from experiments.reliability.row import Row, many
from experiments.reliability.task import run

Change = Callable[[np.random.Generator, bytearray, bytes], Any]


def tree(epoch: int) -> dict[str, Any]:
    """A state with arrays of several types, a scalar and a key."""
    rng = np.random.default_rng(epoch)
    return {
        "W": rng.normal(size=(20, 30)).astype(np.float32),
        "b": rng.normal(size=30),
        "h": jnp.asarray(rng.normal(size=8), jnp.bfloat16),
        "count": epoch,
        "key": jax.random.key(epoch),
        "nu": rng.uniform(size=(20, 30)).astype(np.float32),
    }


def meta(epoch: int) -> dict[str, Any]:
    return {"config": {"eta": 0.1}, "rows": [{"epoch": e, "loss": 1 / e} for e in range(1, epoch + 1)]}


def _set(out: bytearray, i: int, part: bytes) -> None:
    out[i : i + len(part)] = part[: max(0, len(out) - i)]


def _splice(r: np.random.Generator, out: bytearray, old: bytes) -> None:
    i = int(r.integers(min(len(out), len(old))))
    out[i:] = old[i:]


def _swap(r: np.random.Generator, out: bytearray) -> None:
    i, j = sorted(int(v) for v in r.integers(0, len(out) - 64, 2))
    a, b = bytes(out[i : i + 64]), bytes(out[j : j + 64])
    _set(out, i, b), _set(out, j, a)


def _at(r: np.random.Generator, out: bytearray) -> int:
    return int(r.integers(len(out)))


MUTATIONS: dict[str, Change] = {
    "a bit": lambda r, out, old: out.__setitem__(i := _at(r, out), out[i] ^ (1 << int(r.integers(8)))),
    "a byte": lambda r, out, old: out.__setitem__(_at(r, out), int(r.integers(256))),
    "16 zeros": lambda r, out, old: _set(out, _at(r, out), bytes(16)),
    "512 zeros": lambda r, out, old: _set(out, _at(r, out), bytes(512)),
    "64 random bytes": lambda r, out, old: _set(out, _at(r, out), r.bytes(64)),
    "cut": lambda r, out, old: out.__delitem__(slice(_at(r, out), None)),
    "cut near the end": lambda r, out, old: out.__delitem__(slice(len(out) - int(r.integers(1, 200)), None)),
    "zeros behind": lambda r, out, old: out.extend(bytes(int(r.integers(1, 4096)))),
    "bytes behind": lambda r, out, old: out.extend(r.bytes(int(r.integers(1, 512)))),
    "bytes inserted": lambda r, out, old: out.__setitem__(
        slice(i := _at(r, out), i), r.bytes(int(r.integers(1, 64)))
    ),
    "bytes left out": lambda r, out, old: out.__delitem__(
        slice(i := _at(r, out), i + int(r.integers(1, 256)))
    ),
    "two blocks exchanged": lambda r, out, old: _swap(r, out),
    "the end of an older file": _splice,
    "a block twice": lambda r, out, old: out.__setitem__(
        slice(i := _at(r, out), i), bytes(out[i : i + int(r.integers(1, 256))])
    ),
}


def as_bits(value: Any) -> Any:
    """A tree as bytes, to be compared exactly."""

    def leaf(v: Any) -> Any:
        v = (
            jax.random.key_data(v)
            if isinstance(v, jax.Array) and jnp.issubdtype(v.dtype, jax.dtypes.prng_key)
            else v
        )
        return (
            v
            if isinstance(v, int | float | str)
            else (str(np.asarray(v).dtype), np.shape(v), np.asarray(v).tobytes())
        )

    return jax.tree.map(leaf, value)


class Folder:
    """Two epochs of a run, the newer to be damaged."""

    def __init__(self, folder: str | Path):
        self.checkpoints = jaxbp.Checkpoints(folder)
        for epoch in (1, 2):
            self.checkpoints.save(epoch, tree(epoch), meta(epoch))
        self.newest, self.older = (Path(folder) / f"epoch_00000{e}.npz" for e in (2, 1))
        self.good, self.old = self.newest.read_bytes(), self.older.read_bytes()
        self.bits = {epoch: as_bits(tree(epoch)) for epoch in (1, 2)}

    def judge(self, kept: int = 2, *, goes_on: bool = True) -> str:
        """What `latest` makes of the folder: '' for the bits of an epoch, said so where it is the older.

        As the other file is whole it ``goes_on`` from that one; what is another run's may be refused instead.
        """
        with warnings.catch_warnings(record=True) as said_so:
            warnings.simplefilter("always")
            try:
                found = self.checkpoints.latest(tree(2))
            except Exception as error:
                if not is_worded(error):
                    return f"raw: {said(error)}"
                return f"stopped, though a whole one is there: {said(error)}" if goes_on else ""
        if found is None:
            return "silent: no checkpoint at all"
        state, about = found
        epoch = about.get("epoch")
        if (
            epoch not in self.bits
            or as_bits(state) != self.bits[epoch]
            or about.get("rows") != meta(epoch)["rows"]
        ):
            return "silent: another state"
        if epoch < kept and not any(self.newest.name in str(w.message) for w in said_so):
            return "silent: the epoch before, and nothing said"
        return ""


def chunk(seed: int, count: int) -> dict[str, Any]:
    """Random damage: how many, and the faults."""
    rng, faults = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory() as folder:
        held = Folder(folder)
        for _ in range(count):
            name = list(MUTATIONS)[rng.integers(len(MUTATIONS))]
            out = bytearray(held.good)
            MUTATIONS[name](rng, out, held.old)
            held.newest.write_bytes(out)
            if fault := held.judge(kept=2 if bytes(out) != held.good else 0):
                faults.append(f"{name}: {fault}")
    return {"count": count, "faults": faults}


def places(held: Folder) -> dict[str, Callable[[Path], Any]]:
    """What may stand in a folder beside the epochs, under a newest name."""
    return {
        "a folder": lambda p: p.mkdir(),
        "a link to nothing": lambda p: p.symlink_to("nowhere"),
        "a link that leads round": lambda p: p.symlink_to(p),
        "the older epoch, copied": lambda p: p.write_bytes(held.old),
        "the newest epoch, copied": lambda p: p.write_bytes(held.good),
        "an empty file": lambda p: p.touch(),
    }


def all_crafted(part: int, parts: int) -> dict[str, Any]:
    """Every part-th of the crafted files, by `latest` and by `restore`, and of the places."""
    faults, count = [], 0
    with tempfile.TemporaryDirectory() as folder:
        held = Folder(folder)
        for name, content in list(crafted(held.good, held.old).items())[part::parts]:
            count += 1
            held.newest.write_bytes(content)
            if fault := held.judge(goes_on=name.startswith("foreign")):
                faults.append(f"crafted {name}: {fault}")
            try:
                found = jaxbp.train.restore(held.newest, tree(2))
                if as_bits(found) != held.bits[1 if name == "the older file" else 2]:
                    faults.append(f"crafted {name}: silent: restore gave another state")
            except Exception as error:
                if not is_worded(error):
                    faults.append(f"crafted {name}: raw: restore: {said(error)}")
        held.newest.write_bytes(held.good)
        for name, make in list(places(held).items())[part::parts]:
            count += 1
            path = held.newest.with_name("epoch_000009.npz")
            make(path)
            fault = held.judge(kept=0)
            with warnings.catch_warnings(action="ignore"):  # `judge` has looked at them
                state = None if fault else held.checkpoints.latest(tree(2))
            if fault or state is None or as_bits(state[0]) != held.bits[2]:
                fault = fault or "silent: not the newest whole epoch"
                faults.append(f"at the newest name {name}: {fault}")
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    return {"count": count, "faults": faults}


def resumed() -> dict[str, Any]:
    """A run resumed with something else: refused, or at least said."""
    other = jaxbp.mlp([3, 4, 2], jaxbp.sigmoid)
    changes: dict[str, dict[str, Any]] = {
        "another learning rate": {"optimizer": optax.sgd(5.0)},
        "another optimizer of the same state": {"optimizer": optax.scale(-0.3)},
        "a schedule": {"optimizer": optax.sgd(optax.cosine_decay_schedule(0.1, 100))},
        "Adam": {"optimizer": optax.adam(0.1)},
        "other x": {"data": (-world.X, world.Y)},
        "the data in another order": {"data": (world.X[::-1].copy(), world.Y[::-1].copy())},
        "other labels": {"data": (world.X, 1 - world.Y)},
        "one value changed": {"data": (world.X + np.eye(6, 3, dtype=np.float32) * 1e-3, world.Y)},
        "one example less": {"data": (world.X[:5], world.Y[:5])},
        "another network": {"grad_fn": jaxbp.value_and_grad(other, world.LOSS)},
        "another loss": {"grad_fn": jaxbp.value_and_grad(world.NET, world.LOSS.sum)},
        "another key": {"key": jax.random.key(9)},
        "another batch size": {"batch_size": 2},
        "other parameters to start from": {"params": jax.tree.map(lambda a: a + 1, world.params())},
        "another preprocess": {"preprocess": lambda x: x / 7},
        "another size of layers": {
            "grad_fn": jaxbp.value_and_grad(jaxbp.mlp([3, 5, 2]), world.LOSS),
            "params": jaxbp.mlp([3, 5, 2]).init(jax.random.key(0)),
        },
    }
    base = {"grad_fn": world.GRAD_FN, "epochs": 3}
    faults = []
    for name, change in changes.items():
        with tempfile.TemporaryDirectory() as folder:
            world.fit(**base | {"checkpoints": jaxbp.Checkpoints(folder)})
            with warnings.catch_warnings(record=True) as said_so:
                warnings.simplefilter("always")
                try:
                    world.fit(**base | {"epochs": 5, "checkpoints": jaxbp.Checkpoints(folder)} | change)
                except Exception as error:
                    if not is_worded(error):
                        faults.append(f"resumed with {name}: raw: {said(error)}")
                    continue
            if not said_so:
                faults.append(f"resumed with {name}: silent")
    return {"count": len(changes), "faults": faults}


def measure(scale: float = 1.0, *, jobs: int = 2, seed: int = 0) -> Row:
    """The row of the scorecard: 20,000 damaged files at scale 1, all crafted ones, 16 resumed runs."""
    wanted = many(20_000, scale)
    size = min(1000, wanted)
    counts, faults = [], []
    parts = 4 if scale >= 0.1 else 1
    rounds = [
        ("chunk", [[seed * 10**6 + i, min(size, wanted - i * size)] for i in range(-(-wanted // size))]),
        ("all_crafted", [[i, parts if scale >= 0.1 else 8] for i in range(parts)]),
        ("resumed", [[]]),
    ]
    for function, asked in rounds:
        answers = list(run("damage", function, asked, jobs=jobs, timeout=900))
        counts.append(sum(a.get("count", 0) for a in answers))
        faults += [f for a in answers for f in a.get("faults", [a.get("died")])]
    silent = sum("silent" in f for f in faults)
    return Row(
        "damaged, crafted, foreign checkpoints; resumed with something else",
        "0 silent of 20,000 random, 0 of 200 crafted",
        f"{counts[0]:,} damaged, {counts[1]} crafted or foreign, {counts[2]} resumed: "
        f"{silent} silent, {len(faults) - silent} raw",
        not faults,
        "Orbax; a file whose digest was made anew after a change cannot be told",
        tuple(faults),
    )
