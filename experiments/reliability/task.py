"""The worker of the other parts: a question [module, function, *arguments] is that function's result."""

import importlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import jax

from experiments.reliability import pool


def run(
    module: str, function: str, arguments: list[list[Any]], *, jobs: int, timeout: float
) -> Iterator[Any]:
    """The results of a function of a module of this package for many arguments, in worker processes."""
    questions = [[module, function, *given] for given in arguments]
    for i, answer in pool.answers(
        "experiments.reliability.task",
        questions,
        jobs=jobs,
        timeout=timeout,
        on_death=lambda how: {"died": how},
    ):
        yield {"died": f"{arguments[i]}: {answer['died']}"} if "died" in answer else answer


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 4)  # no device is used here: what forks must come before
    os.chdir(tempfile.mkdtemp(prefix="jaxbp-task-"))

    def answer(question: list[Any]) -> Any:
        module, function, *given = question
        return getattr(importlib.import_module(f"experiments.reliability.{module}"), function)(*given)

    pool.serve(answer)


if __name__ == "__main__":
    main()
