"""What a layer of images or a norm refuses, what it saves, and networks made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from tests.cases import draw, draw_params
from tests.oracles import assert_close

ONES = jnp.ones

REFUSED = {
    **{
        f"a delta of other channels, {layer.name}": (
            lambda layer=layer, f=f, shape=shape: layer.backward(
                {}, layer.forward({}, f)[1], jnp.ones((*shape, 1))
            ),
            rf"expected delta_out of the output's shape .*, got \({shape[0] if shape else 1},",
        )
        for layer, f, shape in (
            (jaxbp.avg_pool2d(2), jnp.ones((4, 4, 2)), (2, 2)),
            (jaxbp.global_avg_pool(), jnp.ones((4, 4, 2)), ()),
            (jaxbp.global_avg_pool(1), jnp.ones((3, 4, 2)), (3,)),
        )
    },
    "an even kernel with SAME": (
        lambda: jaxbp.conv2d(1, 1, 4, padding="SAME"),
        r"conv2d\(1, 1, 4\): expected an odd kernel with padding=\"SAME\", got a kernel of 4 x 4; "
        r"say on which side the place more is: padding=\(\(1, 2\),\) \* 2",
    ),
    "groups that do not divide": (
        lambda: jaxbp.conv2d(4, 6, 3, groups=4),
        "expected groups that divide c_out, 6, got 4",
    ),
    "groups of a norm": (lambda: jaxbp.group_norm(6, 4), "expected groups that divide d, 6, got 4"),
    "channels first": (
        lambda: run(jaxbp.conv2d(3, 2, 3), ONES((2, 3, 8, 8))),
        r"expected f of shape \(\*n, H, W, 3\), got \(2, 3, 8, 8\); the channels come last",
    ),
    "no channels": (
        lambda: run(jaxbp.lenet(), ONES((4, 28, 28))),
        r"expected f of shape \(\*n, H, W, 1\), got \(4, 28, 28\); f\[..., None\] gives it an axis",
    ),
    "images smaller than the kernel": (
        lambda: run(jaxbp.conv2d(1, 1, 5), ONES((4, 4, 1))),
        "expected at least the 5 places of a window along each axis, got 4 and padding 0 and 0",
    ),
    "places that windows do not divide": (
        lambda: run(jaxbp.max_pool2d(2), ONES((5, 4, 1))),
        "expected places along axis 0 that windows of 2 divide, got 5; crop 1, pad 1, or give a stride",
    ),
    "a window in the padding alone": (
        lambda: jaxbp.max_pool2d(2, padding=2),
        "expected padding below the window, 2: one in the padding alone has no places, got 2",
    ),
    "integers": (
        lambda: run(jaxbp.conv2d(1, 1, 3), ONES((4, 4, 1), int)),
        "expected f of floats|float",
    ),
    "W of another layout": (
        lambda: jaxbp.conv2d(1, 2, 3, bias=False).apply({"W": ONES((3, 3, 1, 2))}, ONES((4, 4, 1))),
        r"expected W of shape \(2, 1, 3, 3\), got \(3, 3, 1, 2\)",
    ),
    "delta of another shape": (
        lambda: jaxbp.max_pool2d(2).backward({}, jaxbp.max_pool2d(2).forward({}, ONES((4, 4, 1)))[1],
        ONES((4, 4, 1))), r"expected delta_out of the output's shape \(2, 2, 1\), got \(4, 4, 1\)",
    ),
    "a single row without state": (
        lambda: run(jaxbp.batch_norm(3), ONES(3)),
        "expected at least two rows, whose mean and variance it takes, got shape",
    ),
    "the state of another network": (
        lambda: run(jaxbp.batch_norm(3), ONES((2, 3)), {"state": {"mean": ONES(2), "var": ONES(2), "weight":
        ONES(())}}), "expected a state of shapes .* got .*; was it left by another network",
    ),
    "a training that is no bool": (
        lambda: run(jaxbp.batch_norm(3), ONES((2, 3)), {"training": 1}),
        "expected training",
    ),
    "the Jacobian of one example in training": (
        lambda: jaxbp.batch_norm(3).jacobian({"g": ONES(3), "b": ONES(3)}, ONES((2, 3))),
        "expected a state for the Jacobian of one example",
    ),
    "a stride too many": (lambda: jaxbp.conv1d(1, 1, 3, stride=(1, 2)), "stride, a number or 1 of them"),
    "padding of a word": (lambda: jaxbp.conv1d(1, 1, 3, padding="same"), "'SAME' or 'VALID', got 'same'"),
}  # fmt: skip


def run(layer, f, given=None):
    params = layer.init(jax.random.key(0))
    return layer.apply(params, f) if given is None else layer.apply(params, f, given=given)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_said(case):
    call, sentence = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()


def test_a_pool_saves_a_byte_for_a_window_and_ties_go_to_the_first():
    pool, f = jaxbp.max_pool2d(2), jnp.zeros((8, 8, 3))
    out, saved = pool.forward({}, f)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(saved)) == 4 * 4 * 3
    by_jax = jax.vjp(lambda f: pool.apply({}, f), f)[1](jnp.ones_like(out))[0]
    assert (pool.backward({}, saved, jnp.ones_like(out))[1] == by_jax).all()
    assert by_jax[0, 0].tolist() == [1, 1, 1]
    nan = f.at[3, 3].set(jnp.nan)
    assert jnp.isnan(pool.forward({}, nan)[0]).sum() == jnp.isnan(pool.apply({}, nan)).sum() == 3


def test_running_statistics_are_unbiased_averages(x64):
    norm, rng = jaxbp.batch_norm(2, momentum=0.5), np.random.default_rng(0)
    batches, state = [rng.normal(size=(n, 2)) * 2 + 3 for n in (4, 6, 5)], None
    params = draw_params(norm, "float64")
    for batch in batches:
        given = {"training": True} | ({} if state is None else {"state": state})
        state = norm.state(norm.forward(params, jnp.asarray(batch), given=given)[1])
    shares = np.array([0.125, 0.25, 0.5])
    mean = sum(s * batch.mean(0) for s, batch in zip(shares, batches, strict=True)) / shares.sum()
    var = sum(s * batch.var(0, ddof=1) for s, batch in zip(shares, batches, strict=True)) / shares.sum()
    assert_close(
        state, {"mean": jnp.asarray(mean), "var": jnp.asarray(var), "weight": jnp.asarray(0.875)}, "float64"
    )
    zeros = jax.tree.map(jnp.zeros_like, state)
    assert (norm.apply(params, ONES((1, 2)), given={"state": zeros}) == norm.apply(
        params, ONES((1, 2)), given={"state": zeros | {"var": ONES(2)}}
    )).all()  # fmt: skip


@pytest.mark.parametrize("pool", [jaxbp.max_pool2d, jaxbp.avg_pool2d])
def test_a_stride_that_is_given_leaves_the_last_places_out(pool, x64):
    """The pool of the places that windows cover, as in other libraries; the delta of the others is 0."""
    f = draw((2, 5, 7, 3), "float64")
    cut, given = pool((2, 3)), pool((2, 3), stride=(2, 3))
    (out, saved), (wanted, of_cut) = given.forward({}, f), cut.forward({}, f[:, :4, :6])
    assert_close((out, given.apply({}, f)), (wanted, wanted), "float64")
    delta = draw(out.shape, "float64", seed=2)
    pads = [(0, 0), (0, 1), (0, 1), (0, 0)]
    deltas = given.backward({}, saved, delta)[1], cut.backward({}, of_cut, delta)[1]
    assert_close(deltas[0], jnp.pad(deltas[1], pads), "float64")
    J = jax.jacrev(lambda f: given.apply({}, f))(f[0]).reshape(12, -1)
    assert_close(given.jacobian({}, f[0]).matrix(), J, "float64")


def test_against_flax(x64):
    """The same weights in another library: a convolution, a pool and both norms."""
    nn = pytest.importorskip("flax.linen")
    f = draw((3, 6, 6, 4), "float64")
    conv = jaxbp.conv2d(4, 6, 3, stride=2, padding="SAME", groups=2)
    p = draw_params(conv, "float64")
    kernel = jnp.transpose(p["W"], (2, 3, 1, 0))
    theirs = nn.Conv(6, (3, 3), 2, "SAME", feature_group_count=2, param_dtype=jnp.float64)
    out = theirs.apply({"params": {"kernel": kernel, "bias": p["b"]}}, f)
    assert_close(conv.apply(p, f), out, "float64")
    assert_close(jaxbp.max_pool2d(3, stride=2).apply({}, f), nn.max_pool(f, (3, 3), (2, 2)), "float64")
    for ours, module in (
        (jaxbp.group_norm(4, 2), nn.GroupNorm(2, epsilon=1e-5)),
        (jaxbp.layer_norm(4), nn.LayerNorm(epsilon=1e-5)),
        (jaxbp.batch_norm(4), nn.BatchNorm(use_running_average=False, epsilon=1e-5)),
    ):
        p = draw_params(ours, "float64")
        variables = {"params": {"scale": p["g"], "bias": p["b"]}}
        if isinstance(module, nn.BatchNorm):
            variables["batch_stats"] = {"mean": jnp.zeros(4), "var": jnp.ones(4)}
            out = module.apply(variables, f, mutable=["batch_stats"])[0]
        else:
            out = module.apply(variables, f)
        assert np.abs(ours.apply(p, f) - out).max() < 1e-12


def small():
    return jaxbp.chain(
        jaxbp.conv2d(1, 4, 3, padding=1),
        jaxbp.tanh,
        jaxbp.max_pool2d(2),
        jaxbp.residual(jaxbp.chain(jaxbp.conv2d(4, 4, 3, padding=1, bias=False), jaxbp.batch_norm(4))),
        jaxbp.global_avg_pool(),
        jaxbp.layer_norm(4),
        jaxbp.dense(4, 3),
    )


@pytest.mark.soak
def test_check_network_on_images():
    state = {2: {"branch": {2: {"mean": ONES(4) / 3, "var": ONES(4) / 2, "weight": ONES(())}}}}
    net = jaxbp.fixed(small(), {"state": state})
    x, y = np.asarray(draw((3, 4, 4, 1), "float32")), np.array([0, 2, 1])
    report = jaxbp.check_network(net, jaxbp.softmax_cross_entropy, draw_params(net, "float32"), x, y)
    assert report.ok, report
    assert report.rows[-1].delta == "delta_x"


@pytest.mark.soak
def test_check_network_on_ids_and_rows_of_positions():
    """Integers stay integers, and only the first axis counts examples."""
    table = jaxbp.Layer(
        "table",
        lambda p, ids, *, key=None: p["E"][ids],
        lambda p, ids, *, key=None: (p["E"][ids], ids),
        lambda p, ids, delta: ({"E": jnp.zeros_like(p["E"]).at[ids].add(delta)}, None),
        init=lambda key: {"E": jax.random.normal(key, (5, 3))},
    )
    mix = jaxbp.Layer(  # couples the positions of an example, as attention does
        "mix",
        lambda p, f, *, key=None: jnp.cumsum(f, -2),
        lambda p, f, *, key=None: (jnp.cumsum(f, -2), ()),
        lambda p, saved, delta: ({}, jnp.flip(jnp.cumsum(jnp.flip(delta, -2), -2), -2)),
    )
    net = jaxbp.chain(table, mix, jaxbp.tanh, jaxbp.dense(3, 4))
    ids, y = np.array([[0, 1, 1], [4, 0, 2]]), np.array([[1, 0, 3], [2, 2, 1]])
    for x, target in ((ids, y), (ids[0], y[0])):
        report = jaxbp.check_network(net, jaxbp.softmax_cross_entropy, net.init(jax.random.key(0)), x, target)
        assert report.ok, report
        assert [row.delta for row in report.rows] == ["delta_E_1", "delta_W_2", "delta_b_2"]


def test_backprop_names_every_delta_of_a_convolutional_network():
    net, x, y = small(), draw((3, 4, 4, 1), "float32"), jnp.array([0, 2, 1])
    params = draw_params(net, "float32")
    loss = jaxbp.softmax_cross_entropy

    @jax.jit
    def both(params, x):
        by_grad = jax.grad(lambda p, x: loss(net.apply(p, x), y), (0, 1))(params, x)
        return jaxbp.backprop(net, loss, params, x, y), by_grad

    bp, by_grad = both(params, x)
    assert_close((bp.deltas.params, bp.deltas.x), by_grad, "float32")
    assert bp.deltas.a[1].shape == (3, 4, 4, 4)
    assert bp.deltas.blocks[2].a[1].shape == (3, 2, 2, 4)
    assert {"delta_W_2.branch.1", "delta_g_3"} <= set(bp.to_dict())


@pytest.mark.soak
def test_a_residual_network_learns_in_mixed_precision():
    net = jaxbp.mixed_precision(jaxbp.resnet(3, channels=1, widths=(2, 4)))
    params, x, y = net.init(jax.random.key(0)), draw((4, 8, 8, 1), "float32"), jnp.array([0, 1, 2, 0])
    grad_fn = jax.jit(jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy, has_state=True))
    (before, state), _ = grad_fn(params, x, y)
    for _ in range(5):
        (loss, state), delta = grad_fn(params, x, y, state)
        params = jax.tree.map(lambda p, d: p - 0.1 * d, params, delta)
    assert loss < before
    assert {leaf.dtype for leaf in jax.tree.leaves((state, delta))} == {jnp.dtype("float32")}


def test_lenet_takes_a_third_of_autodiff_s_memory():
    net, loss = jaxbp.lenet(), jaxbp.softmax_cross_entropy
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    x, y = jax.ShapeDtypeStruct((64, 28, 28, 1), jnp.float32), jax.ShapeDtypeStruct((64,), jnp.int32)

    def temp(grad_fn):
        return jax.jit(grad_fn).lower(shapes, x, y).compile().memory_analysis().temp_size_in_bytes

    by_hand = temp(jaxbp.value_and_grad(net, loss))
    by_jax = temp(jax.value_and_grad(lambda p, x, y: loss(net.apply(p, x), y)))
    assert by_hand <= 0.3 * by_jax
