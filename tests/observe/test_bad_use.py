"""Bad use of what looks inside: each with the same sentence, whichever function is asked."""

import jax
import jax.numpy as jnp
import pytest

import jaxbp
from jaxbp.observe import flow

W, X = {"w": jnp.ones((3, 2))}, jnp.ones((4, 3))


def good(params, x):
    return jnp.sum(jnp.tanh(x @ params["w"]))


def aux(params, x):
    return good(params, x), {"accuracy": 1.0}


def nothing(params, x):
    good(params, x)


USES = {
    "cotangents": lambda f, params: jaxbp.cotangents(f)(params, X),
    "first_nonfinite": lambda f, params: jaxbp.first_nonfinite(f, params, X),
    "diagnose": lambda f, params: jaxbp.diagnose(f, params, X),
    "flow": lambda f, params: flow(f)(params, X),
}
BAD = [
    (
        "vector-valued",
        lambda p, x: x @ p["w"],
        W,
        r"float32 of shape \(4, 2\); a delta .* try .mean\(\) or .sum\(\)",
    ),
    ("one entry", lambda p, x: good(p, x)[None], W, r"float32 of shape \(1,\); a delta"),
    ("has_aux", aux, W, r"a tuple of 2; give f without what it returns besides: lambda"),
    ("a dict", lambda p, x: {"loss": good(p, x)}, W, r"got a dict"),
    (
        "a whole number",
        lambda p, x: jnp.argmax(x @ p["w"]),
        W,
        r"expected f to return one floating number, got int32",
    ),
    ("nothing", nothing, W, r"expected f to return one floating number, got None"),
    (
        "integer params",
        good,
        {"w": jnp.ones((3, 2), int)},
        r"floating, got int32 at params/w; derivatives are taken",
    ),
    ("one integer", good, {**W, "step": jnp.array(3)}, r"floating, got int32 at params/step"),
    ("no params", good, {}, r"expected floating arrays in argument 0 of f"),
    ("another signature", lambda p: good(p, X), W, r"expected f to take 2 arguments"),
    ("no function", 3, W, r"expected f to be a function, got the int 3"),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("f", "params", "says"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_a_sentence_says_what_came_and_what_to_try(use, f, params, says):
    with pytest.raises(TypeError, match=says) as caught:
        USES[use](f, params)
    named = "cotangents" if use == "flow" else use
    assert str(caught.value).startswith(f"{named}: expected ")


def test_a_pattern_that_matches_nothing_says_what_there_is():
    for look in (jaxbp.cotangents, flow):
        with pytest.raises(ValueError, match=r"got 'layers.7'; there are w a, w/tanh f; '\*' is all"):
            look(good, "layers.7")(W, X)


def test_without_a_floating_intermediate_there_is_nothing_to_see():
    with pytest.raises(
        ValueError, match="expected f to compute something, got no floating intermediate value"
    ):
        jaxbp.cotangents(lambda w: w)(jnp.array(2.0))
    assert jaxbp.first_nonfinite(lambda w: w, jnp.array(2.0)) is None
    assert jaxbp.diagnose(lambda w: w, jnp.array(2.0)).ok


def test_an_unknown_reduction_is_told_at_once():
    with pytest.raises(ValueError, match="cotangents: expected reduce 'norm', 'max' or 'zeros', got 'mean'"):
        jaxbp.cotangents(good, reduce="mean")


@pytest.mark.parametrize("shape", [(), (4,)])
def test_keys_may_come_with_the_batch(shape):
    """Typed keys are no numbers: they pass, and are no parameters."""

    def f(params, x, key):
        one = key if not shape else key[0]
        return jnp.sum(jnp.tanh(x @ params["w"]) * jax.random.uniform(one, (4, 2)))

    keys = jax.random.split(jax.random.key(0), shape) if shape else jax.random.key(0)
    assert list(jaxbp.cotangents(f)(W, X, keys).deltas) == ["w a", "w/tanh f"]
    assert jaxbp.first_nonfinite(f, W, X, keys) is None
    assert "nan" not in repr(jaxbp.diagnose(f, W, X, keys))
    with pytest.raises(TypeError, match=r"floating, got key<fry> at key; derivatives"):
        jaxbp.diagnose(lambda key, x: f(W, x, key), keys, X)
