"""Gathers, scatters, sorts, scans along an axis, convolutions and pools: where each contribution goes."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.verify.blind.case import Case, into, normal, rule, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
X, IDS = normal(5, 3), np.array([0, 2, 2, 4, 0, 2], np.int32)
SIGNAL, KERNEL = normal(9), normal(3, seed=1)
IMAGE = normal(4, 6)


def blocks(x):
    return x.reshape(2, 2, 3, 2).transpose(0, 2, 1, 3).reshape(2, 3, 4)


def spread(ct):
    return unblocked(jnp.broadcast_to(ct[..., None], (2, 3, 4)))


def unblocked(y):
    return y.reshape(2, 3, 2, 2).transpose(0, 2, 1, 3).reshape(4, 6)


@wrong("overwritten", X, IDS)  # pytorch #1631, mxnet #9172, Paddle #17662
def embedding_that_overwrites_repeated_rows():
    return rule(lambda w, i: w[i], lambda w, i, ct: (jnp.zeros_like(w).at[i].set(ct), None))


@wrong("gather for scatter", normal(6, 3), np.array([3, 4, 0, 2, 1, 1], np.int32))
def gather_whose_rule_gathers_again():  # AiDotNet #894
    return rule(lambda w, i: w[i], lambda w, i, ct: (ct[i], None))


@wrong("padding row trained", X, IDS)
def embedding_with_a_gradient_for_padding():
    def embed(w, i):
        return w[i] * (i != 0)[:, None]

    return rule(embed, lambda w, i, ct: (jnp.zeros_like(w).at[i].add(ct), None))


@wrong("permutation for its inverse", normal(6))
def sort_without_the_inverse_permutation():
    return rule(lambda x: jnp.sort(x), lambda x, ct: ct[jnp.argsort(x)])


@wrong("direction", SIGNAL)  # Paddle #50997 and kin
def cumulative_sum_that_sums_forward():
    return rule(lambda x: jnp.cumsum(x), lambda x, ct: jnp.cumsum(ct))


@wrong("off by one", SIGNAL)
def cumulative_sum_exclusive_in_the_rule():
    return rule(lambda x: jnp.cumsum(x), lambda x, ct: jnp.cumsum(ct[::-1])[::-1] - ct)


@wrong("term missing", uniform(6))
def cumulative_product_of_its_own_entry():
    return rule(lambda x: jnp.cumprod(x), lambda x, ct: ct * jnp.cumprod(x) / x)


@wrong("direction", SIGNAL)
def roll_back_the_same_way():
    return rule(lambda x: jnp.roll(x, 2), lambda x, ct: jnp.roll(ct, 2))


@wrong("kernel not flipped", SIGNAL, KERNEL)
def convolution_back_with_the_same_kernel():
    def backward(x, k, ct):
        return jnp.convolve(ct, k, "full"), jnp.correlate(x, ct, "valid")[::-1]

    return rule(lambda x, k: jnp.convolve(x, k, "valid"), backward)


@wrong("reversed", SIGNAL, KERNEL)
def convolution_kernel_gradient_reversed():
    def backward(x, k, ct):
        return jnp.convolve(ct, k[::-1], "full"), jnp.correlate(x, ct, "valid")

    return rule(lambda x, k: jnp.convolve(x, k, "valid"), backward)


@wrong("average as sum", IMAGE)
def average_pool_not_divided():
    return rule(lambda x: blocks(x).mean(-1), lambda x, ct: spread(ct))


@wrong("every position", IMAGE)
def max_pool_that_sends_to_all():
    return rule(lambda x: blocks(x).max(-1), lambda x, ct: spread(ct))


@wrong("wrong layout", IMAGE)
def pixel_shuffle_back_by_reshape():
    return rule(blocks, lambda x, ct: ct.reshape(4, 6))


@wrong("shift", normal(4, 3))
def difference_whose_rule_shifts_the_wrong_way():
    def backward(x, ct):
        zero = jnp.zeros((1, 3), x.dtype)
        return jnp.concatenate([zero, ct]) + jnp.concatenate([ct, zero])

    return rule(lambda x: x[1:] - x[:-1], backward)


@wrong("sign of the rotation", normal(5, 4))  # the rotary embedding turned the same way
def rotary_embedding_rotated_forward_again():
    def turn(x, s=1.0):
        angle = jnp.arange(5)[:, None] * jnp.array([1.0, 0.1])
        a, b = x[:, :2], x[:, 2:]
        c, s = jnp.cos(angle), s * jnp.sin(angle)
        return jnp.concatenate([a * c - b * s, a * s + b * c], 1)

    return rule(lambda x: turn(x), lambda x, ct: turn(ct))


@wrong("update not zeroed", normal(6), normal(2, seed=3))
def written_entries_still_get_gradient():
    def write(x, u):
        return x.at[jnp.array([1, 4])].set(u)

    return rule(write, lambda x, u, ct: (ct, ct[jnp.array([1, 4])]))


@wrong("padding kept", SIGNAL)
def padding_gradient_from_the_wrong_end():
    return rule(lambda x: jnp.pad(x, (2, 0)), lambda x, ct: ct[:9])


@wrong("border forgotten", SIGNAL)
def reflected_padding_without_the_reflections():
    return rule(lambda x: jnp.pad(x, 2, mode="reflect"), lambda x, ct: ct[2:-2])


@wrong("tile not summed", normal(4))
def tile_takes_the_first_copy():
    return rule(lambda x: jnp.tile(x, 3), lambda x, ct: ct[:4])


@wrong("segment count", normal(6), np.array([0, 0, 1, 1, 1, 2], np.int32))
def segment_mean_as_a_segment_sum():
    def mean(x, ids):
        return jax.ops.segment_sum(x, ids, 3) / jax.ops.segment_sum(jnp.ones_like(x), ids, 3)

    return rule(mean, lambda x, ids, ct: (ct[ids], None))


@right(X, IDS)
def embedding_that_adds_repeated_rows():
    return rule(lambda w, i: w[i], lambda w, i, ct: (jnp.zeros_like(w).at[i].add(ct), None))


@right(X, np.array([4, 1, 0], np.int32))  # set is right here: no row comes twice
def gather_of_distinct_rows_by_overwriting():
    return rule(lambda w, i: w[i], lambda w, i, ct: (jnp.zeros_like(w).at[i].set(ct), None))


@right(normal(7))
def sort_by_its_permutation():
    def backward(x, ct):
        return jnp.zeros_like(x).at[jnp.argsort(x)].set(ct)

    return rule(lambda x: jnp.sort(x), backward)


@right(np.array([3.0, 1.0, 3.0, 2.0]), kinks=True)
def top_two_with_a_tie():
    def backward(x, ct):
        return jnp.zeros_like(x).at[jax.lax.top_k(x, 2)[1]].set(ct)

    return rule(lambda x: jax.lax.top_k(x, 2)[0], backward)


@right(SIGNAL)
def cumulative_sum_backward_in_time():
    return rule(lambda x: jnp.cumsum(x), lambda x, ct: jnp.cumsum(ct[::-1])[::-1])


@right(np.array([2.0, 0.0, 3.0, 1.5]))
def cumulative_product_through_a_zero():
    def backward(x, ct):
        i, j, k = jnp.arange(4)[:, None, None], jnp.arange(4)[None, :, None], jnp.arange(4)[None, None, :]
        factors = jnp.where((k <= i) & (k != j), x[None, None, :], 1.0)
        return jnp.sum(ct[:, None] * jnp.where(j[..., 0] <= i[..., 0], jnp.prod(factors, -1), 0), 0)

    return rule(lambda x: jnp.cumprod(x), backward)


@right(np.array([0.3, 0.1, 0.9, 0.8, 2.0]), kinks=True)
def running_maximum_from_its_indices():
    def indices(x):
        new = x >= jax.lax.cummax(x)
        return jax.lax.cummax(jnp.where(new, jnp.arange(5), -1))

    return rule(lambda x: jax.lax.cummax(x), lambda x, ct: jnp.zeros_like(x).at[indices(x)].add(ct))


@right(SIGNAL, KERNEL)
def convolution_with_its_flipped_kernel():
    def backward(x, k, ct):
        return jnp.correlate(ct, k, "full"), jnp.correlate(x, ct, "valid")[::-1]

    return rule(lambda x, k: jnp.convolve(x, k, "valid"), backward)


@right(np.where(np.arange(24).reshape(4, 6) % 5 == 0, 0.0, IMAGE), kinks=True)
def max_pool_of_the_first_maximum():
    def backward(x, ct):
        at = jax.nn.one_hot(jnp.argmax(blocks(x), -1), 4, dtype=x.dtype)
        return unblocked(at * ct[..., None])

    return rule(lambda x: blocks(x).max(-1), backward)


@right(normal(5, 4))
def rotary_embedding_turned_back():
    def turn(x, s=1.0):
        angle = jnp.arange(5)[:, None] * jnp.array([1.0, 0.1])
        a, b = x[:, :2], x[:, 2:]
        c, s = jnp.cos(angle), s * jnp.sin(angle)
        return jnp.concatenate([a * c - b * s, a * s + b * c], 1)

    return rule(lambda x: turn(x), lambda x, ct: turn(ct, -1.0))


@right(SIGNAL)
def reflected_padding_folded_back():
    def backward(x, ct):
        return ct[2:-2].at[1:3].add(ct[1::-1]).at[-3:-1].add(ct[:-3:-1])

    return rule(lambda x: jnp.pad(x, 2, mode="reflect"), backward)


@right(normal(6), np.array([-1, 0, 1, 1, 7, 2], np.int32))  # ids out of range are dropped both ways
def segment_sum_with_dropped_ids():
    def total(x, ids):
        return jnp.zeros(3, x.dtype).at[jnp.where(ids < 0, 9, ids)].add(x, mode="drop")

    def backward(x, ids, ct):
        return jnp.where((ids >= 0) & (ids < 3), ct[jnp.clip(ids, 0, 2)], 0), None

    return rule(total, backward)


@right(np.array([0.2, 1.7, 2.4]), normal(4, seed=4))
def linear_interpolation_in_a_table():
    def look(x, table):
        low = jnp.floor(x).astype(int)
        return table[low] + (x - low) * (table[low + 1] - table[low])

    def backward(x, table, ct):
        low = jnp.floor(x).astype(int)
        at = jnp.zeros_like(table).at[low].add(ct * (1 - (x - low))).at[low + 1].add(ct * (x - low))
        return ct * (table[low + 1] - table[low]), at

    return rule(look, backward)


@right(normal(6), np.array([1, 0, 1, 1, 0, 0], np.int32))
def dropout_with_a_mask_that_is_given():
    return rule(lambda x, keep: 2.0 * x * keep, lambda x, keep, ct: (2.0 * ct * keep, None))
