"""Pictures, by matplotlib."""

from pathlib import Path

import numpy as np

from jaxbp import errors


def plot_history(history: dict[str, np.ndarray], path: Path) -> None:
    """The loss and the other metrics of a run, epoch by epoch, as a picture.

    Args:
        history: ``result.history`` of `fit`.
        path: where the picture goes; its suffix says the format.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        got, hint = "no such package", "pip install 'jaxbp[report]'"
        raise ImportError(errors.message("plot_history", "matplotlib to be installed", got, hint)) from error
    losses = [name for name in history if name.endswith("loss")]
    others = [name for name in history if name not in (*losses, "epoch", "seconds")]
    panels = [names for names in (losses, others) if names]
    figure = Figure(figsize=(5 * len(panels), 3.5), layout="constrained")
    for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            axes.plot(history["epoch"], history[name], label=name)
        axes.set_xlabel("epoch")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
