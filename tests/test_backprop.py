"""The four steps: every delta of every network against jax.grad, NumPy loops and differences."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.backprop import backward, forward
from jaxbp.layers.composition.chain import numbered, split
from tests.cases import LEADING, NETS, draw, draw_inputs, draw_params, draw_targets, half
from tests.oracles import assert_close, differences, worst

pytestmark = pytest.mark.jax_release


def problem(case, n, dtype):
    net, shape = NETS[case]
    x = draw_inputs((*n, *shape), dtype)
    params = draw_params(net, dtype)
    C = jax.eval_shape(net.apply, params, x).shape[-1]
    return net, params, x, draw_targets("label", (*n, C), dtype)


def by_jax(net, loss, params, x, y, key=None):
    return jax.value_and_grad(lambda p, x: loss(net.apply(p, x, key=key), y), argnums=(0, 1))(params, x)


def assert_backprop_holds(net, loss, params, x, y, *, mode="jit", key=None):
    """All of `backprop` and `value_and_grad` against jax.value_and_grad, in one program."""

    def all_of_them(params, x, y):
        bp = jaxbp.backprop(net, loss, params, x, y, key=key)
        hand = jaxbp.value_and_grad(net, loss)(params, x, y, key=key)
        value, (grads, delta_x) = by_jax(net, loss, params, x, y, key)
        return (bp.loss, bp.deltas.params, bp.deltas.x, hand), (value, grads, delta_x, (value, grads))

    run = {"eager": lambda f: f, "jit": jax.jit, "vmap": lambda f: jax.jit(jax.vmap(f, (None, 0, 0)))}[mode]
    found, wanted = run(all_of_them)(params, x, y)
    assert_close(found, wanted, x.dtype)


@pytest.mark.parametrize(("n", "dtype", "mode"), half(LEADING, ("float32", "float64"), ("jit", "vmap")))
@pytest.mark.parametrize("case", NETS)
def test_deltas_equal_jax(case, n, dtype, mode):
    with jax.enable_x64(dtype == "float64"):
        net, params, x, y = problem(case, (2, *n) if mode == "vmap" else n, dtype)
        assert_backprop_holds(net, jaxbp.softmax_cross_entropy, params, x, y, mode=mode)


@pytest.mark.soak
@pytest.mark.parametrize("case", ["mlp", "nested residual", "with dropout"])
def test_deltas_equal_jax_eagerly_and_with_a_key(case, x64):
    args = problem(case, (3,), "float64")
    net, *rest = args
    assert_backprop_holds(net, jaxbp.softmax_cross_entropy.sum, *rest, mode="eager", key=jax.random.key(1))


def deltas_by_perturbation(net, loss, params, x, y):
    """d loss / d v for the result v of every part: add a zero to each and differentiate by the zeros."""

    def perturbed(zeros):
        f, values = x, []
        for (l, part), zero in zip(numbered(net.parts), zeros, strict=True):
            f = part.apply(params[l] if part.has_params else {}, f) + zero
            values.append(f)
        return loss(f, y), values

    shapes = jax.eval_shape(lambda: perturbed([0.0] * len(net.parts))[1])
    zeros = [jnp.zeros(s.shape, s.dtype) for s in shapes]
    return jax.grad(lambda z: perturbed(z)[0])(zeros), perturbed(zeros)[1]


@pytest.mark.parametrize("n", LEADING, ids=str)
@pytest.mark.parametrize("case", ["mlp", "two activations", "images", "activation first", "nested residual"])
def test_every_a_f_and_delta_is_the_one_it_is_called(case, n, x64):
    net, params, x, y = problem(case, n, "float64")
    bp = jaxbp.backprop(net, jaxbp.softmax_cross_entropy, params, x, y)
    deltas, values = deltas_by_perturbation(net, jaxbp.softmax_cross_entropy, params, x, y)
    wanted = {"a": {}, "f": {0: x}, "delta_a": {}, "delta_f": {}}
    for (l, part), value, delta in zip(numbered(net.parts), values, deltas, strict=True):
        if part.has_params:
            wanted["a"][l], wanted["delta_a"][l] = value, delta
        wanted["f"][l], wanted["delta_f"][l] = value, delta
    found_delta_f = bp.deltas.f if 0 in wanted["delta_f"] else {l: d for l, d in bp.deltas.f.items() if l}
    found = {"a": bp.trace.a, "f": bp.trace.f, "delta_a": bp.deltas.a, "delta_f": found_delta_f}
    assert_close(found, wanted, "float64")
    assert bp.deltas.f[0].shape == bp.trace.f[0].shape
    assert bp.deltas.x.shape == x.shape


def test_blocks_nest(x64):
    """The inside of a block equals the branch run by itself with the block's input and delta."""
    net, params, x, y = problem("nested residual", (3,), "float64")
    bp = jaxbp.backprop(net, jaxbp.softmax_cross_entropy, params, x, y)
    assert list(bp.trace.blocks) == list(bp.deltas.blocks) == [2]
    branch = net.parts[2].parts[0]
    inside, delta_inside = bp.trace.blocks[2], bp.deltas.blocks[2]
    alone = forward(branch, params[2]["branch"], bp.trace.f[1])
    assert_close((inside.a, inside.f), (alone.a, alone.f), "float64")
    delta_alone = backward(branch, params[2]["branch"], alone, bp.deltas.a[2])
    assert_close(delta_inside, delta_alone, "float64")
    assert list(inside.blocks) == list(delta_inside.blocks) == [2]
    assert_close(delta_inside.params, bp.deltas.params[2]["branch"], "float64")


