"""From a network's outputs to answers, and from a user's labels to what they are compared with."""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.arguments.search import find
from jaxbp.data import Schema
from jaxbp.errors import message
from jaxbp.losses import Loss

Kind = Literal["class", "yes", "flags", "values"]


def kind_of(loss: Loss, classes: tuple[Any, ...] | None, outputs: int) -> Kind:
    """What the outputs of a network mean.

    * ``"class"``: one for each class, the largest is the answer;
    * ``"yes"``: one for two classes, the second from mu = 1/2 on;
    * ``"flags"``: a yes or no each;
    * ``"values"``: the answers themselves.
    """
    if loss.targets == "classes" or (classes is not None and len(classes) == outputs > 1):
        return "class"
    if outputs == 1 and (loss.targets == "unit interval" or classes is not None):
        return "yes"
    return "flags" if loss.targets == "unit interval" else "values"


def assert_classes(classes: tuple[Any, ...] | None, kind: Kind, outputs: int, where: str) -> None:
    """Raise a ValueError unless there are as many classes as the outputs tell apart."""
    told = {"class": outputs, "yes": 2}.get(kind)
    if classes is not None and len(classes) != told:
        expected = f"{told} classes, for the network has {outputs} outputs" if told else "no classes"
        raise ValueError(message(where, expected, f"{len(classes)}"))


def labels_of(classes: Any) -> tuple[Any, ...]:
    """The labels of classes: different texts, or different whole numbers."""
    if not isinstance(classes, list | tuple | np.ndarray | range):
        raise TypeError(message("Trained", "classes as a tuple", arguments.described(classes)))
    labels = tuple(c.item() if isinstance(c, np.generic) else c for c in classes)
    kinds = {type(label) for label in labels}
    if len(set(labels)) < len(labels) or kinds not in ({int}, {str}):
        expected = "classes that are different texts, or different whole numbers"
        raise ValueError(message("Trained", expected, f"{labels!r:.80}"))
    return labels


def labels_of_schema(schema: Schema) -> tuple[Any, ...] | None:
    """The labels of a table's classes: whole numbers where the table has such."""
    names = schema.classes
    if names is None:
        return None
    whole = all(name.removeprefix("-").isascii() and name.removeprefix("-").isdigit() for name in names)
    return tuple(int(name) for name in names) if whole and len({*map(int, names)}) == len(names) else names


def answers(f: np.ndarray, kind: Kind, loss: Loss, schema: Schema | None) -> np.ndarray:
    """Of outputs f (*n, C) the numbers of classes (*n,), flags (*n, C), or values (*n,) or (*n, C)."""
    if kind == "class":
        return f.argmax(-1)
    if kind == "yes":
        return (_mu(f, loss)[..., 0] >= 0.5).astype(int)
    if kind == "flags":
        return (_mu(f, loss) >= 0.5).astype(int)
    values = _mu(f, loss)
    values = values if schema is None else np.asarray(schema.targets_back(values))
    return values[..., 0] if f.shape[-1] == 1 else values


def probabilities(f: np.ndarray, kind: Kind, loss: Loss) -> np.ndarray:
    """Of outputs f (*n, C) the probabilities of the classes, or of a 1 of each flag.

    Raises:
        ValueError: for outputs that are none.
    """
    if loss.targets == "any" or kind == "values":
        expected = "a loss on probabilities, such as softmax_cross_entropy or binary_cross_entropy"
        hint = "predict gives the answers"
        raise ValueError(message("predict_proba", expected, f"{loss}", hint))
    mu = _mu(f, loss)
    return np.concatenate([1 - mu, mu], axis=-1) if kind == "yes" else mu


def _mu(f: np.ndarray, loss: Loss) -> np.ndarray:
    return np.asarray(loss.mu(jnp.asarray(f)))


def numbers_of(y: Any, classes: tuple[Any, ...], kind: Kind, where: str) -> np.ndarray:
    """The number of the class of each label (N,); flags (N, C) as they are.

    Args:
        y: labels, or rows of which the largest entry is the class.
        classes: their labels, in order.
        kind: what the outputs mean.
        where: what a message calls the place.

    Raises:
        ValueError: for a label that is none of the classes.
    """
    y = as_labels(y, where)
    C = len(classes)
    if kind == "flags":
        if y.ndim != 2 or y.shape[1] != C or not np.isin(y, (0, 1)).all():
            got = f"{arguments.described(y)}"
            raise ValueError(message(where, f"y of 0 and 1, of shape (N, {C})", got))
        return y.astype(int)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.shape[1] == C and kind == "class" and y.dtype.kind in "biuf":
        if y.size and (
            bad := find(y, lambda rows: ~(np.isclose(rows.sum(1), 1) & (rows >= 0).all(1))[:, None])
        ):
            got = f"row {bad.first[0]}, which adds to {y[bad.first[0]].sum():.4g}; {bad.number} such"
            raise ValueError(message(where, "rows of probabilities in y, such as one-hot ones", got))
        return y.argmax(-1)
    if y.ndim != 1:
        raise ValueError(message(where, "a label for each example, y of shape (N,)", f"y of shape {y.shape}"))
    places = {label: number for number, label in enumerate(classes)}
    found = np.array([places.get(_plain(label, classes), -1) for label in y.tolist()], int)
    if found.size and (bad := find(found, lambda rows: rows < 0)):
        shown = ", ".join(map(str, classes[:10])) + ", ..." * (C > 10)
        got = f"y[{bad.place}] is {y[bad.first]!s:.40}; {bad.number} such"
        raise ValueError(message(where, f"labels among the classes {shown}", got))
    return found


def as_labels(y: Any, where: str) -> np.ndarray:
    """Labels as an array (N, ...), texts among them.

    Raises:
        TypeError, ValueError: for what is none.
    """
    try:
        values = np.asarray(y)
    except (TypeError, ValueError, RuntimeError):  # ragged, deleted, keys: the door has words for it
        values = None
    if values is None or not _holds_texts(values):
        values = arguments.array(where, "y", y, host=True)
    if not values.ndim:
        got = arguments.described(y)
        raise ValueError(message(where, "a label for each example, y of shape (N,)", got))
    return values


def _holds_texts(values: np.ndarray) -> bool:
    return values.dtype.kind in "UO" and values.size > 0 and isinstance(values.flat[0], str)


def _plain(label: Any, classes: tuple[Any, ...]) -> Any:
    """A label as the classes have it: 1.0 and True are 1, but not for classes that are texts."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(int(label)) if isinstance(classes[0], str) and isinstance(label, bool | int) else label


def targets_of(numbers: np.ndarray, kind: Kind, outputs: int, loss: Loss) -> Any:
    """The y of the loss for numbers of classes or flags."""
    if kind == "class" and loss.targets == "classes":
        return jnp.asarray(numbers, jnp.int32)
    rows = np.eye(outputs)[numbers] if kind == "class" else numbers.reshape(-1, outputs)
    return jnp.asarray(rows, jnp.result_type(float))


def values_of(y: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Values of the shape of the predictions, (N,) or (N, outputs).

    Raises:
        TypeError, ValueError: for no finite numbers, or another shape.
    """
    y = arguments.array(where, "y", y, host=True)
    if y.shape == (*shape, 1):
        y = y[..., 0]
    if y.shape != shape:
        raise ValueError(message(where, f"y of shape {shape}", f"{y.shape}"))
    y = y.astype(np.float64)
    if y.size and (bad := find(y, lambda rows: ~np.isfinite(rows))):
        raise ValueError(message(where, "finite numbers in y", f"{y[bad.first]!s} at y[{bad.place}]"))
    return y
