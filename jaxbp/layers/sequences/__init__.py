"""Sequences of whole numbers, gates between what they become, and a network of them."""

from jaxbp.layers.sequences.embedding import embedding as embedding
from jaxbp.layers.sequences.gate import gate as gate
from jaxbp.layers.sequences.gpt import gpt as gpt
