"""One process of a run in many, started by test_distributed: python member.py JSON."""

import hashlib
import json
import os
import signal
import sys
import time

import jax
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxbp

NET = jaxbp.mlp([4, 8, 2], jaxbp.tanh)
GRAD = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy)


def share(process, N, dtype):
    """The examples that a process gives."""
    rng = np.random.default_rng(process)
    return rng.standard_normal((N, 4)).astype(dtype), rng.integers(0, 2, N).astype(np.int32)


def total(mesh, values):
    """The sum over all devices of all processes."""
    sharding = NamedSharding(mesh, P("data"))
    x = jax.make_array_from_process_local_data(sharding, np.asarray(values))
    return jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, P()))(x).item()


def faulty(process, mesh, out, fault):
    """Train and print a digest of what was learned; after epoch 3 the fault befalls one process."""

    def befall(record):
        if record["epoch"] == 3 and fault:
            print("fault", time.time(), flush=True)
            if fault == "raise":
                raise KeyError("mine")
            os.kill(os.getpid(), getattr(signal, fault))

    result = jaxbp.fit(
        GRAD,
        NET.init(jax.random.key(0)),
        share(process, 32, "float32"),
        optimizer=optax.sgd(0.3),
        key=jax.random.key(1),
        batch_size=12,
        epochs=6,
        mesh=mesh,
        callbacks=[befall],
        checkpoints=jaxbp.Checkpoints(out),
        progress_bar=False,
    )
    leaves = [np.asarray(leaf.addressable_data(0)).tobytes() for leaf in jax.tree.leaves(result.params)]
    print("digest", hashlib.sha256(b"".join(leaves)).hexdigest(), flush=True)


def main(
    connect,
    devices=1,
    what="total",
    x64=False,
    out=None,
    late=False,
    memory_budget=None,
    fault=None,
    version=None,
):
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_enable_x64", x64)
    if version:
        jax.__version__ = version
    if late:
        jax.devices()
    print("begin", time.time(), flush=True)
    jaxbp.connect(**connect)
    jaxbp.connect(**connect)  # the same again is no fault
    process, mesh = jax.process_index(), jax.make_mesh((jax.device_count(),), ("data",))
    if what == "total":
        print("total", total(mesh, np.full(devices, process + 1.0, np.float32)))
    if what.startswith("signal"):

        def signalled(record):
            if process == 1 and record["epoch"] == 3:
                os.kill(os.getpid(), getattr(signal, what.split()[1]))

        try:
            result = jaxbp.fit(
                GRAD,
                NET.init(jax.random.key(0)),
                share(process, 32, "float32"),
                optimizer=optax.sgd(0.3),
                key=jax.random.key(1),
                batch_size=16,
                epochs=1000,
                mesh=mesh,
                callbacks=[signalled],
                checkpoints=jaxbp.Checkpoints(out, every=1000),
                progress_bar=False,
            )
        except RuntimeError as error:
            print("caught", error, flush=True)
            os._exit(0)
        print("stopped", result.stopped, len(result.history["epoch"]))
    if what == "faulty":
        faulty(process, mesh, out, fault)
    if what == "fit":
        traces = []

        def counted(params, x, y):
            traces.append(x.shape)
            return GRAD(params, x, y)

        params = NET.init(jax.random.key(0))
        data = share(process, 22, "float64" if x64 else "float32")
        result = jaxbp.fit(
            counted,
            params,
            data,
            optimizer=optax.sgd(0.3),
            key=jax.random.key(1),
            batch_size=16,
            epochs=3,
            mesh=mesh,
            memory_budget=memory_budget,
        )
        print("streamed", "waited" in result.history)
        leaves = [np.asarray(leaf.addressable_data(0)) for leaf in jax.tree.leaves(result.params)]
        np.savez(f"{out}-{process}.npz", *leaves, loss=result.history["loss"])
        print("traces", sorted(set(traces)) == sorted(traces))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
