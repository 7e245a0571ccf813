"""Findings in the units of a layer: flat, dead, alike."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxbp.jaxprs.compile_once import jitted
from jaxbp.jaxprs.values.axes import rows_along
from jaxbp.jaxprs.values.flows import is_stopped, reached
from jaxbp.jaxprs.values.labels import Label
from jaxbp.observe.diagnosis.activations import gates_itself, hidden, is_relu, squash
from jaxbp.observe.diagnosis.measured import Measured, Node
from jaxbp.observe.diagnosis.record import Finding
from jaxbp.observe.diagnosis.softmax import masked, softmaxes

SHARE = 0.5
FLAT = {"logistic": (0.01, 0.99), "tanh": (-0.99, 0.99)}
ALIKE = 1e-5
STEPS, STEP = 3, 0.01


def saturated(m: Measured) -> Iterator[Finding]:
    """Most outputs of a hidden sigmoid or tanh, or the weights of most attentions, are at their ends."""
    worst: tuple[float, Node] | None = None
    for node in m.nodes:
        kind = squash(m, node) if node.learned and node.place.eqn.outvars[0].aval.ndim else ""
        if kind and hidden(m, node) and not gates_itself(m, node):
            value, (low, high) = m.value(node), FLAT[kind]
            share = float(((value < low) | (value > high)).mean())
            worst = max(worst or (0.0, node), (share, node), key=lambda entry: entry[0])
    for soft in softmaxes(m):
        if soft.mixes and soft.size > 1 and soft.logits is not None:
            choices = (~masked(soft.logits)).sum(soft.axis) > 1
            if choices.mean() > SHARE:
                share = float((soft.value.max(soft.axis) > 0.99)[choices].mean())
                worst = max(worst or (0.0, soft.node), (share, soft.node), key=lambda entry: entry[0])
    if worst and worst[0] > SHARE:
        label = worst[1].label
        yield Finding("saturated", label.text, label.where, f"{worst[0]:.0%} of its outputs are at its ends")


def dead(m: Measured) -> Iterator[Finding]:
    """Most units of a relu are 0 for the whole batch."""
    worst: tuple[float, Label] | None = None
    for node in m.nodes:
        if not (is_relu(m, node) and node.learned and node.place.eqn.outvars[0].aval.ndim):
            continue
        value = m.value(node)
        rows = value.reshape(-1, value.shape[-1]) if value.ndim > 1 else value[:, None]
        if rows.shape[0] >= 4:
            share = float((rows <= 0).all(0).mean())
            worst = max(worst or (0.0, node.label), (share, node.label), key=lambda entry: entry[0])
    if worst and worst[0] > SHARE:
        evidence = f"{worst[0]:.0%} of its units are 0 for the whole batch"
        yield Finding("dead", worst[1].text, worst[1].where, evidence)


def identical(m: Measured) -> Iterator[Finding]:
    """Units whose weights are equal, and whose gradients are."""
    still = [n for n in _moving(m) if m.parameters[n].ndim > 1 and not m.gradients[n].any()]
    # Two matrices of zeros in a row: each keeps the delta from the other.
    zeros = [n for n in still if not m.parameters[n].any()]
    if len(zeros) > 1 and len(zeros := _still_after_steps(m, zeros)) > 1:
        yield Finding("identical", ", ".join(zeros[:4]), "", "all units are 0, and none has a gradient")
        return
    for name, w in m.parameters.items():
        g = m.gradients[name]
        if w.ndim < 2 or not np.isfinite(g).all() or np.abs(g).max(initial=0) <= 1e-6:
            continue
        for axis in (w.ndim - 1, 0):
            units, slopes = rows_along(w, axis), rows_along(g, axis)
            if min(units.shape) > 1 and _alike(units) and _alike(slopes) and np.abs(slopes).max() > 0:
                yield Finding(
                    "identical", name, "", f"all {len(units)} units have the same weights and gradients"
                )
                return


def _still_after_steps(m: Measured, names: list[str]) -> list[str]:
    """Those that have no gradient either when the others have moved: what a zero after them held back."""
    numbers = list(m.call.static.differentiated)

    def loss(params: list[Any]) -> Any:
        full = list(m.arrays)
        for k, value in zip(numbers, params, strict=True):
            full[k] = value
        return core.jaxpr_as_fun(m.closed)(*full)[0]

    slopes_of = jitted(jax.grad(loss), m.arrays)
    params = [m.arrays[k] for k in numbers]
    for _ in range(STEPS):
        slopes = slopes_of(params)
        moved = {m.call.names[k] for k, g in zip(numbers, slopes, strict=True) if (np.asarray(g) != 0).any()}
        names = [n for n in names if n not in moved]
        # The way matters, not its length: each parameter moves by about STEP.
        params = [
            w - STEP * jnp.where(g == 0, 0, g / jnp.abs(g).max(initial=0))
            for w, g in zip(params, slopes, strict=True)
        ]
    return names


def _moving(m: Measured) -> list[str]:
    """The parameters from which a way with a derivative leads to the loss."""
    open_ = reached(m.closed, {0}, is_stopped)
    return [m.call.names[k] for k in m.call.static.differentiated if k in open_]


def _alike(rows: np.ndarray) -> bool:
    return bool(np.ptp(rows, axis=0).max() <= ALIKE * np.abs(rows).max())
