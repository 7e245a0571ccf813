"""The perceptron: its output, its training rule, and what can be proved about both."""

import html
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray, Shaped

from jaxbp.errors import message
from jaxbp.units.delta_rule import (
    Unit,
    augmented,
    checked,
    linear_unit,
    on_host,
    parameters,
    plain,
    step,
    train,
    weights_row,
)


def perceptron(unit: Unit, x: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """o(x) = 1 if w_0 + w·x > 0 else -1: exactly 0 does not fire.

    Args:
        unit: w (d,) and w_0 ().
        x: inputs, (*n, d).

    Returns:
        Outputs 1 or -1, (*n,).

    Raises:
        ValueError: x does not have d as its last axis.

    Example:
        >>> unit = Unit(jnp.array([1.0, 1.0]), jnp.array(-1.0))
        >>> perceptron(unit, jnp.array([[0.0, 1.0], [1.0, 1.0]])).tolist()
        [-1.0, 1.0]

    Source: lecture, the perceptron.
    """
    a = linear_unit(unit, x)
    return jnp.where(a > 0, 1, -1).astype(a.dtype)


def perceptron_step(
    unit: Unit, x: Float[Array, "*n d"], t: Shaped[Array, "*n"], *, eta: float | Array
) -> Unit:
    """One update w_i += eta sum_n (t - o) x_i and w_0 += eta sum_n (t - o); right rows add 0.

    Args:
        unit: before the update.
        x: inputs, (*n, d).
        t: targets 1 or -1, (*n,).
        eta: learning rate; every mistake moves w by 2 eta t x.

    Returns:
        The unit after the update.

    Raises:
        ValueError: x does not have d as its last axis, or t is not of shape (*n,).

    Example:
        >>> unit = Unit(jnp.zeros(2), jnp.array(0.0))
        >>> new = perceptron_step(unit, jnp.array([1.0, 3.0]), 1, eta=0.5)
        >>> new.w.tolist(), float(new.w_0)
        ([1.0, 3.0], 1.0)

    Source: lecture, the perceptron training rule.
    """
    return step(perceptron, unit, x, t, eta)


class PerceptronFit(NamedTuple):
    """What ``fit_perceptron`` found.

    Args:
        unit: the parameters at the end.
        mistakes: how many examples were wrong when their turn came, for each epoch up to the first
            without any, (epochs,).
        converged: the last epoch made no mistake, so ``unit`` is right on all the data (an example with
            t = -1 may lie exactly on its plane, where o = -1).
        cancelling: whole numbers m, (N,), with sum_i m_i t_i (1, x_i) = 0 exactly, which proves that
            NO unit separates the data; None if none were found.
        margin_bound: no unit separates the data with a margin above this; inf without a mistake.
        verdict: the above in a sentence.
    """

    unit: Unit
    mistakes: np.ndarray
    converged: bool
    cancelling: np.ndarray | None
    margin_bound: float
    verdict: str

    def __repr__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.verdict)}</p>"

    def to_dict(self) -> dict[str, Any]:
        """The fields, with w and w_0 for the unit, ready for JSON: None stands for what is not finite."""
        fields = self.unit._asdict() | self._asdict()
        return {name: plain(value) for name, value in fields.items() if name != "unit"}


