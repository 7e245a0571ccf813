"""The points of a sweep: hyperparameters by name, which of them a program computes with, who takes which."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.train.engines.networks import Point
from jaxbp.train.programs.step import takes

BATCH_SIZE = "batch_size"
LEARNING_RATE = "learning_rate"


class Part(NamedTuple):
    """The points that one program trains: they have the same fixed values.

    Args:
        fixed: what shapes the program, such as a width, or is no number, such as the name of a schedule.
        points: the numbers that the program computes with, for each of its points.
        places: the numbers of these points in the whole grid.
    """

    fixed: Point
    points: list[Point]
    places: list[int]


def points_of(hyperparameters: Any) -> list[Point]:
    """The product of the values, as dicts.

    Raises:
        TypeError: for what is no dict of sequences, and for no learning rate.
        ValueError: for no point, or a number that is not finite.
    """
    if not isinstance(hyperparameters, Mapping):
        expected, hint = "hyperparameters, a dict of lists of values", 'e.g. {"learning_rate": [0.1, 0.01]}'
        raise TypeError(errors.message("sweep", expected, described(hyperparameters), hint))
    values = {}
    for name, given in hyperparameters.items():
        if not isinstance(name, str):
            raise TypeError(errors.message("sweep", "hyperparameters by their names", described(name)))
        if not is_list(given):
            expected = f"numbers for {name}, e.g. [0.1, 0.01]"
            raise TypeError(errors.message("sweep", expected, described(given)))
        values[name] = [_value(f"{name}, value {i}", value) for i, value in enumerate(given)]
        if again := [value for i, value in enumerate(values[name]) if value in values[name][:i]]:
            got = f"{described(again[0])} twice"
            raise ValueError(errors.message("sweep", f"values of {name} that differ", got))
        no_rates = [value for value in values[name] if value is None or isinstance(value, bool)]
        if name == LEARNING_RATE and no_rates:
            hint = "without a rate optax scales nothing, and the steps go uphill" * (no_rates[0] is None)
            got = described(no_rates[0])
            raise TypeError(errors.message("sweep", f"numbers or schedules for {name}", got, hint))
    points = [dict(zip(values, p, strict=True)) for p in product(*values.values())]
    if not points:
        empty = next(name for name, of in values.items() if not of)
        got = f"no point, for {empty} has no value"
        raise ValueError(errors.message("sweep", "at least one seed and one point", got))
    return points


def parts_of(points: list[Point], shaping: Iterable[Callable[..., Any] | None]) -> list[Part]:
    """The points by their fixed values: no numbers, and what a shaping function takes."""
    functions = [function for function in shaping if function is not None]
    fixed = [
        name
        for name in points[0]
        if name == BATCH_SIZE
        or any(takes(function, name) for function in functions)
        or any(type(point[name]) not in (int, float) for point in points)
    ]
    parts: dict[str, Part] = {}
    for place, point in enumerate(points):
        own = {name: point[name] for name in fixed}
        part = parts.setdefault(repr(own), Part(own, [], []))
        part.points.append({name: value for name, value in point.items() if name not in fixed})
        part.places.append(place)
    return list(parts.values())


def given(function: Callable[..., Any], fixed: Point) -> Callable[..., Any]:
    """A function with those of the fixed values that it has an argument for."""
    taken = {name: value for name, value in fixed.items() if takes(function, name)}
    return partial(function, **taken) if taken else function


def for_optimizer(make: Any, fixed: Point, shaping: Iterable[Callable[..., Any] | None]) -> Any:
    """``make`` with the fixed values that are its own: those that it names, or that nobody else takes."""
    others = [function for function in shaping if function is not None]
    own = {
        name: value
        for name, value in fixed.items()
        if takes(make, name) or (name != BATCH_SIZE and not any(takes(other, name) for other in others))
    }
    return partial(make, **own) if own and callable(make) else make


def is_list(value: Any) -> bool:
    """Whether it is something like a list; an array of shape () and text are not."""
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str | bytes | Mapping)
        and getattr(value, "shape", 1) != ()
    )


def _value(name: str, value: Any) -> Any:
    """A hyperparameter's value: a number, a bool, text, a function, a tuple of them."""
    if isinstance(value, np.bool_):
        return bool(value)
    if value is None or isinstance(value, bool | str) or callable(value):
        return value
    if isinstance(value, tuple | list):
        return tuple(_value(name, part) for part in value)
    number = arguments.number("sweep", name, value)
    return value if isinstance(value, int) else number
