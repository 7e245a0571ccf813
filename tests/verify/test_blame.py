"""Whose fault an exception is: what the checker itself does wrong is never a verdict on a rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbp.jaxprs import widest_dtype
from jaxbp.verify import check, check_jvp, check_vjp
from jaxbp.verify import whole_function as whole
from jaxbp.verify.causes import mistakes
from jaxbp.verify.maps import pullback as references
from jaxbp.verify.numbers import compare

from .case import jvp_rule, normal, rule
from .cases import CASES

pytestmark = pytest.mark.jax_release

X = normal((3,))(np.float32)[0]


def broken(*args, **kwargs):
    return args["no such place"]


@pytest.mark.parametrize(
    ("place", "name", "value", "frame"),
    [
        (compare, "DRAWS", None, "compare.py"),  # in its own frames, called by nobody else
        (references, "capped", broken, "pullback.py"),  # in what it calls
        (widest_dtype, "SHORT", None, "widest_dtype.py"),  # while JAX traces for it
    ],
)
def test_its_own_fault_is_called_that(monkeypatch, place, name, value, frame):
    monkeypatch.setattr(place, name, value)
    case = next(c for c in CASES if c.name == "a constant in half, five percent")
    (found,) = check(case.f, *case.args(np.float32)).findings
    assert (found.verdict, found.cause) == ("inconclusive", "")
    assert found.sentence.startswith("the checker itself failed, which says nothing of the rule")
    assert "TypeError" in found.sentence
    assert frame in found.sentence


def test_its_own_fault_in_f_as_a_whole_is_a_note(monkeypatch):
    act = rule(jnp.sin, lambda a, y, c: (c * jnp.cos(a[0]),))
    monkeypatch.setattr(whole, "DRAWS", None)
    report = check(lambda x: jnp.sum(act(x)), X)
    assert [f.verdict for f in report.findings] == ["right"]
    assert report.notes[0].startswith("the checker itself failed")


def test_a_rule_stays_convicted_when_the_search_for_the_cause_fails(monkeypatch):
    monkeypatch.setattr(mistakes, "diagnose", broken)
    (found,) = check(rule(jnp.sin, lambda a, y, c: (c,)), X).findings
    assert (found.verdict, found.cause) == ("wrong", "other")
    assert found.sentence.startswith("the checker itself failed")


@pytest.mark.parametrize(
    ("bwd", "verdict", "words"),
    [
        (lambda a, y, c: (c * a[3],), "wrong", "IndexError"),
        (lambda a, y, c: (c * a.nothing,), "wrong", "AttributeError"),
        (lambda a, y: (y,), "wrong", "takes 2 positional arguments but 3 were given"),
        (lambda a, y, c: (jnp.ones((2,)) @ c,), "wrong", "TypeError"),
        (lambda a, y, c: ("x",), "wrong", "no array"),
        (lambda a, y, c: (jnp.sin,), "wrong", "no array"),
        (lambda a, y, c: (np.array([None]),), "wrong", "no array"),
        (lambda a, y, c: refuses(), "inconclusive", "raises on purpose: ValueError: not today"),
    ],
)
def test_errors_of_the_rule_stay_findings(bwd, verdict, words):
    (found,) = check(rule(jnp.sin, bwd), X).findings
    assert found.verdict == verdict
    assert words in found.sentence


def refuses():
    raise ValueError("not today")


def test_what_jax_refuses_is_said():
    def by_host(x):
        return jax.pure_callback(np.cos, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    f = jvp_rule(jnp.sin, lambda p, t: by_host(t[0]))
    # More entries than forward mode takes, and reverse mode would have to transpose the callback.
    (found,) = check(f, *normal((600,))(np.float32)).findings
    assert found.verdict == "inconclusive"
    assert found.sentence.startswith("JAX does not run it")


def test_an_axis_of_two_sizes_is_no_verdict():
    """Which of them a rule is under is not known when it runs alone."""
    f = jax.custom_vjp(lambda x: x * x + 0 * jax.lax.pmean(x, "b"))
    f.defvjp(lambda x: (x * x, x + 0 * jax.lax.pmean(x, "b")), lambda x, c: (2 * x * c,))
    total = lambda x: jax.vmap(f, axis_name="b")(x).sum()  # noqa: E731
    report = check(lambda x, y: total(x) + total(y), jnp.ones((2, 3)), jnp.ones((4, 3)))
    assert [found.verdict for found in report.findings] == ["inconclusive"] * 2
    assert "asks for an axis that is not there" in report.findings[0].sentence
    alone = check(total, jnp.ones((2, 3)))
    assert {found.verdict for found in alone.findings} == {"right"}


def test_exceptions_show_as_usual_afterwards():
    before = jax.config.jax_traceback_filtering
    check(rule(jnp.sin, lambda a, y, c: (c * a[3],)), X)
    assert jax.config.jax_traceback_filtering == before


@pytest.mark.parametrize("given", ["x", jnp.sin, object()], ids=["text", "a function", "an object"])
def test_a_plain_rule_that_gives_no_array_is_wrong(given):
    for report in (check_vjp(jnp.sin, lambda a, c: given, X), check_jvp(jnp.sin, lambda p, t: given, X)):
        assert not report.ok
        assert "no array" in report.findings[0].sentence
