"""Evaluation on data that stay on the host: their parts go through the network one after another."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxbp import errors
from jaxbp.arguments.arrays import held_dtype
from jaxbp.data import Dataset
from jaxbp.data.batches import Batches
from jaxbp.train.engines.one_by_one import batch_like
from jaxbp.train.engines.stream import ENOUGH
from jaxbp.train.plan import Engine, EpochsRan, Parts, Plan
from jaxbp.train.program_cache import compile_fast, compiled
from jaxbp.train.programs.evaluate import Evaluator, judged, outputs_of
from jaxbp.train.programs.step import Evaluate, State, traced


class ByParts:
    """An `Engine` that evaluates after the epochs of another.

    Two parts are on the device at a time. The outputs for all of them are measured together, so that no
    metric changes.

    Args:
        plan: of the run, with parts.
        engine: of the same plan without evaluation.
        state: the first, for its shapes.
    """

    def __init__(self, plan: Plan, engine: Engine, state: State):
        assert plan.parts
        self._plan, self._engine, self._parts = plan, engine, plan.parts
        self._programs: dict[Any, Any] = {}
        started = time.perf_counter()
        self._program(state, self._placed(self._parts.first.x))
        self.compile_seconds = engine.compile_seconds + time.perf_counter() - started

    def run(self, state: State, epoch: int, most: int) -> EpochsRan:
        """As `Engine` says, up to the next epoch that is evaluated."""
        due = (n for n in range(1, most + 1) if self._plan.evaluates(epoch + n - 1))
        ran = self._engine.run(state, epoch, next(due, most))
        count = len(ran.losses)
        if ran.bad is not None or not count or not self._plan.evaluates(epoch + count - 1):
            return ran
        started = time.perf_counter()
        last = self._evaluated(ran.state, epoch + count - 1)
        metrics = {name: np.append(np.full(count - 1, np.nan), value) for name, value in last.items()}
        return ran._replace(metrics=metrics, seconds=ran.seconds + (time.perf_counter() - started) / count)

    def _evaluated(self, state: State, epoch: int) -> dict[str, Any]:
        """The metrics of all parts."""
        outputs, others = list[Any](), list[Any]()
        for part in self._parts.of(epoch):
            x = self._placed(part.x)
            outputs.append(self._program(state, x)(state, x))
            others.append(part.arrays[1:])
            if len(outputs) > 1:
                outputs[-2] = np.asarray(outputs[-2])  # waits, so that no third part is on its way
        if not outputs:
            raise ValueError(errors.message("fit", "validation data", f"none after epoch {epoch}"))
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *zip(outputs, others, strict=True))
        given = self._placed((whole[0], *whole[1]))
        metrics: dict[str, Any] = jax.device_get(compiled(_compile_judged, self._plan, given)(*given))
        return metrics

    def _placed(self, rows: Any) -> Any:
        """The arrays on every device, in the dtypes that it holds."""
        held = jax.tree.map(lambda v: np.asarray(v, held_dtype(v.dtype)), rows)
        return jax.device_put(held, self._plan.layout.everywhere)

    def _program(self, state: State, x: Any) -> Any:
        """What gives the outputs for such a part."""
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(x))
        if shapes not in self._programs:
            self._programs[shapes] = compiled(_compile_outputs, self._plan, (state, x))
        return self._programs[shapes]


def _compile_outputs(plan: Plan, arguments: Any) -> Any:
    def outputs(state: State, x: Any) -> Any:
        params, *model_state = state.seen(plan.eval_params)
        rows = plan.preprocess(x) if plan.preprocess else x
        assert isinstance(plan.evaluate, Evaluator)
        with traced("evaluate"):
            return outputs_of(plan.evaluate, params, rows, *model_state)

    return compile_fast(jax.jit(outputs, out_shardings=plan.layout.everywhere).lower(*arguments))


def _compile_judged(plan: Plan, arguments: Any) -> Any:
    assert isinstance(plan.evaluate, Evaluator)
    return compile_fast(jax.jit(partial(judged, plan.evaluate)).lower(*arguments))


def assert_in_parts(evaluate: Evaluate | None) -> None:
    """Raises a TypeError for a function that must see all validation data at once."""
    if evaluate is not None and not isinstance(evaluate, Evaluator):
        expected = "evaluate by jaxbp.make_evaluate, where validation data come in batches"
        got = f"a function of all of them at once, {getattr(evaluate, '__name__', evaluate)}"
        raise TypeError(errors.message("fit", expected, got, "or give validation as whole arrays"))


def parts_of_arrays(data: Dataset, memory_budget: int) -> Parts:
    """Data that exceed the budget, in parts of which two do not."""
    leaves = jax.tree.leaves(data.x)
    example = sum(held_dtype(v.dtype).itemsize * v.size for v in leaves) // len(data)
    size = max(1, min(memory_budget, ENOUGH) // (2 * max(1, example)))

    def part(start: int) -> Dataset:
        rows = slice(start, start + size)
        taken = jax.tree.map(lambda v: v[rows], {"x": data.x, "y": data.y, "weight": data.weight})
        return replace(data, **taken)

    return Parts(part(0), lambda epoch: map(part, range(0, len(data), size)))


def parts_of_batches(batches: Batches, begun: Iterator[Any], first: Dataset, raw: bool) -> Parts:
    """The batches of a source, each checked as it comes.

    Args:
        batches: gone through once for each evaluation.
        begun: those of the first evaluation, of which one was looked at.
        first: that one.
        raw: as in `assert_data`.
    """
    passes = [begun]

    def of(epoch: int) -> Iterator[Dataset]:
        for number, given in enumerate(passes.pop() if passes else batches.of(epoch), 1):
            yield batch_like(first, given, raw, f"validation after epoch {epoch}, batch {number}")

    return Parts(first, of)
