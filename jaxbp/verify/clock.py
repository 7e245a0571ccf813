"""A limit on the time that is spent on one rule and on all: where it is over, a rule is given up."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic


class OutOfTime(BaseException):
    """The time is over; no error, so that nothing that handles errors takes it for the rule's."""


@dataclass
class _Limit:
    rule: float
    end: float
    rule_end: float = float("inf")


_LIMIT: ContextVar[_Limit | None] = ContextVar("limit", default=None)


@contextmanager
def limited(rule: float | None, total: float | None) -> Iterator[None]:
    """At most so many seconds for one rule and for all, in this thread; None is no limit.

    What is running is not stopped: the next use of a rule or of a reference is refused. A compilation that
    has begun goes on to its end.
    """
    endless = float("inf")
    token = _LIMIT.set(_Limit(rule or endless, monotonic() + (total or endless)))
    try:
        yield
    finally:
        _LIMIT.reset(token)


@contextmanager
def one_rule() -> Iterator[None]:
    """The time of one rule begins."""
    limit = _LIMIT.get()
    if limit is None or limit.rule_end < float("inf"):
        yield
        return
    limit.rule_end = monotonic() + limit.rule
    try:
        tick()
        yield
    finally:
        limit.rule_end = float("inf")


def tick() -> None:
    """Go on, while there is time.

    Raises:
        OutOfTime: when there is none.
    """
    limit = _LIMIT.get()
    if limit is not None and monotonic() > min(limit.end, limit.rule_end):
        over = f"{limit.rule:g} s for this rule" if limit.rule_end <= limit.end else "the time for all rules"
        raise OutOfTime(f"out of time: {over} {'are' if 'this' in over else 'is'} over")
