"""x as a sparse matrix, x and y as trees of arrays: trained as the plain arrays they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxbp
from jaxbp.arguments.sparse import sparse_rows
from jaxbp.data import Dataset, assert_data, split
from tests.train.test_fit import EVALUATE, NET, data, run

x, y = data()
SPARSE = np.where(x > 0, x, 0)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)
    np.testing.assert_array_equal(a.history["loss"], b.history["loss"])


@pytest.mark.parametrize(("dtype", "budget"), [("float32", 400), ("float64", 700)])
def test_a_sparse_matrix_streams_as_its_dense_one(dtype, budget):
    """It is never dense as a whole; validation data are."""
    held = {"validation": (scipy.sparse.csc_matrix(SPARSE[:5]), y[:5]), "evaluate": EVALUATE}
    matrix = scipy.sparse.coo_array(SPARSE.astype(dtype))
    matrix.toarray = None
    found = run(train=(matrix, y), memory_budget=budget, **held)
    assert "waited" in found.history
    same(found, run(train=(SPARSE, y), memory_budget=400, **held))


def test_without_a_budget_only_a_large_one_stays_sparse(monkeypatch):
    resident = run(train=(scipy.sparse.csr_matrix(SPARSE), y), epochs=1)
    assert "waited" not in resident.history
    monkeypatch.setattr("jaxbp.train.validate.SPARSE", 400)
    streamed = run(train=(scipy.sparse.csr_matrix(SPARSE), y), epochs=1)
    assert "waited" in streamed.history
    np.testing.assert_allclose(resident.history["loss"], streamed.history["loss"], rtol=1e-6)


def test_a_bad_entry_is_named_by_its_place():
    bad = scipy.sparse.csr_matrix(SPARSE)
    bad[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"data: expected finite x, got x\[7,2\] is nan"):
        run(train=(bad, y))
    large = scipy.sparse.csr_matrix(np.array([[0, 1e300]]))
    with pytest.raises(ValueError, match="the entries of x to fit in float32"):
        sparse_rows("fit", "x", large)


def test_sparse_rows_are_split_sparse():
    whole = Dataset(sparse_rows("fit", "x", scipy.sparse.csr_matrix(SPARSE)), y, 3, "toy")
    plain = split(Dataset(SPARSE, y, 3, "toy"), 0.3)
    for part, dense in zip(split(whole, 0.3), plain, strict=True):
        assert scipy.sparse.issparse(part.x.matrix)
        np.testing.assert_array_equal(part.x[:], dense.x)


def loss(params, x, y):
    return jaxbp.softmax_cross_entropy(NET.apply(params, jnp.concatenate([x["a"], x["b"]], 1)), y["class"])


def test_trees_train_as_the_arrays_they_part():
    """On the device, on a stream, over a mesh and preprocessed; held out, split and checked as well."""
    grad_fn = jax.value_and_grad(loss)
    tree = {"a": x[:, :1], "b": x[:, 1:]}, {"class": y}
    plain = jax.value_and_grad(lambda p, x, y: jaxbp.softmax_cross_entropy(NET.apply(p, x), y))
    wanted = run(plain, epochs=2)
    halved = {name: part * 2 for name, part in tree[0].items()}

    def evaluate(params, x, y):
        return {"loss": loss(params, x, y)}

    ways = [
        {"train": tree, "validation": tree, "evaluate": evaluate},
        {"train": tree, "memory_budget": 400},
        {"train": tree, "mesh": jax.make_mesh((2,), ("data",))},
        {"train": (halved, tree[1]), "preprocess": lambda x: jax.tree.map(lambda v: v / 2, x)},
    ]
    for options in ways:
        found = run(grad_fn, epochs=2, **options)
        jax.tree.map(
            lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-6), found.params, wanted.params
        )


def test_trees_are_checked_by_their_names():
    left = {"left": x[:, :2], "right": x[:, 2:]}
    given = assert_data(left, (y, x))
    assert repr(given).startswith("data: 26 examples, x['left'] (26, 2) float32, x['right'] (26, 2) float32")
    first, second = split(given, (20, 6))
    assert [len(first), len(second), len(second.x["left"])] == [20, 6, 6]
    for bad, says in (
        ({**left, "right": x[:5]}, "26 x['left'] and 5 x['right']"),
        ({**left, "right": np.where(x > 2, np.inf, x)}, "finite x['right']"),
        ({**left, "right": x.astype(np.uint8)}, "float x['right']"),
        ({**left, "right": x.astype(str)}, "numbers in x['right']"),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            assert_data(bad, y)
        assert says in str(caught.value)
