"""`check_network`: agrees on right networks, and says which delta of a wrong one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

import jaxbp
from tests.cases import LOSSES, NETS, draw, draw_inputs, draw_params, draw_targets


@pytest.mark.parametrize("case", NETS)
def test_right_networks(case):
    net, shape = NETS[case]
    params, x = draw_params(net, "float32"), draw_inputs((2, 3, *shape), "float32")
    y = draw_targets("label", net.apply(params, x).shape, "float32")
    report = jaxbp.check_network(net, jaxbp.softmax_cross_entropy, params, x, y)
    assert report.ok, report
    assert report.examples == 6
    assert len(report.rows) == len(jax.tree.leaves(params)) + 1


@pytest.mark.parametrize("case", LOSSES)
def test_right_losses(case):
    case = LOSSES[case]
    net = jaxbp.mlp([3, 4], output=jaxbp.sigmoid if case.f == "open unit" else jaxbp.identity)
    params, x = draw_params(net, "float32"), draw((5, 3), "float32")
    assert jaxbp.check_network(net, case.loss, params, x, draw_targets(case.y, (5, 4), "float32")).ok


def test_a_wrong_rule_is_told_by_its_rows():
    wrong = replace(jaxbp.tanh, backward=lambda p, f, delta: ({}, delta * (1 - f)))
    net = jaxbp.chain(jaxbp.dense(3, 4), wrong, jaxbp.dense(4, 2))
    params, x, y = draw_params(net, "float32"), draw((5, 3), "float32"), jnp.array([0, 1, 1, 0, 1])
    report = jaxbp.check_network(net, jaxbp.softmax_cross_entropy, params, x, y)
    assert not report.ok
    assert [row.delta for row in report.rows if not row.ok] == ["delta_W_1", "delta_b_1", "delta_x"]
    assert repr(report).count("NO") == report._repr_html_().count("NO") == 3
    assert report.to_dict()["ok"] is False


def test_a_wrong_delta_of_a_loss():
    loss = replace(jaxbp.squared_error, deltas=lambda f, y: 2 * (f - y))
    net, x = jaxbp.dense(3, 2), draw((5, 3), "float32")
    report = jaxbp.check_network(net, loss, draw_params(net, "float32"), x, jnp.zeros((5, 2)))
    assert [row.ok for row in report.rows] == [False] * 3
    assert [row.delta for row in report.rows] == ["delta_W", "delta_b", "delta_x"]
    assert report.rows[0].grad == pytest.approx(1)


def test_blocks_are_named_by_their_path():
    net = jaxbp.chain(jaxbp.dense(3, 3), jaxbp.residual(jaxbp.chain(jaxbp.dense(3, 3), jaxbp.tanh)))
    x = draw((2, 3), "float32")
    report = jaxbp.check_network(net, jaxbp.squared_error, draw_params(net, "float32"), x, x)
    assert "delta_W_2.branch.1" in [row.delta for row in report.rows]
