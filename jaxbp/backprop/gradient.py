"""The loss and its gradient by the hand-written backward pass, for training."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.backprop.four_steps import assert_logits
from jaxbp.layers.entrance import assert_ids, inputs_of, taken
from jaxbp.layers.layer import Layer, handed
from jaxbp.losses import Loss
from jaxbp.losses.chunks import loss_and_gradient, parted
from jaxbp.typing import Array, Given, Params, Random, Scalar, Targets


@dataclass(frozen=True)
class ValueAndGrad:
    """The function (params, x, y) -> (loss, delta_params) that `value_and_grad` makes.

    Args:
        net: the network.
        loss: the loss.
        measures: ``(f, y, weight, loss) -> number`` by name: it then returns
            ((loss, {name: number}), delta_params), of the same outputs f.
        has_state: whether it takes the network's state as a fourth argument and returns
            ((loss, state), delta_params), or ((loss, (state, {name: number})), delta_params).
        chunks: in how many parts the last layer and the loss are taken.
    """

    net: Layer
    loss: Loss
    measures: tuple[tuple[str, Callable[..., Scalar]], ...] = field(default=(), repr=False)
    has_state: bool = False
    chunks: int = 1

    def __post_init__(self) -> None:
        assert_logits("value_and_grad", self.net, self.loss)
        if arguments.flag("value_and_grad", "has_state", self.has_state) and self.net.state is None:
            expected = "a network with state, such as one with batch_norm"
            raise ValueError(errors.message("value_and_grad", expected, self.net.name, "has_state=False"))
        object.__setattr__(self, "chunks", arguments.whole("value_and_grad", "chunks", self.chunks, low=1))
        if self.chunks > 1:
            parted(self.net)
            if self.measures:
                expected = "chunks=1 where metrics of the training batches are asked for"
                got, hint = f"chunks={self.chunks}", "the outputs are never whole; evaluate takes metrics"
                raise ValueError(errors.message("value_and_grad", expected, got, hint))

    def __call__(
        self,
        params: Params,
        x: Array,
        y: Targets,
        state: Any = None,
        *,
        key: Random | None = None,
        weight: Array | None = None,
        given: Given | None = None,
    ) -> tuple[Any, Params]:
        """The loss and its gradient; a key turns dropout on, weights of the examples go to the loss."""
        params, x, key = taken("value_and_grad", self.net, params, x, key, given)
        if state is not None and not self.has_state:
            hint = "value_and_grad(net, loss, has_state=True), or given={'state': state} for evaluation"
            got = "a fourth argument"
            raise TypeError(errors.message("value_and_grad", "(params, x, y)", got, hint))
        given = (given or {}) | self._of_training(state)
        named = {"key": key, **handed(self.net, given)}
        if self.chunks > 1:
            value, delta_params, saved = loss_and_gradient(
                self.net, self.loss, self.chunks, params, x, y, weight, named
            )
        else:
            f, saved = self.net.forward(params, x, **named)
            with jax.named_scope("loss"), errors.within("value_and_grad"):
                value, delta = self.loss(f, y, weight), self.loss.delta(f, y, weight)
            delta_params, _ = self.net.backward(params, saved, delta)
        aux: list[Any] = [self.net.state(saved)] if self.has_state and self.net.state else []
        if self.measures:
            aux.append({name: of(f, y, weight, self.loss) for name, of in self.measures})
        return ((value, aux[0] if len(aux) == 1 else tuple(aux)) if aux else value), delta_params

    def _of_training(self, state: Any) -> Given:
        """What the layers are given beside the rest: a state that the batch is learned from."""
        if not self.has_state:
            return {}
        return {"state": state} | ({"training": True} if "training" in self.net.given else {})

    @property
    def carries(self) -> bool:
        """Whether the network has state, which passes from batch to batch."""
        return self.net.state is not None

    def carrying(self, params: Params, x: Array) -> tuple["ValueAndGrad", Any]:
        """This function with has_state, and the state that there is before the first batch: zeros.

        Args:
            params: of net.
            x: the first batch.
        """
        grad_fn = replace(self, has_state=True)

        def left(params: Params, x: Array) -> Any:
            assert self.net.state is not None
            return self.net.state(
                self.net.forward(params, x, **handed(self.net, grad_fn._of_training(None)))[1]
            )

        x = jax.eval_shape(lambda params, x: inputs_of("value_and_grad", self.net, params, x), params, x)

        shapes = jax.eval_shape(left, params, x)
        return grad_fn, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def carries_rows(self, params: Params, x: Any) -> bool:
        """Whether the state is that of each row of the batch, as a recurrent carry is, and not of all.

        Then row i of a batch goes on where row i of the batch before ended.

        Args:
            params: of net.
            x: a batch, or its shape and dtype.

        Raises:
            ValueError: for an x without an axis of rows.
        """
        if not isinstance(x, jax.ShapeDtypeStruct):
            x = inputs_of("carries_rows", self.net, params, x)
        if not x.shape:
            raise ValueError(errors.message("carries_rows", "x of a batch, (N, ...)", "one number"))
        longer: Any = jax.ShapeDtypeStruct((x.shape[0] + 1, *x.shape[1:]), x.dtype)  # type: ignore[no-untyped-call]
        states = [jax.tree.map(jnp.shape, self.carrying(params, batch)[1]) for batch in (x, longer)]
        return bool(states[0] != states[1])

    def num_classes(self, params: Params, x: Array) -> int | None:
        """C, the size of the network's output, if the loss is one of classes: y must fit it."""
        params = arguments.params("value_and_grad", params)
        if not isinstance(x, jax.ShapeDtypeStruct):
            x = inputs_of("value_and_grad", self.net, params, x)
        return jax.eval_shape(self.apply, params, x).shape[-1] if self.loss.targets == "classes" else None

    def apply(self, params: Params, x: Array, *, given: Given | None = None) -> Array:
        """The outputs of the network, of whatever inputs this function trains on."""
        x = inputs_of("evaluate", self.net, params, x, given)
        return self.net.apply(params, x, **handed(self.net, given))

    def assert_ids(self, params: Params, x: Any, *, where: str) -> None:
        """Raise for ids that the network does not look up, while they have values; nothing is computed.

        Args:
            params: of net.
            x: the examples on the host; only whole numbers can be ids.
            where: what the message calls them.

        Raises:
            ValueError: for an id that is in no table of the network's.
        """
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu" or not x.size:
            return
        rows = [int(np.unravel_index(of(x), x.shape)[0]) for of in (np.argmin, np.argmax)]
        try:
            assert_ids(self.net, params, jnp.asarray(x[rows]))
        except ValueError as error:
            raise ValueError(f"{where}, examples {rows[0]} and {rows[1]}: {error}") from error
        except TypeError:  # a network that takes no whole numbers says so where it takes x
            return

    def assert_targets(self, y: Targets, *, where: str = "") -> None:
        """Raise for targets that the loss does not take, while they have values: `Loss.assert_targets`."""
        self.loss.assert_targets(y, where=where)


