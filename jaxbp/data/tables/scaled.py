"""Whether numbers that are given as raw columns of a table look like its features, which are scaled."""

from collections.abc import Sequence

import numpy as np

from jaxbp.data.tables.columns import Number

# Squares of standard deviations, as a mean over the columns: of one example and of the mean of many.
_FAR_OF_ONE, _FAR = 16.0, 1.0
_NEARER = 8.0


def looks_scaled(columns: Sequence[Number], values: Sequence[np.ndarray]) -> bool:
    """Whether values lie where features do, about 0, and far from where the raw columns lay in training.

    Where the scaling changes little, both are near, and so it is where little is wrong.

    Args:
        columns: what was fitted to each.
        values: of each, (N,), NaN where one is missing.

    Example:
        >>> height = Number(fill=170.0, shift=170.0, scale=10.0)
        >>> [looks_scaled([height], [np.array(values)]) for values in ([0.3, -1.2], [173.0, 158.0])]
        [True, False]
    """
    scaled = [(v - column.shift) / column.scale for column, v in zip(columns, values, strict=True)]
    as_raw, as_features = _from_zero(scaled), _from_zero(values)
    N = max(map(len, values), default=1)
    return as_raw > _FAR + (_FAR_OF_ONE - _FAR) / N**2 and as_raw > _NEARER * as_features


def _from_zero(columns: Sequence[np.ndarray]) -> float:
    """The mean over the columns of their squared means."""
    there = [column[~np.isnan(column)] for column in columns]
    return float(np.mean([column.mean() ** 2 for column in there if column.size] or [0.0]))
