"""`embedding`: a row of a learned table for each id, and where in the sequence it stands."""

import math
from typing import Literal, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors, recipes
from jaxbp.arguments.search import find
from jaxbp.layers.blocks import Block, Entrywise, Rows
from jaxbp.layers.dense import assert_size
from jaxbp.layers.initializers import Initializer, scaled_normal
from jaxbp.layers.layer import Layer, arrays_of, assert_given, delta_of
from jaxbp.typing import Array, Given, Int, Params, Random, Saved, Tensor


@recipes.own("embedding")
def embedding(
    size: int,
    d: int,
    *,
    positions: int | Literal["sinusoidal"] | None = None,
    init: Initializer = scaled_normal,
) -> Layer:
    """out_t = E[id_t], with positions out_t = E[id_t] + P[t]; parameters ``{"E": (size, d), "P": (T, d)}``.

    It takes whole numbers, (*n, T), and therefore stands first in a network: there is no delta by an id, and
    backward gives None in its place. f_0 of a text is E[id], the output; its delta is delta_{a_1}.

        delta_E[v] = sum_{t: id_t = v} delta_t;  delta_P[t] = sum_n delta_t

    Saves the ids. An id that is not in the table is refused where it has a value; inside of `jax.jit`, where
    nobody can look, its row is NaN, never another's.

    Args:
        size: V, the rows of the table; ids are 0 to V - 1.
        d: the numbers in a row.
        positions: how many places at most, for a learned P; or ``"sinusoidal"``, P[t, 2j] = sin(t /
            10,000^(2j/d)) and P[t, 2j+1] = cos of the same, for as many as there are. ``given={"positions":
            t}``, whole numbers (T,) or (*n, T), says where the ids stand, by default at 0 to T - 1.
        init: the initializer of E and P.

    Returns:
        A layer from ids (*n, T) to (*n, T, d); without positions any ids (*n,).

    Raises:
        TypeError: for sizes that are no whole numbers; when applied to numbers that are not whole.
        ValueError: for sizes below 1; when applied to an id that is not in the table, more places than
            positions, or parameters of another shape.

    Example:
        >>> layer = embedding(3, 2)
        >>> params = {"E": jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
        >>> out, saved = layer.forward(params, jnp.array([2, 0, 2]))
        >>> out
        Array([[5., 6.],
               [1., 2.],
               [5., 6.]], dtype=float32)
        >>> layer.backward(params, saved, jnp.ones((3, 2)))
        ({'E': Array([[1., 1.],
               [0., 0.],
               [2., 2.]], dtype=float32)}, None)

    Source: Bengio et al. 2003; positions, Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
    """
    name = f"embedding({size}, {d}{'' if positions is None else f', positions={positions!r}'})"
    V, d = arguments.whole(name, "size", size, low=1), arguments.whole(name, "d", d, low=1)
    sinusoidal = isinstance(positions, str)
    if isinstance(positions, str):
        arguments.option(name, "positions", positions, ("sinusoidal",))
    elif positions is not None:
        positions = arguments.whole(name, "positions", positions, low=1)
    arguments.function(name, "init", init, positional=2)
    most = positions if isinstance(positions, int) else None  # places, of a learned P
    names = () if positions is None else ("positions",)
    shapes: dict[str, tuple[int, ...]] = {"E": (V, d), **({} if most is None else {"P": (most, d)})}
    for symbol, shape in shapes.items():
        assert_size(name, symbol, shape)

    def initialize(key: Random) -> Params:
        keys = jax.random.split(arguments.key(f"{name}.init", key), len(shapes))
        drawn = {symbol: init(k, shape) for k, (symbol, shape) in zip(keys, shapes.items(), strict=True)}
        return tables(drawn)

    def tables(params: Params) -> dict[str, Array]:
        return arrays_of(name, params, shapes)

    def places(ids: Array, given: Given | None) -> Array | None:
        """Where the ids stand, (T,) or (*n, T); None without positions."""
        if positions is None:
            return None
        if ids.ndim == 0:
            raise ValueError(errors.message(name, "ids of shape (*n, T)", "shape ()"))
        at = (given or {}).get("positions")
        at = jnp.arange(ids.shape[-1]) if at is None else whole_numbers(name, "positions", at)
        if at.shape not in (ids.shape, ids.shape[-1:]):
            expected = f"positions of shape {ids.shape[-1:]} or {ids.shape}"
            raise ValueError(errors.message(name, expected, f"{at.shape}"))
        if most is not None:
            if ids.shape[-1] > most:
                hint = "cut the sequence, or make the network with more positions"
                got = f"a sequence of {ids.shape[-1]}"
                raise ValueError(errors.message(name, f"at most {most} places", got, hint))
            assert_in_table(name, "position", at, most)
        return at

    def apply(
        params: Params, f: Int[Array, "*n T"], *, key: Random | None = None, given: Given | None = None
    ) -> Tensor:
        return forward(params, f, given=given)[0]

    def forward(
        params: Params, f: Int[Array, "*n T"], *, key: Random | None = None, given: Given | None = None
    ) -> tuple[Tensor, Saved]:
        assert_given(name, given, names)
        table, ids = tables(params), whole_numbers(name, "ids", f)
        assert_in_table(name, "id", ids, V)
        at = places(ids, given)
        out = rows_of(table["E"], ids)
        if at is not None:
            P = waves(at, d, out.dtype) if sinusoidal else rows_of(table["P"], at)
            out = out + jnp.broadcast_to(P, out.shape)
        return out, (ids, at)

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, None]:
        table, (ids, at) = tables(params), saved
        delta_out = delta_of(name, delta_out, (*ids.shape, d))
        delta_params = {"E": into(table["E"], ids, delta_out)}
        if "P" in table:
            delta_params["P"] = into(table["P"], at, _at_places(delta_out, at))
        return delta_params, None

    def factors(params: Params, saved: Saved, delta_out: Tensor) -> tuple[dict[str, Block], None]:
        ids, at = saved
        delta_out = delta_of(name, delta_out, (*ids.shape, d))
        blocks: dict[str, Block] = {"E": Rows(delta_out.reshape(-1, d), ids.reshape(-1), shapes["E"])}
        if "P" in shapes:
            blocks["P"] = Entrywise(into(tables(params)["P"], at, _at_places(delta_out, at)))
        return blocks, None

    def jacobian(params: Params, f: Array, *, given: Given | None = None) -> NoReturn:
        hint = "the chain begins at E[id]: take that of the layers after it, at the embedding's output"
        raise TypeError(errors.message(name, "numbers that have a derivative", "ids, which are whole", hint))

    return Layer(
        name,
        apply,
        forward,
        backward,
        initialize,
        jacobian,
        given=names,
        factors=factors,
    )


