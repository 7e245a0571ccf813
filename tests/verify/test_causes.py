"""The vocabulary: every word has a minimal rule that gets it, every mistake gives words of the table."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbp.cli.judging.check import explain
from jaxbp.verify import check
from jaxbp.verify.causes import mistakes
from jaxbp.verify.causes.table import CAUSES

from .case import normal, rule

WORDS = [pytest.param(word, marks=[pytest.mark.soak] * (k % 3 != 0)) for k, word in enumerate(sorted(CAUSES))]


@pytest.mark.parametrize("word", WORDS)
def test_a_minimal_rule_gets_its_word(word):
    made = {}
    exec(CAUSES[word].example, made)
    report = made["report"]
    assert [f.cause for f in report.wrong][:1] == [word], str(report)


def test_mistakes_give_words_of_the_table():
    given = {word for m in mistakes.MISTAKES for word in m.gives}
    assert given <= CAUSES.keys()
    assert len({m.name for m in mistakes.MISTAKES}) == len(mistakes.MISTAKES)


@pytest.mark.parametrize("word", ["missing_sum", "vmap"])
def test_explain_says_meaning_remedy_and_a_rule(word, capsys):
    assert explain(word) == 0
    out = capsys.readouterr().out
    cause = CAUSES[word]
    said = " ".join(out.split())
    for words in (cause.meaning, cause.usual, cause.remedy, *cause.example.split("\n")):
        assert " ".join(words.split()) in said


def test_explain_of_no_word(capsys):
    assert explain("mising_sum") == 2
    assert "missing_sum" in capsys.readouterr().err


def test_where_no_mistake_fits_what_is_known_is_said():
    f = rule(lambda x: jnp.sum(jnp.sin(x)) ** 2, lambda a, y, c: (c * jnp.exp(a[0]),))
    (found,) = check(f, *normal((5,))(np.float32)).wrong
    assert found.cause == "other"
    assert "all of 5 entries differ" in found.sentence


def test_the_worst_entries_of_many_are_not_taken_for_all():
    """They lie where the slope is largest, so that they differ alike; the others differ in other ways."""
    f = rule(
        lambda x: jnp.sum(jnp.sin(x) * jnp.tanh(x)), lambda a, y, c: (c * jnp.cos(a[0]) * jnp.tanh(a[0]),)
    )
    (found,) = check(f, *normal((100_000,))(np.float32)).wrong
    assert found.cause == "missing_term"


@pytest.mark.soak
def test_an_operation_of_jax_is_named_with_the_line_of_the_user():
    """What jnp.linalg.cholesky is made of was never written by the user; the call of it was."""

    def f(a):
        return jnp.linalg.cholesky(a) @ jnp.ones((3,), a.dtype)

    x = normal((3, 3))(np.float64)[0]
    half = rule(f, lambda a, y, c: (0.5 * jax.vjp(f, a[0])[1](c)[0] + 0.1 * jnp.tril(a[0]) * c.sum(),))
    report = check(half, (x @ x.T + np.eye(3)).astype(np.float32))
    assert not report.ok
    for found in report.wrong:
        assert "through" not in found.sentence or "test_causes.py:" in found.sentence


def test_a_sentence_names_files_as_seen_from_the_current_folder(tmp_path, monkeypatch):
    """An absolute path of one machine would stand in a pull request."""

    def slopes(x):
        return jnp.sin(x) * jnp.tanh(x)

    f = rule(slopes, lambda a, y, c: (c * jnp.cos(a[0]) * jnp.tanh(a[0]),))
    monkeypatch.chdir(Path(__file__).parent)
    (found,) = check(f, jnp.arange(1.0, 4.0)).wrong
    assert f"tanh at {Path(__file__).name}:" in found.sentence
    monkeypatch.chdir(tmp_path)
    (found,) = check(f, jnp.arange(1.0, 4.0)).wrong
    assert f"tanh at {__file__}:" in found.sentence


LARGE = {
    "sign": lambda x, c: -c * jnp.cos(x),
    "factor": lambda x, c: 2 * c * jnp.cos(x),
    "wrong_point": lambda x, c: c * jnp.cos(jnp.sin(x)),
    "misplaced": lambda x, c: jnp.roll(c * jnp.cos(x), 1),
    "slope": lambda x, c: c / (1 + jnp.abs(x)) ** 3,
    "missing_term": lambda x, c: c,
    "nan": lambda x, c: jnp.where(x > 2, jnp.nan, c * jnp.cos(x)),
    "other": lambda x, c: c * jnp.cos(x) + 0.1 * jnp.roll(c, 5) * x * x,
}


@pytest.mark.parametrize("cause", LARGE)
def test_a_cause_of_a_large_array_is_that_of_a_small_one(cause):
    """It is looked for in few entries first, and then in all: those must come to the same."""
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, c: (LARGE[cause](x, c),))
    for size in (60, 60_000):
        x = np.random.default_rng(2).standard_normal(size).astype(np.float32)
        assert {found.cause for found in check(f, x).wrong} == {cause}, size
