"""The parameters of a layer that moves a kernel over places."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxbp import arguments
from jaxbp.layers.dense import assert_size
from jaxbp.layers.initializers import Initializer
from jaxbp.layers.layer import arrays_of
from jaxbp.typing import Array, Params, Random


class Kernels(NamedTuple):
    """How W, and b if there is one, are drawn and let in.

    Args:
        init: ``key -> params``.
        taken: the parameters as arrays of their shapes; it raises for others.
    """

    init: Callable[[Random], Params]
    taken: Callable[[Params], dict[str, Array]]


def kernels(
    name: str, shape: tuple[int, ...], bias: bool, init: Initializer, bias_init: Initializer
) -> Kernels:
    """Those of W of this shape, (c_out, ...): it is drawn as a dense layer's, all else being its inputs.

    Raises:
        TypeError: for initializers that are no functions.
        ValueError: for a W that no machine holds.
    """
    for role, initializer in (("init", init), ("bias_init", bias_init)):
        arguments.function(name, role, initializer, positional=2)
    assert_size(name, "W", shape)
    shapes = {"W": shape, "b": shape[:1]} if bias else {"W": shape}
    flat = (shape[0], math.prod(shape[1:]))

    def initialize(key: Random) -> Params:
        key_W, key_b = jax.random.split(arguments.key(f"{name}.init", key))
        params = {"W": arrays_of(name, {"W": init(key_W, flat)}, {"W": flat})["W"].reshape(shape)}
        return taken(params | {"b": bias_init(key_b, shape[:1])} if bias else params)

    def taken(params: Params) -> dict[str, Array]:
        return arrays_of(name, params, shapes)

    return Kernels(initialize, taken)
