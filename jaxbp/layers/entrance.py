"""Where a call enters a network: its parameters, inputs and key as the layers take them."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxbp import arguments
from jaxbp.layers.layer import Layer, assert_given, handed
from jaxbp.typing import Array, Given, Params, Random

NO_LAYER = (
    "make one, e.g. jaxbp.mlp([d_0, d_1]); a network of another library goes to fit, check, per_example"
)


def taken(
    where: str, net: Layer, params: Params, x: Any, key: Any, given: Any = None
) -> tuple[Params, Array, Random | None]:
    """Parameters, inputs and key as the layers take them; ``given`` is what they name."""
    arguments.instance(where, "net", net, Layer, NO_LAYER)
    assert_given(where, given, net.given)
    params = arguments.params(where, params)
    x = inputs_of(where, net, params, x, given)
    return params, x, None if key is None else arguments.key(where, key)


def inputs_of(where: str, net: Layer, params: Params, x: Any, given: Given | None = None) -> Array:
    """x as the network takes it: whole numbers are ids where it looks them up, floats where it multiplies.

    A network says itself which it is: one that looks up refuses floats, and ids that it does not have.
    Nothing is computed.

    Args:
        where: the function that asks.
        net: the network.
        params: of net.
        x: arrays, or numbers that are written out.
        given: what layers of net name.

    Raises:
        TypeError, ValueError: as `jaxbp.arguments.as_floats`, where floats are meant; for an id out of range.

    Example:
        >>> from jaxbp.layers import dense, embedding
        >>> net, x = dense(2, 1), jnp.array([1, 0])
        >>> inputs_of("forward", net, net.init(jax.random.key(0)), x)
        Array([1., 0.], dtype=float32)
        >>> net = embedding(2, 1)
        >>> inputs_of("forward", net, net.init(jax.random.key(0)), x)
        Array([1, 0], dtype=int32)
    """
    written = not hasattr(x, "dtype")
    f = arguments.array(where, "x", x, fill=-1 if written else None)
    if not jnp.issubdtype(f.dtype, jnp.integer):
        return arguments.array(where, "x", x, floats=written)
    if not _takes_floats(net, params, f.shape, given):
        assert_ids(net, params, f, given)
        return f
    return arguments.array(where, "x", x, floats=True) if written else arguments.as_floats(where, "x", f)


def assert_ids(net: Layer, params: Params, ids: Array, given: Given | None = None) -> None:
    """Raise what a layer says of an id that it does not have, while ids have values; nothing is computed.

    The parameters have no values there, and the ids have: a table looks at those that it is asked for.
    """
    if not isinstance(ids, jax.core.Tracer):
        jax.eval_shape(lambda params: net.apply(params, ids, **handed(net, given)), params)


def accepts(net: Layer, params: Params, x: Array) -> bool:
    """Whether the network takes such an x; nothing is computed. A user's layer may refuse it in any way."""
    try:
        jax.eval_shape(net.apply, params, x)
    except Exception:
        return False
    return True


def _takes_floats(net: Layer, params: Params, shape: tuple[int, ...], given: Given | None) -> bool:
    """Whether a network computes of floats."""
    named = handed(net, given)

    def apply(params: Params, f: Array) -> Array:
        return net.apply(params, f, **named)

    def runs(dtype: Any) -> bool:
        f: Any = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
        out = jax.eval_shape(apply if named else net.apply, params, f)
        return jnp.issubdtype(out.dtype, jnp.floating)

    try:
        return runs(jnp.result_type(float))
    except TypeError:
        return False
    except Exception:  # a lookup of the user's, or what else is wrong, which is said where x is used
        try:
            return not runs(jnp.int32)
        except Exception:
            return True
