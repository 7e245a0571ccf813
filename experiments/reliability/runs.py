"""The kinds of run that are killed, filled and resumed; each ends in a digest of all that it learned."""

import hashlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import jaxbp

KINDS = ("plain", "dropout", "early", "every3", "stream", "mesh4", "mesh2x2", "schedule", "big")
EPOCHS = 12


def start(
    kind: str, folder: str | Path, *, epochs: int = EPOCHS, eta: float = 0.05, pause: float = 0.0
) -> jaxbp.train.Result:
    """One run of a kind, with its checkpoints in a folder; after each epoch it says so."""
    import time

    wide = 700 if kind == "big" else 8
    layers = [jaxbp.dense(6, wide), jaxbp.tanh, *([jaxbp.dropout(0.3)] if kind == "dropout" else [])]
    if kind == "big":
        layers += [jaxbp.dense(wide, wide), jaxbp.tanh]
    net, loss = jaxbp.chain(*layers, jaxbp.dense(wide, 4)), jaxbp.softmax_cross_entropy
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)).astype(np.float32), (np.arange(64) % 4).astype(np.int32)
    rate: Any = optax.cosine_decay_schedule(eta, EPOCHS * 4) if kind == "schedule" else eta
    options: dict[str, Any] = {}
    if kind == "early":
        evaluate = jaxbp.make_evaluate(net.apply, loss)
        options = {
            "validation": (x[:16], y[:16]),
            "evaluate": evaluate,
            "early_stopping": jaxbp.EarlyStopping(EPOCHS),
        }
    if kind == "stream":
        options = {"memory_budget": 900}
    if kind == "mesh4":
        options = {"mesh": jax.make_mesh((4,), ("data",))}
    if kind == "mesh2x2":
        options = {"mesh": jax.make_mesh((2, 2), ("data", "model"))}

    def say(record: Any) -> None:
        print("epoch", record["epoch"], flush=True)
        time.sleep(pause)

    return jaxbp.fit(
        jaxbp.value_and_grad(net, loss),
        net.init(jax.random.key(0)),
        (x, y),
        optimizer=optax.adam(rate),
        key=jax.random.key(1),
        batch_size=16,
        epochs=epochs,
        progress_bar=False,
        callbacks=[say],
        checkpoints=jaxbp.Checkpoints(folder, every=3 if kind == "every3" else 1),
        **options,
    )


def digest(result: jaxbp.train.Result) -> str:
    """Of the parameters, the optimizer's state and the history, times left out."""
    held = [np.asarray(leaf) for leaf in jax.tree.leaves((result.params, result.opt_state))]
    held += [column for name, column in sorted(result.history.items()) if name not in ("seconds", "waited")]
    return hashlib.sha256(b"".join(column.tobytes() for column in held)).hexdigest()


def main(kind: str, folder: str, options: str = "{}") -> None:
    """python -m experiments.reliability.runs KIND FOLDER OPTIONS"""
    jax.config.update("jax_num_cpu_devices", 4)
    warnings.simplefilter("ignore")
    result = start(kind, folder, **json.loads(options))
    print("end", result.stopped, len(result.history["epoch"]), digest(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
