"""The door for examples: one array, or a tree of arrays, such as a dict of inputs by name."""

from collections.abc import Callable
from typing import Any

import jax

from jaxbp.arguments.arrays import array
from jaxbp.arguments.sparse import SparseRows


def is_tree(value: Any) -> bool:
    """Whether a value is a tree of arrays, and not an array or what would become one.

    A list of rows and a tuple of numbers are an array; a dict, a tuple of arrays, any other pytree is a tree.

    Example:
        >>> import numpy as np
        >>> a = np.zeros((4, 2))
        >>> is_tree({"left": a, "right": a}), is_tree((a, a)), is_tree(a), is_tree([a, a]), is_tree((1, 2))
        (True, True, False, False, False)
    """
    if value is None or isinstance(value, list) or hasattr(value, "shape"):
        return False
    if type(value) is tuple:
        return any(hasattr(part, "shape") or is_tree(part) for part in value)
    return not jax.tree_util.all_leaves([value])


def host_arrays(where: str, name: str, value: Any) -> Any:
    """The NumPy array that a value means, or the tree of them, each let in by `array`.

    Example:
        >>> host_arrays("fit", "x", {"a": [1.0, 2.0], "b": "text"})
        Traceback (most recent call last):
        ...
        TypeError: fit: expected numbers in x['b'], got dtype <U4, text; code the words as numbers first
    """

    def one(name: str, leaf: Any) -> Any:
        return leaf if isinstance(leaf, SparseRows) else array(where, name, leaf, host=True)

    return each(name, value, one)


def each(name: str, value: Any, change: Callable[[str, Any], Any]) -> Any:
    """A tree of ``change(name, array)``, the name being what messages call it: x, or x['left']."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: change(name + jax.tree_util.keystr(path), leaf),
        value,
        is_leaf=lambda part: not is_tree(part),
    )
