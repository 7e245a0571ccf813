"""Whether a run that ended has learned anything, and if not, why."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxbp import arguments
from jaxbp.observe.call import is_key, number
from jaxbp.observe.diagnosis.diagnose import diagnose
from jaxbp.observe.instruments.updates import paired
from jaxbp.typing import Params, Scalar

WHERE = "nothing_learned"
SAME = 0.01  # of the loss: what is no difference
APART = 1.2  # times: a net that uses its inputs is worse by more with those of other examples
WORSE = 10.0  # times the loss at the start: the updates are too large
ORDERS = 4  # of the inputs
SEEN = 256  # examples that are diagnosed


def nothing_learned(f: Callable[..., Scalar], start: Params, params: Params, *batch: Any) -> str:
    """A sentence about parameters whose loss says that the run learned nothing, with the reason; or ``""``.

    Nothing was learned where no parameter moved, where the loss is above that at the start, or where it is
    the same with the inputs of other examples: the network ignores them, and is at best at the level of the
    class frequencies. A loss that did not fall is none of these where the inputs matter: it was low before.

    Args:
        f: ``(params, *batch) -> loss``.
        start: the parameters before.
        params: those after, of the same structure.
        batch: what else f takes. The first are the inputs, the others their targets; examples run over the
            first axis.

    Raises:
        TypeError, ValueError: where the parameters are no floating arrays, or not of one structure.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda params, x, y: jnp.mean((jax.nn.relu(x @ params["W"] - 9) @ params["out"] - y) ** 2)
        >>> params = {"W": jnp.ones((2, 4)), "out": jnp.ones(4)}
        >>> x = jnp.array([[0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 0.5]])
        >>> nothing_learned(f, params, params, x, jnp.array([1.0, 0.0, 2.0, 1.0]))
        'nothing was learned: loss 1.5, 1.5 at the start; no parameter moved, every
        update was 0 or too small for its dtype'
    """
    arguments.function(WHERE, "f", f, positional=1 + len(batch))
    start, params = (arguments.params(WHERE, p) for p in (start, params))
    still = unmoved(start, params)
    first, last = (float(number(WHERE, f(p, *batch))) for p in (start, params))
    if not np.isfinite(last):
        return ""
    said = f"nothing was learned: loss {last:.4g}, {first:.4g} at the start"
    if len(still) == len(jax.tree.leaves(params)):
        return f"{said}; no parameter moved, every update was 0 or too small for its dtype"
    apart = _with_other_inputs(f, params, batch)
    ignored = apart is not None and abs(apart - last) <= SAME * abs(last)
    worse = last > WORSE * abs(first)
    fell = last < first - SAME * abs(first)
    if not worse and not ignored and (fell or (apart is not None and apart > APART * last)):
        return ""
    reasons = []
    if worse:
        reasons.append("the updates are too large, try a lower learning rate")
    if ignored:
        reasons.append("the inputs do not matter, with those of other examples it is the same")
        reasons += _frequencies(last, batch)
    if still:
        reasons.append(f"{', '.join(still[:4])} did not move")
    return "; ".join([said, *reasons, *_diagnosed(f, params, batch)])


def unmoved(before: Params, after: Params) -> list[str]:
    """The parameters that are the same in both, by their paths."""
    found = paired(WHERE, before, after)
    return [name for name, old, new in found if np.array_equal(np.asarray(old), np.asarray(new))]


def _with_other_inputs(f: Callable[..., Scalar], params: Params, batch: Sequence[Any]) -> float | None:
    """The loss with the inputs in another order than the targets; None where that says nothing."""
    if len(batch) < 2 or not all(np.ndim(x) and not is_key(x) for x in jax.tree.leaves(batch)):
        return None
    inputs, targets = batch[0], batch[1:]
    sizes = {len(x) for x in jax.tree.leaves(batch)}
    if len(sizes) != 1 or all((np.asarray(y) == np.asarray(y)[:1]).all() for y in jax.tree.leaves(targets)):
        return None
    rng, n = np.random.default_rng(0), sizes.pop()
    orders = [rng.permutation(n) for _ in range(ORDERS)]
    losses = [f(params, jax.tree.map(partial(_rows, order), inputs), *targets) for order in orders]
    return float(np.mean(losses))


def _rows(order: np.ndarray, x: Any) -> Any:
    return x[order]


def _frequencies(loss: float, batch: Sequence[Any]) -> list[str]:
    """What a loss at the level of the class frequencies is called: -sum p ln p."""
    for y in (np.asarray(leaf) for leaf in jax.tree.leaves(batch[1:]) if not is_key(leaf)):
        if y.ndim == 1 and np.issubdtype(y.dtype, np.integer):
            p = np.unique(y, return_counts=True)[1] / len(y)
            level = float(-(p * np.log(p)).sum())
            if abs(loss - level) <= 2 * SAME * level:
                return [f"it is at the level of the class frequencies, {level:.4g}"]
    return []


def _diagnosed(f: Callable[..., Scalar], params: Params, batch: Sequence[Any]) -> list[str]:
    """What `diagnose` finds in the network as it is now."""
    sizes = [len(x) for x in jax.tree.leaves(batch) if np.ndim(x)]
    few = batch if max(sizes, default=0) <= SEEN else jax.tree.map(lambda x: x[:SEEN], batch)
    try:
        findings = diagnose(f, params, *few).findings
    except (TypeError, ValueError):  # what cannot be diagnosed has still not learned
        return []
    return [f"{found.name}: {found.label}: {found.evidence}" for found in findings]
