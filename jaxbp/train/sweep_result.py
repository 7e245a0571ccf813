"""What a sweep returns: stacked histories, medians and ranges, and the choice of the best."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbp import errors
from jaxbp.arguments import option, whole
from jaxbp.tables import as_html, as_text
from jaxbp.typing import Params

Point = dict[str, float]


@dataclass(frozen=True, repr=False)
class Sweep:
    """What N networks learned; net i began with seed ``seeds[i]`` and trained at ``points[i]``.

    Args:
        params: the parameters at the end, stacked along a first axis N, on the host.
        seeds: of each net.
        points: the hyperparameters of each net.
        history: (N, epochs) for each metric: ``loss``, ``val_loss`` and so on, as in `Result`; NaN from the
            epoch on in which a net's loss stopped being finite.
        stopped: ``"finished"``, or ``"interrupted"`` by Ctrl-C after fewer epochs.
        seconds: the time spent training all of them.
        compile_seconds: the time spent compiling before.
    """

    params: Params
    seeds: list[int]
    points: list[Point]
    history: dict[str, np.ndarray]
    stopped: Literal["finished", "interrupted"]
    seconds: float
    compile_seconds: float

    @property
    def diverged(self) -> np.ndarray:
        """Whether each net diverged, (N,)."""
        return np.isnan(self.history["loss"]).any(axis=1)

    def best(self, monitor: str | None = None, mode: Literal["min", "max"] = "min") -> int:
        """The net with the best last epoch among those that did not diverge.

        Args:
            monitor: a column of the history, by default ``val_loss``, or ``loss`` without validation.
            mode: whether less (``"min"``) or more (``"max"``) of it is better.

        Raises:
            ValueError: for a monitor that is no column, another mode, or if all nets diverged or all values
                are NaN.
        """
        option("best", "mode", mode, ("min", "max"))
        if monitor is None:
            monitor = "val_loss" if "val_loss" in self.history else "loss"
        option("best", "monitor", monitor, self.history)
        if self.diverged.all() or not self.history[monitor].size:
            got = "none: all diverged" if self.diverged.any() else "no epoch"
            hint = "try lower learning rates"
            raise ValueError(errors.message("best", f"a net with a {monitor}", got, hint))
        last = np.where(self.diverged, np.nan, self.history[monitor][:, -1])
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
        i = whole("params_of", "i", i, low=-len(self.seeds), high=len(self.seeds) - 1)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), self.params)

    def to_dict(self) -> dict[str, Any]:
        """For each point its nets that diverged and, over the others' last epoch, median and range."""
        distinct = [point for i, point in enumerate(self.points) if point not in self.points[:i]]
        rows = []
        for point in distinct:
            nets = np.array([other == point for other in self.points])
            left = nets & ~self.diverged
            row = {"point": point, "nets": int(nets.sum()), "diverged": int((nets & self.diverged).sum())}
            rows.append(row | {name: _spread(column[left, -1:]) for name, column in self.history.items()})
        return {
            "nets": len(self.seeds),
            "stopped": self.stopped,
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "points": rows,
        }

    def _table(self) -> tuple[list[str], list[list[str]], str]:
        header = [*self.points[0], "diverged", *self.history]
        rows = [
            [
                *(f"{value:g}" for value in row["point"].values()),
                f"{row['diverged']} of {row['nets']}",
                *("{median:.4g} ({min:.4g} to {max:.4g})".format(**row[name]) for name in self.history),
            ]
            for row in self.to_dict()["points"]
        ]
        epochs = self.history["loss"].shape[1]
        took = f"in {self.seconds:.2f} s (and {self.compile_seconds:.2f} s to compile)"
        nets = f"{len(self.seeds)} nets {self.stopped} after {epochs} epochs {took}"
        return header, rows, f"{nets}: median (range) of the last epoch"

    def __repr__(self) -> str:
        return as_text(*self._table())

    def _repr_html_(self) -> str:
        return as_html(*self._table())


def _spread(values: np.ndarray) -> dict[str, float]:
    """Median and range; NaN where there is nothing."""
    if not values.size:
        return dict.fromkeys(("median", "min", "max"), float("nan"))
    return {"median": float(np.median(values)), "min": float(values.min()), "max": float(values.max())}
