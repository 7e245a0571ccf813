"""Whoever comes to the port of `connect`: only the right hello changes anything, and none holds it up."""

import json
import random
import socket
import threading
import time
import warnings

import jax
import pytest

from jaxbp.train import distributed
from jaxbp.train.processes import wire
from tests.train.processes import free_address

RIGHT = {"process_id": 1, "num_processes": 2, "jax": jax.__version__}


def line(**change):
    return json.dumps(RIGHT | change).encode() + b"\n"


NO_HELLO = {
    "brackets": b"[" * 9_990 + b"\n",
    "braces": b'{"a":' * 700 + b"\n",
    "nested": b'{"process_id": ' + b"[" * 1500 + b"]" * 1500 + b"}\n",
    "infinity": b'{"process_id": Infinity, "num_processes": 2, "jax": "1"}\n',
    "1e999": b'{"process_id": 1e999, "num_processes": 2, "jax": "1"}\n',
    "nan": b'{"process_id": NaN, "num_processes": NaN, "jax": NaN}\n',
    "big": b'{"process_id": ' + b"9" * 3000 + b', "num_processes": 2, "jax": "1"}\n',
    "too big to read": b'{"process_id": ' + b"9" * 4500 + b"}\n",
    "2**31": line(process_id=2**31),
    "negative": line(process_id=-1),
    "true": line(process_id=True),
    "1.0": line(process_id=1.0),
    "text": line(process_id="1"),
    "none": line(process_id=None),
    "list": line(num_processes=[2]),
    "no version": line(jax=None),
    "version of bytes": line(jax="\0\x1b[2J"),
    "long version": line(jax="9" * 2000),
    "a list": b"[1, 2]\n",
    "a number": b"7\n",
    "null": b"null\n",
    "an empty object": b"{}\n",
    "an empty line": b"\n",
    "many empty lines": b"\n" * 4000,
    "nul": b"\0" * 500 + b"\n",
    "binary": bytes(range(256)) + b"\n",
    "utf-16": json.dumps(RIGHT).encode("utf-16") + b"\n",
    "bad utf-8": b'{"process_id": "\xff\xfe"}\n',
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "part of a line": line()[:-10],
    "no end of a line": line()[:-1],
    "endless": b"x" * 1_000_000,
    "nothing": b"",
}


@pytest.fixture
def meet():
    """Process 0 of two, which waits; gives its address, and a function that waits for what comes of it."""
    address = free_address()
    ended = {}

    def serve(timeout):
        try:
            ended["peers"] = distributed._gather("connect", address, 2, timeout)
        except Exception as error:
            ended["error"] = error

    threads = []

    def start(timeout=20):
        threads.append(threading.Thread(target=serve, args=(timeout,)))
        with warnings.catch_warnings():
            threads[0].start()
        host, port = address.split(":")
        for _ in range(100):
            try:
                socket.create_connection((host, port)).close()
                break
            except OSError:
                time.sleep(0.01)
        return lambda: socket.create_connection((host, port), 10), lambda: (threads[0].join(30), ended)[1]

    yield start
    threads[0].join(30)
    for peer, _ in ended.get("peers", {}).values():
        peer.close()


def answer(peer):
    peer.settimeout(10)
    with peer.makefile("rb") as lines:
        return [wire.parsed(said) for said in lines]


def test_what_is_no_hello_is_passed_over_and_the_true_peer_joins(meet):
    """All at once, and each holds its connection open."""
    guest, ended = meet()
    strangers = []
    for body in NO_HELLO.values():
        strangers.append(guest())
        wire.send(strangers[-1], body)
    started = time.monotonic()
    with guest() as peer:
        peer.sendall(line(name="pid 7"))
        assert list(ended()["peers"]) == [1]
        assert time.monotonic() - started < 5
        assert wire.parsed(peer.recv(100).split(b"\n")[0]) == {"welcome": 2}
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize("body", NO_HELLO.values(), ids=NO_HELLO)
def test_no_line_but_a_hello_is_one(body):
    assert all(wire.hello(part) is None for part in body.split(b"\n")[:-1])


def test_random_lines_are_no_hello_and_no_error():
    rng = random.Random(0)
    right, taken = line(), 0
    for _ in range(2_000):
        body = bytearray(right)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(body))
            change = rng.choice(("set", "cut", "double"))
            if change == "set":
                body[at] = rng.randrange(256)
            elif change == "cut":
                del body[at : at + rng.randint(1, 9)]
            else:
                body[at:at] = body[at : at + rng.randint(1, 40)]
            body = body or bytearray(b"{")
        try:
            lines = wire.Lines().add(bytes(body))
        except ValueError:
            continue
        for said in lines:
            if (hello := wire.hello(said)) is not None:
                taken += 1
                assert isinstance(hello.process_id, int)
    assert taken > 50  # other numbers and names are still hellos


def test_a_peer_that_dies_while_it_waits_may_come_again(meet):
    guest, ended = meet()
    with guest() as peer:
        peer.sendall(line(process_id=5, num_processes=9))
        assert answer(peer)[0]["fault"] == "ValueError"
    with guest() as other:
        other.sendall(line(num_processes=3))
        (said,) = answer(other)
        assert "expected num_processes 2, jax" in said["message"]
        assert "got num_processes 3" in said["message"]

    def joined():
        peer.sendall(line())
        return ended()

    with guest() as peer:
        with pytest.warns(UserWarning, match="did not belong here was refused: .*num_processes 3"):
            found = joined()
        assert list(found["peers"]) == [1]


def test_another_number_alone_ends_process_0_soon(meet):
    guest, ended = meet(timeout=60)
    with guest() as other:
        other.sendall(line(num_processes=3))
        started = time.monotonic()
        assert "got num_processes 3" in str(ended()["error"])
        assert time.monotonic() - started < 6


def test_many_that_say_nothing_use_up_no_time(meet):
    guest, ended = meet(timeout=2)
    idle = [guest() for _ in range(120)]
    started = time.monotonic()
    assert "got 1, without 1" in str(ended()["error"])
    assert time.monotonic() - started < 4
    for peer in idle:
        peer.close()


@pytest.mark.parametrize(
    "says", [b"", b"\n", b"{}\n", b"[]\n", b"HTTP/1.1 400\r\n\r\n", b"x" * 9000, b'{"fault": 3}\n']
)
def test_where_something_else_listens_no_more_than_the_timeout_passes(says):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def serve():
            taken = []
            while not stop.is_set():
                try:
                    taken.append(server.accept()[0])
                    taken[-1].sendall(says)
                except OSError:
                    continue
            for peer in taken:
                peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"expected process 0 at 127.0.0.1:\d+ within 0.3 s, got"):
            distributed._report("connect", f"127.0.0.1:{server.getsockname()[1]}", 2, 1, 0.3)
        assert 0.25 < time.monotonic() - started < 1
        stop.set()
        thread.join()
