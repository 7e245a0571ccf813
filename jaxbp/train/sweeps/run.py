"""The parts of a sweep that change, as they are after an epoch."""

from typing import Any, NamedTuple

import numpy as np

from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.engines.networks import Group, Groups, Seen
from jaxbp.train.plan import EpochsRan
from jaxbp.train.result import EarlyStopping


class SweepRun(NamedTuple):
    """What changes from epoch to epoch.

    Args:
        state: of the groups.
        history: a column for each metric, (nets, epochs).
        lost: whether a network had diverged by then, (nets, epochs).
        stopping: which epoch is the best, None where nobody asks.
        best: what was evaluated in each network's best epoch, by group; None while nobody asks.
        best_epoch: its number, 0 while there is none, (nets,).
        best_value: of the monitor there, negated where more is better, (nets,).
        ended: the epoch in which patience ran out, 0 while it has not, (nets,).
        seconds: the time spent training.
        kept: the epoch of the newest checkpoint.
    """

    state: tuple[Group, ...]
    history: dict[str, np.ndarray]
    lost: np.ndarray
    stopping: EarlyStopping | None
    best: tuple[Seen, ...] | None
    best_epoch: np.ndarray
    best_value: np.ndarray
    ended: np.ndarray
    seconds: float = 0.0
    kept: int = 0

    @classmethod
    def begun(cls, engine: Groups, stopping: EarlyStopping | None) -> "SweepRun":
        """Before the first epoch."""
        N = engine.N
        best = None if stopping is None else engine.copies(engine.begun)
        none = np.zeros(N, int)
        history = {"loss": np.zeros((N, 0))}
        lost = np.zeros((N, 0), bool)
        return cls(engine.begun, history, lost, stopping, best, none, np.full(N, np.inf), none)

    @property
    def epoch(self) -> int:
        """The number of epochs that lie behind."""
        return self.lost.shape[1]

    @property
    def is_over(self) -> bool:
        """Whether every network has diverged or run out of patience."""
        if self.stopping is None or not self.epoch:
            return False
        return bool(((self.ended > 0) | self.lost[:, -1]).all())

    @property
    def diverged(self) -> np.ndarray:
        """Whether each network diverged before its patience ran out, (nets,)."""
        return self.lost[:, -1] if self.epoch else np.zeros(len(self.ended), bool)

    @property
    def chosen(self) -> np.ndarray:
        """The epoch of each network's parameters, (nets,)."""
        return np.where(self.best_epoch > 0, self.best_epoch, self.epoch)

    def after(self, ran: EpochsRan, engine: Groups) -> "SweepRun":
        """This sweep after these epochs; a network that diverged stays so."""
        rows = {"loss": ran.losses, **ran.told}
        rows |= {f"val_{name}": column for name, column in ran.metrics.items()}
        history = {
            name: np.append(self.history.get(name, column[:, :0]), column, axis=1)
            for name, column in rows.items()
        }
        bad = ~np.isfinite(ran.losses)
        if ran.finite is not None:  # the parameters and the optimizer's state after the last update
            bad[:, -1] |= ~ran.finite
        bad[self.ended > 0] = False  # it goes on beside the others, and nobody looks
        lost = np.logical_or.accumulate(np.append(self.lost, bad, axis=1), axis=1)
        seconds = self.seconds + ran.seconds * ran.losses.shape[1]
        return self._replace(state=ran.state, history=history, lost=lost, seconds=seconds)._judged(engine)

    def _judged(self, engine: Groups) -> "SweepRun":
        """With the networks whose last epoch is their best, and those whose patience has run out."""
        stopping, epoch = self.stopping, self.epoch
        if stopping is None or self.best is None or epoch < stopping.start_from_epoch:
            return self
        value = self.history[stopping.monitor][:, -1] * (1 if stopping.mode == "min" else -1)
        going = (self.ended == 0) & ~self.lost[:, -1]
        first = (self.best_epoch == 0) & ~np.isnan(value)
        better = going & ((value < self.best_value - stopping.min_delta) | first)
        best_epoch = np.where(better, epoch, self.best_epoch)
        waited = epoch - np.maximum(best_epoch, stopping.start_from_epoch - 1)
        return self._replace(
            best=engine.chosen(better, self.state, self.best),
            best_epoch=best_epoch,
            best_value=np.where(better, value, self.best_value),
            ended=np.where(going & (waited >= stopping.patience), epoch, self.ended),
        )

    def record(self) -> dict[str, Any]:
        """What a callback gets of the last epoch."""
        return {"epoch": self.epoch} | {name: column[:, -1].copy() for name, column in self.history.items()}

    def shown(self) -> dict[str, np.ndarray]:
        """The history, NaN where a network had diverged or was stopped."""
        epochs = np.arange(1, self.epoch + 1)
        over = (self.ended[:, None] > 0) & (epochs > self.ended[:, None])
        return {name: np.where(self.lost | over, np.nan, column) for name, column in self.history.items()}

    def learned(self, engine: Groups) -> tuple[Any, ...]:
        """Of each network's best epoch, or the last, parameters and perhaps the model's state, stacked."""
        if self.best is None:
            return engine.stacked(engine.copies(self.state))
        return engine.stacked(engine.chosen(self.best_epoch == 0, self.state, self.best))

    def resumed(self, checkpoints: Checkpoints | None, config: dict[str, Any]) -> "SweepRun":
        """The newest that the checkpoints hold, or this one."""
        found = checkpoints.latest((self.state, self.best), config=config) if checkpoints else None
        if found is None:
            return self
        (state, best), meta = found
        run = meta["sweep"]
        return self._replace(
            state=state,
            best=best,
            history={name: np.array(column) for name, column in run["history"].items()},
            lost=np.array(run["lost"], bool),
            best_epoch=np.array(run["best_epoch"], int),
            best_value=np.array(run["best_value"], float),
            ended=np.array(run["ended"], int),
            seconds=run["seconds"],
            kept=meta["epoch"],
        )

    def saved(self, checkpoints: Checkpoints | None, config: dict[str, Any]) -> "SweepRun":
        """This sweep with a checkpoint of its last epoch."""
        if checkpoints is None or self.epoch == self.kept:
            return self
        run = {
            "history": {name: column.tolist() for name, column in self.history.items()},
            "lost": self.lost.tolist(),
            "best_epoch": self.best_epoch.tolist(),
            "best_value": self.best_value.tolist(),
            "ended": self.ended.tolist(),
            "seconds": self.seconds,
        }
        checkpoints.save(self.epoch, (self.state, self.best), {"config": config, "sweep": run})
        return self._replace(kept=self.epoch)
