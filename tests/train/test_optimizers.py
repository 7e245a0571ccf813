"""Optimizers that want more than a gradient, what their states tell, and the averages of parameters."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.train.programs.update import make_value_fn, told, updated
from tests.cases import draw_params
from tests.train.test_fit import EVALUATE, GRAD, NET, data, run
from tests.train.test_going_on import assert_same

HELD = {"validation": data(10, seed=2), "evaluate": EVALUATE}


def test_lbfgs_on_a_convex_problem_reaches_the_optimum_of_scikit_learn():
    """Softmax regression with half the square of the norm, C = 1: one batch, some tens of iterations."""
    LogisticRegression = pytest.importorskip("sklearn.linear_model").LogisticRegression
    x, y = data(60)

    def loss(params, x, y):
        f = x @ params["W"].T + params["b"][None]
        return jaxbp.softmax_cross_entropy(f, y) + 0.5 * (params["W"] ** 2).sum() / len(y)

    params = {"W": jnp.zeros((3, 4)), "b": jnp.zeros(3)}
    result = run(jax.value_and_grad(loss), params, (x, y), optimizer=optax.lbfgs(), batch_size=60, epochs=40)
    peer = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(result.params["W"], peer.coef_, atol=2e-3)
    b = result.params["b"] - result.params["b"].mean()
    np.testing.assert_allclose(b, peer.intercept_ - peer.intercept_.mean(), atol=2e-3)


WANTING = {
    "reduce_on_plateau": optax.chain(
        optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1, accumulation_size=2, factor=0.5, rtol=0.5)
    ),
    "a line search forward": optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=8, store_grad=True)
    ),
    "lbfgs": optax.lbfgs(memory_size=3, linesearch=optax.scale_by_zoom_linesearch(4)),
    "momo": optax.contrib.momo(),
    "polyak": optax.polyak_sgd(),
    "sam": optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.05), opaque_mode=True),
}


QUICK = ("reduce_on_plateau", "a line search forward")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.soak] * (n not in QUICK)) for n in WANTING],
)
def test_what_an_optimizer_wants_it_gets_and_the_run_goes_on_as_it_was(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optax's own: complex numbers that it does not meet here
        whole = run(optimizer=WANTING[name], epochs=4)
        kept = {"optimizer": WANTING[name], "epochs": 4, "checkpoints": jaxbp.Checkpoints(tmp_path)}
        run(callbacks=[lambda record: record["epoch"] == 2], **kept)
        assert_same(run(**kept), whole)
    assert np.isfinite(whole.history["loss"]).all()


def test_the_value_is_the_loss_of_the_batch():
    """An optimizer that divides by the value, and one that names what it takes, against a plain loop."""

    def update(grads, state, params, *, value):
        return jax.tree.map(lambda grad: -0.1 * grad / value, grads), state

    optimizer = optax.GradientTransformation(lambda params: (), update)
    x, y = data(24)
    order = [jaxbp.train.programs.epoch_program.epoch_order(jax.random.key(1), e, 24) for e in (1, 2)]
    params = draw_params(NET, "float32")
    for batch in np.concatenate(order).reshape(-1, 8):
        value, grads = GRAD(params, x[batch], y[batch])
        params = jax.tree.map(lambda p, g, v=value: p - 0.1 * g / v, params, grads)
    result = run(train=(x, y), optimizer=optimizer, epochs=2)
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-6), result.params, params)


def test_the_derivative_of_the_value_is_the_gradient_that_grad_fn_gives():
    """Forward and backward; a rule of the user's is never differentiated."""
    grads = {"w": jnp.array([1.0, -2.0])}
    value_fn = make_value_fn(lambda params: ((params["w"] ** 3).sum(), grads))
    params = {"w": jnp.array([2.0, 1.0])}
    assert value_fn(params) == 9
    np.testing.assert_array_equal(jax.grad(value_fn)(params)["w"], grads["w"])
    _, along = jax.jvp(value_fn, (params,), ({"w": jnp.array([1.0, 1.0])},))
    assert along == -1


