"""The first operation that makes a NaN or an infinity: which, where, why, at which step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.jaxprs.values.traps import BACKWARD, FORWARD

from .models import MODELS

BROKEN = {"nan_forward", "nan_backward", "overflow"}
SICK = [model for model in MODELS if model.sickness in BROKEN]
HEALTHY = [model for model in MODELS if model.sickness is None]


@pytest.fixture(autouse=True)
def as_users_run():
    with jax.numpy_rank_promotion("allow"):
        yield


def some(models, every):
    for i, model in enumerate(models):
        yield pytest.param(model, id=model.name, marks=[pytest.mark.soak] * (i % every > 0))


@pytest.mark.parametrize("model", list(some(SICK, 3)))
def test_every_broken_model_has_an_operation_and_a_line(model):
    f, params, batch = model.make()
    found = jaxbp.first_nonfinite(f, params, *batch)
    assert found is not None
    assert found.operation
    loss, grads = jax.value_and_grad(f)(params, *batch)
    assert found.direction == ("backward" if np.isfinite(loss) else "forward")
    assert found.trap == "given" or "/models/" in found.where
    assert len(found.reaches) == sum(not np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("model", list(some(HEALTHY, 30)))
def test_silent_on_healthy_models(model):
    f, params, batch = model.make()
    assert jaxbp.first_nonfinite(f, params, *batch) is None


LINES = [
    (lambda w, x: jnp.sum(w / x), ([1.0, 1.0], [0.0, 1.0]), "forward", "div", "division by 0"),
    (lambda w, x: jnp.sum((w * x) / x), ([1.0, 1.0], [0.0, 1.0]), "forward", "div", "0 / 0"),
    (lambda w, x: jnp.sum(jnp.log(w * x)), ([1.0], [-1.0]), "forward", "log", "log of a negative number"),
    (lambda w, x: jnp.sum(jnp.exp(w * x)), ([1.0], [99.0]), "forward", "exp", "overflow of float32"),
    (lambda w, x: jnp.sum(jnp.exp(w * x) * 0.0), ([1.0], [99.0]), "forward", "exp", "overflow of float32"),
    # Zeros and negative numbers beside the entry that breaks are not to blame.
    (lambda w, x: jnp.sum((w * x) ** 50.0), ([1.0, 1.0], [-9.0, 9.0]), "forward", "pow", "overflow"),
    (lambda w, x: jnp.sum((w * x) ** 50), ([1.0, 1.0], [0.0, 9.0]), "forward", None, "overflow of float32"),
    (lambda w, x: jnp.sum((w * x) / x**8), ([1.0, 0.0], [1e-6, 1.0]), "forward", "div", "division by 0"),
    (lambda w, x: jnp.sum(w / (x - 1.0)), ([1.0, 0.0], [1.0, 2.0]), "forward", "div", "division by 0"),
    (lambda w, x: jnp.sum((w * x) ** 0.5), ([1.0], [-1.0]), "forward", None, "power of a negative number"),
    (lambda w, x: jnp.sum(w * x), ([1.0], [np.nan]), "forward", "x", "given"),
    (lambda w, x: jnp.sum(jnp.sqrt(w * x)), ([1.0], [0.0]), "backward", "sqrt", "slope of a root at 0"),
    (lambda w, x: jnp.linalg.norm(w * x), ([1.0], [0.0]), "backward", "norm", "slope of a root at 0"),
    (lambda w, x: jnp.sum((w * x) ** 0.5), ([1.0], [0.0]), "backward", None, "slope of a "),
    (lambda w, x: jnp.sum(jnp.arcsin(w * x)), ([1.0], [1.0]), "backward", None, "slope at the border"),
    (lambda w, x: jnp.sum(jnp.where(x > 0, jnp.log(w * x), 0.0)), ([1.0, 1.0], [0.0, 1.0]), "backward", "log",
     "slope of log at 0: 0 * inf, a where guards the value and not the slope"),
    (lambda w, x: jnp.sum(jnp.take(w * x, 7)), ([1.0, 1.0], [0.0, 1.0]), "forward", None, "an index outside"),
    (lambda w, x: jnp.sum(jax.nn.softmax(jnp.where(x > 9, w * x, -jnp.inf))), ([1.0], [0.0]), "forward", None,
     "inf - inf"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "args", "direction", "operation", "trap"), LINES)
def test_the_trap_by_name(f, args, direction, operation, trap):
    found = jaxbp.first_nonfinite(f, *map(jnp.asarray, args))
    assert (found.direction, found.trap[: len(trap)]) == (direction, trap)
    assert operation in (None, found.operation)
    assert found.trap == "given" or "test_nonfinite.py:" in found.where
    assert found.sentence.startswith(f"{direction}: ")
    assert found.hint in found.sentence


def test_the_step_of_a_loop():
    def f(w, x):
        def step(h, x):
            return jnp.log(x * w), h

        h, _ = jax.lax.scan(step, 1.0, x)
        return h + jax.lax.scan(step, 1.0, x, reverse=True)[1].sum()

    found = jaxbp.first_nonfinite(f, jnp.ones(()), jnp.array([1.0, 2.0, -1.0, 3.0, -2.0]))
    assert (found.step, found.operation, found.entries) == ((2,), "log", 1)
    assert "at step 2 makes 1 NaN entries of 1" in found.sentence


def test_the_last_step_is_the_first_backward():
    def f(w, x):
        h, _ = jax.lax.scan(lambda h, x: (h + jnp.sqrt(w * x), None), 0.0, x)
        return h

    found = jaxbp.first_nonfinite(f, jnp.ones(()), jnp.array([0.0, 1.0, 0.0, 1.0]))
    assert (found.direction, found.step) == ("backward", (2,))


def test_each_use_is_judged_apart():
    """The value is used twice: only the pullback of the root breaks it."""

    def f(w):
        h = 2 * w
        return jnp.sum(jnp.sin(h)) + jnp.sum(jnp.sqrt(h))

    found = jaxbp.first_nonfinite(f, jnp.zeros(2))
    assert (found.operation, found.entries, found.size) == ("sqrt", 2, 2)


def test_an_infinity_that_becomes_a_nan_is_named_where_it_arises():
    def f(w):
        e = jnp.exp(w)
        return jnp.sum(e / e.sum())

    found = jaxbp.first_nonfinite(f, jnp.array([100.0, 0.0]))
    assert found.operation == "exp"
    assert found.later.startswith("div makes a NaN of it (")


def test_branches_jit_remat_and_meshes_are_entered():
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec, same = jax.sharding.PartitionSpec("d"), jax.sharding.PartitionSpec()

    @jax.jit
    def inner(h):
        return jax.lax.cond(h[0] > -9, jnp.log, jnp.exp, h)

    @jax.shard_map(mesh=mesh, in_specs=(same, spec), out_specs=same)
    def f(w, x):
        return jax.lax.psum(jnp.sum(jax.checkpoint(inner)(w * x)), "d")

    found = jaxbp.first_nonfinite(f, jnp.float32(1.0), jnp.array([1.0, 1, 1, 1, 1, -1, 1, 1]))
    assert (found.operation, found.trap, found.size) == ("log", "log of a negative number", 2)


def test_silence_whatever_happens_inside():
    def masked(w):
        return jnp.sum(jax.nn.softmax(jnp.where(w > 0, w, -jnp.inf)))

    def unread(w):
        return jnp.sum(w) + jnp.sum(jnp.where(w > -1, 0.0, jnp.log(jax.lax.stop_gradient(w))))

    assert jaxbp.first_nonfinite(masked, jnp.arange(3.0)) is None
    assert jaxbp.first_nonfinite(unread, jnp.zeros(2)) is None


def test_bad_use():
    with pytest.raises(TypeError, match="expected f to return one floating number, got float32"):
        jaxbp.first_nonfinite(lambda w: w, jnp.ones(2))
    with pytest.raises(TypeError, match="first_nonfinite: expected parameters in w that are floating"):
        jaxbp.first_nonfinite(lambda w: w.sum(), jnp.arange(2))
    with pytest.raises(ValueError, match="expected values, got traced arrays; call it outside"):
        jax.jit(lambda w: jaxbp.first_nonfinite(jnp.sum, w) or w)(jnp.ones(2))


def test_every_trap_says_what_to_try():
    assert all(trap.hint and trap.name for trap in (*FORWARD, *BACKWARD))
