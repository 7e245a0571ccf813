"""Which engine runs the epochs of a `fit`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxbp.train.engines.by_parts import ByParts
from jaxbp.train.engines.one_by_one import OneByOne
from jaxbp.train.engines.resident import Resident
from jaxbp.train.engines.stream import Stream
from jaxbp.train.plan import Engine, Plan
from jaxbp.train.programs.step import State


def make_engine(
    plan: Plan,
    state: State,
    epochs: range,
    memory_budget: int | None,
    pool: ThreadPoolExecutor,
    begun: Iterator[Any],
) -> Engine:
    """What runs the epochs that are left: on batches from a source, which may have begun; on a stream where
    there is a budget; else on the device. Evaluation is theirs, unless its data come part by part.
    """
    if plan.parts is not None:
        alone = plan._replace(evaluate=None, validation=None, parts=None)
        return ByParts(plan, make_engine(alone, state, epochs, memory_budget, pool, begun), state)
    if plan.batches is not None:
        return OneByOne(plan, begun, state, pool)
    if memory_budget is None:
        return Resident(plan, epochs, state)
    return Stream(plan, epochs, memory_budget, state, pool)
