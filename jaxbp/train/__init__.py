"""Training any gradient function: whole epochs as one compiled program.

| row | place | what it holds |
|---|---|---|
| 0 | `progress`, `interrupt` | what a person sees while training runs, and how they end it |
| 0 | `programs/` | what is compiled: an iteration, epochs, metrics, the look at what is not finite |
| 0 | `processes/` | what processes say to each other |
| 1 | `result` | what a run returns |
| 1 | `sharding` | where data and state lie |
| 1 | `distributed` | many processes as one run |
| 2 | `checkpoints/` | a folder that keeps the epochs of a run |
| 2 | `plan` | what of a run stays as it is, and what runs its epochs |
| 3 | `start` | where a run begins |
| 4 | `run` | what changes from epoch to epoch, and what is left at the end |
| 4 | `program_cache` | compiled programs outlive their run |
| 5 | `description`, `validate` | by what a checkpoint knows its run; what is tried before the first epoch |
| 5 | `engines/` | what runs epochs: on the device, on a stream, for many networks |
| 6 | `sweeps/` | what a sweep is made of |
| 7 | `fit`, `sweep` | one network; many |
"""

from jaxbp.train.checkpoints import Checkpoints as Checkpoints
from jaxbp.train.checkpoints import read_meta as read_meta
from jaxbp.train.checkpoints import restore as restore
from jaxbp.train.checkpoints import save as save
from jaxbp.train.distributed import connect as connect
from jaxbp.train.fit import fit as fit
from jaxbp.train.programs.evaluate import Evaluator as Evaluator
from jaxbp.train.programs.evaluate import make_evaluate as make_evaluate
from jaxbp.train.result import DivergenceError as DivergenceError
from jaxbp.train.result import EarlyStopping as EarlyStopping
from jaxbp.train.result import Result as Result
from jaxbp.train.sweep import sweep as sweep
from jaxbp.train.sweeps.result import Sweep as Sweep
