"""Metrics of a network on data it is not trained on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments, errors
from jaxbp.arguments.trees import is_tree
from jaxbp.train.programs.metrics import Measure, Metrics, OnHost, accuracy, by_name, kind_of, mean
from jaxbp.train.programs.step import Evaluate, GradFn, takes
from jaxbp.typing import Array, Params, Scalar


@dataclass(frozen=True, repr=False)
class Evaluator:
    """The function (params, x, y) -> {name: number} that `make_evaluate` makes.

    Args:
        apply: as there.
        loss: as there.
        metrics: by name, or None for the loss and, of class labels, the accuracy.
        batch_size: as there.
        stateful: whether ``apply`` is given the state of a run; else every example begins from nothing.
    """

    apply: Callable[..., Array]
    loss: Callable[..., Scalar]
    metrics: tuple[tuple[str, Measure], ...] | None = None
    batch_size: int | None = None
    stateful: bool = True

    @property
    def on_host(self) -> list[str]:
        """The metrics that the compiled program asks the host for."""
        return [name for name, measure in self.metrics or () if isinstance(measure, OnHost)]

    def __call__(
        self, params: Params, x: Any, y: Any, *model_state: Any, weight: Array | None = None
    ) -> dict[str, Scalar]:
        """The metrics; weights of the examples, (*n,), make every mean a weighted one."""
        return self.judged(self.outputs(params, x, *model_state), y, weight)

    def outputs(self, params: Params, x: Any, *model_state: Any) -> Array:
        """What ``apply`` gives for the examples, (*n, C)."""
        x = _taken("x", x)
        params = jax.tree.map(lambda leaf: _taken("params", leaf) if _is_numpy(leaf) else leaf, params)
        model_state = model_state if self.stateful else ()
        by_name = takes(self.apply, "given")  # as this library's layers take their state
        rest, named = (
            ((), {"given": {"state": model_state[0]}}) if model_state and by_name else (model_state, {})
        )
        return _in_batches(lambda x: self.apply(params, x, *rest, **named), x, self.batch_size)

    def judged(self, f: Array, y: Any, weight: Array | None = None) -> dict[str, Scalar]:
        """The metrics of outputs f (*n, C)."""
        y = _taken("y", y)
        if weight is not None and not takes(self.loss, "weight"):
            expected = "a loss with an argument weight, for data with weights"
            raise TypeError(errors.message("evaluate", expected, arguments.described(self.loss)))
        value = self.loss(f, y) if weight is None else self.loss(f, y, weight=weight)
        if not (hasattr(value, "dtype") or isinstance(value, float)) or jnp.shape(value) != ():
            got = arguments.described(value)
            raise TypeError(errors.message("evaluate", "loss(f, y) to return a number", got))
        metrics = {"loss": jnp.asarray(value)}
        if self.metrics is not None:
            return metrics | {name: measure(f, y, weight, self.loss) for name, measure in self.metrics}
        if kind_of(f, y, self.loss) in ("labels", "rows"):
            right = accuracy(f, y, self.loss).astype(metrics["loss"].dtype)
            metrics["accuracy"] = mean(right, weight)
        return metrics


def make_evaluate(
    apply: Callable[..., Array],
    loss: Callable[..., Scalar],
    metrics: Metrics | None = None,
    *,
    batch_size: int | None = None,
) -> Evaluator:
    """Metrics of a network on a data set: its loss, and for class labels its accuracy, or those named.

    Args:
        apply: ``(params, x) -> f`` of shape (*n, C), any JAX function; where a run has a model_state,
            ``(params, x, model_state) -> f``, or a layer's, which is given it as its state.
        loss: ``(f, y) -> scalar``.
        metrics: which, beside the loss, in place of the accuracy: names, functions ``(f, y) -> number``, in
            a list, or a dict of them by names of your own. The names are ``accuracy``, ``exact_match`` (of
            an example all labels are right), ``top_5_accuracy``, ``mean_squared_error``,
            ``mean_absolute_error``, and those of scikit-learn's scorers, such as ``f1_macro``, ``roc_auc``,
            ``r2``, which the host computes from the loss's mu, on one device; its scorers themselves
            (`sklearn.metrics.make_scorer`) are taken, too. What one of them refuses is NaN, with a warning.
        batch_size: examples that ``apply`` gets at a time, by default all. The predictions of all are then
            measured together, so that no metric changes.

    Returns:
        ``evaluate(params, x, y, *, weight=None) -> {"loss": ..., "accuracy": ...}``, the accuracy being the
        share of the examples whose largest f is at y, and NaN where f is NaN. Of a row of probabilities, for
        a `Loss` of classes, the label is where it is largest. Targets that are no labels have no accuracy,
        unless it is asked for by name: of the outputs of `binary_cross_entropy` it is then the share whose
        mu is on the target's side of 1/2. With weights, (*n,), all are weighted means; ``loss`` then takes
        them as its argument ``weight``.

    Raises:
        TypeError, ValueError: for another name, and for what cannot be called so.

    Example:
        >>> import jaxbp
        >>> evaluate = make_evaluate(lambda params, x: x, jaxbp.softmax_cross_entropy)
        >>> x, y = jnp.array([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), jnp.array([1, 0, 0])
        >>> evaluate({}, x, y)["accuracy"]
        Array(0.6666667, dtype=float32)
        >>> evaluate = make_evaluate(lambda params, x: x, jaxbp.softmax_cross_entropy, ["f1_macro"])
        >>> evaluate({}, x, y)["f1_macro"]
        Array(0.6666667, dtype=float32)
    """
    where = "make_evaluate"
    try:
        arguments.function(where, "apply", apply, positional=3)
    except TypeError:  # it takes no model_state
        arguments.function(where, "apply", apply, positional=2)
    arguments.function(where, "loss", loss, positional=2)
    if batch_size is not None:
        batch_size = arguments.whole(where, "batch_size", batch_size, low=1)
    measures = None if metrics is None else tuple(by_name(where, metrics).items())
    return Evaluator(apply, loss, measures, batch_size)


def measured(
    where: str, grad_fn: Any, metrics: Metrics | None, evaluate: Evaluate | None, held_out: bool
) -> tuple[GradFn, Evaluate | None]:
    """A gradient function that tells metrics of its batches, and what evaluates those held out by them.

    Args:
        where: the function that was called.
        grad_fn: `jaxbp.value_and_grad`'s, of whose net and loss an evaluate is made where none is given; or
            any other, without metrics.
        metrics: as in `fit`.
        evaluate: the one given, which stays.
        held_out: whether there is something to evaluate.

    Raises:
        TypeError: for another grad_fn.
        ValueError: for metrics that the host computes of all examples together, where none are held out.
    """
    if metrics is None:
        if held_out and evaluate is None and hasattr(grad_fn, "measures"):
            evaluate = Evaluator(grad_fn.apply, grad_fn.loss, None)
        return grad_fn, evaluate
    measures = by_name(where, metrics)
    if not hasattr(grad_fn, "measures"):
        hint = "return ((loss, {name: scalar}), grads) for the history, and give evaluate=make_evaluate(...)"
        expected = "metrics beside jaxbp.value_and_grad, which tells its outputs"
        raise TypeError(errors.message(where, expected, arguments.described(grad_fn), hint))
    if held_out and evaluate is None:
        evaluate = Evaluator(grad_fn.apply, grad_fn.loss, tuple(measures.items()))
    of_batches = {name: measure for name, measure in measures.items() if not isinstance(measure, OnHost)}
    if len(of_batches) < len(measures) and not held_out:
        names = ", ".join(name for name in measures if name not in of_batches)
        hint = "scikit-learn's are not means over batches; give validation="
        raise ValueError(errors.message(where, "metrics of batches", names, hint))
    return replace(grad_fn, measures=tuple(of_batches.items())), evaluate


def _in_batches(apply: Callable[[Any], Array], x: Any, batch_size: int | None) -> Array:
    """``apply`` of the examples x, so many at a time."""
    N = len(jax.tree.leaves(x)[0]) if batch_size is not None and jax.tree.leaves(x)[0].ndim else 0
    if batch_size is None or batch_size >= N:
        return apply(x)
    q, rest = divmod(N, batch_size)
    whole = jax.tree.map(lambda v: v[: q * batch_size].reshape(q, batch_size, *v.shape[1:]), x)
    f = jax.lax.map(apply, whole)
    f = f.reshape(q * batch_size, *f.shape[2:])
    return jnp.concatenate([f, apply(jax.tree.map(lambda v: v[N - rest :], x))]) if rest else f


def _taken(name: str, value: Any) -> Any:
    """An array, or a tree of arrays as it is: only ``apply`` and ``loss`` know what that means."""
    return value if is_tree(value) else arguments.array("evaluate", name, value)


def _is_numpy(leaf: Any) -> bool:
    """An array that a compiled ``apply`` would misread in another byte order."""
    return isinstance(leaf, np.ndarray)
