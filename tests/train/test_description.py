"""What a run is: each entry changes with what it describes, and with nothing else, in every process."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.data import Dataset
from jaxbp.train import description
from jaxbp.train.description import describe
from jaxbp.train.plan import Plan
from jaxbp.train.programs.step import State
from jaxbp.train.sharding import Layout
from tests.train.test_fit import NET, data, run

x, y = data()


def loss_of(activation):
    net = jaxbp.mlp([4, 6, 3], activation)

    def loss(params, x, y):
        return jaxbp.softmax_cross_entropy(net.apply(params, x), y)

    return loss


def plan(**options):
    given = {
        "grad_fn": jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy),
        "optimizer": optax.adam(optax.cosine_decay_schedule(0.1, 400)),
        "evaluate": None,
        "batch_size": 8,
        "key": jax.random.key(1),
        "train": Dataset(x, y, 3),
        "validation": None,
        "layout": Layout(),
        "preprocess": None,
    }
    return Plan(**given | options)


def entries(seed=0, stopping=None, **options):
    state = State(NET.init(jax.random.key(seed)), (), jax.random.key(0), jnp.int32(0))
    return describe(plan(**options), state, stopping)


def changed(**options):
    """The entries that differ, as JSON holds them."""
    one, other = (json.loads(json.dumps(e)) for e in (entries(), entries(**options)))
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}


adam, cosine = optax.adam, optax.cosine_decay_schedule
relu = jaxbp.mlp([4, 6, 3], jaxbp.relu)
DIFFERENT = {
    "another x": ({"train": Dataset(-x, y, 3)}, {"data"}),
    "another order": ({"train": Dataset(x[::-1].copy(), y[::-1].copy(), 3)}, {"data"}),
    "one label": ({"train": Dataset(x, np.where(np.arange(26) == 25, (y + 1) % 3, y), 3)}, {"data"}),
    "fewer": ({"train": Dataset(x[:25], y[:25], 3)}, {"data", "examples"}),
    "a key": ({"key": jax.random.key(2)}, {"key"}),
    "a batch_size": ({"batch_size": 13}, {"batch_size"}),
    "a start": ({"seed": 1}, {"start"}),
    "early stopping": ({"stopping": jaxbp.EarlyStopping(3)}, {"early_stopping"}),
    "an activation": ({"grad_fn": jaxbp.value_and_grad(relu, jaxbp.softmax_cross_entropy)}, {"network"}),
    "a loss": ({"grad_fn": jaxbp.value_and_grad(NET, jaxbp.make_softmax_cross_entropy(0.1))}, {"network"}),
    "a function": ({"grad_fn": jax.value_and_grad(loss_of(jaxbp.tanh))}, {"network"}),
    "a preprocess": ({"preprocess": lambda x: x / 255}, {"preprocess"}),
    "a learning rate": ({"optimizer": adam(cosine(0.2, 400))}, {"optimizer"}),
    "an end of the schedule": ({"optimizer": adam(cosine(0.1, 500))}, {"schedule"}),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_is_an_entry_that_differs(case):
    options, names = DIFFERENT[case]
    assert changed(**options) == names


@pytest.mark.parametrize(
    "optimizer",
    [
        adam(cosine(0.1, 400), b1=0.8),
        adam(cosine(0.1, 400), b2=0.9),
        optax.adamw(cosine(0.1, 400), weight_decay=0.1),
        optax.chain(optax.clip_by_global_norm(0.1), adam(cosine(0.1, 400), eps=0.01)),
        optax.sgd(cosine(0.1, 400)),
    ],
    ids=["b1", "b2", "decay", "clipped", "sgd"],
)
def test_another_optimizer_is_seen_by_what_it_does(optimizer):
    names = changed(optimizer=optimizer)
    assert names
    assert names <= {"optimizer", "schedule"}


def test_a_function_is_known_by_what_it_computes():
    """Two functions of one name; the same one written anew."""
    tanh, relu, again = (
        entries(grad_fn=jax.value_and_grad(loss_of(activation)))["network"]
        for activation in (jaxbp.tanh, jaxbp.relu, jaxbp.tanh)
    )
    assert tanh == again != relu
    assert tanh.partition(":")[0] == "loss_of.<locals>.loss"


@pytest.mark.parametrize(
    "options",
    [
        {"train": Dataset(x.astype(np.float64), y.astype(np.int64), 3)},
        {"train": Dataset(x.astype(">f4"), y, 3)},
        {"optimizer": adam(cosine(0.1, 400))},
        {"key": jax.random.wrap_key_data(jax.random.key_data(jax.random.key(1)))},
        {"evaluate": lambda *a: {}},
    ],
    ids=["wide", "big-endian", "made again", "key", "evaluation"],
)
def test_what_means_the_same_is_the_same(options):
    assert changed(**options) == set()


def test_of_large_data_rows_are_read(monkeypatch):
    """A change in a row that is read is seen; shape and dtype always are."""
    monkeypatch.setattr(description, "_WHOLE", 100)
    monkeypatch.setattr(description, "_ROWS", 3)  # rows 0, 12 and 25 of 26
    monkeypatch.setattr(description, "_BLOCK", 32)

    def with_row(i):
        return {"train": Dataset(np.where(np.arange(26)[:, None] == i, 9, x).astype(np.float32), y, 3)}

    assert changed(**with_row(12)) == changed(**with_row(25)) == {"data"}
    assert changed(**with_row(13)) == set()


@pytest.mark.soak
def test_another_process_describes_the_run_alike():
    code = """
