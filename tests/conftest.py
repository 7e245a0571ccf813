"""Every test runs with rank promotion an error, warnings as errors and four CPU devices."""

import gc
from collections import Counter
from pathlib import Path

import jax
import pytest

# Traces make millions of small objects: to look for cycles among them less often takes 5 % off the suite.
gc.set_threshold(100_000, 50, 100)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Of each parametrized test of these files one case in so many runs by default, the others are soak. The
# numbers are prime, so that dtypes and shapes, which alternate, all come up.
SHARES = {
    "test_backprop_check.py": 7,
    "test_backprop.py": 23,
    "test_blind.py": 3,
    "test_calls.py": 5,
    "test_cases.py": 29,
    "test_causes.py": 5,
    "test_chain.py": 13,
    "test_chain_of_places.py": 7,
    "test_cli.py": 5,
    "test_contract.py": 2,
    "test_cotangents.py": 5,
    "test_counting.py": 2,
    "test_description.py": 5,
    "test_diagnose.py": 7,
    "test_distributed.py": 5,
    "test_doors.py": 7,
    "test_endings.py": 13,
    "test_experiments.py": 3,
    "test_explain.py": 3,
    "test_explain_layers.py": 5,
    "test_explained.py": 3,
    "test_faults.py": 13,
    "test_fit.py": 2,
    "test_going_on.py": 3,
    "test_inputs.py": 2,
    "test_lock.py": 3,
    "test_losses.py": 13,
    "test_memory.py": 7,
    "test_models.py": 5,
    "test_mutants.py": 11,
    "test_mutants_of_cases.py": 7,
    "test_mutants_of_sequences.py": 5,
    "test_networks_of_sequences.py": 5,
    "test_nonfinite.py": 5,
    "test_operators.py": 7,
    "test_optimizers.py": 5,
    "test_orbax_engine.py": 2,
    "test_parameters.py": 13,
    "test_places.py": 2,
    "test_precision.py": 7,
    "test_rules.py": 23,
    "test_run.py": 5,
    "test_sequences.py": 5,
    "test_stated_numbers.py": 2,
    "test_stream.py": 5,
    "test_suite.py": 17,
    "test_sweep.py": 5,
    "test_sweep_state.py": 3,
    "test_tolerances.py": 3,
    "test_units.py": 3,
    "test_weights.py": 5,
    "test_whole_numbers.py": 5,
}


def pytest_configure(config):
    """What XLA compiled is kept on disk, for the other worker and the next run: it is most of the time.

    `pytest --cache-clear` forgets it. Processes that tests start do without: one that is killed while it
    writes would leave half of an entry.
    """
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    seen = Counter()
    for item in items:
        if hasattr(item, "callspec") and not item.get_closest_marker("soak"):
            test = (item.path, item.originalname)
            if seen[test] % SHARES.get(Path(item.path).name, 1):
                item.add_marker("soak")
            seen[test] += 1


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """What JAX compiled for a file goes with it: a worker would hold 5 GB at the end."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Float64 for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
