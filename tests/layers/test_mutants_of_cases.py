"""Rules of the table's layers broken the way people break them: the test of the table must fail on each."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

from tests.layers.case import on
from tests.layers.cases import CASES
from tests.layers.test_cases import assert_rule_holds
from tests.layers.test_mutants import broken, on_f, on_params


def by_other_params(change):
    """delta_f by changed parameters, delta_params as they are."""

    def mutant(layer):
        return on_f(layer, lambda d, p, s, delta: layer.backward(change(p), s, delta)[1])

    return mutant


def f_by(change):
    return lambda layer: on_f(layer, change)


def params_by(change):
    return lambda layer: on_params(layer, change)


def flipped(p):
    return p | {"W": jnp.flip(p["W"], range(2, p["W"].ndim))}


def first_example(layer):
    def backward(params, saved, delta_out):
        delta_params = layer.backward(params, saved[:1], delta_out[:1])[0]
        return delta_params, layer.backward(params, saved, delta_out)[1]

    return broken(layer, backward)


def next_place(layer):
    def backward(params, saved, delta_out):
        at, like = saved
        return layer.backward(params, ((at + 1) % 4, like), delta_out)

    return broken(layer, backward)


def without(direction):
    """A norm's delta_f without what it takes off along 1, or along h."""

    def change(d, p, saved, delta):
        h, r = saved
        u = (delta * on(delta, p["g"])).reshape(h.shape)
        along = h if direction == "h" else jnp.ones_like(h)
        axes = -1 if h.ndim == delta.ndim else (-4, -3, -1)  # of rows; of groups at all places
        taken = along * jnp.broadcast_to((u * along).mean(axes, keepdims=True), h.shape)
        return d + (taken * jnp.broadcast_to(r, h.shape)).reshape(d.shape)

    return f_by(change)


def evaluated(d, p, saved, delta):
    """Batch normalization's delta_f as if mean and variance were constants."""
    return delta * on(delta, p["g"] * saved[1])


def counted_by_examples(layer):
    def backward(params, saved, delta_out):
        h, r, _, state = saved
        return layer.backward(params, (h, r, jnp.asarray(1 / len(h), h.dtype), state), delta_out)

    return broken(layer, backward)


MUTANTS = {
    "conv2d: kernel flipped backward": ("conv2d", by_other_params(flipped)),
    "conv1d: kernel flipped backward": ("conv1d", by_other_params(flipped)),
    "conv2d: one place off": ("conv2d, SAME", f_by(lambda d, p, s, delta: jnp.roll(d, 1, -3))),
    "conv2d: delta_W of the first example": ("conv2d, SAME and strides", first_example),
    "conv2d: delta_W flipped": ("conv2d, groups", params_by(lambda d, p, s, delta: flipped(d))),
    "conv2d: groups mixed": (
        "conv2d, groups",
        params_by(lambda d, p, s, delta: d | {"W": jnp.roll(d["W"], 3, 0)}),
    ),
    "conv2d: delta_b a mean over places": (
        "conv2d",
        params_by(lambda d, p, s, delta: d | {"b": d["b"] / (delta.shape[-3] * delta.shape[-2])}),
    ),
    "conv2d: stride forgotten in the pads": (
        "conv2d, strides that leave places out",
        f_by(lambda d, p, s, delta: jnp.roll(d, 1, -2)),
    ),
    "depthwise2d: taps reversed": (
        "depthwise2d",
        params_by(lambda d, p, s, delta: d | {"W": jnp.flip(d["W"], (1, 2))}),
    ),
    "depthwise2d: a tap missing": (
        "depthwise2d, strides",
        by_other_params(lambda p: p | {"W": p["W"].at[:, 0, 0].set(0)}),
    ),
    "max_pool2d: to the next place": ("max_pool2d", next_place),
    "max_pool2d: shared by all places": (
        "max_pool2d",
        f_by(lambda d, p, s, delta: jnp.repeat(jnp.repeat(delta, 2, -3), 2, -2) / 4),
    ),
    "max_pool2d: overlap overwritten": (
        "max_pool2d, overlap",
        f_by(lambda d, p, s, delta: jnp.clip(d, delta.min(), delta.max())),
    ),
    "avg_pool2d: not divided": ("avg_pool2d", f_by(lambda d, p, s, delta: 4 * d)),
    "avg_pool2d: overlap counted once": (
        "avg_pool2d, overlap",
        f_by(lambda d, p, s, delta: d.at[..., 1:-1, :].divide(2)),
    ),
    "global_avg_pool: not divided": ("global_avg_pool", f_by(lambda d, p, s, delta: 12 * d)),
    "squeeze_scale: the scale held constant": (
        "squeeze_scale",
        f_by(lambda d, p, s, delta: s[1][..., None, None, :] * delta),
    ),
    "layer_norm: direction 1 forgotten": ("layer_norm", without("1")),
    "layer_norm: direction h forgotten": ("layer_norm", without("h")),
    "layer_norm: g forgotten": ("layer_norm", by_other_params(lambda p: p | {"g": jnp.ones_like(p["g"])})),
    "layer_norm: delta_g by delta alone": (
        "layer_norm",
        params_by(lambda d, p, s, delta: d | {"g": delta.sum(0)}),
    ),
    "rms_norm: centered": ("rms_norm", f_by(lambda d, p, s, delta: d - on(d, d.mean(-1, keepdims=True)))),
    "rms_norm: direction h forgotten": ("rms_norm", without("h")),
    "group_norm: direction 1 forgotten": ("group_norm", without("1")),
    "group_norm: r of the first group": (
        "group_norm",
        lambda layer: broken(
            layer,
            lambda p, s, delta: layer.backward(
                p, (s[0], jnp.broadcast_to(s[1][..., :1, :], s[1].shape)), delta
            ),
        ),
    ),
    "batch_norm: statistics held constant": ("batch_norm in training", f_by(evaluated)),
    "batch_norm: N counts examples, not rows": ("batch_norm in training", counted_by_examples),
    "batch_norm: delta_g by delta alone": (
        "batch_norm in training, told so",
        params_by(lambda d, p, s, delta: d | {"g": d["b"]}),
    ),
    "batch_norm: training's rule in evaluation": (
        "batch_norm in evaluation",
        lambda layer: broken(
            layer, lambda p, s, delta: layer.backward(p, (*s[:2], jnp.asarray(1 / 12), s[3]), delta)
        ),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_table_catches(name, x64):
    case, mutant = MUTANTS[name]
    case = CASES[case]
    with pytest.raises(AssertionError):
        assert_rule_holds(replace(case, layer=mutant(case.layer)), (3,))
