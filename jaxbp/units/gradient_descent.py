"""The linear unit: gradient descent on E(w) = 1/2 sum (t - o)^2, and when it diverges."""

import html
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray, Shaped

from jaxbp.units.delta_rule import Unit, augmented, checked, linear_unit, missed, plain, step, train


def linear_unit_step(
    unit: Unit, x: Float[Array, "*n d"], t: Shaped[Array, "*n"], *, eta: float | Array
) -> Unit:
    """One update w -= eta dE/dw, with dE/dw_i = sum_n (t - o)(-x_i): the sum, not the mean.

    Args:
        unit: before the update.
        x: inputs, (*n, d).
        t: targets, (*n,).
        eta: learning rate.

    Returns:
        The unit after the update.

    Raises:
        ValueError: x does not have d as its last axis, or t is not of shape (*n,).

    Example:
        >>> unit = Unit(jnp.zeros(2), jnp.array(0.0))
        >>> new = linear_unit_step(unit, jnp.array([1.0, 3.0]), 2.0, eta=0.5)
        >>> new.w.tolist(), float(new.w_0)
        ([1.0, 3.0], 1.0)

    Source: lecture, gradient descent for the linear unit.
    """
    return step(linear_unit, unit, x, t, eta)


def linear_unit_error(unit: Unit, x: Float[Array, "*n d"], t: Shaped[Array, "*n"]) -> Float[Array, ""]:
    """E(w) = 1/2 sum_n (t - o)^2: a sum over all rows, as in the lecture.

    Args:
        unit: w (d,) and w_0 ().
        x: inputs, (*n, d).
        t: targets, (*n,).

    Returns:
        E, a scalar.

    Raises:
        ValueError: x does not have d as its last axis, or t is not of shape (*n,).

    Example:
        >>> unit = Unit(jnp.zeros(2), jnp.array(0.0))
        >>> float(linear_unit_error(unit, jnp.array([[1.0, 3.0], [0.0, 1.0]]), jnp.array([2.0, 1.0])))
        2.5

    Source: lecture, E(w) of the linear unit.
    """
    return jnp.sum(missed(linear_unit, unit, x, t) ** 2) / 2


class LinearUnitFit(NamedTuple):
    """What ``fit_linear_unit`` found.

    Args:
        unit: the parameters at the end; after a divergence those of the epoch with the least E.
        errors: E over all examples, before the first and after every epoch, (epochs + 1,).
        diverged: E left the finite numbers, or grew with eta at or above ``eta_bound``.
        eta_bound: below it no divergence; for the batch form, and for it alone, above it always one.
        verdict: the above in a sentence.
    """

    unit: Unit
    errors: np.ndarray
    diverged: bool
    eta_bound: float
    verdict: str

    def __repr__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.verdict)}</p>"

    def to_dict(self) -> dict[str, Any]:
        """The fields, with w and w_0 for the unit, ready for JSON: None stands for what is not finite."""
        fields = self.unit._asdict() | self._asdict()
        return {name: plain(value) for name, value in fields.items() if name != "unit"}


def fit_linear_unit(
    x: Any,
    t: Any,
    *,
    eta: float,
    epochs: int = 100,
    batch_size: int | None = None,
    key: PRNGKeyArray | None = None,
    unit: Unit | None = None,
) -> LinearUnitFit:
    """Gradient descent on E(w) = 1/2 sum_n (t - o)^2, batch by default.

    With X the rows (1, x_n), the batch form converges from everywhere if and only if
    eta < 2 / lambda_max(X^T X). For smaller batches eta < 2 / (sum of the batch_size largest
    |(1, x_n)|^2) is enough, in any order.

    Args:
        x: inputs, (N, d).
        t: targets, (N,).
        eta: learning rate, for the SUM over the batch: half the batch takes twice the eta.
        epochs: passes over the data.
        batch_size: examples for each update: None or N batch, 1 iterative, between them mini-batch. The
            last batch of an epoch holds what remains.
        key: shuffles the examples anew for each epoch; None keeps their order.
        unit: where to start, zeros by default.

    Returns:
        A LinearUnitFit.

    Raises:
        TypeError: for what is no array of real numbers, no number, no key, no Unit.
        ValueError: x is not (N, d), t not (N,), values that are not finite, eta not above 0, epochs
            below 1, or batch_size not in 1..N.

    Example:
        >>> x, t = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
        >>> fit = fit_linear_unit(x, t, eta=0.2, epochs=200)
        >>> print(f"w = {fit.unit.w[0]:.3f}, w_0 = {fit.unit.w_0:.3f}")
        w = 2.000, w_0 = 1.000
        >>> fit_linear_unit(x, t, eta=0.4)
        diverged: ... eta 0.4 is not below 2 / lambda_max(X^T X) = 0.279; ...

    Source: lecture, gradient descent; batch, mini-batch and iterative training.
    """
    x, t, eta, epochs, batch_size, key, unit = checked(
        "fit_linear_unit", x, t, eta, epochs, batch_size, key, unit
    )
    last, (units, after) = train(linear_unit, _record_error, unit, x, t, eta, key, batch_size, epochs)
    errors = np.append(np.asarray(linear_unit_error(unit, x, t)), np.asarray(after))
    rows = augmented(x)
    if batch_size == len(x):
        gram = rows.T @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.T
        bound, said = 2 / float(np.linalg.eigvalsh(gram)[-1]), "2 / lambda_max(X^T X)"
    else:
        largest = np.sort(np.sum(rows**2, axis=1))[-batch_size:]
        bound, said = 2 / float(largest.sum()), f"2 / (the {batch_size} largest |(1, x)|^2 summed)"
    diverged = not np.isfinite(errors).all() or (eta >= bound and errors[-1] > errors[0])
    change = f"E went from {errors[0]:.4g} to {errors[-1]:.4g} in {epochs} epochs"
    compared = f"eta {eta:.3g} is {'' if eta < bound else 'not '}below {said} = {bound:.3g}"
    if not diverged:
        return LinearUnitFit(last, errors, False, bound, f"{change}; {compared}")
    best = int(np.nanargmin(errors))
    if best > 0:
        last = Unit(units.w[best - 1], units.w_0[best - 1])
    verdict = f"diverged: {change}; {compared}; the unit is that of epoch {best}; try a smaller eta"
    return LinearUnitFit(last if best > 0 else unit, errors, True, bound, verdict)


def _record_error(unit: Unit, miss: Array, x: Array, t: Array) -> tuple[Unit, Array]:
    """After an epoch: the unit, and E over all examples."""
    return unit, linear_unit_error(unit, x, t)
