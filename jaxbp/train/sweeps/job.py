"""What one program of a sweep trains, from its first epoch to its `Sweep`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbp.train.checkpoints import Checkpoints
from jaxbp.train.description import describe
from jaxbp.train.engines.networks import Groups, Make, Net
from jaxbp.train.interrupt import ended
from jaxbp.train.plan import Plan
from jaxbp.train.programs.step import State
from jaxbp.train.progress import progress
from jaxbp.train.result import EarlyStopping
from jaxbp.train.run import keep
from jaxbp.train.sweeps.points import Part
from jaxbp.train.sweeps.result import Stopped, Sweep
from jaxbp.train.sweeps.run import SweepRun


class Job(NamedTuple):
    """What one program of a sweep trains.

    Args:
        part: its points.
        plan: of the run, with the optimizer of the first net.
        make: the optimizer of a point.
        nets: all of them, each point with every seed.
        first: makes the state of the first.
        epochs: at most.
    """

    part: Part
    plan: Plan
    make: Make
    nets: list[Net]
    first: Callable[[], State]
    epochs: int

    def run(
        self,
        stopping: EarlyStopping | None,
        callbacks: Sequence[Callable[[Any], Any]],
        checkpoints: Checkpoints | None,
        memory_budget: int | None,
        progress_bar: bool,
        interrupted: Callable[[], bool],
        told: dict[str, list[Any]],
    ) -> Sweep:
        """Train them; ``told`` has the points and the seeds of the nets."""
        with progress(self.epochs, progress_bar) as show:
            show("compiling")
            engine = Groups(self.nets, self.plan, self.make, self.epochs, memory_budget)
            run = SweepRun.begun(engine, stopping)
            stopped: Stopped | None = None
            config = self._config(stopping, told) if checkpoints else {}
            run = run.resumed(checkpoints, config)
            show(f"compiled in {engine.compile_seconds:.1f} s, training {len(self.nets)} nets")
            try:
                while run.epoch < self.epochs and not run.is_over and not stopped:
                    if interrupted():
                        stopped = "interrupted"
                        break
                    most = 1 if callbacks or checkpoints or stopping else self.epochs - run.epoch
                    run = run.after(engine.run(run.state, run.epoch + 1, most), engine)
                    show({"epoch": run.epoch, "loss": float(np.median(run.history["loss"][:, -1]))})
                    if callbacks and ended(callbacks, lambda: run.record() | told):  # noqa: B023
                        stopped = "callback"
                    if checkpoints and checkpoints.due(run.epoch):
                        run = run.saved(checkpoints, config)
                run = run.saved(checkpoints, config)
            except BaseException as error:
                of = lambda run: self._learned(run, engine, told, "interrupted")  # noqa: E731
                keep(error, run, checkpoints, config, of, "sweep")
                raise
        return self._learned(run, engine, told, stopped)

    def _learned(
        self, run: SweepRun, engine: Groups, told: dict[str, list[Any]], stopped: Stopped | None
    ) -> Sweep:
        params, *model_state = run.learned(engine)
        return Sweep(
            params=params,
            seeds=told["seeds"],
            points=told["points"],
            history=run.shown(),
            stopped=stopped or ("early" if run.epoch < self.epochs else "finished"),
            seconds=run.seconds,
            compile_seconds=engine.compile_seconds,
            best_epochs=run.chosen,
            diverged=run.diverged,
            model_state=model_state[0] if model_state else None,
        )

    def _config(self, stopping: EarlyStopping | None, told: dict[str, list[Any]]) -> dict[str, Any]:
        """What must not change between the parts of the run."""
        shown = {name: [repr(value) if name == "points" else value for value in told[name]] for name in told}
        order = {} if self.nets[0].number == Net({}, self.plan.key, {}).number else {"order": "own"}
        return describe(self.plan, self.first(), stopping) | shown | order
