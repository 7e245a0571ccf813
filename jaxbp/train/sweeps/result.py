"""What a sweep returns: stacked histories, medians and ranges, and the choice of the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import errors
from jaxbp.arguments import option, whole
from jaxbp.tables import as_html, as_text
from jaxbp.train.engines.networks import Point
from jaxbp.train.programs.metrics import Mode, mode_of
from jaxbp.train.start import is_key
from jaxbp.typing import Params

Stopped = Literal["finished", "early", "callback", "interrupted"]


@dataclass(frozen=True, repr=False)
class Sweep:
    """What N networks learned; net i began with seed ``seeds[i]`` and trained at ``points[i]``.

    Args:
        params: the parameters of each net's ``best_epochs``, stacked along a first axis N, on the host; a
            list of N trees where the nets have different shapes.
        seeds: of each net.
        points: the hyperparameters of each net.
        history: (N, epochs) for each metric: ``loss``, ``val_loss`` and so on, as in `Result`; NaN from the
            epoch on in which a net's loss stopped being finite, and after the one in which it stopped early.
        stopped: ``"finished"``; after fewer epochs ``"early"``, where all nets stopped early, by a
            ``"callback"``, or ``"interrupted"``.
        seconds: the time spent training all of them.
        compile_seconds: the time spent compiling before.
        best_epochs: with early stopping the best epoch of each net, otherwise its last, (N,).
        diverged: whether each net diverged, (N,).
        model_state: what grad_fn carried beside the parameters, as ``params``; None where there is none.
    """

    params: Params
    seeds: list[int]
    points: list[Point]
    history: dict[str, np.ndarray]
    stopped: Stopped
    seconds: float
    compile_seconds: float
    best_epochs: np.ndarray
    diverged: np.ndarray
    model_state: Any = None

    def at_best(self, name: str) -> np.ndarray:
        """A column of the history at each net's ``best_epochs``, (N,); NaN for a net that diverged.

        Raises:
            TypeError: for a name that is no text.
            ValueError: for one that is no column.
        """
        column = self.history[option("at_best", "name", name, self.history)]
        if not column.size:
            return np.full(len(self.seeds), np.nan)
        value = column[np.arange(len(column)), np.maximum(self.best_epochs, 1) - 1]
        return np.where(self.diverged, np.nan, value)

    def best(self, monitor: str | None = None, mode: Mode = "auto") -> int:
        """The net that is best at its ``best_epochs``, among those that did not diverge.

        Args:
            monitor: a column of the history, by default ``val_loss``, or ``loss`` without validation.
            mode: whether less or more of it is better, as in `EarlyStopping`.

        Raises:
            ValueError: for a monitor that is no column, another mode, or if all nets diverged or all values
                are NaN.
        """
        if monitor is None:
            monitor = "val_loss" if "val_loss" in self.history else "loss"
        mode = mode_of("best", option("best", "monitor", monitor, self.history), mode)
        if self.diverged.all() or not self.history[monitor].size:
            got = "none: all diverged" if self.diverged.any() else "no epoch"
            hint = "try lower learning rates"
            raise ValueError(errors.message("best", f"a net with a {monitor}", got, hint))
        last = self.at_best(monitor)
        if np.isnan(last).all():
            got = "NaN in all that did not diverge"
            raise ValueError(errors.message("best", f"a net with a {monitor}", got))
        return int(np.nanargmin(last) if mode == "min" else np.nanargmax(last))

    def params_of(self, i: int) -> Params:
        """The parameters of net i; -1 is the last.

        Raises:
            TypeError: for an i that is no whole number.
            ValueError: for a net that is not there.
        """
        return self._of(self.params, i, "params_of")

    def model_state_of(self, i: int) -> Any:
        """The model's state of net i, as `params_of`; None where there is none."""
        return self._of(self.model_state, i, "model_state_of")

    def _of(self, stacked: Any, i: int, where: str) -> Any:
        i = whole(where, "i", i, low=-len(self.seeds), high=len(self.seeds) - 1)
        if isinstance(self.params, list) and stacked is not None:
            return jax.tree.map(jnp.asarray, stacked[i])
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), stacked)

    def to_dict(self) -> dict[str, Any]:
        """For each point its nets that diverged and, over the others' ``best_epochs``, median and range."""
        distinct = [point for i, point in enumerate(self.points) if point not in self.points[:i]]
        rows = []
        for point in distinct:
            nets = np.array([other == point for other in self.points])
            left = nets & ~self.diverged
            row = {"point": point, "nets": int(nets.sum()), "diverged": int((nets & self.diverged).sum())}
            rows.append(row | {name: _spread(self.at_best(name)[left]) for name in self.history})
        return {
            "nets": len(self.seeds),
            "stopped": self.stopped,
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "points": rows,
        }

    def to_frame(self) -> Any:
        """A pandas frame with a row for each net: its point, seed, diverged, epoch and the metrics there.

        Raises:
            ImportError: where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            hint = "pip install pandas, or read .points, .seeds and .history"
            raise ImportError(errors.message("to_frame", "pandas", "none installed", hint)) from error
        columns: dict[str, Any] = {name: [point[name] for point in self.points] for name in self.points[0]}
        columns |= {"seed": self.seeds, "diverged": self.diverged, "epoch": self.best_epochs}
        return pandas.DataFrame(columns | {name: self.at_best(name) for name in self.history})

    def _table(self) -> tuple[list[str], list[list[str]], str]:
        header = [*self.points[0], "diverged", *self.history]
        rows = [
            [
                *(f"{v:g}" if isinstance(v, int | float) else _shown(v) for v in row["point"].values()),
                f"{row['diverged']} of {row['nets']}",
                *("{median:.4g} ({min:.4g} to {max:.4g})".format(**row[name]) for name in self.history),
            ]
            for row in self.to_dict()["points"]
        ]
        epochs = self.history["loss"].shape[1]
        took = f"in {self.seconds:.2f} s (and {self.compile_seconds:.2f} s to compile)"
        which = "last" if (self.best_epochs == epochs).all() else "best"
        nets = f"{len(self.seeds)} nets {self.stopped} after {epochs} epochs {took}"
        return header, rows, f"{nets}: median (range) of the {which} epoch"

    def __repr__(self) -> str:
        return as_text(*self._table())

    def _repr_html_(self) -> str:
        return as_html(*self._table())


def _spread(values: np.ndarray) -> dict[str, float]:
    """Median and range; NaN where there is nothing."""
    if not values.size:
        return dict.fromkeys(("median", "min", "max"), float("nan"))
    return {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}


def _shown(value: Any) -> str:
    """A hyperparameter that is no number, in a table."""
    return value if isinstance(value, str) else str(getattr(value, "__name__", value))


def joined(sweeps: Sequence[Sweep], places: Sequence[int]) -> Sweep:
    """The sweeps of several programs as one.

    Args:
        sweeps: those that ran.
        places: where each of their nets, and those of sweeps that did not run, stands in the whole.
    """
    if len(sweeps) == 1:
        return sweeps[0]
    N, epochs = (sum(len(s.seeds) for s in sweeps), max(s.history["loss"].shape[1] for s in sweeps))
    order = np.argsort(places[:N])

    def column(name: str) -> np.ndarray:
        parts = [s.history.get(name, np.full_like(s.history["loss"], np.nan)) for s in sweeps]
        wide = [np.pad(v, ((0, 0), (0, epochs - v.shape[1])), constant_values=np.nan) for v in parts]
        return np.concatenate(wide)[order]

    nets = [
        jax.tree.map(lambda leaf, i=i: leaf[i], (s.params, s.model_state))
        for s in sweeps
        for i in range(len(s.seeds))
    ]
    params, states = zip(*(nets[i] for i in order), strict=True)
    seeds = [seed for s in sweeps for seed in s.seeds]
    points = [point for s in sweeps for point in s.points]
    shapes = [jax.tree.map(lambda leaf: leaf.shape, net) for net in nets]
    alike = all(shape == shapes[0] for shape in shapes)
    stateful = sweeps[0].model_state is not None

    def together(trees: Sequence[Any]) -> Any:
        if not alike:
            return list(trees)
        return jax.tree.map(lambda *leaves: (jnp if is_key(leaves[0]) else np).stack(leaves), *trees)

    return Sweep(
        params=together(params),
        model_state=together(states) if stateful else None,
        seeds=[seeds[i] for i in order],
        points=[points[i] for i in order],
        history={name: column(name) for name in dict.fromkeys(name for s in sweeps for name in s.history)},
        stopped=max((s.stopped for s in sweeps), key=["finished", "early", "callback", "interrupted"].index),
        seconds=sum(s.seconds for s in sweeps),
        compile_seconds=sum(s.compile_seconds for s in sweeps),
        best_epochs=np.concatenate([s.best_epochs for s in sweeps])[order],
        diverged=np.concatenate([s.diverged for s in sweeps])[order],
    )
