"""Splits lose nothing, keep proportions and repeat; scaling uses the training set alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbp.data import Dataset, make_min_max_scaler, make_standardiser, split


def numbered(n, classes=3):
    """Examples that carry their own number."""
    return Dataset(np.arange(float(n))[:, None], np.arange(n) % classes, classes, "numbered")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.booleans(), st.integers(0, 9))
def test_parts_hold_every_example_once(sizes, stratify, seed):
    data = numbered(sum(sizes))
    parts = split(data, sizes, seed=seed, stratify=stratify)
    assert [len(part) for part in parts] == sizes
    everything = np.sort(np.concatenate([part.x[:, 0] for part in parts]))
    np.testing.assert_array_equal(everything, data.x[:, 0])
    for part in parts:
        np.testing.assert_array_equal(part.y, part.x[:, 0].astype(int) % 3)
        assert (part.num_classes, part.name) == (3, "numbered")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(5, 200), min_size=2, max_size=6), st.floats(0.2, 0.8), st.integers(0, 99))
def test_stratified_parts_keep_the_proportions(class_sizes, fraction, seed):
    y = np.repeat(np.arange(len(class_sizes)), class_sizes)
    data = Dataset(np.zeros((len(y), 1)), y, len(class_sizes), "uneven")
    for part in split(data, fraction, seed=seed, stratify=True):
        found = np.bincount(part.y, minlength=len(class_sizes))
        exact = np.array(class_sizes) * len(part) / len(data)
        assert np.abs(found - exact).max() < 3


def test_fractions_are_sizes():
    assert [len(p) for p in split(numbered(10), 0.3)] == [7, 3]
    assert [len(p) for p in split(numbered(10), (0.55, 0.25, 0.2))] == [6, 2, 2]
    assert [len(p) for p in split(numbered(10), (4, 6))] == [4, 6]


def test_the_seed_decides_the_split():
    first, same, other = (split(numbered(50), 0.5, seed=s)[0].x for s in (1, 1, 2))
    assert (first == same).all()
    assert not (first == other).all()


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((0.5, 0.6), r"fractions that sum to 1, got \[0.5, 0.6\], which sum to 1.1"),
        ((3, 4), r"sizes that sum to N = 10, got \[3, 4\], which sum to 7"),
        ((12, -2), "none below 0"),
        ((), "none below 0"),
        (1.5, "none below 0"),
        (float("nan"), "none below 0"),
        ((10, 0), r"at least 1 example in every part, got parts of \[10, 0\] examples"),
        (0.001, r"parts of \[10, 0\] examples"),
    ],
)
def test_bad_sizes_are_refused(sizes, said):
    with pytest.raises(ValueError, match=f"^split of numbered: expected .*{said}"):
        split(numbered(10), sizes)


def test_only_labels_stratify():
    targets = Dataset(np.zeros((4, 1)), np.zeros(4, np.float32), None, "house prices")
    with pytest.raises(ValueError, match=r"^split of house prices: expected integer labels of shape \(N,\)"):
        split(targets, 0.5, stratify=True)


def test_without_shuffle_the_last_part_is_held_out():
    train, validation, test = split(numbered(10), (0.6, 0.2, 0.2), shuffle=False)
    assert np.concatenate([train.x, validation.x, test.x])[:, 0].tolist() == list(range(10))
    with pytest.raises(ValueError, match="shuffle=True to stratify, got shuffle=False"):
        split(numbered(10), 0.2, shuffle=False, stratify=True)


def test_standardiser_uses_the_training_set_and_survives_constants():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 2, (200, 4)).astype(np.float32), rng.normal(3, 2, (50, 4)).astype(np.float32)
    train[:, 2] = test[:, 2] = 0.1  # a float32 whose mean over 200 rows is not itself
    scaling = make_standardiser(train)
    z = scaling(train)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=0), [1, 1, 0, 1], rtol=1e-6)
    assert (z[:, 2] == 0).all()
    expected = (test - train.mean(axis=0, dtype=np.float64)) / np.where(
        np.arange(4) == 2, 1, train.std(axis=0, dtype=np.float64)
    )
    np.testing.assert_allclose(scaling(test), expected, atol=1e-6)


def test_min_max_scaler_fills_zero_to_one():
    train = np.array([[1.0, 5, -2], [3, 5, 2], [2, 5, 0]])
    z = make_min_max_scaler(train)(train)
    np.testing.assert_array_equal(z, [[0, 0, 0], [1, 0, 1], [0.5, 0, 0.5]])


def test_scaling_takes_a_data_set_and_integers():
    data = Dataset(np.array([[0], [16]], np.int32), np.array([0, 1]), 2, "pixels")
    scaled = make_min_max_scaler(data.x)(data)
    assert scaled.x.dtype == np.float32
    assert scaled.x.tolist() == [[0.0], [1.0]]
    assert (scaled.y is data.y, scaled.name) == (True, "pixels")


@pytest.mark.parametrize("make", [make_standardiser, make_min_max_scaler])
def test_scalings_refuse_what_they_cannot_scale(make):
    with pytest.raises(ValueError, match=f"^{make.__name__}: expected finite x, got 2 values that are not"):
        make(np.array([[1.0, np.nan], [np.inf, 0.0]]))
    with pytest.raises(ValueError, match=r"at least one example, got x of shape \(0, 3\)"):
        make(np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"^scaling: expected examples of shape \(3,\).*got .* \(2,\)"):
        make(np.ones((4, 3)))(np.ones((4, 2)))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_scaling_loses_no_imaginary_part(dtype):
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    for scaling in (make_standardiser(x), make_min_max_scaler(x)):
        with pytest.raises(TypeError, match="scaling: expected real numbers, got complex"):
            scaling(x.astype(dtype))


@pytest.mark.parametrize("field", ["x", "y", "weight"])
def test_floats_that_jax_does_not_have_are_held_in_64_bits(field):
    parts = {"x": np.ones((2, 3)), "y": np.zeros((2, 1)), "weight": np.ones(2)}
    data = Dataset(**(parts | {field: parts[field].astype(np.longdouble)}), name="wide")
    assert getattr(data, field).dtype == np.float64
