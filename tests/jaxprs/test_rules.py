"""What a rule is called, whose it is, and where it was defined and used."""

import jax
import jax.numpy as jnp
import pytest

from jaxbp.jaxprs.rules import describe, rules_in, written_at

pytestmark = pytest.mark.jax_release


def rule_of(fn):
    (eqn,) = rules_in(jax.make_jaxpr(fn)(jnp.ones(3)).jaxpr)
    return describe(eqn)


def test_a_rule_of_the_user():
    f = jax.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, None), lambda _, c: (c,))
    rule = rule_of(jax.jit(lambda x: f(2 * x)))
    assert (rule.kind, rule.builtin, rule.arguments) == ("custom_vjp", False, ("x",))
    assert __file__ in rule.where
    assert __file__ in rule.called


def test_a_custom_gradient_is_the_user_s():
    @jax.custom_gradient
    def f(x):
        return x * x, lambda c: 2 * x * c

    rule = rule_of(lambda x: f(x))
    assert rule.name == "f"
    assert not rule.builtin
    assert rule.where != rule.called  # where it is written, and where it is used
    assert __file__ in rule.where


def test_a_rule_of_the_library():
    rule = rule_of(lambda x: jax.nn.relu(x))
    assert rule.builtin
    assert __file__ not in rule.where
    assert __file__ in rule.called


def test_where_an_operation_was_written():
    (eqn,) = jax.make_jaxpr(lambda x: jnp.sin(x))(1.0).jaxpr.eqns
    assert written_at(eqn).startswith(__file__)
