"""Arrays over many devices and processes: by Orbax where they are spread, and by .npz where they are not."""

import socket
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest

from jaxbp.train import Checkpoints

SPREAD = """
import sys
from pathlib import Path
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxbp.train import Checkpoints

folder, n, i, port = Path(sys.argv[1]), *map(int, sys.argv[2:])
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4 // n)
if n > 1:
    address = f"127.0.0.1:{port}"
    jax.distributed.initialize(address, n, i, coordinator_bind_address=address)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
split, same = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

def state(epoch):
    def laid(array, sharding):
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
    W = laid(np.arange(8, dtype=np.float32) + epoch, split)
    b = laid(np.full(3, epoch, jnp.bfloat16), same)
    key = jax.random.wrap_key_data(laid(np.array([0, epoch], np.uint32), same))
    host = np.arange(3) * epoch
    return {"net": [{"b": b, "W/1": W}], "key": key, "host": host, "eta": 0.5, "none": None, "epoch": epoch}

def assert_same(tree, expected):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(expected)):
        if isinstance(b, jax.Array):
            assert (a.dtype, a.shape, a.sharding) == (b.dtype, b.shape, b.sharding)
            if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            a, b = a.addressable_data(0), b.addressable_data(0)
        np.testing.assert_array_equal(a, b, strict=isinstance(b, np.ndarray))

def refused(error, call, *args):
    try:
        call(*args)
    except error as raised:
        return str(raised)
    raise AssertionError("not refused")

def whole(epoch):  # what any process can read
    return {**state(epoch), "net": [state(epoch)["net"][0]["b"]]}

def crafted(folder):
    # What one process wrote has checksums: the parts of another epoch are not taken for those of this one.
    import shutil
    checkpoints = Checkpoints(folder, engine="orbax")
    for epoch in (1, 2):
        checkpoints.save(epoch, state(epoch))
    whole = folder / "epoch_000002"
    shutil.copytree(whole, folder / "epoch_000005")
    shutil.copytree(whole, folder / "epoch_000004")
    shutil.rmtree(folder / "epoch_000004" / "tree")
    shutil.rmtree(whole / "tree")
    shutil.copytree(folder / "epoch_000001" / "tree", whole / "tree")
    (folder / "epoch_000003").symlink_to("nowhere")
    (folder / "epoch_000006").write_text("mine")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert checkpoints.latest(state(0))[1]["epoch"] == 1
    said = "\\n".join(str(w.message) for w in seen)
    assert "of checksum" in said and "expected epoch 5, as its name says, got epoch 2" in said, said
    assert all(f"epoch_00000{epoch} is passed over" in said for epoch in (2, 3, 5, 6)), said

config = {"config": {"eta": 0.1}}
for engine, make in (("npz", whole if n > 1 else state), ("orbax", state)):
    checkpoints = Checkpoints(folder / engine, keep=2, monitor="val_loss", engine=engine)
    for epoch, loss in enumerate([0.3, 0.1, 0.2, 0.4], 1):
        checkpoints.save(epoch, make(epoch), config, loss)
    tree, meta = checkpoints.latest(make(0), config={"eta": 0.1})
    assert_same(tree, make(4))
    assert (meta["epoch"], meta["best"]["epoch"], meta["environment"]["process_count"]) == (4, 2, n)
    assert_same(checkpoints.best(make(0))[0], make(2))
    said = refused(ValueError, lambda: checkpoints.latest(make(0), config={"eta": 0.2}))
    assert "eta was 0.1, is 0.2" in said
    other = make(0) | {"host": np.zeros(4, int)}
    assert "got ['host'] int64 (3,)" in refused(ValueError, checkpoints.latest, other)
if n > 1:
    (folder / "file").write_text("mine")
    said = refused(OSError, Checkpoints(folder / "file" / "run").prepare().__enter__)
    assert ("a file is in the way" if i == 0 else "process 0 to hold the folder, got an error") in said, said
    with Checkpoints(folder / "npz").prepare():
        said = refused(OSError, Checkpoints(folder / "npz").prepare().__enter__)
        assert ("in use by process" if i == 0 else "got an error there") in said, said
    assert 'engine="orbax"' in refused(ValueError, Checkpoints(folder / "npz").save, 5, state(5), config)
    alone = Checkpoints(folder / "npz" if i == 0 else folder / "elsewhere")
    said = refused(ValueError, alone.latest, whole(0))
    assert "got epochs [4, -1] as the newest in processes 0 to 1" in said
else:
    refused(FileExistsError, checkpoints.save, 4, state(4))
    with checkpoints.prepare():
        refused(BlockingIOError, checkpoints.prepare().__enter__)
    import warnings
    crafted(folder / "crafted")
    for file in (folder / "orbax" / "epoch_000004" / "tree").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert checkpoints.latest(state(0))[1]["epoch"] == 3
    assert any("epoch_000004 is passed over: restore(epoch_000004)" in str(w.message) for w in seen)
print("done")
"""


@pytest.mark.parametrize("n", [1, 2])
def test_arrays_over_four_devices_of_one_and_two_processes(tmp_path, n):
    pytest.importorskip("orbax")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    commands = [[sys.executable, "-c", SPREAD, tmp_path, str(n), str(i), port] for i in range(n)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with ExitStack() as stack:
        runs = [stack.enter_context(subprocess.Popen(command, **pipes)) for command in commands]
        for run in runs:  # one that fails leaves the other waiting
            stack.callback(run.kill)
        said = [run.communicate(timeout=100)[0] for run in runs]
    assert all(text.endswith("done\n") for text in said), "\n".join(said)
    assert sorted(path.name for path in (tmp_path / "orbax").iterdir()) == [
        f"epoch_00000{i}" for i in (2, 3, 4)
    ]


def test_orbax_is_asked_for_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(
        ImportError, match=r'expected orbax-checkpoint, got none installed; pip install "jaxbp\[orbax\]"'
    ):
        Checkpoints(tmp_path, engine="orbax").save(1, {"W": np.zeros(3)})
