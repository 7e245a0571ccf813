"""The records of a run: what stays as it is, what changes from epoch to epoch, what runs an epoch."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbp import errors
from jaxbp.data import Dataset
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.programs.finite import watched_leaves
from jaxbp.train.programs.step import Evaluate, GradFn, Preprocess, State
from jaxbp.train.progress import Record
from jaxbp.train.result import Best, DivergenceError, EarlyStopping, Result, Stopped
from jaxbp.train.sharding import Layout
from jaxbp.typing import Params, Random


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

    @property
    def N(self) -> int:
        """The examples of all processes."""
        return len(self.train) * self.layout.processes

    def order(self, epoch: int) -> np.ndarray:
        """The order of an epoch."""
        key = self.key if self.shuffle else None
        return self.layout.order(key, epoch, len(self.train), self.batch_size)

    def sizes(self, order: Callable[[int], np.ndarray]) -> Callable[[int], np.ndarray]:
        """``epoch -> (iterations,)``: what each batch counts, its examples, or the sum of their weights.

        Args:
            order: the method, perhaps one that remembers.
        """
        if self.train.weight is not None:
            weights_of = self.layout.batch_weights(self.train.weight, self.batch_size)
            return lambda epoch: weights_of(order(epoch))
        counts = np.diff([*range(0, self.N, self.batch_size), self.N])
        return lambda epoch: counts

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
        broken: what each of the `watched_leaves` of the optimizer's state became there: NaN or infinity; 0
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
        metrics: of each epoch, (epochs,).
        seconds: of each epoch, its share of what they took together.
        bad: what ended them, where the next epoch has an iteration that was not finite.
        waited: of a stream, the share of the seconds that passed waiting for data.
        finite: of a sweep, whether each network is still finite.
    """

    state: Any
    losses: np.ndarray
    metrics: dict[str, np.ndarray]
    seconds: float
    bad: Bad | None = None
    waited: float | None = None
    finite: np.ndarray | None = None


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


