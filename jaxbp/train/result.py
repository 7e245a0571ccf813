"""What a run returns, and how it remembers its best epoch."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp.tables import as_html
from jaxbp.train.progress import Record, describe
from jaxbp.typing import Params

Stopped = Literal["finished", "early", "interrupted", "diverged"]


class EarlyStopping(NamedTuple):
    """Stop after ``patience`` epochs without a better ``monitor``, and keep the best parameters.

    Args:
        patience: how many epochs in a row may bring nothing better.
        monitor: a column of the history.
        mode: whether less (``"min"``) or more (``"max"``) of it is better.
    """

    patience: int
    monitor: str = "val_loss"
    mode: Literal["min", "max"] = "min"


@dataclass(frozen=True, repr=False)
class Result:
    """What a run learned.

    Args:
        params: the parameters at the end; with early stopping, those of the best epoch.
        opt_state: the optimiser's state at the end, to continue from.
        history: a column for each metric, an entry for each epoch: ``epoch``, ``seconds`` (of that epoch,
            compiling excluded), ``loss`` (the mean over the epoch's examples, each at the parameters of
            its iteration), for streamed data ``waited`` (the share of the seconds that the loop waited for
            them), ``val_loss`` and the other metrics of the validation data.
        stopped: why it ended: ``"finished"``, ``"early"``, ``"interrupted"`` or ``"diverged"``.
        best_epoch: the epoch of ``params``.
        compile_seconds: the time spent compiling, before the first epoch.
    """

    params: Params
    opt_state: Any
    history: dict[str, np.ndarray]
    stopped: Stopped
    best_epoch: int
    compile_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The history and the outcome as plain Python numbers, for JSON; the parameters stay out."""
        return {
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
            "compile_seconds": self.compile_seconds,
            "history": {name: column.tolist() for name, column in self.history.items()},
        }

    def __repr__(self) -> str:
        last = {name: column[-1].item() for name, column in self.history.items() if column.size}
        seconds = self.history["seconds"].sum()
        return (
            f"{self.stopped} after {last.get('epoch', 0)} epochs in {seconds:.2f} s"
            f" (and {self.compile_seconds:.2f} s to compile): {describe(last) or 'nothing learned'}"
        )

    def _repr_html_(self) -> str:
        rows = zip(*(column.tolist() for column in self.history.values()), strict=True)
        return as_html(list(self.history), [[f"{v:.4g}" for v in row] for row in rows], repr(self))


class DivergenceError(FloatingPointError):
    """The loss or its gradient became NaN or infinite; ``result`` holds all that was learned before."""

    def __init__(self, message: str, result: Result):
        super().__init__(message)
        self.result = result


class Best:
    """The best epoch so far and a copy of its parameters."""

    def __init__(self, stopping: EarlyStopping | None):
        self.stopping, self.value, self.epoch, self.params = stopping, np.inf, 0, None

    def see(self, row: Record, params: Params) -> None:
        """Keep the parameters if this epoch is better than all before."""
        if self.stopping is None:
            return
        value = row[self.stopping.monitor] * (1 if self.stopping.mode == "min" else -1)
        if value < self.value or self.params is None:
            self.value, self.epoch, self.params = value, row["epoch"], jax.tree.map(jnp.copy, params)

    def gave_up(self, epoch: int) -> bool:
        """Whether patience has run out."""
        return self.stopping is not None and epoch - self.epoch >= self.stopping.patience
