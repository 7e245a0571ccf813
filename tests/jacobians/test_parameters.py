"""Every contraction of a parameter Jacobian against the same on the matrix that jacrev forms."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from jaxbp.jacobians import parameter_jacobian, per_example
from jaxbp.jacobians.taps import find_taps

N = 4


def transformer(params, x):
    """Shared weights at T positions: attention by hand, on one example x (T, d)."""
    q, k, v = (x @ params[name] for name in ("q", "k", "v"))
    h = jax.nn.softmax(q @ k.T / 2, axis=-1) @ v
    return jnp.tanh(h @ params["out"] + jnp.broadcast_to(params["b"], (x.shape[0], 3))).mean(0)


def tied(params, x):
    """One weight used in two ways, one used twice alike, and a gain that multiplies entry by entry."""
    h = jnp.tanh(params["W"] @ x)
    h = jnp.tanh(params["U"] @ jnp.tanh(params["U"] @ h)) * params["gain"]
    return params["W"].T @ h


def recurrent(params, x):
    """A weight within a loop."""
    step = lambda h, x_t: (jnp.tanh(params["W"] @ h + x_t), None)  # noqa: E731
    return jax.lax.scan(step, jnp.zeros(3, x.dtype), x)[0]


def convolution(params, x):
    y = jax.lax.conv_general_dilated(
        x[None], params["K"], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
    )
    return jnp.tanh(y[0]).sum(0) @ params["W"]


def jitted(params, x):
    """Products and biases inside jit, einsum, and a cast."""
    layer = jax.jit(lambda W, b, x: jnp.einsum("oi,i->o", W, x) + b)
    return layer(params["V"], params["c"], jnp.tanh(layer(params["W"], params["b"], x)))


def _normal(key, **shapes):
    keys = jax.random.split(key, len(shapes))
    return {name: jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}


def net(layer):
    return lambda key: (layer, layer.init(key))


def fn(f, **shapes):
    return lambda key: (f, _normal(key, **shapes))


_block = jaxbp.residual(jaxbp.chain(jaxbp.dense(4, 4), jaxbp.tanh, jaxbp.residual(jaxbp.dense(4, 4))))
CASES = {
    "mlp": (net(jaxbp.mlp([3, 5, 4])), (3,)),
    "no bias": (net(jaxbp.mlp([3, 5, 4], jaxbp.relu, bias=False)), (3,)),
    "softmax": (net(jaxbp.mlp([3, 5, 4], output=jaxbp.softmax)), (3,)),
    "nested residual": (net(jaxbp.chain(jaxbp.dense(3, 4), jaxbp.gelu, _block, jaxbp.dense(4, 2))), (3,)),
    "flatten": (net(jaxbp.chain(jaxbp.flatten(2, 3), jaxbp.dense(6, 2))), (2, 3)),
    "shared over few positions": (fn(transformer, q=(6, 6), k=(6, 6), v=(6, 6), out=(6, 3), b=(3,)), (2, 6)),
    "shared over many positions": (fn(transformer, q=(2, 3), k=(2, 3), v=(2, 3), out=(3, 3), b=(3,)), (9, 2)),
    "tied": (fn(tied, W=(3, 3), U=(3, 3), gain=(3,)), (3,)),
    "recurrent": (fn(recurrent, W=(3, 3)), (5, 3)),
    "convolution": (fn(convolution, K=(3, 2, 4), W=(4, 2)), (6, 2)),
    "jitted": (fn(jitted, W=(4, 3), b=(4,), V=(2, 4), c=(2,)), (3,)),
    "linear unit": (fn(lambda p, x: (p["w"] @ x)[None] + p["b"], w=(3,), b=(1,)), (3,)),
    "unused": (fn(lambda p, x: p["W"] @ x, W=(2, 3), nothing=(2,)), (3,)),
}


def made(name):
    make, shape = CASES[name]
    keys = jax.random.split(jax.random.key(0), 2)
    model, params = make(keys[0])
    apply = model.apply if isinstance(model, jaxbp.Layer) else model
    return model, apply, params, jax.random.normal(keys[1], (N, *shape))


def flat(tree, lead=0):
    leaves = [leaf.reshape(*leaf.shape[:lead], -1) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves, axis=-1)


def close(result, reference, of=None):
    """Equal to 1e-12 of the largest entry (of ``of``, where digits are lost by design)."""
    scale = np.abs(reference if of is None else of).max()
    np.testing.assert_allclose(result, reference, rtol=0, atol=1e-12 * scale)


LOSSES = [
    jaxbp.squared_error,
    jaxbp.softmax_cross_entropy,
    jaxbp.binary_cross_entropy,
    jaxbp.make_softmax_cross_entropy(0.1),
    jaxbp.squared_error.sum,
]
# Every model with one loss, and every loss with one model.
PAIRS = [(name, jaxbp.softmax_cross_entropy) for name in CASES] + [("softmax", loss) for loss in LOSSES]


def dense_jacobian(apply, params, x):
    return flat(jax.vmap(lambda x: flat(jax.jacrev(apply)(params, x), 1))(x), 2)


@pytest.mark.parametrize(("name", "loss"), PAIRS, ids=repr)
def test_per_example_gradients_are_those_of_vmap_grad(name, loss, x64):
    model, apply, params, x = made(name)
    C = jax.eval_shape(apply, params, x[0]).shape[-1]
    y = jnp.arange(N) % C if "softmax" in loss.name else jnp.linspace(0, 1, N * C).reshape(N, C)

    @jax.jit
    def by_structure(params, x, y):
        g = per_example(model, loss, params, x, y)
        c = jnp.median(jnp.sqrt(g.squared_norms()))
        trees = g.mean(), g.clipped_mean(c), g.second_moment(), g.variance()
        ggn = parameter_jacobian(model, params, x).ggn_diagonal(loss, y)
        # No second derivative of these losses depends on y: the prediction serves as well.
        assumed = parameter_jacobian(model, params, x).ggn_diagonal(loss)
        return (
            (g.losses, flat(g.gradients(), 1), g.squared_norms(), c, g.noise_scale()),
            [flat(tree) for tree in (*trees, ggn, assumed)],
        )

    @jax.jit
    def by_matrix(params, x, y, c):
        value = lambda params, x, y: loss(apply(params, x), y)  # noqa: E731
        losses, grads = jax.vmap(jax.value_and_grad(value), in_axes=(None, 0, 0))(params, x, y)
        G = flat(grads, 1)
        norms = jnp.linalg.norm(G, axis=1)
        clipped = (G * jnp.broadcast_to(jnp.minimum(1, c / norms)[:, None], G.shape)).mean(0)
        H = jax.vmap(jax.hessian(loss.values))(jax.vmap(apply, in_axes=(None, 0))(params, x), y)
        J = dense_jacobian(apply, params, x)
        ggn = jnp.einsum("ncp,nck,nkp->p", J, H, J) / (N if loss.reduction == "mean" else 1)
        trace, mean = G.var(0, ddof=1).sum(), (G.mean(0) ** 2).sum()
        noise = trace / (mean - trace / N)
        return losses, G, norms**2, [G.mean(0), clipped, (G**2).mean(0), G.var(0), ggn, ggn], noise

    (losses, gradients, squared_norms, c, noise), trees = by_structure(params, x, y)
    ref_losses, G, ref_norms, ref_trees, ref_noise = by_matrix(params, x, y, c)
    close(losses, ref_losses)
    close(gradients, G)
    close(squared_norms, ref_norms)
    for tree, reference in zip(trees, ref_trees, strict=True):
        close(tree, reference, of=ref_trees[2] if reference is ref_trees[3] else None)
    np.testing.assert_allclose(noise, ref_noise, rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_parameter_jacobian_is_jacrev(name, x64):
    model, apply, params, x = made(name)

    @jax.jit
    def by_structure(params, x, sigma):
        J = parameter_jacobian(model, params, x)
        variances = J.predictive_variance(sigma), J.predictive_variance(0.5)
        return J.matrix(), J.ntk(), J.ntk_trace(), variances

    @jax.jit
    def by_matrix(params, x, sigma):
        M = dense_jacobian(apply, params, x)
        ntk = jnp.einsum("ncp,mkp->ncmk", M, M)
        return M, ntk, (M**2).sum(), ((M**2) @ flat(sigma), (M**2).sum(-1) / 2)

    sigma = jax.tree.map(lambda p: jnp.abs(p) + 0.1, params)
    jax.tree.map(close, by_structure(params, x, sigma), by_matrix(params, x, sigma))


@pytest.mark.parametrize(
    "name", [next(iter(CASES)), *(pytest.param(n, marks=pytest.mark.soak) for n in [*CASES][1:])]
)
def test_the_ntk_of_two_sets_is_a_part_of_that_of_both(name, x64):
    model, _, params, x = made(name)
    parts = [jax.tree.map(lambda v: v[1:], x), jax.tree.map(lambda v: v[:1], x)]

    @jax.jit
    def both(params, *xs):
        whole, *Js = (parameter_jacobian(model, params, x) for x in xs)
        return whole.ntk()[1:, :, :1], Js[0].ntk(Js[1])

    close(*both(params, x, *parts))


def test_the_ntk_of_another_network_is_refused(key):
    nets = [jaxbp.mlp([3, 4, 2]), jaxbp.mlp([3, 5, 2])]
    J, K = (parameter_jacobian(net, net.init(key), jnp.ones((2, 3))) for net in nets)
    with pytest.raises(ValueError, match="ntk: expected the Jacobian of the same network, got parameters"):
        J.ntk(K)
    with pytest.raises(TypeError, match=r"ntk: expected other .*parameter_jacobian"):
        J.ntk(jnp.ones((2, 3)))


def test_ggn_diagonal_without_targets_is_the_mean_over_the_prediction(x64, key):
    net = jaxbp.mlp([3, 1], output=jaxbp.sigmoid)
    loss, params, x = jaxbp.binary_cross_entropy_on_probabilities, net.init(key), jnp.ones((1, 3))
    J, p = parameter_jacobian(net, params, x), net.apply(params, x)[0, 0]
    zero, one, mean = (flat(J.ggn_diagonal(loss, y)) for y in (jnp.zeros((1, 1)), jnp.ones((1, 1)), None))
    close(mean, p * one + (1 - p) * zero)


@pytest.mark.soak
def test_a_loss_of_ones_own(x64, key):
    net = jaxbp.mlp([3, 2])
    params, x, y = net.init(key), jnp.ones((2, 3)), jnp.zeros((2, 2))
    quartic = lambda f, y: ((f - y) ** 4).sum()  # noqa: E731
    g = per_example(net, quartic, params, x, y)
    reference = jax.vmap(jax.grad(lambda p, x, y: quartic(net.apply(p, x), y)), in_axes=(None, 0, 0))(
        params, x, y
    )
    close(flat(g.gradients(), 1), flat(reference, 1))
    M, f = dense_jacobian(net.apply, params, x), net.apply(params, x)
    H = jax.vmap(jax.hessian(quartic))(f, y)
    J = parameter_jacobian(net, params, x)
    close(flat(J.ggn_diagonal(quartic, y)), jnp.einsum("ncp,nck,nkp->p", M, H, M))
    with pytest.raises(ValueError, match="expected y for a loss"):
        J.ggn_diagonal(quartic)


STRUCTURE = {  # (products, biases, entrywise) leaves, in the order of jax.tree.leaves
    "mlp": (2, 2, 0),
    "nested residual": (4, 4, 0),
    "flatten": (1, 1, 0),
    "shared over few positions": (4, 1, 0),
    "tied": (1, 0, 2),
    "recurrent": (0, 0, 1),
    "convolution": (1, 0, 1),
    "jitted": (2, 2, 0),
    "linear unit": (1, 0, 1),
    "unused": (1, 0, 1),
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_products_and_biases_are_found(name, key):
    make, shape = CASES[name]
    model, params = make(key)
    apply = model.apply if isinstance(model, jaxbp.Layer) else model
    taps = find_taps(apply, params, jnp.ones(shape))
    assert (len(taps.products), len(taps.biases), len(taps.entrywise)) == STRUCTURE[name]


def test_a_product_read_twice_gives_its_bias_no_share(x64, key):
    # a + b beside a itself: the delta of a is not that of b.
    model = lambda p, x: (p["W"] @ x + p["b"]) * (p["W"] @ x).sum() * jnp.tanh(_once(p, x))  # noqa: E731

    def _once(p, x):
        a = p["V"] @ x
        return (a + p["c"]) * a

    params = _normal(key, W=(2, 3), b=(2,), V=(2, 3), c=(2,))
    x = jnp.linspace(-1, 1, 6).reshape(2, 3)
    close(parameter_jacobian(model, params, x).matrix(), dense_jacobian(model, params, x))


def test_the_records_pass_through_jit_and_print(key):
    net = jaxbp.mlp([3, 4, 2])
    params, x, y = net.init(key), jnp.ones((5, 3)), jnp.zeros(5, int)
    J = jax.jit(lambda p, x: parameter_jacobian(net, p, x))(params, x)
    assert J.ntk().shape == (5, 2, 5, 2)
    assert "delta x f" in repr(J)
    assert J.to_dict()["P"] == 26
    g = jax.jit(lambda p, x, y: per_example(net, jaxbp.softmax_cross_entropy, p, x, y))(params, x, y)
    assert repr(g).startswith(
        "gradients of 5 losses\nd f / d theta of 5 examples, 1 outputs and 26 parameters"
    )
    assert g._repr_html_().startswith("<pre>")


def test_the_storage_is_that_of_the_factors(key):
    net = jaxbp.mlp([784, 256, 256, 256, 10], jaxbp.relu)
    J = jax.eval_shape(lambda p, x: parameter_jacobian(net, p, x), net.init(key), jnp.ones((128, 784)))
    N, C, P = J.shape
    factors = 4 * 128 * (784 + 3 * 256 + 10 * (3 * 256 + 10))
    held = sum(leaf.size * 4 for leaf in J.held)
    assert held == factors
    assert 4 * N * C * P / held > 300


def test_a_gradient_of_zero_is_not_clipped(x64):
    net, params = jaxbp.dense(2, 1, bias=False), {"W": jnp.ones((1, 2))}
    g = per_example(
        net, jaxbp.squared_error, params, jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[2.0], [0.0]])
    )
    close(g.clipped_mean(1.0)["W"], jnp.array([[1.0, 2.0]]) / jnp.sqrt(5) / 2)


def test_bad_use(key):
    net = jaxbp.mlp([3, 4])
    params, x = net.init(key), jnp.ones((5, 3))
    with pytest.raises(ValueError, match=r"at most 100 B for J of shape \(5, 4, 16\), got 1.25 KiB"):
        parameter_jacobian(net, params, x).matrix(limit=100)
    with pytest.raises(
        ValueError, match=r"per_example: expected N examples and N targets, got x of shape \(5, 3\)"
    ):
        per_example(net, jaxbp.softmax_cross_entropy, params, x, jnp.zeros(4, int))
    with pytest.raises(TypeError, match="parameter_jacobian: expected floating-point x, got uint8"):
        parameter_jacobian(net, params, jnp.ones((5, 3), jnp.uint8))
    with pytest.raises(TypeError, match=r"floating-point parameters, got \['W'\] int32"):
        parameter_jacobian(lambda p, x: p["W"] @ x, {"W": jnp.ones((2, 3), int)}, x)
    with pytest.raises(
        ValueError, match="per_example: the network: expected one array as its output, got 2 arrays"
    ):
        per_example(
            lambda p, x: (p["W"] @ x, x), jaxbp.squared_error, {"W": jnp.ones((2, 3))}, x, jnp.ones((5, 2))
        )
    with pytest.raises(ValueError, match="predictive_variance: expected sigma as the tree"):
        parameter_jacobian(net, params, x).predictive_variance({"W": 1.0})
    with pytest.raises(ValueError, match="at least two examples"):
        per_example(net, jaxbp.squared_error, params, x[:1], jnp.ones((1, 4))).noise_scale()


def test_a_module_is_told_to_give_its_apply():
    """A module of Flax, or what Haiku transforms, is no function of its parameters."""
    nn = pytest.importorskip("flax.linen")
    model, x = nn.Dense(2), jnp.ones((3, 4))
    params = model.init(jax.random.key(0), x)
    loss, y = jaxbp.softmax_cross_entropy, jnp.array([0, 1, 0])
    for call in (
        lambda net: per_example(net, loss, params, x, y),
        lambda net: parameter_jacobian(net, params, x),
        lambda net: jaxbp.saliency(net, None, params, x, y),
        lambda net: jaxbp.generate(net, loss, params, x, y, steps=1),
    ):
        for net in (model, types.SimpleNamespace(apply=model.apply)):
            with pytest.raises(TypeError, match=r"a function \(params, x\) -> f, got .*give its apply"):
                call(net)
        assert call(model.apply) is not None


@pytest.mark.parametrize("loss", [jaxbp.softmax_cross_entropy, jaxbp.softmax_cross_entropy.sum])
def test_the_loss_of_a_text_is_that_of_its_places(loss, x64):
    """A mean over the places, as `jax.grad` of the loss has it, or their sum; of squared errors too."""
    layer, rng = jaxbp.dense(3, 2), np.random.default_rng(0)
    params, x = layer.init(jax.random.key(0)), jnp.asarray(rng.normal(size=(N, 5, 3)))
    for value, y in (
        (loss, rng.integers(0, 2, (N, 5))),
        (jaxbp.squared_error.sum if loss.reduction == "sum" else jaxbp.squared_error, np.ones((N, 5, 2))),
    ):
        one = jax.value_and_grad(lambda p, x, y, v=value: v(layer.apply(p, x), y), (0, 1))
        values, (grads, deltas) = jax.vmap(one, (None, 0, 0))(params, x, jnp.asarray(y))
        found = per_example(layer, value, params, x, y)
        mean = jax.tree.map(lambda g: g.mean(0), grads)
        for a, b in zip(
            jax.tree.leaves((found.losses, found.gradients(), found.mean())),
            jax.tree.leaves((values, grads, mean)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(jaxbp.saliency(layer, value, params, x, y), deltas, rtol=1e-12, atol=1e-14)
        batch = jaxbp.value_and_grad(layer, value)(params, x, y)[1]["W"]
        np.testing.assert_allclose(
            mean["W"] * (N if loss.reduction == "sum" else 1), batch, rtol=1e-12, atol=1e-14
        )
    J = parameter_jacobian(layer, params, x)
    ggn, total = J.ggn_diagonal(loss)["W"], J.ggn_diagonal(loss.sum)["W"]
    np.testing.assert_allclose(ggn * (1 if loss.reduction == "sum" else 5 * N), total, rtol=1e-12)


def test_constants_within_another_program_are_part_of_it():
    """What is compiled at a first call is not compiled apart where a program closes over all its arrays."""
    net, loss = jaxbp.mlp([3, 4, 2]), jaxbp.softmax_cross_entropy
    params, x, y = net.init(jax.random.key(0)), jnp.ones((5, 3)), jnp.arange(5) % 2

    def all_of_it():
        return (
            jaxbp.backprop(net, loss, params, x, y).loss,
            jaxbp.per_example(net, loss, params, x, y).squared_norms(),
            jaxbp.jacobian_chain(net, params, x[0]).matrix(),
            jaxbp.parameter_jacobian(net, params, x).ntk(),
        )

    for found, wanted in zip(jax.jit(all_of_it)(), all_of_it(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_map_without_parameters_has_gradients_of_nothing():
    f, y = jnp.ones((3, 2)), jnp.zeros((3, 2))
    g = per_example(jaxbp.relu, jaxbp.squared_error, {}, f, y)
    assert (g.gradients(), g.mean(), g.clipped_mean(1.0), g.variance()) == ({}, {}, {}, {})
