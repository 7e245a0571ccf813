"""The records of a run that stay as they are, and what runs an epoch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import optax

from jaxbp.data import Dataset
from jaxbp.data.batches import Batches
from jaxbp.train.programs.step import EvalParams, Evaluate, GradFn, Preprocess
from jaxbp.train.sharding import Layout
from jaxbp.typing import Random


@dataclass(frozen=True, eq=False)
class Parts:
    """Data that go to the device part by part.

    Args:
        first: the first part, for its shapes.
        of: ``epoch -> all of them``, once for each evaluation.
    """

    first: Dataset
    of: Callable[[int], Iterator[Dataset]]


@dataclass(frozen=True)
class Counted:
    """A run that is counted in iterations: an epoch is so many of them, the last perhaps fewer.

    The passes over the data follow one another, and all batches are whole: one may reach from a pass into
    the next.

    Args:
        total: the iterations of the run, with those that lie behind.
        every: those of an epoch.
        passes: ``pass -> orders``, the order of each process in a pass, numbered from 1.
        epoch: the epochs that lie behind where this call begins.
        step: the iterations that lie behind there.
    """

    total: int
    every: int
    passes: Callable[[int], list[np.ndarray]]
    epoch: int = 0
    step: int = 0

    @property
    def epochs(self) -> int:
        """The epochs of the run, with those that lie behind."""
        return self.epoch + max(0, -(-(self.total - self.step) // self.every))

    def first(self, epoch: int) -> int:
        """The iterations before this epoch."""
        return self.step + (epoch - self.epoch - 1) * self.every

    def count(self, epoch: int) -> int:
        """The iterations of this epoch."""
        return min(self.every, self.total - self.first(epoch))


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
        shuffle: as in `fit`.
        eval_params: as in `fit`; with ``ema=`` the function that takes the average.
        evaluate_every: how many epochs lie between two evaluations.
        counted: where the run is counted in iterations.
        batches: what yields them one by one; ``train`` is then the first of them.
        parts: the validation data, where they go to the device part by part.
        restarts: (first, every) where the model's state is that of the rows of a batch, as a recurrent carry
            is: before iteration first, and every so many after it, the data begin again, and so does it.
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
    shuffle: bool = True
    eval_params: EvalParams | None = None
    evaluate_every: int = 1
    counted: Counted | None = None
    batches: Batches | None = None
    parts: Parts | None = None
    restarts: tuple[int, int] | None = None

    @property
    def N(self) -> int:
        """The examples of all processes."""
        return len(self.train) * self.layout.processes

    @property
    def iterations(self) -> int:
        """Those of a pass over the data."""
        return -(-self.N // self.batch_size)

    def counting(self, iterations: int, every: int | None, behind: tuple[int, int]) -> "Plan":
        """This plan, counted in so many iterations, ``every`` of them an epoch, by default those of a pass.

        Args:
            iterations: beyond those that lie behind.
            every: perhaps None.
            behind: the epochs and the iterations that lie behind.
        """
        key, N = self.key if self.shuffle else None, len(self.train)
        passes = lru_cache(2)(lambda number: self.layout.orders(key, number, N))
        return self._replace(
            counted=Counted(behind[1] + iterations, every or self.iterations, passes, *behind)
        )

    def going_on(self, epoch: int, step: int) -> "Plan":
        """This plan where so many epochs and iterations lie behind."""
        return (
            self
            if self.counted is None
            else self._replace(counted=replace(self.counted, epoch=epoch, step=step))
        )

    def order(self, epoch: int) -> np.ndarray:
        """The order of an epoch."""
        key, N = self.key if self.shuffle else None, len(self.train)
        if self.counted is None:
            return self.layout.order(key, epoch, N, self.batch_size)
        part = self.batch_size // self.layout.processes
        first = self.counted.first(epoch)
        begin, end = first * part, (first + self.counted.count(epoch)) * part
        return self.layout.stretch(self.counted.passes, N, begin, end, self.batch_size)

    def examples(self, epoch: int) -> int:
        """How many an epoch takes."""
        return self.N if self.counted is None else self.counted.count(epoch) * self.batch_size

    def evaluates(self, epoch: int) -> bool:
        """Whether an evaluation follows this epoch."""
        return epoch % self.evaluate_every == 0

    def due(self, epochs: Iterable[int]) -> np.ndarray | None:
        """Which of these epochs are evaluated; None where all are, always."""
        return None if self.evaluate_every == 1 else np.array([self.evaluates(epoch) for epoch in epochs])

    def sizes(self, order: Callable[[int], np.ndarray]) -> Callable[[int], np.ndarray]:
        """``epoch -> (iterations,)``: what each batch counts, its examples, or the sum of their weights.

        Args:
            order: the method, perhaps one that remembers.
        """
        if self.train.weight is not None:
            weights_of = self.layout.batch_weights(self.train.weight, self.batch_size)
            return lambda epoch: weights_of(order(epoch))

        def counts(epoch: int) -> np.ndarray:
            N = self.examples(epoch)
            return np.diff([*range(0, N, self.batch_size), N])

        return counts

    def held_out(self) -> Any:
        """The validation data on every device, x preprocessed, or None."""
        if self.validation is None:
            return None
        x, *others = jax.device_put(self.validation.arrays, self.layout.everywhere)
        return jax.jit(self.preprocess)(x) if self.preprocess else x, *others


class Bad(NamedTuple):
    """The first iteration that was not finite.

    Args:
        losses: of its epoch, (iterations,).
        iteration: its number in the epoch, from 0.
        broken: what each of the `watched_leaves` of the state became there: NaN or infinity; 0
            where it stayed sound, and everywhere if it was the loss or the parameters that did not.
    """

    losses: np.ndarray
    iteration: int
    broken: np.ndarray


class EpochsRan(NamedTuple):
    """Epochs that were run; in a sweep every array begins with an axis of the networks.

    Args:
        state: after them; if an iteration of the next was not finite, the state before that iteration.
        losses: of each epoch, the mean over its examples, (epochs,).
        metrics: of each epoch's evaluation, (epochs,); where none was due they mean nothing.
        seconds: of each epoch, its share of what they took together.
        bad: what ended them, where the next epoch has an iteration that was not finite.
        waited: of a stream, the share of the seconds that passed waiting for data.
        finite: of a sweep, whether each network is still finite.
        told: of each epoch, what grad_fn and the optimizer's state tell, by column, (epochs,).
        of_iterations: the losses of the iterations of each epoch.
    """

    state: Any
    losses: np.ndarray
    metrics: dict[str, np.ndarray]
    seconds: float
    bad: Bad | None = None
    waited: float | None = None
    finite: np.ndarray | None = None
    told: Mapping[str, np.ndarray] = MappingProxyType({})
    of_iterations: Sequence[np.ndarray] = ()


class Engine(Protocol):
    """What runs epochs: on data that lie on the device, on a stream, or for the networks of a sweep.

    Args:
        compile_seconds: the time that compiling took.
    """

    compile_seconds: float

    def run(self, state: Any, epoch: int, most: int) -> EpochsRan:
        """Epoch number ``epoch`` and perhaps more after it, ``most`` in all, from this state.

        The state given to the call before is gone then; the one given stays.
        """
        ...
