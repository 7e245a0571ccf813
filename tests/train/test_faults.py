"""A process that ends, hangs or fails: each survivor says so, and is down within the heartbeat."""

import itertools
import re
import socket
import threading

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
        assert code == 1, text
        said = rf"process {i} of {n}: expected all processes to go on, got process {who} \(pid .* on .*\), "
        said += "which " + SAYS[fault]
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


def stranger(address, stop):
    """Says other things to a port, again and again."""
    host, port = address.split(":")
    sent = itertools.cycle(
        [b"GET / HTTP/1.1\r\n\r\n", b"[" * 9_000, b"", b'{"process_id": 1, "num_processes": 7, "jax": "x"}\n']
    )
    while not stop.is_set():
        try:
            with socket.create_connection((host, int(port)), 1) as peer:
                peer.sendall(next(sent))
                stop.wait(0.1)
        except OSError:
            stop.wait(0.1)


TIMEOUT = 20  # for all to start on a busy machine
MEETINGS = {
    "missing worker": ([{"timeout": 3}], {}, ["TimeoutError: .*got 1, without 1; did they start"]),
    "missing coordinator": ([{"process_id": 1, "timeout": 3}], {}, ["TimeoutError: .*expected process 0 at"]),
    "an id twice": ([{}, {"process_id": 0}], {}, ["TimeoutError|Error", "OSError: .*Address already in use"]),
    "other numbers": (
        [{}, {"num_processes": 3}],
        {},
        ["ValueError: .*num_processes 2, jax .*got num_processes 3"] * 2,
    ),
    "another JAX": ([{}, {}], {1: {"version": "0.0.1"}}, ["ValueError: .*jax 0.0.1, process_id 1"] * 2),
}


@pytest.mark.parametrize(
    "kind",
    ["another JAX", *(pytest.param(k, marks=pytest.mark.soak) for k in MEETINGS if k != "another JAX")],
)
@pytest.mark.parametrize("attempt", [0, *(pytest.param(i, marks=pytest.mark.soak) for i in (1, 2))])
def test_those_that_do_not_belong_together_say_so_and_end(together, kind, attempt):
    changes, options, says = MEETINGS[kind]
    connects = [c | change for c, change in zip(meeting(2, timeout=TIMEOUT), changes, strict=False)]
    if kind == "an id twice":
        connects[0]["timeout"] = 8
    answers = together(*({"connect": c} | options.get(i, {}) for i, c in enumerate(connects)))
    last = max(float(re.search("begin (.*)", text)[1]) for _, text in answers)
    assert together.ended - last < 12
    for (code, text), said in zip(answers, says, strict=True):
        assert code == 1, text
        assert re.search(said, text.splitlines()[-1]), text


@pytest.mark.soak
def test_a_stranger_at_the_port_disturbs_nobody(together, tmp_path):
    connects = meeting(2)
    stop = threading.Event()
    thread = threading.Thread(target=stranger, args=(connects[0]["coordinator"], stop))
    thread.start()
    try:
        answers = together(*({"connect": c} for c in connects))
    finally:
        stop.set()
        thread.join()
    for code, text in answers:
        assert code == 0, text
        assert "total 3.0" in text
