"""What a run is made of, and what comes of its epochs: between `fit` and what runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxbp.data import Dataset
from jaxbp.train.layout import Layout
from jaxbp.train.loop import Evaluate, GradFn, Preprocess, State
from jaxbp.typing import Random

_EXAMPLES, _EPOCHS, _SECONDS = 2**16, 64, 0.1  # at most at a time: progress and Ctrl-C stay at hand


class Plan(NamedTuple):
    """The parts of a run that stay as they are.

    Args:
        grad_fn: as in `fit`.
        optimizer: as in `fit`.
        evaluate: as in `fit`.
        batch_size: over all processes.
        key: of the orders.
        train: the examples of this process.
        validation: held out, the same in every process.
        layout: where things lie.
        preprocess: as in `fit`.
    """

    grad_fn: GradFn
    optimizer: optax.GradientTransformation
    evaluate: Evaluate | None
    batch_size: int
    key: Random
    train: Dataset
    validation: Dataset | None
    layout: Layout
    preprocess: Preprocess | None = None

    def order(self, epoch: int) -> np.ndarray:
        """The order of an epoch."""
        return self.layout.order(self.key, epoch, len(self.train), self.batch_size)

    def held_out(self) -> Any:
        """x, preprocessed, and y of the validation data on every device, or None."""
        if self.validation is None:
            return None
        x, y = jax.device_put((self.validation.x, self.validation.y), self.layout.everywhere)
        return jax.jit(self.preprocess)(x) if self.preprocess else x, y


def stacked(order: Callable[[int], np.ndarray], epoch: int, count: int, room: int) -> np.ndarray:
    """The orders of ``count`` epochs from this one on, the last repeated to fill the room: (room, N)."""
    return np.stack([order(epoch + min(e, count - 1)) for e in range(room)])


class Pace:
    """How many epochs are run at a time: short ones would wait for the host between them.

    Args:
        epochs: of the run, at most.
        N: examples of an epoch.
    """

    def __init__(self, epochs: int, N: int):
        self.most = max(1, min(epochs, _EPOCHS, _EXAMPLES // N))
        self.count = 1

    def took(self, seconds: float) -> None:
        """Learn from the seconds of an epoch."""
        self.count = max(1, min(self.most, int(_SECONDS / seconds)))


class Ran(NamedTuple):
    """Epochs that were run.

    Args:
        state: after them; if an iteration of the next was not finite, the state before that iteration.
        losses: of their iterations, (epochs, iterations).
        metrics: of each epoch, (epochs,).
        seconds: of each epoch, its share of what they took together.
        bad: None, or the losses of the next epoch and its first iteration that was not finite.
        waited: of a stream, the share of the seconds that passed waiting for data.
    """

    state: State
    losses: np.ndarray
    metrics: dict[str, np.ndarray]
    seconds: float
    bad: tuple[np.ndarray, int] | None = None
    waited: float | None = None
