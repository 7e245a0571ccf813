"""What a run is given, checked before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import errors
from jaxbp.data import Dataset, assert_batch_size, assert_data
from jaxbp.train.loop import Data, Evaluate, GradFn
from jaxbp.typing import Params


def assert_inputs(
    where: str,
    grad_fn: GradFn,
    params: Params,
    data: Data | Dataset,
    validation: Data | Dataset | None,
    evaluate: Evaluate | None,
    batch_size: int,
    epochs: int,
    *,
    processes: int = 1,
    narrow: bool = True,
) -> tuple[Dataset, Dataset | None]:
    """The data to train on and those held out, if they and the rest are as `fit` says.

    ``where`` is the function that was called, ``processes`` says how many give data, ``narrow`` is that of
    `jaxbp.data.assert_data`.
    """
    train = _checked(data, _num_classes(grad_fn, params, data), "data", narrow)
    held_out = None if validation is None else _checked(validation, train.num_classes, "validation")
    assert_batch_size(batch_size, len(train) * processes)
    if epochs < 1:
        raise ValueError(errors.message(where, "epochs of at least 1", f"{epochs}"))
    if (validation is None) != (evaluate is None):
        given = "evaluate" if validation is None else "validation"
        hint = "e.g. evaluate=jaxbp.make_evaluate(net.apply, loss)"
        raise ValueError(errors.message(where, "validation and evaluate together", f"only {given}", hint))
    return train, held_out


def arrays(data: Data | Dataset) -> tuple[Any, Any]:
    """x and y."""
    return (data.x, data.y) if isinstance(data, Dataset) else data


def _num_classes(grad_fn: GradFn, params: Params, data: Data | Dataset) -> int | None:
    """C where the network tells it, through `jaxbp.value_and_grad`, or else the data set."""
    known = data.num_classes if isinstance(data, Dataset) else None
    if not hasattr(grad_fn, "num_classes"):
        return known
    x = np.asarray(arrays(data)[0])
    held = jax.eval_shape(lambda: jnp.zeros(x.shape, jax.dtypes.canonicalize_dtype(x.dtype)))
    return grad_fn.num_classes(params, held) or known


def _checked(data: Data | Dataset, num_classes: int | None, where: str, narrow: bool = True) -> Dataset:
    return assert_data(*arrays(data), num_classes=num_classes, narrow=narrow, where=where)
