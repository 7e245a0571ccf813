"""The squared error."""

from jaxbp import recipes
from jaxbp.losses.loss import Loss
from jaxbp.losses.targets import pair
from jaxbp.typing import Losses, Rows, Targets


def _squared_error_values(f: Rows, y: Targets) -> Losses:
    f, y = pair("squared_error", f, y)
    return ((f - y) ** 2).sum(-1) / 2


def _squared_error_deltas(f: Rows, y: Targets) -> Rows:
    f, y = pair("squared_error", f, y)
    return f - y


squared_error = Loss(
    "squared_error",
    _squared_error_values,
    _squared_error_deltas,
    mu=lambda f: f,
    doc="""1/2 sum_i (f_i - y_i)^2 for each example; delta_f = f - y.

    Of a batch it is the mean; the lecture's E is the sum, ``squared_error.sum``.

    Example:
        >>> jaxbp.squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 2.0]))
        Array(0.5, dtype=float32)
    """,
)

recipes.own("squared_error", squared_error)
