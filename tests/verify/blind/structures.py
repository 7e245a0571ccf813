"""Dictionaries, tuples, several results, whole numbers, static arguments, and each way to state a rule."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.verify.blind.case import Case, into, normal, rule, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
X, Y = normal(4), normal(4, seed=1)
PARAMS = {"w": normal(3, 4), "b": normal(3, seed=1)}


def dense(params, x):
    return params["w"] @ x + params["b"]


@wrong("one output ignored", X)
def sine_and_cosine_whose_second_is_ignored():
    return rule(lambda x: (jnp.sin(x), jnp.cos(x)), lambda x, ct: ct[0] * jnp.cos(x))


@wrong("outputs exchanged", X)
def sine_and_cosine_exchanged():
    return rule(lambda x: (jnp.sin(x), jnp.cos(x)), lambda x, ct: ct[1] * jnp.cos(x) - ct[0] * jnp.sin(x))


@wrong("one output ignored", uniform(4))
def value_and_auxiliary_whose_auxiliary_counts():
    return rule(lambda x: {"loss": jnp.sum(x**2), "size": jnp.sum(x)}, lambda x, ct: 2 * x * ct["loss"])


@wrong("keys exchanged", {"a": X, "b": Y})
def dictionary_gradients_under_the_wrong_key():
    return rule(
        lambda p: p["a"] ** 2 * p["b"],
        lambda p, ct: {"a": ct * p["a"] ** 2, "b": 2 * ct * p["a"] * p["b"]},
    )


@wrong("zero gradient", PARAMS, X)
def dense_layer_whose_bias_never_learns():
    def backward(p, x, ct):
        return {"w": jnp.outer(ct, x), "b": jnp.zeros_like(p["b"])}, p["w"].T @ ct

    return rule(dense, backward)


@wrong("none for an argument", X, Y)
def product_with_none_for_the_second():
    return rule(lambda x, y: x * y, lambda x, y, ct: (ct * y, None))


@wrong("static constant", 2.5, X)
def power_law_with_the_exponent_of_a_default():
    @partial(jax.custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, ct: (ct * 2 * x,))
    return lambda s, x: s * power(x, 3)


@wrong("arguments exchanged", X, Y)
def jvps_given_in_the_wrong_order():
    @jax.custom_jvp
    def f(x, y):
        return jnp.sin(x) * jnp.exp(y)

    f.defjvps(
        lambda dx, out, x, y: out * dx,
        lambda dy, out, x, y: jnp.cos(x) * jnp.exp(y) * dy,
    )
    return f


@wrong("argument not differentiated", X, Y)
def jvps_with_none_for_the_second():
    @jax.custom_jvp
    def f(x, y):
        return x**2 * y

    f.defjvps(lambda dx, out, x, y: 2 * x * y * dx, None)
    return f


@wrong("factor", X)
def custom_gradient_that_halves():
    @jax.custom_gradient
    def half_square(x):
        return x**2, lambda g: g * x

    return half_square


@wrong("cotangent squared", X)
def rule_quadratic_in_its_cotangent():
    return rule(jnp.sin, lambda x, ct: ct**2 * jnp.cos(x))


@wrong("added constant", X)
def rule_with_an_offset():
    return rule(jnp.sin, lambda x, ct: ct * jnp.cos(x) + 0.1)


@wrong("clipped", 3 * X)
def rule_that_clips_in_secret():
    return rule(lambda x: x**2, lambda x, ct: jnp.clip(ct * 2 * x, -1, 1))


@wrong("normalized", X)
def rule_that_normalizes_its_gradient():  # AdderNet #21
    def backward(x, ct):
        g = ct * jnp.cos(x)
        return g / jnp.linalg.norm(g)

    return rule(jnp.sin, backward)


@wrong("stale residual", X, Y)
def residual_after_the_update():
    @jax.custom_vjp
    def f(x, y):
        return jnp.tanh(x + y) * x

    def forward(x, y):
        x = x + y
        return jnp.tanh(x) * (x - y), (x, y)

    def backward(saved, ct):
        x, _ = saved
        slope = 1 - jnp.tanh(x) ** 2
        return ct * (slope * x + jnp.tanh(x)), ct * slope * x

    f.defvjp(forward, backward)
    return f


@wrong("scale as declared by another", X, declare=("scaled", 0.5), pullback=lambda x, ct: [0.5 * ct])
def scaled_gradient_of_another_factor():
    return rule(lambda x: 1.0 * x, lambda x, ct: 0.1 * ct)


@wrong("sign", X, declare="reversal", pullback=lambda x, ct: [-ct])
def reversal_that_reverses_nothing():
    return rule(lambda x: 1.0 * x, lambda x, ct: ct)


@wrong("not stopped", X, declare="stop", pullback=lambda x, ct: [0 * ct])
def stop_that_leaks():
    return rule(lambda x: 1.0 * x, lambda x, ct: 0.01 * ct)


@right(3 * X, declare="straight_through", pullback=lambda x, ct: [ct])
def rounding_straight_through():
    return rule(lambda x: jnp.round(x), lambda x, ct: ct)


@right(X, declare="straight_through", pullback=lambda x, ct: [ct])
def sign_straight_through():
    return rule(jnp.sign, lambda x, ct: ct)


@right(X, declare={"turned": "reversal"}, pullback=lambda x, ct: [-ct * (1 - np.tanh(x) ** 2)])
def gradient_reversal_by_name():
    @jax.custom_vjp
    def turned(x):
        return x

    turned.defvjp(lambda x: (x, None), lambda _, ct: (-ct,))
    return lambda x: turned(jnp.tanh(x))


@right(X, declare=("scaled", 0.1), pullback=lambda x, ct: [0.1 * ct])
def gradient_scaled_for_a_slow_layer():
    return rule(lambda x: 1.0 * x, lambda x, ct: 0.1 * ct)


@right(X, declare="clipped", pullback=lambda x, ct: [np.clip(ct, -0.5, 0.5)])
def gradient_clipped_by_value():
    return rule(lambda x: 1.0 * x, lambda x, ct: jnp.clip(ct, -0.5, 0.5))


@right(X, declare="stop", pullback=lambda x, ct: [0 * ct])
def gradient_stopped():
    return rule(jnp.sin, lambda x, ct: jnp.zeros_like(x))


@right(PARAMS, X)
def dense_layer_over_a_dictionary():
    def backward(p, x, ct):
        return {"b": ct, "w": jnp.outer(ct, x)}, p["w"].T @ ct

    return rule(dense, backward)


@right((X, [Y, {"deep": uniform(4)}]))
def nested_containers():
    def f(tree):
        x, (y, rest) = tree
        return {"a": x * y, "b": (y / rest["deep"],)}

    def backward(tree, ct):
        x, (y, rest) = tree
        a, b = ct["a"], ct["b"][0]
        d = rest["deep"]
        return ((a * y, [a * x + b / d, {"deep": -b * y / d**2}]),)

    return rule(f, backward)


@right(X, np.int32(3))
def integer_power_with_none_for_the_integer():
    return rule(lambda x, n: x**n, lambda x, n, ct: (ct * n * x ** (n - 1), None))


@right(X, np.int32(3))
def integer_power_with_a_float0():
    def backward(x, n, ct):
        return ct * n * x ** (n - 1), np.zeros((), jax.dtypes.float0)

    return rule(lambda x, n: x**n, backward)


@right(X)
def static_exponent_and_function():
    @partial(jax.custom_vjp, nondiff_argnums=(0, 2))
    def apply(f, x, n):
        return f(x) ** n

    def forward(f, x, n):
        y, pull = jax.vjp(f, x)
        return y**n, (y, pull)

    apply.defvjp(forward, lambda f, n, saved, ct: saved[1](ct * n * saved[0] ** (n - 1)))
    return lambda x: apply(jnp.cosh, x, 3)


@right(X)
def value_and_whole_number_result():
    def f(x):
        return jnp.max(x), jnp.argmax(x)

    return rule(f, lambda x, ct: jnp.zeros_like(x).at[jnp.argmax(x)].set(ct[0]))


@right(X)
def custom_gradient_of_the_tutorial():
    @jax.custom_gradient
    def log1pexp(x):
        e = jnp.exp(x)
        return jnp.log1p(e), lambda g: g * (1 - 1 / (1 + e))

    return log1pexp


@right(X, Y)
def jvps_with_none_where_nothing_depends():
    @jax.custom_jvp
    def f(x, y):
        return jnp.sin(x) + jnp.floor(y)

    f.defjvps(lambda dx, out, x, y: jnp.cos(x) * dx, None)
    return f


@right(X, Y)
def jvp_with_symbolic_zeros():
    @jax.custom_jvp
    def f(x, y):
        return x * y

    def jvp(primals, tangents):
        (x, y), (dx, dy) = primals, tangents
        zero = [isinstance(d, jax.custom_derivatives.SymbolicZero) for d in (dx, dy)]
        parts = [a * d for a, d, z in ((y, dx, zero[0]), (x, dy, zero[1])) if not z]
        return x * y, sum(parts, jnp.zeros_like(x))

    f.defjvp(jvp, symbolic_zeros=True)
    return f


@right(X, Y)
def rule_with_optimized_remat():
    f = jax.custom_vjp(lambda x, y: jnp.sin(x) * y)
    f.defvjp(
        lambda x, y: (jnp.sin(x) * y, (x, y)),
        lambda saved, ct: (ct * jnp.cos(saved[0]) * saved[1], ct * jnp.sin(saved[0])),
        optimize_remat=True,
    )
    return f


@right(X)
def keyword_with_a_default():
    @partial(jax.custom_vjp, nondiff_argnums=(1,))
    def scaled(x, by=3.0):
        return jnp.sin(by * x)

    scaled.defvjp(lambda x, by: (jnp.sin(by * x), x), lambda by, x, ct: (by * jnp.cos(by * x) * ct,))
    return lambda x: scaled(x) + scaled(x, by=0.5)


@right(X, np.array([True, False, True, True]))
def boolean_mask_argument():
    return rule(lambda x, m: jnp.where(m, x**2, 0.0), lambda x, m, ct: (jnp.where(m, 2 * x * ct, 0.0), None))


@right(X, order=2)
def cube_right_to_second_order():
    return rule(lambda x: x**3, lambda x, ct: 3 * x**2 * ct)
