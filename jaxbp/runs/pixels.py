"""Raw pixels as a network takes them, which was trained on numbers in 0..1."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbp import arguments, recipes
from jaxbp.arguments.search import find
from jaxbp.errors import message


@recipes.own("pixels")
@dataclass(frozen=True)
class Pixels:
    """x / most for whole numbers in 0..most; floats in 0..1 are scaled already, and stay.

    Args:
        most: of a pixel, 255 for bytes.

    Raises:
        TypeError, ValueError: for a ``most`` that is no whole number of at least 1.

    Example:
        >>> Pixels(255)(np.array([0, 51, 255], np.uint8)), Pixels(255)(np.array([0.2]))
        (array([0. , 0.2, 1. ], dtype=float32), array([0.2]))
        >>> Pixels(255)(np.array([0.0, 51.0]))
        Traceback (most recent call last):
        ...
        ValueError: pixels: expected whole numbers in 0..255 or floats in 0..1, got the float 51.0 at x[1];
        x.astype(int), or x / 255
    """

    most: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", arguments.whole("Pixels", "most", self.most, low=1))

    def __call__(self, x: Any) -> np.ndarray:
        """The pixels of any number of images in 0..1.

        Raises:
            TypeError: for x that holds no numbers.
            ValueError: for a number out of these ranges.
        """
        x = arguments.array("pixels", "x", x, host=True)
        whole = x.dtype.kind in "iu"
        high = self.most if whole else 1
        if x.size and (bad := find(x, lambda rows: ~((rows >= 0) & (rows <= high)))):
            expected = f"whole numbers in 0..{self.most} or floats in 0..1"
            got = f"the {'whole number' if whole else 'float'} {x[bad.first]!s} at x[{bad.place}]"
            hint = "" if whole else f"x.astype(int), or x / {self.most}"
            raise ValueError(message("pixels", expected, got, hint))
        return np.divide(x, self.most, dtype=np.float32) if whole else x
