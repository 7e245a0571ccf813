"""The picture of what a `watch` has seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxbp import errors
from jaxbp.observe.instruments.statistics import EXPONENTS
from jaxbp.report.watching.looks import Look

_NAMED = 10  # lines that get a name in the legend


def plot_watch(looks: Sequence[Look], path: Path) -> None:
    """Six panels: norms of deltas and values, updates, histograms, singular values and noise scale.

    Args:
        looks: of a `jaxbp.watch`; there is at least one.
        path: where the picture goes; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
    """
    with errors.needs("matplotlib", "report", "watch"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(15, 8), layout="constrained")
    panels = figure.subplots(2, 3)
    last = looks[-1]
    for axes, word in ((panels[0, 0], "deltas"), (panels[0, 1], "values")):
        lines = {
            label: [(look.epoch, getattr(look.flow, word)[label].norm) for look in looks]
            for label in getattr(last.flow, word)
        }
        _lines(axes, lines, f"norms of {word}, by layer")
    ratios = {
        name: [(look.epoch, look.updates[name].ratio) for look in looks if name in look.updates]
        for name in last.updates
    }
    _lines(panels[0, 2], ratios, "update of an epoch / weight")
    for axes, word in ((panels[1, 0], "deltas"), (panels[1, 1], "values")):
        _histograms(axes, getattr(last.flow, word), f"{word} after epoch {last.epoch}: share by power of 2")
    _further(panels[1, 2], looks)
    figure.savefig(path, dpi=110)


def _lines(axes: Any, lines: dict[str, list[tuple[int, Any]]], title: str) -> None:
    """A line for each name over the epochs, on a logarithmic scale; from the first (dark) to the last."""
    from matplotlib import colormaps

    axes.set(title=title, xlabel="epoch")
    axes.grid(alpha=0.3)
    shown = {name: points for name, points in lines.items() if any(float(y) > 0 for _, y in points)}
    if not shown:
        axes.text(0.5, 0.5, "none above 0" if lines else "none yet", ha="center", transform=axes.transAxes)
        return
    axes.set_yscale("log")
    for i, (name, points) in enumerate(shown.items()):
        x, y = zip(*points, strict=True)
        values = np.asarray(y, float)
        color = colormaps["viridis"](0.9 * i / max(len(shown) - 1, 1))
        named = name if len(shown) <= _NAMED or i in (0, len(shown) - 1) else None
        axes.plot(x, np.where(values > 0, values, np.nan), marker=".", color=color, label=named)
    axes.legend(fontsize="small")


def _histograms(axes: Any, found: dict[str, Any], title: str) -> None:
    """A row for each layer, the first above; zeros are in the column on the left."""
    labels = list(found)
    zeros = np.array([float(found[label].zeros) for label in labels])
    shares = np.array([np.asarray(found[label].histogram) for label in labels])
    used = np.flatnonzero(shares.any(0)) if shares.any() else np.array([0, len(EXPONENTS) - 1])
    low, high = used[0], used[-1] + 1
    picture = axes.imshow(
        np.column_stack([zeros, shares[:, low:high]]),
        aspect="auto",
        cmap="Blues",
        vmin=0,
        interpolation="none",
    )
    ticks = np.unique(np.linspace(min(low + 2, high - 1), high - 1, min(7, high - low)).round().astype(int))
    axes.set_xticks([0, *(ticks - low + 1)], ["0", *(f"$2^{{{EXPONENTS[k]}}}$" for k in ticks)])
    step = max(1, len(labels) // 20)
    axes.set_yticks(range(0, len(labels), step), labels[::step], fontsize="small")
    axes.axvline(0.5, color="gray", linewidth=0.8)
    axes.set_title(title, fontsize="medium")
    axes.figure.colorbar(picture, ax=axes)


def _further(axes: Any, looks: Sequence[Any]) -> None:
    """Singular values of the Jacobian over the epochs, and the noise scale."""
    axes.set(title="singular values (lines), noise scale (dashed)", xlabel="epoch")
    axes.grid(alpha=0.3)
    spectra = [(look.epoch, look.singular_values) for look in looks if look.singular_values is not None]
    scales = [(look.epoch, look.noise_scale) for look in looks if look.noise_scale is not None]
    if not spectra and not scales:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
        return
    if spectra:
        epochs = [epoch for epoch, _ in spectra]
        values = np.array([np.asarray(found, float) for _, found in spectra])
        axes.plot(epochs, np.where(values > 0, values, np.nan), color="C0", alpha=0.6, marker=".")
        axes.set_ylabel("singular value", color="C0")
        if (values > 0).any():
            axes.set_yscale("log")
    if scales:
        other = axes.twinx() if spectra else axes
        sizes = np.array([scale for _, scale in scales])
        known = sizes > 0  # below 0 the batch is too small to tell
        other.plot(
            [epoch for epoch, _ in scales],
            np.where(known, sizes, np.nan),
            color="C1",
            linestyle="--",
            marker=".",
        )
        other.set_ylabel("noise scale, in examples", color="C1")
        if known.any():
            other.set_yscale("log")
