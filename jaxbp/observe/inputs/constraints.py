"""Where an input may lie: within a box and a ball, some of its entries held; and how rough an image is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbp.typing import Array, Scalar

HALVINGS = 54  # of [0, 1], until the bits of a float64 are used up


class Box(NamedTuple):
    """Inputs x with low <= x <= high, entry by entry: arrays of x's shape, or of one entry."""

    low: Array
    high: Array


class Ball(NamedTuple):
    """Inputs x with |x_n - center_n|_2 <= radius for each example n.

    Args:
        center: (N, ...).
        radius: a number.
    """

    center: Array
    radius: Scalar | float


def nearest(x: Array, box: Box, ball: Ball | None = None) -> Array:
    """The point of the box, and of the ball if there is one, that is nearest to x, for each example.

    Of both it is the point clip(center + t (x - center)) of the largest t in [0, 1] that lies in the ball:
    so say the conditions of Karush, Kuhn and Tucker, with t = 1 / (1 + lambda). Its distance to the center
    never falls as t grows, and t is found by halving.

    Args:
        x: (N, ...).
        box: not empty.
        ball: one that meets the box.

    Example: a ball of radius 1 about 0, then the same without what lies above 0.5.
        >>> x, free = jnp.array([[3.0, 4.0]]), Box(jnp.array(-jnp.inf), jnp.array(jnp.inf))
        >>> ball = Ball(jnp.zeros((1, 2)), 1.0)
        >>> nearest(x, free, ball).round(3).tolist()
        [[0.6..., 0.8...]]
        >>> nearest(x, free._replace(high=jnp.array(0.5)), ball).tolist()
        [[0.5, 0.5]]
    """
    if ball is None:
        return jnp.clip(x, box.low, box.high)
    center, radius = ball

    def point(t: Array) -> Array:
        return jnp.clip(center + t * (x - center), box.low, box.high)

    def halved(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        inner, outer = ends
        middle = (inner + outer) / 2
        fits = norms(point(middle) - center) <= radius
        return jnp.where(fits, middle, inner), jnp.where(fits, outer, middle)

    zero = jnp.zeros_like(norms(x))
    inner, _ = jax.lax.fori_loop(0, HALVINGS, halved, (zero, zero + 1))
    whole = jnp.clip(x, box.low, box.high)
    return jnp.where(norms(whole - center) <= radius, whole, point(inner))


def norms(x: Array) -> Array:
    """|x_n|_2 of each example, with axes of length 1 in the place of its own: (N, 1, ...)."""
    return jnp.sqrt(jnp.sum(x**2, axis=tuple(range(1, x.ndim)), keepdims=True))


def total_variation(x: Array, image: tuple[int, ...]) -> Array:
    """The sum of |differences| of neighbors in each image, down and across, (N,).

    Args:
        x: (N, ...).
        image: the shape of an example as an image: (H, W), (H, W, channels), or (length,) of a signal.

    Example: 0 1 above 2 2.
        >>> total_variation(jnp.array([[0.0, 1.0, 2.0, 2.0]]), (2, 2))
        Array([4.], dtype=float32)
    """
    x = x.reshape(len(x), *image)
    axes = range(1, 1 + min(len(image), 2))
    return sum((jnp.abs(jnp.diff(x, axis=k)).reshape(len(x), -1).sum(1) for k in axes), jnp.zeros(len(x)))
