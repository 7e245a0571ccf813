"""A long text as streams side by side: what a network that carries its state from batch to batch reads."""

from typing import Any

import numpy as np

from jaxbp import arguments
from jaxbp.errors import message


def streams(ids: Any, batch_size: int, places: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a text in an order in which row i of each batch goes on where row i of the last one ended.

    The text is cut into batch_size streams of one length; batch j has of each the places j T to (j + 1) T, T
    being ``places``, and y is x one place later. For `jaxbp.fit` with ``shuffle=False`` and this batch_size,
    and a recurrent layer with ``carries=True``: back-propagation through time is truncated to T places, what
    is carried is not. The rest of the text that fills no batch is left out.

    Args:
        ids: the text, (S,) whole numbers.
        batch_size: how many streams are read side by side.
        places: T, of a row.

    Returns:
        (x, y), each (N, T), N = (S - 1) // (batch_size T) batch_size.

    Raises:
        TypeError: for ids that are no whole numbers.
        ValueError: for ids of another shape, a text too short for one batch, numbers below 1.

    Example: the letters 0 to 8 in two streams, two places at a time.
        >>> x, y = streams(np.arange(9), 2, 2)
        >>> x.tolist()
        [[0, 1], [4, 5], [2, 3], [6, 7]]
        >>> y.tolist()
        [[1, 2], [5, 6], [3, 4], [7, 8]]

    Source: Williams and Peng 1990; the order of PyTorch's word language model, and of Keras' stateful layers.
    """
    where = "streams"
    ids = arguments.array(where, "ids", ids, host=True)
    if not np.issubdtype(ids.dtype, np.integer):
        hint = "x.astype(int)" if np.issubdtype(ids.dtype, np.floating) else ""
        raise TypeError(message(where, "ids that are whole numbers", arguments.described(ids), hint))
    batch_size = arguments.whole(where, "batch_size", batch_size, low=1)
    places = arguments.whole(where, "places", places, low=1)
    if ids.ndim != 1:
        expected, got = "ids of shape (S,), one text", f"shape {ids.shape}"
        raise ValueError(message(where, expected, got, "ids.reshape(-1)"))
    batches = (len(ids) - 1) // (batch_size * places)
    if batches < 1:
        expected = f"a text of at least {batch_size} streams of {places} places, and one after them"
        raise ValueError(message(where, expected, f"{len(ids)} ids", "fewer streams, or fewer places"))

    def in_order(text: np.ndarray) -> np.ndarray:
        beside = text.reshape(batch_size, batches, places)
        return np.ascontiguousarray(beside.swapaxes(0, 1)).reshape(-1, places)

    read = batch_size * batches * places
    return in_order(ids[:read]), in_order(ids[1 : read + 1])