@pytest.mark.parametrize(
    ("update", "says"),
    [
        (lambda grads, state, params, *, hessian: (grads, state), "perhaps value, grad, value_fn"),
        (lambda grads, state, params: (grads, (state, 1)), "whose state stays of one structure"),
        (lambda grads, state, params: grads, r"whose update returns \(updates like params, state\)"),
    ],
)
def test_updates_that_cannot_be(update, says):
    with pytest.raises(TypeError, match=says):
        run(optimizer=optax.GradientTransformation(lambda params: (), update))


@pytest.mark.soak
def test_a_state_that_tells_is_in_the_history():
    """The rate of each epoch's last iteration, the norm of its gradient, the factor of the plateau."""
    schedule = optax.linear_schedule(0.1, 0.0, 8)
    optimizer = optax.chain(
        optax.snapshot("gradient_norm", optax.tree.norm),
        optax.inject_hyperparams(optax.sgd)(learning_rate=schedule),
        optax.contrib.reduce_on_plateau(factor=0.5, patience=1),
    )
    seen = []
    result = run(optimizer=optimizer, epochs=2, callbacks=[seen.append], **HELD)
    assert list(result.history)[:3] == ["epoch", "seconds", "loss"]
    assert list(result.history)[3:6] == ["gradient_norm", "learning_rate", "plateau_scale"]
    np.testing.assert_allclose(result.history["learning_rate"], [schedule(3), schedule(7)], rtol=1e-6)
    norm = seen[1]["opt_state"][0].measurement["gradient_norm"]
    assert result.history["gradient_norm"][1] == norm == seen[1]["gradient_norm"] > 0
    stopping = jaxbp.EarlyStopping(9, "gradient_norm", "min")
    stopped = run(optimizer=optimizer, epochs=4, early_stopping=stopping)
    assert stopped.best_epoch == stopped.history["gradient_norm"].argmin() + 1


def test_two_states_that_tell_the_same_have_two_columns():
    rates = {name: optax.inject_hyperparams(optax.sgd)(learning_rate=rate) for name, rate in RATES.items()}
    optimizer = optax.partition(rates, {"a": "fast", "b": "slow"})
    state = optimizer.init({"a": jnp.zeros(2), "b": jnp.zeros(3)})
    assert {name: float(value) for name, value in told(state).items()} == {
        "learning_rate": 0.5,
        "learning_rate_2": 0.25,
    }
    assert told(optax.adam(0.1).init({"a": jnp.zeros(2)})) == {}


RATES = {"fast": 0.5, "slow": 0.25}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ema_is_that_of_a_numpy_loop(dtype, x64):
    x, y = data(24)
    params = draw_params(NET, dtype)
    average = jax.tree.map(np.asarray, params)
    order = np.concatenate(
        [jaxbp.train.programs.epoch_program.epoch_order(jax.random.key(1), e, 24) for e in (1, 2)]
    )
    for batch in order.reshape(-1, 8):
        _, grads = GRAD(params, x[batch].astype(dtype), y[batch])
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        average = jax.tree.map(lambda a, p: 0.9 * a + 0.1 * np.asarray(p), average, params)
    result = run(
        params=draw_params(NET, dtype), train=(x.astype(dtype), y), epochs=2, ema=0.9, **HELD
    )  # fmt: skip
    close = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for found, expected in ((result.params, average), (result.last_params, params)):
        jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=close, atol=close), found, expected)
    x, y = HELD["validation"]
    assert result.history["val_loss"][-1] == pytest.approx(float(EVALUATE(average, x, y)["loss"]), rel=1e-5)


