"""Sequences of whole numbers, gates between what they become, and parameters shared over places."""

from jaxbp.layers.sequences.embedding import embedding as embedding
from jaxbp.layers.sequences.gate import gate as gate
from jaxbp.layers.sequences.gpt import gpt as gpt
from jaxbp.layers.sequences.repeat import repeat as repeat
from jaxbp.layers.sequences.tied import tied as tied
