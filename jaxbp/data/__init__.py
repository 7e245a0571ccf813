"""Data on the host: sets by name, files and frames, tables as features, the one validation pass, splits."""

from jaxbp.data.batches import Batches as Batches
from jaxbp.data.checks import assert_batch_size as assert_batch_size
from jaxbp.data.checks import assert_data as assert_data
from jaxbp.data.csv import read_csv as read_csv
from jaxbp.data.dataset import Dataset as Dataset
from jaxbp.data.dataset import split as split
from jaxbp.data.loading import load as load
from jaxbp.data.readers import open_idx as open_idx
from jaxbp.data.readers import read_idx as read_idx
from jaxbp.data.readers import read_npy as read_npy
from jaxbp.data.readers import read_npz as read_npz
from jaxbp.data.scaling import Scaling as Scaling
from jaxbp.data.scaling import make_min_max_scaler as make_min_max_scaler
from jaxbp.data.scaling import make_standardiser as make_standardiser
from jaxbp.data.schema import Schema as Schema
from jaxbp.data.sources import digits as digits
from jaxbp.data.sources import fashion_mnist as fashion_mnist
from jaxbp.data.sources import mnist as mnist
