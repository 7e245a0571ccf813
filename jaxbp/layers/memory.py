"""What the backward pass keeps: arrays that the compiler may not compute anew from others."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax

from jaxbp.typing import Array

T = TypeVar("T")

# Bytes, about a core's cache: with 1 MiB an array a region costs up to 5 % of a step, with 2 MiB and many
# layers it gains as much.
LARGE = 2**21


def is_large(f: Array) -> bool:
    """Whether f is so large that a step gains by keeping it out of memory or out of a fusion."""
    return f.size * f.dtype.itemsize >= LARGE


def apart(fn: Callable[..., T]) -> Callable[..., T]:
    """``fn``, for a large first argument compiled by itself: nothing in it fuses with what is around it.

    A compiler fuses cheap operations into whatever uses their result. So it computes an activation a second
    time in the backward pass, from the product before it, and keeps that product as well as the activation,
    which the next layer saves. `jax.lax.optimization_barrier` forbids this, except on CPUs, where XLA takes
    barriers out before it fuses; there a conditional stays. Both of its branches are ``fn``, and a barrier
    hides the predicate until the simplifier is done.

    Args:
        fn: a function of an array and any pytrees, defined once: outside of `jax.jit` it is compiled too.

    Example:
        >>> import jax.numpy as jnp
        >>> apart(jnp.tanh)(jnp.zeros(2))
        Array([0., 0.], dtype=float32)
    """

    def barrier(values: Any) -> Any:
        return lax.optimization_barrier(values)  # type: ignore[no-untyped-call]

    def behind_barriers(*args: Any) -> Any:
        return barrier(fn(*barrier(args)))

    def in_a_branch(*args: Any) -> Any:
        return lax.cond(barrier(True), fn, fn, *args)

    @jax.jit
    def region(*args: Any) -> Any:
        return lax.platform_dependent(*args, cpu=in_a_branch, default=behind_barriers)

    def call(f: Array, *args: Any) -> T:
        out: T = (region if is_large(f) else fn)(f, *args)
        return out

    return call
