"""Initialisers for W of shape (d_out, d_in), by the names they have in the field.

All are `jax.nn.initializers` with the axes of this library's layout. With d_in and d_out the two
sizes, the variance of an entry is

    glorot_*          2 / (d_in + d_out)     Glorot & Bengio 2010; sigmoid, tanh, softmax
    he_*              2 / d_in               He et al. 2015; relu and its relatives
    lecun_*           1 / d_in               LeCun et al. 1998
    scaled_normal     1 / d_in               not truncated, Nielsen's N(0, 1/n_in)
    standard_normal   1                      Nielsen's first networks
    Normal(std)       std^2                  not truncated, whatever the sizes
    orthogonal        W W^T = I or W^T W = I   Saxe et al. 2013

    zeros             0                      the default of b

where a ``normal`` of the first three is truncated at two standard deviations, as in Keras and Flax.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxbp import arguments, recipes
from jaxbp.typing import Array

Initializer = Callable[..., Array]

_init = jax.nn.initializers
_axes = {"in_axis": -1, "out_axis": -2}

glorot_uniform: Initializer = recipes.own("glorot_uniform", _init.glorot_uniform(**_axes))
glorot_normal: Initializer = recipes.own("glorot_normal", _init.glorot_normal(**_axes))
he_uniform: Initializer = recipes.own("he_uniform", _init.he_uniform(**_axes))
he_normal: Initializer = recipes.own("he_normal", _init.he_normal(**_axes))
lecun_uniform: Initializer = recipes.own("lecun_uniform", _init.lecun_uniform(**_axes))
lecun_normal: Initializer = recipes.own("lecun_normal", _init.lecun_normal(**_axes))
scaled_normal: Initializer = recipes.own(
    "scaled_normal", _init.variance_scaling(1.0, "fan_in", "normal", **_axes)
)
standard_normal: Initializer = recipes.own("standard_normal", _init.normal(1.0))
orthogonal: Initializer = recipes.own("orthogonal", _init.orthogonal())
zeros: Initializer = recipes.own("zeros", _init.zeros)


@recipes.own("normal")
@dataclass(frozen=True)
class Normal:
    """The initializer of normal entries with the standard deviation ``std``.

    Raises:
        TypeError: for what is no number.
        ValueError: for a number below 0.
    """

    std: float

    def __post_init__(self) -> None:
        arguments.number("Normal", "std", self.std, low=0)

    def __call__(self, *args: Any) -> Array:
        """What is drawn for a key and a shape."""
        return _init.normal(self.std)(*args)


__all__ = [
    "Initializer",
    "Normal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "scaled_normal",
    "standard_normal",
    "zeros",
]