class Run(NamedTuple):
    """The parts of a run that change, as they are after an epoch.

    Args:
        state: of the training.
        best: the best epoch so far.
        rows: one of the history for each epoch.
        stopped: why it ended, None while it goes on.
        kept: the epoch of the newest checkpoint that this run wrote or read, 0 without any.
        compile_seconds: as in `Result`.
    """

    state: State
    best: Best
    rows: tuple[Record, ...] = ()
    stopped: Stopped | None = None
    kept: int = 0
    compile_seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The number of epochs that lie behind."""
        return len(self.rows)

    @classmethod
    def started(
        cls,
        params: Params,
        opt_state: Any,
        learned: Result | None,
        plan: Plan,
        stopping: EarlyStopping | None,
    ) -> "Run":
        """The first, in buffers of its own: the caller may donate the given ones before they are used."""
        best, rows = Best(stopping), learned.rows() if learned else ()
        if learned and rows and (stopping is None or stopping.monitor in rows[-1]):
            best = best.after(rows[learned.best_epoch - 1], learned.params)
        params = _own(params)
        opt_state = plan.optimizer.init(params) if opt_state is None else opt_state
        step = jnp.int32(learned.step if learned else 0)
        state = State(params, _own(opt_state), _own(plan.key), step)
        return cls(plan.layout.state(state), best, rows)

    def resumed(self, checkpoints: Checkpoints | None, config: dict[str, Any]) -> "Run":
        """The newest that the checkpoints hold, or this one."""
        found = checkpoints.latest(self._arrays(), config=config) if checkpoints else None
        if found is None:
            return self
        (state, params), meta = found
        epoch = meta["best_epoch"]
        best = self.best._replace(value=meta["best_value"], epoch=epoch, params=params if epoch else None)
        rows = tuple(meta["rows"])
        return self._replace(state=state, best=best, rows=rows, kept=len(rows))

    def left(self, epochs: int, checkpoints: Checkpoints | None) -> int:
        """How many epochs may be run before someone has to look: 0 where the run is at its end."""
        if self.stopped or self.best.gave_up(self.rows):
            return 0
        left = max(0, epochs - self.epoch)
        return min(left, checkpoints.every - self.epoch % checkpoints.every) if checkpoints else left

    def after(self, ran: EpochsRan, plan: Plan) -> "Run":
        """This run after these epochs.

        Raises:
            DivergenceError: where an iteration was not finite.
        """
        rows = self.rows
        for e, loss in enumerate(ran.losses.tolist()):
            row = {"epoch": len(rows) + 1, "seconds": ran.seconds, "loss": loss}
            row |= {} if ran.waited is None else {"waited": ran.waited}
            rows += (row | {f"val_{name}": values[e].item() for name, values in ran.metrics.items()},)
        after = self._replace(state=ran.state, rows=rows)
        if ran.bad is not None:
            raise _divergence(ran.bad, after._replace(stopped="diverged"))
        return after._replace(best=self.best.after(rows[-1], ran.state.params))

    def record(self) -> Record:
        """What a callback gets: a copy, for the next epochs donate the buffers of the state."""
        copied = _own({"params": self.state.params, "opt_state": self.state.opt_state})
        return self.rows[-1] | copied

    def saved(self, checkpoints: Checkpoints | None, config: dict[str, Any]) -> "Run":
        """This run with a checkpoint of its last epoch."""
        if checkpoints is None or self.epoch == self.kept:
            return self
        meta = {
            "config": config,
            "rows": self.rows,
            "best_value": self.best.value,
            "best_epoch": self.best.epoch,
        }
        value = self.rows[-1][checkpoints.monitor] if checkpoints.monitor else None
        checkpoints.save(self.epoch, self._arrays(), meta, value)
        return self._replace(kept=self.epoch)

    def result(self) -> Result:
        """What was learned so far."""
        columns = self.rows[-1] if self.rows else ("epoch", "seconds", "loss")
        history = {  # keep only columns that every row has: the run may have streamed before it was resumed
            name: np.array([row[name] for row in self.rows])
            for name in columns
            if all(name in row for row in self.rows)
        }
        state, best = self.state, self.best
        found = best.params is not None
        return Result(
            best.params if found else state.params,
            state.opt_state,
            history,
            self.stopped or ("early" if best.gave_up(self.rows) else "finished"),
            best.epoch if found else self.epoch,
            self.compile_seconds,
            state.params,
            int(state.step),
        )

    def _arrays(self) -> tuple[State, Params]:
        """What a checkpoint holds."""
        if self.best.stopping is None:
            return self.state, None
        return self.state, self.state.params if self.best.params is None else self.best.params


def keep(error: BaseException, run: Run, checkpoints: Checkpoints | None, config: dict[str, Any]) -> None:
    """Keep what a run learned that an exception ends, and say with the exception where it is.

    Of many processes the one that writes does so: all have ended its last epoch, for they compute together,
    and what they do now is not known here.

    Args:
        error: what ended it; it gets a note and, unless it has one, a ``result``.
        run: as it was after its last epoch.
        checkpoints: of the run.
        config: as in `Run.saved`.
    """
    if not run.epoch:
        return
    failed = None
    if checkpoints and config and checkpoints.writes_alone:
        try:
            run = run.saved(checkpoints, config)
        except Exception as again:  # the disk may still be full
            failed = again
    epochs, are = ("epochs", "are") if run.epoch > 1 else ("epoch", "is")
    words = f"{run.epoch} {epochs} of this run {are} in this exception's .result"
    if checkpoints and run.kept:
        words += f"; epoch {run.kept} is kept in {checkpoints.folder}, the same command goes on from it"
    if failed is not None and str(failed) != str(error):
        words += f"; epoch {run.epoch} could not be kept: {failed}"
    error.add_note(f"fit: {words}")
    if not hasattr(error, "result"):
        error.result = run._replace(stopped="interrupted").result()  # type: ignore[attr-defined]


def warn_never_finite(result: Result, stopping: EarlyStopping | None) -> None:
    """Say which metrics were finite in no epoch: nobody sees such a column in a history of many."""
    epochs = len(result.history["epoch"])
    for name, column in result.history.items():
        if epochs and not np.isfinite(column).any():
            hint = "what evaluate computes is not defined on these data"
            if stopping is not None and stopping.monitor == name:
                hint += "; no epoch was the best, the parameters are the last"
            expected, got = f"{name} to be a number in some epoch", f"{_kinds(column)} in all {epochs}"
            warnings.warn(errors.message("fit", expected, got, hint), stacklevel=3)


def _kinds(column: np.ndarray) -> str:
    """What these entries are, none of which is finite: NaN, inf, -inf, or which of them."""
    kinds = {"NaN": np.isnan(column), "inf": column == np.inf, "-inf": column == -np.inf}
    return " or ".join(name for name, found in kinds.items() if found.any())


def _own(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def _divergence(bad: Bad, run: Run) -> DivergenceError:
    """The error that names where the next epoch stopped being finite, and what."""
    losses, iteration, broken = bad
    where = f"fit, epoch {run.epoch + 1}, iteration {iteration + 1} of {len(losses)}"
    hint = "the parameters from before it are in this error's .result; try a lower learning rate"
    names = [name for name, _ in watched_leaves(run.state.opt_state)]
    if not np.isfinite(losses[iteration]):
        expected, got = "a finite loss", f"{losses[iteration]}"
    elif (~np.isfinite(broken)).any():
        leaf = int(np.flatnonzero(~np.isfinite(broken))[0])
        expected, got = "a finite optimizer state", f"{broken[leaf]} in {names[leaf]}"
        hint += ", or clip the gradient, e.g. optax.chain(optax.clip_by_global_norm(1.0), ...)"
    else:
        expected, got = "a finite gradient", "one with NaN or infinity"
    return DivergenceError(errors.message(where, expected, got, hint), run.result())
