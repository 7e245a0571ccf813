"""Half precision, wide ranges and cancellation: what rounding excuses, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.verify.blind.case import Case, forward_rule, from_output, half, into, normal, rule, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
BF, F16 = half("bfloat16", 6), half("float16", 6)
X = normal(6)


def f32(*xs):
    return [jnp.asarray(x, jnp.float32) if x.dtype.itemsize < 4 else x for x in xs]


@wrong("sign", BF, rough=3e-2, true=jnp.cos)
def cosine_in_bfloat16_without_its_minus():
    return rule(jnp.cos, lambda x, ct: ct * jnp.sin(x))


@wrong("factor", F16, half("float16", 6, seed=1), rough=5e-3, true=lambda x, y: jnp.sum(x * y))
def dot_in_float16_halved():
    return rule(lambda x, y: jnp.sum(x * y), lambda x, y, ct: (ct * y / 2, ct * x))


@wrong("statistics held constant", half("bfloat16", 3, 8), rough=3e-2, true=lambda x: x / jnp.sqrt(
    jnp.mean(x**2, -1, keepdims=True)))
def rms_norm_in_bfloat16_with_a_constant_scale():
    def norm(x):
        (y,) = f32(x)
        return (y / jnp.sqrt(jnp.mean(y**2, -1, keepdims=True))).astype(x.dtype)

    def backward(x, ct):
        (y,) = f32(x)
        return (ct / jnp.sqrt(jnp.mean(y**2, -1, keepdims=True))).astype(x.dtype)

    return rule(norm, backward)


@wrong("loss scale kept", half("float16", 6), rough=5e-3, true=lambda x: jnp.sum(x**2))
def float16_loss_scale_never_removed():
    return rule(lambda x: jnp.sum(x**2), lambda x, ct: 2 * x * ct * 128)


@wrong("overflow", np.array([100.0, 99.0, 98.0]), only="float32")
def softmax_rule_that_overflows():
    def backward(x, ct):
        y = jnp.exp(x) / jnp.sum(jnp.exp(x))
        return y * (ct - jnp.sum(ct * y))

    return rule(lambda x: jax.nn.softmax(x), backward)


@wrong("cancellation", np.array([1e-3, 3e-4, 2e-3]), only="float32")
def one_minus_cosine_slope_by_cancelling():
    def f(x):
        return 2 * jnp.sin(x / 2) ** 2

    return rule(f, lambda x, ct: ct * jnp.sqrt(1 - (1 - f(x)) ** 2))


@wrong("underflow", np.array([20.0, 25.0, 30.0]), only="float32")
def sigmoid_tail_slope_that_vanishes():
    return from_output(lambda x: jnp.exp(-jax.nn.softplus(x)) * 1e6, lambda y, ct: -ct * y * (1 - 1e-6 * y)
                       * jnp.where((1 + 1e-6 * y) > 1, 1.0, 0.0))


@wrong("overflow", np.array([60.0, 120.0, -3.0]), only="float32")
def log_cosh_slope_by_exponentials():
    def backward(x, ct):
        return ct * (jnp.exp(x) - jnp.exp(-x)) / (jnp.exp(x) + jnp.exp(-x))

    return rule(lambda x: jnp.logaddexp(x, -x), backward)


@wrong("small entries lost", np.array([1e-6, 1.0, 1e4]))
def logarithm_guarded_too_widely():
    return rule(jnp.log, lambda x, ct: ct / (x + 1e-4))


@wrong("small gradients cut", np.array([1e-3, 1.0, 2.0]))
def square_whose_small_slopes_are_cut():
    def backward(x, ct):
        g = 2 * x * ct
        return jnp.where(jnp.abs(g) < 1e-2, 0.0, g)

    return rule(lambda x: x**2, backward)


@wrong("epsilon missing", np.array([1e-3, 2e-3, 1.0]))
def rsqrt_rule_without_the_epsilon():
    return rule(lambda x: 1 / jnp.sqrt(x + 1e-3), lambda x, ct: -0.5 * ct * x**-1.5)


@wrong("coarse constant", X)
def normal_density_with_a_short_pi():
    return rule(lambda x: jnp.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
                lambda x, ct: -ct * x * jnp.exp(-(x**2) / 2) / np.sqrt(2 * 3.12))


@right(BF, rough=3e-2, true=jnp.tanh)
def tanh_in_bfloat16_from_its_output():
    return from_output(jnp.tanh, lambda y, ct: ct * (1 - y * y))


@right(half("bfloat16", 3, 8), rough=3e-2, true=lambda x: jax.nn.softmax(x))
def softmax_in_bfloat16_with_a_float32_rule():
    def backward(y, ct):
        y, c = f32(y, ct)
        return (y * (c - jnp.sum(c * y, -1, keepdims=True))).astype(ct.dtype)

    def softmax(x):
        return jax.nn.softmax(x.astype(jnp.promote_types(x.dtype, jnp.float32))).astype(x.dtype)

    return from_output(softmax, backward)


@right(F16, half("float16", 6, seed=1), rough=5e-3, true=lambda x, y: x * y)
def product_in_float16():
    return rule(lambda x, y: x * y, lambda x, y, ct: (ct * y, ct * x))


@right(half("bfloat16", 4, 8), half("bfloat16", 8, seed=2), rough=3e-2, true=lambda x, w: x @ w)
def matrix_vector_in_bfloat16_with_float32_sums():
    def product(x, w):
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return jnp.matmul(x, w, preferred_element_type=wide).astype(x.dtype)

    return rule(product, lambda x, w, ct: (jnp.outer(ct, w), ct @ x))


@right(X, rough=1e-2, true=lambda x: jnp.sum(x**2))
def cast_to_bfloat16_on_the_way():
    def f(x):
        return jnp.sum(x.astype(jnp.bfloat16).astype(x.dtype) ** 2)

    return rule(f, lambda x, ct: 2 * ct * x.astype(jnp.bfloat16).astype(x.dtype))


@right(np.array([1e-20, 1e-8, 1.0, 1e8]))
def logarithm_over_a_wide_range():
    return rule(jnp.log, lambda x, ct: ct / x)


@right(np.array([100.0, 99.0, -1000.0]))
def softmax_shifted_by_its_maximum():
    def backward(x, ct):
        e = jnp.exp(x - jnp.max(x))
        y = e / jnp.sum(e)
        return y * (ct - jnp.sum(ct * y))

    return rule(lambda x: jax.nn.softmax(x), backward)


@right(np.array([-40.0, -2.0, 0.0, 3.0, 35.0]))
def log_sigmoid_by_the_other_sigmoid():
    return forward_rule(lambda x: -jax.nn.softplus(-x), lambda x, dx: jax.nn.sigmoid(-x) * dx)


@right(np.array([1e-5, 3e-3, 2.0]))
def one_minus_cosine_by_half_angles():
    return rule(lambda x: 2 * jnp.sin(x / 2) ** 2, lambda x, ct: ct * jnp.sin(x))


@right(uniform(4), np.array([1.0, 1.0 + 1e-7, 2.0, 5.0]))
def ratio_of_differences_with_a_series():
    def grow(x, t):
        return jnp.expm1(x * (t - 1)) / x

    def backward(x, t, ct):
        e = jnp.exp(x * (t - 1))
        u = x * (t - 1)
        near = (t - 1) ** 2 * (0.5 + u / 3)
        far = ((t - 1) * e - jnp.expm1(u) / x) / x
        return ct * jnp.where(jnp.abs(u) < 1e-3, near, far), ct * e

    return rule(grow, backward)


@right(np.array([1e6, -1e6, 3.0]), np.array([1e-6, 2e-6, 1.0]))
def product_of_very_different_scales():
    return rule(lambda x, y: x * y, lambda x, y, ct: (ct * y, ct * x))


@right(np.array([1.0, 4.0, 9.0]))
def inverse_root_by_newton():
    def root(x):
        y = jnp.ones_like(x) / 3
        return jax.lax.fori_loop(0, 30, lambda i, y: y * (1.5 - 0.5 * x * y * y), y)

    return from_output(root, lambda y, ct: -0.5 * ct * y**3)


@right(np.array([3e18, 4e18]), pullback=lambda x, ct: [ct * np.array([0.6, 0.8])])
def hypotenuse_that_does_not_overflow():
    def hypotenuse(x):
        m = jnp.max(jnp.abs(x))
        return m * jnp.sqrt(jnp.sum((x / m) ** 2))

    return rule(hypotenuse, lambda x, ct: ct * x / hypotenuse(x))
