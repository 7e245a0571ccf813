"""What a first run compiles: that is most of the time to its first result."""

import logging
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.train.programs.copies import copied
from jaxbp.train.programs.epoch_program import make_epochs
from jaxbp.train.programs.finite import make_look
from jaxbp.train.programs.step import State, make_step
from jaxbp.train.sharding import Layout
from tests.train.processes import ROOT

X = np.random.default_rng(0).normal(size=(26, 7)).astype(np.float32)
Y = np.arange(26) % 3


def compiled(caplog, fit):
    """The names of the programs that were compiled."""
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        caplog.clear()
        fit()
    return re.findall(r"Compiling jit\((\w+)\)", caplog.text)


@pytest.mark.parametrize(
    ("how", "programs"),
    [
        ({}, ["init_fn", "into"]),  # the optimizer's first state; the epochs with their evaluation
        ({"memory_budget": 700}, ["init_fn", "chunk", "chunk", "finish"]),  # whole batches, the short one
    ],
)
def test_a_first_fit_compiles_no_more_than_its_epochs(caplog, how, programs):
    net = jaxbp.dense(7, 3)
    params, grad_fn = net.init(jax.random.key(0)), jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)
    evaluate, optimizer = jaxbp.make_evaluate(net.apply, jaxbp.softmax_cross_entropy), optax.adam(0.1)

    def fit():
        jaxbp.fit(
            grad_fn, params, (X, Y), optimizer=optimizer, key=jax.random.key(1), batch_size=8, epochs=2,
            validation=(X[:9], Y[:9]), evaluate=evaluate, progress_bar=False, **how,
        )  # fmt: skip

    assert compiled(caplog, fit) == programs
    assert compiled(caplog, fit) == []


def test_the_program_of_the_epochs_leaves_the_look_to_others():
    net, optimizer = jaxbp.dense(7, 3), optax.adam(0.1)
    params = net.init(jax.random.key(0))
    step = make_step(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy), optimizer)
    state = State(params, optimizer.init(params), jax.random.key(1), jnp.int32(0))
    epochs = jax.jit(make_epochs(step, 8, None, Layout().take))
    lowered = epochs.lower(state, np.zeros((2, 26), np.int32), np.int32(1), (X, Y), None)
    assert "is_finite" not in lowered.as_text()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="NumPy looks at what lies on the host")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_look_compiles_nothing_while_all_is_finite_and_leaves_the_buffers_free(caplog, dtype):
    def state(value):
        return State({"w": jnp.zeros((300, 3), dtype)}, (jnp.full(5, value, dtype),), jax.random.key(0), 0)

    look, before, after = make_look(None), state(0.0), state(1.0)
    assert compiled(caplog, lambda: look(np.zeros(3), before, after)) == []
    assert look(np.zeros(3), before, after)
    pointer = after.params["w"].unsafe_buffer_pointer()
    taken = jax.jit(lambda w: w + 1, donate_argnums=0)(after.params["w"])
    assert taken.unsafe_buffer_pointer() == pointer


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_the_look_finds_what_broke_and_knows_what_was_so_before(bad):
    def state(param, moment):
        params = {"w": jnp.zeros((300, 3)).at[-1, -1].set(param), "v": jnp.zeros(())}
        return State(params, {"m": jnp.zeros(5).at[2].set(moment), "n": jnp.int32(3)}, jax.random.key(0), 0)

    look = make_look(None)
    assert not look(np.zeros(3), state(0, 0), state(bad, 0))
    assert not look(np.zeros(3), state(0, 0), state(0, bad))
    assert look(np.zeros(3), state(0, bad), state(0, bad))
    assert not look(np.zeros(3), state(bad, 0), state(bad, 0))
    assert not look(np.array([0, bad]), state(0, 0), state(0, 0))


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("make", [lambda: jax.random.key(5), lambda: jnp.arange(8.0), lambda: jnp.int32(3)])
def test_copies_have_buffers_of_their_own_on_every_device(make, devices):
    mesh = jax.make_mesh((devices,), ("data",))
    leaf = jax.device_put(make(), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    (copy,) = copied([leaf])

    def numbers(leaf):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if key else leaf

    wanted, shards = np.asarray(numbers(leaf)), numbers(copy).addressable_shards
    assert len(shards) == devices
    jax.jit(lambda leaf: leaf, donate_argnums=0, keep_unused=True)(leaf)  # it may take the buffers
    assert all(np.array_equal(shard.data, wanted) for shard in shards)


CACHED = """
import sys, jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
from tests.train.test_first_result import X, Y
import jaxbp, optax
net = jaxbp.dense(7, 3)
jaxbp.fit(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy), net.init(jax.random.key(0)), (X, Y),
          optimizer=optax.adam(0.1), key=jax.random.key(1), batch_size=8, epochs=2, progress_bar=False)
"""


@pytest.mark.soak
def test_the_next_process_finds_the_epochs_in_jax_s_cache(tmp_path):
    kept = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", CACHED, tmp_path], cwd=ROOT, check=True)
        kept.append({file.name for file in tmp_path.iterdir() if file.name.endswith("-cache")})
    assert any(name.startswith("jit_into") for name in kept[0])
    assert kept[0] == kept[1]
