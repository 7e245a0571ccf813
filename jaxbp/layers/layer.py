"""The contract of a layer: a differentiable map with its derivative written by hand."""

import math
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
from jax.tree_util import Partial

from jaxbp import errors
from jaxbp.operators import Linear, Operator
from jaxbp.typing import Array, Params, Random, Saved


def no_params(key: Random) -> Params:
    """{}, the parameters of a stateless layer."""
    return {}


def _matrix_free(params: Params, f: Array, *, apply: Callable[..., Array]) -> Operator:
    """The Jacobian of a layer that names no structure: by forward and reverse mode of its ``apply``."""
    return Linear(Partial(apply, params), f)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, repr=False)
class Layer:
    """A map out = phi(params, f) as a record of pure functions, with delta_f = delta_out J_phi by hand.

    Layers are closed under composition: `chain` and `residual` of layers are layers. Rules are written
    on rows with any leading axes ``*n``; the single example is n = ().

    Args:
        name: how the layer prints and what its errors begin with, ``dense(3, 5)``.
        apply: ``(params, f, *, key=None) -> out``. Plain JAX, the truth that `jax.grad` sees. A
            stochastic layer is the identity without a key.
        forward: ``(params, f, *, key=None) -> (out, saved)``, the same out, and the least that backward
            needs.
        backward: ``(params, saved, delta_out) -> (delta_params, delta_f)``, the hand-written VJP.
        init: ``key -> params``, a dict pytree. Stateless layers leave it out.
        jacobian: ``(params, f) -> d out / d f`` for one example, as an operator. The default is
            matrix-free, from ``apply``.
        saves_input: whether what forward saves is f itself. Of a stateless such layer and one with
            parameters after it, a `chain` keeps the first's f alone and computes the second's from it.
        form: how the parts compose, and hence their Jacobians: ``"product"`` (`chain`), ``"sum"``
            (`residual`), ``"atom"`` without parts.
        parts: the composed layers.
        formula: of an elementwise layer, how `jaxbp.explain` writes it: Python assignments to ``f``, an
            expression in a, and to ``slope``, one in a and f, with other names between them:
            ``"s = 1 / (1 + exp(-a)); f = a * s; slope = s + a * s * (1 - s)"``.

    Example: a layer of your own is one record.
        >>> import jax, jax.numpy as jnp
        >>> square = Layer(
        ...     "square",
        ...     apply=lambda params, f, *, key=None: f**2,
        ...     forward=lambda params, f, *, key=None: (f**2, f),
        ...     backward=lambda params, saved, delta_out: ({}, delta_out * 2 * saved),
        ... )
        >>> out, saved = square.forward({}, jnp.array([1.0, 3.0]))
        >>> square.backward({}, saved, jnp.ones(2))
        ({}, Array([2., 6.], dtype=float32))
        >>> square.jacobian({}, jnp.array([1.0, 3.0])).matrix()
        Array([[2., 0.],
               [0., 6.]], dtype=float32)

    Source: the lecture, back-propagation steps 1 and 4.
    """

    name: str
    apply: Callable[..., Array]
    forward: Callable[..., tuple[Array, Saved]]
    backward: Callable[[Params, Saved, Array], tuple[Params, Array]]
    init: Callable[[Random], Params] = no_params
    jacobian: Callable[..., Operator] = _matrix_free
    saves_input: bool = False
    form: Literal["atom", "product", "sum"] = "atom"
    parts: tuple["Layer", ...] = ()
    formula: str = ""

    def __post_init__(self) -> None:
        if self.jacobian is _matrix_free:
            object.__setattr__(self, "jacobian", partial(_matrix_free, apply=self.apply))

    @property
    def has_params(self) -> bool:
        """False for stateless layers, whose parameters are {}."""
        return self.init is not no_params

    def __repr__(self) -> str:
        return self.name


def assert_params(name: str, params: Params, keys: Collection[Hashable]) -> None:
    """Raises a ValueError unless ``params`` is a dict with just these keys.

    Example:
        >>> assert_params("dense", {"W": 0.0}, ["W", "b"])
        Traceback (most recent call last):
        ...
        ValueError: dense: expected parameters {W, b}, got {W}; were they made by another network's init?
    """
    if not isinstance(params, dict) or params.keys() != set(keys):
        got = (
            f"{{{', '.join(map(str, params))}}}" if isinstance(params, dict) else f"a {type(params).__name__}"
        )
        expected = f"parameters {{{', '.join(map(str, keys))}}}"
        raise ValueError(errors.message(name, expected, got, "were they made by another network's init?"))


def count_parameters(params: Params) -> int:
    """The number of scalars in a parameter pytree, sum_l d_l (d_{l-1} + 1) for a network with biases.

    Args:
        params: any pytree of arrays, or of `jax.eval_shape(net.init, key)`'s shapes.

    Example: the lecture's 4-4-1 net, 4 * 4 + 4 + 1.
        >>> from jaxbp.layers import chain, dense, sigmoid
        >>> net = chain(dense(4, 4, bias=False), sigmoid, dense(4, 1))
        >>> count_parameters(net.init(jax.random.key(0)))
        21

    Source: the lecture, multi-layer perceptron.
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
