"""Elementwise layers f = phi(a): the factory that makes one of phi and its slope."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.layers.layer import Layer, delta_of, rows
from jaxbp.layers.memory import apart, is_large
from jaxbp.operators import Diagonal, Operator
from jaxbp.typing import Array, Params, Random, Saved, Tensor


def elementwise(
    name: str,
    phi: Callable[[Array], Array],
    slope: Callable[[Array], Array],
    *,
    saves: Literal["input", "output", "either"] | Callable[[Array], Array],
    formula: str = "",
    doc: str = "",
) -> Layer:
    """f = phi(a) entry by entry, and backward delta_a = delta_f phi'(a).

    Args:
        name: how it prints.
        phi: the activation, plain JAX.
        slope: phi'(a), as a function of what is saved; a mask where it is 0 or 1.
        saves: what the slope is a function of: the ``"input"`` a, the ``"output"`` f, ``"either"`` of them,
            or any function of a. Prefer the output where it determines the slope: the next layer saves it
            anyway. With the input a `chain` does not keep f but computes phi twice: for a cheap phi only.
        formula: phi and its slope as `jaxbp.explain` writes them, see `Layer`.
        doc: what `help` says of the layer.

    Example:
        >>> softsign = elementwise(
        ...     "softsign", lambda a: a / (1 + abs(a)), lambda f: (1 - abs(f)) ** 2, saves="output"
        ... )
        >>> f, saved = softsign.forward({}, jnp.array([0.0, 1.0]))
        >>> softsign.backward({}, saved, jnp.ones(2))[1]
        Array([1.  , 0.25], dtype=float32)

    Raises:
        TypeError: for what is no function.
        ValueError: for another word as ``saves``.

    Source: the lecture, step 4: delta_{a_l} = delta_{f_l} J_{f_l}(a_l), J diagonal.
    """
    where = f"elementwise {arguments.instance('elementwise', 'name', name, str)}"
    arguments.function(where, "phi", phi, positional=1)
    arguments.function(where, "slope", slope, positional=1)
    if not callable(saves):
        arguments.option(where, "saves", saves, ("input", "output", "either"))

    def entries(symbol: str, value: Any, shape: tuple[int, ...]) -> Array:
        """What phi or slope returned: a number for each entry."""
        number = isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float)
        if not number or jnp.shape(value) not in (shape, ()):
            expected = f"{symbol} to return an array of the shape {shape} that it is given"
            raise TypeError(errors.message(where, expected, arguments.described(value)))
        return jnp.asarray(value)

    def apply(params: Params, f: Tensor, *, key: Random | None = None) -> Tensor:
        f = arguments.array(name, "f", f, floats=True)
        return entries("phi", phi(f), f.shape)

    @apart
    def phi_and_saved(a: Tensor) -> tuple[Tensor, Saved]:
        out = entries("phi", phi(a), a.shape)
        return out, saves(a) if callable(saves) else ()

    def forward(params: Params, f: Tensor, *, key: Random | None = None) -> tuple[Tensor, Saved]:
        f = arguments.array(name, "f", f, floats=True)
        out, saved = phi_and_saved(f)
        if callable(saves):
            return out, saved
        return out, out if saves == "output" or (saves == "either" and is_large(f)) else f

    def backward(params: Params, saved: Saved, delta_out: Tensor) -> tuple[Params, Tensor]:
        phi_prime = slope(saved)
        phi_prime = entries("slope", phi_prime, getattr(phi_prime, "shape", ()))
        constant = phi_prime.ndim == 0
        delta_out = rows(name, delta_out) if constant else delta_of(name, delta_out, phi_prime.shape)
        mask = phi_prime.dtype == jnp.bool
        return {}, jnp.where(phi_prime, delta_out, 0) if mask else delta_out * phi_prime

    def jacobian(params: Params, f: Tensor) -> Operator:
        f = arguments.array(name, "f", f, floats=True)
        return Diagonal(backward(params, forward(params, f)[1], jnp.ones_like(f))[1].reshape(-1))

    return Layer(
        name,
        apply,
        forward,
        backward,
        jacobian=jacobian,
        saves_input=saves == "input",
        function=phi,
        means=f"diag({name}'(a_{{l}}))",
        formula=formula,
        doc=doc,
    )
