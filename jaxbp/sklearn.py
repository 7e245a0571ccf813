"""Networks as estimators of scikit-learn: for Pipeline, GridSearchCV, cross_val_score."""

from functools import lru_cache
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

import jaxbp.layers.activations
from jaxbp import arguments, errors
from jaxbp.backprop import value_and_grad
from jaxbp.data import Dataset, split
from jaxbp.layers import Layer, mlp
from jaxbp.losses import softmax_cross_entropy, squared_error
from jaxbp.optimizers import OPTIMIZERS, make_optimizer
from jaxbp.train import EarlyStopping, fit, make_evaluate

with errors.needs("scikit-learn", "data", "jaxbp.sklearn"):
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "softplus", "gelu", "gelu_exact", "silu")


class _Network(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: the settings of a multi-layer perceptron, its training, its outputs."""

    def __init__(
        self,
        hidden: tuple[int, ...] = (128,),
        *,
        activation: str = "relu",
        optimizer: str = "adam",
        learning_rate: float | None = None,
        batch_size: int = 32,
        epochs: int = 100,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ):
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def _train(self, data: Dataset, weight: np.ndarray | None, outputs: int) -> Self:
        """Train on the data, in their precision; sets sizes_, params_, history_ and n_iter_."""
        where = type(self).__name__
        if weight is not None:
            weight = _check_sample_weight(weight, data.x)
        if isinstance(self.hidden, str | bytes) or not hasattr(self.hidden, "__iter__"):
            got = arguments.described(self.hidden)
            raise TypeError(errors.message(where, "hidden a tuple of sizes", got, "e.g. hidden=(128,)"))
        hidden = tuple(arguments.whole(where, "each of hidden", size, low=1) for size in self.hidden)
        rate = self.learning_rate
        if rate is not None:
            rate = arguments.number(where, "learning_rate", rate, low=0, open_low=True)
        fraction = arguments.number(
            where,
            "validation_fraction",
            self.validation_fraction,
            low=0,
            high=1,
            open_low=True,
            open_high=True,
        )
        arguments.option(where, "activation", self.activation, ACTIVATIONS)
        arguments.option(where, "optimizer", self.optimizer, OPTIMIZERS)
        batch_size = arguments.whole(where, "batch_size", self.batch_size, low=1)
        epochs = arguments.whole(where, "epochs", self.epochs, low=1)
        classes = data.num_classes is not None
        key = jax.random.key(check_random_state(self.random_state).randint(2**31 - 1))
        key_params, key_fit = jax.random.split(key)
        rows, held = np.arange(len(data)), None
        if self.patience is not None:
            numbered = Dataset(rows, data.y if classes else np.zeros(len(data)), data.num_classes)
            seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
            parts = split(numbered, fraction, seed=seed, stratify=classes)
            rows, held = (part.x for part in parts)
        batch_size = min(batch_size, len(rows))
        self.sizes_ = (data.x.shape[1], *hidden, outputs)
        made = _made(
            self.sizes_, self.activation, classes, self.optimizer, rate,
            epochs * -(-len(rows) // batch_size),
        )  # fmt: skip
        with jax.enable_x64(data.x.dtype == np.float64):
            result = fit(
                made["grad_fn"],
                made["net"].init(key_params),
                _rows(data, weight, rows),
                optimizer=made["optimizer"],
                key=key_fit,
                batch_size=batch_size,
                epochs=epochs,
                validation=None if held is None else _rows(data, weight, held),
                evaluate=None if held is None else made["evaluate"],
                early_stopping=None if self.patience is None else EarlyStopping(self.patience),
                progress_bar=False,
            )
        self.params_ = jax.tree.map(np.asarray, result.params)
        self.history_ = result.history
        self.n_iter_ = len(result.history["epoch"])
        return self

    def _outputs(self, x: Any) -> np.ndarray:
        """f of checked examples, in float64: the same whichever examples are asked for together."""
        check_is_fitted(self)
        x = validate_data(self, x, reset=False, dtype=np.float64)
        with jax.enable_x64(True):
            params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), self.params_)
            return np.asarray(_net(self.sizes_, self.activation).apply(params, jnp.asarray(x)))


class Classifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A multi-layer perceptron with softmax and cross-entropy, trained by hand-written back-propagation.

    It is sensitive to the scale of its inputs: put it after a StandardScaler in a Pipeline. It computes in
    the precision of X, as scikit-learn does: float32 is faster. Weights of examples are those of the mean
    over each mini-batch; where all examples are one batch, a weight of 2 is the example twice.

    Args:
        hidden: sizes of the hidden layers; () is softmax regression.
        activation: of the hidden layers, by its name.
        optimizer: "adam", "adamw", "sgd" or "momentum"; its rate decays to 0 along a cosine.
        learning_rate: where it starts; None is 0.003 for adam and adamw, 0.1 for sgd, 0.05 for momentum.
        batch_size: examples an iteration, or all where there are fewer.
        epochs: passes over the data, at most.
        patience: stop after so many epochs without a better loss of a validation part, and keep the best
            parameters; None holds nothing out.
        validation_fraction: that part.
        random_state: of the initial parameters, the order, the validation part.

    Attributes:
        classes_: the labels, of which the columns of predict_proba are.
        params_: the trained parameters.
        history_: a dict of columns, one row for each epoch.
        sizes_: d_0 ... d_L.

    Example:
        >>> import numpy as np
        >>> x, y = np.array([[0.0], [0.2], [1.8], [2.0]] * 10), np.array(["low", "low", "high", "high"] * 10)
        >>> model = Classifier((8,), random_state=0).fit(x, y)
        >>> model.predict([[0.1], [1.9]]).tolist(), model.score(x, y)
        (['low', 'high'], 1.0)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples X (N, features) and their labels y (N,), of any type.

        Raises:
            ValueError: as scikit-learn checks them, and for one class alone.
            FloatingPointError: the loss stopped being finite.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            present = np.unique(labels[sample_weight > 0])
        else:
            present = np.unique(labels)
        if len(present) < 2:
            raise ValueError(errors.message("Classifier", "at least 2 classes", f"{len(present)} class"))
        data = Dataset(X, labels.astype(np.int32), len(self.classes_), "X")
        return self._train(data, sample_weight, len(self.classes_))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each example, (N,)."""
        best = self._outputs(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities of the classes, (N, C): softmax of the outputs."""
        f = self._outputs(X)
        e = np.exp(f - f.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


class Regressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A multi-layer perceptron with squared error, trained by hand-written back-propagation.

    The targets are standardized for the training, and predictions are in their units. It is sensitive to
    the scale of its inputs: put it after a StandardScaler in a Pipeline.

    Args:
        hidden: as for `Classifier`, like all of these.
        activation: of the hidden layers.
        optimizer: its rate decays to 0 along a cosine.
        learning_rate: where it starts.
        batch_size: examples an iteration.
        epochs: passes over the data, at most.
        patience: stop after so many epochs without a better loss of a validation part.
        validation_fraction: that part.
        random_state: of the initial parameters, the order, the validation part.

    Attributes:
        params_: the trained parameters.
        history_: a dict of columns, one row for each epoch.
        sizes_: d_0 ... d_L.

    Example: 1000 (1 + 2 x).
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 40)[:, None]
        >>> model = Regressor((), random_state=0, learning_rate=0.1).fit(x, 1000 * (1 + 2 * x[:, 0]))
        >>> model.predict([[0.5]]).round(-1).tolist()
        [2000.0]
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples X (N, features) and their targets y, (N,) or (N, targets).

        Raises:
            ValueError: as scikit-learn checks them.
            FloatingPointError: the loss stopped being finite.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        self._flat = y.ndim == 1
        targets = y.reshape(len(y), -1).astype(float)
        self._scaler = StandardScaler().fit(targets, sample_weight=sample_weight)
        data = Dataset(X, self._scaler.transform(targets).astype(X.dtype), None, "X")
        return self._train(data, sample_weight, targets.shape[1])

    def predict(self, X: Any) -> np.ndarray:
        """The predicted targets, of the shape of y."""
        f = self._outputs(X)
        targets = self._scaler.inverse_transform(f)
        return targets[:, 0] if self._flat else targets

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _rows(data: Dataset, weight: np.ndarray | None, rows: np.ndarray) -> Any:
    """These examples, as `fit` takes them."""
    kept = (data.x[rows], data.y[rows])
    return kept if weight is None else (*kept, weight[rows])


@lru_cache(32)
def _net(sizes: tuple[int, ...], activation: str) -> Layer:
    return mlp(list(sizes), getattr(jaxbp.layers.activations, activation))


@lru_cache(32)
def _made(
    sizes: tuple[int, ...],
    activation: str,
    classes: bool,
    optimizer: str,
    rate: float | None,
    iterations: int,
) -> dict[str, Any]:
    """The functions of a run; of the same settings the same, so that a grid compiles each once."""
    net, loss = _net(sizes, activation), softmax_cross_entropy if classes else squared_error
    return {
        "net": net,
        "grad_fn": value_and_grad(net, loss),
        "evaluate": make_evaluate(net.apply, loss),
        "optimizer": make_optimizer(optimizer, rate, iterations, cosine=True),
    }
