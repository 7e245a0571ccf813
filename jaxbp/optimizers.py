"""The optimizers of optax that are known by a name, each with its learning rate where none is said."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import optax


class Named(NamedTuple):
    """An optimizer of a learning rate, and the rate that it usually has.

    Args:
        make: ``make(learning_rate) -> optimizer``.
        rate: the default.
    """

    make: Callable[[Any], optax.GradientTransformation]
    rate: float


OPTIMIZERS = {
    "sgd": Named(optax.sgd, 0.1),
    "momentum": Named(partial(optax.sgd, momentum=0.9), 0.05),
    "adam": Named(optax.adam, 3e-3),
    "adamw": Named(optax.adamw, 3e-3),
}


def make_optimizer(name: str, rate: float | None, iterations: int, *, cosine: bool) -> Any:
    """The optimizer of this name.

    Args:
        name: a key of OPTIMIZERS.
        rate: eta; None is the optimizer's own.
        iterations: of the run.
        cosine: eta falls to 0 over them along a cosine; else it stays.
    """
    make, usual = OPTIMIZERS[name]
    eta: Any = usual if rate is None else rate
    return make(optax.cosine_decay_schedule(eta, iterations) if cosine else eta)