def test_the_lecture_s_loops(x64):
    """3-5-5-4 with sigmoid units, one example, in scalar loops."""
    d = [3, 5, 5, 4]
    net = jaxbp.mlp(d, jaxbp.sigmoid)
    params, x, y = draw_params(net, "float64"), draw((3,), "float64"), 2
    W = {l: np.asarray(params[l]["W"]) for l in params}
    b = {l: np.asarray(params[l]["b"]) for l in params}
    f, a = {0: np.asarray(x)}, {}
    for l in (1, 2, 3):
        a[l] = np.array(
            [sum(W[l][i, j] * f[l - 1][j] for j in range(d[l - 1])) + b[l][i] for i in range(d[l])]
        )
        f[l] = a[l] if l == 3 else np.array([1 / (1 + np.exp(-a_i)) for a_i in a[l]])
    mu = np.exp(f[3]) / sum(np.exp(f[3]))
    delta_f, delta_a, delta_W = {3: mu - np.eye(4)[y]}, {}, {}
    for l in (3, 2, 1):
        out, into = range(d[l]), range(d[l - 1])
        slope = np.ones(4) if l == 3 else f[l] * (1 - f[l])
        delta_a[l] = delta_f[l] * slope
        delta_W[l] = np.array([[delta_a[l][i] * f[l - 1][j] for j in into] for i in out])
        delta_f[l - 1] = np.array([sum(delta_a[l][i] * W[l][i, j] for i in out) for j in into])
    bp = jaxbp.backprop(net, jaxbp.softmax_cross_entropy, params, x, jnp.array(y))
    assert_close(bp.mu, mu, "float64")
    assert bp.loss == pytest.approx(-np.log(mu[y]), rel=1e-14)
    assert_close((bp.trace.a, bp.trace.f, bp.deltas.a, bp.deltas.f), (a, f, delta_a, delta_f), "float64")
    assert_close({l: bp.deltas.params[l]["W"] for l in W}, delta_W, "float64")
    assert_close({l: bp.deltas.params[l]["b"] for l in W}, delta_a, "float64")


