"""A process that ends, hangs or fails: each survivor says so, and is down within the heartbeat."""

import re
import signal

import pytest

from tests.train.processes import meeting

HEARTBEAT = 4


def digests(answers):
    return {re.search("digest (.*)", text)[1] for _, text in answers}


def trained(together, folder, n=2):
    """The digests after a run to its end, or what is left of it."""
    answers = together(*({"connect": c, "what": "faulty", "out": str(folder)} for c in meeting(n)))
    assert all(code == 0 for code, _ in answers), answers
    return digests(answers)


def befallen(together, folder, fault, who, n=2, heartbeat=HEARTBEAT):
    """Runs in which one process has a fault; what the others say of it is in their last lines."""
    members = [{"connect": c, "what": "faulty", "out": str(folder)} for c in meeting(n, heartbeat=heartbeat)]
    members[who]["fault"] = fault
    answers = together(*members, hang=[who] if fault == "SIGSTOP" else [])
    assert float(re.search("fault (.*)", answers[who][1])[1]) > together.ended - heartbeat - 1
    for i in set(range(n)) - {who}:
        code, text = answers[i]
        assert code == 1 or (fault, who, code) == ("SIGKILL", 0, -signal.SIGABRT), text
        said = rf"process {i} of {n}: expected all processes to go on, got process {who} \(pid .* on .*\), "
        said += "which " + SAYS[fault]
        if (fault, who) == ("SIGKILL", 0):  # JAX ends the others at the same moment
            said += "|RuntimeError: fit: expected . processes to compute together, got .*Gloo"
        assert re.search(said, text), text


SAYS = {
    "SIGKILL": "has ended without a word; this process ends, too",
    "SIGSTOP": r"has given no sign of life for .* s; this process ends, too",
    "raise": r"has ended by .*KeyError: 'mine'.*; this process ends, too",
}


@pytest.mark.parametrize(
    ("fault", "who"),
    [("SIGKILL", 1), ("SIGKILL", 0), ("SIGSTOP", 1), ("SIGSTOP", 0), ("raise", 1), ("raise", 0)],
)
def test_the_others_say_who_is_lost_and_end(together, tmp_path, fault, who):
    befallen(together, tmp_path, fault, who)
    assert (tmp_path / "epoch_000002.npz").is_file()


@pytest.mark.soak
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("fault", SAYS)
def test_a_run_with_a_fault_goes_on_to_the_same_digest(together, tmp_path, fault, n):
    """Ten seconds are the default heartbeat."""
    whole = trained(together, tmp_path / "whole", n)
    for who in range(n):
        folder = tmp_path / f"{who}"
        befallen(together, folder, fault, who, n, heartbeat=10)
        assert trained(together, folder, n) == whole