def whole_numbers(name: str, what: str, value: object) -> Array:
    """Whole numbers as an array: ids or positions.

    Raises:
        TypeError: for floats and booleans.
    """
    ids = arguments.array(name, what, value)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        hint = "x.astype(int)" if jnp.issubdtype(ids.dtype, jnp.floating) else ""
        raise TypeError(
            errors.message(name, f"{what} that are whole numbers", arguments.described(ids), hint)
        )
    return ids


def assert_in_table(name: str, what: str, ids: Array, size: int) -> None:
    """Raise for a concrete id that is not in 0..size-1; of a traced one there is no value."""
    if isinstance(ids, jax.core.Tracer) or not ids.is_fully_addressable or not ids.size:
        return
    values = np.asarray(ids).reshape(ids.shape or (1,))
    if bad := find(values, lambda rows: (rows < 0) | (rows >= size)):
        got = f"{what} {values[bad.first]} at [{bad.place}]"
        raise ValueError(errors.message(name, f"{what}s in 0..{size - 1}", got))


def rows_of(table: Array, ids: Array) -> Array:
    """table[ids], NaN for an id that is not in it."""
    rows: Array = table.at[_not_wrapped(ids, table)].get(mode="fill", fill_value=jnp.nan)
    return rows


def into(table: Array, ids: Array, delta: Array) -> Array:
    """sum_{t: id_t = v} delta_t for every row v of the table, in its dtype."""
    summed: Array = (
        jnp.zeros_like(table).at[_not_wrapped(ids, table)].add(delta.astype(table.dtype), mode="drop")
    )
    return summed


def _not_wrapped(ids: Array, table: Array) -> Array:
    """A negative id is out of the table, as in no other language but Python it would not be."""
    wide = ids if ids.dtype.itemsize >= 4 else ids.astype(jnp.int32)  # which hold the length of the table
    return jnp.where(wide < 0, len(table), wide)


def _at_places(delta: Array, at: Array) -> Array:
    """The delta of every place, added over the sequences that have their places in common."""
    return delta if delta.ndim == at.ndim + 1 else delta.reshape(-1, *delta.shape[-2:]).sum(0)


def waves(at: Array, d: int, dtype: jnp.dtype) -> Array:
    """P[t, 2j] = sin(t / 10,000^(2j/d)), P[t, 2j+1] = cos of the same; (*at, d).

    Example:
        >>> waves(jnp.array([0, 1]), 2, jnp.float32)
        Array([[0.        , 1.        ],
               [0.84147096, 0.5403023 ]], dtype=float32)
    """
    wide = jnp.promote_types(dtype, jnp.float32)
    speeds = jnp.exp(-math.log(10_000) * (jnp.arange(d) // 2 * 2).astype(wide) / d)
    angles = at[..., None].astype(wide) * speeds.reshape((1,) * at.ndim + (d,))
    even = (jnp.arange(d) % 2 == 0).reshape((1,) * at.ndim + (d,))
    return jnp.where(even, jnp.sin(angles), jnp.cos(angles)).astype(dtype)
