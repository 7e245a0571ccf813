"""A sparse matrix as rows on the host: dense only those that are asked for."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbp.arguments.arrays import array
from jaxbp.errors import message


@dataclass(frozen=True, eq=False)
class SparseRows:
    """The rows of a sparse matrix; an index gives them as a NumPy array, as one of the dense matrix would.

    Args:
        matrix: of scipy, in its format CSR.
    """

    matrix: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""
        shape: tuple[int, ...] = self.matrix.shape
        return shape

    @property
    def dtype(self) -> np.dtype:
        """Of the entries."""
        return np.dtype(self.matrix.dtype)

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def size(self) -> int:
        """N d."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """What the dense matrix would take."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """The rows of a slice, or of numbers of any shape, dense."""
        if isinstance(rows, slice):
            return np.asarray(self.matrix[rows].toarray())
        return np.asarray(self.matrix[rows.ravel()].toarray()).reshape(*rows.shape, self.shape[1])

    def take(self, rows: np.ndarray) -> "SparseRows":
        """Some of the rows, sparse."""
        return SparseRows(self.matrix[rows])


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix of scipy's."""
    return hasattr(value, "tocsr") and hasattr(value, "nnz") and len(value.shape) == 2


def sparse_rows(where: str, name: str, value: Any) -> SparseRows:
    """The rows of a sparse matrix.

    Raises:
        TypeError: for entries that are no numbers.
        ValueError: for an entry that is not finite, or does not fit in the 32 bits that JAX holds.

    Example:
        >>> import scipy.sparse
        >>> rows = sparse_rows("fit", "x", scipy.sparse.eye_array(3))
        >>> rows[np.array([[2], [0]])].tolist()
        [[[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]]
    """
    matrix = value.tocsr()
    entries = array(where, f"the entries of {name}", matrix.data, host=True)
    if entries.dtype.kind in "fc" and not (finite := np.isfinite(entries)).all():
        first = int(np.argmin(finite))
        row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
        got = f"{name}[{row},{matrix.indices[first]}] is {entries[first]}"
        raise ValueError(message(where, f"finite {name}", got, "drop or fill these rows"))
    return SparseRows(matrix)
