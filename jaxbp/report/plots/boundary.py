"""What a network makes of a plane: its classes, and where they meet."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.arguments.search import find
from jaxbp.errors import message, within
from jaxbp.jacobians.given import Network, network
from jaxbp.report.plots.figures import MARKERS, PictureFile, figure, picture_file, written
from jaxbp.typing import Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 201  # of the plane, in each direction


def plot_boundary(net: Network, params: Params, x: Any, y: Any, path: PictureFile = None) -> "Figure":
    """The plane by the class that a network says, with the examples on it, and where classes meet.

    A network of one output says class 1 where it is above 0, as a logit is.

    Args:
        net: any layer, or any function ``(params, x) -> f`` of one example, of two inputs.
        params: its parameters.
        x: the examples, (N, 2).
        y: their classes, (N,): whole numbers from 0 on.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError, ValueError: for another network, examples that are not pairs, or classes that the network
            does not have.

    Example:
        >>> import jaxbp
        >>> net, params = jaxbp.dense(2, 1), {"W": jnp.array([[1.0, 1.0]]), "b": jnp.zeros(1)}
        >>> axes = plot_boundary(net, params, [[0.0, 1.0], [-1.0, 0.0]], [1, 0]).axes[0]
        >>> axes.get_title(), axes.get_xlabel()
        ('classes of a plane, 2 of 2 examples right', 'x_1')
    """
    where = "plot_boundary"
    apply, params = network(where, net), arguments.params(where, params)
    points = arguments.array(where, "x", x, floats=True, host=True).astype(np.float32)
    labels = arguments.array(where, "y", y, host=True)
    file = picture_file(where, path)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(message(where, "x of N pairs, (N, 2)", f"shape {points.shape}"))
    if labels.shape != (len(points),) or labels.dtype.kind not in "iu":
        expected = f"y of {len(points)} classes, whole numbers from 0 on"
        raise ValueError(message(where, expected, arguments.described(labels)))
    if not np.isfinite(points).all():
        raise ValueError(message(where, "x of finite numbers", "NaN or infinity"))
    said = _classes(where, apply, params, points)
    least = 2 if said.ndim == 1 else said.shape[1]
    if bad := find(labels, lambda rows: (rows < 0) | (rows >= least)):
        raise ValueError(
            message(where, f"classes from 0 to {least - 1}", f"y[{bad.place}] = {labels[bad.first]}")
        )
    low, high = points.min(0), points.max(0)
    margin = 0.15 * np.maximum(high - low, 1e-3)
    ways = [np.linspace(low[k] - margin[k], high[k] + margin[k], POINTS, dtype=np.float32) for k in (0, 1)]
    across, up = np.meshgrid(*ways)
    plane = _classes(where, apply, params, np.stack([across.ravel(), up.ravel()], 1))
    chosen = _chosen(plane).reshape(across.shape)
    made, ((axes,),) = figure(where, 1, 1, 5.6, 4.4)
    levels = np.arange(least + 1) - 0.5
    greys = [str(0.62 + 0.34 * k / max(least - 1, 1)) for k in range(least)]
    axes.contourf(across, up, chosen, levels, colors=greys)
    if plane.ndim == 1:
        if plane.min() < 0 < plane.max():
            axes.contour(across, up, plane.reshape(across.shape), [0], colors="black")
    elif chosen.min() < chosen.max():
        inner = [level for level in levels[1:-1] if chosen.min() < level < chosen.max()]
        axes.contour(across, up, chosen, inner, colors="black", linewidths=0.8)
    for k in range(least):
        own = points[labels == k]
        marker = MARKERS[k % (len(MARKERS) - 1)]
        axes.scatter(
            *own.T, marker=marker, s=22, facecolor=f"C{k % 10}", edgecolor="black", label=f"class {k}"
        )
    right = int((_chosen(said) == labels).sum())
    axes.set(xlabel="x_1", ylabel="x_2", title=f"classes of a plane, {right} of {len(points)} examples right")
    made.legend(loc="outside right upper", title="truth")
    return written(made, file)


def _classes(where: str, apply: Any, params: Params, points: np.ndarray) -> np.ndarray:
    """The outputs: (N,) of a network with one, else (N, C)."""
    with within(where):
        f = np.asarray(jax.vmap(lambda x: apply(params, x))(jnp.asarray(points)))
    if f.ndim == 1 or (f.ndim == 2 and f.shape[1] == 1):
        return f.reshape(-1)
    if f.ndim != 2:
        raise ValueError(message(where, "outputs of one example in one axis, (C,)", f"{f.shape[1:]}"))
    return f


def _chosen(f: np.ndarray) -> np.ndarray:
    return (f > 0).astype(int) if f.ndim == 1 else f.argmax(-1)
