"""What a layer may have beside its rule: state, what it is given, factors, integers as its input."""

import jax
import jax.numpy as jnp
import pytest

import jaxbp
from jaxbp import Layer, chain, dense, residual
from tests.cases import draw, draw_params
from tests.oracles import assert_close


def minus(f, mean):
    return f - jnp.broadcast_to(mean, f.shape)


def shifted():
    """out = f - the mean of the means so far; its state is that mean and how many it is of."""

    def forward(params, f, *, key=None, given=None):
        state = (given or {}).get("state", {"mean": jnp.zeros(f.shape[-1]), "count": jnp.zeros(())})
        if not (given or {}).get("training"):
            return minus(f, state["mean"]), state
        count = state["count"] + 1
        mean = state["mean"] + (f.mean(range(f.ndim - 1)) - state["mean"]) / count
        return minus(f, state["mean"]), {"mean": mean, "count": count}

    return Layer(
        "shifted",
        lambda params, f, *, key=None, given=None: forward(params, f, given=given)[0],
        forward,
        lambda params, saved, delta_out: ({}, delta_out),
        init=lambda key: {},
        given=("state", "training"),
        state=lambda saved: saved,
    )


def masked():
    def forward(params, f, *, key=None, given=None):
        mask = (given or {}).get("mask")
        return (f if mask is None else f * jnp.broadcast_to(mask, f.shape)), mask

    return Layer(
        "masked",
        lambda params, f, *, key=None, given=None: forward(params, f, given=given)[0],
        forward,
        lambda params, mask, delta_out: (
            {},
            delta_out if mask is None else delta_out * jnp.broadcast_to(mask, delta_out.shape),
        ),
        given=("mask",),
    )


def table():
    """out_t = E[id_t]; of ids there is no delta."""

    def backward(params, ids, delta_out):
        return {"E": jnp.zeros_like(params["E"]).at[ids].add(delta_out)}, None

    return Layer(
        "table",
        lambda params, ids, *, key=None: params["E"][ids],
        lambda params, ids, *, key=None: (params["E"][ids], ids),
        backward,
        init=lambda key: {"E": jax.random.normal(key, (5, 4))},
    )


NET = chain(
    dense(4, 4),
    shifted(),
    jaxbp.tanh,
    residual(chain(dense(4, 4), masked(), shifted()), dense(4, 4, bias=False)),
    dense(4, 2),
)
X, Y = draw((3, 4), "float32"), jnp.array([0, 1, 1])


def test_state_comes_out_by_l_and_goes_in_again():
    params = draw_params(NET, "float32")
    _, saved = NET.forward(params, X, given={"training": True})
    state = NET.state(saved)
    assert state.keys() == {2, 3}
    assert state[3].keys() == {"branch"}
    assert state[3]["branch"].keys() == {2}
    assert_close(state[2]["mean"], dense(4, 4).apply(params[1], X).mean(0), "float32")
    _, saved = NET.forward(params, X, given={"state": state, "training": True})
    assert NET.state(saved)[3]["branch"][2]["count"] == 2
    evaluated = NET.apply(params, X, given={"state": state})
    a, tanh = minus(dense(4, 4).apply(params[1], X), state[2]["mean"]), jnp.tanh
    branch = minus(dense(4, 4).apply(params[3]["branch"][1], tanh(a)), state[3]["branch"][2]["mean"])
    f = branch + tanh(a) @ params[3]["skip"]["W"].T
    assert_close(evaluated, dense(4, 2).apply(params[4], f), "float32")


def test_a_trace_has_the_state_too():
    params = draw_params(NET, "float32")
    trace = jaxbp.forward(NET, params, X, given={"training": True})
    assert_close(trace.state, NET.state(NET.forward(params, X, given={"training": True})[1]), "float32")
    assert jaxbp.forward(dense(4, 4), dense(4, 4).init(jax.random.key(0)), X).state is None


def test_a_layer_gets_what_it_names_and_no_other():
    mask = jnp.array([1.0, 0.0, 1.0, 1.0])
    params = draw_params(NET, "float32")
    bp = jaxbp.backprop(NET, jaxbp.softmax_cross_entropy, params, X, Y, given={"mask": mask})
    assert (bp.trace.blocks[3].f[1][:, 1] == 0).all()
    assert (bp.deltas.blocks[3].a[1][:, 1] == 0).all()
    apply = jaxbp.with_hand_vjp(NET)
    loss = jaxbp.softmax_cross_entropy
    by_grad = jax.jit(jax.grad(lambda p, mask: loss(apply(p, X, given={"mask": mask}), Y)))(params, mask)
    assert_close(bp.deltas.params, by_grad, "float32")
    plain = jax.grad(lambda p: loss(NET.apply(p, X, given={"mask": mask}), Y))(params)
    assert_close(by_grad, plain, "float32")
    by_hand = jaxbp.value_and_grad(NET, loss)(params, X, Y, given={"mask": mask})
    assert_close(by_hand, (bp.loss, plain), "float32")
    J = NET.jacobian(params, X[0], given={"mask": mask}).matrix()
    assert_close(J, jax.jacrev(lambda f: NET.apply(params, f, given={"mask": mask}))(X[0]), "float32")


