"""The blind set as one table, and what `check` says of a case."""

import time
from typing import NamedTuple

import jax

import jaxbp
from tests.verify.blind import (
    complexes,
    elementwise,
    implicit,
    indexing,
    layers,
    matrices,
    precision,
    reductions,
    structures,
    transformed,
)
from tests.verify.blind.case import cast

SUBJECTS = (
    elementwise,
    reductions,
    layers,
    matrices,
    indexing,
    structures,
    transformed,
    implicit,
    complexes,
    precision,
)
CASES = {name: case for subject in SUBJECTS for name, case in subject.CASES.items()}


class Answer(NamedTuple):
    expected: str  # right or wrong
    told: str  # right, right in f, wrong, or the error that was raised
    causes: tuple[str, ...]
    sentence: str
    seconds: float  # of the CPU

    @property
    def good(self):
        return self.told.split(" ")[0] == self.expected

    @property
    def named(self):
        return any(cause not in ("", "other") for cause in self.causes)


def expected(case, dtype):
    return "wrong" if case.mistake and case.only in ("", dtype) else "right"


def answered(case, dtype):
    """What `check` says of the case in one precision."""
    start = time.process_time()
    with jax.enable_x64(dtype == "float64"), jax.numpy_rank_promotion("allow"):
        try:
            args = cast(case.args, dtype)
            report = jaxbp.check(case.build(), *args, declare=case.declare, order=case.order)
        except Exception as error:  # a crash is an answer to be counted
            told, causes, sentence = f"{type(error).__name__}", (), str(error)
        else:
            bad = [f for f in report.findings if f.verdict == "wrong"]
            told = "wrong" if not report.ok else "right" if report.strictly_ok else "right in f"
            causes = tuple(f.cause or "" for f in bad)
            sentence = " | ".join(f"{f.verdict}: {f.cause}: {f.sentence}" for f in report.findings if f.cause)
    return Answer(expected(case, dtype), told, causes, sentence, time.process_time() - start)
