"""The chain against jacrev, jacfwd, jvp and the hand-written backward pass."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.backprop import backprop, backward, forward
from jaxbp.jacobians import jacobian_chain
from jaxbp.operators import Diagonal, DiagonalPlusLowRank, Identity, Product

ACTIVATIONS = [
    jaxbp.identity,
    jaxbp.sigmoid,
    jaxbp.tanh,
    jaxbp.relu,
    jaxbp.leaky_relu,
    jaxbp.make_leaky_relu(0.3),
    jaxbp.softplus,
    jaxbp.gelu,
    jaxbp.gelu_exact,
    jaxbp.silu,
    jaxbp.softmax,
    jaxbp.dropout(0.5),
]
_inner = jaxbp.residual(jaxbp.chain(jaxbp.dense(6, 2), jaxbp.tanh, jaxbp.dense(2, 6)))
_block = jaxbp.residual(jaxbp.chain(jaxbp.dense(6, 6), jaxbp.gelu, _inner, jaxbp.sigmoid))
NETS = {
    "mlp": jaxbp.mlp([6, 5, 4]),
    "3 layers": jaxbp.mlp([6, 5, 5, 4], jaxbp.tanh),
    "softmax": jaxbp.mlp([6, 3, 6], jaxbp.relu, output=jaxbp.softmax),
    "bottleneck": jaxbp.mlp([6, 2, 6, 2, 6], jaxbp.silu),
    "two activations": jaxbp.chain(jaxbp.dense(6, 4), jaxbp.tanh, jaxbp.dropout(0.5), jaxbp.softmax),
    "no activation": jaxbp.chain(jaxbp.dense(6, 4), jaxbp.dense(4, 3)),
    "stateless first": jaxbp.chain(jaxbp.tanh, jaxbp.dense(6, 3), jaxbp.relu),
    "nested residual": jaxbp.chain(jaxbp.dense(6, 6), jaxbp.tanh, _block, jaxbp.relu, jaxbp.dense(6, 3)),
    "residual with a projection": jaxbp.residual(jaxbp.mlp([6, 3, 4]), skip=jaxbp.dense(6, 4)),
    "stateless residual": jaxbp.chain(jaxbp.dense(6, 6), jaxbp.residual(jaxbp.softmax), jaxbp.dense(6, 2)),
    "one layer": jaxbp.dense(6, 4),
    "one activation": jaxbp.softmax,
}
PAIRS = [(name, "rule") for name in NETS] + [
    (name, "jacrev") for name in ("two activations", "nested residual")
]
EVERY = pytest.mark.parametrize(("name", "factors"), PAIRS)


def made(name):
    net = NETS[name]
    params = jax.tree.map(lambda p: p + 0.1, net.init(jax.random.key(0)))
    return net, params, jax.random.normal(jax.random.key(1), (6,))


def close(result, reference):
    np.testing.assert_allclose(result, reference, rtol=0, atol=1e-12 * max(1e-3, np.abs(reference).max()))


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_the_jacobian_of_each_activation_is_jacrev(layer, shape, x64):
    f = jax.random.normal(jax.random.key(1), shape)
    reference = jax.jacrev(lambda f: layer.apply({}, f))(f).reshape(6, 6)
    close(layer.jacobian({}, f).matrix(), reference)


def test_the_structure_of_each_kind():
    f = jnp.ones(6)
    kinds = {jaxbp.sigmoid: Diagonal, jaxbp.softmax: DiagonalPlusLowRank, jaxbp.dropout(0.5): Identity}
    for layer, kind in kinds.items():
        assert type(layer.jacobian({}, f)) is kind
    assert type(jaxbp.flatten(2, 3).jacobian({}, f.reshape(2, 3))) is Identity


@pytest.mark.parametrize("name", [*NETS, "dense on rows", "flatten"])
def test_the_jacobian_of_each_layer_is_jacrev(name, x64):
    if name == "dense on rows":
        net, f = jaxbp.chain(jaxbp.dense(3, 2), jaxbp.softmax), jnp.linspace(-1, 1, 6).reshape(2, 3)
        params = net.init(jax.random.key(0))
    elif name == "flatten":
        net, f = jaxbp.chain(jaxbp.flatten(2, 3), jaxbp.dense(6, 2)), jnp.linspace(-1, 1, 6).reshape(2, 3)
        params = net.init(jax.random.key(0))
    else:
        net, params, f = made(name)
    reference = jax.jit(jax.jacrev(lambda f: net.apply(params, f)))(f).reshape(-1, 6)
    matrix, transposed = jax.jit(lambda J: (J.matrix(), J.T.matrix()))(net.jacobian(params, f))
    close(matrix, reference)
    close(transposed, reference.T)


@EVERY
def test_matrix_in_every_order_is_jacrev_and_jacfwd(name, factors, x64):
    net, params, x = made(name)
    orders = ("optimal", "reverse", "forward", "scan")
    X = jnp.stack([x, -2 * x, x**2])

    @jax.jit
    def structured(X):
        chain = jacobian_chain(net, params, X[0], factors=factors)
        ways = [chain.matrix(order) for order in orders] + [chain.running()[-1][1]]
        return ways, jax.vmap(lambda x: jacobian_chain(net, params, x, factors=factors).matrix())(X)

    @jax.jit
    def autodiff(X):
        modes = (jax.vmap(mode(lambda x: net.apply(params, x))) for mode in (jax.jacrev, jax.jacfwd))
        return [mode(X) for mode in modes]

    (matrices, batch), (reverse, forward_mode) = structured(X), autodiff(X)
    close(batch, reverse)
    close(batch, forward_mode)
    for matrix in matrices:
        close(matrix, reverse[0])


def same_deltas(deltas, reference):
    assert set(deltas.f) == set(reference.f)
    assert set(deltas.a) == set(reference.a)
    assert set(deltas.blocks) == set(reference.blocks)
    for mine, theirs in ((deltas.f, reference.f), (deltas.a, reference.a)):
        for l in theirs:
            close(mine[l], theirs[l])
    close(deltas.x, reference.x)
    for l in reference.blocks:
        same_deltas(deltas.blocks[l], reference.blocks[l])


@EVERY
def test_pull_gives_every_delta_of_the_backward_pass(name, factors, x64):
    net, params, x = made(name)
    delta = jax.random.normal(jax.random.key(2), net.apply(params, x).shape)
    v = jax.random.normal(jax.random.key(3), x.shape)

    @jax.jit
    def structured(x, delta, v):
        chain = jacobian_chain(net, params, x, factors=factors)
        return chain.pull(delta), chain.pull(delta, order="scan"), chain.push(v)

    @jax.jit
    def by_hand(x, delta):
        return backward(net, params, forward(net, params, x), delta)

    (pulled, scanned, pushed), reference = structured(x, delta, v), by_hand(x, delta)
    same_deltas(pulled, reference)
    same_deltas(scanned, reference)
    close(pushed, jax.jvp(lambda x: net.apply(params, x), (x,), (v,))[1])


LOSSES = [
    (jaxbp.squared_error, np.array([1.0, 0.0, 2.0])),
    (jaxbp.binary_cross_entropy, np.array([1.0, 0.0, 0.5])),
    (jaxbp.softmax_cross_entropy, np.array(2)),
    (jaxbp.make_softmax_cross_entropy(0.2), np.array([0.0, 1.0, 0.0])),
]


@pytest.mark.parametrize(("loss", "y"), LOSSES, ids=lambda v: repr(v) if isinstance(v, jaxbp.Loss) else "")
def test_a_chain_that_ends_in_a_loss_is_backpropagation(loss, y, x64):
    (net, params, x), y = made("nested residual"), jnp.asarray(y)
    reference = jax.jit(lambda x: backprop(net, loss, params, x, y).deltas)(x)
    chain = jacobian_chain(net, params, x, loss=loss, y=y)
    pulled, row = jax.jit(lambda chain: (chain.pull(), chain.matrix()))(chain)
    same_deltas(pulled, reference)
    close(row[0], jax.grad(lambda x: loss(net.apply(params, x), y))(x))
    # A single row: backwards is cheapest, which is why back-propagation goes that way.
    assert chain.plan().order == "reverse"


def test_any_functions(x64):
    def square(f):
        return f**2

    def pool(f):
        return f.reshape(2, 3).sum(0)

    x = jnp.linspace(0, 1, 6)
    reference = jax.jacrev(lambda x: jnp.sin(pool(square(x))))(x)
    for factors in ("jacrev", "rule"):
        chain = jacobian_chain([square, pool, jnp.sin], x, factors=factors)
        close(chain.matrix(), reference)
        close(chain.pull(jnp.ones(3)).f[1], jax.grad(lambda f: jnp.sin(pool(f)).sum())(square(x)))
        close(chain.push(x), reference @ x)
        assert [factor.means for factor in chain.factors] == ["sin", "pool", "square"]
    assert jacobian_chain([square, pool], x, factors="rule").plan().optimal > 0


def test_a_chain_passes_through_jit_and_vmap(x64):
    net, params, x = made("nested residual")
    reference = jacobian_chain(net, params, x)
    chain = jax.jit(lambda x: jacobian_chain(net, params, x))(x)
    close(chain.matrix(), reference.matrix())
    batch = jax.vmap(lambda x: jacobian_chain(net, params, x))(jnp.stack([x, 2 * x]))
    close(jax.vmap(lambda chain: chain.matrix())(batch)[0], reference.matrix())
    assert "Diagonal" in repr(batch)  # without numbers: there is a chain for each example


def test_a_narrow_residual_block_stays_low_rank():
    net = jaxbp.residual(jaxbp.chain(jaxbp.dense(64, 4), jaxbp.tanh, jaxbp.dense(4, 64)))
    chain = jacobian_chain(net, net.init(jax.random.key(0)), jnp.ones(64))
    assert jaxbp.operators.settle(chain.operator).rank == 4


def flops(fn, *args):
    return jax.jit(fn).lower(*args).compile().cost_analysis()["flops"]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("sizes", "output", "low", "high"),
    [
        ([64, 32, 32, 10], jaxbp.identity, 0.98, 1.05),  # the same products as jacrev
        ([16, 16, 200], jaxbp.softmax, 10, 100),
        ([64, 32, 4, 32, 64], jaxbp.identity, 4, 10),
    ],
)
def test_the_flops_against_jacrev(sizes, output, low, high):
    net = jaxbp.mlp(sizes, jaxbp.relu, output=output)
    params, X = net.init(jax.random.key(0)), jnp.ones((8, sizes[0]))
    ours = flops(lambda p, X: jax.vmap(lambda x: jacobian_chain(net, p, x).matrix())(X), params, X)
    jacrev = flops(lambda p, X: jax.vmap(jax.jacrev(lambda x: net.apply(p, x)))(X), params, X)
    assert low < jacrev / ours < high


def test_plan_prints_each_order():
    net = jaxbp.mlp([3, 5, 5, 4])
    params, x = net.init(jax.random.key(0)), jnp.ones(3)
    plan = jacobian_chain(net, params, x).plan()
    assert repr(plan).splitlines()[1:] == [
        "reverse      360  1.2x",
        "forward      300  1.0x",
        "optimal      300  W_3 (diag(sigmoid'(a_2)) (W_2 (diag(sigmoid'(a_1)) W_1))): forward",
    ]
    assert plan.to_dict()["optimal"] == 300
    assert "<td>360</td>" in plan._repr_html_()


def test_the_lectures_net_prints_with_every_number():
    net = jaxbp.mlp([3, 5, 5, 4])
    params, x = net.init(jax.random.key(0)), jnp.array([1.0, 0.5, -1.0])
    chain = jacobian_chain(net, params, x, loss=jaxbp.softmax_cross_entropy, y=jnp.array(2))
    printed = repr(chain)
    for line in (
        "delta_x, 1 x 3, the product of 6 factors",
        "  delta_{f_3} = J_loss(f_3)  1 x 4  Dense",
        "  J_{a_3}(f_2) = W_3  4 x 5  Dense",
        "  J_{f_2}(a_2) = diag(sigmoid'(a_2))  5 x 5  Diagonal",
        "  J_{a_1}(x) = W_1  5 x 3  Dense",
        "running product, from the output back to x",
        "  delta_{a_1}  1 x 5",
        "  delta_x  1 x 3",
    ):
        assert line in printed.splitlines()
    delta_x = " ".join(f"{v:.4g}" for v in np.asarray(chain.pull().x).tolist())
    assert printed.splitlines()[-1].strip() == delta_x
    assert [f"{v:.4g}" for v in params[3]["W"][0].tolist()] in [line.split() for line in printed.splitlines()]
    as_dict = chain.to_dict()
    close(as_dict["factors"][1]["matrix"], np.asarray(params[3]["W"]))
    assert as_dict["shape"] == [1, 3]
    assert "<td>W_3</td>" in chain._repr_html_()


def test_a_residual_block_prints_its_branch():
    net = NETS["nested residual"]
    chain = jacobian_chain(net, net.init(jax.random.key(0)), jnp.ones(6))
    assert "  J_{a_2}(f_1) = I + J_branch  6 x 6  Sum" in repr(chain).splitlines()
    assert "where J_branch is J_{f_2}(x)" in repr(chain)
    assert chain.to_dict()["factors"][2]["block"]["factors"][-1]["means"] == "W_1"
    large = jaxbp.mlp([40, 30])
    assert "norm" in repr(jacobian_chain(large, large.init(jax.random.key(0)), jnp.ones(40)))


def test_bad_use():
    net = jaxbp.mlp([3, 5, 4])
    params, x = net.init(jax.random.key(0)), jnp.ones(3)
    with pytest.raises(
        ValueError, match=r"expected one example x, got shape \(7, 3\), a batch of 7; jax.vmap"
    ):
        jacobian_chain(net, params, jnp.ones((7, 3)))
    with pytest.raises(TypeError, match="expected floating-point x, got uint8"):
        jacobian_chain(net, params, jnp.ones(3, jnp.uint8))
    with pytest.raises(TypeError, match="expected floating-point x, got uint8"):
        jacobian_chain([jnp.sin], jnp.ones(3, jnp.uint8))
    with pytest.raises(ValueError, match=r"layer 1: dense\(3, 5\): expected f with last axis 3"):
        jacobian_chain(net, params, jnp.ones(4))
    with pytest.raises(TypeError, match=r"function 2 at f_1 of shape \(3,\), from function 1"):
        jacobian_chain([jnp.sin, lambda f: jnp.ones((2, 4)) @ f], x)
    with pytest.raises(TypeError, match="function 1 to be one, got chain"):
        jacobian_chain([net], x)
    chain = jacobian_chain(net, params, x)
    with pytest.raises(ValueError, match=r"expected a delta of the output's shape \(4,\), got shape \(3,\)"):
        chain.pull(x)
    with pytest.raises(ValueError, match=r"expected a delta of the output's shape \(4,\), got none"):
        chain.pull()
    with pytest.raises(ValueError, match=r"expected a v of the input's shape \(3,\), got shape \(4,\)"):
        chain.push(jnp.ones(4))
    with pytest.raises(ValueError, match="expected order 'optimal'"):
        chain.matrix("sideways")
    backwards = Product(tuple(reversed(chain.operator.factors)))
    with pytest.raises(
        ValueError, match=r"Dense\(5, 3\) of shape \(5, 3\) to meet a factor of 3 rows, got Diagonal"
    ):
        backwards.matrix()


@pytest.mark.parametrize(
    ("layer", "jacobian"),
    [
        (jaxbp.sigmoid, lambda p, f: Diagonal(jax.nn.sigmoid(f))),
        (jaxbp.softmax, lambda p, f: Diagonal(jax.nn.softmax(f))),
        (jaxbp.softplus, lambda p, f: Diagonal(-jax.nn.sigmoid(f))),
        (jaxbp.gelu, jaxbp.gelu_exact.jacobian),
        (jaxbp.relu, lambda p, f: Identity(f.size)),
    ],
    ids=["constant", "no outer product", "sign", "another gelu", "no slope"],
)
def test_a_wrong_jacobian_of_a_layer_is_caught(layer, jacobian, x64, monkeypatch):
    broken = replace(layer, jacobian=jacobian)
    with pytest.raises(AssertionError):
        test_the_jacobian_of_each_activation_is_jacrev(broken, (6,), None)
    monkeypatch.setitem(NETS, "mlp", jaxbp.chain(jaxbp.dense(6, 5), broken, jaxbp.dense(5, 4)))
    with pytest.raises(AssertionError):
        test_pull_gives_every_delta_of_the_backward_pass("mlp", "rule", None)
