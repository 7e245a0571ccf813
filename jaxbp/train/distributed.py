"""`connect`: many processes become one run, or say clearly why not."""

import json
import os
import re
import socket
import time
from contextlib import ExitStack, suppress
from typing import Any

import jax

from jaxbp import errors

_connected: tuple[str, int, int] | None = None


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    bind: str | None = None,
    timeout: int = 300,
    heartbeat: int = 100,
) -> None:
    """Join this process with the others by `jax.distributed.initialize`; then fit over a mesh of all devices.

    Call it once in each process, before anything that uses a device. The processes first meet on plain
    sockets, so that what would end JAX with SIGABRT, SIGSEGV or nothing at all is a Python error in each of
    them. What is not given is taken from ``JAX_COORDINATOR_ADDRESS`` and from the launcher: Slurm gives all
    three, Open MPI the number and the id, an Indexed Job of Kubernetes the id. On a Cloud TPU call
    `jax.distributed.initialize` itself.

    Later faults are JAX's own. A peer that dies in a collective raises within a second in the others (on
    CPUs ``Gloo all-reduce failed: ... Connection closed by peer``; `jaxbp.fit` says what that means); they
    then wait for ``heartbeat`` before they exit, by SIGABRT. A peer that hangs ends the others by SIGABRT
    after ``heartbeat``. If process 0 dies, the others end by SIGABRT at once. ``jax_enable_recoverability``
    is left off: it spares the wait, but a peer that hangs goes unnoticed, and the others abort where process
    0 ends before them.

    Args:
        coordinator: ``"host:port"`` of process 0, as the others reach it; any free port.
        num_processes: how many there are.
        process_id: which this is, from 0.
        bind: ``"host:port"`` on which process 0 listens, by default ``JAX_COORDINATOR_BIND_ADDRESS`` or
            the coordinator's own; JAX alone would listen on all interfaces.
        timeout: seconds to wait for all to come.
        heartbeat: seconds without a sign of life after which JAX takes a process for dead.

    Raises:
        ValueError: for an argument missing or out of range, and where processes disagree.
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
    if i == 0:
        _gather(where, bind, n, timeout)
    else:
        _report(where, coordinator, n, i, timeout)
    try:
        jax.distributed.initialize(
            coordinator,
            n,
            i,
            cluster_detection_method=None if found[2] is not None and n == found[1] else "deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=heartbeat,
            coordinator_bind_address=bind,
        )
    except jax.errors.JaxRuntimeError as error:
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


def _gather(where: str, bind: str, n: int, timeout: float) -> None:
    """Process 0: wait until each of the others came, and tell them all whether they agree."""
    host, port = _split(bind)
    end = time.monotonic() + timeout
    peers: dict[int, socket.socket] = {}
    fault: tuple[type[Exception], str] | None = None
    with ExitStack() as stack:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            server = stack.enter_context(socket.create_server((host, port), family=family, backlog=n))
        except OSError as error:
            hint = "is the port taken, and is the host this one? bind= is where process 0 listens"
            raise OSError(errors.message(where, f"to listen at {bind}", f"{error}", hint)) from error
        while len(peers) < n - 1 and fault is None:
            server.settimeout(max(end - time.monotonic(), 0.001))
            try:
                peer = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(1, n) if i not in peers)
                got = f"{len(peers) + 1}, without {missing}"
                hint = f"did they start, and do they reach {host}:{port} ({server.getsockname()[0]})?"
                fault = TimeoutError, errors.message(where, f"{n} processes within {timeout} s", got, hint)
                continue
            peer.settimeout(10)
            try:
                hello = _receive(peer)
                i, number, version = int(hello["process_id"]), hello["num_processes"], hello["jax"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not one of us
            differs = number != n or version != jax.__version__
            if differs or i in peers or not 0 < i < n:
                expected = f"num_processes {n}, jax {jax.__version__} and each process_id once"
                got = f"num_processes {number}, jax {version}, process_id {i}"
                fault = ValueError, errors.message(where, expected, got + " again" * (not differs))
            peers.setdefault(i, peer)
            if fault:
                _send(peer, fault=fault[0].__name__, message=fault[1])
        for peer in peers.values():
            with suppress(OSError):
                _send(peer, **({"fault": fault[0].__name__, "message": fault[1]} if fault else {}))
    if fault:
        raise fault[0](fault[1])


def _report(where: str, coordinator: str, n: int, i: int, timeout: float) -> None:
    """Another process: say who it is, and hear from process 0 whether all agree."""
    end = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection(_split(coordinator), max(end - time.monotonic(), 0.001)) as peer:
                peer.settimeout(timeout + 10)  # process 0 may have started later
                _send(peer, process_id=i, num_processes=n, jax=jax.__version__)
                answer = _receive(peer)
            break
        except (OSError, ValueError) as error:
            if time.monotonic() > end:
                hint = "is it running, is the address its own, and is the port open?"
                raise TimeoutError(
                    errors.message(
                        where, f"process 0 at {coordinator} within {timeout} s", f"{error!r}", hint
                    )
                ) from error
            time.sleep(0.1)
    if answer:
        raise {"ValueError": ValueError, "TimeoutError": TimeoutError}[answer["fault"]](answer["message"])


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(errors.message("connect", 'an address "host:port"', repr(address)))
    return host.strip("[]"), int(port)


def _send(peer: socket.socket, **message: Any) -> None:
    peer.sendall(json.dumps(message).encode() + b"\n")


def _receive(peer: socket.socket) -> dict[str, Any]:
    with peer.makefile("rb") as lines:
        return json.loads(lines.readline(10_000))
