"""Evaluation every n epochs, runs counted in iterations, and what stays as it was without either."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.train.plan import Counted
from jaxbp.train.programs.epoch_program import epoch_order, make_epochs
from jaxbp.train.programs.step import State, make_step
from jaxbp.train.sharding import Layout
from tests.cases import draw_params
from tests.train.test_fit import EVALUATE, GRAD, NET, data, run
from tests.train.test_going_on import assert_same

HELD = {"validation": data(10, seed=2), "evaluate": EVALUATE}
WAYS = {"resident": {}, "stream": {"batch_size": 4, "memory_budget": 400}}
BOTH = ["resident", pytest.param("stream", marks=pytest.mark.soak)]


@pytest.mark.parametrize("way", BOTH)
def test_every_second_epoch_is_evaluated(way, tmp_path):
    options = HELD | WAYS[way]
    every, all_of_them = run(epochs=5, evaluate_every=2, **options), run(epochs=5, **options)
    strict = json.loads(json.dumps(every.to_dict(), allow_nan=False))
    assert strict["history"]["val_loss"][::2] == [None] * 3
    for name, column in all_of_them.history.items():
        if name.startswith("val_"):
            assert np.isnan(every.history[name][[0, 2, 4]]).all()
            np.testing.assert_array_equal(every.history[name][[1, 3]], column[[1, 3]])
    jax.tree.map(np.testing.assert_array_equal, every.params, all_of_them.params)
    stopping = {"early_stopping": jaxbp.EarlyStopping(2, "val_loss", mode="max"), "evaluate_every": 2}
    whole = run(epochs=9, **options | stopping)
    assert (whole.stopped, whole.best_epoch, len(whole.history["epoch"])) == ("early", 2, 6)
    half = run(epochs=3, **options | stopping)
    assert_same(run(epochs=6, **options | stopping | {"params": half}), whole)
    kept = options | stopping | {"checkpoints": jaxbp.Checkpoints(tmp_path, monitor="val_loss")}
    run(epochs=3, **kept)
    assert_same(run(epochs=9, **kept), whole)


def test_what_is_not_due_is_not_computed():
    seen = []

    def evaluate(params, x, y):
        jax.debug.callback(lambda: seen.append(1))
        return {"m": x.sum()}

    run(epochs=6, evaluate_every=3, validation=data(10), evaluate=evaluate)
    jax.effects_barrier()
    assert len(seen) == 2


def seeing(seen):
    def grad_fn(params, x, y):
        jax.debug.callback(lambda x: seen.append(tuple(x.tolist())), x[:, 0])
        return GRAD(params, x, y)

    return grad_fn


def test_iterations_take_whole_batches_of_one_pass_after_another():
    """10 iterations of 8 out of 26 examples: three passes and two examples of the fourth."""
    x, y = data()
    seen = []
    result = run(seeing(seen), train=(x, y), iterations=10, epochs=None)
    jax.effects_barrier()
    order = np.concatenate([epoch_order(jax.random.key(1), e, 26) for e in (1, 2, 3, 4)])
    assert seen == [tuple(x[rows, 0].tolist()) for rows in order[:80].reshape(10, 8)]
    params = draw_params(NET, "float32")
    losses = []
    for rows in order[:80].reshape(10, 8):
        loss, grads = GRAD(params, x[rows], y[rows])
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        losses.append(loss)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-4)
    assert result.history["iteration"].tolist() == [4, 8, 10]
    np.testing.assert_allclose(
        result.history["loss"], [np.mean(losses[:4]), np.mean(losses[4:8]), np.mean(losses[8:])], rtol=1e-4
    )
    assert (result.step, len(result.losses)) == (10, 10)
    assert repr(result).startswith("finished after 10 iterations")


@pytest.mark.parametrize("way", BOTH)
def test_where_the_batches_divide_the_data_iterations_are_those_of_epochs(way):
    options = HELD | WAYS[way] | {"train": data(24)}
    q = 24 // options.get("batch_size", 8)
    counted, plain = run(iterations=2 * q, epochs=None, **options), run(epochs=2, **options)
    jax.tree.map(np.testing.assert_array_equal, counted.params, plain.params)
    for name in plain.history.keys() - {"seconds", "waited"}:
        np.testing.assert_array_equal(counted.history[name], plain.history[name])


COUNTED = {
    "by passes": {"iterations": 10},
    "by threes": {"iterations": 10, "evaluate_every": 3},
    "stream": {"iterations": 10, "evaluate_every": 3, "batch_size": 4, "memory_budget": 400},
    "early stopping": {
        "iterations": 24,
        "evaluate_every": 2,
        "early_stopping": jaxbp.EarlyStopping(4, "val_loss", mode="max"),
    },
}


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["by threes", *(pytest.param(n, marks=pytest.mark.soak) for n in COUNTED if n != "by threes")]
)
def test_a_counted_run_goes_on_as_it_was(name, tmp_path):
    options = HELD | COUNTED[name] | {"epochs": None}
    whole = run(**options)
    kept = options | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(callbacks=[lambda record: record["epoch"] == 2], **kept)
    again = run(**kept)
    assert_same(again, whole)
    np.testing.assert_array_equal(again.losses, whole.losses)
    assert len(whole.losses) == whole.step
    if name == "by threes":
        assert whole.history["iteration"].tolist() == [3, 6, 9, 10]
        half = run(**options | {"iterations": 6})
        again = run(**options | {"iterations": 4, "params": half})
        assert_same(again, whole)
        np.testing.assert_array_equal(again.losses, whole.losses)
        more = run(**kept | {"iterations": 14})  # from 10, where an epoch was cut short
        straight = run(**options | {"iterations": 14})
        jax.tree.map(np.testing.assert_array_equal, more.params, straight.params)
        np.testing.assert_array_equal(more.losses, straight.losses)
        assert more.history["iteration"].tolist() == [3, 6, 9, 10, 13, 14]


def test_of_epochs_and_iterations_the_first_to_come_ends_the_run():
    assert run(iterations=7, epochs=5).step == 7
    assert run(iterations=700, epochs=2).step == 8  # of 4 a pass


@pytest.mark.soak
def test_a_loss_that_is_not_finite_is_named_by_its_iteration():
    optimizer = optax.sgd(lambda count: jnp.where(count == 5, jnp.nan, 0.1))
    with pytest.raises(jaxbp.DivergenceError, match="fit, iteration 6: expected a finite") as caught:
        run(optimizer=optimizer, iterations=9, epochs=None)
    left = caught.value.result
    assert (left.step, len(left.losses)) == (5, 5)
    more = run(params=left, optimizer=optax.sgd(lambda count: 0.1 + 0 * count), iterations=4, epochs=None)
    assert more.step == len(more.losses) == 9


def test_weights_and_the_given_order_are_counted_too():
    x, y = data()
    seen = []
    weight = np.arange(26, dtype=np.float32)
    grad_fn = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy)

    def noting(params, x, y, weight):
        jax.debug.callback(lambda w: seen.append(w.tolist()), weight)
        return grad_fn(params, x, y, weight=weight)

    run(noting, train=(x, y, weight), iterations=5, epochs=None, shuffle=False)
    jax.effects_barrier()
    assert np.ravel(seen).tolist() == (np.arange(40) % 26).tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"evaluate_every": 4}, "evaluate_every at most the 3 epochs, got 4"),
        ({"evaluate_every": 0}, "evaluate_every a whole number of at least 1"),
        ({"iterations": 0}, "iterations a whole number of at least 1"),
        ({"iterations": 2.5}, "iterations a whole number"),
        ({"epochs": 0, "iterations": 3}, "epochs a whole number of at least 1"),
    ],
)
def test_counts_that_cannot_be(options, says):
    with pytest.raises((TypeError, ValueError), match=rf"fit: expected {says}"):
        run(**HELD | options)


def test_a_run_goes_on_in_the_unit_in_which_it_began(tmp_path):
    with pytest.raises(ValueError, match=r"counted in iterations, got one in epochs; go on with epochs="):
        run(params=run(epochs=1), iterations=3)
    with pytest.raises(ValueError, match=r"counted in epochs, got one in iterations; go on with iterations="):
        run(params=run(iterations=3), epochs=1)
    kept = {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(iterations=3, **kept)
    with pytest.raises(ValueError, match="counted was true, is absent"):
        run(epochs=2, **kept)


@pytest.mark.parametrize(
    ("total", "every", "epoch", "step", "found"),
    [
        (10, 3, 0, 0, [(0, 3), (3, 3), (6, 3), (9, 1)]),
        (14, 3, 4, 10, [(10, 3), (13, 1)]),
        (6, 3, 2, 6, []),
        (2, 9, 0, 0, [(0, 2)]),
    ],
)
def test_the_iterations_of_each_epoch(total, every, epoch, step, found):
    counted = Counted(total, every, lambda number: [], epoch, step)
    numbers = range(epoch + 1, counted.epochs + 1)
    assert [(counted.first(e), counted.count(e)) for e in numbers] == found


@pytest.mark.jax_release
@pytest.mark.parametrize("held", [None, HELD["validation"]], ids=["bare", "evaluated"])
def test_a_run_that_uses_none_of_this_costs_what_a_bare_loop_costs(held):
    """FLOPs and bytes of the compiled epochs, against a step without any of it, written out here."""
    optimizer, params, (x, y) = optax.adam(0.1), draw_params(NET, "float32"), data()
    state = State(params, optimizer.init(params), jax.random.key(0), jnp.int32(0))

    def bare(state, x, y):
        loss, grads = GRAD(state.params, x, y)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, opt_state, state.key, state.step + 1), (loss, {})

    evaluate = EVALUATE if held else None
    orders = np.zeros((2, 26), np.int32)
    costs = []
    for step in (bare, make_step(GRAD, optimizer)):
        epochs = make_epochs(step, 8, evaluate, Layout().take)
        compiled = jax.jit(epochs).lower(state, orders, np.int32(1), (x, y), held).compile()
        cost = compiled.cost_analysis()
        costs.append((cost["flops"], cost["bytes accessed"]))
    assert costs[0] == costs[1]
