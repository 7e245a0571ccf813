"""What a person types, as float64 arrays: numbers as on the board, lists, ints, labels; or a sentence."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.layers import Layer
from jaxbp.layers.entrance import accepts, inputs_of
from jaxbp.losses import Loss
from jaxbp.typing import Array, Params


def as_numbers(name: str, value: Any) -> Array:
    """An array of finite float64.

    Raises:
        TypeError: for what is no numbers, bytes, or rows of different lengths.
        ValueError: for a NaN or an infinity, a missing or a masked value.

    Example:
        >>> as_numbers("x", ["one"])
        Traceback (most recent call last):
        ...
        TypeError: explain: expected numbers in x, got dtype <U3, text; code the words as numbers first
    """
    given = arguments.array("explain", name, value, host=True)
    array = np.asarray(arguments.as_floats("explain", name, given), np.float64)
    if not np.isfinite(array).all():
        raise ValueError(errors.message("explain", f"finite numbers for {name}", repr(array.tolist())[:80]))
    return jnp.asarray(array, jnp.float64)


def as_params(net: Layer, params: Params) -> Params:
    """The parameters as arrays of the network's shapes.

    Raises:
        ValueError: for other keys or shapes; it says where layers are counted from 0 or W is transposed.
    """
    return _like(jax.eval_shape(net.init, jax.random.key(0)), params, "explain")


def _like(expected: Any, given: Any, where: str) -> Any:
    if not isinstance(expected, dict):
        name = where.rpartition(" ")[2]
        array = as_numbers(name, given)
        if array.shape != expected.shape:
            transposed = array.ndim == 2 and array.shape == expected.shape[::-1]
            hint = f"it is transposed: a row of {name} is a unit, write {name}.T" if transposed else ""
            scalar = expected.shape == (1,) and array.shape == ()
            if not scalar:
                message = errors.message(where, f"shape {expected.shape}", f"{array.shape}", hint)
                raise ValueError(message)
            array = array.reshape(1)
        return array
    keys = ", ".join(map(str, expected))
    if isinstance(given, list | tuple) and len(given) == len(expected):
        hint = "layers count from 1, as on the board: {1: params_1, 2: params_2, ...}"
        raise ValueError(errors.message(where, f"parameters {{{keys}}}", f"a {type(given).__name__}", hint))
    if not isinstance(given, dict) or given.keys() != expected.keys():
        got = f"{{{', '.join(map(str, given))}}}" if isinstance(given, dict) else f"a {type(given).__name__}"
        from_0 = isinstance(given, dict) and 0 in given and 0 not in expected
        hint = (
            "layers count from 1, as on the board" if from_0 else "were they made by another network's init?"
        )
        raise ValueError(errors.message(where, f"parameters {{{keys}}}", got, hint))
    return {
        key: _like(value, given[key], f"{where}: layer {key}" if isinstance(key, int) else f"{where}: {key}")
        for key, value in expected.items()
    }


def one_example(
    net: Layer, loss: Loss, params: Params, x: Any, y: Any, example: int
) -> tuple[Array, Any, str]:
    """x and y of one example, and which of how many it is.

    Raises:
        TypeError: for what is no numbers.
        ValueError: for an example that does not exist, and for labels that name no class, be it another's:
            those that count from 1 would be taken for their neighbors.
    """
    x = inputs_of("explain", net, params, x)
    if not jnp.issubdtype(x.dtype, jnp.integer):  # ids stay what they are
        x = as_numbers("x", x)
        x = x.reshape(1) if x.ndim == 0 else x
    if x.size == 0:
        raise ValueError(errors.message("explain", "an x with numbers", f"shape {x.shape}"))
    y = arguments.array("explain", "y", y, host=True)
    if x.ndim < 2 or not accepts(net, params, x[0]):  # of a network that takes x[0], x is a batch
        arguments.whole("explain", "example", example, low=1, high=1)
        return x, y, ""
    example = arguments.whole("explain", "example", example, low=1, high=len(x))  # as on the board
    if y.shape[:1] != x.shape[:1]:
        got = f"shape {y.shape}"
        raise ValueError(errors.message("explain", f"a target for each of {len(x)} examples", got))
    if y.ndim == 1:
        _assert_classes(loss, y, jax.eval_shape(net.apply, params, x[0]).shape[-1])
    note = f"example {example} of {len(x)}; example= chooses another" if len(x) > 1 else ""
    return x[example - 1], y[example - 1], note


def output_shape(net: Layer, params: Params, x: Array) -> tuple[int, ...]:
    """(C,), the outputs of the network for the example, or (T, C), a row of them at each place.

    Raises:
        ValueError: for outputs of another shape.
    """
    out = jax.eval_shape(net.apply, params, x)
    if out.ndim not in (1, 2):
        hint = f"end it in jaxbp.flatten{out.shape}, which makes one row of them" if out.ndim else ""
        expected = "a network with a row of outputs, or one at each place"
        raise ValueError(errors.message("explain", expected, f"{out.shape}", hint))
    return tuple(out.shape)


def _assert_classes(loss: Loss, labels: np.ndarray, size: int) -> None:
    """Raises a ValueError for a label that is none of so many classes."""
    if loss.targets == "classes" and np.issubdtype(labels.dtype, np.integer):
        wrong = labels[(labels < 0) | (labels >= size)]
        if wrong.size:
            raise ValueError(errors.message("explain", f"a class from 0 to {size - 1} for y", f"{wrong[0]}"))


def as_target(loss: Loss, y: Any, shape: tuple[int, ...]) -> Array:
    """y as float64 of the outputs' shape; a label as its one-hot row.

    Raises:
        ValueError: for a target of another size, a label that names no class, or probabilities that do not
            add to 1, or lie outside of [0, 1].
    """
    label = arguments.array("explain", "y", y, host=True)
    of_classes = loss.targets == "classes"
    *places, size = shape
    if of_classes and label.shape == (*places,) and np.issubdtype(label.dtype, np.integer):
        _assert_classes(loss, label.reshape(-1), size)
        return jax.nn.one_hot(label, size, dtype=jnp.float64)
    target = as_numbers("y", y)
    target = target.reshape(1) if target.ndim == 0 else target
    if target.shape != shape:
        hint = "one target for each output" + (", or the class as an int" if of_classes else "")
        hint = hint + (f", at each of {places[0]} places" if places else "")
        expected = f"y of {size} numbers" if not places else f"y of shape {shape}"
        raise ValueError(errors.message("explain", expected, f"shape {target.shape}", hint))
    totals = np.asarray(target.sum(-1)).reshape(-1)
    if of_classes and (wrong := totals[abs(totals - 1) > 1e-6]).size:
        got = f"numbers that add to {float(wrong[0]):g}"
        raise ValueError(errors.message("explain", "y of probabilities, which add to 1", got))
    loss.assert_targets(target, where="explain")
    return target


def as_counted(name: str, numbers: Sequence[int], most: int) -> tuple[int, ...]:
    """The units or the layers to write out, counted from 1.

    Raises:
        TypeError: for what is no list of whole numbers.
        ValueError: for a unit that no layer has, or a layer that the network does not have.
    """
    found = listed(name, numbers, "[1, 2]")
    whole = (arguments.whole("explain", f"each of {name}", number, low=1, high=most) for number in found)
    return tuple(sorted(set(whole)))


def as_frozen(frozen: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    """The parameters that stay as they are, each of them one that the network has.

    Raises:
        TypeError: for what is no list of names.
        ValueError: for a parameter that no layer has.
    """
    found = listed("frozen", frozen, "('b',)")
    return tuple(arguments.option("explain", "each of frozen", name, names) for name in found)


def listed(name: str, values: Any, example: str) -> list[Any]:
    """A list of values, of anything that goes through them; a text is none."""
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        got = arguments.described(values)
        raise TypeError(errors.message("explain", f"{name} a list, e.g. {example}", got))
    return list(values)
