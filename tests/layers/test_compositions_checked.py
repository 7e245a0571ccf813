"""Random networks: `check` finds nothing wrong in the rule that `with_hand_vjp` installs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import jaxbp
from tests.cases import draw, draw_inputs, draw_params
from tests.layers.test_compositions import layers, of_examples
from tests.layers.test_compositions_of_sequences import SETTINGS, D, T, V, networks

SHAPE = (4, 3, 2)


def assert_nothing_is_found(net, f):
    report = jaxbp.check(jaxbp.with_hand_vjp(net), draw_params(net, "float32"), f)
    assert report.ok, f"{net.name}\n{report}"
    assert report.findings, f"{net.name}: no rule was found"


def text_or_rows(net):
    """Ids for a network that begins with an embedding."""
    if "E" in jax.eval_shape(net.init, jax.random.key(0))[1]:
        return jnp.asarray(np.random.default_rng(0).integers(0, V, (2, T)))
    return draw((2, T, D), "float32")


@pytest.mark.soak
@of_examples(150)
@given(layers(SHAPE))
def test_150_random_networks_of_images(made):
    assert_nothing_is_found(made[0], draw_inputs((2, *SHAPE), "float32"))


@pytest.mark.soak
@settings(max_examples=150, **SETTINGS)
@given(networks())
def test_150_random_networks_of_sequences(net):
    assert_nothing_is_found(net, text_or_rows(net))
