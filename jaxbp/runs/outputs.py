"""What a network says of many examples, in parts that fit in memory."""

import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.arguments.search import find
from jaxbp.errors import message
from jaxbp.layers import Layer
from jaxbp.typing import Params

_EXAMPLES = 4096  # of a part, at most
_BYTES = 2**26  # of a part, at most


def shape_of_example(network: Layer) -> tuple[int, ...] | None:
    """The shape of what comes into a network, where its first layer says so."""
    if network.recipe is None:
        return None
    match network.recipe.maker, network.recipe.arguments:
        case "dense", {"d_in": d_in}:
            return (int(d_in),)
        case "flatten", {"shape": shape}:
            return tuple(map(int, shape))
        case "chain", {"parts": [first, *_]} if isinstance(first, Layer):
            return shape_of_example(first)
        case ("residual", {"branch": first}) | ("mixed_precision", {"layer": first}):
            return shape_of_example(first)
    return None


def dtype_of(params: Params) -> np.dtype:
    """What examples are computed in: float32, or float64 where a parameter is."""
    return np.dtype(jnp.result_type(np.float32, *jax.tree.leaves(params)))


def outputs(
    apply: Callable[[Params, Any], Any],
    params: Params,
    x: np.ndarray,
    shape: tuple[int, ...],
    preprocess: Callable[[Any], Any] | None,
    where: str,
) -> np.ndarray:
    """f (*n, ...) of x (*n, *shape), part by part.

    Raises:
        TypeError: for examples that are no real numbers, and bytes that nothing scales.
        ValueError: for examples of another shape, numbers that are not finite, and an f that is NaN.
    """
    x = _as_rows(x, *shape) if len(shape) == 1 and x.ndim else x
    axes = x.ndim - len(shape)
    if axes < 0 or x.shape[axes:] != shape:
        got = f"x of shape {x.shape}"
        reshaped = x.ndim and math.prod(x.shape[1:]) == math.prod(shape)
        hint = f"x.reshape(-1, {', '.join(map(str, shape))})" if reshaped else ""
        raise ValueError(message(where, f"examples of shape {shape}", got, hint))
    _assert_numbers(x, preprocess is None, where)
    leading = x.shape[:axes]
    rows = x.reshape(-1, *shape) if axes != 1 else x
    size = max(1, min(_EXAMPLES, _BYTES // max(1, rows[:1].nbytes)))
    dtype = dtype_of(params)

    def part(start: int) -> np.ndarray:
        some = rows[start : start + size]
        if preprocess is not None:
            made = arguments.array(where, "preprocess(x)", preprocess(some), host=True)
            if made.shape[:1] != some.shape[:1]:
                got = f"shape {made.shape} for x of shape {some.shape}"
                raise ValueError(message(where, "preprocess to return a row for each example", got))
            some = made
        return np.asarray(apply(params, jnp.asarray(some, dtype)))

    # No example at all is one empty part.
    f = np.concatenate([part(start) for start in range(0, max(1, len(rows)), size)])
    if f.dtype.kind == "f" and f.size and (bad := find(f, np.isnan)):
        hint = "did the training diverge?"
        raise ValueError(message(where, "numbers from the network", f"NaN for example {bad.first[0]}", hint))
    return f.reshape(*leading, *f.shape[1:])


def _as_rows(x: np.ndarray, d: int) -> np.ndarray:
    """Images as the rows of d numbers that they are for the network."""
    sizes = itertools.accumulate(reversed(x.shape), operator.mul)
    axes = next((k for k, size in enumerate(sizes, 1) if size == d), 1)
    return x.reshape(*x.shape[: x.ndim - axes], d) if axes > 1 else x


def _assert_numbers(x: np.ndarray, plain: bool, where: str) -> None:
    """Real and finite numbers; bytes only where something scales them."""
    if x.dtype.kind not in "biuf" and not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(message(where, "real numbers in x", arguments.described(x)))
    if plain and x.dtype == np.uint8:
        hint = "scale them as for the training, x / 255, or keep the run with preprocess=Pixels(255)"
        raise TypeError(message(where, "floats in x", arguments.described(x), hint))
    if x.dtype.kind == "f" and x.size and (bad := find(x, lambda rows: ~np.isfinite(rows))):
        got = f"{x[bad.first]!s} at x[{bad.place}]; {bad.number} such"
        raise ValueError(message(where, "finite numbers in x", got))
