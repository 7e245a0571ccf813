"""Many processes on loopback, for the tests of what they compute together and how they fail."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.train.processes import FOREIGN, LIMIT, ROOT


@pytest.fixture
def together():
    """Runs members at once, each given what member.main takes; gives exit status and output of each.

    Those that ``hang`` are killed when the others have ended, which was at ``ended``.
    """
    running = []

    def run(*members, envs=({},) * 4, hang=(), limit=LIMIT):
        began = len(running)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        for options, env in zip(members, envs, strict=False):
            running.append(
                subprocess.Popen(
                    [sys.executable, "-u", "-m", "tests.train.member", json.dumps(options)],
                    cwd=ROOT,
                    env=inherited | {"PYTHONPATH": str(ROOT)} | env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        started, end = running[began:], time.monotonic() + limit
        for process in (p for i, p in enumerate(started) if i not in hang):
            process.wait(max(end - time.monotonic(), 1))
        run.ended = time.time()
        for i in hang:
            started[i].kill()
        outputs = [process.communicate(timeout=max(end - time.monotonic(), 1))[0] for process in started]
        return [(process.returncode, text) for process, text in zip(started, outputs, strict=True)]

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
