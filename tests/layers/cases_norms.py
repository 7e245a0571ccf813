"""Norms, each against the formula written with NumPy's own mean and variance."""

import jax.numpy as jnp
import numpy as np

import jaxbp
from tests.layers.case import Case, on


def standard(f, axes, eps):
    """(f - mean) / standard deviation over these axes."""
    mean, var = f.mean(axes, keepdims=True), f.var(axes, keepdims=True)
    return (f - jnp.broadcast_to(mean, f.shape)) / jnp.broadcast_to(jnp.sqrt(var + eps), f.shape)


def scaled(params, h):
    out = h * on(h, params["g"])
    return out + on(out, params["b"]) if "b" in params else out


def layer_norm(params, f):
    return scaled(params, standard(f, (-1,), 1e-5))


def rms_norm(params, f):
    return scaled(params, f / jnp.broadcast_to(jnp.sqrt((f**2).mean(-1, keepdims=True) + 1e-6), f.shape))


def group_norm(groups, places):
    def plain(params, f):
        split = f.reshape(*f.shape[:-1], groups, -1)
        axes = (*range(-places - 2, -2), -1)
        return scaled(params, standard(split, axes, 1e-5).reshape(f.shape))

    return plain


def batch_norm(params, f, training=True):
    return scaled(params, standard(f, tuple(range(f.ndim - 1)), 1e-5))


def evaluated(params, f, state):
    mean, r = on(f, state["mean"]), on(f, 1 / jnp.sqrt(state["var"] + 1e-5))
    return scaled(params, (f - mean) * r)


def state_of(d):
    def given(n, dtype):
        rng = np.random.default_rng(4)
        mean, var = jnp.asarray(rng.normal(size=d), dtype), jnp.asarray(rng.uniform(0.5, 2, d), dtype)
        return {"state": {"mean": mean, "var": var, "weight": jnp.asarray(0.5, dtype)}}

    return given


NORMS = {
    "layer_norm": Case(jaxbp.layer_norm(5), (5,), layer_norm),
    "layer_norm at 3 positions": Case(jaxbp.layer_norm(4), (3, 4), layer_norm),
    "layer_norm without b": Case(jaxbp.layer_norm(5, bias=False), (5,), layer_norm),
    "rms_norm": Case(jaxbp.rms_norm(5), (2, 5), rms_norm),
    "group_norm": Case(jaxbp.group_norm(6, 3), (2, 3, 6), group_norm(3, 2)),
    "group_norm of series": Case(jaxbp.group_norm(4, 2, places=1), (3, 4), group_norm(2, 1)),
    "group_norm, each channel": Case(jaxbp.group_norm(2, 2), (2, 2, 2), group_norm(2, 2)),
    "batch_norm in training": Case(jaxbp.batch_norm(3), (2, 2, 3), batch_norm, couples=True),
    "batch_norm in training, told so": Case(
        jaxbp.batch_norm(3), (3,), batch_norm, given=lambda n, dtype: {"training": True}, couples=True
    ),
    "batch_norm in evaluation": Case(jaxbp.batch_norm(3), (2, 2, 3), evaluated, given=state_of(3)),
}
