"""Attention and norms: many terms, several arguments, a mask, and heads that share their keys."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.verify.blind.case import Case, into, normal, rule, uniform

CASES: dict[str, Case] = {}
right, wrong = into(CASES)
X, W, B = normal(4, 6), uniform(6), normal(6, seed=2)
Q, K, VALUES = normal(5, 3), normal(5, 3, seed=1), normal(5, 3, seed=2)


def attend(q, k, v, mask=None):
    s = q @ k.T / np.sqrt(3)
    return jax.nn.softmax(s if mask is None else jnp.where(mask, s, -jnp.inf)) @ v


def attended(q, k, v, ct, mask=None, drop=True):
    s = q @ k.T / np.sqrt(3)
    p = jax.nn.softmax(s if mask is None else jnp.where(mask, s, -jnp.inf))
    dp = ct @ v.T
    ds = p * (dp - jnp.sum(dp * p, -1, keepdims=True) * drop)
    return ds, p


def rms(x, w):
    return x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * w


def normalized(x):
    mean, var = jnp.mean(x, -1, keepdims=True), jnp.var(x, -1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5), jnp.sqrt(var + 1e-5)


@wrong("scale missing", Q, K, VALUES)
def attention_without_the_scale_in_the_rule():
    def backward(q, k, v, ct):
        ds, p = attended(q, k, v, ct)
        return ds @ k, ds.T @ q, p.T @ ct

    return rule(lambda q, k, v: attend(q, k, v), backward)


@wrong("softmax term missing", Q, K, VALUES)  # flash-attention #2481: delta lost
def attention_without_delta():
    def backward(q, k, v, ct):
        ds, p = attended(q, k, v, ct, drop=False)
        return ds @ k / np.sqrt(3), ds.T @ q / np.sqrt(3), p.T @ ct

    return rule(lambda q, k, v: attend(q, k, v), backward)


@wrong("mask forgotten", Q, K, VALUES)
def causal_attention_with_a_full_rule():
    mask = np.tril(np.ones((5, 5), bool))

    def backward(q, k, v, ct):
        ds, p = attended(q, k, v, ct)
        return ds @ k / np.sqrt(3), ds.T @ q / np.sqrt(3), p.T @ ct

    return rule(lambda q, k, v: attend(q, k, v, mask), backward)


@wrong("sum over the group missing", normal(4, 5, 3), normal(2, 5, 3, seed=1))  # levanter #449
def grouped_query_keys_get_one_head_only():
    def scores(q, k):
        return jnp.einsum("hqd,hkd->hqk", q, jnp.repeat(k, 2, 0))

    def backward(q, k, ct):
        dq = jnp.einsum("hqk,hkd->hqd", ct, jnp.repeat(k, 2, 0))
        return dq, jnp.einsum("hqk,hqd->hkd", ct, q)[::2]

    return rule(scores, backward)


@wrong("heads in another order", normal(4, 5, 3), normal(2, 5, 3, seed=1))  # native-sparse-attention #27
def grouped_query_heads_split_by_the_wrong_number():
    def scores(q, k):
        return jnp.einsum("hqd,hkd->hqk", q, jnp.repeat(k, 2, 0))

    def backward(q, k, ct):
        dq = jnp.einsum("hqk,hkd->hqd", ct, jnp.repeat(k, 2, 0))
        return dq, jnp.einsum("hqk,hqd->hkd", ct, q).reshape(2, 2, 5, 3).sum(0)

    return rule(scores, backward)


@wrong("sum over the batch missing", X, W)
def rms_weight_of_the_last_row():
    def backward(x, w, ct):
        r = jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)
        dx = ct * w / r - x * jnp.mean(ct * w * x, -1, keepdims=True) / r**3
        return dx, (ct * x / r)[-1]

    return rule(rms, backward)


@wrong("statistics held constant", X, W)
def rms_norm_with_a_constant_scale():
    def backward(x, w, ct):
        r = jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)
        return ct * w / r, jnp.sum(ct * x / r, 0)

    return rule(rms, backward)


@wrong("mean term missing", X, W, B)  # FlagGems #59 and kin
def layer_norm_without_the_mean_of_the_cotangent():
    def backward(x, w, b, ct):
        y, s = normalized(x)
        d = ct * w
        return (d - y * jnp.mean(d * y, -1, keepdims=True)) / s, jnp.sum(ct * y, 0), jnp.sum(ct, 0)

    return rule(lambda x, w, b: normalized(x)[0] * w + b, backward)


@wrong("reduced too far", X, W, B)  # FlagGems #59: one sum over the whole block instead of one a row
def layer_norm_reduced_over_all_rows():
    def backward(x, w, b, ct):
        y, s = normalized(x)
        d = ct * w
        return (d - jnp.mean(d) - y * jnp.mean(d * y)) / s, jnp.sum(ct * y, 0), jnp.sum(ct, 0)

    return rule(lambda x, w, b: normalized(x)[0] * w + b, backward)


@wrong("weight applied late", X, W, B)
def layer_norm_weight_outside_the_projection():
    def backward(x, w, b, ct):
        y, s = normalized(x)
        dx = (ct - jnp.mean(ct, -1, keepdims=True) - y * jnp.mean(ct * y, -1, keepdims=True)) / s
        return dx * w, jnp.sum(ct * y, 0), jnp.sum(ct, 0)

    return rule(lambda x, w, b: normalized(x)[0] * w + b, backward)


@right(Q, K, VALUES)
def attention_in_the_manner_of_flash():
    @jax.custom_vjp
    def flash(q, k, v):
        return attend(q, k, v)

    def forward(q, k, v):
        s = q @ k.T / np.sqrt(3)
        total = jax.nn.logsumexp(s, -1)
        out = jnp.exp(s - total[:, None]) @ v
        return attend(q, k, v), (q, k, v, out, total)

    def backward(saved, ct):
        q, k, v, out, total = saved
        p = jnp.exp(q @ k.T / np.sqrt(3) - total[:, None])
        ds = p * (ct @ v.T - jnp.sum(ct * out, -1, keepdims=True)) / np.sqrt(3)
        return ds @ k, ds.T @ q, p.T @ ct

    flash.defvjp(forward, backward)
    return flash


@right(Q, K, VALUES)
def causal_attention_with_exact_zeros():
    mask = np.tril(np.ones((5, 5), bool))

    def backward(q, k, v, ct):
        ds, p = attended(q, k, v, ct, mask)
        return ds @ k / np.sqrt(3), ds.T @ q / np.sqrt(3), p.T @ ct

    return rule(lambda q, k, v: attend(q, k, v, mask), backward)


@right(X, W)
def rms_norm_from_its_saved_scale():
    @jax.custom_vjp
    def norm(x, w):
        return rms(x, w)

    def forward(x, w):
        scale = jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)
        return x * scale * w, (x * scale, scale, w)

    def backward(saved, ct):
        y, scale, w = saved
        d = ct * w
        return scale * (d - y * jnp.mean(d * y, -1, keepdims=True)), jnp.einsum("ij,ij->j", ct, y)

    norm.defvjp(forward, backward)
    return norm


@right(X, W, B)
def layer_norm_with_the_right_three_terms():
    def backward(x, w, b, ct):
        y, s = normalized(x)
        d = ct * w
        dx = (d - jnp.mean(d, -1, keepdims=True) - y * jnp.mean(d * y, -1, keepdims=True)) / s
        return dx, jnp.sum(ct * y, 0), jnp.sum(ct, 0)

    return rule(lambda x, w, b: normalized(x)[0] * w + b, backward)
