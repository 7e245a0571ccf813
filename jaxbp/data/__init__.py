"""Data on the host: sets by name, files and frames, tables as features, the one validation pass, splits.

| row | place | what it holds |
|---|---|---|
| 0 | `distinct` | values that become equal in the floats that JAX holds |
| 0 | `reading/` | files read strictly, in bounded memory |
| 1 | `tables/` | tables as features |
| 2 | `dataset` | the record of a data set, and its split |
| 2 | `emnist` | where EMNIST's files are, and how they are turned upright |
| 3 | `batches` | batches that come one by one |
| 3 | `given` | what a training function is given as data |
| 3 | `scaling` | arrays of any shape scaled, by what scikit-learn fitted |
| 3 | `sources` | data sets by name |
| 3 | `streams` | a long text as streams side by side |
| 3 | `weights` | what each example counts |
| 4 | `checks` | the one validation pass |
| 5 | `parts` | training, validation and test part, fitted to the first alone |
| 6 | `loading` | `load` |
"""

from jaxbp.data.batches import Batches as Batches
from jaxbp.data.checks import assert_batch_size as assert_batch_size
from jaxbp.data.checks import assert_data as assert_data
from jaxbp.data.dataset import Dataset as Dataset
from jaxbp.data.dataset import split as split
from jaxbp.data.loading import load as load
from jaxbp.data.reading.csv import read_csv as read_csv
from jaxbp.data.reading.readers import open_idx as open_idx
from jaxbp.data.reading.readers import read_idx as read_idx
from jaxbp.data.reading.readers import read_npy as read_npy
from jaxbp.data.reading.readers import read_npz as read_npz
from jaxbp.data.scaling import Scaling as Scaling
from jaxbp.data.sources import digits as digits
from jaxbp.data.sources import fashion_mnist as fashion_mnist
from jaxbp.data.sources import mnist as mnist
from jaxbp.data.streams import streams as streams
from jaxbp.data.tables.schema import Schema as Schema
