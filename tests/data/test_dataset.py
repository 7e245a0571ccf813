"""Splits lose nothing, keep proportions and repeat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbp.data import Dataset, split


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


@pytest.mark.parametrize("field", ["x", "y", "weight"])
def test_floats_that_jax_does_not_have_are_held_in_64_bits(field):
    parts = {"x": np.ones((2, 3)), "y": np.zeros((2, 1)), "weight": np.ones(2)}
    data = Dataset(**(parts | {field: parts[field].astype(np.longdouble)}), name="wide")
    assert getattr(data, field).dtype == np.float64
