"""Training any gradient function: whole epochs as one compiled program."""

from jaxbp.train.checkpoints import Checkpoints as Checkpoints
from jaxbp.train.checkpoints import read_meta as read_meta
from jaxbp.train.checkpoints import restore as restore
from jaxbp.train.checkpoints import save as save
from jaxbp.train.distributed import connect as connect
from jaxbp.train.evaluate import make_evaluate as make_evaluate
from jaxbp.train.fit import fit as fit
from jaxbp.train.result import DivergenceError as DivergenceError
from jaxbp.train.result import EarlyStopping as EarlyStopping
from jaxbp.train.result import Result as Result
from jaxbp.train.sweep import sweep as sweep
from jaxbp.train.sweep_result import Sweep as Sweep
