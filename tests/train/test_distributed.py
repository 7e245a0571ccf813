"""Many processes on loopback: they meet, they compute what one device computes, and faults are errors."""

import os
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxbp
from jaxbp.train import distributed
from tests.train.member import GRAD, NET, share
from tests.train.processes import FOREIGN, LIMIT, ROOT, meeting


@pytest.mark.soak
def test_two_processes_of_two_devices_compute_together(together):
    for code, text in together(*({"connect": c, "devices": 2} for c in meeting(2))):
        assert code == 0, text
        assert "total 6.0" in text  # 2 devices of 1 and 2 of 2


def test_slurm_tells_all(together):
    """The variables that srun sets, on two tasks of this host."""
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    envs = [slurm | {"SLURM_PROCID": f"{i}", "SLURM_LOCALID": f"{i}"} for i in range(2)]
    for code, text in together(*[{"connect": {"timeout": LIMIT}}] * 2, envs=envs):
        assert code == 0, text
        assert "total 3.0" in text


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({}, (None, None, None)),
        ({"JOB_COMPLETION_INDEX": "3", "JAX_COORDINATOR_ADDRESS": "train-0.train:8476"},
         ("train-0.train:8476", None, 3)),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}, (None, 4, 2)),
        ({"SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "gpu[007-010,12],login", "SLURM_NTASKS": "8",
          "SLURM_PROCID": "5"}, ("gpu007:61441", 8, 5)),
        ({"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a1,b2", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
         ("a1:61441", 2, 0)),
    ],
    ids=["none", "kubernetes", "open mpi", "slurm ranges", "slurm names"],
)  # fmt: skip
def test_what_launchers_tell(env, found, monkeypatch):
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert distributed._launcher() == found


@pytest.mark.parametrize(
    ("processes", "x64", "memory_budget"),
    [
        (2, False, None),
        pytest.param(4, True, None, marks=pytest.mark.soak),
        pytest.param(2, False, 400, marks=pytest.mark.soak),
    ],
    ids=["2, float32", "4, float64", "2, streamed"],
)
def test_fit_equals_one_device(processes, x64, memory_budget, together, tmp_path):
    """The same batches in a plain loop on one device; one trace for each size of batch; one progress bar."""
    out, N, B = tmp_path / "params", 22, 16
    options = {"what": "fit", "x64": x64, "out": str(out), "memory_budget": memory_budget}
    members = [{"connect": c, "devices": 4 // processes} | options for c in meeting(processes)]
    for i, (code, text) in enumerate(together(*members)):
        assert code == 0, text
        assert f"streamed {memory_budget is not None}" in text
        assert "traces True" in text or memory_budget
        assert ("training" in text) == (i == 0)
    with jax.enable_x64(x64):
        shares = [share(i, N, "float64" if x64 else "float32") for i in range(processes)]
        x, y = (np.concatenate(parts) for parts in zip(*shares, strict=True))
        params, key = NET.init(jax.random.key(0)), jax.random.key(1)
        step = jax.jit(GRAD)
        for epoch in (1, 2, 3):
            for rows in batches(processes, key, epoch, N, B):
                _, grads = step(params, x[rows], y[rows])
                params = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)
        expected = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    for i in range(processes):
        with np.load(f"{out}-{i}.npz") as saved:
            close([saved[f"arr_{k}"] for k in range(len(expected))], expected)


def batches(processes, key, epoch, N, B):
    """The rows of the concatenated shares in each iteration: of a batch, an equal part from each share."""
    part = B // processes
    orders = [
        jaxbp.train.programs.epoch_program.epoch_order(key, epoch, N, i) + i * N for i in range(processes)
    ]
    return [np.concatenate([o[s : s + part] for o in orders]) for s in range(0, N, part)]


def close(found, expected):
    """To 1e-6 of the norm in float32, 1e-14 in float64."""
    for u, v in zip(found, expected, strict=True):
        assert np.linalg.norm(u - v) <= {4: 1e-6, 8: 1e-14}[v.itemsize] * np.linalg.norm(v)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([{}, {"num_processes": 3}], ["num_processes 2, jax"] * 2),
        ([{"num_processes": 3}, {"num_processes": 3}, {"num_processes": 3, "process_id": 1}],
         ["process_id 1 again"] * 3),
        ([{"num_processes": 3, "timeout": 3}, {"num_processes": 3}],
         ["got 2, without 2"] * 2),
        ([{"process_id": 1, "timeout": 1}], ["expected process 0 at 127.0.0.1"]),
        ([{"process_id": 1, "timeout": 1, "coordinator": "no-such-host.invalid:61500"}], ["no-such-host"]),
        ([{"coordinator": "no-such-host.invalid:61500"}], ["is the host this one?"]),
    ],
    ids=["another number", "an id twice", "too few", "no coordinator", "a wrong name", "a name not mine"],
)  # fmt: skip
def test_processes_that_do_not_meet(members, says, together):
    connects = [c | m for c, m in zip(meeting(3, num_processes=2, timeout=20), members, strict=False)]
    for (code, text), word in zip(together(*({"connect": c} for c in connects)), says, strict=True):
        assert code == 1, text
        assert word in text.splitlines()[-1]