def test_value_and_grad_carries_state():
    params = draw_params(NET, "float32")
    grad_fn = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy, has_state=True)
    (_, state), _ = grad_fn(params, X, Y)
    (_, state), delta_params = jax.jit(grad_fn)(params, X, Y, state)
    assert state[2]["count"] == 2
    assert jax.tree.structure(delta_params) == jax.tree.structure(params)
    carrying, zeros = jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy).carrying(params, X)
    assert carrying == grad_fn
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(zeros))
    assert jax.tree.map(jnp.shape, zeros) == jax.tree.map(jnp.shape, state)


def test_state_passes_through_mixed_precision():
    net = jaxbp.mixed_precision(NET)
    params = draw_params(net, "float32")
    _, saved = net.forward(params, X, given={"training": True})
    assert net.state(saved).keys() == {2, 3}
    assert net.apply(params, X, given={"mask": jnp.zeros(4)}).dtype == jnp.float32


@pytest.mark.parametrize("wrap", [lambda net: net, jaxbp.mixed_precision], ids=["plain", "mixed"])
def test_the_first_layer_may_take_integers(wrap):
    net, loss = wrap(chain(table(), jaxbp.tanh, dense(4, 2))), jaxbp.softmax_cross_entropy
    ids, y = jnp.array([[1, 2, 1], [4, 0, 0]]), jnp.array([[0, 1, 1], [1, 1, 0]])
    params = net.init(jax.random.key(0))
    bp = jaxbp.backprop(net, loss, params, ids, y)
    assert bp.deltas.x is None
    assert 0 not in bp.deltas.f
    assert bp.deltas.a[1].shape == (2, 3, 4)
    assert "delta_x" not in bp.to_dict()
    assert "delta_a_1" in bp.to_dict()
    grads = jax.grad(lambda p: loss(jaxbp.with_hand_vjp(net)(p, ids), y))(params)
    assert_close(grads, bp.deltas.params, "float32")
    if wrap is not jaxbp.mixed_precision:  # which rounds in other places
        assert_close(jax.grad(lambda p: loss(net.apply(p, ids), y))(params), grads, "float32")


def test_what_is_not_of_the_contract_is_said():
    params = draw_params(NET, "float32")
    with pytest.raises(ValueError, match="no other names than state, training, mask, got 'maks'"):
        NET.apply(params, X, given={"maks": 1})
    with pytest.raises(ValueError, match="nothing, no layer names anything, got 'mask'"):
        jaxbp.forward(dense(4, 4), dense(4, 4).init(jax.random.key(0)), X, given={"mask": 1})
    with pytest.raises(ValueError, match=r"expected state \{2, 3\}, got \{1\}; was it left by another"):
        jaxbp.forward(NET, params, X, given={"state": {1: {}}})
    with pytest.raises(TypeError, match="has_state=True"):
        jaxbp.value_and_grad(NET, jaxbp.softmax_cross_entropy)(params, X, Y, {})
    with pytest.raises(ValueError, match="a network with state"):
        jaxbp.value_and_grad(dense(4, 4), jaxbp.squared_error, has_state=True)
    rule = (lambda p, f, *, key=None: f, lambda p, f, *, key=None: (f, ()), lambda p, s, d: ({}, d))
    with pytest.raises(TypeError, match="apply to take 2 arguments and given="):
        Layer("mine", *rule, given=("mask",))
    with pytest.raises(ValueError, match='the field state and "state" in given together'):
        Layer("mine", *rule, state=lambda saved: saved)
    named = (lambda p, f, *, key=None, given=None: f, lambda p, f, *, key=None, given=None: (f, ()), rule[2])
    with pytest.raises(ValueError, match="init beside state, got none"):
        Layer("mine", *named, state=lambda saved: saved, given=("state",))


@pytest.mark.parametrize("net", [NET, jaxbp.mlp([4, 6, 2], jaxbp.gelu)], ids=["state", "mlp"])
def test_factors_of_a_composition_are_those_of_its_parts(net):
    params, delta = draw_params(net, "float32"), draw((2,), "float32", seed=3)
    if net is NET:
        net = chain(*(part for part in net.parts if part.state is None and part.form == "atom"))
        params = draw_params(net, "float32")
    _, saved = net.forward(params, X[0])
    blocks, delta_f = net.factors(params, saved, delta)
    delta_params, wanted = net.backward(params, saved, delta)
    assert_close(delta_f, wanted, "float32")
    for l in delta_params:
        assert_close(blocks[l]["b"].delta.sum(0), delta_params[l]["b"], "float32")
        assert_close(blocks[l]["W"].delta.T @ blocks[l]["W"].f, delta_params[l]["W"], "float32")
    assert NET.factors is None  # one of its parts has none
