"""Where processes of a test meet."""

import socket
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 240  # seconds: a busy machine takes a minute until three processes have met
FOREIGN = ("XLA_", "JAX_", "SLURM_", "OMPI_", "JOB_COMPLETION_INDEX")


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def meeting(n, **options):
    """The arguments of connect in each of n processes."""
    given = {"coordinator": free_address(), "num_processes": n, "timeout": LIMIT} | options
    return [given | {"process_id": i} for i in range(n)]
