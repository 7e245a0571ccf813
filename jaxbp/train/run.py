"""What of a run changes from epoch to epoch, and what stays of it at its end."""

import base64
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxbp import errors
from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.plan import Bad, EpochsRan, Plan
from jaxbp.train.programs.cause import LOWER, cause
from jaxbp.train.programs.copies import copied
from jaxbp.train.programs.finite import watched_leaves
from jaxbp.train.programs.step import EvalParams, State
from jaxbp.train.progress import Record
from jaxbp.train.result import Best, DivergenceError, EarlyStopping, Result, Stopped
from jaxbp.train.start import Start


class Run(NamedTuple):
    """The parts of a run that change, as they are after an epoch.

    Args:
        state: of the training.
        best: the best epoch so far.
        rows: one of the history for each epoch.
        stopped: why it ended, None while it goes on.
        kept: the epoch of the newest checkpoint that this run wrote or read, 0 without any.
        compile_seconds: as in `Result`.
        eval_params: as in `fit`.
        losses: of the iterations of each epoch, where they are counted.
    """

    state: State
    best: Best
    rows: tuple[Record, ...] = ()
    stopped: Stopped | None = None
    kept: int = 0
    compile_seconds: float = 0.0
    eval_params: EvalParams | None = None
    losses: tuple[np.ndarray, ...] | None = None

    @property
    def epoch(self) -> int:
        """The number of epochs that lie behind."""
        return len(self.rows)

    @classmethod
    def started(cls, start: Start, plan: Plan, stopping: EarlyStopping | None) -> "Run":
        """The first, in buffers of its own: the caller may donate the given ones before they are used."""
        learned, best = start.learned, Best(stopping)
        rows = () if learned is None else tuple(_evaluated(row, plan) for row in learned.rows())
        if learned and rows:
            of_model = (learned.model_state,) if start.model_state else ()
            best = best.after(rows[learned.best_epoch - 1], (learned.params, *of_model))
        state = copied(start.state(plan.optimizer, plan.key))
        losses = () if learned is None or learned.losses is None else (learned.losses,)
        return cls(
            plan.layout.state(state),
            best,
            rows,
            eval_params=plan.eval_params,
            losses=None if plan.counted is None else losses,
        )

    def resumed(self, checkpoints: Checkpoints | None, config: dict[str, Any]) -> "Run":
        """The newest that the checkpoints hold, or this one."""
        found = checkpoints.latest(self._arrays(), config=config) if checkpoints else None
        if found is None:
            return self
        (state, seen), meta = found
        epoch = meta["best_epoch"]
        if not state.model_state:
            seen = (seen,)
        best = self.best._replace(value=meta["best_value"], epoch=epoch, seen=seen if epoch else None)
        rows = tuple(meta["rows"])
        losses = self.losses
        if losses is not None:
            losses = (np.frombuffer(base64.b64decode(meta["losses"]["bytes"]), meta["losses"]["dtype"]),)
        return self._replace(state=state, best=best, rows=rows, kept=len(rows), losses=losses)

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
        rows, losses = self.rows, self.losses
        for e, loss in enumerate(ran.losses.tolist()):
            epoch = len(rows) + 1
            row = {"epoch": epoch, "seconds": ran.seconds, "loss": loss}
            if plan.counted is not None:
                row["iteration"] = plan.counted.first(epoch) + plan.counted.count(epoch)
            row |= {} if ran.waited is None else {"waited": ran.waited}
            row |= {name: values[e].item() for name, values in ran.told.items()}
            if plan.evaluates(epoch):
                row |= {f"val_{name}": values[e].item() for name, values in ran.metrics.items()}
            rows += (row,)
        if losses is not None:
            losses += tuple(ran.of_iterations)
            losses += () if ran.bad is None else (ran.bad.losses[: ran.bad.iteration],)
        after = self._replace(state=ran.state, rows=rows, losses=losses)
        if ran.bad is not None:
            raise _divergence(ran.bad, after._replace(stopped="diverged"), plan)
        if self.best.stopping is None or not len(ran.losses):
            return after
        return after._replace(best=self.best.after(rows[-1], after.seen))

    @property
    def seen(self) -> tuple[Any, ...]:
        """What is evaluated: the parameters, and the model's state where there is one."""
        return self.state.seen(self.eval_params)

    def beginning(self) -> Record:
        """What a callback gets before the first epoch of this run: a copy, as in `record`."""
        given = {"params": self.seen[0], "opt_state": self.state.opt_state}
        given |= dict(zip(("model_state",), self.state.model_state, strict=False))
        return {"epoch": self.epoch} | copied(given)

    def record(self) -> Record:
        """What a callback gets: a copy, for the next epochs donate the buffers of the state."""
        return self.rows[-1] | self.beginning()

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
        if self.losses is not None:
            losses = np.concatenate(self.losses)
            written = {
                "dtype": str(losses.dtype),
                "bytes": base64.b64encode(losses.tobytes()).decode(),
            }
            meta |= {"losses": written}
        value = self.rows[-1].get(checkpoints.monitor, np.nan) if checkpoints.monitor else None
        checkpoints.save(self.epoch, self._arrays(), meta, value)
        return self._replace(kept=self.epoch)

    def result(self) -> Result:
        """What was learned so far."""
        columns = dict.fromkeys(name for row in self.rows for name in row)
        history = {  # an epoch that was not evaluated has no metrics, one that did not stream has not waited
            name: np.array([row.get(name, np.nan) for row in self.rows])
            for name in columns or ("epoch", "seconds", "loss")
        }
        state, best = self.state, self.best
        seen = self.seen if best.seen is None else best.seen
        return Result(
            params=seen[0],
            opt_state=state.opt_state,
            history=history,
            stopped=self.stopped or ("early" if best.gave_up(self.rows) else "finished"),
            best_epoch=self.epoch if best.seen is None else best.epoch,
            compile_seconds=self.compile_seconds,
            last_params=state.params,
            step=int(state.step),
            model_state=seen[1] if state.model_state else None,
            last_model_state=state.model_state[0] if state.model_state else None,
            losses=None if self.losses is None else np.concatenate([np.zeros(0, np.float32), *self.losses]),
        )

    def _arrays(self) -> tuple[State, Any]:
        """What a checkpoint holds."""
        if self.best.stopping is None:
            return self.state, None
        params, *of_model = self.seen if self.best.seen is None else self.best.seen
        return self.state, (params, *of_model) if of_model else params


