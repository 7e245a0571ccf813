"""The state of a run in files: whole or not there, read back exactly or not at all."""

from jaxbp.train.checkpoints.folder import Checkpoints as Checkpoints
from jaxbp.train.checkpoints.npz_engine import read_meta as read_meta
from jaxbp.train.checkpoints.npz_engine import restore as restore
from jaxbp.train.checkpoints.npz_engine import save as save
