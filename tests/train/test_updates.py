"""An optimizer whose updates would be broadcast, cut or lost, and metrics that cannot be computed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp

Y = np.arange(12) % 3
X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
NET = jaxbp.dense(4, 3)
PARAMS = NET.init(jax.random.key(0))
GRAD = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy)
RUN = {
    "optimizer": optax.sgd(0.1),
    "key": jax.random.key(1),
    "batch_size": 6,
    "epochs": 1,
    "progress_bar": False,
}


def each(change):
    """An optimizer without a state that changes each gradient so."""
    return optax.GradientTransformation(
        lambda params: (), lambda grads, state, params=None: (jax.tree.map(change, grads), state)
    )


def keeps(first, change):
    """An optimizer whose state begins so and changes so."""
    return optax.GradientTransformation(
        lambda params: first, lambda grads, state, params=None: (grads, change(state))
    )


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (each(lambda g: g[:1]), "updates are floats of the parameters' shapes, got float32 of shape"),
        (each(lambda g: g.sum()), "updates are floats of the parameters' shapes"),
        (each(lambda g: g[None]), "updates are floats of the parameters' shapes"),
        (each(lambda g: g.astype(int)), "updates are floats of the parameters' shapes, got int32"),
        (each(lambda g: g + 0j), "updates are floats of the parameters' shapes, got complex64"),
        (
            keeps(jnp.zeros((), int), lambda s: s + 0.5),
            "state stays of one shape and dtype, got float32 of shape",
        ),
        (keeps(jnp.zeros(2), lambda s: s[:1]), "state stays of one shape and dtype"),
    ],
)
def test_updates_and_states_that_do_not_fit_are_refused(optimizer, said):
    with pytest.raises(TypeError, match=said):
        jaxbp.fit(GRAD, PARAMS, (X, Y), **RUN | {"optimizer": optimizer})
    with pytest.raises(TypeError, match=rf"^fit: expected an optimizer whose {said}"):
        jaxbp.fit(GRAD, PARAMS, (X, Y), **RUN | {"optimizer": optimizer, "ema": 0.5})
    with pytest.raises(TypeError, match=rf"^fit: expected an optimizer whose {said}"):
        sweep(optimizer=lambda learning_rate: optimizer, ema=0.5)


def test_updates_of_other_floats_are_taken():
    result = jaxbp.fit(GRAD, PARAMS, (X, Y), **RUN | {"optimizer": each(lambda g: -g.astype(jnp.bfloat16))})
    assert result.params["W"].dtype == jnp.float32


@pytest.mark.parametrize("names", [["f1"], ["roc_auc"], ["accuracy", "recall"], {"mine": "f1_samples"}])
def test_a_scorer_that_cannot_score_is_refused_before_the_first_epoch(names):
    pytest.importorskip("sklearn")
    evaluate = jaxbp.make_evaluate(NET.apply, jaxbp.softmax_cross_entropy, names)
    seen = []
    with pytest.raises(ValueError, match=r"evaluate: expected .* of 3 classes, got "):
        jaxbp.fit(GRAD, PARAMS, (X, Y), validation=(X, Y), evaluate=evaluate, callbacks=[seen.append], **RUN)
    assert not seen


def test_an_evaluate_that_measures_nothing_is_refused():
    with pytest.raises(TypeError, match=r"to return \{name: scalar\}, got a dict of 0"):
        jaxbp.fit(GRAD, PARAMS, (X, Y), validation=(X, Y), evaluate=lambda params, x, y: {}, **RUN)


@pytest.mark.parametrize("answer", [True, np.bool_(True), jnp.bool_(True), jnp.zeros(()) < 1, np.array(True)])
def test_a_callback_that_answers_true_ends_the_run(answer):
    result = jaxbp.fit(GRAD, PARAMS, (X, Y), callbacks=[lambda record: answer], **RUN | {"epochs": 3})
    assert (result.stopped, len(result.history["loss"])) == ("callback", 1)


def sweep(**change):
    given = RUN | {"optimizer": optax.sgd, "hyperparameters": {"learning_rate": [0.1, 0.2]}, "seeds": 1}
    return jaxbp.sweep(GRAD, NET.init, (X, Y), **given | {"epochs": 3} | change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": [0, 1, 0]}, "sweep: expected seeds that differ, got a list of 3 with one again"),
        ({"hyperparameters": {"learning_rate": [0.1, 0.2, 0.1]}}, "values of learning_rate that differ"),
        (
            {"hyperparameters": {"batch_size": [4, 4], "learning_rate": [0.1]}},
            "values of batch_size that differ, got the int 4 twice",
        ),
    ],
)
def test_a_net_that_would_count_twice_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        sweep(**change)


class Mine(BaseException):
    """No Exception, as KeyboardInterrupt is none."""


@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt(), Mine()])
def test_a_sweep_that_an_exception_ends_loses_nothing(tmp_path, error):
    def callback(record):
        if record["epoch"] == 2:
            raise error

    folder = jaxbp.Checkpoints(tmp_path, every=9)
    with pytest.raises(type(error)) as ended:
        sweep(callbacks=[callback], checkpoints=folder)
    assert ended.value.result.history["loss"].shape == (2, 2)
    said = "sweep: 2 epochs of this run are in this exception's .result; epoch 2 is kept"
    assert said in ended.value.__notes__[0]
    went_on, whole = sweep(checkpoints=folder), sweep()
    np.testing.assert_array_equal(went_on.history["loss"], whole.history["loss"])


def test_the_programs_before_the_one_that_an_exception_ends_are_kept():
    def callback(record):
        if record["points"][0]["batch_size"] == 6:
            raise KeyError("mine")

    grid = {"batch_size": [4, 6], "learning_rate": [0.1]}
    with pytest.raises(KeyError) as ended:
        sweep(hyperparameters=grid, callbacks=[callback])
    assert [point["batch_size"] for point in ended.value.result.points] == [4, 6]


def test_a_sweep_resumed_in_another_order_is_refused(tmp_path):
    sweep(checkpoints=jaxbp.Checkpoints(tmp_path), epochs=1)
    with pytest.raises(ValueError, match="order"):
        sweep(checkpoints=jaxbp.Checkpoints(tmp_path), order="own")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (lambda a, b: iter([(X, Y)]), "Batches: expected source to take the epoch, or nothing"),
        (lambda: None, "a source that returns an iterable of batches, got None"),
        (lambda: 3, "a source that returns an iterable of batches, got the int 3"),
        (lambda: X, "a source that returns an iterable of batches, got float32"),
    ],
)
def test_a_source_of_no_batches_is_refused(source, said):
    with pytest.raises(TypeError, match=said):
        jaxbp.fit(GRAD, PARAMS, source, **RUN)


def test_a_batch_that_is_none_does_not_end_the_epoch():
    with pytest.raises(TypeError, match="epoch 1, batch 2"):
        jaxbp.fit(GRAD, PARAMS, lambda: iter([(X, Y), None, (X, Y)]), **RUN)


def test_a_run_resumed_with_other_validation_data_is_refused(tmp_path):
    """That they are there or not changes nothing of what is learned."""
    given = RUN | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    jaxbp.fit(GRAD, PARAMS, (X, Y), validation=(X, Y), **given)
    with pytest.raises(ValueError, match="validation was"):
        jaxbp.fit(GRAD, PARAMS, (X, Y), validation=(X + 1, Y), **given | {"epochs": 2})
    more = jaxbp.fit(GRAD, PARAMS, (X, Y), validation=(X, Y), **given | {"epochs": 2})
    without = {name: value for name, value in given.items() if name != "evaluate"}
    alone = jaxbp.fit(GRAD, PARAMS, (X, Y), **without | {"epochs": 3})
    assert [len(result.history["loss"]) for result in (more, alone)] == [2, 3]
