"""Every test runs with rank promotion an error, warnings as errors and four CPU devices."""

import gc

import jax
import pytest

# Traces make millions of small objects: to look for cycles among them less often takes 5 % off the suite.
gc.set_threshold(100_000, 50, 100)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Float64 for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)