def test_the_error_convention_is_the_negative_gradient(x64):
    """delta^(4) = (y - x4) x4 (1 - x4), delta^(l) = W^T delta^(l+1) x (1 - x), W += eta delta x^T."""
    net = jaxbp.mlp([3, 5, 5, 4], jaxbp.sigmoid, output=jaxbp.sigmoid, bias=False)
    params, x1, y, eta = (
        draw_params(net, "float64"),
        draw((3,), "float64"),
        jnp.array([0.0, 1.0, 0.0, 0.0]),
        0.3,
    )
    W1, W2, W3 = (params[l]["W"] for l in (1, 2, 3))
    x2 = jax.nn.sigmoid(W1 @ x1)
    x3 = jax.nn.sigmoid(W2 @ x2)
    x4 = jax.nn.sigmoid(W3 @ x3)
    error4 = (y - x4) * x4 * (1 - x4)
    error3 = (W3.T @ error4) * x3 * (1 - x3)
    error2 = (W2.T @ error3) * x2 * (1 - x2)
    bp = jaxbp.backprop(net, jaxbp.squared_error, params, x1, y)
    assert_close({3: -error4, 2: -error3, 1: -error2}, bp.deltas.a, "float64")
    updated = jax.tree.map(lambda W, delta: W - eta * delta, params, bp.deltas.params)
    assert_close(updated[3]["W"], W3 + eta * jnp.outer(error4, x3), "float64")
    assert_close(updated[1]["W"], W1 + eta * jnp.outer(error2, x1), "float64")


@pytest.mark.parametrize("case", ["mlp", "nested residual"])
def test_deltas_equal_differences(case, x64):
    net, params, x, y = problem(case, (2,), "float64")
    _, delta_params = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)(params, x, y)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    wanted = differences(lambda v: jaxbp.softmax_cross_entropy(net.apply(unravel(v), x), y), flat)
    found = jax.flatten_util.ravel_pytree(delta_params)[0]
    assert np.abs(found - wanted).max() <= 1e-8 * np.abs(wanted).max()


@pytest.mark.parametrize("case", NETS)
def test_with_hand_vjp_is_the_rule_that_jax_grad_runs(case, x64):
    net, params, x, y = problem(case, (3,), "float64")
    key, loss = jax.random.key(4), jaxbp.softmax_cross_entropy
    apply = jaxbp.with_hand_vjp(net)
    hand = jax.value_and_grad(lambda p, x: loss(apply(p, x, key=key), y), argnums=(0, 1))
    assert_close(
        jax.jit(hand)(params, x), jax.jit(lambda p, x: by_jax(net, loss, p, x, y, key))(params, x), "float64"
    )
    wrong = replace(net, backward=lambda p, s, d: jax.tree.map(lambda v: 3 * v, net.backward(p, s, d)))
    tripled = jax.grad(lambda x: loss(jaxbp.with_hand_vjp(wrong)(params, x), y))(x)
    assert_close(tripled, 3 * by_jax(net, loss, params, x, y)[1][1], "float64")


def swapped(net, l, **changes):
    """The chain with the l-th parametric part changed."""
    at = [i for i, part in enumerate(net.parts) if part.has_params][l - 1]
    parts = list(net.parts)
    parts[at] = replace(parts[at], **changes)
    return jaxbp.chain(*parts)


def test_broken_networks_are_caught(x64):
    net, *rest = problem("mlp", (3,), "float64")
    right = net.parts[2].backward
    wrongs = {
        "sign": lambda p, s, d: jax.tree.map(jnp.negative, right(p, s, d)),
        "delta_W 1 % off": lambda p, s, d: ({**right(p, s, d)[0], "W": 1.01 * (d.T @ s)}, d @ p["W"]),
        "delta_f of another W": lambda p, s, d: (right(p, s, d)[0], d @ (p["W"] + 1e-6)),
    }
    for wrong in wrongs.values():
        with pytest.raises(AssertionError):
            assert_backprop_holds(swapped(net, 2, backward=wrong), jaxbp.softmax_cross_entropy, *rest)