def fit_perceptron(
    x: Any,
    t: Any,
    *,
    eta: float = 0.5,
    epochs: int = 100,
    batch_size: int = 1,
    key: PRNGKeyArray | None = None,
    unit: Unit | None = None,
) -> PerceptronFit:
    """Train by the perceptron rule until an epoch makes no mistake, or prove that none ever will.

    Started from zero, separable data cost at most batch_size (R / gamma)^2 mistakes
    (``novikoff_bound``), whatever eta. If the weights at the end of two epochs are equal, the mistakes
    m_i between them moved the weights by 2 eta sum_i m_i t_i (1, x_i) = 0; a separating unit would
    have a positive product with every t_i (1, x_i), so there is none. That identity is verified
    exactly on the numbers of the data (no rounding) before it is reported.

    Args:
        x: inputs, (N, d).
        t: targets 1 or -1, (N,).
        eta: learning rate; from zero it only scales the weights.
        epochs: passes over the data at most; the compiled loop runs them all.
        batch_size: examples for each update: 1 iterative, N batch, between them mini-batch. The last
            batch of an epoch holds what remains.
        key: shuffles the examples anew for each epoch; None keeps their order.
        unit: where to start, zeros by default.

    Returns:
        A PerceptronFit.

    Raises:
        TypeError: for what is no array of real numbers, no number, no key, no Unit.
        ValueError: x is not (N, d), t not (N,), a t that is not 1 or -1, values that are not finite,
            eta not above 0, epochs below 1, batch_size not in 1..N, or weights that overflow.

    Example:
        >>> corners = [[0, 0], [0, 1], [1, 0], [1, 1]]
        >>> fit_perceptron(corners, [-1, 1, 1, 1])
        converged: epoch 4 made no mistake (4 mistakes before it)
        >>> xor = fit_perceptron(corners, [-1, 1, 1, -1])
        >>> xor
        not linearly separable: ... sum m_i t_i (1, x_i) = 0 ...
        >>> xor.cancelling.tolist()
        [1, 1, 1, 1]

    Source: lecture, the perceptron training rule; Novikoff 1962; Gordan's theorem for the proof.
    """
    if batch_size is None:
        expected, hint = "batch_size a whole number of at least 1", "batch_size=len(x) takes all of them"
        raise TypeError(message("fit_perceptron", expected, "None", hint))
    x, t, eta, epochs, batch_size, key, unit = checked(
        "fit_perceptron", x, t, eta, epochs, batch_size, key, unit
    )
    if not bool(jnp.all(jnp.abs(t) == 1)):
        raise ValueError(
            message(
                "fit_perceptron",
                "every t -1 or 1",
                f"t with values {np.unique(np.asarray(t))[:5].tolist()}",
                "2 * t - 1 turns 0 and 1 into -1 and 1",
            )
        )
    last, (units, wrong) = train(perceptron, _record_wrong, unit, x, t, eta, key, batch_size, epochs)
    if not np.isfinite(weights_row(last)).all():
        raise ValueError(message("fit_perceptron", "weights that stay finite", f"eta {eta}", "lower eta"))
    wrong = np.asarray(wrong)
    mistakes = wrong.sum(axis=1)
    converged = bool((mistakes == 0).any())
    if converged:
        mistakes = mistakes[: int(np.argmin(mistakes)) + 1]
        verdict = f"converged: epoch {len(mistakes)} made no mistake ({mistakes.sum()} mistakes before it)"
    signed = np.asarray(t, np.float64)[:, None] * augmented(x)
    total = wrong.sum(axis=0)
    bound = float(np.linalg.norm(total @ signed) / total.sum()) if total.any() else math.inf
    m = None
    if not converged:
        verdict = (
            f"not converged in {epochs} epochs ({mistakes[-1]} mistakes in the last): no unit separates "
            f"these data with a margin above {bound:.3g}; try more epochs, or they are not separable"
        )
        path = np.vstack([weights_row(unit), np.column_stack([units.w_0, units.w])])
        if repeat := _first_repeat(path):
            between = wrong[repeat[0] : repeat[1]].sum(axis=0)
            if _cancel_exactly(between, signed):
                m, bound = between, 0.0
                verdict = (
                    f"not linearly separable: the weights after epoch {repeat[0]} came back after epoch "
                    f"{repeat[1]}, so the mistakes m between them cancel: sum m_i t_i (1, x_i) = 0 over "
                    f"{np.count_nonzero(m)} examples, and no unit can have every t_i (w_0 + w·x_i) > 0"
                )
    return PerceptronFit(last, mistakes, converged, m, bound, verdict)