AVERAGED = {
    "ema": {"ema": 0.8},
    "schedule_free": {
        "optimizer": optax.contrib.schedule_free_sgd(0.1),
        "eval_params": optax.contrib.schedule_free_eval_params,
    },
    "stream": {"ema": 0.8, "batch_size": 4, "memory_budget": 400},
}


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["ema", *(pytest.param(n, marks=pytest.mark.soak) for n in AVERAGED if n != "ema")]
)
def test_what_is_evaluated_is_the_best_and_is_returned(name, tmp_path):
    """Of a run that stops early, goes on from a result, and is taken up from a folder."""
    stopping = jaxbp.EarlyStopping(9, "val_loss", mode="max")
    options = HELD | AVERAGED[name] | {"early_stopping": stopping}
    seen = []
    whole = run(epochs=4, callbacks=[seen.append], **options)
    x, y = HELD["validation"]
    at_best = EVALUATE(whole.params, x, y)["loss"]
    assert whole.history["val_loss"][whole.best_epoch - 1] == pytest.approx(float(at_best), rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, seen[whole.best_epoch - 1]["params"], whole.params)
    assert (whole.params[1]["W"] != whole.last_params[1]["W"]).any()
    half = run(epochs=2, **options)
    assert_same(run(epochs=2, **options | {"params": half}), whole)
    kept = options | {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(epochs=2, **kept)
    assert_same(run(epochs=4, **kept), whole)


def test_another_average_is_refused(tmp_path):
    kept = {"checkpoints": jaxbp.Checkpoints(tmp_path)}
    run(ema=0.9, epochs=1, **kept)
    with pytest.raises(ValueError, match=r"ema was 0\.9, is 0\.8"):
        run(ema=0.8, epochs=2, **kept)
    with pytest.raises(ValueError, match=r"ema was 0\.9, is absent"):
        run(epochs=2, **kept)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ema": 1.0}, "ema"),
        ({"ema": True}, "ema"),
        ({"ema": 0.9, "eval_params": lambda state, params: params}, "ema or eval_params"),
        (
            {"eval_params": optax.contrib.schedule_free_eval_params},
            "eval_params.opt_state, params. to return",
        ),
        (
            {"eval_params": lambda state, params: params[1]},
            r"eval_params\(opt_state, params\) to return a tree like",
        ),
        ({"eval_params": lambda params: params}, "eval_params to take 2 arguments"),
    ],
)
def test_averages_that_cannot_be(options, says):
    with pytest.raises((TypeError, ValueError), match=rf"fit: expected {says}.*, got "):
        run(**options)


@pytest.mark.soak
def test_a_longer_schedule_and_more_epochs_are_accepted_by_name(tmp_path):
    """It is the run whose schedule was long from the start, from the step on where the two differ."""
    short, long = (optax.sgd(optax.piecewise_constant_schedule(0.1, {n: 0.1})) for n in (8, 16))
    run(optimizer=short, epochs=2, checkpoints=jaxbp.Checkpoints(tmp_path))
    with pytest.raises(ValueError, match=r"accept=\('schedule',\)"):
        run(optimizer=long, epochs=4, checkpoints=jaxbp.Checkpoints(tmp_path))
    accepting = jaxbp.Checkpoints(tmp_path, accept=("schedule",))
    with pytest.warns(UserWarning, match="although schedule was"):
        again = run(optimizer=long, epochs=4, checkpoints=accepting)
    assert_same(again, run(optimizer=long, epochs=4))


def test_updated_leaves_out_what_an_update_does_not_take():
    asked = []

    def update(grads, state, params, **extra):
        asked.append(sorted(extra))
        return grads, state

    for function in (update, optax.sgd(0.1).update, lambda grads, state, params: (grads, state)):
        optimizer = optax.GradientTransformation(lambda params: (), function)
        state = optax.sgd(0.1).init({}) if function is not update else ()
        updated(optimizer, lambda p: (jnp.float32(0), p), jnp.float32(0), {}, state, {})
    assert asked == [["grad", "value", "value_fn"]]