def test_delta_x_of_the_first_layer_is_not_computed():
    net, loss = jaxbp.mlp([256, 8, 8], jaxbp.sigmoid), jaxbp.squared_error
    params, x, y = net.init(jax.random.key(0)), jnp.ones((64, 256)), jnp.ones((64, 8))
    train = jax.jit(jaxbp.value_and_grad(net, loss)).lower(params, x, y).compile().cost_analysis()["flops"]
    full = (
        jax.jit(lambda *a: jaxbp.backprop(net, loss, *a))
        .lower(params, x, y)
        .compile()
        .cost_analysis()["flops"]
    )
    product = 2 * 64 * 256 * 8
    assert full - train >= product


def test_a_key_splits_alike_in_apply_forward_and_backprop():
    net, params, x, _ = problem("with dropout", (16,), "float32")
    key = jax.random.key(8)
    out = net.apply(params, x, key=key)
    assert (out == net.forward(params, x, key=key)[0]).all()
    assert (out == forward(net, params, x, key=key).out).all()
    assert (out != net.apply(params, x)).any()
    assert split(None, 3) == [None] * 3


@pytest.mark.parametrize(
    ("says", "make"),
    [
        (r"layer 2: dense\(5, 2\): expected f with last axis 5, got shape \(7, 4\)", lambda: (
            jaxbp.chain(jaxbp.dense(3, 4), jaxbp.tanh, jaxbp.dense(5, 2)), None, jnp.ones((7, 3)))),
        (r"expected parameters \{1, 2\}, got \{1\}; were they made by", lambda: (
            jaxbp.mlp([3, 4, 2]), {1: {}}, jnp.ones((7, 3)))),
        (r"W of shape \(4, 3\), got \(2, 3\); was it made by another network's init", lambda: (
            jaxbp.mlp([3, 4]), jaxbp.mlp([3, 2]).init(jax.random.key(0)), jnp.ones((7, 3)))),
        (r": expected floating-point [fx], got uint8 .*; for bytes [fx] / 255", lambda: (
            jaxbp.mlp([3, 4]), None, jnp.ones((7, 3), "uint8"))),
        (r"\(7, 4\) from the branch and \(7, 3\) from the skip", lambda: (
            jaxbp.residual(jaxbp.dense(3, 4)), None, jnp.ones((7, 3)))),
        (r"branch: layer 2: dense\(9, 3\): expected f with last axis 9", lambda: (
            jaxbp.residual(jaxbp.chain(jaxbp.dense(3, 4), jaxbp.dense(9, 3))), None, jnp.ones(3))),
        (r"expected parameters \{branch\}, got (a list of 1|float32)", lambda: (
            jaxbp.residual(jaxbp.dense(3, 3)), [1], jnp.ones(3))),
        (r"flatten\(2, 2\): expected f with last axes \(2, 2\), got shape \(4,\)", lambda: (
            jaxbp.flatten(2, 2), None, jnp.ones(4))),
    ],
)  # fmt: skip
def test_errors_say_where(says, make):
    net, params, x = make()
    params = net.init(jax.random.key(0)) if params is None else params
    for call in (net.apply, net.forward, lambda p, x: forward(net, p, x)):
        with pytest.raises((ValueError, TypeError), match=says):
            call(params, x)


