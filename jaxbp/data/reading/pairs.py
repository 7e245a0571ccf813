"""Which arrays of an .npz file are the inputs and which the labels, by the names that libraries give them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxbp.data.reading.files import MAX_BYTES
from jaxbp.data.reading.readers import read_npz
from jaxbp.errors import message

_INPUTS = frozenset(("x", "data", "image", "images", "inputs", "features"))
_TARGETS = frozenset(("y", "t", "target", "targets", "label", "labels"))
_PARTS = {"train": "train", "test": "test"} | dict.fromkeys(("val", "valid", "validation"), "validation")


class Pairs(NamedTuple):
    """The arrays of an .npz file.

    Args:
        x: the inputs, of the training part where the file has parts.
        y: their labels or targets, or None.
        test: x and y of its test part, or None.
        others: the names of its arrays that are taken for none of these.
    """

    x: np.ndarray
    y: np.ndarray | None
    test: tuple[np.ndarray, np.ndarray] | None
    others: tuple[str, ...]


def of_npz(path: Path, *, max_bytes: int = MAX_BYTES) -> Pairs:
    """The inputs and labels of an .npz file: x and y, data and target, x_train and y_train, train_images, ...

    A validation part, where the file has one, is joined to the training part.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: malformed, or without one array of inputs for each part.
    """
    read = read_npz(path, max_bytes=max_bytes)
    found: dict[tuple[str, str], np.ndarray] = {}
    for name, array in read.items():
        words = set(name.lower().split("_"))
        part = next((_PARTS[word] for word in words if word in _PARTS), "")
        kinds = [kind for kind, known in (("x", _INPUTS), ("y", _TARGETS)) if words & known]
        if len(kinds) == 1 and words <= _INPUTS | _TARGETS | set(_PARTS):
            found.setdefault((kinds[0], part), array)
    part = "train" if ("x", "train") in found else ""
    if part and ("x", "") in found:
        expected, got = "x and y, or their parts, not both", ", ".join(sorted(read))
        raise ValueError(message(f"load({path.name})", expected, got))
    if ("x", part) not in found:
        expected = "arrays x and y, or x_train, y_train, x_test and y_test"
        raise ValueError(message(f"load({path.name})", expected, ", ".join(sorted(read)) or "no arrays"))
    x, y = found["x", part], found.get(("y", part))
    if ("x", "validation") in found and ("y", "validation") in found and y is not None:
        x = np.concatenate([x, found["x", "validation"]])
        y = np.concatenate([y, found["y", "validation"]])
    test = None
    if ("x", "test") in found and ("y", "test") in found:
        test = found["x", "test"], found["y", "test"]
    for p in ("validation", "test"):
        if y is not None and (("x", p) in found) != (("y", p) in found):
            got = f"{'x' if ('x', p) in found else 'y'} alone"
            hint = "keep unlabeled examples in a file of their own"
            raise ValueError(message(f"load({path.name})", f"x and y of the {p} part", got, hint))
    known = set(map(id, found.values()))
    return Pairs(x, y, test, tuple(name for name, array in read.items() if id(array) not in known))
