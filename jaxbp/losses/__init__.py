"""Losses: for each its value and, beside it, its delta_f = d loss / d f by hand."""

from jaxbp.losses.binary_cross_entropy import binary_cross_entropy as binary_cross_entropy
from jaxbp.losses.binary_cross_entropy import (
    binary_cross_entropy_on_probabilities as binary_cross_entropy_on_probabilities,
)
from jaxbp.losses.loss import Loss as Loss
from jaxbp.losses.loss import weights as weights
from jaxbp.losses.softmax_cross_entropy import make_softmax_cross_entropy as make_softmax_cross_entropy
from jaxbp.losses.softmax_cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from jaxbp.losses.squared_error import squared_error as squared_error
