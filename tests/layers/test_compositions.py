"""Random networks of images: by hand, by jax.vjp, by their Jacobian and by their factors they agree."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxbp
from tests.cases import draw, draw_inputs, draw_params
from tests.layers.test_cases import EXACT, formed
from tests.oracles import worst

CANCELS = 0.1  # of the largest number: below it a gradient may be what rounding leaves of a sum


def kinds(draw_one, shape, depth):
    """What may follow on images of this shape, by name, as functions that make it."""
    H, W, c = shape
    kernel = draw_one(st.integers(1, min(3, H, W)))
    stride, padding = draw_one(st.integers(1, 2)), draw_one(st.integers(0, kernel // 2))
    out, moved = draw_one(st.integers(1, 3)), {"stride": stride, "padding": padding}
    found = {
        "conv": lambda: jaxbp.conv2d(c, out, kernel, **moved),
        "groups": lambda: jaxbp.conv2d(c, 2 * c, kernel, groups=c, bias=False, **moved),
        "depthwise": lambda: jaxbp.depthwise2d(c, kernel, **moved),
        "max": lambda: jaxbp.max_pool2d(2, stride=stride, padding=1),
        "avg": lambda: jaxbp.avg_pool2d(kernel, stride=1),
        "squeeze": lambda: jaxbp.squeeze_scale(c, 2),
        "smooth": lambda: draw_one(st.sampled_from([jaxbp.tanh, jaxbp.gelu, jaxbp.softplus])),
    }
    if kernel % 2:
        found["dilated"] = lambda: jaxbp.conv2d(c, out, kernel, padding="SAME", dilation=2, bias=False)
    if H * W > 3:  # too few entries have no scale worth dividing by
        found["group"] = lambda: jaxbp.group_norm(c, c)
    if depth:
        found["residual"] = lambda: block(draw_one, shape, depth)
    return found


@st.composite
def layers(draw_one, shape, depth=2):
    """Some layers that follow one another on images of this shape, and the shape after them."""
    parts = []
    for _ in range(draw_one(st.integers(1, 4))):
        possible = kinds(draw_one, shape, depth)
        part = possible[draw_one(st.sampled_from(sorted(possible)))]()
        params = jax.eval_shape(part.init, jax.random.key(0))
        shape = jax.eval_shape(part.apply, params, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
        parts.append(part)
    return jaxbp.chain(*parts), shape


def block(draw_one, shape, depth):
    """A residual block whose skip is brought to the branch's shape, where it changes it."""
    branch, out = draw_one(layers(shape, depth - 1))
    if out == shape:
        return jaxbp.residual(branch)
    flat = [jaxbp.flatten(*shape), jaxbp.dense(shape[0] * shape[1] * shape[2], out[0] * out[1] * out[2])]
    wide = jaxbp.chain(*flat)
    folded = jaxbp.chain(branch, jaxbp.flatten(*out))
    back = jaxbp.Layer(
        "fold",
        lambda p, f, *, key=None: f.reshape(*f.shape[:-1], *out),
        lambda p, f, *, key=None: (f.reshape(*f.shape[:-1], *out), ()),
        lambda p, saved, delta: ({}, delta.reshape(*delta.shape[:-3], -1)),
    )
    return jaxbp.chain(jaxbp.residual(folded, wide), back)


def assert_all_ways_agree(net, shape):
    with jax.enable_x64(True):
        params, f = draw_params(net, "float64"), draw_inputs((2, *shape), "float64")
        delta = draw(jax.eval_shape(net.apply, params, f).shape, "float64", seed=2)

        @jax.jit
        def ways(params, f, delta):
            out, saved = net.forward(params, f)
            by_jax, pull = jax.vjp(net.apply, params, f)
            _, saved_of_one = net.forward(params, f[0])
            factors = net.factors(params, saved_of_one, delta[0])
            alone = net.backward(params, saved_of_one, delta[0])
            J = delta[0].reshape(-1) @ net.jacobian(params, f[0])
            return (out, *net.backward(params, saved, delta)), (by_jax, *pull(delta)), factors, alone, J

        hand, by_jax, (blocks, of_blocks), alone, J = ways(params, f, delta)
        assert worst(hand, by_jax, floor=CANCELS) <= EXACT
        made = map(formed, jax.tree.structure(alone[0]).flatten_up_to(blocks))
        found = jax.tree.unflatten(jax.tree.structure(alone[0]), made), of_blocks
        assert worst(found, alone, floor=CANCELS) <= EXACT
        assert worst(J.reshape(shape), alone[1]) <= EXACT


def of_examples(count):
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(deadline=None, max_examples=count, suppress_health_check=checks, derandomize=True)


@of_examples(2)
@given(layers((4, 3, 2)))
def test_a_random_network_of_images(made):
    assert_all_ways_agree(made[0], (4, 3, 2))


@pytest.mark.soak
@of_examples(300)
@given(layers((5, 4, 2)))
def test_300_random_networks_of_images(made):
    assert_all_ways_agree(made[0], (5, 4, 2))
