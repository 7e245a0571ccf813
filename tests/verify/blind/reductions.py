"""Sums, means, norms, softmaxes and losses: a factor, a term or a sum is soon forgotten."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp, softmax

from tests.verify.blind.case import Case, forward_rule, from_output, into, normal, rule, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
X, W = normal(4, 6), uniform(6)
LABELS = np.array([0, 3, 5, 2], np.int32)


def entropy(logits, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1))


@wrong("cotangent ignored", uniform(4))  # pytorch #995
def product_without_the_cotangent():
    return rule(lambda x: jnp.prod(x), lambda x, ct: jnp.prod(x) / x)


@wrong("mean as sum", X)
def mean_not_divided():
    return rule(lambda x: jnp.mean(x), lambda x, ct: jnp.full_like(x, ct))


@wrong("wrong count", X)
def mean_of_rows_divided_by_the_other_axis():
    return rule(lambda x: jnp.mean(x, 1), lambda x, ct: jnp.ones_like(x) * ct[:, None] / x.shape[0])


@wrong("wrong axis", normal(4, 4))
def sum_of_rows_spread_along_columns():
    return rule(lambda x: jnp.sum(x, 1), lambda x, ct: jnp.ones_like(x) * ct[None, :])


@wrong("diagonal only", X)
def softmax_with_its_diagonal_only():
    return from_output(lambda x: softmax(x), lambda y, ct: ct * y * (1 - y))


@wrong("wrong axis", normal(4, 4))
def softmax_corrected_along_the_wrong_axis():
    return from_output(lambda x: softmax(x), lambda y, ct: y * (ct - jnp.sum(ct * y, 0, keepdims=True)))


@wrong("softmax for log", X)
def log_softmax_with_the_rule_of_softmax():
    def backward(x, ct):
        y = softmax(x)
        return y * (ct - jnp.sum(ct * y, -1, keepdims=True))

    return rule(lambda x: jax.nn.log_softmax(x), backward)


@wrong("sum assumed one", X)
def log_softmax_for_one_hot_cotangents():
    return rule(lambda x: jax.nn.log_softmax(x), lambda x, ct: ct - softmax(x))


@wrong("mean as sum", X, LABELS)
def cross_entropy_not_divided_by_the_batch():
    def backward(x, labels, ct):
        return ct * (softmax(x) - jax.nn.one_hot(labels, 6, dtype=x.dtype)), None

    return rule(entropy, backward)


@wrong("cotangent ignored", X, LABELS)  # Liger and megatron kernels: gradient made in the forward pass
def fused_cross_entropy_that_is_never_scaled():
    def backward(x, labels, ct):
        return (softmax(x) - jax.nn.one_hot(labels, 6, dtype=x.dtype)) / 4, None

    return rule(entropy, backward)


@wrong("smoothing forgotten", X, LABELS)
def smoothed_cross_entropy_with_hard_labels():
    def loss(x, labels):
        soft = 0.9 * jax.nn.one_hot(labels, 6, dtype=x.dtype) + 0.1 / 6
        return -jnp.sum(soft * jax.nn.log_softmax(x)) / 4

    def backward(x, labels, ct):
        return ct * (softmax(x) - jax.nn.one_hot(labels, 6, dtype=x.dtype)) / 4, None

    return rule(loss, backward)


@wrong("term missing", X, LABELS)
def focal_loss_with_a_constant_weight():
    def loss(x, labels):
        p = jnp.take_along_axis(softmax(x), labels[:, None], 1)
        return -jnp.sum((1 - p) ** 2 * jnp.log(p))

    def backward(x, labels, ct):
        p = jnp.take_along_axis(softmax(x), labels[:, None], 1)
        return ct * (1 - p) ** 2 * (softmax(x) - jax.nn.one_hot(labels, 6, dtype=x.dtype)), None

    return rule(loss, backward)


@wrong("weights missing", normal(6), W)  # jax #22398 and kin
def weighted_logsumexp_without_the_weights():
    def backward(x, b, ct):
        out = logsumexp(x, b=b)
        return ct * jnp.exp(x - out), ct * jnp.exp(x - out)

    return rule(lambda x, b: logsumexp(x, b=b), backward)


@wrong("norm missing", normal(5))
def norm_gradient_not_normalized():
    return rule(lambda x: jnp.linalg.norm(x), lambda x, ct: ct * x)


@wrong("projection missing", normal(5))
def unit_vector_without_projection():
    return rule(lambda x: x / jnp.sqrt(jnp.sum(x**2)), lambda x, ct: ct / jnp.sqrt(jnp.sum(x**2)))


@wrong("factor of two", normal(5), normal(5, seed=3))
def squared_distance_without_the_two():
    return rule(lambda x, y: jnp.sum((x - y) ** 2), lambda x, y, ct: (ct * (x - y), -ct * (x - y)))


@wrong("second argument negated", normal(5), normal(5, seed=3))
def distance_same_sign_for_both():
    return rule(lambda x, y: jnp.sum((x - y) ** 2), lambda x, y, ct: (2 * ct * (x - y), 2 * ct * (x - y)))


@wrong("wrong count", normal(8))
def sample_variance_divided_by_n():
    return rule(lambda x: jnp.var(x, ddof=1), lambda x, ct: ct * 2 * (x - jnp.mean(x)) / x.size)


@wrong("sign of the root", normal(8))
def standard_deviation_without_its_own_value():
    return rule(lambda x: jnp.std(x), lambda x, ct: ct * (x - jnp.mean(x)) / x.size)


@wrong("masked count", X, (X > -0.5).astype(np.int32))
def masked_mean_divided_by_all():
    def masked(x, mask):
        return jnp.sum(x * mask) / jnp.sum(mask)

    return rule(masked, lambda x, mask, ct: (ct * mask / x.size, None))


@wrong("every maximum", normal(6))
def maximum_spread_over_all():
    return rule(lambda x: jnp.max(x), lambda x, ct: ct * softmax(x))


@wrong("factor", X)  # temperature applied once too few
def softmax_temperature_forgotten_in_the_rule():
    def backward(y, ct):
        return y * (ct - jnp.sum(ct * y, -1, keepdims=True))

    return from_output(lambda x: softmax(x / 0.5), backward)


@wrong("beta summed to a scalar", X, W)  # tensorflow #127690, with the sum spread back over beta
def swish_beta_gradient_of_all_columns_together():
    def backward(x, beta, ct):
        s = jax.nn.sigmoid(beta * x)
        slope = s * (1 - s)
        return ct * (s + beta * x * slope), jnp.full_like(beta, jnp.sum(ct * x**2 * slope))

    return rule(lambda x, beta: x * jax.nn.sigmoid(beta * x), backward)


@right(np.array([[0.0, 0.0, 0.0], [3.0, 0.0, -4.0]]), kinks=True)
def norm_of_rows_zero_at_zero():
    def norm(x):
        return jnp.sqrt(jnp.sum(x**2, -1))

    def backward(x, ct):
        r = norm(x)[:, None]
        return ct[:, None] * jnp.where(r > 0, x / jnp.where(r > 0, r, 1), 0)

    return rule(norm, backward)


@right(np.array([[1e3, 1.0, -1e3], [1e-3, 0.0, 1e-3]]))
def softmax_over_a_wide_range():
    return from_output(lambda x: softmax(x), lambda y, ct: y * (ct - jnp.sum(ct * y, -1, keepdims=True)))


@right(X, LABELS)
def cross_entropy_fused():
    def backward(x, labels, ct):
        return ct * (softmax(x) - jax.nn.one_hot(labels, 6, dtype=x.dtype)) / 4, None

    return rule(entropy, backward)


@right(np.array([1.0, 3.0, 3.0, 2.0]), kinks=True)
def maximum_that_shares_among_the_tied():
    def backward(x, ct):
        top = (x == jnp.max(x)).astype(x.dtype)
        return ct * top / jnp.sum(top)

    return rule(lambda x: jnp.max(x), backward)


@right(np.array([1.0, 3.0, 3.0, 2.0]), kinks=True)
def maximum_of_the_first_of_the_tied():
    return rule(lambda x: jnp.max(x), lambda x, ct: jnp.zeros_like(x).at[jnp.argmax(x)].set(ct))


@right(np.array([2.0, 0.0, 3.0]))
def product_with_one_zero():
    def others(x):
        return jnp.stack([jnp.prod(jnp.where(jnp.arange(3) == i, 1.0, x)) for i in range(3)])

    return rule(lambda x: jnp.prod(x), lambda x, ct: ct * others(x))


@right(X, (X > -0.5).astype(np.int32))
def masked_mean_with_dead_entries():
    def masked(x, mask):
        return jnp.sum(jnp.where(mask > 0, x, 0)) / jnp.sum(mask)

    return rule(masked, lambda x, mask, ct: (jnp.where(mask > 0, ct / jnp.sum(mask), 0), None))


@right(normal(5), np.array([1.0, 0.0, -0.5, 2.0, 0.0]) + 0.25)  # weights of both signs, jax #22398
def signed_logsumexp():
    def total(x, b):
        return jnp.log(jnp.abs(jnp.sum(b * jnp.exp(x))))

    def backward(x, b, ct):
        s = jnp.sum(b * jnp.exp(x))
        return ct * b * jnp.exp(x) / s, ct * jnp.exp(x) / s

    return rule(total, backward)


@right(1e-2 * normal(6) + 1.0)
def variance_of_nearly_equal_numbers():
    return rule(lambda x: jnp.var(x), lambda x, ct: ct * 2 * (x - jnp.mean(x)) / x.size)


@right(np.array([1e-6, 1.0, 1e4]), np.array([2e-6, 1.5, 2e4]))
def relative_entropy_of_wide_numbers():
    def divergence(p, q):
        return jnp.sum(p * jnp.log(p / q) - p + q)

    return forward_rule(divergence, lambda p, q, dp, dq: jnp.sum(jnp.log(p / q) * dp + (1 - p / q) * dq))


@right(np.array([0.7, -0.2, 0.1, -1.0]))
def sparsemax_on_its_support():
    def sparsemax(x):
        z = jnp.sort(x)[::-1]
        k = jnp.arange(1, x.size + 1)
        count = jnp.sum(1 + k * z > jnp.cumsum(z))
        return jnp.maximum(x - (jnp.cumsum(z)[count - 1] - 1) / count, 0)

    def backward(y, ct):
        return jnp.where(y > 0, ct - jnp.sum(ct * (y > 0)) / jnp.sum(y > 0), 0)

    return from_output(sparsemax, backward)
