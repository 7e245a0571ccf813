"""What `saliency`, `adversarial` and `generate` are given: a model, examples, targets, and constraints."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import arguments
from jaxbp.arguments.search import find
from jaxbp.errors import message, within
from jaxbp.jacobians.given import ExampleLoss, Network, loss_value, network, of_one_length, targets
from jaxbp.losses import Loss
from jaxbp.observe.inputs.constraints import Box, nearest
from jaxbp.train.start import assert_optimizer
from jaxbp.typing import Array, Params


def taken(
    where: str, net: Network, loss: ExampleLoss | None, params: Params, x: Any, y: Any
) -> tuple[Callable[..., Array], Params, Array, Any]:
    """What is common to all: the model as a function that can be a key, its arguments as arrays."""
    apply = network(where, net)
    try:
        hash((apply, loss))
    except TypeError:  # a model that holds arrays, and is equal to itself alone
        apply = partial(apply)
    params = arguments.params(where, params)
    x = arguments.as_floats(where, "x", arguments.array(where, "x", x))
    if x.ndim == 0:
        raise ValueError(message(where, "x of N examples, (N, ...)", "one of shape ()"))
    if loss is not None:
        loss_value(where, loss)
    y = targets(where, loss, y) if loss is not None else arguments.array(where, "y", y)
    if not of_one_length(x, y):
        shapes = f"x of shape {x.shape} and y of shape {jax.tree.map(jnp.shape, y)}"
        raise ValueError(message(where, "N examples and N targets", shapes))
    if len(x) == 0:
        raise ValueError(message(where, "at least one example", f"x of shape {x.shape}"))
    with within(where):
        f = jax.eval_shape(apply, params, jax.ShapeDtypeStruct(x.shape[1:], x.dtype))  # type: ignore[no-untyped-call]
    if loss is None:
        _assert_outputs(where, f, y)
    whole = not isinstance(y, tuple | dict) and jnp.issubdtype(y.dtype, jnp.integer)
    if whole and _concrete(y) and (loss is None or (isinstance(loss, Loss) and loss.targets == "classes")):
        C = f.shape[-1]
        if bad := find(np.asarray(y), lambda rows: (rows < 0) | (rows >= C)):
            got = f"y[{bad.place}] = {np.asarray(y)[bad.first]}"
            hint = "classes count from 0"
            raise ValueError(message(where, f"a class from 0 to {C - 1}", got, hint))
    return apply, params, x, y


def _assert_outputs(where: str, f: Any, y: Array) -> None:
    """Without a loss y are the numbers of outputs, of which there is one axis."""
    if getattr(f, "ndim", None) != 1:
        got = f"{f.shape}" if hasattr(f, "shape") else arguments.described(f)
        hint = "give a loss, (f, y) -> number of one example"
        raise ValueError(message(where, "outputs of one example in one axis, (C,)", got, hint))
    if not jnp.issubdtype(y.dtype, jnp.integer) or y.ndim != 1:
        expected = "without a loss y, N numbers of outputs"
        raise TypeError(message(where, expected, arguments.described(y), "e.g. jnp.array([3])"))


def taken_image(where: str, image: Any, x: Array, smooth: float) -> tuple[int, ...]:
    """The shape of an example as an image."""
    if image is None:
        if smooth and x.ndim == 2:
            hint = "e.g. image=(28, 28), or image=(length,) of a signal"
            got = f"rows of {x.shape[1]} entries"
            raise ValueError(message(where, "image=, the shape whose neighbors smooth compares", got, hint))
        return x.shape[1:]
    if not isinstance(image, tuple | list):
        raise TypeError(message(where, "image, a shape", arguments.described(image), "e.g. image=(28, 28)"))
    shape = tuple(arguments.whole(where, f"image[{i}]", d, low=1) for i, d in enumerate(image))
    if math.prod(shape) != math.prod(x.shape[1:]) or not 1 <= len(shape) <= 3:
        expected = f"image of the {math.prod(x.shape[1:])} entries of an example"
        raise ValueError(message(where, expected, f"{shape}"))
    return shape


def too_far(x: Array, box: Box, radius: Any, norm: str) -> tuple[int, float] | None:
    """The first example that is further from the box than the radius, and how far it is; None if traced."""
    if not _concrete(x, *box):
        return None
    moved, given = (np.asarray(a, np.float64).reshape(len(x), -1) for a in (nearest(x, box), x))
    far = np.abs(moved - given).max(1, initial=0) if norm == "linf" else np.linalg.norm(moved - given, axis=1)
    precision = float(jnp.finfo(x.dtype).eps)  # type: ignore[no-untyped-call]
    bad = np.flatnonzero(far > radius * (1 + 4 * precision))
    return (int(bad[0]), float(far[bad[0]])) if bad.size else None


def taken_optimizer(where: str, optimizer: Any, x: Array) -> optax.GradientTransformation:
    """An optimizer, if it is one of a single array.

    Raises:
        TypeError: for what is no optimizer, or does not descend on x.
    """
    assert_optimizer(where, optimizer)

    def once(x: Array) -> tuple[Array, tuple[Any, Any]]:
        before = optimizer.init(x)
        updates, after = optimizer.update(x, before, x)
        return x + updates, (before, after)

    try:
        moved, states = jax.eval_shape(once, x)
    except (TypeError, ValueError, AttributeError) as error:
        got, hint = f"{type(error).__name__}: {error}", "e.g. optax.sgd(0.1)"
        raise TypeError(message(where, "an optimizer whose update moves an array", got, hint)) from error
    trees = [jax.tree.structure(state) for state in states]
    if moved.shape != x.shape or len(set(trees)) > 1:
        got = f"{moved.shape} for x of shape {x.shape}, and {trees[1]} after {trees[0]}"
        raise TypeError(message(where, "an optimizer whose update keeps shape and state", got))
    return optimizer


def assert_held_inside(where: str, x: Array, free: Array, box: Box) -> None:
    """What the mask holds stays where it is, and that must be in the box."""
    if not _concrete(x, free, *box):
        return
    values = np.asarray(x)
    outside = (values < np.asarray(box.low)) | (values > np.asarray(box.high))
    if (bad := np.argwhere(outside & ~np.asarray(free))).size:
        at = tuple(bad[0])
        got = f"x[{','.join(map(str, at))}] = {values[at]:g}"
        hint = "scale x into the box, or let the mask free it"
        raise ValueError(message(where, "the entries that the mask holds to lie in the box", got, hint))


def taken_box(where: str, box: Any, x: Array) -> Box:
    """The box that a user gives, a pair (low, high), or none.

    Raises:
        TypeError: for what is no pair of numbers or arrays.
        ValueError: for a low above its high, NaN, or a shape that does not broadcast to x's.
    """
    if box is None:
        return Box(jnp.array(-jnp.inf, x.dtype), jnp.array(jnp.inf, x.dtype))
    if not isinstance(box, tuple | list) or len(box) != 2:
        hint = "e.g. box=(0, 1)"
        raise TypeError(message(where, "box, a pair (low, high)", arguments.described(box), hint))
    names = ("low", "high")
    low, high = (arguments.array(where, f"box {n}", end) for n, end in zip(names, box, strict=True))
    for name, end in zip(names, (low, high), strict=True):
        if jnp.issubdtype(end.dtype, jnp.complexfloating) or end.dtype == bool:
            raise TypeError(message(where, f"box {name} of real numbers", arguments.described(end)))
        _assert_broadcasts(where, f"box {name}", end, x)
    if _concrete(low, high):
        ends = np.stack(np.broadcast_arrays(np.asarray(low), np.asarray(high)), axis=-1).reshape(-1, 2)
        if (bad := np.flatnonzero(~(ends[:, 0] <= ends[:, 1]))).size:
            got = "({:g}, {:g})".format(*ends[bad[0]])
            raise ValueError(message(where, "box (low, high) with low at most high", got))
    return Box(*(jnp.broadcast_to(end, x.shape).astype(x.dtype) for end in (low, high)))


def taken_mask(where: str, mask: Any, x: Array) -> Array:
    """Which entries may change, as a user says it.

    Raises:
        TypeError: for anything but True and False.
        ValueError: for a shape that does not broadcast to x's, or a mask that holds every entry.
    """
    mask = arguments.array(where, "mask", mask)
    if mask.dtype != bool:
        hint = "True where x may change, e.g. mask > 0"
        raise TypeError(message(where, "mask of True and False", arguments.described(mask), hint))
    _assert_broadcasts(where, "mask", mask, x)
    if _concrete(mask) and not np.asarray(mask).any():
        hint = "True is where x may change"
        raise ValueError(message(where, "a mask that leaves an entry to change", "False everywhere", hint))
    return jnp.broadcast_to(mask, x.shape)


def _assert_broadcasts(where: str, name: str, value: Array, x: Array) -> None:
    """Raise a ValueError unless the value broadcasts to x's shape."""
    try:
        fits = jnp.broadcast_shapes(value.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        expected = f"{name} that broadcasts to x's shape {x.shape}"
        raise ValueError(message(where, expected, f"one of shape {value.shape}"))


def _concrete(*arrays: Any) -> bool:
    """Whether all of them have values that one can look at."""
    return not any(isinstance(a, jax.core.Tracer) for a in arrays)
