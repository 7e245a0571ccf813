"""The gradient noise scale of any loss that is a mean over examples."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.jacobians.per_example import per_example
from jaxbp.observe.call import number
from jaxbp.typing import Params, Scalar

WHERE = "noise_scale"
NEAR = 1e-3  # the loss may differ from the mean of the examples' by rounding, not by more


def noise_scale(f: Callable[..., Scalar], params: Params, *batch: Any) -> float:
    """The gradient noise scale tr(Sigma) / |G|^2 of f: the batch size beyond which larger ones help little.

    It is `jaxbp.PerExample.noise_scale` for a loss of any model: the gradient of each example is that of f
    for a batch of this example alone. Where the noise of this batch hides the gradient, as at the end of a
    training, the estimate of |G|^2 is below 0, and so is the scale.

    Args:
        f: ``(params, *batch) -> loss``, the mean over the examples.
        params: a pytree of floating arrays.
        batch: arrays of N examples along their first axis, N at least 2.

    Raises:
        ValueError: for fewer than two examples, arrays of different lengths, or where f is not the mean of
            its values at single examples (a sum, batch norm, a loss across examples).

    Example:
        >>> f = lambda w, x: jnp.mean((w - x) ** 2)
        >>> round(noise_scale(f, jnp.array(3.0), jnp.array([0.0, 1.0, 2.0, 1.0])), 3)
        0.174

    Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1
    """
    arguments.function(WHERE, "f", f, positional=1 + len(batch))
    params = arguments.params(WHERE, params)
    arrays = [arguments.array(WHERE, f"batch[{i}]", x) for i, x in enumerate(batch)]
    sizes = {x.shape[:1] for x in arrays}
    if len(sizes) != 1 or sizes == {()} or next(iter(sizes))[0] < 2:
        got = ", ".join(str(x.shape) for x in arrays) or "no batch"
        raise ValueError(message(WHERE, "arrays of the same examples, two or more", got))

    losses, whole, scale = _program(f, params, arrays)
    mean = float(np.mean(losses))
    if not np.isclose(float(whole), mean, rtol=NEAR, atol=NEAR * abs(mean)):
        expected = f"f to be the mean over the examples, {mean:.6g}"
        raise ValueError(message(WHERE, expected, f"{float(whole):.6g} for the batch"))
    return float(scale)


@partial(jax.jit, static_argnums=0)
def _program(f: Callable[..., Scalar], params: Params, arrays: Sequence[Any]) -> tuple[Any, Any, Any]:
    """The loss of each example, that of the batch, and the scale."""

    def of_one(params: Params, i: Any) -> Any:
        return number(WHERE, f(params, *(x[i][None] for x in arrays)))

    numbers = jnp.arange(len(arrays[0]))
    found = per_example(of_one, lambda loss, _: loss, params, numbers, jnp.zeros(len(numbers)))
    return found.losses, number(WHERE, f(params, *arrays)), found.noise_scale()
