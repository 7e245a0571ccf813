"""A trained network with all that its predictions need."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import arguments
from jaxbp.data import Scaling, Schema
from jaxbp.data.scaling import scaling_of
from jaxbp.errors import message
from jaxbp.layers import Layer, count_parameters
from jaxbp.losses import Loss
from jaxbp.runs.answers import (
    Kind,
    answers,
    as_labels,
    assert_classes,
    kind_of,
    labels_of,
    labels_of_schema,
    numbers_of,
    probabilities,
    targets_of,
    values_of,
)
from jaxbp.runs.evaluation import Evaluation, of_classes, of_values
from jaxbp.runs.outputs import dtype_of, outputs, shape_of_example
from jaxbp.runs.pixels import Pixels
from jaxbp.runs.sources import inputs, labelled
from jaxbp.train.checkpoints.environment import environment
from jaxbp.train.checkpoints.leaves import by_path, listed
from jaxbp.typing import Array, Params


@dataclass(frozen=True, repr=False, eq=False)
class Trained:
    """A network that is used: it predicts, is evaluated, kept by `save_run` and read by `load_run`.

    What it predicts, the loss says and, for a table, its schema. Of classes it is the one with the largest
    output; of one output that is the logit of the second of two (`binary_cross_entropy`), that one from 1/2
    on; of several such outputs a 0 or 1 each; else the outputs themselves, in the units of the table.

    Examples may be an array of any leading axes, one example among them, the path of a CSV, .npz or .npy
    file, a `Dataset`, and with a schema also raw columns: a pandas or polars frame, rows, records
    ``{"age": 31, "city": "Bern"}``. They go through the network in parts, so that memory stays bounded.
    With a schema an array has raw columns: of what `load` made into features give the `Dataset`, not its x.
    A warning says where such an array looks scaled already.

    Args:
        network: a layer of this library, or of your own.
        params: its parameters, such as ``result.params``.
        loss: what it was trained by.
        shape: of one example, ``x.shape[1:]``. By default what the schema says, or the first layer.
        schema: of the table that it was trained on: columns, scaling, names of the classes.
        classes: their labels in the order of the outputs, texts or whole numbers. By default those of the
            schema, or 0..C-1.
        preprocess: what scales raw x: a fitted StandardScaler or the like, `Pixels`, a registered function.
        metrics: numbers to keep beside it, by name.
        settings: what it was trained with, as JSON holds it.
        environment: where it was trained: versions, devices. By default here.

    Raises:
        TypeError: for an argument of another type.
        ValueError: for parameters that are not the network's, a shape that nothing says, or classes beside
            a schema or of another number than the outputs.

    Example:
        >>> import jaxbp, tempfile
        >>> net = jaxbp.mlp([2, 3], jaxbp.relu)
        >>> params = {1: {"W": jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), "b": jnp.zeros(3)}}
        >>> run = Trained(net, params, jaxbp.softmax_cross_entropy, classes=("right", "up", "down"))
        >>> run.predict([[2.0, 1.0], [-1.0, -1.0]]).tolist(), str(run.predict([0.0, 1.0]))
        (['right', 'down'], 'up')
        >>> run.predict_proba([0.0, 1.0]).round(3)
        array([0.245, 0.665, 0.09 ], dtype=float32)
        >>> folder = tempfile.mkdtemp()
        >>> jaxbp.save_run(folder, run)
        >>> jaxbp.load_run(folder).evaluate([[2.0, 1.0], [1.0, 2.0]], ["right", "right"]).metrics["accuracy"]
        0.5
    """

    network: Layer
    params: Params
    loss: Loss
    shape: tuple[int, ...] | None = None
    schema: Schema | None = None
    classes: tuple[Any, ...] | None = None
    preprocess: Callable[[Any], Any] | Any | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=environment)

    def __post_init__(self) -> None:
        where = "Trained"
        arguments.instance(where, "network", self.network, Layer, "e.g. jaxbp.mlp([4, 8, 3])")
        arguments.instance(where, "loss", self.loss, Loss, "e.g. jaxbp.softmax_cross_entropy")
        if self.schema is not None:
            arguments.instance(where, "schema", self.schema, Schema)
        if self.preprocess is not None:
            object.__setattr__(self, "preprocess", scaling_of(where, self.preprocess))
            arguments.function(where, "preprocess", self.preprocess, positional=1)
        for name in ("metrics", "settings", "environment"):
            arguments.instance(where, name, getattr(self, name), dict)
        object.__setattr__(self, "params", _params_of(self.network, self.params, where))
        object.__setattr__(self, "shape", _shape(self.shape, self.schema, self.network, where))
        if self.classes is not None:
            if self.schema is not None:
                raise ValueError(message(where, "classes or a schema, which has them", "both"))
            object.__setattr__(self, "classes", labels_of(self.classes))
        if self.preprocess is None or isinstance(self.preprocess, Pixels | Scaling):  # these keep the shape
            self._kind(self._out_shape())

    def predict(self, x: Any) -> np.ndarray:
        """What the network says of each example: its class by its label, or its values.

        Args:
            x: examples, see `Trained`.

        Returns:
            (*n,) labels, or values where the network has one output, else (*n, outputs).

        Raises:
            FileNotFoundError: there is no such file.
            TypeError, ValueError: for examples of another shape, columns that are not there or hold
                something else, numbers that are not finite.
        """
        f = self._outputs(x, "predict")
        kind = self._kind(f)
        found = answers(f, kind, self.loss, self.schema)
        return np.array(self._labels(f))[found] if kind in ("class", "yes") else found

    def predict_proba(self, x: Any) -> np.ndarray:
        """The probability of each class, or of a 1 in each output.

        Args:
            x: examples, see `Trained`.

        Returns:
            (*n, C), a column for each class in their order, rows that add to 1. Of several outputs of
            `binary_cross_entropy` (*n, outputs), each the probability of a 1.

        Raises:
            ValueError: for a loss that is none of probabilities, and as `predict`.
        """
        f = self._outputs(x, "predict_proba")
        return probabilities(f, self._kind(f), self.loss)

    def evaluate(self, x: Any, y: Any = None) -> Evaluation:
        """How good the predictions are, by scikit-learn's metrics.

        Args:
            x: examples, see `Trained`; a file, a frame or a `Dataset` that has the labels too needs no y.
            y: the labels as `predict` returns them, or rows of which the largest entry is the class; or
                values, in the units of the table.

        Raises:
            ImportError: without scikit-learn.
            ValueError: for no example, another number of labels than of examples, or labels that are no
                class; and as `predict`.
        """
        where = "evaluate"
        numbered = False  # whether y are numbers of classes, and not their labels
        if y is None:
            x, y, numbered = labelled(x, self.schema, self._shape, where)
            f = self._outputs_of(x, where)
        else:
            f, y = self._outputs(x, where), as_labels(y, where)
        if f.ndim != 2:
            raise ValueError(message(where, "x of shape (N, ...)", f"outputs of shape {f.shape}"))
        kind = self._kind(f)
        found = answers(f, kind, self.loss, self.schema)
        if kind == "values":
            return of_values(values_of(y, found.shape, where), found)
        labels = self._labels(f)
        truth = numbers_of(y, tuple(range(len(labels))) if numbered else labels, kind, where)
        if len(truth) != len(f):
            raise ValueError(message(where, f"{len(f)} labels, one for each example", f"{len(truth)}"))
        loss = self.loss(jnp.asarray(f), targets_of(truth, kind, f.shape[-1], self.loss))
        return of_classes(truth, found, labels, float(loss))

    def as_learned(self, source: Any) -> tuple[np.ndarray, Any]:
        """The examples of a source as the network takes them, (N, *shape), and targets as the loss does.

        Args:
            source: a file, a frame or a `Dataset` that has the labels too, see `Trained`.

        Raises:
            TypeError, ValueError: as `evaluate`.
        """
        where = "as_learned"
        x, y, numbered = labelled(source, self.schema, self._shape, where, scaled=True)
        rows = np.asarray(x).reshape(-1, *self._shape)
        rows = rows if self.preprocess is None else np.asarray(self.preprocess(rows))
        f = self._outputs_of(x[:1], where)
        kind = self._kind(f)
        if kind == "values":
            return rows, np.reshape(y, (len(rows), f.shape[-1]))
        labels = tuple(range(len(self._labels(f)))) if numbered else self._labels(f)
        return rows, targets_of(numbers_of(y, labels, kind, where), kind, f.shape[-1], self.loss)

    def export(self, batch: int | str = "n") -> jax.export.Exported:
        """The network for programs without this library, by `jax.export`: x (n, *shape) to predictions.

        x is what the network takes, float32: a schema and ``preprocess`` stay here. What comes back is mu:
        the probabilities of the outputs, or values in the units of the table. Its ``serialize()`` gives
        bytes, and ``jax.export.deserialize(bytes).call(x)`` runs them (``pip install 'jaxbp[export]'``).

        Args:
            batch: how many examples a call takes; a name stands for any number.

        Raises:
            TypeError, ValueError: for a batch that is neither a name nor a whole number of at least 1.

        Example:
            >>> import jaxbp
            >>> net = jaxbp.mlp([2, 1])
            >>> params = {1: {"W": jnp.array([[2.0, 1.0]]), "b": jnp.zeros(1)}}
            >>> exported = Trained(net, params, jaxbp.squared_error).export()
            >>> exported.in_avals, exported.call(jnp.array([[1.0, 3.0], [0.0, 1.0]]))
            ((ShapedArray(float32[n,2]),), Array([[5.],
                   [1.]], dtype=float32))
        """
        back = self.schema.targets_back if self.schema and not self.schema.classes else None

        def one(x: Array) -> Array:
            mu = self.loss.mu(self.network.apply(self.params, x))
            return mu if back is None else back(mu)

        if not (isinstance(batch, str) and batch.isidentifier()):
            batch = arguments.whole("export", "batch", batch, low=1)
        size = jax.export.symbolic_shape(batch)[0] if isinstance(batch, str) else batch
        example = self._example()
        x = jax.ShapeDtypeStruct((size, *example.shape), example.dtype)  # type: ignore[no-untyped-call]
        return jax.export.export(jax.jit(jax.vmap(one)))(x)

    @property
    def labels(self) -> tuple[Any, ...] | None:
        """The labels of the classes, as the columns of `predict_proba`; None for 0, 1, ... and for values."""
        return labels_of_schema(self.schema) if self.schema else self.classes

    @cached_property
    def _apply(self) -> Callable[[Params, Array], Array]:
        return jax.jit(self.network.apply)

    @property
    def _shape(self) -> tuple[int, ...]:
        assert self.shape is not None
        return self.shape

    def _example(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self._shape, dtype_of(self.params))  # type: ignore[no-untyped-call]

    def _out_shape(self) -> jax.ShapeDtypeStruct:
        """The network's output for an example; a layer of the user's may fail in any way at a wrong shape."""
        try:
            return jax.eval_shape(self.network.apply, self.params, self._example())
        except (TypeError, ValueError):
            raise
        except Exception as error:
            got, hint = f"{error} at {self._shape}", "shape= is that of one example, e.g. x.shape[1:]"
            raise ValueError(message("Trained", "a shape that the network takes", got, hint)) from error

    def _outputs(self, x: Any, where: str) -> np.ndarray:
        return self._outputs_of(inputs(x, self.schema, self._shape, where), where)

    def _outputs_of(self, x: Any, where: str) -> np.ndarray:
        x = arguments.array(where, "x", x, host=True)
        return outputs(self._apply, self.params, x, self._shape, self.preprocess, where)

    def _kind(self, f: Any) -> Kind:
        """What outputs of this shape mean; the classes are as many."""
        kind = kind_of(self.loss, self.labels, f.shape[-1])
        assert_classes(self.labels, kind, f.shape[-1], "Trained")
        return kind

    def _labels(self, f: np.ndarray) -> tuple[Any, ...]:
        """The labels of the classes, or the numbers of the flags."""
        return self.labels or tuple(range(2 if self._kind(f) == "yes" else f.shape[-1]))

    def __repr__(self) -> str:
        said = ", ".join(f"{name} {v:.4g}" for name, v in self.metrics.items() if type(v) in (int, float))
        made = f"{self.network}, {count_parameters(self.params):,} parameters, by {self.loss}"
        return made + (f": {said}" if said else "")

    def __reduce__(self) -> tuple[Any, ...]:
        return Trained, tuple(getattr(self, part.name) for part in fields(self))  # not what was compiled


def _shape(given: Any, schema: Schema | None, network: Layer, where: str) -> tuple[int, ...]:
    """The shape of one example."""
    known = (schema.features,) if schema else shape_of_example(network)
    if given is None:
        if known is None:
            raise ValueError(message(where, "shape=, that of one example", "None", "e.g. x.shape[1:]"))
        return known
    sizes = given if isinstance(given, list | tuple) else (given,)
    sizes = tuple(arguments.whole(where, f"shape[{i}]", d, low=0) for i, d in enumerate(sizes))
    if schema and sizes != known:
        raise ValueError(message(where, f"shape {known}, as the schema says", f"{sizes}"))
    return sizes


def _params_of(network: Layer, params: Params, where: str) -> Params:
    """The parameters as arrays, of the names and shapes that the network's have."""
    params = arguments.params(where, params)
    wanted = by_path(jax.eval_shape(network.init, jax.random.key(0)))
    given = by_path(params)
    hint = "were they made by another network's init?"
    if wanted.keys() != given.keys():
        raise ValueError(message(where, f"parameters {listed(wanted)}", listed(given) or "none", hint))
    for name, leaf in given.items():
        if leaf is None or leaf.shape != wanted[name].shape:  # None is a leaf here, and none of a pytree
            got = arguments.described(leaf) if leaf is None else f"{leaf.shape}"
            raise ValueError(message(where, f"{name} of shape {wanted[name].shape}", got, hint))
    return params
