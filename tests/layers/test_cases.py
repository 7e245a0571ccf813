"""Of every row of the table: the rule, its Jacobian, its factors, its recipe, and what `check` says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbp
from tests.cases import LEADING, draw, draw_params, half
from tests.layers.cases import CASES
from tests.oracles import differences, tolerance, worst

MODES = {
    "jit": jax.jit,
    "eager": lambda fn: fn,
    "vmap": lambda fn: jax.jit(jax.vmap(fn, in_axes=(None, 0, 0))),
}
EXACT = 1e-12  # in float64, relative to the largest entry
SINGLE = [name for name, case in CASES.items() if not case.couples]


def three_ways(case, named):
    """(params, f, delta_out) -> thrice (out, delta_params, delta_f): by hand, of apply, of the plain map."""
    layer = case.layer

    def by_hand(params, f, delta_out):
        out, saved = layer.forward(params, f, **named)
        return out, *layer.backward(params, saved, delta_out)

    def by_jax(apply):
        def way(params, f, delta_out):
            if case.ids:
                out, vjp = jax.vjp(lambda params: apply(params, f), params)
                return out, *vjp(delta_out), None
            out, vjp = jax.vjp(apply, params, f)
            return out, *vjp(delta_out)

        return way

    plain = by_jax(lambda params, f: case.plain(params, f, **named.get("given", {})))
    ways = by_hand, by_jax(lambda params, f: layer.apply(params, f, **named)), plain
    return lambda *args: tuple(way(*args) for way in ways)


def assert_rule_holds(case, n, dtype="float64", mode="jit"):
    """The hand-written rule against `jax.vjp` of apply, and of the map written another way."""
    named, batch = case.named(n, dtype), (2, *n) if mode == "vmap" else n
    params, f = draw_params(case.layer, dtype), case.inputs(batch, dtype)
    shape = jax.eval_shape(lambda p, f: case.layer.apply(p, f, **case.named(batch, dtype)), params, f).shape
    hand, *others = MODES[mode](three_ways(case, named))(params, f, draw(shape, dtype, seed=2))
    limit = EXACT if dtype == "float64" else tolerance(dtype)
    for other in others:
        assert worst(hand, other) <= limit
    for found, wanted in zip(jax.tree.leaves(hand), jax.tree.leaves(others[0]), strict=True):
        assert found.dtype == wanted.dtype


@pytest.mark.parametrize("case", CASES)
def test_the_rule_is_jax_s(case, x64):
    assert_rule_holds(CASES[case], (3,))


@pytest.mark.soak
@pytest.mark.parametrize(("n", "dtype", "mode"), half(LEADING, ("float32", "float64"), tuple(MODES)))
@pytest.mark.parametrize("case", CASES)
def test_the_rule_is_jax_s_in_every_way(case, n, dtype, mode):
    if CASES[case].couples and not n:
        return  # a single example has no statistics
    with jax.enable_x64(dtype == "float64"):
        assert_rule_holds(CASES[case], n, dtype, mode)


@pytest.mark.parametrize("case", CASES)
def test_the_rule_is_the_slope(case, x64):
    case = CASES[case]
    n = (4,) if case.couples else (2,)  # two rows normalized together are nearly their signs
    params, f, named = draw_params(case.layer, "float64"), case.inputs(n, "float64"), case.named(n, float)
    out, saved = case.layer.forward(params, f, **named)
    delta_out = draw(out.shape, "float64", seed=2)
    delta_params, delta_f = case.layer.backward(params, saved, delta_out)
    at, found = ((params,), (delta_params,)) if case.ids else ((params, f), (delta_params, delta_f))
    flat, unravel = jax.flatten_util.ravel_pytree(at)
    rest = (f,) if case.ids else ()
    wanted = differences(lambda v: (case.layer.apply(*unravel(v), *rest, **named) * delta_out).sum(), flat)
    found = jax.flatten_util.ravel_pytree(found)[0]
    assert np.abs(found - wanted).max(initial=0) <= 1e-8 * np.abs(wanted).max(initial=0)


@pytest.mark.parametrize("case", [name for name in SINGLE if not CASES[name].ids])
def test_the_jacobian_is_jacrev_s(case, x64):
    case = CASES[case]
    params, f, named = draw_params(case.layer, "float64"), case.inputs((), "float64"), case.named((), float)
    wanted = jax.jit(jax.jacrev(lambda f: case.layer.apply(params, f, **named)))(f)
    J = jax.jit(lambda f: case.layer.jacobian(params, f, **named).matrix())(f)
    assert worst(J, wanted.reshape(-1, f.size)) <= EXACT


def formed(block):
    """The gradient that a block stands for."""
    match block:
        case jaxbp.layers.Entrywise(J):
            return J
        case jaxbp.layers.Summed(delta):
            return delta.sum(0)
        case jaxbp.layers.Added(parts):
            return sum(map(formed, parts))
        case jaxbp.layers.Stacked(layers):
            return jnp.stack(
                [
                    formed(jax.tree.map(lambda a, i=i: a[i], layers))
                    for i in range(len(jax.tree.leaves(layers)[0]))
                ]
            )
        case jaxbp.layers.Rows(delta, ids, shape):
            return jnp.zeros(shape).at[ids].add(delta, mode="drop")
        case jaxbp.layers.Outer(delta, f, axes, shape):
            M = (delta.T @ f).reshape([shape[axis] for axis in axes])
            return M.transpose([axes.index(axis) for axis in range(len(shape))])


@pytest.mark.parametrize("case", [name for name in SINGLE if CASES[name].layer.has_params])
def test_the_factors_are_the_gradient(case, x64):
    case = CASES[case]
    params, f, named = draw_params(case.layer, "float64"), case.inputs((), "float64"), case.named((), float)
    out, saved = case.layer.forward(params, f, **named)
    delta_out = draw(out.shape, "float64", seed=2)
    delta_params, delta_f = case.layer.backward(params, saved, delta_out)
    blocks, of_blocks = case.layer.factors(params, saved, delta_out)
    leaves = jax.tree.structure(delta_params).flatten_up_to(blocks)
    made = jax.tree.unflatten(jax.tree.structure(delta_params), map(formed, leaves))
    assert worst((made, of_blocks), (delta_params, delta_f)) <= EXACT


# A carry is that of the sequences of one batch: for one alone the network is another.
@pytest.mark.parametrize(
    "case", [name for name in SINGLE if CASES[name].layer.has_params and "carried" not in name]
)
def test_per_example_norms_are_vmap_grad_s(case, x64):
    case = CASES[case]
    layer, given = case.layer, case.named((), float)
    net = jaxbp.fixed(layer, given["given"]) if given else layer
    params, x = draw_params(layer, "float64"), case.inputs((3,), "float64")
    y = draw(jax.eval_shape(net.apply, params, x).shape, "float64", seed=2)

    def loss(f, y):
        return ((f - y) ** 2).sum() / 2

    def one(params, x, y):
        return loss(net.apply(params, x), y)

    grads = jax.jit(jax.vmap(jax.grad(one), in_axes=(None, 0, 0)))(params, x, y)
    wanted = sum((leaf**2).reshape(3, -1).sum(1) for leaf in jax.tree.leaves(grads))
    g = jax.jit(lambda params: jaxbp.per_example(net, loss, params, x, y))(params)
    assert worst(g.squared_norms(), wanted) <= EXACT
    clip = jnp.minimum(1, 0.5 / jnp.sqrt(wanted))
    clipped = jax.tree.map(lambda leaf: jnp.tensordot(clip, leaf, 1) / 3, grads)
    assert worst(g.clipped_mean(0.5), clipped) <= EXACT


@pytest.mark.parametrize("case", CASES)
def test_check_finds_nothing(case):
    case = CASES[case]
    params, f, named = (
        draw_params(case.layer, "float32"),
        case.inputs((2,), "float32"),
        case.named((2,), "float32"),
    )
    apply = jaxbp.with_hand_vjp(case.layer)
    report = jaxbp.check(lambda params, f: apply(params, f, **named), params, f)
    assert report.ok, report
    assert report.findings or not (case.layer.has_params or not case.ids), "no rule was found"


@pytest.mark.parametrize("case", CASES)
def test_the_recipe_makes_the_layer_again(case):
    layer = CASES[case].layer
    made = jaxbp.Layer.from_dict(layer.to_dict())
    assert made.name == layer.name and made.to_dict() == layer.to_dict()  # noqa: PT018
    case, params = CASES[case], draw_params(layer, "float32")
    f, named = case.inputs((2,), "float32"), case.named((2,), "float32")
    assert (made.apply(params, f, **named) == layer.apply(params, f, **named)).all()
