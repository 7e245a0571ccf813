"""Streams against the resident run: the same batches, the same results, whatever the memory allows."""

import struct
import threading
import time
import weakref

import jax
import numpy as np
import optax
import pytest

import jaxbp
from jaxbp.data import Dataset, open_idx
from jaxbp.train.engines.stream import chunks
from jaxbp.train.sharding import Layout
from tests.cases import draw_params
from tests.train.test_fit import EVALUATE, GRAD, NET, data, run

BUDGET = 400  # bytes: 26 examples take 520


def close(result, expected, rtol):
    def compare(u, v):
        np.testing.assert_allclose(u, v, rtol=rtol, atol=rtol)

    jax.tree.map(compare, (result.params, result.opt_state), (expected.params, expected.opt_state))
    for name in expected.history.keys() - {"seconds"}:
        compare(result.history[name], expected.history[name])
    assert (result.stopped, result.best_epoch) == (expected.stopped, expected.best_epoch)


def both(dtype, budget, **options):
    train = tuple(v.astype(t) for v, t in zip(data(), (dtype, "int32"), strict=True))
    options = {
        "params": draw_params(NET, dtype),
        "train": train,
        "optimizer": optax.adam(0.01),
        "validation": train,
        "evaluate": EVALUATE,
    } | options
    return run(memory_budget=budget, **options), run(**options)


@pytest.mark.parametrize("batch_size", [1, 4, 5], ids=lambda b: f"batch {b}")
def test_it_is_the_resident_run(batch_size):
    stream, resident = both("float32", BUDGET, batch_size=batch_size)
    close(stream, resident, 1e-6)
    assert ((stream.history["waited"] > 0) & (stream.history["waited"] < 1)).all()
    assert "waited" not in resident.history


@pytest.mark.soak
def test_it_is_the_resident_run_in_float64(x64):
    close(*both("float64", 700, batch_size=5), 1e-14)


def test_with_room_for_everything_nothing_streams():
    assert "waited" not in run(memory_budget=520).history


def test_the_chunks_hold_every_batch_once_and_have_one_shape():
    rng = np.random.default_rng(0)
    for N, batch_size, most in rng.integers(1, 40, (200, 3)).tolist():
        batch_size, order = min(batch_size, N), rng.permutation(N)
        parts = chunks(order, batch_size, most)
        assert np.concatenate([rows[first:].ravel() for rows, first in parts]).tolist() == order.tolist()
        full = [rows.shape for rows, _ in parts if rows.shape[1] == batch_size]
        assert len(set(full)) == 1
        assert full[0][0] <= most


def npy(file, x):
    np.save(file, x)
    return np.load(file, mmap_mode="r")


