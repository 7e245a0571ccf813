"""`connect`: many processes become one run, or say clearly why not."""

import math
import os
import re
import socket
import time
import warnings
from contextlib import ExitStack, suppress

import jax

from jaxbp import arguments, errors
from jaxbp.train.processes.guests import Guests
from jaxbp.train.processes.relay import relayed
from jaxbp.train.processes.watch import Watch
from jaxbp.train.processes.wire import Hello, Lines, fault_of, own_name, parsed, receive, send, to_line

_GRACE = 3  # seconds in which the right process may still come, after one that does not belong here
_PATIENCE_OF_JAX = 100  # seconds, or ten heartbeats: it acts where the watch could not

_connected: tuple[str, int, int] | None = None


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    bind: str | None = None,
    timeout: float = 300,
    heartbeat: float = 10,
) -> None:
    """Join this process with the others by `jax.distributed.initialize`; then fit over a mesh of all devices.

    Call it once in each process, before anything that uses a device. The processes first meet on plain
    sockets, so that what would end JAX with SIGABRT, SIGSEGV or nothing at all is a Python error in each of
    them. What is not given is taken from ``JAX_COORDINATOR_ADDRESS`` and from the launcher: Slurm gives all
    three, Open MPI the number and the id, an Indexed Job of Kubernetes the id. On a Cloud TPU call
    `jax.distributed.initialize` itself.

    From then on the processes exchange signs of life. One that ends by a signal or an error is noticed at
    once, one that hangs (it is stopped, its computer is gone) when it was silent for 0.7 of ``heartbeat``.
    Each of the others then says in one sentence which process it was, and has ended 0.9 of ``heartbeat``
    after the last sign of life, with status 1; where a collective raises before that (on CPUs
    ``Gloo all-reduce failed: ... Connection closed by peer``; `jaxbp.fit` says what that means), the program
    has the rest of the time to end in its own way. Checkpoints stay whole. A process that waits in Python
    (a callback that does not return) is alive and is waited for. ``jax_enable_recoverability`` is left off.

    Args:
        coordinator: ``"host:port"`` of process 0, as the others reach it; any free port.
        num_processes: how many there are.
        process_id: which this is, from 0.
        bind: ``"host:port"`` on which process 0 listens, by default ``JAX_COORDINATOR_BIND_ADDRESS`` or
            the coordinator's own; JAX alone would listen on all interfaces.
        timeout: seconds to wait for all to come.
        heartbeat: seconds within which a process that ends or hangs ends the others. A process that holds
            Python's lock for most of that time, within one call of a library, is taken for one that hangs:
            give more where that may be, or where the network fails for so long.

    Raises:
        TypeError, ValueError: for an argument missing or out of range, and where processes disagree.
        TimeoutError: where process 0 was not reached, or not all came; process 0 says which.
        OSError: where process 0 cannot listen at its address.
        RuntimeError: where a device was used before, or other arguments connected this process.

    Example:
        >>> connect(num_processes=2, process_id=2, coordinator="127.0.0.1:61500")
        Traceback (most recent call last):
        ...
        ValueError: connect: expected 0 <= process_id < num_processes, got process_id 2 of 2
    """
    global _connected
    timeout = arguments.number("connect", "timeout", timeout, low=0, open_low=True)
    heartbeat = arguments.number("connect", "heartbeat", heartbeat, low=1)
    for name, address in (("coordinator", coordinator), ("bind", bind)):
        if address is not None:
            arguments.instance("connect", name, address, str)
    found = _launcher()
    coordinator = coordinator or found[0]
    n = found[1] if num_processes is None else num_processes
    i = found[2] if process_id is None else process_id
    if coordinator is None or n is None or i is None:
        named = {"coordinator": coordinator, "num_processes": n, "process_id": i}
        missing = ", ".join(name for name, value in named.items() if value is None)
        hint = "give them, or start under srun; JAX_COORDINATOR_ADDRESS=host:port is read"
        raise ValueError(
            errors.message("connect", "coordinator, num_processes, process_id", f"no {missing}", hint)
        )
    n, i = arguments.whole("connect", "num_processes", n), arguments.whole("connect", "process_id", i)
    if not 0 <= i < n:
        raise ValueError(
            errors.message("connect", "0 <= process_id < num_processes", f"process_id {i} of {n}")
        )
    bind = bind or os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or coordinator
    _split(coordinator), _split(bind)
    if _connected == (coordinator, n, i):
        return
    if jax.distributed.is_initialized():
        got = f"{_connected}" if _connected else "one by jax.distributed.initialize"
        raise RuntimeError(errors.message("connect", "no earlier connection", got, "connect once"))
    _assert_no_backend()
    where = f"connect, process {i} of {n}"
    peers = _gather(where, bind, n, timeout) if i == 0 else {0: _report(where, coordinator, n, i, timeout)}
    watch = Watch(where, peers, heartbeat)
    try:
        jax.distributed.initialize(
            coordinator if i == 0 else relayed(_split(coordinator)),
            n,
            i,
            cluster_detection_method=None if found[2] is not None and n == found[1] else "deactivate",
            initialization_timeout=math.ceil(timeout),
            heartbeat_timeout_seconds=math.ceil(max(_PATIENCE_OF_JAX, 10 * heartbeat)),
            coordinator_bind_address=bind,
        )
    except jax.errors.JaxRuntimeError as error:
        watch.stop(failed="an error at the start of JAX")
        raise OSError(
            errors.message(where, f"to listen at {bind}", str(error), "try another port")
        ) from error
    _connected = (coordinator, n, i)