def _evaluated(row: Record, plan: Plan) -> Record:
    """A row of an earlier result; one that is not evaluated has no metrics, and not metrics that are NaN."""
    metrics = [name for name in row if name.startswith("val_")]
    if plan.evaluates(row["epoch"]) or not np.isnan([row[name] for name in metrics]).all():
        return row
    return {name: value for name, value in row.items() if name not in metrics}


def keep(
    error: BaseException,
    run: Any,
    checkpoints: Checkpoints | None,
    config: dict[str, Any],
    result: Callable[[Any], Any],
    where: str = "fit",
) -> None:
    """Keep what a run learned that an exception ends, and say with the exception where it is.

    Of many processes the one that writes does so: all have ended its last epoch, for they compute together,
    and what they do now is not known here.

    Args:
        error: what ended it; it gets a note and, unless it has one, a ``result``.
        run: as it was after its last epoch, a `Run` or a sweep's.
        checkpoints: of the run.
        config: as in `Run.saved`.
        result: of the run, which is ended.
        where: the function that was called.
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
    error.add_note(f"{where}: {words}")
    if not hasattr(error, "result"):
        error.result = result(run)  # type: ignore[attr-defined]


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


def _divergence(bad: Bad, run: Run, plan: Plan) -> DivergenceError:
    """The error that names where the next epoch stopped being finite, and what."""
    losses, iteration, broken = bad
    where = f"fit, epoch {run.epoch + 1}, iteration {iteration + 1} of {len(losses)}"
    if run.losses is not None:
        where = f"fit, iteration {int(run.state.step) + 1}"
    hint = f"the parameters from before it are in this error's .result; {_cause(bad, run, plan)}"
    names = [name for name, _ in watched_leaves(run.state)]
    of_optimizer = len(watched_leaves(run.state._replace(model_state=())))
    if not np.isfinite(losses[iteration]):
        expected, got = "a finite loss", f"{losses[iteration]}"
    elif (~np.isfinite(broken)).any():
        leaf = int(np.flatnonzero(~np.isfinite(broken))[0])
        of = "optimizer" if leaf < of_optimizer else "model"
        expected, got = f"a finite {of} state", f"{broken[leaf]} in {names[leaf]}"
        if leaf < of_optimizer:
            hint += ", or clip the gradient, e.g. optax.chain(optax.clip_by_global_norm(1.0), ...)"
    else:
        expected, got = "a finite gradient and update", "NaN or infinity in one of them"
    return DivergenceError(errors.message(where, expected, got, hint), run.result())


def _cause(bad: Bad, run: Run, plan: Plan) -> str:
    """What made it, from the batch of the iteration where that is at hand, and what to try."""
    if plan.layout.processes > 1 or plan.counted is not None or (~np.isfinite(bad.broken)).any():
        return LOWER

    def batch() -> tuple[Any, ...]:
        rows = plan.order(run.epoch + 1)[bad.iteration * plan.batch_size :][: plan.batch_size]
        return plan.train.rows(rows).arrays

    return cause(plan.grad_fn, plan.preprocess, run.state, batch)
