"""Which operation made the loss or the gradient of a batch stop being finite, and what to try."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxbp.jaxprs.values.labels import joined, parts_of
from jaxbp.jaxprs.values.nonfinite import Traced
from jaxbp.jaxprs.values.search import first_forward
from jaxbp.train.programs.step import GradFn, Preprocess, State, by_name, takes

LOWER = "try a lower learning rate"


def cause(
    grad_fn: GradFn, preprocess: Preprocess | None, state: State, batch: Callable[[], tuple[Any, ...]]
) -> str:
    """The first operation of a gradient function that is not finite on a batch, and what to try.

    Args:
        grad_fn: as in `fit`.
        preprocess: as in `fit`.
        state: that before the iteration.
        batch: gives its (x, y) or (x, y, weight).
    """
    try:
        found = first_forward(_traced(grad_fn, preprocess, state, batch()))
    except Exception:  # an error is on its way already, and this one must not take its place
        return LOWER
    if found is None:
        return LOWER
    return f"{found.said}; " + (LOWER if found.sort == "overflow" else f"try: {found.hint}")


def _traced(grad_fn: GradFn, preprocess: Preprocess | None, state: State, batch: tuple[Any, ...]) -> Traced:
    x, *others = batch
    params, step = jax.device_get((state.params, state.step))
    extra = {"key": jax.random.fold_in(state.key, step)} if takes(grad_fn, "key") else {}
    args = params, preprocess(x) if preprocess else x, *others
    flat, tree = jax.tree_util.tree_flatten_with_path(args)

    def outputs(*leaves: Any) -> list[Any]:
        params, x, y, *weight = jax.tree.unflatten(tree, leaves)
        return jax.tree.leaves(grad_fn(params, x, y, *state.model_state, **extra, **by_name(*weight)))

    names = ("params", "x", "y", "weight")
    parts = [tuple(parts_of(path[1:])) if path[0].idx == 0 else None for path, _ in flat]
    words = [joined([names[path[0].idx], *parts_of(path[1:])]) for path, _ in flat]
    leaves = [jnp.asarray(leaf) for _, leaf in flat]
    return Traced(jax.make_jaxpr(outputs)(*leaves), leaves, words, parts)
