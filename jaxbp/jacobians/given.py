"""What the instruments for N examples are given: a network or function, a loss, examples and targets."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxbp import arguments, errors
from jaxbp.jaxprs.compile_once import at_once
from jaxbp.layers.entrance import inputs_of
from jaxbp.layers.layer import Layer
from jaxbp.losses import Loss
from jaxbp.typing import Array, Params, Scalar

Network = Layer | Callable[[Params, Any], Array]
ExampleLoss = Loss | Callable[[Array, Any], Scalar]


def network(where: str, net: Network) -> Callable[[Params, Any], Array]:
    """The function (params, x) -> f of one example."""
    if isinstance(net, Layer):
        assert_apart(where, net)
        return net.apply
    is_module = hasattr(net, "apply")  # of Flax or Haiku, which is no function of its parameters
    if is_module or not callable(net):
        expected = "net to be a Layer or a function (params, x) -> f"
        hint = "give its apply, model.apply" if is_module else ""
        raise TypeError(errors.message(where, expected, arguments.described(net), hint))
    return arguments.function(where, "net", net, positional=2)


def assert_apart(where: str, net: Layer) -> None:
    """Raises a ValueError for a network that learns from the batch: one example has no output of its own."""
    if "training" in net.given:
        expected = "a network of one example"
        got = f"{net.name}, which normalizes the examples of a batch together"
        hint = 'jaxbp.fixed(net, {"state": state}) is that of evaluation'
        raise ValueError(errors.message(where, expected, got, hint))


def loss_value(where: str, loss: ExampleLoss) -> Callable[[Array, Any], Array]:
    """The function (f, y) -> number of one example; a text's is what the `Loss` makes of its places."""
    if isinstance(loss, Loss):
        return loss
    if not callable(loss):
        expected = "loss to be a Loss or a function (f, y) -> number"
        raise TypeError(
            errors.message(where, expected, arguments.described(loss), "e.g. jaxbp.squared_error")
        )
    arguments.function(where, "loss", loss, positional=2)

    def scalar(f: Array, y: Any) -> Array:
        value = loss(f, y)
        if not (hasattr(value, "dtype") or isinstance(value, float)) or jnp.shape(value) != ():
            got, hint = arguments.described(value), "a Loss has its values for each example"
            raise TypeError(errors.message(where, "loss(f, y) of one example to be a number", got, hint))
        return value

    return scalar


def loss_gradient(where: str, loss: ExampleLoss) -> Callable[[Array, Any], Array]:
    """The function (f, y) -> delta_f of one example: by hand for a `Loss`."""
    value = loss_value(where, loss)
    return loss.delta if isinstance(loss, Loss) else jax.grad(value)


def by_rules(f: Callable[..., Any], static: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
    """f(*static, *arrays), as one program for layers and losses: a function may be a new one at each call."""
    lasting = all(isinstance(given, Layer | Loss) for given in static)
    return at_once(f, static, arrays) if lasting else f(*static, *arrays)


def inputs(where: str, net: Network, params: Params, x: Any) -> Any:
    """N inputs as the network takes them; a function says nothing of what it takes."""
    if isinstance(net, Layer) and not isinstance(x, dict):
        x = inputs_of(where, net, params, x)
    return examples(where, "x", x)


def examples(where: str, name: str, x: Any) -> Any:
    """N examples: one array (N, ...), or a pytree of such arrays."""
    if isinstance(x, dict) or (isinstance(x, tuple) and all(hasattr(leaf, "dtype") for leaf in x)):
        x = jax.tree.map(lambda leaf: arguments.array(where, name, leaf), x)
    else:
        x = arguments.array(where, name, x, floats=not hasattr(x, "dtype"))
    if any(leaf.ndim == 0 for leaf in jax.tree.leaves(x)):
        raise ValueError(errors.message(where, f"{name} of N examples, (N, ...)", "one of shape ()"))
    return x


def targets(where: str, loss: ExampleLoss, y: Any) -> Any:
    """N targets as arrays, and such as a `Loss` takes."""
    if isinstance(loss, Loss) and not isinstance(y, tuple | dict):
        loss.assert_targets(y, where=where)
        y = arguments.array(where, "y", y, fill=-1 if loss.targets == "classes" else None)
    return examples(where, "y", y)


def of_one_length(*trees: Any) -> bool:
    """Whether all arrays have as many examples."""
    return len({leaf.shape[:1] for leaf in jax.tree.leaves(trees)}) == 1
