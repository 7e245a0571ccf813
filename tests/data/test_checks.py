"""Each failure that would be silent on the device is a clear error on the host."""

import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxbp.data import Dataset, assert_batch_size, assert_data
from tests.test_arguments import MEANT, TAKEN, TAKEN_WHOLE, WHOLE

X = np.zeros((12, 3), np.float32)
Y = np.arange(12) % 10


def changed(array, at, value, dtype=None):
    copy = np.array(array, dtype)
    copy[at] = value
    return copy


BAD = {
    "label too large": (
        (X, changed(Y, [2, 7, 9], [10, 11, 10]), 10),
        ValueError,
        r"labels 0-9 \(10 classes\), got labels\[2\] is 10; 3 bad labels; first rows 2, 7, 9; remap",
    ),
    "label -1": (
        (X, changed(Y, 4, -1), 10),
        ValueError,
        r"labels\[4\] is -1; 1 bad label; first rows 4;.*; what shall not count weighs 0",
    ),
    "label -1, classes inferred": ((X, changed(Y, 4, -1), None), ValueError, r"labels\[4\] is -1;"),
    "label rows are cut short": (
        (X, np.full(12, 3), 3),
        ValueError,
        r"12 bad labels; first rows 0, 1, 2, 3, 4, \.\.\.;",
    ),
    "label of a position": (
        (X, changed(np.zeros((12, 4), int), (5, 2), 9), 2),
        ValueError,
        r"labels\[5,2\] is 9",
    ),
    "float labels": (
        (X, Y.astype(np.float32), 10),
        TypeError,
        r"labels are float32, shape \(12,\); class labels must be integers; y.astype\(np.int32\)",
    ),
    "gapped labels": (
        (X, np.array([0, 1, 2, 7] * 3), None),
        ValueError,
        r"got labels are \{0,1,2,7\}; pass num_classes or remap",
    ),
    "NaN": (
        (changed(changed(X, (3, 1), np.nan), (5, slice(None)), np.inf), Y, 10),
        ValueError,
        r"finite x, got x\[3,1\] is NaN; 4 non-finite values in 2 rows",
    ),
    "inf": (
        (changed(X, (11, 2), -np.inf), Y, 10),
        ValueError,
        r"x\[11,2\] is -inf; 1 non-finite value in 1 row;",
    ),
    "NaN target": ((X, changed(X, (0, 1), np.nan), None), ValueError, r"finite y, got y\[0,1\] is NaN"),
    "float64 to inf": (
        (changed(X, (6, 0), 1e300, np.float64), Y, 10),
        ValueError,
        r"x to fit in float32, which JAX holds float64 in, got x\[6,0\] = 1e\+300 becomes inf; 1 such;",
    ),
    "int64 label wraps": (
        (X, changed(Y, 8, 2**40 + 5), 10),
        ValueError,
        r"y to fit in int32, which JAX holds int64 in, got y\[8\] = 1099511627781 becomes 5",
    ),
    "int64 input wraps": (
        (changed(X, (1, 1), 2**40 + 5, np.int64), Y, 10),
        ValueError,
        r"x\[1,1\] = 1099511627781 becomes 5",
    ),
    "uint8 pixels": (
        (changed(X, (0, 0), 255, np.uint8), Y, 10),
        TypeError,
        r"float x, got x is uint8 0-255, whose arithmetic wraps; scale it: x.astype\(np.float32\) / 255",
    ),
    "uint8 of 0 and 1": ((X.astype(np.uint8), Y, 10), TypeError, "x is uint8 0-0, whose arithmetic wraps"),
    "int16": ((X.astype(np.int16), Y, 10), TypeError, "x is int16"),
    "bool x": ((X > 0, Y, 10), TypeError, "float x, got x of dtype bool"),
    "bool y": ((X, Y > 3, None), TypeError, "integer class labels or float targets, got y of dtype bool"),
    "text": ((X, np.array(["a"] * 12), None), TypeError, "numbers in y, got dtype <U1"),
    "ragged": (([[1.0], [1.0, 2.0]], [0, 1], None), TypeError, "x as one rectangular array"),
    "scalar": ((1.0, Y, 10), ValueError, "x with a leading axis N, one row for each example, got a scalar"),
    "lengths": ((X, Y[:11], 10), ValueError, "as many labels or targets as examples, got 12 x and 11 y"),
    "empty": ((X[:0], Y[:0], 10), ValueError, r"at least 1 example, got an empty set: x of shape \(0, 3\)"),
    "no classes": ((X, Y, 0), ValueError, "num_classes a whole number of at least 1, got 0"),
    "probabilities": (
        (X, changed(np.full((12, 2), 0.5), 3, [0.9, 0.9]), 2),
        ValueError,
        r"each row summing to 1, got y\[3\] sums to 1.8 with smallest entry 0.9; 1 bad row",
    ),
    "negative probability": (
        (X, np.tile([1.5, -0.5], (12, 1)), 2),
        ValueError,
        "smallest entry -0.5; 12 bad rows",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_refused(name):
    (x, y, num_classes), kind, said = BAD[name]
    with pytest.raises(kind, match=f"^test data: expected .*{said}"):
        assert_data(x, y, num_classes=num_classes, where="test data")


def test_good_data_come_back_as_the_device_holds_them():
    data = assert_data(X.astype(np.float64), Y.astype(np.uint8))
    assert isinstance(data, Dataset)
    assert (data.x.dtype, data.y.dtype, data.num_classes, data.name) == (np.float32, np.int32, 10, "data")
    assert assert_data(X, Y, num_classes=11).num_classes == 11
    assert assert_data(X, Y).x is X  # nothing to narrow, nothing copied
    with jax.enable_x64(True):
        wide = assert_data(changed(X, (0, 0), 1e300, np.float64), Y)
    assert wide.x.dtype == np.float64
    assert wide.x[0, 0] == 1e300


def test_float_targets_of_any_shape_are_regression():
    for y in (X, X[:, :1], X[:, 0], np.zeros((12, 2, 2))):
        data = assert_data(X, y)
        assert data.num_classes is None
        assert data.y.shape == y.shape
        assert data.y.dtype == np.float32


def test_one_hot_and_token_like_data_pass():
    assert assert_data(X, np.eye(10, dtype=np.float32)[Y], num_classes=10).y.shape == (12, 10)
    tokens = np.arange(24).reshape(12, 2)
    data = assert_data(tokens, tokens, num_classes=50)
    assert (data.x.dtype, data.y.dtype) == (np.int32, np.int32)


def test_jax_arrays_and_half_precision_pass():
    data = assert_data(jnp.asarray(X), jnp.asarray(Y))
    assert isinstance(data.x, np.ndarray)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        assert assert_data(X.astype(dtype), Y).x.dtype == dtype
    with pytest.raises(ValueError, match=r"x\[0,0\] is NaN"):
        assert_data(changed(X, (0, 0), np.nan, ml_dtypes.bfloat16), Y)


def test_the_pass_over_a_large_set_is_cheap():
    x, y = np.zeros((60_000, 784), np.float32), np.arange(60_000, dtype=np.int32) % 10
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert_data(x, y, num_classes=10)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3  # measured 0.02 to 0.03 on one core; the rest is for a busy machine


@pytest.mark.parametrize(
    ("batch_size", "said"),
    [
        (64, "batch_size 64 > 10 examples; batch_size=10 is batch training, 1 iterative"),
        (0, "batch_size 0;"),
        (-1, "batch_size -1;"),
        (2.0, "batch_size 2.0;"),
        (True, "batch_size True;"),
    ],
)
def test_batch_sizes_without_a_step_are_refused(batch_size, said):
    with pytest.raises(ValueError, match=rf"^fit: expected a whole batch_size in 1\.\.10, got {said}"):
        assert_batch_size(batch_size, 10)


def test_batch_sizes_from_one_to_all_pass():
    for batch_size in (1, 3, 10, np.int64(10)):
        assert_batch_size(batch_size, 10)


@pytest.mark.parametrize("kind", TAKEN)
def test_what_holds_numbers_is_data(kind):
    values, labels = TAKEN[kind](), [0, 1, 1]
    data = assert_data(values, labels)
    assert type(data.x) is np.ndarray
    np.testing.assert_array_equal(data.x, MEANT)
    np.testing.assert_array_equal(assert_data(MEANT, values).y, MEANT)


@pytest.mark.parametrize("kind", TAKEN_WHOLE)
def test_what_holds_whole_numbers_is_labels(kind):
    data = assert_data(MEANT, TAKEN_WHOLE[kind](), num_classes=4)
    assert data.y.dtype == np.int32
    np.testing.assert_array_equal(data.y, WHOLE)


def test_a_memory_map_in_the_other_byte_order_is_not_copied(tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, np.ones((4, 3), ">f4"))
    mapped = np.load(file, mmap_mode="r")
    assert np.shares_memory(assert_data(mapped, np.zeros(4, int), narrow=False).x, mapped)
    assert assert_data(mapped, np.zeros(4, int)).x.dtype.isnative
