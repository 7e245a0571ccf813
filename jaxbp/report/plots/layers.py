"""Activations and their slopes, deltas by layer, and rows of numbers as images."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.layers import Layer
from jaxbp.observe import Cotangents
from jaxbp.report.plots.figures import INK, SIGNED, PictureFile, figure, in_tex, picture_file, plain, written
from jaxbp.trace import Backprop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_IMAGES = 100  # that one can still look at


def plot_activations(*layers: Layer, a_max: float = 6.0, path: PictureFile = None) -> "Figure":
    """Each activation f(a) with its slope f'(a), as its own backward pass has it.

    Args:
        *layers: elementwise ones, `jaxbp.sigmoid` say.
        a_max: a goes from -a_max to a_max.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError: for what is no layer.
        ValueError: for none, or one that is not elementwise.

    Example:
        >>> import jaxbp
        >>> [axes.get_title() for axes in plot_activations(jaxbp.sigmoid, jaxbp.relu).axes]
        ['sigmoid', 'relu']
    """
    where = "plot_activations"
    a_max = arguments.number(where, "a_max", a_max, low=0, open_low=True)
    file = picture_file(where, path)
    if not layers:
        raise ValueError(message(where, "at least one layer", "none", "e.g. jaxbp.sigmoid"))
    a = jnp.linspace(-a_max, a_max, 401)
    curves = [_curves(where, layer, a) for layer in layers]
    columns = min(3, len(layers))
    rows = math.ceil(len(layers) / columns)
    made, grid = figure(where, rows, columns, 3.4, 2.8)
    for axes in grid.flat[len(layers) :]:
        axes.remove()
    for axes, layer, (f, slope) in zip(grid.flat, layers, curves, strict=False):
        axes.plot(a, f, label="f(a)", color="black")
        axes.plot(a, slope, "--", label="slope f'(a)", color="tab:orange")
        axes.set(title=plain(layer.name, 40), xlabel="a", ylabel="f(a), f'(a)")
        axes.grid(alpha=0.3)
    grid.flat[0].legend()
    return written(made, file)


def _curves(where: str, layer: Layer, a: Any) -> tuple[np.ndarray, np.ndarray]:
    """f(a) and its slope."""
    layer = arguments.instance(where, "layers", layer, Layer, "e.g. jaxbp.sigmoid")
    fits = not layer.has_params
    if fits:
        f, saved = layer.forward({}, a)
        alone = layer.apply({}, a[:, None])
        fits = f.shape == a.shape and alone.shape == (*a.shape, 1) and bool(jnp.allclose(f, alone[:, 0]))
    if not fits:
        raise ValueError(message(where, "layers that take each a by itself", layer.name))
    return np.asarray(f), np.asarray(layer.backward({}, saved, jnp.ones_like(f))[1])


def plot_deltas(seen: Backprop | Cotangents, path: PictureFile = None) -> "Figure":
    r"""The norm of each delta from the loss back to x, and which part of it is 0.

    Norms that fall or rise by factors from layer to layer are deltas that vanish or explode; many zeros are
    units that pass nothing on.

    Args:
        seen: of `jaxbp.backprop` or `jaxbp.cotangents`.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError: for anything else, and deltas inside of `jax.jit`.
        ValueError: for a cotangents without norms.

    Example:
        >>> import jax, jaxbp
        >>> net = jaxbp.mlp([2, 3, 1], jaxbp.relu)
        >>> params = net.init(jax.random.key(0))
        >>> bp = jaxbp.backprop(net, jaxbp.squared_error, params, jnp.ones(2), jnp.ones(1))
        >>> [label.get_text() for label in plot_deltas(bp).axes[0].get_yticklabels()][:3]
        ['$\\delta_{f_2}$', '$\\delta_{a_2}$', '$\\delta_{W_2}$']
    """
    where = "plot_deltas"
    arguments.instance(where, "seen", seen, (Backprop, Cotangents), "e.g. jaxbp.backprop(...)")
    file = picture_file(where, path)
    rows = _of_backprop(where, seen) if isinstance(seen, Backprop) else _of_cotangents(where, seen)
    names, norms, zeros = zip(*rows, strict=True)
    made, ((axes,),) = figure(where, 1, 1, 6.4, 1.2 + 0.3 * len(names))
    at = np.arange(len(names))
    positive = [norm for norm in norms if 0 < norm < math.inf]
    low = min(positive, default=1) / 10
    axes.barh(at, norms, color="0.45", edgecolor="black")
    axes.set_yticks(at, names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(low, 100 * max(positive, default=1))
    for y, norm, zero in zip(at, norms, zeros, strict=True):
        said = f" {norm:.3g}" + ("" if zero is None or zero == 0 else f", {zero:.0%} zeros")
        axes.text(max(norm, low) if math.isfinite(norm) else low, y, said, va="center", fontsize=8)
    axes.set(title="deltas, from the loss back to x", xlabel="norm of the delta", ylabel="delta of")
    return written(made, file)


def _of_backprop(where: str, seen: Backprop) -> list[tuple[str, float, float | None]]:
    deltas = [(name, v) for name, v in seen.quantities() if name.startswith("delta_")]
    return [(in_tex(name), *_measured(arguments.array(where, name, v, host=True))) for name, v in deltas]


def _of_cotangents(where: str, seen: Cotangents) -> list[tuple[str, float, float | None]]:
    rows: list[tuple[str, float, float | None]] = []
    for tap in reversed(seen.taps):
        delta = seen[tap.label]
        if not isinstance(delta, dict):
            rows.append(
                (plain(tap.label, 40), *_measured(arguments.array(where, tap.label, delta, host=True)))
            )
        elif "norm" in delta:  # of a loop there is one for each step
            zeros = float(np.mean(delta["zeros"])) if "zeros" in delta else None
            rows.append((plain(tap.label, 40), float(np.linalg.norm(np.asarray(delta["norm"]))), zeros))
        else:
            raise ValueError(message(where, "deltas, or their norms", f"{', '.join(delta)} of {tap.label}"))
    if not rows:
        raise ValueError(message(where, "at least one delta", "cotangents without any"))
    return rows


def _measured(delta: np.ndarray) -> tuple[float, float]:
    values = delta.astype(np.float64).ravel()
    return float(np.linalg.norm(values)), float(np.mean(values == 0)) if values.size else 0.0


def plot_images(
    rows: Any,
    image: tuple[int, int] | None = None,
    *,
    titles: Sequence[Any] | None = None,
    label: str = "value",
    path: PictureFile = None,
) -> "Figure":
    """Rows of numbers as images on one scale: the weights of units, inputs, their deltas.

    Args:
        rows: (N, height * width) or (N, height, width): ``params[1]["W"]`` has a row for each unit.
        image: (height, width); by default the rows' own axes, or a square.
        titles: one for each image; by default 1, 2, ...
        label: what the numbers are, for the color bar.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError, ValueError: for rows that are no images of one size, or another number of titles.

    Example:
        >>> made = plot_images(np.eye(4), (2, 2), titles="abcd", label="W_1")
        >>> [axes.get_title() for axes in made.axes]
        ['a', 'b', 'c', 'd', '']
    """
    where = "plot_images"
    values = arguments.array(where, "rows", rows, host=True)
    arguments.instance(where, "label", label, str)
    file = picture_file(where, path)
    images = _images(where, values, image)
    if titles is None:
        titles = range(1, len(images) + 1)
    if not isinstance(titles, Sequence | np.ndarray) or len(titles) != len(images):
        expected = f"titles, one for each of {len(images)} images"
        raise ValueError(message(where, expected, arguments.described(titles)))
    columns = math.ceil(math.sqrt(1.6 * len(images)))
    count = math.ceil(len(images) / columns)
    made, grid = figure(where, count, columns, 1.05, 1.25)
    made.set_size_inches(1.05 * columns + 1.2, 1.25 * count + 0.3)
    signed = bool((images < 0).any())
    most = float(np.nanmax(abs(images), initial=0)) or 1.0
    style = {"cmap": SIGNED if signed else INK, "vmin": -most if signed else 0.0, "vmax": most}
    for axes in grid.flat[len(images) :]:
        axes.remove()
    for axes, one, title in zip(grid.flat, images, titles, strict=False):
        drawn = axes.imshow(one, interpolation="nearest", **style)
        axes.set_title(plain(title), fontsize=8)
        axes.set(xticks=[], yticks=[])
    shown = list(grid.flat[: len(images)])
    made.colorbar(drawn, ax=shown, label=label, shrink=0.9)
    return written(made, file)


def _images(where: str, values: np.ndarray, image: Any) -> np.ndarray:
    """(N, height, width)."""
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3) or not values.size:
        expected = "rows of shape (N, height * width) or (N, height, width)"
        raise ValueError(message(where, expected, arguments.described(values)))
    if len(values) > MOST_IMAGES:
        hint = f"choose some, rows[:{MOST_IMAGES}]"
        raise ValueError(message(where, f"at most {MOST_IMAGES} images", f"{len(values)}", hint))
    size = math.prod(values.shape[1:])
    side = math.isqrt(size)
    if image is None and values.ndim == 2 and side**2 != size:
        hint = "give image=(height, width)"
        raise ValueError(message(where, "rows that are squares", f"rows of {size} numbers", hint))
    if image is None:
        shape = values.shape[1:] if values.ndim == 3 else (side, side)
    else:
        if not isinstance(image, tuple | list) or len(image) != 2:
            raise TypeError(message(where, "image, (height, width)", arguments.described(image)))
        shape = tuple(arguments.whole(where, f"image[{i}]", d, low=1) for i, d in enumerate(image))
        if math.prod(shape) != size:
            raise ValueError(message(where, f"image of {size} numbers", f"{shape}"))
    return values.reshape(len(values), *shape).astype(float)
