"""The units of a network with their values forward and their deltas back."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.report.plots.figures import PictureFile, figure, in_tex, picture_file, written
from jaxbp.trace import Backprop
from jaxbp.typing import Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = 8  # of a level that are drawn; the others are three dots
WEIGHTS = 9  # between two levels whose numbers are written
MOST = 12  # levels


class Level(NamedTuple):
    """A column of units: the level's name, its values, their deltas, and the weights that lead to it."""

    name: str
    values: np.ndarray
    deltas: np.ndarray
    W: np.ndarray | None


def plot_network(bp: Backprop, params: Params = None, path: PictureFile = None) -> "Figure":
    """A network of one example: f_l above each unit, delta_{f_l} below it.

    A connection is as thick as its weight is large, and dashed where it is negative.

    Args:
        bp: of `jaxbp.backprop`, for one example.
        params: the parameters, for the weights; without them all connections are alike.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError: for what is no `Backprop`, or traced values.
        ValueError: for more than one example, or more levels than can be seen.

    Example:
        >>> import jax, jax.numpy as jnp, jaxbp
        >>> net = jaxbp.mlp([2, 2, 1], jaxbp.sigmoid)
        >>> params = net.init(jax.random.key(0))
        >>> bp = jaxbp.backprop(net, jaxbp.binary_cross_entropy, params, [1, 0], [1])
        >>> len(plot_network(bp, params).axes[0].patches)  # a circle for each unit
        5
    """
    where = "plot_network"
    arguments.instance(where, "bp", bp, Backprop, "e.g. jaxbp.backprop(net, loss, params, x, y)")
    file = picture_file(where, path)
    weights = None if params is None else arguments.params(where, params)
    levels = [_level(where, bp, l, weights) for l in sorted(bp.trace.f)]
    if len(levels) > MOST:
        raise ValueError(message(where, f"at most {MOST - 1} layers", f"{len(levels) - 1}"))
    tallest = max(min(len(level.values), UNITS) for level in levels)
    made, ((axes,),) = figure(where, 1, 1, 2.3 * len(levels) + 0.6, 1.15 * tallest + 1.6)
    places = [_places(len(level.values)) for level in levels]
    most = max((float(np.abs(level.W).max()) for level in levels if level.W is not None), default=1.0) or 1.0
    for x, (level, before, here) in enumerate(zip(levels[1:], places, places[1:], strict=False), 1):
        _connections(axes, x, level, before, here, most)
    for x, (level, here) in enumerate(zip(levels, places, strict=True)):
        _units(axes, x, level, here)
    low, high = min(min(p) for p in places), max(max(p) for p in places)
    axes.set(xlim=(-0.45, len(levels) - 0.55), ylim=(low - 0.65, high + 1.0))
    axes.set_axis_off()
    axes.annotate("values", (0.16, 0.975), (0.02, 0.975), xycoords="axes fraction", va="center",
                  arrowprops={"arrowstyle": "->"}, color="black", fontsize=9)  # fmt: skip
    axes.annotate("deltas", (0.84, 0.02), (0.98, 0.02), xycoords="axes fraction", va="center", ha="right",
                  arrowprops={"arrowstyle": "->"}, color="tab:red", fontsize=9, style="italic")  # fmt: skip
    mu = " ".join(f"{v:.4g}" for v in np.ravel(np.asarray(bp.mu))[:UNITS])
    axes.set_title(f"loss {float(bp.loss):.4g}, mu = {mu}{' ...' if np.size(bp.mu) > UNITS else ''}")
    return written(made, file)


def _level(where: str, bp: Backprop, l: int, params: Any) -> Level:
    """The units of level l."""
    values = arguments.array(where, f"f_{l}", bp.trace.f[l], host=True)
    deltas = arguments.array(where, f"delta_f_{l}", bp.deltas.f[l], host=True)
    if values.ndim != 1:
        hint = "give x[0] and y[0]"
        raise ValueError(message(where, "one example of one axis", f"f_{l} of shape {values.shape}", hint))
    own = params.get(l, params) if isinstance(params, dict) and l else {}
    W = own.get("W") if isinstance(own, dict) else None
    fits = W is not None and W.shape == (len(values), len(bp.trace.f[l - 1]))
    return Level("x" if l == 0 else f"f_{l}", values, deltas, np.asarray(W) if fits else None)


def _places(units: int) -> list[float]:
    """The heights of the units that are drawn, the first on top."""
    shown = min(units, UNITS)
    return [(shown - 1) / 2 - i for i in range(shown)]


def _connections(
    axes: Any, x: int, level: Level, before: list[float], here: list[float], most: float
) -> None:
    for i, y in enumerate(here):
        for j, y_before in enumerate(before):
            w = None if level.W is None else float(level.W[i, j])
            width = 0.8 if w is None else 0.3 + 2.5 * abs(w) / most
            style = "--" if w is not None and w < 0 else "-"
            axes.plot([x - 1, x], [y_before, y], style, color="0.6", linewidth=width, zorder=1)
            if w is not None and level.W is not None and level.W.size <= WEIGHTS:
                share = 0.3 + 0.12 * (i % 2)
                axes.text(
                    x - 1 + share, y_before + share * (y - y_before), f"{w:.3g}", fontsize=7, ha="center",
                    va="center", color="0.25", zorder=2,
                    bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
                )  # fmt: skip


def _units(axes: Any, x: int, level: Level, here: list[float]) -> None:
    from matplotlib.patches import Ellipse

    halo = {"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    axes.text(x, max(here) + 0.62, in_tex(level.name), ha="center", fontsize=11)
    for i, y in enumerate(here):
        axes.add_patch(Ellipse((x, y), 0.2, 0.3, facecolor="white", edgecolor="black", zorder=3))
        axes.text(x, y, str(i + 1), ha="center", va="center", fontsize=7, color="0.4", zorder=4)
        axes.text(
            x, y + 0.2, f"{level.values[i]:.4g}", ha="center", va="bottom", fontsize=8, zorder=4, bbox=halo
        )
        axes.text(
            x, y - 0.2, f"{level.deltas[i]:.4g}", ha="center", va="top", fontsize=8, color="tab:red",
            style="italic", zorder=4, bbox=halo,
        )  # fmt: skip
    if len(level.values) > UNITS:
        axes.text(x, min(here) - 0.55, f"... {len(level.values)}", ha="center", fontsize=8)