def margin(unit: Unit, x: Any, t: Any) -> float:
    """The margin gamma = min_i t_i (w_0 + w·x_i) / |(w_0, w)|.

    Above 0 if and only if the unit separates the data. The bias is a weight here (of a constant input
    1), so gamma is at most the distance of the nearest example to the plane.

    Args:
        unit: a unit that is not all zeros.
        x: inputs, (N, d).
        t: targets 1 or -1, (N,).

    Returns:
        gamma, in the units of x; 0 or below when an example is wrong or on the plane.

    Raises:
        ValueError: the unit is all zeros, or t is not of shape (N,), or not of 1 and -1.

    Example:
        >>> round(margin(Unit(jnp.array([0.6]), jnp.array(0.8)), [[2.0], [-3.0]], [1, -1]), 4)
        1.0
    """
    weights, t = weights_row(parameters("margin", unit)), on_host("margin", "t", t)
    rows = augmented(x)
    if rows.shape[1] != len(weights):
        raise ValueError(message("margin", f"x (N, {len(weights) - 1})", f"shape {rows[:, 1:].shape}"))
    activations = rows @ weights
    if not (np.abs(t) == 1).all():
        raise ValueError(message("margin", "every t -1 or 1", f"t with values {np.unique(t)[:5].tolist()}"))
    if not weights.any() or t.shape != activations.shape:
        raise ValueError(
            message(
                "margin",
                f"a unit that is not all zeros and t of shape {activations.shape}",
                f"|(w_0, w)| = {np.linalg.norm(weights):.3g} and t {t.shape}",
            )
        )
    return float(np.min(t * activations) / np.linalg.norm(weights))


def novikoff_bound(unit: Unit, x: Any, t: Any) -> float:
    """(R / gamma)^2, R = max_i |(1, x_i)|: the iterative rule from zero makes no more mistakes.

    Any separating unit gives a bound; the one of largest margin the best. With batches of B examples
    the bound is B (R / gamma)^2: M mistakes at once lengthen w by at most 2 eta M R, and at most B
    come at once.

    Args:
        unit: one that separates the data.
        x: inputs, (N, d).
        t: targets 1 or -1, (N,).

    Returns:
        The bound on the number of mistakes.

    Raises:
        ValueError: the unit does not separate the data, is all zeros, or t is not of shape (N,).

    Example:
        >>> round(novikoff_bound(Unit(jnp.array([1.0]), jnp.array(0.0)), [[2.0], [-1.0]], [1, -1]), 4)
        5.0

    Source: Novikoff, On convergence proofs for perceptrons, 1962.
    """
    gamma = margin(unit, x, t)
    if not gamma > 0:
        raise ValueError(message("novikoff_bound", "a unit that separates the data", f"margin {gamma:.3g}"))
    return float((np.linalg.norm(augmented(x), axis=1).max() / gamma) ** 2)


def _record_wrong(unit: Unit, miss: Array, x: Array, t: Array) -> tuple[Unit, Array]:
    """After an epoch: the unit, and which examples were wrong when their turn came."""
    return unit, miss != 0


def _first_repeat(path: np.ndarray) -> tuple[int, int] | None:
    """The first two rows of the path that are equal, None if all differ."""
    seen: dict[bytes, int] = {}
    for i, weights in enumerate(path + 0.0):  # + 0.0: -0 and 0 are one number
        if (j := seen.setdefault(weights.tobytes(), i)) < i:
            return j, i
    return None


def _cancel_exactly(m: np.ndarray, signed: np.ndarray) -> bool:
    """Whether sum_i m_i signed_i is exactly 0, with no rounding anywhere, and m is not 0."""
    rows = np.flatnonzero(m)
    # signed = high + low, each short enough that its product with a count below 2^26 is exact; fsum
    # then rounds once, at the end, and only a sum of exactly 0 rounds to 0.
    head = signed[rows] * (2.0**27 + 1)
    high = head - (head - signed[rows])
    parts = m[rows, None] * np.concatenate([high[None], (signed[rows] - high)[None]])
    return len(rows) > 0 and all(
        math.fsum(column) == 0 for column in parts.reshape(-1, parts.shape[-1]).T.tolist()
    )
