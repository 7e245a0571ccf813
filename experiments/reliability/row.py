"""A row of the scorecard."""

from typing import NamedTuple


class Row(NamedTuple):
    """One line.

    Args:
        test: what was done.
        goal: the figure to reach.
        seen: the figure reached.
        ok: whether it was.
        without: what it leaves out.
        faults: what went wrong, some of it.
    """

    test: str
    goal: str
    seen: str
    ok: bool
    without: str
    faults: tuple[str, ...] = ()


def many(count: float, scale: float) -> int:
    """So many at this scale, at least one."""
    return max(1, round(count * scale))
