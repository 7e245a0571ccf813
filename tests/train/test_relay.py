"""The relay of JAX's connection: bytes pass both ways, and the end of process 0 is not passed on."""

import socket
import threading

import pytest

from jaxbp.train.processes.relay import relayed


def reached(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), 10)


def test_bytes_pass_both_ways_and_the_end_of_process_0_does_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = reached(relayed(server.getsockname()))
        theirs, _ = server.accept()
        sent = bytes(range(256)) * 4096  # a mebibyte, more than a socket holds
        threading.Thread(target=ours.sendall, args=(sent,), daemon=True).start()
        got = b""
        while len(got) < len(sent):
            got += theirs.recv(2**20)
        assert got == sent
        theirs.sendall(b"answer")
        assert ours.recv(100) == b"answer"
        theirs.close()
    ours.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ours.recv(1)
    for _ in range(20):  # what is sent to nobody is lost, and breaks nothing
        ours.sendall(bytes(2**16))
    with pytest.raises(TimeoutError):
        ours.recv(1)
    ours.close()


def test_our_own_end_is_passed_on():
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = reached(relayed(server.getsockname()))
        theirs, _ = server.accept()
        theirs.settimeout(10)
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"
        ours.close()
        assert theirs.recv(1) == b""
        theirs.close()


def test_a_process_0_that_is_not_there_yet_is_tried_again():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        place = probe.getsockname()
    address = relayed(place)
    with reached(address) as early:
        early.settimeout(10)
        assert early.recv(1) == b""
    with socket.create_server(place) as server, reached(address) as late:
        theirs, _ = server.accept()
        theirs.sendall(b"x")
        assert late.recv(1) == b"x"
        theirs.close()
