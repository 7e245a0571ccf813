"""`char_rnn`: a recurrent network of texts, character after character."""

from collections.abc import Callable

from jaxbp import arguments, errors
from jaxbp.layers.composition.chain import chain
from jaxbp.layers.dense import dense
from jaxbp.layers.dropout import dropout as dropped
from jaxbp.layers.layer import Layer
from jaxbp.layers.recurrence.cells import lstm
from jaxbp.layers.sequences.embedding import embedding


def char_rnn(
    size: int,
    *,
    d: int = 128,
    layers: int = 1,
    cell: Callable[..., Layer] = lstm,
    carries: bool = False,
    dropout: float = 0.0,
) -> Layer:
    """A text of ids (*n, T) to the logits of what comes next at each place, (*n, T, size).

    A `chain` of the `embedding`, ``layers`` recurrent layers, and a dense head.

    Args:
        size: how many different ids there are.
        d: the numbers at a place, and in h.
        layers: how many recurrent layers.
        cell: `lstm`, `gru` or `elman`.
        carries: whether a pass goes on where an earlier one ended, see `elman`.
        dropout: the probability, before each layer after the first and before the head; where a key is given.

    Raises:
        TypeError: for numbers and flags of another type, a cell that makes no layer.
        ValueError: for numbers below 1, a dropout outside [0, 1).

    Example:
        >>> char_rnn(65, d=32, layers=2)
        chain(embedding(65, 32), lstm(32, 32), lstm(32, 32), dense(32, 65))

    Source: Karpathy 2015, "The unreasonable effectiveness of recurrent neural networks"; Graves 2013, arXiv
    1308.0850.
    """
    layers = arguments.whole("char_rnn", "layers", layers, low=1)
    rate = arguments.number("char_rnn", "dropout", dropout, low=0, high=1, open_high=True)
    arguments.function("char_rnn", "cell", cell, positional=2, keywords=("carries",))
    parts: list[Layer] = [embedding(size, d)]
    for _ in range(layers):
        made = cell(d, d, carries=carries)
        hint = "jaxbp.lstm, jaxbp.gru or jaxbp.elman"
        if not isinstance(made, Layer):
            raise TypeError(
                errors.message("char_rnn", "a cell that makes a Layer", arguments.described(made), hint)
            )
        parts += [made, *([dropped(rate)] if rate else [])]
    return chain(*parts, dense(d, size))