def _launcher() -> tuple[str | None, int | None, int | None]:
    """The coordinator, number and id that the environment tells. JAX finds them too, but tells nobody."""
    env = os.environ
    coordinator, nodes = env.get("JAX_COORDINATOR_ADDRESS"), env.get("SLURM_STEP_NODELIST")
    if nodes and (first := re.match(r"([^,\[]+)(?:\[(\d+))?", nodes)):  # node7,node9 or node[007-009]
        port = 61440 + int(env["SLURM_JOB_ID"]) % 4096  # above the ports that Linux gives away
        coordinator = coordinator or f"{first[1]}{first[2] or ''}:{port}"
    for size, rank in (("SLURM_NTASKS", "SLURM_PROCID"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")):
        if size in env and rank in env:
            return coordinator, int(env[size]), int(env[rank])
    index = env.get("JOB_COMPLETION_INDEX")
    return coordinator, None, None if index is None else int(index)


def _assert_no_backend() -> None:
    """Raises where a device was used. JAX looks at that before it refuses zero processes, as it must here."""
    try:
        with suppress(ValueError):
            jax.distributed.initialize("127.0.0.1:0", 0, 0, cluster_detection_method="deactivate")
    except RuntimeError as error:
        got = "a device already in use (an array, jax.devices(), jax.process_index(), ...)"
        hint = "connect at the top of the program"
        raise RuntimeError(errors.message("connect", "to come before any use of JAX", got, hint)) from error


def _gather(where: str, bind: str, n: int, timeout: float) -> dict[int, tuple[socket.socket, str]]:
    """Process 0: wait until each of the others came, and tell them all whether they agree.

    Whoever else comes to the port is passed over, and holds nobody up: all connections are read at once.
    """
    host, port = _split(bind)
    end = time.monotonic() + timeout
    peers: dict[int, tuple[socket.socket, str]] = {}
    fault: Exception | None = None
    with ExitStack() as stack:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            server = stack.enter_context(socket.create_server((host, port), family=family, backlog=128))
        except OSError as error:
            hint = "is the port taken, and is the host this one? bind= is where process 0 listens"
            raise OSError(errors.message(where, f"to listen at {bind}", f"{error}", hint)) from error
        guests = stack.enter_context(Guests(server))
        while len(peers) < n - 1 and time.monotonic() < end:
            for peer, said in guests.heard(end):
                if said is None:  # it hung up
                    peers = {i: known for i, known in peers.items() if known[0] is not peer}
                    continue
                i = said.process_id
                if said[1:3] == (n, jax.__version__) and i not in peers and 0 < i < n:
                    peers[i] = peer, said.name
                    send(peer, to_line(welcome=n))
                    continue
                expected = f"num_processes {n}, jax {jax.__version__} and each process_id once"
                got = f"num_processes {said.num_processes}, jax {said.jax}, process_id {i}"
                fault = ValueError(errors.message(where, expected, got + " again" * (i in peers)))
                send(peer, to_line(fault="ValueError", message=str(fault)))
                guests.dismiss(peer)
                end = min(end, time.monotonic() + _GRACE)
        if len(peers) == n - 1:
            if fault:
                warnings.warn(f"{where}: one that did not belong here was refused: {fault}", stacklevel=3)
            for peer, _ in peers.values():
                send(peer, to_line(agreed=True, name=own_name()))
                guests.release(peer)
            return peers
        missing = ", ".join(str(i) for i in range(1, n) if i not in peers)
        got = f"{len(peers) + 1}, without {missing}"
        hint = f"did they start, and do they reach {host}:{port} ({server.getsockname()[0]})?"
        fault = fault or TimeoutError(errors.message(where, f"{n} processes within {timeout} s", got, hint))
        for peer, _ in peers.values():
            send(peer, to_line(fault=type(fault).__name__, message=str(fault)))
    raise fault


def _report(where: str, coordinator: str, n: int, i: int, timeout: float) -> tuple[socket.socket, str]:
    """Another process: say who it is, and hear from process 0 whether all agree."""
    end = time.monotonic() + timeout
    introduction = to_line(**Hello(i, n, jax.__version__, own_name())._asdict())
    while True:
        try:
            peer = socket.create_connection(_split(coordinator), max(end - time.monotonic(), 0.001))
            try:
                fault, name = _introduce(peer, introduction, end, timeout)
                break
            except BaseException:
                peer.close()
                raise
        except (OSError, ValueError) as error:
            if time.monotonic() >= end:
                hint = "is it running, is the address its own, and is the port open?"
                expected = f"process 0 at {coordinator} within {timeout} s"
                raise TimeoutError(errors.message(where, expected, f"{error!r:.200}", hint)) from error
            time.sleep(min(0.1, max(end - time.monotonic(), 0)))
    if fault is not None:
        peer.close()
        raise fault
    return peer, name


def _introduce(
    peer: socket.socket, introduction: bytes, end: float, timeout: float
) -> tuple[Exception | None, str]:
    """Say hello to process 0 and wait for what it makes of it: a fault or None, and its name.

    Raises:
        OSError: no answer came until ``end``.
        ValueError: who answers is not process 0.
    """
    peer.settimeout(max(end - time.monotonic(), 0.001))
    peer.sendall(introduction)
    lines = Lines()
    while True:
        for answer in map(parsed, receive(peer, lines, end)):
            if answer.get("agreed") is True:
                return None, str(answer.get("name", ""))[:80]
            if fault := fault_of(answer):
                return fault, ""
            if "welcome" not in answer:
                raise ValueError("who answers is not process 0")
            end = time.monotonic() + timeout + 10  # it waits for the others, and may have started later


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16):
        raise ValueError(errors.message("connect", 'an address "host:port"', arguments.described(address)))
    return host.strip("[]"), int(port)
