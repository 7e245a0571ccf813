"""Which operation makes the first NaN or infinity of a loss or of its gradient, and why."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.errors import message
from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.values.nonfinite import Nonfinite, Traced
from jaxbp.jaxprs.values.search import first_backward, first_forward
from jaxbp.observe.call import flat_call, scalar
from jaxbp.typing import Scalar

WHERE = "first_nonfinite"


def first_nonfinite(
    f: Callable[..., Scalar], *args: Any, argnums: int | Sequence[int] = 0, **kwargs: Any
) -> Nonfinite | None:
    """The operation in which f(*args), or its gradient, stops being finite; None where both are finite.

    Forward it is the first operation that makes a NaN or an infinity from finite operands; backward, from
    the loss on, the first whose pullback makes such a delta from finite ones, each use of a value judged
    apart. Whatever happens inside, a mask of -inf say, is silent while loss and gradients are finite. An
    infinity that turns into a NaN later is named where it arises, and what becomes of it beside it.

    Args:
        f: returns one floating number.
        args: of f; a NaN in one of them is named as given.
        argnums: the arguments to differentiate by, as in `jax.grad`.
        kwargs: of f.

    Returns:
        What, where and why; ``.sentence`` says it in words.

    Raises:
        TypeError: f returns more or less than one floating number, or a parameter is not floating.
        ValueError: under jit or vmap, where values are not known.

    Example:
        >>> found = first_nonfinite(lambda w, x: jnp.sum(w * jnp.sqrt(x @ w)), jnp.ones(2), jnp.zeros((1, 2)))
        >>> found.direction, found.operation, found.trap
        ('backward', 'sqrt', 'slope of a root at 0')
        >>> first_nonfinite(lambda w: jnp.sum(jnp.where(w > 0, jnp.log(w), 0.0)), jnp.array([0.0, 1.0])).trap
        'slope of log at 0: 0 * inf, a where guards the value and not the slope'
        >>> first_nonfinite(lambda w: jnp.sum(w**2), jnp.ones(3))

    Source: https://docs.jax.dev/en/latest/faq.html#gradients-contain-nan-where-using-where
    """
    call = flat_call(WHERE, f, args, kwargs, argnums)
    if any(isinstance(x, jax.core.Tracer) for x in call.arrays):
        raise ValueError(message(WHERE, "values", "traced arrays", "call it outside of jit, grad and vmap"))
    fn = scalar(WHERE, f, call.static)
    moving = call.static.differentiated

    def of(learned: Sequence[Any], arrays: Sequence[Any]) -> Any:
        full = list(arrays)
        for k, value in zip(moving, learned, strict=True):
            full[k] = value
        return fn(*full)

    arrays = [jnp.asarray(x) for x in call.arrays]
    both = jitted(lambda *arrays: list(jax.value_and_grad(of)([arrays[k] for k in moving], arrays)), arrays)
    loss, grads = both(*arrays)
    reaches = [call.names[k] for k, g in zip(moving, grads, strict=True) if not np.isfinite(g).all()]
    if not reaches and np.isfinite(loss):
        return None
    traced = Traced(jax.make_jaxpr(fn)(*arrays), arrays, call.names, call.parts)
    if not np.isfinite(loss):
        return first_forward(traced, reaches)
    return first_backward(traced, moving)
