"""`gpt`: the network of the generative pre-trained transformers, small."""

import math

from jaxbp import arguments, errors
from jaxbp.layers.activations import gelu
from jaxbp.layers.attention import attend
from jaxbp.layers.composition.chain import chain
from jaxbp.layers.composition.residual import residual
from jaxbp.layers.composition.tied import tied
from jaxbp.layers.dense import dense
from jaxbp.layers.dropout import dropout as dropped
from jaxbp.layers.initializers import Normal
from jaxbp.layers.layer import Layer
from jaxbp.layers.norms import layer_norm
from jaxbp.layers.sequences.embedding import embedding


def gpt(
    size: int,
    length: int,
    *,
    d: int = 128,
    layers: int = 4,
    heads: int = 4,
    bias: bool = True,
    dropout: float = 0.0,
    tie: bool = True,
) -> Layer:
    """A text of ids (*n, T) to the logits of what comes next at each place, (*n, T, size).

    A `chain` of the embedding with learned positions, ``layers`` times two residuals

        f + dense(attend(dense(layer_norm(f)))),  causal;  f + dense(gelu(dense(layer_norm(f)))),  4 d wide

    a last `layer_norm`, and the head, whose W is the embedding's E (`tied`). In the lecture's counting l = 1
    is the embedding, 2 to 2 layers + 1 are the residuals, and L is the head. Entries are drawn from N(0,
    0.02^2), those of the two projections that are added to f with 1 / sqrt(2 layers) of it.

    Args:
        size: how many different ids there are.
        length: the longest text, in places.
        d: the numbers at a place.
        layers: how many pairs of residuals.
        heads: of the attention.
        bias: whether the layers have b; the head has none.
        dropout: the probability, of the embedding, P, and what is added; where a key is given.
        tie: whether the head's W is E.

    Raises:
        TypeError: for numbers and flags of another type.
        ValueError: for numbers below 1, heads that do not divide d, a dropout outside [0, 1).

    Example: nanoGPT's setting for CPUs.
        >>> import jax
        >>> from jaxbp.layers import count_parameters
        >>> net = gpt(65, 64, bias=False)
        >>> count_parameters(jax.eval_shape(net.init, jax.random.key(0)))
        804096

    Source: Radford et al. 2019; the sizes and what is drawn, Karpathy's nanoGPT.
    """
    sizes = {"size": size, "length": length, "d": d, "layers": layers, "heads": heads}
    size, length, d, layers, heads = (arguments.whole("gpt", name, n, low=1) for name, n in sizes.items())
    tie = arguments.flag("gpt", "tie", tie)
    rate = arguments.number("gpt", "dropout", dropout, low=0, high=1, open_high=True)
    if d % heads:
        raise ValueError(errors.message("gpt", f"heads that divide d, {d}", f"{heads}"))
    first, added = Normal(0.02), Normal(0.02 / math.sqrt(2 * layers))
    drop = [dropped(rate)] if rate else []
    parts: list[Layer] = [embedding(size, d, positions=length, init=first), *drop]
    for _ in range(layers):
        look = [dense(d, 3 * d, bias=bias, init=first), attend(heads, causal=True, dropout=rate)]
        think = [dense(d, 4 * d, bias=bias, init=first), gelu]
        for inner, width in ((look, d), (think, 4 * d)):
            last = dense(width, d, bias=bias, init=added)
            parts.append(residual(chain(layer_norm(d, bias=bias), *inner, last, *drop)))
    net = chain(*parts, layer_norm(d, bias=bias), dense(d, size, bias=False, init=first))
    return tied(net, (2 * layers + 3, "W"), (1, "E")) if tie else net
