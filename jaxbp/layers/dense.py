"""The dense layer, a = W f + b, and flatten, which shapes images for it."""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxbp import errors
from jaxbp.layers.initializers import Initializer, glorot_uniform, zeros
from jaxbp.layers.layer import Layer, assert_params
from jaxbp.operators import Dense, Identity, Kronecker, Operator
from jaxbp.typing import Array, Params, Random, Rows, Saved, Tensor


def dense(
    d_in: int,
    d_out: int,
    *,
    bias: bool = True,
    init: Initializer = glorot_uniform,
    bias_init: Initializer = zeros,
) -> Layer:
    """a = W f + b, with parameters ``{"W": (d_out, d_in), "b": (d_out,)}``.

    On rows this is f W^T + b; backward, delta_W = delta_a^T f and delta_b = delta_a, both summed over
    the leading axes, and delta_f = delta_a W. Saves f. It computes in the dtype of f; delta_W and delta_b
    are summed in the dtype of W and b, see `mixed_precision`.

    Args:
        d_in: the size of f.
        d_out: the size of a.
        bias: without it there is no b.
        init: the initialiser of W, see `jaxbp.layers.initializers`. The default suits sigmoid and tanh;
            `mlp` chooses by its activation.
        bias_init: the initialiser of b.

    Returns:
        A layer from (*n, d_in) to (*n, d_out).

    Raises:
        ValueError: when applied to f or W of another size.
        TypeError: when applied to integers.

    Example:
        >>> layer = dense(2, 3)
        >>> params = {"W": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "b": jnp.array([0.0, 0.0, 1.0])}
        >>> a, saved = layer.forward(params, jnp.array([1.0, 3.0]))
        >>> a
        Array([ 7., 15., 24.], dtype=float32)
        >>> delta_params, delta_f = layer.backward(params, saved, jnp.array([1.0, 0.0, 0.0]))
        >>> delta_params["W"]
        Array([[1., 3.],
               [0., 0.],
               [0., 0.]], dtype=float32)
        >>> delta_f
        Array([1., 2.], dtype=float32)

    Source: the lecture, steps 1 and 4: a_l = W_l f_{l-1}, delta_{W_l} = delta_{a_l}^T f_{l-1}^T,
    delta_{f_{l-1}} = delta_{a_l} W_l.
    """
    name = f"dense({d_in}, {d_out})"
    if d_in < 1 or d_out < 1:
        raise ValueError(errors.message(name, "sizes of at least 1", f"d_in = {d_in}, d_out = {d_out}"))

    def initialise(key: Random) -> Params:
        key_W, key_b = jax.random.split(key)
        params = {"W": init(key_W, (d_out, d_in))}
        return params | {"b": bias_init(key_b, (d_out,))} if bias else params

    def apply(params: Params, f: Rows, *, key: Random | None = None) -> Rows:
        assert_params(name, params, ("W", "b") if bias else ("W",))
        if jnp.shape(params["W"]) != (d_out, d_in):
            raise ValueError(
                errors.message(
                    name,
                    f"W of shape ({d_out}, {d_in})",
                    f"{jnp.shape(params['W'])}",
                    "was it made by another network's init?",
                )
            )
        if not jnp.issubdtype(f.dtype, jnp.floating):
            raise TypeError(
                errors.message(name, "floating-point f", f"{f.dtype}", "scale the data, x / 255 for bytes")
            )
        if f.shape[-1:] != (d_in,):
            raise ValueError(
                errors.message(
                    name,
                    f"f with last axis {d_in}",
                    f"shape {f.shape}",
                    "check the sizes of the layer before",
                )
            )
        a = _product(f, params["W"].astype(f.dtype))
        return a + jnp.broadcast_to(params["b"].astype(f.dtype), a.shape) if bias else a

    def forward(params: Params, f: Rows, *, key: Random | None = None) -> tuple[Rows, Saved]:
        return apply(params, f), f

    def backward(params: Params, saved: Saved, delta_a: Rows) -> tuple[Params, Rows]:
        f, W = saved, params["W"]
        delta_params = {"W": _outer(delta_a.reshape(-1, d_out), f.reshape(-1, d_in), W.dtype)}
        if bias:
            delta_params["b"] = delta_a.sum(range(f.ndim - 1), dtype=params["b"].dtype)
        return delta_params, delta_a @ W.astype(delta_a.dtype)

    def jacobian(params: Params, f: Rows) -> Operator:
        W = Dense(params["W"])
        return W if f.ndim == 1 else Kronecker(Identity(f.size // d_in), W)  # one W for every row

    return Layer(name, apply, forward, backward, initialise, jacobian, saves_input=True)


_FEW = 16  # rows: so few that W is what is moved
_SMALL = 2**15  # entries of W


def _product(f: Rows, W: Array) -> Rows:
    """f W^T.

    For a few rows W is the left factor, and stays it behind the barrier: XLA would put f there. Under vmap
    many W are then one tall matrix as they lie, where the right factor is written out anew, transposed.
    """
    if f.size > _FEW * f.shape[-1]:
        return f @ W.T
    columns = jax.lax.optimization_barrier(jnp.inner(W, f))  # type: ignore[no-untyped-call]
    return jnp.moveaxis(columns, 0, -1)


def _outer(delta_a: Rows, f: Rows, dtype: DTypeLike) -> Array:
    """delta_a^T f over the rows, summed in ``dtype``.

    For small ones the transpose is written out first: XLA's fast product on CPUs takes no transposed left
    factor, and falls back to one that costs up to a microsecond more, an eighth of an iteration of a
    784-30-10 network. For a large W the other one is faster.
    """
    columns = delta_a.T
    if f.shape[0] <= 2 * _FEW and columns.shape[0] * f.shape[1] <= _SMALL:
        columns = jax.lax.optimization_barrier(columns)  # type: ignore[no-untyped-call]
    return jnp.matmul(columns, f, preferred_element_type=dtype)


def flatten(*shape: int) -> Layer:
    """f of shape (*n, *shape) as rows (*n, d), d the product of the shape; its Jacobian is the identity.

    Args:
        shape: the axes of one example, so that the leading axes stay free.

    Raises:
        ValueError: when applied to f whose last axes are not ``shape``.

    Example:
        >>> flatten(8, 8).apply({}, jnp.ones((32, 8, 8))).shape
        (32, 64)
    """
    name = f"flatten({', '.join(map(str, shape))})"
    d = math.prod(shape)

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Rows:
        n = f.ndim - len(shape)
        if n < 0 or f.shape[n:] != shape:
            raise ValueError(errors.message(name, f"f with last axes {shape}", f"shape {f.shape}"))
        return f.reshape(*f.shape[:n], d)

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Rows, Saved]:
        return apply(params, f), ()

    def backward(params: Params, saved: Saved, delta_out: Rows) -> tuple[Params, Array]:
        return {}, delta_out.reshape(*delta_out.shape[:-1], *shape)

    return Layer(name, apply, forward, backward, jacobian=lambda params, f: Identity(f.size))
