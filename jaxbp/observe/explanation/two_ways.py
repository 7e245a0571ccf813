"""The two ways of a step: the numbers that the direct one makes, and how far they are from the matrices'."""

import math
from collections.abc import Mapping

from jaxbp.observe.explanation.formulas.trees import Tree, Value, evaluate, rows_of, symbol
from jaxbp.observe.explanation.steps.lines import Step


class Seen(dict[Tree, Value]):
    """Quantities that remembers the largest number that was looked up."""

    largest: float = 0.0

    def __getitem__(self, key: Tree) -> Value:
        value = super().__getitem__(key)
        self.largest = max(self.largest, *(abs(entry) for row in rows_of(value) for entry in row))
        return value


def completed(steps: tuple[Step, ...], values: Mapping[Tree, Value]) -> dict[Tree, Value]:
    """The values with what the matrices make on the way and the record does not have: one-hot rows."""
    made = dict(values)
    for step in steps:
        for line in step.matrix:
            if line.target not in made:
                made[line.target] = evaluate(line.computed, made)
    return made


def compared(steps: tuple[Step, ...], values: Mapping[Tree, Value]) -> dict[str, tuple[float, float]]:
    """For each step, the largest difference of the two ways, and the largest number in it.

    The direct way starts from the same numbers as the matrices, and goes on with its own within the step.
    """
    differences = {}
    for step in steps:
        if step.both_ways:
            own = Seen(values)
            worst = 0.0
            for line in step.direct:
                made = evaluate(line.computed, own)
                known = symbol(line.target[1]) in values
                other = evaluate(line.target, own) if known else made
                worst = max(worst, _apart(made, other))
                own[line.target] = made
            differences[step.title] = (worst, own.largest)
    return differences


def _apart(a: Value, b: Value) -> float:
    pairs = zip((v for row in rows_of(a) for v in row), (v for row in rows_of(b) for v in row), strict=True)
    return max(0.0 if a == b else math.nan if math.isnan(a - b) else abs(a - b) for a, b in pairs)


def directly(step: Step, values: Mapping[Tree, Value]) -> dict[Tree, Value]:
    """The values as the direct way of a step has them: its own numbers, and what else is there."""
    made = dict(values)
    for line in step.direct:
        made[line.target] = evaluate(line.computed, made)
    return made
