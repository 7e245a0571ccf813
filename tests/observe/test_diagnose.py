"""What is wrong with the flow, by name: on models with a known sickness, and on healthy ones."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.observe.diagnosis.record import KINDS

from .models import FURTHER, MEANT, MODELS, UNSEEN, WORDS

SICK = [model for model in MODELS if model.sickness]
HEALTHY = [model for model in MODELS if model.sickness is None]


@pytest.fixture(autouse=True)
def as_users_run():
    """Users have JAX's default, in which ranks are promoted: without it (N,) never meets (N, 1)."""
    with jax.numpy_rank_promotion("allow"):
        yield


def names(model):
    f, params, batch = model.make()
    return [finding.name for finding in jaxbp.diagnose(f, params, *batch).findings]


@pytest.mark.parametrize("model", SICK[::20], ids=lambda model: model.name)
def test_a_sickness_is_named_and_nothing_else(model):
    assert model.sickness in names(model)
    assert set(names(model)) <= {model.sickness, *model.also}


@pytest.mark.parametrize("model", HEALTHY[::20], ids=lambda model: model.name)
def test_no_false_alarm(model):
    assert names(model) == []


@pytest.mark.soak
@pytest.mark.parametrize("half", ["open", "aside"])
def test_rates(half):
    """At least 95 in 100 are named, and no healthy model is accused."""
    sick = [model for model in SICK if model.half == half]
    missed = [model.name for model in sick if model.sickness not in names(model)]
    accused = [model.name for model in HEALTHY if model.half == half and names(model)]
    assert accused == []
    assert len(missed) <= 0.05 * len(sick), missed


def judged_wrong(models):
    """Those of which a sickness is not named, or something beside it is."""
    wrong = {}
    for model in models:
        found = names(model)
        if (model.sickness and model.sickness not in found) or set(found) - {model.sickness, *model.also}:
            wrong[model.name] = found
    return wrong


@pytest.mark.soak
@pytest.mark.parametrize("models", [FURTHER, UNSEEN], ids=["further", "unseen"])
def test_later_models(models):
    """Every sick one is named, with nothing beside it, and no healthy one is accused."""
    assert {model.sickness for model in models} == {*WORDS, None}
    assert judged_wrong(models) == {}


# Kinds that the rules of the day missed, or saw where they are not, when these models were written.
LEARNED = [
    "plain_scores_times_the_mask", "plain_inner_product_of_errors", "plain_background_only",
    "plain_gaussian_process", "nnx_hinge_of_zero_and_one",
]  # fmt: skip


@pytest.mark.parametrize("name", LEARNED)
def test_what_was_missed_once_is_seen(name):
    assert judged_wrong([model for model in UNSEEN if model.name == name]) == {}


# An activation is what it computes, however it is written; what looks like one of them and is not, is not.
WRITTEN = [
    "plain_where_relu_of_negative_weights", "plain_relu_as_a_product", "plain_sigmoid_of_exponentials",
    "plain_sigmoid_by_hand_before_optax", "plain_gelu_far_from_zero", "equinox_filled_up_batch",
]  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_otherwise_is_the_same(name):
    model = next(model for model in FURTHER if model.name == name)
    assert names(model) == ([model.sickness] if model.sickness else [])


@pytest.mark.parametrize("model", [pytest.param(m, id=m.name, marks=[pytest.mark.soak] * (k % 3 > 0))
                                   for k, m in enumerate(MEANT)])  # fmt: skip
def test_what_is_meant_is_not_accused(model):
    assert judged_wrong([model]) == {}


def test_the_words_are_a_closed_list():
    assert set(KINDS) == set(WORDS)
    assert all(word in jaxbp.diagnose.__doc__ for word in WORDS)
    for kind in KINDS.values():
        assert set(kind.after) <= set(KINDS)
        assert kind.effect
        assert kind.hint


def error(params, x, y):
    h = jnp.tanh(x @ params["hidden"]["W"] + params["hidden"]["b"])
    return jnp.mean((h @ params["out"]["W"] - y) ** 2)


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    params = {
        "hidden": {"W": rng.normal(size=(3, 8)) / 2, "b": np.zeros(8)},
        "out": {"W": rng.normal(size=(8, 1)) / 3},
    }
    params = jax.tree.map(jnp.float32, params)
    return params, jnp.float32(rng.normal(size=(16, 3))), jnp.float32(rng.normal(size=(16, 1)))