def test_a_taken_port(together):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (code, text), *_ = together({"connect": meeting(2, coordinator=address)[0]})
    assert code == 1
    assert "OSError: connect, process 0 of 2: expected to listen at" in text
    assert "Address already in use" in text


@pytest.mark.soak
def test_all_stop_after_the_same_epoch_where_one_is_asked_to(together, tmp_path):
    members = [{"connect": c, "what": "signal SIGTERM", "out": str(tmp_path)} for c in meeting(2)]
    for code, text in together(*members):
        assert code == 0, text
        assert "stopped interrupted 3" in text
    assert (tmp_path / "epoch_000003.npz").is_file()


@pytest.mark.soak
def test_fit_says_that_a_peer_was_killed(together, tmp_path):
    members = [{"connect": c, "what": "signal SIGKILL", "out": str(tmp_path)} for c in meeting(2)]
    (code, text), (killed, _) = together(*members)
    assert killed == -signal.SIGKILL
    assert code == 0, text
    assert "caught fit: expected 2 processes to compute together, got" in text
    assert (tmp_path / "epoch_000003.npz").is_file()  # no checkpoint was due before epoch 1000


def test_calls_that_cannot_be(monkeypatch):
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    with pytest.raises(ValueError, match="got no coordinator, num_processes, process_id"):
        jaxbp.connect()
    with pytest.raises(ValueError, match="process_id 2 of 2"):
        jaxbp.connect("127.0.0.1:1", 2, 2)
    for address in ("127.0.0.1", ":1", "127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:²", "a:" + "9" * 5000):
        with pytest.raises(ValueError, match=r"expected an address .host:port., got"):
            jaxbp.connect(address, 2, 0)
    for change in (
        {"coordinator": b"a:1"}, {"num_processes": 2.0}, {"num_processes": True}, {"process_id": "0"},
        {"timeout": float("nan")}, {"timeout": 0}, {"heartbeat": 0}, {"heartbeat": "10"}, {"bind": 7},
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=r"^connect: expected .*, got "):
            jaxbp.connect(**{"coordinator": "127.0.0.1:1", "num_processes": 2, "process_id": 1} | change)
    jax.devices()
    with pytest.raises(RuntimeError, match="a device already in use"):
        jaxbp.connect("127.0.0.1:1", 2, 0)


EIGHT = """
import jax, numpy as np, optax, jaxbp
from tests.train.member import GRAD, NET, share
from tests.train.processes import FOREIGN, LIMIT, ROOT, meeting

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
for x64, limit in ((False, 1e-6), (True, 1e-14)):
    jax.config.update("jax_enable_x64", x64)
    params, data = NET.init(jax.random.key(0)), share(0, 44, "float64" if x64 else "float32")
    def fit(mesh, **options):
        return jax.tree.leaves(jaxbp.fit(GRAD, params, data, optimizer=optax.sgd(0.3), epochs=3, mesh=mesh,
                               key=jax.random.key(1), batch_size=16, progress_bar=False).params)
    one = fit(None)
    for shape, axes in (((8,), ("data",)), ((4, 2), ("data", "model")), ((2, 4), ("data", "model"))):
        for u, v in zip(fit(jax.make_mesh(shape, axes)), one, strict=True):
            error = np.linalg.norm(np.asarray(u) - v) / np.linalg.norm(v)
            assert error <= limit, (shape, x64, error)
"""


@pytest.mark.soak
def test_eight_devices_equal_one():
    environment = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    subprocess.run(
        [sys.executable, "-c", EIGHT],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        timeout=LIMIT,
        check=True,
    )


@pytest.mark.parametrize("activation", ["relu", "tanh", "make_leaky_relu(0.1)"])
def test_a_net_is_made_before_the_devices_are_chosen(activation):
    """Else no net could be a constant of a module whose main calls `connect`."""
    code = (
        "import jax, jaxbp; net = jaxbp.mlp([4, 8, 2], jaxbp.%s); "
        "jaxbp.value_and_grad(net, jaxbp.squared_error); "
        "jax.config.update('jax_num_cpu_devices', 3); assert jax.device_count() == 3"
    )
    ran = subprocess.run([sys.executable, "-c", code % activation], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