def value_and_grad(net: Layer, loss: Loss, *, has_state: bool = False, chunks: int = 1) -> ValueAndGrad:
    """A function (params, x, y) -> (loss, delta_params), by the hand-written backward pass.

    It is called as ``jax.value_and_grad`` of the same loss and keeps only what the layers save. Without
    delta_x in its result, the compiler drops the first layer's product for it under `jax.jit`.

    Args:
        net: any layer.
        loss: says mean or sum over the examples.
        has_state: for a network with state: ``grad_fn(params, x, y, state)`` learns from the batch and
            returns ((loss, state), delta_params), the state for the next call; None, or zeros, is the first.
            `fit` does this by itself.
        chunks: in how many parts the last layer of a `chain` and the loss take the rows. With more than one
            the outputs are never whole, which of a text model with many ids are most of the memory. The
            last layer takes each row by itself, as `dense` does. More parts than rows are one for each row.

    Returns:
        ``grad_fn(params, x, y, *, key=None, weight=None, given=None)``; a key turns dropout on, the loss is
        that of ``weight``, (*n,), see `Loss`, and ``given`` is what layers name, see `Layer`.

    Raises:
        ValueError: for a loss on logits after a network that ends in its own softmax or sigmoid; for
            has_state with a network that has none, chunks with one that does not end in a layer with
            parameters.

    Example:
        >>> import jax, jax.numpy as jnp, jaxbp
        >>> net, x, y = jaxbp.mlp([3, 5, 2]), jnp.ones((4, 3)), jnp.array([0, 1, 1, 0])
        >>> params = net.init(jax.random.key(0))
        >>> by_hand = value_and_grad(net, jaxbp.softmax_cross_entropy)(params, x, y)
        >>> by_jax = jax.value_and_grad(lambda p: jaxbp.softmax_cross_entropy(net.apply(p, x), y))(params)
        >>> jax.tree.reduce(max, jax.tree.map(lambda u, v: float(abs(u - v).max()), by_hand, by_jax)) < 1e-7
        True

    Source: the lecture, "delta_W: used for training".
    """
    return ValueAndGrad(net, loss, has_state=has_state, chunks=chunks)
