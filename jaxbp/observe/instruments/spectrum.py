"""The singular values of a Jacobian, where it is small enough to be formed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.typing import Array

WHERE = "singular_values"
MOST = 2**20  # entries of a Jacobian that is formed


def singular_values(g: Callable[..., Array], x: Array, *args: Any) -> np.ndarray:
    """The singular values of J_g(x), d g(x, ...) / d x as a matrix of output by input entries, largest first.

    Values far from 1 say how much g stretches and shrinks; their spread, how well its deltas come through.

    Args:
        g: a function of a floating array, and of args, that gives one; of any shapes.
        x: where.
        args: what g takes besides, such as parameters. A call with arguments of the same shapes is compiled.

    Raises:
        TypeError: where x or g(x) is no floating array.
        ValueError: where the Jacobian has more than 2^20 entries, or none, or one that is not finite.

    Example:
        >>> singular_values(lambda x: jnp.array([3 * x[0], 4 * x[1]]), jnp.ones(2))
        array([4., 3.], dtype=float32)

    Source: Saxe et al. 2014, arXiv 1312.6120; Pennington et al. 2017, arXiv 1711.04735
    """
    arguments.function(WHERE, "g", g, positional=1 + len(args))
    x = arguments.as_floats(WHERE, "x", arguments.array(WHERE, "x", x))
    if not x.size:
        raise ValueError(message(WHERE, "x with entries", f"shape {x.shape}"))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    out = jax.eval_shape(partial(_array, g), x, *args)
    if (entries := out.size * x.size) > MOST:
        got = f"{out.shape} by {x.shape}, {entries}"
        raise ValueError(message(WHERE, f"a Jacobian of at most {MOST} entries", got, "give a smaller part"))
    matrix = np.asarray(_jacobian(g, out.size <= x.size, x, *args)).reshape(out.size, x.size)
    if not np.isfinite(matrix).all():
        hint = "jaxbp.first_nonfinite says where it comes from"
        raise ValueError(message(WHERE, "a finite Jacobian", "one with NaN or infinity", hint))
    return np.linalg.svd(matrix.astype(np.promote_types(matrix.dtype, np.float32)), compute_uv=False)


def _array(g: Callable[..., Array], *args: Any) -> Array:
    """G's result.

    Raises:
        TypeError: where that is no floating array.
    """
    out = g(*args)
    if not hasattr(out, "dtype") or not jnp.issubdtype(out.dtype, jnp.floating):
        raise TypeError(message(WHERE, "g(x) to be a floating array", arguments.described(out)))
    return out


@partial(jax.jit, static_argnums=(0, 1))
def _jacobian(g: Callable[..., Array], backwards: bool, x: Array, *args: Any) -> Array:
    """By rows or by columns: the fewer there are, the fewer passes."""
    jacobian: Any = jax.jacrev if backwards else jax.jacfwd
    return jacobian(g)(x, *args)