def test_a_delta_of_another_network():
    net, params, x, _ = problem("mlp", (3,), "float32")
    trace = forward(net, params, x)
    with pytest.raises(
        ValueError, match=r"backward: expected delta_f of the output's shape \(3, 3\), got \(3, 4\)"
    ):
        backward(net, params, trace, jnp.ones((3, 4)))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: jaxbp.value_and_grad(
                jaxbp.mlp([3, 2], output=jaxbp.softmax), jaxbp.softmax_cross_entropy
            ),
            ValueError,
            "applies softmax itself, got a network that ends in softmax; leave it out",
        ),
        (
            lambda: jaxbp.backprop(jaxbp.sigmoid, jaxbp.binary_cross_entropy, {}, jnp.ones(2), jnp.ones(2)),
            ValueError,
            "applies sigmoid itself",
        ),
        (lambda: jaxbp.dense(0, 3), ValueError, "d_in a whole number of at least 1, got 0"),
        (lambda: jaxbp.mlp([3]), ValueError, "at least two sizes"),
        (
            lambda: jaxbp.mlp([3, 2], jaxbp.make_leaky_relu),
            TypeError,
            "activation to be a Layer, got the function make_leaky_relu",
        ),
        (
            lambda: jaxbp.chain(jaxbp.dense(3, 2), jnp.tanh),
            TypeError,
            "part 1 to be a Layer, got the function tanh",
        ),
        (lambda: jaxbp.dropout(1.0), ValueError, r"rate in \[0, 1\)"),
    ],
)
def test_networks_that_cannot_be(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_chains_are_associative(x64):
    one, two, three = jaxbp.dense(3, 4), jaxbp.tanh, jaxbp.dense(4, 2)
    left, right = jaxbp.chain(jaxbp.chain(one, two), three), jaxbp.chain(one, jaxbp.chain(two, three))
    assert left.parts == right.parts == (one, two, three)
    params = left.init(jax.random.key(0))
    assert worst(right.init(jax.random.key(0)), params) == 0


def test_initialisers_have_their_variance():
    from jaxbp import initializers

    d_out, d_in = 300, 200
    variances = {
        "glorot_normal": 2 / (d_in + d_out),
        "glorot_uniform": 2 / (d_in + d_out),
        "he_normal": 2 / d_in,
        "he_uniform": 2 / d_in,
        "lecun_normal": 1 / d_in,
        "lecun_uniform": 1 / d_in,
        "scaled_normal": 1 / d_in,
        "standard_normal": 1.0,
    }
    assert {*variances, "orthogonal", "zeros", "Initializer", "Normal"} == set(initializers.__all__)
    for name, variance in variances.items():
        W = getattr(initializers, name)(jax.random.key(0), (d_out, d_in))
        assert float(W.var()) == pytest.approx(variance, rel=0.03), name
    b = jaxbp.dense(2, 300, bias_init=initializers.standard_normal).init(jax.random.key(0))["b"]
    assert 0.8 < float(b.var()) < 1.2
    W = initializers.Normal(0.02)(jax.random.key(0), (d_out, d_in))
    assert float(W.std()) == pytest.approx(0.02, rel=0.03)
    W = initializers.orthogonal(jax.random.key(0), (d_out, d_in))
    assert np.abs(W.T @ W - np.eye(d_in)).max() < 1e-5


def test_mlp_suits_its_initialiser_to_the_activation():
    for activation, variance in (
        (jaxbp.relu, 2 / 200),
        (jaxbp.sigmoid, 2 / 500),
        (jaxbp.make_leaky_relu(0.2), 2 / 200),
    ):
        W = jaxbp.mlp([200, 300], activation).init(jax.random.key(0))[1]["W"]
        assert float(W.var()) == pytest.approx(variance, rel=0.03)


def test_results_print_and_become_plain_numbers():
    net, params, x, y = problem("nested residual", (16,), "float32")
    bp = jaxbp.backprop(net, jaxbp.softmax_cross_entropy, params, x, y)
    names = [line.split()[0] for line in repr(bp).splitlines()[1:] if line[0] != " "]
    assert names[:4] == ["f_0", "a_1", "f_1", "a_2"]
    assert "delta_W_2.branch.2.branch.1" in names
    assert bp._repr_html_().count("<tr>") == len(names) + 1
    as_dict = bp.to_dict()
    assert list(as_dict) == names
    assert as_dict["delta_x"] == bp.deltas.x.tolist()
    bare = jaxbp.backprop(
        jaxbp.dense(4, 3), jaxbp.squared_error, jaxbp.dense(4, 3).init(jax.random.key(0)), x, x[:, :3]
    )
    assert {"delta_W_1", "delta_b_1"} <= bare.to_dict().keys()
    jax.jit(lambda x: (repr(jaxbp.backprop(net, jaxbp.softmax_cross_entropy, params, x, y)), x)[1])(x)
