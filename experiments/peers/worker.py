"""The process of one framework: python -m experiments.peers.worker NAME JOB KIND

It says on its standard output, in lines of JSON, how long it took to get ready, and then trains for as many
epochs as each line of its standard input asks for.
"""

import importlib
import json
import os
import sys
import time

from experiments.peers.job import Deep, Job

FRAMEWORKS = {
    "jaxbp.fit": ("with_jax", "fit"),
    "raw JAX": ("with_jax", "raw"),
    "raw JAX, optax": ("with_jax", "raw_with_optax"),
    "raw JAX, per step": ("with_jax", "per_step"),
    "NumPy": ("with_numpy", "numpy"),
    "Keras on JAX": ("with_jax", "keras_on_jax"),
    "Equinox": ("with_jax", "equinox"),
    "Flax NNX": ("with_jax", "flax_nnx"),
    "torch eager": ("with_torch", "eager"),
    "scikit-learn": ("with_numpy", "scikit_learn"),
}
LAYERED = {
    "jaxbp.fit": ("with_jax", "fit"),
    "raw JAX": ("with_layers", "raw"),
    "raw JAX, per step": ("with_layers", "per_step"),
    "Equinox": ("with_layers", "equinox"),
    "Flax Linen": ("with_layers", "flax_linen"),
}
"""Of those that train networks of layers."""
SWEEPS = {"jaxbp.sweep": ("with_jax", "sweep"), "jaxbp.sweep, own orders": ("with_jax", "sweep_own_orders")}
PRODUCTS = {"matmul, JAX": ("with_jax", "matmul"), "matmul, NumPy": ("with_numpy", "matmul")}
"""No training, but what the machine can do."""


def main() -> None:
    # The frameworks may print what they like; the lines of JSON have a pipe to themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(what: dict) -> None:
        print(json.dumps(what), file=answers, flush=True)

    kinds = {"Job": (Job, FRAMEWORKS | SWEEPS | PRODUCTS), "Deep": (Deep, LAYERED)}
    kind, known = kinds[sys.argv[3]]
    (module, name), job = known[sys.argv[1]], kind(**json.loads(sys.argv[2]))
    start, cpu = time.perf_counter(), time.process_time()
    x, y = job.data()
    data_seconds, data_cpu = time.perf_counter() - start, time.process_time() - cpu
    try:
        train = getattr(importlib.import_module(f"experiments.peers.{module}"), name)(job, x, y)
    except ImportError as error:
        answer({"absent": str(error)})
        return
    answer({"data_seconds": data_seconds, "cpu_seconds": time.process_time() - data_cpu})
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        done = train(int(line))
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        answer({"wall": wall, "seconds": wall, "cpu_seconds": cpu} | done)


if __name__ == "__main__":
    main()
