"""What a `watch` has seen: looks, as rows of a table and as text with sparklines."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbp import tables
from jaxbp.observe.instruments.flow import Flow
from jaxbp.observe.instruments.statistics import EXPONENTS, Statistics
from jaxbp.observe.instruments.updates import Update

COLUMNS = ("epoch", "quantity", "of", "statistic", "value")
SHOWN = 12  # layers whose lines are printed


class Look(NamedTuple):
    """What was measured after an epoch.

    Args:
        epoch: its number, 0 before the first.
        flow: the statistics of every value and delta.
        updates: what this epoch changed of each parameter.
        singular_values: of the Jacobian of the last product by the inputs of the first example.
        noise_scale: of the gradient.
    """

    epoch: int
    flow: Flow
    updates: dict[str, Update]
    singular_values: np.ndarray | None = None
    noise_scale: float | None = None


def rows(looks: Sequence[Look]) -> Iterator[tuple[int, str, str, str, float]]:
    """A row for each number: (epoch, quantity, label or parameter, statistic, value)."""
    for look in looks:
        yield look.epoch, "loss", "", "value", look.flow.loss
        for quantity, found in (("value", look.flow.values), ("delta", look.flow.deltas)):
            for label, kept in found.items():
                yield from _statistics(look.epoch, quantity, label, kept)
        for name, update in look.updates.items():
            yield look.epoch, "update", name, "ratio", update.ratio
            yield from _statistics(look.epoch, "weight", name, update.weight)
            yield from _statistics(look.epoch, "update", name, update.update)
        if look.singular_values is not None:
            for i, value in enumerate(look.singular_values):
                yield look.epoch, "jacobian", "", f"singular value {i + 1}", float(value)
        if look.noise_scale is not None:
            yield look.epoch, "gradient", "", "noise scale", look.noise_scale


def as_text(title: str, looks: Sequence[Look]) -> str:
    """A line for each layer and each parameter: how its numbers went over the epochs."""
    if not looks:
        return f"{title}: nothing was looked at"
    first, last = looks[0], looks[-1]
    layers: dict[str, list[Any]] = {
        label: [look.flow.deltas.get(label) for look in looks] for label in last.flow.deltas
    }
    moved: dict[str, list[Any]] = {name: [look.updates.get(name) for look in looks] for name in last.updates}
    header = ("layer", "norm of delta", "last", "zeros", "norm of value")
    lines = [
        (label, sparkline([delta.norm for delta in deltas if delta]), f"{deltas[-1].norm:.3g}",
         f"{deltas[-1].zeros:.0%}", f"{last.flow.values[label].norm:.3g}")
        for label, deltas in layers.items()
    ]  # fmt: skip
    losses = f"{first.flow.loss:.4g} to {last.flow.loss:.4g}"
    head = f"{title}: epochs {first.epoch} to {last.epoch}, loss {losses}"
    said = [tables.as_text(header, _few(lines), head)]
    if moved:
        header = ("parameter", "update / weight", "last", "", "norm of weight")
        lines = [
            (name, sparkline([update.ratio for update in found if update]),
             f"{found[-1].ratio:.3g}", "", f"{found[-1].weight.norm:.3g}")
            for name, found in moved.items()
        ]  # fmt: skip
        said.append(tables.as_text(header, _few(lines)))
    return "\n".join(said)


def _statistics(
    epoch: int, quantity: str, of: str, kept: Statistics
) -> Iterator[tuple[int, str, str, str, float]]:
    for word in ("norm", "max", "zeros"):
        yield epoch, quantity, of, word, float(getattr(kept, word))
    for k, share in zip(EXPONENTS, kept.histogram, strict=True):
        if share:
            yield epoch, quantity, of, f"2^{k}", float(share)


def _few(rows: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    """The first and the last of many."""
    if len(rows) <= SHOWN:
        return rows
    left = len(rows) - SHOWN
    return [*rows[: SHOWN // 2], (f"({left} more)", *[""] * (len(rows[0]) - 1)), *rows[-SHOWN // 2 :]]


def sparkline(numbers: Sequence[Any]) -> str:
    """A character for each number, by its logarithm; 0 for zero, ! for what is not finite.

    Example:
        >>> sparkline([1.0, 10.0, 100.0, 0.0, np.nan])
        '▁▅█0!'
    """
    try:
        "▁".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        levels = "▁▂▃▄▅▆▇█"
    except UnicodeEncodeError:
        levels = "_.-=+*%@"
    values = np.abs(np.asarray(numbers, float))
    there = np.isfinite(values) & (values > 0)
    logs = np.log10(values, where=there, out=np.zeros_like(values))
    low, high = (logs[there].min(), logs[there].max()) if there.any() else (0.0, 0.0)
    middle, spread = (low + high) / 2, max(high - low, 1.0)  # less than a factor of 10 is not blown up
    at = np.clip(np.round(7 * ((logs - middle) / spread + 0.5)), 0, 7).astype(int)
    return "".join(
        levels[i] if ok else "0" if v == 0 else "!" for i, ok, v in zip(at, there, values, strict=True)
    )
