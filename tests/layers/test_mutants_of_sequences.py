"""Rules of attention, recurrences and shared parameters, broken as people break them: the table sees each."""

import sys
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from jaxbp.layers.attention import rule
from jaxbp.layers.composition.tied import opened
from jaxbp.layers.initializers import glorot_uniform, orthogonal
from jaxbp.layers.recurrence import cells
from jaxbp.layers.recurrence.through_time import recurrence
from tests.layers.cases_sequences import SEQUENCES
from tests.layers.test_cases import assert_rule_holds


def backward_of(case, change):
    """The case with another backward pass, made of its own."""
    layer = SEQUENCES[case].layer

    def backward(params, saved, delta_out):
        return change(layer, params, saved, delta_out)

    return replace(SEQUENCES[case], layer=replace(layer, backward=backward))


def on_params(case, change):
    def changed(layer, params, saved, delta_out):
        delta_params, delta_f = layer.backward(params, saved, delta_out)
        return delta_params | change(delta_params), delta_f

    return backward_of(case, changed)


def forward_of(case, change):
    """The case whose backward pass is that of what was saved otherwise."""
    layer = SEQUENCES[case].layer

    def forward(params, f, **named):
        out, _ = layer.forward(params, f, **named)
        return out, change(layer, params, f, named)[1]

    return replace(SEQUENCES[case], layer=replace(layer, forward=forward))


def with_cell(case, name, cell, **change):
    return replace(
        SEQUENCES[case],
        layer=recurrence(name, cell._replace(**change), 2, 3, False, glorot_uniform, orthogonal),
    )


def lstm_back(change):
    def back(delta, kept, before, after):
        return change(cells.LSTM.back(delta, kept, before, after), delta, kept, before, after)

    return with_cell("lstm", "lstm", cells.LSTM, back=back)


def gru_back(change):
    def back(delta, kept, before, after):
        return change(cells.GRU.back(delta, kept, before, after), delta, kept, before, after)

    return with_cell("gru", "gru", cells.GRU, back=back)


def flipped(layer, params, f, named):
    mask = named["given"]["mask"]
    return layer.forward(params, f, given={"mask": jnp.swapaxes(mask, -1, -2)})


def inverted(layer, params, f, named):
    return layer.forward(params, f, given={"mask": ~named["given"]["mask"]})


def of_the_head(layer, params, saved, delta_out):
    delta_params, _ = layer.parts[0].backward(opened(params, layer.tie), saved, delta_out)
    return {1: {"E": delta_params[2]["W"]}, 2: {"b": delta_params[2]["b"]}}, None


def without_slope(layer, params, f, delta_out):
    a, g = jnp.split(f, 2, -1)
    return {}, jnp.concatenate([delta_out * g, delta_out * jax.nn.silu(a)], -1)


MUTANTS = {
    "gate: phi's slope left out": backward_of("gate", without_slope),
    "gate: halves swapped": backward_of(
        "gate", lambda layer, p, f, d: ({}, jnp.roll(layer.backward(p, f, d)[1], 3, -1))
    ),
    "attend: mask transposed": forward_of("attend, masked", flipped),
    "attend: mask the wrong way round": forward_of("attend, masked", inverted),
    "embedding: last id alone": backward_of(
        "embedding",
        lambda layer, p, saved, d: ({"E": jnp.zeros_like(p["E"]).at[saved[0]].set(d)}, None),
    ),
    "embedding: delta of the positions averaged": on_params(
        "embedding, positions", lambda d: {"P": d["P"] / 3}
    ),
    "elman: slope left out": with_cell(
        "elman", "elman", cells.ELMAN, back=lambda d, k, b, a: cells.Back(d["h"], d["h"], {})
    ),
    "elman: slope of the state before": with_cell(
        "elman", "elman", cells.ELMAN, back=lambda d, k, b, a: cells.ELMAN.back(d, k, b, b)
    ),
    "lstm: the cell's delta dropped": lstm_back(
        lambda back, *_: back._replace(carry={"c": jnp.zeros_like(back.carry["c"])})
    ),
    "lstm: not scaled by the forget gate": lstm_back(
        lambda back, delta, *_: back._replace(carry={"c": delta["c"]})
    ),
    "lstm: tanh of the cell before": with_cell(
        "lstm", "lstm", cells.LSTM, back=lambda d, k, b, a: cells.LSTM.back(d, k, b, a | {"c": b["c"]})
    ),
    "gru: carry's delta dropped": gru_back(lambda back, *_: back._replace(carry={})),
    "gru: reset left out of the way to R": gru_back(lambda back, *_: back._replace(q=back.u)),
    "repeat: blocks in the wrong order": backward_of(
        "repeat",
        lambda layer, p, saved, d: (
            jax.tree.map(lambda leaf: leaf[::-1], layer.backward(p, saved, d)[0]),
            layer.backward(p, saved, d)[1],
        ),
    ),
    "tied: the head's delta alone": backward_of("tied", of_the_head),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_table_catches(name, x64):
    with pytest.raises(AssertionError):
        assert_rule_holds(MUTANTS[name], (3,))


@contextmanager
def without_D():
    with mock.patch.object(rule, "inner", lambda delta_o, o, wide: jnp.zeros((*o.shape[:-1], 1), wide)):
        yield


@contextmanager
def without_scale():
    with mock.patch.object(rule, "math", mock.Mock(sqrt=lambda e: 1.0)):
        yield


@contextmanager
def heads_swapped():
    own = rule.deltas

    def swapped(*args):
        q, k, v = own(*args)
        return rule.Heads(q, v, k)

    with mock.patch.object(rule, "deltas", swapped):
        yield


@contextmanager
def not_turned_back():
    module = sys.modules["jaxbp.layers.attention.attend"]  # the package has the function by that name
    own = module.turned
    with mock.patch.object(module, "turned", lambda *args, back=False: own(*args)):
        yield


BROKEN = {
    "attend: D left out": (without_D, "attend, heads"),
    "attend: D left out of the blocks": (without_D, "attend, blocks"),
    "attend: not scaled, against the plain map": (without_scale, "attend, heads"),
    "attend: delta_k and delta_v swapped": (heads_swapped, "attend, grouped"),
    "attend: turned forwards on the way back": (not_turned_back, "attend, rotary"),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", BROKEN)
def test_the_table_catches_in_the_rule_of_attention(name, x64):
    broken, case = BROKEN[name]
    with broken(), pytest.raises(AssertionError):
        assert_rule_holds(SEQUENCES[case], (3,), mode="eager")
