"""What a run returns, and how it remembers its best epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxbp import arguments
from jaxbp.tables import as_html
from jaxbp.train.programs.copies import copied
from jaxbp.train.programs.metrics import Mode, mode_of
from jaxbp.train.progress import Record, describe
from jaxbp.typing import Params

Stopped = Literal["finished", "early", "callback", "interrupted", "diverged"]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after ``patience`` epochs without a better ``monitor``, and keep the best parameters.

    NaN is never better than a number. Where not every epoch is evaluated, those that are count.

    Args:
        patience: how many epochs in a row may bring nothing better, at least 1.
        monitor: a column of the history.
        mode: whether less (``"min"``) or more (``"max"``) of it is better. ``"auto"`` is what is known of a
            loss and of the metrics that `make_evaluate` knows by name, as that more accuracy is better; of
            another column less is, with a warning.
        min_delta: by how much more than this the monitor must be better than at the best epoch before.
        start_from_epoch: the first epoch that is looked at; those before it are never the best.

    Raises:
        TypeError, ValueError: at once, for a patience or start_from_epoch that is no whole number of at least
            1, a monitor that is no text, another mode, or a min_delta that is no finite number of at least 0.

    Warns:
        UserWarning: for ``"auto"`` and a column of which nothing is known.

    Example:
        >>> EarlyStopping(5).mode, EarlyStopping(5, "val_accuracy").mode
        ('min', 'max')
        >>> EarlyStopping(5, "val_accuracy", mode="higher")
        Traceback (most recent call last):
        ...
        ValueError: EarlyStopping: expected mode 'min' or 'max', got 'higher'
    """

    patience: int
    monitor: str = "val_loss"
    mode: Mode = "auto"
    min_delta: float = 0.0
    start_from_epoch: int = 1

    def __post_init__(self) -> None:
        where = "EarlyStopping"
        checked = {
            "patience": arguments.whole(where, "patience", self.patience, low=1),
            "min_delta": arguments.number(where, "min_delta", self.min_delta, low=0),
            "start_from_epoch": arguments.whole(where, "start_from_epoch", self.start_from_epoch, low=1),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        arguments.instance(where, "monitor", self.monitor, str, 'e.g. "val_loss"')
        object.__setattr__(self, "mode", mode_of(where, self.monitor, self.mode))

    def judges(self, row: Record) -> bool:
        """Whether the epoch of this row of the history is looked at."""
        return row["epoch"] >= self.start_from_epoch and self.monitor in row


@dataclass(frozen=True, repr=False)
class Result:
    """What a run learned.

    Args:
        params: the parameters at the end; with early stopping, those of the best epoch. With ``ema`` or
            ``eval_params`` they are those that are evaluated.
        opt_state: the optimizer's state at the end.
        history: a column for each metric, an entry for each epoch: ``epoch``, ``seconds`` (of that epoch,
            compiling excluded), ``loss`` (the mean over the epoch's examples, each at the parameters of
            its iteration), of a run that is counted in iterations ``iteration`` (those done by then), for
            streamed data ``waited`` (the share of the seconds that the loop waited for them), the metrics
            that grad_fn returns (means, as the loss), what the optimizer's state tells of its last iteration
            (``learning_rate`` of `optax.inject_hyperparams`, the numbers of `optax.snapshot` by their names,
            ``plateau_scale`` of `optax.contrib.reduce_on_plateau`), ``val_loss`` and the other metrics of the
            validation data. NaN where an epoch has none, because it was not evaluated.
        stopped: why it ended: ``"finished"``, ``"early"``, by a ``"callback"``, ``"interrupted"`` or
            ``"diverged"``.
        best_epoch: the epoch of ``params``.
        compile_seconds: the time spent compiling, before the first epoch.
        last_params: the trained parameters at the end, which `fit` goes on from, given this result for
            ``params``.
        step: the number of iterations done.
        model_state: what grad_fn carried beside the parameters, of the same epoch as ``params``; else None.
        last_model_state: that at the end.
        losses: of a run that is counted in iterations, the loss of each, (step,); else None.
    """

    params: Params
    opt_state: Any
    history: dict[str, np.ndarray]
    stopped: Stopped
    best_epoch: int
    compile_seconds: float
    last_params: Params
    step: int
    model_state: Any = None
    last_model_state: Any = None
    losses: np.ndarray | None = None

    def rows(self) -> tuple[Record, ...]:
        """The history as a dict for each epoch, ``epoch`` an int."""
        columns = {name: column.tolist() for name, column in self.history.items()}
        return tuple(dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The history and the outcome as strict JSON has them, None for NaN; the parameters stay out."""
        columns = {name: column.tolist() for name, column in self.history.items()}
        return {
            "stopped": self.stopped,
            "best_epoch": self.best_epoch,
            "compile_seconds": self.compile_seconds,
            "history": {
                name: [value if np.isfinite(value) else None for value in column]
                for name, column in columns.items()
            },
        }

    def __repr__(self) -> str:
        last = {name: column[-1].item() for name, column in self.history.items() if column.size}
        seconds = self.history["seconds"].sum()
        counted = f"{self.step} iterations" if self.losses is not None else f"{last.get('epoch', 0)} epochs"
        return (
            f"{self.stopped} after {counted} in {seconds:.2f} s"
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


class Best(NamedTuple):
    """The best epoch so far.

    Args:
        stopping: what is best; None where nobody asks.
        value: of the monitor in that epoch, negated where more is better.
        epoch: its number, 0 while there is none.
        seen: a copy of what was evaluated there, as `State.seen`; None while there is none.
    """

    stopping: EarlyStopping | None
    value: float = np.inf
    epoch: int = 0
    seen: tuple[Any, ...] | None = None

    def after(self, row: Record, seen: tuple[Any, ...]) -> "Best":
        """This, or the epoch of the row, if it is better than all before; NaN is not."""
        if self.stopping is None or not self.stopping.judges(row):
            return self
        value = row[self.stopping.monitor] * (1 if self.stopping.mode == "min" else -1)
        if value < self.value - self.stopping.min_delta or (self.seen is None and not np.isnan(value)):
            return self._replace(value=value, epoch=row["epoch"], seen=copied(seen))
        return self

    def gave_up(self, rows: Sequence[Record]) -> bool:
        """Whether patience has run out, given the row of every epoch so far."""
        if self.stopping is None:
            return False
        return sum(map(self.stopping.judges, rows[self.epoch :])) >= self.stopping.patience
