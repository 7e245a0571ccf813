"""What of the data keeps a run from learning: one line before it begins."""

import numpy as np

_APART = 1000.0  # times: what one learning rate cannot serve


def unscaled(x: np.ndarray) -> str:
    """A sentence about columns whose spreads are too far apart to be learned together, or ``""``.

    Example:
        >>> unscaled(np.array([[0.1, 20_000.0], [0.3, 90_000.0]]))
        'input columns differ in scale: column 2 spreads over 7e+04, column 1 over 0.2; --scale standard
        brings them together, or little will be learned'
    """
    if x.ndim != 2:
        return ""
    spread = x.max(axis=0).astype(np.float64) - x.min(axis=0)
    varying = np.flatnonzero(spread)
    if not varying.size:
        return ""
    high, low = (varying[pick(spread[varying])] for pick in (np.argmax, np.argmin))
    if spread[high] < _APART * spread[low]:
        return ""
    return (
        f"input columns differ in scale: column {high + 1} spreads over {spread[high]:.3g}, column {low + 1} "
        f"over {spread[low]:.3g}; --scale standard brings them together, or little will be learned"
    )
