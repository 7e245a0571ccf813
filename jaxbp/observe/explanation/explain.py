"""`explain`: the lecture's steps for one example, every formula with its numbers put in."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax

from jaxbp import arguments
from jaxbp.backprop import value_and_grad
from jaxbp.layers import Layer
from jaxbp.losses import Loss
from jaxbp.observe.explanation.inputs import (
    as_counted,
    as_frozen,
    as_numbers,
    as_params,
    as_target,
    one_example,
    output_shape,
)
from jaxbp.observe.explanation.json_reading import LOSSES
from jaxbp.observe.explanation.network import counted_on, place
from jaxbp.observe.explanation.places import Place, all_places, arrays, is_identity, maps, shared
from jaxbp.observe.explanation.record import DIGITS, Explanation
from jaxbp.observe.explanation.steps.lecture import steps
from jaxbp.observe.explanation.steps.lines import Choices
from jaxbp.observe.explanation.steps.outputs import output_steps
from jaxbp.observe.explanation.steps.parts import Output
from jaxbp.observe.explanation.two_ways import compared, completed
from jaxbp.observe.explanation.walk import plain, walk
from jaxbp.typing import Array, Params

NAMES = {loss.values: name for name, loss in LOSSES.items()}
"""The losses whose formulas are written out, by what they compute."""


def explain(
    net: Layer,
    loss: Loss,
    params: Params,
    x: Any,
    y: Any,
    *,
    eta: float = 0.1,
    example: int = 1,
    layers: Sequence[int] | None = None,
    units: Sequence[int] | None = None,
    frozen: Sequence[str] = (),
    digits: int = 6,
) -> Explanation:
    r"""Back-propagation on paper: the steps "directly" and "matrix-based", in numbers, for one example.

    Directly is component by component, in plain Python floats by the formulas that are printed.
    Matrix-based is by the layers' hand-written rules. Both are in float64, and each step starts from the
    same numbers in both ways.

    Args:
        net: any layer. A layer of your own is written by its name, and component by component if it has a
            ``formula``; see `Layer`.
        loss: any loss; for one example, so that mean and sum are the same.
        params: of net, arrays or lists.
        x: (d_0,), or examples as rows. Arrays, lists and ints are taken as floats.
        y: the target, as the loss takes it.
        eta: how far the step of gradient descent goes.
        example: which row of x, counted from 1.
        layers: the layers whose steps are written out, counted from 1; by default all.
        units: which units of each layer are written out component by component, counted from 1; by
            default the first 8.
        frozen: parameters that the gradient step leaves as they are, ``("b",)``.
        digits: significant digits.

    Returns:
        An `Explanation`. It prints as text and in a notebook. ``markdown()``, ``svg()`` and ``to_dict()``
        write it otherwise; ``worksheet()`` leaves the numbers out.

    Raises:
        TypeError: for a net or a loss of another kind, or what is no numbers.
        ValueError: for parameters of another network (transposed, counted from 0), numbers that are not
            finite, layers or units that do not exist, layers of more than 1024 entries, an output of several
            rows, or a loss on logits after a softmax.

    Example: one sigmoid unit.
        >>> import jaxbp
        >>> net = jaxbp.mlp([2, 1])
        >>> params = {1: {"W": [[1.0, -1.0]], "b": [0.5]}}
        >>> explanation = explain(net, jaxbp.squared_error, params, [1, 0], 2, eta=0.5)
        >>> print(str(explanation).split("delta_x = delta_a_1 W_1\n")[1])
           directly
             delta_W_1[1,1] = delta_a_1 x[1] = (-0.5)·1 = -0.5
             delta_W_1[1,2] = delta_a_1 x[2] = (-0.5)·0 = 0
             delta_b_1 = delta_a_1 = -0.5
             delta_x[1] = delta_a_1 W_1[1,1] = (-0.5)·1 = -0.5
             delta_x[2] = delta_a_1 W_1[1,2] = (-0.5)·(-1) = 0.5
           matrix-based
             delta_W_1 = -0.5 [1 0] = [-0.5 0]
             delta_x = -0.5 [1 -1] = [-0.5 0.5]
           difference 0
        <BLANKLINE>
        5. one step of gradient descent: w := w - eta delta_w, eta = 0.5
             W_1 = [1 -1] - 0.5 [-0.5 0] = [1.25 -1]
             b_1 = 0.5 - 0.5 (-0.5) = 0.75
             mu 1.5 -> 2, loss 0.125 -> 0

    Source: the lecture, the four steps and the exercise.
    """
    arguments.instance("explain", "net", net, Layer, "e.g. jaxbp.mlp([2, 2, 1])")
    known = isinstance(loss, str) and loss in LOSSES
    hint = f"write jaxbp.{loss}" if known else "e.g. jaxbp.squared_error"
    arguments.instance("explain", "loss", loss, Loss, hint)
    eta = arguments.number("explain", "eta", eta)
    digits = arguments.whole("explain", "digits", digits, low=1, high=DIGITS)
    value_and_grad(net, loss)  # refuses a loss on logits after a network that ends in its own softmax
    with jax.enable_x64(True):
        params = as_params(net, params)
        x, y, note = one_example(net, loss, params, x, y, example)
        places = place(net, params, x)
        shape = output_shape(net, params, x)
        output = _output(places, loss, shape)
        y = as_target(loss, y, shape)
        made = all_places(places)
        own = arrays(places)
        frozen = as_frozen(frozen, sorted({first.path[-1] for first, *_ in own.values()}))
        if units is not None:
            units = as_counted("units", units, max((each.shape_out[-1] for each in made), default=1))
        if layers is not None:
            layers = as_counted("layers", layers, max(int(each.tag) for each in places))
        step = as_numbers("eta", eta)
        found = _numbers(net, loss, params, x, (y, step), places, output, frozen)
    choices = Choices(units=units, layers=layers)
    updated = tuple(
        (name, found[name].ndim < 2) for name, (first, *_) in own.items() if first.path[-1] not in frozen
    )
    done = steps(places, output_steps(output, choices), updated, choices)
    values = completed(done, plain(found))
    return Explanation(
        places=places,
        output=output,
        steps=done,
        values=values,
        differences=compared(done, values),
        updated=updated,
        frozen=frozen,
        choices=choices,
        digits=digits,
        note="; ".join(filter(None, (note, counted_on(net, params)))),
    )


def _output(places: tuple[Place, ...], loss: Loss, shape: tuple[int, ...]) -> Output:
    """Where the loss stands."""
    named = maps(places)
    alias = named[-1].into if named and is_identity(named[-1]) else ""
    out, known = named[-1].out if named else "x", NAMES.get(loss.values, "")
    T = shape[0] if len(shape) == 2 else 0
    return Output(out, alias, shape[-1], known or loss.name, known, T, loss.reduction == "mean")


@partial(jax.jit, static_argnames=("net", "loss", "places", "output", "frozen"))
def _numbers(
    net: Layer,
    loss: Loss,
    params: Params,
    x: Array,
    target: tuple[Array, Array],
    places: tuple[Place, ...],
    output: Output,
    frozen: tuple[str, ...],
) -> dict[str, Array]:
    """Every quantity by its name, from the layers' and the loss's own rules."""
    y, eta = target
    values: dict[str, Array] = {"x": x, "y": y, "eta": eta}
    f, back = walk(places, net, params, x, values)
    values |= {"f": f, "mu": loss.mu(f), "loss": loss(f, y)}
    values[output.delta] = loss.delta(f, y)
    values[f"d{loss.name}/df"] = jax.grad(lambda f: loss(f, y))(f)
    delta_params, delta_x = back(values[output.delta])
    if delta_x is not None:
        values["delta_x"] = delta_x

    def updated(path: tuple[Any, ...], p: Array, delta: Array) -> Array:
        return p if getattr(path[-1], "key", None) in frozen else p - eta * delta

    new = jax.tree_util.tree_map_with_path(updated, params, delta_params)
    f = net.apply(new, x)
    values |= {"mu:new": loss.mu(f), "loss:new": loss(f, y)}
    for name, uses in shared(places).items():
        values[f"delta_{name}"] = reduce(jax.numpy.add, [values[f"delta_{use.name}"] for use in uses])
    for name, (first, *_) in arrays(places).items():
        step = 0.0 if first.path[-1] in frozen else eta
        values[f"{name}:new"] = values[name] - step * values[f"delta_{name}"]
    return values
