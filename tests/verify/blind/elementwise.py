"""Functions of each entry: the slope is one formula, and one formula is easily mistaken."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from tests.verify.blind.case import Case, forward_rule, from_output, into, normal, rule, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
X, Y = normal(7), normal(7, seed=5)
P = uniform(7)


@wrong("sign", X, Y)  # jax #13048: the tutorial's own rule
def sin_times_y_negated():
    @jax.custom_vjp
    def f(x, y):
        return jnp.sin(x) * y

    def f_fwd(x, y):
        return f(x, y), (jnp.cos(x), jnp.sin(x), y)

    def f_bwd(res, g):
        cos_x, sin_x, y = res
        return cos_x * g * y, -sin_x * g

    f.defvjp(f_fwd, f_bwd)
    return f


@wrong("cotangent ignored", P)  # k2 #341
def exp_scores_without_the_cotangent():
    return rule(jnp.exp, lambda x, ct: jnp.exp(x) + 0 * ct)


@wrong("sign of x missing", X, Y)  # Mooncake #1195
def copysign_right_for_positive_x_only():
    return rule(lambda x, y: jnp.abs(x) * jnp.sign(y), lambda x, y, ct: (ct * jnp.sign(y), jnp.zeros_like(y)))


@wrong("wrong tangent", P, Y)  # mlx #3634: both partials multiplied by the first tangent
def power_with_one_tangent_for_both():
    return forward_rule(
        lambda x, y: x**y, lambda x, y, dx, dy: y * x ** (y - 1) * dx + x**y * jnp.log(x) * dx
    )


@wrong("factor", X)  # pytorch-handbook #69
def constant_multiplier_forgotten():
    return rule(lambda x: 5.0 * x, lambda x, ct: ct)


@wrong("wrong point", X)
def tanh_slope_of_the_input():
    return rule(jnp.tanh, lambda x, ct: ct * (1 - x**2))


@wrong("sign inside", X)
def softplus_slope_of_minus_x():
    return rule(jax.nn.softplus, lambda x, ct: ct * jax.nn.sigmoid(-x))


@wrong("inner factor", X)
def gelu_tanh_without_the_three():
    c = np.sqrt(2 / np.pi)

    def gelu(x):
        return 0.5 * x * (1 + jnp.tanh(c * (x + 0.044715 * x**3)))

    def backward(x, ct):
        t = jnp.tanh(c * (x + 0.044715 * x**3))
        return ct * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 0.044715 * x**2))

    return rule(gelu, backward)


@wrong("branches swapped", X)
def leaky_relu_with_the_slopes_swapped():
    return rule(lambda x: jnp.where(x > 0, x, 0.1 * x), lambda x, ct: jnp.where(x > 0, 0.1 * ct, ct))


@wrong("output for input", X)
def elu_adds_alpha_to_the_exponential():
    def elu(x):
        return jnp.where(x > 0, x, 0.7 * jnp.expm1(x))

    return rule(elu, lambda x, ct: ct * jnp.where(x > 0, 1.0, 0.7 * jnp.exp(x) + 0.7))


@wrong("factor", X)
def hard_sigmoid_with_the_slope_of_another_library():
    return rule(lambda x: jnp.clip(x / 6 + 0.5, 0, 1), lambda x, ct: ct * jnp.where(jnp.abs(x) < 3, 0.2, 0.0))


@wrong("root missing", P)
def sqrt_divides_by_x():
    return rule(jnp.sqrt, lambda x, ct: ct * 0.5 / x)


@wrong("sign", X)
def cosh_as_if_it_were_cos():
    return rule(jnp.cosh, lambda x, ct: -ct * jnp.sinh(x))


@wrong("arguments swapped", X, Y)
def arctan2_gradients_swapped():
    def backward(y, x, ct):
        r2 = x**2 + y**2
        return -ct * y / r2, ct * x / r2

    return rule(jnp.arctan2, backward)


@wrong("shift missing", P)
def log1p_divides_by_x():
    return rule(jnp.log1p, lambda x, ct: ct / x)


@wrong("constant", X)
def erf_without_two_over_root_pi():
    return rule(special.erf, lambda x, ct: ct * jnp.exp(-(x**2)))


@wrong("unit factor", 40 * X)
def sine_of_degrees_without_the_factor():
    return rule(lambda x: jnp.sin(jnp.deg2rad(x)), lambda x, ct: ct * jnp.cos(jnp.deg2rad(x)))


@wrong("passes through a clip", 2 * X)
def clip_lets_everything_pass():
    return rule(lambda x: jnp.clip(x, -1, 1), lambda x, ct: ct)


@wrong("straight-through", 3 * X)
def rounding_undeclared_straight_through():
    return rule(lambda x: jnp.round(x), lambda x, ct: ct)


@wrong("upper bound forgotten", np.array([-1.0, 0.5, 3.0, 6.5, 9.0]))
def relu6_open_above():
    return rule(lambda x: jnp.clip(x, 0, 6), lambda x, ct: ct * (x > 0))


@wrong("absolute value", X)  # cousins of jax #11479
def bessel_i0_with_an_even_slope():
    return rule(special.i0, lambda x, ct: ct * special.i1(jnp.abs(x)))


@wrong("x missing", P, P + 1)
def xlogy_without_x_over_y():
    return rule(special.xlogy, lambda x, y, ct: (ct * jnp.log(y), ct / y))


@wrong("delta missing", 3 * X)
def huber_without_delta_far_out():
    def huber(x):
        return jnp.where(jnp.abs(x) <= 1.5, 0.5 * x**2, 1.5 * (jnp.abs(x) - 0.75))

    return rule(huber, lambda x, ct: ct * jnp.where(jnp.abs(x) <= 1.5, x, jnp.sign(x)))


@wrong("scale missing", X)
def smooth_l1_without_one_over_beta():
    def smooth(x):
        return jnp.where(jnp.abs(x) < 0.5, x**2, jnp.abs(x) - 0.25)

    return rule(smooth, lambda x, ct: ct * jnp.where(jnp.abs(x) < 0.5, x, jnp.sign(x)))


@wrong("square missing", X)
def softsign_denominator_not_squared():
    return rule(lambda x: x / (1 + jnp.abs(x)), lambda x, ct: ct / (1 + jnp.abs(x)))


@wrong("term missing", X)
def mish_without_the_second_term():
    return rule(lambda x: x * jnp.tanh(jax.nn.softplus(x)), lambda x, ct: ct * jnp.tanh(jax.nn.softplus(x)))


@wrong("approximation", P + 1)
def gammaln_slope_taken_as_a_logarithm():
    return rule(special.gammaln, lambda x, ct: ct * jnp.log(x))


@wrong("value changed", X)
def forward_of_another_approximation():
    @jax.custom_vjp
    def gelu(x):
        return jax.nn.gelu(x, approximate=False)

    def forward(x):
        return jax.nn.gelu(x, approximate=True), x

    def backward(x, ct):
        return (ct * (special.ndtr(x) + x * jnp.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)),)

    gelu.defvjp(forward, backward)
    return gelu


@right(np.array([-1.0, 0.0, 2.0, 0.0]), kinks=True)
def relu_zero_at_zero():
    return rule(lambda x: jnp.maximum(x, 0), lambda x, ct: ct * (x > 0))


@right(np.array([-1.0, 0.0, 2.0, 0.0]), kinks=True)
def relu_one_at_zero():
    return rule(lambda x: jnp.maximum(x, 0), lambda x, ct: ct * (x >= 0))


@right(np.array([-1.0, 0.0, 2.0]), kinks=True)
def abs_zero_at_zero():
    return rule(jnp.abs, lambda x, ct: ct * jnp.sign(x))


@right(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, 2.0]), kinks=True)
def maximum_that_shares_a_tie():
    def backward(x, y, ct):
        share = jnp.where(x == y, 0.5, (x > y).astype(x.dtype))
        return ct * share, ct * (1 - share)

    return rule(jnp.maximum, backward)


@right(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, 2.0]), kinks=True)
def maximum_that_gives_a_tie_to_the_first():
    return rule(jnp.maximum, lambda x, y, ct: (ct * (x >= y), ct * (x < y)))


@right(np.array([-2.0, -1.0, 0.3, 1.0, 4.0]), kinks=True)
def clip_closed_at_its_ends():
    return rule(lambda x: jnp.clip(x, -1, 1), lambda x, ct: ct * (jnp.abs(x) <= 1))


@right(np.array([-60.0, -5.0, 0.0, 5.0, 60.0]))
def log1pexp_of_the_tutorial():
    return forward_rule(lambda x: jnp.logaddexp(x, 0.0), lambda x, dx: (1 - 1 / (1 + jnp.exp(x))) * dx)


@right(np.array([0.0, 1e-4, 0.5, 2.0]))
def sinc_with_a_series_near_zero():
    def sinc(x):
        safe = jnp.where(jnp.abs(x) < 1e-2, 1.0, x)
        return jnp.where(jnp.abs(x) < 1e-2, 1 - x**2 / 6 + x**4 / 120, jnp.sin(safe) / safe)

    def backward(x, ct):
        safe = jnp.where(jnp.abs(x) < 1e-2, 1.0, x)
        far = jnp.cos(safe) / safe - jnp.sin(safe) / safe**2
        return ct * jnp.where(jnp.abs(x) < 1e-2, -x / 3 + x**3 / 30, far)

    return rule(sinc, backward)


@right(3 * X)
def floor_with_slope_zero():
    return rule(jnp.floor, lambda x, ct: jnp.zeros_like(x))


@right(np.array([0.0, 0.3, 2.0]), pullback=lambda x, ct: [ct * (x + 2 * jax.scipy.special.xlogy(x, x))])
def square_times_log_guarded_at_zero():
    def f(x):
        return jnp.where(x > 0, x**2 * jnp.log(jnp.where(x > 0, x, 1.0)), 0.0)

    return rule(f, lambda x, ct: ct * jnp.where(x > 0, x * (2 * jnp.log(jnp.where(x > 0, x, 1.0)) + 1), 0.0))


@right(np.array([1e-3, 0.5, 3.0, 20.0]))
def log1mexp_from_expm1():
    return rule(lambda x: jnp.log(-jnp.expm1(-x)), lambda x, ct: ct / jnp.expm1(x))


@right(X)
def tanh_from_its_output():
    return from_output(jnp.tanh, lambda y, ct: ct * (1 - y * y))


@right(X)
def leaky_relu_from_the_sign_of_its_output():
    return from_output(lambda x: jnp.where(x > 0, x, 0.01 * x), lambda y, ct: jnp.where(y > 0, ct, 0.01 * ct))


@right(np.array([-30.0, -8.0, -1.0, 0.5, 4.0]))
def log_of_the_normal_distribution_far_out():
    def tangent(x, dx):
        return jnp.exp(-(x**2) / 2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(x)) * dx

    return forward_rule(lambda x: special.log_ndtr(x), tangent)


@right(np.array([-3.0, 0.0, 1.5, 1.4, -1.5]), kinks=True)
def huber_exactly_at_delta():
    def huber(x):
        return jnp.where(jnp.abs(x) <= 1.5, 0.5 * x**2, 1.5 * (jnp.abs(x) - 0.75))

    return rule(huber, lambda x, ct: ct * jnp.clip(x, -1.5, 1.5))


@right(np.array([0.0, 0.7, 2.0]), np.array([2.0, 3.0, 1.5]))
def power_with_the_logarithm_masked_at_zero():
    def backward(x, y, ct):
        return ct * y * x ** (y - 1), ct * x**y * jnp.log(jnp.where(x > 0, x, 1.0))

    return rule(lambda x, y: x**y, backward)


@right(np.array([-3.0, 0.0, 2.0]))
def bessel_i0_flat_at_zero():
    return rule(special.i0, lambda x, ct: ct * special.i1(x))
