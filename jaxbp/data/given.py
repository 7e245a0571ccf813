"""What a training function is given as data: (x, y), (x, y, weight) or a Dataset; sparse matrices stay so."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxbp import arguments, errors
from jaxbp.arguments import described
from jaxbp.arguments.sparse import SparseRows, is_sparse, sparse_rows
from jaxbp.arguments.trees import each, host_arrays, is_tree
from jaxbp.data.dataset import Dataset

SPARSE = 2**26  # bytes: a sparse x that would take more streams, also where no budget is given


def examples(where: str, name: str, data: Any) -> tuple[Any, Any, Any]:
    """x, y and weight of data, the last perhaps None.

    Raises:
        TypeError: for what is neither a Dataset nor a pair nor three.
    """
    if isinstance(data, Dataset):
        return data.x, data.y, data.weight
    if isinstance(data, list) and data and all(type(part) is tuple and is_tree(part) for part in data):
        expected, got = f"{name} (x, y) or a Dataset", f"a list of {len(data)} tuples"
        hint = "batches are jaxbp.Batches(data); data of several arrays are a tuple, ((a, b), y)"
        raise TypeError(errors.message(where, expected, got, hint))
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        x, y, weight = (*data, None)[:3]
        if weight is not None and (weight is x or weight is y):
            got = f"{'x' if weight is x else 'y'} twice"
            raise ValueError(errors.message(where, f"{name} (x, y, weight)", got, "give (x, y)"))
        opened = each("x", x, lambda at, leaf: sparse_rows(name, at, leaf) if is_sparse(leaf) else leaf)
        rows = host_arrays(name, "x", opened)
        targets = rows if y is x else host_arrays(name, "y", y)
        for part, tree in (("x", rows), ("y", targets)):
            if not jax.tree.leaves(tree):
                raise ValueError(errors.message(name, f"arrays in {part}", described(tree)))
        return rows, targets, None if weight is None else arguments.array(name, "weight", weight, host=True)
    hint = "give both arrays, or a jaxbp.data.Dataset"
    got = f"{len(data)} arrays" if isinstance(data, tuple | list) else described(data)
    if isinstance(data, int) and name == "validation":
        hint = "a part of the data is a float, validation=0.2; jaxbp.split gives parts of any sizes"
    elif isinstance(data, Mapping):
        hint = "give its arrays, (data['x'], data['y'])"
    elif hasattr(data, "__iter__") and not hasattr(data, "shape") and not isinstance(data, tuple | list):
        hint = "give whole arrays; batches from a source are for fit alone"
    elif hasattr(data, "shape"):
        hint = "give (x, y); an autoencoder trains on (x, x)"
    raise TypeError(errors.message(where, f"{name} (x, y) or a Dataset", got, hint))


def dense(rows: Any) -> Any:
    """An array, which a sparse matrix becomes where the device holds it."""
    return rows[:] if isinstance(rows, SparseRows) else rows
