"""The multi-layer perceptron, and the initializer that suits its activation."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from jaxbp import arguments, errors, recipes
from jaxbp.layers import initializers
from jaxbp.layers.activations import identity, sigmoid
from jaxbp.layers.composition.chain import chain
from jaxbp.layers.dense import dense
from jaxbp.layers.initializers import Initializer
from jaxbp.layers.layer import Layer
from jaxbp.typing import Array


@recipes.own("suited")
@dataclass(frozen=True)
class Suited:
    """The initializer that suits phi, which follows W.

    It is `he_uniform` where phi lets positive numbers through and holds negative ones back, as relu does,
    else `glorot_uniform`.
    """

    activation: Layer

    def __call__(self, *args: Any) -> Array:
        """What the chosen initializer draws."""
        first = self.activation
        first = first.parts[0] if first.form == "product" and first.parts else first
        function = first.function
        if function is None:
            return initializers.glorot_uniform(*args)
        # Asked when it draws: a net is often made before the devices are chosen, or many processes joined.
        with jax.ensure_compile_time_eval():
            down, up = np.asarray(jax.jit(function)(np.array([-10.0, 10.0], np.float32)))
        one_sided = up > 5 and abs(down) < up / 2
        return (initializers.he_uniform if one_sided else initializers.glorot_uniform)(*args)


def mlp(
    sizes: list[int] | tuple[int, ...],
    activation: Layer = sigmoid,
    *,
    output: Layer = identity,
    init: Initializer | None = None,
    bias: bool = True,
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    """The multi-layer perceptron f_l = phi(W_l f_{l-1} + b_l), l = 1..L, as a `chain`.

    Args:
        sizes: d_0, d_1, ..., d_L; L layers.
        activation: phi of the layers before the last.
        output: phi_L. The default leaves the last layer's a_L as logits, which is what
            `softmax_cross_entropy` and `binary_cross_entropy` take.
        init: of every W. By default what suits the activation: `he_uniform` where it lets positive numbers
            through and holds negative ones back, as relu and its relatives do, else `glorot_uniform`.
        bias: whether the layers have b.
        bias_init: of every b.

    Raises:
        ValueError: for fewer than two sizes, or a size below 1.
        TypeError: for sizes that are no whole numbers, or an activation that is no Layer.

    Example: the 3-5-5-4 net of the lecture.
        >>> mlp([3, 5, 5, 4], sigmoid)
        chain(dense(3, 5), sigmoid, dense(5, 5), sigmoid, dense(5, 4))

    Source: the lecture, forward propagation.
    """
    if not isinstance(sizes, list | tuple | np.ndarray) or len(sizes) < 2:
        hint = "write mlp([d_0, d_1])" if isinstance(sizes, int) else ""
        got = f"{list(sizes)}" if isinstance(sizes, list | tuple) else arguments.described(sizes)
        raise ValueError(errors.message("mlp", "at least two sizes, [d_0, ..., d_L]", got, hint))
    sizes = [arguments.whole("mlp", f"sizes[{i}]", d, low=1) for i, d in enumerate(sizes)]
    for role, part in (("activation", activation), ("output", output)):
        arguments.instance("mlp", role, part, Layer, "e.g. jaxbp.sigmoid")
    init = Suited(activation) if init is None else init
    parts: list[Layer] = []
    for d_in, d_out in pairwise(sizes):
        parts += [dense(d_in, d_out, bias=bias, init=init, bias_init=bias_init), activation]
    parts[-1:] = [] if output is identity else [output]
    return chain(*parts)
