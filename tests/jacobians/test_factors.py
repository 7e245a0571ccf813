"""The contractions by a layer's own factors are those of the formed Jacobian, rows of a table among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.layers import Layer, Rows
from tests.cases import draw, draw_params
from tests.oracles import assert_close


def lookup():
    """out_t = E[id_t], whose gradient is held as the deltas and their ids."""

    def factors(params, ids, delta_out):
        return {"E": Rows(delta_out.reshape(-1, 3), ids.reshape(-1), (5, 3))}, None

    def apply(params, ids, *, key=None):
        return jnp.take(params["E"], ids, axis=0, mode="fill", fill_value=0)

    def backward(params, ids, delta_out):
        return {"E": jnp.zeros((5, 3)).at[ids].add(delta_out, mode="drop")}, None

    return Layer(
        "lookup",
        apply,
        lambda params, ids, *, key=None: (apply(params, ids), ids),
        backward,
        init=lambda key: {"E": jax.random.normal(key, (5, 3))},
        factors=factors,
    )


NET = jaxbp.chain(lookup(), jaxbp.tanh, jaxbp.dense(3, 2), jaxbp.flatten(4, 2), jaxbp.dense(8, 2))
IDS = jnp.array([[1, 1, 0, 1], [4, 2, 2, 4], [7, 3, 3, 3]])  # equal ones; 7 is out of range


@pytest.fixture
def parts(x64):
    params = draw_params(NET, "float64")
    shapes = jax.vmap(lambda ids: jax.jacrev(lambda p: NET.apply(p, ids))(params))(IDS)
    dense = jnp.concatenate([leaf.reshape(3, 2, -1) for leaf in jax.tree.leaves(shapes)], axis=-1)
    return params, jaxbp.parameter_jacobian(NET, params, IDS), dense


def test_the_jacobian_and_its_contractions(parts):
    params, J, dense = parts
    assert J.form.how[0] == "delta in rows"
    assert_close(J.matrix(), dense, "float64")
    assert_close(J.ntk(), jnp.einsum("ncp,mkp->ncmk", dense, dense), "float64")
    assert_close(J.ntk_trace(), (dense**2).sum(), "float64")
    sigma = jax.tree.map(lambda leaf: abs(leaf) + 0.1, params)
    flat = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(sigma)])
    assert_close(J.predictive_variance(sigma), jnp.einsum("ncp,p->nc", dense**2, flat), "float64")
    ggn = J.ggn_diagonal(jaxbp.squared_error.sum)  # whose H is I
    found = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(ggn)])
    assert_close(found, (dense**2).sum((0, 1)), "float64")
    other = jaxbp.parameter_jacobian(NET, params, IDS[::-1, ::-1])
    assert_close(J.ntk(other), jnp.einsum("ncp,mkp->ncmk", dense, other.matrix()), "float64")


@pytest.mark.soak
def test_per_example_gradients_of_a_table(parts):
    params, _, dense = parts
    y = draw((3, 2), "float64", seed=5)
    g = jaxbp.per_example(NET, jaxbp.squared_error, params, IDS, y)
    delta = NET.apply(params, IDS) - y
    wanted = jnp.einsum("nc,ncp->np", delta, dense)
    flat = lambda tree: jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])  # noqa: E731
    assert_close(g.squared_norms(), (wanted**2).sum(1), "float64")
    assert_close(flat(g.second_moment()), (wanted**2).mean(0), "float64")
    clip = jnp.minimum(1, 0.1 / jnp.sqrt((wanted**2).sum(1)))
    assert_close(flat(g.clipped_mean(0.1)), clip @ wanted / 3, "float64")


@pytest.mark.parametrize("tied", [False, True])
def test_a_clipped_mean_over_many_positions_takes_the_work_of_a_step(tied):
    """Each example's gradient of a small weight is formed once: its norm and the mean are made of it."""
    net = jaxbp.chain(*(jaxbp.dense(16, 16, bias=False), jaxbp.tanh) * 3)
    net = jaxbp.tied(net, (3, "W"), (1, "W")) if tied else net
    params, loss = net.init(jax.random.key(0)), jaxbp.squared_error
    x, y = jax.random.normal(jax.random.key(1), (2, 1, 64, 16))  # a loop of one: FLOPs count its body once

    def flops(fn):
        return jax.jit(fn).lower(params, x, y).compile().cost_analysis()["flops"]

    clipped = flops(lambda *args: jaxbp.per_example(net, loss, *args).clipped_mean(1.0))
    assert clipped <= 1.1 * flops(jaxbp.value_and_grad(net, loss))


def test_a_late_convolution_is_held_as_patches_and_an_early_one_formed(x64):
    late, early = jaxbp.conv2d(6, 8, 3, padding=1), jaxbp.conv2d(1, 2, 3)
    for conv, shape, how in ((late, (2, 2, 6), "delta x f"), (early, (9, 9, 1), "entry by entry")):
        params, x = draw_params(conv, "float64"), draw((2, *shape), "float64")
        J = jax.eval_shape(lambda x, conv=conv, p=params: jaxbp.parameter_jacobian(conv, p, x), x)
        assert J.form.how[0] == how


def test_examples_that_a_batch_couples_have_no_gradients_of_their_own():
    net = jaxbp.chain(jaxbp.dense(3, 2), jaxbp.batch_norm(2))
    params, x = net.init(jax.random.key(0)), np.ones((4, 3), np.float32)
    for instrument in (
        lambda net: jaxbp.per_example(net, jaxbp.squared_error, params, x, np.ones((4, 2), np.float32)),
        lambda net: jaxbp.parameter_jacobian(net, params, x),
        lambda net: jaxbp.jacobian_chain(net, params, x[0]),
        lambda net: jaxbp.check_network(net, jaxbp.squared_error, params, x, np.ones((4, 2), np.float32)),
    ):
        with pytest.raises(ValueError, match="normalizes the examples of a batch"):
            instrument(net)
        state = {2: {"mean": jnp.zeros(2), "var": jnp.ones(2), "weight": jnp.ones(())}}
        assert instrument(jaxbp.fixed(net, {"state": state})) is not None
