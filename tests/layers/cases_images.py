"""Layers of images and series, each against the same map from XLA or written out."""

import jax
import jax.numpy as jnp
from jax import lax

import jaxbp
from tests.layers.case import Case, on


def conv(rank, **options):
    """XLA's convolution in its own layout, channels first."""

    def plain(params, f):
        W = params["W"]
        images = jnp.moveaxis(f.reshape(-1, *f.shape[-rank - 1 :]), -1, 1)
        a = lax.conv_general_dilated(
            images, W, **({"window_strides": (1,) * rank, "padding": "VALID"} | options)
        )
        a = jnp.moveaxis(a, 1, -1)
        a = a.reshape(*f.shape[: -rank - 1], *a.shape[1:])
        return a + on(a, params["b"]) if "b" in params else a

    return plain


def depthwise(rank, **options):
    def plain(params, f):
        W = params["W"][:, None]
        return conv(rank, feature_group_count=len(W), **options)(params | {"W": W}, f)

    return plain


def windows(f, k):
    """Each window of k x k places as an axis of its own, the last but one."""
    *n, H, W, c = f.shape
    parts = jnp.moveaxis(f.reshape(*n, H // k, k, W // k, k, c), -4, -3)
    return parts.reshape(*n, H // k, W // k, k * k, c)


def largest(f, k, s, pad):
    """The largest of overlapping windows of an image, place by place."""
    f = jnp.pad(f, [(0, 0)] * (f.ndim - 3) + [(pad, pad)] * 2 + [(0, 0)], constant_values=-jnp.inf)
    H, W = ((size - k) // s + 1 for size in f.shape[-3:-1])
    rows = [
        jnp.stack([f[..., s * i : s * i + k, s * j : s * j + k, :].max((-3, -2)) for j in range(W)], axis=-2)
        for i in range(H)
    ]
    return jnp.stack(rows, axis=-3)


def squeezed(params, f):
    mean = f.mean((-3, -2))
    z = mean @ params[1]["W"].T
    z = jax.nn.relu(z + on(z, params[1]["b"])) @ params[2]["W"].T
    return jax.nn.sigmoid(z + on(z, params[2]["b"]))[..., None, None, :] * f


IMAGES = {
    "conv2d": Case(jaxbp.conv2d(2, 3, 3), (5, 6, 2), conv(2)),
    "conv2d, SAME": Case(jaxbp.conv2d(2, 3, 3, padding="SAME"), (5, 4, 2), conv(2, padding="SAME")),
    "conv2d, SAME and strides": Case(
        jaxbp.conv2d(2, 3, 3, stride=2, padding="SAME"),
        (6, 5, 2),
        conv(2, window_strides=(2, 2), padding="SAME"),
    ),
    "conv2d, strides that leave places out": Case(
        jaxbp.conv2d(2, 3, (2, 3), stride=(3, 2), bias=False), (7, 8, 2), conv(2, window_strides=(3, 2))
    ),
    "conv2d, pads and dilation": Case(
        jaxbp.conv2d(1, 2, 3, padding=((1, 2), (0, 3)), dilation=(2, 1), stride=2),
        (6, 5, 1),
        conv(2, padding=[(1, 2), (0, 3)], rhs_dilation=(2, 1), window_strides=(2, 2)),
    ),
    "conv2d, groups": Case(
        jaxbp.conv2d(4, 6, 3, groups=2, padding=1, stride=2),
        (5, 5, 4),
        conv(2, feature_group_count=2, padding=[(1, 1)] * 2, window_strides=(2, 2)),
    ),
    "conv2d, late": Case(jaxbp.conv2d(5, 6, 3, padding=1), (2, 2, 5), conv(2, padding=[(1, 1)] * 2)),
    "conv2d, one place": Case(jaxbp.conv2d(3, 2, 1), (2, 3, 3), conv(2)),
    "conv1d": Case(
        jaxbp.conv1d(2, 3, 3, padding="SAME", dilation=2), (7, 2), conv(1, padding="SAME", rhs_dilation=(2,))
    ),
    "conv1d, groups": Case(
        jaxbp.conv1d(4, 4, 2, groups=2, stride=2, bias=False),
        (6, 4),
        conv(1, feature_group_count=2, window_strides=(2,)),
    ),
    "depthwise2d": Case(jaxbp.depthwise2d(3, 3, padding="SAME"), (4, 5, 3), depthwise(2, padding="SAME")),
    "depthwise2d, strides": Case(
        jaxbp.depthwise2d(2, (3, 2), stride=2, padding=((1, 1), (0, 2)), dilation=2, bias=False),
        (6, 7, 2),
        depthwise(2, window_strides=(2, 2), padding=[(1, 1), (0, 2)], rhs_dilation=(2, 2)),
    ),
    "depthwise1d": Case(jaxbp.depthwise1d(3, 4), (6, 3), depthwise(1)),
    "max_pool2d": Case(jaxbp.max_pool2d(2), (4, 6, 2), lambda params, f: windows(f, 2).max(-2)),
    "max_pool2d, overlap": Case(
        jaxbp.max_pool2d(3, stride=2, padding=1), (5, 6, 2), lambda params, f: largest(f, 3, 2, 1)
    ),
    "max_pool2d, SAME": Case(
        jaxbp.max_pool2d(2, padding="SAME"),
        (4, 2, 2),
        lambda params, f: windows(f, 2).max(-2),
    ),
    "max_pool1d": Case(
        jaxbp.max_pool1d(3), (6, 2), lambda params, f: f.reshape(*f.shape[:-2], 2, 3, 2).max(-2)
    ),
    "avg_pool2d": Case(jaxbp.avg_pool2d(2), (4, 6, 2), lambda params, f: windows(f, 2).mean(-2)),
    "avg_pool2d, overlap": Case(
        jaxbp.avg_pool2d((1, 2), stride=1),
        (2, 5, 2),
        lambda params, f: (f[..., 1:, :] + f[..., :-1, :]) / 2,
    ),
    "avg_pool1d": Case(
        jaxbp.avg_pool1d(2), (6, 2), lambda params, f: f.reshape(*f.shape[:-2], 3, 2, 2).mean(-2)
    ),
    "global_avg_pool": Case(jaxbp.global_avg_pool(), (3, 4, 2), lambda params, f: f.mean((-3, -2))),
    "squeeze_scale": Case(jaxbp.squeeze_scale(3, 2), (2, 4, 3), squeezed),
}
