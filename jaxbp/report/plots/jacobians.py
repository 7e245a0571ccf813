"""A chain of Jacobians: its factors as heat maps, and what their product keeps."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxbp import arguments
from jaxbp.errors import message
from jaxbp.jacobians import JacobianChain
from jaxbp.report.plots.figures import (
    PictureFile,
    counted,
    figure,
    heat_map,
    in_tex,
    lines,
    picture_file,
    written,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 12  # factors beside each other


def plot_jacobians(chain: JacobianChain, path: PictureFile = None) -> "Figure":
    """Each factor of a chain as a heat map, and below it the product so far, from the output back to there.

    Args:
        chain: of `jaxbp.jacobian_chain`, for one example.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError: for what is no chain.
        ValueError: for a chain without numbers: traced, or of many examples; or one of too many factors.

    Example:
        >>> import jax, jaxbp
        >>> net = jaxbp.mlp([3, 4, 2], jaxbp.tanh)
        >>> chain = jaxbp.jacobian_chain(net, net.init(jax.random.key(0)), np.ones(3, np.float32))
        >>> [axes.get_title() for axes in plot_jacobians(chain).axes[3:6]]
        ['$J_{f_2}(f_1)$', '$J_{f_2}(a_1)$', '$J_{f_2}(x)$']
    """
    where = "plot_jacobians"
    factors, products = _matrices(where, chain)
    file = picture_file(where, path)
    made, grid = figure(where, 2, len(factors), 3.1, 2.9)
    made.suptitle(f"{in_tex(chain.symbol)} as a product: its factors, and the product so far")
    for axes, (symbol, means, matrix) in zip(grid[0], factors, strict=True):
        heat_map(made, axes, matrix, "entry")
        axes.set_title(f"{in_tex(symbol)} = {means}", fontsize=9)
    for axes, (symbol, matrix) in zip(grid[1], products, strict=True):
        heat_map(made, axes, matrix, "entry")
        axes.set_title(in_tex(symbol), fontsize=9)
    for axes in grid.flat:
        axes.set(xlabel="input entry", ylabel="output entry")
    return written(made, file)


def plot_spectra(chain: JacobianChain, path: PictureFile = None) -> "Figure":
    """The singular values of each factor, and of the product so far.

    Where the largest and the smallest of the product drift apart, a delta that flows back keeps a few
    directions only.

    Args:
        chain: of `jaxbp.jacobian_chain`, for one example.
        path: where the picture goes, if it is written; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
        TypeError, ValueError: as `plot_jacobians`.

    Example:
        >>> import jax, jaxbp
        >>> net = jaxbp.mlp([3, 4, 2], jaxbp.tanh)
        >>> chain = jaxbp.jacobian_chain(net, net.init(jax.random.key(0)), np.ones(3, np.float32))
        >>> [len(line.get_ydata()) for line in plot_spectra(chain).axes[0].lines]
        [2, 4, 3]
    """
    where = "plot_spectra"
    factors, products = _matrices(where, chain)
    file = picture_file(where, path)
    made, ((left, right),) = figure(where, 1, 2, 5.6, 4)
    for axes, title, rows in (
        (left, "of each factor", [(symbol, M) for symbol, _, M in factors]),
        (right, "of the product so far, from the output back", products),
    ):
        for (symbol, matrix), style in zip(rows, lines(), strict=False):
            values = np.linalg.svd(matrix, compute_uv=False)
            zeros = int((values == 0).sum())
            said = in_tex(symbol) + (f", {zeros} are 0" if zeros else "")
            axes.plot(1 + np.arange(len(values)), np.where(values > 0, values, np.nan), label=said, **style)
        axes.set(title=title, xlabel="number of the singular value", ylabel="singular value", yscale="log")
        axes.grid(alpha=0.3)
        counted(axes)
        axes.legend(fontsize=8)
    made.suptitle(f"singular values of {in_tex(chain.symbol)}")
    return written(made, file)


def _matrices(where: str, chain: Any) -> tuple[list[tuple[str, str, Any]], list[tuple[str, Any]]]:
    """Of each factor its symbol, what it is and its numbers; and the products so far."""
    arguments.instance(where, "chain", chain, JacobianChain, "e.g. jaxbp.jacobian_chain(net, params, x)")
    if len(chain.factors) > MOST:
        raise ValueError(message(where, f"a chain of at most {MOST} factors", f"{len(chain.factors)}"))
    if not all(factor.has_numbers for factor in chain.factors):
        got, hint = "one that is traced, or of many", "take the chain of one x, outside of jax.jit"
        raise ValueError(message(where, "a chain of one example", got, hint))
    factors = [(f.symbol, f.means, np.asarray(f.J.matrix(), float)) for f in chain.factors]
    return factors, [(symbol, np.asarray(M, float)) for symbol, M in chain.running()]
