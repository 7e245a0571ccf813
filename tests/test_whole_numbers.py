"""x = (1, 0) as on the board: whole numbers are taken as floats where floats are meant, and only there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.observe import singular_values

NET, TABLE = jaxbp.mlp([2, 2]), jaxbp.chain(jaxbp.embedding(3, 2), jaxbp.dense(2, 2))
PARAMS, ROWS = (net.init(jax.random.key(0)) for net in (NET, TABLE))
CE = jaxbp.softmax_cross_entropy
X, Y = np.array([[1, 0], [0, 1], [1, 1]]), jnp.array([0, 1, 1])
GRAD = jaxbp.value_and_grad(NET, CE)


def fitted(x):
    return jaxbp.fit(
        GRAD, PARAMS, (x, Y), validation=(x, Y), optimizer=optax.sgd(0.1), key=jax.random.key(0),
        batch_size=3, epochs=1, progress_bar=False,
    )  # fmt: skip


USES = {
    "forward": lambda x: jaxbp.forward(NET, PARAMS, x),
    "backprop": lambda x: jaxbp.backprop(NET, CE, PARAMS, x, Y)[:4],
    "value_and_grad": lambda x: GRAD(PARAMS, x, Y),
    "value_and_grad of batch statistics": lambda x: jaxbp.value_and_grad(
        jaxbp.chain(jaxbp.dense(2, 2), jaxbp.batch_norm(2)), CE
    ).carrying({1: PARAMS[1], 2: {"g": jnp.ones(2), "b": jnp.zeros(2)}}, jnp.asarray(x))[1],
    "with_hand_vjp": lambda x: jaxbp.with_hand_vjp(NET)(PARAMS, x),
    "jacobian_chain": lambda x: jaxbp.jacobian_chain(NET, PARAMS, x[0]).matrix(),
    "jacobian_chain of functions": lambda x: jaxbp.jacobian_chain([jnp.tanh, jnp.sum], x[0]).matrix(),
    "parameter_jacobian": lambda x: jaxbp.parameter_jacobian(NET, PARAMS, x).ntk(),
    "per_example": lambda x: jaxbp.per_example(NET, CE, PARAMS, x, Y).squared_norms(),
    "check_network": lambda x: jaxbp.check_network(NET, CE, PARAMS, x, Y).ok,
    "saliency": lambda x: jaxbp.saliency(NET, CE, PARAMS, x, Y),
    "saliency of a function": lambda x: jaxbp.saliency(lambda p, x: x @ p, None, jnp.eye(2), x, Y),
    "adversarial": lambda x: jaxbp.adversarial(NET, CE, PARAMS, x, Y, eps=0.1),
    "generate": lambda x: jaxbp.generate(NET, CE, PARAMS, x, Y, steps=1),
    "singular_values": lambda x: singular_values(jnp.tanh, x[0]),
    "explain": lambda x: jaxbp.explain(NET, CE, PARAMS, x, Y).to_dict()["deltas"]["x"],
    "fit, with validation": lambda x: (fitted(x).params, fitted(x).history["val_loss"]),
    "a run": lambda x: jaxbp.Trained(NET, PARAMS, CE).predict(x),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_whole_numbers_are_the_floats_they_mean(use):
    wanted = jax.tree.leaves(USES[use](X.astype(np.float32)))
    for given in (X, jnp.asarray(X, jnp.int32)):
        found = jax.tree.leaves(USES[use](given))
        assert [np.asarray(v).dtype for v in found] == [np.asarray(v).dtype for v in wanted]
        for got, expected in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(got, expected)


UNMEANT = {
    "bytes": (X.astype(np.uint8), TypeError, "for bytes x / 255"),
    "yes and no": (X.astype(bool), TypeError, "floating-point"),
    "more digits than a float has": (X + 2**24, ValueError, r"x\[0(,0)?\] = 16777217"),
}


@pytest.mark.parametrize("kind", UNMEANT)
@pytest.mark.parametrize("use", ["backprop", "jacobian_chain", "per_example", "saliency", "singular_values"])
def test_what_may_mean_something_else_is_refused(use, kind):
    value, error, says = UNMEANT[kind]
    with pytest.raises(error, match=says):
        USES[use](value)


def test_a_traced_x_has_no_values_to_look_at():
    assert jax.jit(USES["saliency"])(jnp.asarray(X)).dtype == jnp.float32


@pytest.mark.parametrize("ids", [[2, 0], jnp.array([2, 0]), np.array([2, 0], np.uint8)])
def test_ids_stay_whole(ids):
    """A network that looks rows up gets the numbers as they are, written out or not."""
    y = jnp.array([1, 0])
    bp = jaxbp.backprop(TABLE, CE, ROWS, ids, y)
    assert bp.deltas.x is None
    assert jnp.issubdtype(bp.trace.f[0].dtype, jnp.integer)
    np.testing.assert_array_equal(bp.trace.f[1], ROWS[1]["E"][jnp.array([2, 0])] * 1.0)
    assert jaxbp.jacobian_chain(TABLE, ROWS, ids).matrix().shape == (4, 4)  # from the rows that they name


def test_what_a_network_takes_is_its_own_word():
    """A layer of one's own that looks up; and networks that fail on something else."""
    rows = (lambda p, f, *, key=None: jnp.eye(2)[f], lambda p, f, *, key=None: (jnp.eye(2)[f], f))
    one_hot = jaxbp.Layer("one_hot", *rows, lambda p, saved, delta: ({}, None))
    net = jaxbp.chain(one_hot, jaxbp.flatten(2, 2), jaxbp.dense(4, 2))
    params = net.init(jax.random.key(0))
    np.testing.assert_array_equal(jaxbp.forward(net, params, X).out, net.apply(params, jnp.asarray(X)))
    times = jaxbp.elementwise("times", lambda a: 2 * a, lambda a: 2.0 + 0 * a, saves="input")
    assert jaxbp.forward(times, {}, [1, 2]).out.dtype == jnp.float32  # which would also take whole numbers
    middle = jaxbp.chain(jaxbp.dense(2, 2), jaxbp.embedding(3, 2))
    with pytest.raises(TypeError, match=r"layer 1: dense\(2, 2\): expected floating-point f, got int"):
        jaxbp.forward(middle, middle.init(jax.random.key(0)), X)
    with pytest.raises(ValueError, match=r"dense\(2, 2\): expected f with last axis 2, got shape \(3, 3\)"):
        jaxbp.forward(NET, PARAMS, np.ones((3, 3), int))
