"""`Loss`: a value with its delta_f = d loss / d f beside it.

A loss is given per example; the mean (or the sum) over the batch, weighted or not, is taken in one place,
here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors, recipes
from jaxbp.arguments.search import find
from jaxbp.data.weights import assert_weights
from jaxbp.typing import Array, Losses, Rows, Scalar, Targets


@dataclass(frozen=True, repr=False)
class Loss:
    """loss(f, y), one number for a batch of outputs f (*n, C) and targets y, and its delta.

    The value is the mean over the examples n of ``values``, and the delta accordingly 1/N of
    ``deltas``; with ``reduction="sum"`` it is their sum. For a single example, n = (), both are the same.

    With weights, ``loss(f, y, weight)``, it is the weighted mean, sum_i w_i l_i / sum_i w_i, or the sum of
    w_i l_i. An example of weight 2 is one that is there twice, one of weight 0 is not there, whatever its
    target; a batch in which all weigh 0 has the loss 0. To double all weights changes no mean:
    so average scikit-learn's networks (1.9) and Keras's
    ``reduction="mean_with_sample_weight"`` (3.15), while Keras by default divides by the number of examples.

    Args:
        name: how it prints and what its errors begin with.
        values: ``(f, y) -> (*n,)``, the loss of each example. Plain JAX, the truth that `jax.grad` sees.
        deltas: ``(f, y) -> (*n, C)``, the derivative of each example's loss by its own f.
        mu: ``f -> (*n, C)``, what the network predicts: probabilities, or f itself.
        targets: what y may be: ``"any"`` number, a number in the ``"unit interval"`` [0, 1], or one of the C
            ``"classes"``, by its label or as a row of probabilities.
        reduction: ``"mean"`` or ``"sum"`` over the examples.
        doc: what `help` says of the loss.

    Raises:
        TypeError: for functions that cannot be called so.
        ValueError: for another word; when called with concrete targets outside [0, 1] where they are
            probabilities. Inside of `jax.jit` nobody can look: there `assert_targets` is called before.

    Example:
        >>> from jaxbp.losses import squared_error
        >>> f, y = jnp.array([[1.0, 2.0], [3.0, 3.0]]), jnp.array([[0.0, 2.0], [3.0, 1.0]])
        >>> squared_error(f, y), squared_error.sum(f, y)
        (Array(1.25, dtype=float32), Array(2.5, dtype=float32))
        >>> squared_error.delta(f, y)
        Array([[0.5, 0. ],
               [0. , 1. ]], dtype=float32)
        >>> squared_error(f, y, jnp.array([3.0, 1.0]))  # (3 * 0.5 + 1 * 2) / 4
        Array(0.875, dtype=float32)

    Source: the lecture, steps 2 and 3.
    """

    name: str
    values: Callable[[Rows, Targets], Losses]
    deltas: Callable[[Rows, Targets], Rows]
    mu: Callable[[Rows], Rows]
    targets: Literal["any", "unit interval", "classes"] = "any"
    reduction: Literal["mean", "sum"] = "mean"
    doc: str = field(default="", compare=False)
    recipe: recipes.Recipe | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        where = f"Loss {arguments.instance('Loss', 'name', self.name, str)}"
        arguments.function(where, "values", self.values, positional=2)
        arguments.function(where, "deltas", self.deltas, positional=2)
        arguments.function(where, "mu", self.mu, positional=1)
        arguments.option(where, "targets", self.targets, ("any", "unit interval", "classes"))
        arguments.option(where, "reduction", self.reduction, ("mean", "sum"))
        if arguments.instance(where, "doc", self.doc, str):
            object.__setattr__(self, "__doc__", self.doc)

    def __call__(self, f: Rows, y: Targets, weight: Array | None = None) -> Scalar:
        """The loss of the batch; weights are numbers from 0 on, (*n,) or the axes that n begins with."""
        f, y, share = self._taken(f, y, weight)
        if share is None:
            return self.values(f, y).sum() / self._divisor(f)
        return _times(share, self.values(f, y)).sum()

    def delta(self, f: Rows, y: Targets, weight: Array | None = None) -> Rows:
        """delta_f = d loss / d f, (*n, C)."""
        f, y, share = self._taken(f, y, weight)
        if share is None:
            return self.deltas(f, y) / self._divisor(f)
        return _times(share[..., None], self.deltas(f, y))

    def assert_targets(self, y: Targets, *, where: str = "", before: bool = True) -> None:
        """Raise for targets outside [0, 1] where the loss takes probabilities: -1 and 1, or 0 and 255.

        Looks at concrete values; of a traced y there are none.

        Args:
            y: targets; integers are labels where the loss is one of classes. How many classes there are the
                outputs tell, which are not here.
            where: what the message calls the place, by default the loss.
            before: also what a call makes NaN of: NaN, and a label that is none.

        Raises:
            ValueError: for a target that is NaN, below 0 or above 1, or a label that is none whatever the
                classes: one below 0, or beyond 32 bits.

        Example:
            >>> from jaxbp.losses import binary_cross_entropy
            >>> binary_cross_entropy.assert_targets(jnp.array([[-1.0], [1.0]]))
            Traceback (most recent call last):
            ...
            ValueError: binary_cross_entropy: expected targets in [0, 1], got y[0,0] is -1.0; try (y + 1) / 2
        """
        self._assert_values(y, where or self.name, before)

    def _assert_values(self, y: Any, where: str, before: bool = False) -> None:
        """What `assert_targets` says, ``before`` a call; one with NaN or labels out of range gives NaN."""
        if self.targets == "any" or isinstance(y, jax.core.Tracer | tuple | dict):
            return
        if isinstance(y, jax.Array) and not y.is_fully_addressable:
            return
        values = arguments.array(where, "y", y, host=True, fill=-1)
        if self.targets == "classes" and jnp.issubdtype(values.dtype, jnp.integer):
            if before and values.size and (bad := find(values, lambda rows: rows < 0)):
                got = f"y[{bad.place}] is no label: {np.asarray(y)[bad.first]!s}"
                raise ValueError(errors.message(where, "class labels from 0 on", got))
            return
        if values.size and (
            bad := find(values, lambda rows: (rows < 0) | (rows > 1) | (np.isnan(rows) & before))
        ):
            low, high = values.min(), values.max()
            got = f"y[{bad.place}] is {values[bad.first]!s}"
            hint = "" if np.isnan(low) else "squared_error takes any targets"
            for least, most, remedy in ((-1, 1, "(y + 1) / 2"), (1, 2, "y - 1"), (0, 255, "y / 255")):
                if least <= low and high <= most:
                    hint = f"try {remedy}"
                    break
            raise ValueError(errors.message(where, "targets in [0, 1]", got, hint))

    def _taken(self, f: Any, y: Any, weight: Any) -> tuple[Rows, Targets, Array | None]:
        """F and y as arrays, and what each example has of the loss, (*n,), None without weights.

        A tuple or dict of targets is a matter of ``values`` and ``deltas``.
        """
        f, share = arguments.array(self.name, "f", f, floats=True), None
        if not isinstance(y, tuple | dict):
            # A label that 32 bits do not hold is out of range as any other is, and no class.
            y = arguments.array(self.name, "y", y, fill=-1 if self.targets == "classes" else None)
        if weight is not None:
            weight = weights(self.name, weight, f.shape[:-1])
            total = weight.sum() if self.reduction == "mean" else 1
            share = (weight / jnp.where(total == 0, 1, total)).astype(f.dtype)
            if jnp.shape(y)[: share.ndim] == share.shape:  # a target that counts nothing may be anything
                y = jnp.where(_along(share == 0, y.shape), 0, y)
        self._assert_values(y, self.name)
        return f, y, share

    def _divisor(self, f: Rows) -> int:
        return math.prod(f.shape[:-1]) if self.reduction == "mean" else 1

    @property
    def sum(self) -> "Loss":
        """The same loss, summed over the examples."""
        return _summed(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return recipes.from_dict, (recipes.to_dict(self, f"Loss {self.name}"),)

    def __repr__(self) -> str:
        return self.name if self.reduction == "mean" else f"{self.name}.sum"


@recipes.own("summed")
def _summed(loss: Loss) -> Loss:
    return replace(loss, reduction="sum")


def weights(where: str, weight: Any, n: tuple[int, ...]) -> Array:
    """The weight of each of the examples n, (*n,).

    Args:
        where: what the message calls the place.
        weight: numbers, or booleans for a mask, (*n,) or the axes of n that it begins with: a weight for
            each sequence is one for each of its tokens.
        n: the leading axes of the outputs.

    Raises:
        TypeError: for complex numbers.
        ValueError: for another shape, or concrete weights below 0 or not finite.
    """
    weight = arguments.array(where, "weight", weight)
    if weight.shape != n[: weight.ndim]:
        got, hint = f"{weight.shape}", "one number from 0 on for each example"
        raise ValueError(errors.message(where, f"weights of shape {n}", got, hint))
    if not isinstance(weight, jax.core.Tracer) and weight.is_fully_addressable:
        assert_weights(where, np.asarray(weight))
    if not jnp.issubdtype(weight.dtype, jnp.floating):
        weight = weight.astype(float)
    return jnp.broadcast_to(_along(weight, n), n)


def _along(weight: Array, shape: tuple[int, ...]) -> Array:
    """Weights with axes of length 1 for those of a shape that come after theirs."""
    return weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))


def _times(share: Array, of_examples: Array) -> Array:
    """The product; an example that counts nothing may have any value, infinity among them."""
    return jnp.where(share == 0, 0, share * of_examples)
