"""What a run is given, checked before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import errors
from jaxbp.data import Dataset, assert_batch_size, assert_data
from jaxbp.data.checks import held_dtype
from jaxbp.train.epoch_program import Data, Evaluate, GradFn, Preprocess
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
    preprocess: Preprocess | None,
    processes: int = 1,
    narrow: bool = True,
) -> tuple[Dataset, Dataset | None]:
    """The data to train on and those held out, if they and the rest are as `fit` says.

    ``where`` is the function that was called, ``processes`` says how many give data, ``narrow`` is that of
    `jaxbp.data.assert_data`.
    """
    raw, C = preprocess is not None, _num_classes(where, grad_fn, params, data, preprocess)
    train = assert_data(*arrays(data), num_classes=C, narrow=narrow, raw=raw)
    held_out = None
    if validation is not None:
        C = train.num_classes
        held_out = assert_data(*arrays(validation), num_classes=C, raw=raw, where="validation")
    assert_batch_size(batch_size, len(train) * processes, where=where)
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


def _num_classes(
    where: str, grad_fn: GradFn, params: Params, data: Data | Dataset, preprocess: Preprocess | None
) -> int | None:
    """C where the network tells it, through `jaxbp.value_and_grad`, or else the data set."""
    known = data.num_classes if isinstance(data, Dataset) else None
    x = np.asarray(arrays(data)[0])
    held = jax.ShapeDtypeStruct(x.shape, held_dtype(x.dtype))  # type: ignore[no-untyped-call]
    if preprocess is not None:
        held = jax.eval_shape(preprocess, held)
        if not jnp.issubdtype(held.dtype, jnp.inexact) or held.shape[:1] != x.shape[:1]:
            expected = "preprocess to give a row of floats for each example"
            raise TypeError(
                errors.message(where, expected, f"{held.dtype} {held.shape}", "e.g. lambda x: x / 255")
            )
    return (grad_fn.num_classes(params, held) if hasattr(grad_fn, "num_classes") else None) or known
