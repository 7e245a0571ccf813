"""Where an array on the host is bad: the first place, and how many there are."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

_SHOWN = 5  # rows that are listed before a message says how many there are
_BLOCK = 2**20  # bytes of rows looked at together, in the cache: a memory map is read, not copied


class Bad(NamedTuple):
    """The position of the first bad value, how many there are, in how many rows, and the first of these."""

    first: tuple[int, ...]
    number: int
    rows: int
    listed: list[int]

    @property
    def place(self) -> str:
        """3,1 for the message x[3,1]."""
        return ",".join(map(str, self.first))


def blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The array's rows in blocks, each with the number of its first row."""
    size = max(1, _BLOCK // max(1, values[:1].nbytes))
    return ((start, values[start : start + size]) for start in range(0, len(values), size))


def find(values: np.ndarray, is_bad: Callable[[np.ndarray], np.ndarray]) -> Bad | None:
    """What is bad in an array; ``is_bad(rows)`` says it for each value, or for each part of a row."""
    if values.ndim == 0:
        return Bad((), 1, 1, []) if is_bad(values) else None
    first, count, rows, listed = None, 0, 0, list[int]()
    for start, block in blocks(values):
        if (marked := is_bad(block)).any():  # before argwhere, which takes ten times as long
            bad = np.argwhere(marked)
            bad[:, 0] += start
            here = np.unique(bad[:, 0])
            first = first or tuple(bad[0].tolist())
            count, rows = count + len(bad), rows + len(here)
            listed += here[: _SHOWN - len(listed)].tolist()
    return None if first is None else Bad(first, count, rows, listed)
