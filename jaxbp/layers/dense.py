"""The dense layer, a = W f + b, and flatten, which shapes images for it."""

import math
import os

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxbp import arguments, errors, recipes
from jaxbp.layers.blocks import Block, Outer, Summed
from jaxbp.layers.initializers import Initializer, glorot_uniform, zeros
from jaxbp.layers.layer import Layer, arrays_of, rows
from jaxbp.operators import Dense, Identity, Kronecker, Operator
from jaxbp.typing import Array, Params, Random, Rows, Saved, Tensor


@recipes.own("dense")
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
        init: the initializer of W, see `jaxbp.layers.initializers`. The default suits sigmoid and tanh;
            `mlp` chooses by its activation.
        bias_init: the initializer of b.

    Returns:
        A layer from (*n, d_in) to (*n, d_out).

    Raises:
        ValueError: for sizes that no machine holds; when applied to f, W or b of another shape.
        TypeError: for sizes that are no whole numbers; when applied to integers.

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
    d_in, d_out = (arguments.whole(name, n, d, low=1) for n, d in (("d_in", d_in), ("d_out", d_out)))
    bias = arguments.flag(name, "bias", bias)
    for role, initializer in (("init", init), ("bias_init", bias_init)):
        arguments.function(name, role, initializer, positional=2)
    assert_size(name, "W", (d_out, d_in))
    shapes = {"W": (d_out, d_in), "b": (d_out,)} if bias else {"W": (d_out, d_in)}

    def initialize(key: Random) -> Params:
        key = arguments.key(f"{name}.init", key)
        if not isinstance(key, jax.core.Tracer):  # else only shapes are asked for, or many devices share W
            assert_size(name, "W", (d_out, d_in), _memory())
        key_W, key_b = jax.random.split(key)
        params = {"W": init(key_W, (d_out, d_in))}
        return taken(params | {"b": bias_init(key_b, (d_out,))} if bias else params)

    def taken(params: Params) -> dict[str, Array]:
        return arrays_of(name, params, shapes)

    def sized(f: Rows, symbol: str, size: int) -> Rows:
        f = arguments.array(name, symbol, f, floats=True)
        if f.shape[-1:] != (size,):
            many = math.prod(f.shape[1:]) == size
            hint = "put flatten before it, or reshape" if many else "check the sizes of the layer before"
            raise ValueError(
                errors.message(name, f"{symbol} with last axis {size}", f"shape {f.shape}", hint)
            )
        return f

    def apply(params: Params, f: Rows, *, key: Random | None = None) -> Rows:
        params, f = taken(params), sized(f, "f", d_in)
        a = _product(f, params["W"].astype(f.dtype))
        return a + jnp.broadcast_to(params["b"].astype(f.dtype), a.shape) if bias else a

    def forward(params: Params, f: Rows, *, key: Random | None = None) -> tuple[Rows, Saved]:
        f = sized(f, "f", d_in)
        return apply(params, f), f

    def backward(params: Params, saved: Saved, delta_a: Rows) -> tuple[Params, Rows]:
        params, f, delta_a = taken(params), sized(saved, "f", d_in), sized(delta_a, "delta_a", d_out)
        if delta_a.shape[:-1] != f.shape[:-1]:
            expected = f"delta_a of shape {(*f.shape[:-1], d_out)}, for f is {f.shape}"
            raise ValueError(errors.message(name, expected, f"{delta_a.shape}"))
        W = params["W"]
        delta_params = {"W": _outer(delta_a.reshape(-1, d_out), f.reshape(-1, d_in), W.dtype)}
        if bias:
            delta_params["b"] = delta_a.sum(range(f.ndim - 1), dtype=params["b"].dtype)
        return delta_params, delta_a @ W.astype(delta_a.dtype)

    def factors(params: Params, saved: Saved, delta_a: Rows) -> tuple[dict[str, Block], Rows]:
        delta_rows = delta_a.reshape(-1, d_out)
        blocks: dict[str, Block] = {"W": Outer(delta_rows, saved.reshape(-1, d_in), (0, 1), (d_out, d_in))}
        if bias:
            blocks["b"] = Summed(delta_rows)
        return blocks, delta_a @ params["W"].astype(delta_a.dtype)

    def jacobian(params: Params, f: Rows) -> Operator:
        W, f = Dense(taken(params)["W"]), sized(f, "f", d_in)
        return W if f.ndim == 1 else Kronecker(Identity(f.size // d_in), W)  # one W for every row

    return Layer(
        name,
        apply,
        forward,
        backward,
        initialize,
        jacobian,
        saves_input=True,
        means="W_{l}",
        factors=factors,
    )


def assert_size(where: str, name: str, shape: tuple[int, ...], most: int = 2**42) -> None:
    """Refuse an array that no machine holds, before XLA, which ends the process at some of them.

    Args:
        where: the layer.
        name: of the array.
        shape: its shape.
        most: the bytes that there are, by default more than any machine has.

    Raises:
        ValueError: for an array that takes more in float32.

    Example:
        >>> assert_size("dense", "W", (3, 10**18))
        Traceback (most recent call last):
        ...
        ValueError: dense: expected W in at most 4,096 GiB, got 3 x 1000000000000000000, which takes ...
    """
    if (size := 4 * math.prod(shape)) > most:
        got = f"{' x '.join(map(str, shape))}, which takes {size / 2**30:.4g} GiB"
        raise ValueError(errors.message(where, f"{name} in at most {most / 2**30:,.4g} GiB", got))


def _memory() -> int:
    """The bytes that the first device has for arrays."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    known = hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else 2**42


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


@recipes.own("flatten")
def flatten(*shape: int) -> Layer:
    """f of shape (*n, *shape) as rows (*n, d), d the product of the shape; its Jacobian is the identity.

    Args:
        shape: the axes of one example, so that the leading axes stay free.

    Raises:
        TypeError: for sizes that are no whole numbers.
        ValueError: for sizes below 1, or when applied to f whose last axes are not ``shape``.

    Example:
        >>> flatten(8, 8).apply({}, jnp.ones((32, 8, 8))).shape
        (32, 64)
    """
    if len(shape) == 1 and isinstance(shape[0], tuple | list):
        hint = f"flatten({', '.join(map(str, shape[0]))})"
        raise TypeError(errors.message("flatten", "sizes", arguments.described(shape[0]), hint))
    shape = tuple(arguments.whole("flatten", f"size {i}", d, low=1) for i, d in enumerate(shape))
    name = f"flatten({', '.join(map(str, shape))})"
    assert_size(name, "an example", shape)
    d = math.prod(shape)

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Rows:
        f = rows(name, f)
        n = f.ndim - len(shape)
        if n < 0 or f.shape[n:] != shape:
            raise ValueError(errors.message(name, f"f with last axes {shape}", f"shape {f.shape}"))
        return f.reshape(*f.shape[:n], d)

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Rows, Saved]:
        return apply(params, f), ()

    def backward(params: Params, saved: Saved, delta_out: Rows) -> tuple[Params, Array]:
        delta_out = rows(name, delta_out, "delta_out")
        if delta_out.shape[-1:] != (d,):
            expected = f"delta_out with last axis {d}"
            raise ValueError(errors.message(name, expected, f"shape {delta_out.shape}"))
        return {}, delta_out.reshape(*delta_out.shape[:-1], *shape)

    def jacobian(params: Params, f: Tensor) -> Operator:
        return Identity(apply(params, f).size)

    return Layer(name, apply, forward, backward, jacobian=jacobian, means="I")