def test_a_healthy_net_has_no_finding(case):
    found = jaxbp.diagnose(error, *case)
    assert found.ok
    assert found.findings == found.remarks == ()
    assert found.loss == pytest.approx(float(error(*case)), rel=1e-6)
    assert repr(found).endswith("no findings")


def test_what_follows_is_a_line_below_its_cause(case, monkeypatch):
    """Large inputs saturate the layer, and its delta vanishes: one finding."""
    params, x, y = case
    found = jaxbp.diagnose(error, params, 1e6 * x, y)
    assert found.findings[0].name == "unscaled"
    assert found.findings[0].label == "hidden/dot_general"
    assert "test_diagnose.py:" in found.findings[0].where
    monkeypatch.chdir(Path(__file__).parent)
    assert f"hidden/dot_general ({Path(__file__).name}:" in found.findings[0].sentence
    assert any(line.startswith("saturated: hidden/tanh f: ") for line in found.findings[0].follows)
    assert "    then saturated: " in repr(found)


def test_frozen_parameters_are_a_remark(case):
    params, x, y = case
    found = jaxbp.diagnose(
        lambda p, x, y: error({**p, "hidden": jax.lax.stop_gradient(p["hidden"])}, x, y), params, x, y
    )
    assert found.ok
    assert found.remarks == ("behind stop_gradient, and so not changed: p/hidden/W, p/hidden/b",)


def test_what_is_not_finite_is_said_with_its_trap(case):
    params, x, y = case
    found = jaxbp.diagnose(lambda p, x, y: jnp.log(error(p, x, y) - 9.0), params, x, y)
    assert [finding.name for finding in found.findings] == ["nan_forward"]
    assert "log of a negative number" in found.findings[0].evidence


def test_it_is_plain_values_for_json(case):
    params, x, y = case
    found = json.loads(json.dumps(jaxbp.diagnose(error, {**params, "old": jnp.ones(2)}, x, y).to_dict()))
    assert (found["ok"], found["findings"][0]["name"], found["findings"][0]["label"]) == (
        False,
        "unused",
        "params/old",
    )
    assert set(found["findings"][0]) == {"name", "label", "where", "evidence", "follows", "effect", "hint"}
    assert jaxbp.diagnose(error, *case)._repr_html_().startswith("<table>")


def test_bad_use(case):
    params, x, y = case
    with pytest.raises(TypeError, match="expected f to return one number, got a tuple of 2; give"):
        jaxbp.diagnose(lambda p, x, y: (error(p, x, y), 1), params, x, y)
    with pytest.raises(TypeError, match="expected parameters in params that are floating, got int32"):
        jaxbp.diagnose(error, {**params, "n": jnp.arange(3)}, x, y)
    with pytest.raises(ValueError, match="diagnose: expected values, got traced arrays"):
        jax.jit(lambda p: jaxbp.diagnose(error, p, x, y).loss)(params)


ODD = {
    "a relu in a branch that is not taken": lambda h, x: jax.lax.cond(x[0, 0] < 99, jnp.tanh, jax.nn.relu, h),
    "one in a branch of some steps": lambda h, x: jax.lax.scan(
        lambda h, i: (jax.lax.cond(i > 3, jax.nn.relu, jnp.tanh, h), None), h, jnp.arange(5)
    )[0],
    "elu, whose where takes what is below 0": lambda h, x: jax.nn.elu(h + 2.0),
    "a while loop": lambda h, x: jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0, h)
    )[1],
    "complex values": lambda h, x: jnp.abs((x + 1j * x**2) @ jnp.ones((3, 8))) * h,
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_run_or_is_no_real_number_is_no_finding(case, odd):
    params, x, y = case

    def f(params, x, y):
        h = ODD[odd](x @ params["hidden"]["W"] + params["hidden"]["b"], x)
        return jnp.mean((h @ params["out"]["W"] - y) ** 2)

    assert jaxbp.diagnose(f, params, x, y).findings == ()