def idx(file, x):
    code = {"uint8": 0x08, "float32": 0x0D}[x.dtype.name]
    header = bytes([0, 0, code, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape)
    file.write_bytes(header + x.astype(x.dtype.newbyteorder(">")).tobytes())
    return open_idx(file)


@pytest.mark.parametrize(
    ("mapped", "dtype"), [(npy, "float32"), (npy, "float64"), (idx, "float32")], ids=["npy", "npy64", "idx"]
)
def test_a_memory_map_is_trained_on_as_it_lies(mapped, dtype, tmp_path, monkeypatch):
    x, y = data()
    mapped = mapped(tmp_path / "x.npy", x.astype(dtype))
    taken, gather = [], Layout.gather
    monkeypatch.setattr(
        Layout, "gather", lambda self, array, *rest: taken.append(array) or gather(self, array, *rest)
    )
    result = run(train=(mapped, y), batch_size=4, memory_budget=BUDGET)
    assert all(np.shares_memory(array, mapped) for array in taken if array.ndim == 2)
    expected = run(batch_size=4)
    close(result, expected, 1e-6)
    close(run(train=(mapped, y), batch_size=4), expected, 0)  # resident


@pytest.mark.soak
@pytest.mark.parametrize("budget", [None, 160], ids=["resident", "streamed"])
def test_pixels_are_scaled_on_the_device(budget, tmp_path, monkeypatch):
    """uint8 in an IDX file, as they lie there to the device; evaluation, too, sees what training sees."""
    pixels, y = np.random.default_rng(0).integers(0, 256, (26, 4), np.uint8), data()[1]
    mapped, scaled = idx(tmp_path / "x", pixels), pixels / np.float32(255)
    options = {"batch_size": 4, "evaluate": EVALUATE}
    expected = run(train=(scaled, y), validation=(scaled, y), **options)
    chunks, gather = [], Layout.gather
    monkeypatch.setattr(Layout, "gather", lambda *args: chunks.append(gather(*args)) or chunks[-1])
    options |= {"memory_budget": budget, "preprocess": lambda x: x / 255}
    result = run(train=(mapped, y), validation=(mapped, y), **options)
    close(result, expected, 1e-6)
    assert {chunk.dtype.name for chunk in chunks} == (set() if budget is None else {"uint8", "int32"})


def test_a_stream_goes_on_from_a_resident_run_and_the_reverse(tmp_path):
    expected = run(batch_size=4, epochs=4)
    for name, budgets in (("a", (None, BUDGET)), ("b", (BUDGET, None))):
        options = {"batch_size": 4, "checkpoints": jaxbp.Checkpoints(tmp_path / name)}
        for budget, epochs in zip(budgets, (2, 4), strict=True):
            result = run(memory_budget=budget, epochs=epochs, **options)
        close(result, expected, 1e-6)


@pytest.mark.soak
def test_the_order_and_the_key_of_dropout_are_those_of_the_resident_run():
    net = jaxbp.chain(jaxbp.dense(4, 16), jaxbp.relu, jaxbp.dropout(0.5), jaxbp.dense(16, 3))
    grad_fn = jaxbp.value_and_grad(net, jaxbp.softmax_cross_entropy)
    options = {"params": draw_params(net, "float32"), "batch_size": 5}
    close(run(grad_fn, memory_budget=BUDGET, **options), run(grad_fn, **options), 1e-6)


def test_an_autoencoder_streams_its_x_once():
    x, _ = data()
    net = jaxbp.mlp([4, 2, 4], jaxbp.tanh)
    grad_fn = jaxbp.value_and_grad(net, jaxbp.squared_error)
    options = {"params": draw_params(net, "float32"), "train": (x, x), "batch_size": 5}
    close(run(grad_fn, memory_budget=300, **options), run(grad_fn, **options), 1e-6)


@pytest.mark.soak
def test_many_devices_stream_their_parts():
    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    batch_size = 2 * jax.device_count()
    train = data(5 * batch_size + 1)
    expected = run(train=train, batch_size=batch_size, validation=train, evaluate=EVALUATE)
    options = {"train": train, "batch_size": batch_size, "mesh": mesh, "memory_budget": 80 * batch_size}
    stream = run(**options, validation=train, evaluate=EVALUATE)
    close(stream, expected, 1e-6)
    assert "waited" in stream.history


def test_it_is_traced_for_two_shapes_and_the_programs_are_kept():
    traces = []

    def counted(params, x, y):
        traces.append(x.shape)
        return GRAD(params, x, y)

    optimizer = optax.sgd(0.1)
    run(counted, epochs=1, batch_size=4, memory_budget=BUDGET, optimizer=optimizer)
    assert set(traces) == {(4, 4), (2, 4)}
    traces.clear()
    run(counted, epochs=5, batch_size=4, memory_budget=BUDGET, optimizer=optimizer)
    assert not traces


def test_two_chunks_at_a_time_are_within_the_budget(monkeypatch):
    gathered, peaks, gather = [], [], Layout.gather

    def counted(self, *arguments):
        chunk = gather(self, *arguments)
        gathered.append(weakref.ref(chunk))
        peaks.append(sum(array.nbytes for ref in gathered if (array := ref()) is not None))
        return chunk

    def slow(params, x, y):  # so that the next chunk is gathered while the device has this one
        jax.debug.callback(lambda: time.sleep(0.01))
        return GRAD(params, x, y)

    monkeypatch.setattr(Layout, "gather", counted)
    run(slow, batch_size=2, epochs=4, memory_budget=BUDGET)
    assert max(peaks) == 2 * 200 == BUDGET  # two chunks of five batches of two examples


@pytest.mark.soak
@pytest.mark.parametrize("poison", [3, 25], ids=lambda p: f"iteration {p + 1}")
def test_a_divergence_is_located_as_the_resident_run_does(poison):
    """A gradient that is NaN in one iteration of the second epoch."""
    raised = []
    for budget in (BUDGET, None):
        optimizer = optax.sgd(lambda count: np.nan * (count == 26 + poison) + 0.1)
        with pytest.raises(jaxbp.DivergenceError) as error:
            run(batch_size=1, optimizer=optimizer, memory_budget=budget)
        raised.append(error.value)
    assert str(raised[0]) == str(raised[1])
    assert f"epoch 2, iteration {poison + 1} of 26" in str(raised[0])
    close(raised[0].result, raised[1].result, 1e-6)


def test_an_error_of_the_thread_surfaces_and_the_thread_ends(monkeypatch):
    gather, calls = Layout.gather, []

    def fails(self, *arguments):
        calls.append(threading.current_thread())
        if len(calls) > 12:
            raise OSError("the file is gone")
        return gather(self, *arguments)

    monkeypatch.setattr(Layout, "gather", fails)
    with pytest.raises(OSError, match="the file is gone"):
        run(batch_size=4, epochs=20, memory_budget=BUDGET)
    assert calls[-1] is not threading.main_thread()
    assert not calls[-1].is_alive()


def test_a_budget_below_one_batch_is_refused():
    expected = "memory_budget of at least 320 bytes, which batches of 8 need, got 300"
    with pytest.raises(ValueError, match=expected):
        run(train=Dataset(*data(), 3), batch_size=8, memory_budget=300)
