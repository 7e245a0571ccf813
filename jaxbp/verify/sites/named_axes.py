"""Named axes of vmap: known while f is traced, and bound again where a rule of it runs alone."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxbp.jaxprs.internals import axis_names
from jaxbp.verify.sites.nested_derivatives import watched


def with_axes(trace: Callable[..., Any], *args: Any) -> tuple[Any, dict[str, int]]:
    """What ``trace(*args)`` returns, and the axes of vmap, with their sizes, around the rules that it calls.

    A forward rule is traced when its derivative is taken, and may then ask for the size of an axis
    (``pmean``) that is no longer there: where grad is around vmap, JAX traces it at once.
    """
    met: dict[str, set[int]] = {}

    def note(*_: Any) -> None:
        on_mesh = jax.sharding.get_abstract_mesh().manual_axes
        for name in axis_names():
            if name not in on_mesh:
                met.setdefault(name, set()).add(int(jax.lax.axis_size(name)))

    with watched(note):
        traced = trace(*args)
    # Of two axes of one name and different sizes it is not known which one a rule is under.
    return traced, {name: min(sizes) for name, sizes in met.items() if len(sizes) == 1}


def bound(fn: Callable[..., Any], axes: Mapping[str, int]) -> Callable[..., Any]:
    """``fn`` with the axes bound, and nothing mapped over them.

    Only where ``fn`` itself runs: JAX transposes outside of vmap, so a backward rule does not find them.
    """
    for name, size in axes.items():
        fn = jax.vmap(fn, in_axes=None, out_axes=None, axis_name=name, axis_size=size)
    return fn
