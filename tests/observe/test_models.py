"""The suite of models is what it says: a probe finds each sickness, and every healthy one trains."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from . import probes
from .models import MODELS, UNSEEN, WORDS

SICK = [model for model in MODELS if model.sickness]
HEALTHY = [model for model in MODELS if model.sickness is None]


def in_turn(models):
    """Every twelfth model by default, which keeps the file short; the others by `pytest -m soak`."""
    for i, model in enumerate(models):
        yield pytest.param(model, id=model.name, marks=[pytest.mark.soak] * (i % 12 > 0))


@pytest.fixture(autouse=True)
def as_users_run():
    """Users have JAX's default, in which ranks are promoted: without it (N,) never meets (N, 1)."""
    with jax.numpy_rank_promotion("allow"):
        yield


def test_size():
    assert len({model.name for model in MODELS}) == len(MODELS)
    assert len(SICK) >= 75
    assert len(HEALTHY) >= 65
    assert {model.half for model in MODELS} == {"open", "aside"}
    assert {word for model in MODELS for word in (model.sickness, *model.also) if word} <= set(WORDS)
    assert not any(model.also for model in HEALTHY)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_there(word):
    of_word = [model for model in SICK if model.sickness == word]
    halves = Counter(model.half for model in of_word)
    assert len({model.framework for model in of_word}) >= 2
    assert halves["open"] >= 1
    assert halves["aside"] >= 1


def test_halves_are_balanced():
    for models in (SICK, HEALTHY):
        for framework in ("plain", "linen", "nnx", "equinox", "jaxbp"):
            halves = Counter(model.half for model in models if model.framework == framework)
            assert abs(halves["open"] - halves["aside"]) <= 5, (framework, halves)
        halves = Counter(model.half for model in models)
        assert abs(halves["open"] - halves["aside"]) <= 2, halves


@pytest.mark.parametrize("model", list(in_turn(SICK)))
def test_sick(model):
    """The probe of the model's word finds it."""
    f, params, batch = model.make()
    assert jax.eval_shape(f, params, *batch).shape == ()
    assert getattr(probes, model.sickness)(f, params, batch)


LATER = [
    pytest.param(model, id=model.name, marks=pytest.mark.soak) for model in UNSEEN if not model.sickness
]


@pytest.mark.parametrize("model", [*in_turn(HEALTHY), *LATER])
def test_healthy(model):
    """Loss and gradient are finite, and 50 steps of Adam reduce the loss."""
    f, params, batch = model.make()
    optimizer = optax.adam(0.01)

    def step(state, _):
        params, opt_state = state
        loss, grads = jax.value_and_grad(f)(params, *batch)
        finite = jnp.all(jnp.array([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]))
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), (loss, finite)

    def train(params):
        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=50)[1]

    losses, finite = probes.compiled(train)(params)
    assert np.isfinite(losses).all()
    assert finite.all()
    assert losses[-1] < losses[0]
