"""Does a run that meets what runs meet end rightly, or say what to do, and lose nothing?

    python -m experiments.96_reliability
    python -m experiments.96_reliability --only gradients --scale 0.1 --json rows.json

Each part prints a row: what was done, the goal, what was seen, and what it leaves out; after the table, what
went wrong. ``--scale`` makes the counts of all parts smaller or larger. At scale 1 all of it takes an hour or
two on 2 idle cores. Linux alone: it forks, limits and signals. Expected: every row holds. What was seen
stands in docs/reliability.md. Speed is measured by experiments 90 to 95.
"""

import importlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax

from experiments.record import run, save, table
from experiments.reliability.row import Row

PARTS = ("bad_inputs", "kills", "damage", "disk", "processes", "injected", "fuzz", "gradients", "soak")


@dataclass(frozen=True)
class Config:
    only: str = ""
    """One part: bad_inputs, kills, damage, disk, processes, injected, fuzz, gradients or soak."""
    scale: float = 1.0
    """The counts, as a part of those of the goals."""
    jobs: int = 2
    """Processes at once."""
    seed: int = 0
    faults: int = 20
    """How many of the faults of a part are printed."""
    json: Path | None = None
    """A file for the rows, faults and all."""
    out: Path = Path("results/96_reliability")


def main(config: Config = Config()) -> dict:
    if config.only and config.only not in PARTS:
        raise SystemExit(f"--only: expected one of {', '.join(PARTS)}, got {config.only!r}")
    rows: dict[str, Row] = {}
    for part in [config.only] if config.only else PARTS:
        started = time.perf_counter()
        module = importlib.import_module(f"experiments.reliability.{part}")
        rows[part] = module.measure(config.scale, jobs=config.jobs, seed=config.seed)
        print(f"{part}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    table(
        f"Reliability at scale {config.scale:g}",
        ["test", "goal", "seen", "", "not in it"],
        [
            [row.test, row.goal, row.seen, "holds" if row.ok else "FAILS", row.without]
            for row in rows.values()
        ],
    )
    for part, row in rows.items():
        for fault in row.faults[: config.faults]:
            print(f"{part}: {fault}")
        if len(row.faults) > config.faults:
            print(f"{part}: and {len(row.faults) - config.faults} more")
    result = {part: row._asdict() for part, row in rows.items()}
    if config.json:
        config.json.write_text(json.dumps(result, indent=1))
    jax.devices()  # the result names the device; the parts above fork, and must come before
    return save(config, result)


if __name__ == "__main__":
    run(main, Config)