import json, jax
from tests.train.test_description import entries, loss_of
import jaxbp
other = {"grad_fn": jax.value_and_grad(loss_of(jaxbp.tanh)), "preprocess": lambda x: 2 * x}
print(json.dumps([entries(), entries(**other)]))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    here = [entries(), entries(grad_fn=jax.value_and_grad(loss_of(jaxbp.tanh)), preprocess=lambda x: 2 * x)]
    assert json.loads(done.stdout) == json.loads(json.dumps(here))


OPTIMIZERS = {
    "MultiSteps": lambda: optax.MultiSteps(optax.sgd(0.1), 4),
    "masked": lambda: optax.masked(optax.sgd(0.1), lambda p: jax.tree.map(lambda v: v.ndim > 1, p)),
    "injected": lambda: optax.inject_hyperparams(optax.adam)(0.1),
    "adafactor": lambda: optax.adafactor(0.1),
    "noise": lambda: optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(0.1)),
    "lion": lambda: optax.lion(0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_has_a_description(name):
    one, again = entries(optimizer=OPTIMIZERS[name]()), entries(optimizer=OPTIMIZERS[name]())
    assert one == again
    assert len(one["schedule"]) == 11
    assert all(isinstance(size, float) for size in one["optimizer"])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"optimizer": optax.sgd(5.0)}, "optimizer"),
        ({"train": (-x, y)}, "data"),
        ({"params": jax.tree.map(jnp.zeros_like, NET.init(jax.random.key(0)))}, "start"),
        ({"grad_fn": jax.value_and_grad(loss_of(jaxbp.tanh)), "train": Dataset(x, y, 3)}, "network"),
    ],
    ids=["rate", "data", "start", "network"],
)
def test_a_run_that_is_another_is_refused_or_taken(change, name, tmp_path):
    run(checkpoints=jaxbp.Checkpoints(tmp_path), epochs=2)
    with pytest.raises(ValueError, match=rf"{name} (was|is another one).*accept=\('{name}',\)"):
        run(checkpoints=jaxbp.Checkpoints(tmp_path), epochs=3, **change)
    with pytest.warns(UserWarning, match=rf"{name} (was|is another one)"):
        result = run(checkpoints=jaxbp.Checkpoints(tmp_path, accept=(name,)), epochs=3, **change)
    assert len(result.history["epoch"]) == 3
