"""The worker of `bad_inputs`: python -m experiments.reliability.worker."""

import itertools
import os
import resource
import socket
import tempfile
from typing import Any

# Each program runs once or twice: what it takes is to compile it.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_platforms", "cpu")

from experiments.reliability import pool  # noqa: E402
from experiments.reliability.judge import Judge, said  # noqa: E402
from experiments.reliability.kinds.kind import Kind  # noqa: E402
from experiments.reliability.public import Entry, entries  # noqa: E402
from experiments.reliability.verdict import Case  # noqa: E402


def kinds_of(entry: Entry, argument: str) -> dict[str, Kind]:
    return {kind.name: kind for kind in entry.roles[argument].kinds}


def no_network(*args: Any, **kwargs: Any) -> Any:
    raise OSError("no network in this test")


def main() -> None:
    os.chdir(tempfile.mkdtemp(prefix="jaxbp-cwd-"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (64 * 2**30, 64 * 2**30))
    socket.socket.connect = no_network  # type: ignore[method-assign]
    found, _ = entries()
    judge = Judge(found)
    asked = itertools.count(1)

    def answer(question: list[str]) -> list[str]:
        if len(question) == 1:  # a good call
            error = judge.baseline(question[0]).error
            return ["right" if error is None else "clear", "" if error is None else said(error)]
        case = Case(*question)
        if next(asked) % 100 == 0:
            jax.clear_caches()  # of programs that no later case runs
        try:
            return list(judge.judge(case, kinds_of(found[case.function], case.argument)[case.kind]))
        except Exception as error:  # of the instrument: such a value cannot be made of this good one
            return ["skipped", said(error)]

    pool.serve(answer)


if __name__ == "__main__":
    main()
