"""A run that goes on from a result is the run that was not ended; a bare state repeats nothing."""

import jax
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.train import program_cache
from tests.cases import draw_params
from tests.train.test_fit import EVALUATE, GRAD, data, run

DROPOUT = jaxbp.chain(jaxbp.dense(4, 16), jaxbp.relu, jaxbp.dropout(0.5), jaxbp.dense(16, 3))
HELD = {"validation": data(10, seed=2), "evaluate": EVALUATE}
RUNS = {
    "sgd": {"optimizer": optax.sgd(0.1)},
    "schedule": {"optimizer": optax.adam(optax.cosine_decay_schedule(0.1, 40))},
    "dropout": {"grad_fn": jaxbp.value_and_grad(DROPOUT, jaxbp.softmax_cross_entropy),
                "params": draw_params(DROPOUT, "float32")},
    "stream": {"batch_size": 4, "memory_budget": 400},
    "early stopping": HELD | {"optimizer": optax.adam(0.3), "early_stopping": jaxbp.EarlyStopping(20)},
}  # fmt: skip


def assert_same(result, expected):
    for part in ("params", "opt_state", "last_params"):
        jax.tree.map(np.testing.assert_array_equal, getattr(result, part), getattr(expected, part))
    assert result.history.keys() == expected.history.keys()
    for name in expected.history.keys() - {"seconds", "waited"}:
        np.testing.assert_array_equal(result.history[name], expected.history[name])
    assert (result.best_epoch, result.stopped, result.step) == (
        expected.best_epoch, expected.stopped, expected.step
    )  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_five_epochs_and_five_more_are_ten(name):
    options = RUNS[name]
    half = run(epochs=5, **options)
    assert_same(run(epochs=5, **options | {"params": half}), run(epochs=10, **options))


def test_going_on_compiles_nothing_anew():
    first = run(epochs=3, **RUNS["sgd"])
    compiled = program_cache._kept.cache_info().misses
    run(epochs=3, **RUNS["sgd"] | {"params": run(epochs=3, **RUNS["sgd"] | {"params": first})})
    assert program_cache._kept.cache_info().misses == compiled


def test_what_goes_on_is_kept_and_taken_up_again(tmp_path):
    half = run(epochs=3)
    kept = {"params": half, "checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(epochs=2, **kept)
    assert_same(run(epochs=4, **kept), run(epochs=7))


def test_an_interrupted_or_diverged_run_goes_on():
    rate = lambda count: np.nan * (count == 9) + 0.1  # noqa: E731
    with pytest.raises(jaxbp.DivergenceError) as caught:
        run(epochs=5, optimizer=optax.sgd(rate))
    result = run(params=caught.value.result, epochs=3, optimizer=optax.sgd(lambda count: 0.1 + 0 * count))
    assert result.history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert result.step == 9 + 3 * 4


def seeing(seen):
    def grad_fn(params, x, y, *, key):
        def note(x, key):
            seen.append((tuple(x.tolist()), tuple(key.tolist())))

        jax.debug.callback(note, x[:, 0], jax.random.key_data(key))
        return GRAD(params, x, y)

    return grad_fn


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.1)], ids=["sgd", "adam"])
def test_a_bare_state_repeats_no_order_and_no_key(optimizer):
    """Three parts with the same key: all batches and keys differ, and they are the same again next time."""
    seen = []
    options = {"grad_fn": seeing(seen), "optimizer": optimizer, "epochs": 2, "batch_size": 8}
    first = run(**options)
    second = run(params=first.params, opt_state=first.opt_state, **options)
    run(params=second.params, opt_state=second.opt_state, **options)
    jax.effects_barrier()
    assert len(seen) == len({batch for batch, _ in seen}) == len({key for _, key in seen}) == 3 * 2 * 4
    again = run(params=first.params, opt_state=first.opt_state, **options)
    jax.tree.map(np.testing.assert_array_equal, again.params, second.params)


def test_a_result_and_a_state_are_one_too_many():
    half = run()
    with pytest.raises(ValueError, match="one state to begin with, got an earlier result for params"):
        run(params=half, opt_state=half.opt_state)
    with pytest.raises(TypeError, match=r"got a Result; give it for params, fit\(grad_fn, result, data"):
        run(opt_state=half)
    with pytest.raises(ValueError, match=r"an opt_state of this optimizer.* another optimizer begin at"):
        run(params=half, optimizer=optax.adam(0.1))
    with pytest.raises(TypeError, match="floating-point parameters"):
        jaxbp.sweep(GRAD, lambda key: half, data(), optimizer=optax.sgd, batch_size=8,
                    hyperparameters={"learning_rate": [0.1]}, key=jax.random.key(0))  # fmt: skip
