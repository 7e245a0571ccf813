"""Worker processes that judge cases: one that dies or hangs is a verdict, and is replaced."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ROOT = Path(__file__).parents[2]
FOREIGN = ("XLA_", "JAX_", "SLURM_", "OMPI_", "JOB_COMPLETION_INDEX")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what a launcher or a user set for JAX."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    return kept | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"} | more


class Worker:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, module: str):
        self.folder = tempfile.mkdtemp(prefix="jaxbp-worker-")
        self.stderr = open(Path(self.folder) / "stderr", "w+b")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", module],
            cwd=ROOT,
            env=environment(TMPDIR=self.folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
        )

    def ask(self, question: Any, timeout: float) -> Any:
        """The answer; None where the process died or did not answer in time."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return None
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            return None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def end(self) -> str:
        """Stop it; how it ended, in words."""
        hung = False
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            hung = True
            self.process.kill()
            self.process.wait()
        self.stderr.seek(0)
        last = self.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        for pipe in (self.process.stdin, self.process.stdout, self.stderr):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        shutil.rmtree(self.folder, ignore_errors=True)
        return "no answer in time" if hung else f"status {self.process.returncode}: {' '.join(last)[:200]}"


def answers(
    module: str, questions: list[Any], *, jobs: int, timeout: float, on_death: Callable[[str], Any]
) -> Iterator[tuple[int, Any]]:
    """(number, answer) of each question as they come; ``on_death(how)`` is that of a process that died."""
    todo: Queue[int] = Queue()
    done: Queue[tuple[int, Any]] = Queue()
    for i in range(len(questions)):
        todo.put(i)

    def serve() -> None:
        worker: Worker | None = None
        while True:
            try:
                i = todo.get_nowait()
            except Empty:
                break
            if worker is None:
                worker = Worker(module)
                if worker.ask(None, 600) is None:  # it imports
                    raise RuntimeError(f"a worker did not start: {worker.end()}")
            answer = worker.ask(questions[i], timeout)
            if answer is None:
                answer = on_death(worker.end())
                worker = None
            done.put((i, answer))
        if worker:
            worker.process.stdin.close()  # type: ignore[union-attr]
            worker.end()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for _ in questions:
        while True:
            try:
                yield done.get(timeout=1)
                break
            except Empty:
                if not any(thread.is_alive() for thread in threads) and done.empty():
                    raise RuntimeError("the workers ended before the questions") from None


def serve(answer: Callable[[Any], Any]) -> None:
    """In a worker: answer each line until there are no more. What the cases print goes to nobody."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin.buffer:
        question = json.loads(line)
        out.write(json.dumps("ready" if question is None else answer(question)).encode() + b"\n")
        out.flush()
