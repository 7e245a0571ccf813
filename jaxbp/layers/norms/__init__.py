"""Norms: what an activation is when its mean and its scale are taken from it.

| row | place | what lives there |
|---|---|---|
| 0 | `batch` | by the rows of a batch, and running averages of theirs |
| 0 | `example` | by the entries of one example: a row, its square, groups of channels |
"""

from jaxbp.layers.norms.batch import batch_norm as batch_norm
from jaxbp.layers.norms.example import group_norm as group_norm
from jaxbp.layers.norms.example import layer_norm as layer_norm
from jaxbp.layers.norms.example import rms_norm as rms_norm
