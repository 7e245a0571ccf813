"""Does a run of many processes learn what one process learns?

Each process reads its share of the data and trains on the devices of all of them together. Under Slurm no
argument is needed; two processes on one computer are two commands, the second with --process-id 1:

    python -m experiments.40_many_processes --coordinator 127.0.0.1:61500 --num-processes 2 --process-id 0

and without any --num-processes it trains alone, on all devices of this computer. --devices 8 makes eight of a
CPU. A few seconds on 2 CPU cores. Expected: a test accuracy of about 0.98 on digits, however many processes.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import optax

import jaxbp
from experiments.record import pictured, run, save


@dataclass(frozen=True)
class Config:
    coordinator: str | None = None
    """host:port of process 0, as the others reach it."""
    num_processes: int | None = None
    process_id: int | None = None
    devices: int | None = None
    """CPU devices of this process; what there is if not given."""
    epochs: int = 20
    batch_size: int = 32
    """Of all processes together."""
    out: Path = Path("results/40_many_processes")


def main(config: Config = Config()) -> dict:
    if config.devices:
        jax.config.update("jax_num_cpu_devices", config.devices)
    if config.num_processes or "SLURM_PROCID" in os.environ:
        jaxbp.connect(config.coordinator, config.num_processes, config.process_id)
    first, processes = jax.process_index(), jax.process_count()

    train, test = jaxbp.load("digits")
    each = len(train) // (processes * config.batch_size) * config.batch_size  # the same number for all
    share = slice(first * each, (first + 1) * each)
    net, loss = jaxbp.mlp([64, 128, 10], jaxbp.relu), jaxbp.softmax_cross_entropy
    result = jaxbp.fit(
        jaxbp.value_and_grad(net, loss),
        net.init(jax.random.key(0)),
        (train.x[share], train.y[share]),
        optimizer=optax.adam(3e-3),
        key=jax.random.key(1),
        batch_size=config.batch_size,
        epochs=config.epochs,
        mesh=jax.make_mesh((jax.device_count(),), ("data",)),
    )
    # Every process holds all parameters of this mesh; those of an axis "model" would be gathered first.
    params = jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), result.params)
    measured = jaxbp.make_evaluate(net.apply, loss)(params, test.x, test.y)
    found = {
        "processes": processes,
        "devices": jax.device_count(),
        "loss": float(result.history["loss"][-1]),
        "test_accuracy": measured["accuracy"].item(),
    }
    if first > 0:
        return found  # files and words come from process 0
    print(found)
    return save(config, found, pictured(jaxbp.plots.plot_history, result.history))


if __name__ == "__main__":
    run(main, Config)
