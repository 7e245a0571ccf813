"""Work in other threads."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
T = TypeVar("T")


def as_here(fn: Callable[P, T]) -> Callable[P, T]:
    """``fn`` for another thread, with the settings that JAX has in this one: they belong to a thread."""
    x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    device = jax.config.jax_default_device  # type: ignore[attr-defined]

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.enable_x64(x64), jax.default_device(device):
            return fn(*args, **kwargs)

    return run
